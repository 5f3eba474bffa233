//! What passes between the store and those above it: plain values, so that a fake can stand in for Redis.
//!
//! Owns requests, replies, failures and events. Never acts.

use crate::{
    bridge::registry::Lease,
    model::{Handle, Protocol},
};
use std::ops::RangeInclusive;

/// A connection's place in the fleet, which is also its identity: no other connection ever has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// The node's number, [`super::node_number`] of its id.
    pub node: u64,
    /// The node's run.
    pub incarnation: u64,
    /// The connection within the node.
    pub connection: Handle,
}

/// One device's record, as the registry holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Which connection holds the device.
    pub place: Place,
    /// What it speaks; None: a protocol that this release does not know.
    pub protocol: Option<Protocol>,
    /// When the connection began, ms since 1970 by the registry's clock.
    pub connected_ms: u64,
    /// When the record's life ends, ms since 1970 by the registry's clock.
    pub expires_ms: u64,
    /// [`super::user_hash`] of the user that it was written for.
    pub user: u64,
}

/// What can be asked. Requests that concern one user run in the order of submission, but for those that have to be asked
/// again; who needs the order waits for the reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// A device has connected, or is registered again. One atomic step; safe to repeat.
    Connect {
        /// 1 to 256 bytes.
        user: Box<str>,
        /// 1 to 256 bytes.
        device: Box<str>,
        /// The connection.
        place: Place,
        /// What it speaks.
        protocol: Protocol,
        /// How long ago it began, ms by the monotonic clock of its node at submission.
        age_ms: u64,
        /// How long the record lives from now on, ms.
        life_ms: u64,
        /// The format of the record: the highest that all live nodes read. Between [`FORMAT_OLDEST`](crate::bridge::format::FORMAT_OLDEST)
        /// and [`FORMAT`](crate::bridge::format::FORMAT), else the nearest of these.
        format: u8,
    },
    /// The connection is gone: its record goes, unless another connection holds the device. A node that was asked for a
    /// connection which it lacks submits the same.
    Disconnect {
        /// As in the connect.
        user: Box<str>,
        /// As in the connect.
        device: Box<str>,
        /// The connection.
        place: Place,
    },
    /// Which connections has the user?
    Lookup {
        /// 1 to 256 bytes.
        user: Box<str>,
    },
    /// The node lives.
    RenewLease {
        /// What it says of itself.
        lease: Lease,
        /// The highest format of records that it reads.
        format: u8,
        /// How long the lease lives, ms.
        ttl_ms: u64,
    },
    /// The node leaves, and its lease with it, unless a later run holds it.
    RemoveLease {
        /// The node's id.
        node: Box<str>,
        /// The run that leaves.
        incarnation: u64,
    },
    /// Which nodes live?
    Leases,
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// To [`Request::Connect`].
    Connected(Connected),
    /// To [`Request::Disconnect`].
    Disconnected {
        /// Whether the record was there and is gone.
        gone: bool,
        /// Whom the connection had displaced, if that is still remembered: its own node may not have heard of it.
        displaced: Option<Record>,
    },
    /// To [`Request::Lookup`].
    Devices(Devices),
    /// To [`Request::RenewLease`].
    Renewed(Renewed),
    /// To [`Request::RemoveLease`]: whether the lease was there and is gone.
    LeaseRemoved(bool),
    /// To [`Request::Leases`], in no order.
    Leases(Vec<LiveLease>),
}

/// Who holds the device after a connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Connected {
    /// The connection that was registered.
    Stands {
        /// The living record of another connection that it replaced, and the one that this one had replaced, as it may not
        /// have heard of it. When the same connection is registered again, whom it replaced, again, for as long as that
        /// record would have lived: the first reply may have been lost. At most two.
        displaced: Vec<Record>,
    },
    /// An older one, whose record is unchanged: the device was taken over more than three times within a minute.
    Fought {
        /// The holder's record.
        by: Record,
    },
    /// A newer one, whose record is unchanged.
    Beaten {
        /// The newer one's record.
        by: Record,
    },
}

/// The connections of a user.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Devices {
    /// Living records, in no order.
    pub devices: Vec<Device>,
    /// Devices whose record names another user, and which are therefore no route.
    pub foreign: Vec<Box<str>>,
    /// Records that are no records, or of a format that is not read any more.
    pub unreadable: u32,
}

