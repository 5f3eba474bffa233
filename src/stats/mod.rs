//! Counters, histograms and the one catalogue of metric names.
//!
//! Cores report events; this layer counts them. A shard writes its own [`ShardStats`] and nobody else's, so that counting
//! costs no locked instruction; everything that belongs to the node as a whole is in [`NodeStats`]. A scrape reads them
//! while they are written: each number is exact, and two numbers may be an instant apart.

mod callout;
pub mod catalogue;
mod cpu;
mod families;
mod fleet;
mod json;
mod kafka;
mod memory;
mod node;
mod render;
mod shard;
mod timing;

pub use callout::{CALLOUT_RESULTS, CalloutState, CalloutStats};
pub use fleet::{FleetStats, PeersState, RegistryState};
pub use kafka::{KafkaStats, REJECTED};
pub use memory::Memory;
pub use node::{BuildInfo, DrainPhase, NodeStats, Pressure, REGISTRY_OPERATIONS, TicketResult};
pub use render::CONTENT_TYPE;
pub use shard::ShardStats;

#[cfg(test)]
mod tests;
