//! What the node counts as a whole, and the way to each shard's counters.

use super::{CalloutStats, FleetStats, KafkaStats, Memory, ShardStats, timing::Timing};
use crate::model::{Lane, Lanes, Outcome, lane::LANES_MAX};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The operations of a registry that are timed; any other counts as the last.
pub const REGISTRY_OPERATIONS: [&str; 6] = ["connect", "disconnect", "lookup", "lease", "heal", "other"];

/// What runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuildInfo {
    /// Version of this crate.
    pub version: &'static str,
}

impl BuildInfo {
    /// This build.
    pub const fn current() -> Self {
        Self { version: env!("CARGO_PKG_VERSION") }
    }
}

/// How far the node is in leaving.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum DrainPhase {
    /// Not at all.
    #[default]
    Serving,
    /// Not ready any more, and still accepting while balancers notice.
    Delay,
    /// Refusing, and asking connections to leave.
    Leaving,
    /// Nothing is left.
    Done,
}

impl DrainPhase {
    const ALL: [DrainPhase; 4] =
        [DrainPhase::Serving, DrainPhase::Delay, DrainPhase::Leaving, DrainPhase::Done];

    /// Its name in answers and logs.
    pub const fn label(self) -> &'static str {
        match self {
            DrainPhase::Serving => "serving",
            DrainPhase::Delay => "delay",
            DrainPhase::Leaving => "leaving",
            DrainPhase::Done => "done",
        }
    }
}

/// What `limits.memory` makes the node do without.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[repr(u8)]
pub enum Pressure {
    /// Nothing.
    #[default]
    None,
    /// The lowest lanes are shed.
    ShedLow,
    /// Handshakes are refused too.
    Refuse,
}

/// What became of a ticket of a client's (`POST /v1/tickets`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum TicketResult {
    /// It was made here.
    Made,
    /// A connection was accepted with it, and it is used up.
    Accepted,
    /// It was used before.
    Used,
    /// It has ended.
    Expired,
    /// It is no ticket, or nobody here has signed it.
    Bad,
    /// Too many are used at a time.
    NoRoom,
}

impl TicketResult {
    pub(super) const ALL: [TicketResult; 6] = [
        TicketResult::Made,
        TicketResult::Accepted,
        TicketResult::Used,
        TicketResult::Expired,
        TicketResult::Bad,
        TicketResult::NoRoom,
    ];

    /// Its name in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            TicketResult::Made => "made",
            TicketResult::Accepted => "accepted",
            TicketResult::Used => "used",
            TicketResult::Expired => "expired",
            TicketResult::Bad => "bad",
            TicketResult::NoRoom => "no_room",
        }
    }
}

/// The counters of a node. Any thread may count here.
#[derive(Debug)]
pub struct NodeStats {
    pub(super) info: BuildInfo,
    name_and_region: OnceLock<[String; 2]>,
    /// Names of the message lanes, highest first.
    pub(super) lane_names: Vec<String>,
    pub(super) shards: Vec<Arc<ShardStats>>,
    messages: [[AtomicU64; Outcome::ALL.len()]; LANES_MAX],
    /// What is counted of the registry and of other nodes.
    pub fleet: FleetStats,
    /// What is counted of the queue.
    pub kafka: KafkaStats,
    /// What is counted of the endpoint that is asked who clients are.
    pub callout: CalloutStats,
    pub(super) registry: [Timing; REGISTRY_OPERATIONS.len()],
    kafka_lag: [AtomicU64; LANES_MAX],
    capacity: AtomicU64,
    drain_phase: AtomicU64,
    drain_remaining: AtomicU64,
    memory_pressure: AtomicU64,
    baseline_bytes: AtomicU64,
    reloads_ok: AtomicU64,
    reloads_refused: AtomicU64,
    key_reloads_ok: AtomicU64,
    key_reloads_refused: AtomicU64,
    page_watchers: AtomicU64,
    page_sessions: AtomicU64,
    tickets: [AtomicU64; TicketResult::ALL.len()],
}

