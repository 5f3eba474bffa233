//! A node: its connections by the step at which they end, its accept queue, and how it leaves.

use super::{
    bins::Ring,
    clients::{Counts, TRIES},
    rules::{Parting, Tables},
};
use crate::kit::random::Random;
use std::collections::VecDeque;

/// Where a node is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It takes connections.
    Serving,
    /// It drains and still takes them, until this step.
    Delay(u64),
    /// It refuses and asks those it has to go, until this step.
    Leaving(u64),
    /// It is no more.
    Gone,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Connections by the stretch of steps in which their lives end.
    ends: Ring,
    /// Connections that were opened within this stretch.
    fresh: u64,
    /// Connections whose lives end within this stretch.
    due: u64,
    leaving: Ring,
    queue: VecDeque<Queued>,
    queued: u64,
    state: State,
    parting: Parting,
    /// The balancer lists it from this step…
    listed_from: u64,
    /// …to before this one.
    listed_until: u64,
    /// Handshakes that it may accept now; a fraction is kept for the next step.
    budget: f64,
    /// Handshakes that admission lets in now.
    admitted: f64,
    /// Connections opened within this second.
    opened: u64,
}

#[derive(Clone, Copy, Debug)]
struct Queued {
    since: u64,
    tries: usize,
    count: u64,
}

/// What became of handshakes within a step.
#[derive(Clone, Copy, Default, Debug)]
pub struct Served {
    /// Connections opened.
    pub accepted: u64,
    /// Sent away with the time to come back, by the tries before.
    pub refused: Counts,
    /// Without an answer, by the tries before.
    pub failed: Counts,
}

/// What left a node within a step.
#[derive(Clone, Copy, Default, Debug)]
pub struct Left {
    /// Who was asked to go.
    pub goaways: u64,
    /// Who went, and returns when the node said.
    pub gone: u64,
}

impl Node {
    /// An empty one, which the balancer lists from a step on.
    pub fn new(tables: &Tables, listed_from: u64) -> Self {
        Self {
            ends: Ring::new(tables.life.len() + 1),
            fresh: 0,
            due: 0,
            leaving: Ring::new(tables.leave.len() + 1),
            queue: VecDeque::new(),
            queued: 0,
            state: State::Serving,
            parting: Parting::default(),
            listed_from,
            listed_until: u64::MAX,
            budget: 0.0,
            admitted: 0.0,
            opened: 0,
        }
    }

    /// Gives it connections that have been open for as long as those of an undisturbed fleet.
    pub fn fill(&mut self, count: u64, tables: &Tables, random: &mut Random) {
        self.ends.deal(count, &tables.residual, random);
    }

    /// Its connections.
    pub fn open(&self) -> u64 {
        self.staying() + self.leaving.total()
    }

    /// Those that were not asked to go.
    fn staying(&self) -> u64 {
        self.ends.total() + self.fresh + self.due
    }

    /// Who waits for an answer to a handshake.
    pub fn queued(&self) -> u64 {
        self.queued
    }

