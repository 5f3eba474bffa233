//! A Kafka in memory, as `bridge::queue` shows it: logs, a consumer group that rebalances cooperatively, committed offsets, and
//! records that are written late, not at all, or with nobody knowing.
//!
//! Owns what the brokers have, and each node's [`client`] of them. Judges nothing: what a processor makes of it is the judge's
//! in `fleet`. A member that falls silent is dropped from the group; one that comes back meanwhile has its partitions as before.

pub mod client;
mod group;

use super::{faults::Odds, net::START_UNIX_MS};
use crate::{
    bridge::queue::{Header, NoRoom, Output, Request},
    kit::random::Random,
    model::Lane,
};
use bytes::Bytes;
use client::Client;
use group::Group;
use std::sync::Arc;

/// The names of the lanes' topics, highest first.
pub const TOPICS: [&str; 3] = ["push.high", "push.normal", "push.low"];
/// The longest that a record is on its way to whoever fetches it.
const FETCHED_WITHIN_US: u64 = 30_000;

/// What is bounded, and how often things go wrong.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Partitions of each lane's topic.
    pub partitions: usize,
    /// See `bridge::queue::Bounds`.
    pub in_flight_max: usize,
    pub uncommitted_max: usize,
    pub batch_max: usize,
    pub revoke_us: u64,
    pub commit_us: u64,
    /// After such a silence a member is dropped.
    pub session_us: u64,
    /// Records that a client may be writing at a time.
    pub produce_max: usize,
    /// A commit does not arrive; the next one says the same and more.
    pub commit_lost: Odds,
    /// An offset is left out, as that of a transaction's end.
    pub gap: Odds,
    /// A record that is written: its answer is late, it is refused, or nobody knows whether it arrived.
    pub late: Odds,
    pub refused: Odds,
    pub unknown: Odds,
}

/// One partition of a lane's topic.
pub struct Log {
    pub lane: Lane,
    pub topic: Arc<str>,
    pub number: i32,
    /// Up to here, exclusive, the group is done.
    pub committed: i64,
    /// The next record's offset.
    pub end: i64,
    entries: Vec<Entry>,
}

/// What a sender writes.
#[derive(Clone, Debug)]
pub struct Letter {
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<Header>,
}

struct Entry {
    offset: i64,
    letter: Letter,
    timestamp_ms: i64,
    visible_us: u64,
}

/// See the module.
pub struct Kafka {
    pub plan: Plan,
    pub logs: Vec<Log>,
    /// Whether the brokers can be reached.
    pub is_up: bool,
    /// The topics of reports cannot be written.
    pub refuses: bool,
    /// Nodes that do not reach the brokers.
    pub cut_off: Vec<bool>,
    group: Group,
    clients: Vec<Option<Client>>,
    random: Random,
}

impl Kafka {
    pub fn new(plan: Plan, nodes: usize, random: Random) -> Self {
        let log = |(lane, number): (usize, usize)| Log {
            lane: Lane(lane as u8),
            topic: TOPICS[lane].into(),
            number: number as i32,
            committed: 0,
            end: 0,
            entries: Vec::new(),
        };
        let places = (0..TOPICS.len()).flat_map(|lane| (0..plan.partitions).map(move |at| (lane, at)));
        let logs: Vec<Log> = places.map(log).collect();
        Self {
            plan,
            group: Group::new(logs.len()),
            logs,
            is_up: true,
            refuses: false,
            cut_off: vec![false; nodes],
            clients: (0..nodes).map(|_| None).collect(),
            random,
        }
    }

    /// The partition of a key, among those of a lane.
    pub fn log_of(&self, lane: Lane, key: &[u8]) -> usize {
        let hash = key.iter().fold(7usize, |sum, &byte| sum.wrapping_mul(31) ^ usize::from(byte));
        usize::from(lane.0) * self.plan.partitions + hash % self.plan.partitions
    }

    /// Where a partition stands among all.
    pub fn find(&self, topic: &str, number: i32) -> Option<usize> {
        self.logs.iter().position(|log| &*log.topic == topic && log.number == number)
    }

    /// A sender writes a record. Its offset.
    pub fn append(&mut self, log: usize, letter: Letter, now_us: u64) -> i64 {
        if self.plan.gap.strikes(&mut self.random) {
            self.logs[log].end += 1;
        }
        let visible_us = now_us + self.random.below(FETCHED_WITHIN_US);
        let log = &mut self.logs[log];
        let offset = log.end;
        log.end += 1;
        let timestamp_ms = (START_UNIX_MS + now_us / 1_000) as i64;
        log.entries.push(Entry { offset, letter, timestamp_ms, visible_us });
        offset
    }

