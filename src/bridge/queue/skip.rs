//! Where a lane goes on that is told to leave out what is old.

use super::context::Context;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use std::{collections::HashMap, time::Duration};

/// One partition's jump, always forward.
pub struct Jump {
    pub topic: String,
    pub number: i32,
    pub from: i64,
    pub to: i64,
}

/// Asks Kafka, and waits for the answers so long each. `next`: where each partition is, as far as that is known here.
pub fn find(
    kafka: &BaseConsumer<Context>,
    next: &HashMap<(String, i32), Option<i64>>,
    before_ms: i64,
    at_most: Duration,
) -> Result<Vec<Jump>, KafkaError> {
    let (mut unknown, mut times) = (TopicPartitionList::new(), TopicPartitionList::new());
    for ((topic, number), next) in next {
        times.add_partition_offset(topic, *number, Offset::Offset(before_ms))?;
        if next.is_none() {
            unknown.add_partition(topic, *number);
        }
    }
    let mut committed = HashMap::new();
    if unknown.count() > 0 {
        committed = kafka.committed_offsets(unknown, at_most)?.to_topic_map();
    }
    // The ends first: what comes after them is not old, whatever the brokers say of the times.
    let mut ends = HashMap::new();
    for (topic, number) in next.keys() {
        ends.insert((topic.clone(), *number), kafka.fetch_watermarks(topic, *number, at_most)?);
    }
    let mut jumps = Vec::new();
    for ((topic, number), found) in kafka.offsets_for_times(times, at_most)?.to_topic_map() {
        let place = (topic, number);
        let Some(&(low, high)) = ends.get(&place) else { continue };
        let from = next.get(&place).copied().flatten();
        let from = from.or_else(|| committed.get(&place).and_then(|offset| known(*offset))).unwrap_or(low);
        // None is that young: all are left out.
        let to = known(found).unwrap_or(high);
        if to > from {
            jumps.push(Jump { topic: place.0, number, from, to });
        }
    }
    Ok(jumps)
}

fn known(offset: Offset) -> Option<i64> {
    match offset {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}
