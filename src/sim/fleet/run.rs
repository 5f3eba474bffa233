//! One run of a fleet: nodes, clients that move between them, senders, and everything that goes wrong.
//!
//! A step is one thing that happens, then some turns or some time. Whenever the fleet has done all that it can do at one
//! moment of its clock, clients have read everything, and what `checks` says is so.

use super::{
    actions, checks,
    ledger::Ledger,
    links::Links,
    member::{Member, News},
    node::{Node, Start},
    plan::Plan,
    senders::Queue,
    store::Stores,
};
use crate::{kit::random::Random, model::Outcome, sim::choices::Choices};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

/// Rounds within which a fleet that is left alone must come to rest, at one moment of its clock.
const ROUNDS_MAX: usize = 1_000;
/// The clock moves by whole ms, and by no more than this at a time.
const TICK_US: u64 = 1_000;
const TICKS_MAX_US: u64 = 100_000;
/// The fleet's clock begins late enough that "half a minute ago" is never before zero.
pub const START_US: u64 = 100_000_000;

/// A node's place in the fleet, whether there is a node or not.
#[derive(Default)]
pub struct Slot {
    pub node: Option<Node>,
    /// It takes no turn until then.
    pub paused_until_us: u64,
    /// How often it was started.
    pub runs: u64,
    /// When it was last dead, paused or cut off from anybody.
    pub troubled_us: u64,
    /// When it last had no lease.
    pub unleased_us: u64,
    /// Incarnations of earlier runs, and when each ended.
    pub ended: Vec<(u64, u64)>,
}

impl Slot {
    /// Whether there is a node that takes turns.
    pub fn is_awake(&self, now_us: u64) -> bool {
        self.node.is_some() && self.paused_until_us <= now_us
    }
}

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// A sum over every byte that every client heard: two runs of one seed agree.
    pub digest: u64,
    pub steps: u64,
    pub connections: usize,
    pub messages: usize,
    /// Simulated time, ms.
    pub ms: u64,
    /// Connections that were told that another has their device.
    pub displaced: u64,
    /// Messages that were given to another node.
    pub routed: u64,
    /// Messages of the queue that a connection has heard again.
    pub repeats: u64,
    /// How often each outcome of a message came.
    pub outcomes: BTreeMap<&'static str, u64>,
}

/// See the module.
pub struct Fleet {
    pub choices: Choices,
    pub plan: Plan,
    pub slots: Vec<Slot>,
    pub stores: Stores,
    pub links: Links,
    pub ledger: Ledger,
    /// Every client there ever was.
    pub members: Vec<Member>,
    /// Those whose connection is not over.
    pub active: BTreeSet<usize>,
    pub now_us: u64,
    pub report: Report,
    /// When whose device comes back elsewhere, as it was asked to.
    pub returning: BTreeSet<(u64, usize)>,
    /// Since when Redis is away or slow.
    pub redis_since_us: u64,
    /// Where messages come from, if not from the nodes' ports.
    pub queue: Option<Queue>,
    seed: u64,
}

/// Runs a seed for so many steps.
///
/// # Panics
/// When something is not as it must be.
pub fn run_seed(seed: u64, steps: u64) -> Report {
    run(Fleet::new(seed), steps)
}

/// The same with a queue.
///
/// # Panics
/// As above.
pub fn run_seed_with_queue(seed: u64, steps: u64) -> Report {
    run(Fleet::with_queue(seed), steps)
}

fn run(mut fleet: Fleet, steps: u64) -> Report {
    for _ in 0..steps {
        fleet.step();
    }
    fleet.finish()
}

impl Fleet {
    pub fn new(seed: u64) -> Self {
        let mut choices = Choices::seeded(seed);
        let plan = Plan::draw(&mut choices);
        Self::with(seed, choices, plan)
    }

    pub fn with_queue(seed: u64) -> Self {
        let mut choices = Choices::seeded(seed);
        let plan = Plan::draw_with_queue(&mut choices);
        Self::with(seed, choices, plan)
    }

