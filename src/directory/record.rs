//! One connection's record: 28 bytes, and its names in the arena.

use crate::kit::slab::Key;
use crate::model::{Handle, Protocol};

/// Takeovers of one device within [`TAKEOVER_WINDOW_S`]; past them the holder stays.
pub const TAKEOVERS_MAX: u8 = 3;
/// The window of the brake, s.
pub const TAKEOVER_WINDOW_S: u32 = 60;
/// End of a list of records.
pub(super) const NO_RECORD: u32 = u32::MAX;

const INDEX_BITS: u32 = 24;
const FLAG_SSE: u8 = 1;
const FLAG_DEVICE_256: u8 = 2;
const TAKEOVERS_SHIFT: u32 = 4;

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
    pub connected_unix_s: u32,
    pub expires_unix_s: u32,
    user_len_less_one: u8,
    device_len: u8,
    flags: u8,
    /// Seconds from the start of the takeover window to `connected_unix_s`.
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
            connected_unix_s: 0,
            expires_unix_s: 0,
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

    /// Points the record at a connection.
    pub fn assign(&mut self, handle: Handle, protocol: Protocol, connected_unix_s: u32, expires_unix_s: u32) {
        debug_assert!(handle.shard < 256 && handle.key.index < 1 << INDEX_BITS);
        self.place = u32::from(handle.shard) << INDEX_BITS | handle.key.index;
        self.generation = handle.key.generation;
        self.flags = self.flags & !FLAG_SSE | if protocol == Protocol::Sse { FLAG_SSE } else { 0 };
        self.connected_unix_s = connected_unix_s;
        self.expires_unix_s = expires_unix_s;
    }

    pub fn protocol(&self) -> Protocol {
        if self.flags & FLAG_SSE != 0 { Protocol::Sse } else { Protocol::Websocket }
    }

    /// Counts a takeover at `now_s`, or says that there have been too many. To be called before [`Self::assign`].
    pub fn count_takeover(&mut self, now_s: u32) -> bool {
        let window_began = self.connected_unix_s.saturating_sub(u32::from(self.window_s));
        let age = now_s.saturating_sub(window_began);
        let count = self.flags >> TAKEOVERS_SHIFT;
        if count == 0 || age >= TAKEOVER_WINDOW_S {
            self.set_takeovers(1, 0);
            return true;
        }
        if count >= TAKEOVERS_MAX {
            return false;
        }
        self.set_takeovers(count + 1, age as u8);
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
    /// Seconds since 1970.
    pub connected_unix_s: u32,
    /// When its bounded life ends, seconds since 1970.
    pub expires_unix_s: u32,
}
