//! The thread of a master: takes what waits, speaks to Redis, judges the replies.
//!
//! Owns the connection. One pipeline at a time: what is submitted meanwhile is the next one. The connection is dropped at
//! the first reply that is late, missing or another request's; what was in flight is asked again on the next.

use super::{
    fleet::{AGAIN_MAX, Fleet, Pending, lock},
    lane::{Lane, Phase, Queue},
    line::{ASKING, Identity, Line, TIME},
    mark::{Mark, Shown},
    script::{Said, Times},
    seam::{Cause, Event, Failure, Output, Reply, Slots},
    slots::{ranges, read_redirect},
};
use crate::kit::random::Random;
use redis::{ServerError, ServerErrorKind, Value};
use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

/// Requests in a pipeline. More do not make it faster, and at some 10 µs each in the server they take a few ms.
const PIPELINE_MAX: usize = 256;
/// Answers that are delivered together. Each delivery wakes a thread, which costs more than an answer does; so many replies take
/// Redis less than a ms.
const TOGETHER_MAX: usize = 64;
/// So often the registry's time and the master's mark are asked for, which also shows that an idle connection lives.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The first pause between attempts to connect; each is twice as long as the one before.
const PAUSE_FIRST_MS: u64 = 50;
/// And the last.
const PAUSE_MAX_MS: u64 = 1_000;

/// What a wait has ended with.
enum Woken {
    Work(Vec<Pending>),
    Idle,
    Retired,
}

/// The thread's own side of a lane.
pub(super) struct Carrier {
    lane: Arc<Lane>,
    fleet: Arc<Fleet>,
    random: Random,
    /// Whose data the master had when it was last up.
    identity: Option<Identity>,
    mark: Mark,
    /// The server has shown that it does not have the scripts any more.
    is_unscripted: bool,
    /// The pipeline that is sent.
    bytes: Vec<u8>,
    /// Answers that are not delivered yet; empty between two pipelines.
    answers: Vec<Output>,
}

impl Carrier {
    pub(super) fn new(lane: Arc<Lane>, fleet: Arc<Fleet>) -> Self {
        // Only for jitter: fleets and lanes should differ.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), &lane.address);
        let random = Random::seeded(seed);
        let mark = Mark::default();
        let (bytes, answers) = (Vec::new(), Vec::new());
        Self { lane, fleet, random, identity: None, mark, is_unscripted: false, bytes, answers }
    }

    /// Until the lane has retired or the store ends.
    pub(super) fn run(mut self) {
        let mut attempts = 0;
        while self.lane.phase() != Phase::Retired && !self.fleet.has_ended() {
            self.pause(attempts);
            attempts += 1;
            match Line::open(&self.fleet.access, &self.lane.address, self.fleet.clock) {
                Ok(mut line) => {
                    let began_us = self.fleet.clock.micros();
                    self.come_up(&line.identity);
                    let cause = self.serve(&mut line);
                    if self.fleet.clock.micros() - began_us >= PAUSE_MAX_MS * 1000 {
                        attempts = 0;
                    }
                    self.lane.enter(Phase::Connecting);
                    if let Some(cause) = cause {
                        let master = self.lane.address.to_string();
                        self.fleet.announce(Event::Dropped { master, cause });
                        self.fleet.scout.ring();
                    }
                }
                Err(cause) => self.go_down(cause),
            }
        }
        self.refuse_waiting();
    }

    /// Waits before another attempt, if it is not the first.
    fn pause(&mut self, attempts: u32) {
        if attempts == 0 {
            return;
        }
        let longest = PAUSE_MAX_MS.min(PAUSE_FIRST_MS << (attempts - 1).min(10));
        let pause = Duration::from_millis(self.random.between(longest / 2, longest));
        let queue = lock(&self.lane.queue);
        let _ = self.lane.bell.wait_timeout_while(queue, pause, |queue| queue.phase != Phase::Retired);
    }

    fn slots(&self) -> Slots {
        self.fleet.map().slots_of(&self.lane)
    }

    fn come_up(&mut self, identity: &Identity) {
        self.fleet.tallies.connections.fetch_add(1, Relaxed);
        let (master, slots) = (self.lane.address.to_string(), self.slots());
        let is_new = self.identity.replace(identity.clone()).is_some_and(|before| before != *identity);
        if is_new {
            self.mark.forget();
        }
        self.lane.enter(Phase::Up);
        let gained = ranges(std::mem::take(&mut lock(&self.lane.queue).gained));
        self.fleet.announce(Event::Up { master: master.clone(), slots: slots.clone() });
        let lost = if is_new { slots } else { gained };
        if !lost.is_empty() {
            self.fleet.announce(Event::Lost { master, slots: lost });
        }
    }

    fn go_down(&mut self, cause: String) {
        let before = self.lane.enter(Phase::Down);
        if before == Phase::Connecting {
            let master = self.lane.address.to_string();
            self.fleet.announce(Event::Down { master, slots: self.slots(), cause });
        }
        self.refuse_waiting();
        self.fleet.scout.ring();
    }