    fn with(seed: u64, choices: Choices, plan: Plan) -> Self {
        let mut random = Random::seeded(seed ^ 0xf1ee7);
        let mut fleet = Self {
            stores: Stores::new(plan.slots(), plan.store, random.fork()),
            links: Links::new(plan.links, random.fork()),
            slots: (0..plan.slots()).map(|_| Slot::default()).collect(),
            queue: plan.queue.map(|queue| Queue::new(queue, plan.slots(), random.fork())),
            choices,
            plan,
            ledger: Ledger::default(),
            members: Vec::new(),
            active: BTreeSet::new(),
            now_us: START_US,
            report: Report::default(),
            returning: BTreeSet::new(),
            redis_since_us: 0,
            seed,
        };
        (0..fleet.slots.len()).for_each(|at| fleet.start(at));
        fleet
    }

    /// Starts a node, for the first time or again.
    pub fn start(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        slot.runs += 1;
        let start = Start {
            number: at,
            run: slot.runs,
            now_us: self.now_us,
            ahead_us: self.choices.below(100_000_000),
            skew_ms: self.choices.below(120_000) as i64 - 60_000,
            seed: self.seed.wrapping_add(slot.runs << 8 | at as u64),
        };
        slot.node = Some(Node::start(&self.plan, start));
        slot.paused_until_us = 0;
        slot.troubled_us = self.now_us;
        self.stores.join(at);
        if let Some(queue) = &mut self.queue {
            queue.start(at, start.run, self.now_us);
        }
    }

    /// A node is gone from one moment to the next, with all its connections.
    pub fn kill(&mut self, at: usize) {
        self.attend();
        let Some(node) = self.slots[at].node.take() else { return };
        self.slots[at].ended.push((node.incarnation(), self.now_us));
        if let Some(queue) = &mut self.queue {
            queue.kafka.kill(at);
        }
        let members = &mut self.members;
        self.active.retain(|&number| {
            let member = &mut members[number];
            if member.at == at && member.is_there() {
                // Its client finds out, and goes elsewhere.
                self.returning.insert((self.now_us + 1_000_000 + self.choices.below(4_000_000), number));
            }
            if member.at == at {
                member.over_us.get_or_insert(self.now_us);
            }
            member.at != at
        });
    }

    pub fn step(&mut self) {
        self.report.steps += 1;
        actions::act(self);
        match self.choices.below(8) {
            // One turn of one shard, or of one bridge, in the middle of whatever.
            0 => {
                let at = self.choices.below(self.slots.len() as u64) as usize;
                if self.slots[at].is_awake(self.now_us)
                    && let Some(node) = &mut self.slots[at].node
                {
                    let shard = self.choices.below(node.rig.shards.len() as u64) as usize;
                    node.rig.turn(shard);
                }
            }
            1 => {
                let at = self.choices.below(self.slots.len() as u64) as usize;
                self.turn_bridge(at);
            }
            2 => self.settle(),
            3 if self.queue.is_some() => {
                let at = self.choices.below(self.slots.len() as u64) as usize;
                let outputs_max = self.choices.below(4) as usize;
                self.turn_processor(at, outputs_max);
            }
            _ => {
                let most_us = self.choices.pick(&[5_000, 100_000, 700_000, 2_000_000]);
                let us = self.choices.below(most_us);
                self.pass_us(us);
            }
        }
        self.check_times();
    }

    /// Time passes: everybody sleeps no longer than they may.
    pub fn pass_us(&mut self, us: u64) {
        let end_us = self.now_us + us;
        loop {
            self.settle();
            if self.now_us >= end_us {
                return;
            }
            let next_us = self.next_us().div_ceil(TICK_US).saturating_mul(TICK_US);
            self.now_us = next_us
                .clamp(self.now_us + TICK_US, self.now_us + TICKS_MAX_US)
                .min(end_us.max(self.now_us + 1));
            for node in self.slots.iter_mut().filter_map(|slot| slot.node.as_mut()) {
                node.set_clock(self.now_us);
            }
        }
    }

