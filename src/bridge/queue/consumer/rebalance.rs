//! What the group gives and takes, and what a topic that is made anew takes by itself.
//!
//! One rebalance at a time: the next begins when the last one's outcomes are in.

use super::{
    Consumer, State,
    client::{connect, each, list},
};
use crate::{
    bridge::queue::{
        context::Rebalance,
        held::Anew,
        seam::{Event, Output, Partition},
    },
    model::Lane,
};
use rdkafka::{Offset, TopicPartitionList, consumer::Consumer as _, error::KafkaError};
use std::collections::VecDeque;

/// A revoke that waits for its outcomes.
pub(super) struct Revoking {
    pub id: u64,
    partitions: TopicPartitionList,
    until_us: u64,
    pub released: bool,
    lost: bool,
}

/// For so long after a loss a fence is taken for this member's own doing.
const OWN_FENCE_US: u64 = 90_000_000;

impl Consumer {
    /// Begins what the group wants next, or ends what waited for its outcomes.
    pub(super) fn go_on_with_rebalances(&mut self) {
        if let Some(revoking) = &self.revoking {
            let late = self.clock.micros() >= revoking.until_us;
            if !revoking.released && !late {
                return;
            }
            self.end_revoke();
        }
        match self.rebalances.pop_front() {
            None => {}
            Some(Rebalance::Assign(partitions)) => self.assign(&partitions),
            Some(Rebalance::Revoke { partitions, lost }) => self.begin_revoke(partitions, lost),
        }
        if self.state == State::Leaving && self.held.is_empty() && self.revoking.is_none() {
            self.state = State::Left;
            self.say(Event::Left);
        }
    }

    fn assign(&mut self, partitions: &TopicPartitionList) {
        let mut assigned = Vec::new();
        for (topic, number) in each(partitions) {
            let lane = self.lane_of(&topic);
            self.lanes[usize::from(lane.0)].forward(&topic, number);
            assigned.push((lane, self.held.insert(lane, &topic, number)));
        }
        let result = self.kafka.incremental_assign(partitions);
        self.complain(result);
        let paused = assigned.iter().filter(|(lane, _)| self.paused.contains(lane));
        let paused: Vec<Partition> = paused.map(|(_, partition)| partition.clone()).collect();
        if !paused.is_empty() {
            let result = self.kafka.pause(&list(&paused));
            self.complain(result);
        }
        (self.deliver)(Output::Assigned { partitions: assigned });
    }

    /// The highest whose pattern fits. The patterns are those of the subscription, so there is one, unless librdkafka
    /// reads it otherwise; then it is the lowest.
    fn lane_of(&self, topic: &str) -> Lane {
        let found = self.patterns.iter().position(|pattern| pattern.is_match(topic));
        Lane(found.unwrap_or(self.patterns.len().saturating_sub(1)) as u8)
    }

    fn begin_revoke(&mut self, partitions: TopicPartitionList, lost: bool) {
        let mut revoked = Vec::new();
        for (topic, number) in each(&partitions) {
            if let Some(holding) = self.held.get_mut(&topic, number) {
                holding.leaving = true;
                revoked.push(holding.partition.clone());
            }
        }
        self.revocations += 1;
        let (id, until_us) = (self.revocations, self.clock.micros().saturating_add(self.revoke_us));
        if lost {
            self.lost_us = Some(self.clock.micros());
        }
        self.revoking = Some(Revoking { id, partitions, until_us, released: lost, lost });
        (self.deliver)(Output::Revoked { revocation: id, partitions: revoked, lost });
        if lost {
            self.end_revoke();
        }
    }

    /// Another member has this node's id, says the group, and librdkafka has ended its client for good. It also comes to
    /// that when there is no other: a member that has lost its partitions, as the group was out of reach for too long, joins
    /// as a new one, but first librdkafka commits their offsets, or does so belatedly, as what it was before. So that after
    /// a loss a new client takes the old one's place, once.
    pub(super) fn answer_fence(&mut self) {
        self.fenced = false;
        let held: Vec<_> = self.held.iter().map(|holding| holding.partition.clone()).collect();
        for partition in &held {
            self.held.remove(&partition.topic, partition.number);
        }
        if !held.is_empty() {
            self.revocations += 1;
            let revocation = self.revocations;
            (self.deliver)(Output::Revoked { revocation, partitions: held, lost: true });
        }
        (self.revoking, self.rebalances) = (None, VecDeque::new());
        let now_us = self.clock.micros();
        if self.lost_us.take().is_none_or(|lost_us| now_us - lost_us > OWN_FENCE_US) {
            let cause = "another member of the group has come with this node's id".to_owned();
            return self.say(Event::Error { cause, fatal: true });
        }
        tracing::warn!("joining the group anew, as it was out of reach for too long");
        if let Err(fault) = self.begin_again() {
            self.say(Event::Error { cause: fault.to_string(), fatal: true });
        }
    }

    fn begin_again(&mut self) -> Result<(), KafkaError> {
        let (kafka, lanes) = connect(&self.config, self.lanes.len(), self.batch_max, &self.inbox)?;
        self.kafka.context().close();
        // The old queues and their client end in this order.
        self.lanes = lanes;
        self.kafka = kafka;
        if self.state == State::Member { self.subscribe() } else { Ok(()) }
    }

    /// A partition has begun anew: to those above that is a loss and another assignment.
    pub(super) fn begin_anew(&mut self, anew: Anew) {
        let Anew { lane, lost, partition } = anew;
        tracing::warn!(topic = &*lost.topic, number = lost.number, "the partition begins anew");
        self.revocations += 1;
        let revocation = self.revocations;
        (self.deliver)(Output::Revoked { revocation, partitions: vec![lost], lost: true });
        (self.deliver)(Output::Assigned { partitions: vec![(lane, partition)] });
    }

    /// What is stored is committed by librdkafka before it tells the group that the partitions are free.
    pub(super) fn end_revoke(&mut self) {
        self.store();
        let Some(revoking) = self.revoking.take() else { return };
        for (topic, number) in each(&revoking.partitions) {
            if self.held.is_under_way(&topic, number) {
                tracing::debug!(
                    topic,
                    number,
                    "given back without all outcomes: the next holder delivers some again"
                );
            }
            self.held.remove(&topic, number);
        }
        if revoking.lost {
            self.forget_stored(&revoking.partitions);
        }
        let result = self.kafka.incremental_unassign(&revoking.partitions);
        self.complain(result);
    }

    /// Else librdkafka commits what is stored when it lets go of a partition, also of one that is lost, and tries again until it
    /// is taken: by a topic that was made anew, which is then read from where the old one was.
    fn forget_stored(&mut self, partitions: &TopicPartitionList) {
        let mut nothing = partitions.clone();
        let result = nothing.set_all_offsets(Offset::Invalid);
        let result = result.and_then(|()| self.kafka.store_offsets(&nothing));
        self.complain(result);
    }
}
