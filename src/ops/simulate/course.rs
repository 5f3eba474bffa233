//! The rows of a run, and what is read off them.

use super::world::{Row, World};

/// So many events at least make a rate: chance moves it by less than two percent then.
const EVENTS: f64 = 2_500.0;
/// What is within this share of the mean is steady.
const STEADY: f64 = 0.1;
/// Who is still missing of those who were lost when the loss counts as absorbed, as a share.
const MISSING: f64 = 0.01;

/// The rows of a run.
#[derive(Debug, Default)]
pub struct Course {
    /// A row a step.
    pub rows: Vec<Row>,
    step_s: f64,
}

impl Course {
    /// Runs a world for so many steps; `act` is asked before each step, with its number.
    pub fn run(world: &mut World, steps: u64, mut act: impl FnMut(&mut World, u64)) -> Self {
        let rows = (0..steps).map(|step| {
            act(world, step);
            world.step()
        });
        Self { rows: rows.collect(), step_s: world.rules().step_ms as f64 / 1e3 }
    }

    /// Seconds of a step.
    pub fn step_s(&self) -> f64 {
        self.step_s
    }

    /// The rows between two times, seconds.
    pub fn between(&self, from_s: f64, to_s: f64) -> &[Row] {
        let from = self.rows.partition_point(|row| row.at_s <= from_s);
        let to = self.rows.partition_point(|row| row.at_s <= to_s).max(from);
        &self.rows[from..to]
    }

    /// What is counted, a second, as a curve; a point for each step, or for each second where steps are shorter.
    pub fn rate(&self, of: impl Fn(&Row) -> u64) -> Vec<(f64, f64)> {
        let steps = (1.0 / self.step_s).round().max(1.0) as usize;
        let whole = self.rows.chunks_exact(steps);
        whole.map(|rows| (rows[steps - 1].at_s, self.per_second(rows, &of))).collect()
    }

    /// What the busiest node opens a second, as a curve.
    pub fn busiest(&self) -> Vec<(f64, f64)> {
        let steps = (1.0 / self.step_s).floor().max(1.0) as usize;
        let last = self.rows.chunks_exact(steps).map(|rows| rows[steps - 1]);
        last.map(|row| (row.at_s, row.busiest as f64 / self.step_s.max(1.0))).collect()
    }

    /// The most of it from a time on.
    pub fn busiest_since(&self, from_s: f64) -> f64 {
        self.most(from_s, |row| row.busiest) / self.step_s.max(1.0)
    }

    /// A count as a curve.
    pub fn level(&self, of: impl Fn(&Row) -> u64) -> Vec<(f64, f64)> {
        self.rows.iter().map(|row| (row.at_s, of(row) as f64)).collect()
    }

    fn per_second(&self, rows: &[Row], of: impl Fn(&Row) -> u64) -> f64 {
        rows.iter().map(of).sum::<u64>() as f64 / (rows.len() as f64 * self.step_s)
    }

    /// The most a second, of whole seconds, from a time on.
    pub fn peak(&self, from_s: f64, to_s: f64, of: impl Fn(&Row) -> u64) -> f64 {
        let points = self.rate(of);
        let seen = points.iter().filter(|(at, _)| *at > from_s && *at <= to_s);
        seen.map(|(_, rate)| *rate).fold(0.0, f64::max)
    }

    /// The least and the most rate between two times over a mean rate, of stretches in which chance is small.
    pub fn spread(&self, from_s: f64, to_s: f64, mean: f64) -> Option<(f64, f64)> {
        let rates = self.smooth(mean);
        let inside: Vec<f64> =
            rates.iter().filter(|(at, _)| *at > from_s && *at <= to_s).map(|(_, rate)| rate / mean).collect();
        let bounds = |(least, most): (f64, f64), rate: &f64| (least.min(*rate), most.max(*rate));
        let is_whole = self.rows.last().is_some_and(|last| last.at_s >= to_s - self.step_s);
        (is_whole && !inside.is_empty()).then(|| inside.iter().fold((f64::MAX, 0.0), bounds))
    }

    /// Accepted handshakes a second, of stretches in which chance is small.
    fn smooth(&self, mean: f64) -> Vec<(f64, f64)> {
        let steps = (EVENTS / (mean * self.step_s)).ceil().max(1.0) as usize;
        let whole = self.rows.chunks_exact(steps.min(self.rows.len().max(1)));
        whole.map(|rows| (rows[rows.len() - 1].at_s, self.per_second(rows, |row| row.accepted))).collect()
    }

    /// Seconds from a time until the rate stays within ten percent of its mean; None: it did not within this run.
    pub fn steady_after(&self, from_s: f64, mean: f64) -> Option<f64> {
        let rates = self.smooth(mean);
        let last = rates.last()?.0;
        let is_off = |(at, rate): &&(f64, f64)| *at > from_s && (rate / mean - 1.0).abs() > STEADY;
        let off = rates.iter().rfind(is_off).map_or(from_s, |(at, _)| *at);
        (off < last).then_some(off - from_s)
    }

    /// Seconds from a loss until all but one percent of those that were lost are back for the first time, beyond what is
    /// away at any moment; None: they were not within this run.
    pub fn absorbed_after(&self, from_s: f64, usual: f64, lost: f64) -> Option<f64> {
        self.back_after(from_s, usual, lost, 1.0 - MISSING)
    }

    /// The same of another share.
    pub fn back_after(&self, from_s: f64, usual: f64, lost: f64, share: f64) -> Option<f64> {
        let enough = usual - (1.0 - share) * lost;
        let row = self.rows.iter().find(|row| row.at_s > from_s && row.open as f64 >= enough)?;
        Some(row.at_s - from_s)
    }

    /// The sum of a count from a time on.
    pub fn sum(&self, from_s: f64, of: impl Fn(&Row) -> u64) -> f64 {
        self.between(from_s, f64::MAX).iter().map(of).sum::<u64>() as f64
    }

    /// The most of a count from a time on.
    pub fn most(&self, from_s: f64, of: impl Fn(&Row) -> u64) -> f64 {
        self.between(from_s, f64::MAX).iter().map(of).max().unwrap_or(0) as f64
    }
}
