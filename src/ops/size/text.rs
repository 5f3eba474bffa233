//! The answer on a terminal of 100 columns: the table, what is recommended and why, and why the others are not.

use super::{
    choose::{Answer, Role, Row},
    fleet::{Brake, Fault, Told, handshakes},
    question::{Question, Tls},
    types::TypeList,
};
use crate::ops::cost;
use holdfast_plots::words::{self, bytes, count, duration, several, trimmed};
use std::fmt::Write;

/// Hours of a month, on average.
pub(super) const MONTH_HOURS: f64 = 730.0;
/// Columns of the table, each with its width; text is aligned left, numbers right.
const COLUMNS: [(&str, usize); 10] = [
    ("TYPE", 14),
    ("NODES", 5),
    ("EACH", 6),
    ("FULL", 4),
    ("COST/H", 8),
    ("LOST", 5),
    ("BACK IN", 9),
    ("THEN", 5),
    ("DEPLOY", 9),
    ("", 16),
];

/// All of it.
pub fn text(question: &Question, list: &TypeList, answer: &Answer) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}\n", wrapped(&asked(question)));
    out += &table(answer);
    let _ = writeln!(out, "\n{}", wrapped(LEGEND));
    let _ = writeln!(out, "\n{}", wrapped(&recommendation(question, list, answer)));
    for line in besides(question, list, answer) {
        let _ = writeln!(out, "{}", wrapped(&line));
    }
    let others = refusals(question, answer);
    if !others.is_empty() {
        let _ = writeln!(out, "\nWhy not the others:");
        for line in others {
            let _ = writeln!(out, "{}", wrapped(&format!("- {line}")));
        }
    }
    out
}

const LEGEND: &str = "EACH: connections a node holds; FULL: of what it can. LOST: with one node, of all connections; BACK IN: until \
                      they are on the others; THEN: how full those are. DEPLOY: of the whole fleet. * is recommended.";

/// What was asked, in a sentence.
pub(super) fn asked(question: &Question) -> String {
    let zones = match question.zones {
        1 => String::new(),
        zones => format!(" or one of {zones} zones"),
    };
    format!(
        "{} at {:.0} % of what nodes can hold; the loss of {}{zones} leaves the others {:.0} % full at most; all are back within {}.",
        several(question.connections, "connection"),
        question.target * 100.0,
        several(u64::from(question.spare), "node"),
        question.ceiling * 100.0,
        duration(question.within_s)
    )
}

fn table(answer: &Answer) -> String {
    let mut out = String::new();
    let mut line = |mark: &str, cells: &[String]| {
        let mut row = format!("{mark:2}");
        for (at, ((_, width), cell)) in COLUMNS.iter().zip(cells).enumerate() {
            let is_text = at == 0 || at + 1 == COLUMNS.len();
            let cell: String = if is_text { cell.chars().take(*width).collect() } else { cell.clone() };
            let _ = if is_text { write!(row, "{cell:width$} ") } else { write!(row, "{cell:>width$} ") };
        }
        let _ = writeln!(out, "{}", row.trim_end());
    };
    line("", &COLUMNS.map(|(name, _)| name.to_owned()));
    for (at, row) in answer.rows.iter().enumerate() {
        line(if answer.best == Some(at) { "*" } else { "" }, &cells(answer, at, row));
    }
    out
}

/// The cells of a row, as many as there are columns.
pub(super) fn cells(answer: &Answer, at: usize, row: &Row) -> Vec<String> {
    let fleet = &row.fleet;
    let percent =
        |share: f64| if share.is_finite() { format!("{:.0}%", share * 100.0) } else { words::NONE.into() };
    vec![
        fleet.node.name.clone(),
        count(u64::from(fleet.nodes)),
        short(fleet.each),
        percent(fleet.full),
        money(fleet.cost),
        percent(fleet.loss.share),
        brief(fleet.loss.absorb_s),
        percent(fleet.loss.full_after),
        brief(fleet.deploy_s),
        verdict(answer, at, row),
    ]
}

fn verdict(answer: &Answer, at: usize, row: &Row) -> String {
    match (row.fleet.faults.first(), answer.best) {
        (Some(fault), _) => fault.label().to_owned(),
        (None, Some(best)) if best == at => "recommended".into(),
        (None, Some(best)) => {
            let dearer = (row.fleet.cost / answer.rows[best].fleet.cost - 1.0) * 100.0;
            if dearer >= 0.5 { format!("{dearer:.0} % dearer") } else { "as good".into() }
        }
        (None, None) => String::new(),
    }
}

