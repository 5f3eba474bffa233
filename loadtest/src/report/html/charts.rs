//! Which plots a report has, and what each shows.

use super::{
    axis::{Axis, is_sane},
    plot::{Line, Plot},
    thin::stretches,
};
use crate::report::{
    model::{Report, Series, columns},
    slope::{rise, slope},
    words,
};

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
    dashed: bool,
}

const fn column(name: &'static str, column: &'static str, colour: usize) -> Column {
    Column { name, column, colour, dashed: false }
}

const fn dashed(name: &'static str, column: &'static str, colour: usize) -> Column {
    Column { name, column, colour, dashed: true }
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
    about: "of each second; every line of the grid is ten times the one below",
    unit: "us",
    is_log: true,
    lines: &[
        column("handshake p50", columns::HANDSHAKE_P50, 0),
        dashed("handshake p99", columns::HANDSHAKE_P99, 0),
        column("delivery p50", columns::DELIVERY_P50, 1),
        dashed("delivery p99", columns::DELIVERY_P99, 1),
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
    let busy = processors.lines.iter().flat_map(|line| line.stretches.concat()).map(|point| point.1);
    // A limit that is far above all lines would press them to the ground.
    if cores > 0.0 && busy.fold(0.0, f64::max) * 4.0 >= cores {
        let values = processors.lines.iter().flat_map(|line| line.stretches.concat()).map(|point| point.1);
        processors.y = Axis::linear("cores", values.chain([cores]).collect::<Vec<_>>().into_iter());
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
    let lines: Vec<Line> =
        what.lines.iter().filter_map(|column| line(&report.series, column, what.unit)).collect();
    let ends = report.steps.iter().flat_map(|step| [step.begin_s, step.end_s]);
    let times = report.series.at_s.iter().copied().chain(ends).chain([report.took_s]);
    let values =
        lines.iter().flat_map(|line| line.stretches.concat()).map(|point| point.1).collect::<Vec<_>>();
    let y = match what.is_log {
        true => Axis::log(what.unit, values.into_iter()),
        false => Axis::linear(what.unit, values.into_iter()),
    };
    let bands = report.steps.iter().filter(|step| is_sane(step.begin_s) && is_sane(step.end_s));
    Plot {
        title: what.title,
        about: what.about.to_owned(),
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
    let stretches = stretches(&points);
    (!stretches.is_empty()).then(|| Line {
        name: column.name.to_owned(),
        remark: format!("at most {}", words::figure(most, unit)),
        colour: column.colour,
        dashed: column.dashed,
        stretches,
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
    let points: Vec<(f64, f64)> = lines.iter().flat_map(|line| line.stretches.concat()).collect();
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
    let stretches = stretches(&points);
    // One point has no slope to show.
    (stretches.iter().any(|stretch| stretch.len() > 1)).then(|| Line {
        name: name.to_owned(),
        remark: price.map_or(String::new(), |price| format!("{} for each", words::bytes(price))),
        colour,
        dashed: false,
        stretches,
    })
}

fn percentile_curve(report: &Report) -> Plot {
    let measured = report.latencies.iter().filter(|(_, latency)| latency.count > 0);
    let lines = measured.clone().enumerate().map(|(at, (name, latency))| {
        let points = latency.curve.iter().filter(|(percentile, _)| (0.0..=100.0).contains(percentile));
        let points: Vec<(f64, Option<f64>)> = points
            .map(|(percentile, us)| (*percentile, Some(*us as f64).filter(|us| is_sane(*us))))
            .collect();
        Line {
            name: name.clone(),
            remark: format!("p99 {}", words::time(latency.p99 as f64)),
            colour: at % 6,
            dashed: at >= 6,
            stretches: stretches(&points),
        }
    });
    let lines: Vec<Line> = lines.filter(|line| !line.stretches.is_empty()).collect();
    let most = measured.map(|(_, latency)| latency.count).max().unwrap_or(0);
    let times: Vec<f64> =
        lines.iter().flat_map(|line| line.stretches.concat()).map(|point| point.1).collect();
    Plot {
        title: "Latency by percentile",
        about: "of 10, 100, 1,000 … the slowest one; the end is the slowest of all".to_owned(),
        x: Axis::percentiles(most),
        y: Axis::log("us", times.into_iter()),
        lines,
        bands: Vec::new(),
        level: None,
    }
}
