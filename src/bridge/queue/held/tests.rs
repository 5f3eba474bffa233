//! The accounts, by example and against a naive twin.

use super::*;
use proptest::prelude::*;

fn one() -> (Held, Partition) {
    let mut held = Held::new(1);
    let partition = held.insert(Lane(0), "t", 3);
    (held, partition)
}

/// One record.
fn take(held: &mut Held, offset: i64) -> Option<Partition> {
    held.take("t", &Run { number: 3, first: offset, last: offset, records: 1 })
}

/// Not finished, not done.
fn accounts(held: &Held) -> (usize, usize) {
    (held.in_flight(Lane(0)), held.uncommitted(Lane(0)))
}

#[test]
fn what_is_finished_and_what_is_done_give_back_room_each_in_its_own_account() {
    let (mut held, partition) = one();
    for offset in 0..300 {
        assert!(take(&mut held, offset * 2).is_some());
    }
    assert_eq!(accounts(&held), (300, 300));
    held.finished(&partition, 299);
    assert_eq!(accounts(&held), (1, 300));
    held.done(&partition, 2 * 130);
    assert_eq!(accounts(&held), (1, 300 - RUN_MAX));
    assert_eq!(held.take_offsets(), [(partition.clone(), 261)]);
    assert_eq!(held.take_offsets(), []);
    held.done(&partition, 2 * 299);
    held.finished(&partition, 1);
    assert_eq!(accounts(&held), (0, 0));
}

#[test]
fn nothing_is_taken_from_what_is_given_back() {
    let (mut held, partition) = one();
    take(&mut held, 0);
    held.get_mut("t", 3).unwrap().leaving = true;
    assert_eq!(take(&mut held, 1), None);
    assert!(held.is_under_way("t", 3));
    held.remove("t", 3);
    assert_eq!(accounts(&held), (0, 0));
    assert!(held.is_empty());
    held.done(&partition, 0);
    held.finished(&partition, 1);
    assert_eq!(held.take_offsets(), []);
}

#[test]
fn what_was_never_handed_over_is_not_done() {
    let (mut held, partition) = one();
    held.done(&partition, 7);
    take(&mut held, 0);
    held.done(&partition, 7);
    assert_eq!((held.take_offsets(), accounts(&held)), (vec![], (1, 1)));
}

#[test]
fn what_is_said_of_an_earlier_time_counts_for_nothing() {
    let (mut held, earlier) = one();
    take(&mut held, 0);
    let partition = held.insert(Lane(0), "t", 3);
    take(&mut held, 0);
    take(&mut held, 1);
    held.done(&earlier, 0);
    held.finished(&earlier, 1);
    assert_eq!((held.take_offsets(), accounts(&held)), (vec![], (2, 2)));
    held.done(&partition, 0);
    assert_eq!(held.take_offsets(), [(partition, 1)]);
}

#[test]
fn a_skip_is_stored_when_all_before_it_is_done() {
    let (mut held, partition) = one();
    take(&mut held, 0);
    held.skip("t", 3, 50);
    assert_eq!(held.take_offsets(), []);
    held.done(&partition, 0);
    assert_eq!(held.take_offsets(), [(partition, 50)]);
}

#[test]
fn a_topic_made_anew_begins_anew() {
    let (mut held, old) = one();
    take(&mut held, 1000);
    held.done(&old, 1000);
    take(&mut held, 1001);
    let new = take(&mut held, 0).unwrap();
    assert_eq!(accounts(&held), (1, 1));
    let anew = held.take_anew();
    assert!(matches!(&anew[..], [Anew { lost, partition, .. }] if (lost, partition) == (&old, &new)));
    assert_eq!(held.take_offsets(), [], "an offset of the old one");
    held.done(&old, 1001);
    held.finished(&old, 1);
    assert_eq!((held.take_offsets(), accounts(&held)), (vec![], (1, 1)));
    held.done(&new, 0);
    assert_eq!((held.take_offsets(), accounts(&held)), (vec![(new, 1)], (1, 0)));
}

proptest! {
    /// Against a twin that keeps every offset.
    #[test]
    fn accounts_are_right(
        runs in proptest::collection::vec((1i64..4, 1usize..200), 1..50),
        done in proptest::collection::vec(0usize..600, 0..20),
        finished in proptest::collection::vec(0usize..50, 0..20),
    ) {
        let (mut held, partition) = one();
        let (mut under_way, mut next) = (Vec::<i64>::new(), 0);
        for (gap, records) in runs {
            let first = next + gap;
            next = first + records as i64 - 1;
            held.take("t", &Run { number: 3, first, last: next, records });
            under_way.extend(first..=next);
        }
        let mut unfinished = under_way.len();
        for records in finished {
            let records = records.min(unfinished);
            held.finished(&partition, records);
            unfinished -= records;
            prop_assert_eq!(held.in_flight(Lane(0)), unfinished);
        }
        for at in done {
            let Some(&offset) = under_way.get(at) else { continue };
            held.done(&partition, offset);
            under_way.retain(|&other| other > offset);
            prop_assert_eq!(held.take_offsets(), vec![(partition.clone(), offset + 1)]);
            let undone = held.uncommitted(Lane(0));
            prop_assert!(undone >= under_way.len() && undone < under_way.len() + 200);
        }
        held.done(&partition, next);
        prop_assert_eq!(accounts(&held), (unfinished, 0));
        held.remove("t", 3);
        prop_assert_eq!(accounts(&held), (0, 0));
    }
}
