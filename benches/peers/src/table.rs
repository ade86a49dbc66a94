//! The results as Markdown: `results.md`.

use std::fmt::Write;

use crate::results::{Results, Row, grouped};
use crate::statistic::Spread;
use crate::syncs::Syncs;
use crate::workload::title;

/// The whole page.
pub fn page(results: &Results) -> Result<String, std::fmt::Error> {
    let mut page = String::new();
    let machine = &results.machine;
    writeln!(page, "# esker and its peers\n")?;
    writeln!(page, "`{}`, {}, {} rounds.", machine.command, machine.date, results.rounds)?;
    writeln!(
        page,
        "{}, {} cores, {} of memory, {},",
        machine.processor, machine.cores, machine.memory, machine.kernel
    )?;
    writeln!(page, "{}.\n", machine.file_system)?;
    writeln!(
        page,
        "A cell is the speed of the peer through ours: median of the rounds (least to most); below 1 ours is faster.\n"
    )?;
    for (size, groups) in grouped(&results.rows) {
        writeln!(page, "## Events of {size} bytes\n")?;
        for (name, rows) in groups {
            table(&mut page, name, &rows)?;
        }
    }
    syncs(&mut page, &results.syncs)?;
    writeln!(page, "## Settings\n\n| engine | crate | setting |\n|---|---|---|")?;
    for engine in &results.engines {
        writeln!(page, "| {} | {} {} | {} |", engine.name, engine.crate_name, engine.version, engine.setting)?;
    }
    if !results.failed.is_empty() {
        writeln!(page, "\n## What failed\n")?;
        results.failed.iter().try_for_each(|failed| writeln!(page, "- {failed}"))?;
    }
    Ok(page)
}

fn table(page: &mut String, name: &str, rows: &[&Row]) -> std::fmt::Result {
    let all = || rows.iter().flat_map(|row| &row.rounds);
    writeln!(page, "### {}\n", title(name))?;
    if let Some(ours) = Spread::of(all().map(|round| round.ours)) {
        let what = if all().any(|round| round.bare.is_some()) { "events" } else { "openings" };
        write!(page, "Ours: {} {what} a second", rounded(ours.median))?;
    }
    let bare = Spread::of(all().filter_map(|round| Some(round.ours / round.bare?)));
    writeln!(page, "{}\n", bare.map_or(".".to_owned(), |bare| format!(", {} of the bare limit.", cell(bare))))?;
    writeln!(page, "| peer | to ours | a second |\n|---|---:|---:|")?;
    for row in rows {
        let rate =
            Spread::of(row.rounds.iter().map(|round| round.peer)).map_or(String::new(), |rate| rounded(rate.median));
        writeln!(page, "| {} | {} | {rate} |", row.peer, row.to_ours.map_or("not measured".to_owned(), cell))?;
    }
    writeln!(page)
}

pub fn syncs(page: &mut String, syncs: &[Syncs]) -> std::fmt::Result {
    writeln!(page, "## Syncs for each durable call, by strace\n")?;
    writeln!(page, "| engine | 1 thread | 8 threads | by | synced before it returns |\n|---|---:|---:|---|---|")?;
    for Syncs { engine, by_kind, a_call, a_call_of_eight, unsynced, durable } in syncs {
        let kinds: Vec<String> = by_kind.iter().map(|(kind, each)| format!("{kind} {each:.2}")).collect();
        let eight = a_call_of_eight.map_or(String::new(), |each| format!("{each:.2}"));
        let verdict = match (durable, unsynced.is_empty()) {
            (true, _) => "yes".to_owned(),
            (false, true) => "no".to_owned(),
            (false, false) => format!("no: {} is written and not synced", unsynced.join(", ")),
        };
        writeln!(page, "| {engine} | {a_call:.2} | {eight} | {} | {verdict} |", kinds.join(", "))?;
    }
    writeln!(page)
}

fn cell(spread: Spread) -> String {
    format!("{} ({} to {})", digits(spread.median), digits(spread.min), digits(spread.max))
}

/// Three digits that mean something.
pub fn digits(ratio: f64) -> String {
    match ratio {
        ratio if ratio >= 100.0 => format!("{ratio:.0}"),
        ratio if ratio >= 10.0 => format!("{ratio:.1}"),
        ratio if ratio >= 0.1 => format!("{ratio:.2}"),
        ratio if ratio >= 0.01 => format!("{ratio:.3}"),
        ratio => format!("{ratio:.2e}"),
    }
}

/// With commas.
fn rounded(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_digits_that_mean_something() {
        assert_eq!([digits(123.4), digits(12.34), digits(0.5), digits(0.0123)], ["123", "12.3", "0.50", "0.012"]);
        assert_eq!([rounded(7.4), rounded(999.6), rounded(1_234_567.0)], ["7", "1,000", "1,234,567"]);
    }
}
