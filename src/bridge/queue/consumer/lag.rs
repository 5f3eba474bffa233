//! How far behind the lanes are.
//!
//! Where a partition ends is heard with each fetch. Of a paused lane nothing is fetched, so there Kafka is asked, for a few
//! partitions a second.

use super::Consumer;
use crate::{
    bridge::queue::{context::Statistics, seam::Output},
    model::Lane,
};
use rdkafka::consumer::Consumer as _;
use std::time::Duration;

/// Paused partitions that are asked for each time.
const ASKED: usize = 4;
/// How long Kafka may take for each. The thread waits: it is a pause that somebody wanted.
const ASK: Duration = Duration::from_millis(100);

impl Consumer {
    /// Says it of each lane.
    pub(super) fn tell_lag(&mut self, statistics: &Statistics) {
        if self.is_up {
            self.look_at_paused();
        }
        let mut lags = vec![0; self.lanes.len()];
        for holding in self.held.iter() {
            let partition = &holding.partition;
            let lag = statistics.lag(&partition.topic, partition.number, holding.end);
            lags[usize::from(holding.lane.0)] += lag.unwrap_or(0);
        }
        for (lane, messages) in lags.into_iter().enumerate() {
            (self.deliver)(Output::Lag { lane: Lane(lane as u8), messages });
        }
    }

    fn look_at_paused(&mut self) {
        let paused = self.held.iter().filter(|holding| self.paused.contains(&holding.lane));
        let mut paused: Vec<_> = paused.map(|holding| holding.partition.clone()).collect();
        if paused.is_empty() {
            return;
        }
        paused.sort_unstable();
        let first = self.asked % paused.len();
        self.asked = first + ASKED;
        let next = paused.iter().cycle().skip(first).take(ASKED.min(paused.len()));
        for partition in next {
            match self.kafka.fetch_watermarks(&partition.topic, partition.number, ASK) {
                Ok((_, end)) => {
                    if let Some(holding) = self.held.get_mut(&partition.topic, partition.number) {
                        holding.end = Some(end);
                    }
                }
                // The next time will do.
                Err(fault) => {
                    tracing::debug!(%fault, "the end of a partition is not known");
                    return;
                }
            }
        }
    }
}
