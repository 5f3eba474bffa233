//! The admin page from outside: its files, its sessions, and what it watches.

use super::harness::{Client, Node, eventually, token};
use crate::config::Role;
use crate::control::events::WATCHERS_MAX;
use serde_json::{Value, json};

fn guarded() -> Node {
    Node::with(|config| {
        config.internal.tokens = vec![
            token("ops", Role::Admin),
            token("eyes", Role::Read),
            token("shop", Role::Send),
            token("node", Role::Peer),
        ];
    })
}

/// Signs in; gives the header that the browser brings from then on.
fn sign_in(node: &Node, name: &str) -> String {
    let answer = node.ask(&["POST /v1/session", &format!("Authorization: Bearer {name}-secret")], "");
    assert_eq!(answer.status, 204);
    let cookie = answer.header("set-cookie").unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "HttpOnly; SameSite=Strict; Path=/; Max-Age=43200");
    assert!(pair.starts_with("holdfast_session=") && pair.len() > 50, "{pair}");
    format!("Cookie: theme=dark; {pair}")
}

fn watch(node: &Node, headers: &[&str]) -> Client {
    let mut client = node.client();
    client.send(&[&["GET /v1/events"], headers].concat(), "");
    let head = client.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    client
}

/// The next event; None at the end.
fn event(client: &mut Client) -> Option<(String, Value)> {
    let chunk = String::from_utf8(client.chunk()?).unwrap();
    if chunk == "retry: 2000\n\n" {
        return event(client);
    }
    let (name, data) = chunk.strip_suffix("\n\n").unwrap().split_once('\n').unwrap();
    let name = name.strip_prefix("event: ").unwrap().to_owned();
    Some((name, serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap()))
}

fn ends(client: &mut Client) -> bool {
    std::iter::from_fn(|| event(client)).take(5).count() < 5
}

#[test]
fn files_come_with_what_browsers_are_to_know() {
    let node = guarded();
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/demo", "text/html; charset=utf-8"),
    ] {
        let answer = node.ask(&[&format!("GET {path}")], "");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
        );
        assert!(
            policy.ends_with("; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
            "{policy}"
        );
        let tag = answer.header("etag").unwrap();
        let again = node.ask(&[&format!("GET {path}"), &format!("If-None-Match: \"x\", {tag}")], "");
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag)), "{path}");
        let mut client = node.client();
        client.send(&[&format!("HEAD {path}")], "");
        let length = answer.body.len().to_string();
        assert_eq!(client.head().header("content-length"), Some(length.as_str()), "{path}");
        assert_eq!(node.ask(&[&format!("POST {path}")], "").error(), (405, "method_not_allowed".into()));
    }
    for path in ["/index.html", "/page/page.js", "/../page.js", "/demo/", "/favicon.ico"] {
        assert_eq!(node.ask(&[&format!("GET {path}")], "").error(), (404, "not_found".into()), "{path}");
    }
}

#[test]
fn a_link_to_a_page_may_be_followed_from_anywhere_and_nothing_else() {
    let node = Node::start();
    let follow = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"];
    let status = |line: &str, headers: &[&str]| node.status(&[&[line], headers].concat(), "");
    assert_eq!(status("GET /", &follow), 200);
    assert_eq!(status("GET /demo", &follow), 200);
    assert_eq!(status("GET /v1/stats", &follow), 403);
    assert_eq!(status("GET /", &["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"]), 403);
    let framed = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"];
    assert_eq!(status("GET /", &framed), 403);
    let script = ["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"];
    assert_eq!(status("GET /page.js", &script), 403);
    assert_eq!(status("GET /", &[&follow[..], &["Host: evil.example"]].concat()), 403);
    assert_eq!(status("POST /", &[&follow[..], &["Origin: http://evil.example"]].concat()), 403);
    for site in ["none", "same-origin"] {
        assert_eq!(status("GET /page.js", &[&format!("Sec-Fetch-Site: {site}")]), 200, "{site}");
    }
}

#[test]
fn the_demo_may_connect_to_the_client_ports() {
    let node = guarded();
    let policy = |host: &str| {
        let answer = node.ask(&["GET /demo", &format!("Host: {host}")], "");
        answer.header("content-security-policy").map(str::to_owned).ok_or(answer.status)
    };
    assert!(
        policy("localhost:9")
            .unwrap()
            .contains("connect-src 'self' ws://localhost:7001 ws://localhost:7002;")
    );
    assert!(policy("[::1]:9").unwrap().contains("connect-src 'self' ws:;"));
    assert_eq!(policy("a; script-src *"), Err(400));
    assert_eq!(node.status(&["GET /demo.json"], ""), 401);
    let places = node.ask(&["GET /demo.json", &sign_in(&node, "shop"), "Host: 10.0.0.1:9"], "").json();
    assert_eq!(places["sockets"], json!(["ws://10.0.0.1:7001/ws", "ws://10.0.0.1:7002/ws"]));
    assert_eq!(places["origin"], "http://10.0.0.1:9");
    let displaced = json!({ "code": 4001, "text": "displaced", "advice": "never" });
    assert!(places["closes"].as_array().unwrap().contains(&displaced), "{places}");
    let picky = Node::with(|config| config.clients.origins = Some(vec!["https://app.example".into()]));
    assert_eq!(picky.ask(&["GET /demo.json"], "").json()["origin_allowed"], false);
}

