//! The scenarios of `holdfast loadtest`: each a step of the report, with figures and what must be so.
//!
//! A scenario plays on a [`Stage`] whose clients are connected, and leaves it as it found it: everybody connected who was.

mod churn;
mod drain;
mod halfopen;
mod idle;
mod lifetimes;
mod push;
mod slow;
mod soak;
mod storm;

use crate::{report::model::Latency, series::fresh, stage::Stage, task::Scenario, worker::tally::Tally};
use hdrhistogram::Histogram;

impl Scenario {
    /// Plays it.
    pub fn play(self, stage: &mut Stage<'_>) {
        let hold = stage.task.hold;
        let takes = match self {
            Scenario::Idle | Scenario::Lifetimes | Scenario::Churn | Scenario::Soak => Some(hold),
            _ => None,
        };
        stage.step(self.label(), None, takes, |stage| {
            match self {
                Scenario::Idle => idle::play(stage),
                Scenario::Push => push::some(stage)?,
                Scenario::Fanout => push::all(stage)?,
                Scenario::Storm => storm::play(stage),
                Scenario::Lifetimes => lifetimes::play(stage),
                Scenario::Drain => drain::play(stage)?,
                Scenario::Slow => slow::play(stage)?,
                Scenario::Halfopen => halfopen::play(stage),
                Scenario::Churn => churn::play(stage),
                Scenario::Soak => soak::play(stage)?,
            }
            stage.settle();
            Ok(())
        });
    }
}

pub use idle::Mark;

/// What the counts were when a step began, so that it can tell of its own time.
struct Before {
    at_s: f64,
    tally: Tally,
    cpu_s: Option<f64>,
}

impl Before {
    fn of(stage: &mut Stage<'_>) -> Self {
        stage.sample();
        let cpu_s = node_cpu_s(stage);
        Self { at_s: stage.now_s(), tally: stage.tally().clone(), cpu_s }
    }

    /// Nobody was given up since, and no more are on their way than were then, but for a few: lives end all the time.
    fn are_all_back(&self, tally: &Tally) -> bool {
        const FEW: f64 = 0.02;
        let away = |tally: &Tally| tally.away + tally.in_flight;
        let all = |tally: &Tally| tally.open.sum() + away(tally);
        let more = away(tally).saturating_sub(away(&self.tally)) as f64;
        let may_be_away = if tally.goaways > 0 { all(&self.tally) as f64 * FEW } else { 0.0 };
        all(tally) >= all(&self.tally) && more <= may_be_away
    }

    fn seconds(&self, stage: &Stage<'_>) -> f64 {
        (stage.now_s() - self.at_s).max(1e-6)
    }

    /// What the nodes have used of the processors since, seconds.
    fn node_cpu_s(&self, stage: &mut Stage<'_>) -> Option<f64> {
        stage.sample();
        Some(node_cpu_s(stage)? - self.cpu_s?)
    }
}

fn node_cpu_s(stage: &Stage<'_>) -> Option<f64> {
    let seconds = stage.metrics()?.sum("holdfast_cpu_seconds_total", "");
    (seconds > 0.0).then_some(seconds)
}

/// Notes the percentiles of a histogram's growth, as `NAME p50` and so on.
fn percentiles(stage: &mut Stage<'_>, name: &str, now: &Histogram<u64>, before: &Histogram<u64>) {
    let Some(fresh) = fresh(now, Some(before)) else { return };
    let latency = Latency::of(&fresh);
    for (percentile, us) in
        [("p50", latency.p50), ("p99", latency.p99), ("p99.9", latency.p999), ("max", latency.max)]
    {
        stage.figure(format!("{name} {percentile}"), us as f64, "us");
    }
}

/// Events a second, from slices of [`crate::worker::tally::GOAWAY_SLICE_US`], between two moments, seconds since the run began.
fn per_second(slices: &[u32], from_s: f64, to_s: f64) -> Vec<u64> {
    let per_second = (1_000_000 / crate::worker::tally::GOAWAY_SLICE_US) as usize;
    let begin = (from_s * per_second as f64).ceil() as usize;
    let seconds = (to_s - from_s).floor().max(0.0) as usize;
    let slice = |at: usize| u64::from(slices.get(at).copied().unwrap_or(0));
    let second = |second: usize| (0..per_second).map(|at| slice(begin + second * per_second + at)).sum();
    (0..seconds).map(second).collect()
}

/// Mean, peak and standard deviation.
fn spread(counts: &[u64]) -> Option<(f64, f64, f64)> {
    let count = counts.len() as f64;
    let mean = counts.iter().sum::<u64>() as f64 / count;
    let variance = counts.iter().map(|&each| (each as f64 - mean).powi(2)).sum::<f64>() / count;
    let peak = *counts.iter().max()? as f64;
    (mean > 0.0).then_some((mean, peak, variance.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_become_seconds() {
        let mut slices = vec![0; 10];
        slices.extend([3; 10]);
        slices.extend([1; 10]);
        assert_eq!(per_second(&slices, 1.0, 3.0), [30, 10]);
        assert_eq!(per_second(&slices, 1.0, 3.9), [30, 10]);
        assert_eq!(per_second(&slices, 2.0, 5.0), [10, 0, 0]);
        assert!(per_second(&slices, 2.0, 2.5).is_empty());
        assert_eq!(spread(&[30, 10]), Some((20.0, 30.0, 10.0)));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[0, 0]), None);
    }
}
