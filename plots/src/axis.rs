//! Axes of a plot: where a value stands, and which values are written beside them.

use crate::words::{self, trimmed};

/// Larger values are left out: with them no axis could be drawn.
const VALUE_MAX: f64 = 1e18;
/// Steps between the ticks of a time axis, in seconds; longer ones are multiples of a day.
const TIME_STEPS_S: [f64; 24] = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0,
    1_800.0, 3_600.0, 7_200.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0,
];
/// More ticks than these stand too close on a phone.
const TICKS_MAX: f64 = 6.0;
/// What share of the most does not deserve ticks of its own below nothing.
const NOISE: f64 = 0.05;
/// Decades with a tick each; of more only some have one.
const DECADES_MAX: f64 = 9.0;
/// Decades of a percentile axis at most: beyond p99.9999 even of a million measurements only the slowest is left.
const NINES_MAX: f64 = 6.0;
/// Where an axis of rates by decades begins: what is so seldom counts as nothing.
const SELDOM_LOG: f64 = -1.0;

/// How values spread over an axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// Evenly; seconds, with ticks at round times.
    Time,
    /// Each decade takes as much room.
    Log,
    /// Percentiles; each further nine takes as much room.
    Percentile,
}

/// An axis: a scale between two values.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Axis {
    /// How values spread.
    pub scale: Scale,
    /// What the values are in, as figures have it.
    pub unit: &'static str,
    /// The least value; of percentiles the nines.
    pub min: f64,
    /// The most.
    pub max: f64,
}

/// Whether a value can be drawn.
pub fn is_sane(value: f64) -> bool {
    value.is_finite() && value.abs() <= VALUE_MAX
}

impl Axis {
    /// From nothing to the most, with room for whole ticks.
    pub fn linear(unit: &'static str, values: impl Iterator<Item = f64>) -> Self {
        let (mut min, mut max) = bounds(values, 0.0);
        // A little less than nothing is the noise of what was measured.
        if min.abs() < max * NOISE {
            min = 0.0;
        }
        if max <= min {
            max = min + 1.0;
        }
        let step = round_step((max - min) / (TICKS_MAX - 1.0));
        max = (max / step).ceil() * step;
        min = (min / step).floor() * step;
        Self { scale: Scale::Linear, unit, min, max }
    }

    /// Seconds, exactly as far as they go.
    pub fn time(values: impl Iterator<Item = f64>) -> Self {
        let (min, max) = bounds(values, 0.0);
        Self { scale: Scale::Time, unit: "s", min, max: if max > min { max } else { min + 1.0 } }
    }

    /// Whole decades around all that is above nothing.
    pub fn log(unit: &'static str, values: impl Iterator<Item = f64>) -> Self {
        let mut logs = values.filter(|value| is_sane(*value) && *value > 0.0).map(f64::log10);
        let first = logs.next().unwrap_or(0.0);
        let (min, max) = logs.fold((first, first), |(min, max), log| (min.min(log), max.max(log)));
        let (min, max) = (min.floor().clamp(-3.0, 18.0), max.ceil().clamp(-3.0, 18.0));
        Self { scale: Scale::Log, unit, min, max: if max > min { max } else { min + 1.0 } }
    }

    /// Rates by decades, from nothing up: where some are many times others.
    pub fn log_rates(values: impl Iterator<Item = f64>) -> Self {
        Self { min: SELDOM_LOG, ..Self::log("per s", values.chain([10.0])) }
    }

    /// Percentiles up to that which a number of measurements tells.
    pub fn percentiles(count: u64) -> Self {
        let max = (count.max(10) as f64).log10().ceil().clamp(2.0, NINES_MAX);
        Self { scale: Scale::Percentile, unit: "%", min: 0.0, max }
    }

