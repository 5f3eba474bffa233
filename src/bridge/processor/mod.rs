//! From the queue's records to outcomes: whom each is for, whose turn it is, what became of it, and how far the queue is done.
//!
//! Owns messages from the moment when the queue has handed them over until their offsets may be committed. Does no I/O and
//! reads no clock: records, answers and the time come in, requests to the queue go out, and deliveries go by the router, as
//! those of the internal port do. So the simulation runs it as it is.
//!
//! # What is promised
//!
//! - Every record has its outcomes counted once, or is left to another member of the group: then it is delivered there, and
//!   this node commits nothing behind it.
//! - Messages of one user within a lane are delivered one after the other, also where one is tried again.
//! - A message whose node cannot be reached is tried again for [`Settings::retry_ms`]; one for whose user the registry cannot
//!   say anything waits until it can, or until its life is over.
//! - What cannot be read is counted, told, and done. Nothing stalls a lane but a full one.

mod intake;
mod leaving;
mod ledger;
mod order;
mod reports;
mod thread;
mod waiting;

pub use intake::{Intake, Unreadable};
pub use thread::{ProcessorThread, Settings as ThreadSettings};

use super::{
    brakes::Brakes,
    push::{Delivery, Obstacle},
    queue::{Event, Header, NoRoom, Output, Partition, Record, Request},
    registry::{Answer, Health, Lookup},
    router::Router,
};
use crate::{
    kit::{completion::Returns, mutant::Mutant, time::Now},
    model::{Lane, Lanes, Outcome},
    stats::NodeStats,
};
use futures_util::stream::{FuturesUnordered, Stream};
use intake::Parcel;
use leaving::{Claim, Leaving};
use ledger::{Ledgers, Place};
use order::Order;
use reports::{About, At, Reports};
use slab::Slab;
use std::{
    collections::{HashSet, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use waiting::{Waiter, Waiting};

/// Deliveries under way that are not worth a common look at their outcomes.
const FEW: usize = 64;
/// Complaints of Kafka's that are logged once; more kinds are logged each time.
const COMPLAINTS_MAX: usize = 64;

/// What a processor must know.
pub struct Settings {
    /// This node's id, for statuses.
    pub node: String,
    /// Its region, for statuses.
    pub region: String,
    /// How long a message whose node cannot be reached is tried again, ms.
    pub retry_ms: u64,
    /// The topic of statuses.
    pub status_topic: Option<String>,
    /// The topic of dead letters.
    pub dead_letter: Option<String>,
    /// What is to be left out.
    pub brakes: Arc<Brakes>,
    /// How records are read.
    pub intake: Intake,
}

/// What a turn has left to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// When to take the next turn at the latest, monotonic ms; None: when something comes.
    pub next_ms: Option<u64>,
}

/// See the module.
pub struct Processor {
    settings: Settings,
    router: Arc<Router>,
    stats: Arc<NodeStats>,
    jobs: Slab<Job>,
    numbers: u64,
    order: Order,
    ledgers: Ledgers,
    reports: Reports,
    waiting: Waiting,
    /// Where outcomes come in, each under [`number_of`] its message and its place among that one's devices.
    returns: Arc<Returns<Outcome>>,
    /// Empty between two looks.
    returned: Vec<(u64, Outcome)>,
    questions: FuturesUnordered<Question>,
    /// Messages in [`State::Trying`].
    trying: usize,
    /// Whose turn it is, behind another.
    ready: VecDeque<usize>,
    due: VecDeque<Waiter>,
    leaving: Leaving,
    /// What Kafka was heard to complain of since it answered last.
    complaints: HashSet<String>,
}

/// One message under way.
struct Job {
    number: u64,
    place: Place,
    partition: Partition,
    offset: i64,
    delivery: Delivery,
    /// Of its line.
    line: u64,
    /// Who is behind it in its line.
    next: Option<usize>,
    /// For statuses.
    headers: Vec<Header>,
    state: State,
    tries: u32,
    /// When it was first tried, monotonic ms.
    since_ms: u64,
    claim: Claim,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Behind another of its user.
    InLine,
    /// Being delivered.
    Trying,
    /// To be tried again.
    Later,
}

/// The number of a message's first outcome. Each message has 2^32 of them.
fn number_of(job: usize) -> u64 {
    (job as u64) << 32
}

/// Whose outcome has such a number.
fn job_of(number: u64) -> usize {
    (number >> 32) as usize
}

/// A question to the registry until it is answered.
struct Question {
    asked_by: Waiter,
    lookup: Lookup,
}

impl Future for Question {
    type Output = (Waiter, Answer);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.lookup).poll(cx));
        Poll::Ready((self.asked_by, answer))
    }
}

