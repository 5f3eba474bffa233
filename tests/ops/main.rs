//! What operators run, from outside: scripts, balancers, and the commands that look at hosts and fleets.

mod autoscale;
mod balancers;
mod deploy;
mod doctor;
mod simulate;
mod size;
mod terminal;
mod top;
mod tuning;

// The other targets use more of them.
#[allow(dead_code)]
#[path = "../e2e/client.rs"]
mod client;
#[path = "../e2e/connecters.rs"]
mod connecters;
#[allow(dead_code)]
#[path = "../e2e/http.rs"]
mod http;
#[allow(dead_code)]
#[path = "../e2e/node.rs"]
mod node;
#[allow(dead_code)]
#[path = "../e2e/python.rs"]
mod python;
#[allow(dead_code)]
#[path = "../store/servers.rs"]
mod servers;
