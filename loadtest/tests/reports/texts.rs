//! The report for a terminal, and as a file.

use crate::sample;
use holdfast_loadtest::{
    host::Host,
    report::{
        compare, html,
        model::{
            Check, Clients, FORMAT, Figure, Generator, Latency, Memory, Node, Report, Series, Step, columns,
        },
        text,
    },
};
use proptest::prelude::*;
use std::path::Path;

#[test]
fn an_ordinary_run_is_told_in_sixty_lines() {
    let words = text(&sample::ordinary());
    let lines: Vec<&str> = words.lines().collect();
    assert!(lines.len() <= 60 && lines.iter().all(|line| line.len() <= 140), "{words}");
    let wanted = [
        "holdfast 0.1.0, 2026-11-21T14:03:11Z, 89.4 s: idle, push, fanout, drain",
        "target        127.0.0.1:7001 (holdfast)",
        "node          127.0.0.1:7008 0.1.0, 2 shards",
        "clients       15,000 asked for, 27,800 opened (13,911 websocket, 13,889 sse, 12,800 of them again)",
        "rate          3,000/s asked for, 2,994/s reached",
        "ended         12,800: left after a goaway",
        "received      7,500 to one, 75,000 to all",
        "a connection  node 121 B, kernel 8.15 kB (both ends), generator 84 B",
        "  memory of the node                               121 B per connection  (slope over 15,000 connections)",
        "  delivery p99                                    2.31 ms",
        "  4 counts agree with the node's",
    ];
    for line in wanted {
        assert!(lines.contains(&line), "no line {line:?} in\n{words}");
    }
    let handshake = lines.iter().position(|line| line.starts_with("handshake  ")).unwrap();
    let times = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        times(lines[handshake - 1]),
        ["count", "min", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"]
    );
    assert_eq!(times(lines[handshake])[1..4], ["27,800", "136", "us"]);
    assert_eq!(lines.last(), Some(&"all as it must be"));
}

#[test]
fn what_is_wrong_comes_last_and_once() {
    let words = text(&sample::troubled());
    let tail: Vec<&str> = words.lines().rev().take(6).collect();
    assert_eq!(tail[0], "interrupted, and not as it must be");
    assert_eq!(tail[1], "MISMATCH: storm: 2 clients did not come back");
    assert!(
        tail[2].starts_with("MISMATCH: accepted handshakes") && tail[3].starts_with("MISMATCH: 3 messages")
    );
    assert!(
        tail[4].starts_with("WARNING: net.core.")
            && tail[5].starts_with("WARNING: the generator was the bottle")
    );
    assert!(
        words.contains("1,187,213 clients, 1,187,214 node  <--")
            && words.contains("node          and 56 more")
    );
    let mut report = sample::nothing();
    report.mismatches = (0..1_000).map(|at| format!("client {at}\x1b[2J\nhas lost one")).collect();
    let words = text(&report);
    assert!(
        words.contains("MISMATCH: client 0 [2J has lost one\n") && words.contains("MISMATCH: and 960 more\n")
    );
    assert!(words.lines().count() < 60 && !words.contains('\x1b'));
}

#[test]
fn a_report_reads_back_what_it_wrote() {
    for (name, report) in sample::all() {
        let json = report.json().unwrap();
        let again = Report::parse(&json).unwrap();
        assert!(again.json().unwrap() == json, "{name}");
        assert_eq!(text(&again), text(&report), "{name}");
    }
    // A column is a line.
    let json = sample::ordinary().json().unwrap();
    assert!(json.lines().any(|line| line.starts_with("      \"open\": [0,2997,")));
    // What a later version adds is passed over.
    let later = json.replacen('{', "{\"weather\": {\"rain\": [1, {}]},", 1);
    assert!(Report::parse(&later).unwrap() == Report::parse(&json).unwrap());
}