impl Processor {
    /// Takes other defaults of the same lanes and another largest payload, for records from now on.
    pub fn set_bounds(&mut self, lanes: Lanes, push_bytes: usize) {
        (self.settings.intake.lanes, self.settings.intake.push_bytes) = (lanes, push_bytes);
    }

    /// A processor that holds nothing.
    pub fn new(settings: Settings, router: Arc<Router>, stats: Arc<NodeStats>) -> Self {
        let reports = Reports::new(
            settings.node.clone(),
            settings.region.clone(),
            settings.status_topic.clone(),
            settings.dead_letter.clone(),
            stats.clone(),
        );
        Self {
            settings,
            router,
            stats,
            jobs: Slab::new(),
            numbers: 0,
            order: Order::default(),
            ledgers: Ledgers::default(),
            reports,
            waiting: Waiting::default(),
            returns: Returns::new(),
            returned: Vec::new(),
            questions: FuturesUnordered::new(),
            trying: 0,
            ready: VecDeque::new(),
            due: VecDeque::new(),
            leaving: Leaving::default(),
            complaints: HashSet::new(),
        }
    }

    /// Takes in what the queue has delivered and what has become of messages, and does what follows. `submit` gives a request to
    /// the queue. The waker of `cx` is called when there is reason for another turn.
    pub fn turn(
        &mut self,
        now: Now,
        outputs: impl IntoIterator<Item = Output>,
        cx: &mut Context<'_>,
        submit: &mut dyn FnMut(Request) -> Result<(), NoRoom>,
    ) -> Turn {
        for output in outputs {
            self.hear(now, output);
        }
        self.try_waiting(now);
        self.hurry(now);
        loop {
            while let Some(job) = self.ready.pop_front() {
                self.begin(now, job);
            }
            if !self.take_answers(now, cx) {
                break;
            }
        }
        self.router.wake();
        self.reports.flush(&mut self.ledgers, submit);
        // Requests that are no records always find room.
        self.ledgers.tell(|request| {
            let _ = submit(request);
        });
        self.release(submit);
        self.show();
        let waiting = self.waiting.next_ms();
        let report = self.reports.is_waiting().then(|| now.millis() + waiting::PARK_LOOK_MS);
        let leaving = self.leaving.next_ms(now.millis());
        Turn { next_ms: [waiting, report, leaving].into_iter().flatten().min() }
    }

    /// Messages without an outcome.
    pub fn under_way(&self) -> usize {
        self.jobs.len()
    }

    /// Whether some message waits for another of its user.
    pub fn has_lines(&self) -> bool {
        self.order.waiting() > 0
    }

    /// Whether outcomes should be looked at as they come: some message waits for another of its user, and so few are being
    /// delivered that there is nothing to gather.
    pub fn is_in_haste(&self) -> bool {
        self.has_lines() && self.trying < FEW
    }

