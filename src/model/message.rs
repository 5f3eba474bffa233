//! One message on its way to connections: what it says, and its bytes on each wire, encoded once.

use super::{Identifier, Lane};
use bytes::Bytes;
use std::sync::OnceLock;

/// What a message says. Text and JSON were checked to be UTF-8, JSON to be JSON, where they came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// UTF-8.
    Text(Bytes),
    /// One JSON value.
    Json(Bytes),
    /// Anything.
    Binary(Bytes),
}

impl Body {
    /// The payload as it came.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Body::Text(bytes) | Body::Json(bytes) | Body::Binary(bytes) => bytes,
        }
    }

    /// Whether it goes as a binary frame.
    pub fn is_binary(&self) -> bool {
        matches!(self, Body::Binary(_))
    }
}

/// A collapse key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Collapse {
    /// What outboxes compare: a seeded hash of the key. Each node has a seed of its own.
    pub hash: u64,
    /// The sender's key, for other nodes.
    pub key: Identifier,
}

/// A message, shared by every connection that it goes to.
#[derive(Debug)]
pub struct Message {
    /// The sender's name for it; what `dedup.window` is about.
    pub id: Option<Identifier>,
    /// Its priority.
    pub lane: Lane,
    /// What it says.
    pub body: Body,
    /// Messages with one key replace each other in an outbox.
    pub collapse: Option<Collapse>,
    /// Not to be written at or after this time, ms since 1970.
    pub expires_unix_ms: Option<u64>,
    /// The sender's own bound on how long it may wait in an outbox, ms; never longer than `delivery.timeout`.
    pub timeout_ms: Option<u64>,
    /// When the node took it, monotonic microseconds: delivery latency counts from here.
    pub entered_us: u64,
    /// Its bytes on each wire.
    pub wires: Wires,
}

impl Message {
    /// A message without options.
    pub fn new(lane: Lane, body: Body, entered_us: u64) -> Self {
        Self {
            id: None,
            lane,
            body,
            collapse: None,
            expires_unix_ms: None,
            timeout_ms: None,
            entered_us,
            wires: Wires::default(),
        }
    }

    /// Whether its life is over.
    pub fn is_expired(&self, unix_ms: u64) -> bool {
        self.expires_unix_ms.is_some_and(|expires| unix_ms >= expires)
    }
}

/// The encodings of one message, each made by the first connection that needs it and shared by the rest.
#[derive(Default, Debug)]
pub struct Wires {
    /// One unfragmented WebSocket frame.
    pub websocket: OnceLock<Bytes>,
    /// The same, compressed (RFC 7692), where that made it shorter.
    pub websocket_deflated: OnceLock<Bytes>,
    /// One Server-Sent Event in one HTTP chunk.
    pub sse: OnceLock<Bytes>,
}
