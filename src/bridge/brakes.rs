//! What operators have told the lanes: to pause, to go on, to leave out what is old.
//!
//! Owns this node's state of it, and how the states of a fleet become one: every node says its own in its lease, and takes
//! from the others' what was said later. So a brake holds for nodes and processors that come later too, as long as one that
//! knows it lives.

use crate::model::{Lane, Lanes, lane::LANES_MAX};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// What was told one lane.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Brake {
    /// Nothing more of it is read.
    #[serde(default)]
    pub paused: bool,
    /// When that, or the opposite, was said, ms since 1970. Of two the later counts.
    #[serde(default)]
    pub said_ms: u64,
    /// What was made before is left out, ms since 1970. Of two the later counts.
    #[serde(default)]
    pub skip_before_ms: u64,
}

impl Brake {
    /// What is said when both were said.
    fn merged(self, other: Brake) -> Brake {
        let later = if other.said_ms > self.said_ms { other } else { self };
        Brake { skip_before_ms: self.skip_before_ms.max(other.skip_before_ms), ..later }
    }
}

/// What was told the lanes of one node, by their names; lanes that were never told anything are not in it.
pub type Told = BTreeMap<String, Brake>;

/// See the module.
#[derive(Debug)]
pub struct Brakes {
    names: Vec<String>,
    lanes: Mutex<[Brake; LANES_MAX]>,
    /// The same once more, for those who look for every record.
    skip_before_ms: [AtomicU64; LANES_MAX],
}

impl Brakes {
    /// Lanes that were told nothing.
    pub fn new(lanes: &Lanes) -> Self {
        let names = lanes.iter().map(|(_, lane)| lane.name.clone()).collect();
        Self { names, lanes: Mutex::default(), skip_before_ms: Default::default() }
    }

    /// A lane is to pause, or to go on.
    pub fn pause(&self, lane: Lane, paused: bool, unix_ms: u64) {
        self.set(lane, |brake| {
            // Later than what was said before, also where the clock is not.
            *brake = Brake { paused, said_ms: unix_ms.max(brake.said_ms + 1), ..*brake };
        });
    }

    /// What of a lane was made before this is left out.
    pub fn skip(&self, lane: Lane, before_ms: u64) {
        self.set(lane, |brake| brake.skip_before_ms = brake.skip_before_ms.max(before_ms));
    }

    /// Takes from what another node says what was said later. Lanes that this node does not have are passed over.
    pub fn merge(&self, told: &Told) {
        for (name, brake) in told {
            if let Some(at) = self.names.iter().position(|own| own == name) {
                self.set(Lane(at as u8), |own| *own = own.merged(*brake));
            }
        }
    }

    /// What a lane was told.
    pub fn of(&self, lane: Lane) -> Brake {
        self.lock().get(usize::from(lane.0)).copied().unwrap_or_default()
    }

    /// What of a lane was made before this is left out, ms since 1970.
    pub fn skip_before_ms(&self, lane: Lane) -> u64 {
        self.skip_before_ms.get(usize::from(lane.0)).map_or(0, |before| before.load(Relaxed))
    }

    /// All of it, for the lease.
    pub fn told(&self) -> Told {
        let lanes = *self.lock();
        let told = self.names.iter().cloned().zip(lanes);
        told.filter(|(_, brake)| *brake != Brake::default()).collect()
    }

    fn set(&self, lane: Lane, change: impl FnOnce(&mut Brake)) {
        let at = usize::from(lane.0);
        let mut lanes = self.lock();
        if let (Some(brake), Some(skip)) = (lanes.get_mut(at), self.skip_before_ms.get(at)) {
            change(brake);
            skip.store(brake.skip_before_ms, Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, [Brake; LANES_MAX]> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nodes_agree_on_what_was_said_last() {
        let lanes = Lanes::default();
        let (one, other) = (Brakes::new(&lanes), Brakes::new(&lanes));
        let low = lanes.by_name("low").unwrap();
        one.pause(low, true, 100);
        one.skip(low, 50);
        other.merge(&one.told());
        assert_eq!(other.of(low), Brake { paused: true, said_ms: 100, skip_before_ms: 50 });
        // Its clock is behind: what it says is the later all the same.
        other.pause(low, false, 90);
        other.skip(low, 40);
        one.merge(&other.told());
        assert_eq!(one.of(low), Brake { paused: false, said_ms: 101, skip_before_ms: 50 });
        assert_eq!((one.skip_before_ms(low), one.told().len()), (50, 1));
        one.merge(&[("bulk".to_owned(), Brake { paused: true, said_ms: 9, skip_before_ms: 9 })].into());
        assert_eq!(one.told().len(), 1);
    }

    proptest! {
        #[test]
        fn in_whatever_order_they_hear_of_it(
            said in proptest::collection::vec((any::<bool>(), 1..9u64, 0..9u64), 1..6),
            order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            // One node does not say two things at one time.
            let brakes: Vec<Brake> = said.iter().enumerate().map(|(at, &(paused, said_ms, skip_before_ms))| {
                Brake { paused, said_ms: said_ms * 10 + at as u64, skip_before_ms }
            }).collect();
            let merge = |order: &[usize]| order.iter().filter_map(|at| brakes.get(*at)).fold(Brake::default(), |all, one| all.merged(*one));
            prop_assert_eq!(merge(&order), merge(&[0, 1, 2, 3, 4, 5]));
        }
    }
}
