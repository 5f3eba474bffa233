//! Where a node learns which devices of a user are connected, and which nodes there are.
//!
//! Owns the trait that every registry implements. A registry answers from what it knows and never waits: a caller on the
//! path of a message is never held up by a slow store.

mod memory;

pub use memory::MemoryRegistry;

use crate::directory::Route;

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

/// A push registry.
pub trait Registry: Send + Sync + 'static {
    /// Shows every connection known of a user, the newest device first. What it shows is true at that moment: a record
    /// of a dead node or an older incarnation is not shown, and a displaced connection is not.
    fn lookup(&self, user: &str, visit: &mut dyn FnMut(Route<'_>));

    /// The live nodes.
    fn nodes(&self) -> Vec<Lease>;

    /// Renews this node's lease with what has changed.
    fn renew(&self, lease: Lease);

    /// Whether it can be asked.
    fn health(&self) -> Health;
}
