//! Time as an argument: coarse wrapping ticks for deadlines, and what a turn read from the clocks.
//!
//! Never reads a clock. Whoever runs a turn reads the clocks once and hands the [`Now`] down.

/// A point in time on the node's monotonic clock, in units of [`TICK_MS`], wrapping.
///
/// Comparisons are right as long as the two points are less than 2^31 ticks (248 days) apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Tick(pub u32);

/// The length of a tick, in milliseconds.
pub const TICK_MS: u64 = 10;

/// The longest span that still compares rightly.
const SPAN_TICKS_MAX: u32 = (1 << 31) - 1;

impl Tick {
    /// The tick that `ms` milliseconds since the node started fall into: rounded down, wrapping.
    pub fn from_millis(ms: u64) -> Tick {
        // Dropping the high bits is the wrap.
        Tick((ms / TICK_MS) as u32)
    }

    /// The point `ms` milliseconds after this one, rounded up to a whole tick so that a deadline is never early.
    /// The span saturates at 2^31 - 1 ticks.
    pub fn plus_ms(self, ms: u64) -> Tick {
        let ticks = ms.div_ceil(TICK_MS).min(u64::from(SPAN_TICKS_MAX));
        self.plus(ticks as u32)
    }

    /// The point `ticks` ticks after this one, wrapping.
    pub fn plus(self, ticks: u32) -> Tick {
        Tick(self.0.wrapping_add(ticks))
    }

    /// Whether this point lies strictly before `other`.
    pub fn is_before(self, other: Tick) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether a deadline at this point has come by `now`: `self <= now`.
    pub fn reached(self, now: Tick) -> bool {
        !now.is_before(self)
    }

    /// The earlier of the two.
    pub fn earlier(self, other: Tick) -> Tick {
        if other.is_before(self) { other } else { self }
    }

    /// Ticks from `earlier` to this point; 0 if `earlier` is in fact later.
    pub fn ticks_since(self, earlier: Tick) -> u32 {
        if self.is_before(earlier) { 0 } else { self.0.wrapping_sub(earlier.0) }
    }

    /// Milliseconds from `earlier` to this point; 0 if `earlier` is in fact later.
    pub fn ms_since(self, earlier: Tick) -> u64 {
        u64::from(self.ticks_since(earlier)) * TICK_MS
    }
}

/// What a thread read from its clocks at the start of a turn.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic, in microseconds since the node started.
    pub micros: u64,
    /// The wall clock, in milliseconds since the Unix epoch. It may jump; no deadline is computed from it.
    pub unix_ms: u64,
}

impl Now {
    /// The tick of the monotonic clock.
    pub fn tick(self) -> Tick {
        Tick::from_millis(self.millis())
    }

    /// The monotonic clock in whole milliseconds, rounded down.
    pub fn millis(self) -> u64 {
        self.micros / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millis_round_down_and_wrap() {
        assert_eq!(Tick::from_millis(0), Tick(0));
        assert_eq!(Tick::from_millis(19), Tick(1));
        assert_eq!(Tick::from_millis((1 << 32) * TICK_MS + 30), Tick(3));
        let now = Now { micros: 25_999, unix_ms: 0 };
        assert_eq!((now.millis(), now.tick()), (25, Tick(2)));
    }

    #[test]
    fn spans_round_up_and_saturate() {
        for (ms, ticks) in [(0, 0), (1, 1), (10, 1), (11, 2), (u64::MAX, SPAN_TICKS_MAX)] {
            assert_eq!(Tick(7).plus_ms(ms), Tick(7).plus(ticks), "{ms} ms");
        }
        assert!(Tick(7).is_before(Tick(7).plus_ms(u64::MAX)));
    }

    #[test]
    fn comparisons_hold_across_the_wrap() {
        for start in [0, 5, u32::MAX - 3, u32::MAX, 1 << 31] {
            let (early, late) = (Tick(start), Tick(start).plus(10));
            assert!(early.is_before(late) && !late.is_before(early) && !early.is_before(early));
            assert!(early.reached(late) && early.reached(early) && !late.reached(early));
            assert_eq!((early.earlier(late), late.earlier(early)), (early, early));
            assert_eq!((late.ticks_since(early), early.ticks_since(late)), (10, 0));
            assert_eq!((late.ms_since(early), early.ms_since(late)), (100, 0));
        }
    }
}
