//! The registry of a node that is alone: there is nothing beyond the directory but the node's own lease.
//!
//! A connect and a disconnect are one step each under the directory's lock, the newer connection of a device wins, an
//! older one cannot remove it, and nothing outlives the process, so there is nothing to heal.

use super::{Elsewhere, Health, Lease, Registry};
use crate::bridge::store::Place;
use std::sync::{Mutex, PoisonError};

/// See the module.
pub struct MemoryRegistry {
    lease: Mutex<Lease>,
}

impl MemoryRegistry {
    /// A registry of one node.
    pub fn new(lease: Lease) -> Self {
        Self { lease: Mutex::new(lease) }
    }
}

impl Registry for MemoryRegistry {
    fn elsewhere(&self, _: &str, _: bool) -> Elsewhere {
        Elsewhere::Nowhere
    }

    /// Nobody else is there to be sure of anything.
    fn forget(&self, _: &str, _: &str, _: Place) {}

    fn incarnation(&self) -> u64 {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).incarnation
    }

    fn nodes(&self) -> Vec<Lease> {
        vec![self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone()]
    }

    fn renew(&self, lease: Lease) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = lease;
    }

    fn health(&self) -> Health {
        Health::Ready
    }
}
