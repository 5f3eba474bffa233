//! The connection state machine, sans-IO: bytes and the time in; bytes to write, deadlines and reasons out.
//!
//! Owns what a connection is between events: [`Connection`], 28 bytes of plain data. Everything larger is lent to it for
//! as long as it needs it (see [`lent`]). Never reads a clock, touches a descriptor or starts a thread; a shard feeds it
//! and does what it says.
//!
//! ```text
//!            head complete, identity known              goaway                  grace over, or close
//!   Opening ------------------------------> Open ----------------> Leaving -----------------------+
//!      |                                      |                       |                           v
//!      |  refused, input left to drop         |  close, violation     |  client closes         Closing --> gone
//!      +--------------------------------------+-----------------------+-------------------------> ^
//! ```
//! A refused handshake whose request was read in full is gone at once, without passing through `Closing`. One whose verdict is
//! given later, or whose token comes as its first frame, waits between `Opening` and `Open`.

mod arrival;
pub mod auth;
mod close;
mod handshake;
pub mod lent;
pub mod lifetime;
pub mod outbox;
mod push;
pub mod settings;
mod timeouts;
mod waiting;
mod websocket;

pub use push::Prepared;
pub use settings::Settings;

use crate::{
    directory::{Addresses, Blocks, Dedup, Directory, RecordRef},
    kit::{
        mailbox::Sender,
        mutant::Mutant,
        random::Random,
        time::{Now, Tick},
        token_bucket::TokenBucket,
    },
    model::{ConnectionId, Handle, Outcome, Protocol, Reason, mail::ToShard},
    proto::deflate,
    stats::{Pressure, ShardStats},
};
use lent::{Lent, LentRef};
use std::{
    collections::HashMap,
    io::ErrorKind,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
};

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// The request head is not complete.
    Opening,
    /// The request was read, and somebody else is asked who it is. Nothing was answered yet.
    Asking,
    /// It was answered 101, and its first frame shall say who it is.
    Nameless,
    /// That frame has come, and somebody else is asked.
    NamelessAsking,
    /// It has an identity and takes messages.
    Open,
    /// It was asked to leave and still takes messages.
    Leaving,
    /// It takes nothing more; last bytes are on their way, or the peer's are being dropped.
    Closing,
}

impl Phase {
    /// Whether it has no identity yet: it is one of `limits.unauthenticated`.
    pub fn waits(self) -> bool {
        matches!(self, Phase::Opening | Phase::Asking | Phase::Nameless | Phase::NamelessAsking)
    }

    /// Whether somebody else is asked who it is.
    fn asks(self) -> bool {
        matches!(self, Phase::Asking | Phase::NamelessAsking)
    }

    /// Whether it is a WebSocket without an identity.
    fn is_nameless(self) -> bool {
        matches!(self, Phase::Nameless | Phase::NamelessAsking)
    }
}

/// What a connection is between events.
///
/// 4 ends + 4 expires + 4 last seen + 4 record + 4 lent + 2 ping + 2 frames + 2 flags + 1 phase + 1 reason = 28 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// While it waits: when it has waited too long. `Open`: when it is asked to leave. Then: when it is ended.
    ends_at: Tick,
    /// While it waits: when it came. Then: when its token expires, where [`flag::EXPIRES`] is set.
    expires_at: Tick,
    last_seen: Tick,
    record: RecordRef,
    lent: LentRef,
    ping_s: u16,
    /// Frames received in the second of `last_seen`.
    frames: u16,
    flags: u16,
    phase: Phase,
    /// Why it was asked to leave, or is being closed.
    reason: Reason,
}

const _: () = assert!(size_of::<Connection>() == 28);

