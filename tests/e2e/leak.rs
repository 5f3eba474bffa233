//! Many short connections that end in every way there is: memory, timers, names and descriptors are afterwards where they
//! were. `make leak` runs it with a million of them on a release build.

use crate::{
    load::{Load, lossy, turn},
    node::Plan,
};
use holdfast_loadtest::{Ending, Manner, Wave};
use std::{
    fs,
    time::{Duration, Instant},
};

/// Connections, unless `LEAK_CONNECTIONS` says otherwise.
const CONNECTIONS: u32 = 20_000;
/// Connections a second; they stay for some hundred milliseconds each.
const RATE: f64 = if cfg!(debug_assertions) { 4_000.0 } else { 10_000.0 };
/// More at one moment than the rest ever holds: memory follows the peak.
const PEAK: u32 = 16_000;
/// What may be held more than before: a handful of pages that something else has asked for.
const ALLOCATED_BYTES_MAX: f64 = 256.0 * 1024.0;
/// What the process may have grown by: the allocator keeps some free pages.
const RESIDENT_KIB_MAX: f64 = 4.0 * 1024.0;
/// A message for clients that read slowly, bytes: more than their kernel takes.
const LARGE_BYTES: usize = 48 * 1024;
const SMALL_BYTES: usize = 200;

/// Some of the connections: what they do, their share of 1,000, and how long they stay.
const PARTS: [(Way, u32, u64); 13] = [
    (Way::By(Manner::Close), 210, 150),
    (Way::By(Manner::Fin), 160, 150),
    (Way::By(Manner::Reset), 160, 150),
    (Way::By(Manner::Violate), 120, 150),
    (Way::By(Manner::WrongPath), 60, 0),
    (Way::By(Manner::Nameless), 60, 0),
    (Way::By(Manner::HalfRequest), 20, 0),
    (Way::By(Manner::Stay), 40, 0),
    (Way::By(Manner::Ignore), 20, 0),
    (Way::By(Manner::Linger), 20, 150),
    (Way::By(Manner::Slow), 20, 2_000),
    (Way::Displaced, 50, 0),
    (Way::Operator, 10, 0),
];

#[derive(Clone, Copy, PartialEq)]
enum Way {
    By(Manner),
    /// The same devices connect a second time, so that they count twice.
    Displaced,
    /// An operator closes them.
    Operator,
}

/// What must not grow, read at one moment when nobody is connected.
const WHAT: [&str; 10] = [
    "resident, KiB",
    "allocated, bytes",
    "active, bytes",
    "descriptors",
    "threads",
    "connections",
    "timers",
    "lent bytes",
    "outbox bytes",
    "letters waiting",
];

fn look(load: &Load) -> [f64; 10] {
    let process = format!("/proc/{}", load.node.pid());
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let of = |name: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let descriptors = fs::read_dir(format!("{process}/fd")).unwrap().count();
    let metrics = load.sender.internal().metrics().unwrap();
    [
        of("VmRSS:"),
        metrics.sum("holdfast_allocated_bytes", ""),
        metrics.sum("holdfast_active_bytes", ""),
        descriptors as f64,
        of("Threads:"),
        metrics.sum("holdfast_connections", "{"),
        metrics.sum("holdfast_timers", ""),
        metrics.sum("holdfast_lent_bytes", ""),
        metrics.sum("holdfast_outbox_bytes", ""),
        metrics.sum("holdfast_mailbox_depth", ""),
    ]
}

/// What has grown, in words.
fn growth(before: &[f64; 10], after: &[f64; 10]) -> Vec<String> {
    let allowed = |at: usize| match at {
        0 => RESIDENT_KIB_MAX,
        1 => ALLOCATED_BYTES_MAX,
        2 => RESIDENT_KIB_MAX * 1024.0,
        _ => 0.0,
    };
    let grown = (0..WHAT.len()).filter(|&at| after[at] > before[at] + allowed(at));
    grown.map(|at| format!("{}: {} before, {} after", WHAT[at], before[at], after[at])).collect()
}

#[test]
fn many_short_connections_leave_nothing_behind() {
    let _turn = turn();
    let count = std::env::var("LEAK_CONNECTIONS").map_or(CONNECTIONS, |text| text.parse().unwrap());
    let sets = [
        "lifetime.mean=2s",
        "lifetime.grace=300ms",
        "limits.handshake_timeout=1s",
        "delivery.timeout=4s",
        "log.level=warn",
    ];
    let mut load = Load::start(Plan::new(&sets).shards(2).start(), |settings| {
        settings.reconnect = false;
        settings.leave_within = Duration::from_millis(100);
        settings.sources = (1..=40).map(|last| [127, 0, 0, last].into()).collect();
    });
    let mut first = 0;
    fight(&mut load, &mut first);
    let most_before = peak(&mut load, &mut first).max(storm(&mut load, &mut first, (count / 20).max(5_000)));
    let before = settled(&mut load);
    let began = Instant::now();
    let most_after = storm(&mut load, &mut first, count);
    let took = began.elapsed();
    // Pages go back a little later.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut after = settled(&mut load);
    while !growth(&before, &after).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
        after = settled(&mut load);
    }
    eprintln!("{count} connections in {:.0} s, {} ways to end", took.as_secs_f64(), PARTS.len() + 1);
    eprintln!("{:<20}{:>14}{:>14}", "", "before", "after");
    for (at, what) in WHAT.iter().enumerate() {
        eprintln!("{what:<20}{:>14}{:>14}", before[at], after[at]);
    }
    eprintln!("{:<20}{most_before:>14}{most_after:>14}", "most at once");
    let grown = growth(&before, &after);
    assert!(grown.is_empty(), "grown: {}", grown.join("; "));
    nobody_is_known(&load, first);
    every_way_was_gone(&mut load);
}

