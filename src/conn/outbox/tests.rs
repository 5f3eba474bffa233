//! The outbox against a naive twin that keeps every byte apart, under random scripts; and its rules one by one.

use super::*;
use crate::kit::completion::Batch;
use proptest::prelude::*;
use std::sync::Arc;

/// Deadlines and times of a script lie after this: it wraps in the middle of a script.
const EPOCH: Tick = Tick(u32::MAX - 20);
const LIMIT: usize = 100;

#[derive(Clone, Debug)]
enum Op {
    Push { len: usize, policy: LanePolicy, collapse: Option<u64>, deadline: u32, dies_by_expiry: bool },
    Begin { len: usize, gone: usize, deadline: u32 },
    Control { len: usize },
    Advance { permille: usize },
    Expire { at: u32 },
    Abandon { keep_begun: bool },
}

fn op() -> impl Strategy<Value = Op> {
    use LanePolicy::{Close, Drop, Replace};
    let policy = prop_oneof![Just(Drop), Just(Replace), Just(Close)];
    let collapse = prop::option::of(0u64..3);
    prop_oneof![
        8 => (1usize..150, policy, collapse, 0u32..60, any::<bool>()).prop_map(
            |(len, policy, collapse, deadline, dies_by_expiry)| {
                Op::Push { len, policy, collapse, deadline, dies_by_expiry }
            }
        ),
        1 => (2usize..300, 1usize..2, 0u32..60).prop_map(|(len, gone, deadline)| Op::Begin { len, gone, deadline }),
        3 => (1usize..400).prop_map(|len| Op::Control { len }),
        6 => (0usize..=1_000).prop_map(|permille| Op::Advance { permille }),
        2 => (0u32..60).prop_map(|at| Op::Expire { at }),
        1 => any::<bool>().prop_map(|keep_begun| Op::Abandon { keep_begun }),
    ]
}

/// Bytes that tell which item they are of, and where in it.
fn pattern(id: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (id * 37 + at) as u8).collect()
}

fn outgoing(id: usize, len: usize, deadline: Tick, ticket: Ticket<Outcome>) -> Box<Outgoing> {
    Box::new(Outgoing {
        bytes: Bytes::from(pattern(id, len)),
        ticket,
        lane: Lane(0),
        policy: LanePolicy::Drop,
        collapse: None,
        dedup: None,
        entered_us: id as u64,
        deadline,
        dies_by_expiry: false,
    })
}

struct TwinItem {
    left: Vec<u8>,
    begun: bool,
    message: Option<TwinMessage>,
}

#[derive(Clone, Copy)]
struct TwinMessage {
    id: usize,
    collapse: Option<u64>,
    deadline: u32,
    dies_by_expiry: bool,
    /// It had begun when its time was over: its sender has been told.
    answered: bool,
}

impl TwinMessage {
    fn late(&self, at: u32) -> Option<Outcome> {
        let late = if self.dies_by_expiry { Outcome::Expired } else { Outcome::Slow };
        (self.deadline <= at).then_some(late)
    }
}

/// Says the same as the outbox, slowly.
#[derive(Default)]
struct Twin {
    items: Vec<TwinItem>,
    answers: Vec<Option<Outcome>>,
}

impl Twin {
    fn waiting(&self) -> usize {
        self.items.iter().map(|item| item.left.len()).sum()
    }

    fn bytes(&self) -> Vec<u8> {
        self.items.iter().flat_map(|item| item.left.iter().copied()).collect()
    }

    fn answer(&mut self, message: TwinMessage, outcome: Outcome) {
        if !message.answered {
            assert!(self.answers[message.id].replace(outcome).is_none(), "answered twice");
        }
    }

    fn expire(&mut self, at: u32) {
        if let Some(TwinItem { begun: true, message: Some(first), .. }) = self.items.first_mut()
            && let Some(late) = first.late(at)
        {
            let told = *first;
            first.answered = true;
            self.answer(told, late);
        }
        self.remove(|message| message.late(at));
    }

    /// Removes the messages that are not begun and that `doomed` picks.
    fn remove(&mut self, doomed: impl Fn(&TwinMessage) -> Option<Outcome>) {
        let mut at = 0;
        while at < self.items.len() {
            let item = &self.items[at];
            match item.message.and_then(|message| Some((message, doomed(&message)?))) {
                Some((message, outcome)) if !item.begun => {
                    self.items.remove(at);
                    self.answer(message, outcome);
                }
                _ => at += 1,
            }
        }
    }

