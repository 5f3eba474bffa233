//! What there is to say about one node.

use super::{
    draw::{bold, dim},
    figures::{amount, lines_of, milliseconds, rate, width, wrapped},
};
use crate::ops::fleet::{Counts, NodeView, Rates};
use holdfast_plots::words;
use ratatui::text::{Line, Span};

/// Width of what stands before each line.
const LABEL: usize = 12;

/// A rule with the node's name, and then a few lines with a label each.
pub(super) fn lines(node: &NodeView, columns: usize) -> Vec<Line<'static>> {
    let mut lines = vec![rule(node, columns)];
    let room = columns.saturating_sub(LABEL);
    let mut add = |label: &str, texts: Vec<String>| {
        for (at, text) in texts.into_iter().enumerate() {
            let label = if at == 0 { label } else { "" };
            lines.push(Line::from(vec![Span::styled(format!("{label:LABEL$}"), dim()), Span::raw(text)]));
        }
    };
    let place = [("at", &node.address), ("region", &node.region), ("version", &node.version)];
    let place: Vec<String> = place
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(label, text)| format!("{label} {text}"))
        .collect();
    add("node", lines_of(&place, room));
    if let Some(why) = node.fault() {
        add("silent", wrapped(why, room));
    }
    if let Some(counts) = &node.counts {
        let rates = node.rates.as_ref();
        let by = |pick: fn(&Rates) -> &Vec<(String, f64)>| rates.map(pick).map_or(&[][..], Vec::as_slice);
        add("closes", lines_of(&by_label(&counts.closed, by(|rates| &rates.closed_by)), room));
        add("refusals", lines_of(&by_label(&counts.refused, by(|rates| &rates.refused_by)), room));
        add("messages", lines_of(&by_label(&counts.messages, by(|rates| &rates.messages_by)), room));
        add("process", lines_of(&process(counts, rates), room));
        add("shards", lines_of(&shards(counts), room));
    }
    lines
}

fn rule(node: &NodeView, columns: usize) -> Line<'static> {
    let name = format!(" {} ({}) ", node.name(), node.state.word());
    let name = super::figures::shorten(&name, columns.saturating_sub(4));
    let rest = columns.saturating_sub(2 + width(&name));
    Line::from(vec![
        Span::styled("──", dim()),
        Span::styled(name, bold()),
        Span::styled("─".repeat(rest), dim()),
    ])
}

/// What has been counted at all, what happens most now first: `lifetime 12/s (1,234)`.
fn by_label(counts: &[(String, u64)], rates: &[(String, f64)]) -> Vec<String> {
    let now = |label: &str| rates.iter().find(|(known, _)| known == label).map(|(_, rate)| *rate);
    let mut all: Vec<(&str, u64, Option<f64>)> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(label, count)| (label.as_str(), *count, now(label)))
        .collect();
    all.sort_by(|one, other| {
        let by_rate = other.2.unwrap_or(0.0).total_cmp(&one.2.unwrap_or(0.0));
        by_rate.then(other.1.cmp(&one.1))
    });
    if all.is_empty() {
        return vec!["none".into()];
    }
    let words = |(label, count, now): &(&str, u64, Option<f64>)| {
        format!("{label} {}/s ({})", rate(*now, 11), amount(*count as f64, 11))
    };
    all.iter().map(words).collect()
}

fn process(counts: &Counts, rates: Option<&Rates>) -> Vec<String> {
    let bytes = |bytes: f64| words::bytes(bytes) + "/s";
    let mut items: Vec<String> = counts
        .protocols
        .iter()
        .map(|(name, count)| format!("{name} {}", amount(*count as f64, 11)))
        .collect();
    if let Some(rates) = rates {
        items.push(format!("received {}", bytes(rates.bytes_received)));
        items.push(format!("sent {}", bytes(rates.bytes_sent)));
        items.extend(rates.cores.map(|cores| format!("busy {cores:.2} cores")));
        items.push(format!("p99 handshake {}", milliseconds(rates.handshake_p99_ms)));
        items.push(format!("delivery {}", milliseconds(rates.delivery_p99_ms)));
    }
    if counts.drain_remaining > 0 {
        items.push(format!("to leave {}", amount(counts.drain_remaining as f64, 11)));
    }
    match counts.memory_pressure {
        0 => {}
        1 => items.push("short of memory: sheds the lowest lane".into()),
        _ => items.push("short of memory: refuses handshakes".into()),
    }
    items
}

fn shards(counts: &Counts) -> Vec<String> {
    let words = counts.shards.iter().enumerate().map(|(at, shard)| {
        let lag =
            shard.loop_lag_p99_ms.map(|ms| format!(", {} late", milliseconds(Some(ms)))).unwrap_or_default();
        let waits = if shard.outbox_bytes > 0 {
            format!(", {} wait", words::bytes(shard.outbox_bytes as f64))
        } else {
            String::new()
        };
        format!("{at}: {}{lag}{waits}", amount(shard.connections as f64, 11))
    });
    words.collect()
}
