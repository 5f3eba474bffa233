//! Several nodes, each of real shards with the real bridge core and the real registry, on one clock, on a Redis and on links
//! that lose, delay, repeat and forget.
//!
//! [`node`] is a node that is stepped by hand; [`store`] stands between each node's bridge and the one Redis, [`links`] between
//! the nodes; [`member`] is a client that may come back elsewhere; [`ledger`] knows every push, its outcomes and who heard it;
//! [`plan`] draws what a run is like, [`actions`] what happens in it, `checks` says what must be so, and [`run`] puts them
//! together. A run may have a queue instead of pushes, [`crate::sim::kafka`]: [`processing`] is a node's processor, [`senders`]
//! what is sent and what befalls the queue, [`records`] knows each record, and `judge` hears and checks what processors ask of it.

pub mod actions;
mod checks;
mod judge;
pub mod ledger;
pub mod links;
pub mod member;
pub mod node;
pub mod plan;
pub mod processing;
pub mod records;
mod rest;
pub mod run;
pub mod senders;
pub mod store;
#[cfg(test)]
mod tests;
