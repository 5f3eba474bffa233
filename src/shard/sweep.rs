//! Work on every connection, in slices: broadcasts, and the goaways of a drain.
//!
//! A sweep runs over the slots that were in use when it began, so it reaches each connection of that moment exactly once,
//! and some that came since.

use super::{Shard, net::Net};
use crate::{
    conn::Step,
    kit::{
        completion::Hold,
        mutant::Mutant,
        time::{Now, Tick},
    },
    model::{Outcome, Reason, mail::Broadcast},
};
use std::sync::Arc;

/// The longest slice of a turn that a sweep takes, µs.
const SLICE_US: u64 = 1_000;
/// Connections between two looks at the clock.
const CONNECTIONS_PER_LOOK: u32 = 16;
/// Connections in one slice, whatever the clock says.
const CONNECTIONS_PER_SLICE: u32 = 512;
/// How often a paced sweep goes on, ms.
const PACE_MS: u64 = 10;

/// A broadcast under way.
pub(super) struct BroadcastSweep {
    broadcast: Arc<Broadcast>,
    _hold: Hold<Outcome>,
    pace: Pace,
    counts: [u64; Outcome::ALL.len()],
}

/// The goaways of a drain under way.
pub(super) struct LeavingSweep {
    pace: Pace,
}

/// Slots spread evenly over a time.
struct Pace {
    next: u32,
    end: u32,
    began: Tick,
    spread_ms: u64,
}

impl BroadcastSweep {
    pub fn new(broadcast: Arc<Broadcast>, hold: Hold<Outcome>, end: u32, now: Tick) -> Self {
        let pace = Pace { next: 0, end, began: now, spread_ms: broadcast.spread_ms };
        Self { broadcast, _hold: hold, pace, counts: [0; Outcome::ALL.len()] }
    }

    fn publish(&mut self) {
        for outcome in Outcome::ALL {
            let count = std::mem::take(&mut self.counts[outcome as usize]);
            if count > 0 {
                self.broadcast.tally.add_many(outcome, count);
            }
        }
    }
}

impl LeavingSweep {
    pub fn new(end: u32, now: Tick, window_ms: u64) -> Self {
        Self { pace: Pace { next: 0, end, began: now, spread_ms: window_ms } }
    }

    /// Whether it will not come to a slot any more.
    pub fn has_passed(&self, slot: u32) -> bool {
        slot < self.pace.next || slot >= self.pace.end
    }
}

impl Pace {
    /// Slots before this one are due.
    fn reach(&self, now: Tick) -> u32 {
        let elapsed_ms = now.ms_since(self.began);
        if elapsed_ms >= self.spread_ms {
            return self.end;
        }
        (u64::from(self.end) * elapsed_ms / self.spread_ms) as u32
    }

    fn is_done(&self) -> bool {
        self.next >= self.end
    }
}

impl<N: Net> Shard<N> {
    /// Goes on with every sweep; says whether one has more that is due.
    pub(super) fn sweep(&mut self, now: Now) -> bool {
        let mut more = self.sweep_goaways(now);
        let mut broadcasts = std::mem::take(&mut self.broadcasts);
        broadcasts.retain_mut(|sweep| {
            let more_of_it = self.sweep_broadcast(now, sweep);
            more |= more_of_it;
            !sweep.pace.is_done()
        });
        // A letter handled meanwhile would have been a new one; there is none within a turn.
        debug_assert!(self.broadcasts.is_empty());
        self.broadcasts = broadcasts;
        more
    }

    /// When a paced sweep goes on.
    pub(super) fn next_sweep(&self, tick: Tick) -> Option<Tick> {
        let any = self.leaving.is_some() || !self.broadcasts.is_empty();
        (any && !Mutant::SweepNotWaitedFor.is_on()).then(|| tick.plus_ms(PACE_MS))
    }

    fn sweep_broadcast(&mut self, now: Now, sweep: &mut BroadcastSweep) -> bool {
        if sweep.broadcast.is_stopped() {
            sweep.pace.next = sweep.pace.end;
            return false;
        }
        let broadcast = sweep.broadcast.clone();
        let more = self.slice(now, &mut sweep.pace, |shard, slot| {
            let forgotten = Mutant::BroadcastForgetsSome.is_on() && slot % 8 == 7;
            let takes = shard.table.at(slot).is_some_and(|entry| entry.connection.takes_messages());
            let Some(key) = shard.table.key_at(slot).filter(|_| takes && !forgotten) else { return };
            let outcome = shard.deliver(now, key, &broadcast.message, || broadcast.tally.ticket());
            if let Some(outcome) = outcome {
                sweep.counts[outcome as usize] += 1;
            }
        });
        // One time for all of a slice: it is off by the length of a slice at most, and costs nothing for each connection.
        let written = sweep.counts[Outcome::Written as usize];
        if written > 0 {
            let micros = self.net.micros().saturating_sub(broadcast.message.entered_us);
            self.tools.stats.delivered_many(broadcast.message.lane, micros, written);
        }
        sweep.publish();
        more
    }

    fn sweep_goaways(&mut self, now: Now) -> bool {
        let Some(mut leaving) = self.leaving.take() else { return false };
        let more = self.slice(now, &mut leaving.pace, |shard, slot| {
            if Mutant::DrainForgetsSome.is_on() && slot % 8 == 7 {
                return;
            }
            if let Some(key) = shard.table.key_at(slot) {
                shard.with(now, key, |connection, context| {
                    connection.goaway(context, Reason::Drain);
                    Step::Stay
                });
            }
        });
        if !leaving.pace.is_done() {
            self.leaving = Some(leaving);
        }
        more
    }

    fn slice(&mut self, now: Now, pace: &mut Pace, mut visit: impl FnMut(&mut Self, u32)) -> bool {
        let reach = pace.reach(now.tick());
        let began_us = self.net.micros();
        let mut visited = 0;
        while pace.next < reach {
            if visited >= CONNECTIONS_PER_SLICE {
                return true;
            }
            if visited > 0
                && visited.is_multiple_of(CONNECTIONS_PER_LOOK)
                && self.net.micros().saturating_sub(began_us) >= SLICE_US
            {
                return true;
            }
            visit(self, pace.next);
            pace.next += 1;
            visited += 1;
        }
        false
    }
}
