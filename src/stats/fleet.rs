//! What the node counts of the registry and of other nodes.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// How the registry is, as the bridge saw it last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegistryState {
    /// Whether it can be asked.
    pub up: bool,
    /// Nodes that live, this one included.
    pub nodes: u64,
    /// Connections whose record is not yet what it should be.
    pub unsettled: u64,
    /// Whether connections are being registered again.
    pub healing: bool,
    /// Changes that found no room in the journal, since the start.
    pub deferred: u64,
    /// Records that named another user, since the start.
    pub foreign: u64,
}

impl Default for RegistryState {
    /// A node that is alone.
    fn default() -> Self {
        Self { up: true, nodes: 1, unsettled: 0, healing: false, deferred: 0, foreign: 0 }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct FleetStats {
    state: Mutex<RegistryState>,
    dropped: AtomicU64,
    losses: AtomicU64,
    peers: Mutex<PeersState>,
}

/// How the links to other nodes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PeersState {
    /// Links with a connection.
    pub up: u64,
    /// Messages that are not answered.
    pub in_flight: u64,
    /// Messages answered, since the start.
    pub answered: u64,
    /// Messages that ended without an answer, since the start.
    pub failed: u64,
}

impl FleetStats {
    /// How the registry is now.
    pub fn set_registry(&self, state: RegistryState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// How the registry was seen last.
    pub fn registry(&self) -> RegistryState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the links are now.
    pub fn set_peers(&self, state: PeersState) {
        *self.peers.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// How the links were seen last.
    pub fn peers(&self) -> PeersState {
        *self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to the registry was dropped.
    pub fn registry_dropped(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    /// The registry has, or may have, lost writes.
    pub fn registry_lost(&self) {
        self.losses.fetch_add(1, Relaxed);
    }

    /// Connections to the registry that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// How often the registry may have lost writes.
    pub fn losses(&self) -> u64 {
        self.losses.load(Relaxed)
    }
}
