//! A browser as a client: pages that use its WebSocket and its EventSource, among others as `docs/protocol.md` advises.

use crate::{
    browser::Page,
    client::{Sse, Ws},
    node::Node,
};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const PROTOCOL: &str = include_str!("../../docs/protocol.md");
pub const SECRET: &str = "a-secret-of-at-least-thirty-two-bytes";
/// The jitter of a client that behaves takes seconds, which a test has not.
pub const HASTE: &str = "Math.random = () => 0.02;";
/// Longer than a page in haste waits before it comes back.
const AWAY: Duration = Duration::from_secs(1);

/// Reports what a page's sockets and sources go through, whoever made them.
pub const WATCH: &str = r#"
WebSocket = class extends WebSocket {
  constructor(...all) {
    super(...all);
    this.addEventListener("open", () => say("open", this.extensions));
    this.addEventListener("close", ({ code, reason, wasClean }) => say("end", `${code} ${reason} ${wasClean}`));
  }
};
EventSource = class extends EventSource {
  constructor(...all) {
    super(...all);
    this.addEventListener("open", () => say("open"));
    this.addEventListener("error", () => say("error", String(this.readyState)));
    for (const kind of ["goaway", "close"]) this.addEventListener(kind, ({ data }) => say(kind, data));
  }
};
"#;

/// A function of the protocol's page, without the line there that uses it.
pub fn advised(function: &str) -> String {
    let mut blocks = PROTOCOL.split("```js\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = blocks.find(|block| block.contains(&format!("function {function}(")));
    let block = block.unwrap_or_else(|| panic!("{function} in docs/protocol.md"));
    block
        .lines()
        .filter(|line| !line.starts_with(&format!("{function}(")))
        .map(|line| format!("{line}\n"))
        .collect()
}

pub fn token(user: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "sub": user, "exp": now + 600 });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// Pushes bytes as they are, or text, to the only device of `ada`.
fn push(node: &Node, content_type: &str, body: &[u8]) {
    let answer = node.ask_with("POST", "/v1/users/ada/push", &[("Content-Type", content_type)], body);
    assert_eq!(answer.json()["outcomes"][0]["outcome"], "written", "{answer:?}");
}

/// Bodies that a browser must hear whole.
fn texts() -> [String; 4] {
    let line = "ünï 🚀, a line that repeats itself\n";
    ["hello".into(), "one\n\n two".into(), line.repeat(65_536 / line.len()), "x".repeat(200_000)]
}

fn noise() -> Vec<u8> {
    let mut state = 1u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..65_536).map(|_| byte()).collect()
}

#[test]
fn a_page_with_the_advised_websocket_hears_everything_comes_back_and_stays_away() {
    let node = Node::start(&[]);
    let page = Page::serve("").open();
    page.run(&[HASTE, WATCH, &advised("holdfastSocket")].concat());
    let url = format!("ws://{}/ws?user=ada&device=tab", node.clients);
    page.run(&format!(
        "holdfastSocket(() => '{url}', (data) => say(typeof data === 'string' ? 'text' : 'blob', data))"
    ));
    assert!(page.text("open").starts_with("permessage-deflate"));
    let before = node.metric("holdfast_sent_bytes_total");
    for text in texts() {
        push(&node, "text/plain", text.as_bytes());
        assert_eq!(page.text("text"), text);
    }
    let sent = node.metric("holdfast_sent_bytes_total") - before;
    assert!(sent < 10_000.0, "{sent} bytes were not compressed");
    push(&node, "application/octet-stream", &noise());
    assert_eq!(page.bytes("blob"), noise());
    // Asked to leave, it leaves by itself and comes back.
    assert_eq!(node.ask("DELETE", "/v1/users/ada", b"").status, 202);
    assert_eq!(page.text("end"), "1000  true");
    assert!(page.text("open").starts_with("permessage-deflate"));
    push(&node, "text/plain", b"again");
    assert_eq!(page.text("text"), "again");
    // Somebody else has its name: it stays away.
    let mut other = Ws::user(&node, "ada", "tab");
    assert_eq!(page.text("end"), "4001 displaced true");
    page.assert_silent(AWAY);
    push(&node, "text/plain", b"to the other");
    assert_eq!(other.text(), "to the other");
}

