//! One fleet, so many nodes of one type: what it costs, how full it is, and what it bears.
//!
//! Owns the arithmetic of a loss and of a deploy, and what a fleet is to be refused for. Values only.

use super::{
    question::{Question, Tls},
    types::NodeType,
};
use crate::ops::cost;
use std::fmt;

/// The share of a node's processor that pings and lifetimes may take: the rest is for messages and for the herd.
const CPU_SHARE_MOST: f64 = 0.5;
/// How long a node takes from its end to its next beginning, seconds; with its lease and its health checks.
const RESTART_S: f64 = 30.0;
/// The defaults of `drain.delay`, `drain.window`, `drain.rate` and `lifetime.grace`.
const DRAIN_DELAY_S: f64 = 5.0;
const DRAIN_WINDOW_S: f64 = 30.0;
const DRAIN_RATE: f64 = 5_000.0;
const GRACE_S: f64 = 4.0;

/// What a node can hold, and what bounds it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Capacity {
    /// Connections; it may be 0.
    pub connections: f64,
    /// What there is too little of for more.
    pub bound: Bound,
}

/// What bounds a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// The host's memory.
    Memory,
    /// The descriptors of a process.
    Descriptors,
    /// What the type's seller lets it hold.
    Seller,
}

impl Bound {
    /// A word or two.
    pub fn label(self) -> &'static str {
        match self {
            Bound::Memory => "memory",
            Bound::Descriptors => "descriptors",
            Bound::Seller => "its seller",
        }
    }
}

/// What a node of a type can hold.
pub fn capacity(question: &Question, node: &NodeType) -> Capacity {
    let fixed = (cost::NODE_BYTES + cost::BUFFER_BYTES) as f64;
    let here = question.tls == Tls::Here;
    let bytes = question.connection_bytes + if here { question.tls_bytes } else { 0.0 };
    let memory = ((node.memory as f64 * cost::MEMORY_SHARE - fixed) / bytes).floor().max(0.0);
    // A proxy beside the node has two sockets for each of the node's.
    let descriptors = question.descriptors.saturating_sub(cost::OTHER_DESCRIPTORS) / if here { 2 } else { 1 };
    let bounds = [
        (memory, Bound::Memory),
        (descriptors as f64, Bound::Descriptors),
        (node.connections.map_or(f64::INFINITY, |most| most as f64), Bound::Seller),
    ];
    let (connections, bound) =
        bounds.into_iter().fold(bounds[0], |least, next| if next.0 < least.0 { next } else { least });
    Capacity { connections, bound }
}

/// Handshakes of a node, per second.
pub fn handshakes(question: &Question, node: &NodeType) -> f64 {
    let per_core = match question.tls {
        Tls::Here => 1.0 / (1.0 / question.handshakes_per_core + 1.0 / question.tls_per_core),
        Tls::Apart | Tls::Elsewhere => question.handshakes_per_core,
    };
    f64::from(node.cores) * per_core
}

/// A fleet and what it bears.
#[derive(Clone, PartialEq, Debug)]
pub struct Fleet {
    /// What its nodes are.
    pub node: NodeType,
    /// How many.
    pub nodes: u32,
    /// What each can hold.
    pub capacity: Capacity,
    /// What each holds.
    pub each: f64,
    /// The share of what it can.
    pub full: f64,
    /// What the nodes cost an hour.
    pub cost: f64,
    /// When one is lost.
    pub loss: Loss,
    /// How full the others are without one, and without a zone where there are several.
    pub full_after_zone: Option<f64>,
    /// The share of the processors that pings and lifetimes take.
    pub cpu: f64,
    /// A deploy of everything, seconds.
    pub deploy_s: f64,
    /// What it is refused for; none: it will do.
    pub faults: Vec<Fault>,
}

/// What one node's loss does to the rest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Loss {
    /// Connections that are lost.
    pub connections: f64,
    /// The share of all.
    pub share: f64,
    /// Handshakes that clients want, per second, in the time over which they spread.
    pub wanted: f64,
    /// Handshakes of those that come back, per second, at most.
    pub peak: f64,
    /// What bounds them when fewer can be served than are wanted.
    pub brake: Option<Brake>,
    /// Until all are back, seconds; infinite: never.
    pub absorb_s: f64,
    /// How full the survivors are then, after as many losses as must fit.
    pub full_after: f64,
}

