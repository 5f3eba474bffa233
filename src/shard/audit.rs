//! What a simulation may see of a shard, and what must be true of it after every turn. Not part of the server.

use super::{
    SCRATCH_BYTES, Shard,
    net::{Net, Socket},
    table::Entry,
};
use crate::{
    conn::{Phase, flag, lent::Lent, outbox::CONTROL_BYTES_OVER},
    kit::slab::Key,
};

/// What an audit counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Audit {
    /// Connections in any phase.
    pub connections: usize,
    /// Connections that take messages.
    pub takers: usize,
    /// Connections that were accepted and are not gone.
    pub accepted: usize,
    /// Connections that have been lent anything.
    pub lent_to: usize,
    /// Bytes lent.
    pub lent_bytes: usize,
}

impl<N: Net> Shard<N> {
    /// Asserts what must be true after every turn. `watches` says whether the network reports when a socket can be written.
    ///
    /// # Panics
    /// When something is not as it must be.
    pub fn audit(&self, watches: impl Fn(Socket) -> bool) -> Audit {
        assert_eq!(self.wheel.len(), self.table.len(), "each connection has one timer");
        let mut audit = Audit { connections: self.table.len(), ..Audit::default() };
        let mut opening = 0;
        for entry in self.entries() {
            self.audit_entry(entry, &watches);
            let connection = &entry.connection;
            opening += usize::from(connection.phase().waits());
            audit.takers += usize::from(connection.takes_messages());
            audit.accepted += usize::from(connection.is_accepted());
            if let Some(lent) = self.tools.lents.get(connection.lent_ref()) {
                audit.lent_to += 1;
                audit.lent_bytes += held_bytes(lent);
            }
        }
        assert_eq!(self.tools.opening, opening, "handshakes under way");
        let lents = &self.tools.lents;
        assert_eq!((lents.lent_to(), lents.bytes()), (audit.lent_to, audit.lent_bytes), "lent buffers");
        audit
    }

    fn audit_entry(&self, entry: &Entry, watches: impl Fn(Socket) -> bool) {
        let connection = &entry.connection;
        assert!(entry.timer.is_armed(), "each connection has one timer");
        let deadline = connection.deadline(&self.tools);
        // What is due at once is served in the next tick.
        let due = entry.timer.due();
        assert!(!deadline.plus(1).is_before(due), "a deadline that no timer serves: {connection:?}");
        let lent = self.tools.lents.get(connection.lent_ref());
        if connection.takes_messages() {
            let needed = !self.tools.lents.needs_nothing(connection.lent_ref());
            assert_eq!(lent.is_some(), needed, "nothing is lent idly: {connection:?}");
        }
        if !matches!(connection.phase(), Phase::Opening) && connection.phase().waits() {
            let keeps = lent.is_some_and(|lent| !lent.head.is_empty());
            assert!(keeps, "who waits has what he goes on with: {connection:?}");
        }
        let waits = lent.is_some_and(|lent| !lent.outbox.is_empty());
        if connection.is(flag::REGISTERED) {
            assert_eq!(watches(entry.socket), waits, "room is asked for exactly while something waits");
        }
        if let Some(lent) = lent {
            let settings = &self.tools.settings;
            let outbox_max = settings.outbox_bytes.max(lent.outbox.first_bytes());
            // The answer to what a client sent in one read comes on top.
            let answers_max = CONTROL_BYTES_OVER + SCRATCH_BYTES;
            assert!(lent.outbox.waiting_bytes() <= outbox_max + answers_max, "outboxes are bounded");
            assert!(lent.head.len() <= settings.head_bytes + SCRATCH_BYTES, "heads are bounded");
        }
    }

    /// Whether no letter waits, here or for other shards.
    pub fn has_no_letters(&self) -> bool {
        self.mail.is_empty() && self.undelivered.is_empty()
    }

    /// Whether it accepts connections now, rather than wait for descriptors.
    pub fn accepts(&self) -> bool {
        self.accept_after.is_none()
    }

    /// The socket of a connection.
    pub fn socket_of(&self, key: Key) -> Option<Socket> {
        self.table.get(key).map(|entry| entry.socket)
    }

    /// Every connection's socket and phase.
    pub fn phases(&self) -> impl Iterator<Item = (Socket, Phase)> {
        self.entries().map(|entry| (entry.socket, entry.connection.phase()))
    }

    /// Buckets and addresses kept for connections.
    pub fn cold_entries(&self) -> usize {
        self.tools.push_buckets.len() + self.tools.addresses.len()
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        (0..self.table.high_water()).filter_map(|slot| self.table.at(slot))
    }
}

fn held_bytes(lent: &Lent) -> usize {
    let partial = lent.partial.as_ref().map_or(0, |partial| partial.bytes());
    size_of::<Lent>() + lent.head.capacity() + partial + lent.outbox.held_bytes()
}
