//! A client's side of the protocols, written from the RFCs: bytes in, events out.
//!
//! With a node of Holdfast it is stricter than a client need be: whatever the server promises and does not keep is a
//! [`Fault`]. With others it asks for what the RFCs do. Never does I/O, and keeps nothing between calls: what is incomplete is
//! handed in again with more.

pub mod head;
pub mod sse;
pub mod template;
pub mod ws;

use serde::{Deserialize, Serialize};

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// RFC 6455.
    WebSocket,
    /// WHATWG HTML 9.2.
    Sse,
}

impl Protocol {
    /// Both.
    pub const ALL: [Protocol; 2] = [Protocol::WebSocket, Protocol::Sse];

    /// The label that the node's metrics give it.
    pub const fn label(self) -> &'static str {
        match self {
            Protocol::WebSocket => "websocket",
            Protocol::Sse => "sse",
        }
    }
}

/// Which server's habits a client knows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// A Holdfast node, whose every promise is checked.
    #[default]
    Holdfast,
    /// A server as Zuul Push is one: a text `_CLOSE_` asks to leave; bodies are checked where they are ours.
    Zuul,
    /// Any server of WebSocket or SSE: whatever is well-formed is fine, and nothing asks to leave.
    Plain,
}

impl Dialect {
    /// Whether more is checked than the RFCs ask for.
    pub fn is_strict(self) -> bool {
        self == Dialect::Holdfast
    }

    /// Whether a text can ask to leave.
    fn has_goaway(self) -> bool {
        self != Dialect::Plain
    }
}

/// What the server said on an open connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A message.
    Push(&'a [u8]),
    /// Please close and come back.
    Goaway,
    /// A ping that wants this back.
    Ping(&'a [u8]),
    /// It closes, with this code; 1005 when it gave none.
    Close(u16),
    /// How long to wait before coming back, ms.
    Retry(u32),
    /// The event stream's last chunk.
    End,
    /// Nothing to do.
    Other,
}

/// What the server did wrong, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault(pub String);

impl From<&str> for Fault {
    fn from(words: &str) -> Self {
        Self(words.to_owned())
    }
}

/// The text by which the server asks to leave.
const GOAWAY: &[u8] = b"_CLOSE_";
/// A frame, a message in parts, an event or a chunk above this is not waited for, bytes.
const UNIT_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests;
