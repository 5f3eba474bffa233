//! What librdkafka tells the consumer's thread while that polls: rebalances, statistics, errors, its log.
//!
//! Notes it, and never acts: a rebalance is carried out by the loop, when the outcomes are in. Only while the consumer is
//! being closed, when nobody asks for the notes any more, is it carried out at once.

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};
use serde::Deserialize;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// See the module.
#[derive(Default)]
pub struct Context {
    notes: Mutex<Notes>,
    heard: AtomicBool,
    closing: AtomicBool,
}

/// What was told since the last look.
#[derive(Default)]
pub struct Notes {
    pub rebalances: VecDeque<Rebalance>,
    /// The last statistics.
    pub statistics: Option<Statistics>,
    /// Commits that have been answered.
    pub commits: usize,
    /// Errors, the last [`ERRORS_MAX`] of them.
    pub errors: VecDeque<(RDKafkaErrorCode, String)>,
}

const ERRORS_MAX: usize = 16;

/// What the group wants. The next one comes when this one has been carried out.
pub enum Rebalance {
    Assign(TopicPartitionList),
    Revoke { partitions: TopicPartitionList, lost: bool },
}

impl Context {
    /// What was told since the last look.
    pub fn take(&self) -> Notes {
        let notes = std::mem::take(&mut *self.notes());
        self.heard.store(false, Relaxed);
        notes
    }

    /// Whether anything at all was told since the last time: then there may be more.
    pub fn has_heard(&self) -> bool {
        self.heard.swap(false, Relaxed)
    }

    /// From now on rebalances are carried out at once.
    pub fn close(&self) {
        self.closing.store(true, Relaxed);
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.heard.store(true, Relaxed);
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.heard.store(true, Relaxed);
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(facility, "Kafka: {text}"),
            _ => tracing::debug!(facility, "Kafka: {text}"),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        match serde_json::from_slice(statistics) {
            Ok(statistics) => self.notes().statistics = Some(statistics),
            Err(fault) => tracing::warn!(%fault, "cannot read librdkafka's statistics"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut notes = self.notes();
        if notes.errors.len() == ERRORS_MAX {
            notes.errors.pop_front();
        }
        notes
            .errors
            .push_back((error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail), reason.to_owned()));
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assigns = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Relaxed) {
            // A refusal leaves the group as it is, which ends with the consumer.
            let _ = if assigns {
                consumer.incremental_assign(partitions)
            } else {
                consumer.incremental_unassign(partitions)
            };
            return;
        }
        let partitions = partitions.clone();
        let rebalance = if assigns {
            Rebalance::Assign(partitions)
        } else {
            Rebalance::Revoke { partitions, lost: consumer.assignment_lost() }
        };
        self.notes().rebalances.push_back(rebalance);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        self.notes().commits += 1;
        if let Err(fault) = result
            && fault.rdkafka_error_code() != Some(RDKafkaErrorCode::NoOffset)
        {
            tracing::debug!(%fault, "a commit failed; what it would have said is said by the next one");
        }
    }
}

/// The little that is read of librdkafka's statistics.
#[derive(Deserialize)]
pub struct Statistics {
    #[serde(default)]
    brokers: HashMap<String, Broker>,
    #[serde(default)]
    topics: HashMap<String, Topic>,
}

#[derive(Deserialize)]
struct Broker {
    state: String,
}

#[derive(Deserialize)]
struct Topic {
    partitions: HashMap<i32, Offsets>,
}

/// Below zero: unknown.
#[derive(Deserialize)]
struct Offsets {
    committed_offset: i64,
    stored_offset: i64,
    lo_offset: i64,
    hi_offset: i64,
}

impl Statistics {
    /// Whether a broker is connected.
    pub fn is_up(&self) -> bool {
        self.brokers.values().any(|broker| broker.state == "UP")
    }

    /// How far a partition is behind its end, which may have been seen elsewhere; None when that is not known.
    pub fn lag(&self, topic: &str, number: i32, end: Option<i64>) -> Option<u64> {
        let offsets = self.topics.get(topic)?.partitions.get(&number)?;
        let done = offsets.committed_offset.max(offsets.stored_offset).max(offsets.lo_offset);
        let end = offsets.hi_offset.max(end.unwrap_or(-1));
        (end >= 0).then(|| end.saturating_sub(done.max(0)).max(0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_counts_from_what_is_done_or_else_from_the_beginning() {
        let offsets = |committed: i64, stored: i64, low: i64, high: i64| {
            let text = format!(
                r#"{{"brokers":{{"a":{{"state":"DOWN"}}}},"topics":{{"t":{{"partitions":{{"-1":{{"committed_offset":-1001,
                "stored_offset":-1001,"lo_offset":-1001,"hi_offset":-1001}},"0":{{"committed_offset":{committed},
                "stored_offset":{stored},"lo_offset":{low},"hi_offset":{high},"more":1}}}}}}}}}}"#
            );
            serde_json::from_str::<Statistics>(&text).unwrap()
        };
        assert_eq!(offsets(10, 15, 0, 40).lag("t", 0, None), Some(25));
        assert_eq!(offsets(10, -1001, 0, 40).lag("t", 0, None), Some(30));
        assert_eq!(offsets(-1001, -1001, 5, 40).lag("t", 0, None), Some(35));
        assert_eq!(offsets(-1001, -1001, -1001, -1001).lag("t", 0, None), None);
        assert_eq!(offsets(10, -1001, 0, -1001).lag("t", 0, Some(12)), Some(2));
        assert_eq!(offsets(10, -1001, 0, 40).lag("t", 0, Some(12)), Some(30));
        assert_eq!(offsets(50, -1001, 0, 40).lag("t", 0, None), Some(0));
        assert_eq!(offsets(0, 0, 0, 0).lag("t", 1, None), None);
        assert!(!offsets(0, 0, 0, 0).is_up());
    }
}
