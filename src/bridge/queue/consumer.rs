//! Records in: one thread that reads the lanes, carries out rebalances, and stores the offsets of what is done.
//!
//! Never waits for those above, but for a revoke's outcomes, and then goes on with the other partitions meanwhile.

mod client;
mod lag;
mod rebalance;

use super::{
    Deliver, Inbox,
    batch::LaneQueue,
    config,
    context::{Context, Notes, Rebalance},
    held::{Held, Run},
    password,
    seam::{Bounds, Event, Invalid, Output, Record, Request, Settings},
    shares::Shares,
    skip::{self, Jump},
};
use crate::{clock::Clock, model::Lane};
use client::{connect, list};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};
use rebalance::Revoking;
use regex::Regex;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// The longest time for which the thread sleeps.
const REST: Duration = Duration::from_millis(50);
/// How often offsets are given to librdkafka, which commits them. Each costs a microsecond.
const STORE_US: u64 = 50_000;
/// Events of librdkafka's that are heard in one turn.
const POLLS_MAX: usize = 64;
/// How long a brake may ask Kafka where to go on.
const ASK: Duration = Duration::from_secs(5);
/// How long the end waits for the last commit.
const FAREWELL_US: u64 = 2_000_000;

/// See the module.
pub struct Consumer {
    // Before the consumer: they are queues of it.
    lanes: Vec<LaneQueue>,
    kafka: Arc<BaseConsumer<Context>>,
    config: ClientConfig,
    topics: Vec<String>,
    patterns: Vec<Regex>,
    paused: HashSet<Lane>,
    /// Which of the paused partitions is asked for its end next.
    asked: usize,
    shares: Shares,
    held: Held,
    rebalances: VecDeque<Rebalance>,
    revoking: Option<Revoking>,
    revocations: u64,
    /// When partitions were last lost.
    lost_us: Option<u64>,
    /// Another member has this node's id, as the group says.
    fenced: bool,
    state: State,
    is_up: bool,
    stored_us: u64,
    commit_answers: usize,
    in_flight_max: usize,
    uncommitted_max: usize,
    /// See [`Bounds::room_least`].
    room_least: usize,
    /// Lanes that were full, and have no room to speak of yet.
    full: Vec<bool>,
    revoke_us: u64,
    batch_max: usize,
    clock: Clock,
    deliver: Deliver,
    inbox: Arc<Inbox>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A member of the group, or about to be.
    Member,
    /// [`Request::Leave`] has come.
    Leaving,
    Left,
}

impl Consumer {
    pub fn new(settings: &Settings, deliver: Deliver, inbox: Arc<Inbox>) -> Result<Self, Invalid> {
        let mut patterns = Vec::new();
        for pattern in &settings.topics {
            let readable = Regex::new(pattern).ok().filter(|_| pattern.starts_with('^'));
            patterns.push(readable.ok_or_else(|| Invalid::Pattern(pattern.clone()))?);
        }
        let config = config::of_consumer(settings)?;
        let batch_max = settings.bounds.batch_max.max(1);
        let refused = |fault: KafkaError| config::refused(&fault);
        let (kafka, lanes) = connect(&config, patterns.len(), batch_max, &inbox).map_err(refused)?;
        let consumer = Self {
            shares: Shares::new(lanes.len(), settings.bounds.share.min(50) as usize, batch_max),
            held: Held::new(lanes.len()),
            full: vec![false; lanes.len()],
            lanes,
            kafka,
            config,
            topics: settings.topics.clone(),
            patterns,
            paused: HashSet::new(),
            asked: 0,
            rebalances: VecDeque::new(),
            revoking: None,
            revocations: 0,
            lost_us: None,
            fenced: false,
            state: State::Member,
            is_up: false,
            stored_us: 0,
            commit_answers: 0,
            in_flight_max: settings.bounds.in_flight_max.max(1),
            uncommitted_max: settings.bounds.uncommitted_max.max(1),
            room_least: Bounds::room_least(settings.bounds.in_flight_max, batch_max),
            revoke_us: u64::from(settings.bounds.revoke_ms) * 1000,
            batch_max,
            clock: Clock::start(),
            deliver,
            inbox,
        };
        consumer.subscribe().map_err(refused)?;
        Ok(consumer)
    }

