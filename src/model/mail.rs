//! What threads send to a shard.

use super::{Identity, Message, Outcome, Reason};
use crate::kit::{
    completion::{Hold, Tally, Ticket},
    mailbox::{Full, Sender},
    slab::Key,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The mailbox lane of everything that is not a message: ahead of all of them, so that a connection displaced before a
/// message was posted is displaced before that message is handled.
pub const CONTROL_LANE: usize = 0;

/// Letters that are not messages which may wait for one shard, as long as they are about single connections. One that finds
/// no room is kept, or answered 503.
pub const CONTROL_LETTERS: usize = 65_536;

/// Room beyond that for letters about the whole node, which must not be lost: broadcasts under way are bounded, and a drain
/// and a stop are few.
pub const CONTROL_RESERVE: usize = 1_024;

/// Posts a letter about one connection.
///
/// # Errors
/// [`Full`] when [`CONTROL_LETTERS`] wait.
pub fn post_control(shard: &Sender<ToShard>, letter: ToShard) -> Result<(), Full<ToShard>> {
    if shard.depth(CONTROL_LANE) >= CONTROL_LETTERS {
        return Err(Full(letter));
    }
    shard.post(CONTROL_LANE, letter)
}

/// The mailbox lane of a message lane.
pub fn mailbox_lane(lane: super::Lane) -> usize {
    usize::from(lane.0) + 1
}

/// One letter to a shard.
#[derive(Debug)]
pub enum ToShard {
    /// Write a message to one connection.
    Deliver {
        /// Which connection.
        key: Key,
        /// What.
        message: Arc<Message>,
        /// Where its outcome goes.
        ticket: Ticket<Outcome>,
    },
    /// Write a message to every connection; the hold is let go when all have been reached.
    Broadcast(Arc<Broadcast>, Hold<Outcome>),
    /// End one connection. `goaway` asks it to leave first and gives it the grace.
    Close {
        /// Which connection.
        key: Key,
        /// Why.
        reason: Reason,
        /// Whether it is asked first.
        goaway: bool,
    },
    /// Who the client of a waiting handshake is, or why it is refused. One that does not wait is left as it is.
    Identified {
        /// Which handshake.
        key: Key,
        /// What [`super::Judgement`] was told.
        verdict: Box<Result<Identity<'static>, Reason>>,
    },
    /// From now on refuse, or leave the listeners to others who hold them; and ask everyone to leave, spread evenly over a time.
    Drain {
        /// Over how long the goaways are spread, ms.
        window_ms: u64,
    },
    /// Accept again; who was asked to leave still leaves.
    CancelDrain,
    /// Take the settings that were left for all shards.
    Reload,
    /// Do nothing but turn: a loop that does is alive.
    Beat,
    /// End every connection and the loop.
    Stop,
}

/// One message for every connection of a node.
#[derive(Debug)]
pub struct Broadcast {
    /// What.
    pub message: Arc<Message>,
    /// Over how long its writes are spread, ms; 0: as fast as the slices allow.
    pub spread_ms: u64,
    /// Outcomes, counted.
    pub tally: Arc<Tally<Outcome>>,
    stopped: AtomicBool,
}

impl Broadcast {
    /// A broadcast, not yet posted.
    pub fn new(message: Arc<Message>, spread_ms: u64, tally: Arc<Tally<Outcome>>) -> Self {
        Self { message, spread_ms, tally, stopped: AtomicBool::new(false) }
    }

    /// Ends it: connections not yet reached are left out.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether it was ended.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
