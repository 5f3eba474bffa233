//! Who is connected to this node: user to devices to connection handles.
//!
//! Owns each connection's identity, stored once, and the rule of who wins when a device connects twice. Shards register
//! and unregister; the router looks up. It is split into partitions by user, each behind a lock that is held for a few
//! hundred nanoseconds and never across I/O, so a connection is found from the moment before its client hears of it.
//!
//! With the memory registry this is the registry; with any other it is the node's own part of it, and the registry hears of
//! each change through the [`Journal`].

mod addresses;
mod blocks;
mod dedup;
mod journal;
mod partition;
mod presence;
mod record;

pub use addresses::Addresses;
pub use blocks::Blocks;
pub use dedup::Dedup;
pub use journal::{Change, Changed, JOURNAL_MAX, Journal};
pub use presence::{PRESENCE_MAX, Presence, PresenceLog};
pub use record::{Began, RECORD_GRACE_MS, Route, TAKEOVER_WINDOW_S, TAKEOVERS_MAX};

use crate::{
    kit::mutant::Mutant,
    model::{Handle, Protocol},
};
use foldhash::fast::SeedableRandomState;
use journal::Entry;
use partition::Partition;
use std::{
    hash::BuildHasher,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Partitions, a power of two: enough that sixteen shards seldom meet, few enough that an empty node stays small.
const PARTITIONS: usize = 32;
const PARTITION_BITS: u32 = PARTITIONS.trailing_zeros();

/// Where a connection's record is: the connection's way back to its identity. Four bytes of every connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordRef(u32);

impl RecordRef {
    /// No record: the connection has no identity yet.
    pub const NONE: RecordRef = RecordRef(u32::MAX);

    fn new(partition: usize, index: u32) -> Self {
        debug_assert!(index < 1 << (32 - PARTITION_BITS));
        Self(index << PARTITION_BITS | partition as u32)
    }

    fn partition(self) -> usize {
        self.0 as usize % PARTITIONS
    }

    fn index(self) -> u32 {
        self.0 >> PARTITION_BITS
    }
}

/// A connection that asks to be found.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// A checked name.
    pub user: &'a str,
    /// A checked name; None: it is called by its connection id.
    pub device: Option<&'a str>,
    /// The connection.
    pub handle: Handle,
    /// What it speaks.
    pub protocol: Protocol,
    /// Now, monotonic ms.
    pub began_ms: u64,
    /// When its bounded life ends at the latest, monotonic ms.
    pub ends_ms: u64,
}

/// A registered connection and whom that cost theirs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registered {
    /// To be given back at [`Directory::unregister`].
    pub record: RecordRef,
    /// The connection that this one took over from: it is found no more, and is to be closed.
    pub displaced: Option<Handle>,
    /// The user's oldest connection, where the user had too many: found no more, to be closed.
    pub evicted: Option<Handle>,
}

/// Why a connection was not registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The device was taken over more than three times within a minute: the holder stays.
    Fight,
    /// No room for another record or name.
    Full,
}

/// The directory of one node.
pub struct Directory {
    partitions: Box<[Mutex<Partition>]>,
    seed: SeedableRandomState,
    per_user_max: AtomicUsize,
    journal: Option<Journal>,
    presence: Option<PresenceLog>,
}

impl Directory {
    /// An empty directory. `per_user_max` is `limits.connections_per_user`, 0 for no limit.
    pub fn new(per_user_max: usize) -> Self {
        Self::build(per_user_max, None, SeedableRandomState::random())
    }

    /// The same, whose every change a registry outside of the process is to hear of.
    pub fn with_journal(per_user_max: usize, journal: Journal) -> Self {
        Self::build(per_user_max, Some(journal), SeedableRandomState::random())
    }

    /// The same, whose walks take an order that is the same in every run of a simulation.
    #[cfg(any(test, feature = "sim"))]
    pub fn in_fixed_order(per_user_max: usize, journal: Journal) -> Self {
        Self::build(per_user_max, Some(journal), SeedableRandomState::fixed())
    }

    fn build(per_user_max: usize, journal: Option<Journal>, seed: SeedableRandomState) -> Self {
        let partition = || Mutex::new(Partition::new(seed.clone(), journal.is_some()));
        let partitions = (0..PARTITIONS).map(|_| partition()).collect();
        Self { partitions, seed, per_user_max: per_user_max.into(), journal, presence: None }
    }

