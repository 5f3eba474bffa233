//! What is told of messages: a status record for each outcome, a dead letter for what cannot be read.
//!
//! Owns reports until Kafka has them. A record's offset is not committed before its reports have arrived, so that a crash
//! loses none; but once Kafka has refused one, reports are not waited for until one arrives again: a status topic that
//! cannot be written must not stop deliveries. What is lost then is counted.

use super::ledger::{Ledgers, Place};
use crate::{
    bridge::queue::{Header, NoRoom, Partition, Produce, Record, Request},
    kit::mutant::Mutant,
    model::Outcome,
    stats::NodeStats,
};
use bytes::Bytes;
use serde::Serialize;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// See the module. Bounded by the records whose offsets are not committed.
pub struct Reports {
    node: String,
    region: String,
    status_topic: Option<String>,
    dead_letter: Option<String>,
    stats: Arc<NodeStats>,
    next_id: u64,
    /// Whose reports are on their way; None: they are not waited for.
    sent: HashMap<u64, Option<Place>>,
    /// Those that found no room.
    unsent: VecDeque<Produce>,
    /// The last answer was a refusal.
    is_refused: bool,
}

/// The value of a status record.
#[derive(Serialize)]
struct Status<'a> {
    id: Option<&'a str>,
    user: &'a str,
    device: Option<&'a str>,
    outcome: &'static str,
    node: Option<&'a str>,
    region: Option<&'a str>,
    lane: &'a str,
    topic: &'a str,
    partition: i32,
    offset: i64,
}

/// The message that a status is about.
pub struct About<'a> {
    /// Its record.
    pub place: Place,
    /// Where that stands.
    pub partition: &'a Partition,
    /// And at which place there.
    pub offset: i64,
    /// The lane's name.
    pub lane: &'a str,
    /// Whom it is for.
    pub user: &'a Bytes,
    /// The sender's name for it.
    pub id: Option<&'a str>,
    /// As produced.
    pub headers: &'a [Header],
}

/// Where the outcome was.
#[derive(Clone, Copy)]
pub enum At<'a> {
    /// There was no connection.
    Nowhere,
    /// At this node.
    Here,
    /// At another.
    Node {
        /// Its name.
        node: &'a str,
        /// Its region.
        region: &'a str,
    },
}

impl Reports {
    /// Of the node with this name and region.
    pub fn new(
        node: String,
        region: String,
        status_topic: Option<String>,
        dead_letter: Option<String>,
        stats: Arc<NodeStats>,
    ) -> Self {
        let (sent, unsent) = (HashMap::new(), VecDeque::new());
        Self { node, region, status_topic, dead_letter, stats, next_id: 0, sent, unsent, is_refused: false }
    }

    /// Whether there are statuses, for which a record's headers must be kept.
    pub fn wants_statuses(&self) -> bool {
        self.status_topic.is_some()
    }

    /// One outcome of a message.
    pub fn status(
        &mut self,
        ledgers: &mut Ledgers,
        about: &About<'_>,
        device: Option<&str>,
        outcome: Outcome,
        at: At<'_>,
    ) {
        let Some(topic) = self.status_topic.clone() else { return };
        let (node, region) = match at {
            At::Nowhere => (None, self.region.as_str()),
            At::Here => (Some(self.node.as_str()), self.region.as_str()),
            At::Node { node, region } => (Some(node), region),
        };
        let status = Status {
            id: about.id,
            // It was checked where it came in.
            user: std::str::from_utf8(about.user).unwrap_or_default(),
            device,
            outcome: outcome.label(),
            node,
            region: (!region.is_empty()).then_some(region),
            lane: about.lane,
            topic: &about.partition.topic,
            partition: about.partition.number,
            offset: about.offset,
        };
        // Strings and numbers have no way to fail.
        let value = serde_json::to_vec(&status).unwrap_or_default();
        let (key, value) = (Some(about.user.clone()), Some(value.into()));
        let produce = Produce { id: None, topic, key, value, headers: about.headers.to_vec() };
        self.send(ledgers, about.place, produce);
    }

    /// A record that cannot be read.
    pub fn dead_letter(&mut self, ledgers: &mut Ledgers, place: Place, record: &Record, why: &str) {
        let topic = self.dead_letter.clone().filter(|_| !Mutant::DeadLetterForgotten.is_on());
        let Some(topic) = topic else { return };
        let mut headers = record.headers.clone();
        let Partition { topic: from, number, .. } = &record.partition;
        for (name, value) in [
            ("holdfast-reason", why.to_owned()),
            ("holdfast-topic", from.to_string()),
            ("holdfast-partition", number.to_string()),
            ("holdfast-offset", record.offset.to_string()),
        ] {
            headers.push(Header::new(name, value));
        }
        let (key, value) = (record.key.clone(), record.value.clone());
        let produce = Produce { id: None, topic, key, value, headers };
        self.send(ledgers, place, produce);
    }

    /// A report has arrived, or never will.
    pub fn answered(&mut self, ledgers: &mut Ledgers, id: u64, result: Result<(), String>) {
        let Some(place) = self.sent.remove(&id) else { return };
        self.stats.kafka.report(result.is_ok());
        match result {
            Ok(()) if self.is_refused => {
                self.is_refused = false;
                tracing::info!("Kafka takes reports again");
            }
            Ok(()) => {}
            Err(cause) => self.refused(&cause),
        }
        if let Some(place) = place {
            ledgers.settle(place);
        }
    }

    /// Hands over what waits, as far as there is room.
    pub fn flush(&mut self, ledgers: &mut Ledgers, submit: &mut dyn FnMut(Request) -> Result<(), NoRoom>) {
        while let Some(produce) = self.unsent.pop_front() {
            let Err(NoRoom(produce)) = submit(Request::Produce(produce)) else { continue };
            if !self.is_refused && !Mutant::ReportLostWhenFull.is_on() {
                return self.unsent.push_front(*produce);
            }
            self.lose(ledgers, produce.id);
        }
    }

    /// Whether something waits for room.
    pub fn is_waiting(&self) -> bool {
        !self.unsent.is_empty()
    }

    fn send(&mut self, ledgers: &mut Ledgers, place: Place, produce: Produce) {
        let id = self.next_id;
        self.next_id += 1;
        if !self.is_refused {
            ledgers.owe(place);
        }
        self.sent.insert(id, (!self.is_refused).then_some(place));
        self.unsent.push_back(Produce { id: Some(id), ..produce });
    }

    fn refused(&mut self, cause: &str) {
        if !self.is_refused {
            tracing::warn!(cause, "Kafka refuses reports; deliveries go on without them");
        }
        self.is_refused = !Mutant::RefusedReportStillOwed.is_on();
    }

    fn lose(&mut self, ledgers: &mut Ledgers, id: Option<u64>) {
        self.stats.kafka.report(false);
        if let Some(Some(place)) = id.and_then(|id| self.sent.remove(&id)) {
            ledgers.settle(place);
        }
    }
}
