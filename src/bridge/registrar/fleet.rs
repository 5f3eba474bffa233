//! Which nodes live, as far as the registry has said, and when its silence proves nothing.
//!
//! Owns the table of leases and the rule of the freeze: while the registry is away, and for some seconds after it has
//! returned or after a node has found its own lease gone, an absent lease is no proof of death.

use crate::{
    bridge::{
        registry::Lease,
        store::{LiveLease, Place, Slots, node_number},
    },
    kit::mutant::Mutant,
};
use foldhash::fast::RandomState;
use std::collections::{BTreeMap, HashMap};

/// Whether a record's connection can be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// Its node lives, in that run.
    Live,
    /// Its node has begun anew.
    Dead,
    /// No lease of that run is known that has not ended: the table is to be asked for anew, and if it says no more then,
    /// the node is gone.
    Unknown,
}

/// A node as it was last heard of.
#[derive(Clone, Debug)]
struct Known {
    lease: Lease,
    /// The highest format that it reads.
    format: u8,
    until_ms: u64,
}

/// See the module. Times are monotonic ms.
#[derive(Default, Debug)]
pub struct Fleet {
    nodes: HashMap<u64, Known, RandomState>,
    /// Masters that do not answer, and which slots nobody has taken over from them yet.
    away: BTreeMap<String, Slots>,
    /// Leases do not end before this.
    frozen_until_ms: u64,
    /// When the question was put whose answer the table is.
    asked_ms: Option<u64>,
}

impl Fleet {
    /// A master is gone: from now on nothing proves anything. One without slots is missed by nobody.
    pub fn lose(&mut self, master: String, slots: Slots) {
        if !slots.is_empty() {
            self.away.insert(master, slots);
        }
    }

    /// These slots have a master that answers: the one they had, or another one that has taken them over.
    pub fn regain(&mut self, slots: &Slots, now_ms: u64, freeze_ms: u64) {
        let mut were_away = false;
        self.away.retain(|_, missing| {
            let left = subtract(missing, slots);
            were_away |= left != *missing;
            *missing = left;
            !missing.is_empty()
        });
        if were_away {
            self.freeze(now_ms, freeze_ms);
        }
    }

    /// This node's own lease was gone, as those of others may be.
    pub fn freeze(&mut self, now_ms: u64, freeze_ms: u64) {
        self.frozen_until_ms = self.frozen_until_ms.max(now_ms + freeze_ms);
    }

    /// Whether absence proves nothing now.
    pub fn is_frozen(&self, now_ms: u64) -> bool {
        !self.away.is_empty() || now_ms < self.frozen_until_ms
    }

    /// Masters that do not answer.
    pub fn away(&self) -> impl Iterator<Item = &str> {
        self.away.keys().map(String::as_str)
    }

    /// Takes in what the registry has answered to a question of `asked_ms`.
    pub fn learn(&mut self, asked_ms: u64, now_ms: u64, leases: Vec<LiveLease>) {
        if !self.is_frozen(now_ms) && !Mutant::LeaseNeverEnds.is_on() {
            self.nodes.clear();
        }
        for LiveLease { lease, format, left_ms } in leases {
            // What was left when it was asked is no more now.
            let known = Known { until_ms: asked_ms + left_ms, lease, format };
            let held = self.nodes.entry(node_number(&known.lease.node)).or_insert_with(|| known.clone());
            if known.lease.incarnation >= held.lease.incarnation {
                *held = known;
            }
        }
        self.asked_ms = Some(asked_ms);
    }

    /// Whether the table is the answer to a question that was put at or after `since_ms`.
    pub fn is_fresh(&self, since_ms: u64) -> bool {
        self.asked_ms.is_some_and(|asked_ms| asked_ms >= since_ms)
    }

    /// Whether a record's connection can be there.
    pub fn life_of(&self, place: &Place, now_ms: u64) -> Life {
        match self.nodes.get(&place.node) {
            Some(known) if known.lease.incarnation > place.incarnation => Life::Dead,
            Some(known) if known.lease.incarnation == place.incarnation => {
                let ended =
                    known.until_ms <= now_ms && !self.is_frozen(now_ms) && !Mutant::LeaseNeverEnds.is_on();
                // This node may have paused, and not have heard of the renewals: the table is to be asked for anew.
                if ended { Life::Unknown } else { Life::Live }
            }
            Some(_) | None => Life::Unknown,
        }
    }

    /// Whether a record's connection cannot be there, as far as is known of a time from `since_ms` on.
    pub fn is_dead(&self, place: &Place, since_ms: u64, now_ms: u64) -> bool {
        match self.life_of(place, now_ms) {
            Life::Live => false,
            Life::Dead => true,
            // The table does not know it, and was asked for since.
            Life::Unknown => self.is_fresh(since_ms) && !self.is_frozen(now_ms),
        }
    }

    /// Whether a record's node has renewed its lease, which lasts for `ttl_ms`, since a time.
    pub fn has_renewed(&self, place: &Place, since_ms: u64, ttl_ms: u64) -> bool {
        self.nodes.get(&place.node).is_some_and(|known| {
            known.lease.incarnation == place.incarnation && known.until_ms > since_ms + ttl_ms
        })
    }

