//! Who is asked about, who waits for that, and what is known already. Pure: time comes in, and what is to be done goes out.
//!
//! Owns the bounds: how many questions are under way, how many clients wait, how many answers are kept. Each client that asks is
//! told exactly once. Equal credentials are one question, whose answer is for all who wait for it.
//!
//! A client is told `Unavailable` at once where there is no room, or while the [`breaker`](super::breaker) is open and nothing is
//! known of its credential; and in time where its turn does not come before it gives up. A question that nobody waits for any more
//! is not asked.

use super::{
    breaker::{Breaker, Change, Gate, Standing},
    cache::Cache,
    credential::Credential,
};
use crate::kit::time::Now;
use std::collections::{HashMap, VecDeque};

/// Of so many answers that are kept for clients that may come in, one more is kept for one that may not: made-up credentials, of
/// which there is no end, must not push out what is known of good ones.
const REFUSALS_SHARE: usize = 4;

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Clients that may wait, all questions together.
    pub waiting: usize,
    /// Answers that may be kept.
    pub cache: usize,
}

/// What the endpoint has answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply<A> {
    /// What it says of the client.
    pub answer: A,
    /// Whether the client may come in.
    pub accepted: bool,
    /// For how long that may be used again, ms; 0: not at all.
    pub life_ms: u64,
}

/// How a question ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The endpoint is at fault.
    Theirs,
    /// The question may be at fault: it says nothing about others.
    Question,
}

/// What is to be done.
#[derive(PartialEq, Eq, Debug)]
pub enum Order<Q, C, A> {
    /// Ask the endpoint.
    Ask {
        /// Who is asked about.
        credential: Credential,
        /// To be handed back with the answer.
        round: u64,
        /// What to ask.
        question: Q,
    },
    /// Tell a client.
    Tell(C, Told<A>),
    /// Say that the endpoint is left alone, or asked again.
    Say(Change),
}

/// What a client is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told<A> {
    /// What the endpoint says.
    Answer(A),
    /// Nobody knows.
    Unavailable,
}

/// See the module.
pub struct Desk<Q, C, A> {
    settings: Settings,
    breaker: Breaker,
    accepted: Cache<A>,
    refused: Cache<A>,
    open: HashMap<Credential, Open<Q, C>>,
    /// Those of the open that are not asked, in the order in which they came.
    line: VecDeque<Credential>,
    in_flight: usize,
    waiting: usize,
    hits: u64,
    orders: Vec<Order<Q, C, A>>,
}

/// A question without an answer.
struct Open<Q, C> {
    /// None: it was asked.
    question: Option<Q>,
    /// Who waits, and until when, µs.
    clients: Vec<(C, u64)>,
}

/// The numbers of a desk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Clients that wait.
    pub waiting: usize,
    /// Questions under way.
    pub in_flight: usize,
    /// Answers that are kept.
    pub kept: usize,
    /// How often one of them was used, since the start.
    pub hits: u64,
}

impl<Q, C, A: Clone> Desk<Q, C, A> {
    /// Nothing is asked.
    pub fn new(settings: Settings, breaker: Breaker) -> Self {
        Self {
            settings,
            breaker,
            accepted: Cache::new(settings.cache),
            refused: Cache::new(settings.cache.div_ceil(REFUSALS_SHARE)),
            open: HashMap::new(),
            line: VecDeque::new(),
            in_flight: 0,
            waiting: 0,
            hits: 0,
            orders: Vec::new(),
        }
    }

    /// A client wants to know by a time, µs.
    pub fn ask(&mut self, now: Now, credential: Credential, question: Q, client: C, until_us: u64) {
        let now_ms = now.millis();
        let kept = self.accepted.find(now_ms, &credential).or_else(|| self.refused.find(now_ms, &credential));
        if let Some(answer) = kept {
            self.hits += 1;
            return self.orders.push(Order::Tell(client, Told::Answer(answer)));
        }
        if self.waiting >= self.settings.waiting || until_us <= now.micros {
            return self.tell_unavailable(client);
        }
        if let Some(open) = self.open.get_mut(&credential) {
            open.clients.push((client, until_us));
            self.waiting += 1;
            return;
        }
        // A place in the line is worth something only where the line moves.
        match self.breaker.gate(now_ms, self.in_flight) {
            Gate::Away => self.tell_unavailable(client),
            Gate::Wait => {
                self.enter(credential, Some(question), client, until_us);
                self.line.push_back(credential);
            }
            Gate::Ask(round) => {
                self.enter(credential, None, client, until_us);
                self.in_flight += 1;
                self.orders.push(Order::Ask { credential, round, question });
            }
        }
    }

