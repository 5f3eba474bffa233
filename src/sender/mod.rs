//! The push library: messages for users, through Kafka or over the internal port of a node.
//!
//! Owns what a sender needs on its side: bounded queues, counts, and word of what was dropped. Knows nothing of who is
//! connected where.
//!
//! # Two ways
//!
//! [`Sender::kafka`] is the one for most: it goes on while nodes come and go, and takes as much as Kafka does. What became of a
//! message for each device is told by the status topic (`kafka.status_topic`), not here. [`Sender::direct`] asks a node, and can
//! wait for the outcomes.
//!
//! # Fire and forget
//!
//! [`Sender::send`] never waits. What finds no room comes back at once, as does what no node could read. What is dropped
//! later is counted, and told to who asked with [`Sender::on_dropped`].
//!
//! ```no_run
//! use holdfast::sender::{KafkaSettings, Message, Sender};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sender = Sender::kafka(KafkaSettings::new("kafka-1:9092,kafka-2:9092"))?
//!     .on_dropped(|dropped| eprintln!("for {}: {}", dropped.message.user, dropped.why));
//! sender.send(Message::text("ann", "hello"))?;
//! sender.send(
//!     Message::json("bob", r#"{"unread":3}"#)
//!         .lane("high")
//!         .device("phone")
//!         .ttl(Duration::from_secs(600))
//!         .id("m-1")
//!         .collapse("unread"),
//! )?;
//! let left = sender.flush(Duration::from_secs(10));
//! println!("{:?}, {left} still on their way", sender.counters());
//! # Ok(())
//! # }
//! ```
//!
//! # With the outcome
//!
//! ```no_run
//! use holdfast::{model::Outcome, sender::{Delivery, Message, Sender}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sender = Sender::direct("http://127.0.0.1:7008", Some("token of role send"))?;
//! if let Delivery::Outcomes(outcomes) = sender.deliver(&Message::text("ann", "hello"))? {
//!     let written = outcomes.devices.iter().filter(|one| one.outcome == Outcome::Written).count();
//!     println!("{written} of {} devices", outcomes.devices.len());
//! }
//! # Ok(())
//! # }
//! ```

mod direct;
pub(crate) mod http;
mod kafka;
mod ledger;
mod message;

pub use crate::model::{Body, Outcome};
pub use kafka::KafkaSettings;
pub use message::{Message, Wait, parse_line};

use direct::Direct;
use kafka::Kafka;
use ledger::Ledger;
use serde::{Serialize, Serializer};
use std::{fmt, sync::Arc, time::Duration};

/// See the module. Share it between threads; it has threads of its own. Dropping it waits at most some seconds for what is
/// on its way: [`Sender::flush`] first.
pub struct Sender {
    way: Way,
    ledger: Arc<Ledger>,
}

enum Way {
    Kafka(Kafka),
    Direct(Direct),
}

impl Sender {
    /// Through Kafka. Connects by itself: brokers that are away are waited for, each message no longer than
    /// [`KafkaSettings::timeout`].
    ///
    /// # Errors
    /// When a setting is not valid, or there is no thread left.
    pub fn kafka(settings: KafkaSettings) -> Result<Self, Invalid> {
        let ledger = Arc::<Ledger>::default();
        Ok(Self { way: Way::Kafka(Kafka::start(settings, ledger.clone())?), ledger })
    }

    /// Over the internal port of a node, `http://HOST:PORT`, with a token of role `send` where the node wants one. At most
    /// 65,536 messages and 64 MiB wait; a node that cannot be reached is asked again for 30 s.
    ///
    /// # Errors
    /// When that is no address, or there is no thread left.
    pub fn direct(url: &str, token: Option<&str>) -> Result<Self, Invalid> {
        let ledger = Arc::<Ledger>::default();
        Ok(Self { way: Way::Direct(Direct::start(url, token, ledger.clone())?), ledger })
    }

    /// From now on tells of each message of [`Sender::send`] that is dropped, on a thread of the sender's: be quick. It may
    /// send, but neither flush nor deliver. A second call changes nothing.
    #[must_use]
    pub fn on_dropped(self, heard: impl Fn(Dropped) + Send + Sync + 'static) -> Self {
        self.ledger.listen(Box::new(heard));
        self
    }

    /// Takes a message, and returns at once. Messages for one user in one lane keep their order.
    ///
    /// # Errors
    /// The message, when there is no room for it or no node could read it: nothing more comes of it.
    pub fn send(&self, message: Message) -> Result<(), Dropped> {
        let refused = |message: Box<Message>, why| {
            self.ledger.refuse();
            Err(Dropped { message, why })
        };
        if let Err(why) = message.check() {
            return refused(message.into(), why);
        }
        let sent = match &self.way {
            Way::Kafka(kafka) => kafka.send(message),
            Way::Direct(direct) => direct.send(message),
        };
        sent.or_else(|message| refused(message, SendError::Full))
    }