pub(crate) mod flag {
    /// Speaks SSE; else WebSocket.
    pub const SSE: u16 = 1;
    /// permessage-deflate was negotiated.
    pub const DEFLATE: u16 = 1 << 1;
    /// `expires_at` means something.
    pub const EXPIRES: u16 = 1 << 2;
    /// The goaway at `ends_at` is for the token's sake.
    pub const ENDS_BY_TOKEN: u16 = 1 << 3;
    /// Counted in the per-address limit.
    pub const ADDRESS: u16 = 1 << 4;
    /// It was accepted: it is counted as open until it is gone.
    pub const ACCEPTED: u16 = 1 << 5;
    /// Nothing more is sent once the outbox is empty: the write side is shut then.
    pub const SHUT_WHEN_FLUSHED: u16 = 1 << 6;
    /// The write side is shut.
    pub const SHUT: u16 = 1 << 7;
    /// epoll reports when it can be written.
    pub const WATCHES_WRITABLE: u16 = 1 << 8;
    /// epoll knows it.
    pub const REGISTERED: u16 = 1 << 9;
    /// Gone as soon as the outbox is empty.
    pub const GONE_WHEN_FLUSHED: u16 = 1 << 10;
    /// Three bits: the deflate window that the client keeps, in bits less 8.
    pub const WINDOW_SHIFT: u16 = 11;
    /// See [`WINDOW_SHIFT`].
    pub const WINDOW_MASK: u16 = 7 << WINDOW_SHIFT;
    /// What it sends cannot be told apart any more.
    pub const UNREADABLE: u16 = 1 << 14;
    /// It is in the shard's list of connections with more to read.
    pub const MORE_TO_READ: u16 = 1 << 15;
}

/// What a shard does with a connection after an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Step {
    /// It stays.
    Stay,
    /// Its socket is closed now, and it is forgotten.
    Gone(Reason),
}

/// What every connection of a shard shares, and what is lent to the one that has an event.
pub struct Tools {
    /// Settings, until others are taken.
    pub settings: Arc<Settings>,
    /// Says who clients are.
    pub authenticator: Arc<dyn auth::Authenticator>,
    /// Who is connected.
    pub directory: Arc<Directory>,
    /// What the node's shards share.
    pub shared: Arc<Shared>,
    /// This shard's counters.
    pub stats: Arc<ShardStats>,
    /// Seeded.
    pub random: Random,
    /// Buffers of connections that are not idle.
    pub lents: lent::Lents,
    /// One for all connections: no context is taken over.
    pub deflater: deflate::Deflater,
    /// One for all connections.
    pub inflater: deflate::Inflater,
    /// Bytes to write for the connection that has the event; empty between events.
    pub out: Vec<u8>,
    /// Connections, perhaps of other shards, that this event put out of their place.
    pub displaced: Vec<(Handle, Reason)>,
    /// The admission rate's bucket of this shard.
    pub admission: Option<TokenBucket>,
    /// Buckets of `limits.push_rate`, by slot, while it is on.
    pub push_buckets: HashMap<u32, TokenBucket>,
    /// Addresses of connections by slot, while `limits.connections_per_address` is on.
    pub addresses: HashMap<u32, IpAddr>,
    /// Handshakes under way on this shard.
    pub opening: usize,
    /// Whether handshakes are refused because the node leaves.
    pub refusing: bool,
}

/// What the shards of a node share.
#[derive(Default)]
pub struct Shared {
    /// Connections held by all shards, in any phase but `Opening`.
    pub open: AtomicUsize,
    /// Most of them; set once descriptors are known.
    pub capacity: AtomicUsize,
    /// Bytes in outboxes and lent buffers.
    pub buffers: AtomicUsize,
    /// A [`Pressure`], as its number.
    pub pressure: AtomicU8,
    /// Readiness ended: health checks answer 503.
    pub draining: Arc<AtomicBool>,
    /// Kept-out users.
    pub blocks: Arc<Blocks>,
    /// Connections per address.
    pub addresses: Addresses,
    /// Names this run in connection ids.
    pub node: AtomicU64,
    /// Settings that replace those of the start; shards are told to take them ([`crate::model::mail::ToShard::Reload`]).
    pub fresh: Mutex<Option<Arc<Settings>>>,
}

impl Shared {
    /// How far `limits.memory` is used up.
    pub fn pressure(&self) -> Pressure {
        match self.pressure.load(Ordering::Relaxed) {
            0 => Pressure::None,
            1 => Pressure::ShedLow,
            _ => Pressure::Refuse,
        }
    }
}

