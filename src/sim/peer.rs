//! A model client: it checks every byte that it is sent, and answers, or does not, as its manner is.

use super::{
    choices::Choices,
    ledger::{self, Ear, Ledger},
    net::End,
    reader::{Heard, Reader},
    rig::{Client, Rig},
    wire,
};
use std::collections::VecDeque;

/// How a client behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manner {
    /// It breaks the rules: nothing that it is answered can be foretold, but must still be well formed.
    pub lies: bool,
    /// It takes so many bytes at a time.
    pub reads: usize,
    /// It answers pings.
    pub answers: bool,
    /// It leaves when it is asked to.
    pub leaves: bool,
}

impl Manner {
    /// Whether it is blameless: always there, at once.
    pub fn is_prompt(&self) -> bool {
        !self.lies && self.reads == usize::MAX && self.answers
    }
}

/// What a client says first, on a WebSocket that does not know it.
#[derive(Debug)]
pub struct Introduction {
    /// The frames; None: it never says who it is.
    pub frames: Option<Vec<u8>>,
    /// The payloads of pings among them.
    pub pings: Vec<Vec<u8>>,
}

/// See the module.
#[derive(Debug)]
pub struct Peer {
    pub client: Client,
    /// What its user is called.
    pub user: String,
    pub manner: Manner,
    /// Speaks SSE.
    pub stream: bool,
    /// How often it is to be pinged, µs.
    pub ping_us: u64,
    /// When its token ends, monotonic µs.
    pub expires_us: Option<u64>,
    /// It may have to wait for its identity after its request was read.
    pub waits: bool,
    /// What it says once it has a WebSocket, to say who it is.
    pub introduction: Option<Introduction>,
    /// It will neither read nor write again, and nobody knows.
    pub vanished: bool,
    /// When it last sent anything.
    pub said_us: u64,
    /// When it was last sent anything.
    pub told_us: u64,
    told: u64,
    reader: Reader,
    unsent: VecDeque<u8>,
    /// It ends its side once all is sent.
    ends: bool,
    said_close: bool,
    status: Option<u16>,
    was_asked_to_leave: bool,
    leaves_us: Option<u64>,
    pings: VecDeque<Vec<u8>>,
    echoes: VecDeque<Vec<u8>>,
    last_by_lane: [Option<usize>; 8],
    /// A sum over all that it heard: two runs of one seed must agree.
    pub digest: u64,
}

impl Peer {
    pub fn new(client: Client, user: String, manner: Manner, stream: bool, now_us: u64) -> Self {
        Self {
            client,
            user,
            manner,
            stream,
            ping_us: 0,
            expires_us: None,
            waits: false,
            introduction: None,
            vanished: false,
            said_us: now_us,
            told_us: now_us,
            told: 0,
            reader: Reader::new(manner.lies),
            unsent: VecDeque::new(),
            ends: false,
            said_close: false,
            status: None,
            was_asked_to_leave: false,
            leaves_us: None,
            pings: VecDeque::new(),
            echoes: VecDeque::new(),
            last_by_lane: [None; 8],
            digest: 0,
        }
    }

    /// It has something to say, sooner or later.
    pub fn say(&mut self, bytes: &[u8]) {
        if !self.ends {
            self.unsent.extend(bytes);
        }
    }

    pub fn ping(&mut self, payload: &[u8]) {
        self.pings.push_back(payload.to_vec());
        self.say(&wire::frame(wire::PING, payload));
    }

    /// Says something that is to come back: the frames are those of the message.
    pub fn echo(&mut self, message: &[u8], frames: &[u8]) {
        self.echoes.push_back(message.to_vec());
        self.say(frames);
    }

    pub fn close(&mut self) {
        self.said_close = true;
        self.say(&wire::close(1000));
    }

    /// It says nothing more.
    pub fn end(&mut self) {
        self.ends = true;
    }

    /// Whether it has a WebSocket, and may say more.
    pub fn may_speak(&self) -> bool {
        let is_known = self.introduction.is_none();
        self.status == Some(101) && is_known && !self.said_close && !self.ends && !self.vanished
    }

    /// How it was answered, once it was.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Sends and reads some, and does what its manner is.
    pub fn attend(&mut self, rig: &Rig, ledger: &mut Ledger, choices: &mut Choices) {
        let (now_us, grace_us) = (rig.world.borrow().micros, rig.grace_us());
        self.send_some(&mut rig.end(self.client), choices, now_us);
        if self.vanished {
            return;
        }
        let bytes = {
            let mut end = rig.end(self.client);
            if end.sent != self.told {
                (self.told, self.told_us) = (end.sent, now_us);
            }
            end.take(self.manner.reads)
        };
        for (offset, heard) in self.read(&bytes) {
            if heard == Heard::Goaway {
                self.leaves_us = Some(now_us + choices.below(grace_us * 2));
            }
            self.hear(heard, offset, ledger);
        }
        if self.manner.leaves && self.leaves_us.is_some_and(|at| at <= now_us) {
            self.leaves_us = None;
            self.leave();
        }
    }

