//! What a connection costs, from what was measured while they came.

use super::model::{Series, columns};

/// Fewer samples tell nothing.
const SAMPLES_MIN: usize = 5;
/// Fewer connections drown in what the host does besides.
const CONNECTIONS_MIN: f64 = 100.0;

/// A straight line: so much for each connection, above what is there without any.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Slope {
    /// Bytes for each connection.
    pub per_connection: f64,
    /// Bytes without any.
    pub fixed: f64,
    /// Most connections that it was measured with.
    pub connections: f64,
}

/// The slope of a column of bytes over the open connections, by least squares. Only while they rise: neither an allocator
/// nor the kernel gives back at once what is free again. None: too few samples, or connections.
pub fn slope(series: &Series, column: &str) -> Option<Slope> {
    let points = rise(series, column);
    let most = points.iter().map(|point| point.0).fold(f64::NEG_INFINITY, f64::max);
    let least = points.iter().map(|point| point.0).fold(f64::INFINITY, f64::min);
    if points.len() < SAMPLES_MIN || most - least < CONNECTIONS_MIN {
        return None;
    }
    let count = points.len() as f64;
    let mean_x = points.iter().map(|point| point.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|point| point.1).sum::<f64>() / count;
    let both: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let square: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let per_connection = both / square;
    let fixed = mean_y - per_connection * mean_x;
    (per_connection.is_finite() && fixed.is_finite()).then_some(Slope {
        per_connection,
        fixed,
        connections: most,
    })
}

/// Open connections with the column's value, up to the first moment with the most of them.
pub fn rise(series: &Series, column: &str) -> Vec<(f64, f64)> {
    let (Some(open), Some(bytes)) = (series.columns.get(columns::OPEN), series.columns.get(column)) else {
        return Vec::new();
    };
    let both = open.iter().zip(bytes).filter_map(|(open, bytes)| Some(((*open)?, (*bytes)?)));
    let points: Vec<(f64, f64)> =
        both.filter(|(open, bytes)| open.is_finite() && bytes.is_finite()).collect();
    let most = points.iter().map(|point| point.0).fold(f64::NEG_INFINITY, f64::max);
    let end = points.iter().position(|point| point.0 >= most).map_or(0, |at| at + 1);
    points[..end].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn series(open: &[f64], bytes: impl Fn(f64) -> Option<f64>) -> Series {
        let columns = BTreeMap::from([
            (columns::OPEN.to_owned(), open.iter().copied().map(Some).collect()),
            (columns::NODE_MEMORY.to_owned(), open.iter().map(|&open| bytes(open)).collect()),
        ]);
        Series { at_s: (0..open.len()).map(|at| at as f64).collect(), columns }
    }

    #[test]
    fn the_slope_is_that_of_the_rise() {
        let up: Vec<f64> = (0..20).map(|at| f64::from(at) * 1_000.0).collect();
        let line = slope(&series(&up, |open| Some(5e6 + 120.0 * open)), columns::NODE_MEMORY).unwrap();
        assert!((line.per_connection - 120.0).abs() < 1e-6 && (line.fixed - 5e6).abs() < 1e-3, "{line:?}");
        // They leave, and the memory stays: that is no part of it.
        let mut kept = series(&up, |open| Some(5e6 + 120.0 * open));
        kept.at_s.extend([20.0, 21.0]);
        kept.columns.get_mut(columns::OPEN).unwrap().extend([Some(0.0), Some(0.0)]);
        kept.columns.get_mut(columns::NODE_MEMORY).unwrap().extend([Some(9e6), Some(9e6)]);
        assert_eq!(slope(&kept, columns::NODE_MEMORY), Some(line));
    }

    #[test]
    fn too_little_is_no_slope() {
        assert_eq!(slope(&Series::default(), columns::NODE_MEMORY), None);
        assert_eq!(slope(&series(&[0.0, 1e6, 2e6], Some), columns::NODE_MEMORY), None);
        assert_eq!(slope(&series(&[5.0; 30], Some), columns::NODE_MEMORY), None);
        let up: Vec<f64> = (0..20).map(|at| f64::from(at) * 1_000.0).collect();
        assert_eq!(slope(&series(&up, |_| None), columns::NODE_MEMORY), None);
        assert_eq!(slope(&series(&up, |_| Some(f64::NAN)), columns::NODE_MEMORY), None);
        assert_eq!(slope(&series(&up, |_| Some(f64::MAX)), columns::NODE_MEMORY), None);
    }
}
