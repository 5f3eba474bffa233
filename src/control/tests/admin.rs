//! Broadcasts, devices, the drain, health and who may ask.

use super::harness::{Node, eventually, token};
use crate::{
    bridge::drain::DrainOrigin,
    config::{KafkaBrokers, Role},
    control::timestamp::Timestamp,
    kit::time::Now,
    model::{Outcome, Reason},
};
use serde_json::json;

#[test]
fn a_broadcast_is_counted() {
    let node = Node::start();
    for (user, outcome) in [("a", Outcome::Written), ("b", Outcome::Written), ("c", Outcome::Slow)] {
        node.connect(user, None, Some(outcome));
    }
    let answer = node.ask(&["POST /v1/broadcast?id=news&scope=node&spread=0"], "hello");
    assert_eq!(answer.status, 200);
    let json = answer.json();
    assert_eq!((&json["id"], &json["nodes"]), (&json!("news"), &json!(1)));
    assert_eq!((&json["outcomes"]["written"], &json["outcomes"]["slow"]), (&json!(2), &json!(1)));
    assert_eq!(json["complete"], true);
    assert_eq!(json["outcomes"].as_object().unwrap().len(), Outcome::ALL.len());
    assert_eq!((node.count(Outcome::Written), node.count(Outcome::Slow)), (2, 1));
    assert_eq!(node.ask(&["POST /v1/broadcast?scope=world"], "x").error().0, 400);
    assert_eq!(node.ask(&["POST /v1/broadcast?spread=2h"], "x").error().0, 400);
    assert_eq!(node.ask(&["DELETE /v1/broadcasts/news"], "").error(), (404, "not_found".into()));
}

#[test]
fn a_broadcast_that_is_not_through_is_answered_in_time_and_can_be_stopped() {
    let node = Node::start();
    node.script.lock().unwrap().hold_broadcasts = true;
    let answer = node.ask(&["POST /v1/broadcast?id=a%2Fb&timeout=50ms"], "hello");
    assert_eq!((answer.status, &answer.json()["outcomes"]["written"]), (200, &json!(0)));
    assert_eq!(answer.json()["complete"], false);
    assert_eq!(node.ask(&["POST /v1/broadcast?id=a%2Fb"], "hello").error(), (409, "same_id".into()));
    assert_eq!(node.status(&["DELETE /v1/broadcasts/a%2Fb"], ""), 202);
}

#[test]
fn devices_are_shown_and_asked_to_leave() {
    let node = Node::start();
    node.connect("ann", Some("tv"), None);
    node.connect("ann", Some("pho ne"), None);
    let answer = node.ask(&["GET /v1/users/ann/devices"], "");
    let json = answer.json();
    assert_eq!((answer.status, &json["user"]), (200, &json!("ann")));
    let tv = json["devices"].as_array().unwrap().iter().find(|row| row["device"] == "tv");
    // The harness's connections began when the node's clock stood at a second, and live for half an hour.
    let now = node.clock.now();
    let began_s = (now.unix_ms - now.millis() + 1_000) / 1_000;
    let expected = [began_s, began_s + 1].map(|began_s| {
        json!({
            "device": "tv", "node": "node-1", "protocol": "websocket",
            "connected_at": Timestamp(began_s as u32), "expires_at": Timestamp(began_s as u32 + 1_800),
        })
    });
    assert!(tv.is_some_and(|tv| expected.contains(tv)), "{tv:?}");
    assert_eq!(node.status(&["GET /v1/users/bob/devices"], ""), 404);
    assert_eq!(node.status(&["DELETE /v1/users/ann/devices/pho%20ne"], ""), 202);
    eventually(|| node.script.lock().unwrap().closed == [(1, Reason::Operator)]);
    assert_eq!(node.status(&["DELETE /v1/users/ann/devices/none"], ""), 404);
    assert_eq!(node.status(&["DELETE /v1/users/bob"], ""), 404);
    assert_eq!(node.status(&["DELETE /v1/users/bob?block=10m"], ""), 202);
    assert_eq!(node.status(&["DELETE /v1/users/ann"], ""), 202);
    eventually(|| node.script.lock().unwrap().closed.len() == 3);
    let now = node.clock.now().unix_ms;
    assert!(node.blocks.is_blocked("bob", now + 500_000) && !node.blocks.is_blocked("bob", now + 700_000));
    assert!(!node.blocks.is_blocked("ann", now));
    assert_eq!(node.ask(&["DELETE /v1/users/ann/devices/tv?block=1"], "").error().1, "unknown_parameter");
    assert_eq!(node.ask(&["DELETE /v1/users/ann?block=31d"], "").error().1, "bad_parameter");
}

