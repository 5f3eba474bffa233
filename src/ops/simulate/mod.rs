//! A fleet simulated: lifetimes, deploys, lost nodes, broken networks, scaling.
//!
//! Clients are counted, not kept one by one: a node has as many connections that end at each step, so that a hundred million
//! take seconds. Given rules and a seed, says what happens; reads no clock, does no I/O.

mod balancer;
mod bins;
mod clients;
mod course;
mod law;
mod node;
mod outcome;
pub mod page;
mod rules;
mod scenario;
#[cfg(test)]
mod tests;
pub mod text;
mod words;
mod world;

pub use balancer::Balancing;
pub use law::Law;
pub use outcome::{Curve, Figure, Outcome, Picture, Run};
pub use rules::{Drain, Rules};
pub use scenario::{Lost, Measured, Scenario, Settings};
pub use world::{Row, World};