/// What bounds the handshakes of those that come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Brake {
    /// The survivors' processors.
    Nodes,
    /// The registry.
    Registry,
}

impl Brake {
    /// A word or two.
    pub fn label(self) -> &'static str {
        match self {
            Brake::Nodes => "the other nodes' cores",
            Brake::Registry => "the registry",
        }
    }
}

/// What a fleet is refused for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A node has no room for a connection at all.
    Tiny,
    /// Fuller than the target.
    Full,
    /// Nobody is left after the losses that must fit.
    Alone,
    /// The survivors are above the ceiling.
    Overfull,
    /// The survivors of a zone are.
    ZoneOverfull,
    /// One node has too large a share.
    Share,
    /// They come back too late.
    Slow,
    /// Pings and lifetimes take too much of the processor.
    Busy,
    /// Lifetimes are more than the registry takes.
    Registry,
    /// Too many nodes.
    Many,
    /// A deploy takes too long.
    Deploy,
}

impl Fault {
    /// In a table.
    pub fn label(self) -> &'static str {
        match self {
            Fault::Tiny => "no room",
            Fault::Full => "above target",
            Fault::Alone => "nobody left",
            Fault::Overfull => "rest too full",
            Fault::ZoneOverfull => "zone too full",
            Fault::Share => "one too large",
            Fault::Slow => "back too late",
            Fault::Busy => "cores too busy",
            Fault::Registry => "registry busy",
            Fault::Many => "too many nodes",
            Fault::Deploy => "deploy too long",
        }
    }
}

/// The fault of a fleet, in a sentence.
pub struct Told<'a> {
    /// The fault.
    pub fault: Fault,
    /// Whose.
    pub fleet: &'a Fleet,
    /// What was asked.
    pub question: &'a Question,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use holdfast_plots::words::{count, duration, several};
        let Self { fault, fleet, question } = self;
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        match fault {
            Fault::Tiny => write!(f, "its memory is too small for a node"),
            Fault::Full => write!(
                f,
                "nodes are {} full, and the target is {}",
                percent(fleet.full),
                percent(question.target)
            ),
            Fault::Alone => {
                write!(f, "after the loss of {} nobody is left", several(u64::from(question.spare), "node"))
            }
            Fault::Overfull => write!(
                f,
                "after the loss of {} the others are {} full, above {}",
                several(u64::from(question.spare), "node"),
                percent(fleet.loss.full_after),
                percent(question.ceiling)
            ),
            Fault::ZoneOverfull => write!(
                f,
                "after the loss of a zone the others are {} full, above {}",
                fleet.full_after_zone.map_or_else(|| "too".to_owned(), percent),
                percent(question.ceiling)
            ),
            Fault::Share => write!(
                f,
                "one node's loss takes {} of all connections, above {}",
                percent(fleet.loss.share),
                percent(question.lost_most)
            ),
            Fault::Slow if fleet.loss.absorb_s.is_infinite() => {
                write!(
                    f,
                    "{} never come back: lifetimes alone take what there is",
                    count(fleet.loss.connections as u64)
                )
            }
            Fault::Slow => write!(
                f,
                "{} lost connections are back after {}, later than {}",
                count(fleet.loss.connections as u64),
                duration(fleet.loss.absorb_s),
                duration(question.within_s)
            ),
            Fault::Busy => write!(f, "pings and lifetimes alone take {} of the cores", percent(fleet.cpu)),
            Fault::Registry => write!(
                f,
                "lifetimes alone are {} registrations a second, more than {} of Redis can be trusted with",
                count(question.steady() as u64),
                several(u64::from(question.masters()), "master")
            ),
            Fault::Many => write!(
                f,
                "{} are more than {}: each has a link with each other",
                several(u64::from(fleet.nodes), "node"),
                count(u64::from(question.nodes_most))
            ),
            Fault::Deploy => write!(
                f,
                "a deploy takes {}, longer than {}",
                duration(fleet.deploy_s),
                duration(question.deploy_within_s)
            ),
        }
    }
}