    /// Changes `limits.connections_per_user` from now on. Who has more keeps them until the next one comes, for which the
    /// oldest goes.
    pub fn set_per_user_max(&self, per_user_max: usize) {
        self.per_user_max.store(per_user_max, Ordering::Relaxed);
    }

    /// The same, whose every arrival and departure is told.
    pub fn telling(self, presence: Option<PresenceLog>) -> Self {
        Self { presence, ..self }
    }

    /// Makes a connection findable. The newer connection of a device wins.
    ///
    /// # Errors
    /// When the device is fought over, or there is no room.
    pub fn register(&self, arrival: &Arrival<'_>) -> Result<Registered, Refused> {
        let at = partition_of(self.seed.hash_one(arrival.user));
        let mut partition = self.lock(at);
        let mut changed = |entry| self.post(at, entry);
        let before = self.routes_of(&partition, arrival.user);
        let (index, displaced) = partition.register(arrival, &mut changed)?;
        let evicted = match self.per_user_max.load(Ordering::Relaxed) {
            _ if Mutant::UserLimitForgotten.is_on() => None,
            0 => None,
            max => partition.evict_oldest(arrival.user, arrival.handle, arrival.began_ms, max, &mut changed),
        };
        self.tell_arrival(arrival, before, [displaced, evicted]);
        Ok(Registered { record: RecordRef::new(at, index), displaced, evicted })
    }

    /// The user's connections as they are told, where anybody is told of them.
    fn routes_of(&self, partition: &Partition, user: &str) -> Vec<Presence> {
        let mut routes = Vec::new();
        if self.presence.is_some() {
            partition.lookup(self.seed.hash_one(user), user, &mut |route| {
                routes.push(Presence {
                    user: user.into(),
                    device: route.device.map(Into::into),
                    handle: route.handle,
                    protocol: route.protocol,
                    is_online: false,
                });
            });
        }
        routes
    }

    /// Under the partition's lock, so that the events of a user come in their order.
    fn tell_arrival(&self, arrival: &Arrival<'_>, before: Vec<Presence>, gone: [Option<Handle>; 2]) {
        let Some(presence) = &self.presence else { return };
        let left = before.into_iter().filter(|one| gone.contains(&Some(one.handle)));
        left.for_each(|one| presence.post(one));
        presence.post(Presence {
            user: arrival.user.into(),
            device: arrival.device.map(Into::into),
            handle: arrival.handle,
            protocol: arrival.protocol,
            is_online: true,
        });
    }

    /// Forgets a connection, unless its record now belongs to another: compare and delete. Says whether it was there.
    pub fn unregister(&self, record: RecordRef, handle: Handle) -> bool {
        if record == RecordRef::NONE {
            return false;
        }
        let at = record.partition();
        let mut partition = self.lock(at);
        let user = self
            .presence
            .as_ref()
            .and_then(|_| partition.identity(record.index(), handle, |user, _| Box::<str>::from(user)));
        let before = user.map_or_else(Vec::new, |user| self.routes_of(&partition, &user));
        let was_there = partition.unregister(record.index(), handle, &mut |entry| self.post(at, entry));
        if let Some(presence) = self.presence.as_ref().filter(|_| was_there) {
            before.into_iter().filter(|one| one.handle == handle).for_each(|one| presence.post(one));
        }
        was_there
    }