    /// Takes bytes off the front; returns the messages whose last byte that was.
    fn advance(&mut self, mut count: usize) -> Vec<usize> {
        let mut written = Vec::new();
        while count > 0 {
            let first = &mut self.items[0];
            let part = count.min(first.left.len());
            first.left.drain(..part);
            first.begun = true;
            count -= part;
            if first.left.is_empty()
                && let Some(message) = self.items.remove(0).message
            {
                self.answer(message, Outcome::Written);
                written.push(message.id);
            }
        }
        written
    }

    fn next_deadline(&self) -> Option<u32> {
        let waiting = self.items.iter().filter_map(|item| item.message);
        waiting.filter(|message| !message.answered).map(|message| message.deadline).min()
    }
}

struct Pair {
    outbox: Outbox,
    twin: Twin,
    batch: Arc<Batch<Outcome>>,
}

impl Pair {
    fn new(places: usize) -> Self {
        let twin = Twin { answers: vec![None; places], ..Twin::default() };
        Self { outbox: Outbox::default(), twin, batch: Batch::new(places) }
    }

    fn apply(&mut self, id: usize, op: &Op) {
        match *op {
            Op::Push { len, policy, collapse, deadline, dies_by_expiry } => {
                self.push(
                    TwinMessage { id, collapse, deadline, dies_by_expiry, answered: false },
                    len,
                    policy,
                );
            }
            Op::Begin { len, gone, deadline } => {
                if self.outbox.is_empty() {
                    self.outbox
                        .push_begun(outgoing(id, len, EPOCH.plus(deadline), self.batch.ticket(id)), gone);
                    let message =
                        TwinMessage { id, collapse: None, deadline, dies_by_expiry: false, answered: false };
                    let left = pattern(id, len)[gone..].to_vec();
                    self.twin.items.push(TwinItem { left, begun: true, message: Some(message) });
                }
            }
            Op::Control { len } => {
                let fits = self.twin.waiting() + len <= LIMIT + CONTROL_BYTES_OVER;
                assert_eq!(self.outbox.push_control(Bytes::from(pattern(id, len)), LIMIT), fits);
                if fits {
                    self.twin.items.push(TwinItem { left: pattern(id, len), begun: false, message: None });
                }
            }
            Op::Advance { permille } => {
                let count = self.twin.waiting() * permille / 1_000;
                let mut written = Vec::new();
                self.outbox.advance(count, |message| {
                    written.push(message.entered_us as usize);
                    message.ticket.answer(Outcome::Written);
                });
                assert_eq!(written, self.twin.advance(count));
            }
            Op::Expire { at } => {
                self.outbox.expire(EPOCH.plus(at));
                self.twin.expire(at);
            }
            Op::Abandon { keep_begun } => {
                self.outbox.abandon(Outcome::Stale, keep_begun);
                if !keep_begun && let Some(first) = self.twin.items.first_mut() {
                    first.begun = false;
                }
                self.twin.remove(|_| Some(Outcome::Stale));
                // Control bytes stay with what was begun: an answer to a handshake, or the rest of a frame.
                self.twin.items.retain(|_| keep_begun);
            }
        }
    }

    fn push(&mut self, message: TwinMessage, len: usize, policy: LanePolicy) {
        let mut pushed =
            outgoing(message.id, len, EPOCH.plus(message.deadline), self.batch.ticket(message.id));
        pushed.policy = policy;
        pushed.collapse = message.collapse;
        pushed.dies_by_expiry = message.dies_by_expiry;
        // The oldest of that key alone: as long as every message of a key comes by one lane there is no other.
        let replaces = policy == LanePolicy::Replace && message.collapse.is_some();
        let older = self.twin.items.iter().find(|item| {
            replaces && !item.begun && item.message.is_some_and(|older| older.collapse == message.collapse)
        });
        let (older_len, older) = older.map_or((0, None), |item| (item.left.len(), item.message));
        let others = self.twin.items.len() - usize::from(older.is_some());
        let fits = others == 0 || self.twin.waiting() - older_len + len <= LIMIT;
        if let Some(older) = older.filter(|_| fits) {
            self.twin.remove(|other| (other.id == older.id).then_some(Outcome::Slow));
        }
        match self.outbox.push(Box::new(*pushed), LIMIT) {
            Queued::Yes => {
                assert!(fits);
                let left = pattern(message.id, len);
                self.twin.items.push(TwinItem { left, begun: false, message: Some(message) });
            }
            Queued::NoRoom(back) => {
                assert!(!fits && policy != LanePolicy::Close);
                back.ticket.answer(Outcome::Failed);
                self.twin.answer(message, Outcome::Failed);
            }
            Queued::Close(back) => {
                assert!(!fits && policy == LanePolicy::Close);
                back.ticket.answer(Outcome::Failed);
                self.twin.answer(message, Outcome::Failed);
            }
        }
    }

