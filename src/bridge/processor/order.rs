//! Whose turn it is: messages for one user within a lane go one after the other.
//!
//! Owns the lines. A line is there as long as its first is under way; who comes meanwhile waits behind. Two messages at
//! once could change places where one finds its connection gone and is looked up again.

use crate::{kit::mutant::Mutant, model::Lane};
use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table::Entry};
use std::hash::BuildHasher;

/// See the module. Bounded by what is under way.
///
/// A line names its first and its last message; each message knows the one behind it and the hash of its line. So lines are
/// small, and names are not kept twice.
#[derive(Default)]
pub struct Order {
    lines: HashTable<Line>,
    seed: RandomState,
    waiting: usize,
}

struct Line {
    hash: u64,
    first: usize,
    last: usize,
}

impl Order {
    /// Which line messages for a user in a lane stand in.
    pub fn hash(&self, lane: Lane, user: &[u8]) -> u64 {
        self.seed.hash_one((lane, user))
    }

    /// A message has come. `is_same` says whether one that is first in its line is for the same user and lane. None: it is its
    /// turn. Else it waits behind the one that is named.
    pub fn enter(&mut self, hash: u64, job: usize, is_same: impl Fn(usize) -> bool) -> Option<usize> {
        let is_its = |line: &Line| line.hash == hash && is_same(line.first);
        match self.lines.entry(hash, is_its, |line| line.hash) {
            Entry::Vacant(place) => {
                place.insert(Line { hash, first: job, last: job });
                None
            }
            Entry::Occupied(_) if Mutant::OrderIgnored.is_on() => None,
            Entry::Occupied(mut line) => {
                self.waiting += 1;
                Some(std::mem::replace(&mut line.get_mut().last, job))
            }
        }
    }

    /// The first in the line is through; `next` is the one behind it, whose turn it is now.
    pub fn leave(&mut self, hash: u64, job: usize, next: Option<usize>) {
        let Ok(mut line) = self.lines.find_entry(hash, |line| line.first == job) else { return };
        match next {
            Some(next) => {
                line.get_mut().first = next;
                self.waiting -= 1;
            }
            None => drop(line.remove()),
        }
    }

    /// How many wait for another.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages by their numbers: whose each is, and who is behind it.
    #[derive(Default)]
    struct Bench {
        order: Order,
        jobs: Vec<(Lane, &'static str, Option<usize>)>,
    }

    impl Bench {
        fn enter(&mut self, lane: u8, user: &'static str) -> bool {
            let hash = self.hash(Lane(lane), user);
            let job = self.jobs.len();
            self.jobs.push((Lane(lane), user, None));
            let is_same = |first: usize| (self.jobs[first].0, self.jobs[first].1) == (Lane(lane), user);
            let before = self.order.enter(hash, job, is_same);
            before.into_iter().for_each(|before| self.jobs[before].2 = Some(job));
            before.is_none()
        }

        fn leave(&mut self, job: usize) -> Option<usize> {
            let (lane, user, next) = self.jobs[job];
            self.order.leave(self.hash(lane, user), job, next);
            next
        }

        /// All lines of a lane have one hash: it decides nothing by itself.
        fn hash(&self, lane: Lane, _: &str) -> u64 {
            self.order.hash(lane, b"")
        }
    }

    #[test]
    fn each_waits_for_the_one_before_it_of_the_same_user_and_lane() {
        let mut bench = Bench::default();
        assert!(bench.enter(0, "ann") && bench.enter(1, "ann") && bench.enter(0, "bob"));
        assert!(!bench.enter(0, "ann") && !bench.enter(0, "ann"));
        assert_eq!((bench.leave(2), bench.order.waiting()), (None, 2));
        assert_eq!(bench.leave(0), Some(3));
        assert!(!bench.enter(0, "ann"));
        assert_eq!((bench.leave(3), bench.leave(4), bench.leave(5)), (Some(4), Some(5), None));
        assert!(bench.enter(0, "ann") && bench.enter(0, "bob"));
        assert_eq!((bench.leave(1), bench.order.waiting(), bench.order.lines.len()), (None, 0, 2));
    }
}
