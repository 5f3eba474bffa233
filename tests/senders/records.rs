//! What lies in Kafka's topics, read by the node's own consumer.

use bytes::Bytes;
use holdfast::bridge::queue::{Bounds, Embedded, Header, Output, Produce, Producer, Queue, Record, Settings};
use std::{
    collections::BTreeMap,
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

pub const PATIENCE: Duration = Duration::from_secs(30);

/// The embedded broker, with the topics of the lanes.
pub fn broker() -> Embedded {
    Embedded::start(&["push.high", "push.normal", "push.low"]).unwrap()
}

/// A record, as a test compares it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: String,
    pub value: Vec<u8>,
    pub headers: BTreeMap<String, String>,
}

impl Seen {
    fn of(record: Record) -> Self {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let header = |header: &Header| (text(&header.name), text(header.value.as_ref().unwrap()));
        Self {
            topic: record.partition.topic.to_string(),
            partition: record.partition.number,
            offset: record.offset,
            key: text(record.key.as_ref().unwrap()),
            value: record.value.unwrap().to_vec(),
            headers: record.headers.iter().map(header).collect(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Takes the header `expires` out, and says how far off that is.
    pub fn take_life(&mut self) -> Duration {
        let expires: u64 = self.headers.remove("expires").unwrap().parse().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Duration::from_millis(expires).checked_sub(now).unwrap()
    }
}

pub fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Reads all lanes from the beginning.
pub struct Reader {
    _queue: Queue,
    records: Receiver<Record>,
}

impl Reader {
    pub fn of(broker: &str) -> Self {
        Self::with(Settings::embedded(broker, "reader", "reader"))
    }

    /// Reads other topics than the lanes'.
    pub fn of_topics(broker: &str, pattern: &str) -> Self {
        Self::with(Settings {
            topics: vec![pattern.to_owned()],
            ..Settings::embedded(broker, "reader", "reader")
        })
    }

    fn with(mut settings: Settings) -> Self {
        let (found, records) = mpsc::channel();
        // It says of nothing that it is done.
        settings.bounds = Bounds { in_flight_max: 1 << 20, uncommitted_max: 1 << 20, ..settings.bounds };
        let queue = Queue::start(&settings, move |output| {
            if let Output::Batch { records, .. } = output {
                // Nobody listens any more at the end of a test.
                records.into_iter().for_each(|record| drop(found.send(record)));
            }
        });
        Self { _queue: queue.unwrap(), records }
    }

    /// The next so many, those of a partition in their order.
    pub fn next(&self, count: usize) -> Vec<Seen> {
        let deadline = Instant::now() + PATIENCE;
        let next = |at: usize| {
            let left = deadline.saturating_duration_since(Instant::now());
            let record = self.records.recv_timeout(left);
            Seen::of(record.unwrap_or_else(|_| panic!("waited in vain for record {at} of {count}")))
        };
        (0..count).map(next).collect()
    }

    /// The same, by topic and key.
    pub fn next_sorted(&self, count: usize) -> Vec<Seen> {
        let mut seen = self.next(count);
        seen.sort_by(|a, b| (&a.topic, &a.key).cmp(&(&b.topic, &b.key)));
        seen
    }

    pub fn assert_silent(&self) {
        assert_eq!(self.records.recv_timeout(Duration::from_millis(300)).ok().map(Seen::of), None);
    }
}

/// Writes a record, and waits until it is there.
pub fn produce(broker: &str, topic: &str, key: &str, value: &str, headers: &[(&str, &str)]) {
    let (told, results) = mpsc::channel();
    let producer = Producer::start(&Settings::embedded(broker, "", "source"), move |output| {
        if let Output::Produced { result, .. } = output {
            told.send(result).unwrap();
        }
    });
    let own = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let record = Produce {
        id: Some(1),
        topic: topic.to_owned(),
        key: Some(own(key)),
        value: Some(own(value)),
        headers: headers.iter().map(|(name, value)| Header::new(own(name), own(value))).collect(),
    };
    let producer = producer.unwrap();
    producer.submit(&record).unwrap();
    results.recv_timeout(PATIENCE).unwrap().unwrap();
}
