//! The answer as a page: what to take, two plots, the table.

use super::{
    choose::{Answer, Role},
    fleet::Fleet,
    question::Question,
    text,
    types::TypeList,
};
use holdfast_plots::{Axis, Line, Look, Plot, Thinned, words};
use maud::{Markup, html};

/// How far to the right the plot of the recommended type goes: so many times its nodes.
const FURTHER: u32 = 3;
/// What is later than so many times the time allowed is not drawn: the rest would be a corner.
const LATE: f64 = 4.0;

/// The page; it needs no other file.
pub fn page(question: &Question, list: &TypeList, answer: &Answer) -> String {
    let besides = text::besides(question, list, answer);
    let refusals = text::refusals(question, answer);
    let content = html! {
        h1 { "A fleet for " (words::count(question.connections)) " connections" }
        p { (text::asked(question)) }
        p { strong { (text::recommendation(question, list, answer)) } }
        @for line in &besides { p.dim { (line) } }
        (compared(question, list, answer).render().unwrap_or_default())
        @if let Some(plot) = by_nodes(question, answer) { (plot.render().unwrap_or_default()) }
        (table(list, answer))
        @if !refusals.is_empty() {
            h2 { "Why not the others" }
            ul { @for line in &refusals { li { (line) } } }
        }
    };
    holdfast_plots::page("Holdfast: a fleet", &content)
}

/// Cost against the time to come back: what will do lies left of the limit, the cheap ones low.
fn compared(question: &Question, list: &TypeList, answer: &Answer) -> Plot {
    let limit_s = question.within_s * LATE;
    let shown = || answer.rows.iter().filter(move |row| row.fleet.loss.absorb_s <= limit_s);
    // A gap between points keeps each a dot.
    let dots = |fleets: &mut dyn Iterator<Item = &Fleet>| {
        let points = fleets.flat_map(|fleet| {
            let x = fleet.loss.absorb_s;
            [(x, Some(fleet.cost)), (x, None)]
        });
        Thinned::of(&points.collect::<Vec<_>>())
    };
    let best = answer.best.and_then(|best| answer.rows.get(best));
    let line = |name: &str, remark: String, colour, drawn| Line {
        name: name.into(),
        remark,
        colour,
        look: Look::Plain,
        drawn,
    };
    let is_other = |fleet: &Fleet| fleet.is_good() && best.is_none_or(|best| *fleet != best.fleet);
    let lines = vec![
        line(
            "recommended",
            best.map_or_else(String::new, |row| format!("{} x {}", row.fleet.nodes, row.fleet.node.name)),
            0,
            dots(&mut best.into_iter().map(|row| &row.fleet)),
        ),
        line(
            "others that will do",
            String::new(),
            1,
            dots(&mut shown().map(|row| &row.fleet).filter(|fleet| is_other(fleet))),
        ),
        line(
            "will not do",
            "for these or other reasons".into(),
            2,
            dots(&mut shown().map(|row| &row.fleet).filter(|fleet| !fleet.is_good())),
        ),
    ];
    Plot {
        title: "Cost, and how soon a lost node's clients are back",
        about: format!(
            "Each dot is a fleet; from left to right the seconds until all are back, of which {} are allowed, upwards {} an hour.",
            words::duration(question.within_s),
            list.currency
        ),
        x: Axis::linear("s", shown().map(|row| row.fleet.loss.absorb_s).chain([question.within_s])),
        y: Axis::linear("", shown().map(|row| row.fleet.cost)),
        lines,
        bands: vec![(0.0, question.within_s, "in time".into())],
        level: None,
    }
}

/// Of the recommended type, what more nodes and fewer would mean.
fn by_nodes(question: &Question, answer: &Answer) -> Option<Plot> {
    let best = &answer.rows.get(answer.best?)?.fleet;
    let last = best.nodes.saturating_mul(FURTHER).min(question.nodes_most.max(best.nodes));
    let step = (last / 200).max(1) as usize;
    let fleets: Vec<Fleet> =
        (2..=last).step_by(step).map(|nodes| Fleet::of(question, &best.node, nodes)).collect();
    let limit_s = question.within_s * LATE;
    let points = |of: fn(&Fleet) -> f64| {
        let point =
            |fleet: &Fleet| (f64::from(fleet.nodes), Some(of(fleet)).filter(|value| *value <= limit_s));
        Thinned::of(&fleets.iter().map(point).collect::<Vec<_>>())
    };
    let lines = vec![
        Line {
            name: "seconds until all are back".into(),
            remark: format!(
                "{} with {}",
                words::duration(best.loss.absorb_s),
                words::several(u64::from(best.nodes), "node")
            ),
            colour: 0,
            look: Look::Plain,
            drawn: points(|fleet| fleet.loss.absorb_s),
        },
        Line {
            name: "lost with one node, percent of all".into(),
            remark: format!("{:.0} %", best.loss.share * 100.0),
            colour: 1,
            look: Look::Dashed,
            drawn: points(|fleet| fleet.loss.share * 100.0),
        },
        Line {
            name: "the others' fill then, percent".into(),
            remark: format!("{:.0} %", best.loss.full_after * 100.0),
            colour: 2,
            look: Look::Thin,
            drawn: points(|fleet| fleet.loss.full_after * 100.0),
        },
    ];
    let values: Vec<f64> = lines.iter().flat_map(|line| line.drawn.values()).collect();
    Some(Plot {
        title: "The recommended type with more nodes, or fewer",
        about: "From left to right the number of nodes: what the loss of one does to the rest.".into(),
        x: Axis::linear("nodes", [f64::from(last)].into_iter()),
        y: Axis::linear("", values.into_iter()),
        lines,
        bands: Vec::new(),
        level: Some((question.within_s, "the time allowed, s".into())),
    })
}

fn table(list: &TypeList, answer: &Answer) -> Markup {
    let cost = format!("{} an hour", list.currency);
    let heads =
        ["type", "nodes", "each", "full", &cost, "lost with one", "back in", "then full", "deploy", ""];
    html! {
        h2 { "Fleets by cost" }
        div.wide { table {
            thead { tr { @for head in heads { th { (head) } } } }
            tbody { @for (at, row) in answer.rows.iter().enumerate() {
                tr.dim[row.role == Role::Bare] { @for cell in text::cells(answer, at, row) { td { (cell) } } }
            } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::size::{Tls, answer, parse, types::EXAMPLES};

    #[test]
    fn the_page_is_whole_whatever_is_asked() {
        let list = parse(EXAMPLES).unwrap();
        let impossible = Question { nodes_most: 1, ..Question::new(1_000_000_000) };
        for question in [
            Question::new(10_000_000),
            Question::new(1),
            Question { tls: Tls::Here, ..Question::new(1_000) },
            impossible,
        ] {
            let page = page(&question, &list, &answer(&question, &list.types));
            assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
            assert!(
                page.contains("e2-standard-2") && !page.contains("NaN") && !page.contains(">inf"),
                "{page}"
            );
            for outside in ["src=\"http", "href=\"http", "@import"] {
                assert!(!page.contains(outside));
            }
        }
    }
}
