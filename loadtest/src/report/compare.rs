//! Two reports side by side: first what makes them hard to compare, then what changed.

use super::{
    model::{Better, Figure, Report},
    text::{host, verdict},
};
use holdfast_plots::words::{self, plain};
use std::{collections::BTreeMap, fmt::Write};

/// A change by less is what two runs of the same differ by.
const SAME_PERCENT: f64 = 5.0;
/// Width of the names of figures, as long as they keep to it.
const NAMES: usize = 46;
/// Width of a column of values.
const VALUES: usize = 16;

/// What is different between two reports.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// Of each report: its version, when it began, its verdict.
    pub of: [String; 2],
    /// What was not alike, so that the figures may differ for it.
    pub differences: Vec<Difference>,
    /// Every figure that both have.
    pub changes: Vec<Change>,
    /// How many figures only the first, and only the second has.
    pub only: [Vec<String>; 2],
}

/// Something that was not alike.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// What it is.
    pub what: String,
    /// In each report.
    pub values: [String; 2],
}

/// A figure that both have.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// What it is of.
    pub what: String,
    /// In what it is told.
    pub unit: String,
    /// In each report.
    pub values: [f64; 2],
    /// From the first to the second; None: from nothing to something, or not numbers.
    pub percent: Option<f64>,
    /// What to think of it.
    pub word: Word,
}

/// What to think of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// The second is better.
    Better,
    /// The second is worse.
    Worse,
    /// They differ by no more than two runs of the same do.
    Same,
    /// Neither way is better.
    Other,
}

impl Word {
    /// As it is printed.
    pub fn label(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
            Self::Other => "",
        }
    }
}

/// The second report beside the first.
pub fn compare(first: &Report, second: &Report) -> Comparison {
    let (ours, theirs) = (figures(first), figures(second));
    let other: BTreeMap<&str, &Figure> = theirs.iter().map(|figure| (figure.name.as_str(), figure)).collect();
    let known: BTreeMap<&str, &Figure> = ours.iter().map(|figure| (figure.name.as_str(), figure)).collect();
    let both = ours.iter().filter_map(|figure| {
        let twin = other.get(figure.name.as_str()).filter(|twin| twin.unit == figure.unit)?;
        Some(Change::new(figure, twin.value))
    });
    let lacks = |all: &[Figure], others: &BTreeMap<&str, &Figure>| -> Vec<String> {
        let missing =
            |figure: &&Figure| others.get(figure.name.as_str()).is_none_or(|twin| twin.unit != figure.unit);
        all.iter().filter(missing).map(|figure| figure.name.clone()).collect()
    };
    Comparison {
        of: [told(first), told(second)],
        differences: differences(first, second),
        changes: both.collect(),
        only: [lacks(&ours, &other), lacks(&theirs, &known)],
    }
}

fn told(report: &Report) -> String {
    let Report { tool, began, scenarios, .. } = report;
    format!("{tool}, {began}, {}: {}", scenarios.join(", "), verdict(report))
}

impl Change {
    fn new(figure: &Figure, second: f64) -> Self {
        let first = figure.value;
        let percent = (second - first) / first.abs() * 100.0;
        let percent =
            if first == second { Some(0.0) } else { Some(percent).filter(|percent| percent.is_finite()) };
        let is_same = percent.is_some_and(|percent| percent.abs() < SAME_PERCENT);
        let word = match figure.direction() {
            _ if !first.is_finite() || !second.is_finite() => Word::Other,
            _ if is_same => Word::Same,
            Better::Neither => Word::Other,
            Better::More if second > first => Word::Better,
            Better::Less if second < first => Word::Better,
            Better::More | Better::Less => Word::Worse,
        };
        Self { what: figure.name.clone(), unit: figure.unit.clone(), values: [first, second], percent, word }
    }
}

/// What was not alike in how the two were run.
fn differences(first: &Report, second: &Report) -> Vec<Difference> {
    let both = [first, second];
    let mut all = Vec::new();
    let mut say = |what: &str, of: &dyn Fn(&Report) -> String| {
        let values = both.map(of);
        if values[0] != values[1] {
            all.push(Difference { what: what.to_owned(), values });
        }
    };
    say("host", &|report| host(&report.host));
    say("version", &|report| report.tool.clone());
    say("version of the nodes", &|report| each(report.target.nodes.iter().map(|node| node.version.clone())));
    say("number of nodes", &|report| report.target.nodes.len().to_string());
    say("number of shards", &|report| {
        let told = |shards: Option<u32>| shards.map_or(words::NONE.into(), |many| many.to_string());
        each(report.target.nodes.iter().map(|node| told(node.shards)))
    });
    say("dialect", &|report| report.target.dialect.clone());
    say("TLS", &|report| if report.target.tls { "yes" } else { "no" }.into());
    say("scenarios", &|report| report.scenarios.join(", "));
    say("command", &|report| report.command.join(" "));
    say("number of processes", &|report| report.generator.processes.to_string());
    say("number of threads", &|report| report.generator.threads.to_string());
    say("agents", &|report| report.generator.agents.join(", "));
    say("end", &|report| if report.interrupted { "interrupted" } else { "as planned" }.into());
    let mut names: Vec<&String> = both.iter().flat_map(|report| report.host.sysctls.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        say(name, &|report| report.host.sysctls.get(name).cloned().unwrap_or(words::NONE.into()));
    }
    all
}

