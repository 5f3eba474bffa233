//! Connections whose record is not yet what it should be: registered, or gone.
//!
//! Owns the retries, and the order of what concerns one connection: at most one request of it is under way. Settled
//! connections cost nothing here.

use crate::{
    kit::{mutant::Mutant, slab::Key},
    model::{Handle, Protocol},
};
use foldhash::fast::RandomState;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// The first pause before a change is asked for again, ms; it doubles.
const RETRY_MS: u64 = 100;
/// The longest, ms.
const RETRY_MS_MAX: u64 = 5_000;

/// A connection that is to be known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrived {
    /// Which.
    pub handle: Handle,
    /// Whose.
    pub user: Box<str>,
    /// Its own name, or the connection's id.
    pub device: Box<str>,
    /// What it speaks.
    pub protocol: Protocol,
    /// When it began, monotonic ms.
    pub began_ms: u64,
    /// When its record's life ends, monotonic ms.
    pub ends_ms: u64,
}

/// What is to be asked for a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A connect.
    Register(Arrived),
    /// A disconnect.
    Forget { handle: Handle, user: Box<str>, device: Box<str> },
}

#[derive(Debug)]
struct Unsettled {
    arrived: Arrived,
    gone: bool,
    /// A connect was asked for, and may have been carried out.
    asked: bool,
    under_way: bool,
    /// Registered once more: what is under way does not settle it.
    again: bool,
    failures: u32,
}

/// See the module. Times are monotonic ms.
#[derive(Debug)]
pub struct Changes {
    unsettled: HashMap<Handle, Unsettled, RandomState>,
    ready: VecDeque<Handle>,
    later: BTreeSet<(u64, u16, u32, u32)>,
    max: usize,
    /// Arrivals that found no room: all connections are to be registered again.
    pub overflowed: bool,
    /// Departures that found no room: their records are left to their end, or to who finds the connection lacking.
    pub left_behind: u64,
}

impl Changes {
    /// Room for so many connections.
    pub fn new(max: usize) -> Self {
        Self {
            unsettled: HashMap::default(),
            ready: VecDeque::new(),
            later: BTreeSet::new(),
            max,
            overflowed: false,
            left_behind: 0,
        }
    }

    /// Connections that are not settled.
    pub fn len(&self) -> usize {
        self.unsettled.len()
    }

    /// A connection that is not settled, as it arrived.
    pub fn arrived(&self, handle: Handle) -> Option<&Arrived> {
        self.unsettled.get(&handle).map(|held| &held.arrived)
    }

    /// A connection is to be registered, for the first time or again.
    pub fn arrive(&mut self, arrived: Arrived) {
        let handle = arrived.handle;
        if let Some(held) = self.unsettled.get_mut(&handle) {
            held.again |= held.under_way;
            return;
        }
        if self.unsettled.len() >= self.max {
            self.overflowed = true;
            return;
        }
        let (gone, asked, under_way, again, failures) = (false, false, false, false, 0);
        self.unsettled.insert(handle, Unsettled { arrived, gone, asked, under_way, again, failures });
        self.ready.push_back(handle);
    }

    /// A connection is gone.
    pub fn depart(&mut self, handle: Handle, user: &str, device: &str, protocol: Protocol) {
        if Mutant::DepartureNotTold.is_on() {
            return;
        }
        if let Some(held) = self.unsettled.get_mut(&handle) {
            held.gone = true;
            if !held.asked {
                // Nobody has heard of it.
                self.unsettled.remove(&handle);
            }
            return;
        }
        if self.unsettled.len() >= self.max {
            self.left_behind += 1;
            return;
        }
        let arrived =
            Arrived { handle, user: user.into(), device: device.into(), protocol, began_ms: 0, ends_ms: 0 };
        let (gone, asked, under_way, again, failures) = (true, true, false, false, 0);
        self.unsettled.insert(handle, Unsettled { arrived, gone, asked, under_way, again, failures });
        self.ready.push_back(handle);
    }

    /// What is to be asked next.
    pub fn next(&mut self, now_ms: u64) -> Option<Change> {
        while let Some(&(at_ms, shard, index, generation)) = self.later.first() {
            if at_ms > now_ms {
                break;
            }
            self.later.pop_first();
            self.ready.push_back(Handle { shard, key: Key { index, generation } });
        }
        loop {
            let handle = self.ready.pop_front()?;
            // It may have been settled meanwhile, or forgotten before anybody heard of it.
            let Some(held) = self.unsettled.get_mut(&handle).filter(|held| !held.under_way) else { continue };
            held.under_way = true;
            if held.gone {
                let Arrived { user, device, .. } = held.arrived.clone();
                return Some(Change::Forget { handle, user, device });
            }
            held.asked = true;
            held.again = false;
            return Some(Change::Register(held.arrived.clone()));
        }
    }

    /// A connect was carried out. Whose it was.
    pub fn registered(&mut self, handle: Handle) -> Option<Box<str>> {
        let held = self.unsettled.get_mut(&handle)?;
        held.under_way = false;
        held.failures = 0;
        let user = held.arrived.user.clone();
        if held.gone || held.again {
            self.ready.push_back(handle);
        } else {
            self.unsettled.remove(&handle);
        }
        Some(user)
    }

    /// A connection that is to be registered and is still there.
    pub fn waiting(&self, handle: Handle) -> Option<&Arrived> {
        self.unsettled.get(&handle).filter(|held| !held.gone).map(|held| &held.arrived)
    }

    /// A disconnect was carried out, or a connect that leaves nothing to be removed. Whose it was.
    pub fn settled(&mut self, handle: Handle) -> Option<Box<str>> {
        self.unsettled.remove(&handle).map(|held| held.arrived.user)
    }

    /// A request was not answered: it is asked again after a pause.
    pub fn failed(&mut self, handle: Handle, now_ms: u64) {
        let Some(held) = self.unsettled.get_mut(&handle) else { return };
        held.under_way = false;
        let pause_ms = (RETRY_MS << held.failures.min(16)).min(RETRY_MS_MAX);
        held.failures += 1;
        let Handle { shard, key } = handle;
        self.later.insert((now_ms + pause_ms, shard, key.index, key.generation));
    }

    /// When the next retry is due.
    pub fn next_retry_ms(&self) -> Option<u64> {
        self.later.first().map(|&(at_ms, ..)| at_ms)
    }
}
