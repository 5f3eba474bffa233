//! What is seen of a fleet, as far as it concerns the number of its nodes: made from what nodes answer, or from their leases.

use super::policy::Load;
use crate::{
    bridge::store::LiveLease,
    ops::fleet::{State, View},
};
use holdfast_plots::words;

/// A fleet at one moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Seen {
    /// Of the nodes that were seen.
    pub load: Load,
    /// What a node that serves may hold, on average; None: none serves.
    pub capacity: Option<f64>,
    /// Nodes that should be there and were not seen, each with a sentence.
    pub silent: Vec<String>,
    /// Processes that only read the queue.
    pub processors: u32,
    /// Messages that wait in the queue, of all lanes; None: not known.
    pub lag: Option<f64>,
    /// Messages that came to their end, per second; None: not known yet.
    pub handled_per_s: Option<f64>,
}

impl Seen {
    /// From what nodes answered.
    pub fn of_view(view: &View) -> Self {
        let mut seen = Self::default();
        let mut capacity = 0.0;
        for node in &view.nodes {
            if let State::Silent(why) = &node.state {
                seen.silent.push(format!("{}: {}", words::plain(node.name()), words::plain(why)));
                continue;
            }
            if let Some(counts) = &node.counts {
                let lag: u64 = counts.lag.iter().map(|(_, lag)| lag).sum();
                seen.lag = Some(seen.lag.unwrap_or(0.0) + lag as f64);
            }
            if let Some(rates) = &node.rates {
                seen.handled_per_s = Some(seen.handled_per_s.unwrap_or(0.0) + rates.messages);
            }
            if node.capacity == 0 {
                seen.processors += 1;
                continue;
            }
            capacity += seen.add(node.connections, node.capacity, node.state == State::Draining);
        }
        seen.capacity = mean(capacity, seen.load.nodes);
        seen
    }

    /// From leases in the registry. Who has none is no node.
    pub fn of_leases(leases: &[LiveLease]) -> Self {
        let mut seen = Self::default();
        let mut capacity = 0.0;
        for LiveLease { lease, .. } in leases {
            if lease.capacity == 0 {
                seen.processors += 1;
                continue;
            }
            capacity += seen.add(lease.connections, lease.capacity, lease.draining);
        }
        seen.capacity = mean(capacity, seen.load.nodes);
        seen
    }

    /// What the node adds to the capacity of those that serve.
    fn add(&mut self, connections: u64, capacity: u64, is_draining: bool) -> f64 {
        self.load.connections += connections as f64;
        match (is_draining, connections) {
            (false, _) => {
                self.load.nodes += 1;
                capacity as f64
            }
            // It has left: nobody waits for it.
            (true, 0) => 0.0,
            (true, _) => {
                self.load.draining += 1;
                0.0
            }
        }
    }
}

fn mean(sum: f64, nodes: u32) -> Option<f64> {
    (nodes > 0).then(|| sum / f64::from(nodes))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        bridge::{registry::Lease, store::LiveLease},
        ops::fleet::{Counts, NodeView, Rates},
    };

    /// A node as it may be seen.
    pub fn node(name: &str, state: State, connections: u64, capacity: u64) -> NodeView {
        let is_silent = matches!(state, State::Silent(_));
        let counts = Counts {
            connections,
            capacity,
            lag: vec![("high".into(), 30), ("low".into(), 70)],
            ..Counts::default()
        };
        NodeView {
            address: "10.0.0.1:7008".into(),
            id: name.into(),
            region: String::new(),
            version: String::new(),
            state,
            connections,
            capacity,
            counts: (!is_silent).then_some(counts),
            rates: (!is_silent).then(|| Rates { seconds: 15.0, messages: 500.0, ..Rates::default() }),
        }
    }

    #[test]
    fn nodes_are_told_apart() {
        let view = View {
            nodes: vec![
                node("a", State::Serving, 1_000, 2_000),
                node("b", State::Serving, 500, 4_000),
                node("c", State::Draining, 300, 2_000),
                node("done", State::Draining, 0, 2_000),
                node("p", State::Serving, 0, 0),
                node("lost", State::Silent("connection\nrefused".into()), 700, 2_000),
            ],
            ..View::default()
        };
        let expected = Seen {
            load: Load { connections: 1_800.0, nodes: 2, draining: 1 },
            capacity: Some(3_000.0),
            silent: vec!["lost: connection refused".into()],
            processors: 1,
            lag: Some(500.0),
            handled_per_s: Some(2_500.0),
        };
        assert_eq!(Seen::of_view(&view), expected);
        assert_eq!(Seen::of_view(&View::default()), Seen::default());
    }

    #[test]
    fn leases_say_the_same() {
        let lease = |node: &str, connections, capacity, draining| LiveLease {
            lease: Lease {
                node: node.into(),
                address: "10.0.0.1:7008".into(),
                region: String::new(),
                incarnation: 1,
                capacity,
                connections,
                draining,
                version: String::new(),
                lanes: Default::default(),
            },
            format: 1,
            left_ms: 9_000,
        };
        let leases = [lease("a", 1_000, 2_000, false), lease("b", 10, 2_000, true), lease("p", 0, 0, false)];
        let seen = Seen::of_leases(&leases);
        assert_eq!(seen.load, Load { connections: 1_010.0, nodes: 1, draining: 1 });
        assert_eq!((seen.capacity, seen.processors, seen.lag), (Some(2_000.0), 1, None));
    }
}