impl NodeStats {
    /// Zeroes, for so many shards and these lanes.
    pub fn new(shards: usize, lanes: &Lanes, info: BuildInfo) -> Self {
        Self {
            info,
            name_and_region: OnceLock::new(),
            lane_names: lanes.iter().map(|(_, lane)| lane.name.clone()).collect(),
            shards: (0..shards).map(|_| Arc::new(ShardStats::new(lanes.len()))).collect(),
            messages: std::array::from_fn(|_| Default::default()),
            fleet: FleetStats::default(),
            kafka: KafkaStats::default(),
            callout: CalloutStats::default(),
            registry: std::array::from_fn(|_| Timing::new()),
            kafka_lag: Default::default(),
            capacity: AtomicU64::new(0),
            drain_phase: AtomicU64::new(0),
            drain_remaining: AtomicU64::new(0),
            memory_pressure: AtomicU64::new(0),
            baseline_bytes: AtomicU64::new(0),
            reloads_ok: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
            key_reloads_ok: AtomicU64::new(0),
            key_reloads_refused: AtomicU64::new(0),
            page_watchers: AtomicU64::new(0),
            page_sessions: AtomicU64::new(0),
            tickets: Default::default(),
        }
    }

    /// Who this node is. Only the first call counts.
    pub fn name(&self, node: &str, region: &str) {
        let _ = self.name_and_region.set([node.to_owned(), region.to_owned()]);
    }

    pub(super) fn name_and_region(&self) -> [String; 2] {
        self.name_and_region.get().cloned().unwrap_or_default()
    }

    /// The counters of one shard.
    ///
    /// # Panics
    /// When there is no such shard.
    pub fn shard(&self, index: usize) -> &Arc<ShardStats> {
        &self.shards[index]
    }

    /// A message that entered here has an outcome for one device.
    pub fn message(&self, lane: Lane, outcome: Outcome) {
        self.messages_many(lane, outcome, 1);
    }

    /// The same for many at once: a broadcast's tally.
    pub fn messages_many(&self, lane: Lane, outcome: Outcome, count: u64) {
        if let Some(row) = self.messages.get(usize::from(lane.0)) {
            row[outcome as usize].fetch_add(count, Relaxed);
        }
    }

    /// The registry answered after so many microseconds. The operation is one of [`REGISTRY_OPERATIONS`].
    pub fn registry(&self, operation: &'static str, micros: u64) {
        let known = REGISTRY_OPERATIONS.iter().position(|&name| name == operation);
        self.registry[known.unwrap_or(REGISTRY_OPERATIONS.len() - 1)].record(micros);
    }

    /// Messages of a lane that the queue still holds for this node.
    pub fn set_kafka_lag(&self, lane: Lane, messages: u64) {
        if let Some(lag) = self.kafka_lag.get(usize::from(lane.0)) {
            lag.store(messages, Relaxed);
        }
    }

    /// Connections that this node may hold.
    pub fn set_capacity(&self, connections: u64) {
        self.capacity.store(connections, Relaxed);
    }

    /// How far the node is in leaving, and how many connections that still waits for.
    pub fn set_drain(&self, phase: DrainPhase, remaining: u64) {
        self.drain_phase.store(phase as u64, Relaxed);
        self.drain_remaining.store(remaining, Relaxed);
    }

    /// What the node does without.
    pub fn set_memory_pressure(&self, pressure: Pressure) {
        self.memory_pressure.store(pressure as u64, Relaxed);
    }

    /// The configuration was read again: taken, or refused and the old one kept.
    pub fn config_reload(&self, taken: bool) {
        let counter = if taken { &self.reloads_ok } else { &self.reloads_refused };
        counter.fetch_add(1, Relaxed);
    }

    /// A file of clients' keys has changed: taken, or refused and the old keys kept.
    pub fn key_reload(&self, taken: bool) {
        let counter = if taken { &self.key_reloads_ok } else { &self.key_reloads_refused };
        counter.fetch_add(1, Relaxed);
    }

