//! The event loop of one core: the only client socket I/O.
//!
//! Owns its listeners, its connections and their one timer each. Shares nothing with the other shards but the directory and
//! a few counters; hears from other threads by its mailbox. A turn does a bounded amount of each kind of work, in one order:
//!
//! ```text
//! poll -> ready sockets -> accept -> left to read -> mailbox -> timers -> sweeps (broadcasts, drain) -> buffers over budget
//! ```

mod accept;
#[cfg(any(test, feature = "sim"))]
pub mod audit;
mod io;
pub mod listen;
mod mail;
pub mod net;
pub mod net_mio;
mod sweep;
mod table;
pub mod thread;
mod timers;

pub use thread::ShardThread;

use crate::{
    conn::{Connection, Context, Step, Tools},
    directory::Dedup,
    kit::{
        mailbox::{Receiver, Sender},
        slab::{Key, Slab},
        time::{Now, Tick},
        token_bucket::TokenBucket,
        wheel::Wheel,
    },
    model::{Handle, Reason, mail::ToShard},
};
use net::{Event, Net};
use std::{collections::VecDeque, net::IpAddr, sync::Arc, time::Duration};
use sweep::{BroadcastSweep, LeavingSweep};
use table::Entry;

/// One read takes at most so many bytes; one buffer serves all connections of the shard.
pub const SCRATCH_BYTES: usize = 64 * 1_024;
/// Log lines about single connections, per second and shard: a flood of bad clients must not become a flood of lines.
const LOG_LINES_PER_SECOND: f64 = 10.0;

/// Letters to other shards that found no room are posted again after this, ms.
const RETRY_MS: u64 = 10;

/// What a shard is made of.
pub struct Parts<N> {
    /// Its number within the node.
    pub index: u16,
    /// Its sockets and clocks.
    pub net: N,
    /// What its connections share.
    pub tools: Tools,
    /// Ids that the node has written.
    pub dedup: Arc<Dedup>,
    /// Its mailbox.
    pub mail: Receiver<ToShard>,
    /// The mailboxes of all shards, its own included, in their order.
    pub shards: Vec<Sender<ToShard>>,
}

/// What each event may look at and none changes.
struct Own {
    /// The shard's number within the node.
    index: u16,
    dedup: Arc<Dedup>,
    /// How others write to it.
    mailbox: Sender<ToShard>,
}

/// See the module.
pub struct Shard<N> {
    own: Own,
    net: N,
    tools: Tools,
    mail: Receiver<ToShard>,
    shards: Vec<Sender<ToShard>>,
    table: Slab<Entry>,
    wheel: Wheel,
    scratch: Box<[u8]>,
    letters: Vec<ToShard>,
    /// Listeners that had more connections than a turn takes.
    accepting: Vec<bool>,
    /// Out of descriptors: not before this.
    accept_after: Option<Tick>,
    /// Connections that had more to read than a turn takes.
    unread: VecDeque<Key>,
    /// Connections of other shards put out of their place, whose shard's mailbox was full.
    undelivered: Vec<(Handle, Reason)>,
    broadcasts: Vec<BroadcastSweep>,
    leaving: Option<LeavingSweep>,
    /// A drain left the listeners to others who hold them.
    left_to_others: bool,
    published_buffers: usize,
    log_budget: TokenBucket,
    stopped: bool,
}

impl<N: Net> Shard<N> {
    /// A shard that has accepted nothing yet.
    ///
    /// # Panics
    /// When the mailboxes lack its own.
    pub fn new(parts: Parts<N>) -> Self {
        let now = parts.net.now();
        let mailbox = parts.shards[usize::from(parts.index)].clone();
        Self {
            own: Own { index: parts.index, dedup: parts.dedup, mailbox },
            accepting: vec![false; parts.net.listeners()],
            net: parts.net,
            table: Slab::with_limit(parts.tools.settings.table_max),
            tools: parts.tools,
            mail: parts.mail,
            shards: parts.shards,
            wheel: Wheel::new(now.tick()),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            letters: Vec::new(),
            accept_after: None,
            unread: VecDeque::new(),
            undelivered: Vec::new(),
            broadcasts: Vec::new(),
            leaving: None,
            left_to_others: false,
            published_buffers: 0,
            log_budget: TokenBucket::new(LOG_LINES_PER_SECOND, LOG_LINES_PER_SECOND, now.micros),
            stopped: false,
        }
    }

