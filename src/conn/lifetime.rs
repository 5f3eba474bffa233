//! How long a connection lives: drawn once, when it opens.
//!
//! Connections that opened together must not end together. The exponential law is memoryless: but for the floor, below which
//! nobody is asked to leave, the rate of ends is flat from the first moment, also right after a whole fleet has reconnected at once.

use crate::{
    config::{Distribution, Lifetime},
    kit::{exponential::CutExponential, random::Random},
};

/// A law of lifetimes, worked out once from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct LifetimeLaw {
    distribution: Distribution,
    least_ms: f64,
    most_ms: f64,
    exponential: CutExponential,
}

impl LifetimeLaw {
    /// The law of a checked configuration.
    pub fn new(config: &Lifetime) -> Self {
        let (mean_ms, max_ms) = (config.mean_ms as f64, config.max_ms as f64);
        let (least_ms, most_ms) = config.distribution.bounds(mean_ms, max_ms);
        let exponential = CutExponential::with_mean(mean_ms, least_ms, most_ms);
        Self { distribution: config.distribution, least_ms, most_ms, exponential }
    }

    /// Draws one lifetime, ms; never longer than `lifetime.max`.
    pub fn draw_ms(&self, random: &mut Random) -> u64 {
        let Self { least_ms: least, most_ms: most, .. } = *self;
        let drawn = match self.distribution {
            Distribution::Exponential => self.exponential.quantile(random.unit()),
            Distribution::Uniform => least + random.unit() * (most - least),
            Distribution::Zuul => most - random.unit() * (most - least),
        };
        drawn.min(most).max(1.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn law(distribution: Distribution, mean: u64, max: u64) -> LifetimeLaw {
        LifetimeLaw::new(&Lifetime { mean_ms: mean, max_ms: max, distribution, grace_ms: 4_000 })
    }

    fn draws(law: LifetimeLaw) -> Vec<u64> {
        let mut random = Random::seeded(7);
        (0..100_000).map(|_| law.draw_ms(&mut random)).collect()
    }

    fn mean(draws: &[u64]) -> f64 {
        draws.iter().sum::<u64>() as f64 / draws.len() as f64
    }

    #[test]
    fn every_law_keeps_its_bounds_and_its_mean() {
        let m = 30 * MINUTE;
        for (distribution, max, low, high, want) in [
            (Distribution::Exponential, 3 * m, m / 20, 3 * m, m),
            (Distribution::Exponential, 2 * m, m / 20, 2 * m, m),
            (Distribution::Exponential, m + m / 10, m / 20, m + m / 10, m),
            (Distribution::Uniform, 3 * m / 2, m / 2, 3 * m / 2, m),
            (Distribution::Uniform, m, m, m, m),
            (Distribution::Zuul, 3 * m, m - m / 10, m, m - m / 20),
        ] {
            let draws = draws(law(distribution, m, max));
            let (least, most) = (*draws.iter().min().unwrap(), *draws.iter().max().unwrap());
            assert!(least >= low - 1 && most <= high, "{distribution:?} {max}: {least}..{most}");
            let off = mean(&draws) / want as f64 - 1.0;
            assert!(off.abs() < 0.02, "{distribution:?} {max}: mean off by {off}");
        }
    }

    #[test]
    fn no_moment_has_many_ends() {
        let m = 30 * MINUTE;
        let mut seconds = vec![0u32; 3 * 30 * 60 + 1];
        for life in draws(law(Distribution::Exponential, m, 3 * m)) {
            seconds[(life / 1_000) as usize] += 1;
        }
        // 100,000 connections have 56 ends a second on average.
        let most = seconds.iter().max().unwrap();
        assert!(*most < 100, "{most} lives end in one second");
    }

    #[test]
    fn exponential_ends_are_flat_from_the_start() {
        // All connect at zero and reconnect when they end: the rate of ends in every twentieth of a mean, over four
        // means, stays near one per mean and connection.
        let m = 30 * MINUTE;
        let law = law(Distribution::Exponential, m, 3 * m);
        let mut random = Random::seeded(3);
        let mut ends = vec![0u32; 80];
        let connections = 20_000;
        for _ in 0..connections {
            let mut at = 0;
            while at < 4 * m {
                at += law.draw_ms(&mut random);
                if let Some(bin) = ends.get_mut((at * 20 / m) as usize) {
                    *bin += 1;
                }
            }
        }
        let per_bin = connections as f64 / 20.0;
        // The first bin is empty: nobody lives less than the floor.
        for (bin, &count) in ends.iter().enumerate().skip(1) {
            let rate = f64::from(count) / per_bin;
            assert!((0.75..1.25).contains(&rate), "bin {bin}: {rate}");
        }
    }
}