#[test]
fn a_token_is_traded_for_a_session_and_back() {
    let node = guarded();
    let session = |headers: &[&str]| node.ask(&[&["GET /v1/session"], headers].concat(), "").json();
    let nobody = json!({ "required": true, "signed_in": false, "name": null, "role": null, "may": [] });
    assert_eq!(session(&[]), nobody);
    assert_eq!(session(&["Cookie: holdfast_session=AAAA"]), nobody);
    for (header, expected) in [
        ("X: y", (401, "unauthorized")),
        ("Authorization: Bearer wrong", (401, "unauthorized")),
        ("Authorization: Bearer node-secret", (403, "forbidden")),
    ] {
        let answer = node.ask(&["POST /v1/session", header], "");
        assert_eq!(answer.header("set-cookie"), None);
        assert_eq!(answer.error(), (expected.0, expected.1.to_owned()), "{header}");
    }
    let (ops, eyes) = (sign_in(&node, "ops"), sign_in(&node, "eyes"));
    let rights = json!(["send", "read", "admin"]);
    let expected =
        json!({ "required": true, "signed_in": true, "name": "ops", "role": "admin", "may": rights });
    assert_eq!(session(&[&ops]), expected);
    assert_eq!(session(&[&eyes])["may"], json!(["read"]));
    assert_eq!(session(&["Authorization: Bearer shop-secret"])["may"], json!(["send"]));
    // A proxy in front may have a password of its own.
    assert_eq!(session(&[&eyes, "Authorization: Basic cHJveHk6cGFzcw=="])["name"], "eyes");
    assert_eq!(node.ask(&["POST /v1/session", &ops], "").error().0, 401, "a session opens no other");
    let out = |headers: &[&str]| node.ask(&[&["DELETE /v1/session"], headers].concat(), "");
    assert_eq!(out(&[&ops]).error(), (403, "cross_site".into()));
    let cleared = out(&[&ops, "Sec-Fetch-Site: same-origin"]);
    assert_eq!(cleared.status, 204);
    assert!(
        cleared.header("set-cookie").unwrap().contains("=; ")
            && cleared.header("set-cookie").unwrap().contains("Max-Age=0")
    );
    assert_eq!((session(&[&ops]), &session(&[&eyes])["name"]), (nobody, &json!("eyes")));
    assert_eq!(out(&[]).status, 204);
    let open = Node::start().ask(&["GET /v1/session"], "").json();
    assert_eq!(
        open,
        json!({ "required": false, "signed_in": true, "name": null, "role": null, "may": rights })
    );
    assert_eq!(Node::start().ask(&["POST /v1/session"], "").header("set-cookie"), None);
}

#[test]
fn with_a_cookie_only_our_own_pages_change_anything() {
    let node = guarded();
    node.connect("ann", Some("tv"), Some(crate::model::Outcome::Written));
    let ops = sign_in(&node, "ops");
    assert_eq!(node.status(&["GET /v1/stats", &ops], ""), 200);
    assert_eq!(node.status(&["GET /v1/users/ann/devices", &ops], ""), 200);
    for (line, expected) in [
        ("POST /v1/users/ann/push", 200),
        ("DELETE /v1/users/ann/devices/tv", 202),
        ("POST /v1/drain", 202),
        ("DELETE /v1/drain", 202),
    ] {
        for (header, allowed) in [
            ("X: y", false),
            ("Sec-Fetch-Site: none", false),
            ("Sec-Fetch-Site: cross-site", false),
            ("Sec-Fetch-Site: same-site", false),
            ("Origin: http://localhost:1", false),
            ("Origin: null", false),
            ("Origin: http://localhost", true),
            ("Sec-Fetch-Site: same-origin", true),
        ] {
            // What is done once is not there to be done again.
            let again = allowed && header.starts_with("Sec") && line == "DELETE /v1/drain";
            let answer = node.ask(&[line, &ops, header], "x");
            match allowed {
                false => assert_eq!(answer.error(), (403, "cross_site".into()), "{line} {header}"),
                true => assert_eq!(answer.status, if again { 409 } else { expected }, "{line} {header}"),
            }
        }
    }
    // Not even a page of ours does what nodes do for each other.
    let relayed = "DELETE /v1/users/ann?scope=relayed";
    assert_eq!(node.ask(&[relayed, &ops, "Sec-Fetch-Site: same-origin"], "").error().0, 401);
    let eyes = sign_in(&node, "eyes");
    assert_eq!(
        node.ask(&["POST /v1/drain", &eyes, "Sec-Fetch-Site: same-origin"], "").error(),
        (403, "forbidden".into())
    );
}

