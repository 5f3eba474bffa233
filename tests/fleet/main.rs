//! Fleets of the real binary, with real Redis servers between the nodes, from outside.
//!
//! Each test starts nodes and servers of its own on free ports, and kills by their ids only what it has started. Nodes,
//! clients and servers are those of the other targets.

// The other targets use more of them.
#[allow(dead_code)]
#[path = "../e2e/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../e2e/http.rs"]
mod http;
#[path = "../e2e/namespace.rs"]
mod namespace;
#[allow(dead_code)]
#[path = "../e2e/node.rs"]
mod node;
#[allow(dead_code)]
#[path = "../store/proxy.rs"]
mod proxy;
#[allow(dead_code)]
#[path = "../store/servers.rs"]
mod servers;

mod chaos;
mod conformance;
mod fleet;
mod herd;
mod links;
mod nodes;
mod outages;
mod partition;
mod registry;
// The tests with Kafka use more of it.
#[allow(dead_code)]
mod traffic;
mod verdict;
mod versions;
mod wall;
