//! What a shard keeps of each connection: 44 bytes, in a slot of 48.

use super::net::Socket;
use crate::{
    conn::Connection,
    kit::{
        slab::Slab,
        wheel::{Timer, Timers},
    },
};

/// One connection: 12 timer + 4 socket + 28 state.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub timer: Timer,
    pub socket: Socket,
    pub connection: Connection,
}

// With the slab's generation of 4 bytes: under a cache line of 64, and four of them in three lines.
const _: () = assert!(size_of::<Entry>() == 44);

impl Timers for Slab<Entry> {
    fn timer(&mut self, id: u32) -> &mut Timer {
        // The wheel holds only the ids of live entries: a timer is cancelled before its entry is removed.
        match self.at_mut(id) {
            Some(entry) => &mut entry.timer,
            None => unreachable!("a timer outlived its connection"),
        }
    }
}
