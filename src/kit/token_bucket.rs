//! A token bucket: so many a second on average, so many at once.
//!
//! Works on monotonic microseconds that the caller passes in. Time going backwards is harmless: it adds nothing.

/// Forgives what rounding takes away, so that a token is there after exactly the time that `wait_us` asked for.
const EPSILON: f64 = 1e-6;

/// Limits a rate and allows bursts. Starts full.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    rate_per_s: f64,
    burst: f64,
    tokens: f64,
    filled_at_us: u64,
}

impl TokenBucket {
    /// A full bucket that gains `rate_per_s` tokens a second and holds `burst` of them (one at least). A rate that is
    /// not above zero never refills it.
    pub fn new(rate_per_s: f64, burst: f64, now_us: u64) -> Self {
        let burst = burst.max(1.0);
        TokenBucket { rate_per_s: rate_per_s.max(0.0), burst, tokens: burst, filled_at_us: now_us }
    }

    /// Takes one token, if there is one.
    pub fn try_take(&mut self, now_us: u64) -> bool {
        self.fill(now_us);
        let taken = self.tokens >= 1.0 - EPSILON;
        if taken {
            self.tokens = (self.tokens - 1.0).max(0.0);
        }
        taken
    }

    /// Changes the rate and the burst from now on. Tokens beyond a smaller burst are gone.
    pub fn set_rate(&mut self, rate_per_s: f64, burst: f64, now_us: u64) {
        self.fill(now_us);
        self.rate_per_s = rate_per_s.max(0.0);
        self.burst = burst.max(1.0);
        self.tokens = self.tokens.min(self.burst);
    }

    /// How long until there is one token, in microseconds, rounded up; `u64::MAX` if there never will be.
    pub fn wait_us(&self, now_us: u64) -> u64 {
        let missing = 1.0 - self.tokens_at(now_us);
        if missing <= EPSILON {
            return 0;
        }
        // A float beyond the range, and the infinity of a zero rate, become `u64::MAX`.
        (missing / self.rate_per_s * 1e6).ceil() as u64
    }

    fn fill(&mut self, now_us: u64) {
        self.tokens = self.tokens_at(now_us);
        self.filled_at_us = self.filled_at_us.max(now_us);
    }

    fn tokens_at(&self, now_us: u64) -> f64 {
        let elapsed_us = now_us.saturating_sub(self.filled_at_us);
        if elapsed_us == 0 {
            return self.tokens;
        }
        (self.tokens + elapsed_us as f64 * self.rate_per_s / 1e6).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = TokenBucket::new(10.0, 3.0, 0);
        assert_eq!((0..5).filter(|_| bucket.try_take(0)).count(), 3);
        assert_eq!(bucket.wait_us(0), 100_000);
        assert!(!bucket.try_take(99_000) && bucket.try_take(100_000) && !bucket.try_take(100_001));
        assert_eq!(
            (0..9).filter(|_| bucket.try_take(60_000_000)).count(),
            3,
            "it holds no more than the burst"
        );
    }

    #[test]
    fn time_going_backwards_adds_nothing() {
        let mut bucket = TokenBucket::new(1.0, 1.0, 5_000_000);
        assert!(bucket.try_take(5_000_000));
        assert!(!bucket.try_take(1_000_000) && !bucket.try_take(5_500_000));
        assert_eq!(bucket.wait_us(0), 500_000);
        assert!(bucket.try_take(6_000_000));
    }

    #[test]
    fn odd_rates() {
        for rate in [0.0, -1.0, f64::NAN] {
            let mut bucket = TokenBucket::new(rate, 0.0, 0);
            assert!(bucket.try_take(0) && !bucket.try_take(u64::MAX), "{rate}");
            assert_eq!(bucket.wait_us(u64::MAX), u64::MAX, "{rate}");
        }
        let mut bucket = TokenBucket::new(f64::INFINITY, 1.0, 0);
        assert!(bucket.try_take(0) && !bucket.try_take(0) && bucket.try_take(1));
    }

    #[test]
    fn a_new_rate_keeps_what_was_earned() {
        let mut bucket = TokenBucket::new(1.0, 10.0, 0);
        while bucket.try_take(0) {}
        bucket.set_rate(100.0, 2.0, 5_000_000);
        assert_eq!((0..9).filter(|_| bucket.try_take(5_000_000)).count(), 2);
        assert_eq!(bucket.wait_us(5_000_000), 10_000);
    }

    proptest! {
        #[test]
        fn never_more_than_burst_plus_rate(
            rate in 0.1f64..50_000.0, burst in 1.0f64..100.0, steps in prop::collection::vec(0u64..200_000, 1..200),
        ) {
            let mut bucket = TokenBucket::new(rate, burst, 0);
            let (mut now_us, mut taken) = (0, 0u32);
            for step in steps {
                now_us += step;
                taken += u32::from(bucket.try_take(now_us));
                let allowed = burst + rate * now_us as f64 / 1e6;
                prop_assert!(f64::from(taken) <= allowed + 1e-3);
                let wait_us = bucket.wait_us(now_us);
                prop_assert!(bucket.clone().try_take(now_us + wait_us));
                prop_assert!(wait_us < 2 || !bucket.clone().try_take(now_us + wait_us - 2));
            }
        }
    }
}
