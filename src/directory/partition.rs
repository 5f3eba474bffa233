//! One partition: records in a slab, names in an arena, and a table of users that stores no key.

use super::{
    Arrival, Refused,
    journal::{Change, Entry},
    record::{Began, NO_RECORD, Record, Route},
};
use crate::{
    kit::{arena::Arena, mutant::Mutant, slab::Slab},
    model::Handle,
};
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Most records: what [`super::RecordRef`] can point at.
const RECORDS_MAX: u32 = 1 << 27;
/// A user's name and a device's, bytes.
const NAMES_MAX: usize = 2 * crate::model::identifier::IDENTIFIER_BYTES_MAX;

pub(super) struct Partition {
    records: Slab<Record>,
    names: Arena,
    /// The first record of each user; hash and equality look into the records, so a name is stored once.
    users: HashTable<u32>,
    seed: SeedableRandomState,
    /// Records of connections that are gone.
    gone: usize,
    /// Whether a registry is to hear of every change.
    journaled: bool,
}

impl Partition {
    pub fn new(seed: SeedableRandomState, journaled: bool) -> Self {
        let (records, names, users) = (Slab::with_limit(RECORDS_MAX), Arena::new(), HashTable::new());
        Self { records, names, users, seed, gone: 0, journaled }
    }

    pub fn connections(&self) -> usize {
        self.records.len() - self.gone
    }

    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// The record's index, and whom it displaced. `changed` hears of each record that the registry is to hear of.
    pub fn register(
        &mut self,
        arrival: &Arrival<'_>,
        changed: &mut impl FnMut(Entry),
    ) -> Result<(u32, Option<Handle>), Refused> {
        let held = match arrival.device {
            Some(device) => self.find(arrival.user, |_, name| name == Some(device)),
            None => None,
        };
        let (index, before) = match held {
            Some(index) => (index, Some(self.take_over(index, arrival)?)),
            None => (self.add(arrival)?, None),
        };
        // First who comes, then who goes: the registry is not to be without the device in between.
        self.mark(index, changed);
        let displaced = before.map(|before| {
            self.leave_behind(&before, changed);
            before.handle()
        });
        Ok((index, displaced))
    }

    pub fn unregister(&mut self, index: u32, handle: Handle, changed: &mut impl FnMut(Entry)) -> bool {
        let is_ours = |record: &Record| {
            !record.is_gone() && (record.handle() == handle || Mutant::RecordOfAnotherRemoved.is_on())
        };
        let ours = self.records.at(index).is_some_and(is_ours);
        if ours {
            self.remove(index, changed);
        }
        ours
    }

    /// Removes and returns the user's oldest connection where there are more than `max`. It is never `newest`.
    pub fn evict_oldest(
        &mut self,
        user: &str,
        newest: Handle,
        now_ms: u64,
        max: usize,
        changed: &mut impl FnMut(Entry),
    ) -> Option<Handle> {
        let (mut count, mut oldest) = (0, NO_RECORD);
        let mut oldest_since = u64::MAX;
        let mut at = self.first(user);
        while let Some(record) = self.records.at(at) {
            count += 1;
            // The list runs from the newest record to the oldest, so of equals the last seen is the oldest.
            if record.began_ms(now_ms) <= oldest_since && record.handle() != newest {
                (oldest, oldest_since) = (at, record.began_ms(now_ms));
            }
            at = record.next;
        }
        if count <= max {
            return None;
        }
        let handle = self.records.at(oldest)?.handle();
        self.remove(oldest, changed);
        Some(handle)
    }

