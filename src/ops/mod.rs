//! What runs beside nodes: it sizes a fleet and says how many nodes it should have.
//!
//! A layer of its own, above the configuration and the sender's HTTP client. Logic is pure, values in and values out; what reads a
//! node, a file or the registry is thin and apart. Never imports the client edge.

pub mod amount;
pub mod autoscale;
pub mod cost;
pub mod size;
