//! WebSocket frames (RFC 6455), server side: client bytes to messages, messages to server frames.
//!
//! Owns every framing rule. A whole message inside one read is handed on as a slice of the read buffer; only what is in pieces
//! is kept, in a [`Partial`] of the connection's. Never speaks: what answers a ping or a close is the connection's affair.

mod decode;
mod frame;
mod mask;

pub use decode::{Decoder, Partial};
pub use frame::{frame_bytes, frame_header, write_close, write_frame};
pub use mask::unmask;

/// The opcodes a server sends (RFC 6455 5.2). It never fragments, so there is no continuation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A message of UTF-8 text.
    Text,
    /// A message of bytes.
    Binary,
    /// Asks for a pong.
    Ping,
    /// Answers a ping.
    Pong,
    /// The last frame of a direction.
    Close,
}

/// What a client sent: a whole message, or a control frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping; its payload (at most 125 bytes) goes back in the pong.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// A close frame: its code, if it has one, and its reason. Nothing comes after it.
    Close(Option<u16>, &'a str),
}

/// How a client broke the protocol. The connection is closed with [`Violation::close_code`]; the text is for a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A framing rule.
    Protocol(&'static str),
    /// Text that is not UTF-8, or compressed data that does not inflate.
    InvalidPayload(&'static str),
    /// A message over the limit.
    TooBig,
}

impl Violation {
    /// The close code that answers it (RFC 6455 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::InvalidPayload(_) => 1007,
            Self::TooBig => 1009,
        }
    }

    /// Words for a log line and for the close frame's reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Protocol(reason) | Self::InvalidPayload(reason) => reason,
            Self::TooBig => "message too big",
        }
    }
}

#[cfg(test)]
mod tests;