/// One event's surroundings: which connection, when, and what it may use.
pub struct Context<'a> {
    /// The shard's clocks at the start of the turn.
    pub now: Now,
    /// The same, in ticks.
    pub tick: Tick,
    /// The other end of the socket, where the event is its coming.
    pub peer: Option<IpAddr>,
    /// The connection's own handle.
    pub handle: Handle,
    /// What it may use.
    pub tools: &'a mut Tools,
    /// Ids that were written (see [`Dedup`]).
    pub dedup: &'a Dedup,
    /// The shard's own mailbox, where verdicts that come later are put.
    pub mail: &'a Sender<ToShard>,
}

impl Context<'_> {
    fn id(&self) -> ConnectionId {
        ConnectionId { node: self.tools.shared.node.load(Ordering::Relaxed), handle: self.handle }
    }
}

impl Connection {
    /// A connection just accepted.
    pub fn new(tick: Tick, settings: &Settings) -> Self {
        Self {
            ends_at: tick.plus_ms(settings.handshake_timeout_ms),
            expires_at: tick,
            last_seen: tick,
            record: RecordRef::NONE,
            lent: LentRef::NONE,
            ping_s: 0,
            frames: 0,
            flags: 0,
            phase: Phase::Opening,
            reason: Reason::HandshakeTimeout,
        }
    }

    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When it came, as long as it has no identity.
    pub fn waits_since(&self) -> Option<Tick> {
        self.phase.waits().then_some(self.expires_at)
    }

    /// What it speaks, once it is past `Opening`.
    pub fn protocol(&self) -> Protocol {
        if self.is(flag::SSE) { Protocol::Sse } else { Protocol::Websocket }
    }

    /// Whether it was accepted, and so is counted as open.
    pub fn is_accepted(&self) -> bool {
        self.is(flag::ACCEPTED)
    }

