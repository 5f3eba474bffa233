//! How many nodes a fleet should have: a rule on the count of connections, and the patience to scale in.
//!
//! CPU says little about a server of idle connections, so what counts is how full the nodes are. Pushy's rule: the further
//! above the target, the more nodes are added, more than in proportion. Values in, values out: never reads a clock, a node or a
//! file, so that a simulation can replay it.

use std::fmt;

/// What a fleet is to be like.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Policy {
    /// Connections that a node may hold; above 0.
    pub capacity: f64,
    /// The share of it that is aimed at; above 0, at most [`Self::ceiling`].
    pub target: f64,
    /// How far above the target, as a share of it, nothing is done; from 0, below 1. Narrower makes a fleet breathe more often.
    pub band: f64,
    /// How far below the target, as a share of it, nothing is done; from 0, below 1. So much may a growing fleet be ahead of its
    /// load: never so many nodes are added that the same load would be further below.
    pub slack: f64,
    /// Above the band the number of nodes grows with this power of the distance: 1 is proportion, 2 twice as many for a small
    /// distance. At least 1.
    pub exponent: f64,
    /// Nodes whose loss must fit: what they held, the others can hold.
    pub spare: u32,
    /// The share of the capacity up to which nodes are filled by such a loss; at most 1.
    pub ceiling: f64,
    /// Never fewer.
    pub least: u32,
    /// Never more.
    pub most: u32,
}

impl Default for Policy {
    /// A node of 200,000, six tenths aimed at.
    fn default() -> Self {
        Self {
            capacity: 200_000.0,
            target: 0.6,
            band: 0.1,
            slack: 0.25,
            exponent: 1.5,
            spare: 1,
            ceiling: 0.9,
            least: 2,
            most: 1_000,
        }
    }
}

/// How a fleet is.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Load {
    /// On all nodes, also on those that drain: theirs are about to come to the others.
    pub connections: f64,
    /// Nodes that serve: those that take connections.
    pub nodes: u32,
    /// Nodes that leave. They count for nothing but their connections.
    pub draining: u32,
}

/// How many nodes there should be, draining ones not counted.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Wanted {
    /// The number.
    pub nodes: u32,
    /// Its reason, which prints as a sentence.
    pub why: Why,
}

/// The reason for a number of nodes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Why {
    /// The load is near the target.
    Near(Figures),
    /// It is above: more than in proportion.
    Above(Figures),
    /// It is below.
    Below(Figures),
    /// Fewer could not bear the loss of the spare nodes.
    Loss(Figures),
    /// The rule would have fewer, the policy has a least.
    Least(Figures),
    /// The rule would have more, the policy has a most.
    Most(Figures),
    /// Below, but not for long enough, or a node is leaving already: the number stays.
    Patience(Figures, Wait),
    /// Some nodes did not answer: no fewer than before.
    Blind(Figures, u32),
}

/// What a scaler waits for before it lets a node go.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Wait {
    /// So many seconds more of the same.
    Seconds(f64),
    /// For nodes that drain.
    Drain,
}

/// What a reason is about.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Figures {
    /// As it was.
    pub load: Load,
    /// Connections over the capacity of the nodes that serve; infinite when there is none.
    pub utilization: f64,
    /// The policy's target.
    pub target: f64,
    /// The policy's spare nodes.
    pub spare: u32,
    /// What the rule alone would have.
    pub ruled: u32,
}

