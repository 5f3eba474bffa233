//! `holdfast::sender`: what arrives, and what is said of what does not.

use crate::{
    client::Sse,
    node::{Node, until},
    records::{PATIENCE, Reader, broker, headers},
};
use holdfast::sender::{
    Delivery, DeviceOutcome, Dropped, Invalid, KafkaSettings, Message, Outcome, SendError, Sender, Wait,
};
use std::{
    sync::{
        Mutex,
        mpsc::{self, Receiver},
    },
    time::{Duration, Instant},
};

/// A sender that tells the test what it drops.
fn heard(sender: Result<Sender, Invalid>) -> (Sender, Receiver<Dropped>) {
    let (told, dropped) = mpsc::channel();
    let told = Mutex::new(told);
    // Nobody listens any more at the end of a test.
    let sender = sender.unwrap().on_dropped(move |it| drop(told.lock().unwrap().send(it)));
    (sender, dropped)
}

#[test]
fn records_are_what_nodes_read() {
    let broker = broker();
    let (sender, dropped) = heard(Sender::kafka(KafkaSettings::new(broker.address())));
    sender.send(Message::text("ann", "hello")).unwrap();
    let full = Message::json("bob", "[1]").lane("high").device("tv").id("m-1").collapse("c");
    sender.send(full.ttl(Duration::from_secs(60))).unwrap();
    let delivered = sender.deliver(&Message::binary("eve", vec![0, 255]).lane("low"));
    assert_eq!(delivered, Ok(Delivery::Queued { topic: "push.low".into() }));
    assert_eq!(sender.flush(PATIENCE), 0);
    let counters = sender.counters();
    assert_eq!((counters.sent, counters.delivered, counters.dropped), (3, 3, 0));
    assert!(dropped.try_recv().is_err());

    let mut seen = Reader::of(broker.address()).next_sorted(3);
    let life = seen[0].take_life();
    assert!(life <= Duration::from_secs(60) && life > Duration::from_secs(20), "{life:?}");
    let parts: Vec<_> = seen
        .iter()
        .map(|it| (it.topic.as_str(), it.key.as_str(), &it.value[..], it.headers.clone()))
        .collect();
    let bobs =
        headers(&[("id", "m-1"), ("device", "tv"), ("collapse", "c"), ("content-type", "application/json")]);
    let expected = [
        ("push.high", "bob", &b"[1]"[..], bobs),
        ("push.low", "eve", &[0, 255], headers(&[("content-type", "application/octet-stream")])),
        ("push.normal", "ann", b"hello", headers(&[])),
    ];
    assert_eq!(parts, expected);
}

#[test]
fn a_users_messages_keep_their_order() {
    let broker = broker();
    let sender = Sender::kafka(KafkaSettings::new(broker.address())).unwrap();
    for number in 0..3_000 {
        sender.send(Message::text(format!("user-{}", number % 7), number.to_string())).unwrap();
    }
    assert_eq!(sender.flush(PATIENCE), 0);
    let mut last = [None; 7];
    for seen in Reader::of(broker.address()).next(3_000) {
        let number: usize = std::str::from_utf8(&seen.value).unwrap().parse().unwrap();
        assert!(last[number % 7].is_none_or(|last| last < number), "{number} after {last:?}");
        last[number % 7] = Some(number);
    }
}

#[test]
fn what_kafka_does_not_take_is_told() {
    let broker = broker();
    let settings = KafkaSettings {
        timeout: Duration::from_millis(500),
        in_flight_max: 3,
        ..KafkaSettings::new(broker.address())
    };
    broker.set_up(false);
    let (sender, dropped) = heard(Sender::kafka(settings));
    let began = Instant::now();
    for text in ["1", "2", "3"] {
        sender.send(Message::text("ann", text).id(text)).unwrap();
    }
    let refused = sender.send(Message::text("ann", "4")).unwrap_err();
    assert_eq!((refused.message.as_ref(), &refused.why), (&Message::text("ann", "4"), &SendError::Full));
    assert!(matches!(sender.send(Message::text("a\n", "5")).unwrap_err().why, SendError::Invalid(_)));
    assert!(began.elapsed() < Duration::from_millis(400), "nothing waits");
    assert_eq!(sender.flush(PATIENCE), 0);
    let told: Vec<Dropped> = (0..3).map(|_| dropped.recv_timeout(PATIENCE).unwrap()).collect();
    for (it, text) in told.iter().zip(["1", "2", "3"]) {
        assert_eq!(*it.message, Message::text("ann", text).id(text));
        assert!(matches!(&it.why, SendError::Refused(why) if why.contains("timed out")), "{}", it.why);
    }
    let counters = sender.counters();
    assert_eq!((counters.sent, counters.delivered, counters.dropped, counters.refused), (3, 0, 3, 2));
    // Its room is free a moment after it was told of.
    let delivered = until("room", || match sender.deliver(&Message::text("ann", "6")) {
        Err(SendError::Full) => None,
        delivered => Some(delivered),
    });
    assert!(matches!(delivered, Err(SendError::Refused(_))), "{delivered:?}");
    broker.set_up(true);
    until("the broker", || sender.deliver(&Message::text("ann", "7")).ok());
}

