//! What every request handler has at hand, and how a request becomes a message and an outcome becomes an answer.

use super::{
    Control, audit::Refused, events::Feed, gate::Gate, lifetimes::Surveyor, openapi::Document,
    reply::Refusal, reply::write_json_string, request::check_name,
};
use crate::{
    bridge::Delivered,
    config::Config,
    model::{Body, Collapse, Identifier, Message},
};
use hyper::header::HeaderName;
use std::{
    hash::BuildHasher,
    io::{self, Write},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// See the module.
pub struct App {
    /// The parts of the node that requests act on.
    pub control: Control,
    /// Who may ask.
    pub gate: Gate,
    /// Those who watch the node's numbers.
    pub feed: Arc<Feed>,
    /// Who counts the connections by their lifetimes.
    pub surveyor: Surveyor,
    live: RwLock<Live>,
    /// What [`write_node`] writes of this node.
    node_json: Vec<u8>,
    /// Tells ids drawn by this run from those of all others.
    run: u64,
    drawn: AtomicU64,
    /// Lines of the audit log about refusals.
    pub refused: Refused,
}

/// What may be replaced while requests are served.
#[derive(Clone)]
pub struct Live {
    config: Arc<Config>,
    identity: HeaderName,
    openapi: Arc<Document>,
}

impl Live {
    /// # Errors
    /// When `internal.identity_header` is no header name.
    pub fn new(config: Arc<Config>) -> io::Result<Self> {
        let identity = HeaderName::try_from(&config.internal.identity_header).map_err(io::Error::other)?;
        let openapi = Arc::new(Document::new(&config));
        Ok(Self { config, identity, openapi })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// What a sender may say about a message, wherever it says it.
#[derive(Default)]
pub struct Options<'a> {
    /// The lane's name.
    pub lane: Option<&'a str>,
    /// Its life, ms.
    pub ttl_ms: Option<u64>,
    /// The sender's name for it.
    pub id: Option<&'a str>,
    /// Messages with one key replace each other.
    pub collapse: Option<&'a str>,
    /// How long it may wait in an outbox, ms.
    pub timeout_ms: Option<u64>,
}

impl App {
    /// `run` is a number that no other run of any node has.
    pub fn new(control: Control, gate: Gate, live: Live, run: u64) -> Self {
        let mut node_json = Vec::new();
        write_node(&live.config.node.id, &live.config.node.region, &mut node_json);
        Self {
            control,
            gate,
            feed: Arc::default(),
            surveyor: Surveyor::default(),
            live: RwLock::new(live),
            node_json,
            run,
            drawn: AtomicU64::new(0),
            refused: Refused::default(),
        }
    }

    /// The configuration as it is now: to be asked for once in a request, which then sees one and the same.
    pub fn config(&self) -> Arc<Config> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// The header that names the user on Zuul's endpoint.
    pub fn identity(&self) -> HeaderName {
        self.live.read().unwrap_or_else(PoisonError::into_inner).identity.clone()
    }

    /// What the port says of itself.
    pub fn openapi(&self) -> Arc<Document> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).openapi.clone()
    }

    /// Serves requests from now on by another configuration.
    pub fn replace(&self, live: Live) {
        self.gate.replace_tokens(live.config.internal.tokens.clone());
        self.gate.replace_push_from(live.config.internal.push_from.clone());
        self.feed.look();
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = live;
    }

    /// Makes a message.
    ///
    /// # Errors
    /// 400 for an unknown lane or an unusable id or collapse key.
    pub fn message(&self, body: Body, options: &Options<'_>) -> Result<Message, Refusal> {
        let config = self.config();
        let lane = match options.lane {
            None => config.lanes.default_lane(),
            Some(name) => config.lanes.by_name(name).ok_or_else(|| self.unknown_lane(name))?,
        };
        let now = self.control.clock.now();
        let mut message = Message::new(lane, body, now.micros);
        if let Some(id) = options.id {
            check_name(id, "id")?;
            message.id = Identifier::new(id).ok();
        }
        if let Some(key) = options.collapse {
            check_name(key, "collapse key")?;
            message.collapse = Identifier::new(key).ok().map(|key| self.collapse(key));
        }
        let ttl_ms = options.ttl_ms.or(config.lanes.config(lane).ttl_ms);
        message.expires_unix_ms = ttl_ms.map(|ttl_ms| match ttl_ms {
            // No life at all: whatever a shard's clock said when its turn began.
            0 => 0,
            ttl_ms => now.unix_ms.saturating_add(ttl_ms),
        });
        message.timeout_ms = options.timeout_ms.map(|timeout_ms| timeout_ms.min(config.delivery.timeout_ms));
        Ok(message)
    }

    /// A collapse key as this node's outboxes compare it.
    pub fn collapse(&self, key: Identifier) -> Collapse {
        Collapse { hash: self.control.collapse_seed.hash_one(key.as_str()), key }
    }

    /// An id for a message whose sender gave none.
    pub fn draw_id(&self) -> String {
        format!("{:016x}-{:x}", self.run, self.drawn.fetch_add(1, Ordering::Relaxed))
    }

    /// Writes `{"id":…,"outcomes":[…]}`, and `"partial":true` where there may be other devices. `id` is the sender's; without
    /// it one is drawn.
    pub fn write_delivered(&self, id: Option<&str>, delivered: &Delivered, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"id\":");
        match id {
            Some(id) => write_json_string(id, out),
            None => {
                let number = self.drawn.fetch_add(1, Ordering::Relaxed);
                // Writing to a Vec cannot fail.
                let _ = write!(out, "\"{:016x}-{number:x}\"", self.run);
            }
        }
        out.extend_from_slice(b",\"outcomes\":[");
        let mut first = true;
        delivered.visit(|device, outcome, route| {
            out.extend_from_slice(if first { b"{\"device\":" } else { b",{\"device\":" });
            first = false;
            write_json_string(device, out);
            out.extend_from_slice(b",\"outcome\":\"");
            out.extend_from_slice(outcome.label().as_bytes());
            out.extend_from_slice(b"\",\"node\":");
            match route {
                Some(route) => write_node(&route.node, &route.region, out),
                None => out.extend_from_slice(&self.node_json),
            }
            out.push(b'}');
        });
        out.push(b']');
        if delivered.unknown().is_some() {
            out.extend_from_slice(b",\"partial\":true");
        }
        out.push(b'}');
    }

    /// A lane that there is not: 400 where a message names it.
    pub fn unknown_lane(&self, name: &str) -> Refusal {
        let config = self.config();
        let lanes: Vec<&str> = config.lanes.iter().map(|(_, lane)| lane.name.as_str()).collect();
        let message = format!("{name:?} is not a lane; the lanes are {}", lanes.join(", "));
        Refusal::bad_request("unknown_lane", message)
    }
}

/// Writes the value of `"node"`, and `"region"` behind it where the node has one.
fn write_node(node: &str, region: &str, out: &mut Vec<u8>) {
    write_json_string(node, out);
    if !region.is_empty() {
        out.extend_from_slice(b",\"region\":");
        write_json_string(region, out);
    }
}
