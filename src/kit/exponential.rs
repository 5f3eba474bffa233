//! The exponential distribution between two bounds: as much without memory as something with a longest life can be.
//!
//! Owns the arithmetic of its draws and shares. Knows no unit: both bounds and the mean are of any one.

/// Steepnesses nearer to 0 than this are taken for a uniform distribution.
const FLAT: f64 = 1e-6;

/// An exponential that begins at the one bound and is cut off at the other.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CutExponential {
    from: f64,
    span: f64,
    /// The span over the exponential's scale; below zero its density rises.
    steepness: f64,
}

impl CutExponential {
    /// With this mean, which lies between the bounds.
    pub fn with_mean(mean: f64, from: f64, to: f64) -> Self {
        let span = to - from;
        Self { from, span, steepness: steepness((mean - from) / span) }
    }

    /// What a share of all draws lies below: the inverse of [`Self::share_below`]. A draw, where the share is one of 0 to 1.
    pub fn quantile(&self, share: f64) -> f64 {
        let Self { from, span, steepness: k } = *self;
        let part = if k.abs() < FLAT { share } else { -(-share * -(-k).exp_m1()).ln_1p() / k };
        // Far from flat, the last digits of a share near 1 are gone.
        from + part.min(1.0) * span
    }

    /// The greatest draw.
    pub fn most(&self) -> f64 {
        self.from + self.span
    }

    /// The share of all draws that lies below a value, 0 to 1.
    pub fn share_below(&self, value: f64) -> f64 {
        let Self { from, span, steepness: k } = *self;
        let part = ((value - from) / span).clamp(0.0, 1.0);
        if k.abs() < FLAT { part } else { ((-k * part).exp_m1() / (-k).exp_m1()).clamp(0.0, 1.0) }
    }
}

/// The steepness whose mean is this share of the span.
///
/// With steepness k the mean is 1/k − 1/(e^k − 1) of the span; it falls from 1 to 0 as k runs over all numbers, so bisection
/// finds it. k is 0 (a uniform distribution) at a share of one half, negative above.
fn steepness(share: f64) -> f64 {
    let mean = |k: f64| if k.abs() < FLAT { 0.5 } else { 1.0 / k - 1.0 / k.exp_m1() };
    let (mut low, mut high) = (-500.0, 500.0);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if mean(middle) > share { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_has_its_mean_and_its_bounds(from in 0.0f64..10.0, span in 0.1f64..100.0, at in 0.1f64..0.9) {
            let mean = from + at * span;
            let law = CutExponential::with_mean(mean, from, from + span);
            let points = 20_000;
            let sum: f64 = (0..points).map(|n| law.quantile((f64::from(n) + 0.5) / f64::from(points))).sum();
            prop_assert!((sum / f64::from(points) - mean).abs() < span * 2e-3, "{}", sum / f64::from(points));
            prop_assert_eq!(law.quantile(0.0), from);
            prop_assert!((law.quantile(1.0) - (from + span)).abs() < span * 1e-9);
        }

        #[test]
        fn shares_and_quantiles_are_each_others_inverse(at in 0.1f64..0.9, share in 0.0f64..=1.0) {
            let law = CutExponential::with_mean(at, 0.0, 1.0);
            prop_assert!((law.share_below(law.quantile(share)) - share).abs() < 1e-6);
        }
    }

    #[test]
    fn nothing_lies_outside() {
        let law = CutExponential::with_mean(3.0, 2.0, 8.0);
        assert_eq!((law.share_below(1.9), law.share_below(8.1)), (0.0, 1.0));
    }
}
