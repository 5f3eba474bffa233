//! What is sent by the queue, what befalls it, and what must be so of it at rest.

use super::{
    actions,
    judge::{self, Account, RETRY_MS},
    ledger::Ear,
    links::DEADLINE_US,
    plan::QueuePlan,
    records::{Records, Wish},
    run::{Fleet, Slot},
    store,
};
use crate::{
    kit::random::Random,
    model::{Lane, Outcome},
    sim::{
        faults::Odds,
        kafka::{Kafka, TOPICS},
        net::START_UNIX_MS,
    },
};
use std::collections::BTreeSet;

/// The longest that Kafka is away, or takes no reports.
const AWAY_MAX_US: u64 = 15_000_000;
/// Until the silent are found, leases and sessions have ended, and everything is tried again for the last time.
const SETTLE_US: u64 = 45_000_000;
/// At rest the queue is worked off within this.
const DRAIN_US: u64 = 60_000_000;
/// How often everything moves.
const MOVES: usize = 3;
/// Users who never come.
const STRANGERS: usize = 12;
/// A few answers.
const MOMENT_US: u64 = 4_000_000;

/// Kafka, what was sent by it, and each node's account.
pub struct Queue {
    pub plan: QueuePlan,
    pub kafka: Kafka,
    pub records: Records,
    pub accounts: Vec<Account>,
    away_us: u64,
}

impl Queue {
    pub fn new(plan: QueuePlan, slots: usize, random: Random) -> Self {
        let accounts = (0..slots).map(|_| Account::default()).collect();
        let kafka = Kafka::new(plan.kafka, slots, random);
        let records = Records::new(plan.kafka.produce_max < 100);
        Self { plan, kafka, records, accounts, away_us: 0 }
    }

    /// A node begins.
    pub fn start(&mut self, slot: usize, run: u64, now_us: u64) {
        self.accounts[slot] = Account::default();
        self.kafka.start(slot, run, now_us);
    }

    /// A record is written. Its number.
    fn send(&mut self, wish: Wish, now_us: u64) -> usize {
        let lane = wish.lane;
        let lane_ms = self.plan.low_ttl_ms.filter(|_| usize::from(lane.0) + 1 == TOPICS.len());
        let (kafka, has_dead_letters) = (&mut self.kafka, self.plan.has_dead_letters);
        let is_silent = !has_dead_letters && wish.reason.is_some_and(|reason| reason != "too_large");
        let number = self.records.make(wish, lane_ms, START_UNIX_MS + now_us / 1_000, |letter| {
            let log = kafka.log_of(lane, letter.key.as_deref().unwrap_or_default());
            (log, kafka.append(log, letter.clone(), now_us))
        });
        self.records.all[number].is_silent = is_silent;
        number
    }
}

/// Some records are sent.
pub fn send(fleet: &mut Fleet) {
    let (user, device) = actions::any_device(fleet);
    let one_user = fleet.choices.once_in(2);
    for _ in 0..fleet.choices.pick(&[1, 2, 6]) {
        let (other, _) = actions::any_device(fleet);
        let choices = &mut fleet.choices;
        let reasons = ["no_key", "key", "header", "body", "too_large"];
        let wish = Wish {
            lane: Lane(choices.below(3) as u8),
            user: if one_user { user.clone() } else { other },
            device: choices.once_in(4).then(|| device.clone()),
            life_ms: choices.once_in(6).then(|| choices.between(0, 90_000)),
            reason: choices.once_in(16).then(|| choices.pick(&reasons)),
            has_id: choices.once_in(2),
        };
        if let Some(queue) = &mut fleet.queue {
            queue.send(wish, fleet.now_us);
        }
    }
}

