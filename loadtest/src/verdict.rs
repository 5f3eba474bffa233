//! What a run comes to: everything that was counted, in the report's terms, with what makes it doubtful.

use crate::{
    client::Dialect,
    host::Host,
    internal::Metrics,
    plan::Settings,
    report::model::{Clients, Generator, Latency, Node, Report, Target},
    stage::Stage,
    worker::tally::Tally,
};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// A thread of clients that is busier than this is the bottleneck, cores.
const BUSY: f64 = 0.8;
/// Own lateness above which latencies say more of the generator than of the node, us.
const LATE_US: u64 = 50_000;

/// The report of a run that is over.
pub fn report(mut stage: Stage<'_>) -> Report {
    let tally = stage.tally().clone();
    let task = stage.task;
    let took_s = stage.now_s();
    let mismatches = stage.fleet.losses().to_vec();
    let clients = clients(&stage, &tally);
    let generator = generator(&stage, &tally);
    let interrupted = stage.is_stopped();
    let words = "interrupted: what was reached is told, what was not played is missing";
    let warnings = interrupted.then(|| words.to_owned()).into_iter().collect();
    let good = mismatches.is_empty() && stage.steps.iter().all(|step| step.mismatches.is_empty());
    Report {
        began: std::mem::take(&mut stage.began),
        took_s,
        command: task.command.clone(),
        scenarios: task.scenarios.iter().map(|scenario| scenario.label().to_owned()).collect(),
        interrupted,
        good,
        host: Host::read(),
        target: target(&mut stage),
        generator,
        clients,
        memory: stage.memory.clone(),
        series: stage.sampler.series().clone(),
        latencies: latencies(&tally),
        steps: stage.steps,
        mismatches,
        warnings,
        ..Report::default()
    }
}

fn target(stage: &mut Stage<'_>) -> Target {
    let settings: &Settings = &stage.task.settings;
    let nodes = stage.books.iter_mut().flat_map(|books| books.nodes().each().map(node).collect::<Vec<_>>());
    Target {
        nodes: nodes.collect(),
        addresses: settings.targets.iter().map(ToString::to_string).collect(),
        dialect: match settings.dialect {
            Dialect::Holdfast => "holdfast",
            Dialect::Zuul => "zuul",
            Dialect::Plain => "plain",
        }
        .to_owned(),
        tls: settings.tls.is_some(),
    }
}

fn node((internal, first): (&crate::internal::Internal, Option<&Metrics>)) -> Node {
    let version = first.and_then(|metrics| metrics.label("holdfast_build_info", "version"));
    let before = first.map_or(0.0, |metrics| metrics.sum("holdfast_connections", "{"));
    Node {
        internal: internal.address().to_string(),
        version: version.unwrap_or_default().to_owned(),
        connections_before: before as u64,
        shards: first.map(|metrics| metrics.count("holdfast_shard_connections")),
    }
}

fn clients(stage: &Stage<'_>, tally: &Tally) -> Clients {
    let task = stage.task;
    let seconds = stage.ramp.as_secs_f64();
    let first = (tally.opened.sum() - tally.reconnected).min(u64::from(task.connections)) as f64;
    Clients {
        asked: u64::from(task.connections),
        opened: tally.opened.sum(),
        websocket: tally.opened.websocket,
        sse: tally.opened.sse,
        most_open: stage.sampler.most_open,
        rate_asked: task.rate.is_finite().then_some(task.rate),
        rate_reached: (first > 0.0 && seconds > 0.0).then(|| first / seconds),
        refused: named(&tally.refused, |status| refusal(*status)),
        failed: named(&tally.failed, |failure| failure.words().to_owned()),
        ended: named(&tally.endings, ToString::to_string),
        goaways: tally.goaways,
        reconnected: tally.reconnected,
        direct: tally.direct,
        broadcast: tally.broadcast,
    }
}

fn named<K: Ord>(counts: &BTreeMap<K, u64>, name: impl Fn(&K) -> String) -> BTreeMap<String, u64> {
    counts.iter().map(|(key, &count)| (name(key), count)).collect()
}

fn generator(stage: &Stage<'_>, tally: &Tally) -> Generator {
    let processes = tally.processes.max(1);
    let threads = processes * stage.task.layout.threads as u32;
    let late_p99_us = (!tally.late_us.is_empty()).then(|| tally.late_us.value_at_percentile(99.0));
    let cpu_peak = stage.sampler.cpu_peak;
    let busy = cpu_peak > BUSY * f64::from(threads);
    let late = late_p99_us.filter(|&late| late > LATE_US);
    let bottleneck = match (busy, late) {
        (true, _) => Some(format!(
            "its {threads} thread(s) of clients were up to {cpu_peak:.2} cores busy: give it more --threads, more cores or \
             other hosts (--agents), or a lower --rate"
        )),
        (false, Some(late)) => Some(format!(
            "it was {:.0} ms late itself for one connection in a hundred: this machine is too busy, or --rate too high",
            late as f64 / 1e3
        )),
        (false, None) => None,
    };
    Generator {
        processes,
        threads,
        agents: stage.task.layout.agents.iter().map(ToString::to_string).collect(),
        cpu_seconds: tally.cpu_us as f64 / 1e6,
        cpu_peak,
        late_p99_us,
        clock_error_us: stage.fleet.clock_error_us(),
        rss_bytes: stage.sampler.rss_peak,
        bytes_per_connection: stage.generator_slope,
        bottleneck,
    }
}

fn latencies(tally: &Tally) -> BTreeMap<String, Latency> {
    let all: [(&str, &Histogram<u64>); 3] = [
        ("handshake", &tally.handshake_us),
        ("delivery", &tally.delivery_us),
        ("own lateness", &tally.late_us),
    ];
    let measured = all.into_iter().filter(|(_, histogram)| !histogram.is_empty());
    measured.map(|(name, histogram)| (name.to_owned(), Latency::of(histogram))).collect()
}

/// What a status means, and what to do.
pub fn refusal(status: u16) -> String {
    let words = match status {
        101 | 200 => "the target answered without opening: full, draining, or not a node's client address",
        204 => "the device came again too often within a minute",
        400 => "the request was not understood: does a balancer in front want PROXY protocol?",
        401 => {
            "the node wants a credential: run it with auth.mode = \"header\" for a load test, or give one with --header"
        }
        403 => "the origin is not allowed",
        404 => "there is no such path: is this a node's client address, not the internal one?",
        408 => "the node waited too long for the request: lower --rate",
        431 => "the request's head is too large: shorten --users",
        503 => {
            "full, draining or over its rate of handshakes: see holdfast_handshakes_total{result} and limits.*"
        }
        _ => "not what a node answers",
    };
    format!("status {status}: {words}")
}
