//! The queue against brokers: the embedded one, and a real Apache Kafka.

// Other targets use more of it.
#[allow(dead_code)]
mod brokers;
mod embedded;
mod faults;
mod kafka;
mod node;
mod suite;
