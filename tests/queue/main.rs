//! The queue against brokers: the embedded one, and a real Apache Kafka.

mod brokers;
mod embedded;
mod faults;
mod kafka;
mod node;
mod suite;