/// A device and its record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its name.
    pub device: Box<str>,
    /// Its record.
    pub record: Record,
    /// What is left of the record's life, ms.
    pub left_ms: u64,
}

/// What a renewal has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Renewed {
    /// The lease was there.
    Kept {
        /// When it was made, ms since 1970 by the registry's clock. Another time than at the renewal before: it was lost
        /// between, and made again by a renewal whose reply was lost.
        since_ms: u64,
    },
    /// It was not there: it is the first one, or it ran out, or the registry lost it.
    Absent {
        /// Now, by the registry's clock: when it was made.
        since_ms: u64,
    },
    /// An earlier run of the node held it and has lost it now.
    TookOver {
        /// The earlier run.
        incarnation: u64,
        /// Now, by the registry's clock: when this run's was made.
        since_ms: u64,
    },
    /// A later run of the node holds it; nothing was written.
    Superseded {
        /// The later run.
        incarnation: u64,
    },
}

/// A node that lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LiveLease {
    /// What it says of itself.
    pub lease: Lease,
    /// The highest format of records that it reads.
    pub format: u8,
    /// What is left of the lease, ms.
    pub left_ms: u64,
}

/// Why there is no reply.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// The time-out is over. Redis may have carried the request out or not; it will not any more, as far as it is
    /// younger than the time-out by the registry's clock when it gets there.
    #[error("the registry does not answer in time")]
    Timeout,
    /// Its master is unknown, cannot be reached or does not serve.
    #[error("the registry cannot be reached")]
    Down,
    /// Twice the reply belonged to another request.
    #[error("the registry answers for another key")]
    Misattributed,
    /// Redis refuses: no right, no memory, a read-only disk.
    #[error("the registry refuses: {0}")]
    Refused(String),
    /// A request that cannot be written: a name of no or more than 256 bytes.
    #[error("the request is not valid")]
    Invalid,
}

/// A master has no room for another request; see [`super::Settings::queue_max`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many requests wait for the registry")]
pub struct Full;

/// What the store delivers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// The one answer to a request.
    Answer {
        /// As submitted.
        id: u64,
        /// Reply or failure.
        result: Result<Reply, Failure>,
        /// From submission to this answer, µs.
        took_us: u64,
    },
    /// Something has happened to a master.
    Event(Event),
}

/// Slots of keys, as in [`super::slot_of_user`]. A registry that is no cluster is one master that owns all of them.
pub type Slots = Vec<RangeInclusive<u16>>;

/// Something that has happened to a master.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// It answers, for the first time or again.
    Up {
        /// `host:port`.
        master: String,
        /// What it owns.
        slots: Slots,
    },
    /// It could not be reached; requests for it are answered [`Failure::Down`] until it is up.
    Down {
        /// `host:port`; empty when no master is known at all.
        master: String,
        /// What it owns.
        slots: Slots,
        /// For a log.
        cause: String,
    },
    /// A connection was dropped; a new one is made at once.
    Dropped {
        /// `host:port`.
        master: String,
        /// Why.
        cause: Cause,
    },
    /// Writes may be lost: the replication id or the owner of these slots is another one, or the master's mark is gone,
    /// as it is after `FLUSHALL`. Follows the [`Event::Up`] of the master that owns them now.
    Lost {
        /// `host:port` of that master.
        master: String,
        /// Of which keys.
        slots: Slots,
    },
}

/// Why a connection was dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A reply that belongs to another request, or to none.
    Misattributed,
    /// No reply in time.
    Timeout,
    /// It is no master any more.
    Demoted,
    /// The connection broke; the text is for a log.
    Broken(String),
}

/// What has been counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Pipelines sent.
    pub pipelines: u64,
    /// Requests sent, those asked again included.
    pub sent: u64,
    /// Requests asked again: after a connection was dropped, a script was missing or a slot had moved.
    pub again: u64,
    /// Replies that belonged to another request.
    pub misattributed: u64,
    /// Requests that ended with [`Failure::Timeout`].
    pub timeouts: u64,
    /// Requests that were redirected to another master.
    pub redirected: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Questions for a master's mark that it refused: while this counts up, a `FLUSHALL` may not be noticed.
    pub unmarked: u64,
    /// Maps of slots, or addresses of a master, that were fetched.
    pub maps: u64,
}
