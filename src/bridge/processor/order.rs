//! Whose turn it is: messages for one user within a lane go one after the other.
//!
//! Owns the lines. A line is there as long as its first is under way; who comes meanwhile waits behind. Two messages at
//! once could change places where one finds its connection gone and is looked up again.

use crate::{kit::mutant::Mutant, model::Lane};
use bytes::Bytes;
use foldhash::fast::RandomState;
use std::collections::{HashMap, VecDeque, hash_map::Entry};

/// See the module. Bounded by what is under way.
#[derive(Default)]
pub struct Order {
    lines: HashMap<(Lane, Bytes), VecDeque<usize>, RandomState>,
    waiting: usize,
}

impl Order {
    /// A message has come for the user. Says whether it is its turn; if not, it waits.
    pub fn enter(&mut self, lane: Lane, user: &Bytes, job: usize) -> bool {
        match self.lines.entry((lane, user.clone())) {
            Entry::Vacant(line) => {
                line.insert(VecDeque::new());
                true
            }
            Entry::Occupied(mut line) => {
                if Mutant::OrderIgnored.is_on() {
                    return true;
                }
                line.get_mut().push_back(job);
                self.waiting += 1;
                false
            }
        }
    }

    /// The first in the line is through. Says whose turn it is now.
    pub fn leave(&mut self, lane: Lane, user: &Bytes) -> Option<usize> {
        let key = (lane, user.clone());
        let next = self.lines.get_mut(&key)?.pop_front();
        match next {
            Some(_) => self.waiting -= 1,
            None => drop(self.lines.remove(&key)),
        }
        next
    }

    /// How many wait for another.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_waits_for_the_one_before_it_of_the_same_user_and_lane() {
        let mut order = Order::default();
        let (ann, bob) = (Bytes::from_static(b"ann"), Bytes::from_static(b"bob"));
        assert!(
            order.enter(Lane(0), &ann, 1) && order.enter(Lane(1), &ann, 2) && order.enter(Lane(0), &bob, 3)
        );
        assert!(!order.enter(Lane(0), &ann, 4) && !order.enter(Lane(0), &ann, 5));
        assert_eq!((order.leave(Lane(0), &bob), order.waiting()), (None, 2));
        assert_eq!(order.leave(Lane(0), &ann), Some(4));
        assert_eq!(order.leave(Lane(0), &ann), Some(5));
        assert_eq!(order.leave(Lane(0), &ann), None);
        assert!(order.enter(Lane(0), &ann, 6));
        assert_eq!(order.leave(Lane(1), &ann), None);
    }
}