    fn next_us(&self) -> u64 {
        let awake = self.slots.iter().filter(|slot| slot.is_awake(self.now_us));
        let nodes_us = awake.filter_map(|slot| slot.node.as_ref()).map(Node::wakes_us).min();
        let paused = self.slots.iter().map(|slot| slot.paused_until_us);
        let pauses_us = paused.filter(|&until_us| until_us > self.now_us).min();
        let members_us = self.active.iter().map(|&number| self.members[number].wakes_us()).min();
        let returns_us = self.returning.first().map(|&(at_us, _)| at_us);
        let some = [nodes_us, pauses_us, members_us, returns_us].into_iter().flatten();
        let queue_us = self.queue.as_ref().map_or(u64::MAX, |queue| queue.kafka.next_us(self.now_us));
        some.min()
            .unwrap_or(u64::MAX)
            .min(self.stores.next_us())
            .min(self.links.next_us(self.now_us))
            .min(queue_us)
    }

    /// All that can be done now is.
    pub fn settle(&mut self) {
        self.note_trouble();
        for _ in 0..ROUNDS_MAX {
            if !self.round() {
                return;
            }
        }
        panic!("the fleet does not come to rest");
    }

    fn round(&mut self) -> bool {
        let mut any = false;
        let (now_us, slots) = (self.now_us, &mut self.slots);
        let awake: Vec<bool> = slots.iter().map(|slot| slot.is_awake(now_us)).collect();
        self.stores.advance(
            now_us,
            |at| awake[at],
            |at, run, output| {
                let node = slots[at].node.as_mut().filter(|node| run.is_none_or(|run| run == node.run));
                if let Some(node) = node {
                    node.inbox.push_back(output);
                    any = true;
                }
            },
        );
        any |= self.links.advance(now_us, slots);
        if let Some(queue) = &mut self.queue {
            any |= queue.kafka.advance(now_us, |at| awake[at]);
        }
        for at in (0..awake.len()).filter(|&at| awake[at]) {
            if let Some(node) = &mut self.slots[at].node {
                any |= node.rig.settle();
            }
            if self.slots[at].node.as_ref().is_some_and(Node::is_due) {
                self.turn_bridge(at);
                any = true;
            }
            if self.is_processing_due(at) {
                self.turn_processor(at, usize::MAX);
                any = true;
            }
            self.take_frames(at);
        }
        any |= self.attend();
        any |= self.come_back();
        any |= self.hear_outcomes();
        any
    }

    fn turn_bridge(&mut self, at: usize) {
        let now_us = self.now_us;
        if !self.slots[at].is_awake(now_us) {
            return;
        }
        let Some(node) = &mut self.slots[at].node else { return };
        let (stores, run) = (&mut self.stores, node.run);
        node.turn(&mut |id, request| stores.submit(at, run, id, request, now_us));
    }

    fn take_frames(&mut self, at: usize) {
        let Some(node) = &self.slots[at].node else { return };
        let routed = Cell::new(0);
        let (slots, stores, now_us) = (&self.slots, &self.stores, self.now_us);
        self.links.take(at, node, now_us, |route| {
            routed.set(routed.get() + 1);
            checks::check_route(slots, stores, now_us, at, route);
        });
        self.report.routed += routed.get();
    }

    /// Every client reads what there is. Says whether there was anything.
    pub fn attend(&mut self) -> bool {
        let mut heard: Vec<(usize, News)> = Vec::new();
        let mut news = Vec::new();
        let (members, slots, choices) = (&mut self.members, &self.slots, &mut self.choices);
        let before = self.active.len();
        self.active.retain(|&number| {
            let member = &mut members[number];
            let Some(node) = slots[member.at].node.as_ref().filter(|node| node.run == member.run) else {
                return false;
            };
            let closed = member.attend(node, self.now_us, choices, &mut news);
            heard.extend(news.drain(..).map(|news| (number, news)));
            !closed
        });
        let any = !heard.is_empty() || before != self.active.len();
        let displaced: Vec<usize> =
            heard.iter().filter(|(_, news)| *news == News::Displaced).map(|(number, _)| *number).collect();
        for (number, news) in heard {
            self.take_news(number, news);
        }
        for number in displaced {
            self.report.displaced += 1;
            self.check_displaced(number);
        }
        any
    }

