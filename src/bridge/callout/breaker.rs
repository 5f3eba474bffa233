//! When the endpoint is left alone: after failures nobody is sent there for a while, then one alone, who finds out.
//!
//! It opens after so many failures in a row, or when half of the last four times as many were failures. It stays open for a
//! pause that doubles each time, drawn from its upper half, so that the nodes of a fleet do not come back together; then the next
//! question is a probe, and nobody else is sent until that is answered. Once closed, and at the start, few may be under way at
//! once, and each answer lets one more in: an endpoint that has just come back, or has just been found by a fleet, is not met by
//! everybody at once.

use crate::kit::random::Random;

/// Most failures in a row that may be asked for: four times as many are the bits of a number.
pub const FAILURES_MAX: u32 = 16;

/// What opens it, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Failures in a row that open it, 1 to [`FAILURES_MAX`].
    pub failures: u32,
    /// The first pause, ms.
    pub pause_ms: u64,
    /// The longest, ms.
    pub pause_max_ms: u64,
    /// Questions under way at once.
    pub in_flight: usize,
}

/// See the module.
pub struct Breaker {
    settings: Settings,
    random: Random,
    state: State,
    /// Openings since it was last well.
    level: u32,
    /// Counts openings and closings: a question that was asked before one says nothing about what came after.
    round: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        /// One bit for each of the last answers, the newest lowest: 1 is a failure.
        failed: u64,
        /// How many bits are of answers.
        known: u32,
        /// How many may be under way at once.
        allowed: usize,
    },
    Open {
        until_ms: u64,
    },
    Probing,
}

/// How it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Standing {
    /// Everybody is sent.
    #[default]
    Closed,
    /// Nobody is.
    Open,
    /// One is, or may be.
    Probing,
}

/// Whether a question may be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// Yes, in this round.
    Ask(u64),
    /// When another has been answered.
    Wait,
    /// No, nor will it soon.
    Away,
}

/// What an answer has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Nobody is sent for so long, ms.
    Opened(u64),
    /// All are.
    Closed,
}

impl Breaker {
    /// Closed.
    pub fn new(settings: Settings, random: Random) -> Self {
        let state = State::Closed { failed: 0, known: 0, allowed: few(settings) };
        Self { settings, random, state, level: 0, round: 0 }
    }

    /// Whether one more may be asked while so many are under way. For the one that is let through as a probe, this is said once.
    pub fn gate(&mut self, now_ms: u64, in_flight: usize) -> Gate {
        match self.state {
            State::Closed { allowed, .. } if in_flight < allowed => Gate::Ask(self.round),
            State::Closed { .. } => Gate::Wait,
            State::Open { until_ms } if now_ms < until_ms => Gate::Away,
            // What hangs there still has its time limit.
            State::Open { .. } if in_flight >= self.settings.in_flight => Gate::Away,
            State::Open { .. } => {
                self.state = State::Probing;
                Gate::Ask(self.round)
            }
            State::Probing => Gate::Away,
        }
    }

    /// A question of a round was answered, or not.
    pub fn ended(&mut self, now_ms: u64, round: u64, is_failure: bool) -> Option<Change> {
        if round != self.round {
            return None;
        }
        let window = 4 * self.settings.failures;
        match &mut self.state {
            State::Closed { failed, known, allowed } => {
                *failed = *failed << 1 | u64::from(is_failure);
                *known = (*known + 1).min(window);
                if !is_failure {
                    *allowed = (*allowed + 1).min(self.settings.in_flight);
                }
                let in_row = failed.trailing_ones() >= self.settings.failures;
                let recent = *failed & (u64::MAX >> (64 - window));
                let share = *known == window && recent.count_ones() * 2 >= window;
                if in_row || share {
                    return Some(self.open(now_ms));
                }
                if *known == window {
                    self.level = 0;
                }
                None
            }
            State::Probing if is_failure => Some(self.open(now_ms)),
            State::Probing => {
                self.state = State::Closed { failed: 0, known: 0, allowed: few(self.settings) };
                self.round += 1;
                Some(Change::Closed)
            }
            State::Open { .. } => None,
        }
    }

    /// How it stands.
    pub fn standing(&self, now_ms: u64) -> Standing {
        match self.state {
            State::Closed { .. } => Standing::Closed,
            State::Open { until_ms } if now_ms < until_ms => Standing::Open,
            State::Open { .. } | State::Probing => Standing::Probing,
        }
    }

    /// When it stands differently by itself, ms.
    pub fn next_ms(&self, now_ms: u64) -> Option<u64> {
        match self.state {
            State::Open { until_ms } => (now_ms < until_ms).then_some(until_ms),
            State::Closed { .. } | State::Probing => None,
        }
    }

    fn open(&mut self, now_ms: u64) -> Change {
        let doubled = self.settings.pause_ms.saturating_mul(1 << self.level.min(32));
        let longest = doubled.min(self.settings.pause_max_ms).max(1);
        let pause_ms = self.random.between(longest.div_ceil(2), longest);
        self.level = self.level.saturating_add(1);
        self.round += 1;
        self.state = State::Open { until_ms: now_ms.saturating_add(pause_ms) };
        Change::Opened(pause_ms)
    }
}

/// So many may be under way at first: more than the failures that open it, so that an endpoint which hangs is found out after
/// one time limit, and not after one for each failure.
fn few(settings: Settings) -> usize {
    (2 * settings.failures as usize).min(settings.in_flight).max(1)
}

#[cfg(test)]
mod tests;
