//! Message ids that this node has written, so that one message is written once.

use foldhash::fast::RandomState;
use std::{
    collections::{HashMap, VecDeque},
    hash::BuildHasher,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

/// The ids of one node, per user, device and id, for a window and up to a number.
///
/// What is kept is a 64-bit seeded hash: of n remembered ids a new one is mistaken for an old one with probability
/// n / 2^64. The oldest gives way when it is full.
pub struct Dedup {
    seen: Mutex<Seen>,
    seed: RandomState,
    window_ms: AtomicU64,
    max: AtomicUsize,
}

#[derive(Default)]
struct Seen {
    /// Hash to when it was written.
    written_ms: HashMap<u64, u64, RandomState>,
    order: VecDeque<(u64, u64)>,
}

impl Dedup {
    /// Remembers ids for `window_ms`, at most `max` of them.
    pub fn new(window_ms: u64, max: usize) -> Self {
        let (window_ms, max) = (window_ms.into(), max.into());
        Self { seen: Mutex::default(), seed: RandomState::default(), window_ms, max }
    }

    /// Changes the window and the number from now on. What is remembered beyond a smaller number goes as others come.
    pub fn set_bounds(&self, window_ms: u64, max: usize) {
        self.window_ms.store(window_ms, Relaxed);
        self.max.store(max, Relaxed);
    }

    /// The key of a message id for one device.
    pub fn key(&self, user: &str, device: &str, id: &str) -> u64 {
        self.seed.hash_one((user, device, id))
    }

    /// Whether it was written within the window. Times are monotonic ms.
    pub fn is_duplicate(&self, key: u64, now_ms: u64) -> bool {
        let mut seen = self.lock();
        seen.forget(now_ms.saturating_sub(self.window_ms.load(Relaxed)));
        seen.written_ms.contains_key(&key)
    }

    /// Remembers that it was written now.
    pub fn remember(&self, key: u64, now_ms: u64) {
        let max = self.max.load(Relaxed);
        if max == 0 || self.window_ms.load(Relaxed) == 0 {
            return;
        }
        let mut seen = self.lock();
        // Two for one: beyond a number that was made smaller it becomes fewer, and nobody waits for that.
        for _ in 0..2 {
            if seen.order.len() >= max
                && let Some((oldest, at)) = seen.order.pop_front()
            {
                seen.drop_if(oldest, at);
            }
        }
        seen.written_ms.insert(key, now_ms);
        seen.order.push_back((key, now_ms));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Seen {
    fn forget(&mut self, before_ms: u64) {
        while let Some(&(key, at)) = self.order.front()
            && at < before_ms
        {
            self.order.pop_front();
            self.drop_if(key, at);
        }
    }

    /// An id written again later stays until its later time.
    fn drop_if(&mut self, key: u64, at: u64) {
        if self.written_ms.get(&key) == Some(&at) {
            self.written_ms.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_remembered_for_the_window_and_the_number() {
        let dedup = Dedup::new(1_000, 2);
        let key = |id: &str| dedup.key("ann", "tv", id);
        assert_ne!(dedup.key("ann", "tv", "1"), dedup.key("ann", "t", "v1"));
        dedup.remember(key("1"), 0);
        assert!(dedup.is_duplicate(key("1"), 1_000) && !dedup.is_duplicate(key("2"), 0));
        assert!(!dedup.is_duplicate(key("1"), 1_001), "the window is over");
        for (at, id) in ["a", "b", "c"].iter().enumerate() {
            dedup.remember(key(id), 2_000 + at as u64);
        }
        assert!(
            !dedup.is_duplicate(key("a"), 2_002) && dedup.is_duplicate(key("c"), 2_002),
            "the oldest gave way"
        );
        assert!(dedup.lock().order.len() <= 2 && dedup.lock().written_ms.len() <= 2);
    }

    #[test]
    fn other_bounds_count_from_then_on() {
        let dedup = Dedup::new(1_000, 100);
        let key = |id: u64| dedup.key("ann", "tv", &id.to_string());
        (0..100).for_each(|id| dedup.remember(key(id), id));
        dedup.set_bounds(10_000, 10);
        assert!(dedup.is_duplicate(key(99), 5_000), "the window is longer");
        (100..200).for_each(|id| dedup.remember(key(id), id));
        assert_eq!(dedup.lock().order.len(), 10);
        assert!(dedup.is_duplicate(key(199), 5_000) && !dedup.is_duplicate(key(150), 5_000));
    }
}
