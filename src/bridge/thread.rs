//! The bridge's thread: a small runtime, on which the core takes its turns and the links to other nodes run.
//!
//! Owns waiting, the clock, and the way to the store. Decides nothing: what is to be done is the core's to say.

use super::{
    core::{Bridge, Parts, ToBridge},
    registry::{FleetRegistry, Registry},
    store::{Output, Reply, Request, Store},
};
use crate::{
    clock::Clock,
    directory::{Changed, JOURNAL_MAX, Journal},
    kit::mailbox::{self, Receiver, Sender, Wake},
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::{runtime::Runtime, sync::Notify};

/// Changes, and answers that nobody waits for, are gathered so long before they are looked at: changes are told to the registry
/// many at once, and on a busy node the shards and the store wake the thread a thousand times a second at most for them.
const GATHER: Duration = Duration::from_millis(1);
/// The same while connections come or go at a rate of thousands a second: a change of theirs alone costs Redis, which reads and
/// sleeps in between, half as much again as one of many.
const GATHER_BUSY: Duration = Duration::from_millis(4);
/// So many changes in one gathering are such a rate.
const BUSY_CHANGES: usize = 8;
/// How long the thread goes on telling the registry who has left once the node leaves.
const LEAVE_WITHIN_US: u64 = 2_000_000;
/// Answers of the store taken in one turn.
const OUTPUTS_MAX: usize = 4_096;
/// The id of the request that takes the lease away; the core counts from one.
const LEAVE_ID: u64 = u64::MAX;

/// The runtime of a bridge's thread. Links to other nodes run on it too, once the thread does.
///
/// # Errors
/// When the host has no descriptor for it.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()
}

/// Wakes a thread that waits on a runtime.
#[derive(Default)]
pub(super) struct Bell(Notify);

impl Bell {
    /// Waits until it rings, or has rung since the last time.
    pub(super) async fn rung(&self) {
        self.0.notified().await;
    }
}

impl Wake for Bell {
    fn wake(&self) {
        self.0.notify_one();
    }
}

/// The mailboxes of a bridge, before there is one: the directory and the registry need their ends.
pub struct Mail {
    /// For letters.
    pub sender: Sender<ToBridge>,
    letters: Receiver<ToBridge>,
    changes: Receiver<Changed>,
    urgent: Arc<Bell>,
    changed: Arc<Bell>,
}

impl Mail {
    /// The mailboxes, and the directory's end of the one for changes.
    pub fn new() -> (Self, Journal) {
        let (urgent, changed) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
        let (sender, letters) = mailbox::mailbox(&ToBridge::ROOM, urgent.clone());
        let (journal, changes) = mailbox::mailbox(&[JOURNAL_MAX], changed.clone());
        (Self { sender, letters, changes, urgent, changed }, Journal::new(journal))
    }

    /// The receivers, for the core.
    pub fn split(self) -> (Receiver<ToBridge>, Receiver<Changed>, Bells) {
        (self.letters, self.changes, Bells { urgent: self.urgent, changed: self.changed })
    }
}

/// What wakes the thread.
pub struct Bells {
    urgent: Arc<Bell>,
    changed: Arc<Bell>,
}

/// The running thread.
pub struct BridgeThread {
    mail: Sender<ToBridge>,
    superseded: Arc<AtomicU64>,
    turns: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl BridgeThread {
    /// Starts the thread. `store` is given what it calls with each output.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn spawn(
        runtime: Runtime,
        bells: Bells,
        parts: Parts,
        clock: Clock,
        store: impl FnOnce(Box<dyn Fn(Output) + Send>) -> io::Result<Store>,
    ) -> io::Result<Self> {
        // Bounded by what is asked: each request has one answer, and there are few events.
        let (deliver, outputs) = mpsc::channel();
        let (urgent, changed) = (bells.urgent.clone(), bells.changed.clone());
        let store = store(Box::new(move |output| {
            let bell = if is_waited_for(&output) { &urgent } else { &changed };
            // The thread outlives the store.
            let _ = deliver.send(output);
            bell.wake();
        }))?;
        let mail = parts.sender.clone();
        let superseded = Arc::new(AtomicU64::new(0));
        let turns = Arc::new(AtomicU64::new(0));
        let (node, registry) = (parts.lease.node.as_str().into(), parts.registry.clone());
        let runner = Runner {
            bridge: Bridge::new(parts, clock.now()),
            store,
            outputs,
            bells,
            clock,
            superseded: superseded.clone(),
            turns: turns.clone(),
            node,
            registry,
        };
        let thread = std::thread::Builder::new()
            .name("bridge".into())
            .spawn(move || runtime.block_on(runner.run()))?;
        Ok(Self { mail, superseded, turns, thread })
    }

