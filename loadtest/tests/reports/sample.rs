//! Reports such as runs may bring forth: an ordinary one, one of a fleet with trouble, one of nothing, and one of a day.

use holdfast_loadtest::{
    host::Host,
    report::model::{
        Better, Check, Clients, Figure, Generator, Latency, Memory, Node, Report, Series, Step, Target,
        columns,
    },
};
use std::collections::BTreeMap;

/// Numbers that look like chance and are the same each time.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to 1.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn named<V, const N: usize>(pairs: [(&str, V); N]) -> BTreeMap<String, V> {
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

fn host() -> Host {
    Host {
        kernel: "6.12.44".into(),
        distribution: Some("Debian GNU/Linux 13 (trixie)".into()),
        cpu: "AMD EPYC 7B13".into(),
        cores: 2,
        memory_bytes: 25_200_000_000,
        memory_limit_bytes: None,
        cpu_limit: None,
        sysctls: named([
            ("fs.file-max", "2466170".to_owned()),
            ("net.core.somaxconn", "65535".to_owned()),
            ("net.ipv4.ip_local_port_range", "1024 65535".to_owned()),
            ("net.ipv4.tcp_mem", "1048576 1572864 3145728".to_owned()),
            ("net.ipv4.tcp_tw_reuse", "2".to_owned()),
            ("transparent_hugepage", "madvise".to_owned()),
        ]),
        descriptors_soft: Some(20_000),
        descriptors_hard: Some(20_000),
        virtualised: true,
    }
}

/// A latency whose curve rises as those of real servers do.
pub fn latency(count: u64, median_us: f64, tail: f64) -> Latency {
    let at = |percentile: f64| {
        let nines = -(1.0 - percentile / 100.0).max(1.0 / count as f64).log10();
        (median_us * 10f64.powf(tail * (nines - 0.3).powf(1.3).max(-0.4 * (0.3 - nines).max(0.0)))) as u64
    };
    let halves = (count as f64).log2() as u32;
    let mut curve = Vec::new();
    for half in 0..=halves {
        let below = 100.0 - 100.0 / 2f64.powi(half as i32);
        curve.extend((0..4).map(|step| below + f64::from(step) * 100.0 / 2f64.powi(half as i32) / 8.0));
    }
    curve.push(100.0);
    Latency {
        unit: "us".into(),
        count,
        min: (median_us / 3.0) as u64,
        mean: median_us * 1.2,
        p50: at(50.0),
        p90: at(90.0),
        p99: at(99.0),
        p999: at(99.9),
        p9999: at(99.99),
        max: at(100.0),
        curve: curve.into_iter().map(|percentile| (percentile, at(percentile))).collect(),
    }
}

fn check(what: &str, clients: f64, node: f64) -> Check {
    Check { what: what.into(), clients, node, slack: 0.0, agrees: clients == node }
}

fn agreeing(all: &[(&str, f64)]) -> Vec<Check> {
    all.iter().map(|(what, count)| check(what, *count, *count)).collect()
}

/// What happens in a second.
#[derive(Clone, Copy, Default)]
struct Second {
    opened: f64,
    closed: f64,
    refused: f64,
    goaways: f64,
    messages: f64,
}

