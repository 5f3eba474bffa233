//! One run: a node of real shards, model clients, a sender, an operator and a kernel that misbehaves.
//!
//! A step is one thing that happens, then some turns or some time, then every client's turn, then the checks: what the rig
//! checks after each turn of a shard, what each client checks of every byte, and what `checks` adds.

use super::{
    actions,
    choices::Choices,
    faults::{Faults, Odds},
    ledger::Ledger,
    peer::Peer,
    plan::Plan,
    rig::{Client, Rig},
};
use crate::{
    bridge::drain::DrainStep,
    kit::random::Random,
    model::{Handle, Reason, mail::ToShard},
};
use std::collections::{BTreeMap, BTreeSet};

/// A script takes no more steps than this: what it finds should be short enough to be understood.
const SCRIPT_STEPS_MAX: u64 = 1_000;

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
    /// How often each reason closed a connection or refused a handshake.
    pub reasons: BTreeMap<&'static str, u64>,
    /// How often each outcome of a message came.
    pub outcomes: BTreeMap<&'static str, u64>,
}

/// See the module.
pub struct Simulation {
    pub choices: Choices,
    pub plan: Plan,
    pub rig: Rig,
    pub ledger: Ledger,
    /// Every client there ever was, by its number.
    pub peers: Vec<Peer>,
    /// Clients whose connection is not over.
    pub active: BTreeSet<usize>,
    /// Connections that were found once, and may be gone.
    pub remembered: Vec<Handle>,
    /// Everybody is being asked to leave: since when, and over how long, µs and ms.
    pub leaving: Option<(u64, u64)>,
    /// How long no shard has run.
    pub stalled_ms: u64,
    /// When there were few descriptors last.
    pub scarce_us: u64,
    steps: u64,
    began_us: u64,
}

/// Runs a seed for so many steps.
///
/// # Panics
/// When something is not as it must be.
pub fn run_seed(seed: u64, steps: u64) -> Report {
    run(Choices::seeded(seed), seed, steps)
}

/// Runs what a fuzzer's bytes say: the first two are a seed for what the node itself draws, the others are choices.
///
/// # Panics
/// As [`run_seed`].
pub fn run_script(bytes: &[u8]) -> Report {
    let (seed, script) = bytes.split_at(bytes.len().min(2));
    let seed = seed.iter().fold(0, |seed, &byte| seed << 8 | u64::from(byte));
    run(Choices::script(script), seed, SCRIPT_STEPS_MAX)
}

/// Runs as long as there are choices, at most so many steps.
///
/// # Panics
/// As [`run_seed`].
pub fn run(choices: Choices, seed: u64, steps: u64) -> Report {
    let mut simulation = Simulation::new(choices, seed);
    while simulation.steps < steps && !simulation.choices.is_over() {
        simulation.step();
    }
    simulation.finish()
}

impl Simulation {
    pub fn new(mut choices: Choices, seed: u64) -> Self {
        let plan = Plan::draw(&mut choices, seed);
        let rig = Rig::build(&plan.config, plan.letters, seed);
        {
            let mut world = rig.world.borrow_mut();
            world.random = Random::seeded(seed ^ 0x5eed);
            world.faults = plan.faults;
            // Drawn from the seed, so that scripts keep their meaning.
            world.shared_listeners = seed % 4 == 3;
        }
        let began_us = rig.world.borrow().micros;
        Self {
            choices,
            plan,
            rig,
            ledger: Ledger::default(),
            peers: Vec::new(),
            active: BTreeSet::new(),
            remembered: Vec::new(),
            leaving: None,
            stalled_ms: 0,
            scarce_us: began_us,
            steps: 0,
            began_us,
        }
    }

    pub fn now_us(&self) -> u64 {
        self.rig.world.borrow().micros
    }

    /// One step.
    pub fn step(&mut self) {
        self.steps += 1;
        actions::act(self);
        self.advance_drain();
        self.let_run();
        self.attend();
        self.check_times();
    }

