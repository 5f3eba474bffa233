//! What a shard lends to connections that are not idle: pieces of heads and frames, and outboxes.
//!
//! Owns the accounting: the node's sum of lent bytes is exact after every event. An idle connection has none of this.

use super::outbox::Outbox;
use crate::{kit::time::Tick, proto::ws};
use slab::Slab;
use std::{
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Which of the shard's [`Lents`] a connection has. Four bytes of every connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LentRef(u32);

impl LentRef {
    /// None: the connection is idle.
    pub const NONE: LentRef = LentRef(u32::MAX);
}

/// What one connection has been lent.
#[derive(Default)]
pub struct Lent {
    /// The connection's slot.
    pub owner: u32,
    /// The beginning of its request, while the head is not complete.
    pub head: Vec<u8>,
    /// Its peer, while the handshake is under way: the socket's, then the one a PROXY header names.
    pub peer: Option<IpAddr>,
    /// Whether the PROXY header has been read.
    pub proxied: bool,
    /// A frame or message in pieces.
    pub partial: Option<Box<ws::Partial>>,
    /// What the kernel would not take yet.
    pub outbox: Outbox,
    /// When its next ping is due: the timer serves an earlier deadline of the outbox.
    pub next_ping: Option<Tick>,
    accounted: usize,
    /// The part of `accounted` that waits in the outbox.
    accounted_waiting: usize,
}

impl Lent {
    fn bytes(&self) -> usize {
        size_of::<Lent>()
            + self.head.capacity()
            + self.partial.as_ref().map_or(0, |partial| partial.bytes())
            + self.outbox.held_bytes()
    }

    fn is_empty(&self) -> bool {
        self.head.is_empty() && self.partial.is_none() && self.outbox.is_empty()
    }
}

/// All that a shard has lent.
#[derive(Default)]
pub struct Lents {
    lents: Slab<Lent>,
    bytes: usize,
    waiting: usize,
}

impl Lents {
    /// What a connection has been lent; lends it if it had nothing.
    pub fn of(&mut self, lent: &mut LentRef, owner: u32) -> &mut Lent {
        if *lent == LentRef::NONE {
            *lent = LentRef(self.lents.insert(Lent { owner, ..Lent::default() }) as u32);
        }
        &mut self.lents[lent.0 as usize]
    }

    /// What a connection has been lent, if anything.
    pub fn get(&self, lent: LentRef) -> Option<&Lent> {
        self.lents.get(lent.0 as usize)
    }

    /// What a connection has been lent, if anything.
    pub fn get_mut(&mut self, lent: LentRef) -> Option<&mut Lent> {
        self.lents.get_mut(lent.0 as usize)
    }

    /// Whether a connection needs nothing of what it has been lent.
    pub fn needs_nothing(&self, lent: LentRef) -> bool {
        self.get(lent).is_none_or(Lent::is_empty)
    }

    /// Takes back what was lent. Messages left in its outbox are answered by their tickets.
    pub fn take(&mut self, lent: &mut LentRef) -> Option<Lent> {
        let taken = self.lents.try_remove(lent.0 as usize)?;
        self.bytes -= taken.accounted;
        self.waiting -= taken.accounted_waiting;
        *lent = LentRef::NONE;
        if self.lents.is_empty() {
            // A burst's worth of slots is not kept for ever.
            self.lents.shrink_to_fit();
        }
        Some(taken)
    }

    /// Brings the sums up to date with what an event did to a connection's buffers.
    pub fn account(&mut self, lent: LentRef) {
        if let Some(lent) = self.lents.get_mut(lent.0 as usize) {
            let bytes = lent.bytes();
            self.bytes = self.bytes + bytes - lent.accounted;
            lent.accounted = bytes;
            let waiting = lent.outbox.waiting_bytes();
            self.waiting = self.waiting + waiting - lent.accounted_waiting;
            lent.accounted_waiting = waiting;
        }
    }

    /// Publishes the change of this shard's sum since `published` to the node's.
    pub fn publish(&self, published: &mut usize, node: &AtomicUsize) {
        if self.bytes >= *published {
            node.fetch_add(self.bytes - *published, Ordering::Relaxed);
        } else {
            node.fetch_sub(*published - self.bytes, Ordering::Relaxed);
        }
        *published = self.bytes;
    }

    /// Bytes lent.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that wait in outboxes.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting
    }

    /// The slot of the connection that has been lent most.
    pub fn largest(&self) -> Option<u32> {
        self.lents.iter().max_by_key(|(_, lent)| lent.accounted).map(|(_, lent)| lent.owner)
    }

    /// Connections that have been lent anything.
    pub fn lent_to(&self) -> usize {
        self.lents.len()
    }
}