    fn refuse_waiting(&self) {
        let waiting = std::mem::take(&mut lock(&self.lane.queue).waiting);
        for pending in waiting {
            self.fleet.answer(pending, Err(Failure::Down));
        }
    }

    /// Carries requests until the connection is of no use any more; None: the lane has ended.
    fn serve(&mut self, line: &mut Line) -> Option<Cause> {
        // Before anything is written there that could be lost unseen.
        if let Err(cause) = self.look(line) {
            return Some(cause);
        }
        loop {
            let result = match self.wait() {
                Woken::Retired => return None,
                Woken::Idle => self.look(line),
                Woken::Work(batch) => self.exchange(line, batch),
            };
            if let Err(cause) = result {
                return Some(cause);
            }
        }
    }

    /// Asks for the registry's time and the master's mark, and nothing else.
    fn look(&mut self, line: &mut Line) -> Result<(), Cause> {
        let now_us = self.fleet.clock.micros();
        let deadline_us = now_us + self.fleet.timeout.as_micros() as u64;
        self.bytes.clear();
        let asks_mark = self.write_look(line);
        line.send(&self.bytes)?;
        self.receive_look(line, now_us, asks_mark, deadline_us)?;
        self.load_scripts(line)
    }

    /// Appends both questions; false: only that for the time.
    fn write_look(&mut self, line: &Line) -> bool {
        self.bytes.extend_from_slice(TIME);
        let nonce = self.fleet.next_nonce();
        self.mark.ask(&self.fleet.map(), &self.lane, &line.digests, nonce, &mut self.bytes)
    }

    fn receive_look(
        &mut self,
        line: &mut Line,
        asked_us: u64,
        asks_mark: bool,
        deadline_us: u64,
    ) -> Result<(), Cause> {
        line.receive_time(asked_us, deadline_us)?;
        if !asks_mark {
            return Ok(());
        }
        let answer = line.receive(deadline_us)?;
        let shown = self.mark.hear(answer).inspect_err(|cause| {
            if *cause == Cause::Misattributed {
                self.fleet.tallies.misattributed.fetch_add(1, Relaxed);
            }
        })?;
        match shown {
            Shown::AsBefore => {}
            Shown::Another => {
                let (master, slots) = (self.lane.address.to_string(), self.slots());
                self.fleet.announce(Event::Lost { master, slots });
            }
            Shown::Unscripted => self.is_unscripted = true,
            Shown::Elsewhere => self.fleet.scout.ring(),
            Shown::Refused => drop(self.fleet.tallies.unmarked.fetch_add(1, Relaxed)),
        }
        Ok(())
    }

    /// Loads the scripts again, if the server has forgotten them.
    fn load_scripts(&mut self, line: &mut Line) -> Result<(), Cause> {
        if !std::mem::take(&mut self.is_unscripted) {
            return Ok(());
        }
        line.load_scripts(self.fleet.clock.micros() + self.fleet.timeout.as_micros() as u64)
    }

    fn wait(&self) -> Woken {
        let queue = lock(&self.lane.queue);
        let is_idle = |queue: &mut Queue| queue.waiting.is_empty() && queue.phase != Phase::Retired;
        let waited = self.lane.bell.wait_timeout_while(queue, LOOK_EVERY, is_idle);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if queue.phase == Phase::Retired {
            return Woken::Retired;
        }
        let count = queue.waiting.len().min(PIPELINE_MAX);
        if count == 0 { Woken::Idle } else { Woken::Work(queue.waiting.drain(..count).collect()) }
    }

    /// One pipeline. Whatever happens, no request is left in flight behind it.
    fn exchange(&mut self, line: &mut Line, batch: Vec<Pending>) -> Result<(), Cause> {
        let mut again = Vec::new();
        let result = self.converse(line, batch, &mut again);
        self.fleet.deliver(self.answers.drain(..));
        let mut flight = lock(&self.lane.flight);
        flight.is_condemned = false;
        again.extend(flight.pending.drain(..));
        drop(flight);
        self.is_unscripted |= result.is_ok() && !again.is_empty();
        let now_us = self.fleet.clock.micros();
        for mut pending in again.into_iter().rev() {
            pending.again += 1;
            self.fleet.tallies.again.fetch_add(1, Relaxed);
            if pending.deadline_us <= now_us {
                self.fleet.answer(pending, Err(Failure::Timeout));
            } else if pending.again > AGAIN_MAX {
                self.fleet.answer(pending, Err(Failure::Down));
            } else if let Some(pending) = self.lane.push_first(pending) {
                self.fleet.answer(pending, Err(Failure::Down));
            }
        }
        result?;
        self.load_scripts(line)
    }