    fn hear(&mut self, now: Now, output: Output) {
        match output {
            Output::Batch { lane, records } => {
                self.stats.kafka.records(lane, records.len() as u64);
                for record in records {
                    self.take(now, lane, record);
                }
            }
            Output::Assigned { partitions } => {
                self.stats.kafka.set_up(true);
                for (_, partition) in partitions {
                    self.ledgers.insert(partition);
                }
            }
            Output::Revoked { revocation, partitions, lost } => {
                let waits = (!lost).then_some(revocation);
                self.give_back(now, partitions, waits);
            }
            Output::Produced { id, result } => self.reports.answered(&mut self.ledgers, id, result),
            Output::Lag { lane, messages } => self.stats.set_kafka_lag(lane, messages),
            Output::Event(event) => self.note(event),
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Up => {
                self.stats.kafka.set_up(true);
                self.complaints.clear();
                tracing::info!("Kafka answers");
            }
            Event::Down => {
                self.stats.kafka.set_up(false);
                tracing::warn!("Kafka does not answer");
            }
            // It is said again and again while it lasts.
            Event::Error { cause, fatal: false } if self.complaints.contains(&cause) => {
                tracing::debug!(cause, "Kafka");
            }
            Event::Error { cause, fatal: false } => {
                tracing::warn!(cause, "Kafka");
                if self.complaints.len() < COMPLAINTS_MAX {
                    self.complaints.insert(cause);
                }
            }
            Event::Error { cause, fatal: true } => {
                self.stats.kafka.set_up(false);
                tracing::error!(cause, "Kafka: this node takes no more messages from the queue");
            }
            Event::Skipped { partition, from, to } => {
                self.stats.kafka.skipped(to.saturating_sub(from).max(0) as u64);
                tracing::warn!(topic = &*partition.topic, partition = partition.number, from, to, "skipped");
            }
            Event::Left => tracing::info!("left the consumer group"),
        }
    }

    /// Takes in a record.
    fn take(&mut self, now: Now, lane: Lane, record: Record) {
        // One of a partition that is not held any more comes to another.
        let Some(place) = self.ledgers.begin(&record.partition, record.offset) else { return };
        if let Some(made_ms) = record.timestamp_ms.and_then(|at| u64::try_from(at).ok()) {
            // The queue goes on behind what is to be left out in what it holds; this is what it held back, or has come to hold since.
            if made_ms < self.settings.brakes.skip_before_ms(lane) {
                self.stats.kafka.skipped(1);
                return self.ledgers.decide(place);
            }
            self.stats.kafka.waited(lane, now.unix_ms.saturating_sub(made_ms) * 1_000);
        }
        match self.settings.intake.read(lane, &record, now) {
            Ok(parcel) => self.enter(now, lane, place, parcel, record),
            Err(why) => self.refuse(lane, place, &record, why),
        }
    }

    fn refuse(&mut self, lane: Lane, place: Place, record: &Record, why: Unreadable) {
        self.stats.kafka.rejected(why as usize);
        tracing::debug!(
            topic = &*record.partition.topic,
            partition = record.partition.number,
            offset = record.offset,
            reason = why.label(),
            "a record cannot be read"
        );
        self.reports.dead_letter(&mut self.ledgers, place, record, why.label());
        if let (Unreadable::TooLarge, Some(user)) = (why, &record.key) {
            self.stats.message(lane, Outcome::TooLarge);
            let about = About {
                place,
                partition: &record.partition,
                offset: record.offset,
                lane: &self.settings.intake.lanes.config(lane).name,
                user,
                id: None,
                headers: &record.headers,
            };
            self.reports.status(&mut self.ledgers, &about, None, Outcome::TooLarge, At::Nowhere);
        }
        self.ledgers.decide(place);
    }