#[test]
fn lanes_pause_and_go_on_and_leave_out_what_is_old() {
    let node = Node::with(|config| config.kafka.brokers = KafkaBrokers::Embedded);
    assert_eq!(node.status(&["GET /readyz"], ""), 503, "Kafka has not answered");
    let paused = node.ask(&["POST /v1/lanes/low/pause"], "");
    assert_eq!(
        (paused.status, &paused.json()["paused"], &paused.json()["lane"]),
        (202, &json!(true), &json!("low"))
    );
    assert_eq!(node.ask(&["POST /v1/lanes/low/skip?before=1700000000000"], "").status, 202);
    let lanes = node.ask(&["GET /v1/lanes"], "").json()["lanes"].clone();
    let shown = |at: usize| {
        (lanes[at]["lane"].clone(), lanes[at]["paused"].clone(), lanes[at]["skip_before_ms"].clone())
    };
    assert_eq!(shown(0), (json!("high"), json!(false), json!(0)));
    assert_eq!(shown(2), (json!("low"), json!(true), json!(1_700_000_000_000u64)));
    assert_eq!(node.ask(&["POST /v1/lanes/low/resume"], "").json()["paused"], false);
    for (line, expected) in [
        ("POST /v1/lanes/urgent/pause", (404, "unknown_lane")),
        ("POST /v1/lanes/low/skip", (400, "bad_parameter")),
        ("POST /v1/lanes/low/skip?before=soon", (400, "bad_parameter")),
        ("POST /v1/lanes/low/pause?before=1", (400, "unknown_parameter")),
        ("GET /v1/lanes/low/pause", (405, "method_not_allowed")),
    ] {
        assert_eq!(node.ask(&[line], "").error(), (expected.0, expected.1.to_owned()), "{line}");
    }
    let alone = Node::start();
    assert_eq!(alone.ask(&["POST /v1/lanes/low/pause"], "").error(), (409, "no_queue".into()));
}

#[test]
fn the_drain_begins_shows_and_is_taken_back() {
    let node = Node::start();
    assert_eq!(node.ask(&["DELETE /v1/drain"], "").error(), (409, "not_draining".into()));
    assert_eq!(node.ask(&["GET /v1/drain"], "").json()["phase"], "serving");
    assert_eq!(node.status(&["GET /readyz"], ""), 200);
    let begun = node.ask(&["POST /v1/drain"], "");
    assert_eq!(
        (begun.status, &begun.json()["phase"], &begun.json()["origin"]),
        (202, &json!("delay"), &json!("api"))
    );
    assert_eq!(node.status(&["POST /v1/drain"], ""), 202);
    let ready = node.ask(&["GET /readyz"], "");
    assert_eq!((ready.status, &ready.json()["reason"]), (503, &json!("draining")));
    assert_eq!(node.status(&["GET /livez"], ""), 200);
    node.connect("ann", None, Some(Outcome::Written));
    assert_eq!(node.status(&["POST /v1/users/ann/push"], "x"), 200);
    assert_eq!(node.status(&["DELETE /v1/drain"], ""), 202);
    assert_eq!(node.status(&["GET /readyz"], ""), 200);
    node.drain.start(DrainOrigin::Signal, Now { micros: 0, unix_ms: 0 }, 0);
    assert_eq!(node.status(&["DELETE /v1/drain"], ""), 409);
}

