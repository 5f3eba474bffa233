//! What one shard counts.
//!
//! One thread, the shard's, writes; any thread reads. So a counter is a load and a store, never a locked instruction.

use super::timing::Timing;
use crate::model::{Lane, Protocol, Reason, lane::LANES_MAX};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Mailbox lanes: the control lane and every message lane.
pub(super) const MAILBOX_LANES_MAX: usize = LANES_MAX + 1;

/// A number with one writer.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

impl Cell {
    fn add(&self, more: u64) {
        // No other thread writes between the load and the store.
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One number for each reason.
pub(super) type ByReason = [Cell; Reason::ALL.len()];

/// The counters of one shard. Every method that counts is for the shard's own thread alone.
#[derive(Debug)]
pub struct ShardStats {
    pub(super) opened: [Cell; Protocol::ALL.len()],
    pub(super) closed: [Cell; Protocol::ALL.len()],
    pub(super) closes: ByReason,
    pub(super) goaways: ByReason,
    pub(super) accepted: Cell,
    pub(super) refused: ByReason,
    pub(super) handshakes_waiting: Cell,
    pub(super) bytes_in: Cell,
    pub(super) bytes_out: Cell,
    pub(super) frames_in: Cell,
    pub(super) accept_emfile: Cell,
    pub(super) outbox_bytes: Cell,
    pub(super) lent_bytes: Cell,
    pub(super) wheel_len: Cell,
    pub(super) mailbox_depth: [Cell; MAILBOX_LANES_MAX],
    pub(super) handshake: Timing,
    pub(super) delivery: Vec<Timing>,
    pub(super) loop_lag: Timing,
    pub(super) loop_turn: Timing,
}

impl ShardStats {
    /// Zeroes, for a node with so many message lanes.
    pub fn new(lanes: usize) -> Self {
        Self {
            opened: Default::default(),
            closed: Default::default(),
            closes: std::array::from_fn(|_| Cell::default()),
            goaways: std::array::from_fn(|_| Cell::default()),
            accepted: Cell::default(),
            refused: std::array::from_fn(|_| Cell::default()),
            handshakes_waiting: Cell::default(),
            bytes_in: Cell::default(),
            bytes_out: Cell::default(),
            frames_in: Cell::default(),
            accept_emfile: Cell::default(),
            outbox_bytes: Cell::default(),
            lent_bytes: Cell::default(),
            wheel_len: Cell::default(),
            mailbox_depth: Default::default(),
            handshake: Timing::new(),
            delivery: (0..lanes).map(|_| Timing::new()).collect(),
            loop_lag: Timing::new(),
            loop_turn: Timing::new(),
        }
    }

    /// A connection is open: its handshake is done.
    pub fn opened(&self, protocol: Protocol) {
        self.opened[protocol as usize].add(1);
    }

    /// An open connection ended.
    pub fn closed(&self, protocol: Protocol, reason: Reason) {
        self.closed[protocol as usize].add(1);
        self.closes[reason as usize].add(1);
    }

    /// A handshake was accepted, so many microseconds after the accept.
    pub fn handshake_accepted(&self, micros: u64) {
        self.accepted.add(1);
        self.handshake.record(micros);
    }

    /// A handshake was refused.
    pub fn handshake_refused(&self, reason: Reason) {
        self.refused[reason as usize].add(1);
    }

    /// Handshakes under way now.
    pub fn handshakes_waiting(&self, handshakes: u64) {
        self.handshakes_waiting.set(handshakes);
    }

    /// A connection was asked to leave.
    pub fn goaway(&self, reason: Reason) {
        self.goaways[reason as usize].add(1);
    }

    /// Bytes were read from a client.
    pub fn bytes_in(&self, bytes: u64) {
        self.bytes_in.add(bytes);
    }

    /// Bytes were written to a client.
    pub fn bytes_out(&self, bytes: u64) {
        self.bytes_out.add(bytes);
    }

    /// WebSocket frames were read from a client.
    pub fn frames_in(&self, frames: u64) {
        self.frames_in.add(frames);
    }

    /// The kernel took the last byte of a message, so many microseconds after it entered the node.
    pub fn delivered(&self, lane: Lane, micros: u64) {
        self.delivered_many(lane, micros, 1);
    }

    /// The same for so many connections that a broadcast reached in one go.
    pub fn delivered_many(&self, lane: Lane, micros: u64, count: u64) {
        if let Some(timing) = self.delivery.get(usize::from(lane.0)) {
            timing.record_many(micros, count);
        }
    }

    /// A turn of the loop ended: how late it was for its earliest deadline, and how long it worked, microseconds.
    pub fn turn(&self, lag_micros: u64, busy_micros: u64) {
        self.loop_lag.record(lag_micros);
        self.loop_turn.record(busy_micros);
    }

    /// Turns of the loop so far: whoever watches it may read this, too.
    pub fn turns(&self) -> u64 {
        self.loop_turn.count()
    }

    /// Bytes that wait in outboxes now.
    pub fn outbox_bytes(&self, bytes: u64) {
        self.outbox_bytes.set(bytes);
    }

    /// Bytes of lent buffers now.
    pub fn lent_bytes(&self, bytes: u64) {
        self.lent_bytes.set(bytes);
    }

    /// Letters that wait in a lane of the mailbox now (0: control, then the message lanes).
    pub fn mailbox_depth(&self, lane_index: usize, depth: u64) {
        if let Some(cell) = self.mailbox_depth.get(lane_index) {
            cell.set(depth);
        }
    }

    /// Armed timers now.
    pub fn wheel_len(&self, timers: u64) {
        self.wheel_len.set(timers);
    }

    /// An accept failed for want of a descriptor.
    pub fn accept_emfile(&self) {
        self.accept_emfile.add(1);
    }

    /// Connections open now.
    pub fn open_now(&self) -> u64 {
        Protocol::ALL.into_iter().map(|protocol| self.open_of(protocol)).sum()
    }

    /// Connections of one protocol open now.
    pub fn open_of(&self, protocol: Protocol) -> u64 {
        // Read in this order, a close that is counted meanwhile cannot make the difference negative; on a machine that
        // reorders the loads anyway, zero is the better answer.
        let closed = self.closed[protocol as usize].value();
        self.opened[protocol as usize].value().saturating_sub(closed)
    }

    /// Connections opened since the start: those open now and all closes.
    pub fn accepted_total(&self) -> u64 {
        self.opened.iter().map(Cell::value).sum()
    }

    /// Connections closed since the start.
    pub fn closed_total(&self) -> u64 {
        self.closes.iter().map(Cell::value).sum()
    }

    /// Connections closed since the start for one reason.
    pub fn closed_for(&self, reason: Reason) -> u64 {
        self.closes[reason as usize].value()
    }

    /// Handshakes refused since the start for one reason.
    pub fn refused_for(&self, reason: Reason) -> u64 {
        self.refused[reason as usize].value()
    }

    /// Connections asked to leave since the start for one reason.
    pub fn goaways_for(&self, reason: Reason) -> u64 {
        self.goaways[reason as usize].value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_is_open_plus_closes_by_reason() {
        let stats = ShardStats::new(3);
        for round in 0..100usize {
            stats.opened(Protocol::ALL[round % 2]);
            if round % 3 == 0 {
                stats.closed(Protocol::ALL[round % 2], Reason::ALL[round % Reason::ALL.len()]);
            }
            let closes: u64 = Reason::ALL.into_iter().map(|reason| stats.closed_for(reason)).sum();
            assert_eq!(stats.accepted_total(), stats.open_now() + closes);
            assert_eq!(closes, stats.closed_total());
        }
        assert_eq!(stats.open_of(Protocol::Websocket) + stats.open_of(Protocol::Sse), stats.open_now());
    }

    #[test]
    fn what_is_out_of_range_is_left_out() {
        let stats = ShardStats::new(1);
        stats.delivered(Lane(7), 1);
        stats.mailbox_depth(MAILBOX_LANES_MAX, 1);
    }
}
