//! What passes between the queue and those above it: plain values, so that a fake can stand in for Kafka.
//!
//! Owns settings, requests, records and events. Never acts.

use crate::model::Lane;
use bytes::Bytes;
use std::sync::Arc;

/// What a queue must know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port`, several with commas.
    pub brokers: String,
    /// The consumer group.
    pub group: String,
    /// This node's id, its identity in the group: a node that comes back within [`Self::session_timeout_ms`] has its
    /// partitions as before, without a rebalance.
    pub node: String,
    /// One regular expression for each lane, highest first; each begins with `^`. A topic that fits several is the highest's.
    pub topics: Vec<String>,
    /// More properties of librdkafka, such as those of SASL and TLS. They do not prevail over what this module's contract
    /// rests on: the brokers, the group, the node, the assignment and who stores offsets. TLS, and SASL but for PLAIN, need
    /// a build with the feature `kafka-tls`.
    pub properties: Vec<(String, String)>,
    /// How long a broker may hold a fetch for which it has nothing, ms. A real broker answers as soon as there is
    /// something; the embedded one always takes that long.
    pub fetch_wait_ms: u32,
    /// After which silence the group takes a member for dead, ms: what a node that is killed costs.
    pub session_timeout_ms: u32,
    /// See there.
    pub bounds: Bounds,
}

impl Settings {
    /// For brokers outside, with the lanes and topics of the default configuration.
    pub fn new(brokers: &str, group: &str, node: &str) -> Self {
        let topic = |lane: &str| format!(r"^([a-z0-9-]+\.)?push\.{lane}$");
        Self {
            brokers: brokers.to_owned(),
            group: group.to_owned(),
            node: node.to_owned(),
            topics: ["high", "normal", "low"].map(topic).into(),
            properties: Vec::new(),
            fetch_wait_ms: 100,
            session_timeout_ms: 10_000,
            bounds: Bounds::default(),
        }
    }

    /// The same for the embedded broker.
    pub fn embedded(brokers: &str, group: &str, node: &str) -> Self {
        Self { fetch_wait_ms: 10, ..Self::new(brokers, group, node) }
    }
}

/// What is bounded, and by how much.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Records of one lane that are handed over and not yet finished ([`Request::Finished`]); beyond it the lane is not
    /// read. At 150,000 a second 8,192 are 55 ms.
    pub in_flight_max: usize,
    /// Records of one lane that are handed over and not yet done ([`Request::Done`]), finished or not: what is delivered
    /// again after a kill. Beyond it the lane is not read.
    pub uncommitted_max: usize,
    /// Records in one hand-over.
    pub batch_max: usize,
    /// Of 100 records that higher lanes get, how many each lower lane gets nevertheless. 0 to 50.
    pub share: u32,
    /// Records of one lane that are fetched ahead, KiB. The fetching itself stops there.
    pub fetched_kib_max: u32,
    /// How long a revoke waits for outcomes, ms. What has none by then is delivered again by the next holder.
    pub revoke_ms: u32,
    /// How often offsets are committed, ms.
    pub commit_ms: u32,
    /// Records that wait to be produced.
    pub produce_max: u32,
    /// The same in KiB.
    pub produce_kib_max: u32,
    /// How long a record may wait to be produced, ms; then its result is an error.
    pub produce_ms: u32,
}

impl Bounds {
    /// Records of a lane that must find room before one that was full takes any: else every few outcomes would bring as few
    /// records, and wake each thread on their way.
    pub fn room_least(in_flight_max: usize, batch_max: usize) -> usize {
        (in_flight_max / 16).min(batch_max / 2).max(1)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            in_flight_max: 8_192,
            uncommitted_max: 65_536,
            batch_max: 1_000,
            share: 10,
            fetched_kib_max: 16_384,
            revoke_ms: 5_000,
            commit_ms: 1_000,
            produce_max: 100_000,
            produce_kib_max: 65_536,
            produce_ms: 30_000,
        }
    }
}

/// A partition of a topic, for one time that it is held here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Partition {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its number.
    pub number: i32,
    /// Tells the times apart that it is held here: what is said of an earlier one counts for nothing, as its records are
    /// delivered again, or are those of a topic that has been deleted.
    pub term: u32,
}

impl Partition {
    /// Whether they are equal, where most often they share their topic's name.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.number, self.term) == (other.number, other.term)
            && (Arc::ptr_eq(&self.topic, &other.topic) || self.topic == other.topic)
    }
}

/// One record of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Where it stands.
    pub partition: Partition,
    /// And at which place there. Places may be missing between two records.
    pub offset: i64,
    /// When it was made, or came to the broker, ms since 1970.
    pub timestamp_ms: Option<i64>,
    /// As produced: any bytes.
    pub key: Option<Bytes>,
    /// As produced.
    pub value: Option<Bytes>,
    /// In the order of the producer.
    pub headers: Vec<Header>,
}

/// A header of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Need not be UTF-8. In a record to be written what is not becomes U+FFFD.
    pub name: Bytes,
    /// As produced.
    pub value: Option<Bytes>,
}

