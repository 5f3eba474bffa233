use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[test]
fn a_slot_is_the_entry_and_four_bytes() {
    assert_eq!(size_of::<Slot<u32>>(), 8);
    assert_eq!(size_of::<Slot<[u32; 15]>>(), 64);
    assert_eq!(size_of::<Slot<[u8; 44]>>(), 48);
    let mut slab = Slab::with_limit(10_000);
    assert_eq!(slab.bytes(), 0);
    for value in 0..CHUNK_SLOTS as u32 + 1 {
        slab.insert([value; 15]).unwrap();
    }
    assert!((2 * CHUNK_SLOTS * 64..2 * CHUNK_SLOTS * 64 + 256).contains(&slab.bytes()));
}

#[test]
fn a_stale_key_finds_nothing() {
    let mut slab = Slab::with_limit(4);
    let old = slab.insert(10u32).unwrap();
    assert_eq!(slab.remove(old), Some(10));
    assert_eq!((slab.get(old), slab.at(old.index), slab.key_at(old.index)), (None, None, None));
    let new = slab.insert(11).unwrap();
    assert_eq!(new.index, old.index);
    assert_ne!(new.generation, old.generation);
    assert_eq!((slab.get(old).copied(), slab.get_mut(old).copied(), slab.remove(old)), (None, None, None));
    assert_eq!(slab.get(new), Some(&11));
    *slab.get_mut(new).unwrap() = 12;
    *slab.at_mut(new.index).unwrap() += 1;
    assert_eq!((slab.at(new.index), slab.key_at(new.index)), (Some(&13), Some(new)));
    // A vacant slot's even generation is no way in either.
    slab.remove(new);
    for generation in 0..8 {
        assert_eq!(slab.get(Key { index: new.index, generation }), None);
        assert_eq!(slab.remove(Key { index: new.index, generation }), None);
    }
}

#[test]
fn slots_are_reused_last_in_first_out() {
    let mut slab = Slab::with_limit(8);
    let keys: Vec<Key> = (0..4u32).map(|value| slab.insert(value).unwrap()).collect();
    slab.remove(keys[1]);
    slab.remove(keys[3]);
    assert_eq!([7, 7, 7].map(|value| slab.insert(value).unwrap().index), [3, 1, 4]);
    assert_eq!(slab.high_water(), 5);
}

#[test]
fn the_limit_holds_and_moves() {
    let mut slab = Slab::with_limit(2);
    let first = slab.insert(0u64).unwrap();
    slab.insert(1).unwrap();
    assert_eq!((slab.insert(2), slab.len()), (None, 2));
    slab.set_limit(1);
    slab.remove(first);
    assert_eq!((slab.insert(2), slab.limit()), (None, 1));
    slab.set_limit(3);
    assert!(slab.insert(2).is_some() && slab.insert(3).is_some() && slab.insert(4).is_none());
    assert!(Slab::<u32>::with_limit(0).insert(0).is_none());
}

#[test]
fn generations_wrap_without_becoming_zero() {
    let mut slab = Slab::with_limit(1);
    let first = slab.insert(0u32).unwrap();
    slab.slot_mut(first.index).unwrap().generation = u32::MAX;
    let last = Key { index: 0, generation: u32::MAX };
    assert_eq!(slab.remove(last), Some(0));
    assert_eq!(slab.get(Key { index: 0, generation: 0 }), None);
    assert_eq!(slab.insert(1), Some(Key { index: 0, generation: 1 }));
    assert_eq!(slab.get(last), None);
}

#[test]
fn tokens_carry_the_whole_key() {
    let key = Key { index: 0xDEAD_BEEF, generation: 0x0123_4567 };
    assert_eq!(key.to_token(), 0x0123_4567_DEAD_BEEF);
    assert_eq!(Key::from_token(key.to_token()), key);
}

#[test]
fn entries_stay_where_they_are() {
    let mut slab = Slab::with_limit(u32::MAX);
    let first = slab.insert(42u64).unwrap();
    let address: *const u64 = slab.get(first).unwrap();
    for value in 0..3 * CHUNK_SLOTS as u64 {
        slab.insert(value).unwrap();
    }
    assert!(std::ptr::eq(address, slab.get(first).unwrap()));
    for index in [CHUNK_SLOTS - 1, CHUNK_SLOTS, 3 * CHUNK_SLOTS] {
        assert_eq!(slab.at(index as u32), Some(&(index as u64 - 1)));
    }
    assert_eq!(slab.at(slab.high_water()), None);
    assert_eq!(slab.at(u32::MAX), None);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32),
    /// Removes the n-th key ever given out, live or stale.
    Remove(usize),
    Change(usize, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<u32>().prop_map(Step::Insert),
        2 => any::<usize>().prop_map(Step::Remove),
        1 => (any::<usize>(), any::<u32>()).prop_map(|(which, value)| Step::Change(which, value)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 128 }))]
    #[test]
    fn behaves_like_a_map(limit in 0u32..24, steps in prop::collection::vec(step(), 0..120)) {
        let mut slab = Slab::with_limit(limit);
        let mut twin: HashMap<Key, u32> = HashMap::new();
        let mut keys = vec![Key { index: 0, generation: 0 }];
        for step in steps {
            match step {
                Step::Insert(value) => {
                    let key = slab.insert(value);
                    prop_assert_eq!(key.is_some(), twin.len() < limit as usize);
                    if let Some(key) = key {
                        prop_assert_eq!(key.generation % 2, 1);
                        prop_assert_eq!(twin.insert(key, value), None);
                        keys.push(key);
                    }
                }
                Step::Remove(which) => {
                    let key = keys[which % keys.len()];
                    prop_assert_eq!(slab.remove(key), twin.remove(&key));
                }
                Step::Change(which, value) => {
                    let key = keys[which % keys.len()];
                    let found = slab.get_mut(key).map(|entry| std::mem::replace(entry, value));
                    prop_assert_eq!(found, twin.get_mut(&key).map(|entry| std::mem::replace(entry, value)));
                }
            }
            prop_assert_eq!(slab.len(), twin.len());
            prop_assert_eq!(slab.is_empty(), twin.is_empty());
            prop_assert!(slab.high_water() <= limit);
        }
        for key in keys {
            prop_assert_eq!(slab.get(key), twin.get(&key));
        }
        let walked: HashMap<Key, u32> =
            (0..slab.high_water()).filter_map(|index| Some((slab.key_at(index)?, *slab.at(index)?))).collect();
        prop_assert_eq!(walked, twin);
    }
}
