//! Real shards on a simulated network and clock: how we know that the edge keeps its rules.
//!
//! Owns nothing of the server, and is not part of it: it is built for tests and for the fuzzer. Everything that a run does
//! follows from its seed, or from the fuzzer's bytes, so that a failure replays.
//!
//! [`net`] is the kernel, with [`faults`]; [`rig`] a node of shards on it that is stepped by hand and checked after each turn;
//! [`wire`] a client's side of the protocols, [`reader`] a strict judge of the server's, [`peer`] a client that has both; [`login`] says who
//! clients are, at once or later;
//! [`ledger`] knows what was sent and who heard it; [`plan`] draws what a run is like, [`actions`] what happens in it, and
//! [`run`] puts them together. [`fleet`] is several such nodes with what connects them, [`redis`] their registry
//! and [`kafka`] their queue.

pub mod actions;
mod checks;
pub mod choices;
pub mod faults;
pub mod fleet;
pub mod kafka;
pub mod ledger;
pub mod login;
pub mod net;
pub mod peer;
pub mod plan;
pub mod reader;
pub mod redis;
pub mod rig;
pub mod run;
#[cfg(test)]
mod tests;
pub mod wire;
