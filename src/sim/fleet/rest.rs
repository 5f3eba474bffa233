//! What must be so at rest: the registry is who is there, everybody is reached through every node, and whoever moves is found
//! at once.

use super::{
    actions,
    checks::{CALM_US, PUSH_MAX_US},
    ledger::Sent,
    links::{DEADLINE_US, LinkFaults},
    node::{Node, name_of},
    run::Fleet,
    store::StoreFaults,
};
use crate::{
    bridge::store::{Record, node_number},
    model::{Handle, Outcome},
};
use std::collections::BTreeSet;

/// Until the silent are found, leases have ended, and all is told.
const SETTLE_US: u64 = CALM_US + PUSH_MAX_US + 10_000_000;
/// Until everybody is registered again, and absence proves something.
const HEAL_US: u64 = 15_000_000;
/// A few answers.
const MOMENT_US: u64 = 3_000_000;
/// Moves that are tried.
const MOVES: usize = 4;

/// User, device, node and connection.
pub(super) type There = (String, String, usize, (u16, u32, u32));

impl Fleet {
    /// Everything works from now on, and every node runs.
    pub(super) fn end_faults(&mut self) {
        self.stores.faults = StoreFaults::NONE;
        self.links.faults = LinkFaults::NONE;
        (self.stores.is_up, self.stores.is_slow) = (true, false);
        self.links.cut.clear();
        for at in 0..self.slots.len() {
            self.stores.cut_off(at, false);
            self.slots[at].paused_until_us = 0;
            actions::revive(self, at);
        }
    }

    /// No more faults: everything settles.
    pub(super) fn rest(&mut self) {
        self.end_faults();
        (0..3).for_each(|_| actions::rush(self));
        self.pass_us(SETTLE_US);
        if self.stores.failovers == 0 {
            self.check_registry();
        }
        // A failover may have brought back what was deleted: who is asked for a connection that it lacks removes its record.
        for _ in 0..2 {
            self.push_everywhere();
            self.pass_us(MOMENT_US);
        }
        self.check_registry();
        self.check_loss();
        self.check_return();
        self.check_reach();
        for _ in 0..MOVES {
            self.check_move();
        }
        self.check_tell();
        self.check_death();
        self.pass_us(2 * MOMENT_US);
        self.check_registry();
        // What a node that died had not sent has none.
        let lives = |sent: &&Sent| {
            let node = self.slots[sent.through].node.as_ref();
            node.is_some_and(|node| node.run == sent.run)
        };
        assert_eq!(self.ledger.open().filter(lives).count(), 0, "every push has its outcomes");
        assert!(self.links.is_idle(), "every frame has its answer");
    }

    fn push_everywhere(&mut self) -> Vec<usize> {
        let mut numbers = Vec::new();
        for at in 0..self.slots.len() {
            for user in 0..self.plan.users {
                numbers.extend(self.push(at, &format!("u{user}"), None));
            }
        }
        numbers
    }

    /// Who is connected, as the nodes know.
    fn there(&self) -> BTreeSet<There> {
        let mut there = BTreeSet::new();
        for (at, slot) in self.slots.iter().enumerate() {
            let Some(node) = &slot.node else { continue };
            assert!(node.is_settled(), "n{at} has told everything");
            let mut from = Some(0);
            while let Some(place) = from {
                from = node.rig.directory.walk(place, 1_000, |user, route| {
                    let device = route.device.unwrap_or_default().to_owned();
                    there.insert((user.to_owned(), device, at, numbers_of(route.handle)));
                });
            }
        }
        there
    }

    /// Who is connected, as the registry says. Records of runs that are over count for nothing.
    pub(super) fn known(&self) -> BTreeSet<There> {
        let mut known = BTreeSet::new();
        for (user, devices) in &self.stores.redis.users {
            for (device, (Record { place, .. }, _)) in devices {
                let at = (0..self.slots.len()).find(|&at| node_number(&name_of(at)) == place.node);
                let at = at.expect("a node that there is");
                let lives = |at: usize| self.slots[at].node.as_ref().map(|node| node.incarnation());
                if lives(at) == Some(place.incarnation) {
                    known.insert((user.clone(), device.clone(), at, numbers_of(place.connection)));
                }
            }
        }
        known
    }

    /// The registry is who is there. Those who were displaced by a node that died before it could say so may still be there.
    fn check_registry(&self) {
        let (mut there, known) = (self.there(), self.known());
        let before = there.len();
        there.retain(|one| known.contains(one) || !self.is_overtaken(one));
        let forgotten = before - there.len();
        // Where nobody dies, it takes two lost replies in a row to the connects of one device.
        assert!(self.plan.nodes_die || forgotten <= 1, "{forgotten} displaced connections are still there");
        let extra: Vec<_> = there.difference(&known).collect();
        let missing: Vec<_> = known.difference(&there).collect();
        assert!(
            extra.is_empty() && missing.is_empty(),
            "there, not known: {extra:?}; known, not there: {missing:?}"
        );
        let open = self.active.iter().filter(|&&number| self.members[number].opened_us.is_some()).count();
        assert_eq!(open, before, "who is there is who has a connection");
    }

    /// Whether its device has been elsewhere since.
    fn is_overtaken(&self, (user, device, at, _): &There) -> bool {
        let of_device = || self.members.iter().filter(|member| member.is_of(user, device));
        let here = self.active.iter().map(|&number| &self.members[number]);
        let opened_us = here.filter(|member| member.is_of(user, device) && member.at == *at);
        let opened_us = opened_us.filter_map(|member| member.opened_us).max();
        of_device()
            .any(|member| member.at != *at && (member.opened_us > opened_us || member.may_have_opened()))
    }

