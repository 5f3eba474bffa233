//! A latency of a report, from the histogram that it was counted in.

use super::model::{Latency, Report};
use hdrhistogram::Histogram;

/// Points of the curve for each halving of what is left: smooth, and some two hundred for a million of measurements.
const POINTS_PER_HALF: u32 = 8;

/// What the latency of handshakes is called.
pub const HANDSHAKE: &str = "handshake";

impl Report {
    /// What was timed at all: handshakes first, then the others by name.
    pub fn measured(&self) -> Vec<(&str, &Latency)> {
        let all = self.latencies.iter().filter(|(_, latency)| latency.count > 0);
        let mut all: Vec<(&str, &Latency)> = all.map(|(name, latency)| (name.as_str(), latency)).collect();
        all.sort_by_key(|(name, _)| *name != HANDSHAKE);
        all
    }
}

impl Latency {
    /// Everything that a report has of a histogram of microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let unit = "us".to_owned();
        if histogram.is_empty() {
            return Self { unit, ..Self::default() };
        }
        let at = |percentile| histogram.value_at_percentile(percentile);
        let steps = histogram.iter_quantiles(POINTS_PER_HALF);
        let mut curve: Vec<(f64, u64)> =
            steps.map(|step| (step.quantile_iterated_to() * 100.0, step.value_iterated_to())).collect();
        curve.dedup();
        Self {
            unit,
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean(),
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            p9999: at(99.99),
            max: histogram.max(),
            curve,
        }
    }

    /// The percentiles by name, from the least to the most.
    pub fn percentiles(&self) -> [(&'static str, f64); 8] {
        [
            ("min", self.min as f64),
            ("mean", self.mean),
            ("p50", self.p50 as f64),
            ("p90", self.p90 as f64),
            ("p99", self.p99 as f64),
            ("p99.9", self.p999 as f64),
            ("p99.99", self.p9999 as f64),
            ("max", self.max as f64),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_says_what_its_histogram_says() {
        let mut histogram = Histogram::new(3).unwrap();
        assert_eq!(Latency::of(&histogram), Latency { unit: "us".into(), ..Latency::default() });
        for us in 1..=10_000 {
            histogram.record(us).unwrap();
        }
        let latency = Latency::of(&histogram);
        assert_eq!((latency.count, latency.min), (10_000, 1));
        for ((_, value), wanted) in
            latency.percentiles()[2..].iter().zip([5e3, 9e3, 9.9e3, 9_990.0, 9_999.0, 1e4])
        {
            assert!((value / wanted - 1.0).abs() < 0.002, "{value} {wanted}");
        }
        let curve = &latency.curve;
        assert!(curve.is_sorted() && curve.len() < 300 && curve.last().unwrap().0 == 100.0, "{curve:?}");
    }
}