#[test]
fn what_is_no_report_is_said_to_be_none() {
    let good = sample::nothing().json().unwrap();
    let later = format!("\"format\": {}", FORMAT + 1);
    let cases = [
        ("".to_owned(), "is no report: it is not JSON (EOF"),
        ("hello".to_owned(), "is no report: it is not JSON (expected value at line 1"),
        ("<!DOCTYPE html>".to_owned(), "is a page, not a report as JSON"),
        ("[1]".to_owned(), "is no report of a load test: it has no \"format\""),
        ("{\"clients\": 7, \"good\": true}".to_owned(), "is no report of a load test: it has no \"format\""),
        ("{\"format\": \"1\"}".to_owned(), "is no report of a load test: it has no \"format\""),
        ("{\"format\": 0}".to_owned(), "is no report of a load test: its \"format\" is 0"),
        (good.replace("\"format\": 1", &later), "is of format 2, and this version reads up to 1"),
        ("{\"format\": 1}".to_owned(), "is not a whole report: missing field `"),
        (good.replace("\"took_s\"", "\"took\""), "is not a whole report: missing field `took_s`"),
        (
            good.replace("\"took_s\": 3", "\"took_s\": \"long\""),
            "is not a whole report: invalid type: string",
        ),
        (good[..good.len() / 2].to_owned(), "is no report: it is not JSON (EOF"),
    ];
    for (text, why) in cases {
        let told = Report::parse(&text).unwrap_err();
        assert!(told.starts_with(why), "{told:?} is not {why:?}");
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let missing = folder.join("none.json");
    assert_eq!(Report::read(&missing), Err(format!("{}: there is no such file", missing.display())));
    assert!(Report::read(folder).unwrap_err().contains("cannot be read"));
    let noise = folder.join("noise.json");
    std::fs::write(&noise, [0xff, 0xfe, 0x00]).unwrap();
    assert!(Report::read(&noise).unwrap_err().ends_with("is no report: it is not text"));
    std::fs::write(&noise, &good).unwrap();
    assert_eq!(Report::read(&noise).unwrap().json().unwrap(), good);
}

/// Any number there is, often one that is trouble.
fn number() -> impl Strategy<Value = f64> {
    let odd = [
        0.0,
        -0.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN_POSITIVE,
        1e18,
        -1.0,
        1e-300,
    ];
    prop_oneof![any::<f64>(), proptest::sample::select(odd.to_vec()), 0.0..1e6f64]
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof!["\\PC{0,12}", "[a-z <>&\"'\n\x1b]{0,20}", Just(String::new())]
}

fn latency() -> impl Strategy<Value = Latency> {
    let curve = proptest::collection::vec((number(), any::<u64>()), 0..20);
    (any::<[u64; 8]>(), number(), curve).prop_map(|(of, mean, curve)| Latency {
        unit: "us".into(),
        count: of[0],
        min: of[1],
        mean,
        p50: of[2],
        p90: of[3],
        p99: of[4],
        p999: of[5],
        p9999: of[6],
        max: of[7],
        curve,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let units = ["us", "ms", "s", "bytes", "per s", "cores", "%", "", "messages", "bytes per connection"];
    let figure = (words(), number(), proptest::sample::select(units.to_vec()), proptest::option::of(words()));
    let figure =
        figure.prop_map(|(name, value, unit, note)| Figure { note, ..Figure::new(name, value, unit) });
    let check = (words(), number(), number(), number(), any::<bool>())
        .prop_map(|(what, clients, node, slack, agrees)| Check { what, clients, node, slack, agrees });
    let lists = (proptest::collection::vec(figure, 0..4), proptest::collection::vec(check, 0..4));
    (words(), number(), number(), lists, proptest::collection::vec(words(), 0..3)).prop_map(
        |(name, begin_s, end_s, (figures, checks), mismatches)| Step {
            name,
            begin_s,
            end_s,
            figures,
            checks,
            mismatches,
        },
    )
}

fn series() -> impl Strategy<Value = Series> {
    let names = [
        columns::OPEN,
        columns::OPENED,
        columns::CLOSED,
        columns::DELIVERY_P99,
        columns::NODE_MEMORY,
        columns::KERNEL_MEMORY,
        columns::NODE_CPU,
        "something new",
    ];
    let column = proptest::collection::vec(proptest::option::of(number()), 0..40);
    let columns = proptest::collection::btree_map(proptest::sample::select(names.to_vec()), column, 0..8);
    (proptest::collection::vec(number(), 0..40), columns, any::<bool>()).prop_map(
        |(at_s, columns, is_long)| {
            // Some are so long that they are thinned.
            let times = if is_long { 60 } else { 1 };
            let columns = columns.into_iter().map(|(name, column)| (name.to_owned(), column.repeat(times)));
            Series { at_s: at_s.repeat(times), columns: columns.collect() }
        },
    )
}

fn report() -> impl Strategy<Value = Report> {
    let counts = || proptest::collection::btree_map(words(), any::<u64>(), 0..4);
    let list = || proptest::collection::vec(words(), 0..4);
    let maybe = || proptest::option::of(number());
    let clients = (any::<[u64; 9]>(), counts(), counts(), counts(), maybe(), maybe());
    let parts = (number(), list(), list(), any::<[bool; 4]>(), clients, (maybe(), maybe()));
    let more = proptest::collection::btree_map(words(), latency(), 0..4);
    let host = (words(), any::<u32>(), any::<u64>());
    (parts, proptest::collection::vec(step(), 0..4), series(), more, host).prop_map(
        |(
            (took_s, command, scenarios, flags, clients, memory),
            steps,
            series,
            latencies,
            (cpu, cores, memory_bytes),
        )| {
            let (of, refused, failed, ended, rate_asked, rate_reached) = clients;
            let node = Node {
                internal: cpu.clone(),
                connections_before: of[0],
                shards: Some(cores),
                ..Node::default()
            };
            let mut report = Report {
                took_s,
                warnings: command.clone(),
                mismatches: scenarios.clone(),
                command,
                scenarios,
                interrupted: flags[0],
                good: flags[1],
                host: Host {
                    cpu: cpu.clone(),
                    cores,
                    memory_bytes,
                    virtualised: flags[2],
                    ..Host::default()
                },
                generator: Generator {
                    cpu_seconds: took_s,
                    cpu_peak: took_s,
                    rss_bytes: memory_bytes,
                    bottleneck: flags[3].then_some(cpu),
                    ..Generator::default()
                },
                memory: Memory {
                    node_per_connection: memory.0,
                    kernel_per_connection: memory.1,
                    kernel_has_both_ends: flags[2],
                },
                clients: Clients {
                    asked: of[0],
                    opened: of[1],
                    websocket: of[2],
                    sse: of[3],
                    most_open: of[4],
                    goaways: of[5] >> 1,
                    reconnected: of[6] >> 1,
                    direct: of[7] >> 1,
                    broadcast: of[8] >> 1,
                    rate_asked,
                    rate_reached,
                    refused,
                    failed,
                    ended,
                },
                steps,
                series,
                latencies,
                ..Report::default()
            };
            report.target.nodes.push(node);
            report
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_report_is_written_read_told_and_compared(report in report(), other in report()) {
        let told = text(&report);
        prop_assert!(!told.contains('\x1b'));
        let page = html(&report);
        prop_assert!(page.ends_with("</html>") && !page.contains("NaN") && !page.contains("inf\"") );
        let again = Report::parse(&report.json().unwrap()).unwrap();
        prop_assert_eq!(&again.mismatches, &report.mismatches);
        prop_assert_eq!(again.clients.refused, report.clients.refused.clone());
        compare(&report, &other).text();
    }
}
