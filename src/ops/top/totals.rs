//! A fleet's numbers in sum, and how they went.
//!
//! Pure.

use crate::ops::fleet::{Counts, State, View};
use std::{collections::VecDeque, time::Duration};

/// Readings that are kept: ten minutes at one a second, and more than a terminal is wide.
pub(super) const HISTORY_MAX: usize = 600;

/// A fleet in sum.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Totals {
    /// Nodes that take connections.
    pub serving: usize,
    /// Nodes that leave.
    pub draining: usize,
    /// Nodes that did not answer as a node does.
    pub silent: usize,
    /// Open connections; of silent nodes what their leases say.
    pub connections: u64,
    /// Connections that all may hold.
    pub capacity: u64,
    /// By the second, of the nodes whose rates are known. None where there is no such node.
    pub flow: Option<Flow>,
    /// Of the slowest node, between the last two looks, ms.
    pub delivery_p99_ms: Option<f64>,
    /// The same of event loops.
    pub loop_lag_p99_ms: Option<f64>,
    /// Messages that wait in the queue, by lane.
    pub lag: Vec<(String, u64)>,
    /// Resident memory, bytes.
    pub resident: u64,
}

/// What happens by the second.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Flow {
    /// Handshakes that are accepted.
    pub opened: f64,
    /// Handshakes that are refused.
    pub refused: f64,
    /// Connections that end.
    pub closed: f64,
    /// Messages of any outcome.
    pub messages: f64,
    /// The same by outcome.
    pub messages_by: Vec<(String, f64)>,
}

impl Totals {
    /// Adds up a view.
    pub fn of(view: &View) -> Self {
        let mut all = Self::default();
        for node in &view.nodes {
            match node.state {
                State::Serving => all.serving += 1,
                State::Draining => all.draining += 1,
                State::Silent(_) => all.silent += 1,
            }
            all.connections = all.connections.saturating_add(node.connections);
            all.capacity = all.capacity.saturating_add(node.capacity);
            if let Some(counts) = &node.counts {
                all.add(counts);
            }
            if let Some(rates) = &node.rates {
                let flow = all.flow.get_or_insert_default();
                flow.opened += rates.opened;
                flow.refused += rates.refused;
                flow.closed += rates.closed;
                flow.messages += rates.messages;
                all.delivery_p99_ms = slower(all.delivery_p99_ms, rates.delivery_p99_ms);
                all.loop_lag_p99_ms = slower(all.loop_lag_p99_ms, rates.loop_lag_p99_ms);
                for (outcome, rate) in &rates.messages_by {
                    *entry(&mut flow.messages_by, outcome) += rate;
                }
            }
        }
        all
    }

    fn add(&mut self, counts: &Counts) {
        self.resident = self.resident.saturating_add(counts.resident.unwrap_or(0));
        for (lane, lag) in &counts.lag {
            let sum = entry(&mut self.lag, lane);
            *sum = sum.saturating_add(*lag);
        }
    }

    /// Nodes of any state.
    pub fn nodes(&self) -> usize {
        self.serving + self.draining + self.silent
    }

    /// Connections divided by capacity; none where there is no capacity.
    pub fn utilization(&self) -> Option<f64> {
        (self.capacity > 0).then(|| self.connections as f64 / self.capacity as f64)
    }
}

fn entry<'a, T: Default>(all: &'a mut Vec<(String, T)>, label: &str) -> &'a mut T {
    let at = all.iter().position(|(known, _)| known == label).unwrap_or_else(|| {
        all.push((label.to_owned(), T::default()));
        all.len() - 1
    });
    &mut all[at].1
}

fn slower(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).max_by(f64::total_cmp)
}

/// One reading of a fleet, as far as it is drawn.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Sample {
    pub(super) at: Duration,
    pub(super) connections: u64,
    /// Handshakes by the second, whatever became of them; none while it is not known.
    pub(super) handshakes: Option<u64>,
}

/// The last readings, the newest last.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
    /// Readings that are there no more.
    dropped: usize,
}

impl History {
    pub(super) fn push(&mut self, at: Duration, totals: &Totals) {
        if self.samples.len() == HISTORY_MAX {
            self.samples.pop_front();
            self.dropped += 1;
        }
        let handshakes = totals.flow.as_ref().map(|flow| (flow.opened + flow.refused).round() as u64);
        self.samples.push_back(Sample { at, connections: totals.connections, handshakes });
    }

    /// All of it in at most so many samples, and the time that they span. One that stands for several has their fewest
    /// connections and their most handshakes, so that a herd is seen however short it was.
    pub(super) fn within(&self, count: usize) -> (Vec<Sample>, Duration) {
        let ends = self.samples.front().zip(self.samples.back());
        let span = ends.map_or(Duration::ZERO, |(first, last)| last.at.saturating_sub(first.at));
        // A power of two, and groups that stay what they are while time goes on: the curve moves and does not dance.
        let mut size = 1;
        while self.samples.len() / size + 2 > count.max(3) {
            size *= 2;
        }
        let mut grouped: Vec<Sample> = Vec::new();
        for (at, sample) in self.samples.iter().enumerate() {
            let begins = (self.dropped + at).is_multiple_of(size);
            match grouped.last_mut().filter(|_| !begins) {
                Some(group) => group.add(sample),
                None => grouped.push(*sample),
            }
        }
        (grouped, span)
    }
}

impl Sample {
    fn add(&mut self, other: &Sample) {
        self.connections = self.connections.min(other.connections);
        self.handshakes = self.handshakes.max(other.handshakes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_herd_is_seen_however_narrow_the_curve() {
        let mut history = History::default();
        let reading = |connections, opened| Totals {
            connections,
            flow: Some(Flow { opened, ..Flow::default() }),
            ..Totals::default()
        };
        for at in 0..1_000_u64 {
            let (connections, opened) = if at == 700 { (40, 9_000.0) } else { (100, 5.0) };
            history.push(Duration::from_secs(at), &reading(connections, opened));
        }
        for count in [3, 10, 47, 200, 599, 10_000] {
            let (samples, span) = history.within(count);
            assert!(samples.len() <= count.max(3), "{} in {count}", samples.len());
            assert_eq!(samples.iter().map(|sample| sample.connections).min(), Some(40), "{count}");
            assert_eq!(samples.iter().filter_map(|sample| sample.handshakes).max(), Some(9_000), "{count}");
            assert_eq!(span, Duration::from_secs(599));
        }
        assert_eq!(history.within(10_000).0.len(), HISTORY_MAX);
        assert_eq!(History::default().within(10), (Vec::new(), Duration::ZERO));
    }

    #[test]
    fn the_curve_moves_and_does_not_dance() {
        let mut history = History::default();
        for at in 0..HISTORY_MAX as u64 {
            history.push(Duration::from_secs(at), &Totals { connections: at * 7 % 31, ..Totals::default() });
        }
        let (before, _) = history.within(50);
        history.push(Duration::from_secs(1_000), &Totals::default());
        let (after, _) = history.within(50);
        // All but the two at the ends are as they were.
        assert_eq!(before[1..before.len() - 1], after[1..before.len() - 1]);
    }
}
