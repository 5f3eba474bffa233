//! What an operator asks before and beside a fleet: what a host can hold, what it should be set to.
//!
//! Owns the answers. Never opens a client's connection and never changes a host.

pub mod cost;
pub mod doctor;
pub mod host;
