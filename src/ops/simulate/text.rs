//! An outcome for a terminal: a table of figures, curves in a line each, and the sentences. Plain but for the curves' blocks.

use super::{
    outcome::{Curve, Outcome, Picture},
    words,
};
use std::fmt::Write;

/// Letters of a curve.
const WIDTH: usize = 60;
/// From nothing to the most.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The whole text.
pub fn text(outcome: &Outcome) -> String {
    let mut out = format!("{}: {}\n\n", outcome.scenario, outcome.about);
    pairs(&mut out, &outcome.given);
    out.push('\n');
    table(&mut out, outcome);
    for picture in &outcome.pictures {
        drawing(&mut out, picture);
    }
    if !outcome.says.is_empty() {
        out.push('\n');
        for sentence in &outcome.says {
            let _ = writeln!(out, "{sentence}");
        }
    }
    out
}

fn pairs(out: &mut String, pairs: &[(&str, String)]) {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in pairs {
        let _ = writeln!(out, "  {name:width$}  {value}");
    }
}

/// Figures as rows, runs as columns.
fn table(out: &mut String, outcome: &Outcome) {
    let names: Vec<&str> =
        outcome.runs.first().map_or(Vec::new(), |run| run.figures.iter().map(|figure| figure.name).collect());
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let columns: Vec<Vec<String>> = outcome
        .runs
        .iter()
        .map(|run| {
            let values = run.figures.iter().map(words::figure);
            std::iter::once(run.name.clone()).chain(values).collect()
        })
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .map(|column| column.iter().map(|words| words.chars().count()).max().unwrap_or(0))
        .collect();
    for (row, name) in std::iter::once("").chain(names).enumerate() {
        let _ = write!(out, "{name:width$}");
        for (column, width) in columns.iter().zip(&widths) {
            let _ = write!(out, "  {:>width$}", column.get(row).map_or("", String::as_str));
        }
        out.push('\n');
    }
}

fn drawing(out: &mut String, picture: &Picture) {
    let most = most(picture);
    let top = holdfast_plots::words::figure(most, picture.unit);
    let _ = writeln!(out, "\n{}, {} (the top is {top})", picture.title, picture.about);
    let width = picture.curves.iter().map(|curve| curve.name.len()).max().unwrap_or(0);
    for curve in &picture.curves {
        let _ = writeln!(out, "  {:width$}  {}", curve.name, line(curve, most));
    }
}

fn most(picture: &Picture) -> f64 {
    let values = picture.curves.iter().flat_map(|curve| &curve.points).map(|(_, value)| *value);
    values.filter(|value| value.is_finite()).fold(0.0, f64::max)
}

/// The curve in blocks: of each part the most, so that no peak is lost.
fn line(curve: &Curve, most: f64) -> String {
    let count = curve.points.len();
    let width = WIDTH.min(count);
    let block = |column: usize| {
        let part = &curve.points[column * count / width..(column + 1) * count / width];
        let highest = part.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let level = (highest / most * BLOCKS.len() as f64) as usize;
        BLOCKS[level.min(BLOCKS.len() - 1)]
    };
    if most > 0.0 { (0..width).map(block).collect() } else { BLOCKS[..1].iter().collect() }
}
