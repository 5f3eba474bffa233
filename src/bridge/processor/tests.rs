//! The core on a queue and a registry that say what a test has written down.

use super::{leaving::REVOKE_MS, *};
use crate::{
    bridge::{
        queue::Produce,
        registry::{Answer, Elsewhere, Lease, Lookup, Registry},
        router::Parts,
        store::{Failure, Place as Where},
    },
    directory::{Arrival, Directory},
    kit::{
        mailbox::{Receiver, Wake, mailbox},
        slab::Key,
    },
    model::{Handle, LanePolicy, Lanes, Protocol, lane::LaneConfig, mail},
    stats::BuildInfo,
};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

/// A registry that knows nobody, or does not answer.
#[derive(Default)]
struct Nobody {
    is_away: AtomicBool,
    asked: Mutex<Vec<String>>,
}

impl Registry for Nobody {
    fn elsewhere(&self, user: &str, _: bool) -> Elsewhere {
        self.asked.lock().unwrap().push(user.to_owned());
        if !self.is_away.load(Ordering::Relaxed) {
            return Elsewhere::Nowhere;
        }
        let (sender, lookup) = Lookup::new();
        let answer: Answer = Err(Failure::Down);
        assert!(sender.send(answer).is_ok());
        Elsewhere::Asked(lookup)
    }

    fn forget(&self, _: &str, _: &str, _: Where) {}

    fn incarnation(&self) -> u64 {
        1
    }

    fn nodes(&self) -> Vec<Lease> {
        Vec::new()
    }

    fn renew(&self, _: Lease) {}

    fn health(&self) -> Health {
        if self.is_away.load(Ordering::Relaxed) { Health::Degraded("away".into()) } else { Health::Ready }
    }
}

struct Unheard;

impl Wake for Unheard {
    fn wake(&self) {}
}

struct Bench {
    core: Processor,
    brakes: Arc<Brakes>,
    registry: Arc<Nobody>,
    directory: Arc<Directory>,
    stats: Arc<NodeStats>,
    mail: Receiver<mail::ToShard>,
    requests: Vec<Request>,
    has_room: bool,
    now_ms: u64,
    next_offset: i64,
}

const LANE: Lane = Lane(0);

fn partition() -> Partition {
    Partition { topic: "push.high".into(), number: 3, term: 1 }
}

impl Bench {
    fn new(mailbox_room: usize) -> Self {
        let (sender, mail) = mailbox(&[64, mailbox_room], Arc::new(Unheard));
        let registry = Arc::new(Nobody::default());
        let directory = Arc::new(Directory::new(0));
        let lane = LaneConfig { name: "high".into(), policy: LanePolicy::Drop, ttl_ms: None };
        let lanes = Lanes::new(vec![lane]);
        let stats = Arc::new(NodeStats::new(1, &lanes, BuildInfo::current()));
        let router = Arc::new(Router::new(Parts {
            directory: directory.clone(),
            registry: registry.clone(),
            peering: None,
            shards: vec![sender],
            stats: stats.clone(),
            node: 7,
            number: 7,
        }));
        let brakes = Arc::new(Brakes::new(&lanes));
        let settings = Settings {
            node: "n1".into(),
            region: "eu".into(),
            retry_ms: 500,
            status_topic: Some("status".into()),
            dead_letter: Some("dead".into()),
            brakes: brakes.clone(),
            intake: Intake { lanes, push_bytes: 100, collapse_seed: Default::default() },
        };
        let core = Processor::new(settings, router, stats.clone());
        let (requests, has_room) = (Vec::new(), true);
        let mut bench = Self {
            core,
            brakes,
            registry,
            directory,
            stats,
            mail,
            requests,
            has_room,
            now_ms: 1_000,
            next_offset: 0,
        };
        bench.turn([Output::Assigned { partitions: vec![(LANE, partition())] }]);
        bench
    }

    fn connect(&self, user: &str, device: &str, index: u32) {
        let arrival = Arrival {
            user,
            device: Some(device),
            handle: Handle { shard: 0, key: Key { index, generation: 1 } },
            protocol: Protocol::Sse,
            began_ms: 0,
            ends_ms: 1_000_000,
        };
        self.directory.register(&arrival).unwrap();
    }

    fn turn(&mut self, outputs: impl IntoIterator<Item = Output>) -> Turn {
        let now = Now { micros: self.now_ms * 1_000, unix_ms: self.now_ms };
        let (requests, has_room) = (&mut self.requests, self.has_room);
        let mut submit = |request: Request| {
            match request {
                Request::Produce(produce) if !has_room => return Err(NoRoom(produce.into())),
                request => requests.push(request),
            }
            Ok(())
        };
        self.core.turn(now, outputs, &mut Context::from_waker(Waker::noop()), &mut submit)
    }

