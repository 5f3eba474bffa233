//! The snippets of the pages, as they stand there.

use crate::{
    npm, python,
    records::{Reader, Seen, broker, headers},
};
use holdfast::sender::{KafkaSettings, Message, Sender};
use std::{fs, path::Path, time::Duration};

/// The only block of a page in that language.
pub fn snippet(page: &str, language: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = fs::read_to_string(path).unwrap();
    let fence = format!("```{language}\n");
    let mut blocks = text.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned());
    let block = blocks.next().unwrap_or_else(|| panic!("{page} has no {language}"));
    assert_eq!(blocks.next(), None, "{page} has one block of {language}");
    block
}

/// What the snippets of all languages send.
fn check(mut seen: Vec<Seen>) -> Vec<(String, i32)> {
    let life = seen[0].take_life();
    assert!(life <= Duration::from_secs(600) && life > Duration::from_secs(500), "{life:?}");
    assert_eq!((seen[0].topic.as_str(), seen[0].key.as_str()), ("push.high", "bob"));
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&seen[0].value).unwrap(),
        serde_json::json!({"unread": 3})
    );
    let bobs =
        [("id", "m-1"), ("device", "phone"), ("collapse", "unread"), ("content-type", "application/json")];
    assert_eq!(seen[0].headers, headers(&bobs));
    assert_eq!(
        (seen[1].topic.as_str(), seen[1].key.as_str(), &seen[1].value[..]),
        ("push.low", "eve", &[0, 1, 2][..])
    );
    assert_eq!(seen[1].headers, headers(&[("content-type", "application/octet-stream")]));
    assert_eq!(
        (seen[2].topic.as_str(), seen[2].key.as_str(), &seen[2].value[..]),
        ("push.normal", "ann", &b"hello"[..])
    );
    assert_eq!(seen[2].headers, headers(&[]));
    seen.into_iter().map(|it| (it.key, it.partition)).collect()
}

/// Where the library puts the same keys.
fn places() -> Vec<(String, i32)> {
    let broker = broker();
    let sender = Sender::kafka(KafkaSettings::new(broker.address())).unwrap();
    for (user, lane) in [("bob", "high"), ("eve", "low"), ("ann", "normal")] {
        sender.deliver(&Message::text(user, "x").lane(lane)).unwrap();
    }
    let seen = Reader::of(broker.address()).next_sorted(3);
    seen.into_iter().map(|it| (it.key, it.partition)).collect()
}

#[test]
fn python_sends() {
    let broker = broker();
    let script = format!(
        "import os\nos.environ['KAFKA'] = '{}'\n{}",
        broker.address(),
        snippet("senders.md", "python")
    );
    assert_eq!(python::run(&script, &[]), "");
    let reader = Reader::of(broker.address());
    assert_eq!(check(reader.next_sorted(3)), places());
    reader.assert_silent();
}

#[test]
fn node_sends() {
    let broker = broker();
    let script = format!("process.env.KAFKA = '{}';\n{}", broker.address(), snippet("senders.md", "js"));
    npm::run_alone(&script, &[]);
    let reader = Reader::of(broker.address());
    assert_eq!(check(reader.next_sorted(3)), places());
    reader.assert_silent();
}

#[test]
fn offline_is_believed_when_every_region_says_so() {
    let checks = r#"
clock = [0]
offline = Offline(["us", "eu"], patience=30, now=lambda: clock[0])
said = lambda id, region, outcome="offline": offline.hear({"user": "ann", "id": id, "region": region, "outcome": outcome})
assert said("1", "us") is None
assert said("1", "us") is None, "twice by one"
assert said("1", "eu")["region"] == "us"
assert said("1", "eu") is None, "told once"
assert said("2", "us") is None
assert said("2", "eu", "written") is None
assert said("2", "us") is None
assert said("3", "eu", "written") is None
assert said("3", "us") is None
clock[0] = 20
assert said("4", "us") is None
assert offline.late() == []
clock[0] = 49
assert offline.late() == []
assert len(offline.heard) == 1
clock[0] = 50
assert [status["id"] for status in offline.late()] == ["4"]
assert offline.heard == {}
"#;
    python::run(&format!("{}\n{checks}", snippet("regions.md", "python")), &[]);
}
