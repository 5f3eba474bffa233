//! How far each partition is done: which of its records have their outcome, and up to where all have.
//!
//! Owns the account of every partition that is held. Knows no message and no Kafka.

use crate::{
    bridge::queue::{Partition, Request},
    kit::mutant::Mutant,
};
use slab::Slab;
use std::collections::{HashMap, VecDeque};

/// One record of a partition, as long as that is held without a break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    ledger: usize,
    /// Tells this holding from those before.
    epoch: u64,
    seq: u64,
}

/// All partitions that are held.
#[derive(Default)]
pub struct Ledgers {
    numbers: HashMap<Partition, usize>,
    ledgers: Slab<Ledger>,
    /// Ledgers with something to say.
    dirty: Vec<usize>,
    epochs: u64,
    /// The one of the last record: the next one's is most often the same.
    last: usize,
}

struct Ledger {
    partition: Partition,
    epoch: u64,
    /// Of the first entry.
    base: u64,
    entries: VecDeque<Entry>,
    /// Entries that are yet to be done, and are not given up.
    open: usize,
    /// All up to this offset are done; None: nothing new.
    done: Option<i64>,
    /// Records with an outcome, whose room is to be given back.
    decided: usize,
    is_dirty: bool,
}

struct Entry {
    offset: i64,
    /// The outcome, and reports that must have arrived.
    pending: u32,
}

impl Ledgers {
    /// A partition is held from now on.
    pub fn insert(&mut self, partition: Partition) {
        self.remove(&partition);
        self.epochs += 1;
        let number = self.ledgers.insert(Ledger {
            partition: partition.clone(),
            epoch: self.epochs,
            base: 0,
            entries: VecDeque::new(),
            open: 0,
            done: None,
            decided: 0,
            is_dirty: false,
        });
        self.numbers.insert(partition, number);
    }

    /// It is not held any more: what becomes of its records counts for nothing.
    pub fn remove(&mut self, partition: &Partition) {
        if let Some(number) = self.numbers.remove(partition) {
            self.ledgers.remove(number);
            self.dirty.retain(|dirty| *dirty != number);
        }
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.ledgers.len()
    }

    /// A record has come; None when its partition is not held.
    pub fn begin(&mut self, partition: &Partition, offset: i64) -> Option<Place> {
        let is_last = self.ledgers.get(self.last).is_some_and(|ledger| ledger.partition.is_same(partition));
        let number = if is_last { self.last } else { *self.numbers.get(partition)? };
        self.last = number;
        let ledger = self.ledgers.get_mut(number)?;
        debug_assert!(ledger.entries.back().is_none_or(|last| offset > last.offset));
        let seq = ledger.base + ledger.entries.len() as u64;
        ledger.entries.push_back(Entry { offset, pending: 1 });
        ledger.open += 1;
        Some(Place { ledger: number, epoch: ledger.epoch, seq })
    }

    /// A report about the record must arrive before it counts as done.
    pub fn owe(&mut self, place: Place) {
        if let Some((ledger, at)) = self.find(place).filter(|_| !Mutant::DoneBeforeReport.is_on()) {
            ledger.entries[at].pending += 1;
        }
    }

    /// The record has its outcome, and takes no room any more.
    pub fn decide(&mut self, place: Place) {
        if let Some((ledger, _)) = self.find(place) {
            ledger.decided += 1;
            self.settle(place);
        }
    }

    /// One of the things that the record waits for is there.
    pub fn settle(&mut self, place: Place) {
        let Some((ledger, at)) = self.find(place) else { return };
        let entry = &mut ledger.entries[at];
        debug_assert!(entry.pending > 0);
        entry.pending -= 1;
        if entry.pending == 0 {
            ledger.open -= 1;
        }
        self.mark(place.ledger);
    }

    /// The record is left to whoever holds the partition next.
    pub fn give_up(&mut self, place: Place) {
        if let Some((ledger, _)) = self.find(place) {
            ledger.open -= 1;
            ledger.decided += 1;
            self.mark(place.ledger);
        }
    }

    /// Whether some record of the partition is yet to be done.
    pub fn is_open(&self, partition: &Partition) -> bool {
        self.numbers.get(partition).is_some_and(|number| self.ledgers[*number].open > 0)
    }

    /// Whether the place belongs to the partition.
    pub fn is_of(&self, place: Place, partition: &Partition) -> bool {
        self.ledgers.get(place.ledger).is_some_and(|it| it.epoch == place.epoch && it.partition == *partition)
    }