    /// A node begins, and with it its client.
    pub fn start(&mut self, slot: usize, run: u64, now_us: u64) {
        let joins_us = now_us + self.random.below(500_000);
        self.clients[slot] = Some(Client::new(run, joins_us));
    }

    /// A node is gone. The group does not know.
    pub fn kill(&mut self, slot: usize) {
        self.clients[slot] = None;
    }

    pub fn client(&self, slot: usize) -> Option<&Client> {
        self.clients[slot].as_ref()
    }

    pub fn client_mut(&mut self, slot: usize) -> Option<&mut Client> {
        self.clients[slot].as_mut()
    }

    /// The brokers are back: nobody was heard of meanwhile, and nobody is blamed for it.
    pub fn come_up(&mut self, now_us: u64) {
        if !self.is_up {
            self.is_up = true;
            self.group.forgive(now_us);
        }
    }

    /// The group shares everything out anew.
    pub fn reshuffle(&mut self) {
        self.group.shuffle(&mut self.random);
    }

    /// A partition that a client holds begins anew.
    pub fn begin_anew(&mut self, slot: usize) {
        if let Some(client) = &mut self.clients[slot] {
            client.begin_anew(&mut self.random);
        }
    }

    /// Whether every partition has the holder that it is to have.
    pub fn is_settled(&self) -> bool {
        self.group.is_settled()
    }

    /// What a processor asks for.
    pub fn submit(&mut self, slot: usize, request: Request, now_us: u64) -> Result<(), NoRoom> {
        let Some(client) = &mut self.clients[slot] else { return Ok(()) };
        match request {
            Request::Produce(produce) => {
                client.produce(&self.plan, self.refuses, &mut self.random, produce, now_us)
            }
            other => {
                client.handle(other);
                Ok(())
            }
        }
    }

    /// Outputs for the processor of a node, the first so many.
    pub fn take_outputs(&mut self, slot: usize, at_most: usize) -> Vec<Output> {
        let Some(client) = &mut self.clients[slot] else { return Vec::new() };
        client.inbox.drain(..at_most.min(client.inbox.len())).collect()
    }

    /// What is due is done. Says whether there was anything.
    pub fn advance(&mut self, now_us: u64, is_awake: impl Fn(usize) -> bool) -> bool {
        let mut any = false;
        if self.is_up {
            self.group.drop_silent(now_us, self.plan.session_us);
        }
        for slot in 0..self.clients.len() {
            if !is_awake(slot) {
                continue;
            }
            if let Some(mut client) = self.clients[slot].take() {
                let reaches = self.is_up && !self.cut_off[slot];
                any |= self.attend(slot, &mut client, reaches, now_us);
                self.clients[slot] = Some(client);
            }
        }
        if self.is_up {
            self.group.move_on(&mut self.clients, &mut self.random, now_us);
        }
        any
    }

    /// When something is due next.
    pub fn next_us(&self, now_us: u64) -> u64 {
        let visible = |log: &Log| {
            let later = log.entries.iter().rev().map(|entry| entry.visible_us);
            later.take_while(|&us| us + FETCHED_WITHIN_US > now_us).filter(|&us| us > now_us).min()
        };
        let logs = self.logs.iter().filter_map(visible);
        let clients = self.clients.iter().flatten().map(|client| client.next_us(now_us));
        logs.chain(clients).min().unwrap_or(u64::MAX)
    }

    /// One client does what it can.
    fn attend(&mut self, slot: usize, client: &mut Client, reaches: bool, now_us: u64) -> bool {
        let before = client.inbox.len();
        client.set_up(reaches);
        if reaches {
            self.group.hear_from(slot, client, now_us);
        }
        client.go_on(&self.plan, now_us);
        for (log, offset) in client.take_commits(&self.plan, &mut self.random, reaches, now_us) {
            if self.group.is_owner(log, slot, client.run) {
                let committed = &mut self.logs[log].committed;
                *committed = offset.max(*committed);
            }
        }
        if reaches {
            self.group.take_back(slot, client);
            client.fetch(&self.plan, &self.logs, &mut self.random, now_us);
        }
        client.answer(reaches, now_us);
        client.inbox.len() > before
    }
}