    /// Sends a batch and reads its replies, up to the first fault. Those to be asked again in their order are left in
    /// `again` and, behind them, in flight.
    fn converse(
        &mut self,
        line: &mut Line,
        batch: Vec<Pending>,
        again: &mut Vec<Pending>,
    ) -> Result<(), Cause> {
        let now_us = self.fleet.clock.micros();
        let looks = now_us.saturating_sub(line.time_read_us()) >= LOOK_EVERY.as_micros() as u64;
        self.bytes.clear();
        let asks_mark = looks && self.write_look(line);
        let expected = self.pack(line, batch, now_us);
        let Some(&(last_us, _)) = expected.last() else { return Ok(()) };
        self.fleet.tallies.pipelines.fetch_add(1, Relaxed);
        self.fleet.tallies.sent.fetch_add(expected.len() as u64, Relaxed);
        line.send(&self.bytes)?;
        if looks {
            self.receive_look(line, now_us, asks_mark, last_us)?;
        }
        for (deadline_us, asking) in expected {
            if asking && line.receive(deadline_us)? != Value::Okay {
                return Err(Cause::Misattributed);
            }
            let answer = line.receive(deadline_us)?;
            let mut flight = lock(&self.lane.flight);
            if flight.is_condemned {
                return Err(Cause::Timeout);
            }
            let Some(pending) = flight.pending.pop_front() else { return Err(Cause::Timeout) };
            drop(flight);
            self.judge(pending, answer, again)?;
        }
        Ok(())
    }

    /// Writes the pipeline and puts its requests in flight. Returns the deadline of each and whether it asks first.
    fn pack(&mut self, line: &Line, batch: Vec<Pending>, now_us: u64) -> Vec<(u64, bool)> {
        let sent_ms = line.registry_ms(now_us);
        let mut expected = Vec::with_capacity(batch.len());
        let mut pending_in_flight = VecDeque::with_capacity(batch.len());
        for mut pending in batch {
            let left_us = pending.deadline_us.saturating_sub(now_us);
            if left_us == 0 {
                self.fleet.answer(pending, Err(Failure::Timeout));
                continue;
            }
            if pending.asking {
                self.bytes.extend_from_slice(ASKING);
            }
            pending.nonce = self.fleet.next_nonce();
            let waited_ms = now_us.saturating_sub(pending.submitted_us) / 1000;
            let times = Times { sent_ms, until_ms: sent_ms.saturating_add(left_us / 1000), waited_ms };
            pending.request.write(&mut self.bytes, &line.digests, pending.nonce, times);
            expected.push((pending.deadline_us, pending.asking));
            pending_in_flight.push_back(pending);
        }
        lock(&self.lane.flight).pending = pending_in_flight;
        expected
    }

    /// What a reply means for its request, and for the connection.
    fn judge(&mut self, mut pending: Pending, answer: Value, again: &mut Vec<Pending>) -> Result<(), Cause> {
        pending.asking = false;
        let said = match answer {
            Value::ServerError(error) => return self.judge_error(pending, &error, again),
            answer => pending.request.read(pending.nonce, answer),
        };
        match said {
            Said::Reply(reply) => self.answer(pending, Ok(reply)),
            Said::Late => self.answer(pending, Err(Failure::Timeout)),
            Said::Misattributed => {
                self.fleet.tallies.misattributed.fetch_add(1, Relaxed);
                if pending.misattributed {
                    self.answer(pending, Err(Failure::Misattributed));
                } else {
                    pending.misattributed = true;
                    again.push(pending);
                }
                return Err(Cause::Misattributed);
            }
        }
        Ok(())
    }

    /// Keeps an answer for the next delivery.
    fn answer(&mut self, pending: Pending, result: Result<Reply, Failure>) {
        self.answers.push(self.fleet.settle(pending, result));
        if self.answers.len() >= TOGETHER_MAX {
            self.fleet.deliver(self.answers.drain(..));
        }
    }

    /// An error has no echo. It is believed only as far as it gives nothing away: as a reason to ask elsewhere or again,
    /// or as a failure.
    fn judge_error(
        &mut self,
        pending: Pending,
        error: &ServerError,
        again: &mut Vec<Pending>,
    ) -> Result<(), Cause> {
        match error.kind() {
            Some(ServerErrorKind::NoScript) => again.push(pending),
            Some(kind @ (ServerErrorKind::Moved | ServerErrorKind::Ask)) => {
                self.fleet.scout.ring();
                let to = error.details().and_then(|detail| read_redirect(detail, &self.lane.address));
                match to {
                    Some((slot, to)) if slot == pending.slot => {
                        self.fleet.redirect(pending, &to, kind == ServerErrorKind::Ask);
                    }
                    _ => {
                        self.fleet.tallies.misattributed.fetch_add(1, Relaxed);
                        again.push(pending);
                        return Err(Cause::Misattributed);
                    }
                }
            }
            Some(ServerErrorKind::ReadOnly) => {
                again.push(pending);
                return Err(Cause::Demoted);
            }
            Some(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::TryAgain,
            ) => {
                self.fleet.scout.ring();
                self.answer(pending, Err(Failure::Down));
            }
            _ => {
                let text = format!("{} {}", error.code(), error.details().unwrap_or_default());
                self.answer(pending, Err(Failure::Refused(text)));
            }
        }
        Ok(())
    }
}