    /// Where a value stands, from 0 to 1; what lies outside stands at the edge.
    pub fn place(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Linear | Scale::Time => value,
            Scale::Log => value.max(1e-300).log10(),
            Scale::Percentile => -(1.0 - value / 100.0).max(10f64.powf(-self.max)).log10(),
        };
        ((value - self.min) / (self.max - self.min)).clamp(0.0, 1.0)
    }

    /// Values that are written beside the axis, with their words.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let step = round_step((self.max - self.min) / (TICKS_MAX - 1.0));
                self.every(step).map(|value| (value, short(value, self.unit))).collect()
            }
            Scale::Time => {
                let step = time_step(self.max - self.min);
                let is_long = self.max >= 7_200.0;
                self.every(step).map(|value| (value, moment(value, step, is_long))).collect()
            }
            Scale::Log => {
                let words = |log: f64| match self.unit {
                    "per s" if log <= SELDOM_LOG => "0".to_owned(),
                    unit => short(10f64.powf(log), unit),
                };
                let step = ((self.max - self.min) / DECADES_MAX).ceil().max(1.0);
                let logs =
                    (0..24).map(|at| self.min + f64::from(at) * step).take_while(|log| *log <= self.max);
                logs.map(|log| (10f64.powf(log), words(log))).collect()
            }
            Scale::Percentile => {
                let nines = (0..=self.max as i32).map(|nines| 100.0 - 100.0 / 10f64.powi(nines));
                nines.map(|percentile| (percentile, percentile_words(percentile))).collect()
            }
        }
    }

    /// Multiples of a step within the axis. Bounded, whatever the step.
    fn every(&self, step: f64) -> impl Iterator<Item = f64> {
        let (first, max) = ((self.min / step).ceil(), self.max + step * 1e-6);
        (0..24).map(move |at| (first + f64::from(at)) * step).take_while(move |value| *value <= max)
    }
}

/// The least and the most, and always the base.
fn bounds(values: impl Iterator<Item = f64>, base: f64) -> (f64, f64) {
    values
        .filter(|value| is_sane(*value))
        .fold((base, base), |(min, max), value| (min.min(value), max.max(value)))
}

/// The next of 1, 2, 5, 10, 20 … that is no less.
fn round_step(least: f64) -> f64 {
    let decade = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|of| of * decade)
        .into_iter()
        .find(|step| *step >= least * 0.999_999)
        .unwrap_or(decade)
}

fn time_step(span: f64) -> f64 {
    let least = span / TICKS_MAX;
    TIME_STEPS_S
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or_else(|| round_step(least / 86_400.0) * 86_400.0)
}

/// A moment of a run: `40 s`, `12:30` (minutes and seconds), `7 h 30`, `3 d`.
fn moment(seconds: f64, step: f64, is_long: bool) -> String {
    let whole = seconds.round().abs();
    match () {
        () if step >= 86_400.0 => format!("{} d", words::number((seconds / 86_400.0).round())),
        () if is_long && step >= 3_600.0 => format!("{:.0} h", whole / 3_600.0),
        () if is_long => {
            format!("{:.0}:{:02.0} h", (whole / 3_600.0).trunc(), (whole % 3_600.0 / 60.0).trunc())
        }
        () if step >= 15.0 => format!("{:.0}:{:02.0}", (whole / 60.0).trunc(), whole % 60.0),
        () => format!("{} s", trimmed(&words::number((seconds * 1e3).round() / 1e3))),
    }
}

/// A percentile as `p99.9`, and nothing as 0.
pub fn percentile_words(percentile: f64) -> String {
    if percentile <= 0.0 { "0".into() } else { format!("p{}", trimmed(&format!("{percentile:.5}"))) }
}

