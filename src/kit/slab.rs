//! A generational slab: fixed-size slots in chunks that never move, addressed by an index and a generation.
//!
//! Owns the memory of its entries and the proof that a [`Key`] still names the entry it was made for. Never moves an
//! entry, and never gives a chunk back: the high-water mark is the price of addresses that stay put.
//!
//! A slot is 4 bytes of generation plus the entry itself. A vacant slot threads the free list through the entry's own
//! bytes, and a chunk's pages are touched only as its slots are first used.
#![allow(unsafe_code)]

use super::mutant::Mutant;
use std::mem::MaybeUninit;

/// Slots in a chunk.
const CHUNK_SLOTS: usize = 1_024;

/// Ends the free list. No slot has this index.
const NIL: u32 = u32::MAX;

/// Names one entry for as long as it lives. Once the entry is removed the key is stale for good (until its slot has
/// been used another 2^31 times).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// The slot.
    pub index: u32,
    /// Odd for every live entry, so the all-zero key names nothing.
    pub generation: u32,
}

impl Key {
    /// The key as one word, `generation << 32 | index`, such as a poller carries.
    pub fn to_token(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key that [`Key::to_token`] packed.
    pub fn from_token(token: u64) -> Key {
        Key { index: token as u32, generation: (token >> 32) as u32 }
    }
}

#[repr(C)]
union Body<T: Copy> {
    value: T,
    next_vacant: u32,
}

/// The generation is odd exactly while `body` holds a value; while it is even, `body` holds a link of the free list.
#[repr(C)]
struct Slot<T: Copy> {
    generation: u32,
    body: Body<T>,
}

impl<T: Copy> Slot<T> {
    /// Entries up to 4-byte alignment cost exactly their size plus the generation. Wider alignment pads the generation.
    const SIZE_CHECKED: () = {
        assert!(size_of::<T>() >= 4, "a vacant slot keeps its link in the entry's bytes");
        assert!(align_of::<T>() > 4 || size_of::<Slot<T>>() == size_of::<T>() + 4);
    };

    fn is_live(&self) -> bool {
        self.generation % 2 == 1
    }

    fn value(&self) -> Option<&T> {
        if !self.is_live() {
            return None;
        }
        // SAFETY: an odd generation says that `insert` wrote `value` and `remove` has not replaced it by a link.
        Some(unsafe { &self.body.value })
    }

    fn value_mut(&mut self) -> Option<&mut T> {
        if !self.is_live() {
            return None;
        }
        // SAFETY: as in `value`.
        Some(unsafe { &mut self.body.value })
    }
}

/// Entries of one type under generational keys, at most a set number of them at a time.
pub struct Slab<T: Copy> {
    /// Slots below `high_water` are initialised, the others are not.
    chunks: Vec<Box<[MaybeUninit<Slot<T>>]>>,
    high_water: u32,
    first_vacant: u32,
    len: u32,
    limit: u32,
}

impl<T: Copy> Slab<T> {
    /// A slab for at most `limit` live entries. Nothing is allocated yet.
    pub fn with_limit(limit: u32) -> Self {
        let () = Slot::<T>::SIZE_CHECKED;
        Slab { chunks: Vec::new(), high_water: 0, first_vacant: NIL, len: 0, limit }
    }

    /// Stores `value` in the slot vacated last, or in a fresh one. `None` at the limit.
    pub fn insert(&mut self, value: T) -> Option<Key> {
        if self.len >= self.limit {
            return None;
        }
        let index = if self.first_vacant == NIL { self.open_slot()? } else { self.first_vacant };
        let slot = self.slot_mut(index)?;
        debug_assert!(!slot.is_live());
        // SAFETY: the slot is vacant, and a vacant slot holds a link.
        let next_vacant = unsafe { slot.body.next_vacant };
        slot.generation = slot.generation.wrapping_add(1);
        slot.body = Body { value };
        let generation = slot.generation;
        self.first_vacant = next_vacant;
        self.len += 1;
        Some(Key { index, generation })
    }

    /// The entry, unless the key is stale.
    pub fn get(&self, key: Key) -> Option<&T> {
        self.slot(key.index).filter(|slot| slot.generation == key.generation)?.value()
    }

    /// The entry, unless the key is stale.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let is_same =
            |slot: &&mut Slot<T>| slot.generation == key.generation || Mutant::GenerationNotChecked.is_on();
        self.slot_mut(key.index).filter(is_same)?.value_mut()
    }

    /// Takes the entry out, unless the key is stale.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let next_vacant = self.first_vacant;
        let slot = self.slot_mut(key.index).filter(|slot| slot.generation == key.generation)?;
        let value = *slot.value()?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.body = Body { next_vacant };
        self.first_vacant = key.index;
        self.len -= 1;
        Some(value)
    }

    /// The key of the live entry at an index.
    pub fn key_at(&self, index: u32) -> Option<Key> {
        let slot = self.slot(index).filter(|slot| slot.is_live())?;
        Some(Key { index, generation: slot.generation })
    }

    /// The live entry at an index, whatever its generation.
    pub fn at(&self, index: u32) -> Option<&T> {
        self.slot(index)?.value()
    }

    /// The live entry at an index, whatever its generation.
    pub fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slot_mut(index)?.value_mut()
    }

    /// How many entries are live.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no entry is live.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One past the highest index ever used: the end of a walk over all indexes.
    pub fn high_water(&self) -> u32 {
        self.high_water
    }

    /// The most entries that may be live.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Changes the limit. Entries beyond a lowered limit stay; only new ones are refused.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Heap bytes held, touched or not.
    pub fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK_SLOTS * size_of::<Slot<T>>()
            + self.chunks.capacity() * size_of::<Box<[MaybeUninit<Slot<T>>]>>()
    }

    /// Makes the slot at the high-water mark vacant and gives its index; `None` once indexes run out.
    fn open_slot(&mut self) -> Option<u32> {
        let index = self.high_water;
        if index == NIL {
            return None;
        }
        let (chunk, place) = position(index);
        if chunk == self.chunks.len() {
            self.chunks.push(Box::new_uninit_slice(CHUNK_SLOTS));
        }
        self.chunks[chunk][place].write(Slot { generation: 0, body: Body { next_vacant: NIL } });
        self.high_water += 1;
        Some(index)
    }

    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        if index >= self.high_water {
            return None;
        }
        let (chunk, place) = position(index);
        let slot = self.chunks.get(chunk)?.get(place)?;
        // SAFETY: `open_slot` wrote every slot below the high-water mark, and the mark never falls.
        Some(unsafe { slot.assume_init_ref() })
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        if index >= self.high_water {
            return None;
        }
        let (chunk, place) = position(index);
        let slot = self.chunks.get_mut(chunk)?.get_mut(place)?;
        // SAFETY: as in `slot`.
        Some(unsafe { slot.assume_init_mut() })
    }
}

/// The chunk of a slot, and its place in there.
fn position(index: u32) -> (usize, usize) {
    (index as usize / CHUNK_SLOTS, index as usize % CHUNK_SLOTS)
}

#[cfg(test)]
mod tests;
