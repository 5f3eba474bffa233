//! Messages that could not be delivered yet: those whose node is not reached, and those for whose user the registry is asked
//! in vain.
//!
//! Owns when each is tried again. Bounded by what is under way; a lane that is full of such is not read any more.

use crate::model::{Lane, lane::LANES_MAX};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

/// The first pause before a node is tried again, ms; each is twice the one before, up to the last.
const PAUSE_MS: u64 = 50;
/// See [`PAUSE_MS`].
const PAUSE_MAX_MS: u64 = 1_000;
/// How often the park is looked at, ms.
pub const PARK_LOOK_MS: u64 = 100;
/// Of each lane so many are tried at each look while the registry is away: it may be so for some of the users only.
const PROBES: usize = 16;
/// So many are let go at once when it is back.
const LET_GO: usize = 1_000;

/// One message, under the number that no other has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Waiter {
    /// Its place among those under way.
    pub job: usize,
    /// Its number.
    pub number: u64,
}

/// See the module.
#[derive(Default)]
pub struct Waiting {
    delayed: BinaryHeap<Reverse<(u64, Waiter)>>,
    parked: [VecDeque<Waiter>; LANES_MAX],
    looked_ms: u64,
}

impl Waiting {
    /// A node was not reached, for the `tries`-th time.
    pub fn delay(&mut self, now_ms: u64, tries: u32, waiter: Waiter) {
        let pause_ms = PAUSE_MS.checked_shl(tries).map_or(PAUSE_MAX_MS, |pause| pause.min(PAUSE_MAX_MS));
        self.delayed.push(Reverse((now_ms + pause_ms, waiter)));
    }

    /// The registry could not say where the user is.
    pub fn park(&mut self, now_ms: u64, lane: Lane, waiter: Waiter) {
        if self.parked.iter().all(VecDeque::is_empty) {
            self.looked_ms = now_ms;
        }
        self.parked[usize::from(lane.0) % LANES_MAX].push_back(waiter);
    }

    /// Those of a lane that wait for the registry.
    pub fn parked(&self, lane: Lane) -> usize {
        self.parked.get(usize::from(lane.0)).map_or(0, VecDeque::len)
    }

    /// Whose time has come. `keep` says of the others whether they still wait, at each look.
    pub fn take_due(
        &mut self,
        now_ms: u64,
        registry_answers: impl FnOnce() -> bool,
        keep: impl Fn(Waiter) -> bool,
        due: &mut VecDeque<Waiter>,
    ) {
        while self.delayed.peek().is_some_and(|Reverse((at_ms, _))| *at_ms <= now_ms) {
            due.extend(self.delayed.pop().map(|Reverse((_, waiter))| waiter));
        }
        if self.parked.iter().all(VecDeque::is_empty) || now_ms < self.looked_ms + PARK_LOOK_MS {
            return;
        }
        self.looked_ms = now_ms;
        let at_once = if registry_answers() { LET_GO } else { PROBES };
        for lane in &mut self.parked {
            due.extend(lane.drain(..at_once.min(lane.len())));
            let over = lane.iter().filter(|waiter| !keep(**waiter)).copied().collect::<Vec<_>>();
            if !over.is_empty() {
                lane.retain(|waiter| !over.contains(waiter));
                due.extend(over);
            }
        }
    }

    /// When to look again, ms; None: there is no reason to.
    pub fn next_ms(&self) -> Option<u64> {
        let delayed = self.delayed.peek().map(|Reverse((at_ms, _))| *at_ms);
        let is_parked = self.parked.iter().any(|lane| !lane.is_empty());
        let look = is_parked.then_some(self.looked_ms + PARK_LOOK_MS);
        [delayed, look].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(job: usize) -> Waiter {
        Waiter { job, number: job as u64 }
    }

    fn due(waiting: &mut Waiting, now_ms: u64, answers: bool, over: &[usize]) -> Vec<usize> {
        let mut due = VecDeque::new();
        waiting.take_due(now_ms, || answers, |waiter| !over.contains(&waiter.job), &mut due);
        due.iter().map(|waiter| waiter.job).collect()
    }

    #[test]
    fn a_node_is_tried_again_ever_later() {
        let mut waiting = Waiting::default();
        waiting.delay(0, 0, waiter(1));
        waiting.delay(0, 1, waiter(2));
        waiting.delay(0, 40, waiter(3));
        assert_eq!(waiting.next_ms(), Some(50));
        assert_eq!(due(&mut waiting, 49, true, &[]), [0; 0]);
        assert_eq!(due(&mut waiting, 100, true, &[]), [1, 2]);
        assert_eq!(due(&mut waiting, 1_000, true, &[]), [3]);
        assert_eq!(waiting.next_ms(), None);
    }

    #[test]
    fn the_park_is_tried_a_little_until_the_registry_is_back_and_then_let_go() {
        let mut waiting = Waiting::default();
        for job in 0..40 {
            waiting.park(50, Lane(1), waiter(job));
        }
        assert_eq!(waiting.next_ms(), Some(150), "the first has its time too");
        assert_eq!(due(&mut waiting, 149, true, &[]), [0; 0]);
        assert_eq!(waiting.parked(Lane(1)), 40);
        assert_eq!(due(&mut waiting, 150, false, &[30]).len(), PROBES + 1);
        assert_eq!(due(&mut waiting, 249, true, &[]), [0; 0]);
        assert_eq!(due(&mut waiting, 250, true, &[]).len(), 40 - PROBES - 1);
        assert_eq!((waiting.parked(Lane(1)), waiting.next_ms()), (0, None));
    }
}
