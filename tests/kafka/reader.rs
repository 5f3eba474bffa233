//! Reads all of a topic, as someone beside the fleet does: what became of messages, and what nobody could read.

use crate::{
    lanes::lane_of,
    load::{NUMBER, Place},
    node::{PATIENCE, until},
};
use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    message::Headers,
};
use serde_json::Value;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

const LOOK: Duration = Duration::from_millis(20);

/// A record as it is.
#[derive(Clone, Debug)]
pub struct Read {
    pub place: Place,
    pub at_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// What a record of the status topic says.
#[derive(Clone, Debug)]
pub struct Report {
    /// Of the message, from its own header.
    pub number: u64,
    pub id: Option<String>,
    pub user: String,
    pub device: Option<String>,
    pub outcome: String,
    pub node: Option<String>,
    pub region: Option<String>,
    pub lane: usize,
    /// Of the message.
    pub place: Place,
    /// When it was made.
    pub at_ms: i64,
}

impl Read {
    /// A header's text, where it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(it, _)| it == name)?;
        std::str::from_utf8(value).ok()
    }

    /// The number of the message.
    pub fn number(&self) -> u64 {
        let number = self.header(NUMBER).unwrap_or_else(|| panic!("no number: {self:?}"));
        number.parse().unwrap()
    }

    /// As a record of the status topic, whose form is checked.
    pub fn report(&self) -> Report {
        let value: Value = serde_json::from_slice(self.value.as_deref().expect("a value")).unwrap();
        let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected =
            ["id", "user", "device", "outcome", "node", "region", "lane", "topic", "partition", "offset"];
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected, "{value}");
        let text = |name: &str| match &value[name] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => panic!("{name} is {other}"),
        };
        let user = text("user").expect("a user");
        assert_eq!(self.key.as_deref(), Some(user.as_bytes()), "the key is the user: {value}");
        Report {
            number: self.number(),
            id: text("id"),
            device: text("device"),
            outcome: text("outcome").expect("an outcome"),
            node: text("node"),
            region: text("region"),
            lane: lane_of(&text("lane").expect("a lane")),
            place: Place {
                topic: text("topic").expect("a topic"),
                partition: value["partition"].as_i64().expect("a partition") as i32,
                offset: value["offset"].as_i64().expect("an offset"),
            },
            at_ms: self.at_ms,
            user,
        }
    }
}

/// See the module.
pub struct Reader {
    records: Arc<Mutex<Vec<Read>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Hears nothing of brokers that come and go.
pub struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, _: KafkaError, _: &str) {}
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
}

impl ConsumerContext for Quiet {}

/// A consumer of these topics from their beginnings, which belongs to no group. Waits until they are there.
pub fn consumer(brokers: &str, topics: &[String]) -> BaseConsumer<Quiet> {
    let consumer: BaseConsumer<Quiet> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "20")
        .set("reconnect.backoff.max.ms", "300")
        .create_with_context(Quiet)
        .unwrap();
    let mut list = TopicPartitionList::new();
    for topic in topics {
        let partitions = until(topic, || {
            let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).ok()?;
            let partitions = metadata.topics().first()?.partitions().len();
            (partitions > 0).then_some(partitions)
        });
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition as i32, Offset::Beginning).unwrap();
        }
    }
    consumer.assign(&list).unwrap();
    consumer
}

/// How many records of these topics a group has yet to commit.
pub fn uncommitted(brokers: &str, group: &str, topics: &[String]) -> i64 {
    let consumer: BaseConsumer<Quiet> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .create_with_context(Quiet)
        .unwrap();
    let mut list = TopicPartitionList::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition(topic, partition.id());
        }
    }
    let left = |topic: &str, partition: i32, committed: Offset| {
        let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
        if let Offset::Offset(at) = committed { end - at } else { end }
    };
    let list = consumer.committed_offsets(list, PATIENCE).unwrap();
    list.elements().iter().map(|it| left(it.topic(), it.partition(), it.offset())).sum()
}

impl Reader {
    /// From the beginning of a topic.
    pub fn start(brokers: &str, topic: &str) -> Self {
        let (records, stop): (Arc<Mutex<Vec<Read>>>, Arc<AtomicBool>) = Default::default();
        let (all, stops) = (records.clone(), stop.clone());
        let (brokers, topics) = (brokers.to_owned(), [topic.to_owned()]);
        let thread = thread::spawn(move || {
            let consumer = consumer(&brokers, &topics);
            while !stops.load(Relaxed) {
                // Errors are of brokers that come and go.
                if let Some(Ok(message)) = consumer.poll(LOOK) {
                    all.lock().unwrap().push(read(&message));
                }
            }
        });
        Self { records, stop, thread: Some(thread) }
    }

    /// All that has come so far.
    pub fn records(&self) -> Vec<Read> {
        self.records.lock().unwrap().clone()
    }

    /// How many have come.
    pub fn count(&self) -> usize {
        self.records.lock().unwrap().len()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has panicked: the test has failed already, or does so by what is missing.
            let _ = thread.join();
        }
    }
}

/// A record in plain values.
pub fn read(message: &impl Message) -> Read {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|it| (it.key.to_owned(), it.value.unwrap_or_default().to_vec())).collect()
    });
    Read {
        place: Place {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
        },
        at_ms: message.timestamp().to_millis().unwrap_or(0),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}
