//! The thread that finds out who the masters are: from Sentinels, or from a Cluster's nodes.
//!
//! It asks again at intervals, at once when a master fails or redirects, and each time somebody else when the last answer
//! has not helped. Never carries a request.

use super::{
    Address, Kind,
    fleet::Fleet,
    line::Access,
    seam::Event,
    slots::{SLOTS, read_map},
};
use redis::{Connection, Value};
use std::{
    ops::RangeInclusive,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// Between questions while all is well: a Sentinel's failover, a Cluster's slots that moved.
const SENTINEL_EVERY: Duration = Duration::from_secs(1);
const CLUSTER_EVERY: Duration = Duration::from_secs(5);
/// While a master is missing.
const MISSING_EVERY: Duration = Duration::from_millis(200);
/// However often it is rung for: a fleet that has lost a master should not also keep the others busy.
const AT_LEAST: Duration = Duration::from_millis(100);

type Parts = Vec<(RangeInclusive<u16>, Address)>;

/// See the module.
pub(super) struct Scout {
    fleet: Arc<Fleet>,
    kind: Kind,
    /// For those it asks.
    access: Access,
    /// Who was last known to own each slot.
    known: Vec<Option<Address>>,
    /// The one who answered last.
    asked: Option<(Address, Connection)>,
    /// Counts up, so that another one is asked first.
    turn: usize,
    has_announced_failure: bool,
}

impl Scout {
    pub(super) fn new(fleet: Arc<Fleet>, kind: Kind) -> Self {
        let mut access = fleet.access.clone();
        if let Kind::Sentinel { login, .. } = &kind {
            access.login = login.clone();
            access.database = 0;
        }
        let known = vec![None; usize::from(SLOTS)];
        Self { fleet, kind, access, known, asked: None, turn: 0, has_announced_failure: false }
    }

    /// Installs what is known without asking; false: a thread has to ask.
    pub(super) fn settle(&mut self) -> bool {
        let Kind::Single(address) = &self.kind else { return false };
        self.fleet.install(&[(0..=SLOTS - 1, address.clone())], &mut self.known);
        true
    }

    /// Until the store ends.
    pub(super) fn run(mut self) {
        while !self.fleet.has_ended() {
            match self.ask() {
                Ok(parts) => {
                    self.has_announced_failure = false;
                    self.fleet.tallies.maps.fetch_add(1, Relaxed);
                    self.fleet.install(&parts, &mut self.known);
                }
                Err(cause) => self.announce(cause),
            }
            self.rest();
        }
    }

    /// Only while there is no master at all; later their own events say it.
    fn announce(&mut self, cause: String) {
        if self.fleet.map().lanes.is_empty() && !std::mem::replace(&mut self.has_announced_failure, true) {
            let slots = vec![0..=SLOTS - 1];
            self.fleet.announce(Event::Down { master: String::new(), slots, cause });
        }
    }

    fn rest(&mut self) {
        let map = self.fleet.map();
        let is_well = map.is_whole() && map.lanes.iter().all(|lane| lane.is_up());
        let calm = if matches!(self.kind, Kind::Cluster(_)) { CLUSTER_EVERY } else { SENTINEL_EVERY };
        if self.fleet.scout.wait(if is_well { calm } else { MISSING_EVERY }) {
            self.fleet.scout.wait(AT_LEAST);
            // Something is wrong, perhaps with the one who was asked.
            self.asked = None;
        } else if !is_well {
            self.asked = None;
        }
    }

    fn ask(&mut self) -> Result<Parts, String> {
        if let Some((address, mut connection)) = self.asked.take()
            && let Ok(parts) = self.ask_at(&address, &mut connection)
        {
            self.asked = Some((address, connection));
            return Ok(parts);
        }
        let candidates = self.candidates();
        self.turn = self.turn.wrapping_add(1);
        let mut cause = "nobody to ask".to_owned();
        for at in 0..candidates.len() {
            if self.fleet.has_ended() {
                break;
            }
            let address = &candidates[(at + self.turn) % candidates.len()];
            let answer = self.access.dial(address).and_then(|mut connection| {
                let parts = self.ask_at(address, &mut connection)?;
                Ok((parts, connection))
            });
            match answer {
                Ok((parts, connection)) => {
                    self.asked = Some((address.clone(), connection));
                    return Ok(parts);
                }
                Err(text) => cause = format!("{address}: {text}"),
            }
        }
        Err(cause)
    }

    /// The masters that answer and, behind them, those that were configured.
    fn candidates(&self) -> Vec<Address> {
        let configured = match &self.kind {
            Kind::Single(address) => return vec![address.clone()],
            Kind::Sentinel { sentinels, .. } => return sentinels.clone(),
            Kind::Cluster(seeds) => seeds,
        };
        let map = self.fleet.map();
        let mut candidates: Vec<Address> =
            map.lanes.iter().filter(|lane| lane.is_up()).map(|lane| lane.address.clone()).collect();
        for seed in configured {
            if !candidates.contains(seed) {
                candidates.push(seed.clone());
            }
        }
        candidates
    }

    fn ask_at(&self, address: &Address, connection: &mut Connection) -> Result<Parts, String> {
        let question = match &self.kind {
            Kind::Sentinel { master, .. } => {
                redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).take()
            }
            _ => redis::cmd("CLUSTER").arg("SLOTS").take(),
        };
        let answer: Value = question.query(connection).map_err(|error| error.to_string())?;
        let parts = match &self.kind {
            Kind::Sentinel { .. } => read_master(&answer).map(|master| vec![(0..=SLOTS - 1, master)]),
            _ => read_map(&answer, address),
        };
        parts.filter(|parts| !parts.is_empty()).ok_or_else(|| "it knows of no master".to_owned())
    }
}

/// Host and port as a Sentinel tells them.
pub(super) fn read_master(answer: &Value) -> Option<Address> {
    let Value::Array(parts) = answer else { return None };
    let [Value::BulkString(host), Value::BulkString(port)] = parts.as_slice() else { return None };
    let host = String::from_utf8(host.clone()).ok()?;
    Some(Address { host, port: std::str::from_utf8(port).ok()?.parse().ok()? })
}
