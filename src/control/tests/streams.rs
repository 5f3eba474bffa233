//! `POST /v1/messages`.

use super::harness::{Node, eventually};
use crate::{
    control::messages::IN_FLIGHT_MAX,
    model::{Body, Lane, Message, Outcome},
};
use serde_json::json;
use std::sync::Arc;

#[test]
fn answers_come_in_the_order_of_the_lines_and_a_bad_line_spoils_no_other() {
    let node = Node::with(|config| config.limits.push_bytes = 64);
    node.connect("ann", Some("tv"), Some(Outcome::Written));
    node.connect("bob", Some("tv"), Some(Outcome::Slow));
    let lines = [
        r#"{"user":"ann","text":"a\"b","id":"1","lane":"low","ttl":"30s"}"#.to_owned(),
        r#"{"user":"ann","json":{"a": [1, null]},"id":"2"}"#.into(),
        "{".into(),
        String::new(),
        " \r".into(),
        r#"{"user":"nobody","text":"x","id":"3"}"#.into(),
        r#"{"user":"bob","base64":"/w==","id":"4"}"#.into(),
        r#"{"user":"bob","base64":"*"}"#.into(),
        r#"{"user":"bob"}"#.into(),
        r#"{"user":"bob","text":"x","json":1}"#.into(),
        r#"{"user":"","text":"x"}"#.into(),
        r#"{"user":"ann","text":"x","tll":1}"#.into(),
        r#"{"user":"ann","text":"x","lane":"fast"}"#.into(),
        format!(r#"{{"user":"ann","text":"{}"}}"#, "x".repeat(65)),
        format!(r#"{{"user":"ann","text":"{}"}}"#, "x".repeat(9_000)),
        r#"{"user":"ann","json":null,"id":"5"}"#.into(),
    ];
    let body = lines.join("\n");
    let outcome =
        |device: &str, outcome: &str| json!([{ "device": device, "outcome": outcome, "node": "node-1" }]);
    let check = |answers: Vec<serde_json::Value>| {
        let expected = [
            Ok(("1", outcome("tv", "written"))),
            Ok(("2", outcome("tv", "written"))),
            Err("bad_line"),
            Ok(("3", json!([]))),
            Ok(("4", outcome("tv", "slow"))),
            Err("bad_line"),
            Err("bad_line"),
            Err("bad_line"),
            Err("bad_identifier"),
            Err("bad_line"),
            Err("unknown_lane"),
            Err("too_large"),
            Err("too_large"),
            Ok(("5", outcome("tv", "written"))),
        ];
        assert_eq!(answers.len(), expected.len(), "{answers:?}");
        for (answer, expected) in answers.iter().zip(expected) {
            match expected {
                Ok((id, outcomes)) => assert_eq!(answer, &json!({ "id": id, "outcomes": outcomes })),
                Err(error) => assert_eq!(answer["error"], error, "{answer}"),
            }
        }
    };
    let answer = node.ask(&["POST /v1/messages", "Content-Type: application/x-ndjson"], &body);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
    check(answer.lines());
    {
        let script = node.script.lock().unwrap();
        // The shard takes a higher lane first.
        let of = |id: &str| {
            let named = |message: &&Arc<Message>| message.id.as_ref().is_some_and(|had| had.as_str() == id);
            script.messages.iter().find(named).unwrap()
        };
        for (id, body) in [
            ("1", Body::Text("a\"b".into())),
            ("2", Body::Json("{\"a\": [1, null]}".into())),
            ("4", Body::Binary((&b"\xff"[..]).into())),
            ("5", Body::Json("null".into())),
        ] {
            assert_eq!(of(id).body, body);
        }
        assert_eq!((script.messages.len(), of("1").lane, of("2").lane), (4, Lane(2), Lane(1)));
        assert!(of("1").expires_unix_ms.is_some());
    }
    // The same in chunks that are cut anywhere.
    for size in [1, 7, 100] {
        let mut client = node.client();
        client.raw("POST /v1/messages HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for part in body.as_bytes().chunks(size) {
            client.raw([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
        }
        client.raw("0\r\n\r\n");
        check(client.answer().lines());
    }
}

#[test]
fn a_batch_is_answered_with_one_length() {
    let node = Node::start();
    node.connect("ann", Some("tv"), Some(Outcome::Written));
    let body = "{\"user\":\"ann\",\"text\":\"hello\"}\n".repeat(100);
    let mut client = node.client();
    for _ in 0..5 {
        client.send(&["POST /v1/messages"], &body);
        let answer = client.answer();
        assert_eq!(answer.lines().len(), 100);
        assert!(answer.lines().iter().all(|line| line["outcomes"][0]["outcome"] == "written"));
    }
    let empty = node.ask(&["POST /v1/messages"], "");
    assert_eq!((empty.status, empty.body.len()), (200, 0));
    assert_eq!(node.count(Outcome::Written), 500);
}

#[test]
fn answers_leave_while_lines_are_still_to_come() {
    let node = Node::start();
    node.connect("ann", Some("tv"), Some(Outcome::Written));
    node.connect("slow", Some("tv"), None);
    let mut client = node.client();
    client.raw("POST /v1/messages HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let line = |client: &mut super::harness::Client, user: &str| {
        let line = format!("{{\"user\":\"{user}\",\"text\":\"x\"}}\n");
        client.raw(format!("{:x}\r\n{line}\r\n", line.len()));
    };
    line(&mut client, "ann");
    assert_eq!(client.head().status, 200);
    assert!(String::from_utf8(client.chunk().unwrap()).unwrap().contains("written"));
    // The first of a pair leaves although the second has no outcome.
    line(&mut client, "ann");
    line(&mut client, "slow");
    line(&mut client, "ann");
    assert!(String::from_utf8(client.chunk().unwrap()).unwrap().contains("written"));
    eventually(|| !node.script.lock().unwrap().kept.is_empty());
    let ticket = node.script.lock().unwrap().kept.pop().unwrap();
    ticket.answer(Outcome::Slow);
    client.raw("0\r\n\r\n");
    let rest: Vec<u8> = std::iter::from_fn(|| client.chunk()).flatten().collect();
    let rest = String::from_utf8(rest).unwrap();
    let at = |word: &str| rest.find(word).unwrap();
    assert!(rest.lines().count() == 2 && at("slow") < at("written"), "{rest}");
    client.send(&["GET /livez"], "");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_full_window_pauses_reading_until_outcomes_come() {
    let node = Node::start();
    node.connect("slow", None, None);
    let lines = IN_FLIGHT_MAX + 500;
    let body = "{\"user\":\"slow\",\"text\":\"x\"}\n".repeat(lines);
    let mut client = node.client();
    client.send(&["POST /v1/messages"], &body);
    eventually(|| node.script.lock().unwrap().kept.len() == IN_FLIGHT_MAX);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(node.script.lock().unwrap().kept.len(), IN_FLIGHT_MAX);
    let mut answered = 0;
    while answered < lines {
        let kept = std::mem::take(&mut node.script.lock().unwrap().kept);
        answered += kept.len();
        kept.into_iter().for_each(|ticket| ticket.answer(Outcome::Written));
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(client.answer().lines().len(), lines);
}

#[test]
fn a_sender_that_breaks_off_leaves_no_half_message() {
    let node = Node::start();
    node.connect("ann", None, Some(Outcome::Written));
    let mut client = node.client();
    client.raw("POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    client.raw("{\"user\":\"ann\",\"text\":\"whole\"}\n{\"user\":\"ann\",\"json\":12");
    eventually(|| node.script.lock().unwrap().messages.len() == 1);
    drop(client);
    eventually(|| node.count(Outcome::Written) == 1);
    assert_eq!(node.script.lock().unwrap().messages.len(), 1);
    assert_eq!(node.ask(&["POST /v1/messages?lane=low"], "").error(), (400, "unknown_parameter".into()));
}

#[test]
fn no_line_waits_for_the_registrys_answer_to_another() {
    let node = Node::start();
    let lines: Vec<String> =
        (1..=5).map(|n| format!(r#"{{"user":"far-{n}","text":"x","id":"{n}"}}"#)).collect();
    let answer = std::thread::scope(|scope| {
        let sender = scope.spawn(|| node.ask(&["POST /v1/messages"], lines.join("\n")));
        eventually(|| node.others.asked().len() == 5);
        for user in ["far-4", "far-3", "far-5"] {
            node.others.answer(user);
            eventually(|| node.others.carried.lock().unwrap().last().is_some_and(|last| last == user));
        }
        node.others.answer("far-1");
        node.others.answer("far-2");
        sender.join().unwrap()
    });
    let ids: Vec<_> = answer.lines().iter().map(|line| line["id"].clone()).collect();
    assert_eq!(ids, ["1", "2", "3", "4", "5"], "the answers come in the order of the lines");
    assert!(answer.lines().iter().all(|line| line["outcomes"][0]["node"] == "node-2"));
}
