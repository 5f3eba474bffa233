//! How many processors the queue needs: as many as handle what comes and what waits within a time.
//!
//! Values in, values out.

use holdfast_plots::words::{count, duration, number, several};
use std::fmt;

/// How fast the queue is to be worked off.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LagPolicy {
    /// Within this what waits is handled, beside what comes, seconds; above 0.
    pub within_s: f64,
    /// Messages that a processor is trusted with, per second; above 0.
    pub per_processor: f64,
    /// Never fewer.
    pub least: u32,
    /// Never more: beyond the partitions of the topics a processor has nothing to read.
    pub most: u32,
}

/// A number of processors and what it comes from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Processors {
    /// The number.
    pub wanted: u32,
    /// How many there are.
    pub running: u32,
    /// Messages that wait.
    pub lag: f64,
    /// Messages that are handled, per second; None: not known yet.
    pub handled_per_s: Option<f64>,
    /// The policy.
    pub policy: LagPolicy,
}

impl LagPolicy {
    /// How many processors there should be. Without a rate, what waits alone decides, and none of those that run goes.
    pub fn wanted(&self, lag: f64, handled_per_s: Option<f64>, running: u32) -> Processors {
        let lag = if lag.is_finite() { lag.max(0.0) } else { 0.0 };
        let rate = handled_per_s.filter(|rate| rate.is_finite()).map(|rate| rate.max(0.0));
        // A float becomes the nearest value of the integer's range.
        let needed = ((rate.unwrap_or(0.0) + lag / self.within_s) / self.per_processor).ceil() as u32;
        let needed = if rate.is_some() { needed } else { needed.max(running) };
        let wanted = needed.clamp(self.least.min(self.most), self.most);
        Processors { wanted, running, lag, handled_per_s: rate, policy: *self }
    }
}

impl fmt::Display for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lag, handled_per_s, policy, .. } = self;
        let handled = match handled_per_s {
            Some(rate) => format!("{} are handled a second", number(rate.round())),
            None => "how many are handled is not known yet".into(),
        };
        write!(
            f,
            "{} in the queue and {handled}; to be level within {}, at {} a second each",
            several(lag.round() as u64, "message"),
            duration(policy.within_s),
            count(policy.per_processor.round() as u64)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: LagPolicy = LagPolicy { within_s: 30.0, per_processor: 10_000.0, least: 1, most: 8 };

    #[test]
    fn what_comes_and_what_waits_decide() {
        let cases = [
            (0.0, Some(0.0), 3, 1),
            (0.0, Some(25_000.0), 1, 3),
            (600_000.0, Some(25_000.0), 3, 5),
            (1e12, Some(1e9), 3, 8),
            // Nothing is known of the rate: nobody goes.
            (0.0, None, 3, 3),
            (1_500_000.0, None, 3, 5),
            (f64::NAN, Some(f64::NAN), 2, 2),
        ];
        for (lag, rate, running, wanted) in cases {
            assert_eq!(POLICY.wanted(lag, rate, running).wanted, wanted, "{lag} {rate:?}");
        }
        let words = POLICY.wanted(600_000.0, Some(25_000.0), 3).to_string();
        assert_eq!(
            words,
            "600,000 messages in the queue and 25,000 are handled a second; to be level within 30.0 s, at 10,000 a second each"
        );
    }
}