    /// Shows every connection of a user, the newest device first.
    pub fn lookup(&self, user: &str, mut visit: impl FnMut(Route<'_>)) {
        let hash = self.seed.hash_one(user);
        self.lock(partition_of(hash)).lookup(hash, user, &mut visit);
    }

    /// Whether a connection is there and takes messages.
    pub fn holds(&self, user: &str, handle: Handle) -> bool {
        let mut held = false;
        self.lookup(user, |route| held |= route.handle == handle);
        held
    }

    /// Shows what a change was, unless the record has changed again since: then another entry will say so, or has. From
    /// now on it counts as told.
    pub fn take_change<R>(&self, changed: Changed, visit: impl FnOnce(Change<'_>) -> R) -> Option<R> {
        let Changed { record, handle } = changed;
        self.lock(record.partition()).take_change(record.index(), handle, visit)
    }

    /// Shows changes that are not told yet, from a place on, looking at no more than `max` records. Returns the place to
    /// go on from; None at the end.
    pub fn walk_changes(&self, from: u64, max: usize, mut visit: impl FnMut(Changed)) -> Option<u64> {
        self.walk_records(from, max, true, &mut |at, entry, _, _| {
            visit(Changed { record: RecordRef::new(at, entry.index), handle: entry.handle });
        })
    }

    /// Shows the connections that are there, in the manner of [`Directory::walk_changes`].
    pub fn walk(&self, from: u64, max: usize, mut visit: impl FnMut(&str, Route<'_>)) -> Option<u64> {
        self.walk_records(from, max, false, &mut |_, _, user, route| visit(user, route))
    }

    /// Shows when each connection began and when the life of its record ends (monotonic ms), in the manner of
    /// [`Directory::walk_changes`]. It looks at no name, which makes it several times as fast as [`Directory::walk`].
    pub fn walk_times(&self, from: u64, max: usize, mut visit: impl FnMut(Began, u64)) -> Option<u64> {
        let (at, index) = ((from >> 32) as usize, from as u32);
        if at >= PARTITIONS {
            return None;
        }
        go_on(at, self.lock(at).walk_times(index, max, &mut visit))
    }

    /// How changes reach the registry, where there is one outside of the process.
    pub fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    fn walk_records(
        &self,
        from: u64,
        max: usize,
        dirty: bool,
        visit: &mut dyn FnMut(usize, Entry, &str, Route<'_>),
    ) -> Option<u64> {
        let (at, index) = ((from >> 32) as usize, from as u32);
        if at >= PARTITIONS {
            return None;
        }
        let next = self.lock(at).walk(index, max, dirty, &mut |entry, user, route| {
            visit(at, entry, user, route);
        });
        go_on(at, next)
    }

    fn post(&self, at: usize, entry: Entry) {
        if let Some(journal) = &self.journal {
            journal.post(Changed { record: RecordRef::new(at, entry.index), handle: entry.handle });
        }
    }

    /// Shows the connection of one device of a user, if it is there. A device may be named by its connection id, whose
    /// handle the caller passes where the name is one of this node.
    pub fn lookup_device<R>(
        &self,
        user: &str,
        device: &str,
        unnamed: Option<Handle>,
        visit: impl FnOnce(Route<'_>) -> R,
    ) -> Option<R> {
        let mut visit = Some(visit);
        let mut found = None;
        self.lookup(user, |route| {
            let same = match route.device {
                Some(name) => name == device,
                None => unnamed == Some(route.handle),
            };
            if same && let Some(visit) = visit.take() {
                found = Some(visit(route));
            }
        });
        found
    }

    /// Shows who a connection is, unless its record now belongs to another.
    pub fn identity<R>(
        &self,
        record: RecordRef,
        handle: Handle,
        visit: impl FnOnce(&str, Option<&str>) -> R,
    ) -> Option<R> {
        if record == RecordRef::NONE {
            return None;
        }
        self.lock(record.partition()).identity(record.index(), handle, visit)
    }

    /// Connections that can be found.
    pub fn connections(&self) -> usize {
        (0..PARTITIONS).map(|at| self.lock(at).connections()).sum()
    }

    /// Users that can be found.
    pub fn users(&self) -> usize {
        (0..PARTITIONS).map(|at| self.lock(at).users()).sum()
    }

    fn lock(&self, at: usize) -> MutexGuard<'_, Partition> {
        // A panic with the lock held is a bug that ends the process (`panic = "abort"`); in tests the data is still whole.
        self.partitions[at].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The place after a walk within a partition, which ended at an index or at its end.
fn go_on(at: usize, next: Option<u32>) -> Option<u64> {
    match next {
        Some(index) => Some((at as u64) << 32 | u64::from(index)),
        None if at + 1 < PARTITIONS => Some((at as u64 + 1) << 32),
        None => None,
    }
}

fn partition_of(hash: u64) -> usize {
    // The table inside a partition uses the low bits and the top seven; these are from between.
    (hash >> 32) as usize % PARTITIONS
}

#[cfg(test)]
mod tests;