    /// `hash` is the user's, by the seed of [`Self::new`].
    pub fn lookup(&self, hash: u64, user: &str, visit: &mut impl FnMut(Route<'_>)) {
        let mut at = self.first_by(hash, user);
        while let Some(record) = self.records.at(at) {
            visit(self.route(record));
            at = record.next;
        }
    }

    pub fn identity<R>(
        &self,
        index: u32,
        handle: Handle,
        visit: impl FnOnce(&str, Option<&str>) -> R,
    ) -> Option<R> {
        let record =
            self.records.at(index).filter(|record| record.handle() == handle && !record.is_gone())?;
        Some(visit(self.user(record), self.device(record)))
    }

    /// What the registry is to hear of a record, if it still is what the entry was about; from then on it counts as heard.
    pub fn take_change<R>(
        &mut self,
        index: u32,
        handle: Handle,
        visit: impl FnOnce(Change<'_>) -> R,
    ) -> Option<R> {
        let record =
            *self.records.at(index).filter(|record| record.handle() == handle && record.is_dirty())?;
        let user = self.user(&record);
        let route = self.route(&record);
        if record.is_gone() {
            let heard = visit(Change::Departed { user, route });
            self.gone -= 1;
            self.free(index, &record);
            return Some(heard);
        }
        let heard = visit(Change::Arrived { user, route });
        if let Some(record) = self.records.at_mut(index) {
            record.set_known();
        }
        Some(heard)
    }

    /// Shows records from an index on, at most `max`: those that the registry is to hear of, or all of connections that are
    /// there. Returns the index to go on from; None at the end.
    pub fn walk(
        &self,
        from: u32,
        max: usize,
        dirty: bool,
        visit: &mut dyn FnMut(Entry, &str, Route<'_>),
    ) -> Option<u32> {
        let end = self.records.high_water();
        let until = from.saturating_add(u32::try_from(max).unwrap_or(u32::MAX)).min(end);
        for index in from..until {
            let wanted = |record: &&Record| if dirty { record.is_dirty() } else { !record.is_gone() };
            if let Some(record) = self.records.at(index).filter(wanted) {
                visit(Entry { index, handle: record.handle() }, self.user(record), self.route(record));
            }
        }
        (until < end).then_some(until)
    }

    /// Shows the times of the connections that are there, in the manner of [`Self::walk`].
    pub fn walk_times(&self, from: u32, max: usize, visit: &mut impl FnMut(Began, u64)) -> Option<u32> {
        let end = self.records.high_water();
        let until = from.saturating_add(u32::try_from(max).unwrap_or(u32::MAX)).min(end);
        for index in from..until {
            if let Some(record) = self.records.at(index).filter(|record| !record.is_gone()) {
                visit(record.began(), record.ends_ms());
            }
        }
        (until < end).then_some(until)
    }

    /// Points the record at the newcomer and returns what it was.
    fn take_over(&mut self, index: u32, arrival: &Arrival<'_>) -> Result<Record, Refused> {
        let record = self.records.at_mut(index).ok_or(Refused::Full)?;
        if !record.count_takeover(arrival.began_ms) {
            return Err(Refused::Fight);
        }
        let before = *record;
        record.assign(arrival.handle, arrival.protocol, arrival.began_ms, arrival.ends_ms);
        Ok(before)
    }

    fn mark(&mut self, index: u32, changed: &mut impl FnMut(Entry)) {
        if !self.journaled {
            return;
        }
        if let Some(record) = self.records.at_mut(index) {
            record.set_dirty();
            changed(Entry { index, handle: record.handle() });
        }
    }

    /// The registry knows a connection whose record has another's place now: it gets one of its own, to be told of. Where
    /// there is no room for it, whoever finds the connection lacking removes what the registry holds.
    fn leave_behind(&mut self, before: &Record, changed: &mut impl FnMut(Entry)) {
        if !self.journaled || !before.is_known() {
            return;
        }
        let mut both = [0; NAMES_MAX];
        let len = before.user_len() + before.device_len();
        both[..len].copy_from_slice(self.names.get(before.names, len));
        let Some(names) = self.names.store(&both[..len]) else { return };
        let mut record = *before;
        record.names = names;
        record.next = NO_RECORD;
        record.set_gone();
        match self.records.insert(record) {
            Some(key) => {
                self.gone += 1;
                changed(Entry { index: key.index, handle: record.handle() });
            }
            None => self.names.free(names, len),
        }
    }

    fn add(&mut self, arrival: &Arrival<'_>) -> Result<u32, Refused> {
        let device = arrival.device.unwrap_or("");
        let names = self.store_names(arrival.user, device).ok_or(Refused::Full)?;
        let mut record = Record::new(names, arrival.user.len(), device.len(), self.first(arrival.user));
        record.assign(arrival.handle, arrival.protocol, arrival.began_ms, arrival.ends_ms);
        let Some(key) = self.records.insert(record) else {
            self.names.free(names, arrival.user.len() + device.len());
            return Err(Refused::Full);
        };
        self.set_first(arrival.user, key.index);
        Ok(key.index)
    }

    /// Takes a record out of its user's list. Where the registry knows the connection, it is kept until that is told.
    fn remove(&mut self, index: u32, changed: &mut impl FnMut(Entry)) {
        let Some(&record) = self.records.at(index) else { return };
        let hash = self.seed.hash_one(self.user(&record));
        let (records, names) = (&self.records, &self.names);
        let first = self.users.find(hash, |&first| same_user(records, names, first, &record)).copied();
        if first == Some(index) {
            let entry = self.users.find_entry(hash, |&first| first == index);
            if let Ok(mut entry) = entry {
                match record.next {
                    NO_RECORD => drop(entry.remove()),
                    next => *entry.get_mut() = next,
                }
            }
        } else if let Some(first) = first {
            let mut at = first;
            while let Some(earlier) = self.records.at_mut(at) {
                if earlier.next == index {
                    earlier.next = record.next;
                    break;
                }
                at = earlier.next;
            }
        }
        if self.journaled && record.is_known() {
            if let Some(record) = self.records.at_mut(index) {
                record.set_gone();
                record.next = NO_RECORD;
            }
            self.gone += 1;
            changed(Entry { index, handle: record.handle() });
            return;
        }
        self.free(index, &record);
    }

    fn free(&mut self, index: u32, record: &Record) {
        self.names.free(record.names, record.user_len() + record.device_len());
        if let Some(key) = self.records.key_at(index) {
            self.records.remove(key);
        }
    }

    /// The user's first record that `wanted` accepts.
    fn find(&self, user: &str, wanted: impl Fn(&Record, Option<&str>) -> bool) -> Option<u32> {
        let mut at = self.first(user);
        while let Some(record) = self.records.at(at) {
            if wanted(record, self.device(record)) {
                return Some(at);
            }
            at = record.next;
        }
        None
    }

    fn first(&self, user: &str) -> u32 {
        self.first_by(self.seed.hash_one(user), user)
    }

    fn first_by(&self, hash: u64, user: &str) -> u32 {
        let found = self.users.find(hash, |&first| self.is_user(first, user));
        found.copied().unwrap_or(NO_RECORD)
    }

    fn set_first(&mut self, user: &str, index: u32) {
        let hash = self.seed.hash_one(user);
        let (records, names, seed) = (&self.records, &self.names, &self.seed);
        let is_user = |&first: &u32| records.at(first).is_some_and(|record| user_of(names, record) == user);
        match self.users.find_mut(hash, is_user) {
            Some(first) => *first = index,
            None => {
                let rehash = |&first: &u32| match records.at(first) {
                    Some(record) => seed.hash_one(user_of(names, record)),
                    None => 0,
                };
                self.users.insert_unique(hash, index, rehash);
            }
        }
    }

    fn is_user(&self, index: u32, user: &str) -> bool {
        self.records.at(index).is_some_and(|record| self.user(record) == user)
    }

    fn store_names(&mut self, user: &str, device: &str) -> Option<u32> {
        if device.is_empty() {
            return self.names.store(user.as_bytes());
        }
        let mut both = [0; NAMES_MAX];
        let len = user.len() + device.len();
        both[..user.len()].copy_from_slice(user.as_bytes());
        both[user.len()..len].copy_from_slice(device.as_bytes());
        self.names.store(&both[..len])
    }

    fn route(&self, record: &Record) -> Route<'_> {
        Route {
            handle: record.handle(),
            device: self.device(record),
            protocol: record.protocol(),
            began: record.began(),
            ends_ms: record.ends_ms(),
        }
    }

    fn user(&self, record: &Record) -> &str {
        user_of(&self.names, record)
    }

    fn device(&self, record: &Record) -> Option<&str> {
        let len = record.device_len();
        let bytes = self.names.get(record.names, record.user_len() + len);
        (len > 0).then(|| as_name(&bytes[record.user_len()..]))
    }
}

fn user_of<'a>(names: &'a Arena, record: &Record) -> &'a str {
    as_name(names.get(record.names, record.user_len()))
}

fn same_user(records: &Slab<Record>, names: &Arena, index: u32, of: &Record) -> bool {
    records.at(index).is_some_and(|record| user_of(names, record) == user_of(names, of))
}

/// The arena gives back what a `&str` put in; an empty name would be our own mistake and matches nobody.
fn as_name(bytes: &[u8]) -> &str {
    let name = std::str::from_utf8(bytes);
    debug_assert!(name.is_ok());
    name.unwrap_or("")
}
