//! Somebody who behaves beside peers that do not, and what these may cost the node.

use crate::{
    client::{Sse, Ws},
    node::Node,
};
use std::fs;

/// What one hostile peer may make the process grow by, in KiB.
const GROWTH_KIB: u64 = 10 * 1_024;

/// A WebSocket and an event stream, connected before the harm begins.
pub struct Bystander {
    pub ws: Ws,
    pub stream: Sse,
    pushes: u32,
}

impl Bystander {
    pub fn of(node: &Node) -> Self {
        Self::with(Ws::user(node, "beside", "ws"), Sse::user(node, "beside", "sse"))
    }

    /// The same, connected otherwise: the devices `ws` and `sse` of the user `beside`.
    pub fn with(ws: Ws, stream: Sse) -> Self {
        Self { ws, stream, pushes: 0 }
    }

    /// Nothing came that is not theirs, and what is pushed to them comes.
    pub fn assert_unaware(&mut self, node: &Node, of: &str) {
        self.pushes += 1;
        let text = format!("still here {}", self.pushes);
        let written = |device: &str| (device.to_owned(), "written".to_owned());
        assert_eq!(node.push("beside/push", &text), (200, vec![written("sse"), written("ws")]), "after {of}");
        assert_eq!(self.ws.text(), text, "after {of}");
        assert_eq!(self.stream.event().data, text, "after {of}");
    }
}

/// Memory of the node's process, in KiB.
pub fn resident_kib(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

pub fn assert_not_grown(node: &Node, before_kib: u64) {
    let after_kib = resident_kib(node);
    assert!(after_kib < before_kib + GROWTH_KIB, "from {before_kib} to {after_kib} KiB");
}
