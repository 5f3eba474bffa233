//! Who comes and who goes, one event each and in their order, for whoever wants to hear of it.
//!
//! Owns the way from the directory to that listener: a bounded mailbox. What finds no room there is counted and lost: it is
//! news, and nothing that the node works with.

use crate::{
    kit::mailbox::Sender,
    model::{Handle, Protocol},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Events that may wait: two seconds' worth of a busy node's handshakes, some 6 MB.
pub const PRESENCE_MAX: usize = 65_536;

/// A connection has come, or has gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presence {
    /// Whose.
    pub user: Box<str>,
    /// None: it is called by its connection id.
    pub device: Option<Box<str>>,
    /// The connection.
    pub handle: Handle,
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether it has come.
    pub is_online: bool,
}

/// The directory's end of the way, and the count of what was lost on it.
#[derive(Clone)]
pub struct PresenceLog {
    events: Sender<Presence>,
    lost: Arc<AtomicU64>,
}

impl PresenceLog {
    /// A log whose events go to a mailbox of one lane.
    pub fn new(events: Sender<Presence>) -> Self {
        Self { events, lost: Arc::default() }
    }

    /// Events that found no room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn post(&self, event: Presence) {
        if self.events.post(0, event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
