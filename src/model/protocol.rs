//! The two client protocols.

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Protocol {
    /// RFC 6455.
    Websocket,
    /// Server-Sent Events (WHATWG HTML 9.2).
    Sse,
}

impl Protocol {
    /// Both, in the order of their numbers.
    pub const ALL: [Protocol; 2] = [Protocol::Websocket, Protocol::Sse];

    /// Metric label and word in answers.
    pub const fn label(self) -> &'static str {
        match self {
            Protocol::Websocket => "websocket",
            Protocol::Sse => "sse",
        }
    }
}
