//! What a load test is to do: the scenarios there are, and everything that was asked for. Values only.

use crate::{fleet::Layout, nodes::Nodes, plan::Settings};
use std::time::Duration;

/// What a run plays once its clients are connected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scenario {
    /// Holds the connections, and measures what they cost.
    Idle,
    /// Messages to single clients.
    Push,
    /// Messages to everybody.
    Fanout,
    /// All lose their connection at once and return; without heeding the server's hints, then with.
    Storm,
    /// Reconnects as the server's lifetimes ask for them.
    Lifetimes,
    /// A node is drained.
    Drain,
    /// Some stop to read.
    Slow,
    /// Some vanish without a word.
    Halfopen,
    /// Connections that come and go.
    Churn,
    /// All at once, for long.
    Soak,
}

impl Scenario {
    /// All, as they are listed.
    pub const ALL: [Scenario; 10] = [
        Scenario::Idle,
        Scenario::Push,
        Scenario::Fanout,
        Scenario::Storm,
        Scenario::Lifetimes,
        Scenario::Drain,
        Scenario::Slow,
        Scenario::Halfopen,
        Scenario::Churn,
        Scenario::Soak,
    ];

    /// Its name on the command line and in reports.
    pub const fn label(self) -> &'static str {
        match self {
            Scenario::Idle => "idle",
            Scenario::Push => "push",
            Scenario::Fanout => "fanout",
            Scenario::Storm => "storm",
            Scenario::Lifetimes => "lifetimes",
            Scenario::Drain => "drain",
            Scenario::Slow => "slow",
            Scenario::Halfopen => "halfopen",
            Scenario::Churn => "churn",
            Scenario::Soak => "soak",
        }
    }

    /// What it does, in a line.
    pub const fn about(self) -> &'static str {
        match self {
            Scenario::Idle => {
                "Hold the connections for --hold: bytes per connection, user and kernel apart; CPU at rest"
            }
            Scenario::Push => "Messages to a sample of the users, verified one by one",
            Scenario::Fanout => "Messages to everybody, every copy verified",
            Scenario::Storm => {
                "--share of the clients lose their connection at once and return: at first at once, then as a good client does"
            }
            Scenario::Lifetimes => {
                "For --hold, reconnect when the node asks to: is the rate flat? (lifetime.mean in seconds)"
            }
            Scenario::Drain => {
                "Drain the last node: goaways evenly spread, everybody elsewhere in time; then call it back"
            }
            Scenario::Slow => {
                "--share of the clients stop reading: what becomes of their messages and of the others' latency"
            }
            Scenario::Halfopen => {
                "--share of the clients vanish without a FIN: how long until the node knows"
            }
            Scenario::Churn => "Connections at --churn-rate that open and close at once, for --hold",
            Scenario::Soak => {
                "Pushes, broadcasts and churn for --hold, with the books compared all the while"
            }
        }
    }

    /// Whether it has to ask or tell the node.
    pub const fn needs_internal(self) -> bool {
        matches!(
            self,
            Scenario::Push
                | Scenario::Fanout
                | Scenario::Drain
                | Scenario::Slow
                | Scenario::Halfopen
                | Scenario::Soak
        )
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Task {
    /// Who the clients are.
    pub settings: Settings,
    /// Where they are.
    pub layout: Layout,
    /// The nodes' internal ports; None: nothing is asked of them, and nothing compared.
    pub nodes: Option<Nodes>,
    /// What is played, in this order.
    pub scenarios: Vec<Scenario>,
    /// How many clients.
    pub connections: u32,
    /// Connections a second; infinite: all at once.
    pub rate: f64,
    /// How long scenarios last that end by the clock.
    pub hold: Duration,
    /// How many messages each receiver gets.
    pub pushes: u32,
    /// Share of the users that gets messages of its own, 0 to 1; at least one user.
    pub sample: f64,
    /// Messages a second to single users; infinite: a batch after the other.
    pub push_rate: f64,
    /// Messages of one request; 1: a request each by the endpoint for one user.
    pub batch: usize,
    /// Over which time a broadcast is paced; zero: at once.
    pub spread: Duration,
    /// Size of a message, bytes.
    pub size: usize,
    /// Share of the clients that a storm cuts off, that stop to read, or that vanish, 0 to 1.
    pub share: f64,
    /// Visits a second.
    pub churn_rate: f64,
    /// How long what must happen may take.
    pub patience: Duration,
    /// The command line, without secrets, for the report.
    pub command: Vec<String>,
    /// Progress is not shown.
    pub quiet: bool,
}

impl Task {
    /// Whether nodes and clients are on one host, as far as the addresses tell.
    pub fn is_local(&self) -> bool {
        self.settings.targets.iter().all(|target| target.ip().is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_names() {
        let labels: std::collections::BTreeSet<_> = Scenario::ALL.map(Scenario::label).into();
        assert_eq!(labels.len(), Scenario::ALL.len());
    }
}
