//! Questions for users' connections at other nodes, and their answers.
//!
//! Owns who waits for which answer, and the rule of when an answer is none: while absence proves nothing, and while a record
//! names a node of which the registry has not yet been asked.

use super::{
    Asked, Registrar,
    fleet::Life,
    seam::{Action, Own},
};
use crate::{
    bridge::{
        registry::{Answer, Found, Route},
        store::{Devices, Failure, Place, Request},
    },
    kit::mutant::Mutant,
};
use foldhash::fast::RandomState;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// What the registry has said of a user.
pub(super) struct Said {
    user: Box<str>,
    question: u64,
    asked_ms: u64,
    devices: Devices,
}

/// Who waits for an answer.
#[derive(Default)]
pub(super) struct Lookups {
    /// Tickets of each user, and from which question on an answer is one for them; in order.
    waiting: HashMap<Box<str>, VecDeque<(u64, u64)>, RandomState>,
    /// What names a node that is not known, while the table of nodes is asked for anew.
    undecided: Vec<Said>,
}

impl Registrar {
    pub(super) fn look_up(&mut self, now_ms: u64, ticket: u64, user: Box<str>, fresh: bool) {
        let waiting = self.lookups.waiting.get_mut(&user);
        // A question that is under way may have been answered before a fresh one was due.
        if let Some(tickets) = waiting.filter(|_| !fresh) {
            let first = tickets.front().map_or(0, |&(_, question)| question);
            tickets.push_front((ticket, first));
            return;
        }
        let is_known = self.lookups.waiting.contains_key(&user);
        if !is_known && self.lookups.waiting.len() >= self.settings.lookups_max {
            self.actions.push(Action::Found { ticket, found: Err(Failure::Down) });
            return;
        }
        let asked = Asked::Lookup { user: user.clone(), at_ms: now_ms };
        let question = self.submit(asked, Request::Lookup { user: user.clone() });
        self.lookups.waiting.entry(user).or_default().push_back((ticket, question));
    }

    pub(super) fn found(
        &mut self,
        now_ms: u64,
        question: u64,
        user: Box<str>,
        asked_ms: u64,
        devices: Devices,
        own: &dyn Own,
    ) {
        self.foreign += devices.foreign.len() as u64;
        let is_unknown = devices.devices.iter().any(|device| {
            let place = &device.record.place;
            place.node != self.node && self.fleet.life_of(place, now_ms) == Life::Unknown
        });
        let said = Said { user, question, asked_ms, devices };
        // A node that began a moment ago is not yet in the table.
        if is_unknown && !self.fleet.is_fresh(asked_ms) {
            self.lookups.undecided.push(said);
            self.ask_leases(now_ms, true);
            return;
        }
        self.resolve(now_ms, said, own);
    }

    /// The table of nodes is as new as can be: those who waited for it are answered.
    pub(super) fn look_again(&mut self, now_ms: u64, own: &dyn Own) {
        for said in std::mem::take(&mut self.lookups.undecided) {
            self.resolve(now_ms, said, own);
        }
    }

    fn resolve(&mut self, now_ms: u64, said: Said, own: &dyn Own) {
        let Said { user, question, asked_ms, devices } = said;
        // Absence proves nothing while it is frozen: neither that of a lease nor that of a record.
        // Nor does it while what was lost is registered again: other nodes are about as far as this one.
        let is_frozen = self.fleet.is_frozen(now_ms) || self.heals(&user);
        let partial = is_frozen && !Mutant::AbsenceBelievedWhileFrozen.is_on();
        let mut found = Found { routes: Vec::new(), foreign: devices.foreign, partial };
        for device in devices.devices {
            let place = device.record.place;
            if place.node == self.node {
                self.lacking(user.clone(), device.device, place, own);
                continue;
            }
            // A device cannot be here too: one of the two is the older, and has not been told, since who displaced it is dead.
            if let Some(held) = own.holder(&user, &device.device) {
                self.changes.arrive(held);
            }
            match self.fleet.life_of(&place, now_ms) {
                Life::Live => {
                    let lease = self.fleet.lease_of(place.node, now_ms);
                    found.routes.extend(lease.map(|lease| Route::new(device.device, &device.record, lease)));
                }
                Life::Dead => {}
                Life::Unknown => found.partial |= !self.fleet.is_fresh(asked_ms),
            }
        }
        let nothing = found.routes.is_empty() && found.foreign.is_empty();
        let found = if nothing && found.partial { Err(Failure::Down) } else { Ok(Arc::new(found)) };
        self.answer(&user, question, &found);
    }

    /// Somebody, or the registry itself, has a record of this node's. If the connection is not there, the record goes.
    pub(super) fn lacking(&mut self, user: Box<str>, device: Box<str>, place: Place, own: &dyn Own) {
        let is_held = place.incarnation == self.incarnation && own.holds(&user, place.connection);
        if place.node == self.node && !is_held && !Mutant::LackingKept.is_on() {
            self.submit(Asked::Purge { user: user.clone() }, Request::Disconnect { user, device, place });
        }
    }

    /// Answers all for whom this question was put early enough.
    pub(super) fn answer(&mut self, user: &str, question: u64, found: &Answer) {
        let Some(tickets) = self.lookups.waiting.get_mut(user) else { return };
        while let Some(&(ticket, _)) = tickets.front().filter(|(_, first)| *first <= question) {
            tickets.pop_front();
            self.actions.push(Action::Found { ticket, found: found.clone() });
        }
        if tickets.is_empty() {
            self.lookups.waiting.remove(user);
        }
    }
}
