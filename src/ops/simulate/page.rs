//! An outcome as one page with plots that needs nothing else.

use super::{
    outcome::{Outcome, Picture},
    words,
};
use holdfast_plots::{Axis, Line, Look, Plot, Thinned, page};
use maud::{Markup, html};

/// Where the most of a picture is so many times that of its least curve, decades are drawn.
const APART: f64 = 30.0;
/// Colours of the style.
const COLOURS: usize = 6;

/// The whole page.
pub fn html(outcome: &Outcome) -> String {
    let title = format!("Simulation: {}", outcome.scenario);
    let plots: Vec<Plot> = outcome.pictures.iter().map(plot).collect();
    let is_thinned = plots.iter().flat_map(|plot| &plot.lines).any(|line| !line.drawn.range.is_empty());
    let content = html! {
        h1 { (title) }
        p { (outcome.about) }
        @if !outcome.says.is_empty() { ul { @for words in &outcome.says { li { (words) } } } }
        @if is_thinned { p.dim { "Long lines are averages, with what they lie between shaded." } }
        div.plots { @for plot in &plots { @if let Some(plot) = plot.render() { (plot) } } }
        h2 { "Figures" }
        div.card { (figures(outcome)) }
        h2 { "What was simulated" }
        div.card { table.words { tbody { @for (name, value) in &outcome.given {
            tr { th { (name) } td { (value) } }
        } } } }
        footer { "Simulated by counts, seeded: the same settings give the same page." }
    };
    page(&title, &content)
}

fn figures(outcome: &Outcome) -> Markup {
    let names = outcome.runs.first().map(|run| run.figures.as_slice()).unwrap_or_default();
    html! {
        div.wide { table {
            thead { tr { th {} @for run in &outcome.runs { th.number { (run.name) } } } }
            tbody { @for (at, figure) in names.iter().enumerate() { tr {
                th { (figure.name) }
                @for run in &outcome.runs {
                    td.number { (run.figures.get(at).map_or(String::new(), words::figure)) }
                }
            } } }
        } }
    }
}

/// A picture as a plot.
fn plot(picture: &Picture) -> Plot {
    let curves = picture.curves.iter().enumerate();
    let lines: Vec<Line> = curves
        .map(|(at, curve)| {
            let points: Vec<(f64, Option<f64>)> = curve.points.iter().map(|(x, y)| (*x, Some(*y))).collect();
            Line {
                name: curve.name.clone(),
                remark: curve.remark.clone(),
                colour: at % COLOURS,
                look: if at % 2 == 1 { Look::Dashed } else { Look::Plain },
                drawn: Thinned::of(&points),
            }
        })
        .collect();
    let times = picture.curves.iter().flat_map(|curve| &curve.points).map(|(at, _)| *at);
    let level = picture.level.iter().map(|(value, _)| *value);
    let values = || lines.iter().flat_map(|line| line.drawn.values()).chain(level.clone());
    let most = |line: &Line| line.drawn.values().fold(0.0, f64::max);
    let mosts = || lines.iter().map(most).filter(|most| *most > 0.0);
    let is_apart = mosts().fold(0.0, f64::max) > APART * mosts().fold(f64::MAX, f64::min);
    let y = match (picture.unit, is_apart) {
        ("per s", true) => Axis::log_rates(values()),
        (unit, _) => Axis::linear(unit, values()),
    };
    Plot {
        title: picture.title,
        about: picture.about.clone(),
        x: Axis::time(times),
        y,
        lines,
        bands: Vec::new(),
        level: picture.level.clone(),
    }
}
