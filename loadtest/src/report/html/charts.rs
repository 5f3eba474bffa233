//! Which plots a report has, and what each shows.

use crate::report::{
    latency::HANDSHAKE,
    model::{Report, Series, columns},
    slope::{rise, slope},
};
use holdfast_plots::{Axis, Line, Look, Plot, Thinned, is_sane, words};

/// Where the most of one rate is so many times that of another, decades are drawn: a crowd that leaves at once would press
/// everything else to the ground.
const APART: f64 = 8.0;
/// What is said of decades.
const DECADES: &str = "; every line of the grid is ten times the one below";

/// What a plot over time shows.
struct OverTime {
    title: &'static str,
    about: &'static str,
    unit: &'static str,
    is_log: bool,
    lines: &'static [Column],
}

/// A line of it.
struct Column {
    name: &'static str,
    column: &'static str,
    colour: usize,
    look: Look,
}

const fn column(name: &'static str, column: &'static str, colour: usize) -> Column {
    Column { name, column, colour, look: Look::Plain }
}

const fn dashed(name: &'static str, column: &'static str, colour: usize) -> Column {
    Column { name, column, colour, look: Look::Dashed }
}

const fn thin(name: &'static str, column: &'static str, colour: usize) -> Column {
    Column { name, column, colour, look: Look::Thin }
}

const CONNECTIONS: OverTime = OverTime {
    title: "Connections",
    about: "open at each moment",
    unit: "",
    is_log: false,
    lines: &[column("open", columns::OPEN, 0)],
};
const HANDSHAKES: OverTime = OverTime {
    title: "Handshakes and closes",
    about: "each second",
    unit: "per s",
    is_log: false,
    lines: &[
        column("opened", columns::OPENED, 2),
        column("closed", columns::CLOSED, 0),
        dashed("goaways", columns::GOAWAYS, 3),
        column("refused or failed", columns::REFUSED, 1),
    ],
};
const MESSAGES: OverTime = OverTime {
    title: "Messages",
    about: "that came, each second",
    unit: "per s",
    is_log: false,
    lines: &[column("messages", columns::MESSAGES, 0)],
};
const LATENCIES: OverTime = OverTime {
    title: "Latency over time",
    about: "of each second",
    unit: "us",
    is_log: true,
    lines: &[
        column("handshake p50", columns::HANDSHAKE_P50, 0),
        thin("handshake p99", columns::HANDSHAKE_P99, 0),
        column("delivery p50", columns::DELIVERY_P50, 1),
        thin("delivery p99", columns::DELIVERY_P99, 1),
    ],
};
const MEMORY: OverTime = OverTime {
    title: "Memory over time",
    about: "everything that is held, connections or not",
    unit: "bytes",
    is_log: false,
    lines: &[
        column("nodes", columns::NODE_MEMORY, 0),
        column("kernel", columns::KERNEL_MEMORY, 1),
        dashed("generator", columns::GENERATOR_MEMORY, 2),
    ],
};
const PROCESSORS: OverTime = OverTime {
    title: "Processors",
    about: "busy on average of each second, in cores",
    unit: "cores",
    is_log: false,
    lines: &[column("nodes", columns::NODE_CPU, 0), dashed("generator", columns::GENERATOR_CPU, 2)],
};

/// All plots, in the order in which they are read. Those without data draw nothing.
pub fn all(report: &Report) -> Vec<Plot> {
    let mut processors = over_time(report, &PROCESSORS);
    let cores = f64::from(report.host.cores);
    let values = |line: &Line| line.drawn.values().collect::<Vec<_>>();
    let busy: Vec<f64> = processors.lines.iter().flat_map(values).collect();
    // A limit that is far above all lines would press them to the ground.
    if cores > 0.0 && busy.iter().copied().fold(0.0, f64::max) * 4.0 >= cores {
        processors.y = Axis::linear("cores", busy.into_iter().chain([cores]));
        let host = if report.generator.agents.is_empty() { "the host" } else { "this host" };
        processors.level =
            Some((cores, format!("{} of {host}", words::several(report.host.cores.into(), "core"))));
    }
    vec![
        over_time(report, &CONNECTIONS),
        over_time(report, &HANDSHAKES),
        percentile_curve(report),
        over_time(report, &LATENCIES),
        memory_per_connection(report),
        over_time(report, &MEMORY),
        processors,
        over_time(report, &MESSAGES),
    ]
}

