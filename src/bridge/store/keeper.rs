//! The thread that keeps the promise of one answer in time, whatever the others are stuck in: a name that does not
//! resolve, a handshake that drags on, a reply that comes byte by byte.
//!
//! Answers what is overdue and what has no master. Never does I/O.

use super::{fleet::Fleet, seam::Failure};
use std::sync::Arc;

/// Until the store ends.
pub(super) fn run(fleet: &Arc<Fleet>) {
    // What comes while it rests has yet more time than this.
    let (resting, watching) = (fleet.timeout / 8, fleet.timeout / 40);
    let mut rest = resting;
    let mut overdue = Vec::new();
    while !fleet.has_ended() {
        fleet.keeper.wait(rest);
        for pending in fleet.take_strays() {
            let failure = pending.request.check().err().unwrap_or(Failure::Down);
            fleet.answer(pending, Err(failure));
        }
        let now_us = fleet.clock.micros();
        let mut busy = false;
        for lane in &fleet.map().lanes {
            busy |= lane.take_overdue(now_us, &mut overdue);
        }
        for pending in overdue.drain(..) {
            fleet.answer(pending, Err(Failure::Timeout));
        }
        rest = if busy { watching } else { resting };
    }
}