/// A few devices that connect too often, which the node stops.
fn fight(load: &mut Load, first: &mut u32) {
    for round in 1..=6 {
        load.fleet.open(wave(*first, 20, f64::INFINITY, Manner::Stay, 0));
        load.wait("a fight", |tally| tally.started == round * 20 && tally.in_flight == 0);
    }
    *first += 20;
}

fn wave(first: u32, count: u32, rate: f64, manner: Manner, dwell_ms: u64) -> Wave {
    Wave { first, count, rate, manner, dwell: Duration::from_millis(dwell_ms) }
}

/// Says how many were open at once.
fn peak(load: &mut Load, first: &mut u32) -> u64 {
    load.fleet.open(wave(*first, PEAK, f64::INFINITY, Manner::Stay, 0));
    let most = load.wait("a peak", |tally| tally.is_settled()).open.sum();
    load.push_to_all();
    load.fleet.leave(Duration::from_millis(200));
    load.wait("the end of the peak", |tally| tally.open.sum() == 0);
    *first += PEAK;
    most
}

/// Every way at once, each at its share of the rate, with messages under way. Says how many were there at once, open or
/// about to be.
fn storm(load: &mut Load, first: &mut u32, count: u32) -> u64 {
    let (began, mut most) = (Instant::now(), 0);
    let mut parts = Vec::new();
    for (way, share, dwell_ms) in PARTS {
        let (count, rate) = (count / 1_000 * share, RATE * f64::from(share) / 1e3);
        let manner = match way {
            Way::By(manner) => manner,
            Way::Displaced => Manner::Stay,
            Way::Operator => Manner::Ignore,
        };
        load.fleet.open(wave(*first, count, rate, manner, dwell_ms));
        parts.push((way, *first, count, rate));
        *first += count;
    }
    std::thread::sleep(Duration::from_millis(500));
    for &(way, first, count, rate) in &parts {
        if way == Way::Displaced {
            load.fleet.open(wave(first, count, rate, Manner::Stay, 0));
        }
    }
    let mut closed = 0;
    loop {
        for &(way, first, count, rate) in &parts {
            let reached =
                |ago: f64| ((began.elapsed().as_secs_f64() - ago).max(0.0) * rate).min(f64::from(count));
            let recent = |ago: f64, most: u32| {
                let end = first + reached(ago) as u32;
                (end.saturating_sub(most).max(first)..end).collect::<Vec<u32>>()
            };
            match way {
                Way::Operator => {
                    let end = reached(0.2) as u32;
                    for at in closed..end {
                        load.sender.disconnect(first + at).unwrap();
                    }
                    closed = end;
                }
                Way::By(Manner::Slow) => {
                    load.sender.resize(LARGE_BYTES);
                    let slow = recent(0.1, 20);
                    if slow.len() > 1 {
                        load.push(&slow);
                    }
                    load.sender.resize(SMALL_BYTES);
                }
                _ => {
                    let some = recent(0.0, 30);
                    if some.len() > 1 {
                        load.push(&some);
                    }
                }
            }
        }
        load.push_to_all();
        let tally = load.fleet.tally();
        most = most.max(tally.open.sum() + tally.in_flight);
        if tally.is_settled() && tally.open.sum() == 0 {
            return most;
        }
        let deadline = f64::from(count) / RATE * 4.0 + 60.0;
        assert!(began.elapsed().as_secs_f64() < deadline, "it does not end: {tally:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until all books agree and nothing is under way; then how it looks.
fn settled(load: &mut Load) -> [f64; 10] {
    let patience = Duration::from_secs(20);
    let lossy = lossy(&load.fleet.tally());
    let (tally, pairs) = load.books.settle(&mut load.fleet, patience, lossy).unwrap();
    let words = load.books.differences(&tally, &pairs, lossy);
    assert!(words.is_empty(), "{}\n{:#?}", words.join("\n"), tally.endings);
    // The last of those that were closed and did not answer.
    load.node.wait_for_metric("holdfast_timers", 0.0);
    look(load)
}

/// The directory has forgotten them: one in a few hundred is asked for.
fn nobody_is_known(load: &Load, clients: u32) {
    for client in (0..clients).step_by(clients as usize / 400) {
        let answer = load.node.ask("GET", &format!("/v1/users/load-{client}/devices"), b"");
        assert_eq!(answer.status, 404, "{client}: {}", answer.text());
    }
}

/// Each way to end was taken, and counted by both sides.
fn every_way_was_gone(load: &mut Load) {
    let metrics = load.sender.internal().metrics().unwrap();
    let closes = ["client_closed", "client_gone", "lifetime", "displaced", "operator", "protocol_error"];
    for reason in closes {
        let count = metrics.sum("holdfast_closes_total", &format!("reason=\"{reason}\""));
        assert!(count > 0.0, "no connection ended by {reason}");
    }
    let tally = load.fleet.tally();
    let pairs = [("not_found", 404), ("auth_failed", 401), ("handshake_timeout", 408)];
    for (result, status) in pairs {
        let count = metrics.sum("holdfast_handshakes_total", &format!("result=\"{result}\""));
        let ours = tally.refused.get(&status).copied().unwrap_or(0);
        assert!(
            count > 0.0 && count == ours as f64,
            "{result}: {ours} by the clients' count, {count} by the node's"
        );
    }
    assert!(metrics.sum("holdfast_handshakes_total", "takeover_fight") > 0.0, "no fight was stopped");
    for ending in [1000, 1002, 4001, 4003].map(Ending::Server) {
        assert!(tally.ended_by(ending) > 0, "nobody was {ending}: {:?}", tally.endings);
    }
}
