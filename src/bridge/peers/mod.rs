//! The way to other nodes: messages for connections that they hold, and the few plain requests between nodes.
//!
//! Owns the links, one for each address, and their bounds; no other part of the bridge speaks to other nodes. Never waits:
//! what finds no room, no connection or no answer in time is answered `failed`. It does not know which node holds what.
//!
//! A link has a queue and a task. The task keeps one connection with one long `POST /v1/deliver` on it (a `stream`),
//! whose body carries the queue as frames (`wire`), many to a chunk, and whose response carries the answers in any order.
//! A link costs nothing until somebody wants something of it, and its connection ends when nobody has for a while. Links do
//! not know of each other, so a slow node holds up nobody else.
//!
//! A stream's frames are of the highest format that its reader reads, by its lease, and this node writes; of the oldest until
//! the lease is known. When the lease says otherwise, another stream takes its place.

mod call;
mod link;
mod peering;
mod stream;
pub mod wire;

#[cfg(test)]
mod tests;

pub use call::{Answer, Call, CallError};
pub use link::LinkState;

use super::{
    format::{self, FORMAT},
    store::Place,
};
use crate::{
    clock::Clock,
    config::Secret,
    kit::completion::Ticket,
    model::{Message, Outcome},
};
use hyper::header::HeaderValue;
use link::{Ask, Keeper, Link, Told, Waiter, What};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::AbortHandle;

/// Frames of one link without an answer, by default; a receiver has room for as many.
pub const IN_FLIGHT_MAX: usize = 16_384;
/// Their payload bytes, as above.
pub const IN_FLIGHT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Limits of all links.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Frames of one link that are not answered.
    pub in_flight_max: usize,
    /// Their payload bytes.
    pub in_flight_bytes_max: usize,
    /// The largest payload of a frame; a larger one is `too_large`.
    pub payload_bytes_max: usize,
    /// For a connection; and, with `answer_slack_ms`, for the beginning of the response.
    pub connect_timeout: Duration,
    /// How much longer than its message may wait an answer is waited for, ms.
    pub answer_slack_ms: u64,
    /// How long a message without a time of its own may wait for its connection, ms.
    pub delivery_timeout_ms: u64,
    /// A link that nobody used for this long closes its connection.
    pub idle: Duration,
    /// How long a stream is used, within a quarter; then another takes its place on a connection of its own.
    pub stream_life: Duration,
    /// The highest format of frames that is written.
    pub format: u8,
}

impl Settings {
    /// The usual limits.
    pub fn new(payload_bytes_max: usize, delivery_timeout_ms: u64) -> Self {
        Self {
            in_flight_max: IN_FLIGHT_MAX,
            in_flight_bytes_max: IN_FLIGHT_BYTES_MAX,
            payload_bytes_max,
            connect_timeout: Duration::from_secs(1),
            answer_slack_ms: 1_000,
            delivery_timeout_ms,
            idle: Duration::from_secs(60),
            stream_life: Duration::from_secs(60),
            format: FORMAT,
        }
    }
}

/// Another node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The number of its id.
    pub node: u64,
    /// `host:port` of its internal port.
    pub address: Arc<str>,
}

/// A message for a connection of another node.
#[derive(Debug)]
pub struct Delivery {
    /// The connection.
    pub place: Place,
    /// Whose it must be.
    pub user: Box<str>,
    /// The device, which may have another connection there by now.
    pub device: Box<str>,
    /// What.
    pub message: Arc<Message>,
}

/// What all links share.
struct Common {
    settings: Settings,
    clock: Clock,
    /// The whole `Authorization` header.
    authorization: RwLock<Option<HeaderValue>>,
    /// The lanes' names, highest first.
    lanes: Vec<String>,
    /// Those of the settings that may change.
    payload_bytes_max: AtomicUsize,
    delivery_timeout_ms: AtomicU64,
    /// Of all links, also of those that are forgotten.
    answered: AtomicU64,
    failed: AtomicU64,
}

/// See the module.
pub struct Peers {
    common: Arc<Common>,
    runtime: tokio::runtime::Handle,
    links: Mutex<Links>,
}

#[derive(Default)]
struct Links {
    kept: HashMap<Arc<str>, Kept>,
    /// The highest format that the node at each address reads.
    reads: HashMap<Box<str>, u8>,
}

struct Kept {
    link: Arc<Link>,
    keeper: AbortHandle,
}

impl Peers {
    /// Links run on `runtime`, which drives I/O and time. `lanes` are the lanes' names, highest first.
    pub fn new(
        settings: Settings,
        clock: Clock,
        token: Option<Secret>,
        lanes: impl IntoIterator<Item = String>,
        runtime: tokio::runtime::Handle,
    ) -> Arc<Self> {
        let authorization = RwLock::new(token.as_ref().and_then(authorization));
        let common = Common {
            payload_bytes_max: settings.payload_bytes_max.into(),
            delivery_timeout_ms: settings.delivery_timeout_ms.into(),
            settings,
            clock,
            authorization,
            lanes: lanes.into_iter().collect(),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        };
        Arc::new(Self { common: Arc::new(common), runtime, links: Mutex::default() })
    }

