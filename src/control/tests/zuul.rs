//! Zuul's endpoint.

use super::harness::{Node, token};
use crate::{config::Role, model::Outcome};

#[test]
fn every_outcome_has_its_status_and_no_body() {
    let node = Node::start();
    for (user, outcomes, status) in [
        ("w", &[Outcome::Written][..], 200),
        ("a", &[Outcome::Slow, Outcome::Acked], 200),
        ("s", &[Outcome::Slow, Outcome::Stale], 503),
        ("r", &[Outcome::RateLimited], 503),
        ("f", &[Outcome::Failed], 503),
        ("g", &[Outcome::Stale], 404),
        ("n", &[], 404),
    ] {
        for (at, outcome) in outcomes.iter().enumerate() {
            node.connect(user, Some(&at.to_string()), Some(*outcome));
        }
        let answer = node.ask(&["POST /push", &format!("X-CUSTOMER_ID: {user}")], "hello");
        assert_eq!(answer.status, status, "{user}");
        assert_eq!((answer.header("content-length"), answer.body.len()), (Some("0"), 0), "{user}");
        assert_eq!(answer.header("retry-after").is_some(), status == 503, "{user}");
    }
    assert_eq!(node.count(Outcome::Written), 1);
    assert_eq!(node.count(Outcome::Slow), 2);
    assert_eq!(node.count(Outcome::Offline), 1);
}

#[test]
fn the_other_statuses() {
    let node = Node::with(|config| config.limits.push_bytes = 100);
    node.connect("ann", Some("tv"), Some(Outcome::Written));
    let ann = "X-CUSTOMER_ID: ann";
    assert_eq!(node.status(&["POST /a/b/push", ann], "x"), 200);
    assert_eq!(node.status(&["POST /push?a=b", ann], "x"), 200);
    assert_eq!(node.status(&["POST /push", "x-customer_id: ann", "Content-Type: image/png"], "x"), 200);
    let empty = node.ask(&["POST /push", ann], "");
    assert_eq!((empty.status, empty.body.len()), (204, 0));
    assert_eq!(node.status(&["POST /push", ann], b"\xff"), 400);
    assert_eq!(node.status(&["POST /push"], "x"), 401);
    assert_eq!(node.status(&["POST /push", "X-CUSTOMER_ID: "], "x"), 400);
    assert_eq!(node.status(&["POST /push", &format!("X-CUSTOMER_ID: {}", "a".repeat(257))], "x"), 400);
    let put = node.ask(&["PUT /push", ann], "x");
    assert_eq!((put.status, put.header("allow")), (405, Some("GET, POST")));
    assert_eq!(node.status(&["POST /push", ann], [b'x'; 100]), 200);
    assert_eq!(node.status(&["POST /push", ann], [b'x'; 101]), 413);
    assert_eq!(node.status(&["POST /push", ann, "X-Zuul.push.secure.token: any"], "x"), 403);
    assert_eq!(node.status(&["GET /push", ann], ""), 200);
    assert_eq!(node.status(&["GET /push", "X-CUSTOMER_ID: bob"], ""), 404);
    assert_eq!(node.status(&["GET /push"], ""), 401);
    assert_eq!(node.status(&["POST /push/x", ann], "x"), 404);
    assert_eq!(node.status(&["POST /v1/push", ann], "x"), 404);
    let foreign = node.ask(&["POST /push", ann, "Host: evil.example"], "x");
    assert_eq!((foreign.status, foreign.body.len()), (403, 0));
    assert_eq!(node.status(&["POST /push", ann, "Origin: http://evil.example"], "x"), 403);
    let mut client = node.client();
    client.raw("BAD\r\n\r\n");
    assert_eq!(client.head().status, 400);
}

#[test]
fn tokens_in_either_spelling_and_trusted_networks() {
    let tokens = vec![token("send", Role::Send), token("read", Role::Read)];
    let strict = Node::with(|config| config.internal.tokens = tokens.clone());
    let lenient = Node::with(|config| {
        config.internal.tokens = tokens;
        config.internal.push_from = vec!["127.0.0.0/8".parse().unwrap()];
    });
    strict.connect("ann", None, Some(Outcome::Written));
    lenient.connect("ann", None, Some(Outcome::Written));
    let ann = "X-CUSTOMER_ID: ann";
    assert_eq!(strict.status(&["POST /push", ann], "x"), 401);
    assert_eq!(strict.status(&["POST /push", ann, "X-Zuul.push.secure.token: send-secret"], "x"), 200);
    assert_eq!(strict.status(&["POST /push", ann, "X-Zuul.push.secure.token: read-secret"], "x"), 403);
    assert_eq!(strict.status(&["POST /push", ann, "X-Zuul.push.secure.token: wrong"], "x"), 403);
    assert_eq!(strict.status(&["POST /push", ann, "Authorization: Bearer send-secret"], "x"), 200);
    assert_eq!(strict.status(&["POST /push", ann, "Authorization: Bearer read-secret"], "x"), 403);
    assert_eq!(lenient.status(&["POST /push", ann], "x"), 200);
    assert_eq!(lenient.status(&["POST /push", ann, "X-Zuul.push.secure.token: wrong"], "x"), 403);
    assert_eq!(lenient.status(&["POST /v1/users/ann/push"], "x"), 401);
}

#[test]
fn another_identity_header() {
    let node = Node::with(|config| config.internal.identity_header = "X-Account".into());
    node.connect("ann", None, Some(Outcome::Written));
    assert_eq!(node.status(&["POST /push", "X-Account: ann"], "x"), 200);
    assert_eq!(node.status(&["POST /push", "X-CUSTOMER_ID: ann"], "x"), 401);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let node = Node::start();
    node.connect("ann", None, Some(Outcome::Written));
    let mut client = node.client();
    let request = |user: &str, body: &str| {
        format!(
            "POST /push HTTP/1.1\r\nHost: localhost\r\nX-CUSTOMER_ID: {user}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let many: String =
        ["ann", "bob", "ann"].iter().cycle().take(30).map(|user| request(user, "hello")).collect();
    client.raw(&many);
    let statuses: Vec<u16> = (0..30).map(|_| client.answer().status).collect();
    assert_eq!(statuses, [200, 404, 200].repeat(10));
    // The same, a byte at a time.
    let slow = request("ann", "hello");
    slow.bytes().for_each(|byte| client.raw([byte]));
    assert_eq!(client.answer().status, 200);
}