    fn record(
        &mut self,
        user: &str,
        value: &'static str,
        headers: &[(&'static str, &'static str)],
    ) -> Record {
        let offset = self.next_offset;
        self.next_offset += 1;
        Record {
            partition: partition(),
            offset,
            timestamp_ms: Some(self.now_ms as i64),
            key: Some(user.to_owned().into()),
            value: Some(value.into()),
            headers: headers.iter().map(|&(name, value)| Header::new(name, value)).collect(),
        }
    }

    fn send(&mut self, user: &str, value: &'static str, headers: &[(&'static str, &'static str)]) {
        let records = vec![self.record(user, value, headers)];
        self.turn([Output::Batch { lane: LANE, records }]);
    }

    /// What the shard has got, answered with this outcome.
    fn answer(&mut self, outcome: Outcome) -> Vec<String> {
        self.answer_each(|_| outcome)
    }

    /// The same with an outcome for each payload.
    fn answer_each(&mut self, outcome: impl Fn(&str) -> Outcome) -> Vec<String> {
        let (mut letters, mut heard) = (Vec::new(), Vec::new());
        self.mail.take(100, &mut letters);
        for letter in letters {
            let mail::ToShard::Deliver { message, ticket, .. } = letter else { panic!("{letter:?}") };
            let body = String::from_utf8_lossy(message.body.bytes()).into_owned();
            ticket.answer(outcome(&body));
            heard.push(body);
        }
        self.turn([]);
        heard
    }

    fn produced(&mut self) -> Vec<Produce> {
        let mut produced = Vec::new();
        self.requests.retain(|request| match request {
            Request::Produce(produce) => {
                produced.push(produce.clone());
                false
            }
            _ => true,
        });
        produced
    }

    /// Statuses as (user, device, outcome), which have arrived.
    fn statuses(&mut self) -> Vec<(String, Option<String>, String)> {
        let produced = self.produced();
        let answers = produced.iter().map(|it| Output::Produced { id: it.id.unwrap(), result: Ok(()) });
        self.turn(answers.collect::<Vec<_>>());
        let status = |produce: &Produce| {
            assert_eq!(produce.topic, "status");
            let value: serde_json::Value = serde_json::from_slice(produce.value.as_ref().unwrap()).unwrap();
            let text = |name: &str| value[name].as_str().map(str::to_owned);
            assert_eq!((text("topic").as_deref(), value["partition"].as_i64()), (Some("push.high"), Some(3)));
            (text("user").unwrap(), text("device"), text("outcome").unwrap())
        };
        produced.iter().map(status).collect()
    }

    /// The last offset that may be committed, and how much room was given back.
    fn done(&mut self) -> (Option<i64>, usize) {
        let (mut done, mut room) = (None, 0);
        for request in std::mem::take(&mut self.requests) {
            match request {
                Request::Done { offset, .. } => done = Some(offset),
                Request::Finished { records, .. } => room += records,
                other => panic!("{other:?}"),
            }
        }
        (done, room)
    }

    fn counted(&self, outcome: Outcome) -> u64 {
        self.stats.messages_of(LANE, outcome)
    }
}

fn is(user: &str, device: Option<&str>, outcome: &str) -> (String, Option<String>, String) {
    (user.to_owned(), device.map(str::to_owned), outcome.to_owned())
}

#[test]
fn an_offset_is_committed_when_the_outcome_is_in_and_told() {
    let mut bench = Bench::new(10);
    bench.connect("ann", "phone", 1);
    bench.send("ann", "one", &[("id", "i1"), ("trace", "t")]);
    assert_eq!(bench.done(), (None, 0));
    assert_eq!(bench.answer(Outcome::Written), ["one"]);
    let produced = bench.produced();
    assert_eq!(bench.done(), (None, 1), "there is room again, but the status is on its way");
    let [status] = &produced[..] else { panic!("{produced:?}") };
    let value: serde_json::Value = serde_json::from_slice(status.value.as_ref().unwrap()).unwrap();
    let expected = serde_json::json!({
        "id": "i1", "user": "ann", "device": "phone", "outcome": "written", "node": "n1", "region": "eu",
        "lane": "high", "topic": "push.high", "partition": 3, "offset": 0,
    });
    assert_eq!(value, expected);
    assert_eq!(status.headers, [Header::new("id", "i1"), Header::new("trace", "t")]);
    bench.turn([Output::Produced { id: status.id.unwrap(), result: Ok(()) }]);
    assert_eq!((bench.done(), bench.counted(Outcome::Written)), ((Some(0), 0), 1));
}

