//! What holds with every broker. Each test has topics and a group of its own, by its name.

use crate::node::*;
use bytes::Bytes;
use holdfast::bridge::queue::{Event, Full, Header, Output, Produce, Producer, Record, Request};
use holdfast::model::Lane;
use std::{
    collections::{BTreeMap, HashSet},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Whatever is produced comes as it was, in order for each key.
pub fn records_come_as_they_were(broker: &str) {
    let test = "whole";
    let source = Source::new(broker);
    source.make_topics(test);
    let odd = Produce {
        topic: topic(test, 0),
        key: Some(Bytes::from_static(b"\xff\x00\xfe")),
        value: Some(Bytes::new()),
        headers: (0..300).map(|at| Header::new(format!("h{at}"), vec![at as u8; at])).collect(),
        ..Produce::default()
    };
    source.produce([odd, Produce { topic: topic(test, 2), ..Produce::default() }]);
    let many = (0..3000).map(|at| record(&topic(test, at % 3), &format!("user{}", at % 17), &at.to_string()));
    source.produce(many);

    let node = Node::start(&settings(broker, test, "a"));
    let records = node.records(3 + 2 + 3000);
    let (lane, whole) = records.iter().find(|(_, record)| record.headers.len() == 300).unwrap();
    assert_eq!((lane, whole.key.as_deref()), (&Lane(0), Some(&b"\xff\x00\xfe"[..])));
    assert!(whole.value.as_ref().is_some_and(Bytes::is_empty));
    assert!(whole.timestamp_ms.is_some_and(|at| at > 1_600_000_000_000));
    assert_eq!(whole.headers[299].name, "h299");
    assert_eq!(whole.headers[299].value.as_deref(), Some(&[43u8; 299][..]));
    assert_eq!(records.iter().filter(|(_, record)| record.key.is_none()).count(), 1);

    let mut by_key: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (lane, record) in &records {
        let key = record.key.clone().unwrap_or_default();
        let number = record.value.as_ref().and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        if let Some(number) = number.filter(|_| key.starts_with(b"user")) {
            assert_eq!(usize::from(lane.0), number % 3);
            by_key.entry((lane.0, key)).or_default().push(number);
        }
    }
    assert_eq!(by_key.values().map(Vec::len).sum::<usize>(), 3000);
    assert!(by_key.values().all(|numbers| numbers.is_sorted()));
}

/// A backlog of a low lane does not hold up a high one, and still gets its share.
pub fn a_high_lane_overtakes_a_backlog(broker: &str) {
    let test = "lanes";
    let source = Source::new(broker);
    source.make_topics(test);
    let value = "x".repeat(200);
    source.produce((0..60_000).map(|at| record(&topic(test, 2), &at.to_string(), &value)));
    let seen = Seen::default();
    let mut settings = settings(broker, test, "a");
    (settings.bounds.in_flight_max, settings.bounds.batch_max) = (1000, 250);
    // 60,000 of them take six seconds.
    let worker = Worker::start(&settings, &seen, Duration::from_micros(100));
    wait_for_seen(&seen, 5000);
    let start = Instant::now();
    for at in 0..40 {
        let sent = (Instant::now() - start).as_micros().to_string();
        source.produce([record(&topic(test, 0), &format!("urgent{at}"), &sent)]);
    }
    let is_urgent = |record: &Record| record.key.as_ref().is_some_and(|key| key.starts_with(b"urgent"));
    wait_until("what is urgent", || {
        seen.lock().unwrap().iter().filter(|(_, record, _)| is_urgent(record)).count() == 40
    });
    worker.stop();
    let seen = seen.lock().unwrap();
    let low = seen.iter().filter(|(lane, ..)| *lane == Lane(2)).count();
    assert!(low < 60_001, "the backlog is gone before the test has ended");
    let mut late: Vec<_> = seen
        .iter()
        .filter(|(_, record, _)| is_urgent(record))
        .map(|(_, record, at)| {
            let sent = std::str::from_utf8(record.value.as_ref().unwrap()).unwrap().parse().unwrap();
            *at - (start + Duration::from_micros(sent))
        })
        .collect();
    late.sort();
    eprintln!("behind a backlog: median {:?}, most {:?}", late[late.len() / 2], late[late.len() - 1]);
    // A thousand records of 100 us are under way before it, and sleeping takes longer than it says.
    assert!(late[late.len() / 2] < Duration::from_millis(500), "{late:?}");
}

/// Members come and go under load, and every record is done exactly once.
pub fn a_rebalance_loses_and_repeats_nothing(broker: &str) {
    let test = "rebalance";
    let source = Source::new(broker);
    source.make_topics(test);
    let seen = Seen::default();
    let start = |name| Worker::start(&settings(broker, test, name), &seen, Duration::from_micros(50));
    let a = start("a");
    wait_for_seen(&seen, 3);
    let load = thread::spawn(move || {
        for round in 0..30 {
            let keys = (0..400).map(|at| at + round * 400);
            source.produce(
                keys.map(|at| record(&topic(test, at % 3), &format!("u{}", at % 50), &at.to_string())),
            );
        }
    });
    wait_for_seen(&seen, 1000);
    let b = start("b");
    wait_for_seen(&seen, 3000);
    let c = start("c");
    wait_for_seen(&seen, 6000);
    a.leave(&seen);
    load.join().unwrap();
    wait_for_seen(&seen, 12_003);
    b.leave(&seen);
    // Nothing comes twice to who is left.
    thread::sleep(Duration::from_millis(1500));
    c.leave(&seen);
    let seen = seen.lock().unwrap();
    let places: HashSet<_> = seen.iter().map(|(_, record, _)| place(record)).collect();
    assert_eq!((seen.len(), places.len()), (12_003, 12_003));
    let mut by_key: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for (lane, record, _) in seen.iter() {
        if let Ok(number) = std::str::from_utf8(record.value.as_ref().unwrap()).unwrap().parse() {
            by_key.entry((lane.0, &record.key)).or_default().push(number);
        }
    }
    assert!(by_key.values().all(|numbers| numbers.is_sorted()));
}

/// What is not done is not read over: the lane stops at its bound, and goes on with room.
pub fn a_lane_that_is_not_kept_up_with_stops(broker: &str) {
    let test = "bound";
    let source = Source::new(broker);
    source.make_topics(test);
    source.produce((0..2000).map(|at| record(&topic(test, 1), &at.to_string(), "x")));
    let mut settings = settings(broker, test, "a");
    settings.bounds.in_flight_max = 500;
    let node = Node::start(&settings);
    let mut first = Vec::new();
    while first.iter().filter(|(lane, _)| *lane == Lane(1)).count() < 500 {
        first.extend(node.next_batch(PATIENCE));
    }
    let more = node.next_batch(Duration::from_millis(500));
    assert!(more.iter().all(|(lane, _)| *lane != Lane(1)), "beyond the bound");
    node.done(&first);
    node.done(&more);
    let mut count = first.len() + more.len();
    while count < 2003 {
        let more = node.next_batch(PATIENCE);
        assert!(!more.is_empty());
        count += more.len();
        node.done(&more);
    }
}

/// A lane rests and goes on, and a skip leaves out what is old, for those that come later, too.
pub fn lanes_rest_and_skip(broker: &str, knows_times: bool) {
    let test = "brakes";
    let source = Source::new(broker);
    source.make_topics(test);
    let node = Node::start(&settings(broker, test, "a"));
    let first = node.records(3);
    node.done(&first);
    node.submit(Request::Pause(Lane(2)));
    thread::sleep(Duration::from_millis(200));
    source.produce((0..200).map(|at| record(&topic(test, at % 3), &at.to_string(), "old")));
    let others = node.records(200 * 2 / 3 + 1);
    assert!(others.iter().all(|(lane, _)| *lane != Lane(2)));
    node.done(&others);
    let before_ms = others.iter().filter_map(|(_, record)| record.timestamp_ms).max().unwrap() + 1;
    thread::sleep(Duration::from_millis(50));
    let new = || source.produce((0..30).map(|at| record(&topic(test, 2), &at.to_string(), "new")));
    if knows_times {
        new();
    }
    assert!(node.next_batch(Duration::from_millis(500)).is_empty(), "the lane rests");
    node.submit(Request::Skip { lane: Lane(2), before_ms });
    let mut skipped = 0;
    node.until("the skip", |output| {
        if let Output::Event(Event::Skipped { from, to, .. }) = output {
            skipped += to - from;
        }
        (skipped >= 66).then_some(())
    });
    assert_eq!(skipped, 66);
    if !knows_times {
        new();
    }
    node.submit(Request::Resume(Lane(2)));
    let new = node.records(30);
    assert!(new.iter().all(|(_, record)| record.value.as_deref() == Some(b"new")));
    node.done(&new);
    thread::sleep(Duration::from_millis(100));
    drop(node);
    let node = Node::start(&settings(broker, test, "a"));
    assert!(node.next_batch(Duration::from_millis(2000)).is_empty(), "all was done or skipped");
}

/// The lag of a lane is what is not done of it.
pub fn lag_is_told(broker: &str) {
    let test = "lag";
    let source = Source::new(broker);
    source.make_topics(test);
    source.produce((0..500).map(|at| record(&topic(test, 1), &at.to_string(), "x")));
    let node = Node::start(&settings(broker, test, "a"));
    let records = node.records(503);
    let wanted = |messages| {
        node.until("the lag", |output| (output == Output::Lag { lane: Lane(1), messages }).then_some(()));
    };
    wanted(501);
    node.done(&records);
    wanted(0);
}

/// A node that comes back goes on where it was done, and another one gets what it did not release in time.
pub fn what_is_not_done_comes_again(broker: &str) {
    let test = "again";
    let source = Source::new(broker);
    source.make_topics(test);
    let mut settings = settings(broker, test, "a");
    settings.bounds.revoke_ms = 300;
    let node = Node::start(&settings);
    node.done(&node.records(3));
    source.produce((0..100).map(|at| record(&topic(test, 0), "one", &at.to_string())));
    let records = node.records(100);
    node.done(&records[..40]);
    drop(node);
    let node = Node::start(&settings);
    let again = node.records(60);
    let places = |records: &[(Lane, Record)]| -> Vec<_> {
        records.iter().map(|(_, record)| (place(record).2, record.value.clone())).collect()
    };
    assert_eq!(places(&again), places(&records[40..]));
    node.done(&again[..10]);
    node.submit(Request::Leave);
    let start = Instant::now();
    node.until("leaving", |output| (output == Output::Event(Event::Left)).then_some(()));
    assert!(start.elapsed() >= Duration::from_millis(250), "it waits for outcomes");
    settings.node = "b".into();
    let other = Node::start(&settings);
    assert_eq!(places(&other.records(50)), places(&records[50..]));
}

/// What waits holds up the offset of those behind it, and not the lane, up to the second bound.
pub fn a_record_that_waits_does_not_stop_its_lane(broker: &str) {
    let test = "waits";
    let source = Source::new(broker);
    source.make_topics(test);
    source.produce((0..2000).map(|_| record(&topic(test, 1), "one", "x")));
    let mut settings = settings(broker, test, "a");
    (settings.bounds.in_flight_max, settings.bounds.uncommitted_max) = (100, 1500);
    settings.topics = settings.topics[1..2].to_vec();
    let node = Node::start(&settings);
    let finish = |records: &[(Lane, Record)]| {
        for (partition, (_, records)) in last_of_each(records.iter().map(|(_, record)| record)) {
            node.submit(Request::Finished { partition, records });
        }
    };
    let mut all = Vec::new();
    while all.len() < 1500 {
        let batch = node.next_batch(PATIENCE);
        assert!((1..=100).contains(&batch.len()));
        finish(&batch);
        all.extend(batch);
    }
    assert_eq!(all.len(), 1500);
    assert!(node.next_batch(Duration::from_millis(500)).is_empty(), "beyond the second bound");
    for (partition, (offset, _)) in last_of_each(all.iter().map(|(_, record)| record)) {
        node.submit(Request::Done { partition, offset });
    }
    while all.len() < 2001 {
        let batch = node.next_batch(PATIENCE);
        assert!(!batch.is_empty());
        finish(&batch);
        all.extend(batch);
    }
}

/// A drain that is called off: whether the group has been left or is about to be, the node comes back and goes on.
pub fn who_left_may_join_again(broker: &str) {
    let test = "joins";
    let source = Source::new(broker);
    source.make_topics(test);
    let node = Node::start(&settings(broker, test, "a"));
    node.done(&node.records(3));
    let mut sent = 0;
    let mut goes_on = |what: &str| {
        sent += 1;
        source.produce([record(&topic(test, 0), "ada", &sent.to_string())]);
        let wanted = sent.to_string();
        node.until(what, |output| match output {
            Output::Batch { records, .. } => {
                node.done_of(records.iter());
                let is_it = |record: &Record| record.value.as_deref() == Some(wanted.as_bytes());
                records.iter().any(is_it).then_some(())
            }
            Output::Revoked { revocation, .. } => {
                node.submit(Request::Released { revocation });
                None
            }
            _ => None,
        });
    };
    node.submit(Request::Leave);
    node.submit(Request::Join);
    goes_on("a record after a leave that was called off");
    node.submit(Request::Leave);
    node.until("a revoke", |output| match output {
        Output::Revoked { revocation, .. } => Some(revocation),
        _ => None,
    });
    node.submit(Request::Join);
    // The outcomes are late, and the revoke ends by itself.
    goes_on("a record after a leave that was called off half-way");
    node.submit(Request::Leave);
    node.until("leaving", |output| match output {
        Output::Revoked { revocation, .. } => {
            node.submit(Request::Released { revocation });
            None
        }
        output => (output == Output::Event(Event::Left)).then_some(()),
    });
    node.submit(Request::Join);
    goes_on("a record after a leave");
}

/// A producer without a consumer: bounded, and says what became of each.
pub fn a_producer_stands_alone(broker: &str) {
    let test = "alone";
    let (sender, outputs) = mpsc::channel();
    let mut settings = settings(broker, test, "sender");
    settings.bounds.produce_max = 500;
    let producer = Producer::start(&settings, move |output| drop(sender.send(output))).unwrap();
    let (mut full, mut sent) = (0, 0);
    let mut record = record(&topic(test, 0), "ada", "hello");
    while sent < 2000 {
        record.id = Some(sent);
        match producer.submit(&record) {
            Ok(()) => sent += 1,
            Err(Full) => {
                full += 1;
                producer.flush(Duration::from_millis(5));
            }
        }
    }
    assert_eq!(producer.flush(PATIENCE), 0);
    assert!(full > 0 && producer.in_flight() == 0);
    let ids: HashSet<u64> = outputs
        .try_iter()
        .map(|output| match output {
            Output::Produced { id, result: Ok(()) } => id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids.len(), 2000);
    record.value = Some(Bytes::from(vec![0; 2_000_000]));
    producer.submit(&record).unwrap();
    let refusal = outputs.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(refusal, Output::Produced { result: Err(_), .. }));
}
