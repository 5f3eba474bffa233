//! `holdfast send` through Kafka.

use crate::{
    client::Sse,
    node::Plan,
    records::{Reader, broker, headers},
};
use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

struct Ran {
    code: i32,
    out: String,
    err: String,
    took: Duration,
}

fn send(arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    crate::node::without_our_environment(&mut command);
    command.arg("send").args(arguments);
    let began = Instant::now();
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that refuses its arguments does not read.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        took: began.elapsed(),
    }
}

#[test]
fn one_message_is_acked() {
    let broker = broker();
    let kafka = broker.address();
    let ran = send(&["ann", "hello", "--kafka", kafka], "");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "acked: in push.normal\n", ""));
    let options = ["--device", "tv", "--lane", "high", "--ttl", "1m", "--id", "m-1", "--collapse", "c"];
    let ran = send(
        &[&["bob", "--json", "--kafka", kafka, "--content-type", "application/json"], &options[..]].concat(),
        "{\"a\":\n1}",
    );
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "{\"acked\":true,\"topic\":\"push.high\"}\n"),
        "{}",
        ran.err
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    std::fs::write(&file, "whole\nfile\n").unwrap();
    let (file, prefix) = (file.to_str().unwrap(), ["--topic-prefix", "eu-1"]);
    let ran = send(&[&["eve", "--file", file, "--kafka", kafka], &prefix[..]].concat(), "");
    assert_eq!((ran.code, ran.out.as_str()), (0, "acked: in eu-1.push.normal\n"), "{}", ran.err);

    let mut seen = Reader::of(kafka).next_sorted(3);
    assert_eq!((seen[0].topic.as_str(), &seen[0].value[..]), ("eu-1.push.normal", &b"whole\nfile\n"[..]));
    assert!(seen[1].take_life() <= Duration::from_secs(60));
    assert_eq!((seen[1].key.as_str(), &seen[1].value[..]), ("bob", &b"{\"a\":\n1}"[..]));
    let bobs = [("id", "m-1"), ("device", "tv"), ("collapse", "c"), ("content-type", "application/json")];
    assert_eq!(seen[1].headers, headers(&bobs));
    assert_eq!((seen[2].key.as_str(), &seen[2].value[..]), ("ann", &b"hello"[..]));
}

#[test]
fn the_broker_inside_a_node_is_found() {
    let node = Plan::new(&[]).kafka("embedded").start();
    let mut stream = Sse::user(&node, "ann", "phone");
    let ran = send(&["ann", "hello", "--internal", &node.internal.to_string()], "");
    assert_eq!((ran.code, ran.out.as_str()), (0, "acked: in push.normal\n"), "{}", ran.err);
    assert_eq!(stream.event().data, "hello");
}

#[test]
fn lines_are_sent_at_a_rate_and_summed_up() {
    let broker = broker();
    let lines = concat!(
        "ann hello there\n",
        "\n",
        "{\"user\":\"bob\",\"json\":{\"n\":1},\"lane\":\"high\",\"id\":\"m-1\"}\n",
        "nonsense\n",
        "eve  two blanks\r\n",
        "ann again",
    );
    let ran = send(&["--lines", "--lane", "low", "--rate", "10/s", "--kafka", broker.address()], lines);
    assert_eq!((ran.code, ran.out.as_str()), (1, "sent 4, acked 4, dropped 0, bad 1\n"), "{}", ran.err);
    assert_eq!(ran.err, "holdfast: message 3: expected USER BODY, or a JSON object\n");
    assert!(ran.took >= Duration::from_millis(400), "five at ten a second: {:?}", ran.took);
    let seen = Reader::of(broker.address()).next_sorted(4);
    let parts: Vec<_> = seen
        .iter()
        .map(|it| {
            (it.topic.as_str(), it.key.as_str(), std::str::from_utf8(&it.value).unwrap(), it.header("id"))
        })
        .collect();
    let expected = [
        ("push.high", "bob", "{\"n\":1}", Some("m-1")),
        ("push.low", "ann", "hello there", None),
        ("push.low", "ann", "again", None),
        ("push.low", "eve", " two blanks", None),
    ];
    assert_eq!(parts, expected);
}

#[test]
fn many_lines_pass_through_a_bounded_queue() {
    let broker = broker();
    let lines: String = (0..20_000).map(|number| format!("user-{} {number}\n", number % 100)).collect();
    let ran = send(&["--lines", "--json", "--kafka", broker.address()], &lines);
    let summary: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let expected = serde_json::json!({"sent": 20_000, "acked": 20_000, "dropped": 0, "bad": 0});
    assert_eq!((ran.code, summary), (0, expected), "{}", ran.err);
    assert_eq!(Reader::of(broker.address()).next(20_000).len(), 20_000);
}

#[test]
fn a_broker_that_is_away_is_said_after_the_time() {
    let broker = broker();
    broker.set_up(false);
    let ran = send(&["ann", "x", "--timeout", "500ms", "--kafka", broker.address()], "");
    assert!(ran.code == 1 && ran.err.contains("Kafka did not take the message"), "{}", ran.err);
    assert!(ran.took < Duration::from_secs(10), "{:?}", ran.took);
    let ran = send(&["--lines", "--timeout", "500ms", "--kafka", broker.address()], "ann a\nbob b\n");
    assert_eq!((ran.code, ran.out.as_str()), (1, "sent 2, acked 0, dropped 2\n"), "{}", ran.err);
    assert!(ran.err.contains("for ann: ") && ran.err.contains("for bob: "), "{}", ran.err);
}

#[test]
fn a_property_that_is_not_one_is_named() {
    let ran = send(&["ann", "x", "--kafka", "127.0.0.1:1", "--property", "no.such=1"], "");
    assert!(ran.code == 1 && ran.err.contains("no.such"), "{}", ran.err);
    let ran = send(&["ann", "x", "--kafka", "127.0.0.1:1", "--password-file", "/nowhere"], "");
    assert!(ran.code == 1 && ran.err.contains("/nowhere"), "{}", ran.err);
    assert_eq!(send(&["ann", "x", "--property", "no.such"], "").code, 2);
}
