//! librdkafka's configuration: the settings' own properties first, and over them what the queue's contract rests on.

use super::seam::{Invalid, Settings};
use rdkafka::{ClientConfig, error::KafkaError};

/// What nobody may set, as the contract rests on it, with librdkafka's other names for the same.
const RESERVED: &[&str] = &[
    "auto.commit.enable",
    "bootstrap.servers",
    "client.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "statistics.interval.ms",
    "transactional.id",
];

/// Beginnings of what only a consumer knows. To a producer it means nothing, but for a warning in the log.
const OF_CONSUMER: &[&str] = &[
    "auto.",
    "check.crcs",
    "fetch.",
    "group.",
    "heartbeat.",
    "isolation.",
    "max.partition.fetch",
    "max.poll.",
    "queued.",
    "session.",
];

/// The same of a producer.
const OF_PRODUCER: &[&str] = &[
    "acks",
    "batch.",
    "compression.",
    "delivery.",
    "linger.",
    "message.send.",
    "message.timeout.",
    "partitioner",
    "queue.buffering.",
    "request.required.",
    "request.timeout.",
    "retries",
    "sticky.",
];

/// Of a consumer.
pub fn of_consumer(settings: &Settings) -> Result<ClientConfig, Invalid> {
    let bounds = &settings.bounds;
    let mut config = ClientConfig::new();
    config
        .set("session.timeout.ms", settings.session_timeout_ms.to_string())
        .set("heartbeat.interval.ms", (settings.session_timeout_ms / 4).to_string())
        .set("max.poll.interval.ms", "60000")
        .set("auto.commit.interval.ms", bounds.commit_ms.to_string())
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", settings.fetch_wait_ms.to_string())
        .set("fetch.error.backoff.ms", "50")
        // How long a partition is left alone after its queue was found full.
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.min.messages", "20000")
        .set("queued.max.messages.kbytes", bounds.fetched_kib_max.to_string())
        // Mirrored topics appear at any time.
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("reconnect.backoff.max.ms", "2000");
    add_properties(&mut config, settings, OF_PRODUCER)?;
    config
        .set("bootstrap.servers", &settings.brokers)
        .set("group.id", &settings.group)
        .set("client.id", format!("holdfast-{}", settings.node))
        .set("group.instance.id", &settings.node)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "true")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        .set("statistics.interval.ms", "1000");
    Ok(config)
}

/// Of a producer.
pub fn of_producer(settings: &Settings) -> Result<ClientConfig, Invalid> {
    let bounds = &settings.bounds;
    let mut config = ClientConfig::new();
    config
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("queue.buffering.max.messages", bounds.produce_max.to_string())
        .set("queue.buffering.max.kbytes", bounds.produce_kib_max.to_string())
        .set("message.timeout.ms", bounds.produce_ms.to_string())
        .set("reconnect.backoff.max.ms", "2000");
    add_properties(&mut config, settings, OF_CONSUMER)?;
    config
        .set("bootstrap.servers", &settings.brokers)
        .set("client.id", format!("holdfast-{}", settings.node))
        // Else a record that is sent again may overtake an earlier one of its key.
        .set("enable.idempotence", "true");
    Ok(config)
}

/// What librdkafka says when a client cannot be made.
pub fn refused(fault: &KafkaError) -> Invalid {
    Invalid::Refused(with_hint(match fault {
        KafkaError::ClientCreation(cause) => cause.clone(),
        // A value may be a secret.
        KafkaError::ClientConfig(_, cause, name, _) => format!("{name}: {cause}"),
        other => other.to_string(),
    }))
}

/// Each by itself, so that the one which is wrong is named, whichever kind of client it is for.
fn add_properties(config: &mut ClientConfig, settings: &Settings, foreign: &[&str]) -> Result<(), Invalid> {
    for (name, value) in &settings.properties {
        let mut alone = ClientConfig::new();
        if let Err(fault) = alone.set(name, value).create_native_config() {
            let cause = match fault {
                KafkaError::ClientConfig(_, cause, ..) => cause,
                other => other.to_string(),
            };
            return Err(Invalid::Property { name: name.clone(), cause: with_hint(cause) });
        }
        let is_foreign = foreign.iter().any(|beginning| name.starts_with(beginning));
        if !is_foreign && !RESERVED.contains(&name.as_str()) {
            config.set(name, value);
        }
    }
    Ok(())
}

fn with_hint(cause: String) -> String {
    let lacks_tls = !cfg!(feature = "kafka-tls") && cause.to_ascii_lowercase().contains("openssl");
    if lacks_tls { format!("{cause}; build with `--features kafka-tls`") } else { cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(properties: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new("127.0.0.1:9", "group", "node");
        let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        settings.properties = properties.iter().map(own).collect();
        settings
    }

    #[test]
    fn the_contract_prevails_and_the_rest_is_free() {
        let settings = with(&[
            ("group.id", "other"),
            ("metadata.broker.list", "elsewhere:1"),
            ("enable.idempotence", "false"),
            ("fetch.min.bytes", "7"),
            ("linger.ms", "3"),
            ("sasl.username", "ada"),
        ]);
        let consumer = of_consumer(&settings).unwrap();
        let producer = of_producer(&settings).unwrap();
        assert_eq!(consumer.get("group.id"), Some("group"));
        assert_eq!(consumer.get("fetch.min.bytes"), Some("7"));
        assert_eq!(consumer.get("linger.ms"), None);
        assert_eq!(producer.get("linger.ms"), Some("3"));
        assert_eq!(producer.get("enable.idempotence"), Some("true"));
        assert_eq!(producer.get("fetch.min.bytes"), None);
        for config in [consumer, producer] {
            assert_eq!(config.get("bootstrap.servers"), Some("127.0.0.1:9"));
            assert_eq!(config.get("metadata.broker.list"), None);
            assert_eq!(config.get("sasl.username"), Some("ada"));
            assert!(config.create_native_config().is_ok());
        }
    }

    #[test]
    fn what_is_not_known_is_named_for_either_kind() {
        for (name, value) in
            [("no.such.property", "1"), ("fetch.nonsense", "1"), ("linger.ms", "soon"), ("a\0b", "")]
        {
            let settings = with(&[("sasl.password", "secret"), (name, value)]);
            for refusal in [of_consumer(&settings).err(), of_producer(&settings).err()] {
                let refusal = refusal.unwrap();
                assert!(matches!(&refusal, Invalid::Property { name: named, .. } if named == name));
                assert!(!refusal.to_string().contains("secret"));
            }
        }
    }

    #[cfg(not(feature = "kafka-tls"))]
    #[test]
    fn what_needs_tls_says_how_to_have_it() {
        for (name, value) in [("security.protocol", "sasl_ssl"), ("ssl.ca.location", "/ca.pem")] {
            let refusal = of_consumer(&with(&[(name, value)])).err().unwrap().to_string();
            assert!(refusal.contains(name) && refusal.contains("--features kafka-tls"), "{refusal}");
        }
    }
}
