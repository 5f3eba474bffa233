//! A view for who has no terminal: rows of words, or JSON.

use super::{
    Column,
    figures::{amount, milliseconds, percent, rate},
    totals::{Flow, Totals},
};
use crate::ops::fleet::{NodeView, Rates, View};
use serde_json::{Map, Value, json};

/// The table, its head first, one row for each node.
pub fn rows(view: &View) -> Vec<Vec<String>> {
    let mut rows = vec![Column::ALL.map(|column| column.title().to_owned()).to_vec()];
    rows.extend(view.nodes.iter().map(|node| Column::ALL.map(|column| filled(column.cell(node))).to_vec()));
    rows
}

/// A column that is empty in the middle of a row would be taken for the next one's by who cuts at blanks.
fn filled(cell: String) -> String {
    if cell.is_empty() { holdfast_plots::words::NONE.to_owned() } else { cell }
}

impl Totals {
    /// The fleet in one line.
    pub fn line(&self) -> String {
        let flow = self.flow.as_ref();
        let by_second = |pick: fn(&Flow) -> f64| rate(flow.map(pick), 15);
        let lag: Vec<String> =
            self.lag.iter().map(|(lane, lag)| format!("{lane} {}", amount(*lag as f64, 15))).collect();
        let queue = if lag.is_empty() { String::new() } else { format!("; queued: {}", lag.join(", ")) };
        format!(
            "{} of {} connections ({}); handshakes {}/s, refused {}/s, closes {}/s, messages {}/s; delivery p99 {}{queue}",
            amount(self.connections as f64, 20),
            amount(self.capacity as f64, 20),
            percent(self.utilization()),
            by_second(|flow| flow.opened),
            by_second(|flow| flow.refused),
            by_second(|flow| flow.closed),
            by_second(|flow| flow.messages),
            milliseconds(self.delivery_p99_ms),
        )
    }
}

/// The fleet and each node. What is not known is null; times are in ms, memory in bytes, rates by the second.
pub fn json(view: &View) -> Value {
    let totals = Totals::of(view);
    let flow = totals.flow.as_ref().map(|flow| {
        json!({
            "accepted": flow.opened,
            "refused": flow.refused,
            "closed": flow.closed,
            "messages": flow.messages,
            "messages_by_outcome": labelled(&flow.messages_by),
        })
    });
    json!({
        "fleet": {
            "serving": totals.serving,
            "draining": totals.draining,
            "silent": totals.silent,
            "connections": totals.connections,
            "capacity": totals.capacity,
            "utilization": totals.utilization(),
            "per_second": flow,
            "delivery_p99_ms": totals.delivery_p99_ms,
            "loop_lag_p99_ms": totals.loop_lag_p99_ms,
            "kafka_lag": labelled(&totals.lag),
            "resident": totals.resident,
        },
        "nodes": view.nodes.iter().map(node).collect::<Vec<_>>(),
    })
}

fn node(node: &NodeView) -> Value {
    let (counts, rates) = (node.counts.as_ref(), node.rates.as_ref());
    json!({
        "node": node.id,
        "address": node.address,
        "region": node.region,
        "version": node.version,
        "state": node.state.word(),
        "why": node.fault(),
        "connections": node.connections,
        "capacity": node.capacity,
        "utilization": node.utilization(),
        "per_second": rates.map(per_second),
        "refused": counts.map(|counts| labelled(&counts.refused)),
        "closed": counts.map(|counts| labelled(&counts.closed)),
        "messages": counts.map(|counts| labelled(&counts.messages)),
        "kafka_lag": counts.map(|counts| labelled(&counts.lag)),
        "handshake_p99_ms": rates.and_then(|rates| rates.handshake_p99_ms),
        "delivery_p99_ms": rates.and_then(|rates| rates.delivery_p99_ms),
        "loop_lag_p99_ms": rates.and_then(|rates| rates.loop_lag_p99_ms),
        "bytes_per_connection": counts.and_then(|counts| counts.bytes_per_connection),
        "resident": counts.and_then(|counts| counts.resident),
        "memory_pressure": counts.map(|counts| counts.memory_pressure),
        "drain_remaining": counts.map(|counts| counts.drain_remaining),
    })
}

fn per_second(rates: &Rates) -> Value {
    json!({
        "accepted": rates.opened,
        "refused": rates.refused,
        "closed": rates.closed,
        "messages": rates.messages,
        "refused_by_reason": labelled(&rates.refused_by),
        "closed_by_reason": labelled(&rates.closed_by),
        "messages_by_outcome": labelled(&rates.messages_by),
        "bytes_received": rates.bytes_received,
        "bytes_sent": rates.bytes_sent,
        "cores": rates.cores,
    })
}

fn labelled<T: Copy + Into<Value>>(entries: &[(String, T)]) -> Value {
    Value::Object(
        entries.iter().map(|(label, value)| (label.clone(), (*value).into())).collect::<Map<_, _>>(),
    )
}