impl Fleet {
    /// So many nodes of a type; at least one.
    pub fn of(question: &Question, node: &NodeType, nodes: u32) -> Self {
        let nodes = nodes.max(1);
        let capacity = capacity(question, node);
        let each = question.all() / f64::from(nodes);
        let full_with = |left: u32| match left {
            0 => f64::INFINITY,
            left => question.all() / (f64::from(left) * capacity.connections),
        };
        let zone = (question.zones > 1).then(|| full_with(nodes - nodes.div_ceil(question.zones)));
        let mut fleet = Self {
            node: node.clone(),
            nodes,
            capacity,
            each,
            full: full_with(nodes),
            cost: node.price * f64::from(nodes),
            loss: loss(question, node, nodes, full_with(nodes.saturating_sub(question.spare))),
            full_after_zone: zone,
            cpu: busy(question, node, each),
            deploy_s: deploy(question, nodes, each),
            faults: Vec::new(),
        };
        fleet.faults = fleet.find_faults(question);
        fleet
    }

    /// The worst first.
    fn find_faults(&self, question: &Question) -> Vec<Fault> {
        let is_above = |value: f64, most: f64| value > most * (1.0 + 1e-9);
        let found = [
            (self.capacity.connections < 1.0, Fault::Tiny),
            (is_above(question.steady(), question.registrations() * CPU_SHARE_MOST), Fault::Registry),
            (is_above(self.full, question.target), Fault::Full),
            (self.nodes <= question.spare, Fault::Alone),
            (is_above(self.loss.full_after, question.ceiling), Fault::Overfull),
            (self.full_after_zone.is_some_and(|full| is_above(full, question.ceiling)), Fault::ZoneOverfull),
            (self.loss.connections > question.lost_most_connections(), Fault::Share),
            (is_above(self.loss.absorb_s, question.within_s), Fault::Slow),
            (is_above(self.cpu, CPU_SHARE_MOST), Fault::Busy),
            (self.nodes > question.nodes_most, Fault::Many),
            (is_above(self.deploy_s, question.deploy_within_s), Fault::Deploy),
        ];
        found.into_iter().filter(|(is_so, _)| *is_so).map(|(_, fault)| fault).collect()
    }

    /// Whether it will do.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    /// Pairs of a balancer's address and a port of the node, so that all its connections find a source port, after a loss too.
    pub fn port_pairs(&self) -> u64 {
        let most = (self.each * (self.loss.full_after / self.full).max(1.0))
            .min(self.capacity.connections.max(self.each));
        // A float becomes the nearest value of the integer's range.
        (most.ceil() as u64).div_ceil(cost::SOURCE_PORTS).max(1)
    }
}

/// One node is gone, and its clients come to the others: each at a random moment of the spread, and as fast as the others and
/// the registry take them beside the lifetimes of all. In the meantime the rest wait in the kernel's queues or are refused with
/// a delay.
fn loss(question: &Question, node: &NodeType, nodes: u32, full_after: f64) -> Loss {
    let lost = question.all() / f64::from(nodes);
    let wanted = if question.spread_s > 0.0 { lost / question.spread_s } else { f64::INFINITY };
    let by_nodes = f64::from(nodes - 1) * handshakes(question, node) - question.steady();
    let by_registry = question.registrations() - question.steady();
    let (rate, brake) =
        if by_nodes < by_registry { (by_nodes, Brake::Nodes) } else { (by_registry, Brake::Registry) };
    let rate = rate.max(0.0);
    let absorb_s = if rate > 0.0 { question.spread_s.max(lost / rate) } else { f64::INFINITY };
    Loss {
        connections: lost,
        share: 1.0 / f64::from(nodes),
        wanted,
        peak: wanted.min(rate),
        brake: (rate < wanted).then_some(brake),
        absorb_s,
        full_after,
    }
}

/// The share of a node's cores that pings and lifetimes take.
fn busy(question: &Question, node: &NodeType, each: f64) -> f64 {
    let pings = each / question.ping_s * cost::PING_CPU_US / 1e6;
    let lifetimes = each / question.lifetime_s / (handshakes(question, node) / f64::from(node.cores));
    (pings + lifetimes) / f64::from(node.cores)
}

/// Nodes are replaced some at a time: each drains, which takes as long as its connections need, ends and begins again.
fn deploy(question: &Question, nodes: u32, each: f64) -> f64 {
    let at_once = (f64::from(nodes) * question.deploy_share).floor().max(1.0);
    let drain_s = DRAIN_DELAY_S + DRAIN_WINDOW_S.max(each / DRAIN_RATE) + GRACE_S;
    (f64::from(nodes) / at_once).ceil() * (drain_s + RESTART_S)
}
