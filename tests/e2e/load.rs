//! 15,000 clients, WebSocket and SSE half and half, by the load generator's own code: every message exactly once and in
//! order, while nothing happens, while devices come again, while everybody reconnects, and while the node drains.

use crate::node::{Node, Plan};
use holdfast_loadtest::{
    Books, Ending, Fleet, GOAWAY_SLICE_US, Internal, Manner, Run, Sender, Settings, Tally, Wave,
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const CLIENTS: u32 = 15_000;
/// What a debug build takes on two cores, with room.
const RATE: f64 = 5_000.0;
/// What anything may take that is expected, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tests with thousands of sockets share this process's descriptors: one at a time.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node, its clients, and what both count.
pub struct Load {
    pub node: Node,
    pub fleet: Fleet,
    pub sender: Sender,
    pub books: Books,
    pub run: Run,
}

impl Load {
    pub fn start(node: Node, change: impl FnOnce(&mut Settings)) -> Self {
        holdfast_loadtest::raise_descriptors(CLIENTS).unwrap();
        let mut settings = Settings::new(node.clients);
        change(&mut settings);
        let run = Run::begin();
        let internal = Internal::new(node.internal, None);
        let sender = Sender::new(internal.clone(), run, &settings, 200);
        let fleet = Fleet::start(settings, run).unwrap();
        Self { fleet, sender, books: Books::open(internal).unwrap(), run, node }
    }

    /// Has clients connect and stay, and waits until they are open.
    pub fn open(&mut self, first: u32, count: u32) {
        let opened = self.fleet.tally().opened.sum() + u64::from(count);
        self.fleet.open(Wave { first, count, rate: RATE, manner: Manner::Stay, dwell: Duration::ZERO });
        self.wait("clients connect", |tally| tally.opened.sum() >= opened && tally.in_flight == 0);
    }

    pub fn wait(&mut self, what: &str, wish: impl Fn(&Tally) -> bool) -> Tally {
        self.fleet.wait(PATIENCE, wish).unwrap_or_else(|tally| panic!("{what}: {tally:#?}"))
    }

    pub fn push(&mut self, clients: &[u32]) {
        self.books.push(&mut self.sender, clients, self.run.now_us()).unwrap();
    }

    pub fn push_to_all(&mut self) {
        self.books.push_to_all(&mut self.sender, self.run.now_us()).unwrap();
    }

    /// All books agree, and nobody has anything to complain of.
    pub fn check(&mut self, when: &str) -> Tally {
        let (tally, pairs) = self.books.settle(&mut self.fleet, PATIENCE, 0).unwrap();
        let mut words = self.books.differences(&tally, &pairs, 0);
        words.extend(tally.refused.iter().map(|(status, count)| format!("{count} refused with {status}")));
        words.extend(tally.failed.iter().map(|(failure, count)| format!("{count}: {failure:?}")));
        assert!(words.is_empty(), "{when}:\n{}", words.join("\n"));
        tally
    }
}

/// How many messages that the node wrote may be lost: each client that reset its connection may have taken one with it. What
/// the kernel held for a slow client is gone when the node has given up on it.
pub fn lossy(tally: &Tally) -> u64 {
    const HELD: u64 = 50;
    let given_up = tally.ended_by(Ending::Reset) + tally.ended_by(Ending::Lost);
    tally.ended_by(Ending::Aborted) + HELD * given_up
}

/// So many different clients, from all over.
fn some(count: u32) -> Vec<u32> {
    let stretch = CLIENTS / count;
    (0..count).map(|at| at * stretch + at % stretch).collect()
}

#[test]
fn fifteen_thousand_clients_get_every_message_exactly_once_and_in_order() {
    let _turn = turn();
    let sets = ["lifetime.grace=10s", "drain.delay=100ms", "drain.window=4s", "drain.rate=1000000"];
    let mut load = Load::start(Plan::new(&sets).shards(2).start(), |settings| settings.reconnect = false);
    load.open(0, CLIENTS);
    to_some_and_to_all(&mut load);
    displaced(&mut load);
    drained(&mut load);
}

fn to_some_and_to_all(load: &mut Load) {
    let some = some(1_500);
    for _ in 0..4 {
        some.chunks(100).for_each(|batch| load.push(batch));
        load.push_to_all();
    }
    // Many to one, one by one, each behind the other.
    for _ in 0..50 {
        load.push(&[some[7]]);
    }
    let tally = load.check("pushes to some and to all");
    assert_eq!(load.books.ledger.direct, [("written".to_owned(), 4 * 1_500 + 50)].into());
    assert_eq!((tally.direct, tally.broadcast), (4 * 1_500 + 50, 4 * u64::from(CLIENTS)));
    assert_eq!(tally.open.websocket, tally.open.sse);
}

/// The same devices connect again: the old connections get 4001, the new ones the messages.
fn displaced(load: &mut Load) {
    // Both are open for a moment, in this process's descriptors.
    const AGAIN: u32 = 3_000;
    let before = load.fleet.tally();
    load.open(1_000, AGAIN);
    load.wait("the old ones are displaced", |tally| {
        tally.ended_by(Ending::Server(4001)) == u64::from(AGAIN) && tally.open.sum() == u64::from(CLIENTS)
    });
    let clients: Vec<u32> = (900..1_000 + AGAIN + 100).step_by(10).collect();
    clients.chunks(100).for_each(|batch| load.push(batch));
    load.push_to_all();
    let tally = load.check("devices that came again");
    assert_eq!(tally.direct - before.direct, clients.len() as u64, "each was written");
    assert_eq!(tally.broadcast - before.broadcast, u64::from(CLIENTS));
}

/// A drain asks everybody to leave, evenly over its window; what is sent meanwhile comes, or its outcome says that not.
fn drained(load: &mut Load) {
    const WINDOW: Duration = Duration::from_secs(4);
    let status = load.node.ask("POST", "/v1/drain", b"").status;
    assert_eq!(status, 202);
    let began = Instant::now();
    let some = some(500);
    while began.elapsed() < WINDOW {
        some.chunks(100).for_each(|batch| load.push(batch));
        load.push_to_all();
    }
    load.wait("everybody leaves", |tally| tally.open.sum() == 0);
    let tally = load.check("a drain");
    assert_eq!(tally.goaways, u64::from(CLIENTS));
    assert_eq!(load.node.metric("holdfast_closes_total{reason=\"drain\"}"), f64::from(CLIENTS));
    load.node.wait_for_metric("holdfast_drain_phase", 3.0);
    let outcomes = &load.books.ledger.direct;
    assert!(
        outcomes.keys().all(|outcome| ["written", "offline", "stale"].contains(&outcome.as_str())),
        "{outcomes:?}"
    );
    assert!(outcomes["offline"] > 0, "{outcomes:?}");
    let quarters = quarters(&tally, WINDOW);
    let even = |count: &u64| (15..=35).contains(&(count * 100 / u64::from(CLIENTS)));
    assert!(quarters.iter().all(even), "goaways in each quarter of the window: {quarters:?}");
}

/// Goaways in each quarter of a window that begins with the first of them; the last has what is late as well.
fn quarters(tally: &Tally, window: Duration) -> [u64; 4] {
    let first = tally.goaways_at.iter().position(|&count| count > 0).unwrap();
    let mut quarters = [0; 4];
    for (at, &count) in tally.goaways_at[first..].iter().enumerate() {
        let elapsed_us = at as u64 * GOAWAY_SLICE_US;
        quarters[(elapsed_us * 4 / window.as_micros() as u64).min(3) as usize] += u64::from(count);
    }
    quarters
}

#[test]
fn messages_come_once_or_are_said_not_to_while_fifteen_thousand_clients_reconnect() {
    let _turn = turn();
    let sets = ["lifetime.mean=8s", "lifetime.grace=10s"];
    let mut load = Load::start(Plan::new(&sets).shards(2).start(), |settings| {
        settings.leave_within = Duration::from_millis(500);
        settings.back_within = Duration::from_millis(500);
    });
    load.open(0, CLIENTS);
    let some = some(1_000);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(8) {
        some.chunks(100).for_each(|batch| load.push(batch));
        load.push_to_all();
    }
    // Nobody is left asked to go, or away, only when they do not come back any more.
    load.fleet.leave(Duration::from_secs(1));
    load.wait("everybody leaves", |tally| tally.open.sum() == 0 && tally.is_settled());
    let tally = load.check("reconnecting");
    assert!(tally.reconnected > u64::from(CLIENTS) / 2, "{} came back", tally.reconnected);
    assert!(tally.goaways >= tally.reconnected);
    let outcomes = &load.books.ledger.direct;
    assert!(outcomes["written"] > 5_000, "{outcomes:?}");
    assert!(
        outcomes.keys().all(|outcome| ["written", "offline", "stale"].contains(&outcome.as_str())),
        "{outcomes:?}"
    );
    assert!(load.node.log().lines().all(|line| !line.contains("panic")));
}
