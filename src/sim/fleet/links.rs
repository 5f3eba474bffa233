//! The way between nodes: frames that are late, lost, or carried out although nobody hears of it.
//!
//! Owns every frame under way. What a node does with one is the router's to say, as it is for the internal port; an outcome
//! that does not come back in time, or over a link that breaks, is `failed`.

use super::{node::Node, run::Slot};
use crate::{
    bridge::{
        registry::Route,
        router::Peering,
        store::{Place, node_number},
    },
    kit::{
        completion::{Batch, Ticket},
        random::Random,
    },
    model::{Handle, Message, Outcome},
    sim::{faults::Odds, ledger::number_of},
    stats::PeersState,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// How long an answer is waited for: `delivery.timeout` and a second.
pub const DEADLINE_US: u64 = 6_000_000;

/// How often a frame goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct LinkFaults {
    /// Its link breaks, before or after it has arrived.
    pub broken: Odds,
    /// It names a connection of another user, as one from a store that mixes up its replies would.
    pub misnamed: Odds,
    /// It takes longer than others.
    pub slow: Odds,
}

impl LinkFaults {
    pub const NONE: LinkFaults = LinkFaults { broken: Odds::NEVER, misnamed: Odds::NEVER, slow: Odds::NEVER };
}

/// What a node wants of its links.
pub enum Wanted {
    Deliver {
        route: Route,
        user: Box<str>,
        message: Arc<Message>,
        ticket: Ticket<Outcome>,
    },
    Displaced {
        place: Place,
        user: Box<str>,
        answered: Box<dyn FnOnce(bool) + Send>,
    },
    /// These addresses lead nowhere any more.
    Forget(Vec<String>),
}

/// One node's links, as its router and its bridge see them.
#[derive(Default)]
pub struct Outbox {
    wanted: Mutex<Vec<Wanted>>,
    /// Addresses that were asked for.
    known: Mutex<BTreeSet<String>>,
}

impl Outbox {
    pub fn take(&self) -> Vec<Wanted> {
        std::mem::take(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn want(&self, wanted: Wanted) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).push(wanted);
    }

    fn know(&self, address: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(address.to_owned());
    }
}

impl Peering for Outbox {
    fn deliver(&self, route: &Route, user: &str, message: &Arc<Message>, ticket: Ticket<Outcome>) {
        self.know(&route.address);
        let (route, message) = (route.clone(), message.clone());
        self.want(Wanted::Deliver { route, user: user.into(), message, ticket });
    }

    fn displaced(&self, address: &str, place: Place, user: &str, answered: Box<dyn FnOnce(bool) + Send>) {
        self.know(address);
        self.want(Wanted::Displaced { place, user: user.into(), answered });
    }

    fn set_nodes(&self, nodes: &mut dyn Iterator<Item = (&str, u8)>) {
        let live: Vec<&str> = nodes.map(|(address, _)| address).collect();
        let lives = |address: &String| live.contains(&address.as_str());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<String> = known.iter().filter(|address| !lives(address)).cloned().collect();
        known.retain(lives);
        drop(known);
        if !gone.is_empty() {
            self.want(Wanted::Forget(gone));
        }
    }

    fn state(&self) -> PeersState {
        PeersState::default()
    }
}

enum What {
    Delivery {
        device: Box<str>,
        message: Arc<Message>,
        /// Of its life, ms.
        left_ms: Option<u64>,
        ticket: Option<Ticket<Outcome>>,
    },
    Displaced {
        answered: Option<Box<dyn FnOnce(bool) + Send>>,
    },
}

enum State {
    Going {
        arrives_us: u64,
    },
    /// The node has it, and there will be an outcome.
    There(Arc<Batch<Outcome>>),
    Back {
        arrives_us: u64,
        outcome: Outcome,
        done: bool,
    },
}

/// One frame.
struct Carried {
    from: usize,
    to: usize,
    place: Place,
    user: Box<str>,
    what: What,
    state: State,
    /// When nobody waits for its answer any more.
    until_us: u64,
    misnamed: bool,
}

impl Carried {
    fn number(&self) -> Option<usize> {
        match &self.what {
            What::Delivery { message, .. } => number_of(message.body.bytes()),
            What::Displaced { .. } => None,
        }
    }

    fn is_waited_for(&self) -> bool {
        match &self.what {
            What::Delivery { ticket, .. } => ticket.is_some(),
            What::Displaced { answered } => answered.is_some(),
        }
    }

    fn answer(&mut self, outcome: Outcome, done: bool) {
        match &mut self.what {
            What::Delivery { ticket, .. } => ticket.take().into_iter().for_each(|one| one.answer(outcome)),
            What::Displaced { answered } => answered.take().into_iter().for_each(|one| one(done)),
        }
    }
}

/// See the module.
pub struct Links {
    pub faults: LinkFaults,
    /// Pairs of nodes that do not reach each other, the lower first.
    pub cut: BTreeSet<(usize, usize)>,
    /// Messages of which somebody may have heard although their outcome says otherwise.
    pub doubtful: BTreeSet<usize>,
    carried: Vec<Carried>,
    random: Random,
}

impl Links {
    pub fn new(faults: LinkFaults, random: Random) -> Self {
        Self { faults, cut: BTreeSet::new(), doubtful: BTreeSet::new(), carried: Vec::new(), random }
    }

    /// Whether nobody waits for anything.
    pub fn is_idle(&self) -> bool {
        self.carried.is_empty()
    }

