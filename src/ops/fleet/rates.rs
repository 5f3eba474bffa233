//! What changed between two readings of one node, by the second.
//!
//! Pure. A node that has started again counts from zero: then there is no rate, rather than a wrong one.

use super::{
    Reading,
    answers::{Labelled, Times},
};
use std::time::Duration;

/// Two readings closer than this say nothing.
const SHORTEST: Duration = Duration::from_millis(10);

/// By the second.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rates {
    /// Between the readings, s.
    pub seconds: f64,
    /// Handshakes that were accepted.
    pub opened: f64,
    /// Handshakes that were refused.
    pub refused: f64,
    /// Connections that ended.
    pub closed: f64,
    /// Messages of any outcome.
    pub messages: f64,
    /// The same by outcome.
    pub messages_by: Vec<(String, f64)>,
    /// Handshakes that were refused, by reason.
    pub refused_by: Vec<(String, f64)>,
    /// Connections that ended, by reason.
    pub closed_by: Vec<(String, f64)>,
    /// Read from clients, bytes.
    pub bytes_received: f64,
    /// Written to clients, bytes.
    pub bytes_sent: f64,
    /// Processors that it kept busy.
    pub cores: Option<f64>,
    /// Of the handshakes accepted in between: the bound below which 99 of 100 were. None when there were none, or when the node
    /// does not say; the same holds for the others.
    pub handshake_p99_ms: Option<f64>,
    /// Of the messages written in between, of all lanes.
    pub delivery_p99_ms: Option<f64>,
    /// How late event loops were.
    pub loop_lag_p99_ms: Option<f64>,
}

/// None when the node has started again in between, or no time has passed.
pub(super) fn between(earlier: &Reading, later: &Reading) -> Option<Rates> {
    let passed = later.at.checked_sub(earlier.at).filter(|passed| *passed >= SHORTEST)?;
    if earlier.incarnation != 0 && later.incarnation != 0 && earlier.incarnation != later.incarnation {
        return None;
    }
    let (old, new) = (&earlier.counts, &later.counts);
    let seconds = passed.as_secs_f64();
    let rate = |old: u64, new: u64| Some(new.checked_sub(old)? as f64 / seconds);
    let by = |old: &Labelled, new: &Labelled| -> Option<Vec<(String, f64)>> {
        let before =
            |label: &str| old.iter().find(|(known, _)| known == label).map_or(0, |(_, count)| *count);
        new.iter().map(|(label, count)| Some((label.clone(), rate(before(label), *count)?))).collect()
    };
    let total = |rates: &[(String, f64)]| rates.iter().map(|(_, rate)| rate).sum();
    let messages_by = by(&old.messages, &new.messages)?;
    let refused_by = by(&old.refused, &new.refused)?;
    let closed_by = by(&old.closed, &new.closed)?;
    let used = old.cpu_seconds.zip(new.cpu_seconds).map(|(old, new)| new - old);
    Some(Rates {
        seconds,
        opened: rate(old.accepted, new.accepted)?,
        refused: total(&refused_by),
        closed: total(&closed_by),
        messages: total(&messages_by),
        bytes_received: rate(old.bytes_received, new.bytes_received)?,
        bytes_sent: rate(old.bytes_sent, new.bytes_sent)?,
        cores: used.filter(|used| *used >= 0.0).map(|used| used / seconds),
        handshake_p99_ms: p99(&old.handshake_times, &new.handshake_times),
        delivery_p99_ms: p99(&old.delivery_times, &new.delivery_times),
        loop_lag_p99_ms: p99(&old.loop_lag_times, &new.loop_lag_times),
        messages_by,
        refused_by,
        closed_by,
    })
}

/// The bound within which 99 of 100 of the times lie that came in between.
fn p99(old: &Times, new: &Times) -> Option<f64> {
    let before = |bound: f64| old.iter().find(|(known, _)| *known == bound).map_or(0, |(_, count)| *count);
    let came: Times =
        new.iter().map(|(bound, count)| (*bound, count.saturating_sub(before(*bound)))).collect();
    let all = came.iter().fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
    // All but a hundredth, rounded up: of one time that one.
    let wanted = all - all / 100;
    let mut counted = 0u64;
    came.iter().filter(|(_, count)| *count > 0).find_map(|(bound, count)| {
        counted = counted.saturating_add(*count);
        (counted >= wanted).then_some(*bound)
    })
}
