//! One node's client: what it holds, what it has handed over, and what it writes. It keeps the accounts that the real one keeps.

use super::{Log, Plan};
use crate::{
    bridge::queue::{Bounds, Event, NoRoom, Output, Partition, Produce, Record, Request},
    kit::random::Random,
    model::Lane,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How long a record may wait to be written.
pub const PRODUCE_US: u64 = 10_000_000;
/// The longest that an answer to one that is late takes.
const LATE_US: u64 = 3_000_000;

/// What the group wants of a member.
pub enum Rebalance {
    Assign(Vec<usize>),
    Revoke(Vec<usize>),
    /// Everything is another's already.
    Lost,
}

struct Revoking {
    id: u64,
    partitions: Vec<usize>,
    until_us: u64,
}

/// A partition that is held.
struct Holding {
    partition: Partition,
    lane: Lane,
    leaving: bool,
    /// The next offset to hand over; None: where the group is.
    next: Option<i64>,
    /// Offsets that are handed over and not done.
    undone: VecDeque<i64>,
    unfinished: usize,
    /// To be committed.
    stored: Option<i64>,
}

/// A record that is being written.
struct Flight {
    id: Option<u64>,
    at_us: u64,
    until_us: u64,
    result: Result<(), String>,
}

/// See the module.
pub struct Client {
    pub run: u64,
    /// What it has delivered.
    pub inbox: VecDeque<Output>,
    /// It takes itself for a member.
    pub is_member: bool,
    /// It is to be one, and when it asks.
    pub wants: bool,
    pub joins_us: u64,
    /// Lanes that were full, and have no room to speak of yet.
    full: BTreeSet<Lane>,
    /// Lanes that are not read.
    pub paused: BTreeSet<Lane>,
    /// What the group has yet to hear of.
    pub freed: Vec<usize>,
    /// Revokes that ended before they were released.
    pub hurried: u64,
    held: BTreeMap<usize, Holding>,
    rebalances: VecDeque<Rebalance>,
    revoking: Option<Revoking>,
    released: BTreeSet<u64>,
    flights: Vec<Flight>,
    terms: u32,
    revocations: u64,
    is_up: Option<bool>,
    commits_us: u64,
}

impl Client {
    pub fn new(run: u64, joins_us: u64) -> Self {
        Self {
            run,
            inbox: VecDeque::new(),
            is_member: false,
            wants: true,
            joins_us,
            full: BTreeSet::new(),
            paused: BTreeSet::new(),
            freed: Vec::new(),
            hurried: 0,
            held: BTreeMap::new(),
            rebalances: VecDeque::new(),
            revoking: None,
            released: BTreeSet::new(),
            flights: Vec::new(),
            terms: 0,
            revocations: 0,
            is_up: None,
            commits_us: 0,
        }
    }

    pub fn push(&mut self, rebalance: Rebalance) {
        self.rebalances.push_back(rebalance);
    }

    pub fn holds_nothing(&self) -> bool {
        self.held.is_empty() && self.rebalances.is_empty() && self.revoking.is_none() && self.freed.is_empty()
    }

    /// Partitions that are held.
    pub fn holds(&self) -> usize {
        self.held.len()
    }

    /// Records handed over that are not finished, and not done.
    pub fn accounts(&self) -> (usize, usize) {
        let sum = |of: fn(&Holding) -> usize| self.held.values().map(of).sum();
        (sum(|it| it.unfinished), sum(|it| it.undone.len()))
    }

    /// Records that are being written.
    pub fn writes(&self) -> usize {
        self.flights.len()
    }

    /// The group has dropped it.
    pub fn lose(&mut self) {
        self.is_member = false;
        self.freed.clear();
        self.held.values_mut().for_each(|holding| holding.leaving = true);
        self.rebalances.push_back(Rebalance::Lost);
    }

    /// One of its partitions is lost, and is its own again at once, as when its topic has been made anew.
    pub fn begin_anew(&mut self, random: &mut Random) {
        let at = random.below(self.held.len().max(1) as u64) as usize;
        let Some(holding) = self.held.values_mut().nth(at).filter(|holding| !holding.leaving) else { return };
        self.terms += 1;
        self.revocations += 1;
        let partition = Partition { term: self.terms, ..holding.partition.clone() };
        let lost = std::mem::replace(&mut holding.partition, partition.clone());
        (holding.next, holding.stored, holding.unfinished) = (None, None, 0);
        holding.undone.clear();
        let revocation = self.revocations;
        self.inbox.push_back(Output::Revoked { revocation, partitions: vec![lost], lost: true });
        self.inbox.push_back(Output::Assigned { partitions: vec![(holding.lane, partition)] });
    }

    /// The group knows that it is gone.
    pub fn left(&mut self) {
        self.is_member = false;
        self.inbox.push_back(Output::Event(Event::Left));
    }

    pub fn set_up(&mut self, reaches: bool) {
        if self.is_up.replace(reaches) != Some(reaches) {
            self.inbox.push_back(Output::Event(if reaches { Event::Up } else { Event::Down }));
        }
    }

    pub fn handle(&mut self, request: Request) {
        match request {
            Request::Done { partition, offset } => {
                let Some(holding) = self.find(&partition) else { return };
                assert!(
                    holding.next.is_some_and(|next| offset < next),
                    "{partition:?} {offset} was not read"
                );
                holding.undone.retain(|&undone| undone > offset);
                holding.stored = holding.stored.max(Some(offset + 1));
            }
            Request::Finished { partition, records } => {
                let Some(holding) = self.find(&partition) else { return };
                assert!(records <= holding.unfinished, "room of {partition:?} is given back twice");
                holding.unfinished -= records;
            }
            Request::Released { revocation } => {
                self.released.insert(revocation);
            }
            other => panic!("a processor does not ask for {other:?}"),
        }
    }

    pub fn produce(
        &mut self,
        plan: &Plan,
        refuses: bool,
        random: &mut Random,
        produce: Produce,
        now_us: u64,
    ) -> Result<(), NoRoom> {
        if self.flights.len() >= plan.produce_max {
            return Err(NoRoom(produce.into()));
        }
        let until_us = now_us + PRODUCE_US;
        let late = plan.late.strikes(random);
        let at_us = now_us + random.below(if late { LATE_US } else { 15_000 });
        let (is_refused, is_unknown) = (plan.refused.strikes(random), plan.unknown.strikes(random));
        let (at_us, result) = match (refuses || is_refused, is_unknown) {
            (true, _) => (at_us, Err("it is refused".to_owned())),
            (_, true) => (until_us, Err("nobody answers".to_owned())),
            _ => (at_us, Ok(())),
        };
        self.flights.push(Flight { id: produce.id, at_us, until_us, result });
        Ok(())
    }

    /// Answers to what was written.
    pub fn answer(&mut self, reaches: bool, now_us: u64) {
        let inbox = &mut self.inbox;
        self.flights.retain(|flight| {
            let is_over = flight.until_us <= now_us;
            if !(is_over || flight.at_us <= now_us && reaches) {
                return true;
            }
            let result = if is_over { Err("it took too long".to_owned()) } else { flight.result.clone() };
            if let Some(id) = flight.id {
                inbox.push_back(Output::Produced { id, result });
            }
            false
        });
    }

    /// One rebalance at a time: the next begins when the last one's outcomes are in, or are waited for no longer.
    pub fn go_on(&mut self, plan: &Plan, now_us: u64) {
        if let Some(revoking) = &self.revoking {
            let is_released = self.released.contains(&revoking.id);
            if !is_released && now_us < revoking.until_us {
                return;
            }
            self.hurried += u64::from(!is_released);
            // What is stored is committed with it.
            self.commits_us = 0;
            return;
        }
        match self.rebalances.pop_front() {
            None => {}
            Some(Rebalance::Assign(partitions)) => self.assign(&partitions, plan),
            Some(Rebalance::Revoke(partitions)) => self.revoke(partitions, now_us + plan.revoke_us),
            Some(Rebalance::Lost) => {
                let partitions = std::mem::take(&mut self.held).into_values().map(|it| it.partition);
                let partitions: Vec<Partition> = partitions.collect();
                self.revocations += 1;
                if !partitions.is_empty() {
                    let revocation = self.revocations;
                    self.inbox.push_back(Output::Revoked { revocation, partitions, lost: true });
                }
            }
        }
    }

    /// Offsets that reach the group now, and the end of a revoke behind its last ones.
    pub fn take_commits(
        &mut self,
        plan: &Plan,
        random: &mut Random,
        reaches: bool,
        now_us: u64,
    ) -> Vec<(usize, i64)> {
        let mut commits = Vec::new();
        if now_us >= self.commits_us.saturating_add(plan.commit_us) {
            self.commits_us = now_us;
            for (&log, holding) in &mut self.held {
                let is_lost = plan.commit_lost.strikes(random);
                if reaches && !is_lost {
                    commits.extend(holding.stored.take().map(|offset| (log, offset)));
                }
            }
            let is_over = |it: &Revoking| self.released.contains(&it.id) || now_us >= it.until_us;
            if let Some(revoking) = self.revoking.take_if(|it| is_over(it)) {
                for log in revoking.partitions {
                    self.held.remove(&log);
                    self.freed.push(log);
                }
            }
        }
        commits
    }

    /// Hands over what is there, as far as there is room, the highest lane first.
    pub fn fetch(&mut self, plan: &Plan, logs: &[Log], random: &mut Random, now_us: u64) {
        for lane in (0..super::TOPICS.len() as u8).map(Lane) {
            let of_lane = || self.held.values().filter(|it| it.lane == lane);
            let unfinished: usize = of_lane().map(|it| it.unfinished).sum();
            let undone: usize = of_lane().map(|it| it.undone.len()).sum();
            let room = plan.in_flight_max.saturating_sub(unfinished);
            let room = room.min(plan.uncommitted_max.saturating_sub(undone));
            let least = Bounds::room_least(plan.in_flight_max, plan.batch_max);
            if room == 0 || room < least && self.full.contains(&lane) {
                self.full.insert(lane);
                continue;
            }
            self.full.remove(&lane);
            let mut room = room.min(plan.batch_max);
            if self.paused.contains(&lane) {
                continue;
            }
            let mut records = Vec::new();
            let mut order: Vec<usize> =
                self.held.keys().copied().filter(|&log| logs[log].lane == lane).collect();
            let first = random.below(order.len().max(1) as u64) as usize;
            order.rotate_left(first);
            for log in order {
                let Some(holding) = self.held.get_mut(&log).filter(|it| !it.leaving) else { continue };
                let before = records.len();
                holding.read(&logs[log], room, now_us, &mut records);
                room -= records.len() - before;
            }
            if !records.is_empty() {
                self.inbox.push_back(Output::Batch { lane, records });
            }
        }
    }

    /// When it does something by itself.
    pub fn next_us(&self, now_us: u64) -> u64 {
        let writes = self.flights.iter().map(|flight| flight.at_us);
        let revoke = self.revoking.as_ref().map(|it| it.until_us);
        let all = writes.chain(revoke).chain([self.joins_us]);
        all.filter(|&at_us| at_us > now_us).min().unwrap_or(u64::MAX)
    }

    fn assign(&mut self, partitions: &[usize], plan: &Plan) {
        let mut assigned = Vec::new();
        for &log in partitions {
            self.terms += 1;
            let (lane, number) = (log / plan.partitions, (log % plan.partitions) as i32);
            let partition = Partition { topic: super::TOPICS[lane].into(), number, term: self.terms };
            let lane = Lane(lane as u8);
            assigned.push((lane, partition.clone()));
            // What was lost in the meantime is about to be taken away again.
            let leaving = !self.is_member;
            let (next, undone, unfinished, stored) = (None, VecDeque::new(), 0, None);
            self.held.insert(log, Holding { partition, lane, leaving, next, undone, unfinished, stored });
        }
        self.inbox.push_back(Output::Assigned { partitions: assigned });
    }

    fn revoke(&mut self, partitions: Vec<usize>, until_us: u64) {
        self.revocations += 1;
        let id = self.revocations;
        let mut revoked = Vec::new();
        for log in &partitions {
            if let Some(holding) = self.held.get_mut(log) {
                holding.leaving = true;
                revoked.push(holding.partition.clone());
            }
        }
        self.revoking = Some(Revoking { id, partitions, until_us });
        self.inbox.push_back(Output::Revoked { revocation: id, partitions: revoked, lost: false });
    }

    fn find(&mut self, meant: &Partition) -> Option<&mut Holding> {
        self.held.values_mut().find(|holding| holding.partition == *meant)
    }
}

impl Holding {
    fn read(&mut self, log: &Log, room: usize, now_us: u64, records: &mut Vec<Record>) {
        let next = *self.next.get_or_insert(log.committed);
        let from = log.entries.partition_point(|entry| entry.offset < next);
        let visible = log.entries[from..].iter().take_while(|entry| entry.visible_us <= now_us);
        for entry in visible.take(room) {
            self.next = Some(entry.offset + 1);
            self.undone.push_back(entry.offset);
            self.unfinished += 1;
            records.push(Record {
                partition: self.partition.clone(),
                offset: entry.offset,
                timestamp_ms: Some(entry.timestamp_ms),
                key: entry.letter.key.clone(),
                value: entry.letter.value.clone(),
                headers: entry.letter.headers.clone(),
            });
        }
    }
}
