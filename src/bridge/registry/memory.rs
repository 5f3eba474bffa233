//! The registry of a node that is alone: the directory itself, and one lease.
//!
//! A connect and a disconnect are one step each under the directory's lock, the newer connection of a device wins, an
//! older one cannot remove it, and nothing outlives the process, so there is nothing to heal.

use super::{Health, Lease, Registry};
use crate::directory::{Directory, Route};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module.
pub struct MemoryRegistry {
    directory: Arc<Directory>,
    lease: Mutex<Lease>,
}

impl MemoryRegistry {
    /// A registry that shows what `directory` holds.
    pub fn new(directory: Arc<Directory>, lease: Lease) -> Self {
        Self { directory, lease: Mutex::new(lease) }
    }
}

impl Registry for MemoryRegistry {
    fn lookup(&self, user: &str, visit: &mut dyn FnMut(Route<'_>)) {
        self.directory.lookup(user, visit);
    }

    fn nodes(&self) -> Vec<Lease> {
        vec![self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone()]
    }

    fn renew(&self, lease: Lease) {
        let mut held = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        // Of two runs with one name the later stays.
        if lease.incarnation >= held.incarnation {
            *held = lease;
        }
    }

    fn health(&self) -> Health {
        Health::Ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        directory::Arrival,
        kit::slab::Key,
        model::{Handle, Protocol},
    };

    fn lease(incarnation: u64, connections: u64) -> Lease {
        Lease {
            node: "a".into(),
            address: "127.0.0.1:1".into(),
            region: String::new(),
            incarnation,
            capacity: 10,
            connections,
            draining: false,
            version: "1".into(),
        }
    }

    #[test]
    fn it_shows_the_directory_and_keeps_the_lease_of_the_later_run() {
        let directory = Arc::new(Directory::new(0));
        let registry = MemoryRegistry::new(directory.clone(), lease(2, 0));
        let handle = Handle { shard: 0, key: Key { index: 7, generation: 1 } };
        let arrival = Arrival {
            user: "ann",
            device: Some("tv"),
            handle,
            protocol: Protocol::Sse,
            connected_unix_s: 1,
            expires_unix_s: 2,
        };
        directory.register(&arrival).unwrap();
        let mut seen = Vec::new();
        registry.lookup("ann", &mut |route| seen.push(route.handle));
        assert_eq!(seen, [handle]);
        registry.renew(lease(1, 99));
        assert_eq!(registry.nodes(), [lease(2, 0)]);
        registry.renew(lease(2, 5));
        assert_eq!(registry.nodes(), [lease(2, 5)]);
        assert_eq!(registry.health(), Health::Ready);
    }
}