/// Something may befall the queue.
pub fn disturb(fleet: &mut Fleet) {
    let at = match &fleet.queue {
        Some(_) => actions::any_node(fleet),
        None => return,
    };
    let (choices, now_us) = (&mut fleet.choices, fleet.now_us);
    let Some(queue) = &mut fleet.queue else { return };
    let mut strikes = |one_in: u64| one_in > 0 && choices.once_in(one_in);
    let QueuePlan { away, refusals, rebalances, .. } = queue.plan;
    let (away, refusal, rebalance) = (strikes(away), strikes(refusals), strikes(rebalances));
    if queue.away_us + AWAY_MAX_US < now_us {
        queue.heal(now_us);
    }
    if away {
        queue.away_us = now_us;
        match choices.below(3) {
            0 => queue.kafka.is_up = false,
            1 => queue.kafka.cut_off[at] = true,
            _ => queue.heal(now_us),
        }
    }
    if refusal {
        queue.kafka.refuses = !queue.kafka.refuses;
        queue.away_us = now_us;
    }
    if rebalance {
        match choices.below(6) {
            2 | 3 => queue.kafka.begin_anew(at),
            0 => queue.kafka.client_mut(at).into_iter().for_each(|client| client.wants = !client.wants),
            1 => {
                let lane = Lane(choices.below(3) as u8);
                if let Some(client) = queue.kafka.client_mut(at)
                    && !client.paused.remove(&lane)
                {
                    client.paused.insert(lane);
                }
            }
            _ => queue.kafka.reshuffle(),
        }
    }
}

impl Queue {
    fn heal(&mut self, now_us: u64) {
        self.kafka.come_up(now_us);
        self.kafka.refuses = false;
        self.kafka.cut_off.iter_mut().for_each(|is_cut_off| *is_cut_off = false);
    }

    /// No more faults.
    fn calm(&mut self, now_us: u64) {
        self.heal(now_us);
        let plan = &mut self.kafka.plan;
        (plan.late, plan.refused, plan.unknown) = (Odds::NEVER, Odds::NEVER, Odds::NEVER);
        plan.commit_lost = Odds::NEVER;
        for slot in 0..self.accounts.len() {
            if let Some(client) = self.kafka.client_mut(slot) {
                client.wants = true;
                client.paused.clear();
            }
        }
    }

    /// Whether everything that was sent is done, and the group knows.
    fn is_drained(&self) -> bool {
        self.kafka.logs.iter().all(|log| log.committed == log.end)
    }
}

impl Fleet {
    pub(super) fn is_processing_due(&self, at: usize) -> bool {
        let Some((queue, node)) = self.queue.as_ref().zip(self.slots[at].node.as_ref()) else { return false };
        let has_news = queue.kafka.client(at).is_some_and(|client| !client.inbox.is_empty());
        has_news || node.processing.as_ref().is_some_and(|it| it.is_due(node.now()))
    }

    /// One turn of a node's processor, with no more of what the queue has delivered. Whatever passes between the two is shown to
    /// the judge.
    pub(super) fn turn_processor(&mut self, at: usize, outputs_max: usize) {
        let now_us = self.now_us;
        if !self.slots[at].is_awake(now_us) {
            return;
        }
        let Some((queue, node)) = self.queue.as_mut().zip(self.slots[at].node.as_mut()) else { return };
        let (now, run) = (node.now(), node.run);
        let Some(processing) = &mut node.processing else { return };
        let Queue { kafka, records, accounts, .. } = queue;
        let account = &mut accounts[at];
        let outputs = kafka.take_outputs(at, outputs_max);
        for output in &outputs {
            let turn = judge::Turn { slot: at, run, now_us, unix_ms: now.unix_ms, kafka };
            account.hear(&turn, output, records);
        }
        processing.turn(now, outputs, &mut |request| {
            let answer = kafka.submit(at, request.clone(), now_us);
            let turn = judge::Turn { slot: at, run, now_us, unix_ms: now.unix_ms, kafka };
            account.ask(&turn, &request, answer.is_ok(), records);
            answer
        });
        account.end_turn();
    }

    pub(super) fn hear_record(&mut self, member: usize, body: &[u8], binary: bool) {
        let Some(queue) = &mut self.queue else { return };
        let Self { members, links, .. } = self;
        let heard = &members[member];
        let ear = Ear { member, user: &heard.user, device: &heard.device, stream: heard.stream };
        queue.records.hear(&ear, body, binary, |number| links.doubtful.contains(&number));
    }