impl Policy {
    /// Why a policy is none, in a sentence.
    ///
    /// # Errors
    /// When a value lies outside what its description allows.
    pub fn check(&self) -> Result<(), &'static str> {
        let is_share = |value: f64| value > 0.0 && value <= 1.0;
        match () {
            () if !(self.capacity.is_finite() && self.capacity > 0.0) => {
                Err("the capacity of a node must be above 0 connections")
            }
            () if !is_share(self.target) || !is_share(self.ceiling) => {
                Err("the target and the ceiling are shares: above 0, at most 1")
            }
            () if self.target > self.ceiling => Err("the target must not be above the ceiling"),
            () if ![self.band, self.slack].iter().all(|share| (0.0..1.0).contains(share)) => {
                Err("the band and the slack are shares of the target: from 0, below 1")
            }
            () if !(1.0..=10.0).contains(&self.exponent) => Err("the exponent lies from 1 to 10"),
            () if self.most == 0 || self.least > self.most => {
                Err("the least number of nodes must not be above the most, and the most not 0")
            }
            () => Ok(()),
        }
    }

    /// How many nodes there should be. More connections never mean fewer nodes, and with what it wants nothing more is wanted:
    /// it does not flap.
    pub fn wanted(&self, load: &Load) -> Wanted {
        let connections = if load.connections.is_finite() { load.connections.max(0.0) } else { 0.0 };
        let aimed = connections / (self.target * self.capacity);
        let proportion = whole(aimed.ceil());
        let held = f64::from(load.nodes);
        let distance = if load.nodes == 0 { f64::INFINITY } else { aimed / held };
        let (ruled, why): (u32, fn(Figures) -> Why) = if distance > 1.0 + self.band {
            // Never so many that the rule would take them back with the same load.
            let bound = whole((aimed / (1.0 - self.slack)).floor());
            let grown = if load.nodes == 0 {
                proportion
            } else {
                whole((held * distance.powf(self.exponent)).ceil())
            };
            (grown.min(bound).max(proportion).max(load.nodes), Why::Above)
        } else if distance < 1.0 - self.slack {
            (proportion, Why::Below)
        } else {
            (load.nodes, Why::Near)
        };
        let figures = Figures {
            load: *load,
            utilization: if load.nodes == 0 { f64::INFINITY } else { connections / (held * self.capacity) },
            target: self.target,
            spare: self.spare,
            ruled,
        };
        let borne = self.least_for_loss(connections);
        let (nodes, why) = if borne > ruled { (borne, Why::Loss(figures)) } else { (ruled, why(figures)) };
        let least = self.least.max(1);
        match () {
            () if nodes < least => {
                let figures = Figures { ruled: nodes, ..figures };
                Wanted { nodes: least, why: Why::Least(figures) }
            }
            () if nodes > self.most => {
                let figures = Figures { ruled: nodes, ..figures };
                Wanted { nodes: self.most, why: Why::Most(figures) }
            }
            () => Wanted { nodes, why },
        }
    }

    /// Fewer nodes than these could not hold everything after the loss of the spare ones.
    pub fn least_for_loss(&self, connections: f64) -> u32 {
        whole((connections / (self.ceiling * self.capacity)).ceil()).saturating_add(self.spare)
    }
}

/// A number of nodes; what does not fit is the most that does.
fn whole(value: f64) -> u32 {
    // A float becomes the nearest value of the integer's range.
    value as u32
}

/// How slowly a fleet scales in.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Patience {
    /// So long fewer nodes must be wanted before the first leaves, seconds.
    pub before_s: f64,
    /// Between one node's leaving and the next's, seconds.
    pub between_s: f64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { before_s: 600.0, between_s: 120.0 }
    }
}

/// A policy with a memory: out at once, in slowly, one node at a time, and never while a node drains.
#[derive(Clone, Debug)]
pub struct Scaler {
    policy: Policy,
    patience: Patience,
    /// Since when fewer nodes have been wanted than there are, seconds.
    low_since: Option<f64>,
    /// When a node was last let go, seconds.
    let_go: Option<f64>,
    /// What was last wanted with everything known.
    last: Option<u32>,
}

