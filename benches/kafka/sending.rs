//! Messages for every user in turn, into a topic of Kafka: many at once, which nobody sees before they are shown, or at a rate.

use crate::{
    connecting::user,
    message::{self, LENGTH, Said},
    outcome::Outcome,
};
use holdfast::bridge::queue::{Produce, Producer as PushProducer, Settings};
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use std::{
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// How often something is sent at a rate.
const TICK: Duration = Duration::from_millis(1);

/// Where messages go, and for whom they are.
#[derive(Clone)]
pub struct Stream {
    pub brokers: String,
    pub topic: String,
    /// A letter.
    pub lane: u8,
    pub users: u32,
}

impl Stream {
    /// The message at this place of the stream: neighbours are for different users.
    fn said(&self, at: u64, sent_us: u64) -> Said {
        let users = u64::from(self.users);
        // Prime, and no divisor of a round number: all users come by before one comes again.
        let user = (at % users * 7_919 % users) as u32;
        Said { user, number: (at / users) as u32, sent_us, lane: self.lane }
    }

    /// Writes the first messages within a transaction.
    pub fn hide(&self, count: u64) -> Outcome<Hidden> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("transactional.id", &self.topic)
            .set("transaction.timeout.ms", "300000")
            .set("message.timeout.ms", "60000")
            .set("compression.type", "lz4")
            .set("linger.ms", "20")
            .set("queue.buffering.max.messages", "200000");
        let producer: ThreadedProducer<DefaultProducerContext> = config.create()?;
        producer.init_transactions(PATIENCE)?;
        producer.begin_transaction()?;
        for at in 0..count {
            let (said, mut text) = (self.said(at, 0), [0; LENGTH]);
            message::write(said, &mut text);
            let key = user(said.user);
            let mut record = BaseRecord::to(&self.topic).key(&key).payload(&text[..]);
            while let Err((fault, back)) = producer.send(record) {
                if fault != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(fault.into());
                }
                thread::sleep(TICK);
                record = back;
            }
        }
        producer.flush(PATIENCE)?;
        Ok(Hidden { producer, count })
    }

    /// Sends so many a second, from this place of the stream on, as the push library does. `began`: what times in messages count
    /// from. Tells how many.
    pub fn send(
        &self,
        from: u64,
        rate: f64,
        began: Instant,
        mut goes_on: impl FnMut() -> bool,
    ) -> Outcome<u64> {
        let mut settings = Settings::new(&self.brokers, "none", "sender");
        settings.properties.push(("linger.ms".to_owned(), "20".to_owned()));
        let producer = PushProducer::start(&settings, |_| {})?;
        let (first, mut sent) = (Instant::now(), 0);
        while goes_on() {
            let due = (first.elapsed().as_secs_f64() * rate) as u64;
            while sent < due {
                let (said, mut text) =
                    (self.said(from + sent, began.elapsed().as_micros() as u64), [0; LENGTH]);
                message::write(said, &mut text);
                let produce = Produce {
                    id: None,
                    topic: self.topic.clone(),
                    key: Some(user(said.user).into()),
                    value: Some(text.to_vec().into()),
                    headers: Vec::new(),
                };
                producer.submit(&produce)?;
                sent += 1;
            }
            thread::sleep(TICK);
        }
        match producer.flush(PATIENCE) {
            0 => Ok(sent),
            left => Err(format!("{left} messages were not sent").into()),
        }
    }
}

/// Messages that are in Kafka, and that nobody sees yet.
pub struct Hidden {
    producer: ThreadedProducer<DefaultProducerContext>,
    pub count: u64,
}

impl Hidden {
    /// Everybody sees them, from now on and all at once.
    pub fn show(self) -> Outcome<()> {
        Ok(self.producer.commit_transaction(PATIENCE)?)
    }
}