    /// Whether it takes messages.
    pub fn takes_messages(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Leaving)
    }

    /// Whether nothing is lent to it.
    pub fn is_idle(&self) -> bool {
        self.lent == LentRef::NONE
    }

    /// What it has been lent.
    pub fn lent_ref(&self) -> LentRef {
        self.lent
    }

    pub(crate) fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn set(&mut self, flag: u16, on: bool) {
        if on {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
    }

    /// From now on it compresses, for a window of so many bits (8 to 15) at the client.
    fn set_deflate(&mut self, window_bits: u8) {
        self.set(flag::DEFLATE, true);
        self.flags =
            self.flags & !flag::WINDOW_MASK | u16::from(window_bits.clamp(8, 15) - 8) << flag::WINDOW_SHIFT;
    }

    /// Whether a message of so many bytes may be compressed: both ends agreed to, it is worth it, and the client's window
    /// holds all of it.
    fn compresses(&self, bytes: usize, min_bytes: usize) -> bool {
        let window = 256usize << ((self.flags & flag::WINDOW_MASK) >> flag::WINDOW_SHIFT);
        let reachable = bytes <= window || window == 256 << 7;
        self.is(flag::DEFLATE) && bytes >= min_bytes && reachable
    }

    /// Bytes came. `input` is the shard's scratch and is used up.
    pub fn handle_bytes(&mut self, context: &mut Context<'_>, input: &mut [u8]) -> Step {
        context.tools.stats.bytes_in(input.len() as u64);
        self.read_on(context, input)
    }

    fn read_on(&mut self, context: &mut Context<'_>, input: &mut [u8]) -> Step {
        match self.phase {
            Phase::Opening => self.handle_head_bytes(context, input),
            // Nothing may follow a request until it is answered.
            Phase::Asking => self.refuse_with_rest(context, Reason::BadRequest),
            Phase::Nameless => self.handle_nameless_bytes(context, input),
            Phase::NamelessAsking => self.handle_websocket_bytes(context, input),
            Phase::Open | Phase::Leaving => {
                if self.is(flag::SSE) {
                    // An event stream has no way up: what comes is dropped, at the rate of frames.
                    self.seen(context, 1);
                    self.check_inbound_rate(context)
                } else {
                    self.handle_websocket_bytes(context, input)
                }
            }
            Phase::Closing => self.handle_closing_bytes(context, input),
        }
    }

    /// The socket failed, or (None) the peer will send nothing more: one that was asked to leave has left, since a stream has no
    /// close frame to say so. Where the kernel gave up for want of acknowledgements, the peer is dead.
    pub fn handle_gone(&mut self, failure: Option<ErrorKind>) -> Step {
        use ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
        Step::Gone(match (self.phase, failure) {
            (Phase::Leaving | Phase::Closing, _) => self.reason,
            (Phase::Open, Some(TimedOut | HostUnreachable | NetworkUnreachable)) => Reason::DeadPeer,
            _ => Reason::ClientGone,
        })
    }

    /// All that was to be written has been.
    pub fn handle_flushed(&mut self, context: &mut Context<'_>) -> Step {
        self.give_back(context.tools);
        if self.is(flag::GONE_WHEN_FLUSHED) { Step::Gone(self.reason) } else { Step::Stay }
    }

    /// epoll knows its socket now.
    pub fn set_registered(&mut self) {
        self.set(flag::REGISTERED, true);
    }

    /// Whether epoll must be told that it is now to report, or no longer to report, when the socket can be written.
    pub fn change_watch(&mut self, waits: bool) -> Option<bool> {
        let changes = self.is(flag::REGISTERED) && self.is(flag::WATCHES_WRITABLE) != waits;
        if changes {
            self.set(flag::WATCHES_WRITABLE, waits);
        }
        changes.then_some(waits)
    }

    /// It has more to read than a turn takes, or it no longer has. Says whether that is news.
    pub fn set_more_to_read(&mut self, more: bool) -> bool {
        let news = self.is(flag::MORE_TO_READ) != more;
        self.set(flag::MORE_TO_READ, more);
        news
    }

    /// Whether the write side is to be shut now that all is written; says so once.
    pub fn take_shut(&mut self) -> bool {
        let due = self.is(flag::SHUT_WHEN_FLUSHED) && !self.is(flag::SHUT);
        if due {
            self.set(flag::SHUT, true);
        }
        due
    }

    /// Forgets the connection everywhere but in the shard's table. To be called once, when it is gone.
    pub fn release(&mut self, context: &mut Context<'_>) {
        self.unregister(context);
        if self.is(flag::ADDRESS)
            && let Some(address) = context.tools.addresses.remove(&context.handle.key.index)
            && !Mutant::AddressNotGivenBack.is_on()
        {
            context.tools.shared.addresses.leave(address);
        }
        if context.tools.settings.push_rate.is_some() && !Mutant::BucketNotGivenBack.is_on() {
            context.tools.push_buckets.remove(&context.handle.key.index);
        }
        if self.phase.waits() {
            context.tools.opening -= 1;
        }
        if self.is(flag::ACCEPTED) && !Mutant::PlaceNotGivenBack.is_on() {
            context.tools.shared.open.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(mut lent) = context.tools.lents.take(&mut self.lent) {
            lent.outbox.abandon(Outcome::Stale, false);
        }
    }

    /// From now on no lookup finds it.
    fn unregister(&mut self, context: &Context<'_>) {
        if self.record != RecordRef::NONE && !Mutant::RecordNotRemoved.is_on() {
            context.tools.directory.unregister(self.record, context.handle);
            self.record = RecordRef::NONE;
        }
    }

    fn seen(&mut self, context: &Context<'_>, frames: u32) {
        let same_second = context.tick.0 / TICKS_PER_SECOND == self.last_seen.0 / TICKS_PER_SECOND;
        if !same_second {
            self.frames = 0;
        }
        self.last_seen = context.tick;
        self.frames = self.frames.saturating_add(u16::try_from(frames).unwrap_or(u16::MAX));
    }

    fn lent<'t>(&mut self, tools: &'t mut Tools, handle: Handle) -> &'t mut Lent {
        tools.lents.of(&mut self.lent, handle.key.index)
    }

    /// Gives back what is lent when nothing in it is needed any more.
    fn give_back(&mut self, tools: &mut Tools) {
        if Mutant::LentIdly.is_on() {
            return;
        }
        if !self.phase.waits() && tools.lents.needs_nothing(self.lent) {
            tools.lents.take(&mut self.lent);
        }
    }
}

const TICKS_PER_SECOND: u32 = (1_000 / crate::kit::time::TICK_MS) as u32;