#[test]
fn what_the_node_tells() {
    let node = Node::start();
    let metrics = node.ask(&["GET /metrics?format=any"], "");
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
    assert!(metrics.text().contains("holdfast_build_info"));
    assert!(node.ask(&["GET /v1/stats"], "").json().is_object());
    assert_eq!(node.ask(&["GET /v1/nodes"], "").json()["nodes"][0]["node"], "node-1");
    let head = {
        let mut client = node.client();
        client.send(&["HEAD /livez"], "");
        client.head()
    };
    assert_eq!(head.status, 200);
}

#[test]
fn every_endpoint_asks_for_its_role() {
    let roles = [
        ("send", Role::Send),
        ("read", Role::Read),
        ("admin", Role::Admin),
        ("peer", Role::Peer),
        ("all", Role::All),
    ];
    let node = Node::with(|config| {
        config.internal.tokens = roles.iter().map(|(name, role)| token(name, *role)).collect();
    });
    let send = [200, 403, 200, 403, 200];
    let read = [403, 200, 200, 403, 200];
    let admin = [403, 403, 200, 403, 200];
    for (line, allowed) in [
        ("POST /push", send),
        ("POST /v1/users/ann/push", send),
        ("POST /v1/messages", send),
        ("POST /v1/tickets", send),
        ("GET /v1/users/ann/devices", read),
        ("GET /v1/nodes", read),
        ("GET /v1/stats", read),
        ("GET /v1/drain", read),
        ("GET /v1/lanes", read),
        ("POST /v1/lanes/low/pause", admin),
        ("POST /v1/lanes/low/skip?before=0", admin),
        ("GET /metrics", read),
        ("POST /v1/broadcast", admin),
        ("DELETE /v1/broadcasts/x", admin),
        ("DELETE /v1/users/ann", admin),
        ("DELETE /v1/users/ann/devices/x", admin),
        ("DELETE /v1/drain", admin),
    ] {
        for ((name, _), expected) in roles.iter().zip(allowed) {
            let bearer = format!("Authorization: Bearer {name}-secret");
            let status = node.status(&[line, &bearer, "X-CUSTOMER_ID: ann"], "");
            assert_eq!(status == 403, expected == 403, "{line} as {name}: {status}");
            assert_ne!(status, 401, "{line} as {name}");
        }
        assert_eq!(node.status(&[line, "X-CUSTOMER_ID: ann"], ""), 401, "{line}");
    }
    assert_eq!(node.status(&["GET /livez"], ""), 200);
    assert_eq!(node.status(&["GET /readyz", "Host: evil.example"], ""), 200);
}

#[test]
fn browsers_of_other_sites_and_foreign_names_are_turned_away() {
    let node = Node::with(|config| config.node.advertise = Some("push.example.com:7008".into()));
    for (header, expected) in [
        ("Host: evil.example", 403),
        ("Host: push.example.com", 200),
        ("Host: [::1]:7008", 200),
        ("Origin: http://evil.example", 403),
        ("Origin: http://localhost", 200),
        ("Origin: null", 403),
        ("Sec-Fetch-Site: cross-site", 403),
        ("Sec-Fetch-Site: same-site", 403),
        ("Sec-Fetch-Site: same-origin", 200),
    ] {
        let answer = node.ask(&["GET /v1/nodes", header], "");
        assert_eq!(answer.status, expected, "{header}");
    }
    let mut client = node.client();
    client.raw("GET http://evil.example/v1/nodes HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.answer().error(), (403, "foreign_host".into()));
    assert_eq!(node.status(&["GET /livez", "Host: evil.example"], ""), 200);
}
