//! Who is connected to this node: user to devices to connection handles.
//!
//! Owns each connection's identity, stored once, and the rule of who wins when a device connects twice. Shards register
//! and unregister; the router looks up. It is split into partitions by user, each behind a lock that is held for a few
//! hundred nanoseconds and never across I/O, so a connection is found from the moment before its client hears of it.
//!
//! With the memory registry this is the registry; with any other it is the node's own part of it.

mod addresses;
mod blocks;
mod dedup;
mod partition;
mod record;

pub use addresses::Addresses;
pub use blocks::Blocks;
pub use dedup::Dedup;
pub use record::Route;

use crate::{
    kit::mutant::Mutant,
    model::{Handle, Protocol},
};
use foldhash::fast::RandomState;
use partition::Partition;
use std::{
    hash::BuildHasher,
    sync::{Mutex, MutexGuard},
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
    /// Seconds since 1970.
    pub connected_unix_s: u32,
    /// When its bounded life ends, seconds since 1970.
    pub expires_unix_s: u32,
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
    seed: RandomState,
    per_user_max: usize,
}

impl Directory {
    /// An empty directory. `per_user_max` is `limits.connections_per_user`, 0 for no limit.
    pub fn new(per_user_max: usize) -> Self {
        let seed = RandomState::default();
        let partitions = (0..PARTITIONS).map(|_| Mutex::new(Partition::new(seed.clone()))).collect();
        Self { partitions, seed, per_user_max }
    }

    /// Makes a connection findable. The newer connection of a device wins.
    ///
    /// # Errors
    /// When the device is fought over, or there is no room.
    pub fn register(&self, arrival: &Arrival<'_>) -> Result<Registered, Refused> {
        let at = self.partition_of(arrival.user);
        let mut partition = self.lock(at);
        let (index, displaced) = partition.register(arrival)?;
        let evicted = match self.per_user_max {
            _ if Mutant::UserLimitForgotten.is_on() => None,
            0 => None,
            max => partition.evict_oldest(arrival.user, arrival.handle, max),
        };
        Ok(Registered { record: RecordRef::new(at, index), displaced, evicted })
    }

    /// Forgets a connection, unless its record now belongs to another: compare and delete. Says whether it was there.
    pub fn unregister(&self, record: RecordRef, handle: Handle) -> bool {
        record != RecordRef::NONE && self.lock(record.partition()).unregister(record.index(), handle)
    }

    /// Shows every connection of a user, the newest device first.
    pub fn lookup(&self, user: &str, mut visit: impl FnMut(Route<'_>)) {
        self.lock(self.partition_of(user)).lookup(user, &mut visit);
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

    fn partition_of(&self, user: &str) -> usize {
        // The table inside a partition uses the low bits and the top seven; these are from between.
        (self.seed.hash_one(user) >> 32) as usize % PARTITIONS
    }

    fn lock(&self, at: usize) -> MutexGuard<'_, Partition> {
        // A panic with the lock held is a bug that ends the process (`panic = "abort"`); in tests the data is still whole.
        self.partitions[at].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
