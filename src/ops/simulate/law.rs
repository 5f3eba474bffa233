//! How long connections live, as a distribution function.
//!
//! Says of every law which share of the connections has ended by a moment. The laws of a node are those of its
//! `lifetime.…` settings; a test compares them with what the node draws.

use crate::{config::Distribution, kit::exponential::CutExponential};

/// A law of lifetimes; times in ms.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Law {
    /// Everybody the same.
    Fixed {
        /// The lifetime.
        ms: f64,
    },
    /// Evenly between two bounds.
    Uniform {
        /// The shortest.
        least_ms: f64,
        /// The longest.
        most_ms: f64,
    },
    /// An exponential between two bounds.
    Exponential(CutExponential),
}

/// Points of the sum that stands for an integral.
const POINTS: u32 = 20_000;

impl Law {
    /// The law of a node with these settings (`lifetime.distribution`, `lifetime.mean`, `lifetime.max`).
    pub fn of(distribution: Distribution, mean_ms: f64, max_ms: f64) -> Self {
        let (least_ms, most_ms) = distribution.bounds(mean_ms, max_ms);
        match distribution {
            Distribution::Exponential => {
                Law::Exponential(CutExponential::with_mean(mean_ms, least_ms, most_ms))
            }
            Distribution::Uniform | Distribution::Zuul => Law::Uniform { least_ms, most_ms },
        }
    }

    /// The share of connections whose life is over at an age of `ms`, 0 to 1.
    pub fn ended_by(&self, ms: f64) -> f64 {
        match *self {
            Law::Fixed { ms: life } => f64::from(ms >= life),
            Law::Uniform { least_ms, most_ms } if most_ms > least_ms => {
                ((ms - least_ms) / (most_ms - least_ms)).clamp(0.0, 1.0)
            }
            Law::Uniform { most_ms, .. } => f64::from(ms >= most_ms),
            Law::Exponential(law) => law.share_below(ms),
        }
    }

    /// What lies between the shortest life and the longest.
    pub fn width_ms(&self) -> f64 {
        match *self {
            Law::Fixed { .. } => 0.0,
            Law::Uniform { least_ms, most_ms } => most_ms - least_ms,
            Law::Exponential(law) => law.most() - law.quantile(0.0),
        }
    }

    /// Nobody lives longer.
    pub fn max_ms(&self) -> f64 {
        match *self {
            Law::Fixed { ms } => ms,
            Law::Uniform { most_ms, .. } => most_ms,
            Law::Exponential(law) => law.most(),
        }
    }

    /// How long connections live on average.
    pub fn mean_ms(&self) -> f64 {
        match *self {
            Law::Fixed { ms } => ms,
            Law::Uniform { least_ms, most_ms } => (least_ms + most_ms) / 2.0,
            Law::Exponential(_) => {
                let width = self.max_ms() / f64::from(POINTS);
                (0..POINTS).map(|at| (1.0 - self.ended_by((f64::from(at) + 0.5) * width)) * width).sum()
            }
        }
    }
}
