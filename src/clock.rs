//! The one place that reads the clocks. Everything below the threads takes the time as an argument.

use crate::kit::time::Now;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The node's clocks: a monotonic one that starts with it, and the host's.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// What the monotonic time starts at, so that "a moment ago" is never before zero.
    pub const FIRST_MS: u64 = 1_000;

    /// A clock that starts now.
    pub fn start() -> Self {
        Self { started: Instant::now() - std::time::Duration::from_millis(Self::FIRST_MS) }
    }

    /// Both times.
    pub fn now(&self) -> Now {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { micros: self.micros(), unix_ms: since_1970.as_millis() as u64 }
    }

    /// The monotonic time alone, µs.
    pub fn micros(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }
}
