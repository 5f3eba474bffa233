//! The internal port against its own description, `GET /v1/openapi.json`: by its examples, by a tester that others wrote, and
//! role by role; and what stands in the audit log.

use crate::{
    client::Sse,
    http::Wire,
    node::{Node, PATIENCE, Plan, until},
    python,
};
use serde_json::Value;
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

const TOKENS: &str = "s:send:send-secret,r:read:read-secret,a:admin:admin-secret,p:peer:peer-secret";
const ROLES: [&str; 4] = ["send", "read", "admin", "peer"];

/// A node with a queue, tokens of every role, and drains that last.
fn node(sets: &[&str]) -> Node {
    let all = [&["drain.delay=1h", "limits.push_bytes=64KiB"], sets].concat();
    let node = Plan::new(&all).kafka("embedded").environment("HOLDFAST_INTERNAL_TOKENS", TOKENS).start();
    until("Kafka", || (node.ask("GET", "/readyz", b"").status == 200).then_some(()));
    node
}

fn bearer(role: &str) -> String {
    format!("Bearer {role}-secret")
}

#[test]
fn its_examples_are_answered_as_it_says() {
    let node = node(&[]);
    let _phone = Sse::user(&node, "ann", "phone");
    let address = node.internal.to_string();
    let said =
        python::run(include_str!("scripts/openapi_examples.py"), &[&address, "admin-secret", "send-secret"]);
    assert!(said.contains("are as described"), "{said}");
}

/// `SCHEMA_SEED` and `SCHEMA_EXAMPLES` repeat a run, and make a longer one.
#[test]
fn whatever_it_allows_and_forbids_is_answered_as_it_says() {
    let variable = |name: &str, or: String| std::env::var(name).unwrap_or(or);
    let seed = variable("SCHEMA_SEED", std::process::id().to_string());
    let examples = variable("SCHEMA_EXAMPLES", "12".into());
    eprintln!("SCHEMA_SEED={seed} repeats this run");
    let node = node(&[]);
    let _phone = Sse::user(&node, "ann", "phone");
    let _television = Sse::user(&node, "bob", "tv");
    let address = node.internal.to_string();
    let arguments = [address.as_str(), "admin-secret", &seed, &examples];
    let said = python::run(include_str!("scripts/openapi_fuzz.py"), &arguments);
    assert!(said.contains("generated") && said.contains(&format!("Seed: {seed}")), "{said}");
    assert_eq!(node.ask("GET", "/livez", b"").status, 200);
}

/// One request of the description: method, target with its examples, header lines, and the roles of which it asks for one.
struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    roles: Vec<String>,
    /// Its answer does not end.
    streams: bool,
}

/// All of them, those that end something last.
fn requests(node: &Node) -> Vec<Request> {
    let document = node.ask("GET", "/v1/openapi.json", b"").json();
    let resolved = |value: &Value| match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap().clone(),
        None => value.clone(),
    };
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let (mut target, mut sign, mut headers) = (path.clone(), '?', Vec::new());
            for parameter in operation["parameters"].as_array().into_iter().flatten().map(resolved) {
                let name = parameter["name"].as_str().unwrap();
                let Some(value) = parameter["example"].as_str() else { continue };
                match parameter["in"].as_str().unwrap() {
                    "path" => target = target.replace(&format!("{{{name}}}"), value),
                    "query" if parameter["required"] == true => {
                        target += &format!("{sign}{name}={value}");
                        sign = '&';
                    }
                    "query" => {}
                    _ => headers.push((name.to_owned(), value.to_owned())),
                }
            }
            let roles = operation["security"][0]["token"].as_array().into_iter().flatten();
            let roles = roles.map(|role| role.as_str().unwrap().to_owned()).collect();
            let streams = operation["x-streams"] == true;
            all.push(Request { method: method.to_ascii_uppercase(), target, headers, roles, streams });
        }
    }
    all.sort_by_key(|request| request.method == "DELETE");
    all
}

