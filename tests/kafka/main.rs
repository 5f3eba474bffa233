//! The whole path, from any Kafka client to the devices of a fleet: real brokers, real Redis, the real binary, clients that
//! count what comes, and readers of what the fleet reports. What was produced is compared with what came and what was
//! reported, message by message, whatever is killed, stopped or spoilt meanwhile.
//!
//! Tests that do their broker no harm share one, with topics and a group of their own.

// The other targets use more of them.
#[allow(dead_code)]
#[path = "../queue/brokers.rs"]
mod brokers;
#[allow(dead_code)]
#[path = "../e2e/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../fleet/fleet.rs"]
mod fleet;
#[allow(dead_code)]
#[path = "../e2e/http.rs"]
mod http;
#[allow(dead_code)]
#[path = "../e2e/node.rs"]
mod node;
#[allow(dead_code)]
#[path = "../fleet/registry.rs"]
mod registry;
#[allow(dead_code)]
#[path = "../store/servers.rs"]
mod servers;
#[allow(dead_code)]
#[path = "../fleet/traffic.rs"]
mod traffic;

mod brakes;
mod chaos;
mod embedded;
mod kills;
mod lanes;
mod load;
mod outages;
mod poison;
mod presence;
mod reader;
mod regions;
mod rehearsal;
mod site;
mod steady;
mod tls;
mod topics;
mod verdict;
