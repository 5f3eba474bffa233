//! What the processor's thread does for a message from the queue: reads the record, finds the user's connection, posts to its shard,
//! takes the outcome and says how far the queue is done. No Kafka, no registry, no other thread; 10,000 users with a
//! connection each.
//!
//! - `message`: of a lane that is as full as it may be. Records come in batches of 1,000, and outcomes when 8,192 wait for them,
//!   so a message has left the nearest caches when its outcome comes, as on a busy node.
//! - `message_of_few`: the same with 100 at a time: of a node with little to do.
//! - `behind_another`: all messages of a batch are for ten users, so that nearly all wait for another of their user.
//!
//! Times are for one message, and of the turns alone: making records and what shards do is left out.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use foldhash::fast::RandomState;
use holdfast::{
    bridge::{
        Brakes, Router,
        processor::{Intake, Processor, Settings},
        queue::{Output, Partition, Record},
        registry::{Lease, MemoryRegistry},
        router::Parts,
    },
    directory::{Arrival, Directory},
    kit::{
        mailbox::{Receiver, Wake, mailbox},
        slab::Key,
        time::Now,
    },
    model::{Handle, Lane, LanePolicy, Lanes, Outcome, Protocol, lane::LaneConfig, mail::ToShard},
    stats::{BuildInfo, NodeStats},
};
use std::{
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

const USERS: u32 = 10_000;
const PARTITIONS: i32 = 8;
const BATCH: usize = 1_000;
const LANE: Lane = Lane(0);

struct NobodySleeps;

impl Wake for NobodySleeps {
    fn wake(&self) {}
}

/// A processor between a queue and a shard that are played by the bench.
struct Stage {
    core: Processor,
    mail: Receiver<ToShard>,
    letters: Vec<ToShard>,
    partitions: Vec<Partition>,
    next: u64,
    in_turns: Duration,
}

impl Stage {
    fn new() -> Self {
        let (sender, mail) = mailbox(&[64, 1 << 16], Arc::new(NobodySleeps));
        let lane = LaneConfig { name: "high".into(), policy: LanePolicy::Drop, ttl_ms: None };
        let lanes = Lanes::new(vec![lane]);
        let stats = Arc::new(NodeStats::new(1, &lanes, BuildInfo::current()));
        let lease = Lease {
            node: "n1".into(),
            address: String::new(),
            region: String::new(),
            incarnation: 1,
            capacity: 0,
            connections: 0,
            draining: false,
            version: String::new(),
            lanes: Default::default(),
        };
        let router = Arc::new(Router::new(Parts {
            directory: Arc::new(connected()),
            registry: Arc::new(MemoryRegistry::new(lease)),
            peering: None,
            shards: vec![sender],
            stats: stats.clone(),
            node: 7,
            number: 7,
        }));
        let settings = Settings {
            node: "n1".into(),
            region: "eu".into(),
            retry_ms: 500,
            status_topic: None,
            dead_letter: None,
            brakes: Arc::new(Brakes::new(&lanes)),
            intake: Intake { lanes, push_bytes: 65_536, collapse_seed: RandomState::default() },
        };
        let topic: Arc<str> = "push.high".into();
        let partition = |number| Partition { topic: topic.clone(), number, term: 1 };
        let mut stage = Self {
            core: Processor::new(settings, router, stats),
            mail,
            letters: Vec::new(),
            partitions: (0..PARTITIONS).map(partition).collect(),
            next: 0,
            in_turns: Duration::ZERO,
        };
        let held = stage.partitions.iter().map(|partition| (LANE, partition.clone())).collect();
        stage.turn(Some(Output::Assigned { partitions: held }));
        stage
    }

    fn turn(&mut self, output: Option<Output>) {
        let now = Now { micros: 5_000_000, unix_ms: 1_000_000 };
        let began = Instant::now();
        self.core.turn(now, output, &mut Context::from_waker(Waker::noop()), &mut |_| Ok(()));
        self.in_turns += began.elapsed();
    }

    /// So many messages, for users in turn, of one partition after the other, as the queue hands them over.
    fn give(&mut self, messages: usize, users: u64) {
        let mut arena = bytes::BytesMut::with_capacity(messages * 160);
        let mut keep = |bytes: &[u8]| -> Bytes {
            arena.extend_from_slice(bytes);
            arena.split().freeze()
        };
        let partition = &self.partitions[(self.next / BATCH as u64) as usize % self.partitions.len()];
        let records = (self.next..self.next + messages as u64).map(|number| Record {
            partition: partition.clone(),
            offset: number as i64,
            timestamp_ms: Some(999_000),
            // Steps through all users in an order that the cache cannot guess.
            key: Some(keep(name((number * 7_919 % users) as u32).as_bytes())),
            value: Some(keep(&[b'x'; 126])),
            headers: Vec::new(),
        });
        let records = records.collect();
        self.next += messages as u64;
        self.turn(Some(Output::Batch { lane: LANE, records }));
    }

    /// Every letter that waits is answered, as a shard does.
    fn answer(&mut self) {
        while self.core.under_way() > 0 {
            while self.mail.take(1_024, &mut self.letters) {}
            for letter in self.letters.drain(..) {
                if let ToShard::Deliver { ticket, .. } = letter {
                    ticket.answer(Outcome::Written);
                }
            }
            self.turn(None);
        }
    }
}

fn name(user: u32) -> String {
    format!("user-{user:06}")
}

fn connected() -> Directory {
    let directory = Directory::new(0);
    for user in 0..USERS {
        let registered = directory.register(&Arrival {
            user: &name(user),
            device: None,
            handle: Handle { shard: 0, key: Key { index: user, generation: 1 } },
            protocol: Protocol::Websocket,
            began_ms: 1,
            ends_ms: 1_800_000,
        });
        assert!(registered.is_ok());
    }
    directory
}

fn processor(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("processor");
    group.throughput(Throughput::Elements(1));
    for (name, under_way, users) in [
        ("message", 8_192, u64::from(USERS)),
        ("message_of_few", 100, u64::from(USERS)),
        ("behind_another", 8_192, 10),
    ] {
        let mut stage = Stage::new();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|messages| {
                stage.in_turns = Duration::ZERO;
                let mut left = messages.max(under_way as u64) as usize;
                let total = left;
                while left > 0 {
                    let mut room = left.min(under_way);
                    left -= room;
                    while room > 0 {
                        let batch = room.min(BATCH);
                        stage.give(batch, users);
                        room -= batch;
                    }
                    stage.answer();
                }
                stage.in_turns.mul_f64(messages as f64 / total as f64)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, processor);
criterion_main!(benches);