#[test]
fn a_pages_websocket_sends_compressed_and_hears_every_code() {
    let node =
        Node::start(&["clients.echo_all=true", "lifetime.grace=200ms", "drain.delay=0s", "drain.window=0s"]);
    let page = Page::serve("").open();
    page.run(WATCH);
    let open = |query: &str| {
        let url = format!("ws://{}/ws?{query}", node.clients);
        page.run(&format!(
            "socket = new WebSocket('{url}'); socket.onmessage = ({{ data }}) => say('message', data)"
        ));
    };
    page.run("var socket");
    open("user=ada");
    page.text("open");
    let before = node.metric("holdfast_received_bytes_total");
    page.run(
        "socket.send('ünï 🚀'); socket.send('y'.repeat(60_000)); socket.send(new Uint8Array([0, 255, 10]))",
    );
    assert_eq!(page.text("message"), "ünï 🚀");
    assert_eq!(page.text("message"), "y".repeat(60_000));
    assert_eq!(page.bytes("message"), [0, 255, 10]);
    let received = node.metric("holdfast_received_bytes_total") - before;
    assert!(received < 2_000.0, "{received} bytes were not compressed");
    page.run("socket.close(3000, 'done')");
    assert_eq!(page.text("end"), "3000  true", "the code comes back, without the reason");
    // What it never asked for, and what it breaks.
    open("user=ada");
    page.text("open");
    page.run("socket.send('z'.repeat(70_000))");
    assert_eq!(page.text("end"), "1009 message too big true");
    open("user=ada");
    page.text("open");
    assert_eq!(node.ask("DELETE", "/v1/users/ada", b"").status, 202);
    assert_eq!(page.text("message"), "_CLOSE_");
    assert_eq!(page.text("end"), "4003 closed by an operator true");
    // A refusal cannot be told from a lost network, and a subprotocol that nobody speaks is one.
    open("");
    assert_eq!(page.text("end"), "1006  false");
    page.run(&format!("socket = new WebSocket('ws://{}/ws?user=ada', ['chat'])", node.clients));
    assert_eq!(page.text("end"), "1006  false");
    open("user=ada");
    page.text("open");
    assert_eq!(node.ask("POST", "/v1/drain", b"").status, 202);
    assert_eq!(page.text("message"), "_CLOSE_");
    assert_eq!(page.text("end"), "1001 Server going away true");
}

#[test]
fn a_page_with_the_advised_event_source_hears_everything_comes_back_and_stays_away() {
    let page = Page::serve("");
    let node = Node::start(&[&format!("clients.origins={}", page.origin())]);
    let page = page.open();
    page.run(&[HASTE, WATCH, &advised("holdfastEvents")].concat());
    let url = format!("http://{}/sse?user=ada&device=tab", node.clients);
    page.run(&format!(
        "holdfastEvents(() => '{url}', (data) => say(typeof data === 'string' ? 'text' : 'bytes', data))"
    ));
    page.text("open");
    for text in texts() {
        push(&node, "text/plain", text.as_bytes());
        assert_eq!(page.text("text"), text);
    }
    push(&node, "application/octet-stream", &noise());
    assert_eq!(page.bytes("bytes"), noise());
    assert_eq!(node.ask("DELETE", "/v1/users/ada", b"").status, 202);
    assert_eq!(page.text("goaway"), "_CLOSE_");
    page.text("open");
    push(&node, "text/plain", b"again");
    assert_eq!(page.text("text"), "again");
    let mut other = Sse::user(&node, "ada", "tab");
    assert_eq!(page.text("close"), "4001 displaced");
    page.assert_silent(AWAY);
    push(&node, "text/plain", b"to the other");
    assert_eq!(other.event().data, "to the other");
}