/// A value beside an axis, as short as can be.
fn short(value: f64, unit: &str) -> String {
    let words = match unit {
        "us" | "bytes" => words::figure(value, unit),
        _ if value.abs() >= 1e9 => format!("{} G", words::number(value / 1e9)),
        _ if value.abs() >= 1e6 => format!("{} M", words::number(value / 1e6)),
        _ if value.abs() >= 1e4 => format!("{} k", words::number(value / 1e3)),
        _ => words::number(value),
    };
    match words.split_once(' ') {
        Some((number, rest)) => format!("{} {rest}", trimmed(number)),
        None => trimmed(&words).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(axis: Axis) -> String {
        axis.ticks().into_iter().map(|(_, words)| words).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn ticks_stand_at_round_values() {
        let to = |unit, max: f64| labels(Axis::linear(unit, [max].into_iter()));
        assert_eq!(to("", 15_000.0), "0 | 5,000 | 10 k | 15 k");
        assert_eq!(to("", 1_000_000.0), "0 | 200 k | 400 k | 600 k | 800 k | 1 M");
        assert_eq!(to("bytes", 8.1e9), "0 B | 2 GB | 4 GB | 6 GB | 8 GB | 10 GB");
        assert_eq!(to("cores", 1.7), "0 | 0.5 | 1 | 1.5 | 2");
        assert_eq!(to("", 0.0), "0 | 0.2 | 0.4 | 0.6 | 0.8 | 1");
        let until = |max: f64| labels(Axis::time([max].into_iter()));
        assert_eq!(until(3.2), "0 s | 1 s | 2 s | 3 s");
        assert_eq!(until(83.0), "0:00 | 0:15 | 0:30 | 0:45 | 1:00 | 1:15");
        assert_eq!(until(3_600.0), "0:00 | 10:00 | 20:00 | 30:00 | 40:00 | 50:00 | 60:00");
        assert_eq!(until(9_000.0), "0:00 h | 0:30 h | 1:00 h | 1:30 h | 2:00 h | 2:30 h");
        assert_eq!(until(86_400.0), "0 h | 6 h | 12 h | 18 h | 24 h");
        assert_eq!(until(1e6), "0 d | 2 d | 4 d | 6 d | 8 d | 10 d");
        assert_eq!(labels(Axis::log("us", [130.0, 48_000.0].into_iter())), "100 us | 1 ms | 10 ms | 100 ms");
        assert_eq!(
            labels(Axis::log_rates([700.0, 48_000.0].into_iter())),
            "0 | 1 | 10 | 100 | 1,000 | 10 k | 100 k"
        );
        assert_eq!(labels(Axis::percentiles(15_000)), "0 | p90 | p99 | p99.9 | p99.99 | p99.999");
    }

    #[test]
    fn places_run_from_edge_to_edge() {
        let log = Axis::log("us", [100.0, 10_000.0].into_iter());
        assert_eq!([100.0, 1_000.0, 10_000.0, 0.0, -5.0].map(|us| log.place(us)), [0.0, 0.5, 1.0, 0.0, 0.0]);
        let percentiles = Axis::percentiles(10_000);
        let places = [0.0, 90.0, 99.0, 99.99, 100.0].map(|at| (percentiles.place(at) * 100.0).round());
        assert_eq!(places, [0.0, 25.0, 50.0, 100.0, 100.0]);
    }

    proptest! {
        #[test]
        fn any_values_have_an_axis_with_few_ticks(values in proptest::collection::vec(any::<f64>(), 0..8), count: u64) {
            let axes = [
                Axis::linear("bytes", values.iter().copied()),
                Axis::linear("", values.iter().copied()),
                Axis::time(values.iter().copied()),
                Axis::log("us", values.iter().copied()),
                Axis::log_rates(values.iter().copied()),
                Axis::percentiles(count),
            ];
            for axis in axes {
                let ticks = axis.ticks();
                prop_assert!(ticks.len() <= 24, "{axis:?}");
                for value in values.iter().copied().chain(ticks.iter().map(|(value, _)| *value)) {
                    prop_assert!(!is_sane(value) || (0.0..=1.0).contains(&axis.place(value)), "{axis:?} {value}");
                }
            }
        }
    }
}