#[test]
fn numbers_come_each_second_and_a_drain_at_once() {
    let node = Node::start();
    node.connect("ann", None, None);
    let mut client = watch(&node, &[]);
    let (name, drain) = event(&mut client).unwrap();
    assert_eq!((name.as_str(), &drain["phase"]), ("drain", &json!("serving")));
    let (name, numbers) = event(&mut client).unwrap();
    assert_eq!(
        (name.as_str(), &numbers["node"]),
        ("stats", &node.ask(&["GET /v1/stats"], "").json()["node"])
    );
    assert_eq!(numbers["ready"], json!({ "ready": true, "reason": "ok" }));
    assert_eq!(
        (&numbers["registry"]["shared"], &numbers["kafka"]["read_here"]),
        (&json!(false), &json!(false))
    );
    assert!(numbers["uptime_s"].as_u64().unwrap() < 60);
    // The harness's connections live for half an hour, of which grace and the record's own are the last 34 s.
    let lifetimes = &numbers["lifetimes"];
    assert_eq!((&lifetimes["mean_s"], &lifetimes["bucket_s"]), (&json!(1_800.0), &json!(60.0)));
    assert_eq!(
        (&lifetimes["goaways_due"][29], &lifetimes["ages"][0], &lifetimes["leaving"]),
        (&json!(1), &json!(1), &json!(0))
    );
    // A second watcher is told at once what is no second old, and nobody else is for its sake.
    let mut other = watch(&node, &[]);
    assert_eq!(event(&mut other).unwrap().0, "drain");
    assert_eq!(event(&mut other).unwrap().1["unix_ms"], numbers["unix_ms"]);
    eventually(|| node.ask(&["GET /metrics"], "").text().contains("holdfast_page_watchers 2"));
    assert_eq!(node.status(&["POST /v1/drain"], ""), 202);
    for client in [&mut client, &mut other] {
        let mut drains = std::iter::from_fn(|| event(client)).filter(|(name, _)| name == "drain");
        assert_eq!(drains.next().unwrap().1["phase"], "delay");
    }
    let later = event(&mut client).unwrap();
    assert!(later.0 == "drain" || later.1["unix_ms"].as_u64() > numbers["unix_ms"].as_u64());
    drop((client, other));
    eventually(|| node.ask(&["GET /metrics"], "").text().contains("holdfast_page_watchers 0"));
}

#[test]
fn watchers_are_bounded_and_end_with_the_node() {
    let node = Node::start();
    let mut all: Vec<Client> = (0..WATCHERS_MAX).map(|_| watch(&node, &[])).collect();
    let refused = node.ask(&["GET /v1/events"], "");
    assert_eq!(
        (refused.header("retry-after"), refused.error()),
        (Some("1"), (503, "too_many_watchers".into()))
    );
    all.pop();
    eventually(|| {
        let mut client = node.client();
        client.send(&["GET /v1/events"], "");
        let status = client.head().status;
        status == 200
    });
    let began = std::time::Instant::now();
    node.stop();
    assert!(began.elapsed() < std::time::Duration::from_millis(900), "nobody is waited for");
    assert!(all.iter_mut().all(ends), "each stream ends with its last chunk");
}

#[test]
fn streams_and_sessions_end_with_their_tokens() {
    let node = guarded();
    let (ops, eyes) = (sign_in(&node, "ops"), sign_in(&node, "eyes"));
    let mut by_ops = watch(&node, &[&ops]);
    let mut by_token = watch(&node, &["Authorization: Bearer ops-secret"]);
    let mut by_eyes = watch(&node, &[&eyes]);
    node.control().replace_tokens(vec![token("new", Role::Admin), token("eyes", Role::Read)]);
    assert!(ends(&mut by_ops) && ends(&mut by_token));
    assert_eq!(node.ask(&["GET /v1/stats", &ops], "").error().0, 401);
    assert_eq!(node.status(&["GET /v1/stats", &eyes], ""), 200);
    assert!(event(&mut by_eyes).is_some());
    assert_eq!(node.status(&["DELETE /v1/session", &eyes, "Origin: http://localhost"], ""), 204);
    assert!(ends(&mut by_eyes), "who signs out watches no longer");
    watch(&node, &[&sign_in(&node, "new")]);
}
