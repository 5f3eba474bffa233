//! Long series made short enough to be seen: what they are on average, and between what they lie.

/// Points of a line that are drawn as they are: a plot has some 600 columns of a screen.
const POINTS_MAX: usize = 600;
/// Parts of a longer one, of each of which the average, the least and the most are drawn.
const PARTS: usize = 400;

/// A line as it is drawn, in stretches between gaps.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Thinned {
    /// Points, or averages of parts.
    pub line: Vec<Vec<(f64, f64)>>,
    /// Of parts: where, the least and the most. Empty where the points are as they were.
    pub range: Vec<Vec<(f64, f64, f64)>>,
}

impl Thinned {
    /// From points, of which some have no value; those are gaps.
    pub fn of(points: &[(f64, Option<f64>)]) -> Self {
        if points.len() <= POINTS_MAX {
            let line = stretches(points.iter().map(|(x, y)| y.map(|y| (*x, y))));
            return Self { line, range: Vec::new() };
        }
        let parts: Vec<Option<[f64; 4]>> = points.chunks(points.len().div_ceil(PARTS)).map(part).collect();
        Self {
            line: stretches(parts.iter().map(|part| part.map(|[x, mean, _, _]| (x, mean)))),
            range: stretches(parts.iter().map(|part| part.map(|[x, _, least, most]| (x, least, most)))),
        }
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// All values, those between which parts lie included.
    pub fn values(&self) -> impl Iterator<Item = f64> {
        let ends = self.range.iter().flatten().flat_map(|(_, least, most)| [*least, *most]);
        self.line.iter().flatten().map(|(_, y)| *y).chain(ends)
    }
}

/// Where a part is, its average, its least and its most; None: it has no value.
fn part(points: &[(f64, Option<f64>)]) -> Option<[f64; 4]> {
    let known = || points.iter().filter_map(|(x, y)| Some((*x, (*y)?)));
    let count = known().count() as f64;
    let sum = known().fold((0.0, 0.0), |sum, (x, y)| (sum.0 + x, sum.1 + y));
    let bounds =
        known().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), (_, y)| (least.min(y), most.max(y)));
    (count > 0.0).then(|| [sum.0 / count, sum.1 / count, bounds.0, bounds.1])
}

fn stretches<T>(points: impl Iterator<Item = Option<T>>) -> Vec<Vec<T>> {
    let mut stretches = Vec::new();
    let mut is_open = false;
    for point in points {
        match (point, stretches.last_mut()) {
            (Some(point), Some(last)) if is_open => Vec::push(last, point),
            (Some(point), _) => {
                stretches.push(vec![point]);
                is_open = true;
            }
            (None, _) => is_open = false,
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gaps_part_a_line() {
        let some = |x: f64| (x, Some(x));
        let points = [(0.0, None), some(1.0), some(2.0), (3.0, None), (4.0, None), some(5.0)];
        assert_eq!(Thinned::of(&points).line, [vec![(1.0, 1.0), (2.0, 2.0)], vec![(5.0, 5.0)]]);
        assert!(Thinned::of(&[]).is_empty() && Thinned::of(&[(1.0, None); 9_000]).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_stands_out_stays(values in proptest::collection::vec(proptest::option::of(-1e6f64..1e6), 0..20_000)) {
            let points: Vec<(f64, Option<f64>)> = values.iter().enumerate().map(|(x, y)| (x as f64, *y)).collect();
            let thinned = Thinned::of(&points);
            prop_assert!(thinned.line.concat().len() <= POINTS_MAX);
            prop_assert!(thinned.line.concat().is_sorted_by(|a, b| a.0 < b.0));
            let most = |all: &mut dyn Iterator<Item = f64>| all.fold(f64::NEG_INFINITY, f64::max);
            let least = |all: &mut dyn Iterator<Item = f64>| all.fold(f64::INFINITY, f64::min);
            let all = || values.iter().flatten().copied();
            prop_assert_eq!(most(&mut all()), most(&mut thinned.values()));
            prop_assert_eq!(least(&mut all()), least(&mut thinned.values()));
            let between = thinned.range.concat().into_iter().zip(thinned.line.concat());
            for ((x, least, most), (at, mean)) in between {
                prop_assert!(x == at && least <= mean + 1e-6 && mean <= most + 1e-6);
            }
        }
    }
}
