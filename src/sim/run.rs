//! One run: a node of real shards, model clients, a sender, an operator and a kernel that misbehaves.
//!
//! A step is one thing that happens, then some turns or some time, then every client's turn, then the checks: what the rig
//! checks after each turn of a shard, what each client checks of every byte, and here what time has to do with.

use super::{
    actions,
    choices::Choices,
    faults::Faults,
    ledger::Ledger,
    peer::Peer,
    plan::Plan,
    rig::{Client, Rig},
};
use crate::{
    bridge::drain::{DrainPhase, DrainStep},
    conn::Phase,
    kit::random::Random,
    model::{Handle, Reason, mail::ToShard},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

/// How long last bytes, or the peer's answer to a close, are waited for, µs.
const CLOSING_US: u64 = 3_000_000;
/// A script takes no more steps than this: what it finds should be short enough to be understood.
const SCRIPT_STEPS_MAX: u64 = 1_000;
/// A timer may be a tick late, a ping jittered, a sender told a tick later, …
const SLACK_US: u64 = 1_000_000;

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
    leaving: Option<(u64, u64)>,
    /// How long no shard has run.
    pub stalled_ms: u64,
    /// When there were few descriptors last.
    scarce_us: u64,
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
        let plan = Plan::draw(&mut choices);
        let rig = Rig::build(&plan.config, plan.letters, seed);
        {
            let mut world = rig.world.borrow_mut();
            world.random = Random::seeded(seed ^ 0x5eed);
            world.faults = plan.faults;
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
        match self.rig.drain.advance(now, open) {
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

    /// What must be so when no shard has anything left to do.
    fn check_rest(&self) {
        let world = self.rig.world.borrow();
        for (index, shard) in self.rig.shards.iter().enumerate() {
            assert!(!shard.accepts() || world.backlog(index) == 0, "nobody waits to be accepted");
            for (socket, phase) in shard.phases() {
                let end = &world.sockets[socket.0 as usize];
                assert!(end.up.is_empty(), "what {socket:?} has sent is read ({phase:?})");
                assert!(end.failed.is_none() && !end.ended, "{socket:?} is known to be gone ({phase:?})");
            }
        }
        let limits = &self.plan.config.limits;
        let used = self.rig.shared.buffers.load(Ordering::Relaxed);
        assert!(used <= limits.buffer_bytes, "{used} bytes of buffers");
        let open = self.rig.shared.open.load(Ordering::Relaxed);
        assert!(open <= limits.connections, "{open} connections");
        if limits.connections_per_user > 0 {
            for user in 0..self.plan.users {
                let mut count = 0;
                self.rig.directory.lookup(&format!("u{user}"), |_| count += 1);
                assert!(count <= limits.connections_per_user, "{count} connections of u{user}");
            }
        }
    }

    /// What must not take longer than it may.
    fn check_times(&mut self) {
        let now_us = self.now_us();
        let slack_us = SLACK_US + 4 * self.plan.stall_max_ms * 1_000;
        let timeout_us = self.plan.config.delivery.timeout_ms * 1_000;
        let mut phases: BTreeMap<usize, Phase> = BTreeMap::new();
        for shard in &self.rig.shards {
            phases.extend(shard.phases().map(|(socket, phase)| (socket.0 as usize, phase)));
        }
        let takes = |number: usize| matches!(phases.get(&number), Some(Phase::Open | Phase::Leaving));
        let rig = &self.rig;
        // Nobody has the number of a connection that was gone before.
        let sent_to = |client: Client| rig.world.borrow().sockets.get(client.0).map_or(0, |end| end.sent);
        self.ledger.check_answered(now_us, timeout_us + slack_us, sent_to, takes);
        for (&number, &phase) in &phases {
            self.check_peer(number, phase, now_us, slack_us);
        }
        let scarce = self.rig.world.borrow().descriptors < 1_000;
        self.scarce_us = if scarce { now_us } else { self.scarce_us };
        let accepts = || self.rig.shards.iter().all(|shard| shard.accepts());
        assert!(now_us <= self.scarce_us + slack_us || accepts(), "it accepts when there are descriptors");
        let drain = self.rig.drain.status();
        let late = drain.elapsed_ms > drain.deadline_ms + slack_us / 1_000;
        assert!(
            !late || matches!(drain.phase, DrainPhase::Done | DrainPhase::Serving),
            "a drain ends on time"
        );
        if let Some((began_us, window_ms)) = self.leaving {
            let asked_us = began_us + window_ms * 1_000 + slack_us;
            let asked = || phases.values().all(|phase| *phase != Phase::Open);
            assert!(now_us < asked_us || asked(), "a drain asks everyone in its window");
            let grace_us = self.rig.grace_us() + self.plan.config.limits.handshake_timeout_ms * 1_000;
            let over_us = asked_us + grace_us + CLOSING_US;
            // Who comes later is refused, and may be slow to hear it.
            let held = || phases.iter().any(|(number, _)| self.accepted_us(*number) < began_us);
            assert!(now_us < over_us || !held(), "a drain leaves nobody behind");
        }
    }

    fn check_peer(&self, number: usize, phase: Phase, now_us: u64, slack_us: u64) {
        let peer = &self.peers[number];
        let age_us = now_us - self.accepted_us(number);
        assert!(
            age_us <= self.plan.life_max_ms() * 1_000 + slack_us,
            "it outlives its life, {age_us} us old: {peer:?}"
        );
        match phase {
            Phase::Opening => {
                let most_us = self.plan.config.limits.handshake_timeout_ms * 1_000 + slack_us;
                assert!(age_us <= most_us, "a handshake takes for ever: {peer:?}");
            }
            Phase::Open | Phase::Leaving => {
                if let Some(expires_us) = peer.expires_us {
                    assert!(now_us <= expires_us + slack_us, "it outlives its token: {peer:?}");
                }
                let quiet_us = now_us - peer.told_us;
                let prompt = peer.manner.is_prompt() && !peer.vanished && phase == Phase::Open;
                assert!(
                    !prompt || quiet_us <= peer.ping_us + slack_us,
                    "not pinged for {quiet_us} us: {peer:?}"
                );
                let silent_us = now_us - peer.said_us.max(self.accepted_us(number));
                let dead = !peer.stream && silent_us > 2 * peer.ping_us + slack_us;
                assert!(!dead, "dead, and held after {silent_us} us: {peer:?}");
            }
            Phase::Closing => {}
        }
    }

    fn accepted_us(&self, number: usize) -> u64 {
        self.rig.world.borrow().sockets[number].accepted_us.unwrap_or_default()
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
