//! Registering again what a loss may have taken.
//!
//! Owns how far that has come, and its rate: the fleet's, shared among the nodes that live.

use super::{Registrar, seam::Own};
use crate::{
    bridge::store::{Slots, slot_of_user},
    kit::mutant::Mutant,
};

/// Registrations that may be saved up while nobody advances.
const ALLOWANCE_MAX: f64 = 10_000.0;
/// Connections looked at in one advance, whether or not they are in the slots concerned: a ms of work or so.
const WALK_MAX: usize = 10_000;

/// Connections are registered again.
pub(super) struct Healing {
    from: u64,
    /// None: all.
    slots: Option<Slots>,
    /// Registrations that may be asked for, and when that was worked out.
    allowance: f64,
    at_ms: u64,
}

impl Registrar {
    /// Begins from the start, also with what an earlier loss has left to do.
    pub(super) fn begin_healing(&mut self, now_ms: u64, slots: Option<Slots>) {
        let slots = match (self.healing.take().map(|healing| healing.slots), slots) {
            (None, slots) => slots,
            (Some(Some(mut held)), Some(more)) => {
                held.extend(more.into_iter().filter(|range| !held.contains(range)).collect::<Vec<_>>());
                Some(held)
            }
            (Some(_), _) => None,
        };
        self.healing = Some(Healing { from: 0, slots, allowance: 0.0, at_ms: now_ms });
    }

    /// Whether the user's connections are among those that are registered again.
    pub(super) fn heals(&self, user: &str) -> bool {
        self.healing.as_ref().is_some_and(|healing| is_among(&healing.slots, user))
    }

    /// Goes on, at the node's share of the rate.
    pub(super) fn heal(&mut self, now_ms: u64, own: &dyn Own) {
        if self.changes.overflowed && self.healing.is_none() {
            self.changes.overflowed = false;
            self.begin_healing(now_ms, None);
        }
        let nodes = self.fleet.leases(now_ms).count().max(1);
        let Some(healing) = &mut self.healing else { return };
        let rate_per_ms = self.settings.heal_rate as f64 / 1_000.0 / nodes as f64;
        let passed_ms = now_ms.saturating_sub(healing.at_ms) as f64;
        healing.allowance = (healing.allowance + passed_ms * rate_per_ms).min(ALLOWANCE_MAX);
        healing.at_ms = now_ms;
        let (slots, changes) = (&healing.slots, &mut self.changes);
        let (mut walked, mut registered) = (0, 0);
        loop {
            let max = (healing.allowance as usize - registered).min(WALK_MAX - walked);
            if max == 0 {
                break;
            }
            let next = own.walk(healing.from, max, &mut |arrived| {
                let forgotten = Mutant::HealForgetsSome.is_on() && arrived.handle.key.index % 4 == 3;
                if is_among(slots, &arrived.user) && !forgotten {
                    registered += 1;
                    changes.arrive(arrived);
                }
            });
            walked += max;
            let Some(from) = next else {
                self.healing = None;
                return;
            };
            healing.from = from;
        }
        healing.allowance -= registered as f64;
    }
}

fn is_among(slots: &Option<Slots>, user: &str) -> bool {
    let slot = slot_of_user(user);
    slots.as_ref().is_none_or(|slots| slots.iter().any(|some| some.contains(&slot)))
}
