//! stdout: lines, tables and JSON objects; colour.
//!
//! Guarantees:
//! 1. Colour only where asked for, or by default on a terminal and without `NO_COLOR`.
//! 2. What was printed is on its way out once [`Output::finish`] returned; `main` calls it before it reports an error.

use std::env;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write as _};

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use crate::failure::Failure;

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal
    Auto,
    /// Also into files and pipes
    Always,
    /// Nowhere
    Never,
}

/// What a colour is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// Names of columns.
    Heading,
    /// Keys.
    Key,
    /// What is there but matters less.
    Aside,
    /// Something is wrong.
    Alarm,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::Heading => "1",
            Self::Key => "36",
            Self::Aside => "2",
            Self::Alarm => "1;31",
        }
    }
}

/// Paints, or does not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inks {
    wet: bool,
}

impl Inks {
    fn on(choice: ColorChoice, is_terminal: impl FnOnce() -> bool) -> Self {
        let wet = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                let able = env::var_os("TERM").is_none_or(|term| term != "dumb");
                !refused && able && is_terminal()
            }
        };
        Self { wet }
    }

    pub(crate) fn on_stderr(choice: ColorChoice) -> Self {
        Self::on(choice, || io::stderr().is_terminal())
    }

    pub(crate) fn paint(self, ink: Ink, text: &str) -> String {
        if self.wet && !text.is_empty() { format!("\x1b[{}m{text}\x1b[0m", ink.code()) } else { text.to_owned() }
    }
}

/// stdout, buffered.
pub(crate) struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
    inks: Inks,
    columns: Option<usize>,
}

impl Output {
    pub(crate) fn new(color: ColorChoice) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let columns = is_terminal.then(|| usize::from(console::Term::stdout().size().1));
        Self { stdout: BufWriter::new(io::stdout().lock()), inks: Inks::on(color, || is_terminal), columns }
    }

    /// How wide a line may be; `None` unless stdout is a terminal.
    pub(crate) fn columns(&self) -> Option<usize> {
        self.columns
    }

    pub(crate) fn inks(&self) -> Inks {
        self.inks
    }

    /// The bytes and a newline.
    pub(crate) fn line(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.stdout.write_all(bytes.as_ref()).map_err(Failure::Output)?;
        self.stdout.write_all(b"\n").map_err(Failure::Output)
    }

    /// One object on a line of its own.
    pub(crate) fn json(&mut self, object: &Value) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.stdout, object).map_err(|error| Failure::Output(error.into()))?;
        self.stdout.write_all(b"\n").map_err(Failure::Output)
    }

    /// A table; its first line is the heading.
    pub(crate) fn table(&mut self, columns: &[(&str, Align)], rows: Vec<Vec<String>>) -> Result<(), Failure> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(columns.iter().map(|(name, _)| *name)).add_rows(rows);
        for (column, (_, align)) in table.column_iter_mut().zip(columns) {
            column.set_padding((0, 2));
            if *align == Align::Right {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for (index, line) in table.trim_fmt().lines().enumerate() {
            let line = if index == 0 { self.inks.paint(Ink::Heading, line) } else { line.to_owned() };
            self.line(line)?;
        }
        Ok(())
    }

    /// Names and values, one pair a line.
    pub(crate) fn pairs(&mut self, pairs: &[(&str, String)]) -> Result<(), Failure> {
        let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, value) in pairs {
            let name = self.inks.paint(Ink::Heading, &format!("{name:<width$}"));
            self.line(format!("{name}  {value}"))?;
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(Failure::Output)
    }
}

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}