/// `834 k`, `1.2 M`: three digits at most.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e6 => (value / 1e6, " M"),
        value if value >= 1e4 => (value / 1e3, " k"),
        value => (value.round(), ""),
    };
    format!("{}{unit}", trimmed(&words::number(value)))
}

/// A time in nine columns.
fn brief(seconds: f64) -> String {
    match seconds {
        seconds if !seconds.is_finite() => "never".into(),
        seconds if seconds >= 7_199.5 => format!("{:.1} h", seconds / 3_600.0),
        seconds if seconds >= 119.5 => format!("{:.0} min", seconds / 60.0),
        seconds => duration(seconds),
    }
}

/// An amount of money with two decimals.
pub(super) fn money(value: f64) -> String {
    let cents = (value * 100.0).round();
    // A float becomes the nearest value of the integer's range.
    format!("{}.{:02}", count((cents / 100.0).trunc() as u64), (cents % 100.0) as u64)
}

/// What to take, and why; or what to do where none will do.
pub(super) fn recommendation(question: &Question, list: &TypeList, answer: &Answer) -> String {
    let Some(row) = answer.best.and_then(|best| answer.rows.get(best)) else {
        return hopeless(question, answer);
    };
    let (fleet, currency) = (&row.fleet, &list.currency);
    let back = match fleet.loss.brake {
        Some(brake) => format!("{} is what they wait for", brake_words(brake)),
        None => "that is how far clients spread their first attempt".to_owned(),
    };
    let after =
        if question.spare == 1 { "then".to_owned() } else { format!("after {} such losses", question.spare) };
    let passed_over = match answer.rows.iter().position(|row| row.fleet.is_good()) {
        Some(cheapest) if answer.best != Some(cheapest) => format!(
            "{} {} cost hardly less and are back later. ",
            answer.rows[cheapest].fleet.nodes, answer.rows[cheapest].fleet.node.name
        ),
        _ => "It is the cheapest that will do. ".to_owned(),
    };
    format!(
        "Take {} of {} for {} {currency} an hour ({} a month): each holds {}, {:.0} % of what its {} allows. {passed_over}When one \
         is lost, {} come back at up to {} a second and are all back in {}; {back}. The others are {:.0} % full {after}.",
        several(u64::from(fleet.nodes), "node"),
        fleet.node.name,
        money(fleet.cost),
        money(fleet.cost * MONTH_HOURS),
        count(fleet.each.round() as u64),
        fleet.full * 100.0,
        fleet.capacity.bound.label(),
        count(fleet.loss.connections.round() as u64),
        count(fleet.loss.peak.round() as u64),
        duration(fleet.loss.absorb_s),
        fleet.loss.full_after * 100.0,
    )
}

fn brake_words(brake: Brake) -> &'static str {
    brake.label()
}

fn hopeless(question: &Question, answer: &Answer) -> String {
    let all_have = |fault: Fault| answer.rows.iter().all(|row| row.fleet.faults.contains(&fault));
    let advice = match () {
        () if all_have(Fault::Registry) => {
            "give Redis more masters (--redis-masters), or connections longer lives (--lifetime)"
        }
        () if all_have(Fault::Many) => "give larger types of node, or allow more nodes (--nodes-most)",
        () if all_have(Fault::Slow) => {
            "allow more time (--reconnect-within), or give Redis more masters (--redis-masters)"
        }
        () if all_have(Fault::Busy) => "give types with more cores, or ping less often (--ping)",
        () => "the reasons below say what each type lacks",
    };
    format!(
        "No fleet of these types will do with at most {} nodes: {advice}.",
        count(u64::from(question.nodes_most))
    )
}

