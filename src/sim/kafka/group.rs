//! The group's coordinator: who is a member, who holds what, and who is to.
//!
//! A partition that is to move is taken from its holder first, and given to the next when that one is done with it; the others
//! stay where they are.

use super::client::{Client, Rebalance};
use crate::kit::random::Random;
use std::collections::{BTreeMap, BTreeSet};

/// How long the coordinator waits before it tells the members of a change.
const TELLS_WITHIN_US: u64 = 400_000;

/// See the module.
pub struct Group {
    /// By slot: which run of it, and when it was last heard of.
    members: BTreeMap<usize, (u64, u64)>,
    /// Slot and run.
    owners: Vec<Option<(usize, u64)>>,
    targets: Vec<Option<usize>>,
    /// Those whose holder has been asked for them.
    asked: BTreeSet<usize>,
    /// When members are told what has changed.
    tells_us: u64,
}

impl Group {
    pub fn new(partitions: usize) -> Self {
        Self {
            members: BTreeMap::new(),
            owners: vec![None; partitions],
            targets: vec![None; partitions],
            asked: BTreeSet::new(),
            tells_us: 0,
        }
    }

    pub fn is_owner(&self, partition: usize, slot: usize, run: u64) -> bool {
        self.owners[partition] == Some((slot, run))
    }

    pub fn is_settled(&self) -> bool {
        let slots = self.owners.iter().map(|owner| owner.map(|(slot, _)| slot));
        slots.eq(self.targets.iter().copied()) && self.targets.iter().all(Option::is_some)
    }

    /// Nobody could be heard.
    pub fn forgive(&mut self, now_us: u64) {
        self.members.values_mut().for_each(|(_, heard_us)| *heard_us = now_us);
    }

    /// Those who were silent for too long hold nothing any more.
    pub fn drop_silent(&mut self, now_us: u64, session_us: u64) {
        let silent = |(_, heard_us): &(u64, u64)| heard_us + session_us < now_us;
        let gone: Vec<usize> =
            self.members.iter().filter(|(_, member)| silent(member)).map(|(&slot, _)| slot).collect();
        for slot in gone {
            self.remove(slot);
        }
    }

    /// A client that reaches the coordinator says that it is there, joins, or is told that it has been dropped.
    pub fn hear_from(&mut self, slot: usize, client: &mut Client, now_us: u64) {
        let known = self.members.get(&slot).copied();
        match known {
            Some((run, _)) if run == client.run && client.is_member => {
                self.members.insert(slot, (run, now_us));
                if !client.wants && client.holds_nothing() {
                    self.remove(slot);
                    client.left();
                }
            }
            _ if client.is_member => client.lose(),
            _ if client.wants && client.joins_us <= now_us && client.holds_nothing() => {
                self.members.insert(slot, (client.run, now_us));
                client.is_member = true;
                // One that comes back in time has what it had.
                if known.is_none() {
                    self.share();
                }
                self.asked.retain(|&at| self.owners[at].is_none_or(|(owner, _)| owner != slot));
            }
            _ => {}
        }
    }

    /// A client is done with what it was asked for.
    pub fn take_back(&mut self, slot: usize, client: &mut Client) {
        for partition in client.freed.drain(..) {
            if self.is_owner(partition, slot, client.run) {
                self.owners[partition] = None;
                self.asked.remove(&partition);
            }
        }
    }

    /// A member means to leave: it keeps nothing.
    fn without_leavers(&mut self, clients: &[Option<Client>]) {
        let stays = |slot: usize| clients[slot].as_ref().is_none_or(|client| client.wants);
        if self.targets.iter().flatten().any(|&slot| !stays(slot)) {
            let members: Vec<usize> = self.members.keys().copied().filter(|&slot| stays(slot)).collect();
            self.share_among(&members);
        }
    }

    /// Each member is told what to give back and what it has got.
    pub fn move_on(&mut self, clients: &mut [Option<Client>], random: &mut Random, now_us: u64) {
        self.without_leavers(clients);
        let (mut given, mut taken) = (BTreeMap::<_, Vec<usize>>::new(), BTreeMap::<_, Vec<usize>>::new());
        for (partition, &target) in self.targets.iter().enumerate() {
            let of = |slot: usize| self.members.get(&slot).map(|&(run, _)| run);
            let has_joined = |slot: usize, run: u64| {
                clients[slot].as_ref().is_some_and(|client| client.run == run && client.is_member)
            };
            match (self.owners[partition], target) {
                (Some((owner, run)), _)
                    if target != Some(owner)
                        && of(owner) == Some(run)
                        && !self.asked.contains(&partition)
                        && has_joined(owner, run) =>
                {
                    taken.entry(owner).or_default().push(partition);
                }
                (owner, Some(slot)) => {
                    let is_free = owner.is_none_or(|(held, run)| of(held) != Some(run));
                    if let Some(run) = of(slot).filter(|&run| is_free && has_joined(slot, run)) {
                        given.entry((slot, run)).or_default().push(partition);
                    }
                }
                _ => {}
            }
        }
        if given.is_empty() && taken.is_empty() {
            self.tells_us = now_us + random.below(TELLS_WITHIN_US);
        }
        if now_us < self.tells_us {
            return;
        }
        for (slot, partitions) in taken {
            self.asked.extend(&partitions);
            clients[slot].iter_mut().for_each(|it| it.push(Rebalance::Revoke(partitions.clone())));
        }
        for ((slot, run), partitions) in given {
            partitions.iter().for_each(|&partition| self.owners[partition] = Some((slot, run)));
            clients[slot].iter_mut().for_each(|it| it.push(Rebalance::Assign(partitions.clone())));
        }
    }

    /// Every partition may go to anybody.
    pub fn shuffle(&mut self, random: &mut Random) {
        let members: Vec<usize> = self.members.keys().copied().collect();
        for target in &mut self.targets {
            *target = members.get(random.below(members.len().max(1) as u64) as usize).copied();
        }
    }

    fn remove(&mut self, slot: usize) {
        self.members.remove(&slot);
        for (partition, owner) in self.owners.iter_mut().enumerate() {
            if owner.is_some_and(|(held, _)| held == slot) {
                *owner = None;
                self.asked.remove(&partition);
            }
        }
        self.share();
    }

    fn share(&mut self) {
        let members: Vec<usize> = self.members.keys().copied().collect();
        self.share_among(&members);
    }

    /// Who has no more than its share keeps what it has.
    fn share_among(&mut self, members: &[usize]) {
        let most = self.targets.len().div_ceil(members.len().max(1));
        let mut loads: BTreeMap<usize, usize> = members.iter().map(|&slot| (slot, 0)).collect();
        for target in &mut self.targets {
            let keeps = target.and_then(|slot| loads.get_mut(&slot)).filter(|load| **load < most);
            match keeps {
                Some(load) => *load += 1,
                None => *target = None,
            }
        }
        for target in self.targets.iter_mut().filter(|target| target.is_none()) {
            let least = loads.iter_mut().min_by_key(|(slot, load)| (**load, **slot));
            if let Some((&slot, load)) = least {
                *load += 1;
                *target = Some(slot);
            }
        }
    }
}
