//! The admin page against a node that says odd things: one with 64 shards, numbers beyond belief, names that are markup, a herd on
//! its way, and another version after a restart. The node is the test's own, and gives the page's files as they are.

use crate::{
    admin_page::{OVERFLOW, assert_content},
    node::until,
    tab::Tab,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const SESSION: &str =
    r#"{"may":["send","read","admin"],"name":null,"required":false,"role":null,"signed_in":true}"#;
const NAME: &str = "<script>document.title='owned'</script>";

/// Pages that listen, to be told things.
type Listeners = Arc<Mutex<Vec<TcpStream>>>;

struct Odd {
    address: SocketAddr,
    listeners: Listeners,
}

impl Odd {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = Listeners::default();
        let theirs = listeners.clone();
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                let listeners = theirs.clone();
                std::thread::spawn(move || serve(tcp.ok()?, &listeners));
            }
        });
        Self { address, listeners }
    }

    fn say(&self, stats: &Value) {
        for tcp in &mut *self.listeners.lock().unwrap() {
            let _ = tcp.write_all(format!("event: stats\ndata: {stats}\n\n").as_bytes());
        }
    }
}

/// Answers one request; an event stream stays open.
fn serve(mut tcp: TcpStream, listeners: &Listeners) -> Option<()> {
    let mut reader = BufReader::new(tcp.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let path = head.split(' ').nth(1)?;
    if path == "/v1/events" {
        tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").ok()?;
        listeners.lock().unwrap().push(tcp);
        return Some(());
    }
    let file = if path == "/" { "index.html" } else { path.trim_start_matches('/') };
    let (kind, body) = match path {
        "/v1/session" => ("application/json", SESSION.to_owned()),
        "/v1/lanes" => ("application/json", "[]".to_owned()),
        _ => {
            let kind = match file.rsplit_once('.')?.1 {
                "html" => "text/html",
                "css" => "text/css",
                _ => "text/javascript",
            };
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control/page");
            (kind, fs::read_to_string(folder.join(file)).ok()?)
        }
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Security-Policy: {POLICY}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    tcp.write_all(&[head.as_bytes(), body.as_bytes()].concat()).ok()
}

/// A fleet's worth of connections on one node, a third of which will be asked to leave in two minutes.
fn stats() -> Value {
    let shard = |at: u64| {
        json!({ "shard": at, "connections": 1_000 * (1 + at % 7), "mailbox": { "control": at }, "outbox_bytes": 0,
                "loop_lag_ms": { "p99": 0.1 * at as f64 } })
    };
    let due: Vec<u64> = (0..60).map(|at| if at == 27 || at == 28 { 60_000 } else { 6_000 }).collect();
    json!({
        "node": NAME, "region": "x".repeat(256), "version": "1.2.3", "uptime_s": 9_000, "unix_ms": 1_800_000_000_000u64,
        "connections": { "websocket": 360_000, "sse": 40_000, "total": 400_000 }, "capacity": 440_000,
        "shards": (0..64).map(shard).collect::<Vec<_>>(),
        "handshakes": { "accepted": 7, "full": 3, "brand_new": 5 }, "closes": { NAME: 1 }, "goaways": {},
        "messages": { NAME: { "written": 1e300, "failed": 12, "odd_one": 3 } },
        "bytes": { "received": 1e18, "sent": 1.8e19 }, "cpu_seconds": 7.5,
        "latency_ms": { "delivery": { NAME: { "count": 2, "p50": 1e9, "p90": null, "p99": "x", "within_ms": [[0.1, 1], [null, 1]] } } },
        "kafka": { "read_here": true, "up": false, "embedded": null, "partitions": 3, "lanes": { NAME: { "lag": 1e15, "paused": true } } },
        "drain": { "phase": "serving", "remaining": 0 },
        "memory": { "resident": 1e15, "allocated": -4, "per_connection": 111, "pressure": 2 },
        "lifetimes": { "mean_s": 1_800.0, "bucket_s": 60.0, "goaways_due": due, "goaways_due_later": 1, "leaving": 2,
                       "ages": [], "distribution": "zuul" },
        "ready": { "ready": true, "reason": format!("registry: {NAME}") },
        "registry": { "shared": true, "up": false, "nodes": 1e9, "unsettled": 12, "healing": true },
    })
}

#[test]
fn odd_numbers_and_names_are_shown_as_they_are() {
    let node = Odd::start();
    let mut tab = Tab::open(&format!("http://{}/", node.address));
    until("the page listens", || (!node.listeners.lock().unwrap().is_empty()).then_some(()));
    let mut said = stats();
    node.say(&said);
    tab.wait_for("#node", NAME);
    tab.wait_for("#state", "Serving, with a fault");
    tab.wait_for("#state-why", NAME);
    tab.wait_for("#total", "400 k");
    assert_eq!(tab.eval("document.querySelector('#utilization').dataset.look"), "yes", "nearly full");
    tab.wait_for(
        "#due-verdict",
        "A herd: 120 k connections are asked to leave between 27 min and 29 min from now, up to 4.5 times",
    );
    tab.wait("document.querySelectorAll('#due-plot .herd').length === 2");
    tab.wait_for("#due-verdict", "zuul");
    tab.wait_for("#shard-words", "64 shards; 1,000 to 7,000 connections each");
    tab.wait_for("#pressure", "refuses handshakes too");
    tab.wait_for("#refusals", "brand new");
    tab.wait_for("#registry-words", "It cannot be asked, or refuses");
    tab.wait_for("#lanes", "Paused");
    for (width, height) in [(1_280, 900), (360, 740)] {
        tab.shape(width, height, "dark");
        assert_eq!(tab.eval(OVERFLOW), 0, "{width}");
    }
    // Rates are of what the node's clock says has passed.
    let (mut unix_ms, mut accepted) = (1_800_000_000_000u64, 7);
    until("the rate", || {
        unix_ms += 500;
        accepted += 100;
        said["unix_ms"] = unix_ms.into();
        said["handshakes"]["accepted"] = accepted.into();
        node.say(&said);
        std::thread::sleep(Duration::from_millis(500));
        (tab.eval("document.querySelector('#opened').innerText") == "200").then_some(())
    });
    // It has started again, with another version, and says less than before.
    let fresh = json!({ "node": NAME, "version": "1.3.0", "uptime_s": 1, "connections": { "total": 0 }, "lifetimes": null });
    node.say(&fresh);
    tab.wait_for("#notice", "The node has started again with version 1.3.0 instead of 1.2.3");
    tab.wait_for("#version", "1.3.0");
    tab.wait("document.querySelector('#total').innerText === '0'");
    node.say(&json!([]));
    tab.wait_for("#version", "");
    assert_eq!(tab.eval("document.title === 'owned'"), false);
    assert_content(&mut tab);
}
