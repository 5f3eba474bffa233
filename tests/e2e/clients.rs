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

/// The same by asyncio, on many connections at once; and back by itself after a goaway, as the library means it: by its loop.
const ASYNCIO: &str = r#"
import asyncio, sys, urllib.request
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

clients, internal = sys.argv[1:]

def ask(method, path, body=None):
    headers = {} if body is None else {"Content-Type": "text/plain" if isinstance(body, str) else "application/octet-stream"}
    body = body.encode() if isinstance(body, str) else body
    request = urllib.request.Request(f"http://{internal}/v1/{path}", body, headers, method=method)
    return urllib.request.urlopen(request, timeout=20).status

async def one(number):
    compression = None if number % 2 else "deflate"
    async with connect(f"ws://{clients}/ws?user=user-{number}", compression=compression) as ws:
        names = [extension.name for extension in ws.protocol.extensions]
        assert names == ([] if compression is None else ["permessage-deflate"]), names
        for text in ("", "ünï 🚀", "again and again " * 4096):
            await ws.send(text)
            assert await ws.recv() == text
        async def pieces():
            yield b"frag"
            yield b"ments"
        await ws.send(pieces())
        assert await ws.recv() == b"fragments"
        await (await ws.ping())
        for body in (f"for {number}", "a large one; " * 5000, bytes(range(256)) * 256):
            assert await asyncio.to_thread(ask, "POST", f"users/user-{number}/push", body) == 200
            assert await ws.recv() == body
    assert ws.close_code == 1000, ws.close_code

# Another with its name: the code says why, and it is up to the loop to end.
async def is_displaced(ws):
    async with connect(f"ws://{clients}/ws?user=ada&device=phone"):
        try:
            await ws.recv()
            raise SystemExit("not displaced")
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "displaced"), closed

async def comes_back():
    heard = []
    async for ws in connect(f"ws://{clients}/ws?user=ada&device=phone"):
        assert await asyncio.to_thread(ask, "POST", "users/ada/push", f"round {len(heard)}") == 200
        heard.append(await ws.recv())
        if len(heard) == 3:
            await is_displaced(ws)
            break
        assert await asyncio.to_thread(ask, "DELETE", "users/ada") == 202
        assert await ws.recv() == "_CLOSE_"
        await ws.close()
        assert ws.close_code == 1000
    assert heard == ["round 0", "round 1", "round 2"], heard
    try:
        async for _ in connect(f"ws://{clients}/ws"):
            raise SystemExit("nobody was let in")
    except InvalidStatus as refused:
        assert refused.response.status_code == 401, refused

async def main():
    async with asyncio.timeout(25):
        await asyncio.gather(*(one(number) for number in range(10)), comes_back())

asyncio.run(main())
print("done")
"#;

/// Echoes and is pushed to, compressed and not; is pinged; obeys a goaway, ignores one, is displaced, drained and refused.
const NPM_WS: &str = r#"
import WebSocket from "ws";

const url = (query) => `ws://${clients}/ws?${query}`;
const closed = async (ws) => {
  const [code, reason] = await once(ws, "close");
  return `${code} ${reason}`;
};

for (const perMessageDeflate of [false, true]) {
  const ws = new WebSocket(url("user=ada"), { perMessageDeflate });
  const messages = on(ws, "message");
  const next = async () => (await messages.next()).value;
  await once(ws, "open");
  assert.equal(ws.extensions, perMessageDeflate ? "permessage-deflate" : "");
  const texts = ["", "hello", "ünï 🚀", "ünï 🚀 ".repeat(4_500)];
  for (const text of texts) {
    ws.send(text);
    const [data, isBinary] = await next();
    assert.equal(isBinary, false);
    assert.equal(data.toString(), text);
  }
  ws.send(Buffer.from("frag"), { fin: false });
  ws.send(Buffer.from("ments"));
  assert.deepEqual(await next(), [Buffer.from("fragments"), true]);
  ws.ping("are you there");
  assert.equal((await once(ws, "pong"))[0].toString(), "are you there");
  for (const body of [...texts.slice(1), "x".repeat(200_000)]) {
    await push("ada/push", body);
    assert.equal((await next())[0].toString(), body);
  }
  const bytes = Buffer.alloc(65_536, Buffer.from(Array.from({ length: 251 }, (_, at) => at)));
  await push("ada/push", bytes, "application/octet-stream");
  assert.deepEqual(await next(), [bytes, true]);
  ws.close(1000);
  assert.equal(await closed(ws), "1000 ");
}

