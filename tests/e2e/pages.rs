//! Pages in a browser, of other origins than the node's: which credentials reach it, and what the browser lets the page see.

use crate::{
    auth::{NEW, cookie_of, snippet},
    browser::Page,
    chromium::{HASTE, SECRET, WATCH, advised, token},
    client::Ws,
    node::Node,
    tickets::ticket_of,
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What pages do, and say.
const ACTS: &str = r#"
var source;
function listen(url, options) {
  source?.close();
  source = new EventSource(url, options);
  source.addEventListener("push", ({ data }) => say("push", data));
}
async function request(url, options) {
  try {
    const answer = await fetch(url, options);
    const reader = answer.body?.getReader();
    const { value } = answer.status === 200 ? await reader.read() : {};
    say("status", `${answer.status} ${new TextDecoder().decode(value).split(":")[0]}`);
    await reader?.cancel();
  } catch ({ name }) {
    say("status", name);
  }
}
"#;

/// Keeps a page's source in reach.
const LATEST: &str = r#"
var latest;
EventSource = class extends EventSource {
  constructor(...all) {
    super(...all);
    latest = this;
  }
};
"#;

fn refused(node: &Node, reason: &str) -> f64 {
    node.metric(&format!("holdfast_handshakes_total{{result=\"{reason}\"}}"))
}

#[test]
fn a_signed_cookie_counts_on_pages_whose_origin_is_named_and_on_no_other() {
    let page = Page::serve(&format!("holdfast={}; HttpOnly; SameSite=Lax", cookie_of(NEW, "ada")));
    let sets = ["auth.mode=cookie", &format!("auth.cookie.keys={NEW}"), "limits.connections=9"];
    let with =
        |origins: &str| Node::start(&[sets[0], sets[1], sets[2], &format!("clients.origins={origins}")]);
    let (named, other) = (with(&page.origin()), with("https://app.example"));
    let unset = Node::start(&sets);
    let page = page.open();
    page.run(&[WATCH, ACTS].concat());
    // The page's cookie goes to every port of its host, which is the same site.
    page.run(&format!("listen('http://{}/sse', {{ withCredentials: true }})", named.clients));
    page.text("open");
    assert_eq!(named.push_one("ada/push", "by cookie"), "written");
    assert_eq!(page.text("push"), "by cookie");
    page.run(&format!(
        "new WebSocket('ws://{}/ws').onmessage = ({{ data }}) => say('message', data)",
        named.clients
    ));
    page.text("open");
    assert_eq!(named.push("ada/push", "to both").1.len(), 2);
    let mut heard = [page.next(), page.next()];
    heard.sort();
    assert_eq!(heard, ["message", "push"].map(|kind| (kind.to_owned(), b"to both".to_vec())));
    // Without being told to, a browser sends no cookie to another origin, and the page reads why there is no stream.
    page.run(&format!("listen('http://{}/sse')", named.clients));
    assert_eq!(page.text("error"), "2", "closed");
    page.run(&format!("request('http://{}/sse', {{ credentials: 'omit' }})", named.clients));
    assert_eq!(page.text("status"), "401 ");
    assert_eq!((refused(&named, "auth_failed"), refused(&named, "bad_origin")), (2.0, 0.0));
    // Where nobody said that the page may, its browser sends the cookie all the same: that is what must not count.
    for node in [&unset, &other] {
        page.run(&format!("listen('http://{}/sse', {{ withCredentials: true }})", node.clients));
        assert_eq!(page.text("error"), "2", "closed");
        page.run(&format!("new WebSocket('ws://{}/ws')", node.clients));
        assert_eq!(page.text("end"), "1006  false");
        page.run(&format!("request('http://{}/sse', {{ credentials: 'include' }})", node.clients));
        assert_eq!(page.text("status"), "TypeError");
        assert_eq!(refused(node, "bad_origin"), 3.0);
        assert_eq!(node.metric("holdfast_handshakes_total{result=\"accepted\"}"), 0.0);
    }
}

#[test]
fn a_page_that_fetches_its_stream_sends_a_token_and_reads_the_refusal() {
    let page = Page::serve("");
    let jwt = ["auth.mode=jwt", &format!("auth.jwt.secret={SECRET}"), "lifetime.grace=100ms"];
    let origins = format!("clients.origins={}", page.origin());
    let node = Node::start(&[jwt[0], jwt[1], jwt[2], &origins]);
    let full = Node::start(&[jwt[0], jwt[1], &origins, "limits.connections=1"]);
    let (other, unset) =
        (Node::start(&[jwt[0], jwt[1], "clients.origins=https://app.example"]), Node::start(&jwt));
    let _holder = Ws::open(&full, "/ws", &[("Authorization", &format!("Bearer {}", token("eve")))]);
    let page = page.open();
    page.run(&[WATCH, ACTS].concat());
    let request = |node: &Node, query: &str, token: &str, more: &str| {
        page.run(&format!(
            "request('http://{}/sse{query}', {{ headers: {{ Authorization: 'Bearer {token}' {more} }} }})",
            node.clients
        ));
        page.text("status")
    };
    let good = token("ada");
    // None of these headers is one that a page may send without asking.
    assert_eq!(request(&node, "", &good, ""), "200 retry");
    assert_eq!(request(&node, "", &good, ", 'Last-Event-ID': 'm-1', 'X-DEVICE-ID': 'tab'"), "200 retry");
    assert_eq!(request(&node, "", "x.y.z", ""), "401 ");
    assert_eq!(request(&node, "?ping=soon", &good, ""), "400 ");
    assert_eq!(request(&full, "", &good, ""), "200 retry", "with a delay, and at its end");
    assert_eq!(node.ask("DELETE", "/v1/users/ada?block=1m", b"").status, 202);
    assert_eq!(request(&node, "", &good, ""), "401 ");
    assert_eq!((refused(&node, "blocked"), refused(&node, "bad_origin")), (1.0, 0.0));
    // The preflight is refused: the browser does not send the token.
    for away in [&other, &unset] {
        assert_eq!(request(away, "", &good, ""), "TypeError");
        assert_eq!((refused(away, "accepted"), refused(away, "auth_failed")), (0.0, 0.0));
    }
    // A token in the URL needs no preflight, but a page that is named nowhere cannot read the answer.
    page.run(&format!("listen('http://{}/sse?token={good}')", unset.clients));
    assert_eq!(page.text("error"), "2", "closed");
}

#[test]
fn the_page_of_the_documents_comes_back_with_a_new_ticket_each_time() {
    let node =
        Arc::new(Node::start(&["auth.mode=jwt", &format!("auth.jwt.secret={SECRET}"), "lifetime.grace=20s"]));
    // The server of the page outlives the test, and must not keep the node alive.
    let (made, beside) = (Arc::new(AtomicUsize::new(0)), Arc::downgrade(&node));
    let count = made.clone();
    // Now and then the backend is away.
    let backend = move || match count.fetch_add(1, Ordering::Relaxed) {
        at if at % 3 == 1 => String::new(),
        _ => beside.upgrade().map(|node| ticket_of(&node, "ada")).unwrap_or_default(),
    };
    let page = Page::serve_with("", Arc::new(backend)).open();
    let scheme = |name: &str| format!("{name}://{}", node.clients);
    let ticketed = snippet("Tickets, for browsers", "js page")
        .replace("https://push.example.com", &scheme("http"))
        .replace("console.log(data)", "say('push', data)");
    page.run(
        &[HASTE, WATCH, LATEST, &advised("holdfastEvents"), &advised("holdfastSocket"), &ticketed].concat(),
    );
    for text in ["first", "second", "third"] {
        page.text("open");
        assert_eq!(node.push_one("ada/push", text), "written");
        assert_eq!(page.text("push"), text);
        match text {
            // Asked to leave, it comes back ...
            "first" => {
                assert_eq!(node.ask("DELETE", "/v1/users/ada", b"").status, 202);
                assert_eq!(page.text("goaway"), "_CLOSE_");
            }
            // ... and also when its stream is lost, before the browser tries the spent ticket again.
            "second" => {
                page.run("latest.dispatchEvent(new Event('error'))");
                assert_eq!(page.text("error"), "1", "open");
            }
            _ => page.run("latest.close()"),
        }
    }
    assert_eq!((made.load(Ordering::Relaxed), refused(&node, "auth_failed")), (4, 0.0));
    node.wait_for_metric("holdfast_connections{protocol=\"sse\"}", 0.0);
    page.run(&format!(
        "holdfastSocket(() => ticketed('{}/ws'), (data) => say('message', data))",
        scheme("ws")
    ));
    page.text("open");
    assert_eq!(node.push_one("ada/push", "up"), "written");
    assert_eq!(page.text("message"), "up");
    // Alone, an `EventSource` comes with the ticket that it had.
    page.run("latest = new EventSource(latest.url)");
    assert_eq!(page.text("error"), "2", "closed");
    assert_eq!(node.metric("holdfast_tickets_total{result=\"used\"}"), 1.0);
}
