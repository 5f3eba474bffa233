//! What the node counts of the endpoint that is asked who clients are.

use super::timing::Timing;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// How a question may end.
pub const CALLOUT_RESULTS: [&str; 6] =
    ["accepted", "refused", "bad_answer", "failed", "timeout", "unreachable"];

/// How things stand there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CalloutState {
    /// Clients that wait for an answer.
    pub waiting: u64,
    /// Questions under way.
    pub in_flight: u64,
    /// Answers that are kept.
    pub kept: u64,
    /// How often one of them was used, since the start.
    pub hits: u64,
    /// 0: everybody is asked about, 1: the endpoint is left alone, 2: one question is to find out.
    pub breaker: u64,
}

/// See the module.
#[derive(Debug)]
pub struct CalloutStats {
    results: [AtomicU64; CALLOUT_RESULTS.len()],
    state: Mutex<CalloutState>,
    pub(super) seconds: Timing,
}

impl Default for CalloutStats {
    fn default() -> Self {
        Self { results: Default::default(), state: Mutex::default(), seconds: Timing::new() }
    }
}

impl CalloutStats {
    /// A question ended so after so many microseconds. The result is one of [`CALLOUT_RESULTS`].
    pub fn ended(&self, result: &'static str, micros: u64) {
        debug_assert!(CALLOUT_RESULTS.contains(&result));
        if let Some(at) = CALLOUT_RESULTS.iter().position(|&known| known == result) {
            self.results[at].fetch_add(1, Relaxed);
        }
        self.seconds.record(micros);
    }

    /// How things stand now.
    pub fn set(&self, state: CalloutState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// How they stood last.
    pub fn state(&self) -> CalloutState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn results(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CALLOUT_RESULTS.into_iter().zip(&self.results).map(|(result, count)| (result, count.load(Relaxed)))
    }
}
