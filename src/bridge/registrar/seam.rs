//! What passes between the registrar and those around it: plain values.
//!
//! Owns settings, inputs and actions. Never acts.

use super::changes::Arrived;
use crate::{
    bridge::{
        registry::Answer,
        store::{Output, Place, Request},
    },
    model::{Handle, Protocol, Reason},
};

/// What decides how it behaves. Times in ms.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Life of a lease: a dead node's records are routed to no longer than this.
    pub lease_ttl_ms: u64,
    /// Between renewals: two may be lost before a lease ends.
    pub renew_ms: u64,
    /// How long absence proves nothing after the registry has come back.
    pub freeze_ms: u64,
    /// Connections that the fleet registers again in a second after a loss.
    pub heal_rate: u64,
    /// Connections whose record is not yet what it should be; beyond, all are registered again, and what departs is left
    /// behind.
    pub unsettled_max: usize,
    /// Changes under way at once, and tells.
    pub window: usize,
    /// Users that are asked for at once; beyond, a lookup is answered [`crate::bridge::store::Failure::Down`].
    pub lookups_max: usize,
    /// Displaced connections of other nodes that wait to be told.
    pub tells_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease_ttl_ms: 10_000,
            renew_ms: 3_000,
            freeze_ms: 10_000,
            heal_rate: 20_000,
            unsettled_max: 1 << 20,
            window: 1_024,
            lookups_max: 65_536,
            tells_max: 65_536,
        }
    }
}

/// The connections of this node, as far as healing and truth need them.
pub trait Own {
    /// Whether the connection is there and takes messages.
    fn holds(&self, user: &str, handle: Handle) -> bool;

    /// What is to be told of a connection that is there.
    fn arrived(&self, user: &str, handle: Handle) -> Option<Arrived>;

    /// The connection that has the user's device here.
    fn holder(&self, user: &str, device: &str) -> Option<Arrived>;

    /// Shows at most `max` connections from a place in some order on; the place to go on from, None at the end.
    fn walk(&self, from: u64, max: usize, visit: &mut dyn FnMut(Arrived)) -> Option<u64>;
}

/// What happens.
#[derive(Debug)]
pub enum Input {
    /// The store has an answer, or an event.
    Store(Output),
    /// A connection of this node is there.
    Arrived(Arrived),
    /// A connection of this node is gone. The names are those of its arrival.
    Departed {
        /// Which.
        handle: Handle,
        /// As it arrived.
        user: Box<str>,
        /// As it arrived.
        device: Box<str>,
        /// As it arrived.
        protocol: Protocol,
    },
    /// Where are the user's connections at other nodes? Answered by one [`Action::Found`] with this ticket.
    Lookup {
        /// The caller's own.
        ticket: u64,
        /// Whose.
        user: Box<str>,
        /// Whether only what the registry says from now on will do.
        fresh: bool,
    },
    /// Another node was sure of a connection of this node's. If it is not there, its record goes.
    Lacking {
        /// As the other node had it.
        user: Box<str>,
        /// As the other node had it.
        device: Box<str>,
        /// As the other node had it.
        place: Place,
    },
    /// The end of an [`Action::Tell`].
    Told {
        /// As there.
        place: Place,
        /// Whether the node has answered; if not, it is told again.
        answered: bool,
    },
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// To be submitted to the store, with this id. Where the store is full, its answer is [`crate::bridge::store::Failure::Down`].
    Submit(u64, Request),
    /// A connection of this node does not have its device, but another one elsewhere: it is to be closed, for that reason.
    Close(Handle, Reason),
    /// The node at this address is to be told that its connection is displaced.
    Tell {
        /// The node's, from its lease.
        address: String,
        /// Which connection.
        place: Place,
        /// Whose.
        user: Box<str>,
    },
    /// The answer to a lookup.
    Found {
        /// As asked.
        ticket: u64,
        /// The user's connections at other nodes. None is none: where nothing is known for sure, it is a failure.
        found: Answer,
    },
    /// A later run has this node's name: it leaves.
    StepDown {
        /// The later run.
        incarnation: u64,
    },
}
