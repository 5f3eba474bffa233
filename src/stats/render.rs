//! The Prometheus text format, by a kept library.
//!
//! prometheus-client is made for OpenMetrics, which names a counter's family without `_total` and ends with `# EOF`. What
//! is scraped here is the older text format 0.0.4, which every scraper reads: a counter's value is written as a plain
//! sample under its whole name, and no end mark follows. Escaping, numbers and buckets are the library's.

use super::{
    NodeStats,
    catalogue::Kind,
    families::{self, Family, Value},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};
use std::fmt;

/// The `Content-Type` of [`NodeStats::prometheus_text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl NodeStats {
    /// Everything, in the Prometheus text format 0.0.4.
    pub fn prometheus_text(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape(families::collect(self))));
        let mut page = String::with_capacity(32 * 1024);
        // Writing to a String cannot fail.
        let written = text::encode_registry(&mut page, &registry);
        debug_assert!(written.is_ok());
        page
    }
}

/// Values on their way to the encoder.
#[derive(Debug)]
struct Scrape(Vec<Family>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for Family { metric, series } in &self.0 {
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for one in series {
                if one.labels.is_empty() {
                    encode_value(&mut family, &one.value)?;
                    continue;
                }
                let names = metric.labels.iter().copied();
                let labels: Vec<(&str, &str)> = names.zip(one.labels.iter().map(String::as_str)).collect();
                encode_value(&mut family.encode_family(&labels)?, &one.value)?;
            }
        }
        Ok(())
    }
}

fn encode_value(encoder: &mut MetricEncoder<'_>, value: &Value) -> Result<(), fmt::Error> {
    match value {
        Value::Whole(number) => encoder.encode_gauge(number),
        Value::Real(number) => encoder.encode_gauge(number),
        Value::Times(times) => {
            encoder.encode_histogram::<NoLabelSet>(times.sum_seconds(), times.count(), &times.buckets(), None)
        }
    }
}