    /// What there is to tell the queue since the last time.
    pub fn tell(&mut self, mut tell: impl FnMut(Request)) {
        for number in std::mem::take(&mut self.dirty) {
            let Some(ledger) = self.ledgers.get_mut(number) else { continue };
            ledger.is_dirty = false;
            let early = Mutant::DoneBeforeOutcome.is_on();
            while ledger.entries.front().is_some_and(|entry| entry.pending == 0 || early) {
                ledger.done = ledger.entries.pop_front().map(|entry| entry.offset);
                ledger.base += 1;
            }
            let records = std::mem::take(&mut ledger.decided);
            if records > 0 && !Mutant::RoomNotGivenBack.is_on() {
                tell(Request::Finished { partition: ledger.partition.clone(), records });
            }
            if let Some(offset) = ledger.done.take() {
                tell(Request::Done { partition: ledger.partition.clone(), offset });
            }
        }
    }

    /// The record's ledger, and its place among the entries.
    fn find(&mut self, place: Place) -> Option<(&mut Ledger, usize)> {
        let is_same = |ledger: &Ledger| ledger.epoch == place.epoch || Mutant::OtherTermCounts.is_on();
        let ledger = self.ledgers.get_mut(place.ledger).filter(|ledger| is_same(ledger))?;
        let at = usize::try_from(place.seq.checked_sub(ledger.base)?).ok()?;
        (at < ledger.entries.len()).then_some((ledger, at))
    }

    fn mark(&mut self, number: usize) {
        if let Some(ledger) = self.ledgers.get_mut(number)
            && !ledger.is_dirty
        {
            ledger.is_dirty = true;
            self.dirty.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn partition(number: i32) -> Partition {
        Partition { topic: "t".into(), number, term: 1 }
    }

    fn told(ledgers: &mut Ledgers) -> (Option<i64>, usize) {
        let (mut done, mut finished) = (None, 0);
        ledgers.tell(|request| match request {
            Request::Done { offset, .. } => done = Some(offset),
            Request::Finished { records, .. } => finished += records,
            other => panic!("{other:?}"),
        });
        (done, finished)
    }

    #[test]
    fn done_is_what_has_no_gap_before_it_and_room_comes_back_at_once() {
        let mut ledgers = Ledgers::default();
        ledgers.insert(partition(0));
        let places: Vec<Place> =
            [3, 4, 9].iter().map(|offset| ledgers.begin(&partition(0), *offset).unwrap()).collect();
        ledgers.decide(places[1]);
        assert_eq!(told(&mut ledgers), (None, 1));
        ledgers.owe(places[0]);
        ledgers.decide(places[0]);
        assert_eq!(told(&mut ledgers), (None, 1));
        ledgers.settle(places[0]);
        assert_eq!(told(&mut ledgers), (Some(4), 0));
        assert!(ledgers.is_open(&partition(0)));
        ledgers.give_up(places[2]);
        assert_eq!(told(&mut ledgers), (None, 1));
        assert!(!ledgers.is_open(&partition(0)));
        assert!(ledgers.begin(&partition(1), 0).is_none());
    }

    #[test]
    fn what_is_late_for_an_earlier_holding_counts_for_nothing() {
        let mut ledgers = Ledgers::default();
        ledgers.insert(partition(0));
        let old = ledgers.begin(&partition(0), 7).unwrap();
        ledgers.insert(partition(0));
        let new = ledgers.begin(&partition(0), 7).unwrap();
        ledgers.decide(old);
        assert_eq!(told(&mut ledgers), (None, 0));
        assert!(ledgers.is_of(new, &partition(0)) && !ledgers.is_of(old, &partition(0)));
        ledgers.decide(new);
        assert_eq!(told(&mut ledgers), (Some(7), 1));
        ledgers.remove(&partition(0));
        assert_eq!(ledgers.len(), 0);
    }

    proptest! {
        #[test]
        fn as_a_list_of_offsets_has_it(ends in proptest::collection::vec(any::<prop::sample::Index>(), 1..60)) {
            let mut ledgers = Ledgers::default();
            ledgers.insert(partition(0));
            let mut open: Vec<(i64, Place)> = Vec::new();
            for offset in 0..ends.len() as i64 {
                open.push((offset * 2, ledgers.begin(&partition(0), offset * 2).unwrap()));
            }
            let last = (ends.len() as i64 - 1) * 2;
            let mut done = None;
            for end in ends {
                let (_, place) = open.remove(end.index(open.len()));
                ledgers.decide(place);
                let first_open = open.first().map_or(last + 2, |(offset, _)| *offset);
                let (now, room) = told(&mut ledgers);
                done = done.max(now);
                prop_assert_eq!(room, 1);
                prop_assert_eq!(done, (first_open > 0).then_some(first_open - 2));
            }
            prop_assert!(!ledgers.is_open(&partition(0)));
        }
    }
}
