//! What must be so at every moment: who may be told that it is displaced, what an outcome says, where a message may be sent.

use super::{
    ledger::Done,
    run::{Fleet, Slot},
    store::Stores,
};
use crate::{
    bridge::{registry::Route, store::node_number},
    model::Outcome,
};
use std::collections::BTreeSet;

/// How long a connection, its node and everything around them must have been well before nothing is forgiven.
pub(super) const CALM_US: u64 = 30_000_000;
/// Connections that begin within this, on several nodes, are of one age: the clocks' ticks.
const MOMENT_US: u64 = 20_000;
/// A push ends within this: two lookups, each after a question for the table of nodes, and two deliveries.
pub(super) const PUSH_MAX_US: u64 = 30_000_000;
/// A lease, the age of the table and of the question for it, what a cache adds, and what an answer takes.
const DEAD_ROUTE_MAX_US: u64 = 10_000_000 + 1_000_000 + 2_000_000 + 1_000_000 + 2_000_000;
/// Absence proves nothing for this long after a loss was noticed, less what an answer takes.
const FROZEN_US: u64 = 9_000_000;

/// A record of a dead node is not routed to after its lease, unless leases are frozen.
pub(super) fn check_route(slots: &[Slot], stores: &Stores, now_us: u64, from: usize, route: &Route) {
    let at = (0..slots.len()).find(|&at| node_number(&super::node::name_of(at)) == route.place.node);
    let slot = &slots[at.expect("a node that there is")];
    let lives = slot.node.as_ref().is_some_and(|node| node.incarnation() == route.place.incarnation);
    let died_us = slot.ended.iter().rev().find(|(run, _)| *run == route.place.incarnation);
    if lives {
        return;
    }
    let &(_, died_us) = died_us.unwrap_or_else(|| panic!("a route to a run that never was: {route:?}"));
    let since_us = [died_us, slots[from].troubled_us, stores.troubled_us, stores.lost_us].into_iter().max();
    let tolerated = since_us.is_some_and(|since_us| now_us <= since_us + DEAD_ROUTE_MAX_US);
    assert!(tolerated, "n{from} sends to {}, dead for {} ms", route.node, (now_us - died_us) / 1_000);
}

impl Fleet {
    /// What must not take longer than it may.
    pub(super) fn check_times(&self) {
        for sent in self.ledger.open() {
            let slot = &self.slots[sent.through];
            let lives = slot.node.as_ref().is_some_and(|node| node.run == sent.run);
            let since_us = sent.began_us.max(slot.troubled_us);
            assert!(
                !lives || self.now_us <= since_us + PUSH_MAX_US,
                "a push to {} through n{} has no outcome",
                sent.user,
                sent.through
            );
        }
    }

    /// An older connection never displaces a newer one.
    pub(super) fn check_displaced(&self, number: usize) {
        let loser = &self.members[number];
        let newer = self.members.iter().enumerate().any(|(other, member)| {
            // When each was registered is known but for the time between its question and the answer, which it may not have
            // stayed for.
            let until_us = member.opened_us.or(member.may_have_opened().then_some(self.now_us));
            let is_other = other != number && member.is_of(&loser.user, &loser.device);
            is_other && until_us.is_some_and(|until_us| until_us + MOMENT_US >= loser.asked_us)
        });
        assert!(newer, "the newest connection of its device is displaced: {loser:?}");
    }

    /// Every device has one outcome, and `written` was heard.
    pub(super) fn check_done(&self, done: &Done) {
        let sent = &self.ledger.sent[done.number];
        let mut names = BTreeSet::new();
        let is_doubtful = self.links.doubtful.contains(&done.number);
        for (device, outcome, elsewhere) in &done.devices {
            assert!(names.insert(device), "two outcomes for {device}: {:?}", done.devices);
            let heard = sent.heard_by.keys().any(|&number| self.members[number].device == *device);
            match outcome {
                Outcome::Written => {
                    assert!(heard, "{} was written to {device}, who heard nothing", done.number)
                }
                _ => assert!(
                    !heard || is_doubtful,
                    "{} was {} to {device} (elsewhere: {elsewhere}), who heard it",
                    done.number,
                    outcome.label()
                ),
            }
        }
        for (&number, &times) in &sent.heard_by {
            let device = &self.members[number].device;
            assert!(names.contains(device) || is_doubtful, "{device} heard what has no outcome");
            assert!(times == 1 || is_doubtful, "{device} heard {} {times} times", done.number);
        }
        self.check_steady(done);
    }

    /// Who has been there for long, and is well, is found.
    fn check_steady(&self, done: &Done) {
        let sent = &self.ledger.sent[done.number];
        let slot = &self.slots[sent.through];
        if slot.node.as_ref().is_none_or(|node| node.run != sent.run) {
            return;
        }
        let well_us = sent.began_us.saturating_sub(CALM_US);
        let trouble_us = slot.troubled_us.max(self.stores.troubled_us);
        let is_calm = trouble_us.max(self.stores.lost_us) < well_us;
        // A loss that the node knows of, with nothing else amiss.
        let noticed_us = self.stores.noticed_us(sent.through).filter(|&us| us >= self.stores.lost_us);
        let is_frozen = trouble_us < well_us
            && noticed_us.is_some_and(|us| us < sent.began_us && self.now_us < us + FROZEN_US);
        for &number in &self.active {
            let member = &self.members[number];
            let named = sent.device.as_ref().is_none_or(|device| *device == member.device);
            let there = member.is_there() && member.opened_us.is_some_and(|us| us < well_us);
            let healthy = self.slots[member.at].troubled_us < well_us;
            if !(named && there && healthy && member.user == sent.user && self.is_alone(number)) {
                continue;
            }
            let outcome = done.devices.iter().find(|(device, ..)| *device == member.device);
            // Renewals that fail several times in a row cost a lease.
            let is_calm = is_calm && self.slots[member.at].unleased_us < well_us;
            let missed = outcome.is_none() && !done.unknown;
            assert!(!missed || !(is_calm || is_frozen), "{member:?} is not found by {}", done.number);
            let failed = outcome.is_some_and(|(_, outcome, _)| *outcome != Outcome::Written);
            let excused = done.unknown || self.links.doubtful.contains(&done.number);
            assert!(!(failed && is_calm) || excused, "{member:?} is there, and {outcome:?}");
        }
    }

    /// Whether a member has been its device's only connection for long, and is its newest: one that was displaced, of which
    /// nobody told it, is forgotten.
    fn is_alone(&self, number: usize) -> bool {
        let one = &self.members[number];
        let ended_lately =
            |over_us: Option<u64>| over_us.is_none_or(|us| us + CALM_US + PUSH_MAX_US > self.now_us);
        let rival = |(other, member): (usize, &super::member::Member)| {
            other != number
                && member.is_of(&one.user, &one.device)
                && (self.active.contains(&other) || ended_lately(member.over_us) || other > number)
        };
        !self.members.iter().enumerate().any(rival)
    }
}
