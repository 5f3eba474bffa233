//! What an operator runs beside nodes: what a host can hold, how many nodes a fleet needs, what a crowd does to it, and how it is.
//!
//! Judgement is values in, values out; what is read of hosts and nodes is read in one thin place each. Nothing here is part of a
//! running node.

pub mod amount;
pub mod autoscale;
pub mod cost;
pub mod doctor;
pub mod fleet;
pub mod host;
pub mod simulate;
pub mod size;
pub mod top;
