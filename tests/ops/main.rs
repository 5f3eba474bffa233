//! What operators run, from outside: scripts, balancers, and the commands that look at hosts and fleets.

// The other targets use more of them.
#[allow(dead_code)]
#[path = "../e2e/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../e2e/http.rs"]
mod http;
#[allow(dead_code)]
#[path = "../e2e/node.rs"]
mod node;
#[allow(dead_code)]
#[path = "../e2e/python.rs"]
mod python;
mod simulate;