    /// Those who watch the node's numbers as they change.
    pub fn set_page_watchers(&self, watchers: u64) {
        self.page_watchers.store(watchers, Relaxed);
    }

    /// Sessions of the admin page.
    pub fn set_page_sessions(&self, sessions: u64) {
        self.page_sessions.store(sessions, Relaxed);
    }

    /// A ticket was made, or a handshake with one has ended.
    pub fn ticket(&self, result: TicketResult) {
        self.tickets[result as usize].fetch_add(1, Relaxed);
    }

    /// Tickets with one result since the start.
    pub fn tickets_of(&self, result: TicketResult) -> u64 {
        self.tickets[result as usize].load(Relaxed)
    }

    /// Takes what is allocated now as the memory that is not for connections. Call it when the node is ready.
    pub fn mark_baseline(&self) {
        self.baseline_bytes.store(Memory::now().allocated, Relaxed);
    }

    /// Connections open now.
    pub fn connections(&self) -> u64 {
        self.shards.iter().map(|shard| shard.open_now()).sum()
    }

    /// Connections that this node may hold.
    pub fn capacity(&self) -> u64 {
        self.capacity.load(Relaxed)
    }

    /// Connections open now, divided by the capacity; 0 before the capacity is known.
    pub fn utilization(&self) -> f64 {
        match self.capacity() {
            0 => 0.0,
            capacity => self.connections() as f64 / capacity as f64,
        }
    }

    /// Messages of a lane with one outcome since the start.
    pub fn messages_of(&self, lane: Lane, outcome: Outcome) -> u64 {
        self.messages.get(usize::from(lane.0)).map_or(0, |row| row[outcome as usize].load(Relaxed))
    }

    /// How far the node is in leaving.
    pub fn drain_phase(&self) -> DrainPhase {
        let phase = self.drain_phase.load(Relaxed) as usize;
        DrainPhase::ALL.get(phase).copied().unwrap_or_default()
    }

    /// Connections that a drain still waits for.
    pub fn drain_remaining(&self) -> u64 {
        self.drain_remaining.load(Relaxed)
    }

    /// What the node does without, as a number: 0 is nothing.
    pub fn memory_pressure(&self) -> u64 {
        self.memory_pressure.load(Relaxed)
    }

    /// Messages of a lane that the queue still holds for this node.
    pub fn kafka_lag(&self, lane: Lane) -> u64 {
        self.kafka_lag.get(usize::from(lane.0)).map_or(0, |lag| lag.load(Relaxed))
    }

    /// What was allocated when the node was ready, bytes.
    pub fn baseline_bytes(&self) -> u64 {
        self.baseline_bytes.load(Relaxed)
    }

    /// What each connection costs, bytes: allocated less the baseline; 0 when there are none.
    pub fn bytes_per_connection(&self, memory: &Memory) -> u64 {
        memory.allocated.saturating_sub(self.baseline_bytes()).checked_div(self.connections()).unwrap_or(0)
    }

    /// Reloads of the configuration that were taken, and that were refused.
    pub(super) fn reloads(&self) -> (u64, u64) {
        (self.reloads_ok.load(Relaxed), self.reloads_refused.load(Relaxed))
    }

    pub(super) fn key_reloads(&self) -> (u64, u64) {
        (self.key_reloads_ok.load(Relaxed), self.key_reloads_refused.load(Relaxed))
    }

    /// Those who watch the node's numbers, and sessions of the admin page.
    pub(super) fn page(&self) -> (u64, u64) {
        (self.page_watchers.load(Relaxed), self.page_sessions.load(Relaxed))
    }

    /// The message lanes, highest first, with their names.
    pub(super) fn lanes(&self) -> impl Iterator<Item = (Lane, &str)> {
        self.lane_names.iter().enumerate().map(|(at, name)| (Lane(at as u8), name.as_str()))
    }
}