    fn check(&self) {
        let (outbox, twin) = (&self.outbox, &self.twin);
        assert_eq!(outbox.is_empty(), twin.items.is_empty());
        assert_eq!(outbox.waiting_bytes(), twin.waiting());
        assert_eq!(outbox.next_deadline(), twin.next_deadline().map(|at| EPOCH.plus(at)));
        if outbox.is_empty() {
            assert_eq!((outbox.held_bytes(), outbox.items.capacity()), (0, 0), "empty, it holds no heap");
        } else {
            assert!(outbox.held_bytes() >= outbox.waiting_bytes());
        }
        for pieces in [1, 3, 64] {
            let mut slices = [IoSlice::new(&[]); 64];
            let count = outbox.slices(&mut slices[..pieces]);
            assert_eq!(count, twin.items.len().min(pieces));
            assert!(slices[..count].iter().all(|slice| !slice.is_empty()), "nothing to write in a slice");
            let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            assert!(twin.bytes().starts_with(&all));
            assert!(count < twin.items.len() || all.len() == twin.waiting());
        }
        for (id, answer) in twin.answers.iter().enumerate() {
            assert_eq!(self.batch.answer(id), *answer, "message {id}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_outbox_does_what_its_naive_twin_does(ops in prop::collection::vec(op(), 1..60)) {
        let mut pair = Pair::new(ops.len());
        for (id, op) in ops.iter().enumerate() {
            pair.apply(id, op);
            pair.check();
        }
        // Whatever is left is answered when the connection is gone.
        let messages = pair.twin.items.iter().filter_map(|item| item.message);
        let waiting: Vec<usize> = messages.filter(|message| !message.answered).map(|message| message.id).collect();
        pair.outbox.abandon(Outcome::Stale, false);
        prop_assert!(waiting.iter().all(|&id| pair.batch.answer(id) == Some(Outcome::Stale)));
        prop_assert_eq!(pair.outbox.held_bytes(), 0);
    }
}

#[test]
fn an_empty_outbox_takes_a_message_of_any_size_and_a_full_one_what_its_lane_says() {
    for (policy, closes) in
        [(LanePolicy::Drop, false), (LanePolicy::Replace, false), (LanePolicy::Close, true)]
    {
        let mut outbox = Outbox::default();
        let mut message = outgoing(0, 10 * LIMIT, EPOCH, Ticket::none());
        message.policy = policy;
        assert!(matches!(outbox.push(message, LIMIT), Queued::Yes), "{policy:?}");
        let mut message = outgoing(1, 1, EPOCH, Ticket::none());
        message.policy = policy;
        match outbox.push(message, LIMIT) {
            Queued::Yes => panic!("{policy:?}: a full outbox took a message"),
            Queued::NoRoom(_) => assert!(!closes, "{policy:?}"),
            Queued::Close(_) => assert!(closes, "{policy:?}"),
        }
    }
}

#[test]
fn control_bytes_are_not_abandoned_while_the_peer_reads_on() {
    let mut outbox = Outbox::default();
    assert!(outbox.push_control(Bytes::from_static(b"the rest of a frame"), LIMIT));
    assert!(matches!(outbox.push(outgoing(0, 5, EPOCH, Ticket::none()), LIMIT), Queued::Yes));
    outbox.abandon(Outcome::Stale, true);
    assert_eq!(outbox.waiting_bytes(), 19);
    outbox.abandon(Outcome::Stale, false);
    assert!(outbox.is_empty());
}

#[test]
fn a_dropped_outbox_answers_lost() {
    let batch = Batch::new(1);
    let mut outbox = Outbox::default();
    assert!(matches!(outbox.push(outgoing(0, 1, EPOCH, batch.ticket(0)), LIMIT), Queued::Yes));
    drop(outbox);
    assert_eq!(batch.answer(0), Some(Outcome::Failed));
}
