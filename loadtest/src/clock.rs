//! What tells one run from all others, and the clock that its times count by.

use std::time::Instant;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// One run: what tells its messages from all others, and the moment from which its times count.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// In every message.
    pub id: u64,
    /// When it began.
    pub epoch: Instant,
}

impl Run {
    /// A run that begins now.
    pub fn begin() -> Self {
        Self { id: fastrand::u64(..), epoch: Instant::now() }
    }

    /// Microseconds since it began.
    pub fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }
}

/// This moment by the calendar, to the second, as RFC 3339 has it, in UTC.
pub fn date() -> String {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default()
}
