//! What is to be done later: a heap of 16 bytes a timer, swept when most of it is void.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Timers that are not worth a sweep.
const FEW: usize = 4_096;
/// Bits of [`What`].
const WHAT_BITS: u32 = 3;

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// No answer came, or the server does not let go.
    GiveUp,
    /// The visit is over.
    Dwelt,
    /// It was asked to go.
    Leave,
    /// It comes back.
    Back,
    /// A slow client reads.
    Look,
}

impl What {
    const ALL: [What; 5] = [What::GiveUp, What::Dwelt, What::Leave, What::Back, What::Look];
}

/// For which connection in which of its phases; void in any other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Owner {
    pub key: u32,
    pub stamp: u32,
}

/// The moment, us, above [`What`]; and whose.
type Timer = Reverse<(u64, Owner)>;

const _: () = assert!(size_of::<Timer>() == 16);

#[derive(Default)]
pub struct Timers {
    heap: BinaryHeap<Timer>,
    /// At how many it is worth while to look for void ones.
    crowd: usize,
}

impl Timers {
    /// When the first one is due, us; it may be void.
    pub fn next_us(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| at >> WHAT_BITS)
    }

    pub fn push(&mut self, at_us: u64, owner: Owner, what: What, is_live: impl Fn(Owner) -> bool) {
        if self.heap.len() >= self.crowd.max(FEW) {
            self.heap.retain(|&Reverse((_, owner))| is_live(owner));
            self.crowd = self.heap.len() * 2;
            self.heap.shrink_to(self.crowd);
        }
        self.heap.push(Reverse((at_us << WHAT_BITS | what as u64, owner)));
    }

    /// Takes the first one if it is due.
    pub fn pop(&mut self, now_us: u64) -> Option<(Owner, What)> {
        if self.next_us()? > now_us {
            return None;
        }
        let Reverse((at, owner)) = self.heap.pop()?;
        let capacity = self.heap.capacity();
        if capacity > 2 * FEW && self.heap.len() < capacity / 4 {
            self.heap.shrink_to(capacity / 2);
        }
        Some((owner, What::ALL[(at & ((1 << WHAT_BITS) - 1)) as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_fire_in_order_and_for_what_they_were_set() {
        let mut timers = Timers::default();
        for (at, what) in What::ALL.into_iter().enumerate() {
            let at_us = (100 - at * 10) as u64;
            timers.push(at_us, Owner { key: at as u32, stamp: 1 }, what, |_| true);
        }
        assert_eq!((timers.next_us(), timers.pop(59)), (Some(60), None));
        for (at, what) in What::ALL.into_iter().enumerate().rev() {
            assert_eq!(timers.pop(100), Some((Owner { key: at as u32, stamp: 1 }, what)));
        }
        assert_eq!(timers.pop(u64::MAX), None);
    }

    #[test]
    fn void_ones_take_no_room() {
        let mut timers = Timers::default();
        for stamp in 0..1_000_000u32 {
            timers.push(1, Owner { key: 0, stamp }, What::GiveUp, |owner| owner.stamp % 100 == 0);
        }
        assert!(timers.heap.len() <= 2 * 10_000 + FEW, "{}", timers.heap.len());
        assert!(timers.heap.capacity() <= 64 * 1024, "{}", timers.heap.capacity());
        while timers.pop(1).is_some() {}
        assert!(timers.heap.capacity() <= 2 * FEW, "{}", timers.heap.capacity());
    }
}
