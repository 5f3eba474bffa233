//! What a run has to say: as text for people and as JSON for machines.

mod compare;
mod file;
mod html;
mod latency;
pub mod model;
mod slope;
mod text;
mod words;

pub use compare::{Change, Comparison, Difference, Word, compare};
pub use html::html;
pub use slope::{Slope, slope};
pub use text::text;

use crate::{
    compare::Pair,
    ledger::Ledger,
    worker::tally::{Failure, Tally},
};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write, time::Duration};

/// The percentiles that are told.
const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99)];

/// A finished run.
pub struct Report {
    /// Clients that were to connect.
    pub asked: u32,
    /// From the first connection's start to the last one's being open.
    pub ramp: Duration,
    /// The rate that was asked for, connections a second; infinite: all at once.
    pub rate: f64,
    /// The whole run.
    pub took: Duration,
    /// What the clients counted.
    pub tally: Tally,
    /// What was sent and what became of it.
    pub ledger: Ledger,
    /// Both books side by side, at the fullest moment and at the end.
    pub pairs: Vec<(&'static str, Vec<Pair>)>,
    /// Everything that is not as it must be, in sentences.
    pub mismatches: Vec<String>,
    /// It was ended before it was through.
    pub interrupted: bool,
}

impl Report {
    /// Whether everything was as it must be.
    pub fn is_good(&self) -> bool {
        self.mismatches.is_empty()
    }

    /// For people.
    pub fn text(&self) -> String {
        let tally = &self.tally;
        let mut out = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a String can not fail.
            let _ = writeln!(out, "{name:<22}{value}");
        };
        let opened = tally.opened;
        let seconds = self.ramp.as_secs_f64().max(1e-6);
        line("clients", format!("{}", self.asked));
        line("opened", format!("{} ({} websocket, {} sse)", opened.sum(), opened.websocket, opened.sse));
        let asked =
            if self.rate.is_finite() { format!("{}/s asked for", self.rate) } else { "no rate set".into() };
        let first = (opened.sum() - tally.reconnected) as f64;
        line("ramp", format!("{seconds:.1} s, {:.0}/s ({asked})", first / seconds));
        line("handshake", percentiles(&tally.handshake_us));
        for (status, count) in &tally.refused {
            line("refused", format!("{count} with status {status}"));
        }
        for (failure, count) in &tally.failed {
            line("failed", format!("{count}: {}", failure.words()));
        }
        line("goaways", format!("{}; {} came back", tally.goaways, tally.reconnected));
        for (ending, count) in &tally.endings {
            line("ended", format!("{count} {ending}"));
        }
        line("messages to one", format!("{}; {} came", outcomes(&self.ledger.direct), tally.direct));
        line("copies to all", format!("{}; {} came", outcomes(&self.ledger.copies), tally.broadcast));
        line("delivery", percentiles(&tally.delivery_us));
        line("own lateness", percentiles(&tally.late_us));
        line("took", format!("{:.1} s", self.took.as_secs_f64()));
        out.push_str(&self.compared());
        for mismatch in &self.mismatches {
            let _ = writeln!(out, "MISMATCH: {mismatch}");
        }
        let verdict = match (self.is_good(), self.interrupted) {
            (true, false) => "all as it must be",
            (true, true) => "interrupted; so far all as it must be",
            (false, _) => "not as it must be",
        };
        let _ = writeln!(out, "{verdict}");
        out
    }

    fn compared(&self) -> String {
        let mut out = String::new();
        for (when, pairs) in &self.pairs {
            let _ = writeln!(out, "\n{when:<54}{:>12}{:>12}", "clients", "node");
            for pair in pairs.iter().filter(|pair| pair.ours > 0 || pair.node != 0.0) {
                let mark = if pair.agrees() { "" } else { "  <--" };
                let _ = writeln!(out, "  {:<52}{:>12}{:>12}{mark}", pair.what, pair.ours, pair.node);
            }
        }
        if !self.pairs.is_empty() {
            out.push('\n');
        }
        out
    }

    /// For machines; times in microseconds.
    pub fn json(&self) -> Value {
        let tally = &self.tally;
        let named = |map: &BTreeMap<_, u64>| -> Value {
            map.iter().map(|(key, count): (&Failure, _)| (format!("{key:?}"), json!(count))).collect()
        };
        let pairs = self.pairs.iter().map(|(when, pairs)| {
            let each =
                pairs.iter().map(|pair| json!({"what": pair.what, "clients": pair.ours, "node": pair.node}));
            json!({ "when": when, "numbers": each.collect::<Vec<_>>() })
        });
        json!({
            "clients": self.asked,
            "opened": { "websocket": tally.opened.websocket, "sse": tally.opened.sse },
            "rate_asked": self.rate.is_finite().then_some(self.rate),
            "ramp_s": self.ramp.as_secs_f64(),
            "took_s": self.took.as_secs_f64(),
            "interrupted": self.interrupted,
            "refused": tally.refused.iter().map(|(status, n)| (status.to_string(), json!(n))).collect::<Value>(),
            "failed": named(&tally.failed),
            "ended": tally.endings.iter().map(|(end, n)| (end.to_string(), json!(n))).collect::<Value>(),
            "goaways": tally.goaways,
            "reconnected": tally.reconnected,
            "direct": { "outcomes": self.ledger.direct, "received": tally.direct },
            "broadcast": { "outcomes": self.ledger.copies, "received": tally.broadcast },
            "handshake_us": histogram(&tally.handshake_us),
            "delivery_us": histogram(&tally.delivery_us),
            "own_lateness_us": histogram(&tally.late_us),
            "compared": pairs.collect::<Vec<_>>(),
            "mismatches": self.mismatches,
            "good": self.is_good(),
        })
    }
}

fn outcomes(counts: &BTreeMap<String, u64>) -> String {
    let words: Vec<String> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(outcome, count)| format!("{count} {outcome}"))
        .collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

fn percentiles(histogram: &Histogram<u64>) -> String {
    if histogram.is_empty() {
        return "-".into();
    }
    let mut words: Vec<String> = PERCENTILES
        .iter()
        .map(|(name, percentile)| format!("{name} {}", time(histogram.value_at_percentile(*percentile))))
        .collect();
    words.push(format!("max {}", time(histogram.max())));
    words.join("  ")
}

fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

fn histogram(histogram: &Histogram<u64>) -> Value {
    let each =
        PERCENTILES.iter().map(|(name, at)| ((*name).to_owned(), json!(histogram.value_at_percentile(*at))));
    let more = [("count", histogram.len()), ("max", if histogram.is_empty() { 0 } else { histogram.max() })];
    each.chain(more.map(|(name, value)| (name.to_owned(), json!(value)))).collect()
}