#[test]
fn who_has_no_device_is_offline_once() {
    let mut bench = Bench::new(10);
    bench.send("bob", "x", &[]);
    assert_eq!(bench.statuses(), [is("bob", None, "offline")]);
    assert_eq!((bench.done(), bench.counted(Outcome::Offline)), ((Some(0), 1), 1));
}

#[test]
fn one_user_is_served_in_order_and_others_do_not_wait() {
    let mut bench = Bench::new(10);
    bench.connect("ann", "phone", 1);
    bench.connect("bob", "phone", 2);
    let records = [("ann", "a1"), ("ann", "a2"), ("bob", "b1"), ("ann", "a3")]
        .map(|(user, value)| bench.record(user, value, &[]));
    bench.turn([Output::Batch { lane: LANE, records: records.into() }]);
    assert_eq!(bench.answer(Outcome::Written), ["a1", "b1"]);
    assert_eq!(bench.answer(Outcome::Written), ["a2"]);
    assert_eq!(bench.answer(Outcome::Written), ["a3"]);
    bench.statuses();
    assert_eq!(bench.done(), (Some(3), 4));
}

#[test]
fn what_is_too_late_is_not_looked_up() {
    let mut bench = Bench::new(10);
    bench.connect("ann", "phone", 1);
    bench.send("ann", "x", &[("expires", "1000")]);
    assert_eq!(bench.answer(Outcome::Written), [""; 0]);
    assert_eq!(bench.statuses(), [is("ann", None, "expired")]);
    assert!(bench.registry.asked.lock().unwrap().is_empty());
    assert_eq!((bench.done(), bench.counted(Outcome::Expired)), ((Some(0), 1), 1));
}

#[test]
fn what_an_operator_skips_has_no_outcome_but_is_counted() {
    let mut bench = Bench::new(10);
    bench.connect("ann", "phone", 1);
    bench.brakes.skip(LANE, 1_001);
    bench.send("ann", "old", &[]);
    bench.now_ms = 1_001;
    bench.send("ann", "new", &[]);
    assert_eq!(bench.answer(Outcome::Written), ["new"]);
    assert_eq!(bench.statuses(), [is("ann", Some("phone"), "written")]);
    assert_eq!((bench.stats.kafka.skips(), bench.done()), (1, (Some(1), 2)));
}

#[test]
fn what_cannot_be_read_is_kept_elsewhere_and_stalls_nothing() {
    let mut bench = Bench::new(10);
    let keyless = Record { key: None, ..bench.record("", "x", &[("a", "b")]) };
    bench.turn([Output::Batch { lane: LANE, records: vec![keyless] }]);
    let produced = bench.produced();
    let [dead] = &produced[..] else { panic!("{produced:?}") };
    assert_eq!(
        (dead.topic.as_str(), dead.key.clone(), dead.value.as_deref()),
        ("dead", None, Some(&b"x"[..]))
    );
    let expected = [
        ("a", "b"),
        ("holdfast-reason", "no_key"),
        ("holdfast-topic", "push.high"),
        ("holdfast-partition", "3"),
        ("holdfast-offset", "0"),
    ];
    assert_eq!(dead.headers, expected.map(|(name, value)| Header::new(name, value)));
    assert_eq!(bench.done(), (None, 1));
    // A dead letter that is refused is counted, and the lane goes on.
    bench.turn([Output::Produced { id: dead.id.unwrap(), result: Err("no such topic".into()) }]);
    assert_eq!(bench.done(), (Some(0), 0));
    assert_eq!(bench.stats.kafka.reports(), (0, 1));
    assert_eq!(bench.stats.kafka.rejections().next(), Some(("no_key", 1)));
}

#[test]
fn once_reports_are_refused_they_are_not_waited_for_until_one_arrives() {
    let mut bench = Bench::new(10);
    bench.send("bob", "1", &[]);
    let first = bench.produced()[0].id.unwrap();
    bench.turn([Output::Produced { id: first, result: Err("not enough replicas".into()) }]);
    bench.send("bob", "2", &[]);
    assert_eq!(bench.done_beside_reports(), Some(1));
    bench.has_room = false;
    bench.send("bob", "3", &[]);
    assert_eq!(bench.done_beside_reports(), Some(2), "what finds no room meanwhile is lost, and counted");
    assert_eq!(bench.stats.kafka.reports(), (0, 2));
    bench.has_room = true;
    bench.send("bob", "4", &[]);
    let probe = bench.produced()[0].id.unwrap();
    bench.turn([Output::Produced { id: probe, result: Ok(()) }]);
    bench.requests.clear();
    bench.send("bob", "5", &[]);
    assert_eq!(bench.done_beside_reports(), None, "they are waited for again");
}

