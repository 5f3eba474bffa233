//! The partitions that are held, and how much of each is under way.
//!
//! Owns the account of records handed over and done. Knows no Kafka.

use super::seam::Partition;
use crate::model::Lane;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// One partition that is held.
pub struct Holding {
    pub lane: Lane,
    pub partition: Partition,
    /// It is being given back: nothing more of it is handed over.
    pub leaving: bool,
    /// The offset behind the last record that was handed over.
    pub next: Option<i64>,
    /// Runs handed over and not done: last offset, records.
    runs: VecDeque<(i64, usize)>,
    /// Where a skip went while records were under way: as good as done when they are.
    skipped_to: Option<i64>,
    /// The offset to be stored, when there is a new one.
    store: Option<i64>,
}

/// All of them.
pub struct Held {
    /// By topic, then by number.
    topics: HashMap<Arc<str>, HashMap<i32, Holding>>,
    /// Records under way, by lane.
    in_flight: Vec<usize>,
}

impl Held {
    pub fn new(lanes: usize) -> Self {
        Self { topics: HashMap::new(), in_flight: vec![0; lanes] }
    }

    pub fn in_flight(&self, lane: Lane) -> usize {
        self.in_flight[usize::from(lane.0)]
    }

    pub fn is_empty(&self) -> bool {
        self.topics.values().all(HashMap::is_empty)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Holding> {
        self.topics.values().flat_map(HashMap::values)
    }

    pub fn get_mut(&mut self, topic: &str, number: i32) -> Option<&mut Holding> {
        self.topics.get_mut(topic)?.get_mut(&number)
    }

    /// A partition is held from now on, with nothing of it under way.
    pub fn insert(&mut self, lane: Lane, topic: &str, number: i32) -> Partition {
        self.remove(topic, number);
        let known = self.topics.get_key_value(topic).map(|(topic, _)| topic.clone());
        let topic = known.unwrap_or_else(|| topic.into());
        let partition = Partition { topic: topic.clone(), number };
        let holding = Holding {
            lane,
            partition: partition.clone(),
            leaving: false,
            next: None,
            runs: VecDeque::new(),
            skipped_to: None,
            store: None,
        };
        self.topics.entry(topic).or_default().insert(number, holding);
        partition
    }

    /// It is not held any more; tells how many of its records were under way.
    pub fn remove(&mut self, topic: &str, number: i32) -> usize {
        let Some(holding) = self.topics.get_mut(topic).and_then(|numbers| numbers.remove(&number)) else {
            return 0;
        };
        let records = holding.runs.iter().map(|run| run.1).sum();
        self.in_flight[usize::from(holding.lane.0)] -= records;
        records
    }

    /// A record is about to be handed over; None when its partition is not held, or is being given back.
    pub fn take(&mut self, topic: &str, number: i32, offset: i64) -> Option<(Lane, Partition)> {
        let holding = self.topics.get_mut(topic)?.get_mut(&number).filter(|holding| !holding.leaving)?;
        // Back to an earlier place: the topic was made anew. What was before is over.
        if holding.next.is_some_and(|next| offset < next) {
            let over: usize = holding.runs.drain(..).map(|run| run.1).sum();
            self.in_flight[usize::from(holding.lane.0)] -= over;
            (holding.skipped_to, holding.store) = (None, None);
        }
        holding.next = Some(offset + 1);
        // Runs of a bounded length, so that room is given back while a long one is under way.
        match holding.runs.back_mut() {
            Some(run) if run.1 < RUN_MAX => *run = (offset, run.1 + 1),
            _ => holding.runs.push_back((offset, 1)),
        }
        self.in_flight[usize::from(holding.lane.0)] += 1;
        Some((holding.lane, holding.partition.clone()))
    }

    /// All up to an offset have their outcomes.
    pub fn done(&mut self, partition: &Partition, offset: i64) {
        let holding =
            self.topics.get_mut(&partition.topic).and_then(|topic| topic.get_mut(&partition.number));
        let Some(holding) = holding else { return };
        // Not beyond what was handed over: a late one may be of an earlier time that it was held.
        let Some(next) = holding.next.filter(|&next| offset < next) else { return };
        while holding.runs.front().is_some_and(|run| run.0 <= offset) {
            let records = holding.runs.pop_front().map_or(0, |run| run.1);
            self.in_flight[usize::from(holding.lane.0)] -= records;
        }
        debug_assert!(next > offset);
        holding.store = holding.store.max(Some(offset + 1));
        holding.settle();
    }

    /// The partition goes on at this offset.
    pub fn skip(&mut self, topic: &str, number: i32, to: i64) -> Option<Partition> {
        let holding = self.get_mut(topic, number)?;
        holding.next = Some(to);
        holding.skipped_to = Some(to);
        holding.settle();
        Some(holding.partition.clone())
    }

    /// The offsets to be stored since the last time.
    pub fn take_offsets(&mut self) -> Vec<(Partition, i64)> {
        let holdings = self.topics.values_mut().flat_map(HashMap::values_mut);
        holdings.filter_map(|it| it.store.take().map(|offset| (it.partition.clone(), offset))).collect()
    }

    /// Whether something of these is under way.
    pub fn is_under_way(&self, topic: &str, number: i32) -> bool {
        let holding = self.topics.get(topic).and_then(|numbers| numbers.get(&number));
        holding.is_some_and(|holding| !holding.runs.is_empty())
    }
}

impl Holding {
    fn settle(&mut self) {
        if self.runs.is_empty()
            && let Some(to) = self.skipped_to.take()
        {
            self.store = self.store.max(Some(to));
        }
    }
}

/// Records of one partition whose room is given back together.
const RUN_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one() -> (Held, Partition) {
        let mut held = Held::new(1);
        let partition = held.insert(Lane(0), "t", 3);
        (held, partition)
    }

