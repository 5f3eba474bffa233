//! A hierarchical timing wheel (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1997, scheme 7).
//!
//! Owns the slots of the wheel and nothing else: a timer's links are 12 bytes inside the caller's own entry, reached
//! through [`Timers`]. Scheduling and cancelling are O(1); passing over idle time and asking for the next deadline
//! take a look at one bitmap a level. A timer is moved to a finer level at most once a level during its life.
//!
//! A level has 64 slots and splits the tick number into digits of six bits. A timer sits on the level of the highest
//! digit in which its due tick differs from the wheel's cursor, in the slot of that digit. As the cursor never passes
//! a timer, a level's occupied slots all lie ahead of the cursor's digit, and the lowest occupied level comes next.

use crate::kit::{mutant::Mutant, time::Tick};

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// Six digits cover the 32 bits of a tick. The top level uses four slots only, in a ring, as the tick wraps there.
const LEVELS: usize = 6;
const TOP: usize = LEVELS - 1;
/// One list per slot, and the list of what has expired.
const LISTS: usize = LEVELS * SLOTS + 1;
const EXPIRED: usize = LISTS - 1;

/// Marks a timer that is in no list.
const NONE: u32 = u32::MAX;
/// Ids from here to `NONE` name the wheel's own list heads, so that every list is a ring without special cases.
const FIRST_HEAD: u32 = NONE - LISTS as u32;

/// How far ahead of the cursor a due tick may lie; what seems farther is in the past. Callers count their spans (up
/// to 2^31 ticks) from the present, and the cursor may be behind it, so the future gets more than half the circle.
const FUTURE_TICKS: u32 = 3 << 30;

/// A timer's place in the wheel, kept inside the entry that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    link: Link,
    due: Tick,
}

const _: () = assert!(size_of::<Timer>() == 12);

impl Timer {
    /// A timer that is not scheduled.
    pub const UNARMED: Timer = Timer { link: Link { prev: NONE, next: NONE }, due: Tick(0) };

    /// Whether the timer is scheduled.
    pub fn is_armed(&self) -> bool {
        self.link.prev != NONE
    }

    /// When the timer is due; when it was due last, if it is not armed.
    pub fn due(&self) -> Tick {
        self.due
    }
}

/// Finds the timer of an entry. An entry whose timer is armed must stay where it is until it is cancelled or popped.
pub trait Timers {
    /// The timer of the entry `id`. Ids stay below 2^32 - 1,024.
    fn timer(&mut self, id: u32) -> &mut Timer;
}

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

/// The slots of a timing wheel, about 3 KiB.
pub struct Wheel {
    /// Every timer due at or before the cursor is in the expired list.
    cursor: Tick,
    len: usize,
    /// The slot that the cursor has entered and that is not empty yet.
    opened: Option<usize>,
    occupied: [u64; LEVELS],
    heads: [Link; LISTS],
}

impl Wheel {
    /// An empty wheel that stands at `now`.
    pub fn new(now: Tick) -> Self {
        let mut heads = [Link { prev: NONE, next: NONE }; LISTS];
        for (list, head) in heads.iter_mut().enumerate() {
            *head = Link { prev: head_id(list), next: head_id(list) };
        }
        Wheel { cursor: now, len: 0, opened: None, occupied: [0; LEVELS], heads }
    }

    /// Arms the timer `id` for `due`, or moves it there. A due tick in the past fires at the next pop.
    pub fn schedule(&mut self, timers: &mut impl Timers, id: u32, due: Tick) {
        debug_assert!(id < FIRST_HEAD);
        if !Mutant::TimerArmedTwice.is_on() {
            self.cancel(timers, id);
        }
        timers.timer(id).due = due;
        self.place(timers, id, due);
        self.len += 1;
    }

    /// Disarms the timer `id`, if it is armed.
    pub fn cancel(&mut self, timers: &mut impl Timers, id: u32) {
        if timers.timer(id).is_armed() {
            self.unlink(timers, id);
            self.len -= 1;
        }
    }

