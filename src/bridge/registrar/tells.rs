//! Displaced connections of other nodes, which those are told of until they answer or are dead.
//!
//! Owns whom to tell, and when again.

use super::{
    Registrar,
    fleet::Life,
    seam::{Action, Own},
};
use crate::{
    bridge::store::{Place, Record},
    kit::mutant::Mutant,
};
use std::collections::{BTreeMap, HashMap, hash_map::Entry};

/// How often another node is told of a displaced connection, until it answers, ms.
const TELL_EVERY_MS: u64 = 1_000;

struct Displaced {
    since_ms: u64,
    user: Box<str>,
}

/// See the module. Times are monotonic ms.
#[derive(Default)]
pub(super) struct Tells {
    /// Those to be told of.
    since: HashMap<Place, Displaced>,
    /// Those that are not under way, by when they are due; the second number keeps those of one ms apart.
    due: BTreeMap<(u64, u64), Place>,
    next: u64,
    under_way: usize,
}

impl Tells {
    fn schedule(&mut self, at_ms: u64, place: Place) {
        self.next += 1;
        self.due.insert((at_ms, self.next), place);
    }

    fn next_due_ms(&self) -> Option<u64> {
        self.due.first_key_value().map(|(&(at_ms, _), _)| at_ms)
    }
}

impl Registrar {
    /// When to tell next.
    pub(super) fn next_tell_ms(&self) -> Option<u64> {
        let has_room = self.tells.under_way < self.settings.window;
        self.tells.next_due_ms().filter(|_| has_room)
    }

    /// Connections of a user were displaced. Those that find no room stay until their life ends, and take no messages.
    pub(super) fn begin_to_tell(&mut self, now_ms: u64, displaced: &[Record], user: &str, own: &dyn Own) {
        for place in displaced.iter().map(|record| record.place) {
            if place.node == self.node {
                // The directory knows already, but that one which is there lost its record to one that began in the same
                // moment: an earlier run has no connections.
                let run = (place.incarnation == self.incarnation).then_some(place.connection);
                let there = run.and_then(|connection| own.arrived(user, connection));
                there.into_iter().for_each(|arrived| self.changes.arrive(arrived));
                continue;
            }
            if self.tells.since.len() >= self.settings.tells_max {
                continue;
            }
            if let Entry::Vacant(vacant) = self.tells.since.entry(place) {
                vacant.insert(Displaced { since_ms: now_ms, user: user.into() });
                self.tells.schedule(now_ms, place);
            }
        }
    }

    /// Tells those who are due.
    pub(super) fn tell(&mut self, now_ms: u64) {
        while self.next_tell_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            let Some((_, place)) = self.tells.due.pop_first() else { return };
            let Some(Displaced { since_ms, user }) = self.tells.since.get(&place) else { continue };
            let (since_ms, user) = (*since_ms, user.clone());
            match (self.fleet.life_of(&place, now_ms), self.fleet.lease_of(place.node, now_ms)) {
                (Life::Live, Some(lease)) => {
                    self.tells.under_way += 1;
                    self.actions.push(Action::Tell { address: lease.address.clone(), place, user });
                }
                (Life::Dead, _) => drop(self.tells.since.remove(&place)),
                // The table does not know it, and has been asked for since, not just in the same ms: it is dead.
                _ if self.fleet.is_fresh(since_ms + 1) && !self.fleet.is_frozen(now_ms) => {
                    self.tells.since.remove(&place);
                }
                // The table will say.
                _ => self.tells.schedule(now_ms + TELL_EVERY_MS, place),
            }
        }
    }

    /// A tell has ended.
    pub(super) fn told(&mut self, now_ms: u64, place: Place, answered: bool) {
        if !self.tells.since.contains_key(&place) {
            return;
        }
        self.tells.under_way = self.tells.under_way.saturating_sub(1);
        if answered || Mutant::DisplacedNotTold.is_on() {
            self.tells.since.remove(&place);
        } else {
            self.tells.schedule(now_ms + TELL_EVERY_MS, place);
        }
    }
}
