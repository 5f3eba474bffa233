//! Timers that are due.

use super::{Shard, context, net::Net};
use crate::{
    conn::Step,
    kit::{
        slab::Key,
        time::{Now, Tick},
    },
};

/// Timers fired or moved within the wheel per turn.
const TIMERS_PER_TURN: usize = 4_096;

impl<N: Net> Shard<N> {
    /// Fires what is due; says whether there is more.
    pub(super) fn fire_timers(&mut self, now: Now) -> bool {
        let mut budget = TIMERS_PER_TURN;
        while let Some(id) = self.wheel.pop_expired(&mut self.table, now.tick(), &mut budget) {
            self.fire(now, id);
        }
        budget == 0
    }

    fn fire(&mut self, now: Now, id: u32) {
        let Some(key) = self.table.key_at(id) else { return };
        let Some(entry) = self.table.at_mut(id) else { return };
        let tick = now.tick();
        let late_ms = tick.ms_since(entry.timer.due());
        let mut context = context(&self.own, &mut self.tools, now, key, None);
        let (step, due) = entry.connection.handle_timeout(&mut context, late_ms);
        self.wheel.schedule(&mut self.table, id, not_now(due, now));
        self.settle(now, key, step);
    }

    /// Brings a timer forward where the connection has come to need it earlier. Later is left to the timer itself.
    pub(super) fn rearm(&mut self, now: Now, key: Key) {
        let Some(entry) = self.table.get_mut(key) else { return };
        let (wanted, due) = (not_now(entry.connection.deadline(&self.tools), now), entry.timer.due());
        if !entry.timer.is_armed() || wanted.is_before(due) {
            if entry.timer.is_armed() {
                entry.connection.postpone_ping(&mut self.tools, due);
            }
            self.wheel.schedule(&mut self.table, key.index, wanted);
        }
    }

    /// What a connection is when its shard ends: nobody waits for its answer.
    pub(super) fn end_now(&mut self, now: Now, key: Key, reason: crate::model::Reason) {
        self.with(now, key, |connection, context| connection.close(context, reason));
        self.with(now, key, |_, _| Step::Gone(reason));
    }
}

/// A deadline that has passed is looked at in the next tick: what was due now has been done, and a timer that were armed for
/// the past would fire in this turn for ever.
fn not_now(due: Tick, now: Now) -> Tick {
    if due.reached(now.tick()) { now.tick().plus(1) } else { due }
}
