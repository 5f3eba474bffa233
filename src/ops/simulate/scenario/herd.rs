//! The simulation checked: a load test of a real fleet, and the same fleet simulated, side by side.
//!
//! Clients connect as they did there, second by second, and from then on the simulation is on its own.

use super::Settings;
use crate::ops::simulate::{
    course::Course,
    outcome::{Curve, Outcome, Picture, Run},
    words,
    world::World,
};

/// What a load test measured.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Measured {
    /// When each row was taken, seconds from its beginning.
    pub at_s: Vec<f64>,
    /// Connections opened a second, since the row before.
    pub opened: Vec<Option<f64>>,
    /// Open connections.
    pub open: Vec<Option<f64>>,
    /// When all were connected.
    pub connected_s: f64,
    /// When they began to leave.
    pub end_s: f64,
    /// When a node was killed.
    pub killed_s: Option<f64>,
}

/// How far apart the rates of single seconds are told over, seconds: a row a second jitters by as much as a row.
const SMOOTH_ROWS: usize = 3;

impl Measured {
    /// From the JSON of a load test's report.
    ///
    /// # Errors
    /// What it lacks.
    pub fn parse(text: &str) -> Result<Self, String> {
        let report: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let series = &report["series"];
        let numbers = |value: &serde_json::Value| -> Option<Vec<Option<f64>>> {
            Some(value.as_array()?.iter().map(serde_json::Value::as_f64).collect())
        };
        let column = |name: &str| {
            numbers(&series["columns"][name]).ok_or_else(|| format!("it has no rows of \"{name}\""))
        };
        let at_s = numbers(&series["at_s"]).ok_or("it has no rows: is it a report of holdfast loadtest?")?;
        let steps = report["steps"].as_array().ok_or("it has no steps")?;
        let time = |name: &str, edge: &str| {
            let step = steps.iter().find(|step| step["name"] == name);
            step.and_then(|step| step[edge].as_f64()).ok_or_else(|| format!("it has no step \"{name}\""))
        };
        let measured = Self {
            at_s: at_s.into_iter().map(|at| at.unwrap_or(0.0)).collect(),
            opened: column("opened per s")?,
            open: column("open")?,
            connected_s: time("connect", "end_s")?,
            end_s: time("leave", "begin_s")?,
            killed_s: None,
        };
        let rows = measured.at_s.len();
        let is_whole = measured.opened.len() == rows && measured.open.len() == rows;
        let is_sane = measured.at_s.windows(2).all(|pair| pair[0] <= pair[1]) && measured.end_s.is_finite();
        if rows < 2 || !is_whole || !is_sane || measured.end_s <= measured.connected_s {
            return Err("its rows do not fit together".into());
        }
        Ok(measured)
    }

    /// What happened between rows: from, to, and the rate.
    fn rows(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        let ends = self.at_s.iter().zip(&self.opened);
        let begins = std::iter::once(0.0).chain(self.at_s.iter().copied());
        // The first row has no rate, but all that is open then was opened before.
        let first = self.open.first().copied().flatten().unwrap_or(0.0);
        begins.zip(ends).map(move |(from, (to, rate))| {
            let since_begin = if from <= 0.0 && *to > 0.0 { first / to } else { 0.0 };
            (from, *to, rate.unwrap_or(since_begin))
        })
    }
}

pub fn play(settings: &Settings, measured: &Measured) -> Outcome {
    let rules = &settings.rules;
    let step_s = rules.step_ms as f64 / 1e3;
    let mut world = World::new(rules.clone(), settings.seed);
    let arrivals = arrivals(measured, rules.connections, step_s);
    let killed = measured.killed_s.map(|at| (at / step_s).round() as u64);
    let course = Course::run(&mut world, (measured.end_s / step_s) as u64, |world, step| {
        world.join(arrivals.get(step as usize).copied().unwrap_or(0), 1);
        if killed == Some(step) {
            (0..settings.lost()).for_each(|node| world.kill(node as usize));
        }
    });
    let since_s = measured.killed_s.unwrap_or(measured.connected_s);
    let real: Vec<(f64, f64)> = measured
        .rows()
        .filter(|(from, to, _)| to > from && *to <= measured.end_s)
        .map(|(_, to, rate)| (to, rate))
        .collect();
    let simulated = at_rows(&course, measured, |rows, seconds| {
        rows.iter().map(|row| row.accepted).sum::<u64>() as f64 / seconds
    });
    let runs =
        vec![told("real fleet", &real, measured, since_s), told("simulated", &simulated, measured, since_s)];
    let open: Vec<(f64, f64)> = measured
        .at_s
        .iter()
        .zip(&measured.open)
        .filter(|(at, _)| **at <= measured.end_s)
        .filter_map(|(at, open)| Some((*at, (*open)?)))
        .collect();
    let apart = apart(&real, &simulated, since_s);
    let picture =
        |title, unit, curves| Picture { title, about: "each second".into(), unit, level: None, curves };
    Outcome {
        scenario: settings.scenario.name(),
        about: format!(
            "A load test of {} with {}, and the same simulated.",
            words::nodes(rules.nodes),
            words::several(rules.connections, "client")
        ),
        given: settings.given(),
        says: says(&runs, apart),
        runs,
        pictures: vec![
            picture(
                "Handshakes a second",
                "per s",
                vec![
                    Curve::new("real", String::new(), real),
                    Curve::new("simulated", String::new(), simulated),
                ],
            ),
            picture(
                "Open connections",
                "",
                vec![
                    Curve::new("real", String::new(), open),
                    Curve::new("simulated", String::new(), course.level(|row| row.open)),
                ],
            ),
        ],
    }
}

