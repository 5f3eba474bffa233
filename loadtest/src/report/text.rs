//! A report for a terminal: first what a person wants to know, last the verdict. Some sixty lines for an ordinary run.

use super::model::{Clients, Report, Step};
use holdfast_plots::words::{self, bytes, count, duration, number, plain, several, time};
use std::{collections::BTreeMap, fmt::Write};

/// Width of the names at the left.
const NAMES: usize = 14;
/// Width of a column of times.
const TIMES: usize = 10;
/// Width of the names of figures and of what is counted, as long as they keep to it.
const FIGURES: usize = 38;
/// More addresses, or nodes, than these are told as how many more there are.
const ADDRESSES_MAX: usize = 4;
/// More entries of a list than these are told as how many more there are.
const ENTRIES_MAX: usize = 12;
/// More warnings, or mismatches, than these are told as how many more there are.
const SENTENCES_MAX: usize = 40;

/// The whole report in lines.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    head(report, &mut out);
    clients(report, &mut out);
    latencies(report, &mut out);
    costs(report, &mut out);
    for step in &report.steps {
        self::step(step, &mut out);
    }
    if !(report.warnings.is_empty() && report.mismatches.is_empty() && report.steps.is_empty()) {
        out.push('\n');
    }
    let bottleneck =
        report.generator.bottleneck.iter().map(|why| format!("the generator was the bottleneck: {why}"));
    sentences("WARNING", bottleneck.chain(report.warnings.iter().cloned()), &mut out);
    sentences("MISMATCH", all_mismatches(report).into_iter(), &mut out);
    line(&mut out, verdict(report));
    out
}

/// The verdict in a few words.
pub(super) fn verdict(report: &Report) -> &'static str {
    match (report.good, report.interrupted) {
        (true, false) => "all as it must be",
        (true, true) => "interrupted; so far all as it must be",
        (false, false) => "not as it must be",
        (false, true) => "interrupted, and not as it must be",
    }
}

/// Everything that is wrong, once: the run's sentences, then those of steps that are not among them.
pub(super) fn all_mismatches(report: &Report) -> Vec<String> {
    let mut all = report.mismatches.clone();
    for step in &report.steps {
        let new = step.mismatches.iter().filter(|words| !report.mismatches.contains(words));
        all.extend(new.map(|words| format!("{}: {words}", step.name)));
    }
    all
}

fn sentences(kind: &str, all: impl Iterator<Item = String>, out: &mut String) {
    let mut more = 0u64;
    for (at, words) in all.enumerate() {
        match at < SENTENCES_MAX {
            true => line(out, &format!("{kind}: {}", plain(&words))),
            false => more += 1,
        }
    }
    if more > 0 {
        line(out, &format!("{kind}: and {} more", count(more)));
    }
}

fn line(out: &mut String, words: &str) {
    out.push_str(words.trim_end());
    out.push('\n');
}

/// A line whose name stands at the left.
fn named(out: &mut String, name: &str, words: &str) {
    line(out, &format!("{:<NAMES$}{}", plain(name), plain(words)));
}

fn head(report: &Report, out: &mut String) {
    let Report { tool, began, took_s, target, host, .. } = report;
    line(out, &plain(&format!("{tool}, {began}, {}: {}", duration(*took_s), report.scenarios.join(", "))));
    let tls = if target.tls { " over TLS" } else { "" };
    if !target.addresses.is_empty() {
        named(out, "target", &format!("{} ({}{tls})", listed(&target.addresses), target.dialect));
    }
    for node in target.nodes.iter().take(ADDRESSES_MAX) {
        let before = match node.connections_before {
            0 => String::new(),
            some => format!(", {} before the run", several(some, "connection")),
        };
        let shards =
            node.shards.map_or(String::new(), |shards| format!(", {}", several(shards.into(), "shard")));
        named(out, "node", &format!("{} {}{shards}{before}", node.internal, node.version));
    }
    rest(out, "node", target.nodes.len(), ADDRESSES_MAX);
    named(out, "host", &self::host(host));
    out.push('\n');
}

/// A machine in a line.
pub(super) fn host(host: &crate::host::Host) -> String {
    let mut told = vec![format!("Linux {}", host.kernel)];
    told.extend(host.distribution.clone());
    told.push(match host.cpu.is_empty() {
        true => several(host.cores.into(), "core"),
        false => format!("{} x {}", host.cores, host.cpu),
    });
    told.push(bytes(host.memory_bytes as f64));
    told.extend(host.cpu_limit.map(|cores| format!("limited to {}", words::figure(cores, "cores"))));
    told.extend(host.memory_limit_bytes.map(|limit| format!("limited to {}", bytes(limit as f64))));
    if host.virtualised {
        told.push("virtual".into());
    }
    told.push(
        host.descriptors_soft.map_or("no limit of descriptors".into(), |most| several(most, "descriptor")),
    );
    told.join(", ")
}