/// What several have, each once.
fn each(of: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = of.collect();
    all.sort_unstable();
    all.dedup();
    all.join(", ")
}

/// Every figure of a report, each under a name of its own.
fn figures(report: &Report) -> Vec<Figure> {
    let mut all = fixed(report);
    for (name, latency) in report.measured() {
        let times = latency.percentiles();
        all.extend(times.map(|(at, value)| Figure::new(format!("{name} {at}"), value, "us")));
    }
    for step in &report.steps {
        for figure in &step.figures {
            all.push(Figure { name: format!("{}: {}", step.name, figure.name), ..figure.clone() });
        }
    }
    // A step that comes twice has each of its figures twice.
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for figure in &mut all {
        let times = seen.entry(figure.name.clone()).or_default();
        *times += 1;
        if *times > 1 {
            let _ = write!(figure.name, " ({times})");
        }
    }
    all
}

/// Those that every report may have.
fn fixed(report: &Report) -> Vec<Figure> {
    let Report { clients, memory, generator, .. } = report;
    let counted = |name: &str, value: u64, better| Figure::new(name, value as f64, "").better(better);
    let sum = |map: &BTreeMap<String, u64>| map.values().fold(0u64, |sum, more| sum.saturating_add(*more));
    let mut all = vec![
        counted("clients asked for", clients.asked, Better::Neither),
        counted("opened", clients.opened, Better::Neither),
        counted("most open at once", clients.most_open, Better::Neither),
        counted("refused", sum(&clients.refused), Better::Less),
        counted("failed", sum(&clients.failed), Better::Less),
        counted("goaways", clients.goaways, Better::Neither),
        counted("messages to one", clients.direct, Better::Neither),
        counted("copies to all", clients.broadcast, Better::Neither),
        counted("mismatches", super::text::all_mismatches(report).len() as u64, Better::Less),
        Figure::new("took", report.took_s, "s").better(Better::Neither),
        Figure::new("generator: CPU time", generator.cpu_seconds, "s"),
        Figure::new("generator: CPU at most", generator.cpu_peak, "cores"),
        Figure::new("generator: memory", generator.rss_bytes as f64, "bytes"),
    ];
    let each = "bytes per connection";
    let known = [
        ("rate asked for", clients.rate_asked, "per s", Better::Neither),
        ("rate reached", clients.rate_reached, "per s", Better::More),
        ("memory of the nodes", memory.node_per_connection, each, Better::Less),
        ("memory of the kernel", memory.kernel_per_connection, each, Better::Less),
        ("memory of the generator", generator.bytes_per_connection, each, Better::Less),
        ("generator: late p99", generator.late_p99_us.map(|us| us as f64), "us", Better::Less),
    ];
    let known =
        known.into_iter().filter_map(|(name, value, unit, better)| Some((name, value?, unit, better)));
    all.extend(known.map(|(name, value, unit, better)| Figure::new(name, value, unit).better(better)));
    all
}

impl Comparison {
    /// Figures by which the second is worse.
    pub fn worse(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.word == Word::Worse)
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (name, told) in ["A", "B"].iter().zip(&self.of) {
            let _ = writeln!(out, "{name}  {}", plain(told));
        }
        let _ = writeln!(out);
        for Difference { what, values: [a, b] } in &self.differences {
            let [a, b] = [a, b].map(|value| if value.is_empty() { words::NONE.into() } else { plain(value) });
            let _ = writeln!(out, "not the same {}:\n  A  {a}\n  B  {b}", plain(what));
        }
        if self.differences.is_empty() {
            let _ = writeln!(out, "the same host, versions, settings and command");
        }
        let _ = writeln!(out, "\n{:<NAMES$}{:>VALUES$}{:>VALUES$}{:>10}", "", "A", "B", "change");
        for change in &self.changes {
            let [a, b] = change.values.map(|value| amount(value, &change.unit));
            let percent = change.percent.map_or(words::NONE.into(), percent);
            let row = format!(
                "{:<NAMES$}{a:>VALUES$}{b:>VALUES$}{percent:>10}  {}",
                change.what,
                change.word.label()
            );
            let _ = writeln!(out, "{}", plain(&row).trim_end());
        }
        for (name, only) in ["A", "B"].iter().zip(&self.only) {
            if !only.is_empty() {
                let _ = writeln!(out, "only in {name}: {}", plain(&only.join(", ")));
            }
        }
        let of = |word| self.changes.iter().filter(|change| change.word == word).count();
        let (better, worse, same) = (of(Word::Better), of(Word::Worse), of(Word::Same));
        let _ = writeln!(out, "\n{better} better, {worse} worse, {same} within {SAME_PERCENT} %");
        out
    }
}

/// A value in a column. Of what it is, its name says.
fn amount(value: f64, unit: &str) -> String {
    match unit {
        "us" | "ms" | "s" | "bytes" | "per s" | "cores" | "%" => words::figure(value, unit),
        _ if unit.starts_with("bytes ") => words::bytes(value),
        _ => words::number(value),
    }
}

fn percent(percent: f64) -> String {
    match percent.abs() {
        0.0..0.05 => "0 %".into(),
        0.05..10.0 => format!("{percent:+.1} %"),
        10.0..100_000.0 => format!("{percent:+.0} %"),
        _ => format!("{percent:+.0e} %"),
    }
}
