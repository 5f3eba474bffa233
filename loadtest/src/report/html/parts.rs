//! The page's tables: every figure and check, latencies, clients, and where it ran.

use crate::{
    host::Host,
    report::{
        model::{Check, Report, Step},
        text,
    },
};
use holdfast_plots::words::{bytes, count, duration, figure, micro, number, several, time};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// More nodes than these are shown upon request.
const NODES_SHOWN: usize = 4;

/// All of them, in the order in which they are read.
pub fn all(report: &Report) -> Markup {
    html! {
        @if !report.steps.is_empty() { h2 { "Steps" } div.cards { @for step in &report.steps { (self::step(step)) } } }
        (latencies(report))
        h2 { "Clients and generator" }
        div.cards { (clients(report)) (generator(report)) }
        h2 { "Where it ran" }
        div.cards { (target(report)) (host(report)) }
        div.card style="margin-top:14px" { h3 { "Command" } pre { (report.command.join(" ")) } }
    }
}

fn step(step: &Step) -> Markup {
    let wrong = step.checks.iter().filter(|check| !check.agrees).count() as u64;
    html! {
        section.card {
            h3 { (step.name) " " span.dim { (duration(step.begin_s)) " to " (duration(step.end_s)) } }
            @for words in &step.mismatches { p.bad-word style="white-space:normal" { "✗ " (words) } }
            @if !step.figures.is_empty() { div.wide { table { tbody {
                @for one in &step.figures { tr {
                    th scope="row" { (one.name) @if let Some(note) = &one.note { " " span.dim { "(" (note) ")" } } }
                    td.number { (micro(&figure(one.value, &one.unit))) }
                } }
            } } } }
            @if !step.checks.is_empty() { details open[wrong > 0] {
                summary { @if wrong == 0 {
                    span.good-word { "✓ " (several(step.checks.len() as u64, "count")) " of clients and nodes agree" }
                } @else {
                    span.bad-word { "✗ " (count(wrong)) " of " (several(step.checks.len() as u64, "count")) " of clients and nodes differ" }
                } }
                (checks(&step.checks))
            } }
        }
    }
}

fn checks(all: &[Check]) -> Markup {
    html! { div.wide { table {
        thead { tr { th { "count" } th.number { "clients" } th.number { "nodes" } th { "" } } }
        tbody { @for check in all { tr {
            th scope="row" { (check.what)
                @if check.slack > 0.0 { " " span.dim { "(may differ by " (number(check.slack)) ")" } } }
            td.number { (number(check.clients)) }
            td.number { (number(check.node)) }
            td { @if check.agrees { span.good-word { "✓ agree" } } @else { span.bad-word { "✗ differ" } } }
        } } }
    } } }
}

fn latencies(report: &Report) -> Markup {
    let measured = report.measured();
    let Some((_, first)) = measured.first() else { return html! {} };
    html! {
        h2 { "Latencies" }
        div.card { div.wide { table.latencies {
            thead { tr {
                th { "" } th.number { "count" }
                @for (name, _) in first.percentiles() { th.number { (name) } }
            } }
            tbody { @for (name, latency) in &measured { tr {
                th scope="row" { (name) } td.number { (count(latency.count)) }
                @for (_, us) in latency.percentiles() { td.number { (micro(&time(us))) } }
            } } }
        } } }
    }
}

/// A table of names with values.
fn rows(all: &[(String, String)]) -> Markup {
    html! { div.wide { table { tbody { @for (name, value) in all { tr {
        th scope="row" { (name) } td.number { (micro(value)) }
    } } } } } }
}

/// The same whose values are words, which may be long.
fn words(all: &[(String, String)]) -> Markup {
    html! { table.words { tbody { @for (name, value) in all { tr { th scope="row" { (name) } td.words { (value) } } } } } }
}

fn named(name: &str, value: String) -> (String, String) {
    (name.to_owned(), value)
}

