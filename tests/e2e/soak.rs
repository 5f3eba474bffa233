//! Mixed load for a long time: clients that stay, come and go, reset, break the rules, read slowly, reconnect when they are
//! asked to, and messages to some and to all, all compared as it goes. `make soak` runs it for ten minutes on a release
//! build.

use crate::{
    load::{Load, lossy, turn},
    node::Plan,
};
use holdfast_loadtest::{Manner, Wave};
use std::{
    fs,
    time::{Duration, Instant},
};

/// How long, unless `SOAK_SECONDS` says otherwise: long enough to see that it works.
const SECONDS: u64 = 6;
/// Clients that stay, and come back when they are asked to leave.
const STAYING: u32 = 8_000;
/// Clients that read slowly.
const SLOW: u32 = 100;
/// Clients that come and go: how they leave, how many come in a second, and how long they stay.
const CHURN: [(Manner, f64, u64); 5] = [
    (Manner::Close, 60.0, 3_000),
    (Manner::Fin, 30.0, 2_000),
    (Manner::Reset, 10.0, 2_000),
    (Manner::Violate, 10.0, 1_000),
    (Manner::WrongPath, 10.0, 0),
];
/// A message for clients that read slowly, bytes.
const LARGE_BYTES: usize = 32 * 1024;
const SMALL_BYTES: usize = 200;
/// What the process may grow by between the second look and the last.
const RESIDENT_KIB_MAX: u64 = 6 * 1024;
/// And what it may hold more: connections come and go, so their number differs a little from look to look.
const ALLOCATED_BYTES_MAX: u64 = 1024 * 1024;
/// And descriptors that are no client's: both numbers are read while clients come and go.
const DESCRIPTORS_MAX: u64 = 64;

/// The node at a moment in which no message waits.
struct Look {
    seconds: u64,
    resident_kib: u64,
    allocated: u64,
    descriptors: u64,
    /// In any phase: one timer each.
    connections: u64,
}

impl Look {
    fn at(load: &Load, began: Instant) -> Self {
        let process = format!("/proc/{}", load.node.pid());
        let metrics = load.sender.internal().metrics().unwrap();
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        Self {
            seconds: began.elapsed().as_secs(),
            resident_kib: resident.unwrap().parse().unwrap(),
            allocated: metrics.sum("holdfast_allocated_bytes", "") as u64,
            descriptors: fs::read_dir(format!("{process}/fd")).unwrap().count() as u64,
            connections: metrics.sum("holdfast_timers", "") as u64,
        }
    }

    /// What has grown since another look, in words.
    fn growth_since(&self, before: &Look) -> Vec<String> {
        let own = |look: &Look| look.descriptors.saturating_sub(look.connections);
        let pairs = [
            ("resident KiB", before.resident_kib, self.resident_kib, RESIDENT_KIB_MAX),
            ("allocated bytes", before.allocated, self.allocated, ALLOCATED_BYTES_MAX),
            ("descriptors that are no client's", own(before), own(self), DESCRIPTORS_MAX),
        ];
        let grown = pairs.iter().filter(|(_, before, after, most)| *after > before + most);
        grown.map(|(what, before, after, _)| format!("{what}: {before} before, {after} after")).collect()
    }
}