    fn enter(&mut self, now: Now, lane: Lane, place: Place, parcel: Parcel, record: Record) {
        let Parcel { user, device, message } = parcel;
        self.numbers += 1;
        let line = self.order.hash(lane, &user);
        let slot = self.jobs.vacant_entry();
        let id = slot.key();
        let (message, first) = (Arc::new(message), number_of(id));
        slot.insert(Job {
            number: self.numbers,
            place,
            partition: record.partition,
            offset: record.offset,
            delivery: self.router.push_gathered(user, device, message, &self.returns, first),
            line,
            next: None,
            headers: if self.reports.wants_statuses() { record.headers } else { Vec::new() },
            state: State::InLine,
            tries: 0,
            since_ms: now.millis(),
            claim: Claim::Ours,
        });
        let jobs = &self.jobs;
        match self.order.enter(line, id, |first| jobs.get(first).is_some_and(|it| it.is_as(&jobs[id]))) {
            Some(before) => self.jobs[before].next = Some(id),
            None => self.begin(now, id),
        }
    }

    /// It is a message's turn.
    fn begin(&mut self, now: Now, id: usize) {
        let job = &mut self.jobs[id];
        let is_anothers = match job.claim {
            Claim::Ours => false,
            Claim::Once => self.leaving.is_stuck(job.lane(), job.delivery.user()),
            Claim::Others => true,
        };
        if is_anothers {
            return self.give_up(id);
        }
        if job.delivery.message().is_expired(now.unix_ms) && !Mutant::ExpiredStillLookedUp.is_on() {
            return self.expire(id);
        }
        job.since_ms = now.millis();
        job.state = State::Trying;
        self.trying += 1;
        job.delivery.begin();
        self.go_on(now, id);
    }

    /// Takes in outcomes, and where users are. Says whether there were any.
    fn take_answers(&mut self, now: Now, cx: &mut Context<'_>) -> bool {
        let mut returned = std::mem::take(&mut self.returned);
        let mut any = self.returns.poll_take(1, cx, &mut returned).is_ready();
        for (number, outcome) in returned.drain(..) {
            let id = job_of(number);
            if let Some(job) = self.jobs.get_mut(id) {
                job.delivery.hear(number, outcome);
                self.go_on(now, id);
            }
        }
        self.returned = returned;
        while let Poll::Ready(Some((asked_by, answer))) = Pin::new(&mut self.questions).poll_next(cx) {
            any = true;
            if let Some(job) = self.jobs.get_mut(asked_by.job).filter(|job| job.number == asked_by.number) {
                job.delivery.answer(answer);
                self.go_on(now, asked_by.job);
            }
        }
        any
    }

    /// Lets a message that is being delivered go on as far as it can.
    fn go_on(&mut self, now: Now, id: usize) {
        let job = &mut self.jobs[id];
        let is_settled = job.delivery.is_settled();
        if let Some(lookup) = job.delivery.take_lookup() {
            self.questions.push(Question { asked_by: Waiter { job: id, number: job.number }, lookup });
        }
        if is_settled {
            self.trying -= 1;
            self.settle(now, id);
        }
    }

    /// Every device that was found has an outcome.
    fn settle(&mut self, now: Now, id: usize) {
        let job = &mut self.jobs[id];
        let now_ms = now.millis();
        let obstacle = job.delivery.obstacle().filter(|obstacle| match obstacle {
            Obstacle::Registry => !Mutant::ParkForgotten.is_on(),
            Obstacle::Node if Mutant::RetryForgotten.is_on() => false,
            Obstacle::Node if Mutant::RetryWithoutEnd.is_on() => true,
            Obstacle::Node => now_ms < job.since_ms + self.settings.retry_ms,
        });
        let Some(obstacle) = obstacle else { return self.conclude(id) };
        if job.claim != Claim::Ours {
            self.leaving.stick(job.lane(), job.delivery.user());
            return self.give_up(id);
        }
        let waiter = Waiter { job: id, number: job.number };
        match obstacle {
            Obstacle::Registry => self.waiting.park(now_ms, job.lane(), waiter),
            Obstacle::Node => {
                self.stats.kafka.retried();
                self.waiting.delay(now_ms, job.tries, waiter);
            }
        }
        job.tries += 1;
        job.state = State::Later;
    }