/// What is needed beside the nodes.
pub(super) fn besides(question: &Question, list: &TypeList, answer: &Answer) -> Vec<String> {
    let mut lines = Vec::new();
    match (&answer.front, question.tls) {
        (Some(front), _) => lines.push(format!(
            "In front, to end TLS: {} of {} for {} {} an hour, {} each ({} a connection).",
            several(u64::from(front.nodes), "host"),
            front.node.name,
            money(front.cost),
            list.currency,
            several(front.each.round() as u64, "connection"),
            bytes(question.tls_bytes)
        )),
        (None, Tls::Apart) => {
            lines.push("None of these types can end TLS in front of so many connections.".into())
        }
        (None, Tls::Here) => {
            lines.push("TLS ends on the nodes' hosts: its memory and its time are counted above.".into())
        }
        (None, Tls::Elsewhere) => lines.push("What ends TLS is not counted.".into()),
    }
    lines.push(format!(
        "Redis: {} with {} in all; lifetimes are {} registrations a second, and {} are what it is trusted with.",
        several(u64::from(question.masters()), "master"),
        bytes(question.all() * cost::REGISTRY_BYTES as f64),
        count(question.steady().round() as u64),
        count(question.registrations() as u64)
    ));
    if let Some(row) = answer.best.and_then(|best| answer.rows.get(best)) {
        let pairs = row.fleet.port_pairs();
        if pairs > 1 {
            lines.push(format!(
                "A layer-4 balancer reaches a node's port {} times from one address: give each node {} pairs of its port and a \
                 balancer's address.",
                count(cost::SOURCE_PORTS),
                count(pairs)
            ));
        }
        lines.push(format!(
            "Set limits.connections = {} on each node; its handshakes are good for {} a second.",
            row.fleet.capacity.connections as u64,
            count(handshakes(question, &row.fleet.node) as u64)
        ));
    }
    let as_of = list.as_of.as_ref().map_or_else(String::new, |as_of| format!(" of {}", words::plain(as_of)));
    lines.push(format!("Prices are those{as_of} in the list of node types: check them."));
    lines
}

/// Why the fleets that will not do will not, one line each.
pub(super) fn refusals(question: &Question, answer: &Answer) -> Vec<String> {
    let bare = answer.rows.iter().filter(|row| row.role == Role::Bare);
    bare.map(|row| {
        let fleet = &row.fleet;
        let faults: Vec<String> =
            fleet.faults.iter().map(|fault| Told { fault: *fault, fleet, question }.to_string()).collect();
        format!("{} of {}: {}", several(u64::from(fleet.nodes), "node"), fleet.node.name, faults.join("; "))
    })
    .collect()
}

/// Broken into lines of at most 100 columns.
fn wrapped(text: &str) -> String {
    let indent = if text.starts_with("- ") { "  " } else { "" };
    let (mut out, mut width) = (String::new(), 0);
    for word in text.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > 100 {
            out.push('\n');
            out += indent;
            width = indent.len();
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        out += word;
        width += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::size::{answer, parse, types::EXAMPLES};

    fn shown(question: &Question) -> String {
        let list = parse(EXAMPLES).unwrap();
        text(question, &list, &answer(question, &list.types))
    }

    #[test]
    fn it_fits_a_terminal_of_a_hundred_columns() {
        let zones = Question { zones: 3, spare: 2, ..Question::new(100_000_000) };
        for question in
            [Question::new(1), Question::new(10_000_000), zones, Question { tls: Tls::Here, ..zones }]
        {
            let text = shown(&question);
            for line in text.lines() {
                assert!(line.chars().count() <= 100, "{line}\n{text}");
            }
            assert!(
                text.contains("recommended") && text.contains("Take ") && !text.contains("NaN"),
                "{text}"
            );
        }
    }

    #[test]
    fn where_none_will_do_it_says_what_to_change() {
        let cases = [
            (
                Question { lifetime_s: 30.0, masters: Some(1), ..Question::new(10_000_000) },
                "give Redis more masters",
            ),
            (Question { nodes_most: 3, ..Question::new(10_000_000) }, "give larger types"),
        ];
        for (question, advice) in cases {
            let text = shown(&question);
            assert!(text.contains("No fleet of these types will do") && text.contains(advice), "{text}");
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([short(834_000.0), short(1_234_567.0), short(9_999.4)], ["834 k", "1.23 M", "9,999"]);
        assert_eq!([money(0.036), money(1_234.5), money(0.999)], ["0.04", "1,234.50", "1.00"]);
        assert_eq!(
            [brief(22.4), brief(3_000.0), brief(9_000.0), brief(f64::INFINITY)],
            ["22.4 s", "50 min", "2.5 h", "never"]
        );
    }
}
