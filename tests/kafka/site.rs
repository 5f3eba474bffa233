//! A place where a test runs: brokers with topics of the test's own, a registry, nodes, processors, and those who count.

use crate::{
    brokers::Brokers,
    fleet::{Fleet, LONG, SETS, expect, readiness},
    lanes::{LANES, topics},
    load::{FOREIGN, Load, now_ms},
    node::{Node, Plan},
    reader::{Read, Reader, uncommitted},
    registry::Registry,
    traffic::{ROUTES_LIVE, Traffic},
    verdict::{Amiss, Counts, Evidence},
};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

/// Of each topic.
const PARTITIONS: i32 = 4;
/// Messages that are produced when all is well again, for each user.
const CALM: usize = 6;
/// See [`Site::in_mid_batch`].
const BURST: usize = 6_000;
const BURST_DONE: usize = 300;
/// After the last outcome: what comes twice comes by then.
const ECHO: Duration = Duration::from_millis(500);

/// One broker that tests share which do it no harm. It ends with the last of them.
pub fn shared() -> Arc<Brokers> {
    static SHARED: Mutex<Weak<Brokers>> = Mutex::new(Weak::new());
    // A test that failed has not harmed it.
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let brokers = Arc::new(Brokers::start(1));
        *shared = Arc::downgrade(&brokers);
        brokers
    })
}

/// See the module.
pub struct Site {
    pub fleet: Fleet,
    pub processors: Vec<Node>,
    pub test: &'static str,
    pub load: Load,
    pub traffic: Traffic,
    pub reports: Reader,
    pub dead: Reader,
    /// How often partitions have moved in a way that may repeat something.
    pub repeats: usize,
    addresses: String,
    users: usize,
    moment: (Instant, i64),
}

/// What all nodes of a test are told, besides where the brokers are.
fn sets(test: &str) -> Vec<String> {
    let mut sets: Vec<String> = SETS.map(str::to_owned).into();
    sets.extend([
        format!("kafka.group={test}"),
        format!("kafka.status_topic={test}.status"),
        format!("kafka.dead_letter={test}.dead"),
        // A member that is killed is missed sooner, and new topics are seen sooner.
        "kafka.session_timeout=6s".to_owned(),
        "kafka.properties=topic.metadata.refresh.interval.ms=500".to_owned(),
        "registry.timeout=1s".to_owned(),
    ]);
    sets.extend(
        topics(test)
            .iter()
            .zip(LANES)
            .map(|(topic, lane)| format!("lanes.{lane}.topics=^{}$", topic.replace('.', r"\."))),
    );
    sets
}

/// The topics of a test, on every broker.
pub fn make_topics(brokers: &Brokers, test: &str) {
    let replicas = brokers.addresses().split(',').count() as i32;
    let names = topics(test).into_iter().chain([format!("{test}.status"), format!("{test}.dead")]);
    names.for_each(|name| brokers.create_topic(&name, PARTITIONS, replicas));
}

/// A node or processor with more sets.
pub fn plan(id: &str, url: &str, addresses: &str, test: &str, more: &[&str]) -> Plan {
    let sets = sets(test);
    let all: Vec<&str> = sets.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Plan::new(&all).id(id).registry(url).kafka(addresses)
}

/// Nodes, each with sets of its own, in a registry of their own. They may not be ready.
pub fn start_fleet(addresses: &str, test: &str, nodes: &[&[&str]]) -> Fleet {
    let registry = Registry::single();
    let url = registry.url();
    let node = |(at, more): (usize, &&[&str])| {
        plan(&format!("node-{}", at + 1), &url, addresses, test, more).start()
    };
    Fleet { nodes: nodes.iter().enumerate().map(node).collect(), registry, silent: None }
}

impl Site {
    /// Topics, nodes with sets of their own, and devices of so many users that are connected to them.
    pub fn start(brokers: &Brokers, test: &'static str, nodes: &[&[&str]], users: usize) -> Self {
        make_topics(brokers, test);
        let site = Self::begin(brokers, test, start_fleet(&brokers.addresses(), test, nodes), users);
        site.wait_shares(nodes.iter().filter(|sets| !sets.contains(&"kafka.process=false")).count());
        site
    }