fn over_time(report: &Report, what: &OverTime) -> Plot {
    let mut lines: Vec<Line> =
        what.lines.iter().filter_map(|column| line(&report.series, column, what.unit)).collect();
    let is_flat = |line: &Line| line.drawn.values().all(|value| value == 0.0);
    // What never happened needs no line; that nobody was there does.
    if what.unit == "per s" {
        lines.retain(|line| !is_flat(line));
    }
    let ends = report.steps.iter().flat_map(|step| [step.begin_s, step.end_s]);
    let times = report.series.at_s.iter().copied().chain(ends).chain([report.took_s]);
    let all = lines.iter().flat_map(|line| line.drawn.values());
    let most = lines.iter().map(|line| line.drawn.values().fold(0.0, f64::max)).filter(|most| *most > 0.0);
    let (least, most) = most.fold((f64::INFINITY, 0.0f64), |(least, most), of| (least.min(of), most.max(of)));
    let (y, is_log) = match () {
        () if what.is_log => (Axis::log(what.unit, all), true),
        () if what.unit == "per s" && most > least * APART => (Axis::log_rates(all), true),
        () => (Axis::linear(what.unit, all), false),
    };
    let mut about = what.about.to_owned();
    if is_log {
        about.push_str(DECADES);
    }
    let bands = report.steps.iter().filter(|step| is_sane(step.begin_s) && is_sane(step.end_s));
    Plot {
        title: what.title,
        about,
        x: Axis::time(times),
        y,
        lines,
        bands: bands.map(|step| (step.begin_s, step.end_s, step.name.clone())).collect(),
        level: None,
    }
}

/// A column as a line; None when there is none, or nothing in it.
fn line(series: &Series, column: &Column, unit: &'static str) -> Option<Line> {
    let values = series.columns.get(column.column)?;
    let sane = |value: &Option<f64>| value.filter(|value| is_sane(*value));
    let points = series.at_s.iter().zip(values).filter(|(at, _)| is_sane(**at));
    let points: Vec<(f64, Option<f64>)> = points.map(|(at, value)| (*at, sane(value))).collect();
    let most = points.iter().filter_map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let drawn = Thinned::of(&points);
    (!drawn.is_empty()).then(|| Line {
        name: column.name.to_owned(),
        remark: format!("at most {}", words::figure(most, unit)),
        colour: column.colour,
        look: column.look,
        drawn,
    })
}

/// How much is held more than at the first moment, over how many connections are open: lines whose slope is the price of one.
fn memory_per_connection(report: &Report) -> Plot {
    let mut about = "what is held more than at first, while connections come".to_owned();
    if report.memory.kernel_has_both_ends {
        about.push_str("; the kernel's is of both ends, node's and client's");
    }
    let of = [
        ("nodes", columns::NODE_MEMORY, 0, report.memory.node_per_connection),
        ("kernel", columns::KERNEL_MEMORY, 1, report.memory.kernel_per_connection),
    ];
    let lines: Vec<Line> = of.into_iter().filter_map(|of| priced_line(&report.series, of)).collect();
    let points: Vec<(f64, f64)> = lines.iter().flat_map(|line| line.drawn.line.concat()).collect();
    Plot {
        title: "Memory per connection",
        about,
        x: Axis::linear("", points.iter().map(|point| point.0)),
        y: Axis::linear("bytes", points.iter().map(|point| point.1)),
        lines,
        bands: Vec::new(),
        level: None,
    }
}

fn priced_line(
    series: &Series,
    (name, column, colour, told): (&str, &str, usize, Option<f64>),
) -> Option<Line> {
    let points = rise(series, column);
    let first = points.first()?.1;
    let price = told.or_else(|| Some(slope(series, column)?.per_connection));
    let points = points.into_iter().map(|(open, bytes)| (open, Some(bytes - first)));
    let points: Vec<(f64, Option<f64>)> =
        points.filter(|(open, bytes)| is_sane(*open) && bytes.is_some_and(is_sane)).collect();
    let drawn = Thinned::of(&points);
    // One point has no slope to show.
    (drawn.line.iter().any(|stretch| stretch.len() > 1)).then(|| Line {
        name: name.to_owned(),
        remark: price.map_or(String::new(), |price| format!("{} for each", words::bytes(price))),
        colour,
        look: Look::Plain,
        drawn,
    })
}

fn percentile_curve(report: &Report) -> Plot {
    let measured = report.measured();
    let mut others = 0;
    let lines = measured.iter().map(|(name, latency)| {
        // As over time: handshakes have the first colour, what is delivered has the next ones.
        let at = if *name == HANDSHAKE { 0 } else { 1 + others };
        others += usize::from(at > 0);
        let points = latency.curve.iter().filter(|(percentile, _)| (0.0..=100.0).contains(percentile));
        let points: Vec<(f64, Option<f64>)> = points
            .map(|(percentile, us)| (*percentile, Some(*us as f64).filter(|us| is_sane(*us))))
            .collect();
        Line {
            name: (*name).to_owned(),
            remark: format!("p99 {}", words::time(latency.p99 as f64)),
            colour: at % 6,
            look: if at < 6 { Look::Plain } else { Look::Dashed },
            drawn: Thinned::of(&points),
        }
    });
    let lines: Vec<Line> = lines.filter(|line| !line.drawn.is_empty()).collect();
    let most = measured.iter().map(|(_, latency)| latency.count).max().unwrap_or(0);
    let times: Vec<f64> = lines.iter().flat_map(|line| line.drawn.values()).collect();
    Plot {
        title: "Latency by percentile",
        about: "p99: all but the slowest of a hundred take no longer; the line ends at the slowest of all"
            .to_owned(),
        x: Axis::percentiles(most),
        y: Axis::log("us", times.into_iter()),
        lines,
        bands: Vec::new(),
        level: None,
    }
}
