//! Nodes that share a registry, asked one by one and all together.

use crate::{
    node::{Node, Plan},
    registry::{Registry, Row},
};
use std::{
    fmt::Debug,
    thread,
    time::{Duration, Instant},
};

/// What anything may take that has no time of its own: past a lease, a freeze and the pauses between tries.
pub const LONG: Duration = Duration::from_secs(45);
/// Leaving is quick.
pub const SETS: [&str; 4] = [
    "drain.delay=1s",
    "drain.window=500ms",
    "lifetime.grace=500ms",
    "auth.tickets.keys=key-of-tickets-that-all-nodes-have",
];

/// See the module.
pub struct Fleet {
    pub registry: Registry,
    pub nodes: Vec<Node>,
    /// The number of a node that does not answer.
    pub silent: Option<usize>,
}

/// Looks until it sees what is expected; shows what it sees instead.
pub fn expect<T: PartialEq + Debug>(what: &str, within: Duration, expected: &T, mut look: impl FnMut() -> T) {
    let deadline = Instant::now() + within;
    loop {
        let seen = look();
        if seen == *expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{what}, after {within:?}:\n    seen {seen:?}\nexpected {expected:?}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// A node of a fleet.
pub fn plan(id: &str, url: &str, sets: &[&str]) -> Plan {
    Plan::new(&[&SETS, sets].concat()).id(id).registry(url)
}

impl Fleet {
    /// So many nodes, called `node-1` and so on, that know each other.
    pub fn start(registry: Registry, count: usize, sets: &[&str]) -> Self {
        let url = registry.url();
        let urls = vec![url.as_str(); count];
        Self::start_by(registry, &urls, sets)
    }

    /// Nodes that reach the registry by an address each.
    pub fn start_by(registry: Registry, urls: &[&str], sets: &[&str]) -> Self {
        let start = |(at, url): (usize, &&str)| plan(&format!("node-{}", at + 1), url, sets).start();
        let nodes = urls.iter().enumerate().map(start).collect();
        let fleet = Self { registry, nodes, silent: None };
        fleet.wait_whole();
        fleet
    }

    /// A node by its number; the count begins again after the last, so that rules hold for one node too.
    pub fn node(&self, at: usize) -> &Node {
        &self.nodes[at % self.nodes.len()]
    }

    /// All nodes with their numbers.
    pub fn numbered(&self) -> Vec<(usize, &Node)> {
        self.nodes.iter().enumerate().collect()
    }

    /// The nodes that answer.
    pub fn answering(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().enumerate().filter(|(at, _)| self.silent != Some(*at)).map(|(_, node)| node)
    }

    /// Waits until every node that answers is ready and lists all of them.
    pub fn wait_whole(&self) {
        let all: Vec<String> = self.answering().map(|node| node.id.clone()).collect();
        for node in self.answering() {
            expect(&format!("the nodes that {} sees", node.id), LONG, &all, || listed(node));
            expect(&format!("{} to be ready", node.id), LONG, &(200, "ok".to_owned()), || readiness(node));
        }
    }

    /// Waits until every node that answers lists these devices of a user, with the numbers of their nodes, and no others.
    pub fn wait_devices(&self, user: &str, devices: &[(&str, usize)]) {
        let mut wanted: Vec<(String, String)> =
            devices.iter().map(|&(device, at)| (device.to_owned(), self.node(at).id.clone())).collect();
        wanted.sort();
        for node in self.answering() {
            expect(&format!("the devices of {user} by {}", node.id), LONG, &wanted, || {
                devices_of(node, user)
            });
        }
    }

    /// Waits until the registry holds these records, and no others of nodes that live; then looks at the ends of its keys.
    pub fn wait_rows(&self, mut rows: Vec<Row>) {
        if matches!(self.registry, Registry::Memory) {
            return;
        }
        rows.sort();
        expect("the records", LONG, &rows, || self.registry.rows());
        assert_eq!(self.registry.everlasting_keys(), Vec::<String>::new());
    }

    /// A device at a node, as a record says it.
    pub fn row(&self, user: &str, device: &str, at: usize) -> Row {
        (user.to_owned(), device.to_owned(), self.node(at).id.clone())
    }
}

/// The nodes that a node lists, in order.
pub fn listed(node: &Node) -> Vec<String> {
    let answer = node.ask("GET", "/v1/nodes", b"").json();
    let name = |entry: &serde_json::Value| entry["node"].as_str().unwrap().to_owned();
    let mut names: Vec<String> = answer["nodes"].as_array().unwrap().iter().map(name).collect();
    names.sort();
    names
}

/// The status and the reason.
pub fn readiness(node: &Node) -> (u16, String) {
    let answer = node.ask("GET", "/readyz", b"");
    (answer.status, answer.json()["reason"].as_str().unwrap().to_owned())
}

/// The devices that a node lists of a user, and their nodes.
pub fn devices_of(node: &Node, user: &str) -> Vec<(String, String)> {
    let answer = node.ask("GET", &format!("/v1/users/{user}/devices"), b"");
    let value = answer.json();
    let Some(list) = value["devices"].as_array() else { return Vec::new() };
    assert_eq!(answer.status, if list.is_empty() { 404 } else { 200 });
    let text = |entry: &serde_json::Value, key: &str| entry[key].as_str().unwrap().to_owned();
    let mut devices: Vec<_> = list.iter().map(|entry| (text(entry, "device"), text(entry, "node"))).collect();
    devices.sort();
    devices
}

/// What every device of these should get of a message.
pub fn written(devices: &[&str]) -> Vec<(String, String)> {
    devices.iter().map(|&device| (device.to_owned(), "written".to_owned())).collect()
}