impl Bench {
    fn done_beside_reports(&mut self) -> Option<i64> {
        self.produced();
        self.done().0
    }
}

#[test]
fn reports_that_find_no_room_are_kept_and_their_records_are_not_done() {
    let mut bench = Bench::new(10);
    bench.has_room = false;
    bench.send("bob", "1", &[]);
    assert_eq!(bench.done(), (None, 1));
    bench.has_room = true;
    assert!(bench.turn([]).next_ms.is_none());
    assert_eq!(bench.statuses(), [is("bob", None, "offline")]);
    assert_eq!(bench.done(), (Some(0), 0));
}

#[test]
fn a_full_mailbox_is_tried_again_and_the_users_next_waits() {
    let mut bench = Bench::new(1);
    bench.connect("ann", "phone", 1);
    bench.connect("bob", "phone", 2);
    let records =
        [("bob", "b1"), ("ann", "a1"), ("ann", "a2")].map(|(user, value)| bench.record(user, value, &[]));
    bench.turn([Output::Batch { lane: LANE, records: records.into() }]);
    assert_eq!(bench.answer(Outcome::Written), ["b1"]);
    assert_eq!(bench.counted(Outcome::Failed), 0);
    bench.now_ms += 100;
    bench.turn([]);
    assert_eq!(bench.answer(Outcome::Written), ["a1"]);
    assert_eq!(bench.answer(Outcome::Written), ["a2"]);
    assert_eq!((bench.counted(Outcome::Written), bench.counted(Outcome::Failed)), (3, 0));
    assert_eq!(bench.stats.kafka.retries(), 1);
}

#[test]
fn what_cannot_be_reached_for_too_long_has_failed() {
    let mut bench = Bench::new(10);
    bench.connect("ann", "phone", 1);
    bench.send("ann", "x", &[]);
    for _ in 0..100 {
        bench.answer(Outcome::Failed);
        bench.now_ms += 20;
        bench.turn([]);
    }
    assert_eq!((bench.counted(Outcome::Failed), bench.core.under_way()), (1, 0));
    assert_eq!(bench.statuses(), [is("ann", Some("phone"), "failed")]);
    assert!(bench.stats.kafka.retries() >= 3);
}

#[test]
fn while_the_registry_is_away_the_unknown_wait_and_the_known_are_served() {
    let mut bench = Bench::new(10);
    bench.connect("ann", "phone", 1);
    bench.registry.is_away.store(true, Ordering::Relaxed);
    bench.send("bob", "b1", &[]);
    bench.send("eve", "e1", &[("expires", "1500")]);
    bench.send("ann", "a1", &[]);
    assert_eq!(bench.answer(Outcome::Written), ["a1"]);
    assert_eq!(bench.statuses(), [is("ann", Some("phone"), "written")]);
    assert_eq!((bench.done(), bench.stats.kafka.parked(LANE)), ((None, 1), 2));
    bench.now_ms = 2_000;
    bench.turn([]);
    assert_eq!(bench.statuses(), [is("eve", None, "expired")]);
    bench.registry.is_away.store(false, Ordering::Relaxed);
    bench.now_ms = 3_000;
    bench.turn([]);
    assert_eq!(bench.statuses(), [is("bob", None, "offline")]);
    assert_eq!((bench.done().0, bench.core.under_way()), (Some(2), 0));
}

#[test]
fn what_is_revoked_is_given_back_when_what_was_posted_has_its_outcome() {
    let mut bench = Bench::new(10);
    bench.connect("ann", "phone", 1);
    let records =
        [("ann", "a1"), ("ann", "a2"), ("bob", "b1")].map(|(user, value)| bench.record(user, value, &[]));
    bench.turn([Output::Batch { lane: LANE, records: records.into() }]);
    bench.statuses();
    bench.turn([Output::Revoked { revocation: 5, partitions: vec![partition()], lost: false }]);
    assert_eq!(bench.done(), (None, 1));
    assert_eq!(bench.answer(Outcome::Written), ["a1"]);
    assert_eq!(bench.answer(Outcome::Written), ["a2"], "who was in line has a turn");
    let written = is("ann", Some("phone"), "written");
    assert_eq!(bench.statuses(), [written.clone(), written]);
    assert!(bench.requests.contains(&Request::Done { partition: partition(), offset: 2 }));
    assert_eq!(bench.requests.last(), Some(&Request::Released { revocation: 5 }));
    assert_eq!((bench.counted(Outcome::Written), bench.core.under_way()), (2, 0));
}

