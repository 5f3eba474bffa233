//! Through Kafka: a record of the lane's topic, keyed by the user.
//!
//! librdkafka's queue is the only one: bounded in records, bytes and time. What is kept here is who wants to hear of which.

use super::{Dropped, Invalid, Message, SendError, ledger::Ledger, message::check_label};
use crate::{
    bridge::queue::{Bounds, Full, Output, Produce, Producer, Settings},
    clock::Clock,
    config::Secret,
};
use bytes::Bytes;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};

/// How a [`Sender`](super::Sender) reaches Kafka.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// `host:port`, several with commas.
    pub brokers: String,
    /// The lane of messages that name none.
    pub lane: String,
    /// A region, where topics are called `REGION.push.LANE`; empty: `push.LANE`. For those who produce into another
    /// region's topics by hand: a mirror sets it by itself.
    pub prefix: String,
    /// Properties of librdkafka, such as `security.protocol` and `sasl.username`.
    pub properties: Vec<(String, String)>,
    /// `sasl.password`.
    pub password: Option<Secret>,
    /// How long Kafka may take to have a message; then it is dropped.
    pub timeout: Duration,
    /// Messages that are on their way; one more is refused.
    pub in_flight_max: u32,
    /// The same in KiB.
    pub in_flight_kib_max: u32,
}

impl KafkaSettings {
    /// With lane `normal`, no prefix, a timeout of 30 s, 100,000 messages and 64 MiB.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            lane: "normal".into(),
            prefix: String::new(),
            properties: Vec::new(),
            password: None,
            timeout: Duration::from_secs(30),
            in_flight_max: 100_000,
            in_flight_kib_max: 65_536,
        }
    }

    fn queue(&self) -> Settings {
        let mut properties = vec![
            // As Java's clients place keys. With librdkafka's own default, messages for one user would go to two
            // partitions when they come from two kinds of senders, and their order would be lost.
            ("partitioner".to_owned(), "murmur2_random".to_owned()),
        ];
        properties.extend(self.properties.iter().cloned());
        let password = self.password.iter();
        properties.extend(password.map(|it| ("sasl.password".into(), it.reveal().into())));
        let bounds = Bounds {
            produce_max: self.in_flight_max.max(1),
            produce_kib_max: self.in_flight_kib_max.max(1),
            produce_ms: u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX).clamp(1, 2_147_483_647),
            ..Bounds::default()
        };
        Settings { properties, bounds, ..Settings::new(&self.brokers, "", "sender") }
    }

    fn check(&self) -> Result<(), Invalid> {
        check_label(&self.lane).map_err(|why| Invalid::Settings(format!("the lane {why}")))?;
        if self.prefix.is_empty() {
            return Ok(());
        }
        check_label(&self.prefix).map_err(|why| Invalid::Settings(format!("the prefix {why}")))
    }
}

/// See the module.
pub(super) struct Kafka {
    /// None: it has ended.
    producer: Option<Producer>,
    shared: Arc<Shared>,
    settings: KafkaSettings,
    clock: Clock,
}

/// What the producer's thread has to know, too.
struct Shared {
    ledger: Arc<Ledger>,
    /// Those whose fate somebody wants to hear.
    pending: Mutex<HashMap<u64, Pending>>,
    next: AtomicU64,
    /// What is not taken now is not, as the sender has ended.
    ends: AtomicBool,
}

enum Pending {
    /// The caller waits.
    Waited(mpsc::SyncSender<Result<(), SendError>>),
    /// For who hears of what is dropped.
    Kept(Box<Message>),
}

/// Of all that nobody asks for: they are only counted.
const COUNTED: u64 = 0;
/// How much longer than the settings' time an answer may take.
const GRACE: Duration = Duration::from_secs(5);