    /// A node's lease, while it lives.
    pub fn lease_of(&self, node: u64, now_ms: u64) -> Option<&Lease> {
        let frozen = self.is_frozen(now_ms) || Mutant::LeaseNeverEnds.is_on();
        self.nodes.get(&node).filter(|known| frozen || known.until_ms > now_ms).map(|known| &known.lease)
    }

    /// The addresses of the nodes that live, and the highest format that each reads.
    pub fn formats(&self, now_ms: u64) -> impl Iterator<Item = (&str, u8)> {
        self.live(now_ms).map(|known| (known.lease.address.as_str(), known.format))
    }

    /// The nodes that live.
    pub fn leases(&self, now_ms: u64) -> impl Iterator<Item = &Lease> {
        self.live(now_ms).map(|known| &known.lease)
    }

    fn live(&self, now_ms: u64) -> impl Iterator<Item = &Known> {
        let frozen = self.is_frozen(now_ms);
        self.nodes.values().filter(move |known| frozen || known.until_ms > now_ms)
    }
}

/// The slots of the first that are not in the second.
fn subtract(slots: &Slots, taken: &Slots) -> Slots {
    let mut left = slots.clone();
    for taken in taken {
        let mut next = Slots::new();
        for range in left {
            let (first, last) = (*range.start(), *range.end());
            if taken.end() < &first || taken.start() > &last {
                next.push(range);
                continue;
            }
            if first < *taken.start() {
                next.push(first..=taken.start() - 1);
            }
            if *taken.end() < last {
                next.push(taken.end() + 1..=last);
            }
        }
        left = next;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kit::slab::Key, model::Handle};
    use proptest::{collection::vec, prelude::*};

    fn lease(node: &str, incarnation: u64, left_ms: u64) -> LiveLease {
        let lease = Lease {
            node: node.into(),
            address: format!("{node}:7008"),
            region: String::new(),
            incarnation,
            capacity: 10,
            connections: 0,
            draining: false,
            version: "1".into(),
            lanes: Default::default(),
        };
        LiveLease { lease, format: 1, left_ms }
    }

    fn place(node: &str, incarnation: u64) -> Place {
        let connection = Handle { shard: 0, key: Key { index: 1, generation: 1 } };
        Place { node: node_number(node), incarnation, connection }
    }

    #[test]
    fn a_node_lives_in_its_run_and_as_long_as_its_lease() {
        let mut fleet = Fleet::default();
        assert_eq!(fleet.life_of(&place("a", 5), 0), Life::Unknown);
        fleet.learn(100, 120, vec![lease("a", 5, 10_000)]);
        assert_eq!(fleet.life_of(&place("a", 5), 10_099), Life::Live);
        assert_eq!(fleet.life_of(&place("a", 5), 10_100), Life::Unknown, "unless it was renewed unheard");
        assert_eq!(fleet.life_of(&place("a", 4), 200), Life::Dead, "an earlier run");
        assert_eq!(fleet.life_of(&place("a", 6), 200), Life::Unknown, "a later one, not yet heard of");
        assert_eq!(fleet.life_of(&place("b", 5), 200), Life::Unknown);
        assert!(fleet.is_fresh(100) && !fleet.is_fresh(101));
        assert_eq!(fleet.lease_of(node_number("a"), 200).unwrap().address, "a:7008");
        fleet.learn(300, 320, vec![lease("b", 1, 10_000)]);
        assert_eq!(fleet.life_of(&place("a", 5), 320), Life::Unknown, "it is not in the answer");
    }

    #[test]
    fn nobody_dies_while_the_registry_is_away_and_for_a_while_after() {
        let mut fleet = Fleet::default();
        fleet.learn(0, 0, vec![lease("a", 5, 1_000)]);
        let (first, second) = (vec![0..=99], vec![100..=16_383]);
        fleet.lose("redis:1".into(), vec![0..=16_383]);
        assert_eq!(fleet.life_of(&place("a", 5), 60_000), Life::Live);
        // Two others have taken over from it.
        fleet.regain(&first, 55_000, 10_000);
        assert_eq!(fleet.life_of(&place("a", 5), 100_000), Life::Live);
        assert_eq!(fleet.away().collect::<Vec<_>>(), ["redis:1"]);
        fleet.regain(&second, 60_000, 10_000);
        assert_eq!(fleet.away().count(), 0);
        // It has come back empty.
        fleet.learn(61_000, 61_000, Vec::new());
        assert_eq!(fleet.life_of(&place("a", 5), 69_999), Life::Live);
        assert_eq!(fleet.life_of(&place("a", 5), 70_000), Life::Unknown);
        fleet.learn(70_000, 70_001, Vec::new());
        assert_eq!(fleet.leases(70_001).count(), 0);
    }

    proptest! {
        #[test]
        fn what_is_subtracted_is_gone_and_no_more(ranges in vec((0u16..60, 0u16..20), 0..5), taken in vec((0u16..60, 0u16..20), 0..5)) {
            let of = |ranges: Vec<(u16, u16)>| ranges.into_iter().map(|(first, length)| first..=first + length).collect::<Slots>();
            let (ranges, taken) = (of(ranges), of(taken));
            let holds = |slots: &Slots, slot| slots.iter().any(|range| range.contains(&slot));
            let left = subtract(&ranges, &taken);
            for slot in 0..90 {
                prop_assert_eq!(holds(&left, slot), holds(&ranges, slot) && !holds(&taken, slot));
            }
        }
    }
}
