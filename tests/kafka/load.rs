//! Messages that are counted into Kafka: each has a number of its own, which it carries as a header and as its last word,
//! and a place in the sequence of its user and lane.

use crate::lanes::LANES;
use rdkafka::{
    ClientConfig, ClientContext, Message,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The header with a message's number.
pub const NUMBER: &str = "number";
/// Numbers from here on are of messages that a test counts itself.
pub const FOREIGN: u64 = 1_000_000;
/// How long a message may take to come to a broker that is killed and started again.
const DELIVERY: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(10);

/// Where a record stands.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Place {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// One message.
#[derive(Clone, Debug)]
pub struct Produced {
    pub number: u64,
    pub user: String,
    /// The number of its lane.
    pub lane: usize,
    /// From 1, of its user and lane.
    pub sequence: u64,
    /// The header `id`, where it has one.
    pub id: Option<String>,
    /// As the broker has said; None: the broker may have it or not.
    pub place: Option<Place>,
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// What brokers have said of each message, by number.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<HashMap<usize, Result<Place, String>>>>);

impl ClientContext for Answers {
    /// It says a lot of brokers that come and go.
    fn error(&self, _: KafkaError, _: &str) {}
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
}

impl ProducerContext for Answers {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let place = match result {
            Ok(it) => {
                Ok(Place { topic: it.topic().to_owned(), partition: it.partition(), offset: it.offset() })
            }
            Err((fault, _)) => Err(fault.to_string()),
        };
        self.0.lock().unwrap().insert(number, place);
    }
}

/// Someone who produces what a test says.
pub struct Source {
    producer: ThreadedProducer<Answers>,
    answers: Answers,
}

impl Source {
    pub fn new(brokers: &str) -> Self {
        Self::with(brokers, Answers::default())
    }

    fn with(brokers: &str, answers: Answers) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            // What is sent again after an error neither comes twice nor overtakes anything.
            .set("enable.idempotence", "true")
            .set("linger.ms", "2")
            .set("message.timeout.ms", DELIVERY.as_millis().to_string())
            .set("message.max.bytes", "8000000")
            .set("reconnect.backoff.max.ms", "300")
            .create_with_context(answers.clone())
            .unwrap();
        Self { producer, answers }
    }

    /// Hands a record to the library, which answers by its number.
    pub fn send(
        &self,
        number: u64,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) {
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
        let mut record = BaseRecord::with_opaque_to(topic, number as usize).headers(headers);
        record.key = key;
        record.payload = value;
        while let Err((fault, back)) = self.producer.send(record) {
            assert_eq!(fault.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{fault}");
            record = back;
            thread::sleep(TICK);
        }
    }

    /// Waits until every record has an answer; gives those that have a place, by number.
    pub fn places(&self) -> HashMap<u64, Place> {
        self.producer.flush(DELIVERY).unwrap();
        let answers = self.answers.0.lock().unwrap();
        answers.iter().filter_map(|(number, it)| Some((*number as u64, it.as_ref().ok()?.clone()))).collect()
    }
}

/// See the module.
pub struct Load {
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    flow: Option<JoinHandle<()>>,
}

struct Shared {
    brokers: String,
    /// The topic of each lane.
    topics: [String; 3],
    users: usize,
    made: Mutex<Made>,
}

struct Made {
    source: Source,
    /// The number of the first message.
    first: u64,
    messages: Vec<Produced>,
    sequences: HashMap<(usize, usize), u64>,
}

impl Load {
    /// For so many users, called as those of [`crate::traffic::Traffic`].
    pub fn new(brokers: &str, topics: [String; 3], users: usize) -> Self {
        Self::numbered(brokers, topics, users, 1)
    }

    /// The same with another number of the first message.
    pub fn numbered(brokers: &str, topics: [String; 3], users: usize, first: u64) -> Self {
        let (messages, sequences) = (Vec::new(), HashMap::new());
        let made = Made { source: Source::new(brokers), first, messages, sequences };
        let shared = Shared { brokers: brokers.to_owned(), topics, users, made: Mutex::new(made) };
        Self { shared: Arc::new(shared), stop: Arc::default(), flow: None }
    }

    /// Produces so many messages a second from now on, to all users and lanes in turn.
    pub fn flow(&mut self, rate: usize) {
        let (shared, stop) = (self.shared.clone(), self.stop.clone());
        self.flow = Some(thread::spawn(move || {
            let (began, mut sent) = (Instant::now(), 0);
            while !stop.load(Relaxed) {
                let due = (began.elapsed().as_secs_f64() * rate as f64) as usize;
                (sent..due).for_each(|_| shared.next());
                sent = due;
                thread::sleep(TICK);
            }
        }));
    }

    /// Produces so many at once, to all users and lanes in turn.
    pub fn burst(&self, count: usize) {
        (0..count).for_each(|_| self.shared.next());
    }

    /// Produces so many at once in one lane, to all users in turn.
    pub fn burst_in(&self, lane: usize, count: usize) {
        (0..count).for_each(|at| self.shared.make(at % self.shared.users, lane));
    }

    /// The number of the next message.
    pub fn next_number(&self) -> u64 {
        self.shared.made.lock().unwrap().next_number()
    }

    /// Ends the flow, if there is one, and waits until brokers have answered. It may flow again.
    pub fn rest(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(flow) = self.flow.take() {
            flow.join().unwrap();
        }
        self.stop.store(false, Relaxed);
        self.shared.made.lock().unwrap().source.places();
    }

    /// Goes on as another producer: to a topic that was made anew, the same one does not write any more.
    pub fn renew(&mut self) {
        self.rest();
        let mut made = self.shared.made.lock().unwrap();
        made.source = Source::with(&self.shared.brokers, made.source.answers.clone());
    }

    /// All that was produced so far, with what brokers have said by now.
    pub fn produced(&self) -> Vec<Produced> {
        let made = self.shared.made.lock().unwrap();
        let (places, mut messages) = (made.source.places(), made.messages.clone());
        messages.iter_mut().for_each(|message| message.place = places.get(&message.number).cloned());
        messages
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

impl Made {
    fn next_number(&self) -> u64 {
        self.first + self.messages.len() as u64
    }
}

impl Shared {
    fn next(&self) {
        let at = self.made.lock().unwrap().messages.len();
        self.make(at % self.users, at / self.users % LANES.len());
    }

    fn make(&self, user: usize, lane: usize) {
        // Held while it is handed over, so that the sequence is the order in the topic.
        let mut made = self.made.lock().unwrap();
        let (number, name) = (made.next_number(), format!("load-{user}"));
        let sequence = made.sequences.entry((user, lane)).or_default();
        *sequence += 1;
        let sequence = *sequence;
        let value = format!("{name} {} {sequence} {number}", LANES[lane]);
        let (text, id) = (number.to_string(), user.is_multiple_of(2).then(|| format!("m-{number}")));
        let mut headers = vec![(NUMBER, text.as_bytes())];
        headers.extend(id.as_ref().map(|id| ("id", id.as_bytes())));
        made.source.send(number, &self.topics[lane], Some(name.as_bytes()), Some(value.as_bytes()), &headers);
        made.messages.push(Produced { number, user: name, lane, sequence, id, place: None });
    }
}
