//! Reads a fleet: asks some nodes who the others are, and each what it counts.
//!
//! Owns the questions, their limits, and what is made of the answers. A node that does not answer, or answers nonsense, is a
//! row with a sentence and never an error of the whole. Changes nothing at any node.

mod answers;
mod ask;
mod rates;

pub use answers::{Counts, Labelled, Lease, Shard, Times, sum};
pub use ask::{ASKED_AT_ONCE, LIMIT, VIEW_LIMIT};
pub use rates::Rates;

use crate::clock::Clock;
use ask::{Said, Task};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A fleet that can be read again and again; it remembers one reading, from which rates come.
pub struct Fleet {
    seeds: Vec<String>,
    token: Option<String>,
    discover: bool,
    limit: Duration,
    clock: Clock,
    /// By the node's name, else its address.
    earlier: BTreeMap<String, Reading>,
}

/// What a node counted, and when.
#[derive(Clone, Debug)]
struct Reading {
    at: Duration,
    /// 0: not known.
    incarnation: u64,
    counts: Counts,
}

/// A fleet at one moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct View {
    /// Since its [`Fleet`] was made.
    pub at: Duration,
    /// By region and name; those without a name last.
    pub nodes: Vec<NodeView>,
}

/// One node of a [`View`].
#[derive(Clone, PartialEq, Debug)]
pub struct NodeView {
    /// Where it was asked, `host:port`.
    pub address: String,
    /// Its name; empty when it has not said.
    pub id: String,
    /// Free text; may be empty.
    pub region: String,
    /// Its release; may be empty.
    pub version: String,
    /// What it does.
    pub state: State,
    /// Open connections: its own count, else what its lease in the registry says, else 0.
    pub connections: u64,
    /// Connections that it may hold, from the same source; 0 for a processor, and where it is not known.
    pub capacity: u64,
    /// What it counts; none when it is silent.
    pub counts: Option<Counts>,
    /// What changed since the reading before; none on the first one and on the first after a restart.
    pub rates: Option<Rates>,
}

/// What a node does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// It takes connections.
    Serving,
    /// It leaves, or has left.
    Draining,
    /// It did not answer, or answered nonsense: a sentence.
    Silent(String),
}

impl State {
    /// One word.
    pub fn word(&self) -> &'static str {
        match self {
            State::Serving => "serving",
            State::Draining => "draining",
            State::Silent(_) => "silent",
        }
    }
}

impl View {
    /// Whether any node has answered as a node does.
    pub fn answers(&self) -> bool {
        self.nodes.iter().any(|node| node.counts.is_some())
    }
}

impl NodeView {
    /// Its name, else its address.
    pub fn name(&self) -> &str {
        if self.id.is_empty() { &self.address } else { &self.id }
    }

    /// The sentence of a silent node.
    pub fn fault(&self) -> Option<&str> {
        match &self.state {
            State::Silent(why) => Some(why),
            _ => None,
        }
    }

    /// Connections divided by capacity; none where there is no capacity.
    pub fn utilization(&self) -> Option<f64> {
        (self.capacity > 0).then(|| self.connections as f64 / self.capacity as f64)
    }

    fn silent(address: String, why: String) -> Self {
        Self {
            address,
            id: String::new(),
            region: String::new(),
            version: String::new(),
            state: State::Silent(why),
            connections: 0,
            capacity: 0,
            counts: None,
            rates: None,
        }
    }

    /// Fills in from the lease what the node has not said itself.
    fn add_lease(&mut self, lease: &Lease) {
        let or = |own: &mut String, leased: &str| {
            if own.is_empty() {
                leased.clone_into(own);
            }
        };
        or(&mut self.id, &lease.node);
        or(&mut self.region, &lease.region);
        or(&mut self.version, &lease.version);
        if self.counts.is_none() {
            (self.connections, self.capacity) = (lease.connections, lease.capacity);
        }
    }
}

impl Fleet {
    /// A fleet that is asked at these internal addresses, `host:port`, with the token of role `read` if nodes want one. The
    /// others are found from there.
    pub fn new(addresses: Vec<String>, token: Option<String>) -> Self {
        let mut seen = BTreeSet::new();
        let seeds = addresses.into_iter().filter(|address| seen.insert(address.clone())).collect();
        Self { seeds, token, discover: true, limit: LIMIT, clock: Clock::start(), earlier: BTreeMap::new() }
    }

    /// Whether nodes are asked for the others; otherwise only the given addresses are read.
    pub fn discover(mut self, discover: bool) -> Self {
        self.discover = discover;
        self
    }

    /// What a node may take for an answer, if not [`LIMIT`].
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Asks them all, side by side. Takes [`LIMIT`] twice at most for up to [`ASKED_AT_ONCE`] nodes that hang, and twice
    /// [`VIEW_LIMIT`] for any number.
    pub fn read(&mut self) -> View {
        let seeds = self.seeds.iter().map(|address| Task { address: address.clone(), nodes: self.discover });
        let said = self.ask(seeds.collect());
        let leases = answers::merged(said.iter().flat_map(|said| &said.leases));
        let met: BTreeSet<&str> = said.iter().filter_map(|said| said.name(&leases)).collect();
        let is_new =
            |lease: &&Lease| !met.contains(lease.node.as_str()) && !self.seeds.contains(&lease.address);
        let others = leases.values().filter(is_new);
        let others = others.map(|lease| Task { address: lease.address.clone(), nodes: false }).collect();
        let mut all = said.clone();
        all.extend(self.ask(others));
        self.view(&all, &leases)
    }

    fn ask(&self, tasks: Vec<Task>) -> Vec<Said> {
        ask::Asker { token: self.token.as_deref(), limit: self.limit, clock: &self.clock }.all(tasks)
    }

    fn view(&mut self, said: &[Said], leases: &BTreeMap<String, Lease>) -> View {
        let mut nodes: BTreeMap<String, NodeView> = BTreeMap::new();
        let mut readings = BTreeMap::new();
        for said in said {
            let mut node = said.node();
            let lease = said.name(leases).and_then(|name| leases.get(name));
            if let Some(lease) = lease {
                node.add_lease(lease);
            }
            let key = node.name().to_owned();
            // Two addresses of one node: what it answers at either counts.
            if nodes.get(&key).is_some_and(|known| known.counts.is_some() || node.counts.is_none()) {
                continue;
            }
            if let Some(counts) = &node.counts {
                let incarnation = lease.map_or(0, |lease| lease.incarnation);
                let reading = Reading { at: said.at, incarnation, counts: counts.clone() };
                node.rates = self.earlier.get(&key).and_then(|earlier| rates::between(earlier, &reading));
                readings.insert(key.clone(), reading);
            }
            nodes.insert(key, node);
        }
        self.earlier = readings;
        let mut nodes: Vec<NodeView> = nodes.into_values().collect();
        let place = |node: &NodeView| (node.id.is_empty(), node.region.clone(), node.id.clone());
        nodes.sort_by_cached_key(place);
        View { at: Duration::from_micros(self.clock.micros()), nodes }
    }
}

#[cfg(test)]
mod tests;
