//! One master: what waits for it, and what is in flight.
//!
//! Owns those requests. The thread that carries them is in `carrier.rs`; the keeper takes from both what is overdue.

use super::{
    Address,
    carrier::Carrier,
    fleet::{Fleet, Pending, lock},
    seam::{Event, Full},
    slots::ranges,
};
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex},
    thread,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// The first attempt since the start or since the connection was dropped is under way: requests may wait for it.
    Connecting,
    Up,
    /// The last attempt failed.
    Down,
    /// It has no slots any more, or the store ends.
    Retired,
}

pub(super) struct Queue {
    pub waiting: VecDeque<Pending>,
    pub phase: Phase,
    /// Slots that had another owner before, to be announced once it is up.
    pub gained: Vec<u16>,
}

#[derive(Default)]
pub(super) struct Flight {
    pub pending: VecDeque<Pending>,
    /// The keeper has taken some that were overdue: replies do not line up with the rest any more.
    pub is_condemned: bool,
}

/// See the module.
pub(super) struct Lane {
    pub address: Address,
    pub queue: Mutex<Queue>,
    pub bell: Condvar,
    pub flight: Mutex<Flight>,
}

impl Lane {
    pub(super) fn new(address: Address) -> Self {
        let queue = Queue { waiting: VecDeque::new(), phase: Phase::Connecting, gained: Vec::new() };
        Self { address, queue: Mutex::new(queue), bell: Condvar::new(), flight: Mutex::default() }
    }

    pub(super) fn start(self: Arc<Self>, fleet: Arc<Fleet>) {
        let name = format!("registry {}", self.address);
        let lane = self.clone();
        let carry = move || Carrier::new(lane, fleet).run();
        if thread::Builder::new().name(name).spawn(carry).is_err() {
            // No thread, no master: what waits is answered by the keeper, and the next map brings another lane.
            lock(&self.queue).phase = Phase::Retired;
        }
    }

    /// Queues a request, for which [`Lane::wake`] is to be called. It comes back when the master is down.
    pub(super) fn push(&self, pending: Pending, queue_max: usize) -> Result<Option<Pending>, Full> {
        let mut queue = lock(&self.queue);
        if matches!(queue.phase, Phase::Down | Phase::Retired) {
            return Ok(Some(pending));
        }
        if queue.waiting.len() >= queue_max {
            return Err(Full);
        }
        queue.waiting.push_back(pending);
        Ok(None)
    }

    /// Has the thread carry what waits.
    pub(super) fn wake(&self) {
        let waits = !lock(&self.queue).waiting.is_empty();
        if waits {
            self.bell.notify_one();
        }
    }

    /// Queues a request that has waited already. It comes back when the master is down.
    pub(super) fn push_first(&self, pending: Pending) -> Option<Pending> {
        let mut queue = lock(&self.queue);
        if matches!(queue.phase, Phase::Down | Phase::Retired) {
            return Some(pending);
        }
        queue.waiting.push_front(pending);
        drop(queue);
        self.bell.notify_one();
        None
    }

    pub(super) fn is_up(&self) -> bool {
        lock(&self.queue).phase == Phase::Up
    }

    pub(super) fn has_retired(&self) -> bool {
        self.phase() == Phase::Retired
    }

    /// The slots had another owner before.
    pub(super) fn gain(&self, fleet: &Fleet, slots: Vec<u16>) {
        if slots.is_empty() {
            return;
        }
        let mut queue = lock(&self.queue);
        if queue.phase == Phase::Up {
            drop(queue);
            fleet.announce(Event::Lost { master: self.address.to_string(), slots: ranges(slots) });
        } else {
            queue.gained.extend(slots);
        }
    }

    pub(super) fn retire(&self) {
        lock(&self.queue).phase = Phase::Retired;
        self.bell.notify_one();
    }

    /// Takes the requests whose time is over; true when there are any requests at all. For the keeper.
    pub(super) fn take_overdue(&self, now_us: u64, overdue: &mut Vec<Pending>) -> bool {
        let before = overdue.len();
        let mut queue = lock(&self.queue);
        let mut busy = split_overdue(&mut queue.waiting, now_us, overdue);
        drop(queue);
        let taken_waiting = overdue.len();
        let mut flight = lock(&self.flight);
        busy |= split_overdue(&mut flight.pending, now_us, overdue);
        flight.is_condemned |= overdue.len() > taken_waiting;
        busy || overdue.len() > before
    }

    pub(super) fn phase(&self) -> Phase {
        lock(&self.queue).phase
    }

    /// Changes the phase, unless it is the last one; returns the one before.
    pub(super) fn enter(&self, phase: Phase) -> Phase {
        let mut queue = lock(&self.queue);
        let before = queue.phase;
        if before != Phase::Retired {
            queue.phase = phase;
        }
        before
    }
}

/// Moves those whose time is over; true when others are left.
fn split_overdue(from: &mut VecDeque<Pending>, now_us: u64, overdue: &mut Vec<Pending>) -> bool {
    if from.iter().any(|pending| pending.deadline_us <= now_us) {
        let (late, rest): (VecDeque<_>, VecDeque<_>) =
            from.drain(..).partition(|pending| pending.deadline_us <= now_us);
        overdue.extend(late);
        *from = rest;
    }
    !from.is_empty()
}
