//! Which fleet: for each type the smallest that will do, beside the smallest that would hold the connections, and of all that
//! will do the one to take.
//!
//! The cheapest is taken, unless one that costs hardly more bears the loss of a node better. What ends TLS in front is chosen by
//! itself, as it does not depend on the nodes.

use super::{
    fleet::{Fleet, capacity},
    question::{Question, Tls},
    types::NodeType,
};
use crate::ops::cost;

/// So little dearer, a fleet that is back sooner after a loss is better.
const HARDLY_DEARER: f64 = 1.05;
/// More nodes in front than these are not tried.
const FRONT_MOST: u32 = 10_000;

/// What is answered.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// Sorted by cost.
    pub rows: Vec<Row>,
    /// Which of them is recommended; None: none will do.
    pub best: Option<usize>,
    /// What ends TLS in front; None: nothing that counts, or no type can.
    pub front: Option<Front>,
}

/// A fleet in the comparison.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The fleet.
    pub fleet: Fleet,
    /// What it is there for.
    pub role: Role,
}

/// Why a fleet is in the comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The fewest nodes of its type that hold everything at the target; something else is wrong with it.
    Bare,
    /// The fewest of its type that will do.
    Good,
}

/// Hosts that end TLS.
#[derive(Clone, PartialEq, Debug)]
pub struct Front {
    /// What they are.
    pub node: NodeType,
    /// How many, one of which may be lost.
    pub nodes: u32,
    /// What they cost an hour.
    pub cost: f64,
    /// Connections that one holds.
    pub each: f64,
}

/// Compares fleets. The question must be one that can be answered.
pub fn answer(question: &Question, types: &[NodeType]) -> Answer {
    let mut rows: Vec<Row> = types.iter().flat_map(|node| rows_of(question, node)).collect();
    let by_cost = |a: &Row, b: &Row| {
        let order = a.fleet.cost.total_cmp(&b.fleet.cost);
        order
            .then(b.fleet.is_good().cmp(&a.fleet.is_good()))
            .then_with(|| a.fleet.node.name.cmp(&b.fleet.node.name))
    };
    rows.sort_by(by_cost);
    let front = match question.tls {
        Tls::Apart => {
            types.iter().filter_map(|node| front_of(question, node)).min_by(|a, b| a.cost.total_cmp(&b.cost))
        }
        Tls::Here | Tls::Elsewhere => None,
    };
    Answer { best: best(&rows), rows, front }
}

fn rows_of(question: &Question, node: &NodeType) -> Vec<Row> {
    let bare_nodes = bare(question, node);
    let bare = Fleet::of(question, node, bare_nodes);
    if bare.is_good() {
        return vec![Row { fleet: bare, role: Role::Good }];
    }
    // Everything but the number of nodes itself and the time of a deploy gets better with more nodes.
    let good =
        (bare_nodes..=question.nodes_most).map(|nodes| Fleet::of(question, node, nodes)).find(Fleet::is_good);
    let bare = Row { fleet: bare, role: Role::Bare };
    [Some(bare), good.map(|fleet| Row { fleet, role: Role::Good })].into_iter().flatten().collect()
}

/// The fewest nodes that hold everything at the target.
fn bare(question: &Question, node: &NodeType) -> u32 {
    let each = capacity(question, node).connections * question.target;
    if each < 1.0 {
        return 1;
    }
    // A float becomes the nearest value of the integer's range.
    ((question.all() / each - 1e-9).ceil() as u32).max(1)
}

fn best(rows: &[Row]) -> Option<usize> {
    let good = || rows.iter().enumerate().filter(|(_, row)| row.fleet.is_good());
    let (_, cheapest) = good().next()?;
    let is_close = |row: &Row| row.fleet.cost <= cheapest.fleet.cost * HARDLY_DEARER;
    let sooner = |a: &Row, b: &Row| {
        let by_time = a.fleet.loss.absorb_s.total_cmp(&b.fleet.loss.absorb_s);
        by_time
            .then(a.fleet.loss.share.total_cmp(&b.fleet.loss.share))
            .then(a.fleet.cost.total_cmp(&b.fleet.cost))
    };
    good().filter(|(_, row)| is_close(row)).min_by(|(_, a), (_, b)| sooner(a, b)).map(|(at, _)| at)
}

/// The fewest hosts of a type that end TLS for everything: with one of them lost, the others have the memory, and those of its
/// clients, or of a node, are back in time.
fn front_of(question: &Question, node: &NodeType) -> Option<Front> {
    let memory = node.memory as f64 * cost::MEMORY_SHARE;
    let rate = f64::from(node.cores) * question.tls_per_core;
    let all = question.all();
    let descriptors = (question.descriptors.saturating_sub(cost::OTHER_DESCRIPTORS) / 2) as f64;
    let will_do = |nodes: u32| {
        let (nodes, left) = (f64::from(nodes), f64::from(nodes - 1));
        let lost = (all / nodes).max(question.lost_most_connections().min(all));
        let spare = left * rate - question.steady();
        let fits = all / left * question.tls_bytes <= memory && all / left <= descriptors;
        fits && all / nodes <= question.lost_most_connections() && spare * question.within_s >= lost
    };
    let nodes = (2..FRONT_MOST).find(|nodes| will_do(*nodes))?;
    Some(Front {
        node: node.clone(),
        nodes,
        cost: node.price * f64::from(nodes),
        each: all / f64::from(nodes),
    })
}