    /// What the server's own thread does several times a second.
    fn advance_drain(&mut self) {
        let (now, open) = (self.rig.world.borrow().now(), self.rig.stats.connections());
        match self.rig.drain.advance(now, open, true) {
            DrainStep::Wait | DrainStep::Finish => {}
            DrainStep::Leave { window_ms } => {
                self.settle();
                self.rig.post_to_all(|| ToShard::Drain { window_ms });
                self.leaving = Some((self.now_us(), window_ms));
            }
            DrainStep::Resume => {
                self.settle();
                self.rig.post_to_all(|| ToShard::CancelDrain);
                self.leaving = None;
            }
        }
    }

    fn let_run(&mut self) {
        match self.choices.below(8) {
            // One turn of one shard, in the middle of whatever.
            0..=2 => {
                let shard = self.choices.below(self.rig.shards.len() as u64) as usize;
                self.rig.turn(shard);
            }
            3..=4 => self.settle(),
            5 => {
                let left_ms = self.plan.stall_max_ms - self.stalled_ms;
                let ms = self.choices.below(left_ms + 1);
                self.rig.stall_ms(ms);
                self.stalled_ms += ms;
            }
            _ => {
                let ms = self.choices.pick(&[10, 100, 700]);
                let ms = self.choices.below(ms);
                self.pass_ms(ms);
            }
        }
    }

    /// Everything that can be done now is.
    pub fn settle(&mut self) {
        self.rig.settle();
        self.stalled_ms = 0;
        self.check_rest();
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.rig.pass_ms(ms);
        self.stalled_ms = 0;
        self.check_rest();
    }

    fn attend(&mut self) {
        for number in self.active.clone() {
            let peer = &mut self.peers[number];
            peer.attend(&self.rig, &mut self.ledger, &mut self.choices);
            if self.rig.is_closed(Client(number)) {
                peer.read_all(&self.rig, &mut self.ledger);
                self.active.remove(&number);
            }
        }
    }

    /// No more faults: what is left ends by itself, everybody reads what was written, and the sums are right.
    pub fn finish(mut self) -> Report {
        {
            let mut world = self.rig.world.borrow_mut();
            world.faults = Faults::NONE;
            world.descriptors = usize::MAX;
            world.events_max = usize::MAX;
        }
        let end_us = self.now_us() + (self.plan.life_max_ms() + 2_000) * 1_000;
        while self.now_us() < end_us {
            // Shorter than it takes to be thought dead.
            self.advance_drain();
            self.pass_ms(1_000);
            self.attend();
            self.check_times();
        }
        assert_eq!(self.rig.connections_at_all(), 0, "connections outlive everything");
        let ms = (self.now_us() - self.began_us) / 1_000;
        self.rig.stop();
        for number in std::mem::take(&mut self.active) {
            self.peers[number].read_all(&self.rig, &mut self.ledger);
        }
        for address in 0..self.plan.addresses {
            let freed = self.rig.shared.addresses.try_enter(actions::address(address), 1);
            assert!(freed, "an address is still counted");
        }
        let cold: usize = self.rig.shards.iter().map(|shard| shard.cold_entries()).sum();
        let broken = self.rig.closes(Reason::ServerError) + self.rig.refusals(Reason::ServerError);
        assert!(broken == 0 || self.plan.faults.full_epoll != Odds::NEVER, "nothing goes wrong by itself");
        assert_eq!(cold, 0, "something is kept of connections that are gone");
        let outcomes = self.ledger.check_all(|client| self.rig.end(client).was_short);
        let reasons = Reason::ALL.into_iter().filter_map(|reason| {
            let count = self.rig.closes(reason) + self.rig.refusals(reason);
            (count > 0).then_some((reason.label(), count))
        });
        let digest = self.peers.iter().fold(0, |sum: u64, peer| sum.rotate_left(5) ^ peer.digest);
        Report {
            digest,
            steps: self.steps,
            connections: self.peers.len(),
            messages: self.ledger.next(),
            ms,
            reasons: reasons.collect(),
            outcomes,
        }
    }
}