    /// Waits for events, at most so long.
    ///
    /// # Errors
    /// When the poll itself fails.
    pub fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> std::io::Result<()> {
        self.net.poll(events, timeout)
    }

    /// Does what the events and the time ask for; says how long the next poll may wait, None: for an event.
    pub fn turn(&mut self, events: &[Event]) -> Option<Duration> {
        let now = self.net.now();
        let lag_us = self.lag_us(now);
        for &event in events {
            self.handle_event(now, event);
        }
        self.accept_some(now);
        self.read_more(now);
        let more_mail = self.read_mail(now);
        let more_timers = self.fire_timers(now);
        let more_sweeps = self.sweep(now);
        self.post_undelivered();
        self.shed_buffers(now);
        self.publish(now, lag_us);
        #[cfg(debug_assertions)]
        self.check_invariants();
        let more =
            more_mail || more_timers || more_sweeps || !self.unread.is_empty() || self.accepts_now(now);
        if more { Some(Duration::ZERO) } else { self.until_next(now) }
    }

    /// Whether it was told to stop, and has.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Connections in any phase.
    pub fn connections(&self) -> usize {
        self.table.len()
    }

    fn handle_event(&mut self, now: Now, event: Event) {
        match event {
            Event::Mail => {}
            Event::Accept { listener } => {
                if let Some(accepting) = self.accepting.get_mut(listener) {
                    *accepting = true;
                }
            }
            Event::Ready { token, readable, ended, writable, failed } => {
                let key = Key::from_token(token);
                if failed {
                    // What it has left to say comes first, then how it failed.
                    self.read(now, key, true);
                    return;
                }
                if writable {
                    self.flush(now, key);
                }
                if readable || ended {
                    self.read(now, key, ended);
                }
            }
        }
    }

    /// Lets a connection handle something, and does what it says. A stale key is nobody.
    fn with(&mut self, now: Now, key: Key, handle: impl FnOnce(&mut Connection, &mut Context<'_>) -> Step) {
        let Some(entry) = self.table.get_mut(key) else { return };
        let mut context = context(&self.own, &mut self.tools, now, key, None);
        let step = handle(&mut entry.connection, &mut context);
        self.settle(now, key, step);
    }

    fn until_next(&self, now: Now) -> Option<Duration> {
        let tick = now.tick();
        let sweep = self.next_sweep(tick);
        let retry = (!self.undelivered.is_empty()).then(|| tick.plus_ms(RETRY_MS));
        let deadlines = [self.wheel.next_deadline(), sweep, self.accept_after, retry];
        let next = deadlines.into_iter().flatten().reduce(Tick::earlier)?;
        // A tick begins on its millisecond: what is due then is not fired before.
        let into_tick_us = now.micros % (crate::kit::time::TICK_MS * 1_000);
        let wait_us = (next.ms_since(tick) * 1_000).saturating_sub(into_tick_us);
        Some(Duration::from_micros(wait_us))
    }

    /// How late the loop is for its earliest timer.
    fn lag_us(&self, now: Now) -> u64 {
        self.wheel.next_deadline().map_or(0, |due| now.tick().ms_since(due) * 1_000)
    }

    fn publish(&mut self, now: Now, lag_us: u64) {
        self.tools.lents.publish(&mut self.published_buffers, &self.tools.shared.buffers);
        let stats = &self.tools.stats;
        stats.lent_bytes(self.tools.lents.bytes() as u64);
        stats.outbox_bytes(self.tools.lents.waiting_bytes() as u64);
        for lane in 0..=self.tools.settings.lanes.len() {
            stats.mailbox_depth(lane, self.own.mailbox.depth(lane) as u64);
        }
        stats.wheel_len(self.wheel.len() as u64);
        stats.handshakes_waiting(self.tools.opening as u64);
        stats.turn(lag_us, self.net.micros().saturating_sub(now.micros));
    }

    #[cfg(debug_assertions)]
    fn check_invariants(&self) {
        assert_eq!(self.wheel.len(), self.table.len(), "each live connection has exactly one timer");
        assert!(self.tools.out.is_empty() && self.tools.displaced.is_empty());
    }
}

fn context<'a>(own: &'a Own, tools: &'a mut Tools, now: Now, key: Key, peer: Option<IpAddr>) -> Context<'a> {
    let handle = Handle { shard: own.index, key };
    Context { now, tick: now.tick(), peer, handle, tools, dedup: &own.dedup, mail: &own.mailbox }
}

#[cfg(test)]
mod tests;
