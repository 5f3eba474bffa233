//! What stands between the bridges and Redis: requests that are lost, late, carried out twice or answered with another's reply.
//!
//! Owns Redis itself with what befalls it, what each node's store has seen of it, and every request under way. As the real
//! store it answers each request once, within the time-out, and nothing is carried out after that.

use super::node::name_of;
use crate::{
    bridge::store::{Event, Failure, Full, Output, Reply, Request},
    kit::random::Random,
    sim::{faults::Odds, net::START_UNIX_MS, redis::Redis},
};
use std::collections::VecDeque;

/// Within this each request is answered.
pub const TIMEOUT_US: u64 = 2_000_000;
/// A failover loses what was written within this.
const LOST_US: u64 = 1_000_000;
/// How often a store looks at the master's mark.
pub const LOOK_EVERY_US: u64 = 1_000_000;
const MASTER: &str = "redis";

/// How often a request goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct StoreFaults {
    /// It is not carried out in time, or late.
    pub late: Odds,
    /// It is carried out, and its reply lost.
    pub lost: Odds,
    /// It is carried out twice.
    pub doubled: Odds,
    /// Twice the reply belonged to another request: it may have been carried out or not.
    pub misattributed: Odds,
    /// There is no room for it.
    pub full: Odds,
}

impl StoreFaults {
    pub const NONE: StoreFaults = StoreFaults {
        late: Odds::NEVER,
        lost: Odds::NEVER,
        doubled: Odds::NEVER,
        misattributed: Odds::NEVER,
        full: Odds::NEVER,
    };
}

/// A request, or its answer, on its way.
struct Flight {
    node: usize,
    run: u64,
    id: u64,
    request: Request,
    sent_us: u64,
    /// When it is carried out, the last first.
    runs_us: Vec<u64>,
    answers_us: u64,
    /// What is answered whatever Redis says.
    failure: Option<Failure>,
    reply: Option<Reply>,
}

/// What one node's store knows.
#[derive(Clone, Copy, Default, Debug)]
struct Sight {
    /// It cannot reach Redis.
    cut_off: bool,
    /// What it has said last.
    up: Option<bool>,
    /// Failovers and the mark, as it saw them last, and when.
    seen: Option<(u64, u64)>,
    looked_us: u64,
    /// When it had last to say that something was lost.
    noticed_us: u64,
}

/// See the module.
pub struct Stores {
    pub redis: Redis,
    pub faults: StoreFaults,
    pub is_up: bool,
    /// Everything takes longer, at times longer than the time-out.
    pub is_slow: bool,
    /// When it was last not as it should be, and when it last lost anything.
    pub troubled_us: u64,
    pub lost_us: u64,
    past: VecDeque<(u64, Redis)>,
    pub failovers: u64,
    sights: Vec<Sight>,
    flights: Vec<Flight>,
    random: Random,
}

impl Stores {
    pub fn new(nodes: usize, faults: StoreFaults, random: Random) -> Self {
        Self {
            redis: Redis::default(),
            faults,
            is_up: true,
            is_slow: false,
            troubled_us: 0,
            lost_us: 0,
            past: VecDeque::new(),
            failovers: 0,
            sights: vec![Sight::default(); nodes],
            flights: Vec::new(),
            random,
        }
    }

    /// A node begins: its store knows nothing yet.
    pub fn join(&mut self, node: usize) {
        let cut_off = self.sights[node].cut_off;
        self.sights[node] = Sight { cut_off, ..Sight::default() };
    }

    pub fn cut_off(&mut self, node: usize, cut_off: bool) {
        self.sights[node].cut_off = cut_off;
    }

    pub fn is_cut_off(&self, node: usize) -> bool {
        self.sights[node].cut_off
    }

    /// Whether a node's store has seen what Redis has been through, and when it saw a loss last.
    pub fn noticed_us(&self, node: usize) -> Option<u64> {
        let sight = &self.sights[node];
        (sight.seen == Some(self.history())).then_some(sight.noticed_us)
    }

    pub fn has_lease(&self, node: usize, run: u64, now_us: u64) -> bool {
        self.redis.has_lease(&name_of(node), run, START_UNIX_MS + now_us / 1_000)
    }

    /// `FLUSHALL`, perhaps on another master than that of the leases.
    pub fn forget(&mut self, with_leases: bool, now_us: u64) {
        self.redis.forget(with_leases);
        self.lost_us = now_us;
    }

    /// Another master, which has not heard of the last second.
    pub fn fail_over(&mut self, now_us: u64) {
        if let Some((_, past)) = self.past.front() {
            self.redis = past.clone();
            self.failovers += 1;
            self.lost_us = now_us;
            self.past.clear();
            // Connections to the old one break, and a store looks at the new one before it asks it anything.
            self.sights.iter_mut().for_each(|sight| sight.looked_us = 0);
        }
    }

