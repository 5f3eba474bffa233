//! What wakes the consumer's thread: a record on an empty queue, an event, a request.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

/// A flag that can be waited for.
#[derive(Default)]
pub struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Wakes who waits, or who waits next. Once: each further time would be a system call for nothing.
    pub fn raise(&self) {
        let was_raised =
            std::mem::replace(&mut *self.raised.lock().unwrap_or_else(PoisonError::into_inner), true);
        if !was_raised {
            self.changed.notify_one();
        }
    }

    /// Until it is raised, at most so long. Lowers it.
    pub fn wait(&self, at_most: Duration) {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(raised, at_most, |raised| !*raised);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}
