//! Every push into the fleet: to whom, through which node, its outcomes, and who heard it.

use crate::{
    bridge::Push,
    kit::random::Random,
    model::{Body, Lane, Message, Outcome},
    sim::ledger::{body, line_ends, number_of},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    task::{Context, Poll, Waker},
};

/// See the module.
#[derive(Default)]
pub struct Ledger {
    pub sent: Vec<Sent>,
    /// Numbers of those that have no outcome yet.
    open: BTreeSet<usize>,
}

/// One push.
pub struct Sent {
    pub user: String,
    pub device: Option<String>,
    /// Through which node, and which run of it.
    pub through: usize,
    pub run: u64,
    pub began_us: u64,
    /// By which members, and how often.
    pub heard_by: BTreeMap<usize, usize>,
    pub done: Option<Done>,
    body: Body,
    push: Option<Push>,
}

/// What became of a push.
pub struct Done {
    pub number: usize,
    /// Each device that was found, its outcome, and whether another node held it.
    pub devices: Vec<(String, Outcome, bool)>,
    /// There may be others.
    pub unknown: bool,
}

/// Who hears a message.
pub struct Ear<'a> {
    pub member: usize,
    pub user: &'a str,
    pub device: &'a str,
    pub stream: bool,
}

impl Ledger {
    /// The next message to a user.
    pub fn message(&self, user: &str, entered_us: u64) -> Message {
        let number = self.sent.len();
        let mut random = Random::seeded(number as u64);
        let (size, binary) = (random.below(60) as usize, random.below(8) == 0);
        Message::new(Lane(random.below(3) as u8), body(user, number, size, binary), entered_us)
    }

    /// The message has been pushed.
    pub fn add(
        &mut self,
        to: (String, Option<String>),
        through: (usize, u64),
        began_us: u64,
        body: Body,
        push: Push,
    ) {
        self.open.insert(self.sent.len());
        self.sent.push(Sent {
            user: to.0,
            device: to.1,
            through: through.0,
            run: through.1,
            began_us,
            heard_by: BTreeMap::new(),
            done: None,
            body,
            push: Some(push),
        });
    }

    /// A client has heard a message.
    ///
    /// # Panics
    /// When nobody sent it, or not to that device.
    pub fn hear(&mut self, ear: &Ear<'_>, body: &[u8], binary: bool) {
        let number = number_of(body).expect("a message that somebody sent");
        let sent = self.sent.get_mut(number).expect("a message that was sent");
        assert_eq!(sent.user, ear.user, "message {number} reached another user");
        let is_for_it = sent.device.as_deref().is_none_or(|device| device == ear.device);
        assert!(is_for_it, "message {number} for {:?} reached {}", sent.device, ear.device);
        let plain = sent.body.bytes();
        let is_same = match ear.stream && !binary {
            true => line_ends(plain) == line_ends(body),
            false => plain == body,
        };
        assert!(is_same && binary == sent.body.is_binary(), "message {number} was changed on its way");
        *sent.heard_by.entry(ear.member).or_default() += 1;
    }

    /// Asks the open pushes of nodes that do not pause for their outcomes.
    pub fn poll(&mut self, is_awake: impl Fn(usize, u64) -> bool, done: &mut Vec<Done>) {
        let sent = &mut self.sent;
        self.open.retain(|&number| {
            let one = &mut sent[number];
            let Some(push) = one.push.as_mut().filter(|_| is_awake(one.through, one.run)) else {
                return true;
            };
            let Poll::Ready(delivered) = Pin::new(push).poll(&mut Context::from_waker(Waker::noop())) else {
                return true;
            };
            one.push = None;
            let mut devices = Vec::new();
            delivered
                .visit(|device, outcome, node| devices.push((device.to_owned(), outcome, node.is_some())));
            done.push(Done { number, devices, unknown: delivered.unknown().is_some() });
            false
        });
    }

    /// Those that have no outcome yet.
    pub fn open(&self) -> impl Iterator<Item = &Sent> {
        self.open.iter().map(|&number| &self.sent[number])
    }
}
