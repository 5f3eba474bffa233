//! A broker inside the process: librdkafka's mock cluster behind a real port.
//!
//! Any Kafka client can produce to it and consume from it. It keeps at most 5 MiB of each partition, in memory, and is
//! gone with the process. It knows neither TLS nor passwords, and listens on 127.0.0.1 alone.
#![allow(unsafe_code)]

use super::seam::Invalid;
use rdkafka::{
    ClientConfig, ClientContext, bindings as kafka,
    config::RDKafkaLogLevel,
    error::KafkaError,
    producer::{BaseProducer, Producer, ProducerContext},
    types::RDKafkaRespErr,
};
use std::{
    ffi::{CStr, CString, c_int},
    ptr::NonNull,
};

/// See the module. Ends when dropped.
pub struct Embedded {
    cluster: NonNull<kafka::rd_kafka_mock_cluster_t>,
    address: String,
    /// The cluster belongs to a client, which outlives it and does nothing else.
    _client: BaseProducer<Silent>,
}

/// Partitions of a topic that is made at the start.
pub const PARTITIONS: u16 = 8;

impl Embedded {
    /// Starts it with these topics. Others are made with 4 partitions when they are first asked for.
    ///
    /// # Errors
    /// When there is no port or no thread for it, or a topic's name is none.
    pub fn start(topics: &[&str]) -> Result<Self, Invalid> {
        let refused = |cause: &str| Invalid::Refused(cause.to_owned());
        let client: BaseProducer<Silent> = ClientConfig::new()
            .create_with_context(Silent)
            .map_err(|fault: KafkaError| Invalid::Refused(fault.to_string()))?;
        // SAFETY: the client is alive.
        let cluster = unsafe { kafka::rd_kafka_mock_cluster_new(client.client().native_ptr(), 1) };
        let cluster = NonNull::new(cluster).ok_or_else(|| refused("the embedded broker does not start"))?;
        // SAFETY: the cluster is alive. Without this a group's first member waits three seconds for others.
        unsafe { kafka::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster.as_ptr(), 0) };
        // SAFETY: the cluster is alive, and the text lives as long as that.
        let address = unsafe { CStr::from_ptr(kafka::rd_kafka_mock_cluster_bootstraps(cluster.as_ptr())) };
        let address = address.to_string_lossy().into_owned();
        let broker = Self { cluster, address, _client: client };
        for topic in topics {
            broker.create(topic)?;
        }
        Ok(broker)
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Cuts all connections and takes no new ones, until it is up again. What it holds stays.
    pub fn set_up(&self, up: bool) {
        // SAFETY: the cluster is alive. It knows all brokers by -1, and refuses no broker that there is.
        unsafe {
            if up {
                kafka::rd_kafka_mock_broker_set_up(self.cluster.as_ptr(), ALL);
            } else {
                kafka::rd_kafka_mock_broker_set_down(self.cluster.as_ptr(), ALL);
            }
        }
    }

    fn create(&self, topic: &str) -> Result<(), Invalid> {
        let name = CString::new(topic).map_err(|_| Invalid::Refused(format!("no topic: {topic:?}")))?;
        // SAFETY: cluster and name are alive.
        let fault = unsafe {
            kafka::rd_kafka_mock_topic_create(
                self.cluster.as_ptr(),
                name.as_ptr(),
                c_int::from(PARTITIONS),
                1,
            )
        };
        let made = fault == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        if made { Ok(()) } else { Err(Invalid::Refused(format!("cannot make the topic {topic:?}"))) }
    }
}

const ALL: i32 = -1;

// SAFETY: what is called here takes the cluster's lock, or is an operation for the cluster's own thread.
unsafe impl Send for Embedded {}

impl Drop for Embedded {
    fn drop(&mut self) {
        // SAFETY: it is alive, and so is its client, which ends afterwards.
        unsafe { kafka::rd_kafka_mock_cluster_destroy(self.cluster.as_ptr()) };
    }
}

/// Hears nothing of a client that connects to nobody.
struct Silent;

impl ClientContext for Silent {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(facility, "embedded broker: {text}");
    }

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Silent {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::message::DeliveryResult<'_>, (): ()) {}
}