    fn subscribe(&self) -> Result<(), KafkaError> {
        self.kafka.subscribe(&self.topics.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub fn run(mut self) {
        let mut requests = Vec::new();
        while !self.inbox.has_ended() {
            self.inbox.take(&mut requests);
            for request in requests.drain(..) {
                self.handle(request);
            }
            if let Some(password) = self.inbox.take_password() {
                self.set_password(&password);
            }
            self.poll();
            if self.fenced {
                self.answer_fence();
            }
            self.go_on_with_rebalances();
            if self.clock.micros().saturating_sub(self.stored_us) > STORE_US {
                self.store();
            }
            if !self.read() {
                self.inbox.signal.wait(REST);
            }
        }
        self.end();
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Done { partition, offset } => self.held.done(&partition, offset),
            Request::Finished { partition, records } => self.held.finished(&partition, records),
            Request::Released { revocation } => {
                if let Some(revoking) = self.revoking.as_mut().filter(|it| it.id == revocation) {
                    revoking.released = true;
                }
            }
            Request::Pause(lane) => {
                self.paused.insert(lane);
                let result = self.kafka.pause(&self.list(lane));
                self.complain(result);
            }
            Request::Resume(lane) => {
                self.paused.remove(&lane);
                let result = self.kafka.resume(&self.list(lane));
                self.complain(result);
            }
            Request::Skip { lane, before_ms } => {
                let result = self.skip(lane, before_ms);
                self.complain(result);
            }
            Request::Leave if self.state == State::Member => {
                self.state = State::Leaving;
                self.kafka.unsubscribe();
            }
            Request::Join if self.state != State::Member => {
                self.state = State::Member;
                let result = self.subscribe();
                self.complain(result);
            }
            // Records to be produced go to the producer.
            Request::Leave | Request::Join | Request::Produce(_) => {}
        }
    }

    /// For the client that is there, and for one that takes its place.
    fn set_password(&mut self, password: &str) {
        let Some(username) = self.config.get(password::USERNAME) else { return };
        if let Err(cause) = password::set(self.kafka.client(), username, password) {
            self.say(Event::Error { cause: format!("the new password is refused: {cause}"), fatal: false });
        }
        self.config.set(password::PASSWORD, password);
    }

    /// Hears what librdkafka has to say.
    fn poll(&mut self) {
        // One event each time.
        for _ in 0..POLLS_MAX {
            match self.kafka.poll(Duration::ZERO) {
                None if !self.kafka.context().has_heard() => break,
                None => {}
                Some(Err(fault)) => self.error(&fault),
                Some(Ok(message)) => {
                    // Every partition is forwarded before it is assigned. If one were not, its record would come again.
                    let (topic, number, offset) = (message.topic(), message.partition(), message.offset());
                    let back = self.kafka.seek(topic, number, Offset::Offset(offset), Duration::ZERO);
                    self.complain(back);
                }
            }
        }
        let Notes { rebalances, statistics, commits, errors } = self.kafka.context().take();
        self.rebalances.extend(rebalances);
        self.commit_answers += commits;
        for (code, cause) in errors {
            if code == RDKafkaErrorCode::AllBrokersDown {
                self.set_up(false);
            } else {
                self.say(Event::Error { cause, fatal: code == RDKafkaErrorCode::Fatal });
            }
        }
        if let Some(statistics) = statistics {
            self.set_up(statistics.is_up());
            self.tell_lag(&statistics);
        }
    }

    fn set_up(&mut self, up: bool) {
        if std::mem::replace(&mut self.is_up, up) != up {
            self.say(if up { Event::Up } else { Event::Down });
        }
    }

    /// Hands over records of one lane; false when there was nothing, or no room for it.
    fn read(&mut self) -> bool {
        for (lane, at_most) in self.shares.order() {
            let at_most = at_most.min(self.room(Lane(lane as u8)));
            if at_most == 0 {
                continue;
            }
            let (held, mut records, mut faults) = (&mut self.held, Vec::new(), Vec::new());
            let admit = |topic: &str, run: &Run| held.take(topic, run);
            let taken = self.lanes[lane].take(at_most, &mut records, admit, |fault| faults.push(fault));
            for fault in &faults {
                self.error(&KafkaError::MessageConsumption(*fault));
            }
            if taken == 0 {
                continue;
            }
            self.shares.took(lane, records.len());
            for anew in self.held.take_anew() {
                let first = records.iter().position(|record| record.partition == anew.partition);
                let later = records.split_off(first.unwrap_or(records.len()));
                self.hand_over(Lane(lane as u8), records);
                self.begin_anew(anew);
                records = later;
            }
            self.hand_over(Lane(lane as u8), records);
            return true;
        }
        false
    }

    /// How many records of a lane may be handed over. One that was full takes none until a good part of it is free.
    fn room(&mut self, lane: Lane) -> usize {
        let in_flight = self.in_flight_max.saturating_sub(self.held.in_flight(lane));
        let uncommitted = self.uncommitted_max.saturating_sub(self.held.uncommitted(lane));
        let room = in_flight.min(uncommitted);
        let full = &mut self.full[usize::from(lane.0)];
        *full = room == 0 || *full && room < self.room_least;
        if *full { 0 } else { room.min(self.batch_max) }
    }

    fn hand_over(&self, lane: Lane, records: Vec<Record>) {
        if !records.is_empty() {
            (self.deliver)(Output::Batch { lane, records });
        }
    }

    fn store(&mut self) {
        self.stored_us = self.clock.micros();
        let offsets = self.held.take_offsets();
        if offsets.is_empty() {
            return;
        }
        let mut stored = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset) in &offsets {
            let added =
                stored.add_partition_offset(&partition.topic, partition.number, Offset::Offset(*offset));
            self.complain(added);
        }
        // One that was lost in this moment is refused alone.
        if let Err(fault) = self.kafka.store_offsets(&stored) {
            tracing::debug!(%fault, "an offset is not stored");
        }
    }

