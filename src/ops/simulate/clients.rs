//! Clients without a connection: when they try again.

use super::bins::{Bins, Ring};
use crate::kit::random::Random;

/// Failed tries in a row that are told apart; beyond them waits grow no more.
pub const TRIES: usize = 8;

/// Clients by the tries that have failed them in a row.
pub type Counts = [u64; TRIES];

/// Where clients are between two connections.
#[derive(Debug)]
pub struct Away {
    rooms: [Ring; TRIES],
}

impl Away {
    /// Nobody is there; waits last fewer than `len` steps.
    pub fn new(len: usize) -> Self {
        Self { rooms: std::array::from_fn(|_| Ring::new(len)) }
    }

    /// Clients that have failed `tries` times wait, as the law says.
    pub fn wait(&mut self, tries: usize, count: u64, bins: &Bins, random: &mut Random) {
        self.rooms[tries.min(TRIES - 1)].deal(count, bins, random);
    }

    /// Clients come in so many steps.
    pub fn come_in(&mut self, steps: usize, count: u64) {
        self.rooms[0].add(steps, count);
    }

    /// Those who try now.
    pub fn pop(&mut self) -> Counts {
        std::array::from_fn(|tries| self.rooms[tries].pop())
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.rooms.iter().map(Ring::total).sum()
    }
}