    /// Reads what was ever sent to it, however long it had not, and checks that it was not cut off without a cause.
    pub fn read_all(&mut self, rig: &Rig, ledger: &mut Ledger) {
        let bytes = rig.end(self.client).take(usize::MAX);
        for (offset, heard) in self.read(&bytes) {
            self.hear(heard, offset, ledger);
        }
        let end = rig.end(self.client);
        assert!(
            self.reader.is_between() || end.was_short || end.failed.is_some(),
            "{:?} was cut off",
            self.client
        );
    }

    fn read(&mut self, bytes: &[u8]) -> Vec<(u64, Heard)> {
        for &byte in bytes {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.reader.read(bytes)
    }

    fn send_some(&mut self, end: &mut End, choices: &mut Choices, now_us: u64) {
        if self.vanished || end.failed.is_some() || end.ended || end.closed {
            return;
        }
        // All of it or some, but never nothing: a client that answers is not thought dead.
        let most = self.unsent.len();
        let count = if choices.once_in(4) { 1 + choices.below(most as u64) as usize } else { most };
        let count = count.min(most);
        if count > 0 {
            let bytes: Vec<u8> = self.unsent.drain(..count).collect();
            end.send(&bytes);
            self.said_us = now_us;
        }
        if self.ends && self.unsent.is_empty() {
            end.end();
        }
    }

    /// Says who it is, where its request did not.
    fn introduce(&mut self) {
        let Some(introduction) = self.introduction.take_if(|_| self.status == Some(101)) else { return };
        match introduction.frames {
            Some(frames) => {
                self.pings.extend(introduction.pings);
                self.say(&frames);
            }
            None => self.introduction = Some(introduction),
        }
    }

    fn leave(&mut self) {
        if self.stream {
            self.end();
        } else if self.may_speak() {
            self.close();
        }
    }

    fn hear(&mut self, heard: Heard, offset: u64, ledger: &mut Ledger) {
        match heard {
            Heard::Head { status } => {
                self.status = Some(status);
                self.introduce();
            }
            Heard::Message { body, binary } => self.hear_message(&body, binary, offset, ledger),
            Heard::Ping(payload) => {
                if !self.stream && self.manner.answers && self.may_speak() {
                    self.say(&wire::frame(wire::PONG, &payload));
                }
            }
            Heard::Pong(payload) => {
                let expected = self.pings.pop_front();
                assert!(
                    self.manner.lies || expected == Some(payload),
                    "a pong for no ping of {:?}",
                    self.client
                );
            }
            Heard::Goaway => {
                assert!(!self.was_asked_to_leave, "{:?} is asked to leave twice", self.client);
                self.was_asked_to_leave = true;
            }
            Heard::Close { code, text } => {
                self.check_close(code, &text);
                if !self.stream && !self.said_close {
                    self.close();
                }
                if !self.stream {
                    self.end();
                }
            }
            Heard::End => self.end(),
        }
    }

    fn hear_message(&mut self, body: &[u8], binary: bool, offset: u64, ledger: &mut Ledger) {
        if body.starts_with(b"ECHO ") && !binary {
            let expected = self.echoes.pop_front();
            assert!(self.manner.lies || expected.as_deref() == Some(body), "an echo of nothing");
            return;
        }
        let to = ledger::addressee(body);
        // A liar may have named another user than it meant to; the ledger knows which connection a message was for.
        let is_for_it = self.manner.lies || to == self.user.as_bytes() || to == b"all";
        assert!(is_for_it, "{} hears: {}", self.user, body[..body.len().min(60)].escape_ascii());
        let ear = Ear { client: self.client, stream: self.stream, offset };
        let (number, lane) = ledger.hear(ear, body, binary);
        if let Some(lane) = lane {
            let last = &mut self.last_by_lane[usize::from(lane.0)];
            assert!(*last < Some(number), "message {number} came after {last:?}");
            *last = Some(number);
        }
    }

    /// One that keeps the rules is not told that it broke them.
    fn check_close(&self, code: Option<u16>, text: &str) {
        let blamed = matches!(code, Some(1002 | 1003 | 1007 | 1009));
        assert!(self.manner.lies || !blamed, "{:?} is told {code:?} {text}", self.client);
        let patient = self.manner.is_prompt() && !self.stream && !self.vanished;
        assert!(text != "No answer to pings" || !patient, "who has always answered: {self:?}");
        assert!(self.manner.lies || self.said_close || code.is_some(), "a close without a code");
    }
}