    /// Holds the thread up while Kafka is asked: it is a person's brake.
    fn skip(&mut self, lane: Lane, before_ms: i64) -> Result<(), KafkaError> {
        let here = self.held.iter().filter(|it| it.lane == lane && !it.leaving);
        let here: HashMap<_, _> =
            here.map(|it| ((it.partition.topic.to_string(), it.partition.number), it.next)).collect();
        if here.is_empty() {
            return Ok(());
        }
        for Jump { topic, number, from, to } in skip::find(&self.kafka, &here, before_ms, ASK)? {
            self.kafka.seek(&topic, number, Offset::Offset(to), ASK)?;
            if let Some(partition) = self.held.skip(&topic, number, to) {
                self.say(Event::Skipped { partition, from, to });
            }
        }
        Ok(())
    }

    fn list(&self, lane: Lane) -> TopicPartitionList {
        let meant = self.held.iter().filter(|it| it.lane == lane);
        list(&meant.map(|it| it.partition.clone()).collect::<Vec<_>>())
    }

    /// Commits what is done, and ends without leaving the group.
    fn end(mut self) {
        let mut requests = Vec::new();
        self.inbox.take(&mut requests);
        for request in requests {
            if let Request::Done { partition, offset } = request {
                self.held.done(&partition, offset);
            }
        }
        if self.revoking.is_some() {
            self.end_revoke();
        }
        self.store();
        let until = self.clock.micros() + FAREWELL_US;
        self.commit_answers = 0;
        if !self.held.is_empty() && self.kafka.commit_consumer_state(CommitMode::Async).is_ok() {
            while self.commit_answers == 0 && self.clock.micros() < until {
                self.poll();
                self.inbox.signal.wait(Duration::from_millis(10));
            }
        }
        self.kafka.context().close();
    }

    fn complain(&mut self, result: Result<(), KafkaError>) {
        if let Err(fault) = result {
            self.error(&fault);
        }
    }

    fn error(&mut self, fault: &KafkaError) {
        let fatal = matches!(fault, KafkaError::MessageConsumptionFatal(_));
        if fatal && fault.rdkafka_error_code() == Some(RDKafkaErrorCode::FencedInstanceId) {
            self.fenced = true;
            return;
        }
        self.say(Event::Error { cause: fault.to_string(), fatal });
    }

    fn say(&self, event: Event) {
        (self.deliver)(Output::Event(event));
    }
}
