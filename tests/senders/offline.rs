//! The recipe for users who are not connected, as it stands on its page, with made-up status records and a made-up push
//! service.

use crate::{
    client::Sse,
    node::Plan,
    pages::snippet,
    python::Helper,
    records::{PATIENCE, Reader, Seen, broker, headers, produce},
};
use holdfast::sender::{KafkaSettings, Message, Sender};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

const TOPIC: &str = "holdfast.status";

/// A push service: 503 to a token's first request where that token begins with `busy`, 404 to one that begins with `gone`.
/// Gives what it was sent, and the status that it answered.
fn push_service() -> (String, Receiver<(u16, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/send", listener.local_addr().unwrap());
    let (told, sent) = mpsc::channel();
    thread::spawn(move || {
        let mut busy = true;
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut reader = BufReader::new(&stream);
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let token = body["message"]["token"].as_str().unwrap().to_owned();
            let status = match &token[..4] {
                "busy" if std::mem::take(&mut busy) => 503,
                "gone" => 404,
                _ => 200,
            };
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            (&stream).write_all(answer.as_bytes()).unwrap();
            // Nobody listens any more at the end of the test.
            let _ = told.send((status, body));
        }
    });
    (url, sent)
}

/// The page's consumer; it ends with this.
struct Consumer {
    _tokens: TempDir,
    _helper: Helper,
}

impl Consumer {
    fn start(kafka: &str, url: &str, phones: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens.json");
        std::fs::write(&tokens, phones.to_string()).unwrap();
        let environment = json!({"KAFKA": kafka, "PUSH_URL": url, "TOKENS": tokens});
        let script =
            format!("import os\nos.environ.update({environment})\n{}", snippet("offline.md", "python"));
        Self { _tokens: folder, _helper: Helper::start(&[], &script, &[]) }
    }
}

#[test]
fn what_a_node_says_wakes_a_phone() {
    let node = Plan::new(&["kafka.status_topic=holdfast.status"]).kafka("embedded").start();
    let kafka = node.kafka.as_deref().unwrap();
    let mut stream = Sse::user(&node, "bob", "tv");
    let sender = Sender::kafka(KafkaSettings::new(kafka)).unwrap();
    let message = Message::json("ann", "[1]").lane("high").id("m-1").ttl(Duration::from_secs(60));
    sender.deliver(&message).unwrap();
    sender.deliver(&Message::text("bob", "hello")).unwrap();
    assert_eq!(stream.event().data, "hello");
    let mut statuses = Reader::of_topics(kafka, "^holdfast\\.status$").next_sorted(2);
    let [anns, bobs] = &mut statuses[..] else { panic!("{statuses:?}") };
    let value = |seen: &Seen| {
        let mut value: Value = serde_json::from_slice(&seen.value).unwrap();
        // Where a key stands is not ours to say.
        assert!(value["partition"].take().is_u64() && value["offset"].take() == json!(0));
        value
    };
    let expected = json!({
        "id": "m-1", "user": "ann", "device": null, "outcome": "offline", "node": null, "region": null,
        "lane": "high", "topic": "push.high", "partition": null, "offset": null,
    });
    assert_eq!((anns.key.as_str(), value(anns)), ("ann", expected));
    assert!(anns.take_life() <= Duration::from_secs(60));
    assert_eq!(anns.headers, headers(&[("id", "m-1"), ("content-type", "application/json")]));
    let expected = json!({
        "id": null, "user": "bob", "device": "tv", "outcome": "written", "node": "node-1", "region": null,
        "lane": "normal", "topic": "push.normal", "partition": null, "offset": null,
    });
    assert_eq!((bobs.key.as_str(), value(bobs)), ("bob", expected));

    let (url, sent) = push_service();
    let _consumer = Consumer::start(kafka, &url, &json!({"ann": ["ann-1"], "bob": ["bob-1"]}));
    let (_, body) = sent.recv_timeout(PATIENCE).expect("a notification");
    assert_eq!(body["message"]["token"], "ann-1");
    assert_eq!(body["message"]["data"], json!({"id": "m-1", "body": "[1]"}));
}

#[test]
fn phones_are_notified_of_what_their_users_missed() {
    let broker = broker();
    let kafka = broker.address();
    produce(kafka, "push.high", "ann", "three unread", &[]);
    let message = Reader::of(kafka).next(1).remove(0);
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let in_a_minute = (since_1970 + Duration::from_secs(60)).as_millis().to_string();
    let a_minute_ago = (since_1970 - Duration::from_secs(60)).as_millis().to_string();
    let status = |user: &str, outcome: &str, offset: i64, headers: &[(&str, &str)]| {
        let value = json!({
            "id": format!("m-{user}"), "user": user, "device": null, "outcome": outcome, "node": "n", "region": null,
            "lane": "high", "topic": "push.high", "partition": message.partition, "offset": offset,
        });
        produce(kafka, TOPIC, user, &value.to_string(), headers);
    };
    status("ann", "offline", message.offset, &[("expires", &in_a_minute), ("id", "m-ann")]);
    status("bob", "written", message.offset, &[]);
    status("eve", "offline", message.offset, &[("expires", &a_minute_ago)]);
    status("dan", "offline", message.offset, &[]);
    status("carl", "offline", 4_711, &[]);
    status("gina", "offline", message.offset, &[]);
    produce(kafka, TOPIC, "ann", "no status", &[]);

    let (url, sent) = push_service();
    let phones = json!({
        "ann": ["ann-1", "busy-ann-2"], "bob": ["bob-1"], "eve": ["eve-1"], "carl": ["carl-1"], "gina": ["gone-gina-1"],
    });
    let _consumer = Consumer::start(kafka, &url, &phones);

    let mut notified = Vec::new();
    while notified.len() < 5 {
        let (status, body) = sent.recv_timeout(PATIENCE).expect("five requests");
        let message = &body["message"];
        let data = (message["data"]["id"].as_str().unwrap(), message["data"]["body"].as_str().unwrap());
        assert_eq!(message["android"]["collapse_key"], data.0);
        let ttl = message["android"]["ttl"].as_str().unwrap().trim_end_matches('s').parse::<u64>().unwrap();
        assert!(ttl <= if data.0 == "m-ann" { 60 } else { 600 } && ttl > 0, "{ttl}");
        let token = message["token"].as_str().unwrap();
        notified.push((token.to_owned(), data.0.to_owned(), data.1.to_owned(), status));
    }
    notified.sort();
    let expected = [
        ("ann-1", "m-ann", "three unread", 200),
        ("busy-ann-2", "m-ann", "three unread", 200),
        ("busy-ann-2", "m-ann", "three unread", 503),
        ("carl-1", "m-carl", "", 200),
        ("gone-gina-1", "m-gina", "three unread", 404),
    ];
    let expected: Vec<_> = expected
        .map(|(token, id, body, status)| (token.to_owned(), id.to_owned(), body.to_owned(), status))
        .into();
    assert_eq!(notified, expected);

    // What it was told of a token it keeps, and nothing else was sent meanwhile.
    status("gina", "offline", message.offset, &[]);
    status("ann", "offline", message.offset, &[]);
    let tokens: Vec<String> = (0..2)
        .map(|_| sent.recv_timeout(PATIENCE).expect("ann's two"))
        .map(|(_, body)| body["message"]["token"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(tokens, ["ann-1", "busy-ann-2"]);
    assert!(sent.recv_timeout(Duration::from_millis(300)).is_err());
}
