use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[test]
fn only_lengths_in_range_are_stored() {
    let mut arena = Arena::new();
    assert_eq!(arena.bytes(), 0);
    assert_eq!((arena.store(b""), arena.store(&[0; LEN_MAX + 1])), (None, None));
    for len in [1, 3, 4, 5, LEN_MAX] {
        let bytes = vec![len as u8; len];
        let at = arena.store(&bytes).unwrap();
        assert_eq!(arena.get(at, len), bytes);
    }
}

#[test]
fn a_small_arena_stays_small() {
    let mut arena = Arena::new();
    arena.store(b"someone").unwrap();
    assert!(arena.bytes() < 4_096 + 256, "{}", arena.bytes());
}

#[test]
fn a_freed_piece_and_the_end_of_a_page_are_used_again() {
    let mut arena = Arena::new();
    let first = arena.store(&[1; 21]).unwrap();
    let second = arena.store(&[2; 24]).unwrap();
    arena.free(first, 21);
    arena.free(second, 24);
    assert_eq!(arena.store(&[3; 22]), Some(second), "22 bytes round up to 24 as well");
    assert_eq!(arena.store(&[4; 23]), Some(first));
    // 4,096 - 2 x 24 leaves 4 x 1,000 and a piece of 48.
    for _ in 0..5 {
        arena.store(&[5; 1_000]).unwrap();
    }
    assert_eq!(arena.pages.len(), 2);
    assert_eq!(arena.store(&[6; 48]), Some((4_096 - 48) / 4));
}

#[test]
fn a_full_arena_refuses_and_recovers() {
    let mut arena = Arena { pages_max: 2, ..Arena::new() };
    let stored: Vec<u32> = std::iter::from_fn(|| arena.store(&[7; 1_000])).collect();
    assert_eq!(stored.len(), 4 + 4);
    assert!(arena.store(&[8; 96]).is_some(), "a smaller one still fits the end of the page");
    assert_eq!(arena.store(&[7; 1_000]), None);
    arena.free(stored[3], 1_000);
    assert_eq!(arena.store(&[9; 1_000]), Some(stored[3]));
}

#[test]
fn the_last_offset_is_never_given_out() {
    assert!((PAGES_MAX * PAGE_UNITS) as u64 <= u64::from(NIL));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 64 }))]
    #[test]
    fn behaves_like_a_map(
        steps in prop::collection::vec((any::<u8>(), prop_oneof![1usize..40, 1usize..=LEN_MAX], any::<usize>()), 0..200),
    ) {
        let mut arena = Arena::new();
        let mut twin: HashMap<u32, Vec<u8>> = HashMap::new();
        for (fill, len, which) in steps {
            if fill % 5 < 3 {
                let bytes: Vec<u8> = (0..len).map(|i| fill.wrapping_add(i as u8)).collect();
                let at = arena.store(&bytes).unwrap();
                prop_assert_eq!(twin.insert(at, bytes), None);
            } else if let Some(&at) = twin.keys().nth(which % twin.len().max(1)) {
                let bytes = twin.remove(&at).unwrap_or_default();
                arena.free(at, bytes.len());
            }
        }
        for (at, bytes) in &twin {
            prop_assert_eq!(arena.get(*at, bytes.len()), &bytes[..]);
        }
    }
}
