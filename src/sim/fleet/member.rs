//! A client of the fleet: one connection of a user's device, which reads all that it is sent and does as it is told.

use super::node::Node;
use crate::sim::{
    choices::Choices,
    reader::{Heard, Reader},
    rig::Client,
    wire,
};
use std::io::ErrorKind;

/// How long a client takes to leave once it is asked to.
const LEAVES_WITHIN_US: u64 = 3_000_000;
/// After this the kernel gives up on a peer that acknowledges nothing.
const USER_TIMEOUT_US: u64 = 25_000_000;

/// What a client has heard that others should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// Its request was accepted.
    Opened,
    Message {
        body: Vec<u8>,
        binary: bool,
    },
    /// It was told not to come back: another connection has its device.
    Displaced,
    /// It was asked to come back elsewhere, and has left.
    Left,
}

/// See the module.
#[derive(Debug)]
pub struct Member {
    /// Which node, and which run of it.
    pub at: usize,
    pub run: u64,
    pub client: Client,
    pub user: String,
    pub device: String,
    pub stream: bool,
    /// When it asked, and when it was accepted, by the fleet's clock.
    pub asked_us: u64,
    pub opened_us: Option<u64>,
    /// When it said or heard that it is over, or fell silent.
    pub over_us: Option<u64>,
    pub vanished: bool,
    /// A sum over all that it heard.
    pub digest: u64,
    leaves_us: Option<u64>,
    gives_up_us: Option<u64>,
    said_close: bool,
    status: Option<u16>,
    reader: Reader,
}

impl Member {
    pub fn connect(
        at: usize,
        node: &mut Node,
        who: (String, String),
        now_us: u64,
        choices: &mut Choices,
    ) -> Self {
        let (user, device) = who;
        let shard = choices.below(node.rig.shards.len() as u64) as usize;
        let client = Client(node.rig.world.borrow_mut().connect(shard, [127, 0, 0, 1].into()));
        let stream = choices.once_in(3);
        let query = format!("user={user}&device={device}");
        let request = if stream { wire::event_stream(&query) } else { wire::upgrade(&query) };
        node.rig.end(client).send(&request);
        Self {
            at,
            run: node.run,
            client,
            user,
            device,
            stream,
            asked_us: now_us,
            opened_us: None,
            over_us: None,
            vanished: false,
            digest: 0,
            leaves_us: None,
            gives_up_us: None,
            said_close: false,
            status: None,
            reader: Reader::default(),
        }
    }

    pub fn is_of(&self, user: &str, device: &str) -> bool {
        self.user == user && self.device == device
    }

    /// Whether it left before it was answered, and may have been registered all the same.
    pub fn may_have_opened(&self) -> bool {
        self.status.is_none()
    }

    /// Whether it is there and means to stay.
    pub fn is_there(&self) -> bool {
        self.opened_us.is_some() && self.over_us.is_none() && self.leaves_us.is_none()
    }

    /// It will neither answer nor leave, and nobody knows.
    pub fn vanish(&mut self, now_us: u64) {
        self.vanished = true;
        self.over_us.get_or_insert(now_us);
        self.gives_up_us = Some(now_us + USER_TIMEOUT_US);
    }

    /// It leaves, and says so.
    pub fn leave(&mut self, node: &Node, now_us: u64) {
        if self.vanished {
            return;
        }
        self.over_us.get_or_insert(now_us);
        let mut end = node.rig.end(self.client);
        if end.closed || end.ended || end.failed.is_some() {
            return;
        }
        if !self.stream && self.status == Some(101) && !self.said_close {
            self.said_close = true;
            end.send(&wire::close(1000));
        }
        end.end();
    }

    /// Its connection breaks.
    pub fn reset(&mut self, node: &Node, now_us: u64) {
        self.over_us.get_or_insert(now_us);
        node.rig.end(self.client).reset();
    }

    /// Reads what there is and does what follows. Says whether the connection is over.
    pub fn attend(&mut self, node: &Node, now_us: u64, choices: &mut Choices, news: &mut Vec<News>) -> bool {
        let bytes = node.rig.end(self.client).take(usize::MAX);
        self.read(&bytes, node, now_us, choices, news);
        if self.leaves_us.is_some_and(|at_us| at_us <= now_us) {
            self.leaves_us = None;
            self.leave(node, now_us);
            news.push(News::Left);
        }
        if self.gives_up_us.is_some_and(|at_us| at_us <= now_us) {
            self.gives_up_us = None;
            node.rig.end(self.client).fail(ErrorKind::TimedOut);
        }
        let closed = node.rig.end(self.client).closed;
        if closed {
            self.over_us.get_or_insert(now_us);
            let cut_off = node.rig.end(self.client).failed.is_some();
            assert!(self.reader.is_between() || cut_off, "{self:?} was cut off");
        }
        closed
    }

    /// When it will do something by itself.
    pub fn wakes_us(&self) -> u64 {
        self.leaves_us.unwrap_or(u64::MAX).min(self.gives_up_us.unwrap_or(u64::MAX))
    }

    fn read(&mut self, bytes: &[u8], node: &Node, now_us: u64, choices: &mut Choices, news: &mut Vec<News>) {
        for &byte in bytes {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let heard = self.reader.read(bytes);
        // Who comes too often is accepted only to be told so, and never was there.
        let is_refused = |(_, heard): &(u64, Heard)| matches!(heard, Heard::Close { code: Some(4001), .. });
        let refused = self.status.is_none() && heard.iter().any(is_refused);
        for (_, heard) in heard {
            match heard {
                Heard::Head { status } => {
                    self.status = Some(status);
                    match status {
                        101 | 200 if !refused => {
                            self.opened_us = Some(now_us);
                            news.push(News::Opened);
                        }
                        _ => self.over_us = Some(now_us),
                    }
                }
                Heard::Message { body, binary } => news.push(News::Message { body, binary }),
                Heard::Ping(payload) if !self.stream && !self.vanished && !self.said_close => {
                    node.rig.end(self.client).send(&wire::frame(wire::PONG, &payload));
                }
                Heard::Goaway => {
                    self.leaves_us = Some(now_us + choices.below(LEAVES_WITHIN_US));
                }
                Heard::Close { code, .. } => {
                    if code == Some(4001) && !refused {
                        news.push(News::Displaced);
                    }
                    self.leave(node, now_us);
                }
                Heard::End => self.leave(node, now_us),
                Heard::Ping(_) | Heard::Pong(_) => {}
            }
        }
    }
}
