//! What connections need of the configuration, worked out once.

use super::{Tools, lifetime::LifetimeLaw};
use crate::{
    config::{Config, ProxyProtocol, PushRate},
    kit::token_bucket::TokenBucket,
    model::Lanes,
};
use ipnet::IpNet;
use std::{collections::HashMap, sync::PoisonError};

/// Handshakes at once over the limit of connections: those that wait only for their refusal.
const REFUSALS_AT_ONCE: u32 = 64;
/// Slots are numbered in 24 bits.
const TABLE_MAX: usize = (1 << 24) - 1;

/// Settings of all connections of a node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long they live.
    pub lifetime: LifetimeLaw,
    /// Between goaway and the server's own close, ms.
    pub grace_ms: u64,
    /// Ping interval unless the client asks for another, s.
    pub ping_s: u16,
    /// Shortest that a client may ask for, s.
    pub ping_min_s: u16,
    /// Longest that a client may ask for, s.
    pub ping_max_s: u16,
    /// Answer `ECHO x`.
    pub echo: bool,
    /// Answer every data message with itself.
    pub echo_all: bool,
    /// Allowed origins.
    pub origins: Option<Vec<String>>,
    /// PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// Who may speak it.
    pub proxy_from: Vec<IpNet>,
    /// Offer permessage-deflate.
    pub deflate: bool,
    /// Shorter messages are not compressed, bytes.
    pub deflate_min_bytes: usize,
    /// The header that names the device where the credential does not.
    pub device_header: String,
    /// From accept to the end of the handshake, ms.
    pub handshake_timeout_ms: u64,
    /// From a 101 to the first frame, which brings the token, ms; None: no frame may.
    pub first_frame_ms: Option<u64>,
    /// Handshakes waiting at once on one shard.
    pub opening_max: usize,
    /// New connections a second on one shard; None: as many as come.
    pub handshakes_per_s: Option<f64>,
    /// Connections of one shard, in any phase.
    pub table_max: u32,
    /// A request head, bytes.
    pub head_bytes: usize,
    /// A message from a client, bytes.
    pub message_bytes: usize,
    /// Frames a second from a client.
    pub inbound_rate: u32,
    /// Waiting bytes of one connection.
    pub outbox_bytes: usize,
    /// Outboxes and lent buffers of the node, bytes.
    pub buffer_bytes: usize,
    /// Connections of one address; 0: off.
    pub per_address_max: usize,
    /// Messages to one connection.
    pub push_rate: Option<PushRate>,
    /// How long a message may wait in an outbox, ms.
    pub delivery_timeout_ms: u64,
    /// Lanes.
    pub lanes: Lanes,
}

impl Settings {
    /// Takes from a checked configuration what connections need, for a node of `shards` shards.
    pub fn new(config: &Config) -> Self {
        let seconds = |ms: u64| u16::try_from(ms.div_ceil(1_000)).unwrap_or(u16::MAX).max(1);
        let (clients, limits) = (&config.clients, &config.limits);
        // A processor has no shard.
        let shards = config.node.shards.max(1);
        let handshakes_per_s = limits.handshakes_per_second as f64 / shards as f64;
        Self {
            lifetime: LifetimeLaw::new(&config.lifetime),
            grace_ms: config.lifetime.grace_ms,
            ping_s: seconds(clients.ping_ms),
            ping_min_s: seconds(clients.ping_min_ms),
            ping_max_s: seconds(clients.ping_max_ms),
            echo: clients.echo,
            echo_all: clients.echo_all,
            origins: clients.origins.clone(),
            proxy_protocol: clients.proxy_protocol,
            proxy_from: clients.proxy_from.clone(),
            deflate: clients.deflate,
            deflate_min_bytes: clients.deflate_min_bytes,
            device_header: config.auth.device_header.clone(),
            handshake_timeout_ms: limits.handshake_timeout_ms,
            first_frame_ms: config.auth.first_frame.then_some(config.auth.first_frame_timeout_ms),
            opening_max: limits.unauthenticated.div_ceil(shards).max(1),
            handshakes_per_s: (handshakes_per_s > 0.0).then_some(handshakes_per_s),
            table_max: table_max(limits.connections, limits.unauthenticated),
            head_bytes: limits.head_bytes,
            message_bytes: limits.message_bytes,
            inbound_rate: limits.inbound_rate,
            outbox_bytes: limits.outbox_bytes,
            buffer_bytes: limits.buffer_bytes,
            per_address_max: limits.connections_per_address,
            push_rate: limits.push_rate,
            delivery_timeout_ms: config.delivery.timeout_ms,
            lanes: config.lanes.clone(),
        }
    }
}

/// A shard may come to hold all connections of the node, the handshakes under way, and those being refused.
fn table_max(connections: usize, unauthenticated: usize) -> u32 {
    let most = connections.saturating_add(unauthenticated).min(TABLE_MAX);
    (most as u32).saturating_add(REFUSALS_AT_ONCE).min(TABLE_MAX as u32)
}

impl Tools {
    /// A full bucket for the admission rate of these settings; None: every handshake is admitted.
    pub fn admission(settings: &Settings, now_us: u64) -> Option<TokenBucket> {
        settings.handshakes_per_s.map(|rate| TokenBucket::new(rate, rate.max(1.0), now_us))
    }

    /// Takes the settings that were put into [`super::Shared::fresh`]. Connections keep what was settled when they came: their
    /// lifetime, their ping interval, whether they compress, and whether their address counts.
    pub fn take_settings(&mut self, now_us: u64) {
        let fresh = self.shared.fresh.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(fresh) = fresh else { return };
        // Everybody begins with a full bucket of the new size.
        if fresh.push_rate != self.settings.push_rate {
            self.push_buckets = HashMap::new();
        }
        // What a flood of handshakes has used up stays used up.
        match (&mut self.admission, fresh.handshakes_per_s) {
            (Some(bucket), Some(rate)) => bucket.set_rate(rate, rate.max(1.0), now_us),
            (admission, _) => *admission = Self::admission(&fresh, now_us),
        }
        self.settings = fresh;
    }
}
