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
    /// When a node began to drain.
    pub drained_s: Option<f64>,
}

/// Rows whose mean is compared: a single one is taken a little sooner or later than a second after the last.
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
            drained_s: time("drain", "begin_s").ok(),
        };
        let rows = measured.at_s.len();
        let is_whole = measured.opened.len() == rows && measured.open.len() == rows;
        let is_sane = measured.at_s.windows(2).all(|pair| pair[0] <= pair[1]) && measured.end_s.is_finite();
        if rows < 2 || !is_whole || !is_sane || measured.end_s <= measured.connected_s {
            return Err("its rows do not fit together".into());
        }
        Ok(measured)
    }

    /// What happened between rows, as far as it was measured: rows that follow each other at once have no rate.
    fn rows(&self) -> impl Iterator<Item = Stretch> {
        let begins = std::iter::once(0.0).chain(self.at_s.iter().copied());
        let ends = self.at_s.iter().zip(&self.opened);
        let rows = begins.zip(ends).filter(|(from_s, (to_s, _))| *to_s > from_s);
        rows.filter_map(|(from_s, (to_s, rate))| Some(Stretch { from_s, to_s: *to_s, rate: (*rate)? }))
    }

    /// How many clients had connected at each row, until all had.
    fn connected(&self) -> impl Iterator<Item = (f64, f64)> {
        let rows = self.at_s.iter().zip(&self.open);
        rows.take_while(|(at, _)| **at <= self.connected_s).filter_map(|(at, open)| Some((*at, (*open)?)))
    }
}

/// What a row tells of the time since the last.
#[derive(Clone, Copy)]
struct Stretch {
    from_s: f64,
    to_s: f64,
    rate: f64,
}

pub fn play(settings: &Settings, measured: &Measured) -> Outcome {
    let rules = &settings.rules;
    let step_s = rules.step_ms as f64 / 1e3;
    let mut world = World::new(rules.clone(), settings.seed);
    let arrivals = arrivals(measured, rules.connections, step_s);
    let drained = measured.drained_s.map(|at| (at / step_s).round() as u64);
    let course = Course::run(&mut world, (measured.end_s / step_s) as u64, |world, step| {
        world.join(arrivals.get(step as usize).copied().unwrap_or(0), 1);
        if drained == Some(step) {
            world.drain(0, rules.parting());
        }
    });
    let since_s = measured.drained_s.unwrap_or(measured.connected_s);
    let real: Vec<Stretch> = measured.rows().filter(|row| row.to_s <= measured.end_s).collect();
    let simulated: Vec<Stretch> = real.iter().map(|row| as_measured(&course, row)).collect();
    let runs = vec![told("real fleet", &real, since_s), told("simulated", &simulated, since_s)];
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
                    Curve::new("real", String::new(), points(&real)),
                    Curve::new("simulated", String::new(), points(&simulated)),
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
    let last = (measured.connected_s, connections as f64);
    let known: Vec<(f64, f64)> =
        std::iter::once((0.0, 0.0)).chain(measured.connected()).chain([last]).collect();
    let by = |at_s: f64| {
        let next = known.partition_point(|(known_s, _)| *known_s < at_s).min(known.len() - 1);
        let ((from_s, from), (to_s, to)) = (known[next.saturating_sub(1)], known[next]);
        let share = if to_s > from_s { ((at_s - from_s) / (to_s - from_s)).clamp(0.0, 1.0) } else { 1.0 };
        (from + (to - from) * share).min(connections as f64)
    };
    let steps = (measured.connected_s / step_s).ceil() as usize;
    let mut dealt = 0;
    let mut arrive = |step: usize| {
        let by_now = by((step + 1) as f64 * step_s).round() as u64;
        let here = by_now.saturating_sub(dealt);
        dealt += here;
        here
    };
    (0..steps).map(&mut arrive).collect()
}

/// The same time of the simulation.
fn as_measured(course: &Course, row: &Stretch) -> Stretch {
    let inside = course.between(row.from_s, row.to_s);
    let seconds = (inside.len() as f64 * course.step_s()).max(course.step_s());
    let accepted: u64 = inside.iter().map(|row| row.accepted).sum();
    Stretch { rate: accepted as f64 / seconds, ..*row }
}

fn points(rates: &[Stretch]) -> Vec<(f64, f64)> {
    rates.iter().map(|row| (row.to_s, row.rate)).collect()
}

fn told(name: &str, rates: &[Stretch], since_s: f64) -> Run {
    let since = after(rates, since_s);
    let seconds: f64 = since.iter().map(|row| row.to_s - row.from_s).sum();
    let sum: f64 = since.iter().map(|row| row.rate * (row.to_s - row.from_s)).sum();
    let most = smooth(&since).into_iter().fold(0.0, f64::max);
    Run::new(name)
        .figure("handshakes once all were connected", sum, "")
        .figure("the same a second", sum / seconds, "per s")
        .figure("most, over three seconds", most, "per s")
}

/// What was measured from a time on.
fn after(rates: &[Stretch], since_s: f64) -> Vec<Stretch> {
    rates.iter().filter(|row| row.from_s >= since_s).copied().collect()
}

/// Means of three rows.
fn smooth(rates: &[Stretch]) -> Vec<f64> {
    let mean = |rows: &[Stretch]| rows.iter().map(|row| row.rate).sum::<f64>() / rows.len() as f64;
    rates.windows(SMOOTH_ROWS).map(mean).collect()
}

/// How far apart the curves are: the mean distance over the mean, and what chance alone would make.
fn apart(real: &[Stretch], simulated: &[Stretch], since_s: f64) -> (f64, f64) {
    let (real, simulated) = (smooth(&after(real, since_s)), smooth(&after(simulated, since_s)));
    let pairs: Vec<(f64, f64)> = real.into_iter().zip(simulated).collect();
    let count = pairs.len().max(1) as f64;
    let mean = pairs.iter().map(|(real, _)| real).sum::<f64>() / count;
    let distance = pairs.iter().map(|(real, simulated)| (real - simulated).abs()).sum::<f64>() / count;
    // Both are means of three counts; the mean distance of two of them, each with chance of its own.
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