    /// A question was answered, or not. Each that was asked must end.
    pub fn ended(&mut self, now: Now, credential: Credential, round: u64, end: Result<Reply<A>, Failure>) {
        let now_ms = now.millis();
        self.in_flight = self.in_flight.saturating_sub(1);
        let is_failure = matches!(end, Err(Failure::Theirs));
        let change = self.breaker.ended(now_ms, round, is_failure);
        let told = match end {
            Ok(reply) => {
                self.keep(now_ms, credential, &reply);
                Told::Answer(reply.answer)
            }
            Err(_) => Told::Unavailable,
        };
        let clients = self.open.remove(&credential).map(|open| open.clients).unwrap_or_default();
        self.waiting -= clients.len();
        self.orders.extend(clients.into_iter().map(|(client, _)| Order::Tell(client, told.clone())));
        if let Some(change) = change {
            self.orders.push(Order::Say(change));
            if matches!(change, Change::Opened(_)) {
                self.send_away();
            }
        }
        self.advance(now);
    }

    /// Asks what may be asked now, and gives up on what has waited for too long.
    pub fn advance(&mut self, now: Now) {
        while let Some(&credential) = self.line.front() {
            let Some(open) = self.open.get_mut(&credential) else {
                self.line.pop_front();
                continue;
            };
            let late = open.clients.extract_if(.., |(_, until_us)| *until_us <= now.micros);
            let late: Vec<C> = late.map(|(client, _)| client).collect();
            let is_left = open.clients.is_empty();
            self.waiting -= late.len();
            late.into_iter().for_each(|client| self.tell_unavailable(client));
            if is_left {
                self.open.remove(&credential);
                self.line.pop_front();
                continue;
            }
            let Gate::Ask(round) = self.breaker.gate(now.millis(), self.in_flight) else { return };
            self.line.pop_front();
            let question = self.open.get_mut(&credential).and_then(|open| open.question.take());
            if let Some(question) = question {
                self.in_flight += 1;
                self.orders.push(Order::Ask { credential, round, question });
            }
        }
    }

    /// When [`Desk::advance`] has something to do, or the breaker stands differently, unless something happens before, µs.
    pub fn next_us(&self, now: Now) -> Option<u64> {
        let first = self.line.front().and_then(|credential| self.open.get(credential));
        let gives_up_us = first.and_then(|open| open.clients.iter().map(|(_, until_us)| *until_us).min());
        let changes_us = self.breaker.next_ms(now.millis()).map(|ms| ms.saturating_mul(1_000));
        [gives_up_us, changes_us].into_iter().flatten().min()
    }

    /// What is to be done now, in this order.
    pub fn take_orders(&mut self) -> Vec<Order<Q, C, A>> {
        std::mem::take(&mut self.orders)
    }

    /// How the breaker stands.
    pub fn standing(&self, now: Now) -> Standing {
        self.breaker.standing(now.millis())
    }

    /// The numbers.
    pub fn counts(&self) -> Counts {
        let kept = self.accepted.len() + self.refused.len();
        Counts { waiting: self.waiting, in_flight: self.in_flight, kept, hits: self.hits }
    }

    fn enter(&mut self, credential: Credential, question: Option<Q>, client: C, until_us: u64) {
        self.waiting += 1;
        self.open.insert(credential, Open { question, clients: vec![(client, until_us)] });
    }

    /// Whoever has waited in vain is told so now, rather than when it has given up.
    fn send_away(&mut self) {
        for credential in std::mem::take(&mut self.line) {
            let clients = self.open.remove(&credential).map(|open| open.clients).unwrap_or_default();
            self.waiting -= clients.len();
            clients.into_iter().for_each(|(client, _)| self.tell_unavailable(client));
        }
    }

    fn keep(&mut self, now_ms: u64, credential: Credential, reply: &Reply<A>) {
        let (cache, other) = match reply.accepted {
            true => (&mut self.accepted, &mut self.refused),
            false => (&mut self.refused, &mut self.accepted),
        };
        other.forget(&credential);
        cache.keep(now_ms, credential, reply.answer.clone(), reply.life_ms);
    }

    fn tell_unavailable(&mut self, client: C) {
        self.orders.push(Order::Tell(client, Told::Unavailable));
    }
}

#[cfg(test)]
mod tests;