#[test]
fn under_mixed_load_nothing_is_lost_and_nothing_grows() {
    let _turn = turn();
    let seconds = std::env::var("SOAK_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    // A short one still has goaways.
    let mean = format!("lifetime.mean={}s", (seconds / 2).clamp(5, 60));
    let sets = [mean.as_str(), "lifetime.grace=5s", "delivery.timeout=4s", "log.level=warn"];
    let mut load = Load::start(Plan::new(&sets).shards(2).start(), |settings| {
        settings.sources = (1..=20).map(|last| [127, 0, 0, last].into()).collect();
    });
    let began = Instant::now();
    begin(&mut load, seconds);
    eprintln!(
        "{:>6}{:>8}{:>10}{:>12}{:>14}{:>10}{:>9}{:>10}{:>11}{:>10}",
        "s", "open", "opened", "RSS KiB", "allocated", "fds", "goaways", "messages", "copies", "missing"
    );
    let interval = Duration::from_secs((seconds / 4).clamp(1, 30));
    let mut looks = Vec::new();
    while began.elapsed().as_secs() < seconds {
        work(&mut load, interval);
        looks.push(check(&mut load, began));
    }
    load.fleet.leave(Duration::from_secs(2));
    load.wait("everybody leaves", |tally| tally.open.sum() == 0 && tally.is_settled());
    finish(&mut load);
    // The first look comes before everything has happened once.
    let before = &looks[1.min(looks.len() - 1)];
    let grown = looks.last().unwrap().growth_since(before);
    assert!(grown.is_empty(), "grown: {}", grown.join("; "));
}

/// Has everybody come.
fn begin(load: &mut Load, seconds: u64) {
    load.open(0, STAYING);
    let mut first = STAYING;
    let mut open = |count: u32, rate: f64, manner, dwell_ms| {
        load.fleet.open(Wave { first, count, rate, manner, dwell: Duration::from_millis(dwell_ms) });
        first += count;
    };
    open(SLOW, 1_000.0, Manner::Slow, 0);
    for (manner, rate, dwell_ms) in CHURN {
        // More than the time takes: looks take time as well.
        open((rate * seconds as f64 * 2.0) as u32, rate, manner, dwell_ms);
    }
}

/// Sends for a while, and has some devices come a second time.
fn work(load: &mut Load, time: Duration) {
    let began = Instant::now();
    let mut random = fastrand::Rng::new();
    let mut turn = 0;
    while began.elapsed() < time {
        let some: Vec<u32> = (0..100).map(|_| random.u32(..STAYING)).collect();
        load.push(&some);
        load.push(&[random.u32(..STAYING)]);
        if turn % 20 == 0 {
            load.push_to_all();
        }
        if turn % 100 == 10 {
            let one = random.u32(STAYING..STAYING + SLOW);
            load.sender.resize(LARGE_BYTES);
            load.push(&[one; 12]);
            load.sender.resize(SMALL_BYTES);
        }
        if turn % 50 == 25 {
            let first = random.u32(..STAYING - 10);
            load.fleet.open(Wave {
                first,
                count: 10,
                rate: 1_000.0,
                manner: Manner::Stay,
                dwell: Duration::ZERO,
            });
        }
        turn += 1;
        std::thread::sleep(Duration::from_millis(40));
    }
}

/// While clients come and go: every message sent so far has come or was said not to.
fn check(load: &mut Load, began: Instant) -> Look {
    // What is on its way to slow clients takes a while; what was on its way to those that reset never comes.
    let (soon, deadline) =
        (Instant::now() + Duration::from_secs(2), Instant::now() + Duration::from_secs(15));
    let tally = loop {
        let tally = load.fleet.tally();
        load.books.ledger.received(load.fleet.take_receipts());
        let mut words = holdfast_loadtest::faults(&tally);
        words.extend(load.books.ledger.differences(&tally, lossy(&tally)));
        let waits = load.books.ledger.missing(&tally) > 0 && Instant::now() < soon;
        if words.is_empty() && !waits {
            break tally;
        }
        assert!(Instant::now() < deadline, "{}\n{tally:#?}", words.join("\n"));
        std::thread::sleep(Duration::from_millis(50));
    };
    load.node.wait_for_metric("holdfast_outbox_bytes", 0.0);
    let look = Look::at(load, began);
    eprintln!(
        "{:>6}{:>8}{:>10}{:>12}{:>14}{:>10}{:>9}{:>10}{:>11}{:>10}",
        look.seconds,
        tally.open.sum(),
        tally.opened.sum(),
        look.resident_kib,
        look.allocated,
        look.descriptors,
        tally.goaways,
        tally.direct,
        tally.broadcast,
        load.books.ledger.missing(&tally),
    );
    look
}

/// Nobody is there any more: all books agree.
fn finish(load: &mut Load) {
    let lossy = lossy(&load.fleet.tally());
    let (tally, pairs) = load.books.settle(&mut load.fleet, Duration::from_secs(20), lossy).unwrap();
    let words = load.books.differences(&tally, &pairs, lossy);
    for pair in pairs.iter().filter(|pair| pair.ours > 0 || pair.node > 0.0) {
        eprintln!("  {:<52}{:>12}{:>12}", pair.what, pair.ours, pair.node);
    }
    eprintln!("  {:?}\n  {:?}", tally.endings, tally.refused);
    assert!(words.is_empty(), "{}", words.join("\n"));
    assert!(tally.goaways > 0 && tally.reconnected > 0 && tally.failed.is_empty(), "{tally:#?}");
    for series in ["timers", "lent_bytes", "outbox_bytes"] {
        load.node.wait_for_metric(&format!("holdfast_{series}"), 0.0);
    }
}
