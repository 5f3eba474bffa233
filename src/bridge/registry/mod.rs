//! Where a node learns where a user's other connections are, and which nodes there are.
//!
//! Owns the trait that every registry implements. The node's own connections are not asked of it: the directory knows them.
//! A registry answers from what it knows, or promises an answer; it never waits, so that a caller on the path of a message
//! is never held up by a slow store.

mod fleet;
mod memory;
mod routes;

pub use fleet::{FleetRegistry, View};
pub use memory::MemoryRegistry;
pub use routes::{Cache, Found, Route};

use super::{
    brakes::Told,
    store::{Failure, Place},
};
use futures_channel::oneshot;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// A node's own line in the registry.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Lease {
    /// The node's name.
    pub node: String,
    /// What other nodes call.
    pub address: String,
    /// Free text.
    pub region: String,
    /// Its run; of two with one name the higher is the later.
    pub incarnation: u64,
    /// Connections that it can hold.
    pub capacity: u64,
    /// Connections that it holds.
    pub connections: u64,
    /// Whether it is leaving.
    pub draining: bool,
    /// Its release.
    pub version: String,
    /// What its lanes were told.
    pub lanes: Told,
}

/// Whether a registry can be asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// It has not answered yet.
    Starting,
    /// It answers.
    Ready,
    /// It answered once and does not now; the text names what is wrong.
    Degraded(String),
}

/// What a registry says to a question for a user's connections at other nodes.
pub enum Elsewhere {
    /// There are no other nodes.
    Nowhere,
    /// This is known.
    Known(Arc<Found>),
    /// It has to be asked.
    Asked(Lookup),
}

/// An answer that is under way.
pub struct Lookup(oneshot::Receiver<Answer>);

/// What becomes of a question: nobody can say where the user is while the registry is away.
pub type Answer = Result<Arc<Found>, Failure>;

impl Lookup {
    /// A question, and where its answer goes. Dropped unanswered, it is answered [`Failure::Down`].
    pub fn new() -> (oneshot::Sender<Answer>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }
}

impl Future for Lookup {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(Failure::Down)))
    }
}

/// A push registry.
pub trait Registry: Send + Sync + 'static {
    /// Where other nodes hold connections of a user. `fresh`: what was known before does not count, since it was wrong.
    fn elsewhere(&self, user: &str, fresh: bool) -> Elsewhere;

    /// Another node was sure of a connection which this node lacks: the registry is to forget it.
    fn forget(&self, user: &str, device: &str, place: Place);

    /// This run of the node, by which its records are known.
    fn incarnation(&self) -> u64;

    /// The live nodes.
    fn nodes(&self) -> Vec<Lease>;

    /// Renews this node's lease with what has changed.
    fn renew(&self, lease: Lease);

    /// Whether it can be asked.
    fn health(&self) -> Health;
}
