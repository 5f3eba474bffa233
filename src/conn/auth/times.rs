//! The times of a credential: when one that was signed counts, and until when its connection may live.

use crate::model::Reason;
use serde::Deserialize;

/// Seconds since 1970, perhaps with a fraction (RFC 7519 2); anything before 1970 is 1970.
#[derive(Clone, Copy, Deserialize)]
pub(super) struct NumericDate(f64);

impl NumericDate {
    /// Without the fraction.
    pub(super) fn seconds(self) -> u64 {
        self.0 as u64
    }

    fn milliseconds(self) -> u64 {
        (self.0 * 1000.0) as u64
    }
}

/// Between which times a credential counts; a side that is not there is open.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) not_before: Option<NumericDate>,
    pub(super) ends: Option<NumericDate>,
}

impl Span {
    /// Until when the connection may live, seconds since 1970; or `Err` when it may not live now.
    ///
    /// Within the leeway after its end it lives until the leeway ends: what was let in must not be sent away at once.
    pub(super) fn expiry(self, leeway_s: u64, unix_ms: u64) -> Result<Option<u64>, Reason> {
        let leeway_ms = leeway_s.saturating_mul(1000);
        if self.not_before.is_some_and(|time| time.milliseconds() > unix_ms.saturating_add(leeway_ms)) {
            return Err(Reason::AuthFailed);
        }
        let Some(ends) = self.ends else { return Ok(None) };
        let ends_ms = ends.milliseconds().saturating_add(leeway_ms);
        if unix_ms >= ends_ms {
            return Err(Reason::AuthFailed);
        }
        let late = unix_ms >= ends.seconds().saturating_mul(1000);
        Ok(Some(if late { ends_ms.div_ceil(1000) } else { ends.seconds() }))
    }
}