#[test]
fn what_has_no_turn_in_time_is_anothers() {
    let mut bench = Bench::new(10);
    bench.connect("ann", "phone", 1);
    let records = ["a1", "a2", "a3"].map(|value| bench.record("ann", value, &[]));
    bench.turn([Output::Batch { lane: LANE, records: records.into() }]);
    let turn = bench.turn([Output::Revoked { revocation: 5, partitions: vec![partition()], lost: false }]);
    assert_eq!(turn.next_ms, Some(bench.now_ms + REVOKE_MS));
    bench.now_ms += REVOKE_MS;
    bench.turn([]);
    assert_eq!(bench.core.under_way(), 3, "the first was posted");
    assert_eq!(bench.answer(Outcome::Written), ["a1"]);
    assert_eq!(bench.answer(Outcome::Written), [""; 0]);
    bench.statuses();
    assert!(bench.requests.contains(&Request::Done { partition: partition(), offset: 0 }));
    assert_eq!(bench.requests.last(), Some(&Request::Released { revocation: 5 }));
    assert_eq!((bench.counted(Outcome::Written), bench.core.under_way()), (1, 0));
}

#[test]
fn who_is_behind_an_obstacle_in_what_is_given_back_is_anothers() {
    for at_once in [false, true] {
        let mut bench = Bench::new(10);
        for (user, index) in [("ann", 1), ("bob", 2)] {
            bench.connect(user, "phone", index);
        }
        let records = [("ann", "a1"), ("ann", "a2"), ("bob", "b1"), ("bob", "b2")]
            .map(|(user, value)| bench.record(user, value, &[]));
        bench.turn([Output::Batch { lane: LANE, records: records.into() }]);
        let fails = |body: &str| if body == "a1" { Outcome::Failed } else { Outcome::Written };
        if at_once {
            bench.answer_each(fails);
        }
        bench.turn([Output::Revoked { revocation: 5, partitions: vec![partition()], lost: false }]);
        if !at_once {
            bench.answer_each(fails);
        }
        assert_eq!(bench.answer(Outcome::Written), ["b2"]);
        bench.statuses();
        assert_eq!(bench.requests.last(), Some(&Request::Released { revocation: 5 }));
        assert!(!bench.requests.iter().any(|request| matches!(request, Request::Done { .. })));
        assert_eq!((bench.counted(Outcome::Written), bench.core.under_way()), (2, 0), "{at_once}");
    }
}

#[test]
fn what_is_lost_counts_for_nothing_but_its_outcome() {
    let mut bench = Bench::new(10);
    bench.connect("ann", "phone", 1);
    bench.registry.is_away.store(true, Ordering::Relaxed);
    bench.send("bob", "b1", &[]);
    bench.send("ann", "a1", &[]);
    bench.turn([Output::Revoked { revocation: 5, partitions: vec![partition()], lost: true }]);
    assert_eq!(bench.answer(Outcome::Written), ["a1"]);
    assert_eq!((bench.core.under_way(), bench.counted(Outcome::Written)), (0, 1));
    bench.statuses();
    assert_eq!(bench.done(), (None, 0));
    // A record that was under way to us is another's, too.
    bench.send("ann", "a2", &[]);
    assert_eq!(bench.core.under_way(), 0);
}

#[test]
fn what_is_too_large_has_its_outcome_too() {
    let mut bench = Bench::new(10);
    let mut record = bench.record("ann", "", &[]);
    record.value = Some(vec![b'x'; 101].into());
    bench.turn([Output::Batch { lane: LANE, records: vec![record] }]);
    let topics: Vec<String> = bench.produced().into_iter().map(|produce| produce.topic).collect();
    assert_eq!(topics, ["dead", "status"]);
    assert_eq!(bench.counted(Outcome::TooLarge), 1);
}

#[test]
fn other_bounds_count_for_records_from_then_on() {
    let mut bench = Bench::new(10);
    bench.connect("ann", "phone", 1);
    let lanes =
        || Lanes::new(vec![LaneConfig { name: "high".into(), policy: LanePolicy::Drop, ttl_ms: None }]);
    let mut too_large = |push_bytes| {
        bench.core.set_bounds(lanes(), push_bytes);
        let mut record = bench.record("ann", "", &[]);
        record.value = Some(vec![b'x'; 150].into());
        bench.turn([Output::Batch { lane: LANE, records: vec![record] }]);
        bench.counted(Outcome::TooLarge)
    };
    assert_eq!([too_large(200), too_large(149), too_large(150)], [0, 1, 1]);
}
