//! The clients' counts beside the node's own: two sets of books that must agree.

use crate::{
    client::Protocol,
    internal::Metrics,
    ledger::Ledger,
    worker::tally::{Ending, Tally},
};

/// One number of both books.
#[derive(Clone, PartialEq, Debug)]
pub struct Pair {
    /// What is counted.
    pub what: String,
    /// By the clients and the sender.
    pub ours: u64,
    /// By the node, since the run began.
    pub node: f64,
    /// By how much they may differ: what clients that reset their connection, or read too slowly, may not have seen.
    pub slack: u64,
}

impl Pair {
    fn new(what: impl Into<String>, ours: u64, node: f64) -> Self {
        Self { what: what.into(), ours, node, slack: 0 }
    }

    /// Whether both say the same.
    pub fn agrees(&self) -> bool {
        (self.ours as f64 - self.node).abs() <= self.slack as f64
    }

    /// The difference in a sentence.
    pub fn words(&self) -> String {
        let Pair { what, ours, node, .. } = self;
        format!("{what}: {ours} by the clients' count, {node} by the node's /metrics (has it other clients?)")
    }
}

/// Groups of reasons that a client can tell apart: their labels, the close codes it sees, and what they are called.
const REASONS: [(&str, &[&str], &[u16]); 2] = [
    ("closed because the device or user came again (4001)", &["displaced", "user_limit"], &[4001]),
    (
        "closed for a violation (1002, 1007, 1009)",
        &["protocol_error", "invalid_payload", "message_too_big"],
        &[1002, 1007, 1009],
    ),
];

/// What an event stream gets whose device comes again too often.
const NO_CONTENT: u16 = 204;

/// Every number that both know, since `before` was scraped. They agree once nothing is under way.
pub fn pairs(tally: &Tally, ledger: &Ledger, before: &Metrics, now: &Metrics) -> Vec<Pair> {
    let grown = |name: &str, label: &str| now.growth(before, name, label);
    let mut pairs = Vec::new();
    for protocol in Protocol::ALL {
        let label = format!("protocol=\"{}\"", protocol.label());
        let open = grown("holdfast_connections", &label);
        pairs.push(Pair::new(
            format!("open connections ({})", protocol.label()),
            tally.open.of(protocol),
            open,
        ));
    }
    // A WebSocket that comes again too often is refused by a 101 and a close; the client sees it open and end.
    let fights = grown("holdfast_handshakes_total", "result=\"takeover_fight\"");
    let fights = fights - tally.refused.get(&NO_CONTENT).copied().unwrap_or(0) as f64;
    let accepted = fights + grown("holdfast_handshakes_total", "result=\"accepted\"");
    pairs.push(Pair::new("accepted handshakes", tally.opened.sum(), accepted));
    pairs.push(Pair::new("closed connections", tally.ended(), fights + grown("holdfast_closes_total", "")));
    for (what, reasons, codes) in REASONS {
        let node: f64 = reasons
            .iter()
            .map(|reason| grown("holdfast_closes_total", &format!("reason=\"{reason}\"")))
            .sum();
        let refused = if codes.contains(&4001) { fights } else { 0.0 };
        let ours = codes.iter().map(|&code| tally.ended_by(Ending::Server(code))).sum();
        pairs.push(Pair::new(what, ours, refused + node));
    }
    pairs.push(Pair::new(
        "closed for a fault of the node's own",
        tally.ended_by(Ending::Server(1011)),
        grown("holdfast_closes_total", "reason=\"server_error\""),
    ));
    let unseen = tally.ended_by(Ending::Aborted) + ledger.outcomes("slow");
    let goaways = Pair::new("goaways", tally.goaways, grown("holdfast_goaways_total", ""));
    pairs.push(Pair { slack: unseen, ..goaways });
    for outcome in OUTCOMES {
        let node = grown("holdfast_messages_total", &format!("outcome=\"{outcome}\""));
        pairs.push(Pair::new(format!("messages {outcome}"), ledger.outcomes(outcome), node));
    }
    pairs
}

/// What can become of a message.
const OUTCOMES: [&str; 10] = [
    "written",
    "acked",
    "offline",
    "stale",
    "slow",
    "rate_limited",
    "expired",
    "too_large",
    "duplicate",
    "failed",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn equal_books_agree_and_each_difference_is_named() {
        let before = Metrics::parse("holdfast_connections{protocol=\"sse\"} 5\n");
        let now = Metrics::parse(
            "holdfast_connections{protocol=\"sse\"} 7\nholdfast_handshakes_total{result=\"accepted\"} 3\n\
             holdfast_handshakes_total{result=\"full\"} 9\nholdfast_closes_total{reason=\"displaced\"} 1\n\
             holdfast_messages_total{lane=\"normal\",outcome=\"written\"} 4\n",
        );
        let mut tally = Tally::default();
        tally.open.sse = 2;
        tally.opened.sse = 3;
        tally.endings.insert(Ending::Server(4001), 1);
        let mut ledger = Ledger::default();
        ledger.sent_to_all(1, &BTreeMap::from([("written".to_owned(), 4)]));
        assert!(pairs(&tally, &ledger, &before, &now).iter().all(Pair::agrees));
        tally.opened.sse = 4;
        let pairs = pairs(&tally, &ledger, &before, &now);
        let wrong: Vec<String> = pairs.iter().filter(|pair| !pair.agrees()).map(Pair::words).collect();
        assert_eq!(wrong.len(), 1);
        assert!(wrong[0].starts_with("accepted handshakes: 4 by the clients' count, 3 by"), "{wrong:?}");
    }
}
