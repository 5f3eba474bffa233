//! A report as one page that needs nothing else: no other file, no network, no script to be read.

mod charts;
mod parts;

use super::{
    model::Report,
    text::{all_mismatches, verdict},
};
use holdfast_plots::{
    Plot, page,
    words::{bytes, count, duration, figure, micro, several, time},
};
use maud::{Markup, html};

/// More sentences of a kind than these are told as how many more there are.
const SENTENCES_MAX: usize = 100;

/// The whole page.
pub fn html(report: &Report) -> String {
    let title = format!("Load test: {}", report.scenarios.join(", "));
    let plots = charts::all(report);
    let is_thinned = plots.iter().flat_map(|plot| &plot.lines).any(|line| !line.drawn.range.is_empty());
    let plots: Vec<Markup> = plots.iter().filter_map(Plot::render).collect();
    let content = html! {
        h1 { (title) }
        p.dim { (report.began) " · took " (duration(report.took_s)) " · " (report.tool) }
        (judgement(report))
        (tiles(report))
        h2 { "Plots" }
        @if plots.is_empty() { p.dim { "Nothing was measured over time." } }
        @if is_thinned { p.dim {
            "Long lines are averages, with what they lie between shaded: the least and the most of some seconds."
        } }
        div.plots { @for plot in &plots { (plot) } }
        (parts::all(report))
        footer { "Latencies count from the moment when something was meant to begin, not from when it did. "
            "Bytes are decimal: 1 kB is 1,000 B." }
    };
    page(&title, &content)
}

/// A time that no end of a line parts from its unit.
fn unbroken(us: u64) -> String {
    micro(&time(us as f64)).replace(' ', "\u{a0}")
}

fn judgement(report: &Report) -> Markup {
    let mismatches = all_mismatches(report);
    let (class, mark) = if report.good { ("good", "✓") } else { ("bad", "✗") };
    html! {
        div.verdict.(class) { strong { (mark) " " (capital(verdict(report))) "." } " " (summary(report, mismatches.len())) }
        @if !mismatches.is_empty() { div.notes.bad { strong { "Not as it must be" } (sentences(&mismatches)) } }
        @if let Some(why) = &report.generator.bottleneck {
            div.notes.care { strong { "The generator was the bottleneck" } " — the figures say more of it than of the target: " (why) }
        }
        @if !report.warnings.is_empty() { div.notes.care { strong { "Read with care" } (sentences(&report.warnings)) } }
    }
}

fn sentences(all: &[String]) -> Markup {
    html! { ul {
        @for words in all.iter().take(SENTENCES_MAX) { li { (words) } }
        @if all.len() > SENTENCES_MAX { li { "and " (count((all.len() - SENTENCES_MAX) as u64)) " more" } }
    } }
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

/// What was reached, in a sentence or two.
fn summary(report: &Report, mismatches: usize) -> String {
    let clients = &report.clients;
    let mut words = format!("{} of {} opened", count(clients.opened), several(clients.asked, "client"));
    if clients.reconnected > 0 {
        let first = clients.opened.saturating_sub(clients.reconnected);
        words = format!(
            "{} of {} opened, and {} came back",
            count(first),
            several(clients.asked, "client"),
            count(clients.reconnected)
        );
    }
    let came = clients.direct.saturating_add(clients.broadcast);
    if came > 0 {
        words.push_str(&format!("; {} came", several(came, "message")));
    }
    let checks = || report.steps.iter().flat_map(|step| &step.checks);
    let (all, good) = (checks().count() as u64, checks().filter(|check| check.agrees).count() as u64);
    if all > 0 && good == all {
        words.push_str(&format!("; {} by the clients agree with the nodes'", several(all, "count")));
    } else if all > 0 {
        words.push_str(&format!(
            "; {} of {} by the clients {} from the nodes'",
            count(all - good),
            several(all, "count"),
            if all - good == 1 { "differs" } else { "differ" }
        ));
    }
    if mismatches > 0 {
        words.push_str(&format!("; {}", several(mismatches as u64, "mismatch")));
    }
    words.push('.');
    words
}

fn tiles(report: &Report) -> Markup {
    let clients = &report.clients;
    let latency = |name: &str| report.latencies.get(name).filter(|latency| latency.count > 0);
    let timed = |name: &str| {
        latency(name)
            .map(|of| (time(of.p99 as f64), format!("p50 {}, max {}", unbroken(of.p50), unbroken(of.max))))
    };
    let ends = if report.memory.kernel_has_both_ends {
        "both ends, node's and client's"
    } else {
        "of each connection"
    };
    let rate = clients.rate_reached.map(|rate| {
        let asked = clients.rate_asked.map_or("all at once".into(), |rate| figure(rate, "per s"));
        (figure(rate, "per s"), format!("{asked} asked for"))
    });
    let generator = &report.generator;
    let peak = (generator.cpu_peak > 0.0)
        .then(|| (figure(generator.cpu_peak, "cores"), "at most, within a second".to_owned()));
    let lost = clients
        .refused
        .values()
        .chain(clients.failed.values())
        .fold(0u64, |sum, more| sum.saturating_add(*more));
    let all = [
        (
            "most open at once",
            Some((
                count(clients.most_open),
                format!("{} asked for, {} lost", count(clients.asked), count(lost)),
            )),
        ),
        ("connections a second", rate),
        ("handshake p99", timed("handshake")),
        ("delivery p99", timed("delivery")),
        (
            "node, per connection",
            report.memory.node_per_connection.map(|of| (bytes(of), "memory of its processes".into())),
        ),
        ("kernel, per connection", report.memory.kernel_per_connection.map(|of| (bytes(of), ends.into()))),
        ("generator, processors", peak),
    ];
    html! { div.tiles { @for (name, tile) in all { @if let Some((value, more)) = tile {
        div.tile {
            div.name { (name) }
            div.value { (micro(&value)) }
            div.more { (more) }
        }
    } } } }
}