    /// A bridge asks.
    pub fn submit(
        &mut self,
        node: usize,
        run: u64,
        id: u64,
        request: Request,
        now_us: u64,
    ) -> Result<(), Full> {
        let random = &mut self.random;
        let faults = self.faults;
        if faults.full.strikes(random) {
            return Err(Full);
        }
        let late = faults.late.strikes(random) || self.is_slow;
        let mut delay = || random.below(if late { 4_000_000 } else { 20_000 });
        let mut runs_us = vec![now_us + delay()];
        let mut answers_us = runs_us[0] + delay();
        if faults.doubled.strikes(random) {
            let again_us = runs_us[0] + random.below(1_500_000);
            runs_us.insert(0, again_us);
            answers_us = again_us + random.below(20_000);
        }
        let mut failure = faults.misattributed.strikes(random).then_some(Failure::Misattributed);
        if failure.is_some() && random.below(2) == 0 {
            runs_us.clear();
        }
        let deadline_us = now_us + TIMEOUT_US;
        runs_us.retain(|&runs_us| runs_us < deadline_us);
        if answers_us >= deadline_us || faults.lost.strikes(random) {
            (answers_us, failure) = (deadline_us, Some(Failure::Timeout));
        }
        self.flights.push(Flight {
            node,
            run,
            id,
            request,
            sent_us: now_us,
            runs_us,
            answers_us,
            failure,
            reply: None,
        });
        Ok(())
    }

    /// What is due is done; `deliver` is given what it leads to, for a node and its run. `is_awake` says whether a node runs.
    pub fn advance(
        &mut self,
        now_us: u64,
        is_awake: impl Fn(usize) -> bool,
        mut deliver: impl FnMut(usize, Option<u64>, Output),
    ) {
        if !self.is_up || self.is_slow {
            self.troubled_us = now_us;
        }
        self.keep_past(now_us);
        self.carry_out(now_us);
        for node in (0..self.sights.len()).filter(|&node| is_awake(node)) {
            self.look(node, now_us, &mut |event| deliver(node, None, Output::Event(event)));
        }
        let mut due = Vec::new();
        self.flights.retain_mut(|flight| {
            if flight.answers_us > now_us {
                return true;
            }
            let reachable = self.is_up && !self.sights[flight.node].cut_off;
            let reply = flight.reply.take().filter(|_| reachable).ok_or(Failure::Down);
            let result = flight.failure.take().map_or(reply, Err);
            let took_us = now_us - flight.sent_us;
            due.push((flight.node, flight.run, Output::Answer { id: flight.id, result, took_us }));
            false
        });
        for (node, run, output) in due {
            deliver(node, Some(run), output);
        }
    }

    /// When something is due next.
    pub fn next_us(&self) -> u64 {
        let next_of = |flight: &Flight| flight.runs_us.last().copied().unwrap_or(flight.answers_us);
        self.flights.iter().map(next_of).min().unwrap_or(u64::MAX)
    }

    fn history(&self) -> (u64, u64) {
        (self.failovers, self.redis.mark)
    }

    fn keep_past(&mut self, now_us: u64) {
        if self.past.back().is_none_or(|(at_us, _)| at_us + 50_000 <= now_us) {
            self.past.push_back((now_us, self.redis.clone()));
        }
        while self.past.front().is_some_and(|(at_us, _)| at_us + LOST_US < now_us) {
            self.past.pop_front();
        }
    }

    fn carry_out(&mut self, now_us: u64) {
        loop {
            let due = self.flights.iter_mut().filter(|flight| flight.runs_us.last() <= Some(&now_us));
            let first = due
                .filter(|flight| !flight.runs_us.is_empty())
                .min_by_key(|flight| (flight.runs_us.last().copied(), flight.node, flight.id));
            let Some(flight) = first else { return };
            let Some(runs_us) = flight.runs_us.pop() else { return };
            if self.is_up && !self.sights[flight.node].cut_off {
                let unix_ms = |us: u64| START_UNIX_MS + us / 1_000;
                let reply = self.redis.run(&flight.request, unix_ms(flight.sent_us), unix_ms(runs_us));
                flight.reply = Some(reply);
            }
        }
    }

    /// What a store does when it has connected, before it carries anything, and then every second.
    fn look(&mut self, node: usize, now_us: u64, say: &mut dyn FnMut(Event)) {
        let history = self.history();
        let sight = &mut self.sights[node];
        let reachable = self.is_up && !sight.cut_off;
        let (master, slots) = (MASTER.to_owned(), vec![0..=16_383]);
        if sight.up != Some(reachable) {
            sight.up = Some(reachable);
            sight.looked_us = 0;
            say(match reachable {
                true => Event::Up { master: master.clone(), slots: slots.clone() },
                false => Event::Down { master: master.clone(), slots: slots.clone(), cause: String::new() },
            });
        }
        if reachable && (sight.looked_us == 0 || sight.looked_us + LOOK_EVERY_US <= now_us) {
            sight.looked_us = now_us;
            if sight.seen.replace(history).is_some_and(|before| before != history) {
                sight.noticed_us = now_us;
                say(Event::Lost { master, slots });
            }
        }
    }
}
