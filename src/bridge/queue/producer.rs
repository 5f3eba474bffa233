//! Records out: statuses, dead letters, what clients send up, what a sender sends.
//!
//! Never blocks: what does not fit librdkafka's own bounded queue is refused. Records of one key keep their order.

use super::{
    Deliver, config, password,
    seam::{Event, Full, Invalid, Output, Produce, Settings},
};
use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};
use std::{sync::Arc, time::Duration};

/// A producer, with or without a consumer beside it. Dropped, it waits at most 2 s for what has not left yet; the results
/// of what is left then are never told.
pub struct Producer {
    kafka: ThreadedProducer<Answers>,
    /// Whose the password is.
    username: Option<String>,
}

const FAREWELL: Duration = Duration::from_secs(2);

impl Producer {
    /// Starts one by itself, which connects by itself. Of the settings it takes the brokers, the node as its name, the
    /// properties and the bounds on producing. `deliver` is told [`Output::Produced`] and [`Event::Error`] on a thread of
    /// the producer's, and within [`Self::submit`] of a record that can never be sent; it should be quick.
    ///
    /// # Errors
    /// When the settings are not valid.
    pub fn start(
        settings: &Settings,
        deliver: impl Fn(Output) + Send + Sync + 'static,
    ) -> Result<Self, Invalid> {
        Self::with(settings, Answers { deliver: Arc::new(deliver), is_alone: true })
    }

    /// One of a queue, whose consumer says what happens to the brokers.
    pub(super) fn beside_consumer(settings: &Settings, deliver: Deliver) -> Result<Self, Invalid> {
        Self::with(settings, Answers { deliver, is_alone: false })
    }

    fn with(settings: &Settings, answers: Answers) -> Result<Self, Invalid> {
        let config = config::of_producer(settings)?;
        let kafka = config.create_with_context(answers).map_err(|fault| config::refused(&fault))?;
        Ok(Self { kafka, username: config.get(password::USERNAME).map(str::to_owned) })
    }

    /// As [`super::Queue::set_password`].
    pub fn set_password(&self, password: &str) {
        let Some(username) = &self.username else { return };
        if let Err(cause) = password::set(self.kafka.client(), username, password) {
            let cause = format!("the new password is refused: {cause}");
            (self.kafka.context().deliver)(Output::Event(Event::Error { cause, fatal: false }));
        }
    }

    /// Takes a copy of a record; never waits.
    ///
    /// # Errors
    /// [`Full`] when there is no room: nothing will be delivered for it.
    pub fn submit(&self, produce: &Produce) -> Result<(), Full> {
        let answers = self.kafka.context();
        // Zero for none: the opaque value is a pointer's width, and one more than the id.
        let opaque = produce.id.map_or(0, |id| (id as usize).saturating_add(1));
        let mut record = BaseRecord::with_opaque_to(&produce.topic, opaque);
        if !produce.headers.is_empty() {
            record = record.headers(headers(produce));
        }
        if let Some(key) = &produce.key {
            record = record.key(&key[..]);
        }
        if let Some(value) = &produce.value {
            record = record.payload(&value[..]);
        }
        match self.kafka.send::<[u8], [u8]>(record) {
            Ok(()) => Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Err(Full),
            Err((fault, _)) => {
                answers.answer(opaque, Err(fault.to_string()));
                Ok(())
            }
        }
    }

    /// Waits until every record has its result, at most so long. Tells how many have none.
    pub fn flush(&self, at_most: Duration) -> usize {
        // The error says that time is up, which the number does, too.
        let _ = self.kafka.flush(at_most);
        self.in_flight()
    }

    /// How many records have no result yet.
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.kafka.in_flight_count()).unwrap_or(0)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.flush(FAREWELL);
    }
}

fn headers(produce: &Produce) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(produce.headers.len());
    for header in produce.headers.iter().filter(|header| !header.name.contains(&0)) {
        let key = &String::from_utf8_lossy(&header.name);
        headers = headers.insert(Header { key, value: header.value.as_deref() });
    }
    headers
}

/// Where the results go.
struct Answers {
    deliver: Deliver,
    is_alone: bool,
}

impl Answers {
    fn answer(&self, opaque: usize, result: Result<(), String>) {
        if let Some(id) = opaque.checked_sub(1) {
            (self.deliver)(Output::Produced { id: id as u64, result });
        }
    }
}

impl ClientContext for Answers {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(facility, "Kafka: {text}");
    }

    /// The consumer beside it says the same of the same brokers, but not that the producer has ended.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "Kafka: {reason}");
        let fatal = error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal);
        if self.is_alone || fatal {
            (self.deliver)(Output::Event(Event::Error { cause: reason.to_owned(), fatal }));
        }
    }
}

impl ProducerContext for Answers {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        self.answer(opaque, result.as_ref().map(|_| ()).map_err(|(fault, _)| fault.to_string()));
    }
}
