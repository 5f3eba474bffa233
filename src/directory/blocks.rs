//! Users kept out for a time (`DELETE /v1/users/{user}?block=10m`).

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Most users blocked at once on a node. When full, the block that ends first gives way.
pub const BLOCKS_MAX: usize = 10_000;

/// The blocked users of one node.
#[derive(Default)]
pub struct Blocks {
    until: Mutex<HashMap<Box<str>, u64>>,
    /// So that a handshake on a node without blocks takes no lock.
    count: AtomicUsize,
}

impl Blocks {
    /// Keeps a user out until a time, ms since 1970.
    pub fn block(&self, user: &str, until_unix_ms: u64, unix_ms: u64) {
        let mut blocks = self.lock();
        blocks.retain(|_, until| *until > unix_ms);
        if blocks.len() >= BLOCKS_MAX && !blocks.contains_key(user) {
            let first = blocks.iter().min_by_key(|(_, until)| **until).map(|(user, _)| user.clone());
            first.map(|user| blocks.remove(&user));
        }
        blocks.insert(user.into(), until_unix_ms);
        self.count.store(blocks.len(), Ordering::Release);
    }

    /// Whether a user is kept out now.
    pub fn is_blocked(&self, user: &str, unix_ms: u64) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.lock().get(user).is_some_and(|until| *until > unix_ms)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Box<str>, u64>> {
        self.until.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_by_itself_and_the_table_is_bounded() {
        let blocks = Blocks::default();
        assert!(!blocks.is_blocked("ann", 0));
        blocks.block("ann", 100, 0);
        assert!(
            blocks.is_blocked("ann", 99) && !blocks.is_blocked("ann", 100) && !blocks.is_blocked("bob", 50)
        );
        for user in 0..=BLOCKS_MAX {
            blocks.block(&user.to_string(), 1_000 + user as u64, 200);
        }
        assert_eq!(blocks.lock().len(), BLOCKS_MAX);
        assert!(!blocks.is_blocked("0", 200), "the block that ends first gave way");
        assert!(blocks.is_blocked("1", 200));
    }
}
