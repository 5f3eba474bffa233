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
    /// Records handed over and not finished.
    in_flight: usize,
    /// Where a skip went while records were under way: as good as done when they are.
    skipped_to: Option<i64>,
    /// The offset to be stored, when there is a new one.
    store: Option<i64>,
    /// Where it was seen to end, while it was paused.
    pub end: Option<i64>,
}

/// Records of one partition that follow each other.
pub struct Run {
    pub number: i32,
    /// Offsets.
    pub first: i64,
    pub last: i64,
    /// At least one.
    pub records: usize,
}

/// A partition that was found to begin anew.
pub struct Anew {
    pub lane: Lane,
    /// What it was until then.
    pub lost: Partition,
    pub partition: Partition,
}

/// All of them.
pub struct Held {
    /// By topic, then by number.
    topics: HashMap<Arc<str>, HashMap<i32, Holding>>,
    lanes: Vec<Account>,
    anew: Vec<Anew>,
    terms: u32,
}

/// What of a lane has been handed over.
#[derive(Clone, Default)]
struct Account {
    unfinished: usize,
    undone: usize,
}

impl Held {
    pub fn new(lanes: usize) -> Self {
        let lanes = vec![Account::default(); lanes];
        Self { topics: HashMap::new(), lanes, anew: Vec::new(), terms: 0 }
    }

    /// Records of a lane that are not finished.
    pub fn in_flight(&self, lane: Lane) -> usize {
        self.lanes[usize::from(lane.0)].unfinished
    }

    /// Records of a lane that are not done, some of those beyond the last done offset included.
    pub fn uncommitted(&self, lane: Lane) -> usize {
        self.lanes[usize::from(lane.0)].undone
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
        self.terms = self.terms.wrapping_add(1);
        let partition = Partition { topic: topic.clone(), number, term: self.terms };
        let holding = Holding {
            lane,
            partition: partition.clone(),
            leaving: false,
            next: None,
            runs: VecDeque::new(),
            in_flight: 0,
            skipped_to: None,
            store: None,
            end: None,
        };
        self.topics.entry(topic).or_default().insert(number, holding);
        partition
    }

    /// It is not held any more; what of it was under way leaves the accounts.
    pub fn remove(&mut self, topic: &str, number: i32) {
        let Some(numbers) = self.topics.get_mut(topic) else { return };
        if let Some(mut holding) = numbers.remove(&number) {
            holding.clear(&mut self.lanes[usize::from(holding.lane.0)]);
        }
        if numbers.is_empty() {
            self.topics.remove(topic);
        }
    }

    /// A run is about to be handed over; None when its partition is not held, or is being given back.
    pub fn take(&mut self, topic: &str, run: &Run) -> Option<Partition> {
        let holding = self.topics.get_mut(topic)?.get_mut(&run.number).filter(|holding| !holding.leaving)?;
        let account = &mut self.lanes[usize::from(holding.lane.0)];
        // Back to an earlier place: the topic was made anew. What was before is over.
        if holding.next.is_some_and(|next| run.first < next) {
            holding.clear(account);
            self.terms = self.terms.wrapping_add(1);
            let partition = Partition { term: self.terms, ..holding.partition.clone() };
            let lost = std::mem::replace(&mut holding.partition, partition.clone());
            self.anew.push(Anew { lane: holding.lane, lost, partition });
        }
        holding.next = Some(run.last + 1);
        match holding.runs.back_mut() {
            Some(last) if last.1 + run.records <= RUN_MAX => *last = (run.last, last.1 + run.records),
            _ => holding.runs.push_back((run.last, run.records)),
        }
        holding.in_flight += run.records;
        account.unfinished += run.records;
        account.undone += run.records;
        Some(holding.partition.clone())
    }

    /// Partitions that have begun anew since the last time.
    pub fn take_anew(&mut self) -> Vec<Anew> {
        std::mem::take(&mut self.anew)
    }

    /// So many more of them have their outcome.
    pub fn finished(&mut self, partition: &Partition, records: usize) {
        let Some((holding, account)) = self.find(partition) else { return };
        debug_assert!(records <= holding.in_flight, "told twice");
        let records = records.min(holding.in_flight);
        holding.in_flight -= records;
        account.unfinished -= records;
    }

    /// All up to an offset have their outcomes.
    pub fn done(&mut self, partition: &Partition, offset: i64) {
        let Some((holding, account)) = self.find(partition) else { return };
        if holding.next.is_none_or(|next| offset >= next) {
            return;
        }
        while let Some(&(_, records)) = holding.runs.front().filter(|run| run.0 <= offset) {
            account.undone -= records;
            holding.runs.pop_front();
        }
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

    /// None if this is not the time that was meant.
    fn find(&mut self, meant: &Partition) -> Option<(&mut Holding, &mut Account)> {
        let holding = self.topics.get_mut(&meant.topic)?.get_mut(&meant.number)?;
        let account = &mut self.lanes[usize::from(holding.lane.0)];
        (holding.partition.term == meant.term).then_some((holding, account))
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

    /// Whatever was under way is not any more.
    fn clear(&mut self, account: &mut Account) {
        account.undone -= self.runs.drain(..).map(|run| run.1).sum::<usize>();
        account.unfinished -= std::mem::take(&mut self.in_flight);
        (self.skipped_to, self.store) = (None, None);
    }
}

/// Short runs are put together up to so many records, whose room is then given back together.
const RUN_MAX: usize = 128;

#[cfg(test)]
mod tests;
