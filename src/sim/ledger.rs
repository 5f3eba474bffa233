//! Every message that was sent: what it said, to whom, what the node answered, and who heard it.
//!
//! Owns the comparison of the two: a message was heard exactly if its outcome is `written`, by whom it was sent to, once and
//! whole. The one exception is a message of which the kernel took a part: its sender is told that it was late, or that the
//! connection was gone, while its rest goes out.

use super::rig::{Client, Push};
use crate::{
    kit::random::Random,
    model::{Body, Lane, Outcome, mail::Broadcast},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// All messages of a run, by their numbers.
#[derive(Default)]
pub struct Ledger {
    sent: Vec<Sent>,
    /// Numbers of those that have no outcome yet.
    open: BTreeSet<usize>,
}

/// One message, to one connection or to all.
pub struct Sent {
    pub body: Body,
    pub lane: Lane,
    posted_us: u64,
    fate: Fate,
    /// By whom, and after how many bytes that were sent to it.
    heard_by: BTreeMap<usize, u64>,
    /// Bytes that had been sent to its one connection when its outcome was known to be other than `written`.
    sent_when_late: u64,
    /// Who was there from the beginning of a broadcast to its end, when all of it was written.
    must_hear: Vec<usize>,
}

/// Who hears a message, and where in what was sent to it.
#[derive(Clone, Copy)]
pub struct Ear {
    pub client: Client,
    pub stream: bool,
    pub offset: u64,
}

enum Fate {
    /// Of a message to one connection.
    One(Client, Push),
    /// Of a broadcast.
    All(Arc<Broadcast>),
}

impl Ledger {
    /// The number of the next message.
    pub fn next(&self) -> usize {
        self.sent.len()
    }

    pub fn add_push(&mut self, to: Client, body: Body, lane: Lane, now_us: u64, push: Push) {
        self.add(body, lane, now_us, Fate::One(to, push));
    }

    /// A broadcast, and the clients that are there when it begins.
    pub fn add_broadcast(
        &mut self,
        body: Body,
        now_us: u64,
        broadcast: Arc<Broadcast>,
        listeners: Vec<usize>,
    ) {
        let lane = broadcast.message.lane;
        self.add(body, lane, now_us, Fate::All(broadcast));
        if let Some(sent) = self.sent.last_mut() {
            sent.must_hear = listeners;
        }
    }

    fn add(&mut self, body: Body, lane: Lane, posted_us: u64, fate: Fate) {
        self.open.insert(self.next());
        let (heard_by, sent_when_late, must_hear) = (BTreeMap::new(), u64::MAX, Vec::new());
        self.sent.push(Sent { body, lane, posted_us, fate, heard_by, sent_when_late, must_hear });
    }

    /// A client heard a message. The message's number, and its lane where it was sent to that client alone.
    ///
    /// # Panics
    /// When it was not sent so, not to that client, or was heard before.
    pub fn hear(&mut self, by: Ear, body: &[u8], binary: bool) -> (usize, Option<Lane>) {
        let number = number_of(body).expect("a message that somebody sent");
        let sent = self.sent.get_mut(number).expect("a message that was sent");
        let plain = sent.body.bytes();
        let is_same = match by.stream && !binary {
            true => line_ends(plain) == line_ends(body),
            false => plain == body,
        };
        assert!(is_same && binary == sent.body.is_binary(), "message {number} was changed on its way");
        let before = sent.heard_by.insert(by.client.0, by.offset);
        assert_eq!(before, None, "message {number} was heard twice by {:?}", by.client);
        match &sent.fate {
            Fate::All(_) => (number, None),
            Fate::One(to, _) => {
                assert_eq!(*to, by.client, "message {number} reached another connection");
                (number, Some(sent.lane))
            }
        }
    }

    /// Messages must have had all their outcomes `after_us` after they were posted. `sent_to` says how many bytes
    /// have been sent to a client, `is_there` whether it takes messages.
    pub fn check_answered(
        &mut self,
        now_us: u64,
        after_us: u64,
        sent_to: impl Fn(Client) -> u64,
        is_there: impl Fn(usize) -> bool,
    ) {
        let sent = &mut self.sent;
        self.open.retain(|&number| {
            let Sent { fate, sent_when_late, must_hear, .. } = &mut sent[number];
            match fate {
                Fate::One(to, push) => {
                    let outcome = push.outcome();
                    if outcome.is_some_and(|outcome| outcome != Outcome::Written) {
                        *sent_when_late = sent_to(*to);
                    }
                    outcome.is_none()
                }
                Fate::All(broadcast) => {
                    let others = Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Written);
                    let whole = others.map(|outcome| broadcast.tally.count(outcome)).sum::<u64>() == 0;
                    must_hear.retain(|&client| whole && is_there(client));
                    !broadcast.tally.is_done()
                }
            }
        });
        let sent = &self.sent;
        let late = self.open.iter().find(|&&number| {
            let spread_us = match &sent[number].fate {
                Fate::One(..) => 0,
                Fate::All(broadcast) => broadcast.spread_ms * 1_000,
            };
            sent[number].posted_us + spread_us + after_us < now_us
        });
        assert_eq!(late, None, "a message has no outcome");
    }

    /// Everything that was sent has been heard by now: outcomes and ears must agree. `is_short` says of whom the kernel ever
    /// took less than it was given. Returns how often each outcome came.
    pub fn check_all(&self, is_short: impl Fn(Client) -> bool) -> BTreeMap<&'static str, u64> {
        let mut outcomes = BTreeMap::new();
        for (number, sent) in self.sent.iter().enumerate() {
            match &sent.fate {
                Fate::One(to, push) => {
                    let outcome = push.outcome().unwrap_or_else(|| panic!("message {number} has no outcome"));
                    let heard_at = sent.heard_by.get(&to.0);
                    let heard = heard_at.is_some();
                    let may_be_late = matches!(outcome, Outcome::Slow | Outcome::Stale | Outcome::Expired);
                    let was_begun = heard_at.is_some_and(|&at| at < sent.sent_when_late) && is_short(*to);
                    assert!(
                        heard == (outcome == Outcome::Written) || may_be_late && was_begun,
                        "message {number} to {to:?} was {}, heard: {heard}",
                        outcome.label()
                    );
                    *outcomes.entry(outcome.label()).or_default() += 1;
                }
                Fate::All(broadcast) => {
                    assert!(broadcast.tally.is_done(), "broadcast {number} is not done");
                    let count = |outcome| broadcast.tally.count(outcome);
                    let late = count(Outcome::Slow) + count(Outcome::Stale) + count(Outcome::Expired);
                    let (heard, written) = (sent.heard_by.len() as u64, count(Outcome::Written));
                    assert!(
                        (written..=written + late).contains(&heard),
                        "broadcast {number}: {written} written, {late} late, {heard} heard"
                    );
                    let deaf = sent.must_hear.iter().find(|client| !sent.heard_by.contains_key(client));
                    assert_eq!(deaf, None, "broadcast {number} forgot somebody");
                }
            }
        }
        outcomes
    }
}

/// The body of a message: to whom, its number, and `size` bytes of filling that the number decides.
pub fn body(to: &str, number: usize, size: usize, binary: bool) -> Body {
    let mut random = Random::seeded(number as u64);
    let mut bytes = format!("{to} {number} ").into_bytes();
    let end = bytes.len() + size;
    while bytes.len() < end {
        let text: &[u8] = match random.below(16) {
            _ if binary => &[random.u64() as u8],
            0 => "é".as_bytes(),
            1 => b"\n",
            2 => b"\r\n",
            3 => b"\r",
            4 => b"<a id=\"1\">",
            _ => b"abcdefgh",
        };
        bytes.extend_from_slice(text);
    }
    if binary { Body::Binary(bytes.into()) } else { Body::Text(bytes.into()) }
}

/// The number of the message that a body says it is.
pub fn number_of(body: &[u8]) -> Option<usize> {
    let number = body.split(|&byte| byte == b' ').nth(1)?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// To whom a body says it is.
pub fn addressee(body: &[u8]) -> &[u8] {
    body.split(|&byte| byte == b' ').next().unwrap_or_default()
}

/// A text as an event stream carries it: every line end is one.
pub fn line_ends(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace("\r\n", "\n").replace('\r', "\n")
}