impl Header {
    /// One with a value.
    pub fn new(name: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { name: name.into(), value: Some(value.into()) }
    }
}

/// What can be asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Everything in the partition up to here has its outcome: the offset may be committed, which gives back room in
    /// [`Bounds::uncommitted_max`] and nowhere else. One for the last of a run does for all of it. Of a partition that is
    /// not held any more it counts for nothing.
    Done {
        /// Where.
        partition: Partition,
        /// The last one's.
        offset: i64,
    },
    /// So many more records of the partition have their outcome, in whatever order: gives back room in
    /// [`Bounds::in_flight_max`]. What is revoked or lost gives it back by itself.
    Finished {
        /// Where. If it is not held any more, it counts for nothing.
        partition: Partition,
        /// How many; each is told once.
        records: usize,
    },
    /// Nothing more will be done in what [`Output::Revoked`] took away.
    Released {
        /// As it said.
        revocation: u64,
    },
    /// Nothing more of it is delivered, until it is resumed; what was handed over before is not taken back. A lane stays
    /// paused through rebalances, a partition until it is revoked.
    Pause(Lane),
    /// Ends a pause.
    Resume(Lane),
    /// Goes on behind all that is older; with the embedded broker, which knows no times, behind all there is. Never goes
    /// back. Answered by [`Event::Skipped`] for each partition held.
    Skip {
        /// The lane.
        lane: Lane,
        /// ms since 1970.
        before_ms: i64,
    },
    /// Hands everything back and leaves the group, so that others go on at once; [`Event::Left`] follows.
    Leave,
    /// Comes back after [`Self::Leave`], whether or not that has been carried out; if it has not, [`Event::Left`] may never
    /// come. [`Output::Assigned`] follows in its time.
    Join,
    /// Writes a record. Answered with [`Output::Produced`] if it has an id.
    Produce(Produce),
}

/// A record to be written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Produce {
    /// The caller's own, less than `u64::MAX`; None: the answer is only counted.
    pub id: Option<u64>,
    /// The topic.
    pub topic: String,
    /// Records of one key keep their order.
    pub key: Option<Bytes>,
    /// The record; None for one without a value, which is not the same as an empty one.
    pub value: Option<Bytes>,
    /// Those with a zero byte in their name are left out.
    pub headers: Vec<Header>,
}

/// What the queue delivers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Records of one lane, those of a partition in their order.
    Batch {
        /// The lane.
        lane: Lane,
        /// At least one.
        records: Vec<Record>,
    },
    /// These are held now. Records of them may follow. It also follows at once when a partition is lost because it begins
    /// anew, as its topic was deleted and made again.
    Assigned {
        /// With the lane of each.
        partitions: Vec<(Lane, Partition)>,
    },
    /// These are to be given back: no record of them follows, and [`Request::Released`] is waited for.
    Revoked {
        /// For [`Request::Released`].
        revocation: u64,
        /// Which.
        partitions: Vec<Partition>,
        /// They are lost already: another member may hold them, or their topic was deleted; nothing is committed, and
        /// nothing is waited for.
        lost: bool,
    },
    /// How far behind the partitions held here are, from what is done to the end, as of the last fetch of each. Every second.
    Lag {
        /// The lane.
        lane: Lane,
        /// Offsets, which are no less than the messages.
        messages: u64,
    },
    /// What became of a [`Produce`].
    Produced {
        /// Its id.
        id: u64,
        /// An error's text is for a log.
        result: Result<(), String>,
    },
    /// Something has happened.
    Event(Event),
}

/// Something that has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A broker is connected: the first one, or one again.
    Up,
    /// No broker is connected any more. Nothing needs to be done about it.
    Down,
    /// For a log.
    Error {
        /// What.
        cause: String,
        /// Consumption, or producing, has ended for good: another member came with this node's id, say. The cause says which.
        fatal: bool,
    },
    /// To [`Request::Skip`].
    Skipped {
        /// Where.
        partition: Partition,
        /// The next one would have been this.
        from: i64,
        /// It is this now.
        to: i64,
    },
    /// To [`Request::Leave`]: nothing is held any more, and the group knows.
    Left,
}

/// Too many records wait to be produced; see [`Bounds::produce_max`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many records wait for Kafka")]
pub struct Full;

/// The same of a [`Queue`](super::Queue), with the record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many records wait for Kafka")]
pub struct NoRoom(pub Box<Produce>);

/// A queue cannot be started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Invalid {
    /// A pattern of topics is no regular expression, or does not begin with `^`.
    #[error("not a pattern of topics: {0}")]
    Pattern(String),
    /// librdkafka does not know a property, or not its value.
    #[error("the Kafka property {name:?} is refused: {cause}")]
    Property {
        /// Which.
        name: String,
        /// Its value does not stand here if it is a secret.
        cause: String,
    },
    /// librdkafka refuses what the settings come to.
    #[error("Kafka's settings are refused: {0}")]
    Refused(String),
    /// The host has no thread left.
    #[error("cannot start a thread: {0}")]
    Thread(String),
}
