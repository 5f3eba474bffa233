//! What the node counts of the queue.

use super::timing::Timing;
use crate::model::{Lane, lane::LANES_MAX};
use std::sync::{
    OnceLock,
    atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// Why a record was refused, by number: the label of `holdfast_kafka_rejected_total`.
pub const REJECTED: [&str; 5] = ["no_key", "key", "header", "body", "too_large"];

/// See the module.
#[derive(Debug)]
pub struct KafkaStats {
    embedded: OnceLock<String>,
    up: AtomicBool,
    has_answered: AtomicBool,
    partitions: AtomicU64,
    records: [AtomicU64; LANES_MAX],
    parked: [AtomicU64; LANES_MAX],
    paused: [AtomicBool; LANES_MAX],
    pub(super) wait: [Timing; LANES_MAX],
    rejected: [AtomicU64; REJECTED.len()],
    retries: AtomicU64,
    skipped: AtomicU64,
    reports_written: AtomicU64,
    reports_lost: AtomicU64,
    events_written: AtomicU64,
    events_lost: AtomicU64,
}

impl Default for KafkaStats {
    fn default() -> Self {
        Self {
            embedded: OnceLock::new(),
            up: AtomicBool::new(false),
            has_answered: AtomicBool::new(false),
            partitions: AtomicU64::new(0),
            records: Default::default(),
            parked: Default::default(),
            paused: Default::default(),
            wait: std::array::from_fn(|_| Timing::new()),
            rejected: Default::default(),
            retries: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            reports_written: AtomicU64::new(0),
            reports_lost: AtomicU64::new(0),
            events_written: AtomicU64::new(0),
            events_lost: AtomicU64::new(0),
        }
    }
}

impl KafkaStats {
    /// Where the broker inside the process listens. Only the first call counts.
    pub fn set_embedded(&self, address: &str) {
        let _ = self.embedded.set(address.to_owned());
    }

    /// Where the broker inside the process listens, if there is one.
    pub fn embedded(&self) -> Option<&str> {
        self.embedded.get().map(String::as_str)
    }

    /// Whether a broker is connected.
    pub fn set_up(&self, up: bool) {
        self.up.store(up, Relaxed);
        if up {
            self.has_answered.store(true, Release);
        }
    }

    /// Partitions that this node holds.
    pub fn set_partitions(&self, partitions: u64) {
        self.partitions.store(partitions, Relaxed);
    }

    /// Records have come.
    pub fn records(&self, lane: Lane, count: u64) {
        add(&self.records, lane, count);
    }

    /// So long after it was made a record was taken, microseconds.
    pub fn waited(&self, lane: Lane, micros: u64) {
        if let Some(timing) = self.wait.get(usize::from(lane.0)) {
            timing.record(micros);
        }
    }

    /// A record could not be read, for a reason of [`REJECTED`].
    pub fn rejected(&self, reason: usize) {
        if let Some(count) = self.rejected.get(reason) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// A message is going to be tried again.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    /// A skip has left out so many offsets.
    pub fn skipped(&self, offsets: u64) {
        self.skipped.fetch_add(offsets, Relaxed);
    }

    /// A status or a dead letter has arrived, or never will.
    pub fn report(&self, arrived: bool) {
        let count = if arrived { &self.reports_written } else { &self.reports_lost };
        count.fetch_add(1, Relaxed);
    }

    /// A connect or a disconnect was written, or never will be.
    pub fn event(&self, written: bool) {
        let count = if written { &self.events_written } else { &self.events_lost };
        count.fetch_add(1, Relaxed);
    }

    /// Messages of a lane that wait for the registry.
    pub fn set_parked(&self, lane: Lane, messages: u64) {
        if let Some(parked) = self.parked.get(usize::from(lane.0)) {
            parked.store(messages, Relaxed);
        }
    }

    /// Whether a lane is paused.
    pub fn set_paused(&self, lane: Lane, is_paused: bool) {
        if let Some(paused) = self.paused.get(usize::from(lane.0)) {
            paused.store(is_paused, Relaxed);
        }
    }

    /// Whether a broker is connected.
    pub fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    /// Whether a broker was ever connected.
    pub fn has_answered(&self) -> bool {
        self.has_answered.load(Acquire)
    }

    /// Partitions that this node holds.
    pub fn partitions(&self) -> u64 {
        self.partitions.load(Relaxed)
    }

    /// Records that have come.
    pub fn records_of(&self, lane: Lane) -> u64 {
        self.records.get(usize::from(lane.0)).map_or(0, |count| count.load(Relaxed))
    }

    /// Messages of a lane that wait for the registry.
    pub fn parked(&self, lane: Lane) -> u64 {
        self.parked.get(usize::from(lane.0)).map_or(0, |count| count.load(Relaxed))
    }

    /// Whether a lane is paused.
    pub fn is_paused(&self, lane: Lane) -> bool {
        self.paused.get(usize::from(lane.0)).is_some_and(|paused| paused.load(Relaxed))
    }

    /// Records that could not be read, by reason.
    pub fn rejections(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REJECTED.into_iter().zip(&self.rejected).map(|(reason, count)| (reason, count.load(Relaxed)))
    }

    /// How often a message was tried again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }

    /// Offsets that skips have left out.
    pub fn skips(&self) -> u64 {
        self.skipped.load(Relaxed)
    }

    /// Connects and disconnects that were written, and that were lost.
    pub fn events(&self) -> (u64, u64) {
        (self.events_written.load(Relaxed), self.events_lost.load(Relaxed))
    }

    /// Statuses and dead letters that have arrived, and that were lost.
    pub fn reports(&self) -> (u64, u64) {
        (self.reports_written.load(Relaxed), self.reports_lost.load(Relaxed))
    }
}

fn add(counts: &[AtomicU64; LANES_MAX], lane: Lane, count: u64) {
    if let Some(counter) = counts.get(usize::from(lane.0)) {
        counter.fetch_add(count, Relaxed);
    }
}
