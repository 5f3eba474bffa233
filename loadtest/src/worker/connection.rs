//! The state of one connection: plain data, as small as it can be.

use super::tally::Ending;
use std::net::TcpStream;

/// Where a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The kernel connects.
    Connecting,
    /// Keys are agreed on.
    Securing,
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
    /// It has vanished: its socket is open, hears nothing and says nothing.
    Vanished,
    /// It will not come back.
    Gone,
}

impl Phase {
    /// Begun, and neither open nor failed.
    pub fn is_opening(self) -> bool {
        matches!(self, Phase::Connecting | Phase::Securing | Phase::Asking)
    }

    /// Open, and nobody has said a last word.
    pub fn is_open(self) -> bool {
        matches!(self, Phase::Open | Phase::Leaving)
    }
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

/// No lent buffer, no session.
pub const NOTHING: u32 = u32::MAX;

/// What is true of a connection, each a bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mark {
    /// It had its goaway.
    Asked = 1,
    /// The last chunk of its stream came.
    StreamEnded = 2,
    /// Its stream comes without chunks.
    Unchunked = 4,
    /// It is not read.
    Stalled = 8,
    /// It was not read for a while, so that the server may have given up on it.
    Dull = 16,
    /// It was cut on purpose, and may come back.
    Cut = 32,
    /// It was open before.
    Seasoned = 64,
}

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
    /// Its place among the sessions of TLS.
    pub session: u32,
    /// How long the server said to wait before coming back, ms; 0: it did not.
    pub hint_ms: u32,
    /// Which target it has.
    pub target: u16,
    /// How often in a row it did not come to be open.
    pub tries: u8,
    pub phase: Phase,
    pub manner: Manner,
    /// How it is ending, once that is decided.
    pub ending: Option<Ending>,
    marks: u8,
    /// How often it was begun; it makes each WebSocket key another.
    pub visits: u8,
}

const _: () = assert!(size_of::<Connection>() <= 56);

impl Connection {
    /// One that was not begun yet.
    pub fn new(client: u32, target: u16, meant_us: u64, dwell_ms: u32, manner: Manner) -> Self {
        Self {
            socket: None,
            client,
            stamp: 0,
            last_direct: 0,
            last_broadcast: 0,
            meant_us,
            dwell_ms,
            lent: NOTHING,
            session: NOTHING,
            hint_ms: 0,
            target,
            tries: 0,
            phase: Phase::Away,
            manner,
            ending: None,
            marks: 0,
            visits: 0,
        }
    }

    pub fn is(&self, mark: Mark) -> bool {
        self.marks & mark as u8 != 0
    }

    pub fn mark(&mut self, mark: Mark) {
        self.marks |= mark as u8;
    }

    /// Says whether it was so.
    pub fn unmark(&mut self, mark: Mark) -> bool {
        let was = self.is(mark);
        self.marks &= !(mark as u8);
        was
    }

    /// What was true of the visit is so no more.
    pub fn end_visit(&mut self) {
        self.marks &= Mark::Seasoned as u8;
        self.ending = None;
        self.socket = None;
        // A broadcast that is under way while a client reconnects may reach both of its connections.
        self.last_broadcast = self.last_broadcast.saturating_sub(1);
    }

    /// Whether it reads only now and then, or not at all.
    pub fn is_slow(&self) -> bool {
        self.manner == Manner::Slow || self.is(Mark::Stalled)
    }

    /// Whether it comes back after it has gone.
    pub fn returns(&self) -> bool {
        matches!(self.manner, Manner::Stay | Manner::Slow | Manner::Ignore)
    }
}
