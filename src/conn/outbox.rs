//! What waits for the kernel to take it: bounded bytes, in order, shared with every other connection that has them.
//!
//! Owns the rule of what happens when a message does not fit.

use crate::{
    kit::{completion::Ticket, mutant::Mutant, time::Tick},
    model::{Lane, LanePolicy, Outcome},
};
use bytes::Bytes;
use std::{collections::VecDeque, io::IoSlice};

/// Control frames may go this far over the limit: a pong of 125 bytes and a close must fit behind a full outbox.
pub const CONTROL_BYTES_OVER: usize = 512;

/// A message on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// Its bytes on this wire.
    pub bytes: Bytes,
    /// Where its outcome goes.
    pub ticket: Ticket<Outcome>,
    /// Its lane, for the latency histogram and the policy.
    pub lane: Lane,
    /// The lane's policy.
    pub policy: LanePolicy,
    /// What it replaces and is replaced by.
    pub collapse: Option<u64>,
    /// To be remembered once it is written.
    pub dedup: Option<u64>,
    /// When the node took it, monotonic µs.
    pub entered_us: u64,
    /// It is not to be begun after this.
    pub deadline: Tick,
    /// Whether the deadline is the message's own end of life.
    pub dies_by_expiry: bool,
}

impl Outgoing {
    /// What it is called when its deadline passes.
    pub fn late(&self) -> Outcome {
        if self.dies_by_expiry { Outcome::Expired } else { Outcome::Slow }
    }
}

#[derive(Debug)]
enum Item {
    Control(Bytes),
    Message(Box<Outgoing>),
}

impl Item {
    fn bytes(&self) -> &Bytes {
        match self {
            Item::Control(bytes) => bytes,
            Item::Message(message) => &message.bytes,
        }
    }
}

/// What became of a message that was to wait.
#[derive(Debug)]
#[must_use]
pub enum Queued {
    /// It waits.
    Yes,
    /// There is no room: it is `slow`.
    NoRoom(Box<Outgoing>),
    /// There is no room, and its lane's policy is to close the connection.
    Close(Box<Outgoing>),
}

/// See the module. Empty, it holds no heap memory.
#[derive(Default, Debug)]
pub struct Outbox {
    items: VecDeque<Item>,
    /// Bytes of the first item that have gone.
    gone: usize,
    /// Bytes of all items, less `gone`.
    waiting: usize,
}

