//! Long series made short enough to be drawn, without losing what stands out.

/// Points of a line at most. A screen has no more columns.
pub const POINTS_MAX: usize = 2_000;

/// Stretches of points between gaps; a gap is a value that is none. At most [`POINTS_MAX`] points: of each part of a longer
/// series the least and the most, where they were.
pub fn stretches(points: &[(f64, Option<f64>)]) -> Vec<Vec<(f64, f64)>> {
    let whole: Vec<(f64, Option<f64>)> = points.to_vec();
    let points = if whole.len() > POINTS_MAX { thinned(&whole) } else { whole };
    let mut stretches = vec![Vec::new()];
    for (x, y) in points {
        match (y, stretches.last_mut()) {
            (Some(y), Some(last)) => last.push((x, y)),
            _ => stretches.push(Vec::new()),
        }
    }
    stretches.retain(|stretch: &Vec<_>| !stretch.is_empty());
    stretches
}

fn thinned(points: &[(f64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    let mut kept = Vec::with_capacity(POINTS_MAX);
    for part in points.chunks(points.len().div_ceil(POINTS_MAX / 2)) {
        let known = || part.iter().enumerate().filter_map(|(at, (_, y))| Some((at, (*y)?)));
        let least = known().min_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at);
        let most = known().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at);
        let mut places: Vec<usize> = [least, most].into_iter().flatten().collect();
        places.sort_unstable();
        places.dedup();
        kept.extend(places.into_iter().map(|at| part[at]));
        if known().next().is_none() {
            kept.extend(part.first().copied());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gaps_part_a_line() {
        let some = |x: f64| (x, Some(x));
        let points = [(0.0, None), some(1.0), some(2.0), (3.0, None), (4.0, None), some(5.0)];
        assert_eq!(stretches(&points), [vec![(1.0, 1.0), (2.0, 2.0)], vec![(5.0, 5.0)]]);
        assert!(stretches(&[]).is_empty() && stretches(&[(1.0, None); 9_000]).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_stands_out_stays(values in proptest::collection::vec(proptest::option::of(-1e6f64..1e6), 0..20_000)) {
            let points: Vec<(f64, Option<f64>)> = values.iter().enumerate().map(|(x, y)| (x as f64, *y)).collect();
            let kept: Vec<(f64, f64)> = stretches(&points).concat();
            prop_assert!(kept.len() <= POINTS_MAX && kept.is_sorted_by(|a, b| a.0 < b.0));
            prop_assert!(kept.iter().all(|(x, y)| values[*x as usize] == Some(*y)));
            let most = |all: &mut dyn Iterator<Item = f64>| all.fold(f64::NEG_INFINITY, f64::max);
            let least = |all: &mut dyn Iterator<Item = f64>| all.fold(f64::INFINITY, f64::min);
            let (all, shown) = (|| values.iter().flatten().copied(), || kept.iter().map(|point| point.1));
            prop_assert_eq!(most(&mut all()), most(&mut shown()));
            prop_assert_eq!(least(&mut all()), least(&mut shown()));
        }
    }
}
