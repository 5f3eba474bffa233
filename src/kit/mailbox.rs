//! A bounded mailbox from many threads to one, with lanes of falling priority and coalesced wakes.
//!
//! Owns the items in transit, each lane's share of the room, and the promise that a posted item is followed by a wake
//! that the receiver has not used up. Nobody ever waits for room: a post that finds none gets its item back at once.
//!
//! Order: within a lane, first in, first out. Across lanes, an item posted to a lane before another was posted to a
//! lower-priority lane is never taken after it, because the receiver moves all lanes over under one lock.
//!
//! Wakes: a producer pushes under the lock, releases it, then swaps the `awake` flag to true and wakes the receiver if
//! it was false. The receiver clears the flag and then locks. If the push came before that lock, the receiver sees
//! the item. If it came after, the lock orders the producer's swap behind the receiver's clear, so the swap finds
//! false, or finds the true of another producer that swapped after the clear and woke the receiver itself. So a
//! receiver that calls [`Receiver::take`] after every wake, until it says that nothing is left, misses no item.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The mailbox has no room in that lane, or its receiver is gone. The item comes back.
#[derive(Debug)]
pub struct Full<T>(pub T);

/// Wakes the thread that owns a receiver, wherever it sleeps. Called by producers, outside of the lock.
pub trait Wake: Send + Sync {
    /// Makes the receiver's thread call [`Receiver::take`] soon. Must not block.
    fn wake(&self);
}

/// A mailbox with one lane for each of `capacities`, which are counted in items. Lane 0 is drained first.
pub fn mailbox<T: Send>(capacities: &[usize], wake: Arc<dyn Wake>) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        transit: Mutex::new(Transit { lanes: empty_lanes(capacities.len()), closed: false }),
        rooms: capacities.iter().map(|&capacity| Room { capacity, depth: AtomicUsize::new(0) }).collect(),
        awake: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        wake,
    });
    (Sender { shared: shared.clone() }, Receiver { shared, lanes: empty_lanes(capacities.len()) })
}

type Lanes<T> = Box<[VecDeque<T>]>;

fn empty_lanes<T>(count: usize) -> Lanes<T> {
    (0..count).map(|_| VecDeque::new()).collect()
}

struct Shared<T> {
    transit: Mutex<Transit<T>>,
    rooms: Box<[Room]>,
    /// A wake is under way that the receiver has not answered with a `take` yet.
    awake: AtomicBool,
    /// Follows `Transit::closed`, for a look without the lock.
    closed: AtomicBool,
    wake: Arc<dyn Wake>,
}

struct Transit<T> {
    lanes: Lanes<T>,
    closed: bool,
}

/// A lane's share. `depth` counts what was posted and has not left through `take`, on either side of the lock. It
/// grows under the lock only, so a post that saw room has it.
struct Room {
    capacity: usize,
    depth: AtomicUsize,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Transit<T>> {
        // Nothing inside a locked section can leave the lanes half changed.
        self.transit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The producers' end.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { shared: self.shared.clone() }
    }
}

impl<T> Sender<T> {
    /// Posts an item and wakes the receiver unless a wake is under way already. Never waits for room.
    ///
    /// # Errors
    /// [`Full`] with the item, if the lane's share is used up or the receiver is gone.
    ///
    /// # Panics
    /// If the mailbox has no such lane.
    pub fn post(&self, lane: usize, item: T) -> Result<(), Full<T>> {
        self.post_quietly(lane, item)?;
        self.wake();
        Ok(())
    }

    /// Posts an item and wakes nobody: for a producer that posts several and then calls [`Sender::wake`] once. Until it does,
    /// the item may lie.
    ///
    /// # Errors
    /// As [`Sender::post`].
    ///
    /// # Panics
    /// As [`Sender::post`].
    pub fn post_quietly(&self, lane: usize, item: T) -> Result<(), Full<T>> {
        let room = &self.shared.rooms[lane];
        let mut transit = self.shared.lock();
        if transit.closed || room.depth.load(Ordering::Relaxed) >= room.capacity {
            return Err(Full(item));
        }
        room.depth.fetch_add(1, Ordering::Relaxed);
        transit.lanes[lane].push_back(item);
        Ok(())
    }

    /// Wakes the receiver if anything waits for it, unless a wake is under way already.
    pub fn wake(&self) {
        let waits = self.shared.rooms.iter().any(|room| room.depth.load(Ordering::Relaxed) > 0);
        if waits && !self.shared.awake.swap(true, Ordering::AcqRel) {
            self.shared.wake.wake();
        }
    }

    /// How many items of the lane's share are in use.
    pub fn depth(&self, lane: usize) -> usize {
        self.shared.rooms[lane].depth.load(Ordering::Relaxed)
    }

    /// Whether the receiver is gone, so that every post comes back.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }
}

/// The consumer's end. Dropping it closes the mailbox and drops every item in it.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// Moved over from the transit lanes, and not taken yet for want of budget.
    lanes: Lanes<T>,
}

impl<T> Receiver<T> {
    /// Moves up to `budget` items in lane order into `out` and says whether more is left. A lane's share is freed as
    /// its items leave by here. When it says that more is left, no wake may follow: call it again before sleeping.
    pub fn take(&mut self, budget: usize, out: &mut Vec<T>) -> bool {
        self.shared.awake.store(false, Ordering::Release);
        let mut transit = self.shared.lock();
        for (mine, theirs) in self.lanes.iter_mut().zip(&mut transit.lanes) {
            if mine.is_empty() {
                mem::swap(mine, theirs);
            } else {
                mine.append(theirs);
            }
        }
        drop(transit);

        let mut budget = budget;
        for (lane, room) in self.lanes.iter_mut().zip(&self.shared.rooms) {
            let count = lane.len().min(budget);
            out.extend(lane.drain(..count));
            room.depth.fetch_sub(count, Ordering::Relaxed);
            budget -= count;
        }
        self.lanes.iter().any(|lane| !lane.is_empty())
    }

    /// Whether nothing is waiting to be taken, as of now.
    pub fn is_empty(&self) -> bool {
        self.shared.rooms.iter().all(|room| room.depth.load(Ordering::Relaxed) == 0)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut transit = self.shared.lock();
        transit.closed = true;
        self.shared.closed.store(true, Ordering::Release);
        let orphans = mem::take(&mut transit.lanes);
        drop(transit);
        // Outside of the lock: dropping an item may well post to a mailbox.
        drop(orphans);
    }
}

#[cfg(test)]
mod tests;