/// How many clients connect for the first time in each step: as they did, all of them.
fn arrivals(measured: &Measured, connections: u64, step_s: f64) -> Vec<u64> {
    let steps = (measured.connected_s / step_s).ceil() as usize + 1;
    let mut rates = vec![0.0; steps];
    for (from, to, rate) in measured.rows().filter(|(from, ..)| *from < measured.connected_s) {
        for (at, sum) in rates.iter_mut().enumerate() {
            let (begin, end) = (at as f64 * step_s, (at + 1) as f64 * step_s);
            *sum += rate * (end.min(to) - begin.max(from)).max(0.0);
        }
    }
    let total: f64 = rates.iter().sum();
    let mut seen = 0.0;
    let mut dealt = 0;
    let share = |part: f64| {
        seen += part / total;
        let by_now = (connections as f64 * seen).round() as u64;
        let here = by_now.saturating_sub(dealt);
        dealt = dealt.max(by_now);
        here
    };
    if total > 0.0 { rates.into_iter().map(share).collect() } else { vec![connections] }
}

/// The simulated rows as the load test took its own.
fn at_rows(
    course: &Course,
    measured: &Measured,
    of: impl Fn(&[crate::ops::simulate::Row], f64) -> f64,
) -> Vec<(f64, f64)> {
    let rows = measured.rows().filter(|(from, to, _)| to > from && *to <= measured.end_s);
    rows.map(|(from, to, _)| {
        let inside = course.between(from, to);
        (to, of(inside, (inside.len() as f64 * course.step_s()).max(course.step_s())))
    })
    .collect()
}

fn told(name: &str, rates: &[(f64, f64)], measured: &Measured, since_s: f64) -> Run {
    let seconds = measured.end_s - since_s;
    let mut before = since_s;
    let mut sum = 0.0;
    for (at, rate) in rates.iter().filter(|(at, _)| *at > since_s) {
        sum += rate * (at - before);
        before = *at;
    }
    let most = smooth(rates).into_iter().filter(|(at, _)| *at > since_s).map(|(_, rate)| rate);
    Run::new(name)
        .figure("handshakes once all were connected", sum, "")
        .figure("the same a second", sum / seconds, "per s")
        .figure("most, over three seconds", most.fold(0.0, f64::max), "per s")
}

/// Means of three rows.
fn smooth(rates: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |rows: &[(f64, f64)]| {
        (rows[rows.len() / 2].0, rows.iter().map(|(_, rate)| rate).sum::<f64>() / rows.len() as f64)
    };
    rates.windows(SMOOTH_ROWS).map(mean).collect()
}

/// How far apart the curves are: the mean distance over the mean, and what chance alone would make.
fn apart(real: &[(f64, f64)], simulated: &[(f64, f64)], since_s: f64) -> (f64, f64) {
    let (real, simulated) = (smooth(real), smooth(simulated));
    let pairs: Vec<(f64, f64)> = real
        .iter()
        .zip(&simulated)
        .filter(|((at, _), _)| *at > since_s)
        .map(|((_, real), (_, simulated))| (*real, *simulated))
        .collect();
    let count = pairs.len().max(1) as f64;
    let mean = pairs.iter().map(|(real, _)| real).sum::<f64>() / count;
    let distance = pairs.iter().map(|(real, simulated)| (real - simulated).abs()).sum::<f64>() / count;
    // Both are counts of three seconds; the mean distance of two of them, each with chance of its own.
    let by_chance = pairs.iter().map(|(real, _)| (real / SMOOTH_ROWS as f64).sqrt()).sum::<f64>() / count
        * (4.0 / std::f64::consts::PI).sqrt();
    (distance / mean.max(1e-9), by_chance / mean.max(1e-9))
}

fn says(runs: &[Run], (distance, by_chance): (f64, f64)) -> Vec<String> {
    let value = |run: usize, name: &str| runs[run].value(name).unwrap_or(f64::NAN);
    let ratio = |name: &str| (value(1, name) / value(0, name) - 1.0) * 100.0;
    vec![
        format!(
            "Simulated handshakes differ from the real ones by {:+.1} % in all, and by {:+.1} % at the peak.",
            ratio("handshakes once all were connected"),
            ratio("most, over three seconds")
        ),
        format!(
            "The curves are {:.0} % of the mean apart, of which chance alone makes {:.0} %.",
            distance * 100.0,
            by_chance * 100.0
        ),
    ]
}
