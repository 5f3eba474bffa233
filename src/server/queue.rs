//! The node's part in the queue: the embedded broker, where there is one, and the thread that takes messages from the lanes.
//!
//! Owns how they are put together from the configuration.

use super::Common;
use crate::{
    bridge::{
        Router,
        events::{About, EventMail, EventsThread},
        processor::{Intake, ProcessorThread, Settings, ThreadSettings},
        queue::{self, Bounds, Embedded, Invalid},
    },
    config::{Config, KafkaBrokers, Secret},
};
use foldhash::fast::RandomState;
use std::{sync::Arc, time::Duration};

/// How long the start waits for the embedded broker to give this node its partitions.
const EMBEDDED_WITHIN: Duration = Duration::from_secs(10);

/// What a node has of the queue.
#[derive(Default)]
pub(super) struct QueuePart {
    /// None: this node takes no messages from it.
    pub processor: Option<ProcessorThread>,
    /// None: nobody is told who comes and goes.
    pub events: Option<EventsThread>,
    /// After its clients, which end first.
    pub embedded: Option<Embedded>,
}

/// The mailbox for who comes and goes, where that is to be told.
pub(super) fn event_mail(config: &Config) -> Option<EventMail> {
    let is_told = config.kafka.events_topic.is_some() && config.kafka.brokers != KafkaBrokers::None;
    is_told.then(EventMail::default)
}

/// Starts what the configuration asks for.
///
/// # Errors
/// When a setting is refused, or there is no thread left, or the embedded broker does not start.
pub(super) fn start(
    common: &Common,
    router: &Arc<Router>,
    collapse_seed: RandomState,
    events: Option<EventMail>,
) -> Result<QueuePart, Invalid> {
    let config = &common.config;
    let (brokers, embedded) = match &config.kafka.brokers {
        KafkaBrokers::None => return Ok(QueuePart::default()),
        KafkaBrokers::At(brokers) => (brokers.clone(), None),
        KafkaBrokers::Embedded => {
            let topics = topics(config);
            let embedded = Embedded::start(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
            common.stats.kafka.set_embedded(embedded.address());
            (embedded.address().to_owned(), Some(embedded))
        }
    };
    let queue = settings(config, brokers, embedded.is_some());
    let events = events.map(|mail| start_events(common, &queue, router, mail)).transpose()?;
    if !config.kafka.process {
        return Ok(QueuePart { processor: None, events, embedded });
    }
    let settings = ThreadSettings {
        queue,
        core: Settings {
            node: config.node.id.clone(),
            region: config.node.region.clone(),
            retry_ms: config.kafka.retry_ms,
            status_topic: config.kafka.status_topic.clone(),
            brakes: common.brakes.clone(),
            dead_letter: config.kafka.dead_letter.clone(),
            intake: Intake {
                lanes: config.lanes.clone(),
                push_bytes: config.limits.push_bytes,
                collapse_seed,
            },
        },
    };
    let processor = ProcessorThread::spawn(settings, router.clone(), common.stats.clone(), common.clock)?;
    if let Some(embedded) = &embedded {
        if !processor.wait_for_share(EMBEDDED_WITHIN) {
            return Err(Invalid::Refused("the embedded broker does not answer".to_owned()));
        }
        tracing::info!(
            kafka = embedded.address(),
            topics = topics(config).join(" "),
            "the queue is a broker inside this process, for trying out: any Kafka client of this host can use it; it keeps the \
             last 5 MiB of each partition, in memory, and is gone with the process"
        );
    }
    Ok(QueuePart { processor: Some(processor), events, embedded })
}

fn start_events(
    common: &Common,
    queue: &queue::Settings,
    router: &Arc<Router>,
    mail: EventMail,
) -> Result<EventsThread, Invalid> {
    let config = &common.config;
    let about = About {
        topic: config.kafka.events_topic.clone().unwrap_or_default(),
        node: config.node.id.clone(),
        region: config.node.region.clone(),
    };
    EventsThread::spawn(mail, queue, about, router.clone(), common.stats.clone(), common.clock)
}

impl QueuePart {
    /// Where the embedded broker listens.
    pub fn address(&self) -> Option<&str> {
        self.embedded.as_ref().map(Embedded::address)
    }

    /// The password has changed.
    pub fn set_password(&self, password: &Secret) {
        self.processor.iter().for_each(|processor| processor.set_password(password.reveal()));
        self.events.iter().for_each(|events| events.set_password(password.reveal()));
    }

    /// Whether other members of the group have what this node had, or there was none to give.
    pub fn has_left(&self) -> bool {
        self.processor.as_ref().is_none_or(ProcessorThread::has_left)
    }
}

/// The topics of an embedded broker: those to which senders write by default, and those which this node writes.
fn topics(config: &Config) -> Vec<String> {
    let lanes = config.lanes.iter().map(|(_, lane)| format!("push.{}", lane.name));
    let told = [&config.kafka.status_topic, &config.kafka.dead_letter, &config.kafka.events_topic];
    lanes.chain(told.into_iter().flatten().cloned()).collect()
}

fn settings(config: &Config, brokers: String, is_embedded: bool) -> queue::Settings {
    let kafka = &config.kafka;
    let defaults = match is_embedded {
        true => queue::Settings::embedded(&brokers, &kafka.group, &config.node.id),
        false => queue::Settings::new(&brokers, &kafka.group, &config.node.id),
    };
    let password = kafka.password.iter().map(|it| ("sasl.password".to_owned(), it.reveal().to_owned()));
    queue::Settings {
        topics: kafka.topics.clone(),
        properties: kafka.properties.iter().cloned().chain(password).collect(),
        session_timeout_ms: u32::try_from(kafka.session_timeout_ms).unwrap_or(u32::MAX),
        bounds: Bounds {
            in_flight_max: kafka.in_flight,
            uncommitted_max: kafka.in_flight.saturating_mul(8),
            share: kafka.share,
            ..Bounds::default()
        },
        ..defaults
    }
}
