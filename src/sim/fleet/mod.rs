//! Several nodes, each of real shards with the real bridge core and the real registry, on one clock, on a Redis and on links
//! that lose, delay, repeat and forget.
//!
//! [`node`] is a node that is stepped by hand; [`store`] stands between each node's bridge and the one Redis, [`links`] between
//! the nodes; [`member`] is a client that may come back elsewhere; [`ledger`] knows every push, its outcomes and who heard it;
//! [`plan`] draws what a run is like, [`actions`] what happens in it, `checks` says what must be so, and [`run`] puts them
//! together.

pub mod actions;
mod checks;
pub mod ledger;
pub mod links;
pub mod member;
pub mod node;
pub mod plan;
mod rest;
pub mod run;
pub mod store;
#[cfg(test)]
mod tests;
