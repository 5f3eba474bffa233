//! The processor's thread: waits for the queue and for outcomes, and lets the core take its turns.
//!
//! Owns the way between queue and core, and the clock. Decides nothing.

use super::{Processor, Settings as CoreSettings};
use crate::{
    bridge::{
        brakes::{Brake, Brakes},
        queue::{self, Event, Invalid, Output, Queue, Request},
        router::Router,
    },
    clock::Clock,
    model::{Lanes, lane::LANES_MAX},
    stats::NodeStats,
};
use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    thread::JoinHandle,
    time::Duration,
};

/// Outcomes are gathered so long before they are looked at: on a busy node shards would wake the thread for each.
const GATHER: Duration = Duration::from_millis(1);
/// The longest sleep.
const REST: Duration = Duration::from_secs(1);
/// Outputs of the queue taken in a turn: a batch of each lane and what has become of reports.
const OUTPUTS_MAX: usize = 256;
/// How long the end waits for what is under way.
const FAREWELL_US: u64 = 2_000_000;

/// What the thread must know.
pub struct Settings {
    /// Of the queue.
    pub queue: queue::Settings,
    /// Of the core.
    pub core: CoreSettings,
}

/// What the core has not yet been told: see [`Processor::set_bounds`].
type Fresh = Mutex<Option<(Lanes, usize)>>;

/// The running thread.
pub struct ProcessorThread {
    queue: Arc<Queue>,
    stats: Arc<NodeStats>,
    bell: Arc<Bell>,
    membership: Arc<Membership>,
    fresh: Arc<Fresh>,
    obeyed: Mutex<[Brake; LANES_MAX]>,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl ProcessorThread {
    /// Starts the queue and the thread. Kafka need not be there yet.
    ///
    /// # Errors
    /// When the queue's settings are refused, or there is no thread left.
    pub fn spawn(
        settings: Settings,
        router: Arc<Router>,
        stats: Arc<NodeStats>,
        clock: Clock,
    ) -> Result<Self, Invalid> {
        // Bounded by what the queue hands over before it hears of outcomes, and by the reports under way.
        let (deliver, outputs) = mpsc::channel();
        let (bell, membership) = (Arc::new(Bell::default()), Arc::new(Membership::default()));
        let (rung, member) = (bell.clone(), membership.clone());
        let queue = Queue::start(&settings.queue, move |output| {
            match &output {
                Output::Assigned { .. } => member.set(true),
                Output::Event(Event::Left) => member.set(false),
                _ => {}
            }
            // The thread may have ended before the queue has.
            let _ = deliver.send(output);
            rung.ring();
        })?;
        let queue = Arc::new(queue);
        let (ends, fresh) = (Arc::new(AtomicBool::new(false)), Arc::new(Fresh::default()));
        let runner = Runner {
            core: Processor::new(settings.core, router, stats.clone()),
            queue: queue.clone(),
            outputs,
            bell: bell.clone(),
            fresh: fresh.clone(),
            ends: ends.clone(),
            clock,
        };
        let thread = std::thread::Builder::new().name("processor".into()).spawn(move || runner.run());
        let thread = thread.map_err(|fault| Invalid::Thread(fault.to_string()))?;
        Ok(Self { queue, stats, bell, membership, fresh, obeyed: Mutex::default(), ends, thread })
    }

    /// Hands everything to the other members of the group, once it has its outcomes.
    pub fn leave(&self) {
        self.submit(Request::Leave);
    }

    /// Takes messages again.
    pub fn join(&self) {
        self.submit(Request::Join);
    }

    /// Whether other members of the group know that this one is not there.
    pub fn has_left(&self) -> bool {
        !self.membership.get()
    }

    /// Waits until this node has a share of the partitions. Says whether it has.
    pub fn wait_for_share(&self, at_most: Duration) -> bool {
        self.membership.wait(at_most)
    }

    /// The lanes' defaults or `limits.push_bytes` have changed.
    pub fn set_bounds(&self, lanes: Lanes, push_bytes: usize) {
        *self.fresh.lock().unwrap_or_else(PoisonError::into_inner) = Some((lanes, push_bytes));
    }

    /// The queue's password has changed.
    pub fn set_password(&self, password: &str) {
        self.queue.set_password(password);
    }

    /// Carries out what has changed in what the lanes are told.
    pub fn obey(&self, lanes: &Lanes, brakes: &Brakes) {
        let mut obeyed = self.obeyed.lock().unwrap_or_else(PoisonError::into_inner);
        for ((lane, config), before) in lanes.iter().zip(obeyed.iter_mut()) {
            let brake = brakes.of(lane);
            // First, so that a lane which goes on goes on behind it.
            if brake.skip_before_ms > before.skip_before_ms {
                let before_ms = i64::try_from(brake.skip_before_ms).unwrap_or(i64::MAX);
                self.submit(Request::Skip { lane, before_ms });
                tracing::warn!(lane = config.name, before_ms, "a lane was told to leave out what is older");
            }
            if brake.paused != before.paused {
                self.submit(if brake.paused { Request::Pause(lane) } else { Request::Resume(lane) });
                self.stats.kafka.set_paused(lane, brake.paused);
                tracing::warn!(
                    lane = config.name,
                    paused = brake.paused,
                    "a lane was told to pause, or to go on"
                );
            }
            *before = brake;
        }
    }

    /// Lets what is under way end, within two seconds, commits what is done, and waits for the thread.
    pub fn stop(self) {
        self.ends.store(true, Ordering::Release);
        self.bell.ring();
        // An error says that the thread has panicked: that was reported.
        let _ = self.thread.join();
    }

    fn submit(&self, request: Request) {
        // Only records to be produced may find no room.
        let _ = self.queue.submit(request);
    }
}

struct Runner {
    core: Processor,
    queue: Arc<Queue>,
    outputs: mpsc::Receiver<Output>,
    bell: Arc<Bell>,
    fresh: Arc<Fresh>,
    ends: Arc<AtomicBool>,
    clock: Clock,
}

impl Runner {
    fn run(mut self) {
        let waker = Waker::from(self.bell.clone());
        let mut ends_us = None;
        loop {
            let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some((lanes, push_bytes)) = fresh {
                self.core.set_bounds(lanes, push_bytes);
            }
            let outputs = self.outputs.try_iter().take(OUTPUTS_MAX);
            let queue = &self.queue;
            let mut submit = |request| queue.submit(request);
            let now = self.clock.now();
            let turn = self.core.turn(now, outputs, &mut Context::from_waker(&waker), &mut submit);
            if self.ends.load(Ordering::Acquire) {
                let until_us = *ends_us.get_or_insert(now.micros + FAREWELL_US);
                if self.core.under_way() == 0 || now.micros >= until_us {
                    return;
                }
            }
            let left_ms = turn.next_ms.map(|at_ms| at_ms.saturating_sub(self.clock.micros() / 1_000));
            let at_most = left_ms.map_or(REST, Duration::from_millis).min(REST);
            let gather = if self.core.is_in_haste() { Duration::ZERO } else { GATHER };
            self.bell.wait(at_most, gather);
        }
    }
}

/// Wakes the thread: at once for what the queue has delivered, a little later for outcomes.
#[derive(Default)]
struct Bell {
    rung: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Default)]