#[test]
fn a_pages_event_source_comes_back_by_itself_but_not_after_a_refusal() {
    let page = Page::serve("");
    let origins = format!("clients.origins={}", page.origin());
    let node = Node::start(&["lifetime.grace=200ms", &origins]);
    let full = Node::start(&["limits.connections=1", &origins]);
    let _holder = Sse::user(&full, "ada", "");
    let page = page.open();
    page.run(WATCH);
    let open = |node: &Node, query: &str| {
        page.run(&format!(
            "source = new EventSource('http://{}/sse?{query}');
             source.addEventListener('push', ({{ data, lastEventId }}) => say('push', `${{lastEventId}} ${{data}}`))",
            node.clients
        ));
    };
    page.run("var source");
    open(&node, "user=ada");
    page.text("open");
    assert_eq!(node.push_one("ada/push?id=m-1", "hello\nworld"), "written");
    assert_eq!(page.text("push"), "m-1 hello\nworld");
    // Of itself it takes the goaway for an event like others, and comes back when it was closed: by the delay that it was told.
    assert_eq!(node.ask("DELETE", "/v1/users/ada", b"").status, 202);
    assert_eq!(page.text("goaway"), "_CLOSE_");
    assert_eq!(page.text("close"), "4003 closed by an operator");
    let closed = Instant::now();
    assert_eq!(page.text("error"), "0", "connecting");
    page.text("open");
    assert!(closed.elapsed() < Duration::from_secs(8), "back after {:?}", closed.elapsed());
    assert_eq!(node.push_one("ada/push", "again"), "written");
    assert_eq!(page.text("push"), "m-1 again", "a browser keeps the last id that it saw");
    page.run("source.close()");
    node.wait_for_metric("holdfast_connections{protocol=\"sse\"}", 0.0);
    // Refused for good: closed. Past three takeovers: 204, which is the same to it. Full: it goes on trying.
    open(&node, "");
    assert_eq!(page.text("error"), "2", "closed");
    let _fight: Vec<Sse> = (0..4).map(|_| Sse::user(&node, "grace", "tab")).collect();
    open(&node, "user=grace&device=tab");
    assert_eq!(page.text("error"), "2", "closed");
    open(&full, "user=grace");
    let seen: BTreeSet<String> = [page.next().0, page.next().0].into();
    assert_eq!(seen, BTreeSet::from(["error".into(), "open".into()]), "an open that ends at once");
    page.run("say('state', String(source.readyState)); source.close()");
    assert_eq!(page.text("state"), "0", "connecting");
}

#[test]
fn a_page_of_an_allowed_origin_uses_its_cookie_and_another_page_gets_nothing() {
    let page = Page::serve(&format!("session={}; HttpOnly; SameSite=Lax", token("ada")));
    let sets = [
        "auth.mode=jwt",
        &format!("auth.jwt.secret={SECRET}"),
        "auth.jwt.cookie=session",
        &format!("clients.origins={}", page.origin()),
    ];
    let node = Node::start(&sets);
    let page = page.open();
    page.run(WATCH);
    let sse = format!("http://{}/sse", node.clients);
    let ws = format!("ws://{}/ws", node.clients);
    let push_sse = "source.addEventListener('push', ({ data }) => say('push', data))";
    page.run(&format!("var source = new EventSource('{sse}', {{ withCredentials: true }}); {push_sse}"));
    page.text("open");
    assert_eq!(node.push_one("ada/push", "by cookie"), "written");
    assert_eq!(page.text("push"), "by cookie");
    page.run("source.close()");
    node.wait_for_metric("holdfast_connections{protocol=\"sse\"}", 0.0);
    page.run(&format!("new WebSocket('{ws}').onmessage = ({{ data }}) => say('message', data)"));
    page.text("open");
    assert_eq!(node.push_one("ada/push", "by cookie"), "written");
    assert_eq!(page.text("message"), "by cookie");
    // A fetch with headers of one's own is asked for beforehand.
    page.run(&format!(
        "fetch('{sse}', {{ credentials: 'include', headers: {{ 'X-DEVICE-ID': 'tab' }} }})
           .then(({{ status }}) => say('fetched', String(status)))"
    ));
    assert_eq!(page.text("fetched"), "200");
    // Without being told to, a browser sends no cookie to another origin.
    page.run(&format!("source = new EventSource('{sse}')"));
    assert_eq!(page.text("error"), "2");
    assert_eq!(node.metric("holdfast_handshakes_total{result=\"auth_failed\"}"), 1.0);
    // The same server by another name is another origin, whatever credential it has.
    let foreign = Page::serve("").open();
    foreign.run(WATCH);
    let good = token("ada");
    foreign.run(&format!("new EventSource('{sse}?token={good}')"));
    assert_eq!(foreign.text("error"), "2");
    foreign.run(&format!("new WebSocket('{ws}?token={good}')"));
    assert_eq!(foreign.text("end"), "1006  false");
    assert_eq!(node.metric("holdfast_handshakes_total{result=\"bad_origin\"}"), 2.0);
}
