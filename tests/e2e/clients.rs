//! Clients that others wrote, as users have them: Python's websockets (both of its interfaces), npm's ws and eventsource, curl;
//! and a server of one's own authenticator. Browsers are in `chromium`.

use crate::{
    client::{Sse, get},
    http::Wire,
    node::{Node, PATIENCE, until},
    npm, python,
};
use std::{
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

/// Connects, echoes with and without compression, is pushed to by HTTP, and closes.
const WEBSOCKETS: &str = include_str!("scripts/websockets_sync.py");

/// Is displaced by a second connection of the same device, and is told a code that says so.
const DISPLACED: &str = include_str!("scripts/websockets_displaced.py");

/// The same by asyncio, on many connections at once; and back by itself after a goaway, as the library means it: by its loop.
const ASYNCIO: &str = include_str!("scripts/websockets_asyncio.py");

/// Echoes and is pushed to, compressed and not; is pinged; obeys a goaway, ignores one, is displaced, drained and refused.
const NPM_WS: &str = include_str!("scripts/ws.mjs");

/// Reads every kind of event, comes back by itself after an end, and stays away where it is told to.
const NPM_EVENTSOURCE: &str = include_str!("scripts/eventsource.mjs");

struct Curl(Child);

impl Curl {
    fn start(arguments: &[&str]) -> (Self, Lines<BufReader<ChildStdout>>) {
        let mut command = Command::new("curl");
        command.args(["--silent", "--no-buffer", "--noproxy", "*"]).args(arguments);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|fault| panic!("curl: {fault}: install curl"));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (Self(child), lines)
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn pythons_websockets_speaks_with_it_compressed_and_not() {
    let node = Node::start(&["clients.echo_all=true"]);
    let said = python::run(WEBSOCKETS, &[&node.clients.to_string(), &node.internal.to_string()]);
    assert_eq!(said.trim(), "done");
    node.wait_for_metric("holdfast_closes_total{reason=\"client_closed\"}", 2.0);
}

#[test]
fn pythons_websockets_hears_why_it_is_closed_or_refused() {
    let node = Node::start(&[]);
    assert_eq!(python::run(DISPLACED, &[&node.clients.to_string()]).trim(), "done");
}

#[test]
fn pythons_asyncio_websockets_come_in_numbers_and_come_back() {
    let node = Node::start(&["clients.echo_all=true"]);
    let said = python::run(ASYNCIO, &[&node.clients.to_string(), &node.internal.to_string()]);
    assert_eq!(said.trim(), "done");
    node.wait_for_metric("holdfast_connections{protocol=\"websocket\"}", 0.0);
    assert_eq!(node.metric("holdfast_closes_total{reason=\"displaced\"}"), 1.0);
    assert_eq!(node.metric("holdfast_goaways_total{reason=\"operator\"}"), 2.0);
}

#[test]
fn npms_ws_speaks_obeys_and_hears_why() {
    let node = Node::start(&[
        "clients.echo_all=true",
        "clients.ping_min=1s",
        "lifetime.grace=500ms",
        "drain.delay=0s",
        "drain.window=0s",
    ]);
    let said = npm::run(NPM_WS, &[&node.clients.to_string(), &node.internal.to_string()]);
    assert_eq!(said.trim(), "done");
}

#[test]
fn npms_eventsource_hears_everything_and_comes_back_unless_it_is_told_not_to() {
    let node = Node::start(&["lifetime.grace=200ms", "drain.delay=0s", "drain.window=0s"]);
    let said = npm::run(NPM_EVENTSOURCE, &[&node.clients.to_string(), &node.internal.to_string()]);
    assert_eq!(said.trim(), "done");
}

#[test]
fn curl_reads_an_event_stream_to_its_end() {
    let node = Node::start(&["lifetime.grace=200ms"]);
    let url = format!("http://{}/sse", node.clients);
    // A time-out of curl's own, so that a stream that never ends cannot hang the test.
    let seconds = PATIENCE.as_secs().to_string();
    let (mut curl, mut lines) = Curl::start(&["--max-time", &seconds, "-H", "X-CUSTOMER_ID: ada", &url]);
    assert!(lines.next().unwrap().unwrap().starts_with("retry: "));
    assert_eq!(lines.next().unwrap().unwrap(), "");
    assert_eq!(node.push_one("ada/push", "hello\nworld"), "written");
    for expected in ["event: push", "data: hello", "data: world", ""] {
        assert_eq!(lines.next().unwrap().unwrap(), expected);
    }
    assert_eq!(node.ask("DELETE", "/v1/users/ada", b"").status, 202);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let at = |line: &str| {
        rest.iter().position(|had| had == line).unwrap_or_else(|| panic!("{line:?} in {rest:?}"))
    };
    assert!(at("event: goaway") < at("event: close"));
    assert_eq!(curl.0.wait().unwrap().code(), Some(0), "the last chunk ends it in order");
}

#[test]
fn curl_pushes_as_the_readme_says() {
    let node = Node::start(&[]);
    let mut stream = Sse::user(&node, "ada", "");
    let url = format!("http://{}/v1/users/ada/push", node.internal);
    let (_curl, mut lines) = Curl::start(&["--max-time", "20", "-d", "hello", &url]);
    let answer: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(answer["outcomes"][0]["outcome"], "written");
    assert_eq!(stream.event().data, "hello");
}

/// An example, beside the folder of the binary. Cargo has built it, unless it was asked for this test alone.
pub fn example(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_holdfast")).with_file_name("examples").join(name);
    if !program.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", name]).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(cargo.status().unwrap().success());
    }
    program
}

#[test]
fn an_authenticator_of_ones_own_decides_who_gets_in() {
    let node = Node::start_other(&example("custom_auth"), &[]);
    let mut stream = Sse::open(&node, "/sse", &[("X-API-Key", "k1.correct-horse")]);
    assert_eq!(node.push_one("ada/push", "hello"), "written");
    assert_eq!(stream.event().data, "hello");
    for headers in [
        &[][..],
        &[("X-API-Key", "k1.wrong")],
        &[("X-API-Key", "k2.correct-horse")],
        &[("X-CUSTOMER_ID", "ada")],
    ] {
        let mut wire = Wire::connect(node.clients);
        wire.send(&get("/sse", headers));
        assert_eq!(wire.answer().unwrap().status, 401, "{headers:?}");
    }
    drop(stream);
    until("its end", || (node.push("ada/push", "x").0 == 404).then_some(()));
}
