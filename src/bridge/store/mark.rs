//! A master's mark: a key in one of its slots, whose disappearance says that the master has forgotten what it held
//! (`FLUSHALL`, `FLUSHDB`) though neither its process nor its history is another one.
//!
//! Owns which key it is, and what was last seen there. All nodes look at it at least every second; whoever finds none
//! makes one that has never been before, so that each of them sees that it is another one than it has seen. No I/O.
//!
//! Memory that runs out (`maxmemory` with eviction) may take the mark as well: then everything is registered again, which
//! is harmless, bounded by the rate of healing, and due, because users' keys go in the same way. It is read so often that
//! it is the last to go.
//!
//! A mark lives for a day after the last look at it: a slot that moves takes it along, and leaves none behind for good.

use super::{
    fleet::Map,
    lane::Lane,
    script::{Digests, read_mark, write_mark},
    seam::Cause,
    slots::{SLOTS, mark_key},
};
use redis::{ServerErrorKind, Value};

/// What a look has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    /// The mark that was seen before, or the first one.
    AsBefore,
    /// Another one.
    Another,
    /// Nothing: the server must be given the scripts again.
    Unscripted,
    /// Nothing: the slot is on its way to another master, or there.
    Elsewhere,
    /// Nothing: the server does not do it now, or never.
    Refused,
}

/// See the module.
#[derive(Default)]
pub(super) struct Mark {
    /// The slot and the key in it. It is kept as long as the master owns the slot.
    at: Option<(u16, String)>,
    /// From where on to look for a slot.
    from: u16,
    seen: Option<Vec<u8>>,
    nonce: u64,
}

impl Mark {
    /// The master is known to have another history: what was seen there says nothing of it.
    pub(super) fn forget(&mut self) {
        self.seen = None;
    }

    /// Appends the question; false: the master owns no slot, and there is nothing to ask.
    pub(super) fn ask(
        &mut self,
        map: &Map,
        lane: &Lane,
        digests: &Digests,
        nonce: u64,
        out: &mut Vec<u8>,
    ) -> bool {
        let owns = |slot: u16| map.owner(slot).is_some_and(|owner| std::ptr::eq(&**owner, lane));
        if !self.at.as_ref().is_some_and(|(slot, _)| owns(*slot)) {
            let mut slots = (self.from..SLOTS).chain(0..self.from);
            self.at = slots.find(|&slot| owns(slot)).map(|slot| (slot, mark_key(slot)));
            self.seen = None;
        }
        let Some((_, key)) = &self.at else { return false };
        self.nonce = nonce;
        write_mark(out, digests, nonce, key);
        true
    }

    /// Takes in the answer.
    ///
    /// # Errors
    /// When it belongs to another question, or comes from a server that is no master any more.
    pub(super) fn hear(&mut self, answer: Value) -> Result<Shown, Cause> {
        if let Value::ServerError(error) = &answer {
            return match error.kind() {
                Some(ServerErrorKind::NoScript) => Ok(Shown::Unscripted),
                Some(ServerErrorKind::ReadOnly) => Err(Cause::Demoted),
                Some(ServerErrorKind::Moved | ServerErrorKind::Ask) => {
                    self.leave();
                    Ok(Shown::Elsewhere)
                }
                _ => Ok(Shown::Refused),
            };
        }
        let Some((_, key)) = &self.at else { return Err(Cause::Misattributed) };
        let mark = read_mark(self.nonce, key, answer).ok_or(Cause::Misattributed)?;
        let is_another = self.seen.as_ref().is_some_and(|seen| *seen != mark);
        self.seen = Some(mark);
        Ok(if is_another { Shown::Another } else { Shown::AsBefore })
    }

    /// The next question is for a mark in another slot, where there is one.
    fn leave(&mut self) {
        if let Some((slot, _)) = self.at.take() {
            self.from = (slot + 1) % SLOTS;
        }
    }
}
