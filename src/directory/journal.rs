//! How a registry outside of the process hears of every change, and loses none.
//!
//! Owns the way from the directory to the thread that tells the registry. A change marks its record, and its entry goes into
//! a bounded mailbox. Where that is full, the mark alone stays, and the thread finds it when it walks the records: so the
//! memory for changes that wait is the records themselves. A record whose connection is gone is kept, out of every lookup,
//! until the thread has taken it; one that the registry never heard of is not.

use super::{RecordRef, record::Route};
use crate::{
    kit::{mailbox::Sender, mutant::Mutant},
    model::Handle,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Entries that may wait; beyond, the marks are found by a walk. Two seconds' worth of a busy node's handshakes: 1.6 MB.
pub const JOURNAL_MAX: usize = 65_536;

/// A record within its partition, and the connection that it was about.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub index: u32,
    pub handle: Handle,
}

/// Which record has changed: to be given to [`super::Directory::take_change`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Changed {
    /// The record.
    pub record: RecordRef,
    /// The connection that the change is about.
    pub handle: Handle,
}

/// What has become of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<'a> {
    /// It is there.
    Arrived {
        /// Whose it is.
        user: &'a str,
        /// Where it is.
        route: Route<'a>,
    },
    /// It is gone, and was told of before.
    Departed {
        /// Whose it was.
        user: &'a str,
        /// Where it was.
        route: Route<'a>,
    },
}

/// The directory's end of the way. See the module.
pub struct Journal {
    entries: Sender<Changed>,
    /// Entries that found no room since the last walk began.
    missed: AtomicBool,
    deferred: AtomicU64,
}

impl Journal {
    /// A journal whose entries go to a mailbox of one lane.
    pub fn new(entries: Sender<Changed>) -> Self {
        Self { entries, missed: AtomicBool::new(false), deferred: AtomicU64::new(0) }
    }

    /// Whether marks are to be looked for; forgets that it was so.
    pub fn take_missed(&self) -> bool {
        self.missed.swap(false, Ordering::AcqRel)
    }

    /// The same, and remembers it.
    #[cfg(any(test, feature = "sim"))]
    pub fn has_missed(&self) -> bool {
        self.missed.load(Ordering::Acquire)
    }

    /// Changes that found no room in the mailbox.
    pub fn deferred(&self) -> u64 {
        self.deferred.load(Ordering::Relaxed)
    }

    pub(super) fn post(&self, changed: Changed) {
        if self.entries.post(0, changed).is_err() {
            self.deferred.fetch_add(1, Ordering::Relaxed);
            // After the mark was set, under the partition's lock: a walk that begins now finds it.
            self.missed.store(!Mutant::ChangeLostWhenFull.is_on(), Ordering::Release);
        }
    }
}
