//! What other nodes hold, as the registry has said a moment ago, and who waits to hear it.
//!
//! Owns the cache: a second at most, never of absence, and nothing that was found stale.

use crate::{
    bridge::store::{Place, Record},
    model::Protocol,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// One connection of a user at another node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Its name.
    pub device: Box<str>,
    /// Where it is.
    pub place: Place,
    /// What it speaks; None: a protocol that this release does not know.
    pub protocol: Option<Protocol>,
    /// When it began, ms since 1970, by the registry's clock.
    pub connected_ms: u64,
    /// When its record's life ends, ms since 1970, by the registry's clock.
    pub expires_ms: u64,
}

impl Route {
    /// As its record says.
    pub fn new(device: Box<str>, record: &Record) -> Self {
        let Record { place, protocol, connected_ms, expires_ms, .. } = *record;
        Self { device, place, protocol, connected_ms, expires_ms }
    }
}

struct Cached {
    routes: Arc<[Route]>,
    at_ms: u64,
}

/// See the module. Times are monotonic ms.
pub struct Cache {
    by_user: HashMap<Box<str>, Cached>,
    /// In the order of their coming; some may be gone or have come anew.
    order: VecDeque<(u64, Box<str>)>,
    life_ms: u64,
    max: usize,
}

impl Cache {
    /// At most `max` users, each for `life_ms`.
    pub fn new(life_ms: u64, max: usize) -> Self {
        Self { by_user: HashMap::new(), order: VecDeque::new(), life_ms, max }
    }

    /// What is known of a user, if it is not too old.
    pub fn get(&self, user: &str, now_ms: u64) -> Option<Arc<[Route]>> {
        let cached = self.by_user.get(user)?;
        (now_ms < cached.at_ms + self.life_ms).then(|| cached.routes.clone())
    }

    /// Keeps what was asked at `at_ms`; absence is not kept.
    pub fn put(&mut self, user: &str, routes: Arc<[Route]>, at_ms: u64) {
        if routes.is_empty() {
            self.evict(user);
            return;
        }
        while self.order.len() >= self.max
            || self.order.front().is_some_and(|(put_ms, _)| put_ms + self.life_ms <= at_ms)
        {
            let Some((put_ms, user)) = self.order.pop_front() else { break };
            if self.by_user.get(&user).is_some_and(|cached| cached.at_ms == put_ms) {
                self.by_user.remove(&user);
            }
        }
        self.by_user.insert(user.into(), Cached { routes, at_ms });
        self.order.push_back((at_ms, user.into()));
    }

    /// It was found stale.
    pub fn evict(&mut self, user: &str) {
        self.by_user.remove(user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kit::slab::Key, model::Handle};

    fn routes(index: u32) -> Arc<[Route]> {
        let place = Place {
            node: 1,
            incarnation: 1,
            connection: Handle { shard: 0, key: Key { index, generation: 1 } },
        };
        [Route { device: "tv".into(), place, protocol: None, connected_ms: 0, expires_ms: 0 }].into()
    }

    #[test]
    fn it_knows_for_a_second_and_never_absence() {
        let mut cache = Cache::new(1_000, 10);
        cache.put("ann", routes(1), 500);
        assert_eq!(cache.get("ann", 1_499), Some(routes(1)));
        assert_eq!(cache.get("ann", 1_500), None);
        cache.put("ann", routes(2), 1_600);
        assert_eq!(cache.get("ann", 1_700), Some(routes(2)));
        cache.put("ann", Vec::new().into(), 1_800);
        assert_eq!(cache.get("ann", 1_800), None);
        cache.put("ann", routes(3), 1_900);
        cache.evict("ann");
        assert_eq!(cache.get("ann", 1_900), None);
    }

    #[test]
    fn it_is_bounded() {
        let mut cache = Cache::new(1_000, 10);
        for user in 0..100 {
            cache.put(&format!("u{user}"), routes(user), 5);
            cache.put("ann", routes(user), 5);
        }
        assert!(cache.by_user.len() <= 10 && cache.order.len() <= 10);
        cache.put("bob", routes(1), 2_000);
        assert_eq!((cache.by_user.len(), cache.order.len()), (1, 1));
    }
}
