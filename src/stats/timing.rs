//! One latency histogram that one thread writes and a scrape reads.

use super::catalogue::BUCKET_BOUNDS_US;
use hdrhistogram::Histogram;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longer times are counted as this in the buckets and percentiles, and as they are in the sum: 60 s, in microseconds.
const LONGEST_US: u64 = 60_000_000;

/// A latency histogram, 1 us to 60 s with two significant digits: about 20 KB.
///
/// The lock is contended only during a scrape, and held then for a copy of those bytes.
#[derive(Debug)]
pub(super) struct Timing(Mutex<Times>);

/// What a [`Timing`] holds; also the sum of several.
#[derive(Clone, Debug)]
pub(super) struct Times {
    histogram: Histogram<u64>,
    sum_us: u64,
}

impl Timing {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Times::new()))
    }

    /// Counts one time.
    pub(super) fn record(&self, micros: u64) {
        self.record_many(micros, 1);
    }

    /// Counts one time so many times.
    pub(super) fn record_many(&self, micros: u64, count: u64) {
        let mut times = self.lock();
        times.histogram.saturating_record_n(micros, count);
        times.sum_us = times.sum_us.saturating_add(micros.saturating_mul(count));
    }

    /// How many were counted.
    pub(super) fn count(&self) -> u64 {
        self.lock().count()
    }

    /// Adds what is here to a sum.
    pub(super) fn add_to(&self, sum: &mut Times) {
        let copy = self.lock().clone();
        // Both have the bounds of `Times::new`, the only reason for an addition to fail.
        let added = sum.histogram.add(&copy.histogram);
        debug_assert!(added.is_ok());
        sum.sum_us = sum.sum_us.saturating_add(copy.sum_us);
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        // A panic between the two updates leaves a sum that lacks one time: still good enough to serve.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Times {
    pub(super) fn new() -> Self {
        let histogram =
            Histogram::new_with_bounds(1, LONGEST_US, 2).expect("1 < 2 * 1 <= longest, and 2 <= 5 digits");
        Self { histogram, sum_us: 0 }
    }

    /// All of several, added up.
    pub(super) fn of<'t>(timings: impl IntoIterator<Item = &'t Timing>) -> Self {
        let mut sum = Times::new();
        timings.into_iter().for_each(|timing| timing.add_to(&mut sum));
        sum
    }

    pub(super) fn count(&self) -> u64 {
        self.histogram.len()
    }

    pub(super) fn sum_seconds(&self) -> f64 {
        self.sum_us as f64 / 1e6
    }

    /// Upper bounds in seconds with the number of times in each bucket alone; the last is infinity.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BUCKET_BOUNDS_US.iter().map(|&us| us as f64 / 1e6);
        let mut buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).map(|bound| (bound, 0)).collect();
        for step in self.histogram.iter_recorded() {
            // The least value that this step may stand for: what was recorded at a bound counts as within it.
            let least_us = self.histogram.lowest_equivalent(step.value_iterated_to());
            let at = BUCKET_BOUNDS_US.partition_point(|&bound| bound < least_us);
            buckets[at].1 += step.count_at_value();
        }
        buckets
    }

    /// The time below which a share (0 to 1) of all lies, ms.
    pub(super) fn quantile_ms(&self, share: f64) -> f64 {
        self.histogram.value_at_quantile(share) as f64 / 1e3
    }

    /// The longest time, ms.
    pub(super) fn max_ms(&self) -> f64 {
        self.histogram.max() as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn buckets_agree_with_a_naive_count_within_the_precision(times in prop::collection::vec(0..90_000_000u64, 0..40)) {
            let timing = Timing::new();
            times.iter().for_each(|&us| timing.record(us));
            let sum = Times::of([&timing]);
            prop_assert_eq!(sum.count(), times.len() as u64);
            prop_assert_eq!(sum.sum_us, times.iter().sum::<u64>());
            let mut cumulative = 0;
            for (bound, count) in sum.buckets() {
                cumulative += count;
                let at_least = times.iter().filter(|&&us| us as f64 / 1e6 <= bound).count() as u64;
                let at_most = times.iter().filter(|&&us| us as f64 / 1e6 <= bound * 1.01).count() as u64;
                prop_assert!((at_least..=at_most).contains(&cumulative), "{bound}: {at_least} {cumulative} {at_most}");
            }
            prop_assert_eq!(cumulative, sum.count());
        }
    }

    #[test]
    fn a_time_at_a_bound_is_within_it() {
        for (at, &bound) in BUCKET_BOUNDS_US.iter().enumerate() {
            let timing = Timing::new();
            timing.record(bound);
            assert_eq!(Times::of([&timing]).buckets()[at].1, 1, "{bound}");
        }
    }

    #[test]
    fn percentiles_are_milliseconds() {
        let timing = Timing::new();
        (1..=1000).for_each(|ms| timing.record(ms * 1000));
        let times = Times::of([&timing, &Timing::new()]);
        assert!((times.quantile_ms(0.5) - 500.0).abs() < 5.0, "{}", times.quantile_ms(0.5));
        assert!((times.quantile_ms(0.99) - 990.0).abs() < 10.0);
        assert!((times.max_ms() - 1000.0).abs() < 10.0);
        assert_eq!(Times::new().quantile_ms(0.99), 0.0);
    }
}
