//! Where connections are kept: in chunks that never move, so that growing neither copies them nor needs both sizes at once.

use super::connection::Connection;
use std::ops::{Index, IndexMut};

/// Connections of one chunk: 56 kB, allocated at once and touched as they come.
const CHUNK: usize = 1_024;
/// No place.
const NONE: u32 = u32::MAX;

enum Place {
    /// The next place that is free.
    Free(u32),
    Taken(Connection),
}

const _: () = assert!(size_of::<Place>() == size_of::<Connection>());

/// A list of connections with gaps.
pub struct Places {
    chunks: Vec<Vec<Place>>,
    free: u32,
}

impl Places {
    pub fn new() -> Self {
        Self { chunks: Vec::new(), free: NONE }
    }

    /// A bound of all keys.
    pub fn end(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub fn insert(&mut self, connection: Connection) -> usize {
        let key = self.free as usize;
        if let Some(place) = self.chunks.get_mut(key / CHUNK).and_then(|chunk| chunk.get_mut(key % CHUNK)) {
            let Place::Free(next) = std::mem::replace(place, Place::Taken(connection)) else {
                unreachable!("a free place is not taken")
            };
            self.free = next;
            return key;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let key = self.end();
        self.chunks.last_mut().expect("it was pushed").push(Place::Taken(connection));
        key
    }

    /// Closes its socket, if it still has one.
    pub fn remove(&mut self, key: usize) {
        if self.get(key).is_some() {
            self.chunks[key / CHUNK][key % CHUNK] = Place::Free(self.free);
            self.free = key as u32;
        }
    }

    pub fn get(&self, key: usize) -> Option<&Connection> {
        match self.chunks.get(key / CHUNK)?.get(key % CHUNK)? {
            Place::Taken(connection) => Some(connection),
            Place::Free(_) => None,
        }
    }

    pub fn get_mut(&mut self, key: usize) -> Option<&mut Connection> {
        match self.chunks.get_mut(key / CHUNK)?.get_mut(key % CHUNK)? {
            Place::Taken(connection) => Some(connection),
            Place::Free(_) => None,
        }
    }
}

impl Index<usize> for Places {
    type Output = Connection;

    fn index(&self, key: usize) -> &Connection {
        self.get(key).expect("a connection is named by its own key")
    }
}

impl IndexMut<usize> for Places {
    fn index_mut(&mut self, key: usize) -> &mut Connection {
        self.get_mut(key).expect("a connection is named by its own key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Manner;
    use proptest::prelude::*;
    use slab::Slab;

    proptest! {
        #[test]
        fn it_is_a_slab(steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..200)) {
            let (mut places, mut twin) = (Places::new(), Slab::new());
            for (client, (inserts, at)) in steps.into_iter().enumerate() {
                if inserts || twin.is_empty() {
                    let key = places.insert(Connection::new(client as u32, 0, 0, 0, Manner::Stay));
                    prop_assert_eq!(key, twin.insert(client as u32));
                } else {
                    let keys: Vec<usize> = twin.iter().map(|(key, _)| key).collect();
                    let key = keys[at.index(keys.len())];
                    twin.remove(key);
                    places.remove(key);
                }
                for key in 0..places.end() + 2 {
                    prop_assert_eq!(places.get(key).map(|found| found.client), twin.get(key).copied());
                }
            }
        }
    }

    #[test]
    fn chunks_do_not_move() {
        let mut places = Places::new();
        let connection = || Connection::new(0, 0, 0, 0, Manner::Stay);
        places.insert(connection());
        let first: *const Connection = &places[0];
        (1..5 * CHUNK).for_each(|key| assert_eq!(places.insert(connection()), key));
        assert!(std::ptr::eq(first, &raw const places[0]));
        assert_eq!(places.end(), 5 * CHUNK);
    }
}