    /// Everybody is reached through every node, once.
    fn check_reach(&mut self) {
        let numbers = self.push_everywhere();
        self.pass_us(MOMENT_US);
        for number in numbers {
            self.check_reached(number);
        }
    }

    fn check_reached(&self, number: usize) {
        let sent = &self.ledger.sent[number];
        let done = sent.done.as_ref().expect("it has its outcomes by now");
        let wanted = |device: &str| sent.device.as_deref().is_none_or(|only| only == device);
        let of_user = |&&number: &&usize| {
            let member = &self.members[number];
            member.opened_us.is_some() && member.user == sent.user && wanted(&member.device)
        };
        let members: Vec<usize> = self.active.iter().filter(of_user).copied().collect();
        let known = self.known();
        let is_known = |&number: &usize| {
            let member = &self.members[number];
            known.iter().any(|(user, device, at, _)| member.is_of(user, device) && *at == member.at)
        };
        // Of one that was forgotten nothing can be said.
        if !members.iter().all(is_known) {
            return;
        }
        for &member in &members {
            let device = &self.members[member].device;
            let written =
                done.devices.iter().any(|(name, outcome, _)| name == device && *outcome == Outcome::Written);
            let heard = sent.heard_by.get(&member);
            assert!(
                written && heard == Some(&1),
                "{:?} heard {number} through n{} {heard:?} times: {:?}, {}",
                self.members[member],
                sent.through,
                done.devices,
                done.unknown
            );
        }
        assert_eq!((done.devices.len(), done.unknown), (members.len(), false), "nobody else is found");
    }

    /// Half of them leave, and a failover brings their records back: they do not outlast somebody's looking for them.
    fn check_return(&mut self) {
        let leaving: Vec<usize> = self.active.iter().copied().step_by(2).collect();
        leaving.into_iter().for_each(|number| actions::leave(self, number));
        self.pass_us(300_000);
        self.stores.fail_over(self.now_us);
        self.pass_us(HEAL_US);
        self.push_everywhere();
        self.pass_us(MOMENT_US);
        self.check_registry();
    }

    /// A device that somebody has just sent to comes back elsewhere, and is found at once.
    fn check_move(&mut self) {
        let nodes = self.slots.len() as u64;
        let user = format!("u{}", self.choices.below(self.plan.users));
        let device = "d0".to_owned();
        let held = self.active.iter().copied().filter(|&number| self.members[number].is_of(&user, &device));
        let held: Vec<usize> = held.collect();
        let from = held.last().map(|&number| self.members[number].at);
        let to = self.choices.below(nodes) as usize;
        let mut others = (0..self.slots.len()).filter(|&at| at != to && Some(at) != from);
        let through = others.next_back().unwrap_or(from.unwrap_or_default());
        // Of a user of whom somebody else was found, the others are asked for one by one for a moment.
        let has_others = self.active.iter().any(|&number| {
            let member = &self.members[number];
            member.user == user && member.device != device
        });
        let named = (has_others || self.choices.once_in(2)).then_some(device.as_str());
        self.push(through, &user, named);
        self.pass_us(100_000);
        held.iter().for_each(|&number| actions::leave(self, number));
        self.pass_us(100_000);
        self.connect(to, (user.clone(), device.clone()));
        // A bridge looks for what its journal had no room for five times a second.
        for _ in 0..6 {
            self.pass_us(50_000);
            if self.slots.iter().filter_map(|slot| slot.node.as_ref()).all(Node::is_settled) {
                break;
            }
        }
        let number = self.push(through, &user, named).expect("every node runs");
        self.pass_us(MOMENT_US);
        self.check_reached(number);
    }

    /// A device comes back elsewhere while the nodes do not hear each other: its older connection is closed once they do.
    fn check_tell(&mut self) {
        let known = self.known();
        let is_known = |number: &&usize| {
            let member = &self.members[**number];
            known.iter().any(|(user, device, at, _)| member.is_of(user, device) && *at == member.at)
        };
        let Some(&older) = self.active.iter().find(is_known) else { return };
        let member = &self.members[older];
        let (from, who) = (member.at, (member.user.clone(), member.device.clone()));
        let to = (from + 1) % self.slots.len();
        self.links.cut.insert((from.min(to), from.max(to)));
        let newer = self.connect(to, who).expect("every node runs");
        self.pass_us(DEADLINE_US + MOMENT_US);
        self.links.cut.clear();
        self.pass_us(MOMENT_US);
        assert!(!self.active.contains(&older), "{:?} is displaced and still there", self.members[older]);
        assert!(self.active.contains(&newer), "{:?} has displaced another", self.members[newer]);
    }

    /// A node dies: nobody sends to it after its lease, which whoever sends checks.
    fn check_death(&mut self) {
        if !self.plan.nodes_die {
            return;
        }
        let users: BTreeSet<String> =
            self.active.iter().map(|&number| self.members[number].user.clone()).collect();
        self.kill(0);
        self.returning.clear();
        for _ in 0..20 {
            self.pass_us(1_000_000);
            for user in &users {
                self.push(1, user, None);
            }
        }
    }

    /// Everything is forgotten: nobody is taken for gone meanwhile, and everybody is known again.
    fn check_loss(&mut self) {
        let with_leases = self.choices.once_in(2);
        self.stores.forget(with_leases, self.now_us);
        for _ in 0..60 {
            self.pass_us(40_000);
            let at = self.choices.below(self.slots.len() as u64) as usize;
            let user = self.choices.below(self.plan.users);
            self.push(at, &format!("u{user}"), None);
        }
        self.pass_us(HEAL_US);
        self.check_registry();
    }
}

fn numbers_of(handle: Handle) -> (u16, u32, u32) {
    (handle.shard, handle.key.index, handle.key.generation)
}
