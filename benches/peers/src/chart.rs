//! The results as a picture: `results-SIZE.svg`, bars of the ratio to ours with whiskers from the least to the most.
//!
//! Guarantees:
//! 1. The axis is logarithmic, the same for all panels, and says so; the line at 1 is ours.
//! 2. It reads on a light and on a dark page: colours follow the reader's setting, and nothing is said by colour alone.

use std::fmt::{Error, Write};

use crate::machine::Machine;
use crate::results::Row;
use crate::statistic::{Spread, real};
use crate::table::digits;
use crate::tally::length;
use crate::workload::title;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 90.0;
const BAR: f64 = 14.0;
const LINE: f64 = 20.0;
const HEAD: f64 = 30.0;
const TOP: f64 = 56.0;
const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#1f2328}.t{font-weight:600}.s{fill:#59636e;font-size:11px}\
.b{fill:#4a7ebb}.w{stroke:#1f2328;stroke-width:1.2}.g{stroke:#d1d9e0}.o{stroke:#bc4c00;stroke-width:1.5}.p{fill:#fff}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#9198a1}.b{fill:#5b8fd0}.w{stroke:#e6edf3}\
.g{stroke:#3d444d}.o{stroke:#f0883e}.p{fill:#0d1117}}";

/// A bar.
struct Bar<'r> {
    peer: &'r str,
    ratio: Spread,
}

/// From decade to decade.
#[derive(Debug, Clone, Copy)]
struct Axis {
    from: i32,
    to: i32,
}

impl Axis {
    fn of<'b>(bars: impl Iterator<Item = &'b Bar<'b>>) -> Self {
        let (mut from, mut to) = (-1, 1);
        for bar in bars {
            while 10_f64.powi(from) > bar.ratio.min {
                from -= 1;
            }
            while 10_f64.powi(to) < bar.ratio.max {
                to += 1;
            }
        }
        Self { from, to }
    }

    fn at(self, ratio: f64) -> f64 {
        let share = (ratio.log10() - f64::from(self.from)) / f64::from(self.to - self.from);
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }
}

/// The picture of one size of events.
pub fn picture(size: usize, groups: &[(&str, Vec<&Row>)], machine: &Machine) -> Result<String, Error> {
    let panels: Vec<(&str, Vec<Bar>)> = groups.iter().map(|(name, rows)| (*name, bars(rows))).collect();
    let axis = Axis::of(panels.iter().flat_map(|(_, bars)| bars));
    let height: f64 = TOP + panels.iter().map(|(_, bars)| HEAD + LINE * real(length(bars.len())) + LINE).sum::<f64>();
    let mut svg = String::new();
    write!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">"#
    )?;
    writeln!(svg, "<title>Speed of peers through that of esker, events of {size} bytes</title><style>{STYLE}</style>")?;
    writeln!(svg, r#"<rect class="p" width="{WIDTH}" height="{height}"/>"#)?;
    text(&mut svg, (12.0, 22.0), "t", &format!("Speed through that of esker, events of {size} bytes"))?;
    let where_and_when = format!(
        "{}, {} cores, {}, {}; logarithmic; whiskers: all rounds",
        machine.processor, machine.cores, machine.kernel, machine.date
    );
    text(&mut svg, (12.0, 40.0), "s", &where_and_when)?;
    let mut y = TOP;
    for (name, bars) in &panels {
        y = panel(&mut svg, y, name, bars, axis)?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// The fastest first.
fn bars<'r>(rows: &[&'r Row]) -> Vec<Bar<'r>> {
    let mut bars: Vec<Bar> = rows.iter().filter_map(|row| Some(Bar { peer: &row.peer, ratio: row.to_ours? })).collect();
    bars.sort_by(|a, b| b.ratio.median.total_cmp(&a.ratio.median));
    bars
}

/// Draws at `y`, and says where the next one goes.
fn panel(svg: &mut String, y: f64, name: &str, bars: &[Bar], axis: Axis) -> Result<f64, Error> {
    let (top, bottom) = (y + HEAD - 6.0, y + HEAD + LINE * real(length(bars.len())));
    text(svg, (12.0, y + 16.0), "t", title(name))?;
    for decade in axis.from..=axis.to {
        let (x, class) = (axis.at(10_f64.powi(decade)), if decade == 0 { "o" } else { "g" });
        writeln!(svg, r#"<line class="{class}" x1="{x:.1}" x2="{x:.1}" y1="{top:.1}" y2="{bottom:.1}"/>"#)?;
        let label = if decade == 0 { "esker".to_owned() } else { digits(10_f64.powi(decade)) };
        text(svg, (x - 10.0, bottom + 12.0), "s", &label)?;
    }
    for (number, Bar { peer, ratio }) in bars.iter().enumerate() {
        let y = y + HEAD + LINE * real(length(number));
        let (middle, below) = (y + BAR / 2.0, y + BAR - 3.0);
        let [median, min, max] = [ratio.median, ratio.min, ratio.max].map(|ratio| axis.at(ratio));
        text(svg, (12.0, below), "", peer)?;
        writeln!(svg, r#"<rect class="b" x="{LEFT}" y="{y:.1}" width="{:.1}" height="{BAR}"/>"#, median - LEFT)?;
        writeln!(svg, r#"<line class="w" x1="{min:.1}" x2="{max:.1}" y1="{middle:.1}" y2="{middle:.1}"/>"#)?;
        for end in [min, max] {
            writeln!(
                svg,
                r#"<line class="w" x1="{end:.1}" x2="{end:.1}" y1="{:.1}" y2="{:.1}"/>"#,
                middle - 4.0,
                middle + 4.0
            )?;
        }
        text(svg, (WIDTH - RIGHT + 8.0, below), "", &digits(ratio.median))?;
    }
    Ok(bottom + LINE)
}

fn text(svg: &mut String, (x, y): (f64, f64), class: &str, text: &str) -> Result<(), Error> {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(svg, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Round;

    #[test]
    fn every_row_has_its_bar_and_the_axis_holds_all_of_them() {
        let round = |ours, peer| Round { ours, peer, bare: None, peer_events: 1 };
        let slow = Row::new("scan".into(), 100, "slow & <old>", vec![round(1000.0, 1.0), round(1000.0, 2.0)]);
        let fast = Row::new("scan".into(), 100, "fast", vec![round(1.0, 20.0)]);
        let machine = Machine {
            processor: "one".into(),
            cores: 1,
            memory: String::new(),
            kernel: "none".into(),
            file_system: String::new(),
            date: String::new(),
            command: String::new(),
        };
        let svg = picture(100, &[("scan", vec![&slow, &fast])], &machine).expect("draws");
        assert_eq!(svg.matches(r#"<rect class="b""#).count(), 2);
        assert!(svg.find("fast") < svg.find("slow &amp; &lt;old>"));
        let axis = Axis::of(bars(&[&slow, &fast]).iter());
        assert_eq!((axis.from, axis.to), (-3, 2));
        assert!((axis.at(0.001) - LEFT).abs() < 0.01 && (axis.at(100.0) - (WIDTH - RIGHT)).abs() < 0.01);
    }
}