/// A series from what happens in each second.
fn series(seconds: usize, seed: u64, what: impl Fn(usize, &mut Noise) -> Second) -> Series {
    let mut noise = Noise::new(seed);
    let mut columns: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
    let (mut open, mut most) = (0.0f64, 0.0f64);
    for at in 0..seconds {
        let second = what(at, &mut noise);
        open = (open + second.opened - second.closed).max(0.0);
        most = most.max(open);
        let (busy, hum) = (second.opened + second.closed, noise.next());
        let shaken = (second.opened > 0.0).then_some(320.0 + second.opened / 15.0 * (0.8 + 0.4 * hum));
        let told = (second.messages > 0.0).then_some(400.0 + second.messages / 60.0 * (0.8 + 0.4 * hum));
        let row = [
            (columns::OPEN, Some(open)),
            (columns::OPENED, Some(second.opened)),
            (columns::CLOSED, Some(second.closed)),
            (columns::REFUSED, Some(second.refused)),
            (columns::GOAWAYS, Some(second.goaways)),
            (columns::MESSAGES, Some(second.messages)),
            (columns::HANDSHAKE_P50, shaken),
            (columns::HANDSHAKE_P99, shaken.map(|us| us * (3.0 + 30.0 * noise.next().powi(6)))),
            (columns::DELIVERY_P50, told),
            (columns::DELIVERY_P99, told.map(|us| us * (2.5 + 12.0 * noise.next().powi(4)))),
            (columns::NODE_MEMORY, Some(21e6 + most * 121.0 + 4e5 * hum)),
            (columns::KERNEL_MEMORY, Some(310e6 + most * 4_100.0 + open * 4_050.0 + 2e6 * noise.next())),
            (columns::GENERATOR_MEMORY, Some(14e6 + most * 84.0)),
            (columns::NODE_CPU, Some((busy / 15_000.0 + second.messages / 90_000.0 + 0.01 * hum).min(1.0))),
            (
                columns::GENERATOR_CPU,
                Some((busy / 13_000.0 + second.messages / 80_000.0 + 0.02 * hum).min(1.0)),
            ),
        ];
        for (name, value) in row {
            columns.entry(name.to_owned()).or_default().push(value);
        }
    }
    Series { at_s: (0..seconds).map(|at| at as f64).collect(), columns }
}

