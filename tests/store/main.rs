//! The registry's store against real Redis servers: one, with Sentinels, and a Cluster of six.
//!
//! Each test starts its own servers on free ports in folders of its own, and kills them by their ids.

mod access;
mod client;
mod cluster;
mod conformance;
mod doctor;
mod faults;
mod loss;
// The fleet's tests use more of it.
#[allow(dead_code)]
mod proxy;
mod sentinel;
mod servers;
mod tls;
mod twin;