    /// Uses another token for requests and streams that begin from now on.
    pub fn set_token(&self, token: Option<Secret>) {
        let header = token.as_ref().and_then(authorization);
        *self.common.authorization.write().unwrap_or_else(PoisonError::into_inner) = header;
    }

    /// Changes the largest payload and how long a message may wait, for messages from now on.
    pub fn set_bounds(&self, payload_bytes_max: usize, delivery_timeout_ms: u64) {
        self.common.payload_bytes_max.store(payload_bytes_max, Ordering::Relaxed);
        self.common.delivery_timeout_ms.store(delivery_timeout_ms, Ordering::Relaxed);
    }

    /// Sends a message. Never waits. The ticket is answered with the peer's outcome: `failed` when there is no room, no
    /// connection, or no answer in time.
    pub fn deliver(&self, peer: &Peer, delivery: Delivery, ticket: Ticket<Outcome>) {
        let Delivery { place, user, device, message } = delivery;
        let settings = &self.common.settings;
        let now = self.common.clock.now();
        let bytes = message.body.bytes().len();
        if bytes > self.common.payload_bytes_max.load(Ordering::Relaxed) {
            return ticket.answer(Outcome::TooLarge);
        }
        let left_ms = message.expires_unix_ms.map(|expires| expires.saturating_sub(now.unix_ms));
        if left_ms == Some(0) {
            return ticket.answer(Outcome::Expired);
        }
        let wait_ms = self
            .common
            .timeout_ms(&message)
            .min(left_ms.unwrap_or(u64::MAX))
            .saturating_add(settings.answer_slack_ms);
        let ask = Ask {
            place,
            user,
            what: What::Delivery { device, message },
            waiter: Waiter::Outcome(ticket),
            deadline_us: now.micros.saturating_add(wait_ms.saturating_mul(1_000)),
            bytes,
        };
        self.link(peer).ask(ask, now.micros);
    }

    /// Tells a peer that one of its connections has lost its device. `answered` is called once, with whether the peer has
    /// answered, on the links' runtime or by the caller's own thread.
    pub fn displaced(
        &self,
        peer: &Peer,
        place: Place,
        user: &str,
        answered: impl FnOnce(bool) + Send + 'static,
    ) {
        let settings = &self.common.settings;
        let now = self.common.clock.now();
        let delivery_timeout_ms = self.common.delivery_timeout_ms.load(Ordering::Relaxed);
        let wait_ms = delivery_timeout_ms.saturating_add(settings.answer_slack_ms);
        let ask = Ask {
            place,
            user: user.into(),
            what: What::Displaced,
            waiter: Waiter::Done(Told::new(answered)),
            deadline_us: now.micros.saturating_add(wait_ms.saturating_mul(1_000)),
            bytes: 0,
        };
        self.link(peer).ask(ask, now.micros);
    }

    /// One plain request on a connection of its own. To be awaited on a runtime that drives I/O and time.
    ///
    /// # Errors
    /// When there is no whole answer within the call's time.
    pub async fn call(&self, peer: &Peer, call: Call) -> Result<Answer, CallError> {
        call::run(&self.common, &peer.address, call).await
    }

    /// The addresses of all nodes that live, and the highest format that each reads. Links to nodes that are gone are
    /// forgotten: what they owe is `failed`.
    pub fn set_nodes<'a>(&self, nodes: impl IntoIterator<Item = (&'a str, u8)>) {
        let mut reads = HashMap::<Box<str>, u8>::new();
        for (address, format) in nodes {
            // Two runs may have had one address, and either may be there.
            let lowest = reads.entry(address.into()).or_insert(format);
            *lowest = format.min(*lowest);
        }
        let mut links = self.lock();
        links.kept.retain(|address, kept| {
            let format = reads.get(&**address);
            match format {
                Some(&format) => kept.link.set_reads(format),
                None => kept.keeper.abort(),
            }
            format.is_some()
        });
        links.reads = reads;
    }

    /// How each link is.
    pub fn links(&self) -> Vec<LinkState> {
        self.lock().kept.values().map(|kept| kept.link.state()).collect()
    }

    fn link(&self, peer: &Peer) -> Arc<Link> {
        let mut links = self.lock();
        if let Some(kept) = links.kept.get(&peer.address) {
            return kept.link.clone();
        }
        let reads = links.reads.get(&*peer.address).copied();
        let link = Arc::new(Link::new(self.common.clone(), peer, reads));
        let keeper = self.runtime.spawn(Keeper::new(link.clone()).run()).abort_handle();
        links.kept.insert(peer.address.clone(), Kept { link: link.clone(), keeper });
        link
    }

    fn lock(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.set_nodes([]);
    }
}

/// None for a token that no header can carry; the peer then says what is wrong with none.
fn authorization(token: &Secret) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {}", token.reveal())).ok()?;
    header.set_sensitive(true);
    Some(header)
}

impl Common {
    /// The format of frames for a node that reads up to `reads`; None: its lease is not known.
    fn format_for(&self, reads: Option<u8>) -> u8 {
        format::to_write(self.settings.format, reads)
    }

    /// How long a message may wait for its connection.
    fn timeout_ms(&self, message: &Message) -> u64 {
        let delivery_timeout_ms = self.delivery_timeout_ms.load(Ordering::Relaxed);
        delivery_timeout_ms.min(message.timeout_ms.unwrap_or(u64::MAX))
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
