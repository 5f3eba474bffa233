//! Timers that are due.

use super::{Shard, context, net::Net};
use crate::{
    conn::Step,
    kit::{slab::Key, time::Now},
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
        let mut context = context(self.index, &mut self.tools, &self.dedup, now, key, None);
        let (step, due) = entry.connection.handle_timeout(&mut context, late_ms);
        // Never at once again: whatever is due has been done.
        let due = if due.reached(tick) { tick.plus(1) } else { due };
        self.wheel.schedule(&mut self.table, id, due);
        self.settle(now, key, step);
    }

    /// Brings a timer forward where the connection has come to need it earlier. Later is left to the timer itself.
    pub(super) fn rearm(&mut self, key: Key) {
        let Some(entry) = self.table.get_mut(key) else { return };
        let (wanted, due) = (entry.connection.deadline(&self.tools), entry.timer.due());
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