    /// One expired timer, disarmed. `None`: no more is due, or `budget` is 0.
    ///
    /// Each timer handed out or moved to a finer level takes one from `budget`, so that a coarse slot with very many timers
    /// is spread out over several calls; until then they may be late by the time between those.
    pub fn pop_expired(&mut self, timers: &mut impl Timers, now: Tick, budget: &mut usize) -> Option<u32> {
        while *budget > 0 {
            let first = self.heads[EXPIRED].next;
            if first < FIRST_HEAD {
                *budget -= 1;
                self.unlink(timers, first);
                self.len -= 1;
                return Some(first);
            }
            if let Some(list) = self.opened {
                self.spread_one(timers, list, budget);
                continue;
            }
            match self.next_slot() {
                Some((level, slot, start)) if start.reached(now) => {
                    self.cursor = start;
                    self.opened = Some(list_of(level, slot));
                }
                _ => {
                    if self.cursor.is_before(now) {
                        self.cursor = now;
                    }
                    return None;
                }
            }
        }
        None
    }

    /// When to pop next: never later than the first timer is due, but perhaps earlier, when a coarse slot has to be
    /// spread out over finer ones. `None` if no timer is armed.
    pub fn next_deadline(&self) -> Option<Tick> {
        let has_any = |list: usize| self.heads[list].next < FIRST_HEAD;
        if has_any(EXPIRED) || self.opened.is_some_and(has_any) {
            return Some(self.cursor);
        }
        self.next_slot().map(|(_, _, start)| start)
    }

    /// How many timers are armed.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The occupied slot that the cursor enters first: its level, its place there, and its first tick.
    fn next_slot(&self) -> Option<(usize, usize, Tick)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let slots = self.occupied[level];
        let shift = level as u32 * DIGIT_BITS;
        if level == TOP {
            let here = self.cursor.0 >> shift;
            let slot = (1..4).map(|ahead| (here + ahead) % 4).find(|slot| slots >> slot & 1 == 1)?;
            return Some((level, slot as usize, Tick(slot << shift)));
        }
        let slot = slots.trailing_zeros();
        let above = self.cursor.0 >> (shift + DIGIT_BITS) << (shift + DIGIT_BITS);
        Some((level, slot as usize, Tick(above | slot << shift)))
    }

    /// Moves one timer of the slot that the cursor has entered to a finer slot or the expired list. Nothing is ever put into
    /// that slot meanwhile: seen from the cursor, what would belong there belongs to a finer level.
    fn spread_one(&mut self, timers: &mut impl Timers, list: usize, budget: &mut usize) {
        let first = self.heads[list].next;
        if first >= FIRST_HEAD {
            self.opened = None;
            return;
        }
        *budget -= 1;
        self.unlink(timers, first);
        let due = timers.timer(first).due;
        self.place(timers, first, due);
    }

    /// Links an unlinked timer into the list that its due tick belongs to, as seen from the cursor.
    fn place(&mut self, timers: &mut impl Timers, id: u32, due: Tick) {
        let ahead = due.0.wrapping_sub(self.cursor.0);
        let list = if ahead == 0 || ahead >= FUTURE_TICKS {
            EXPIRED
        } else {
            let level = ((due.0 ^ self.cursor.0).ilog2() / DIGIT_BITS) as usize;
            let slot = (due.0 >> (level as u32 * DIGIT_BITS)) as usize % SLOTS;
            self.occupied[level] |= 1 << slot;
            list_of(level, slot)
        };
        let head = head_id(list);
        let last = self.heads[list].prev;
        timers.timer(id).link = Link { prev: last, next: head };
        self.link_mut(timers, last).next = id;
        self.heads[list].prev = id;
    }

    /// Takes an armed timer out of its list and disarms it.
    fn unlink(&mut self, timers: &mut impl Timers, id: u32) {
        let timer = timers.timer(id);
        let Link { prev, next } = timer.link;
        timer.link = Timer::UNARMED.link;
        self.link_mut(timers, prev).next = next;
        self.link_mut(timers, next).prev = prev;
        if prev == next && prev >= FIRST_HEAD {
            let list = (prev - FIRST_HEAD) as usize;
            if list != EXPIRED {
                self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
            }
        }
    }

    fn link_mut<'a>(&'a mut self, timers: &'a mut impl Timers, id: u32) -> &'a mut Link {
        match id.checked_sub(FIRST_HEAD) {
            Some(list) => &mut self.heads[list as usize],
            None => &mut timers.timer(id).link,
        }
    }
}

fn list_of(level: usize, slot: usize) -> usize {
    level * SLOTS + slot
}

fn head_id(list: usize) -> u32 {
    FIRST_HEAD + list as u32
}

#[cfg(test)]
mod tests;
