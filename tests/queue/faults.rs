//! What goes wrong with a real Kafka, step by step; one after the other on one broker, but for the last.

use crate::{
    brokers::{Brokers, PASSWORD, USER},
    node::*,
};
use bytes::Bytes;
use holdfast::bridge::queue::{Event, Header, Output, Produce, Producer, Record, Request, Settings};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

fn text(record: &Record) -> &str {
    record.value.as_deref().and_then(|value| std::str::from_utf8(value).ok()).unwrap_or("")
}

/// Of two members with one node id the earlier one is told that it has ended, and why.
pub fn who_comes_with_the_same_id_takes_over(brokers: &Brokers) {
    let test = "fenced";
    let source = Source::new(&brokers.addresses());
    source.make_topics(test);
    let earlier = Node::start(&settings(&brokers.addresses(), test, "a"));
    earlier.done(&earlier.records(3));
    let later = Node::start(&settings(&brokers.addresses(), test, "a"));
    let (mut lost, mut cause) = (false, None);
    earlier.until("the end", |output| {
        match output {
            Output::Revoked { lost: true, .. } => lost = true,
            Output::Event(Event::Error { cause: said, fatal: true }) => cause = Some(said),
            _ => {}
        }
        (lost && cause.is_some()).then_some(())
    });
    assert!(cause.unwrap().contains("this node's id"));
    source.produce([record(&topic(test, 0), "ada", "after")]);
    later.until("a record", |output| match output {
        Output::Batch { records, .. } => records.iter().any(|record| text(record) == "after").then_some(()),
        _ => None,
    });
    assert!(earlier.next_batch(Duration::from_millis(500)).is_empty());
}

/// Whatever is in the new topic comes, from its beginning, also where the old one was longer or shorter, and what is said
/// of the old one does not count for the new one. `refresh_ms`: how often the node looks which topics there are.
pub fn a_topic_is_made_anew(brokers: &Brokers, test: &str, refresh_ms: &str, old: usize, new: usize) {
    let name = topic(test, 0);
    brokers.create_topic(&name, 1, 1);
    let write = |generation: &str, count: usize| {
        // One that lives on would make the topic again by itself.
        let source = Source::new(&brokers.addresses());
        source.produce((0..count).map(|at| record(&name, "ada", &format!("{generation} {at}"))));
    };
    write("old", old);
    let mut settings = settings(&brokers.addresses(), test, "a");
    settings.properties = vec![("topic.metadata.refresh.interval.ms".into(), refresh_ms.into())];
    let node = Node::start(&settings);
    let before = node.records(old);
    node.done(&before[..old / 2]);
    thread::sleep(Duration::from_millis(500));
    brokers.delete_topic(&name);
    brokers.create_topic(&name, 1, 1);
    write("new", new);
    let mut came = Vec::new();
    node.until("the new topic's records", |output| {
        match output {
            Output::Batch { records, .. } => {
                came.extend(records.iter().map(|record| text(record).to_owned()));
                node.done_of(records.iter());
                // Late, and of no account.
                node.done(&before[old / 2..]);
            }
            Output::Revoked { revocation, .. } => node.submit(Request::Released { revocation }),
            _ => {}
        }
        (came.len() >= new).then_some(())
    });
    let wanted: Vec<_> = (0..new).map(|at| format!("new {at}")).collect();
    assert!(came == wanted, "{} came, the first {:?}", came.len(), came.first());
    thread::sleep(Duration::from_millis(500));
    drop(node);
    write("last", 1);
    let node = Node::start(&settings);
    assert_eq!(text(&node.records(1)[0].1), "last 0");
}

/// Who starts before Kafka does goes on when it is there.
pub fn a_broker_is_away_at_start(brokers: &mut Brokers) {
    let test = "away";
    brokers.kill(0);
    let node = Node::start(&settings(&brokers.addresses(), test, "a"));
    node.submit(Request::Produce(Produce { id: Some(7), ..record(&topic(test, 0), "ada", "early") }));
    thread::sleep(Duration::from_secs(5));
    brokers.start_again(0);
    let (mut produced, mut came) = (false, false);
    node.until("the first record", |output| {
        match output {
            Output::Produced { id: 7, result } => produced = result.is_ok(),
            Output::Batch { records, .. } => came |= records.iter().any(|record| text(record) == "early"),
            _ => {}
        }
        (produced && came).then_some(())
    });
}