struct Rung {
    at_once: bool,
    soon: bool,
}

impl Bell {
    fn ring(&self) {
        self.set(|rung| &mut rung.at_once);
    }

    /// Who waits is told once: each further time would be a system call for nothing.
    fn set(&self, which: impl FnOnce(&mut Rung) -> &mut bool) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let was_set = std::mem::replace(which(&mut rung), true);
        drop(rung);
        if !was_set {
            self.changed.notify_one();
        }
    }

    fn wait(&self, at_most: Duration, gather: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(rung, at_most, |rung| !rung.at_once && !rung.soon);
        let mut rung = waited.unwrap_or_else(PoisonError::into_inner).0;
        if !rung.at_once && rung.soon && !gather.is_zero() {
            let waited = self.changed.wait_timeout_while(rung, gather, |rung| !rung.at_once);
            rung = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *rung = Rung::default();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.set(|rung| &mut rung.soon);
    }
}

/// Whether this node belongs to the group: from when it was given a share on, until the group knows that it has left.
#[derive(Default)]
struct Membership {
    is_member: Mutex<bool>,
    changed: Condvar,
}

impl Membership {
    fn set(&self, is_member: bool) {
        *self.is_member.lock().unwrap_or_else(PoisonError::into_inner) = is_member;
        self.changed.notify_all();
    }

    fn get(&self) -> bool {
        *self.is_member.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, at_most: Duration) -> bool {
        let is_member = self.is_member.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(is_member, at_most, |is_member| !*is_member);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