#[test]
fn what_is_left_at_the_end_is_told() {
    let broker = broker();
    broker.set_up(false);
    let (sender, dropped) = heard(Sender::kafka(KafkaSettings::new(broker.address())));
    sender.send(Message::text("ann", "last")).unwrap();
    drop(sender);
    assert_eq!(dropped.recv_timeout(PATIENCE).unwrap().why, SendError::Ended);
    assert!(dropped.recv_timeout(PATIENCE).is_err());
}

#[test]
fn settings_that_are_wrong_are_refused() {
    let refusal = |change: fn(&mut KafkaSettings)| {
        let mut settings = KafkaSettings::new("127.0.0.1:1");
        change(&mut settings);
        Sender::kafka(settings).err().map(|fault| fault.to_string()).unwrap()
    };
    assert!(refusal(|it| it.properties = vec![("no.such".into(), "1".into())]).contains("no.such"));
    assert!(refusal(|it| it.lane = "a.b".into()).starts_with("the lane must be"));
    assert!(refusal(|it| it.prefix = "EU".into()).starts_with("the prefix must be"));
    let sender = Sender::kafka(KafkaSettings::new("127.0.0.1:1")).unwrap();
    let acked = Wait { for_ack: true, timeout: None };
    assert!(matches!(
        sender.deliver_and_wait(&Message::text("ann", "x"), &acked),
        Err(SendError::Invalid(why)) if why.contains("status topic")
    ));
}

#[test]
fn a_node_answers_for_each_message() {
    let node = Node::start(&["internal.tokens=ci:send:hush"]);
    let mut stream = Sse::user(&node, "ann", "phone");
    let (sender, dropped) = heard(Sender::direct(&format!("http://{}", node.internal), Some("hush")));
    let outcomes = |user: &str, wait: &Wait| match sender
        .deliver_and_wait(&Message::text(user, "one").id("m-1").lane("high"), wait)
        .unwrap()
    {
        Delivery::Outcomes(outcomes) => outcomes,
        Delivery::Queued { .. } => panic!("it is direct"),
    };
    let anns = outcomes("ann", &Wait::default());
    let written = DeviceOutcome {
        device: Some("phone".into()),
        outcome: Outcome::Written,
        node: Some("node-1".into()),
        region: None,
    };
    assert_eq!((anns.id.as_deref(), &anns.devices), (Some("m-1"), &vec![written]));
    let acked = Wait { for_ack: true, timeout: Some(Duration::from_secs(2)) };
    assert_eq!(outcomes("ann", &acked).devices[0].outcome, Outcome::Duplicate);
    assert_eq!(outcomes("bob", &Wait::default()).devices, []);
    assert_eq!(stream.event().data, "one");

    let bodies: Vec<String> = (0..2_000).map(|number| format!("line {number}\nof \"it\"")).collect();
    for body in &bodies {
        sender.send(Message::text("ann", body)).unwrap();
    }
    sender.send(Message::json("ann", "{\n\"a\": [1]\n}").ttl(Duration::from_secs(30))).unwrap();
    sender.send(Message::text("bob", "x")).unwrap();
    sender.send(Message::text("ann", "x").lane("none")).unwrap();
    assert_eq!(sender.flush(PATIENCE), 0);
    for body in &bodies {
        assert_eq!(&stream.event().data, body);
    }
    assert_eq!(stream.event().data, "{ \"a\": [1] }");
    let mut told: Vec<Dropped> = (0..2).map(|_| dropped.recv_timeout(PATIENCE).unwrap()).collect();
    told.sort_by(|a, b| b.message.user.cmp(&a.message.user));
    assert_eq!(told[0].why, SendError::Undelivered(Vec::new()));
    assert!(matches!(&told[1].why, SendError::Refused(why) if why.contains("lane")), "{}", told[1].why);
}
