//! What became of what was sent: counts, who waits for the last of it, and who hears of what is dropped.

use super::{Counters, Dropped};
use crate::clock::Clock;
use std::{
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

type OnDropped = Box<dyn Fn(Dropped) + Send + Sync>;

/// See the module. Each message that is entered is settled once.
#[derive(Default)]
pub(super) struct Ledger {
    counts: Mutex<Counters>,
    settled: Condvar,
    on_dropped: OnceLock<OnDropped>,
}

impl Ledger {
    /// From now on this hears of what is dropped. The first one stays.
    pub fn listen(&self, on_dropped: OnDropped) {
        let _ = self.on_dropped.set(on_dropped);
    }

    /// Whether anybody hears of what is dropped.
    pub fn is_heard(&self) -> bool {
        self.on_dropped.get().is_some()
    }

    pub fn enter(&self) {
        let mut counts = self.counts();
        counts.sent += 1;
        counts.in_flight += 1;
    }

    /// One that was entered is not on its way after all.
    pub fn take_back(&self) {
        let mut counts = self.counts();
        counts.sent -= 1;
        self.leave(&mut counts);
    }

    pub fn refuse(&self) {
        self.counts().refused += 1;
    }

    pub fn deliver(&self) {
        let mut counts = self.counts();
        counts.delivered += 1;
        self.leave(&mut counts);
    }

    /// Tells who listens, outside the lock; the message is None where nobody did when it was sent.
    pub fn drop_one(&self, dropped: Option<Dropped>) {
        if let (Some(dropped), Some(on_dropped)) = (dropped, self.on_dropped.get()) {
            on_dropped(dropped);
        }
        let mut counts = self.counts();
        counts.dropped += 1;
        self.leave(&mut counts);
    }

    pub fn counters(&self) -> Counters {
        *self.counts()
    }

    /// Waits until nothing is on its way; how much still is.
    pub fn wait(&self, timeout: Duration) -> u64 {
        let (clock, mut counts) = (Clock::start(), self.counts());
        let until_us = clock.micros().saturating_add(u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX));
        while counts.in_flight > 0 {
            let left_us = until_us.saturating_sub(clock.micros());
            if left_us == 0 {
                break;
            }
            let waited = self.settled.wait_timeout(counts, Duration::from_micros(left_us));
            counts = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        counts.in_flight
    }

    fn leave(&self, counts: &mut Counters) {
        counts.in_flight -= 1;
        if counts.in_flight == 0 {
            self.settled.notify_all();
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counters> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