    /// No more faults: everything is worked off, and then everybody is reached.
    pub(super) fn rest_with_queue(&mut self) {
        self.end_faults();
        let now_us = self.now_us;
        self.queue.iter_mut().for_each(|queue| queue.calm(now_us));
        actions::rush(self);
        self.pass_us(SETTLE_US);
        self.work_off();
        self.check_queue();
        self.check_reached_by_queue();
        self.check_moves();
        self.check_gives_up();
        self.check_leaves();
        self.work_off();
        self.check_queue();
    }

    /// Time for everything that was sent, and for the last answers.
    fn work_off(&mut self) {
        let until_us = self.now_us + DRAIN_US;
        while self.now_us < until_us && !self.queue.as_ref().is_some_and(Queue::is_drained) {
            self.pass_us(500_000);
        }
        self.pass_us(MOMENT_US);
    }

    /// Partitions move while everybody is sent to: where nothing else goes wrong, nothing is handed over again.
    fn check_moves(&mut self) {
        let first = self.queue.as_ref().map_or(0, |queue| queue.records.all.len());
        for _ in 0..MOVES {
            let Some(queue) = &mut self.queue else { return };
            for number in 0..3 * self.plan.users {
                let (lane, user) = (Lane((number % 3) as u8), format!("u{}", number / 3));
                for has_id in [true, false] {
                    let (user, life_ms) = (user.clone(), Some(3_600_000));
                    queue.send(Wish { lane, user, device: None, life_ms, reason: None, has_id }, self.now_us);
                }
            }
            queue.kafka.reshuffle();
            let us = self.choices.below(500_000);
            self.pass_us(us);
        }
        self.work_off();
        let Some(queue) = &self.queue else { return };
        let again = queue.records.all[first..].iter().find(|made| made.handed.len() > 1);
        let again = again.map(|made| (made.number, &made.handed));
        assert_eq!(again, None, "it was handed over again, although nothing was amiss");
    }

    /// What waits for the registry is lost and comes back, and is given back at once where the group asks for it.
    fn check_leaves(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        self.stores.is_slow = true;
        for stranger in 0..STRANGERS {
            let (lane, user) = (Lane((stranger % 3) as u8), format!("nobody{stranger}"));
            queue.send(
                Wish { lane, user, device: None, life_ms: Some(3_600_000), reason: None, has_id: false },
                self.now_us,
            );
        }
        for _ in 0..3 {
            self.pass_us(200_000);
            self.queue
                .iter_mut()
                .for_each(|queue| (0..queue.accounts.len()).for_each(|at| queue.kafka.begin_anew(at)));
        }
        (self.stores.is_up, self.stores.is_slow) = (false, false);
        self.pass_us(store::TIMEOUT_US + 500_000);
        let Some(queue) = &mut self.queue else { return };
        let holder =
            (0..queue.accounts.len()).find(|&at| queue.kafka.client(at).is_some_and(|it| it.holds() > 0));
        let leaver = holder.and_then(|at| queue.kafka.client_mut(at)).expect("somebody holds something");
        leaver.wants = false;
        self.pass_us(1_500_000);
        let Some(queue) = &mut self.queue else { return };
        let late = queue.accounts.iter().position(Account::is_revoked);
        assert_eq!(late, None, "a revoke waits for the registry");
        queue.calm(self.now_us);
        self.stores.is_up = true;
    }

