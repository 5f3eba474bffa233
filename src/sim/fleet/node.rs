//! One node of the fleet, on a clock of its own that runs as fast as the fleet's.
//!
//! Owns how its parts are put together, as `server` does, and when its bridge takes a turn, as the bridge's thread does.

use super::{links::Outbox, plan::Plan, processing::Processing};
use crate::{
    bridge::{
        core::{Bridge, Parts, ToBridge},
        format::FORMAT,
        registrar,
        registry::{FleetRegistry, Lease, Registry},
        router::{self, Router},
        store::{Full, Output, Request, node_number},
    },
    directory::{Directory, Journal},
    kit::{mailbox, time::Now},
    sim::{
        net::{Bell, START_UNIX_MS, START_US},
        rig::Rig,
    },
};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The number that each node's name is made of.
pub fn name_of(number: usize) -> String {
    format!("n{number}")
}

/// What is to be known to start a node.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Which node.
    pub number: usize,
    /// How often it was started before.
    pub run: u64,
    /// By the fleet's clock.
    pub now_us: u64,
    /// How far the host's monotonic clock is ahead of the fleet's, beyond where all begin.
    pub ahead_us: u64,
    /// How wrong the host's clock is.
    pub skew_ms: i64,
    pub seed: u64,
}

/// See the module.
pub struct Node {
    pub run: u64,
    pub rig: Rig,
    pub router: Arc<Router>,
    pub registry: Arc<FleetRegistry>,
    pub outbox: Arc<Outbox>,
    /// Where there is a queue.
    pub processing: Option<Processing>,
    /// What its store has delivered.
    pub inbox: VecDeque<Output>,
    bridge: Bridge,
    clock: Arc<AtomicU64>,
    ahead_us: u64,
    urgent: Arc<Bell>,
    changed: Arc<Bell>,
    next_ms: u64,
    more: bool,
}

impl Node {
    pub fn start(plan: &Plan, start: Start) -> Self {
        let name = name_of(start.number);
        let (urgent, changed) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
        let (sender, mail) = mailbox::mailbox(&ToBridge::ROOM, urgent.clone());
        let (entries, changes) = mailbox::mailbox(&[plan.journal], changed.clone());
        let directory = Arc::new(Directory::in_fixed_order(0, Journal::new(entries)));
        let rig = Rig::build_with(&plan.config, plan.letters, start.seed, directory.clone());
        let ahead_us = START_US + start.ahead_us;
        let unix_ms = (START_UNIX_MS + start.now_us / 1_000).saturating_add_signed(start.skew_ms);
        {
            let mut world = rig.world.borrow_mut();
            world.micros = start.now_us + ahead_us;
            world.wall_offset_ms = start.skew_ms - (start.ahead_us / 1_000) as i64;
        }
        let lease = lease_of(&name, unix_ms);
        let clock = Arc::new(AtomicU64::new(start.now_us + ahead_us));
        let registry = {
            let clock = clock.clone();
            let now_ms = move || clock.load(Ordering::Relaxed) / 1_000;
            Arc::new(FleetRegistry::new(sender.clone(), lease.clone(), now_ms))
        };
        let number = node_number(&name);
        let outbox = Arc::new(Outbox::default());
        let router = Arc::new(Router::new(router::Parts {
            directory: directory.clone(),
            registry: registry.clone(),
            peering: Some(outbox.clone()),
            shards: rig.mailboxes.clone(),
            stats: rig.stats.clone(),
            node: number ^ unix_ms,
            number,
        }));
        let parts = Parts {
            settings: registrar::Settings { heal_rate: plan.heal_rate, window: 8, ..Default::default() },
            node: number,
            lease,
            format: FORMAT,
            directory,
            router: router.clone(),
            peering: outbox.clone(),
            registry: registry.clone(),
            mail,
            sender,
            changes,
            stats: rig.stats.clone(),
        };
        let now = rig.world.borrow().now();
        let processing =
            plan.queue.map(|queue| Processing::new(&plan.config, &queue, name, &router, &rig.stats));
        Self {
            run: start.run,
            rig,
            router,
            registry,
            outbox,
            processing,
            inbox: VecDeque::new(),
            bridge: Bridge::new(parts, now),
            clock,
            ahead_us,
            urgent,
            changed,
            next_ms: 0,
            more: false,
        }
    }

    pub fn now(&self) -> Now {
        self.rig.world.borrow().now()
    }

    /// This run, as the registry knows it.
    pub fn incarnation(&self) -> u64 {
        self.registry.incarnation()
    }

    /// The fleet's clock has moved.
    pub fn set_clock(&mut self, now_us: u64) {
        self.rig.world.borrow_mut().micros = now_us + self.ahead_us;
        self.clock.store(now_us + self.ahead_us, Ordering::Relaxed);
    }

    /// When it wants to be woken, by the fleet's clock.
    pub fn wakes_us(&self) -> u64 {
        let processing_ms = self.processing.as_ref().map_or(u64::MAX, |it| it.next_ms);
        let next_ms = self.next_ms.min(processing_ms);
        self.rig.wakes_us().min(next_ms.saturating_mul(1_000)).saturating_sub(self.ahead_us)
    }

    /// Whether its bridge has something to do.
    pub fn is_due(&self) -> bool {
        let has_news = self.urgent.is_rung() || self.changed.is_rung() || !self.inbox.is_empty();
        self.more || has_news || self.now().millis() >= self.next_ms
    }

    /// One turn of the bridge.
    pub fn turn(&mut self, submit: &mut dyn FnMut(u64, Request) -> Result<(), Full>) {
        self.urgent.take();
        self.changed.take();
        let now = self.now();
        let turn = self.bridge.turn(now, self.inbox.drain(..), submit);
        assert_eq!(turn.superseded, None, "no two runs of one node are alive");
        let sleeps = turn.more || turn.next_ms > now.millis();
        assert!(sleeps, "a bridge that waits for nothing but the clock does not sleep: {turn:?}");
        (self.more, self.next_ms) = (turn.more, turn.next_ms);
    }

    /// Whether the registry has been told everything.
    pub fn is_settled(&self) -> bool {
        self.bridge.is_settled()
    }
}

fn lease_of(name: &str, incarnation: u64) -> Lease {
    Lease {
        node: name.to_owned(),
        address: name.to_owned(),
        region: String::new(),
        incarnation,
        capacity: 1_000,
        connections: 0,
        draining: false,
        version: "1".into(),
        lanes: Default::default(),
    }
}