    /// Tries again what has waited for long enough.
    fn try_waiting(&mut self, now: Now) {
        let (jobs, router) = (&self.jobs, &self.router);
        let is_alive = |waiter: Waiter| {
            let job = jobs.get(waiter.job).filter(|job| job.number == waiter.number);
            job.is_some_and(|job| !job.delivery.message().is_expired(now.unix_ms))
        };
        let answers = || matches!(router.registry().health(), Health::Ready);
        self.waiting.take_due(now.millis(), answers, is_alive, &mut self.due);
        while let Some(Waiter { job: id, number }) = self.due.pop_front() {
            let job = self.jobs.get_mut(id).filter(|job| job.number == number && job.state == State::Later);
            let Some(job) = job else { continue };
            if !job.delivery.message().is_expired(now.unix_ms) {
                job.state = State::Trying;
                self.trying += 1;
                job.delivery.try_again();
                self.go_on(now, id);
            } else if job.delivery.is_empty() {
                self.expire(id);
            } else {
                self.conclude(id);
            }
        }
    }

    /// Its life was over before anybody was looked for.
    fn expire(&mut self, id: usize) {
        let job = &self.jobs[id];
        self.stats.message(job.lane(), Outcome::Expired);
        let about = job.about(&self.settings.intake);
        self.reports.status(&mut self.ledgers, &about, None, Outcome::Expired, At::Nowhere);
        self.end(id);
    }

    /// Its outcomes are known.
    fn conclude(&mut self, id: usize) {
        let job = &self.jobs[id];
        job.delivery.count();
        if self.reports.wants_statuses() {
            let about = job.about(&self.settings.intake);
            let (reports, ledgers) = (&mut self.reports, &mut self.ledgers);
            job.delivery.visit(|device, outcome, route| {
                let at = match route {
                    Some(route) => At::Node { node: &route.node, region: &route.region },
                    None => At::Here,
                };
                reports.status(ledgers, &about, Some(device), outcome, at);
            });
            if job.delivery.is_empty() && !Mutant::NobodyNotTold.is_on() {
                let nobody =
                    if job.delivery.unknown().is_some() { Outcome::Failed } else { Outcome::Offline };
                reports.status(ledgers, &about, None, nobody, At::Nowhere);
            }
        }
        self.end(id);
    }

    /// It has its outcome.
    fn end(&mut self, id: usize) {
        self.ledgers.decide(self.jobs[id].place);
        self.leave_line(id);
        self.jobs.remove(id);
    }

    /// Another gives it its outcome.
    fn give_up(&mut self, id: usize) {
        let place = self.jobs[id].place;
        if Mutant::LeftIsDone.is_on() {
            self.ledgers.decide(place);
        } else {
            self.ledgers.give_up(place);
        }
        if !Mutant::LineForgotten.is_on() {
            self.leave_line(id);
        }
        self.jobs.remove(id);
    }

    /// Whose turn it is now.
    fn leave_line(&mut self, id: usize) {
        let Job { line, next, .. } = self.jobs[id];
        self.order.leave(line, id, next);
        self.ready.extend(next);
    }

    fn show(&self) {
        for (lane, _) in self.settings.intake.lanes.iter() {
            self.stats.kafka.set_parked(lane, self.waiting.parked(lane) as u64);
        }
        self.stats.kafka.set_partitions(self.ledgers.len() as u64);
    }
}

impl Job {
    fn lane(&self) -> Lane {
        self.delivery.message().lane
    }

    /// Whether they are for the same user in the same lane.
    fn is_as(&self, other: &Self) -> bool {
        self.delivery.user() == other.delivery.user() && self.lane() == other.lane()
    }

    fn about<'a>(&'a self, intake: &'a Intake) -> About<'a> {
        About {
            place: self.place,
            partition: &self.partition,
            offset: self.offset,
            lane: &intake.lanes.config(self.lane()).name,
            user: self.delivery.user(),
            id: self.delivery.message().id.as_ref().map(|id| id.as_str()),
            headers: &self.headers,
        }
    }
}

#[cfg(test)]
mod tests;
