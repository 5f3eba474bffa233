//! Users and their devices: who wins, who is reached, who is kept out.

use crate::{
    client::{CLOSE, Sse, Ws, get, upgrade},
    http::{Answer, Wire},
    node::{Node, Plan},
};
use std::{collections::BTreeSet, net::IpAddr};

fn names(node: &Node, user: &str) -> Vec<String> {
    let answer = node.ask("GET", &format!("/v1/users/{user}/devices"), b"").json();
    let rows = answer["devices"].as_array().unwrap();
    let mut names: Vec<String> = rows.iter().map(|row| row["device"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn refusal(node: &Node, request: &[u8]) -> Answer {
    let mut wire = Wire::connect(node.clients);
    wire.send(request);
    let answer = wire.answer().unwrap();
    wire.assert_closed();
    answer
}

#[test]
fn the_newer_connection_of_a_device_takes_over() {
    // Two shards, so that the two connections may lie on different ones.
    let node = Plan::new(&[]).shards(2).start();
    for user in ["ada", "grace", "edsger", "barbara", "tony", "leslie"] {
        let mut first = Ws::user(&node, user, "phone");
        let mut second = Ws::user(&node, user, "phone");
        assert_eq!(first.close_frame(), (4001, "displaced".into()));
        assert_eq!(node.push(&format!("{user}/push"), "newer").1, [("phone".into(), "written".into())]);
        assert_eq!(second.text(), "newer");
        first.send(CLOSE, &4001u16.to_be_bytes());
        first.assert_end();
        assert_eq!(names(&node, user), ["phone"], "the end of the older does not remove the newer");
    }
    node.wait_for_metric("holdfast_closes_total{reason=\"displaced\"}", 6.0);
}

#[test]
fn a_displaced_event_stream_is_told_so() {
    let node = Node::start(&[]);
    let mut first = Sse::user(&node, "ada", "tab");
    let mut second = Ws::user(&node, "ada", "tab");
    let event = first.event();
    assert_eq!((event.name.as_str(), event.data.as_str()), ("close", "4001 displaced"));
    first.assert_end();
    assert_eq!(node.push_one("ada/push", "newer"), "written");
    assert_eq!(second.text(), "newer");
}

#[test]
fn past_three_takeovers_in_a_minute_the_holder_stays() {
    let node = Node::start(&[]);
    let mut holder = Ws::user(&node, "ada", "tab");
    for _ in 0..3 {
        let newer = Ws::user(&node, "ada", "tab");
        assert_eq!(holder.close_frame().0, 4001);
        holder = newer;
    }
    let mut newcomer = Ws::user(&node, "ada", "tab");
    assert_eq!(newcomer.close_frame(), (4001, "displaced".into()));
    newcomer.send(CLOSE, &4001u16.to_be_bytes());
    newcomer.assert_end();
    let answer = refusal(&node, &get("/sse?user=ada&device=tab", &[]));
    assert_eq!((answer.status, answer.body.len()), (204, 0), "204 stops an EventSource");
    assert_eq!(node.push_one("ada/push", "holder"), "written");
    assert_eq!(holder.text(), "holder");
    assert_eq!(node.metric("holdfast_handshakes_total{result=\"takeover_fight\"}"), 2.0);
    // Another device of the same user is not concerned.
    let mut other = Ws::user(&node, "ada", "other");
    assert_eq!(node.push("ada/push?device=other", "x").1.len(), 1);
    assert_eq!(other.text(), "x");
}

#[test]
fn unnamed_devices_coexist_under_names_of_their_own() {
    let node = Plan::new(&[]).shards(2).start();
    let mut all: Vec<Ws> = (0..4).map(|_| Ws::user(&node, "ada", "")).collect();
    let names = names(&node, "ada");
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 4, "{names:?}");
    assert_eq!(node.push("ada/push", "all").1.len(), 4);
    for ws in &mut all {
        assert_eq!(ws.text(), "all");
    }
    // Each can be reached by the name that it was given.
    assert_eq!(
        node.push(&format!("ada/push?device={}", names[0]), "one").1,
        [(names[0].clone(), "written".into())]
    );
    assert_eq!(node.push("ada/push?device=another", "none"), (404, vec![]));
}

#[test]
fn devices_are_listed_with_what_they_speak_and_until_when() {
    let node = Node::start(&[]);
    assert_eq!(node.ask("GET", "/v1/users/ada/devices", b"").status, 404);
    let _phone = Ws::user(&node, "ada", "phone");
    let _page = Sse::user(&node, "ada", "page");
    let answer = node.ask("GET", "/v1/users/ada/devices", b"");
    assert_eq!(answer.status, 200);
    let value = answer.json();
    assert_eq!(value["user"], "ada");
    let mut rows = value["devices"].as_array().unwrap().clone();
    rows.sort_by_key(|row| row["device"].as_str().unwrap().to_owned());
    let shown: Vec<_> = rows.iter().map(|row| (row["device"].as_str(), row["protocol"].as_str())).collect();
    assert_eq!(shown, [(Some("page"), Some("sse")), (Some("phone"), Some("websocket"))]);
    for row in &rows {
        assert_eq!(row["node"], "node-1");
        let (from, to) = (row["connected_at"].as_str().unwrap(), row["expires_at"].as_str().unwrap());
        assert!(from.ends_with('Z') && from < to, "{from} {to}");
    }
}

#[test]
fn one_connection_too_many_of_a_user_closes_the_oldest() {
    let node = Node::start(&["limits.connections_per_user=2"]);
    let mut oldest = Ws::user(&node, "ada", "a");
    let mut middle = Ws::user(&node, "ada", "b");
    let mut newest = Ws::user(&node, "ada", "c");
    let _other = Ws::user(&node, "grace", "a");
    assert_eq!(oldest.close_frame().0, 4001);
    assert_eq!(names(&node, "ada"), ["b", "c"]);
    assert_eq!(node.push("ada/push", "x").1.len(), 2);
    assert_eq!((middle.text(), newest.text()), ("x".into(), "x".into()));
}

#[test]
fn connections_of_one_address_are_bounded_and_others_are_not_concerned() {
    let node = Node::start(&["limits.connections_per_address=2"]);
    let here: IpAddr = "127.0.0.2".parse().unwrap();
    let there: IpAddr = "127.0.0.3".parse().unwrap();
    let open = |from, user: &str| {
        Ws::try_open(Wire::connect_from(from, node.clients), &format!("/ws?user={user}"), &[])
    };
    let first = open(here, "a").unwrap();
    let _second = open(here, "b").unwrap();
    let refused = open(here, "c").err().expect("a refusal");
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    let _other = open(there, "d").unwrap();
    first.close();
    node.wait_for_metric("holdfast_closes_total{reason=\"client_closed\"}", 1.0);
    let _third = open(here, "c").unwrap();
}

#[test]
fn an_operator_asks_a_device_to_leave_and_then_closes_it() {
    let node = Node::start(&["lifetime.grace=300ms"]);
    let mut phone = Ws::user(&node, "ada", "my phone");
    let mut tv = Ws::user(&node, "ada", "tv");
    assert_eq!(node.ask("DELETE", "/v1/users/ada/devices/radio", b"").status, 404);
    assert_eq!(node.ask("DELETE", "/v1/users/grace", b"").status, 404);
    assert_eq!(node.ask("DELETE", "/v1/users/ada/devices/my%20phone", b"").status, 202);
    assert_eq!(phone.text(), "_CLOSE_");
    assert_eq!(phone.close_frame().0, 4003);
    phone.send(CLOSE, &4003u16.to_be_bytes());
    phone.assert_end();
    assert_eq!(names(&node, "ada"), ["tv"]);
    assert_eq!(node.push_one("ada/push", "x"), "written");
    assert_eq!(tv.text(), "x");
    node.wait_for_metric("holdfast_closes_total{reason=\"operator\"}", 1.0);
}

#[test]
fn an_operator_asks_a_user_to_leave_and_keeps_them_out_for_a_while() {
    let node = Node::start(&["lifetime.grace=200ms"]);
    let mut all = [Ws::user(&node, "ada", "a"), Ws::user(&node, "ada", "b")];
    let mut stream = Sse::user(&node, "ada", "c");
    assert_eq!(node.ask("DELETE", "/v1/users/ada?block=2s", b"").status, 202);
    // From this moment on, also while the old ones are still leaving.
    let refused = refusal(&node, &upgrade("/ws?user=ada&device=d", &[]));
    assert!((400..600).contains(&refused.status), "{refused:?}");
    for ws in &mut all {
        assert_eq!(ws.text(), "_CLOSE_");
        assert_eq!(ws.close_frame().0, 4003);
    }
    assert_eq!(stream.event().name, "goaway");
    let close = stream.event();
    assert!(close.name == "close" && close.data.starts_with("4003"), "{close:?}");
    stream.assert_end();
    let _other = Ws::user(&node, "grace", "");
    // The block ends by itself.
    crate::node::until("the end of the block", || {
        Ws::try_open(Wire::connect(node.clients), "/ws?user=ada", &[]).ok()
    });
}

#[test]
fn a_client_that_leaves_when_asked_is_counted_with_the_reason() {
    let node = Node::start(&["lifetime.grace=20s"]);
    let mut ws = Ws::user(&node, "ada", "a");
    assert_eq!(node.ask("DELETE", "/v1/users/ada", b"").status, 202);
    assert_eq!(ws.text(), "_CLOSE_");
    ws.close();
    node.wait_for_metric("holdfast_closes_total{reason=\"operator\"}", 1.0);
    assert_eq!(node.metric("holdfast_goaways_total{reason=\"operator\"}"), 1.0);
    let _again = Ws::user(&node, "ada", "a");
}

#[test]
fn connections_and_closes_add_up() {
    let node = Plan::new(&[]).shards(2).start();
    let mut open: Vec<Ws> = (0..20).map(|number| Ws::user(&node, &format!("u{number}"), "d")).collect();
    for ws in open.drain(..5) {
        ws.close();
    }
    drop(open.drain(..5).collect::<Vec<_>>());
    for number in 10..13 {
        open.push(Ws::user(&node, &format!("u{number}"), "d"));
    }
    node.wait_for_metric("holdfast_connections{protocol=\"websocket\"}", 10.0);
    // A displaced one is closed, but its client has yet to answer.
    node.wait_for_metric("holdfast_closes_total{reason=\"displaced\"}", 3.0);
    let closes = |reason: &str| node.metric(&format!("holdfast_closes_total{{reason=\"{reason}\"}}"));
    assert_eq!(closes("client_closed"), 5.0);
    assert_eq!(closes("client_gone"), 5.0);
    assert_eq!(closes("displaced"), 3.0);
    assert_eq!(node.metric("holdfast_handshakes_total{result=\"accepted\"}"), 23.0);
    assert_eq!(node.metric("holdfast_timers"), 10.0, "one for each live connection");
    drop(open);
    node.wait_for_metric("holdfast_connections{protocol=\"websocket\"}", 0.0);
    node.wait_for_metric("holdfast_timers", 0.0);
}