    /// Turns so far. There is one at least whenever the lease is renewed.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// The run that has this node's name by now, if there is one: this one has to leave.
    pub fn superseded(&self) -> Option<u64> {
        match self.superseded.load(Ordering::Acquire) {
            0 => None,
            incarnation => Some(incarnation),
        }
    }

    /// Tells the registry what is yet to be told, within two seconds, takes the lease away, and waits for the thread.
    pub fn stop(self) {
        // A full lane would be one of leases, and the thread far behind: then the leases end by themselves.
        let _ = self.mail.post(ToBridge::CONTROL, ToBridge::Leave);
        // An error says that the thread has panicked: that was reported.
        let _ = self.thread.join();
    }
}

/// False for what is only written down: that a change was carried out.
fn is_waited_for(output: &Output) -> bool {
    let is_change = |reply: &Reply| matches!(reply, Reply::Connected(_) | Reply::Disconnected { .. });
    !matches!(output, Output::Answer { result: Ok(reply), .. } if is_change(reply))
}

struct Runner {
    bridge: Bridge,
    store: Store,
    outputs: mpsc::Receiver<Output>,
    bells: Bells,
    clock: Clock,
    superseded: Arc<AtomicU64>,
    turns: Arc<AtomicU64>,
    node: Box<str>,
    registry: Arc<FleetRegistry>,
}

impl Runner {
    async fn run(mut self) {
        let mut leaving_since = None;
        let mut gather = GATHER;
        loop {
            let outputs = self.outputs.try_iter().take(OUTPUTS_MAX);
            let store = &self.store;
            let mut submit = |id, request| store.submit_quietly(id, request);
            let turn = self.bridge.turn(self.clock.now(), outputs, &mut submit);
            store.wake();
            self.turns.fetch_add(1, Ordering::Relaxed);
            if turn.changes > 0 {
                gather = if turn.changes < BUSY_CHANGES { GATHER } else { GATHER_BUSY };
            }
            if let Some(incarnation) = turn.superseded {
                self.superseded.store(incarnation, Ordering::Release);
            }
            if turn.leaving {
                let now_us = self.clock.micros();
                let since_us = *leaving_since.get_or_insert(now_us);
                if turn.told_all || now_us - since_us >= LEAVE_WITHIN_US {
                    return self.leave().await;
                }
            }
            if turn.more {
                // The links have their turn too.
                tokio::task::yield_now().await;
            } else {
                self.wait(turn.next_ms, gather).await;
            }
        }
    }

    /// Until there is something to do.
    async fn wait(&self, next_ms: u64, gather: Duration) {
        let left_ms = next_ms.saturating_sub(self.clock.micros() / 1_000);
        tokio::select! {
            () = self.bells.urgent.rung() => {}
            () = tokio::time::sleep(Duration::from_millis(left_ms)) => {}
            () = self.bells.changed.rung() => {
                tokio::select! {
                    () = self.bells.urgent.rung() => {}
                    () = tokio::time::sleep(gather) => {}
                }
            }
        }
    }

    /// Takes the lease away. What is not answered in time is left to the lease's own end.
    async fn leave(self) {
        let incarnation = self.registry.incarnation();
        let leave = Request::RemoveLease { node: self.node.clone(), incarnation };
        if self.store.submit(LEAVE_ID, leave).is_err() {
            return;
        }
        let deadline_us = self.clock.micros() + LEAVE_WITHIN_US;
        while self.clock.micros() < deadline_us {
            let is_answer = |output: &Output| matches!(output, Output::Answer { id: LEAVE_ID, .. });
            if self.outputs.try_iter().any(|output| is_answer(&output)) {
                return;
            }
            self.wait(self.clock.micros() / 1_000 + 50, GATHER).await;
        }
    }
}