/// Names in a line: all of a few, and of many how many more there are.
pub(super) fn listed(names: &[String]) -> String {
    let shown = names.iter().take(ADDRESSES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > ADDRESSES_MAX {
        format!("{shown} and {} more", names.len() - ADDRESSES_MAX)
    } else {
        shown
    }
}

fn rest(out: &mut String, name: &str, entries: usize, shown: usize) {
    if entries > shown {
        named(out, name, &format!("and {} more", entries - shown));
    }
}

fn clients(report: &Report, out: &mut String) {
    let clients = &report.clients;
    let Clients { asked, opened, websocket, sse, goaways, reconnected, direct, broadcast, .. } = clients;
    let came_back =
        if *reconnected > 0 { format!(", {} of them again", count(*reconnected)) } else { String::new() };
    let split = format!("{} websocket, {} sse", count(*websocket), count(*sse));
    named(
        out,
        "clients",
        &format!("{} asked for, {} opened ({split}{came_back})", count(*asked), count(*opened)),
    );
    named(out, "most at once", &count(clients.most_open));
    named(out, "rate", &rate(clients));
    for (name, map) in [("refused", &clients.refused), ("failed", &clients.failed), ("ended", &clients.ended)]
    {
        counts(name, map, out);
    }
    if goaways + reconnected > 0 {
        named(out, "goaways", &format!("{}; {} came back", count(*goaways), count(*reconnected)));
    }
    if direct + broadcast > 0 {
        named(out, "received", &format!("{} to one, {} to all", count(*direct), count(*broadcast)));
    }
}

/// What rate was asked for, and what came of it.
pub(super) fn rate(clients: &Clients) -> String {
    let per_second = |rate: f64| words::figure(rate, "per s");
    let asked = clients.rate_asked.map_or("no rate".into(), per_second);
    format!("{asked} asked for, {} reached", clients.rate_reached.map_or("nothing".into(), per_second))
}

fn counts(name: &str, map: &BTreeMap<String, u64>, out: &mut String) {
    for (what, many) in map.iter().take(ENTRIES_MAX) {
        named(out, name, &format!("{}: {what}", count(*many)));
    }
    rest(out, name, map.len(), ENTRIES_MAX);
}

fn latencies(report: &Report, out: &mut String) {
    let measured = report.measured();
    let Some((_, first)) = measured.first() else { return };
    let widest =
        measured.iter().map(|(name, _)| name.chars().count() + 2).max().unwrap_or(0).clamp(NAMES, 40);
    let mut heads = format!("\n{:<widest$}{:>13}", "", "count");
    for (name, _) in first.percentiles() {
        let _ = write!(heads, "{name:>TIMES$}");
    }
    line(out, &heads);
    for (name, latency) in measured {
        let mut row = format!("{:<widest$}{:>13}", plain(name), count(latency.count));
        for (_, us) in latency.percentiles() {
            let _ = write!(row, "{:>TIMES$}", time(us));
        }
        line(out, &row);
    }
}

fn costs(report: &Report, out: &mut String) {
    let Report { memory, generator, .. } = report;
    let mut each = Vec::new();
    each.extend(memory.node_per_connection.map(|of| format!("node {}", bytes(of))));
    let ends = if memory.kernel_has_both_ends { " (both ends)" } else { "" };
    each.extend(memory.kernel_per_connection.map(|of| format!("kernel {}{ends}", bytes(of))));
    each.extend(generator.bytes_per_connection.map(|of| format!("generator {}", bytes(of))));
    out.push('\n');
    if !each.is_empty() {
        named(out, "a connection", &each.join(", "));
    }
    let mut load = vec![
        several(generator.processes.into(), "process"),
        several(generator.threads.into(), "thread"),
        format!(
            "{} of CPU, at most {}",
            duration(generator.cpu_seconds),
            words::figure(generator.cpu_peak, "cores")
        ),
        bytes(generator.rss_bytes as f64),
    ];
    load.extend(generator.late_p99_us.map(|us| format!("p99 {} late", time(us as f64))));
    named(out, "generator", &load.join(", "));
    if !generator.agents.is_empty() {
        let error = time(generator.clock_error_us as f64);
        named(out, "agents", &format!("{}; clocks within {error}", listed(&generator.agents)));
    }
}

fn step(step: &Step, out: &mut String) {
    let span = format!("{} to {}", duration(step.begin_s), duration(step.end_s));
    out.push('\n');
    line(out, &plain(&format!("{} ({span})", step.name)));
    for figure in &step.figures {
        let value = words::figure(figure.value, &figure.unit);
        // Numbers end where numbers end, whatever their units.
        let (value, unit) = value.split_once(' ').unwrap_or((&value, ""));
        let note = figure.note.as_ref().map_or(String::new(), |note| format!("  ({note})"));
        line(out, &plain(&format!("  {:<FIGURES$}{value:>14} {unit}{note}", figure.name)));
    }
    let good = step.checks.iter().filter(|check| check.agrees).count() as u64;
    if good > 0 {
        let agree = if good == 1 { "agrees" } else { "agree" };
        line(out, &format!("  {} {agree} with the node's", several(good, "count")));
    }
    for check in step.checks.iter().filter(|check| !check.agrees) {
        let slack = if check.slack > 0.0 {
            format!(" (may differ by {})", number(check.slack))
        } else {
            String::new()
        };
        let both = format!("{} clients, {} node{slack}", number(check.clients), number(check.node));
        line(out, &plain(&format!("  {:<FIGURES$}{both}  <--", check.what)));
    }
}
