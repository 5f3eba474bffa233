//! Against a node that is a script: what it was asked, and what the sender makes of its answers.

use super::*;
use crate::sender::{Delivery, Sender};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::mpsc,
};

/// Answers each request with the next of these, on as many connections as it takes; gives each request's body.
fn node(answers: Vec<(&'static str, &'static str)>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (heard, bodies) = mpsc::channel();
    thread::spawn(move || {
        for (status, body) in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut request = vec![0; length];
            reader.read_exact(&mut request).unwrap();
            heard.send(String::from_utf8(request).unwrap()).unwrap();
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            (&stream).write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
    (url, bodies)
}

const WRITTEN: &str = r#"{"id":"1","outcomes":[{"device":"phone","outcome":"written","node":"n"}]}"#;
const TIME: Duration = Duration::from_secs(10);

fn listened(url: &str) -> (Sender, mpsc::Receiver<Dropped>) {
    let (heard, dropped) = mpsc::channel();
    let heard = Mutex::new(heard);
    let sender = Sender::direct(url, None).unwrap();
    (sender.on_dropped(move |dropped| heard.lock().unwrap().send(dropped).unwrap()), dropped)
}

#[test]
fn each_line_of_a_batch_has_its_own_fate() {
    const ANSWERS: &str = concat!(
        r#"{"id":"1","outcomes":[{"device":"phone","outcome":"written","node":"n"}]}"#,
        "\n",
        r#"{"id":"2","outcomes":[]}"#,
        "\n",
        r#"{"error":"bad_line","message":"what?"}"#,
        "\n",
        r#"{"id":"4","outcomes":[{"device":"tv","outcome":"slow"},{"device":"phone","outcome":"duplicate"}]}"#,
        "\n",
        r#"{"id":"5","outcomes":[{"device":"tv","outcome":"slow","node":"n"}]}"#,
        "\n",
    );
    // The first one alone, the others together: they are put into the queue at once.
    let (url, bodies) = node(vec![("200 OK", WRITTEN), ("200 OK", ANSWERS)]);
    let (sender, dropped) = listened(&url);
    let queue = match &sender.way {
        crate::sender::Way::Direct(direct) => direct,
        crate::sender::Way::Kafka(_) => unreachable!(),
    };
    let place = queue.placing.hash_one("ann") as usize % WORKERS;
    sender.send(Message::text("ann", "0")).unwrap();
    assert_eq!(bodies.recv_timeout(TIME).unwrap(), "{\"user\":\"ann\",\"text\":\"0\"}\n");
    assert_eq!(sender.flush(TIME), 0);
    {
        let mut state = queue.waiting[place].state();
        for text in ["1", "2", "3", "4", "5", "6"] {
            queue.ledger.enter();
            let message = Box::new(Message::text("ann", text));
            state.bytes += 1;
            state.messages.push_back(Entry { message, entered_us: 0, until_us: None });
        }
        queue.waiting[place].changed.notify_one();
    }
    assert_eq!(bodies.recv_timeout(TIME).unwrap().lines().count(), 6);
    assert_eq!(sender.flush(TIME), 0);
    let told: Vec<(String, SendError)> = dropped
        .try_iter()
        .map(|one| (String::from_utf8(one.message.body.bytes().to_vec()).unwrap(), one.why))
        .collect();
    let slow = DeviceOutcome {
        device: Some("tv".into()),
        outcome: Outcome::Slow,
        node: Some("n".into()),
        region: None,
    };
    let expected = [
        ("2".to_owned(), SendError::Undelivered(Vec::new())),
        ("3".into(), SendError::Refused("what?".into())),
        ("5".into(), SendError::Undelivered(vec![slow])),
        ("6".into(), SendError::NoAnswer("the node's answer was cut short".into())),
    ];
    assert_eq!(told, expected);
    let counters = sender.counters();
    assert_eq!((counters.sent, counters.delivered, counters.dropped, counters.in_flight), (7, 3, 4, 0));
}

#[test]
fn a_node_without_room_is_asked_again_and_one_that_refuses_is_not() {
    let (url, bodies) =
        node(vec![("503 Service Unavailable", ""), ("200 OK", WRITTEN), ("401 Unauthorized", "")]);
    let (sender, dropped) = listened(&url);
    sender.send(Message::text("ann", "a").ttl(TIME)).unwrap();
    assert_eq!(sender.flush(TIME), 0);
    assert!(bodies.recv_timeout(TIME).unwrap().contains("\"ttl\":\""));
    assert!(bodies.recv_timeout(TIME).is_ok() && dropped.try_recv().is_err());
    sender.send(Message::text("ann", "b")).unwrap();
    let told = dropped.recv_timeout(TIME).unwrap();
    assert!(matches!(&told.why, SendError::Refused(why) if why.contains("wants a token")), "{}", told.why);
}

#[test]
fn what_waits_too_long_or_at_the_end_is_dropped() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (sender, dropped) = listened(&format!("http://{nobody}"));
    sender.send(Message::text("ann", "late").ttl(Duration::from_millis(100))).unwrap();
    assert_eq!(dropped.recv_timeout(TIME).unwrap().why, SendError::Expired);
    sender.send(Message::text("ann", "last")).unwrap();
    drop(sender);
    let told = dropped.recv_timeout(TIME).unwrap();
    assert_eq!((told.message.user.as_str(), told.why), ("ann", SendError::Ended));
}

#[test]
fn what_finds_no_room_comes_back() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sender = Sender::direct(&nobody.to_string(), None).unwrap();
    let large = Message::binary("ann", vec![0; WAITING_BYTES_MAX + 1]);
    let refused = sender.send(large.clone()).unwrap_err();
    assert_eq!((*refused.message, refused.why), (large, SendError::Full));
    let refused = sender.send(Message::text("", "x")).unwrap_err();
    assert_eq!(refused.to_string(), "a message for  is dropped: the user must not be empty");
    assert_eq!(sender.counters().refused, 2);
}

#[test]
fn outcomes_are_waited_for() {
    let (url, _bodies) = node(vec![
        ("200 OK", WRITTEN),
        ("404 Not Found", r#"{"id":"2","outcomes":[]}"#),
        ("404 Not Found", ""),
    ]);
    let sender = Sender::direct(&url, Some("t")).unwrap();
    let deliver = || sender.deliver(&Message::text("ann", "x"));
    match deliver() {
        Ok(Delivery::Outcomes(outcomes)) => {
            assert_eq!(serde_json::to_string(&outcomes).unwrap(), WRITTEN);
            assert!(outcomes.is_delivered());
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(deliver(), Ok(Delivery::Outcomes(none)) if none.devices.is_empty()));
    assert!(matches!(deliver(), Err(SendError::Refused(_))));
}

#[test]
fn addresses_are_of_one_form() {
    for url in ["http://node:7008", "http://node:7008/", "node:7008"] {
        assert_eq!(address(url).unwrap(), "node:7008");
    }
    assert_eq!(address("[::1]:7008").unwrap(), "[::1]:7008");
    for url in ["https://node:7008", "node", "http://", "http://a:1/b", "http://me@a:1", ":7008", "a:x"] {
        assert!(address(url).is_err(), "{url}");
    }
}