    /// Nothing is under way, nothing is owed, and everything was told.
    fn check_queue(&self) {
        let Some(queue) = &self.queue else { return };
        let mut held = 0;
        for (at, slot) in self.slots.iter().enumerate() {
            let node = slot.node.as_ref().expect("every node runs");
            let core = &node.processing.as_ref().expect("every node processes").core;
            assert_eq!((core.under_way(), core.has_lines()), (0, false), "n{at} has messages under way");
            let client = queue.kafka.client(at).expect("every node has a client");
            assert_eq!((client.accounts(), client.writes()), ((0, 0), 0), "n{at} has records under way");
            held += client.holds();
            queue.accounts[at].check_idle();
            judge::check_counts(&queue.accounts[at].told, |lane, outcome| {
                node.rig.stats.messages_of(lane, outcome)
            });
        }
        assert_eq!(held, queue.kafka.logs.len(), "every partition is held by one");
        assert!(queue.kafka.is_settled(), "the group is at rest");
        for log in &queue.kafka.logs {
            assert_eq!(log.committed, log.end, "{}/{} is not done", log.topic, log.number);
        }
        queue.records.check_all(|member| self.members[member].device.clone());
    }

    /// Somebody's node is not reached for so long that nobody tries any more, although everything else is as it should be.
    fn check_gives_up(&mut self) {
        let Some(&away) = self.active.iter().find(|&&number| self.members[number].opened_us.is_some()) else {
            return;
        };
        let (at, user) = (self.members[away].at, self.members[away].user.clone());
        self.links
            .cut
            .extend((0..self.slots.len()).filter(|&to| to != at).map(|to| (at.min(to), at.max(to))));
        let Some(queue) = &mut self.queue else { return };
        for lane in (0..3).map(Lane) {
            let (user, life_ms) = (user.clone(), Some(3_600_000));
            queue.send(Wish { lane, user, device: None, life_ms, reason: None, has_id: true }, self.now_us);
        }
        // Each try waits for its answer, and looks once more.
        self.pass_us(RETRY_MS * 1_000 + 2 * DEADLINE_US + MOMENT_US);
        let busy = |slot: &Slot| {
            let processing = slot.node.as_ref().and_then(|node| node.processing.as_ref());
            processing.is_some_and(|it| it.core.under_way() > 0)
        };
        let trying = self.slots.iter().position(busy);
        assert_eq!(trying, None, "a processor still tries what it cannot reach");
        self.links.cut.clear();
        self.pass_us(MOMENT_US);
    }

    /// Everybody hears what is sent to them by the queue, once and in order.
    fn check_reached_by_queue(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        let mut numbers = Vec::new();
        for user in 0..self.plan.users {
            for lane in (0..3).map(Lane) {
                let (user, life_ms) = (format!("u{user}"), Some(3_600_000));
                let wish = Wish { lane, user, device: None, life_ms, reason: None, has_id: false };
                numbers.push(queue.send(wish, self.now_us));
            }
        }
        self.pass_us(MOMENT_US);
        let Some(queue) = &self.queue else { return };
        let known: BTreeSet<_> =
            self.known().into_iter().map(|(user, device, at, _)| (user, device, at)).collect();
        for number in numbers {
            let made = &queue.records.all[number];
            let of_user = |at: &&usize| {
                let member = &self.members[**at];
                member.opened_us.is_some() && Some(&member.user) == made.user.as_ref()
            };
            let members: Vec<usize> = self.active.iter().filter(of_user).copied().collect();
            let place = |at: usize| {
                let member = &self.members[at];
                (member.user.clone(), member.device.clone(), member.at)
            };
            // Of one that was displaced, and forgotten, nothing can be said.
            if !members.iter().all(|&at| known.contains(&place(at))) {
                continue;
            }
            let heard: Vec<(usize, usize)> = made.heard_by.iter().map(|(&at, &times)| (at, times)).collect();
            let once: Vec<(usize, usize)> = members.iter().map(|&at| (at, 1)).collect();
            assert_eq!(heard, once, "who heard {number} for {:?}: {:?}", made.user, made.told);
            let outcomes = made.told.iter().filter(|told| told.outcome == Some(Outcome::Written)).count();
            assert_eq!(
                (outcomes, made.handed.len()),
                (members.len(), 1),
                "outcomes of {number}: {:?}",
                made.told
            );
            let offline = made.told.iter().filter(|told| told.outcome == Some(Outcome::Offline)).count();
            assert_eq!(offline, usize::from(members.is_empty()), "outcomes of {number}: {:?}", made.told);
        }
    }
}