impl Outbox {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting
    }

    /// Bytes of what goes first, those that have gone included.
    pub fn first_bytes(&self) -> usize {
        self.items.front().map_or(0, |first| first.bytes().len())
    }

    /// Bytes of memory held on its behalf; bytes shared with others are counted whole.
    pub fn held_bytes(&self) -> usize {
        self.items.capacity() * size_of::<Item>() + self.waiting + self.gone
    }

    /// Queues a message, unless that makes more than `limit` bytes wait. An empty outbox takes any message.
    ///
    /// With [`LanePolicy::Replace`], an older message of the same collapse key whose first byte has not gone makes way,
    /// also where there is room: its outcome is `slow`. Where even that makes too little room, the older one stays.
    pub fn push(&mut self, message: Box<Outgoing>, limit: usize) -> Queued {
        let older = match (message.policy, message.collapse) {
            (LanePolicy::Replace, Some(key)) => self.find_collapsed(key),
            _ => None,
        };
        let older_bytes = older.map_or(0, |at| self.items[at].bytes().len());
        let others = self.items.len() - usize::from(older.is_some());
        let limit = if Mutant::OutboxWithoutLimit.is_on() { usize::MAX } else { limit };
        if others > 0 && self.waiting - older_bytes + message.bytes.len() > limit {
            return match message.policy {
                LanePolicy::Close => Queued::Close(message),
                LanePolicy::Drop | LanePolicy::Replace => Queued::NoRoom(message),
            };
        }
        if let Some(Item::Message(older)) = older.and_then(|at| self.items.remove(at)) {
            self.waiting -= older_bytes;
            older.ticket.answer(Outcome::Slow);
        }
        self.waiting += message.bytes.len();
        self.items.push_back(Item::Message(message));
        Queued::Yes
    }

    /// Puts a message of which `gone` bytes have gone into an empty outbox.
    pub fn push_begun(&mut self, message: Box<Outgoing>, gone: usize) {
        debug_assert!(self.items.is_empty());
        self.waiting = message.bytes.len() - gone;
        self.gone = gone;
        self.items.push_back(Item::Message(message));
    }

    /// Queues a control frame. Says no when more than `limit` and [`CONTROL_BYTES_OVER`] would wait.
    #[must_use]
    pub fn push_control(&mut self, bytes: Bytes, limit: usize) -> bool {
        if self.waiting + bytes.len() > limit + CONTROL_BYTES_OVER {
            return false;
        }
        self.waiting += bytes.len();
        self.items.push_back(Item::Control(bytes));
        true
    }

    /// The first bytes that wait, for one vectored write.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slot, item) in slices.iter_mut().zip(&self.items) {
            let skip = if count == 0 { self.gone } else { 0 };
            *slot = IoSlice::new(item.bytes().get(skip..).unwrap_or_default());
            count += 1;
        }
        count
    }

    /// The kernel took `count` bytes: hands out each message whose last byte has gone.
    pub fn advance(&mut self, count: usize, mut written: impl FnMut(Outgoing)) {
        debug_assert!(count <= self.waiting);
        self.waiting -= count;
        self.gone += count;
        while let Some(first) = self.items.front()
            && self.gone >= first.bytes().len()
        {
            self.gone -= first.bytes().len();
            if let Some(Item::Message(message)) = self.items.pop_front() {
                written(*message);
            }
        }
        self.free_when_empty();
    }

    /// Every message whose deadline has passed is answered, and removed unless its first byte has gone: what the peer has
    /// begun to read must be ended, however late, but its sender does not wait for that.
    pub fn expire(&mut self, now: Tick) {
        let begun = self.gone > 0;
        let mut first = true;
        let waiting = &mut self.waiting;
        self.items.retain_mut(|item| {
            let stays = std::mem::take(&mut first) && begun && !Mutant::BegunMessageDropped.is_on();
            let stays = stays || Mutant::LateMessageStillWritten.is_on();
            let Item::Message(message) = item else { return true };
            if !message.deadline.reached(now) {
                return true;
            }
            if stays && Mutant::LateSenderNotTold.is_on() {
                return true;
            }
            let late = message.late();
            std::mem::replace(&mut message.ticket, Ticket::none()).answer(late);
            if !stays {
                *waiting -= message.bytes.len();
            }
            stays
        });
        self.free_when_empty();
    }

    /// The earliest deadline of a message that is to be removed or answered then.
    pub fn next_deadline(&self) -> Option<Tick> {
        let begun = usize::from(self.gone > 0);
        let deadlines = self.items.iter().enumerate().filter_map(|(at, item)| match item {
            Item::Message(message) if at >= begun || !message.ticket.is_none() => Some(message.deadline),
            _ => None,
        });
        deadlines.reduce(Tick::earlier)
    }

    /// Answers every message that waits: the connection is gone, or takes nothing more. With `keep_begun` what the peer
    /// needs to understand the rest stays: a message of which a byte has gone, and all control bytes.
    pub fn abandon(&mut self, outcome: Outcome, keep_begun: bool) {
        let mut begun = self.gone > 0;
        for item in std::mem::take(&mut self.items) {
            let stays = keep_begun && (begun || matches!(item, Item::Control(_)));
            match item {
                item if stays => self.items.push_back(item),
                Item::Message(message) => message.ticket.answer(outcome),
                Item::Control(_) => {}
            }
            begun = false;
        }
        let left: usize = self.items.iter().map(|item| item.bytes().len()).sum();
        self.waiting = left.saturating_sub(self.gone);
        self.free_when_empty();
    }

    /// Where a message of this key waits whose first byte has not gone.
    fn find_collapsed(&self, key: u64) -> Option<usize> {
        let begun = usize::from(self.gone > 0 && !Mutant::BegunMessageReplaced.is_on());
        let same = |item: &Item| matches!(item, Item::Message(message) if message.collapse == Some(key));
        self.items.iter().skip(begun).position(same).map(|at| begun + at)
    }

    fn free_when_empty(&mut self) {
        if self.items.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests;
