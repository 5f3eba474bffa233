//! Records out: statuses, dead letters, what clients send up.
//!
//! Never blocks: what does not fit librdkafka's own bounded queue is refused. Records of one key keep their order.

use super::{
    Deliver, Tallies,
    seam::{Full, Invalid, Output, Produce, Settings},
};
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// See the module.
pub struct Producer(ThreadedProducer<Answers>);

/// How long the end waits for what has not left yet.
const FAREWELL: Duration = Duration::from_secs(2);

impl Producer {
    /// Connects by itself, with the first record.
    pub fn start(settings: &Settings, deliver: Deliver, tallies: Arc<Tallies>) -> Result<Self, Invalid> {
        let mut config = ClientConfig::new();
        let bounds = &settings.bounds;
        config
            .set("client.id", format!("holdfast-{}", settings.node))
            .set("linger.ms", "5")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", bounds.produce_max.to_string())
            .set("message.timeout.ms", bounds.produce_ms.to_string())
            .set("enable.idempotence", "true")
            .set("reconnect.backoff.max.ms", "2000");
        for (name, value) in settings.properties.iter().filter(|(name, _)| is_common(name)) {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &settings.brokers);
        let producer = config.create_with_context(Answers { deliver, tallies });
        producer.map(Self).map_err(|fault: KafkaError| Invalid::Refused(fault.to_string()))
    }

    /// Takes a record.
    pub fn submit(&self, produce: Produce) -> Result<(), Full> {
        let answers = self.0.context();
        let mut headers = OwnedHeaders::new_with_capacity(produce.headers.len());
        for (name, value) in produce.headers.iter().filter(|(name, _)| !name.contains('\0')) {
            headers = headers.insert(Header { key: name, value: Some(&value[..]) });
        }
        // Zero for none: the opaque value is a pointer's width, and one more than the id.
        let opaque = produce.id.map_or(0, |id| id as usize + 1);
        let mut record =
            BaseRecord::with_opaque_to(&produce.topic, opaque).payload(&produce.value[..]).headers(headers);
        if let Some(key) = &produce.key {
            record = record.key(&key[..]);
        }
        match self.0.send::<[u8], [u8]>(record) {
            Ok(()) => Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                answers.tallies.unproduced.fetch_add(1, Relaxed);
                Err(Full)
            }
            Err((fault, _)) => {
                answers.answer(opaque, Err(fault.to_string()));
                Ok(())
            }
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // What is late stays unsaid: its answer has nobody to go to.
        let _ = self.0.flush(FAREWELL);
    }
}

/// What a producer does not know is a warning of librdkafka's in the log, and means nothing.
fn is_common(name: &str) -> bool {
    ![
        "session.",
        "heartbeat.",
        "fetch.",
        "group.",
        "auto.",
        "queued.",
        "partition.",
        "isolation.",
        "max.poll.",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}

/// Where the results go.
struct Answers {
    deliver: Deliver,
    tallies: Arc<Tallies>,
}

impl Answers {
    fn answer(&self, opaque: usize, result: Result<(), String>) {
        let tally = if result.is_ok() { &self.tallies.produced } else { &self.tallies.unproduced };
        tally.fetch_add(1, Relaxed);
        if let Some(id) = opaque.checked_sub(1) {
            (self.deliver)(Output::Produced { id: id as u64, result });
        }
    }
}

impl ClientContext for Answers {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(facility, "Kafka: {text}");
    }

    /// The consumer says the same of the same brokers.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "Kafka: {reason}");
    }
}

impl ProducerContext for Answers {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        self.answer(opaque, result.as_ref().map(|_| ()).map_err(|(fault, _)| fault.to_string()));
    }
}