    /// The same with topics and nodes that are there.
    pub fn begin(brokers: &Brokers, test: &'static str, fleet: Fleet, users: usize) -> Self {
        let addresses = brokers.addresses();
        fleet.wait_whole();
        let traffic = Traffic::listen(&fleet, users);
        traffic.wait_connected();
        traffic.wait_registered(&fleet, &[]);
        Self {
            fleet,
            processors: Vec::new(),
            test,
            load: Load::new(&addresses, topics(test), users),
            traffic,
            reports: Reader::start(&addresses, &format!("{test}.status")),
            dead: Reader::start(&addresses, &format!("{test}.dead")),
            repeats: 0,
            addresses,
            users,
            moment: (Instant::now(), now_ms()),
        }
    }

    /// Waits until so many nodes and processors share all partitions.
    pub fn wait_shares(&self, count: usize) {
        self.wait_shares_of(count, LANES.len());
    }

    /// The same while there are so many topics of lanes.
    pub fn wait_shares_of(&self, count: usize, topics: usize) {
        let due = if count == 0 { 0 } else { PARTITIONS as usize * topics };
        expect("nodes that process, and their partitions", LONG, &(count, due), || {
            let all = self.fleet.nodes.iter().chain(&self.processors);
            let held: Vec<usize> = all.map(|it| it.metric("holdfast_kafka_partitions") as usize).collect();
            (held.iter().filter(|&&it| it > 0).count(), held.iter().sum())
        });
    }

    /// One more processor.
    pub fn process(&mut self, brokers: &Brokers, id: &str) {
        let plan = plan(id, &self.fleet.registry.url(), &brokers.addresses(), self.test, &[]);
        let processor = plan.processor().start();
        expect(&format!("{id} to be ready"), LONG, &(200, "ok".to_owned()), || readiness(&processor));
        self.processors.push(processor);
    }

    /// Waits until every device hears what is produced from now on.
    pub fn wait_heard(&self) {
        self.traffic.wait_heard_since(self.load.next_number());
    }

    /// Waits until so many messages are reported.
    pub fn wait_reports(&self, count: usize) {
        expect("so many reports", LONG, &true, || self.reports.count() >= count);
    }

    /// Produces a burst, and returns in the middle of its work: when enough is done that all who process are at work.
    pub fn in_mid_batch(&self) {
        let before = self.reports.count();
        self.load.burst(BURST);
        let deadline = Instant::now() + LONG;
        while self.reports.count() < before + BURST_DONE {
            assert!(Instant::now() < deadline, "nothing is reported");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the flow, and waits until everything that a broker has is accounted for.
    pub fn settle(&mut self) {
        self.load.rest();
        let produced = self.load.produced();
        let open = || {
            let mut open: HashSet<u64> =
                produced.iter().filter(|it| it.place.is_some()).map(|it| it.number).collect();
            for record in self.reports.records().iter().chain(&self.dead.records()) {
                open.remove(&record.number());
            }
            let mut open: Vec<u64> = open.into_iter().collect();
            open.sort_unstable();
            open
        };
        expect("messages without outcome", LONG, &Vec::new(), open);
    }

    /// Waits until all that there is has been committed: what has its outcome does not come again.
    pub fn wait_committed(&self) {
        let left = || uncommitted(&self.addresses, self.test, &topics(self.test));
        expect("messages that are not committed", LONG, &0, left);
    }

    /// When all is well again: a calm, the end, and the verdict.
    pub fn end(mut self) -> (Fleet, Vec<Node>, Counts) {
        self.settle();
        // What was read of the registry before is believed for so long.
        thread::sleep(ROUTES_LIVE);
        let calm_from = self.load.next_number();
        self.load.burst(CALM * self.users);
        self.settle();
        self.traffic.wait_heard_since(calm_from);
        self.wait_committed();
        thread::sleep(ECHO);
        let record = self.traffic.stop(calm_from);
        let evidence = Evidence {
            produced: self.load.produced(),
            sessions: record.sessions,
            devices: record.devices,
            reports: self
                .reports
                .records()
                .iter()
                .map(Read::report)
                .filter(|it| it.number < FOREIGN)
                .collect(),
            dead: self.dead.records().iter().map(Read::number).filter(|&number| number < FOREIGN).collect(),
            moment: self.moment,
        };
        let counts = evidence.check(Amiss { repeats: self.repeats, calm_from });
        (self.fleet, self.processors, counts)
    }
}
