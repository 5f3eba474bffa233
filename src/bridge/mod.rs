//! Between the shards and everything off their threads: routing, registry, broadcasts, the drain.
//!
//! Never imports `shard` or `conn`: it knows connections by their handles and shards by their mailboxes.

pub mod brakes;
pub mod broadcasts;
pub mod callout;
pub mod core;
pub mod drain;
pub mod events;
pub mod format;
pub mod peers;
pub mod processor;
pub mod push;
pub mod queue;
pub mod registrar;
pub mod registry;
pub mod router;
pub mod store;
pub mod thread;

pub use brakes::Brakes;
pub use broadcasts::Broadcasts;
pub use drain::{DrainPhase, DrainStatus, DrainSwitch};
pub use push::{Delivered, Push};
pub use router::{Device, Devices, Router};
