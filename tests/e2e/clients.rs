//! Clients that others wrote, as users have them: Python's websockets, curl; and a server of one's own authenticator.

use crate::{
    client::{Sse, get},
    http::Wire,
    node::{Node, PATIENCE, until},
    python,
};
use std::{
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

/// Connects, echoes with and without compression, is pushed to by HTTP, and closes.
const WEBSOCKETS: &str = r#"
import sys, urllib.request
from websockets.sync.client import connect

clients, internal = sys.argv[1:]

def push(user, body, content_type):
    headers = {"Content-Type": content_type}
    request = urllib.request.Request(f"http://{internal}/v1/users/{user}/push", body, headers, method="POST")
    return urllib.request.urlopen(request, timeout=20).status

for compression in (None, "deflate"):
    with connect(f"ws://{clients}/ws?user=ada", compression=compression, open_timeout=20) as ws:
        names = [extension.name for extension in ws.protocol.extensions]
        assert names == ([] if compression is None else ["permessage-deflate"]), names
        for text in ("", "hello", "ünï 🚀", "again and again " * 2000):
            ws.send(text)
            assert ws.recv(timeout=20) == text
        ws.send([b"frag", b"ments", b"\x00\xff"])
        assert ws.recv(timeout=20) == b"fragments\x00\xff"
        assert ws.ping().wait(20)
        for body in ("short", "a large one that repeats itself; " * 3000):
            assert push("ada", body.encode(), "text/plain") == 200
            assert ws.recv(timeout=20) == body
        assert push("ada", bytes(range(256)), "application/octet-stream") == 200
        assert ws.recv(timeout=20) == bytes(range(256))
    assert ws.close_code == 1000, ws.close_code
print("done")
"#;

/// Is displaced by a second connection of the same device, and is told a code that says so.
const DISPLACED: &str = r#"
import sys
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

clients = sys.argv[1]
first = connect(f"ws://{clients}/ws?user=ada&device=tab", open_timeout=20)
second = connect(f"ws://{clients}/ws?user=ada&device=tab", open_timeout=20)
try:
    first.recv(timeout=20)
    raise SystemExit("not displaced")
except ConnectionClosed as closed:
    assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "displaced"), closed
second.close()
try:
    connect(f"ws://{clients}/ws", open_timeout=20)
    raise SystemExit("nobody was let in")
except InvalidStatus as refused:
    assert refused.response.status_code == 401, refused
print("done")
"#;

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
fn example(name: &str) -> PathBuf {
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
    let node = Node::start_other(&example("custom_auth"));
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