    fn take_news(&mut self, number: usize, news: News) {
        match news {
            News::Opened | News::Displaced => {}
            News::Message { body, binary } if self.queue.is_some() => self.hear_record(number, &body, binary),
            News::Message { body, binary } => {
                let member = &self.members[number];
                let ear = super::ledger::Ear {
                    member: number,
                    user: &member.user,
                    device: &member.device,
                    stream: member.stream,
                };
                self.ledger.hear(&ear, &body, binary);
            }
            News::Left => {
                let at_us = self.now_us + self.choices.below(2_000_000);
                self.returning.insert((at_us, number));
            }
        }
    }

    /// Who was asked to leave comes back.
    fn come_back(&mut self) -> bool {
        let mut any = false;
        while let Some(&(at_us, number)) = self.returning.first().filter(|(at_us, _)| *at_us <= self.now_us) {
            self.returning.remove(&(at_us, number));
            let member = &self.members[number];
            let who = (member.user.clone(), member.device.clone());
            let at = self.choices.below(self.plan.nodes as u64) as usize;
            any |= self.connect(at, who).is_some();
        }
        any
    }

    /// A client connects to a node, if there is one.
    pub fn connect(&mut self, at: usize, who: (String, String)) -> Option<usize> {
        let node = self.slots[at].node.as_mut()?;
        let member = Member::connect(at, node, who, self.now_us, &mut self.choices);
        self.members.push(member);
        self.active.insert(self.members.len() - 1);
        Some(self.members.len() - 1)
    }

    /// A message to a user's devices, or to one, through a node. Its number.
    pub fn push(&mut self, at: usize, user: &str, device: Option<&str>) -> Option<usize> {
        let node = self.slots[at].node.as_ref()?;
        let number = self.ledger.sent.len();
        let message = self.ledger.message(user, node.now().micros);
        let body = message.body.clone();
        let push = node.router.push(user, device, std::sync::Arc::new(message));
        let to = (user.to_owned(), device.map(str::to_owned));
        self.ledger.add(to, (at, node.run), self.now_us, body, push);
        Some(number)
    }

    fn hear_outcomes(&mut self) -> bool {
        let mut done = Vec::new();
        let (slots, now_us) = (&self.slots, self.now_us);
        // Of a node that is dead nobody hears, but its pushes end too.
        let is_awake = |at: usize, run: u64| slots[at].runs != run || slots[at].paused_until_us <= now_us;
        self.ledger.poll(is_awake, &mut done);
        for one in &done {
            self.check_done(one);
        }
        let any = !done.is_empty();
        for one in done {
            for (_, outcome, _) in &one.devices {
                *self.report.outcomes.entry(outcome.label()).or_default() += 1;
            }
            let number = one.number;
            self.ledger.sent[number].done = Some(one);
        }
        any
    }

    /// Remembers when something was last not as it should be.
    fn note_trouble(&mut self) {
        for (at, slot) in self.slots.iter_mut().enumerate() {
            let is_cut = self.links.cut.iter().any(|&(low, high)| low == at || high == at);
            if !slot.is_awake(self.now_us) || is_cut || self.stores.is_cut_off(at) {
                slot.troubled_us = self.now_us;
            }
            let run = slot.node.as_ref().map_or(0, Node::incarnation);
            if !self.stores.has_lease(at, run, self.now_us) {
                slot.unleased_us = self.now_us;
            }
        }
    }

    /// No more faults: everything settles, and what must be so at rest is.
    pub fn finish(mut self) -> Report {
        if self.queue.is_some() {
            self.rest_with_queue();
        } else {
            self.rest();
        }
        for slot in &mut self.slots {
            if let Some(node) = &mut slot.node {
                node.rig.stop();
            }
        }
        self.attend();
        for told in self.queue.iter().flat_map(|queue| &queue.records.all).flat_map(|made| &made.told) {
            let label = told.outcome.map_or("dead letter", Outcome::label);
            *self.report.outcomes.entry(label).or_default() += 1;
        }
        let digest = self.members.iter().fold(0, |sum: u64, member| sum.rotate_left(5) ^ member.digest);
        Report {
            digest,
            connections: self.members.len(),
            messages: self.ledger.sent.len() + self.queue.as_ref().map_or(0, |queue| queue.records.all.len()),
            repeats: self.queue.as_ref().map_or(0, |queue| queue.records.repeats),
            ms: (self.now_us - START_US) / 1_000,
            ..self.report
        }
    }
}
