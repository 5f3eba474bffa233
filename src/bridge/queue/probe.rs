//! A look at Kafka from outside of a node: whether it answers, and which topics are there.
//!
//! Owns the question. Joins no group, reads no record, makes no topic. Bounded in time.

use super::{config, seam::Settings};
use rdkafka::{
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use std::{
    ops::RangeInclusive,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

/// What a broker says of the whole.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Site {
    /// `host:port` of each broker.
    pub brokers: Vec<String>,
    /// Topics, but those that are Kafka's own.
    pub topics: Vec<Topic>,
    /// Which session time-outs a broker lets members of a group have, ms; None: it does not say, or not to us.
    pub sessions_ms: Option<RangeInclusive<u64>>,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: usize,
    /// Copies of the partition that has the fewest.
    pub copies: usize,
    /// Partitions that no broker leads now: nothing can be read of them.
    pub leaderless: usize,
}

/// Asks any of the brokers.
///
/// # Errors
/// When a setting is refused or nobody answers in time, in words.
pub fn site(settings: &Settings, within: Duration) -> Result<Site, String> {
    let client = config::of_consumer(settings).map_err(|invalid| invalid.to_string())?;
    let client: BaseConsumer = client.create().map_err(|fault| config::refused(&fault).to_string())?;
    let metadata = client.fetch_metadata(None, within).map_err(|fault| match fault.rdkafka_error_code() {
        Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::OperationTimedOut) => {
            format!("no broker of {} answers within {} s", settings.brokers, within.as_secs())
        }
        _ => words(&fault),
    })?;
    let topics = metadata.topics().iter().filter(|topic| !topic.name().starts_with("__"));
    let topic = |topic: &rdkafka::metadata::MetadataTopic| Topic {
        name: topic.name().to_owned(),
        partitions: topic.partitions().len(),
        copies: topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0),
        leaderless: topic.partitions().iter().filter(|partition| partition.leader() < 0).count(),
    };
    let broker = metadata.brokers().first().map(rdkafka::metadata::MetadataBroker::id);
    Ok(Site {
        sessions_ms: broker.and_then(|broker| sessions(settings, broker, within)),
        brokers: metadata
            .brokers()
            .iter()
            .map(|broker| format!("{}:{}", broker.host(), broker.port()))
            .collect(),
        topics: topics.map(topic).collect(),
    })
}

fn sessions(settings: &Settings, broker: i32, within: Duration) -> Option<RangeInclusive<u64>> {
    let admin: AdminClient<DefaultClientContext> = config::of_producer(settings).ok()?.create().ok()?;
    let options = AdminOptions::new().request_timeout(Some(within));
    let asked = [ResourceSpecifier::Broker(broker)];
    let answer = wait(admin.describe_configs(&asked, &options)).ok()?;
    let resource = answer.into_iter().next()?.ok()?;
    let entries = resource.entry_map();
    let number = |name: &str| entries.get(name)?.value.as_ref()?.parse::<u64>().ok();
    Some(number("group.min.session.timeout.ms")?..=number("group.max.session.timeout.ms")?)
}

/// Waits for what librdkafka bounds in time.
fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}

fn words(fault: &KafkaError) -> String {
    match fault {
        KafkaError::MetadataFetch(code) => code.to_string(),
        other => other.to_string(),
    }
}