/// 15,000 clients of one node: they come, are pushed to, and are drained.
pub fn ordinary() -> Report {
    let series = series(90, 7, |at, noise| match at {
        1..=5 => Second { opened: if at == 5 { 3_012.0 } else { 2_997.0 }, ..Second::default() },
        20..=29 => Second { messages: 750.0 + 40.0 * noise.next(), ..Second::default() },
        36 | 39 | 42 | 45 | 48 => Second { messages: 15_000.0, ..Second::default() },
        55..=70 => Second { goaways: 937.5, closed: 800.0, opened: 800.0, ..Second::default() },
        80 => Second { closed: 15_000.0, ..Second::default() },
        _ => Second::default(),
    });
    let idle = Step {
        name: "idle".into(),
        begin_s: 0.0,
        end_s: 18.0,
        figures: vec![
            Figure::new("ramp", 5.01, "s"),
            Figure::new("rate reached", 2_994.0, "per s"),
            Figure::new("memory of the node", 121.4, "bytes per connection")
                .note("slope over 15,000 connections"),
            Figure::new("memory of the kernel", 8_150.0, "bytes per connection").note("both ends"),
            Figure::new("CPU of the node at rest", 0.012, "cores"),
        ],
        checks: agreeing(&[
            ("open connections (websocket)", 7_500.0),
            ("open connections (sse)", 7_500.0),
            ("accepted handshakes", 15_000.0),
            ("closed connections", 0.0),
        ]),
        mismatches: vec![],
    };
    let push = Step {
        name: "push".into(),
        begin_s: 18.0,
        end_s: 31.0,
        figures: vec![
            Figure::new("messages sent", 7_500.0, "messages"),
            Figure::new("messages delivered", 7_500.0, "messages").better(Better::More),
            Figure::new("delivery p99", 2_310.0, "us"),
        ],
        checks: agreeing(&[
            ("messages written", 7_500.0),
            ("messages acked", 0.0),
            ("messages offline", 0.0),
        ]),
        mismatches: vec![],
    };
    let fanout = Step {
        name: "fanout".into(),
        begin_s: 31.0,
        end_s: 52.0,
        figures: vec![
            Figure::new("copies delivered", 75_000.0, "copies"),
            Figure::new("broadcast to the last of 15,000", 231_000.0, "us"),
        ],
        checks: agreeing(&[("messages written", 82_500.0), ("open connections (sse)", 7_500.0)]),
        mismatches: vec![],
    };
    let drain = Step {
        name: "drain".into(),
        begin_s: 52.0,
        end_s: 84.0,
        figures: vec![
            Figure::new("goaways", 15_000.0, "goaways"),
            Figure::new("most goaways in 100 ms", 102.0, "goaways").note("asked for: 94"),
            Figure::new("back after", 1.9, "s"),
        ],
        checks: agreeing(&[("goaways", 15_000.0), ("closed connections", 27_800.0)]),
        mismatches: vec![],
    };
    let command = "holdfast loadtest --scenario idle,push,fanout,drain --connections 15000 --rate 3000 --html report.html";
    Report {
        began: "2026-11-21T14:03:11Z".into(),
        took_s: 89.4,
        command: command.split(' ').map(str::to_owned).collect(),
        scenarios: ["idle", "push", "fanout", "drain"].map(str::to_owned).into(),
        host: host(),
        target: Target {
            addresses: vec!["127.0.0.1:7001".into()],
            nodes: vec![Node {
                internal: "127.0.0.1:7008".into(),
                version: "0.1.0".into(),
                connections_before: 0,
                shards: Some(2),
            }],
            dialect: "holdfast".into(),
            tls: false,
        },
        generator: Generator {
            processes: 1,
            threads: 1,
            agents: vec![],
            cpu_seconds: 9.31,
            cpu_peak: 0.93,
            late_p99_us: Some(412),
            clock_error_us: 0,
            rss_bytes: 15_260_000,
            bytes_per_connection: Some(84.0),
            bottleneck: None,
        },
        clients: Clients {
            asked: 15_000,
            opened: 27_800,
            websocket: 13_911,
            sse: 13_889,
            most_open: 15_000,
            rate_asked: Some(3_000.0),
            rate_reached: Some(2_994.2),
            refused: BTreeMap::new(),
            failed: BTreeMap::new(),
            ended: named([("left after a goaway", 12_800), ("left at the end", 15_000)]),
            goaways: 15_000,
            reconnected: 12_800,
            direct: 7_500,
            broadcast: 75_000,
        },
        memory: Memory {
            node_per_connection: Some(121.4),
            kernel_per_connection: Some(8_150.0),
            kernel_has_both_ends: true,
        },
        steps: vec![idle, push, fanout, drain],
        series,
        latencies: named([
            ("handshake", latency(27_800, 410.0, 0.30)),
            ("delivery of push", latency(7_500, 390.0, 0.26)),
            ("delivery of fanout", latency(75_000, 61_000.0, 0.12)),
        ]),
        ..Report::default()
    }
}

