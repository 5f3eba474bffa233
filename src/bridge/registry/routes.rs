//! Where other nodes hold a user's connections, as the registry has said a moment ago.
//!
//! Owns the cache: believed for a second at most, never of absence, and nothing that was found wrong. What is older is kept for
//! the time in which the registry cannot be asked.

use super::Lease;
use crate::{
    bridge::store::{Place, Record},
    kit::mutant::Mutant,
    model::Protocol,
};
use foldhash::fast::RandomState;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// One connection of a user at another node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Its own name, or the connection's id.
    pub device: Box<str>,
    /// Which connection.
    pub place: Place,
    /// What it speaks; None: a protocol that this release does not know.
    pub protocol: Option<Protocol>,
    /// When it began, ms since 1970 by the registry's clock.
    pub connected_ms: u64,
    /// When its bounded life ends, ms since 1970 by the registry's clock.
    pub expires_ms: u64,
    /// The node's name.
    pub node: Arc<str>,
    /// The node's region; may be empty.
    pub region: Arc<str>,
    /// What to call to reach the node.
    pub address: Arc<str>,
}

impl Route {
    /// As its record and its node's lease say.
    pub fn new(device: Box<str>, record: &Record, lease: &Lease) -> Self {
        let Record { place, protocol, connected_ms, expires_ms, .. } = *record;
        let [node, region, address] =
            [&lease.node, &lease.region, &lease.address].map(|text| text.as_str().into());
        Self { device, place, protocol, connected_ms, expires_ms, node, region, address }
    }
}

/// What the registry has said of a user.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Connections at other nodes that live.
    pub routes: Vec<Route>,
    /// Devices whose record names another user: nobody knows where they are.
    pub foreign: Vec<Box<str>>,
    /// There may be others: the registry could not be asked, or absence proves nothing now.
    pub partial: bool,
}

struct Cached {
    found: Arc<Found>,
    at_ms: u64,
}

/// See the module. Times are monotonic ms.
pub struct Cache {
    by_user: HashMap<Box<str>, Cached, RandomState>,
    /// In the order of their coming; some may be gone or have come anew.
    order: VecDeque<(u64, Box<str>)>,
    life_ms: u64,
    max: usize,
    /// What was asked before is not believed.
    since_ms: u64,
}

impl Cache {
    /// At most `max` users, each believed for `life_ms`.
    pub fn new(life_ms: u64, max: usize) -> Self {
        Self { by_user: HashMap::default(), order: VecDeque::new(), life_ms, max, since_ms: 0 }
    }

    /// What is believed.
    pub fn get(&self, user: &str, now_ms: u64) -> Option<Arc<Found>> {
        let cached = self.by_user.get(user)?;
        (now_ms < cached.at_ms + self.life_ms && cached.at_ms >= self.since_ms).then(|| cached.found.clone())
    }

    /// Believes only what is asked from now on.
    pub fn distrust(&mut self, now_ms: u64) {
        self.since_ms = now_ms;
    }

    /// What was believed once, for want of better, as far as it may yet be so.
    pub fn get_old(&self, user: &str, lives: &dyn Fn(&Place) -> bool) -> Option<Arc<Found>> {
        let mut found = Found { partial: true, ..(*self.by_user.get(user)?.found).clone() };
        found.routes.retain(|route| lives(&route.place));
        (!found.routes.is_empty()).then(|| Arc::new(found))
    }

    /// Keeps what was asked at `at_ms`; absence is not kept.
    pub fn put(&mut self, user: &str, found: Arc<Found>, at_ms: u64) {
        if found.routes.is_empty() && !Mutant::AbsenceKept.is_on() {
            self.evict(user);
            return;
        }
        while self.order.len() >= self.max {
            let Some((put_ms, user)) = self.order.pop_front() else { break };
            if self.by_user.get(&user).is_some_and(|cached| cached.at_ms == put_ms) {
                self.by_user.remove(&user);
            }
        }
        self.by_user.insert(user.into(), Cached { found, at_ms });
        self.order.push_back((at_ms, user.into()));
    }

    /// It was found wrong.
    pub fn evict(&mut self, user: &str) {
        self.by_user.remove(user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kit::slab::Key, model::Handle};

    fn found(index: u32) -> Arc<Found> {
        let connection = Handle { shard: 0, key: Key { index, generation: 1 } };
        let route = Route {
            device: "tv".into(),
            place: Place { node: 1, incarnation: 1, connection },
            protocol: None,
            connected_ms: 0,
            expires_ms: 0,
            node: "a".into(),
            region: "".into(),
            address: "a:1".into(),
        };
        Arc::new(Found { routes: vec![route], ..Found::default() })
    }

    #[test]
    fn it_believes_for_a_second_and_never_absence() {
        let mut cache = Cache::new(1_000, 10);
        cache.put("ann", found(1), 500);
        assert_eq!(cache.get("ann", 1_499), Some(found(1)));
        assert_eq!(cache.get("ann", 1_500), None);
        assert!(
            cache.get_old("ann", &|_| true).is_some_and(|found| found.partial && found.routes.len() == 1)
        );
        cache.put("ann", found(2), 1_600);
        assert_eq!(cache.get("ann", 1_700), Some(found(2)));
        cache.put("ann", Arc::default(), 1_800);
        assert_eq!(cache.get("ann", 1_800), None);
        cache.put("ann", found(3), 1_850);
        cache.distrust(1_900);
        assert_eq!(cache.get("ann", 1_900), None, "it may have been asked after a loss");
        assert!(cache.get_old("ann", &|_| true).is_some());
        assert_eq!(cache.get_old("ann", &|_| false), None, "its node is dead");
        cache.put("ann", found(3), 1_900);
        cache.evict("ann");
        assert_eq!((cache.get("ann", 1_900), cache.get_old("ann", &|_| true)), (None, None));
    }

    #[test]
    fn it_is_bounded() {
        let mut cache = Cache::new(1_000, 10);
        for user in 0..100 {
            cache.put(&format!("u{user}"), found(user), 5);
            cache.put("ann", found(user), 5);
        }
        assert!(cache.by_user.len() <= 10 && cache.order.len() <= 10);
    }
}