/// By SASL's PLAIN: with the right password all goes, with a wrong one the log says why nothing does.
pub fn a_password_is_asked_for(brokers: &Brokers) {
    let test = "guarded";
    let guarded = |password: &str| {
        let mut settings = settings(&brokers.guarded_addresses(), test, "a");
        let own = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", USER),
            ("sasl.password", password),
        ];
        settings.properties.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        settings.bounds.produce_ms = 2_000;
        settings
    };
    Source::new(&brokers.addresses()).make_topics(test);
    let node = Node::start(&guarded(PASSWORD));
    node.done(&node.records(3));
    node.submit(Request::Produce(Produce { id: Some(1), ..record(&topic(test, 0), "ada", "in") }));
    assert_eq!(text(&node.records(1)[0].1), "in");
    drop(node);

    let node = Node::start(&guarded("wrong"));
    node.submit(Request::Produce(Produce { id: Some(1), ..record(&topic(test, 0), "ada", "in") }));
    let (mut said, mut refused) = (false, false);
    node.until("the refusal", |output| {
        match output {
            Output::Event(Event::Error { cause, fatal }) => {
                assert!(!fatal && !cause.contains("wrong"));
                said |= cause.to_ascii_lowercase().contains("authentication failed");
            }
            Output::Produced { id: 1, result } => refused = result.is_err(),
            Output::Batch { .. } => panic!("it came in"),
            _ => {}
        }
        (said && refused).then_some(())
    });
    // It was rotated: who is running goes on with the new one, both ways.
    node.set_password(PASSWORD);
    node.submit(Request::Produce(Produce { id: Some(2), ..record(&topic(test, 0), "ada", "again") }));
    let (mut came, mut written) = (false, false);
    node.until("a record with the new password", |output| {
        match output {
            Output::Batch { records, .. } => came |= records.iter().any(|record| text(record) == "again"),
            Output::Produced { id: 2, result } => written = result.is_ok(),
            _ => {}
        }
        (came && written).then_some(())
    });
    drop(node);
    let (sender, outputs) = mpsc::channel();
    let alone = Producer::start(&guarded("wrong"), move |output| drop(sender.send(output))).unwrap();
    alone.submit(&record(&topic(test, 0), "ada", "in")).unwrap();
    let is_said = |output: &Output| matches!(output, Output::Event(Event::Error { fatal: false, .. }));
    let deadline = Instant::now() + PATIENCE;
    while !outputs.recv_timeout(deadline - Instant::now()).is_ok_and(|output| is_said(&output)) {}
}

/// Records as no sender should write them.
pub fn odd_records_come_as_they_were(brokers: &Brokers) {
    let test = "odd";
    let source = Source::new(&brokers.addresses());
    source.make_topics(test);
    let node = Node::start(&settings(&brokers.addresses(), test, "a"));
    node.done(&node.records(3));
    let key = Some(Bytes::from_static(b"one"));
    let headers: Vec<_> = (0..700)
        .map(|at| match at % 3 {
            0 => Header { name: format!("h{at}").into(), value: None },
            1 => Header::new("", "no name"),
            _ => Header::new("twice", vec![0xff; at]),
        })
        .collect();
    let topic = topic(test, 0);
    let odd = [
        Produce { value: None, ..record(&topic, "one", "") },
        Produce { value: Some(Bytes::new()), key: Some(Bytes::new()), ..record(&topic, "", "") },
        Produce { key: Some(Bytes::from_static(b"\xff\0\xc3")), ..record(&topic, "", "x") },
        Produce { key: None, value: None, ..record(&topic, "", "") },
        Produce { key, headers: headers.clone(), ..record(&topic, "", "many") },
    ];
    source.produce(odd.clone());
    let mut came: Vec<_> = node.records(odd.len()).into_iter().map(|(_, record)| record).collect();
    for wanted in &odd {
        let same =
            |it: &Record| (&it.key, &it.value, &it.headers) == (&wanted.key, &wanted.value, &wanted.headers);
        let at = came.iter().position(same);
        came.remove(at.unwrap_or_else(|| panic!("{:?} is not among them", wanted.key)));
    }
}

