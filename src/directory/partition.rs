//! One partition: records in a slab, names in an arena, and a table of users that stores no key.

use super::{
    Arrival, Refused,
    record::{NO_RECORD, Record, Route},
};
use crate::{
    kit::{arena::Arena, mutant::Mutant, slab::Slab},
    model::Handle,
};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Most records: what [`super::RecordRef`] can point at.
const RECORDS_MAX: u32 = 1 << 27;

pub(super) struct Partition {
    records: Slab<Record>,
    names: Arena,
    /// The first record of each user; hash and equality look into the records, so a name is stored once.
    users: HashTable<u32>,
    seed: RandomState,
}

impl Partition {
    pub fn new(seed: RandomState) -> Self {
        Self { records: Slab::with_limit(RECORDS_MAX), names: Arena::new(), users: HashTable::new(), seed }
    }

    pub fn connections(&self) -> usize {
        self.records.len()
    }

    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// The record's index, and whom it displaced.
    pub fn register(&mut self, arrival: &Arrival<'_>) -> Result<(u32, Option<Handle>), Refused> {
        let held = match arrival.device {
            Some(device) => self.find(arrival.user, |_, name| name == Some(device)),
            None => None,
        };
        if let Some(index) = held {
            return self.take_over(index, arrival).map(|displaced| (index, Some(displaced)));
        }
        self.add(arrival).map(|index| (index, None))
    }

    pub fn unregister(&mut self, index: u32, handle: Handle) -> bool {
        let is_ours = |record: &Record| record.handle() == handle || Mutant::RecordOfAnotherRemoved.is_on();
        let ours = self.records.at(index).is_some_and(is_ours);
        if ours {
            self.remove(index);
        }
        ours
    }

    /// Removes and returns the user's oldest connection where there are more than `max`. It is never `newest`, whatever the
    /// clock says.
    pub fn evict_oldest(&mut self, user: &str, newest: Handle, max: usize) -> Option<Handle> {
        let (mut count, mut oldest) = (0, NO_RECORD);
        let mut oldest_since = u32::MAX;
        let mut at = self.first(user);
        while let Some(record) = self.records.at(at) {
            count += 1;
            // The list runs from the newest record to the oldest, so of equals the last seen is the oldest.
            if record.connected_unix_s <= oldest_since && record.handle() != newest {
                (oldest, oldest_since) = (at, record.connected_unix_s);
            }
            at = record.next;
        }
        if count <= max {
            return None;
        }
        let handle = self.records.at(oldest)?.handle();
        self.remove(oldest);
        Some(handle)
    }

    pub fn lookup(&self, user: &str, visit: &mut impl FnMut(Route<'_>)) {
        let mut at = self.first(user);
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
        let record = self.records.at(index).filter(|record| record.handle() == handle)?;
        Some(visit(self.user(record), self.device(record)))
    }

    fn take_over(&mut self, index: u32, arrival: &Arrival<'_>) -> Result<Handle, Refused> {
        let record = self.records.at_mut(index).ok_or(Refused::Full)?;
        if !record.count_takeover(arrival.connected_unix_s) {
            return Err(Refused::Fight);
        }
        let displaced = record.handle();
        record.assign(arrival.handle, arrival.protocol, arrival.connected_unix_s, arrival.expires_unix_s);
        Ok(displaced)
    }

    fn add(&mut self, arrival: &Arrival<'_>) -> Result<u32, Refused> {
        let device = arrival.device.unwrap_or("");
        let names = self.store_names(arrival.user, device).ok_or(Refused::Full)?;
        let mut record = Record::new(names, arrival.user.len(), device.len(), self.first(arrival.user));
        record.assign(arrival.handle, arrival.protocol, arrival.connected_unix_s, arrival.expires_unix_s);
        let Some(key) = self.records.insert(record) else {
            self.names.free(names, arrival.user.len() + device.len());
            return Err(Refused::Full);
        };
        self.set_first(arrival.user, key.index);
        Ok(key.index)
    }

    fn remove(&mut self, index: u32) {
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
        let hash = self.seed.hash_one(user);
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
        let mut both = [0; 2 * crate::model::identifier::IDENTIFIER_BYTES_MAX];
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
            connected_unix_s: record.connected_unix_s,
            expires_unix_s: record.expires_unix_s,
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