fn clients(report: &Report) -> Markup {
    let clients = &report.clients;
    let mut all = vec![
        named("asked for", count(clients.asked)),
        named("opened", count(clients.opened)),
        named("… as WebSocket", count(clients.websocket)),
        named("… as event stream", count(clients.sse)),
        named("… again, of clients that came back", count(clients.reconnected)),
        named("most open at once", count(clients.most_open)),
        named("goaways", count(clients.goaways)),
        named("messages to one that came", count(clients.direct)),
        named("copies of messages to all that came", count(clients.broadcast)),
    ];
    let mut tell = |name: &str, map: &BTreeMap<String, u64>| {
        all.extend(map.iter().map(|(what, many)| (format!("{name}: {what}"), count(*many))));
    };
    tell("refused", &clients.refused);
    tell("failed", &clients.failed);
    tell("ended", &clients.ended);
    html! { section.card { h3 { "Clients" } p.dim { "Connections a second: " (text::rate(clients)) "." } (rows(&all)) } }
}

fn generator(report: &Report) -> Markup {
    let generator = &report.generator;
    let mut all = vec![
        named("processes", count(generator.processes.into())),
        named("threads", count(generator.threads.into())),
        named("processor time", duration(generator.cpu_seconds)),
        named("busy at most, within a second", figure(generator.cpu_peak, "cores")),
        named("memory", bytes(generator.rss_bytes as f64)),
    ];
    all.extend(generator.bytes_per_connection.map(|of| named("memory for each connection", bytes(of))));
    all.extend(generator.late_p99_us.map(|us| named("later than meant, p99", time(us as f64))));
    if !generator.agents.is_empty() {
        all.push(named("clocks of agents off by up to", time(generator.clock_error_us as f64)));
    }
    html! { section.card {
        h3 { "Generator" }
        (rows(&all))
        @if !generator.agents.is_empty() { p.dim { "Agents: " (generator.agents.join(", ")) } }
    } }
}

fn target(report: &Report) -> Markup {
    let target = &report.target;
    let tls = if target.tls { ", over TLS" } else { "" };
    let all = vec![
        named("dialect", format!("{}{tls}", target.dialect)),
        named("addresses", text::listed(&target.addresses)),
        named("nodes", count(target.nodes.len() as u64)),
    ];
    let mut nodes = Vec::new();
    for node in &target.nodes {
        let shards =
            node.shards.map_or(String::new(), |shards| format!(", {}", several(shards.into(), "shard")));
        let before = several(node.connections_before, "connection");
        let version = if node.version.is_empty() { "version unknown" } else { &node.version };
        nodes
            .push((format!("node {}", node.internal), format!("{version}{shards}, {before} before the run")));
    }
    let name = format!("Node{} by internal address", if nodes.len() == 1 { "" } else { "s" });
    html! { section.card {
        h3 { "Target" }
        (words(&all))
        @if text::listed(&target.addresses) != target.addresses.join(", ") {
            details { summary { "All addresses" } p { (target.addresses.join(", ")) } }
        }
        @if !nodes.is_empty() { details open[nodes.len() <= NODES_SHOWN] { summary { (name) } (words(&nodes)) } }
    } }
}

/// What the control group of the generator may have.
fn group(host: &Host) -> String {
    let cores = host.cpu_limit.map(|cores| figure(cores, "cores"));
    let memory = host.memory_limit_bytes.map(|limit| bytes(limit as f64));
    let limits: Vec<String> = [cores, memory].into_iter().flatten().collect();
    if limits.is_empty() { "none".into() } else { limits.join(", ") }
}

fn host(report: &Report) -> Markup {
    let host = &report.host;
    let limit = |of: Option<u64>| of.map_or("no limit".to_owned(), count);
    let mut all = vec![named("kernel", format!("Linux {}", host.kernel))];
    all.extend(host.distribution.clone().map(|name| named("distribution", name)));
    all.extend([
        named(
            "processor",
            format!("{} × {}", host.cores, if host.cpu.is_empty() { "unknown" } else { &host.cpu }),
        ),
        named("memory", bytes(host.memory_bytes as f64)),
        named("limit of its group", group(host)),
        named("on a hypervisor", if host.virtualised { "yes" } else { "no" }.to_owned()),
        named(
            "descriptors",
            format!("{}, at most {}", limit(host.descriptors_soft), limit(host.descriptors_hard)),
        ),
    ]);
    let sysctls: Vec<(String, String)> =
        host.sysctls.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    html! { section.card {
        h3 { "Host of the generator" }
        (words(&all))
        @if !sysctls.is_empty() { details {
            summary { (several(sysctls.len() as u64, "setting")) " of the kernel" }
            (words(&sysctls))
        } }
    } }
}