    /// Sends a message, and waits: until Kafka has it, on as many replicas as the topic demands, or for its outcomes.
    ///
    /// # Errors
    /// When it was not taken, or nobody knows. That it is for nobody who is connected is no error.
    pub fn deliver(&self, message: &Message) -> Result<Delivery, SendError> {
        self.deliver_and_wait(message, &Wait::default())
    }

    /// The same, and says what to wait for. Through Kafka there is nothing to choose.
    ///
    /// # Errors
    /// As [`Sender::deliver`]; and when Kafka is asked for what it cannot tell.
    pub fn deliver_and_wait(&self, message: &Message, wait: &Wait) -> Result<Delivery, SendError> {
        message.check()?;
        match &self.way {
            Way::Kafka(_) if *wait != Wait::default() => Err(SendError::Invalid(
                "Kafka tells outcomes by the status topic: send directly to wait".into(),
            )),
            Way::Kafka(kafka) => {
                kafka.deliver(message).map(|()| Delivery::Queued { topic: kafka.topic(message) })
            }
            Way::Direct(direct) => direct.deliver(message, wait).map(Delivery::Outcomes),
        }
    }

    /// Waits until nothing is on its way, or that long. How many still are.
    pub fn flush(&self, timeout: Duration) -> u64 {
        self.ledger.wait(timeout)
    }

    /// What has been counted since the start.
    pub fn counters(&self) -> Counters {
        self.ledger.counters()
    }
}

/// What has been counted since the start: `sent = delivered + dropped + in_flight`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Taken by the sender.
    pub sent: u64,
    /// Kafka has it; directly: a device has it.
    pub delivered: u64,
    /// It came to nothing, or nobody knows.
    pub dropped: u64,
    /// On its way.
    pub in_flight: u64,
    /// Not taken by the sender in the first place.
    pub refused: u64,
}

/// A message that comes to nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a message for {} is dropped: {why}", .message.user)]
pub struct Dropped {
    /// As it was given.
    pub message: Box<Message>,
    /// Why.
    pub why: SendError,
}

/// Why a message is not delivered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// Too many are on their way: slow down, or do without.
    #[error("too many messages are on their way")]
    Full,
    /// No node could read it.
    #[error("{0}")]
    Invalid(String),
    /// Its life was over before it left.
    #[error("its life was over before it could leave")]
    Expired,
    /// Nobody was reached who could take it.
    #[error("{0}")]
    Unreachable(String),
    /// The node's or Kafka's words.
    #[error("{0}")]
    Refused(String),
    /// Nobody knows: it may have been delivered.
    #[error("{0}; it may have been delivered")]
    NoAnswer(String),
    /// Directly: no device has it. Empty: none is connected.
    #[error("{}", outcomes_text(.0))]
    Undelivered(Vec<DeviceOutcome>),
    /// The sender ended first. What was just on its way may have been delivered.
    #[error("the sender ended before it was taken")]
    Ended,
}

/// What has become of a message that was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// Kafka has it; its outcomes come by the status topic.
    Queued {
        /// Where.
        topic: String,
    },
    /// The outcomes.
    Outcomes(Outcomes),
}

/// A node's answer for one message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Outcomes {
    /// The sender's, or the one that the node drew.
    pub id: Option<String>,
    /// One for each device; none: nobody is connected.
    #[serde(rename = "outcomes")]
    pub devices: Vec<DeviceOutcome>,
    /// The registry could not be asked: there may be others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

impl Outcomes {
    /// Whether a device has the message, now or from before.
    pub fn is_delivered(&self) -> bool {
        let has = [Outcome::Written, Outcome::Acked, Outcome::Duplicate];
        self.devices.iter().any(|one| has.contains(&one.outcome))
    }
}

/// What became of a message for one device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DeviceOutcome {
    /// The device.
    pub device: Option<String>,
    /// What became of it there.
    #[serde(serialize_with = "label")]
    pub outcome: Outcome,
    /// The node that holds the connection.
    pub node: Option<String>,
    /// The node's region, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl fmt::Display for DeviceOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.device.as_deref().unwrap_or("-"), self.outcome.label())
    }
}

fn outcomes_text(devices: &[DeviceOutcome]) -> String {
    let each: Vec<String> = devices.iter().map(ToString::to_string).collect();
    if each.is_empty() { "the user is not connected".into() } else { each.join(", ") }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn label<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.label())
}

/// A sender cannot be started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Invalid {
    /// With words for a person.
    #[error("{0}")]
    Settings(String),
}
