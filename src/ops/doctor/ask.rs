//! Asks everybody: the host, the configuration, the registry, the queue and the endpoint of `auth.http`. The only part of this that waits for anything.
//!
//! Bounded: what does not answer in time is described as that.

use super::{Endpoint, Node, Question, Queue, Registry, Report, examine, tuned};
use crate::{
    bridge::{
        callout::probe::of_nobody,
        queue::{self, probe::site},
        store::{self, probe::masters},
    },
    clock::Clock,
    config::{AuthMode, Config, KafkaBrokers, ProxyProtocol, RegistryUrl},
    ops::host::Host,
};
use std::{path::Path, sync::mpsc, thread, time::Duration};

/// How long the registry may take for each of its servers; a node's own time-out where that is shorter.
const REGISTRY_WITHIN: Duration = Duration::from_secs(2);
/// How long a broker may take.
const QUEUE_WITHIN: Duration = Duration::from_secs(3);
/// For each of them, with names that are looked up.
const ALL_WITHIN: Duration = Duration::from_secs(6);

/// What to ask of whom.
pub struct Asked<'a> {
    /// As [`Question::connections`].
    pub connections: Option<u64>,
    /// As [`Question::balancer_addresses`].
    pub balancer_addresses: Option<u64>,
    /// As [`Question::process`].
    pub process: Option<u32>,
    /// What stands in for `/`.
    pub root: &'a Path,
    /// The node's.
    pub config: &'a Config,
}

/// Asks, and judges.
pub fn ask(asked: &Asked<'_>) -> Report {
    let tuned = tuned::settings();
    let host = Host::read(asked.root, asked.process, tuned.iter().map(|setting| setting.name.as_str()));
    let (registry, queue, endpoint) = thread::scope(|scope| {
        let queue = scope.spawn(|| queue_of(asked.config));
        let endpoint = scope.spawn(|| endpoint_of(asked.config));
        (registry_of(asked.config), queue.join().unwrap_or(None), endpoint.join().unwrap_or(None))
    });
    examine(&Question {
        connections: asked.connections,
        balancer_addresses: asked.balancer_addresses,
        process: asked.process,
        host: &host,
        tuned: &tuned,
        node: &node_of(asked.config),
        registry: registry.as_ref(),
        queue: queue.as_ref(),
        endpoint: endpoint.as_ref(),
    })
}

fn node_of(config: &Config) -> Node {
    let connections = config.limits.connections;
    Node {
        connections: (connections != usize::MAX).then_some(connections as u64),
        shards: config.node.shards as u64,
        listen: config.clients.listen.clone(),
        internal: config.internal.listen,
        is_behind_balancer: config.clients.proxy_protocol != ProxyProtocol::Off,
        memory_percent: config.limits.memory_percent.into(),
        buffer_bytes: config.limits.buffer_bytes as u64,
    }
}

fn registry_of(config: &Config) -> Option<Registry> {
    let RegistryUrl::Redis(target) = &config.registry.url else { return None };
    let settings = store::Settings {
        ca_file: config.registry.ca_file.clone(),
        timeout: REGISTRY_WITHIN.min(Duration::from_millis(config.registry.timeout_ms)),
        ..store::Settings::new(target.clone())
    };
    Some(in_time(move || masters(&settings, &Clock::start())))
}

fn queue_of(config: &Config) -> Option<Queue> {
    let kafka = &config.kafka;
    let KafkaBrokers::At(brokers) = &kafka.brokers else { return None };
    let password = kafka.password.iter().map(|it| ("sasl.password".to_owned(), it.reveal().to_owned()));
    let settings = queue::Settings {
        properties: kafka.properties.iter().cloned().chain(password).collect(),
        ..queue::Settings::new(brokers, &kafka.group, &config.node.id)
    };
    let names = config.lanes.iter().map(|(_, lane)| lane.name.to_string());
    Some(Queue {
        site: in_time(move || site(&settings, QUEUE_WITHIN)),
        lanes: names.zip(kafka.topics.iter().cloned()).collect(),
        written: [&kafka.status_topic, &kafka.dead_letter, &kafka.events_topic]
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
        session_timeout_ms: kafka.session_timeout_ms,
    })
}

fn endpoint_of(config: &Config) -> Option<Endpoint> {
    let http = config.auth.http.clone();
    let in_flight = http.in_flight as u64;
    let is_asked = config.auth.modes.contains(&AuthMode::Http);
    is_asked.then(|| Endpoint { of_nobody: in_time(move || of_nobody(&http, &Clock::start())), in_flight })
}

/// The answer of something that may look up names, which has no time-out of its own. What is late goes on by itself until
/// the program ends.
fn in_time<T: Send + 'static>(ask: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    let (answer, answered) = mpsc::channel();
    let spawned = thread::Builder::new().spawn(move || answer.send(ask()));
    spawned.map_err(|fault| format!("no thread to ask with: {fault}"))?;
    answered
        .recv_timeout(ALL_WITHIN)
        .unwrap_or_else(|_| Err(format!("no answer within {} s", ALL_WITHIN.as_secs())))
}