impl Scaler {
    /// Begins without a memory.
    pub fn new(policy: Policy, patience: Patience) -> Self {
        Self { policy, patience, low_since: None, let_go: None, last: None }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The same with nodes of another capacity, which is learnt from them.
    pub fn set_capacity(&mut self, capacity: f64) {
        self.policy.capacity = capacity;
    }

    /// What is wanted now; `now_s` are seconds of any clock that does not run back.
    pub fn step(&mut self, now_s: f64, load: &Load) -> Wanted {
        let mut wanted = self.policy.wanted(load);
        if wanted.nodes >= load.nodes {
            self.low_since = None;
        } else {
            wanted = self.inward(now_s, load, wanted);
        }
        self.last = Some(wanted.nodes);
        wanted
    }

    /// What the rule wants now, without patience.
    pub fn at_once(&mut self, load: &Load) -> Wanted {
        let wanted = self.policy.wanted(load);
        self.last = Some(wanted.nodes);
        wanted
    }

    fn inward(&mut self, now_s: f64, load: &Load, wanted: Wanted) -> Wanted {
        let low_since = *self.low_since.get_or_insert(now_s);
        let from_low = low_since + self.patience.before_s;
        let from_last = self.let_go.map_or(from_low, |at| at + self.patience.between_s);
        let left_s = from_low.max(from_last) - now_s;
        let wait = match () {
            () if left_s > 0.0 => Wait::Seconds(left_s),
            () if load.draining > 0 => Wait::Drain,
            () => {
                self.let_go = Some(now_s);
                return Wanted { nodes: load.nodes.saturating_sub(1), why: wanted.why };
            }
        };
        let figures = *wanted.why.figures();
        Wanted { nodes: load.nodes, why: Why::Patience(Figures { ruled: wanted.nodes, ..figures }, wait) }
    }

    /// What is wanted while so many nodes are silent: no fewer than before, as what is not seen may be full, and more where
    /// what is seen alone demands it. `load` is what is seen. None: nothing was ever seen.
    pub fn blind(&mut self, load: &Load, silent: u32) -> Option<Wanted> {
        self.low_since = None;
        let seen = (load.nodes > 0).then(|| self.policy.wanted(load));
        let nodes = match (self.last, seen) {
            (Some(last), Some(seen)) => last.max(seen.nodes),
            (Some(last), None) => last,
            // The silent ones may still be there.
            (None, Some(seen)) => seen.nodes.max(load.nodes.saturating_add(silent)),
            (None, None) => return None,
        };
        let nodes = nodes.min(self.policy.most);
        let figures = Figures { ruled: nodes, ..*self.policy.wanted(load).why.figures() };
        self.last = Some(nodes);
        Some(Wanted { nodes, why: Why::Blind(figures, silent) })
    }
}

impl Why {
    /// A word for logs and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Why::Near(_) => "near",
            Why::Above(_) => "above",
            Why::Below(_) => "below",
            Why::Loss(_) => "loss",
            Why::Least(_) => "least",
            Why::Most(_) => "most",
            Why::Patience(..) => "patience",
            Why::Blind(..) => "blind",
        }
    }

    /// What it is about.
    pub fn figures(&self) -> &Figures {
        match self {
            Why::Near(figures)
            | Why::Above(figures)
            | Why::Below(figures)
            | Why::Loss(figures)
            | Why::Least(figures)
            | Why::Most(figures)
            | Why::Patience(figures, _)
            | Why::Blind(figures, _) => figures,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = self.figures();
        let target = figures.target * 100.0;
        match self {
            Why::Near(_) => write!(f, "{figures}, near the target of {target:.0} %"),
            Why::Above(_) => {
                write!(
                    f,
                    "{figures}, above the target of {target:.0} %: the further above, the more are added"
                )
            }
            Why::Below(_) => write!(f, "{figures}, below the target of {target:.0} %: fewer will do"),
            Why::Loss(_) => {
                let nodes = holdfast_plots::words::several(u64::from(figures.spare), "node");
                write!(f, "{figures}; fewer could not take over what the loss of {nodes} leaves")
            }
            Why::Least(_) => {
                write!(f, "{figures}; {} would do, but fewer than this are never wanted", figures.ruled)
            }
            Why::Most(_) => {
                write!(f, "{figures}; {} would be better, but more than this are never wanted", figures.ruled)
            }
            Why::Patience(_, Wait::Seconds(left_s)) => {
                let left = holdfast_plots::words::duration(left_s.ceil());
                write!(f, "{figures}; {} would do, if that is still so in {left}", figures.ruled)
            }
            Why::Patience(_, Wait::Drain) => {
                write!(f, "{figures}; {} would do, once the draining have left", figures.ruled)
            }
            Why::Blind(_, silent) => {
                let silent = holdfast_plots::words::several(u64::from(*silent), "node");
                write!(f, "{silent} did not answer, so no fewer than before; of the others: {figures}")
            }
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use holdfast_plots::words::{count, several};
        let open = self.load.connections.max(0.0).round() as u64;
        let connections = several(open, "connection");
        match self.load.nodes {
            0 => write!(f, "{connections} and no node that serves")?,
            nodes => {
                let nodes = several(u64::from(nodes), "node");
                let are = if open == 1 { "is" } else { "are" };
                write!(f, "{connections} {are} {:.0} % of what {nodes} may hold", self.utilization * 100.0)?;
            }
        }
        match self.load.draining {
            0 => Ok(()),
            draining => write!(f, " ({} more draining)", count(u64::from(draining))),
        }
    }
}

#[cfg(test)]
mod tests;