    #[test]
    fn room_comes_back_with_what_is_done() {
        let (mut held, partition) = one();
        for offset in 0..300 {
            assert!(held.take("t", 3, offset * 2).is_some());
        }
        assert_eq!(held.in_flight(Lane(0)), 300);
        held.done(&partition, 2 * 130);
        assert_eq!(held.in_flight(Lane(0)), 300 - RUN_MAX);
        assert_eq!(held.take_offsets(), [(partition.clone(), 261)]);
        assert_eq!(held.take_offsets(), []);
        held.done(&partition, 2 * 299);
        assert_eq!(held.in_flight(Lane(0)), 0);
    }

    #[test]
    fn nothing_is_taken_from_what_is_given_back() {
        let (mut held, partition) = one();
        held.take("t", 3, 0);
        held.get_mut("t", 3).unwrap().leaving = true;
        assert_eq!(held.take("t", 3, 1), None);
        assert!(held.is_under_way("t", 3));
        assert_eq!(held.remove("t", 3), 1);
        assert_eq!(held.in_flight(Lane(0)), 0);
        held.done(&partition, 0);
        assert_eq!(held.take_offsets(), []);
    }

    #[test]
    fn what_was_never_handed_over_is_not_done() {
        let (mut held, partition) = one();
        held.done(&partition, 7);
        held.take("t", 3, 0);
        held.done(&partition, 7);
        assert_eq!((held.take_offsets(), held.in_flight(Lane(0))), (vec![], 1));
    }

    #[test]
    fn a_skip_is_stored_when_all_before_it_is_done() {
        let (mut held, partition) = one();
        held.take("t", 3, 0);
        held.skip("t", 3, 50);
        assert_eq!(held.take_offsets(), []);
        held.done(&partition, 0);
        assert_eq!(held.take_offsets(), [(partition, 50)]);
    }

    #[test]
    fn a_topic_made_anew_begins_anew() {
        let (mut held, partition) = one();
        held.take("t", 3, 1000);
        held.take("t", 3, 0);
        assert_eq!(held.in_flight(Lane(0)), 1);
        held.done(&partition, 0);
        assert_eq!((held.take_offsets(), held.in_flight(Lane(0))), (vec![(partition, 1)], 0));
    }

    proptest! {
        /// Against a twin that keeps every offset.
        #[test]
        fn accounts_are_right(gaps in proptest::collection::vec(1i64..4, 1..600), done in proptest::collection::vec(0usize..600, 0..20)) {
            let (mut held, partition) = one();
            let mut under_way: Vec<i64> = Vec::new();
            let mut next = 0;
            for gap in gaps {
                next += gap;
                held.take("t", 3, next);
                under_way.push(next);
            }
            for at in done {
                let Some(&offset) = under_way.get(at) else { continue };
                held.done(&partition, offset);
                under_way.retain(|&other| other > offset);
                prop_assert_eq!(held.take_offsets(), vec![(partition.clone(), offset + 1)]);
                let in_flight = held.in_flight(Lane(0));
                prop_assert!(in_flight >= under_way.len() && in_flight < under_way.len() + RUN_MAX);
            }
            held.done(&partition, next);
            prop_assert_eq!(held.in_flight(Lane(0)), 0);
        }
    }
}