impl Kafka {
    pub fn start(settings: KafkaSettings, ledger: Arc<Ledger>) -> Result<Self, Invalid> {
        settings.check()?;
        let shared = Arc::new(Shared {
            ledger,
            pending: Mutex::default(),
            next: AtomicU64::new(COUNTED + 1),
            ends: AtomicBool::new(false),
        });
        let hears = shared.clone();
        let producer = Producer::start(&settings.queue(), move |output| {
            if let Output::Produced { id, result } = output {
                hears.settle(id, result);
            }
        });
        let producer = producer.map_err(|fault| Invalid::Settings(fault.to_string()))?;
        Ok(Self { producer: Some(producer), shared, settings, clock: Clock::start() })
    }

    /// Takes a message that was checked; it comes back when there is no room.
    pub fn send(&self, message: Message) -> Result<(), Box<Message>> {
        let shared = &self.shared;
        shared.ledger.enter();
        let record = self.record(&message);
        let id = if shared.ledger.is_heard() {
            shared.enter(Pending::Kept(message.clone().into()))
        } else {
            COUNTED
        };
        self.submit(&Produce { id: Some(id), ..record }).map_err(|Full| message.into())
    }

    /// Waits until Kafka has it.
    pub fn deliver(&self, message: &Message) -> Result<(), SendError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.shared.ledger.enter();
        let id = self.shared.enter(Pending::Waited(answer));
        let record = Produce { id: Some(id), ..self.record(message) };
        self.submit(&record).map_err(|Full| SendError::Full)?;
        let late = |_| SendError::NoAnswer("Kafka did not answer in time".into());
        answered.recv_timeout(self.settings.timeout.saturating_add(GRACE)).map_err(late)?
    }

    /// The topic of a message's lane.
    pub fn topic(&self, message: &Message) -> String {
        let lane = message.lane.as_deref().unwrap_or(&self.settings.lane);
        match self.settings.prefix.as_str() {
            "" => format!("push.{lane}"),
            prefix => format!("{prefix}.push.{lane}"),
        }
    }

    fn record(&self, message: &Message) -> Produce {
        Produce {
            id: None,
            topic: self.topic(message),
            key: Some(Bytes::copy_from_slice(message.user.as_bytes())),
            value: Some(message.body.bytes().clone()),
            headers: message.headers(self.clock.now().unix_ms),
        }
    }

    fn submit(&self, record: &Produce) -> Result<(), Full> {
        let id = record.id;
        let submitted = match &self.producer {
            Some(producer) => producer.submit(record),
            None => Err(Full),
        };
        if submitted.is_err() {
            if let Some(id) = id {
                self.shared.pending().remove(&id);
            }
            self.shared.ledger.take_back();
        }
        submitted
    }
}

impl Drop for Kafka {
    /// Gives what is on its way two more seconds; the rest is dropped, and said so.
    fn drop(&mut self) {
        self.shared.ends.store(true, Relaxed);
        self.producer = None;
        let left = std::mem::take(&mut *self.shared.pending());
        for pending in left.into_values() {
            self.shared.settle_one(Some(pending), Err(SendError::Ended));
        }
    }
}

impl Shared {
    fn enter(&self, pending: Pending) -> u64 {
        let id = self.next.fetch_add(1, Relaxed);
        self.pending().insert(id, pending);
        id
    }

    fn settle(&self, id: u64, result: Result<(), String>) {
        let pending = if id == COUNTED { None } else { self.pending().remove(&id) };
        let ends = self.ends.load(Relaxed);
        let why = |cause| if ends { SendError::Ended } else { SendError::Refused(cause) };
        self.settle_one(pending, result.map_err(why));
    }

    fn settle_one(&self, pending: Option<Pending>, result: Result<(), SendError>) {
        let dropped = match (pending, &result) {
            (Some(Pending::Kept(message)), Err(why)) => Some(Dropped { message, why: why.clone() }),
            (Some(Pending::Waited(answer)), result) => {
                // One that waits no longer has been told that nobody knows.
                let _ = answer.try_send(result.clone());
                None
            }
            _ => None,
        };
        match result {
            Ok(()) => self.ledger.deliver(),
            Err(_) => self.ledger.drop_one(dropped),
        }
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
