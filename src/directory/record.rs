//! One connection's record: 28 bytes, and its names in the arena.
//!
//! Its times are those of the node's monotonic clock: a host's clock that jumps makes no connection older or younger.

use crate::kit::slab::Key;
use crate::model::{Handle, Protocol};

/// A record outlives its connection's bounded life by this, ms.
pub const RECORD_GRACE_MS: u64 = 30_000;
/// Takeovers of one device within [`TAKEOVER_WINDOW_S`]; past them the holder stays.
pub const TAKEOVERS_MAX: u8 = 3;
/// The window of the brake, s.
pub const TAKEOVER_WINDOW_S: u32 = 60;
/// End of a list of records.
pub(super) const NO_RECORD: u32 = u32::MAX;

const INDEX_BITS: u32 = 24;
const FLAG_SSE: u8 = 1;
const FLAG_DEVICE_256: u8 = 2;
/// The registry has not heard of what has become of the connection.
const FLAG_DIRTY: u8 = 4;
/// The registry has been told of the connection.
const FLAG_KNOWN: u8 = 8;
/// The connection is gone, and the registry is yet to hear of it: no lookup finds the record.
const FLAG_GONE: u8 = 16;
/// The highest two bits, since [`TAKEOVERS_MAX`] is three.
const TAKEOVERS_SHIFT: u32 = 6;

/// How far behind a connection's beginning a time may be from which it is seen, ms.
const BEHIND_MS_MAX: u32 = 3_600_000;

/// When a connection began: the low 32 bits of the node's monotonic clock in ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Began(u32);

impl Began {
    /// The whole of it, seen from a time less than 49 days later. Who took the time before it looked may be a moment behind.
    pub fn millis(self, now_ms: u64) -> u64 {
        match (now_ms as u32).wrapping_sub(self.0) {
            ago_ms if ago_ms <= u32::MAX - BEHIND_MS_MAX => now_ms.saturating_sub(u64::from(ago_ms)),
            ago_ms => now_ms + u64::from(ago_ms.wrapping_neg()),
        }
    }
}

/// What is kept of a connection, as plain data.
///
/// 4 place (shard and index) + 4 generation + 4 names + 4 next + 4 connected + 4 expires + 4 x 1 = 28 bytes; with the
/// slab's generation 32.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    place: u32,
    generation: u32,
    /// Where the arena holds the user's name and, right behind it, the device's.
    pub names: u32,
    /// The user's next record, or [`NO_RECORD`].
    pub next: u32,
    /// Monotonic ms, the low 32 bits: it wraps after 49 days, and no connection lives as long.
    began_ms: u32,
    /// When its bounded life ends, monotonic s.
    ends_s: u32,
    user_len_less_one: u8,
    device_len: u8,
    flags: u8,
    /// Seconds from the start of the takeover window to the connection's beginning.
    window_s: u8,
}

const _: () = assert!(size_of::<Record>() == 28);

impl Record {
    pub fn new(names: u32, user_len: usize, device_len: usize, next: u32) -> Self {
        debug_assert!((1..=256).contains(&user_len) && device_len <= 256);
        Self {
            place: 0,
            generation: 0,
            names,
            next,
            began_ms: 0,
            ends_s: 0,
            user_len_less_one: (user_len - 1) as u8,
            device_len: device_len as u8,
            flags: if device_len == 256 { FLAG_DEVICE_256 } else { 0 },
            window_s: 0,
        }
    }

    pub fn user_len(&self) -> usize {
        usize::from(self.user_len_less_one) + 1
    }

    /// 0: unnamed.
    pub fn device_len(&self) -> usize {
        if self.flags & FLAG_DEVICE_256 != 0 { 256 } else { usize::from(self.device_len) }
    }

    pub fn handle(&self) -> Handle {
        let index = self.place & ((1 << INDEX_BITS) - 1);
        Handle { shard: (self.place >> INDEX_BITS) as u16, key: Key { index, generation: self.generation } }
    }

    /// Points the record at a connection, of which the registry has not heard.
    pub fn assign(&mut self, handle: Handle, protocol: Protocol, began_ms: u64, ends_ms: u64) {
        debug_assert!(handle.shard < 256 && handle.key.index < 1 << INDEX_BITS);
        self.place = u32::from(handle.shard) << INDEX_BITS | handle.key.index;
        self.generation = handle.key.generation;
        self.flags &= !(FLAG_SSE | FLAG_DIRTY | FLAG_KNOWN);
        self.flags |= if protocol == Protocol::Sse { FLAG_SSE } else { 0 };
        // Dropping the high bits is the wrap.
        self.began_ms = began_ms as u32;
        self.ends_s = (ends_ms / 1_000) as u32;
    }

    pub fn protocol(&self) -> Protocol {
        if self.flags & FLAG_SSE != 0 { Protocol::Sse } else { Protocol::Websocket }
    }

    /// When the connection began.
    pub fn began(&self) -> Began {
        Began(self.began_ms)
    }

    /// When the connection began, monotonic ms, seen from now.
    pub fn began_ms(&self, now_ms: u64) -> u64 {
        self.began().millis(now_ms)
    }

    /// When its bounded life ends, monotonic ms.
    pub fn ends_ms(&self) -> u64 {
        u64::from(self.ends_s) * 1_000
    }

    pub fn is_dirty(&self) -> bool {
        self.flags & FLAG_DIRTY != 0
    }

    pub fn is_known(&self) -> bool {
        self.flags & FLAG_KNOWN != 0
    }

    pub fn is_gone(&self) -> bool {
        self.flags & FLAG_GONE != 0
    }

    /// The registry is to be told.
    pub fn set_dirty(&mut self) {
        self.flags |= FLAG_DIRTY;
    }

    /// The registry is being told.
    pub fn set_known(&mut self) {
        self.flags = self.flags & !FLAG_DIRTY | FLAG_KNOWN;
    }

    /// The connection is gone, and the registry is to be told.
    pub fn set_gone(&mut self) {
        self.flags |= FLAG_GONE | FLAG_DIRTY;
    }

    /// Counts a takeover at `now_ms`, or says that there have been too many. To be called before [`Self::assign`].
    pub fn count_takeover(&mut self, now_ms: u64) -> bool {
        let since_began_s = now_ms.saturating_sub(self.began_ms(now_ms)) / 1_000;
        let age_s = since_began_s + u64::from(self.window_s);
        let count = self.flags >> TAKEOVERS_SHIFT;
        if count == 0 || age_s >= u64::from(TAKEOVER_WINDOW_S) {
            self.set_takeovers(1, 0);
            return true;
        }
        if count >= TAKEOVERS_MAX {
            return false;
        }
        self.set_takeovers(count + 1, age_s as u8);
        true
    }

    fn set_takeovers(&mut self, count: u8, window_s: u8) {
        self.flags = self.flags & ((1 << TAKEOVERS_SHIFT) - 1) | count << TAKEOVERS_SHIFT;
        self.window_s = window_s;
    }
}

/// One of a user's connections, as a lookup shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route<'a> {
    /// The connection.
    pub handle: Handle,
    /// Its device's name; None: it is called by its connection id.
    pub device: Option<&'a str>,
    /// What it speaks.
    pub protocol: Protocol,
    /// When it began.
    pub began: Began,
    /// When its bounded life ends, monotonic ms.
    pub ends_ms: u64,
}
