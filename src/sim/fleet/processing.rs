//! The processor of one node, and when it takes a turn, as its thread does.

use super::{
    judge::{DEAD_TOPIC, RETRY_MS, STATUS_TOPIC},
    plan::QueuePlan,
    records::PUSH_BYTES,
};
use crate::{
    bridge::{
        Brakes,
        processor::{Intake, Processor, Settings},
        queue::{NoRoom, Output, Request},
        router::Router,
    },
    config::Config,
    kit::{mailbox::Wake as _, time::Now},
    sim::net::Bell,
    stats::NodeStats,
};
use std::{
    sync::Arc,
    task::{Context, Wake, Waker},
};

/// The longest sleep of the thread.
const REST_MS: u64 = 1_000;

/// See the module.
pub struct Processing {
    pub core: Processor,
    pub next_ms: u64,
    router: Arc<Router>,
    ring: Arc<Ring>,
}

/// Outcomes have come.
#[derive(Default)]
struct Ring(Bell);

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}

impl Processing {
    pub fn new(
        config: &Config,
        queue: &QueuePlan,
        node: String,
        router: &Arc<Router>,
        stats: &Arc<NodeStats>,
    ) -> Self {
        let settings = Settings {
            node,
            region: String::new(),
            retry_ms: RETRY_MS,
            status_topic: Some(STATUS_TOPIC.to_owned()),
            dead_letter: queue.has_dead_letters.then(|| DEAD_TOPIC.to_owned()),
            brakes: Arc::new(Brakes::new(&config.lanes)),
            intake: Intake {
                lanes: config.lanes.clone(),
                push_bytes: PUSH_BYTES,
                collapse_seed: Default::default(),
            },
        };
        let core = Processor::new(settings, router.clone(), stats.clone());
        Self { core, next_ms: 0, router: router.clone(), ring: Arc::default() }
    }

    /// Whether it has something to do.
    pub fn is_due(&self, now: Now) -> bool {
        self.ring.0.is_rung() || now.millis() >= self.next_ms
    }

    /// One turn.
    pub fn turn(
        &mut self,
        now: Now,
        outputs: Vec<Output>,
        submit: &mut dyn FnMut(Request) -> Result<(), NoRoom>,
    ) {
        self.ring.0.take();
        // The control thread does so, every second.
        self.router.reap();
        let waker = Waker::from(self.ring.clone());
        let turn = self.core.turn(now, outputs, &mut Context::from_waker(&waker), submit);
        self.next_ms = turn.next_ms.unwrap_or(u64::MAX).min(now.millis() + REST_MS);
    }
}
