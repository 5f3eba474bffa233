//! The columns of the table of nodes: what they are called, what stands in them, how they sort.
//!
//! Pure.

use super::figures::{amount, milliseconds, percent, rate};
use crate::ops::fleet::{NodeView, Rates, sum};
use holdfast_plots::words;
use std::cmp::Ordering;

/// A column of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Column {
    /// The node's name.
    Node,
    /// Its region.
    Region,
    /// Serving, draining or silent.
    State,
    /// Open connections.
    Connections,
    /// Connections divided by capacity.
    Full,
    /// Handshakes accepted, by the second.
    In,
    /// Connections ended, by the second.
    Out,
    /// Handshakes refused, by the second.
    Refused,
    /// Messages of any outcome, by the second.
    Messages,
    /// How late its event loops are, 99th percentile.
    LoopLag,
    /// Messages that wait in the queue for it.
    Queue,
    /// What the program holds for each connection.
    PerConnection,
    /// Resident memory.
    Memory,
    /// Its release.
    Version,
}

use Column::*;

impl Column {
    /// All, as they stand from left to right.
    pub const ALL: [Column; 14] = [
        Node,
        Region,
        State,
        Connections,
        Full,
        In,
        Out,
        Refused,
        Messages,
        LoopLag,
        Queue,
        PerConnection,
        Memory,
        Version,
    ];

    /// The order in which they find room: what is last goes first on a narrow terminal.
    pub(super) const BY_NEED: [Column; 14] = [
        Node,
        State,
        Connections,
        Full,
        In,
        Refused,
        Out,
        Messages,
        LoopLag,
        PerConnection,
        Memory,
        Queue,
        Region,
        Version,
    ];

    /// Its head.
    pub fn title(self) -> &'static str {
        match self {
            Node => "NODE",
            Region => "REGION",
            State => "STATE",
            Connections => "CONNECTIONS",
            Full => "FULL",
            In => "IN/S",
            Out => "OUT/S",
            Refused => "REFUSED/S",
            Messages => "MESSAGES/S",
            LoopLag => "LOOP P99",
            Queue => "QUEUED",
            PerConnection => "B/CONN",
            Memory => "MEMORY",
            Version => "VERSION",
        }
    }

    /// What it says, in words.
    pub fn about(self) -> &'static str {
        match self {
            Node => "name, or address of one that has not said it",
            Region => "node.region",
            State => "serving, draining, or silent: asked in vain",
            Connections => "open; of a silent node, by its lease",
            Full => "connections divided by capacity",
            In => "handshakes accepted",
            Out => "connections ended",
            Refused => "handshakes refused",
            Messages => "messages, whatever became of them",
            LoopLag => "lateness of its event loops, 99 of 100",
            Queue => "messages in Kafka that it has yet to read",
            PerConnection => "memory of the program by connection",
            Memory => "resident",
            Version => "release",
        }
    }

    /// Columns of a terminal that it takes at least.
    pub(super) fn width(self) -> usize {
        match self {
            Node => 12,
            Region | Version => 10,
            State | Full | LoopLag | Queue | PerConnection | Memory => 8,
            Connections => 11,
            In | Out => 7,
            Refused => 9,
            Messages => 10,
        }
    }

    /// Whether it lines up at the right, as numbers do.
    pub(super) fn is_number(self) -> bool {
        !matches!(self, Node | Region | State | Version)
    }

    /// What stands in it for a node.
    pub fn cell(self, node: &NodeView) -> String {
        let counts = node.counts.as_ref();
        let by_second = |pick: fn(&Rates) -> f64| rate(node.rates.as_ref().map(pick), self.width());
        let or_none = |text: Option<String>| text.unwrap_or_else(|| words::NONE.into());
        let bytes = |bytes: Option<u64>| or_none(bytes.map(|bytes| words::bytes(bytes as f64)));
        match self {
            Node => node.name().to_owned(),
            Region => node.region.clone(),
            State => node.state.word().to_owned(),
            Connections => amount(node.connections as f64, self.width()),
            Full => percent(node.utilization()),
            In => by_second(|rates| rates.opened),
            Out => by_second(|rates| rates.closed),
            Refused => by_second(|rates| rates.refused),
            Messages => by_second(|rates| rates.messages),
            LoopLag => milliseconds(node.rates.as_ref().and_then(|rates| rates.loop_lag_p99_ms)),
            Queue => or_none(counts.map(|counts| amount(sum(&counts.lag) as f64, self.width()))),
            PerConnection => bytes(counts.and_then(|counts| counts.bytes_per_connection)),
            Memory => bytes(counts.and_then(|counts| counts.resident)),
            Version => node.version.clone(),
        }
    }

    /// What is first where the table is sorted by this column: texts from a on, numbers from the largest. Nodes for which the
    /// number is not known come last, whichever way.
    pub(super) fn order(self, one: &NodeView, other: &NodeView, reversed: bool) -> Ordering {
        let texts = match self {
            Node => Some((one.name(), other.name())),
            Region => Some((one.region.as_str(), other.region.as_str())),
            State => Some((one.state.word(), other.state.word())),
            Version => Some((one.version.as_str(), other.version.as_str())),
            _ => None,
        };
        let turn = |order: Ordering| if reversed { order.reverse() } else { order };
        let by_column = match texts {
            Some((one, other)) => turn(one.cmp(other)),
            None => match (self.value(one), self.value(other)) {
                (Some(one), Some(other)) => turn(other.total_cmp(&one)),
                (one, other) => other.is_some().cmp(&one.is_some()),
            },
        };
        by_column.then_with(|| one.name().cmp(other.name()))
    }

    fn value(self, node: &NodeView) -> Option<f64> {
        let (rates, counts) = (node.rates.as_ref(), node.counts.as_ref());
        match self {
            Connections => Some(node.connections as f64),
            Full => node.utilization(),
            In => rates.map(|rates| rates.opened),
            Out => rates.map(|rates| rates.closed),
            Refused => rates.map(|rates| rates.refused),
            Messages => rates.map(|rates| rates.messages),
            LoopLag => rates?.loop_lag_p99_ms,
            Queue => counts.map(|counts| sum(&counts.lag) as f64),
            PerConnection => counts?.bytes_per_connection.map(|bytes| bytes as f64),
            Memory => counts?.resident.map(|bytes| bytes as f64),
            Node | Region | State | Version => None,
        }
    }
}
