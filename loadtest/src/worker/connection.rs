//! The state of one connection: plain data, as small as it can be.

use super::tally::Ending;
use std::net::TcpStream;

/// Where a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The kernel connects.
    Connecting,
    /// The request was sent.
    Asking,
    /// Open.
    Open,
    /// It was asked to go, and will in a moment.
    Leaving,
    /// One side has said its last word; the rest is read until the end.
    Closing,
    /// It has no socket, and will come back.
    Away,
    /// It will not.
    Gone,
}

/// How a client behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manner {
    /// Stays, obeys a goaway, comes back where [`crate::Settings::reconnect`] says so.
    Stay,
    /// Stays, and does not leave when it is asked to.
    Ignore,
    /// Leaves in order: a close frame, or the end of what it sends.
    Close,
    /// Ends what it sends without a word.
    Fin,
    /// Resets.
    Reset,
    /// Breaks the protocol (an event stream's client, which has nothing to say, leaves in order).
    Violate,
    /// Breaks the protocol, and does not close when it is told to.
    Linger,
    /// Asks for a path that there is not.
    WrongPath,
    /// Does not say who it is.
    Nameless,
    /// Sends half of a request.
    HalfRequest,
    /// Stays, but reads only now and then, through a narrow buffer.
    Slow,
}

impl Manner {
    /// All.
    pub const ALL: [Manner; 11] = [
        Manner::Stay,
        Manner::Ignore,
        Manner::Close,
        Manner::Fin,
        Manner::Reset,
        Manner::Violate,
        Manner::Linger,
        Manner::WrongPath,
        Manner::Nameless,
        Manner::HalfRequest,
        Manner::Slow,
    ];

    /// Whether it leaves by itself once its time is over.
    pub(super) fn leaves(self) -> bool {
        !matches!(self, Manner::Ignore | Manner::WrongPath | Manner::Nameless | Manner::HalfRequest)
    }
}

/// No lent buffer.
pub const NOTHING_LENT: u32 = u32::MAX;

pub struct Connection {
    pub socket: Option<TcpStream>,
    pub client: u32,
    /// Of the phase, no other's; a timer of an earlier one, or of who had the place before, is void.
    pub stamp: u32,
    /// The latest message for this client alone, 0: none.
    pub last_direct: u32,
    /// The latest for all.
    pub last_broadcast: u32,
    /// When it was meant to start, us since the run began.
    pub meant_us: u64,
    /// How long it stays once it is open, ms; 0: no end of its own.
    pub dwell_ms: u32,
    /// Its place among the lent buffers.
    pub lent: u32,
    pub phase: Phase,
    pub manner: Manner,
    /// How it is ending, once that is decided.
    pub ending: Option<Ending>,
    /// It had its goaway.
    pub asked: bool,
    /// The last chunk of its stream came.
    pub stream_ended: bool,
    /// How often it was open; it makes each WebSocket key another.
    pub visits: u8,
}

const _: () = assert!(size_of::<Connection>() <= 56);
