//! How long connections live, as a distribution function.
//!
//! Says of every law which share of the connections has ended by a moment. The laws of a node are those of its
//! `lifetime.…` settings; a test compares them with what the node draws.

use crate::config::Distribution;

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
    /// An exponential that begins at `from_ms` and is cut off `span_ms` later.
    Exponential {
        /// Nobody ends earlier.
        from_ms: f64,
        /// From the beginning to the cut.
        span_ms: f64,
        /// The span over the exponential's scale; below zero the density rises.
        steepness: f64,
        /// What would end earlier lives this much longer.
        floor_ms: f64,
    },
}

/// Points of the sum that stands for an integral.
const POINTS: u32 = 20_000;

impl Law {
    /// The law of a node with these settings (`lifetime.distribution`, `lifetime.mean`, `lifetime.max`).
    pub fn of(distribution: Distribution, mean_ms: f64, max_ms: f64) -> Self {
        match distribution {
            Distribution::Exponential => Law::Exponential {
                from_ms: 0.0,
                span_ms: max_ms,
                steepness: steepness(mean_ms / max_ms),
                floor_ms: mean_ms / 20.0,
            },
            Distribution::Uniform => {
                Law::Uniform { least_ms: (2.0 * mean_ms - max_ms).max(0.0), most_ms: max_ms }
            }
            Distribution::Zuul => Law::Uniform { least_ms: 0.9 * mean_ms, most_ms: mean_ms },
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
            Law::Exponential { floor_ms, .. } if ms < floor_ms => 0.0,
            Law::Exponential { from_ms, span_ms, steepness, floor_ms } => {
                let ended = |ms: f64| cut_exponential((ms - from_ms) / span_ms, steepness);
                match ms < 2.0 * floor_ms {
                    true => ended(ms) - ended(floor_ms) + ended(ms - floor_ms),
                    false => ended(ms),
                }
            }
        }
    }

    /// What lies between the shortest life and the longest.
    pub fn width_ms(&self) -> f64 {
        match *self {
            Law::Fixed { .. } => 0.0,
            Law::Uniform { least_ms, most_ms } => most_ms - least_ms,
            Law::Exponential { span_ms, .. } => span_ms,
        }
    }

    /// Nobody lives longer.
    pub fn max_ms(&self) -> f64 {
        match *self {
            Law::Fixed { ms } => ms,
            Law::Uniform { most_ms, .. } => most_ms,
            Law::Exponential { from_ms, span_ms, floor_ms, .. } => (from_ms + span_ms).max(floor_ms),
        }
    }

    /// How long connections live on average.
    pub fn mean_ms(&self) -> f64 {
        match *self {
            Law::Fixed { ms } => ms,
            Law::Uniform { least_ms, most_ms } => (least_ms + most_ms) / 2.0,
            Law::Exponential { .. } => {
                let width = self.max_ms() / f64::from(POINTS);
                (0..POINTS).map(|at| (1.0 - self.ended_by((f64::from(at) + 0.5) * width)) * width).sum()
            }
        }
    }
}

/// The distribution function of an exponential that is cut off at 1.
fn cut_exponential(share: f64, steepness: f64) -> f64 {
    let share = share.clamp(0.0, 1.0);
    if steepness.abs() < 1e-6 {
        return share;
    }
    ((-steepness * share).exp_m1() / (-steepness).exp_m1()).clamp(0.0, 1.0)
}

/// The steepness whose truncated exponential has a mean of `share` of its span: with steepness k it is 1/k − 1/(e^k − 1),
/// which falls as k grows, so bisection finds it.
fn steepness(share: f64) -> f64 {
    let mean = |k: f64| if k.abs() < 1e-6 { 0.5 } else { 1.0 / k - 1.0 / k.exp_m1() };
    let (mut low, mut high) = (-500.0, 500.0);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if mean(middle) > share { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}