// Pings are answered without anybody's doing: it lives on past two intervals.
const phone = new WebSocket(url("user=grace&device=phone&ping=1"));
const heard = on(phone, "message");
for (let pings = 0; pings < 3; pings++) await once(phone, "ping");
await push("grace/push", "still here");
assert.equal((await heard.next()).value[0].toString(), "still here");

// Asked to leave: one obeys and comes back, another is closed.
assert.equal((await ask("DELETE", "/v1/users/grace")).status, 202);
assert.equal((await heard.next()).value[0].toString(), "_CLOSE_");
phone.close(1000);
assert.equal(await closed(phone), "1000 ");
const back = new WebSocket(url("user=grace&device=phone"));
await once(back, "open");
assert.equal((await ask("DELETE", "/v1/users/grace")).status, 202);
assert.equal(await closed(back), "4003 closed by an operator");

const first = new WebSocket(url("user=grace&device=phone"));
await once(first, "open");
const second = new WebSocket(url("user=grace&device=phone"));
assert.equal(await closed(first), "4001 displaced");

const refusal = async (query) => (await once(new WebSocket(url(query)), "unexpected-response"))[1];
assert.equal((await refusal("")).statusCode, 401);
assert.equal((await ask("POST", "/v1/drain")).status, 202);
assert.equal(await closed(second), "1001 Server going away");
const full = await refusal("user=grace");
assert.equal(full.statusCode, 503);
assert.match(full.headers["retry-after"], /^([1-9]|10)$/);
console.log("done");
process.exit(0);
"#;

/// Reads every kind of event, comes back by itself after an end, and stays away where it is told to.
const NPM_EVENTSOURCE: &str = r#"
import { EventSource } from "eventsource";

const open = (query, headers = {}) =>
  new EventSource(`http://${clients}/sse?${query}`, {
    fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...headers } }),
  });
const next = (of, type) => new Promise((resolve) => of.addEventListener(type, resolve, { once: true }));

const source = open("device=tab", { "X-CUSTOMER_ID": "ada" });
await next(source, "open");
for (const body of ["hello\nworld", "ünï 🚀 ".repeat(4_500), "x".repeat(200_000), " space, then an end\n"]) {
  const event = next(source, "push");
  await push("ada/push?id=m-" + body.length, body);
  assert.deepEqual([(await event).data, (await event).lastEventId], [body, "m-" + body.length]);
}
const bytes = Buffer.from(Array.from({ length: 65_536 }, (_, at) => at % 251));
const binary = next(source, "push.base64");
await push("ada/push", bytes, "application/octet-stream");
assert.deepEqual(Buffer.from((await binary).data, "base64"), bytes);

// Does not obey the goaway, is closed, and comes back by itself within the delay that it was told.
const goaway = next(source, "goaway");
const close = next(source, "close");
assert.equal((await ask("DELETE", "/v1/users/ada")).status, 202);
assert.equal((await goaway).data, "_CLOSE_");
assert.equal((await close).data, "4003 closed by an operator");
const ended = Date.now();
await next(source, "open");
assert.ok(Date.now() - ended < 6_000, `back after ${Date.now() - ended} ms`);
const again = next(source, "push");
await push("ada/push", "again");
assert.equal((await again).data, "again");
source.close();

// Past three takeovers within a minute the newcomer is turned away, and does not come back.
let holder = open("user=grace&device=tab");
await next(holder, "open");
for (let takeovers = 0; takeovers < 3; takeovers++) {
  const [displaced, told] = [holder, next(holder, "close")];
  holder = open("user=grace&device=tab");
  await next(holder, "open");
  assert.equal((await told).data, "4001 displaced");
  displaced.close();
}
for (const [query, code] of [["user=grace&device=tab", 204], ["", 401]]) {
  const refused = open(query);
  assert.equal((await next(refused, "error")).code, code);
  assert.equal(refused.readyState, EventSource.CLOSED);
}
// Turned away for a while only, it goes on trying.
assert.equal((await ask("POST", "/v1/drain")).status, 202);
assert.equal((await next(holder, "close")).data, "1001 Server going away");
await next(holder, "error");
const later = open("user=grace&device=other");
await next(later, "error");
assert.equal(later.readyState, EventSource.CONNECTING);
console.log("done");
process.exit(0);
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
