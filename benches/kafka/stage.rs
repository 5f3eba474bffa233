//! What every measurement needs: Kafka, Redis, a node with 10,000 clients, and the account of what they use.

use crate::{
    broker::{Broker, PARTITIONS},
    clients::Clients,
    cost::{ByThread, Reading},
    outcome::Outcome,
    process::{Node, Redis, until},
    sending::Stream,
    table::Table,
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// Connections.
pub const USERS: u32 = 10_000;
/// How long nothing may come before it is given up.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Before anything is measured, so that what a start costs is over.
const REST: Duration = Duration::from_secs(1);

/// How much is measured.
pub struct Scale {
    pub turns: usize,
    /// In one run.
    pub messages: u64,
    /// At half the top rate.
    pub latency: Duration,
    /// Messages in a low lane that a higher one is to overtake.
    pub backlog: u64,
}

/// See the module.
pub struct Stage {
    pub broker: Broker,
    pub redis: Redis,
    pub table: Table,
    pub scale: Scale,
    /// What times in messages count from.
    pub began: Instant,
    runs: u32,
}

impl Stage {
    pub fn set(is_quick: bool) -> Outcome<Self> {
        let scale = match is_quick {
            true => Scale { turns: 1, messages: 100_000, latency: Duration::from_secs(3), backlog: 100_000 },
            false => {
                Scale { turns: 3, messages: 500_000, latency: Duration::from_secs(10), backlog: 1_000_000 }
            }
        };
        let (broker, redis) = (Broker::start()?, Redis::start()?);
        Ok(Self { broker, redis, table: Table::default(), scale, began: Instant::now(), runs: 0 })
    }

    /// A name that no run had before: of topics, of a consumer group, and of a node.
    pub fn name(&mut self) -> String {
        self.runs += 1;
        format!("run-{}", self.runs)
    }

    /// A stream of a run to one of its lanes.
    pub fn stream(&self, run: &str, lane: &str) -> Stream {
        Stream {
            brokers: self.broker.address.clone(),
            topic: format!("{run}.push.{lane}"),
            lane: lane.as_bytes()[0],
            users: USERS,
        }
    }

    /// A node that holds all users' connections, and so many topics' partitions, which must be there.
    pub fn open(&self, run: &str, registry: &str, topics: u32) -> Outcome<(Node, Clients)> {
        self.redis.flush()?;
        let group = format!("kafka.group={run}");
        let lanes =
            ["high", "normal", "low"].map(|lane| format!("lanes.{lane}.topics=^{run}\\.push\\.{lane}$"));
        // Clients here know no pings.
        let mut arguments =
            vec!["--kafka", &self.broker.address, "--set", &group, "--set", "clients.ping=1h"];
        for lane in &lanes {
            arguments.extend(["--set", lane]);
        }
        let node = Node::start_with(run, registry, &arguments)?;
        let clients = Clients::open(node.clients, USERS, self.began)?;
        until("the partitions", || {
            Ok(node.metric("holdfast_kafka_partitions")? >= f64::from(topics * PARTITIONS))
        })?;
        if registry != "memory" {
            until("all registrations", || Ok(node.registered()? >= USERS))?;
        }
        thread::sleep(REST);
        Ok((node, clients))
    }

    /// Begins an account of what everybody uses.
    pub fn meter(&self, server: u32) -> Outcome<Meter<'_>> {
        Ok(Meter {
            stage: self,
            server: Reading::of(server)?,
            own: Reading::of(std::process::id())?,
            kafka_ns: self.broker.cpu_ns()?,
            redis_ns: self.redis.cpu_ns()?,
            began: Instant::now(),
        })
    }
}

/// An account that has begun.
pub struct Meter<'a> {
    stage: &'a Stage,
    server: Reading,
    own: Reading,
    kafka_ns: u64,
    redis_ns: u64,
    began: Instant,
}

/// What a message has cost, us of CPU.
#[derive(Default)]
pub struct Cost {
    /// Messages a second.
    pub rate: f64,
    /// The server that wrote it.
    pub server: ByThread,
    /// The client that read it.
    pub clients: f64,
    /// Who sent it to Kafka meanwhile.
    pub senders: f64,
    pub kafka: f64,
    pub redis: f64,
}

impl Meter<'_> {
    pub fn read(self, messages: u64) -> Outcome<Cost> {
        let rate = messages as f64 / self.began.elapsed().as_secs_f64();
        let each = |from: u64, to: u64| (to - from) as f64 / 1e3 / messages as f64;
        let own = self.own.since(messages)?;
        let clients = own.get("clients").copied().unwrap_or(0.0);
        Ok(Cost {
            rate,
            server: self.server.since(messages)?,
            clients,
            senders: own.values().sum::<f64>() - clients,
            kafka: each(self.kafka_ns, self.stage.broker.cpu_ns()?),
            redis: each(self.redis_ns, self.stage.redis.cpu_ns()?),
        })
    }
}

impl Cost {
    /// The server's threads together.
    pub fn of_server(&self) -> f64 {
        self.server.values().sum()
    }

    /// Everybody's, us.
    pub fn of_all(&self) -> f64 {
        self.of_server() + self.clients + self.senders + self.kafka + self.redis
    }
}
