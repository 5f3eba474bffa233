//! What is measured again and again during a run: a row a second, for plots.
//!
//! Given counts, makes rates and percentiles of the time since the last row. Asks nobody.

use crate::{
    internal::Metrics,
    report::model::{Series, columns},
    worker::tally::Tally,
};
use hdrhistogram::Histogram;

/// Of a shorter time a rate says nothing: what was counted is told a moment late, seconds.
const SHORTEST_S: f64 = 0.2;

/// The rows of a run.
pub struct Sampler {
    series: Series,
    last: Option<Seen>,
    /// The most that was open at once.
    pub most_open: u64,
    /// The most that the generator used of the processors between two rows, cores.
    pub cpu_peak: f64,
    /// The most memory that it had, bytes.
    pub rss_peak: u64,
}

struct Seen {
    at_s: f64,
    opened: u64,
    closed: u64,
    refused: u64,
    goaways: u64,
    messages: u64,
    cpu_s: f64,
    node_cpu_s: Option<f64>,
    handshake_us: Histogram<u64>,
    delivery_us: Histogram<u64>,
}

impl Sampler {
    /// No rows yet.
    pub fn new() -> Self {
        Self { series: Series::default(), last: None, most_open: 0, cpu_peak: 0.0, rss_peak: 0 }
    }

    /// Adds a row, so many seconds after the run began; `kernel` is what the kernel holds for sockets, bytes.
    pub fn sample(&mut self, at_s: f64, tally: &Tally, metrics: Option<&Metrics>, kernel: Option<u64>) {
        let seen = Seen {
            at_s,
            opened: tally.opened.sum(),
            closed: tally.ended(),
            refused: tally.not_opened(),
            goaways: tally.goaways,
            messages: tally.direct + tally.broadcast,
            cpu_s: tally.cpu_us as f64 / 1e6,
            node_cpu_s: metrics.map(|metrics| metrics.sum("holdfast_cpu_seconds_total", "")),
            handshake_us: tally.handshake_us.clone(),
            delivery_us: tally.delivery_us.clone(),
        };
        self.most_open = self.most_open.max(tally.open.sum());
        self.rss_peak = self.rss_peak.max(tally.rss_bytes);
        self.row(columns::OPEN, Some(tally.open.sum() as f64));
        let whole = |bytes: u64| Some(bytes as f64).filter(|bytes| *bytes > 0.0);
        self.row(columns::GENERATOR_MEMORY, whole(tally.rss_bytes));
        self.row(columns::KERNEL_MEMORY, kernel.and_then(whole));
        let resident = metrics.map(|metrics| metrics.sum("holdfast_resident_bytes", ""));
        self.row(columns::NODE_MEMORY, resident.filter(|bytes| *bytes > 0.0));
        self.rates(&seen);
        self.percentiles(&seen);
        self.series.at_s.push(seen.at_s);
        self.last = Some(seen);
    }

    /// All rows.
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// The most that a column had since a moment.
    pub fn peak_since(&self, at_s: f64, name: &str) -> Option<f64> {
        let rows = self.series.at_s.iter().zip(self.series.columns.get(name)?);
        let values = rows.filter(|(at, _)| **at > at_s).filter_map(|(_, value)| *value);
        values.reduce(f64::max)
    }

    fn row(&mut self, name: &str, value: Option<f64>) {
        let rows = self.series.at_s.len();
        let column = self.series.columns.entry(name.to_owned()).or_default();
        column.resize(rows, None);
        column.push(value);
    }

    fn rates(&mut self, seen: &Seen) {
        let last = self.last.as_ref();
        let seconds = last.map(|last| seen.at_s - last.at_s).filter(|seconds| *seconds >= SHORTEST_S);
        let rate = |now: f64, before: Option<f64>| Some((now - before?).max(0.0) / seconds?);
        let counts = |of: fn(&Seen) -> u64| rate(of(seen) as f64, last.map(|last| of(last) as f64));
        let cpu = rate(seen.cpu_s, last.map(|last| last.cpu_s));
        let node_cpu = seen.node_cpu_s.and_then(|now| rate(now, last?.node_cpu_s));
        let rows = [
            (columns::OPENED, counts(|seen| seen.opened)),
            (columns::CLOSED, counts(|seen| seen.closed)),
            (columns::REFUSED, counts(|seen| seen.refused)),
            (columns::GOAWAYS, counts(|seen| seen.goaways)),
            (columns::MESSAGES, counts(|seen| seen.messages)),
            (columns::GENERATOR_CPU, cpu),
            (columns::NODE_CPU, node_cpu),
        ];
        for (name, value) in rows {
            self.row(name, value);
        }
        self.cpu_peak = self.cpu_peak.max(cpu.unwrap_or(0.0));
    }

    fn percentiles(&mut self, seen: &Seen) {
        let handshakes = fresh(&seen.handshake_us, self.last.as_ref().map(|last| &last.handshake_us));
        let deliveries = fresh(&seen.delivery_us, self.last.as_ref().map(|last| &last.delivery_us));
        let at = |histogram: &Option<Histogram<u64>>, percentile| {
            histogram.as_ref().map(|histogram| histogram.value_at_percentile(percentile) as f64)
        };
        let rows = [
            (columns::HANDSHAKE_P50, at(&handshakes, 50.0)),
            (columns::HANDSHAKE_P99, at(&handshakes, 99.0)),
            (columns::DELIVERY_P50, at(&deliveries, 50.0)),
            (columns::DELIVERY_P99, at(&deliveries, 99.0)),
        ];
        for (name, value) in rows {
            self.row(name, value);
        }
    }
}

/// What came since; None: nothing.
pub fn fresh(now: &Histogram<u64>, before: Option<&Histogram<u64>>) -> Option<Histogram<u64>> {
    let mut fresh = now.clone();
    if let Some(before) = before {
        // What a worker that was lost had counted may be missing now: then there is nothing to tell of this second.
        fresh.subtract(before).ok()?;
    }
    (!fresh.is_empty()).then_some(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_of_the_time_since_the_last() {
        let mut sampler = Sampler::new();
        let mut tally = Tally::default();
        sampler.sample(0.0, &tally, None, None);
        tally.opened.websocket = 500;
        tally.open.websocket = 400;
        tally.handshake_us.record(1_000).unwrap();
        sampler.sample(2.0, &tally, Some(&Metrics::parse("holdfast_resident_bytes 77\n")), Some(9));
        tally.handshake_us.record(5_000).unwrap();
        sampler.sample(3.0, &tally, None, None);
        let series = sampler.series();
        assert_eq!(series.at_s.len(), 3);
        assert!(series.columns.values().all(|column| column.len() == 3));
        assert_eq!(series.columns[columns::OPEN], [Some(0.0), Some(400.0), Some(400.0)]);
        assert_eq!(series.columns[columns::NODE_MEMORY], [None, Some(77.0), None]);
        assert_eq!(series.columns[columns::KERNEL_MEMORY], [None, Some(9.0), None]);
        let opened = &series.columns[columns::OPENED];
        assert_eq!(opened[..], [None, Some(250.0), Some(0.0)]);
        let p50 = &series.columns[columns::HANDSHAKE_P50];
        assert!(p50[0].is_none() && p50[1].is_some_and(|us| us < 1_100.0), "{p50:?}");
        assert!(p50[2].is_some_and(|us| us > 4_900.0), "{p50:?}");
        assert_eq!(sampler.most_open, 400);
        assert_eq!(sampler.peak_since(-1.0, columns::OPEN), Some(400.0));
        assert_eq!(sampler.peak_since(f64::MAX, columns::OPEN), None);
    }
}
