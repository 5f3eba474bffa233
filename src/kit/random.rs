//! Seeded randomness: the same seed gives the same run. Not for secrets.

/// A random sequence.
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    /// The sequence of a seed.
    pub fn seeded(seed: u64) -> Self {
        Random(fastrand::Rng::with_seed(seed))
    }

    /// Uniform in `0..n`; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.0.u64(..n) }
    }

    /// Uniform in `lo..=hi_inclusive`; `lo` if the range is empty.
    pub fn between(&mut self, lo: u64, hi_inclusive: u64) -> u64 {
        if lo >= hi_inclusive { lo } else { self.0.u64(lo..=hi_inclusive) }
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// Exponentially distributed with the given mean, by inversion. At most 36.8 times the mean, as a unit has 53 bits.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Any 64 bits.
    pub fn u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A sequence of its own, determined by this one.
    pub fn fork(&mut self) -> Random {
        Random(self.0.fork())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_determines_the_run() {
        let (mut a, mut b) = (Random::seeded(7), Random::seeded(7));
        let (mut fork_a, mut fork_b) = (a.fork(), b.fork());
        for _ in 0..100 {
            assert_eq!(a.u64(), b.u64());
            assert_eq!(fork_a.u64(), fork_b.u64());
        }
        assert_ne!(a.u64(), fork_a.u64());
        assert_ne!(Random::seeded(7).u64(), Random::seeded(8).u64());
    }

    #[test]
    fn ranges_hold() {
        let mut random = Random::seeded(1);
        let mut seen = [false; 6];
        for _ in 0..1_000 {
            assert!(random.below(3) < 3);
            let drawn = random.between(2, 5);
            assert!((2..=5).contains(&drawn));
            seen[drawn as usize] = true;
            assert!((0.0..1.0).contains(&random.unit()));
        }
        assert_eq!(seen, [false, false, true, true, true, true]);
        assert_eq!((random.below(0), random.between(9, 9), random.between(9, 3)), (0, 9, 9));
        random.between(0, u64::MAX);
    }

    #[test]
    fn exponential_has_its_mean_and_median() {
        let mut random = Random::seeded(2);
        let mut draws: Vec<f64> = (0..20_000).map(|_| random.exponential(30.0)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        draws.sort_by(f64::total_cmp);
        assert!((mean - 30.0).abs() < 1.0, "mean {mean}");
        let median = draws[draws.len() / 2];
        assert!((median - 30.0 * 2f64.ln()).abs() < 1.0, "median {median}");
        assert!(draws[0] >= 0.0 && draws.iter().all(|draw| draw.is_finite()));
    }
}
