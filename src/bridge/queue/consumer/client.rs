//! librdkafka's client with its queues, and its lists of partitions.

use crate::bridge::queue::{Inbox, batch::LaneQueue, context::Context, seam::Partition};
use rdkafka::{ClientConfig, TopicPartitionList, consumer::BaseConsumer, error::KafkaError};
use std::sync::Arc;

/// A client that has not subscribed yet, with its queues.
pub fn connect(
    config: &ClientConfig,
    lanes: usize,
    batch_max: usize,
    inbox: &Inbox,
) -> Result<(Arc<BaseConsumer<Context>>, Vec<LaneQueue>), KafkaError> {
    let mut kafka: BaseConsumer<Context> = config.create_with_context(Context::default())?;
    let signal = inbox.signal.clone();
    kafka.set_nonempty_callback(move || signal.raise());
    let kafka = Arc::new(kafka);
    let lanes = (0..lanes).map(|_| LaneQueue::new(&kafka, batch_max, &inbox.signal)).collect();
    Ok((kafka, lanes))
}

/// Topic and number of each.
pub fn each(partitions: &TopicPartitionList) -> Vec<(String, i32)> {
    partitions.elements().iter().map(|it| (it.topic().to_owned(), it.partition())).collect()
}

/// Without offsets.
pub fn list(partitions: &[Partition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, partition.number);
    }
    list
}