impl Request {
    /// The status, and the word of a refusal.
    fn ask(&self, node: &Node, authorization: Option<&str>) -> (u16, String) {
        let mut headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        headers.extend(authorization.map(|value| ("Authorization", value)));
        let mut wire = Wire::connect(node.internal);
        wire.send(&crate::http::request_bytes(
            &node.internal.to_string(),
            &self.method,
            &self.target,
            &headers,
            b"",
        ));
        let head = wire.head().unwrap();
        if self.streams && head.status == 200 {
            return (200, String::new());
        }
        let body: Value = serde_json::from_slice(&wire.body(&head)).unwrap_or_default();
        (head.status, body["error"].as_str().unwrap_or_default().to_owned())
    }
}

#[test]
fn every_role_may_what_it_says_and_nothing_else() {
    let node = node(&[]);
    let requests = requests(&node);
    assert!(requests.len() >= 23, "{}", requests.len());
    for request in &requests {
        let what = format!("{} {}", request.method, request.target);
        let without = request.ask(&node, None);
        let wrong = request.ask(&node, Some("Bearer wrong"));
        match request.roles.is_empty() {
            true => assert!(![401, 403].contains(&without.0), "{what}: {without:?}"),
            false => assert_eq!((without.0, wrong.0), (401, 401), "{what}"),
        }
        for role in ROLES {
            let (status, word) = request.ask(&node, Some(&bearer(role)));
            let may =
                request.roles.is_empty() || role == "admin" || request.roles.iter().any(|one| one == role);
            assert_eq!(![401, 403].contains(&status), may, "{what} as {role}: {status} {word}");
            assert!(may || word == "forbidden" || request.target == "/push", "{what} as {role}: {word}");
        }
    }
}

/// The lines of the audit log that an action left behind.
fn audit(node: &Node, json: bool) -> Vec<String> {
    let is_audit = |line: &&str| {
        if json {
            line.contains("\"message\":\"audit\"")
        } else {
            line.contains("audit: audit") || line.contains(" audit ")
        }
    };
    node.log().lines().filter(is_audit).map(str::to_owned).collect()
}

/// A request, and what its line says.
type Action = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const ACTIONS: [Action; 12] = [
    ("POST", "/v1/broadcast?id=noon", &[("action", "broadcast"), ("id", "noon"), ("outcome", "begun")]),
    (
        "DELETE",
        "/v1/broadcasts/noon",
        &[("action", "stop_broadcast"), ("id", "noon"), ("outcome", "nothing")],
    ),
    (
        "DELETE",
        "/v1/users/ann/devices/phone",
        &[("action", "disconnect"), ("user", "ann"), ("device", "phone"), ("outcome", "done")],
    ),
    (
        "DELETE",
        "/v1/users/bob?block=10m",
        &[("action", "disconnect"), ("user", "bob"), ("block_ms", "600000"), ("outcome", "done")],
    ),
    ("DELETE", "/v1/users/nobody", &[("action", "disconnect"), ("user", "nobody"), ("outcome", "nothing")]),
    ("POST", "/v1/drain", &[("action", "drain"), ("outcome", "begun")]),
    ("POST", "/v1/drain", &[("action", "drain"), ("outcome", "unchanged")]),
    ("DELETE", "/v1/drain", &[("action", "cancel_drain"), ("outcome", "done")]),
    ("DELETE", "/v1/drain", &[("action", "cancel_drain"), ("outcome", "nothing")]),
    ("POST", "/v1/lanes/low/pause", &[("action", "pause"), ("lane", "low"), ("outcome", "done")]),
    ("POST", "/v1/lanes/low/resume", &[("action", "resume"), ("lane", "low"), ("outcome", "done")]),
    (
        "POST",
        "/v1/lanes/low/skip?before=10m",
        &[("action", "skip"), ("lane", "low"), ("before", "10m"), ("outcome", "done")],
    ),
];

