//! What a fleet is to hold and to bear: the numbers that an operator gives, with what stands for those that are not given.

use crate::ops::cost;

/// So many connections one node may always have: a herd of them is none, whatever their share.
pub const LOST_LITTLE: f64 = 50_000.0;

/// Fleets of more nodes are not tried.
const NODES_MAX: u32 = 20_000;

/// Where TLS ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tls {
    /// On hosts of its own in front, of a type of the list.
    Apart,
    /// On each node's host, in a proxy beside the node.
    Here,
    /// Somewhere that does not count, such as the cloud's balancer; or nowhere.
    Elsewhere,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Question {
    /// Open at the busiest hour of the year; at least 1.
    pub connections: u64,
    /// The share of a node's capacity that it holds then.
    pub target: f64,
    /// The share that nodes may be filled to when others are lost.
    pub ceiling: f64,
    /// Nodes whose loss, all at once, must fit.
    pub spare: u32,
    /// Zones over which nodes are spread; the loss of one must fit when there are several.
    pub zones: u32,
    /// The share of all connections that one node's loss may take; 50,000 connections may be lost in any case.
    pub lost_most: f64,
    /// Within this they are all back, seconds.
    pub within_s: f64,
    /// Over this clients spread their first attempt, seconds.
    pub spread_s: f64,
    /// The mean of connections' lifetimes, seconds.
    pub lifetime_s: f64,
    /// Between pings, seconds.
    pub ping_s: f64,
    /// Memory of a connection on its node, of the kernel and of the node, bytes.
    pub connection_bytes: f64,
    /// Handshakes of a core, per second.
    pub handshakes_per_core: f64,
    /// Where TLS ends.
    pub tls: Tls,
    /// Its memory, bytes a connection.
    pub tls_bytes: f64,
    /// Its handshakes of a core, per second.
    pub tls_per_core: f64,
    /// Masters of Redis; None: as many as lifetimes need.
    pub masters: Option<u32>,
    /// Descriptors that a process may have.
    pub descriptors: u64,
    /// Never more nodes.
    pub nodes_most: u32,
    /// A deploy of the whole fleet ends within this, seconds.
    pub deploy_within_s: f64,
    /// The share of nodes that a deploy replaces at a time; at least one.
    pub deploy_share: f64,
}

impl Question {
    /// So many connections, everything else as it is by default.
    pub fn new(connections: u64) -> Self {
        Self {
            connections,
            target: 0.6,
            ceiling: 0.9,
            spare: 1,
            zones: 1,
            lost_most: 0.1,
            within_s: 60.0,
            spread_s: 5.0,
            lifetime_s: 1_800.0,
            ping_s: cost::PING_EVERY_S,
            connection_bytes: cost::CONNECTION_BYTES_IN_USE as f64,
            handshakes_per_core: cost::HANDSHAKES_PER_CORE,
            tls: Tls::Apart,
            tls_bytes: cost::TLS_BYTES as f64,
            tls_per_core: cost::TLS_HANDSHAKES_PER_CORE,
            masters: None,
            descriptors: 4_194_304,
            nodes_most: 500,
            deploy_within_s: 4.0 * 3_600.0,
            deploy_share: 0.02,
        }
    }

    /// Why it cannot be answered, in a sentence.
    ///
    /// # Errors
    /// When a value is none that could be.
    pub fn check(&self) -> Result<(), &'static str> {
        let is_some = |value: f64| value.is_finite() && value > 0.0;
        match () {
            () if self.connections == 0 => {
                Err("a fleet of no connections needs no node: give --connections 10M, or as many as you have")
            }
            () if self.target > self.ceiling => {
                Err("the target must not be above the ceiling: nodes would be too full before any is lost")
            }
            () if self.zones == 0 => Err("there is at least one zone"),
            () if self.nodes_most == 0 => {
                Err("a fleet of no nodes holds nothing: --nodes-most must be at least 1")
            }
            () if self.nodes_most > NODES_MAX => {
                Err("fleets of more than 20000 nodes are not tried: give a lower --nodes-most")
            }
            () if self.masters == Some(0) => Err("there is at least one master of Redis"),
            () if !is_some(self.within_s) || !is_some(self.lifetime_s) || !is_some(self.ping_s) => {
                Err("--reconnect-within, --lifetime and --ping must be longer than nothing")
            }
            () if self.spread_s > self.within_s => Err(
                "clients spread their first attempt over longer than they may take to come back: lower --spread or raise --reconnect-within",
            ),
            () if !is_some(self.connection_bytes)
                || !is_some(self.handshakes_per_core)
                || !is_some(self.tls_per_core) =>
            {
                Err("bytes a connection and handshakes a core must be above 0")
            }
            () if self.descriptors <= cost::OTHER_DESCRIPTORS => {
                Err("so few descriptors leave none for connections")
            }
            () => Ok(()),
        }
    }

    /// Connections as a number to calculate with.
    pub(super) fn all(&self) -> f64 {
        self.connections as f64
    }

    /// Connections that one host's loss may take.
    pub(super) fn lost_most_connections(&self) -> f64 {
        (self.all() * self.lost_most * (1.0 + 1e-9)).max(LOST_LITTLE)
    }

    /// Handshakes by lifetimes alone, of the whole fleet, per second.
    pub fn steady(&self) -> f64 {
        self.all() / self.lifetime_s
    }

    /// Masters of Redis, so that lifetimes take a fifth of what they are trusted with at most.
    pub fn masters(&self) -> u32 {
        // A float becomes the nearest value of the integer's range.
        let needed = (self.steady() / (cost::REGISTRATIONS_PER_MASTER * 0.2)).ceil() as u32;
        self.masters.unwrap_or(needed.max(1))
    }

    /// Registrations of the whole fleet, per second.
    pub fn registrations(&self) -> f64 {
        f64::from(self.masters()) * cost::REGISTRATIONS_PER_MASTER
    }
}
