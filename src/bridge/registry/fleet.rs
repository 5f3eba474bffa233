//! The registry that all nodes of a fleet share, as the other threads of a node see it.
//!
//! Owns the routes that were learned a moment ago, and the last look at the fleet. Everything else is asked of the bridge's
//! thread, by letters; nobody waits for room in its mailbox.

use super::{Answer, Cache, Elsewhere, Found, Health, Lease, Lookup, Registry};
use crate::{
    bridge::{core::ToBridge, store::Failure, store::Place},
    kit::{mailbox::Sender, mutant::Mutant},
};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

/// How long a route is believed, ms.
const CACHE_MS: u64 = 1_000;
/// Users whose routes are kept: some 20 MB. When full, those that were learned first go.
const CACHE_MAX: usize = 65_536;

/// What the bridge knows of the fleet, for those who look.
#[derive(Clone, Debug)]
pub struct View {
    /// The nodes that live, this one included.
    pub nodes: Arc<[Lease]>,
    /// Whether the registry can be asked.
    pub health: Health,
}

/// See the module.
pub struct FleetRegistry {
    mail: Sender<ToBridge>,
    cache: Mutex<Cache>,
    view: RwLock<View>,
    incarnation: AtomicU64,
    /// The node's monotonic clock.
    now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl FleetRegistry {
    /// A registry whose questions go to a mailbox with the lanes of [`ToBridge`]. `now_ms` reads the node's monotonic clock.
    pub fn new(
        mail: Sender<ToBridge>,
        lease: Lease,
        now_ms: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let view = View { nodes: [lease].into(), health: Health::Starting };
        let incarnation = AtomicU64::new(view.nodes[0].incarnation);
        let cache = Mutex::new(Cache::new(CACHE_MS, CACHE_MAX));
        Self { mail, cache, view: RwLock::new(view), incarnation, now_ms: Box::new(now_ms) }
    }

    /// What the bridge knows now.
    pub fn set_view(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
    }

    /// The registry knows this run by that number.
    pub fn set_incarnation(&self, incarnation: u64) {
        self.incarnation.store(incarnation, Ordering::Release);
    }

    /// Takes in what the registry has said to a question of `asked_ms`, and returns what to answer: where it said nothing,
    /// what was known before, of places that `lives` says may yet be there.
    pub fn learn(&self, user: &str, asked_ms: u64, answer: Answer, lives: &dyn Fn(&Place) -> bool) -> Answer {
        let mut cache = self.cache();
        match answer {
            Ok(found) => {
                cache.put(user, found.clone(), asked_ms);
                Ok(found)
            }
            Err(failure @ (Failure::Misattributed | Failure::Invalid)) => Err(failure),
            Err(failure) => cache.get_old(user, lives).ok_or(failure),
        }
    }

    /// Something may have been lost of late, and nobody has said so before now: what was found until now proves nothing by what
    /// it lacks, and is used only where the registry cannot say more.
    pub fn distrust(&self, now_ms: u64) {
        self.cache().distrust(now_ms);
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> View {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Registry for FleetRegistry {
    fn elsewhere(&self, user: &str, fresh: bool) -> Elsewhere {
        let now_ms = (self.now_ms)();
        let known: Option<Arc<Found>> = match fresh && !Mutant::RouteKeptThoughWrong.is_on() {
            true => {
                self.cache().evict(user);
                None
            }
            false => self.cache().get(user, now_ms),
        };
        if let Some(found) = known {
            return Elsewhere::Known(found);
        }
        let (answer, lookup) = Lookup::new();
        // Without room the letter comes back and is dropped, which answers it: the registry is too slow.
        let _ = self.mail.post(ToBridge::QUESTIONS, ToBridge::Lookup { user: user.into(), fresh, answer });
        Elsewhere::Asked(lookup)
    }

    fn forget(&self, user: &str, device: &str, place: Place) {
        // Without room the record stays until its end, or the next time somebody is sure of it.
        let letter = ToBridge::Forget { user: user.into(), device: device.into(), place };
        let _ = self.mail.post(ToBridge::FORGETS, letter);
    }

    fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    fn nodes(&self) -> Vec<Lease> {
        self.view().nodes.to_vec()
    }

    fn renew(&self, lease: Lease) {
        // The next one comes in seconds.
        let _ = self.mail.post(ToBridge::CONTROL, ToBridge::Lease(lease));
    }

    fn health(&self) -> Health {
        self.view().health
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kit::{
            mailbox::{Wake, mailbox},
            slab::Key,
        },
        model::Handle,
    };

    struct Nobody;

    impl Wake for Nobody {
        fn wake(&self) {}
    }

    #[test]
    fn however_much_is_to_be_forgotten_there_is_room_for_a_lease() {
        let (mail, mut letters) = mailbox(&ToBridge::ROOM, Arc::new(Nobody));
        let lease = Lease {
            node: "a".into(),
            address: "a:1".into(),
            region: String::new(),
            incarnation: 1,
            capacity: 1,
            connections: 0,
            draining: false,
            version: "1".into(),
            lanes: Default::default(),
        };
        let registry = FleetRegistry::new(mail, lease.clone(), || 0);
        let connection = Handle { shard: 0, key: Key { index: 1, generation: 1 } };
        for _ in 0..2 * ToBridge::ROOM[ToBridge::FORGETS] {
            registry.forget("ann", "tv", Place { node: 1, incarnation: 1, connection });
        }
        registry.renew(lease);
        let mut taken = Vec::new();
        letters.take(1, &mut taken);
        assert!(matches!(taken[..], [ToBridge::Lease(_)]), "and it is read first");
    }
}