    /// Books what it has opened in this step; how many in this second.
    pub fn opened(&mut self, now: u64, tables: &Tables, accepted: u64) -> u64 {
        if now.is_multiple_of(tables.second) {
            self.opened = 0;
        }
        self.opened += accepted;
        self.opened
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the balancer sends clients here.
    pub fn is_listed(&self, now: u64) -> bool {
        (self.listed_from..self.listed_until).contains(&now)
    }

    /// It begins to leave; the balancer notices `detect` steps later.
    pub fn drain(&mut self, now: u64, detect: u64, parting: Parting) {
        if self.state == State::Serving {
            self.listed_until = now + detect;
            self.state = State::Delay(now + parting.delay);
            self.parting = parting;
        }
    }

    /// It dies: who was connected, and who waited for an answer.
    pub fn kill(&mut self, now: u64, detect: u64) -> (u64, Counts) {
        let open = self.open();
        self.listed_until = self.listed_until.min(now + detect);
        (open, self.end())
    }

    fn end(&mut self) -> Counts {
        (self.ends, self.leaving) = (Ring::new(1), Ring::new(1));
        (self.fresh, self.due) = (0, 0);
        self.state = State::Gone;
        self.empty_queue()
    }

    /// So many lose their connection, whoever they are.
    pub fn cut(&mut self, count: u64, random: &mut Random) -> u64 {
        let leaving = (count as f64 * self.leaving.total() as f64 / self.open().max(1) as f64) as u64;
        let cut = self.leaving.take(leaving, random);
        cut + self.take(count - cut, random)
    }

    /// So many of those that stay are taken out, whoever they are.
    fn take(&mut self, count: u64, random: &mut Random) -> u64 {
        let share = count as f64 / self.staying().max(1) as f64;
        let part = |held: u64| ((held as f64 * share) as u64).min(held);
        let (fresh, due) = (part(self.fresh), part(self.due));
        (self.fresh, self.due) = (self.fresh - fresh, self.due - due);
        let taken = fresh + due + self.ends.take(count - fresh - due, random);
        // What rounding has left over.
        let rest = (count - taken).min(self.fresh);
        self.fresh -= rest;
        taken + rest
    }

    /// The lives that end within this step: those of a stretch come evenly.
    fn end_lives(&mut self, now: u64, tables: &Tables, random: &mut Random) -> u64 {
        let at = now % tables.stretch;
        if at == 0 {
            let fresh = std::mem::take(&mut self.fresh);
            self.ends.deal(fresh, &tables.life, random);
            self.due += self.ends.pop();
        }
        let ended = match tables.stretch - at {
            1 => self.due,
            left => (self.due as f64 / left as f64 + random.unit()) as u64,
        };
        self.due -= ended;
        ended
    }

    /// Lifetimes and the drain move on by a step.
    pub fn turn(&mut self, now: u64, tables: &Tables, random: &mut Random) -> Left {
        if self.state == State::Gone {
            return Left::default();
        }
        let mut goaways = self.end_lives(now, tables, random);
        if let State::Delay(until) = self.state
            && now >= until
        {
            let paced = (self.staying() as f64 / self.parting.per_step.max(1e-9)).ceil() as u64;
            self.state = State::Leaving(now + self.parting.window.max(paced).max(1));
        }
        if let State::Leaving(until) = self.state {
            // As many each step as come out evenly.
            let steps = until.saturating_sub(now).max(1);
            let share = self.staying().div_ceil(steps);
            goaways += self.take(share, random);
        }
        self.leaving.deal(goaways, &tables.leave, random);
        let gone = self.leaving.pop();
        Left { goaways, gone }
    }

    /// Whether a drain is over: nothing is left, and its time has passed. It is gone then; who still waited is returned.
    pub fn finish(&mut self, now: u64) -> Option<Counts> {
        let State::Leaving(until) = self.state else { return None };
        if now < until || self.open() > 0 {
            return None;
        }
        Some(self.end())
    }

    /// The handshakes of this step come, and as many as it can are answered.
    pub fn serve(&mut self, now: u64, offered: &Counts, tables: &Tables) -> Served {
        let mut served = Served::default();
        match self.state {
            State::Gone => {
                served.failed = *offered;
                return served;
            }
            State::Leaving(_) => served.refused = *offered,
            State::Serving | State::Delay(_) => self.admit(now, offered, tables, &mut served),
        }
        self.expire(now, tables, &mut served);
        self.accept(tables, &mut served);
        served
    }

    /// What admission lets in is queued; the accept queue is bounded.
    fn admit(&mut self, now: u64, offered: &Counts, tables: &Tables, served: &mut Served) {
        if let Some(admission) = tables.admission_per_step {
            self.admitted = (self.admitted + admission).min(tables.admission_burst.max(admission));
        }
        for (tries, &count) in offered.iter().enumerate().filter(|(_, count)| **count > 0) {
            let mut count = count;
            if tables.admission_per_step.is_some() {
                let admitted = count.min(self.admitted as u64);
                self.admitted -= admitted as f64;
                served.refused[tries] += count - admitted;
                count = admitted;
            }
            // What the node answers within this step needs no place in the queue.
            let room = (tables.backlog + tables.handshakes_per_step as u64).saturating_sub(self.queued);
            let queued = count.min(room);
            served.failed[tries] += count - queued;
            if queued > 0 {
                self.queue.push_back(Queued { since: now, tries, count: queued });
                self.queued += queued;
            }
        }
    }

    /// Who has waited for too long tries again elsewhere.
    fn expire(&mut self, now: u64, tables: &Tables, served: &mut Served) {
        while let Some(first) = self.queue.front().filter(|first| first.since + tables.patience < now) {
            served.failed[first.tries] += first.count;
            self.queued -= first.count;
            self.queue.pop_front();
        }
    }

    fn accept(&mut self, tables: &Tables, served: &mut Served) {
        self.budget = self.budget.fract() + tables.handshakes_per_step;
        while let Some(first) = self.queue.front_mut() {
            let count = first.count.min(self.budget as u64);
            if count == 0 {
                break;
            }
            first.count -= count;
            let (tries, is_done) = (first.tries, first.count == 0);
            if is_done {
                self.queue.pop_front();
            }
            self.budget -= count as f64;
            self.queued -= count;
            let opened = count.min(tables.capacity.saturating_sub(self.open()));
            served.refused[tries] += count - opened;
            served.accepted += opened;
            self.fresh += opened;
        }
    }

    fn empty_queue(&mut self) -> Counts {
        let mut waiting = [0; TRIES];
        for queued in self.queue.drain(..) {
            waiting[queued.tries] += queued.count;
        }
        self.queued = 0;
        waiting
    }
}