/// Each admin action has its line, with the token's name, in both forms of the log.
fn is_audited(json: bool) {
    let format = if json { "log.format=json" } else { "log.format=text" };
    let node = node(&[format, "log.level=warn,audit=info"]);
    let _phone = Sse::user(&node, "ann", "phone");
    for (number, (method, target, fields)) in ACTIONS.into_iter().enumerate() {
        node.ask_with(method, target, &[("Authorization", &bearer("admin"))], b"secret words");
        let lines = audit(&node, json);
        assert_eq!(lines.len(), number + 1, "{method} {target}: {lines:?}");
        let line = &lines[number];
        for (name, value) in [&[("token", "a")], fields].concat() {
            let forms = match json {
                true => [format!("\"{name}\":\"{value}\""), format!("\"{name}\":{value},")],
                false => [format!(" {name}=\"{value}\""), format!(" {name}={value} ")],
            };
            assert!(forms.iter().any(|form| line.contains(form.as_str())), "{name}={value} in {line}");
        }
    }
    // Refusals: of a role that does not suffice, and of a token that is none; a bounded number of lines.
    for _ in 0..50 {
        node.ask_with("POST", "/v1/drain", &[("Authorization", &bearer("read"))], b"");
        node.ask_with("GET", "/v1/stats", &[("Authorization", "Bearer guessed-secret")], b"");
        node.ask("GET", "/v1/stats", b"");
    }
    let lines = audit(&node, json);
    let refused = &lines[ACTIONS.len()..];
    assert!((2..=40).contains(&refused.len()), "{}", refused.len());
    let has = |line: &&String, words: &[&str]| words.iter().all(|word| line.contains(word));
    assert!(
        refused.iter().any(|line| has(&line, &["refused", "forbidden", "POST", "/v1/drain"])),
        "{refused:?}"
    );
    assert!(refused.iter().any(|line| has(&line, &["refused", "unauthorized", "/v1/stats"])), "{refused:?}");
    let log = node.log();
    for secret in ["secret words", "admin-secret", "read-secret", "guessed-secret"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[test]
fn every_admin_action_is_audited_in_text() {
    is_audited(false);
}

#[test]
fn every_admin_action_is_audited_in_json() {
    is_audited(true);
}

#[test]
fn a_token_is_rotated_while_requests_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| {
        let fresh = path("fresh");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(&fresh, path(name)).unwrap();
    };
    write("ops", "old-secret\n");
    write("ci", "ci-secret");
    let config = path("node.toml");
    let table = |name: &str, role: &str, file: &Path| {
        format!("[[internal.tokens]]\nname = \"{name}\"\nrole = \"{role}\"\ntoken_file = {file:?}\n")
    };
    let text = table("ops", "admin", &path("ops")) + &table("ci", "send", &path("ci"));
    std::fs::write(&config, text).unwrap();
    let words = format!("set -- \"$@\" --config '{}'; exec", config.display());
    let node = Plan::new(&[]).prelude(&words).start();
    let mut phone = Sse::user(&node, "ann", "phone");
    let stopped = AtomicBool::new(false);
    let ask = |token: &str| {
        node.ask_with("GET", "/v1/users/ann/devices", &[("Authorization", &format!("Bearer {token}"))], b"")
            .status
    };
    std::thread::scope(|scope| {
        // Whoever has another token notices nothing, on a connection that stays open.
        let bystander = scope.spawn(|| {
            let mut wire = Wire::connect(node.internal);
            let mut pushed = 0;
            while !stopped.load(Relaxed) {
                let bearer = [("Authorization", "Bearer ci-secret")];
                let answer = wire.ask("POST", "/v1/users/ann/push", &bearer, b"hello");
                assert_eq!(answer.status, 200, "{}", answer.text());
                pushed += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            pushed
        });
        assert_eq!((ask("old-secret"), ask("new-secret")), (200, 401));
        write("ops", "new-secret\n");
        let began = Instant::now();
        until("the new token", || (ask("new-secret") == 200).then_some(()));
        assert!(began.elapsed() < Duration::from_secs(10).min(PATIENCE), "{:?}", began.elapsed());
        assert_eq!(ask("old-secret"), 401);
        // An empty file is a mistake, not a token.
        write("ops", "");
        std::thread::sleep(Duration::from_millis(2_500));
        assert_eq!(ask("new-secret"), 200);
        stopped.store(true, Relaxed);
        let pushed = bystander.join().unwrap();
        for _ in 0..pushed {
            assert_eq!(phone.event().data, "hello");
        }
    });
    let log = node.log();
    assert!(log.contains("a secret was read again") && log.contains("internal.tokens ops"), "{log}");
    assert!(!log.contains("new-secret") && !log.contains("old-secret"), "{log}");
}