/// One of three brokers dies under load: whatever was acknowledged is handed over, in order, and what was done stays done.
#[test]
fn one_of_three_brokers_is_killed() {
    let began = Instant::now();
    let tell = |what: &str| eprintln!("{what} after {:.1} s", began.elapsed().as_secs_f32());
    let mut brokers = Brokers::start(3);
    tell("started");
    let test = "three";
    for lane in 0..3 {
        brokers.create_topic(&topic(test, lane), 6, 3);
        brokers.create_topic(&topic("unwritable", lane), 2, 3);
    }
    brokers.create_topic_with("no.room", 1, 3, &[("min.insync.replicas", "3")]);
    let settings = settings(&brokers.addresses(), test, "a");
    let seen = Seen::default();
    let worker = Worker::start(&settings, &seen, Duration::ZERO);
    let (stop, acked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = {
        let (stop, acked, settings) = (stop.clone(), acked.clone(), settings.clone());
        thread::spawn(move || load(&settings, test, &stop, &acked))
    };
    wait_until("some load", || acked.load(Relaxed) > 500);
    wait_for_seen(&seen, 200);
    tell("loaded");
    brokers.kill(1);
    let before = acked.load(Relaxed);
    wait_until("load after the kill", || acked.load(Relaxed) > before + 2_000);
    tell("went on");
    what_cannot_be_written_is_told(&brokers);
    tell("told");
    brokers.start_again(1);
    tell("came back");
    let before = acked.load(Relaxed);
    wait_until("load after the return", || acked.load(Relaxed) > before + 1_000);
    stop.store(true, Relaxed);
    let acked = load.join().unwrap();
    wait_until("all that was acknowledged", || {
        let seen = seen.lock().unwrap();
        let values: HashSet<&[u8]> =
            seen.iter().filter_map(|(_, record, _)| record.value.as_deref()).collect();
        acked.iter().all(|value| values.contains(value.as_bytes()))
    });
    tell("complete");
    // The last ones are committed.
    thread::sleep(Duration::from_secs(1));
    drop(worker.stop());
    assert_in_order(&seen.lock().unwrap());
    let node = Node::start(&settings);
    let again = node.next_batch(Duration::from_secs(4));
    assert!(again.is_empty(), "{} came again", again.len());
}

/// A topic that lacks a replica and can therefore not be written to gives errors in time, and holds up neither consumption nor other topics.
fn what_cannot_be_written_is_told(brokers: &Brokers) {
    let test = "unwritable";
    let source = Source::new(&brokers.addresses());
    source.make_topics(test);
    let mut settings = settings(&brokers.addresses(), test, "a");
    settings.bounds.produce_ms = 2_000;
    let node = Node::start(&settings);
    node.done(&node.records(3));
    let start = Instant::now();
    for id in 0..10 {
        node.submit(Request::Produce(Produce { id: Some(id), ..record("no.room", "ada", "lost") }));
    }
    source.produce([record(&topic(test, 0), "ada", "meanwhile")]);
    let (mut failed, mut came_after) = (0, None);
    node.until("the errors", |output| {
        match output {
            Output::Produced { result, .. } => failed += usize::from(result.is_err()),
            Output::Batch { .. } => came_after = Some(start.elapsed()),
            _ => {}
        }
        (failed == 10 && came_after.is_some()).then_some(())
    });
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert!(came_after.unwrap() < Duration::from_millis(1_500), "{came_after:?}");
    node.submit(Request::Produce(Produce { id: Some(99), ..record(&topic(test, 1), "ada", "fine") }));
    node.until("another topic", |output| match output {
        Output::Produced { id: 99, result } => {
            result.unwrap();
            Some(())
        }
        _ => None,
    });
}

/// Writes until it is told to stop; tells what was acknowledged.
fn load(settings: &Settings, test: &str, stop: &AtomicBool, acked: &AtomicU64) -> Vec<String> {
    let (sender, outputs) = mpsc::channel();
    let producer = Producer::start(settings, move |output| drop(sender.send(output))).unwrap();
    let (mut sent, mut good) = (Vec::new(), Vec::new());
    let hear = |sent: &[String], good: &mut Vec<String>| {
        for output in outputs.try_iter() {
            if let Output::Produced { id, result: Ok(()) } = output {
                good.push(sent[id as usize].clone());
                acked.fetch_add(1, Relaxed);
            }
        }
    };
    while !stop.load(Relaxed) {
        for at in sent.len()..sent.len() + 20 {
            let value = format!("{at}");
            let id = Some(at as u64);
            producer
                .submit(&Produce { id, ..record(&topic(test, at % 3), &format!("u{}", at % 30), &value) })
                .unwrap();
            sent.push(value);
        }
        hear(&sent, &mut good);
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(producer.flush(PATIENCE), 0);
    hear(&sent, &mut good);
    good
}

/// Offsets of a partition only go back to repeat what was not yet committed, and then repeat it as it was; and so do
/// the numbers of a key.
fn assert_in_order(seen: &[(holdfast::model::Lane, Record, Instant)]) {
    let mut known = BTreeMap::new();
    let mut ends: BTreeMap<(String, i32), (i64, u64)> = BTreeMap::new();
    for (_, record, _) in seen {
        let (topic, number, offset) = place(record);
        let value: u64 = text(record).parse().unwrap();
        let repeated = known.insert((topic.to_owned(), number, offset), value);
        assert!(repeated.is_none_or(|earlier| earlier == value));
        let end = ends.entry((topic.to_owned(), number)).or_insert((-1, 0));
        if repeated.is_none() {
            assert!(offset > end.0, "{topic} {number}: {offset} after {}", end.0);
            *end = (offset, value);
        }
    }
    let mut by_key: BTreeMap<_, Vec<(i64, u64)>> = BTreeMap::new();
    for (_, record, _) in seen {
        let of_key = by_key.entry((record.partition.topic.clone(), record.key.clone())).or_default();
        of_key.push((record.offset, text(record).parse().unwrap()));
    }
    for of_key in by_key.values_mut() {
        of_key.sort_unstable();
        assert!(of_key.is_sorted_by_key(|(_, value)| *value));
    }
}
