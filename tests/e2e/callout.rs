//! An endpoint of the operator's own is asked who clients are: good ones, bad ones, and ones that come and go.

use crate::{
    auth::snippet,
    bystander::{Bystander, assert_not_grown, resident_kib},
    client::{Sse, Ws, get, upgrade},
    endpoint::{Endpoint, always, answer, good, hang, header, raw},
    http::Wire,
    node::{Node, Plan, until, without_our_environment},
    python,
};
use std::{
    io::Write,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const AT_ONCE: Duration = Duration::ZERO;
const LEFT_ALONE: &str = "the endpoint of auth.http fails";
const BACK: &str = "the endpoint of auth.http answers again";

/// A node that asks it. The bystander's header is a credential, too.
fn node(endpoint: &Endpoint, sets: &[&str]) -> Node {
    let url = endpoint.setting();
    let usual = [
        "auth.mode=http",
        &url,
        "auth.http.credentials=authorization,cookie,x-customer_id",
        "auth.http.timeout=600ms",
    ];
    Node::start(&[&usual, sets].concat())
}

/// What a WebSocket handshake is answered.
fn connect(node: &Node, headers: &[(&str, &str)]) -> crate::http::Head {
    let mut wire = Wire::connect(node.clients);
    wire.send(&upgrade("/ws", headers));
    wire.head().unwrap()
}

fn status(node: &Node, cookie: &str) -> u16 {
    connect(node, &[("Cookie", cookie)]).status
}

#[test]
fn an_endpoint_says_who_it_is() {
    let endpoint = Endpoint::start(good("", AT_ONCE));
    let node = node(&endpoint, &["auth.http.token=our-own-token"]);
    let mut ws = Ws::open(
        &node,
        "/ws?device=phone&x=y",
        &[
            ("Cookie", "a=b; session=ada"),
            ("X-Forwarded-For", "10.9.8.7"),
            ("X_Forwarded_For", "10.9.8.7"),
            ("X-Holdfast-Token", "forged"),
            ("If-None-Match", "\"x\""),
            ("X-App", "7"),
            ("Accept-Encoding", "gzip"),
        ],
    );
    assert_eq!(node.push("ada/push", "x").1, [("phone".into(), "written".into())]);
    assert_eq!(ws.text(), "x");
    let head = &endpoint.heads()[0];
    let version = env!("CARGO_PKG_VERSION");
    assert!(head.starts_with("GET /whoami HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("host", endpoint.address.to_string().as_str()),
        ("cookie", "a=b; session=ada"),
        ("x-app", "7"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-original-uri", "/ws?device=phone&x=y"),
        ("x-holdfast-token", "our-own-token"),
        ("user-agent", &format!("holdfast/{version}")),
        ("accept", "application/json"),
    ] {
        assert_eq!(header(head, name), Some(value), "{head}");
        assert_eq!(
            head.to_ascii_lowercase().matches(&format!("\r\n{name}: ")).count(),
            1,
            "{name} in {head}"
        );
    }
    let lines = head.to_ascii_lowercase();
    for name in [
        "upgrade",
        "connection",
        "sec-websocket",
        "x_forwarded",
        "if-none",
        "accept-enc",
        "10.9.8.7",
        "forged",
    ] {
        assert!(!lines.contains(name), "{name} in {head}");
    }
    // Without a credential, or with one that a page of another origin has borrowed, nobody is asked.
    assert_eq!(connect(&node, &[]).status, 401);
    assert_eq!(connect(&node, &[("Cookie", "session=ada"), ("Origin", "https://evil.example")]).status, 403);
    assert_eq!(endpoint.asked(), 1);
    assert_eq!(status(&node, "session=bad"), 401);
    assert_eq!(
        connect(&node, &[("Authorization", "Bearer eve"), ("Origin", "https://app.example")]).status,
        101
    );
    let mut stream = Sse::open(&node, "/sse", &[("Cookie", "session=bob")]);
    assert_eq!(node.push_one("bob/push", "y"), "written");
    assert_eq!(stream.event().data, "y");
    assert_eq!(endpoint.connected(), 1, "one connection is kept");
    assert_eq!(node.metric("holdfast_auth_requests_total{result=\"accepted\"}"), 3.0);
    assert_eq!(node.metric("holdfast_auth_requests_total{result=\"refused\"}"), 1.0);
    assert_eq!(node.metric("holdfast_auth_seconds_count"), 4.0);
    let log = node.log();
    for secret in ["session=", "ada", "eve", "our-own-token"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[test]
fn whatever_an_endpoint_does_clients_are_told_to_come_again() {
    let endpoint = Endpoint::start(good("", AT_ONCE));
    let node = node(&endpoint, &["auth.http.failures=16"]);
    let mut beside = Bystander::of(&node);
    let before_kib = resident_kib(&node);
    let long = Arc::new(|_: &str, stream: &mut std::net::TcpStream| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        // Ten million bytes, or as many as are taken.
        let _ = stream.write_all(head.as_bytes());
        (0..160).all(|_| stream.write_all(chunk.as_bytes()).is_ok());
        false
    });
    let drip = Arc::new(|_: &str, stream: &mut std::net::TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n");
        for byte in br#"{"user":  "ada"}"# {
            std::thread::sleep(Duration::from_millis(100));
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
        }
        false
    });
    let endless = Arc::new(|_: &str, stream: &mut std::net::TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        (0..20_000).all(|at| stream.write_all(format!("X-{at}: y\r\n").as_bytes()).is_ok());
        false
    });
    let manners: Vec<(&str, crate::endpoint::Manner)> = vec![
        ("hangs", hang()),
        ("answers with a page", always("200 OK", "Content-Type: text/html\r\n", "<html>welcome</html>")),
        ("has wrong types", always("200 OK", "Cache-Control: max-age=60\r\n", r#"{"user":7}"#)),
        ("answers with ten megabytes", long),
        (
            "announces ten megabytes",
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n{\"user\":\"ada\"}"),
        ),
        ("redirects", always("302 Found", "Location: /login\r\n", r#"{"user":"ada"}"#)),
        ("drips", drip),
        ("closes at once", raw(b"")),
        ("ends in the middle", raw(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"user\"")),
        ("fails", always("500 Oh", "", r#"{"user":"ada"}"#)),
        ("speaks something else", raw(b"SSH-2.0-OpenSSH_9.9\r\n")),
        ("has a head without an end", endless),
    ];
    for (what, manner) in manners {
        endpoint.set(manner);
        let began = Instant::now();
        let head = connect(&node, &[("Cookie", "session=ada")]);
        assert_eq!(head.status, 503, "{what}");
        let retry_after: u64 = head.header("retry-after").expect(what).parse().unwrap();
        assert!((1..=60).contains(&retry_after), "{what}");
        assert!(began.elapsed() < Duration::from_secs(5), "{what}: {:?}", began.elapsed());
        // A good answer in between, so that the endpoint is not left alone.
        endpoint.set(good("", AT_ONCE));
        assert_eq!(status(&node, "session=ada"), 101, "after one that {what}");
    }
    // A name that nobody can have is this client's own trouble, like a head that the endpoint finds too long.
    endpoint.set(always("200 OK", "", r#"{"user":"a\nb"}"#));
    assert_eq!(status(&node, "session=ada"), 400);
    endpoint.set(always("431 Too Large", "", ""));
    assert_eq!(status(&node, "session=ada"), 503);
    // An event stream must not see a refusal, with which EventSource gives up for good.
    endpoint.set(hang());
    let mut wire = Wire::connect(node.clients);
    wire.send(&get("/sse", &[("Cookie", "session=ada")]));
    let head = wire.head().unwrap();
    assert_eq!(head.status, 200);
    assert!(String::from_utf8(wire.body(&head)).unwrap().starts_with("retry: "));
    beside.assert_unaware(&node, "a bad endpoint");
    assert_not_grown(&node, before_kib);
    assert_eq!(
        node.metric("holdfast_auth_requests_total{result=\"timeout\"}"),
        3.0,
        "hanging, dripping, hanging"
    );
    assert_eq!(node.metric("holdfast_auth_breaker"), 0.0);
}

#[test]
fn a_connection_that_ends_as_it_is_used_costs_nobody_anything() {
    let endpoint = Endpoint::start(good("", AT_ONCE));
    let node = node(&endpoint, &["auth.http.failures=1"]);
    assert_eq!(status(&node, "session=ada"), 101);
    // The next question finds the kept connection closing.
    let questions = AtomicUsize::new(0);
    endpoint.set(Arc::new(move |_, stream| match questions.fetch_add(1, SeqCst) % 2 {
        0 => false,
        _ => answer(stream, "200 OK", "", r#"{"user":"ada"}"#),
    }));
    for _ in 0..5 {
        assert_eq!(status(&node, "session=ada"), 101);
    }
    // One that closes after each answer without saying so.
    endpoint.set(Arc::new(|_, stream| {
        answer(stream, "200 OK", "", r#"{"user":"ada"}"#);
        false
    }));
    for _ in 0..20 {
        assert_eq!(status(&node, "session=ada"), 101);
    }
}

#[test]
fn an_answer_is_used_again_as_it_allows() {
    let mut endpoint = Endpoint::start(good("Cache-Control: private, max-age=60\r\n", AT_ONCE));
    let node = node(&endpoint, &["auth.http.failures=2", "auth.http.pause=1m", "auth.http.pause_max=1m"]);
    for _ in 0..3 {
        assert_eq!(status(&node, "session=ada"), 101);
        assert_eq!(status(&node, "session=bad"), 401);
    }
    assert_eq!(endpoint.asked(), 2, "once about each");
    assert_eq!(node.metric("holdfast_auth_cached"), 2.0);
    assert_eq!(node.metric("holdfast_auth_cache_hits_total"), 4.0);
    endpoint.set(good("Cache-Control: max-age=0\r\n", AT_ONCE));
    (0..3).for_each(|_| assert_eq!(status(&node, "session=bob"), 101));
    endpoint.set(good("Cache-Control: no-store, max-age=60\r\n", AT_ONCE));
    (0..3).for_each(|_| assert_eq!(status(&node, "session=eve"), 101));
    assert_eq!(endpoint.asked(), 8, "each time");
    // What is known is known also while the endpoint is away.
    endpoint.die();
    (0..3).for_each(|_| assert_eq!(status(&node, "session=bob"), 503));
    node.wait_for_metric("holdfast_auth_breaker", 1.0);
    assert_eq!(status(&node, "session=ada"), 101);
    assert_eq!(status(&node, "session=bad"), 401);
}

#[test]
fn a_thousand_clients_with_equal_cookies_are_one_question() {
    let endpoint = Endpoint::start(good("", Duration::from_millis(400)));
    let node = node(&endpoint, &["auth.http.timeout=5s"]);
    let mut wires: Vec<Wire> = (0..1_000)
        .map(|at| {
            let mut wire = Wire::connect(node.clients);
            wire.send(&upgrade(&format!("/ws?device=d{at}"), &[("Cookie", "session=ada")]));
            wire
        })
        .collect();
    assert!(wires.iter_mut().all(|wire| wire.head().unwrap().status == 101));
    // Those who came after the first answer, if any, are another.
    assert!((1..=3).contains(&endpoint.asked()), "{}", endpoint.asked());
    assert_eq!(node.metric("holdfast_connections{protocol=\"websocket\"}"), 1_000.0);
}

#[test]
fn an_endpoint_that_fails_is_left_alone_and_found_again() {
    let mut endpoint = Endpoint::start(good("", AT_ONCE));
    let node =
        node(&endpoint, &["auth.http.failures=3", "auth.http.pause=200ms", "auth.http.pause_max=400ms"]);
    let mut beside = Bystander::of(&node);
    endpoint.die();
    let began = Instant::now();
    let mut refusals = 0;
    while began.elapsed() < Duration::from_secs(1) {
        assert_eq!(status(&node, "session=ada"), 503);
        refusals += 1;
    }
    let tried = node.metric("holdfast_auth_requests_total{result=\"unreachable\"}");
    assert!(refusals > 30 && tried < 15.0, "{tried} questions for {refusals} clients");
    beside.assert_unaware(&node, "an endpoint that is away");
    endpoint.revive();
    until("the endpoint's return", || (status(&node, "session=ada") == 101).then_some(()));
    assert_eq!(node.metric("holdfast_auth_breaker"), 0.0);
    let log = node.log();
    assert_eq!((log.matches(LEFT_ALONE).count(), log.matches(BACK).count()), (1, 1), "{log}");
    assert!(node.metric("holdfast_handshakes_total{result=\"auth_unavailable\"}") >= f64::from(refusals));
}

/// So many users who ask to be let in, and have yet to read the answer.
fn crowd(node: &Node, count: usize) -> Vec<Wire> {
    let ask = |at| {
        let mut wire = Wire::connect(node.clients);
        wire.send(&upgrade("/ws", &[("Cookie", &format!("session=u{at}"))]));
        wire
    };
    (0..count).map(ask).collect()
}

#[test]
fn an_endpoint_dies_under_five_thousand_waiting_handshakes() {
    const CLIENTS: usize = 5_000;
    rlimit::increase_nofile_limit(16_384).unwrap();
    let mut endpoint = Endpoint::start(good("", AT_ONCE));
    let node =
        node(&endpoint, &["auth.http.in_flight=16", "auth.http.pause=200ms", "auth.http.pause_max=400ms"]);
    let mut beside = Bystander::of(&node);
    endpoint.set(good("", Duration::from_millis(40)));
    let mut wires = crowd(&node, CLIENTS);
    until("most of them to wait", || (node.metric("holdfast_auth_waiting") > 3_000.0).then_some(()));
    endpoint.die();
    let began = Instant::now();
    let mut heads = wires.iter_mut().map(|wire| wire.head().expect("an answer"));
    let (mut accepted, mut refused) = (0, 0);
    for head in heads.by_ref() {
        match head.status {
            101 => accepted += 1,
            503 => {
                assert!(head.header("retry-after").is_some());
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(accepted > 10 && refused > 3_000, "{accepted} in, {refused} told to come again");
    assert_eq!(node.metric("holdfast_auth_waiting"), 0.0);
    beside.assert_unaware(&node, "an endpoint that dies");
    // It comes back, and finds a crowd that is let through a few at a time.
    endpoint.set(good("", Duration::from_millis(2)));
    endpoint.revive();
    until("the endpoint's return", || (status(&node, "session=first") == 101).then_some(()));
    drop(wires);
    let mut again = crowd(&node, 1_000);
    assert!(again.iter_mut().all(|wire| wire.head().unwrap().status == 101));
    assert!(endpoint.most() <= 16, "{} at once", endpoint.most());
    assert_eq!(node.metric("holdfast_auth_breaker"), 0.0);
}

#[test]
fn a_node_that_begins_with_thousands_of_clients_does_not_flood_the_endpoint() {
    const CLIENTS: usize = 2_000;
    rlimit::increase_nofile_limit(16_384).unwrap();
    let endpoint = Endpoint::start(good("", Duration::from_millis(2)));
    let node = node(&endpoint, &["auth.http.in_flight=8"]);
    let mut wires = crowd(&node, CLIENTS);
    assert!(wires.iter_mut().all(|wire| wire.head().unwrap().status == 101));
    assert!(endpoint.most() <= 8, "{} at once", endpoint.most());
    assert!(endpoint.connected() <= 20, "{} connections", endpoint.connected());
}

#[test]
fn without_room_to_wait_clients_come_again() {
    let endpoint = Endpoint::start(hang());
    let node = node(&endpoint, &["auth.http.waiting=3", "auth.http.timeout=2s"]);
    let mut wires = crowd(&node, 3);
    node.wait_for_metric("holdfast_auth_waiting", 3.0);
    let began = Instant::now();
    assert_eq!(status(&node, "session=late"), 503);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(wires.iter_mut().all(|wire| wire.head().unwrap().status == 503));
}

#[test]
fn what_ends_brings_goaway_first_and_4002_at_its_end() {
    let endpoint = Endpoint::start(Arc::new(|_, stream| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        // Made a minute ago: the last tenth of its life is 6 s, over which the goaways are spread.
        let body = format!(r#"{{"user":"ada","device":"desk","iat":{},"exp":{}}}"#, now - 57, now + 3);
        answer(stream, "200 OK", "Cache-Control: max-age=3600\r\n", &body)
    }));
    let node = node(&endpoint, &["lifetime.grace=300ms"]);
    let mut ws = Ws::open(&node, "/ws?device=other", &[("Cookie", "session=ada")]);
    assert_eq!(node.push("ada/push", "x").1, [("desk".into(), "written".into())]);
    // The goaway may come at any time.
    let mut texts = [ws.text(), ws.text()];
    texts.sort();
    assert_eq!(texts, ["_CLOSE_", "x"]);
    assert_eq!(ws.close_frame().0, 4002);
    // What was said of it does not outlive it either, though it was allowed to be kept for an hour.
    endpoint.set(always("200 OK", "", r#"{"user":"ada","exp":1000}"#));
    until("the end of the kept answer", || (status(&node, "session=ada") == 401).then_some(()));
}

#[test]
fn of_several_ways_the_endpoint_is_asked_when_it_is_its_turn() {
    let endpoint = Endpoint::start(good("", AT_ONCE));
    let secret = "a shared secret of some length, for tests";
    let node = Node::start(&[
        "auth.mode=jwt,http",
        &format!("auth.jwt.secret={secret}"),
        &endpoint.setting(),
        "auth.first_frame=true",
    ]);
    let claims = serde_json::json!({ "sub": "by-token" });
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let bearer = format!("Bearer {token}");
    let _first = Ws::open(&node, "/ws", &[("Authorization", &bearer), ("Cookie", "session=by-cookie")]);
    assert_eq!(node.push_one("by-token/push", "x"), "written");
    assert_eq!(connect(&node, &[("Authorization", "Bearer bad"), ("Cookie", "session=ada")]).status, 401);
    assert_eq!(endpoint.asked(), 0);
    let _second = Ws::open(&node, "/ws", &[("Cookie", "session=by-cookie")]);
    assert_eq!(node.push_one("by-cookie/push", "x"), "written");
    assert_eq!(endpoint.asked(), 1);
}

#[test]
fn a_token_in_the_first_frame_is_asked_about_as_a_bearer_token() {
    let endpoint = Endpoint::start(good("", AT_ONCE));
    let node = node(&endpoint, &["auth.first_frame=true"]);
    let mut ws = Ws::open(&node, "/ws", &[]);
    ws.send(crate::client::TEXT, b"ada");
    node.wait_for_metric("holdfast_auth_requests_total{result=\"accepted\"}", 1.0);
    assert_eq!(node.push_one("ada/push", "x"), "written");
    assert_eq!(ws.text(), "x");
    assert_eq!(header(&endpoint.heads()[0], "authorization"), Some("Bearer ada"));
    let mut ws = Ws::open(&node, "/ws", &[]);
    ws.send(crate::client::TEXT, b"bad");
    assert_eq!(ws.close_frame().0, 1008);
    assert!(!node.log().contains("Bearer"));
}

#[test]
fn what_the_page_says_makes_a_good_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("sessions.db");
    let login = "
import sqlite3, sys, time
store = sqlite3.connect(sys.argv[1])
store.execute('CREATE TABLE sessions (id TEXT PRIMARY KEY, user TEXT, ends INTEGER)')
now = int(time.time())
store.executemany('INSERT INTO sessions VALUES (?, ?, ?)', [('s1', 'jürgen', now + 600), ('s2', 'eve', now - 1)])
store.commit()
";
    python::run(login, &[store.to_str().unwrap()]);
    let script = snippet("Asking your endpoint", "python")
        .replace("\"sessions.db\"", &format!("{store:?}"))
        .replace("9000", "0")
        .replace("server.serve_forever()", "print(server.server_port)\nserver.serve_forever()");
    let mut endpoint = python::Helper::start(&[], &script, &[]);
    let url = format!("auth.http.url=http://127.0.0.1:{}/whoami", endpoint.line());
    let node = Node::start(&["auth.mode=http", &url]);
    let _open = Ws::open(&node, "/ws?device=phone", &[("Cookie", "a=b; session=s1")]);
    assert_eq!(node.push("j%C3%BCrgen/push", "x").1, [("phone".into(), "written".into())]);
    for cookie in ["session=s2", "session=", "session=s3", "a=b", "session=s1x", "\"", "=;==;"] {
        assert_eq!(status(&node, cookie), 401, "{cookie}");
    }
    // It is asked once more about those whom it has just let in, or not, only when its answers have ended.
    let asked = node.metric("holdfast_auth_seconds_count");
    assert_eq!((status(&node, "a=b; session=s1"), status(&node, "session=s2")), (101, 401));
    assert_eq!(node.metric("holdfast_auth_seconds_count"), asked);
}

/// An endpoint with TLS. It is asked about nobody but ada.
const WITH_TLS: &str = r#"
import ssl, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Ada(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "14")
        self.end_headers()
        self.wfile.write(b'{"user":"ada"}')

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Ada)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port)
server.serve_forever()
"#;

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output();
    let output = output.expect("openssl is missing: scripts/install-test-tools installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_endpoint_with_tls_is_believed_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(file("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let key = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for name in ["ca", "other"] {
        openssl(
            folder.path(),
            &format!("{key} -x509 -days 2 -subj /CN={name} -keyout {name}.key -out {name}.crt"),
        );
    }
    openssl(folder.path(), &format!("{key} -subj /CN=server -keyout server.key -out server.csr"));
    let sign = "x509 -req -days 2 -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names";
    openssl(folder.path(), &format!("{sign} -in server.csr -out server.crt"));
    let mut endpoint = python::Helper::start(&[], WITH_TLS, &[&file("server.crt"), &file("server.key")]);
    let url = format!("auth.http.url=https://127.0.0.1:{}/", endpoint.line());
    for (authority, expected) in [("ca.crt", 101), ("other.crt", 503)] {
        let authority = format!("auth.http.ca_file={}", file(authority));
        let node = Node::start(&["auth.mode=http", &url, &authority, "auth.http.failures=1"]);
        assert_eq!(status(&node, "session=ada"), expected);
        match expected {
            101 => assert!(!node.log().contains(LEFT_ALONE)),
            _ => until("a line that says why", || {
                node.log()
                    .lines()
                    .any(|line| line.contains(LEFT_ALONE) && line.contains("certificate"))
                    .then_some(())
            }),
        }
    }
}

#[test]
fn the_token_for_the_endpoint_changes_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "first\n").unwrap();
    let endpoint = Endpoint::start(good("", AT_ONCE));
    let node = node(&endpoint, &[&format!("auth.http.token_file={}", path.display())]);
    let sent = || {
        assert_eq!(status(&node, "session=ada"), 101);
        header(endpoint.heads().last().unwrap(), "x-holdfast-token").unwrap().to_owned()
    };
    assert_eq!(sent(), "first");
    std::fs::write(&path, "second\n").unwrap();
    until("the new token", || (sent() == "second").then_some(()));
}

#[test]
fn doctor_asks_the_endpoint_about_nobody() {
    let mut endpoint = Endpoint::start(good("", AT_ONCE));
    let say = |endpoint: &Endpoint| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        without_our_environment(&mut command);
        command.args(["doctor", "--kafka", "none", "--set", "auth.mode=http", "--set", &endpoint.setting()]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let well = say(&endpoint);
    assert!(well.contains("it refuses a client without a credential"), "{well}");
    endpoint.set(always("200 OK", "", r#"{"user":"everybody"}"#));
    let lax = say(&endpoint);
    assert!(lax.contains("it must refuse whom it does not know"), "{lax}");
    endpoint.die();
    let away = say(&endpoint);
    assert!(away.contains("auth.http") && away.contains("it cannot be reached"), "{away}");
}

#[test]
fn a_reload_asks_another_endpoint_and_loses_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("holdfast.toml");
    let write = |mode: &str, url: &str| {
        let jwt = "[auth.jwt]\nsecret = \"a shared secret of some length, for tests\"";
        let text = format!("[auth]\nmode = \"{mode}\"\n{jwt}\n[auth.http]\nurl = \"{url}\"\n");
        std::fs::write(&path, text).unwrap();
    };
    let url = |endpoint: &Endpoint| format!("http://{}/", endpoint.address);
    let (slow, quick) =
        (Endpoint::start(good("", Duration::from_millis(800))), Endpoint::start(good("", AT_ONCE)));
    write("jwt", "");
    let node = Plan::new(&[]).file(&path).start();
    let reload = |mode: &str, url: &str| {
        write(mode, url);
        let count = || {
            let of = |result| node.metric(&format!("holdfast_config_reloads_total{{result=\"{result}\"}}"));
            of("ok") + of("refused")
        };
        let before = count();
        node.signal("HUP");
        until("the reload", || (count() > before).then_some(()));
    };
    assert_eq!(status(&node, "session=ada"), 401, "nobody is asked yet");
    reload("jwt,http", &url(&slow));
    let mut waiting = Wire::connect(node.clients);
    waiting.send(&upgrade("/ws", &[("Cookie", "session=early")]));
    until("the question", || (slow.asked() == 1).then_some(()));
    reload("jwt,http", &url(&quick));
    assert_eq!(status(&node, "session=ada"), 101);
    assert_eq!((slow.asked(), quick.asked()), (1, 1));
    assert_eq!(waiting.head().unwrap().status, 101, "who was asked about before is told");
    reload("jwt,http", "http://me:hush@host/");
    assert_eq!(status(&node, "session=ada"), 101);
    assert_eq!(quick.asked(), 2, "a bad file changes nothing");
    reload("jwt", &url(&quick));
    assert_eq!((status(&node, "session=ada"), quick.asked()), (401, 2));
    assert!(!node.log().contains("hush"));
}
