//! What is given back to the group: who still has a turn here, and what is left to the next holder.
//!
//! Owns the partitions that were revoked, until nothing of them is open. What was posted gets its outcome here. Those in line
//! behind it have their turns for a while: else the next holder would deliver once more what came after them and is done.

use super::{Job, Processor, State};
use crate::{
    bridge::queue::{NoRoom, Partition, Request},
    kit::{mutant::Mutant, time::Now},
    model::Lane,
};
use bytes::Bytes;
use foldhash::fast::RandomState;
use std::collections::HashSet;

/// Whose a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// Its partition is held here.
    Ours,
    /// Its partition is given back: it has its turn, and where that does not end at once it is another's.
    Once,
    /// Its partition is another's: where it has not been posted yet, the other gives it its outcome.
    Others,
}

/// What is given back. See the module.
#[derive(Default)]
pub struct Leaving {
    revocations: Vec<Revocation>,
    /// Users of whom a message in what is given back has found an obstacle: those behind it are another's, too.
    stuck: HashSet<(Lane, Bytes), RandomState>,
}

/// What waits for its last outcomes.
struct Revocation {
    id: u64,
    partitions: Vec<Partition>,
    /// From then on what has not been posted is another's, monotonic ms.
    until_ms: u64,
}

/// How long messages in line have their turns in what is given back: less than the queue waits for it
/// ([`super::queue::Bounds::revoke_ms`]), and short, as higher lanes wait meanwhile for what others get. At 20,000 a second a
/// whole lane under way takes half of it.
pub const REVOKE_MS: u64 = 1_000;

impl Leaving {
    /// A message of the user has found an obstacle.
    pub fn stick(&mut self, lane: Lane, user: &Bytes) {
        self.stuck.insert((lane, user.clone()));
    }

    /// Whether one has.
    pub fn is_stuck(&self, lane: Lane, user: &Bytes) -> bool {
        !self.stuck.is_empty()
            && self.stuck.contains(&(lane, user.clone()))
            && !Mutant::StuckForgotten.is_on()
    }

    /// When to look again, ms.
    pub fn next_ms(&self, now_ms: u64) -> Option<u64> {
        // One whose time is over waits for outcomes, which wake.
        self.revocations
            .iter()
            .map(|revocation| revocation.until_ms)
            .filter(|until_ms| *until_ms > now_ms)
            .min()
    }
}

impl Processor {
    /// Partitions are to be given back; `revocation` is told when that is done. None: they are lost already.
    pub(super) fn give_back(&mut self, now: Now, partitions: Vec<Partition>, revocation: Option<u64>) {
        match revocation {
            None => {
                self.leave_to_others(&partitions, Claim::Others);
                partitions.iter().for_each(|partition| self.ledgers.remove(partition));
            }
            Some(id) => {
                let claim = if Mutant::LeftAtOnce.is_on() { Claim::Others } else { Claim::Once };
                self.leave_to_others(&partitions, claim);
                let until_ms = now.millis() + REVOKE_MS;
                self.leaving.revocations.push(Revocation { id, partitions, until_ms });
            }
        }
    }

    /// What is under way in these partitions gets its outcome here if it has been posted. What waits to be tried again is
    /// another's, and of the rest what the claim says.
    fn leave_to_others(&mut self, partitions: &[Partition], claim: Claim) {
        if Mutant::RevokedNotLeft.is_on() {
            return;
        }
        let ledgers = &self.ledgers;
        let is_theirs = |job: &Job| partitions.iter().any(|partition| ledgers.is_of(job.place, partition));
        let mut waiting = Vec::new();
        for (id, job) in &mut self.jobs {
            if is_theirs(job) {
                job.claim = claim;
                if job.state == State::Later {
                    self.leaving.stick(job.lane(), job.delivery.user());
                    waiting.push(id);
                }
            }
        }
        for id in waiting {
            if Mutant::AbandonedCounted.is_on() {
                self.jobs[id].delivery.count();
            }
            self.give_up(id);
        }
    }

    /// Leaves to others what has had no turn in time.
    pub(super) fn hurry(&mut self, now: Now) {
        let late: Vec<Partition> = self
            .leaving
            .revocations
            .iter()
            .filter(|revocation| revocation.until_ms <= now.millis())
            .flat_map(|revocation| revocation.partitions.iter().cloned())
            .collect();
        if !late.is_empty() {
            self.leave_to_others(&late, Claim::Others);
        }
    }

    /// Gives back what was revoked, as soon as nothing of it is open.
    pub(super) fn release(&mut self, submit: &mut dyn FnMut(Request) -> Result<(), NoRoom>) {
        let ledgers = &mut self.ledgers;
        self.leaving.revocations.retain(|Revocation { id, partitions, .. }| {
            let is_open = partitions.iter().any(|partition| ledgers.is_open(partition));
            let is_open = is_open && !Mutant::ReleasedTooEarly.is_on() || Mutant::ReleasedForgotten.is_on();
            if !is_open {
                partitions.iter().for_each(|partition| ledgers.remove(partition));
                // As above.
                let _ = submit(Request::Released { revocation: *id });
            }
            is_open
        });
        if self.leaving.revocations.is_empty() {
            self.leaving.stuck.clear();
        }
    }
}
