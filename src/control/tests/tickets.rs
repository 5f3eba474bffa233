//! What a backend that asks for tickets is answered.

use super::harness::Node;
use crate::{config::RegistryUrl, control::timestamp::Timestamp, stats::TicketResult};
use serde_json::json;

const ASK: &str = "POST /v1/tickets";

#[test]
fn a_ticket_is_made_and_kept_by_nobody_on_the_way() {
    let node = Node::start();
    let before_s = node.clock.now().unix_ms / 1_000;
    let exp = before_s + 7_200;
    for (body, lives_s) in [
        (json!({ "user": "ann" }), 30),
        (json!({ "user": "j\u{fc}rgen", "device": "a \"tab\"", "exp": exp }), 30),
        (json!({ "user": "ann", "device": null, "ttl": 5, "exp": null }), 5),
        (json!({ "user": "ann", "ttl": "5m" }), 300),
        (json!({ "user": "ann", "ttl": "1500ms" }), 1),
    ] {
        let answer = node.ask(&[ASK], body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let json = answer.json();
        assert_eq!(json.as_object().unwrap().len(), 2, "{json}");
        assert!(json["ticket"].as_str().unwrap().starts_with("t1."));
        // The clock may have gone on by a second or two, and what is begun of one counts.
        let may_end = (0..4).map(|more| json!(Timestamp((before_s + lives_s + more) as u32)));
        assert!(may_end.into_iter().any(|end| end == json["expires_at"]), "{json} for {body}");
    }
    assert_eq!(node.stats.tickets_of(TicketResult::Made), 5);
}

#[test]
fn what_asks_for_no_ticket_is_told_why() {
    let node = Node::start();
    let name = "x".repeat(257);
    let soon = node.clock.now().unix_ms / 1_000;
    for (body, error, word) in [
        ("".to_owned(), "bad_body", "object"),
        ("user=ann".into(), "bad_body", "object"),
        ("[\"ann\",null,null,null]".into(), "bad_body", "object"),
        ("{\"user\":\"ann\"".into(), "bad_body", "EOF"),
        ("{}".into(), "bad_body", "user"),
        (json!({ "user": 7 }).to_string(), "bad_body", "string"),
        (json!({ "user": "ann", "time": 5 }).to_string(), "bad_body", "time"),
        ("{\"user\":\"ann\",\"user\":\"bob\"}".into(), "bad_body", "duplicate"),
        ("{\"user\":\"ann\"}{}".into(), "bad_body", "trailing"),
        (json!({ "user": "" }).to_string(), "bad_identifier", "user"),
        (json!({ "user": name }).to_string(), "bad_identifier", "user"),
        (json!({ "user": "a\nb" }).to_string(), "bad_identifier", "user"),
        (json!({ "user": "ann", "device": "" }).to_string(), "bad_identifier", "device"),
        (json!({ "user": "ann", "ttl": 0 }).to_string(), "bad_body", "ttl"),
        (json!({ "user": "ann", "ttl": 301 }).to_string(), "bad_body", "5m"),
        (json!({ "user": "ann", "ttl": u64::MAX }).to_string(), "bad_body", "ttl"),
        (json!({ "user": "ann", "ttl": "soon" }).to_string(), "bad_body", "ttl"),
        (json!({ "user": "ann", "ttl": -1 }).to_string(), "bad_body", "seconds"),
        (json!({ "user": "ann", "exp": soon - 1 }).to_string(), "bad_body", "future"),
        (json!({ "user": "ann", "exp": -1 }).to_string(), "bad_body", "u64"),
    ] {
        let answer = node.ask(&[ASK], &body);
        assert_eq!(answer.error(), (400, error.into()), "{body}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(word), "{body}: {message}");
    }
    let large = json!({ "user": "ann", "device": "d".repeat(9_000) }).to_string();
    let answer = node.ask(&[ASK], large);
    assert_eq!(answer.error(), (413, "too_large".into()));
    assert!(!answer.text().contains("push_bytes"), "{answer:?}");
    assert_eq!(node.ask(&["POST /v1/tickets?user=ann"], "{}").error(), (400, "unknown_parameter".into()));
    let answer = node.ask(&["GET /v1/tickets"], "");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(node.stats.tickets_of(TicketResult::Made), 0);
}

#[test]
fn in_a_fleet_without_keys_the_setting_is_named() {
    let node = Node::with(|config| {
        config.registry.url = RegistryUrl::Redis("redis://127.0.0.1:1".parse().unwrap());
    });
    let answer = node.ask(&[ASK], "{\"user\":\"ann\"}");
    assert_eq!(answer.error(), (409, "no_keys".into()));
    assert!(answer.text().contains("auth.tickets.keys_file"), "{answer:?}");
}