/// A million clients of sixty nodes, with a storm, a node that dies, gaps in what was measured, and words that are code.
pub fn troubled() -> Report {
    let mut report = ordinary();
    report.series = series(1_500, 11, |at, noise| match at {
        5..=254 => Second { opened: 3_950.0 + 100.0 * noise.next(), ..Second::default() },
        600 => Second { closed: 400_000.0, ..Second::default() },
        601..=700 => Second {
            opened: 4_000.0 * noise.next() + 2_000.0,
            refused: 900.0 * noise.next(),
            ..Second::default()
        },
        900..=1_100 => Second { messages: 40_000.0 * noise.next(), ..Second::default() },
        1_400 => Second { closed: 890_000.0, ..Second::default() },
        _ => Second::default(),
    });
    for (name, column) in &mut report.series.columns {
        for (at, value) in column.iter_mut().enumerate() {
            let is_away = (720..760).contains(&at) && name.contains("memory") || (1_200..1_260).contains(&at);
            *value = value.filter(|_| !is_away && at % 97 != 0);
        }
    }
    report.took_s = 1_499.2;
    report.good = false;
    report.interrupted = true;
    report.scenarios = ["idle", "storm", "soak <script>alert(1)</script>"].map(str::to_owned).into();
    report.command.push("--header=X: <script>alert(\"2\")</script>".into());
    report.target.addresses = (0..60).map(|node| format!("10.0.0.{node}:7001")).collect();
    let node = |at: usize| Node { internal: format!("10.0.0.{at}:7008"), ..report.target.nodes[0].clone() };
    report.target.nodes = (0..60).map(node).collect();
    report.generator.processes = 60;
    report.generator.agents = vec!["10.1.0.1:7100".into(), "10.1.0.2:7100".into()];
    report.generator.clock_error_us = 180;
    report.generator.bottleneck =
        Some("its processes were busy for 98 % of their cores' time during the ramp".into());
    report.warnings = vec!["net.core.netdev_max_backlog is 1000: the loopback dropped 214 packets".into()];
    report.mismatches = vec![
        "3 messages were lost: load-77 <img src=x onerror=alert(3)> lacks 5 to 7".into(),
        "accepted handshakes: 1,187,213 by the clients' count, 1,187,214 by the node's /metrics".into(),
    ];
    report.clients.asked = 1_000_000;
    report.clients.most_open = 1_000_000;
    report.clients.opened = 1_402_311;
    report.clients.reconnected = 402_311;
    report.clients.refused = named([("status 503: full, draining or over its rate of handshakes", 41_201)]);
    report.clients.failed = named([("the connection was reset", 17), ("no answer in time", 3)]);
    report.latencies.insert("handshake".into(), latency(1_402_311, 1_900.0, 0.34));
    report.steps.truncate(2);
    (report.steps[0].begin_s, report.steps[0].end_s) = (0.0, 590.0);
    report.steps[1] = Step {
        name: "storm".into(),
        begin_s: 590.0,
        end_s: 860.0,
        figures: vec![
            Figure::new("back after", 101.0, "s"),
            Figure::new("refused while they came back", 41_201.0, "handshakes").better(Better::Less),
            Figure::new("not a number", f64::NAN, "us"),
        ],
        checks: vec![
            check("accepted handshakes", 1_187_213.0, 1_187_214.0),
            Check { slack: 5.0, agrees: true, ..check("goaways", 12.0, 15.0) },
        ],
        mismatches: vec![report.mismatches[1].clone(), "2 clients did not come back".into()],
    };
    let soak = Step { name: "soak".into(), begin_s: 860.0, end_s: 1_499.0, ..Step::default() };
    report.steps.push(soak);
    report
}

/// Three seconds with no connection: the target refused them all.
pub fn nothing() -> Report {
    Report {
        began: "2026-11-21T14:03:11Z".into(),
        took_s: 3.0,
        good: false,
        scenarios: vec!["idle".into()],
        host: host(),
        series: series(3, 1, |_, _| Second { refused: 300.0, ..Second::default() }),
        clients: Clients {
            asked: 1_000,
            rate_asked: None,
            failed: named([("refused: does anything listen there?", 1_000)]),
            ..Clients::default()
        },
        mismatches: vec!["1,000 connections failed: refused: does anything listen there?".into()],
        ..Report::default()
    }
}

/// A day, second by second.
pub fn day() -> Report {
    let mut report = ordinary();
    report.took_s = 86_400.0;
    report.series = series(86_400, 3, |at, noise| match at {
        0..=9 => Second { opened: 1_500.0, ..Second::default() },
        50_000 => Second { closed: 9_000.0, ..Second::default() },
        50_001..=50_003 => Second { opened: 3_000.0, ..Second::default() },
        _ => Second {
            opened: 8.0,
            closed: 8.0,
            goaways: 8.0,
            messages: 900.0 * noise.next(),
            ..Second::default()
        },
    });
    report.scenarios = vec!["soak".into()];
    report.steps =
        vec![Step { name: "soak".into(), begin_s: 0.0, end_s: 86_400.0, ..report.steps[0].clone() }];
    report
}

/// All of them by name.
pub fn all() -> [(&'static str, Report); 4] {
    [("ordinary", ordinary()), ("troubled", troubled()), ("nothing", nothing()), ("day", day())]
}
