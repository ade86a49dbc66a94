//! As much of Rust's grammar as the rules need: words and signs, without comments and texts.

/// A word or a sign, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

impl Token {
    pub(super) fn is(&self, text: &str) -> bool {
        self.text == text
    }
}

/// The tokens of a source text.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let skipped = skipped_bytes(rest);
        let word = rest.len() - rest.trim_start_matches(is_word).len();
        let bytes = if skipped > 0 { skipped } else { word.max(first.len_utf8()) };
        let (token, behind) = rest.split_at(bytes);
        if skipped == 0 && !first.is_whitespace() {
            tokens.push(Token { text: token.to_owned(), line });
        }
        line += token.matches('\n').count();
        rest = behind;
    }
    tokens
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// How long the comment, text, character or tick of a lifetime is that `rest` begins with; 0 if it begins with none.
fn skipped_bytes(rest: &str) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return comment_bytes(rest);
    }
    let prefix = rest.len() - rest.trim_start_matches(['b', 'c', 'r']).len();
    let (prefix, behind) = rest.split_at(prefix.min(2));
    let marks = behind.len() - behind.trim_start_matches('#').len();
    if prefix.ends_with('r') && behind[marks..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(marks));
        let inside = &behind[marks + 1..];
        return prefix.len() + marks + 1 + inside.find(&end).map_or(inside.len(), |at| at + end.len());
    }
    if behind.starts_with('"') {
        return prefix.len() + quoted_bytes(behind, '"');
    }
    if behind.starts_with('\'') && (prefix.is_empty() || prefix == "b") {
        let mut inside = behind.chars().skip(1);
        let character = inside.next() == Some('\\') || inside.next() == Some('\'');
        return prefix.len() + if character { quoted_bytes(behind, '\'') } else { 1 };
    }
    0
}

fn comment_bytes(rest: &str) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if here.starts_with(b"*/") {
            (at, depth) = (at + 2, depth - 1);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn quoted_bytes(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The tokens inside each attribute.
pub(super) fn attributes(tokens: &[Token]) -> Vec<&[Token]> {
    let mut found = Vec::new();
    for start in 0..tokens.len() {
        let bracket = if tokens.get(start + 1).is_some_and(|token| token.is("!")) { start + 2 } else { start + 1 };
        if tokens[start].is("#") && tokens.get(bracket).is_some_and(|token| token.is("[")) {
            found.push(&tokens[bracket..closing(tokens, bracket)]);
        }
    }
    found
}

/// Where what opens at `start` closes.
fn closing(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

/// What is named from the root of the crate, with its line: by `crate::`, or by as many `super::` as lead there from a
/// module `depth` below the root.
pub(super) fn named_from_root(tokens: &[Token], depth: usize) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    // For each open brace, whether it is a module's.
    let mut braces = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" => braces.push(at >= 2 && tokens[at - 2].is("mod")),
            "}" => drop(braces.pop()),
            "crate" if is_path(tokens, at) => name(tokens, at + 3, &mut named),
            "super" if at < 3 || !(tokens[at - 3].is("super") && is_path(tokens, at - 3)) => {
                let steps = (0..).take_while(|step| {
                    let at = at + 3 * step;
                    tokens.get(at).is_some_and(|token| token.is("super")) && is_path(tokens, at)
                });
                let steps = steps.count();
                if steps >= depth + braces.iter().filter(|module| **module).count() {
                    name(tokens, at + 3 * steps, &mut named);
                }
            }
            _ => {}
        }
    }
    named
}

/// Whether `::` follows.
fn is_path(tokens: &[Token], at: usize) -> bool {
    tokens.get(at + 1).is_some_and(|token| token.is(":")) && tokens.get(at + 2).is_some_and(|token| token.is(":"))
}

/// The first word of a path, or of each path of a group.
fn name(tokens: &[Token], at: usize, named: &mut Vec<(usize, String)>) {
    let Some(first) = tokens.get(at) else { return };
    if !first.is("{") {
        named.push((first.line, first.text.clone()));
        return;
    }
    let (mut inside, end) = (at + 1, closing(tokens, at));
    while inside < end {
        name(tokens, inside, named);
        while inside < end && !tokens[inside].is(",") {
            inside = if tokens[inside].is("{") { closing(tokens, inside) } else { inside + 1 };
        }
        inside += 1;
    }
}