    /// When something is due next. What has been due for long waits for something else.
    pub fn next_us(&self, now_us: u64) -> u64 {
        let next_of = |one: &Carried| {
            let waits_us = if one.is_waited_for() { one.until_us } else { u64::MAX };
            match one.state {
                State::Going { arrives_us } | State::Back { arrives_us, .. } if arrives_us > now_us => {
                    arrives_us.min(waits_us)
                }
                State::Going { .. } | State::Back { .. } => waits_us,
                State::There(_) => waits_us,
            }
        };
        self.carried.iter().map(next_of).min().unwrap_or(u64::MAX)
    }

    /// Takes what a node wants. `check` is shown each route that is used.
    pub fn take(&mut self, from: usize, node: &Node, now_us: u64, check: impl Fn(&Route)) {
        for wanted in node.outbox.take() {
            match wanted {
                Wanted::Deliver { route, user, message, ticket } => {
                    check(&route);
                    let device = route.device.clone();
                    let left = |at_ms: u64| at_ms.saturating_sub(node.now().unix_ms);
                    let left_ms = message.expires_unix_ms.map(left);
                    let what = What::Delivery { device, message, left_ms, ticket: Some(ticket) };
                    self.send(from, route.place, user, what, now_us);
                }
                Wanted::Displaced { place, user, answered } => {
                    self.send(from, place, user, What::Displaced { answered: Some(answered) }, now_us);
                }
                Wanted::Forget(addresses) => {
                    let gone = |to| addresses.contains(&super::node::name_of(to));
                    for one in self.carried.iter_mut().filter(|one| one.from == from && gone(one.to)) {
                        one.until_us = now_us;
                    }
                }
            }
        }
    }

    fn send(&mut self, from: usize, place: Place, user: Box<str>, what: What, now_us: u64) {
        let to = (0..).find(|&to| node_number(&super::node::name_of(to)) == place.node);
        let random = &mut self.random;
        let slow = self.faults.slow.strikes(random);
        let delay_us = random.below(if slow { 1_500_000 } else { 5_000 });
        let breaks = self.faults.broken.strikes(random);
        let until_us = now_us + if breaks { random.below(300_000) } else { DEADLINE_US };
        self.carried.push(Carried {
            from,
            to: to.unwrap_or_default(),
            place,
            user,
            what,
            state: State::Going { arrives_us: now_us + delay_us },
            until_us,
            misnamed: self.faults.misnamed.strikes(random),
        });
    }

    /// What is due is done. Says whether there was anything.
    pub fn advance(&mut self, now_us: u64, slots: &mut [Slot]) -> bool {
        let mut any = false;
        for mut one in std::mem::take(&mut self.carried) {
            if one.is_waited_for() && one.until_us <= now_us {
                self.doubtful.extend(one.number());
                one.answer(Outcome::Failed, false);
                any = true;
                // What was written to a link that breaks may arrive all the same.
                if self.random.below(2) == 0 {
                    continue;
                }
            }
            if self.step(&mut one, now_us, slots, &mut any) {
                self.carried.push(one);
            }
        }
        any
    }

    /// Whether the frame is still under way.
    fn step(&mut self, one: &mut Carried, now_us: u64, slots: &mut [Slot], any: &mut bool) -> bool {
        let (low, high) = (one.from.min(one.to), one.from.max(one.to));
        let is_cut = self.cut.contains(&(low, high));
        let is_awake = slots[one.to].is_awake(now_us);
        match &one.state {
            State::Going { arrives_us } if *arrives_us > now_us || is_cut => true,
            State::Going { .. } => {
                let Some(node) = &mut slots[one.to].node else {
                    // Nobody listens there, and the host says so.
                    one.answer(Outcome::Failed, false);
                    *any = true;
                    return false;
                };
                if is_awake {
                    *any = true;
                    one.state = self.arrive(one, node, now_us);
                }
                true
            }
            State::There(batch) => match batch.answer(0) {
                Some(outcome) => {
                    *any = true;
                    if slots[one.to].node.is_none() {
                        self.doubtful.extend(one.number());
                    }
                    let arrives_us = now_us + self.random.below(5_000);
                    one.state = State::Back { arrives_us, outcome, done: false };
                    true
                }
                None => true,
            },
            State::Back { arrives_us, .. } if *arrives_us > now_us || is_cut => true,
            &State::Back { outcome, done, .. } => {
                *any = true;
                one.answer(outcome, done);
                false
            }
        }
    }

    fn arrive(&mut self, one: &Carried, node: &mut Node, now_us: u64) -> State {
        let mut place = one.place;
        if one.misnamed {
            let handles = handles_of_others(node, &one.user);
            let at = self.random.below(handles.len() as u64) as usize;
            place.connection = handles.get(at).copied().unwrap_or(place.connection);
        }
        match &one.what {
            What::Delivery { device, message, left_ms, .. } => {
                let batch = Batch::new(1);
                let mut copy = Message::new(message.lane, message.body.clone(), node.now().micros);
                copy.id = message.id.clone();
                copy.expires_unix_ms = left_ms.map(|left_ms| node.now().unix_ms + left_ms);
                node.router.deliver_of_peer(place, &one.user, device, Arc::new(copy), batch.ticket(0));
                State::There(batch)
            }
            What::Displaced { .. } => {
                let done = node.router.displace_for_peer(place, &one.user);
                let arrives_us = now_us + self.random.below(5_000);
                State::Back { arrives_us, outcome: Outcome::Failed, done }
            }
        }
    }
}

/// Every connection of a node that is not this user's.
fn handles_of_others(node: &Node, user: &str) -> Vec<Handle> {
    let mut handles = Vec::new();
    let mut from = Some(0);
    while let Some(at) = from {
        from = node.rig.directory.walk(at, 1_000, |other, route| {
            if other != user {
                handles.push(route.handle);
            }
        });
    }
    handles
}
