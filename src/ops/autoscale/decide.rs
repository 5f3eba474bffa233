//! From what is seen to what is wanted, and the words, the JSON and the metrics that tell it.
//!
//! Values in, values out. Holds the last number when a fleet cannot be seen: never fewer nodes for want of data.

use super::{
    lag::{LagPolicy, Processors},
    policy::{Load, Patience, Policy, Scaler, Wanted, Why},
    seen::Seen,
};
use holdfast_plots::words::{self, count, several};
use serde_json::{Value, json};
use std::fmt::Write;

/// Decides, look after look.
#[derive(Clone, Debug)]
pub struct Autoscaler {
    scaler: Scaler,
    /// Whether the capacity of a node is the policy's own; otherwise it is learnt from the nodes.
    is_fixed: bool,
    /// Whether the capacity is known.
    knows_capacity: bool,
    has_patience: bool,
    lag: Option<LagPolicy>,
    last: Decision,
}

/// What was decided at one look.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Decision {
    /// None: nothing is known yet.
    pub wanted: Option<Wanted>,
    /// What was seen.
    pub load: Load,
    /// What a node may hold; None: not known.
    pub capacity: Option<f64>,
    /// The policy's target.
    pub target: f64,
    /// How many nodes were not seen.
    pub silent: u32,
    /// What was wrong, a sentence each; of silent nodes the first few.
    pub faults: Vec<String>,
    /// Processors of the queue, when they are asked for and the lag is known.
    pub processors: Option<Processors>,
    /// Whether everything was seen.
    pub is_whole: bool,
}

/// Of so many silent nodes the sentences are told.
const FAULTS_MAX: usize = 5;

impl Autoscaler {
    /// `capacity`: of a node, if it is not to be learnt. Without `patience` each look stands for itself.
    pub fn new(
        policy: Policy,
        capacity: Option<f64>,
        patience: Option<Patience>,
        lag: Option<LagPolicy>,
    ) -> Self {
        let policy = Policy { capacity: capacity.unwrap_or(policy.capacity), ..policy };
        Self {
            scaler: Scaler::new(policy, patience.unwrap_or_default()),
            is_fixed: capacity.is_some(),
            knows_capacity: capacity.is_some(),
            has_patience: patience.is_some(),
            lag,
            last: Decision { target: policy.target, ..Decision::default() },
        }
    }

    /// What is wanted after this look, `now_s` seconds of a clock that does not run back. An error is a fleet that could not be
    /// seen at all: a sentence.
    pub fn decide(&mut self, now_s: f64, look: Result<Seen, String>) -> &Decision {
        let decision = match look {
            Ok(seen) => self.decide_seen(now_s, seen),
            Err(fault) => {
                let nothing = Seen { silent: vec![fault.clone()], ..Seen::default() };
                let decision = self.decide_seen(now_s, nothing);
                // What was seen last is still the best guess for those who look at the figures.
                Decision {
                    load: self.last.load,
                    capacity: self.last.capacity,
                    faults: vec![fault],
                    ..decision
                }
            }
        };
        self.last = decision;
        &self.last
    }

    fn decide_seen(&mut self, now_s: f64, seen: Seen) -> Decision {
        if let (Some(capacity), false) = (seen.capacity.filter(|capacity| *capacity > 0.0), self.is_fixed) {
            self.scaler.set_capacity(capacity);
            self.knows_capacity = true;
        }
        let silent = u32::try_from(seen.silent.len()).unwrap_or(u32::MAX);
        let wanted = match () {
            () if !self.knows_capacity => None,
            () if silent > 0 => self.scaler.blind(&seen.load, silent),
            () if self.has_patience => Some(self.scaler.step(now_s, &seen.load)),
            () => Some(self.scaler.at_once(&seen.load)),
        };
        let mut faults = seen.silent;
        if !self.knows_capacity {
            faults.push(
                "no node that serves was seen, so what one may hold is not known: give --capacity".into(),
            );
        }
        if faults.len() > FAULTS_MAX {
            let more = faults.len() - FAULTS_MAX;
            faults.truncate(FAULTS_MAX);
            faults.push(format!("and {} more", count(more as u64)));
        }
        let processors = self.lag.zip(seen.lag);
        Decision {
            wanted,
            load: seen.load,
            capacity: self.knows_capacity.then_some(self.scaler.policy().capacity),
            target: self.scaler.policy().target,
            silent,
            faults,
            processors: processors
                .map(|(policy, lag)| policy.wanted(lag, seen.handled_per_s, seen.processors)),
            is_whole: silent == 0 && wanted.is_some(),
        }
    }
}

impl Decision {
    /// Connections over what the nodes that serve may hold; None: not known.
    pub fn utilization(&self) -> Option<f64> {
        let capacity = self.capacity? * f64::from(self.load.nodes);
        (capacity > 0.0).then(|| self.load.connections / capacity)
    }

    /// For a person: a line, and one for each fault.
    pub fn text(&self) -> String {
        let mut out = match &self.wanted {
            Some(Wanted { nodes, why }) => {
                let change = match (i64::from(*nodes) - i64::from(self.load.nodes), why) {
                    (_, Why::Blind(..)) => "as before".to_owned(),
                    (0, _) => "as now".to_owned(),
                    (more, _) if more > 0 => format!("{} more", words::count(more.unsigned_abs())),
                    (fewer, _) => format!("{} fewer", words::count(fewer.unsigned_abs())),
                };
                format!("{}, {change}: {why}.\n", several(u64::from(*nodes), "node"))
            }
            None => "how many nodes are wanted is not known.\n".into(),
        };
        if let Some(processors) = &self.processors {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{}: {processors}.", several(u64::from(processors.wanted), "processor"));
        }
        for fault in &self.faults {
            let _ = writeln!(out, "! {fault}");
        }
        out
    }

    /// For a script; `value` is what KEDA's metrics-api scaler reads.
    pub fn json(&self) -> Value {
        let mut value = json!({
            "value": self.wanted.map(|wanted| wanted.nodes),
            "nodes": self.load.nodes,
            "draining": self.load.draining,
            "silent": self.silent,
            "connections": self.load.connections.round() as u64,
            "capacity_per_node": self.capacity,
            "utilization": self.utilization(),
            "target": self.target,
            "reason": self.wanted.map(|wanted| wanted.why.label()),
            "why": self.wanted.map(|wanted| wanted.why.to_string()),
            "complete": self.is_whole,
            "faults": self.faults,
        });
        if let (Some(processors), Some(fields)) = (&self.processors, value.as_object_mut()) {
            let about = json!({
                "value": processors.wanted,
                "running": processors.running,
                "lag": processors.lag,
                "handled_per_s": processors.handled_per_s,
                "why": processors.to_string(),
            });
            fields.insert("processors".into(), about);
        }
        value
    }
}

/// How looking has gone so far.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Looks {
    /// When everything was last seen, seconds since 1970; 0: never.
    pub success_unix_s: f64,
    /// Looks at which something was not seen.
    pub failed: u64,
    /// All looks.
    pub all: u64,
}

/// The metrics of the exporter: name, help, and whether it counts up.
pub const METRICS: [(&str, &str, bool); 11] = [
    (
        "holdfast_autoscale_wanted_nodes",
        "Nodes that there should be, draining ones not counted. Absent: not known.",
        false,
    ),
    ("holdfast_autoscale_nodes", "Nodes that serve, as last seen.", false),
    ("holdfast_autoscale_draining_nodes", "Nodes that drain, as last seen.", false),
    (
        "holdfast_autoscale_silent_nodes",
        "Nodes that were not seen at the last look: the number is held meanwhile.",
        false,
    ),
    ("holdfast_autoscale_connections", "Open connections of the nodes that were seen.", false),
    ("holdfast_autoscale_capacity", "Connections that a node may hold. Absent: not known.", false),
    (
        "holdfast_autoscale_utilization",
        "Connections over what the nodes that serve may hold. Absent: not known.",
        false,
    ),
    ("holdfast_autoscale_target", "The utilization that is aimed at.", false),
    (
        "holdfast_autoscale_wanted_processors",
        "Processes that only read the queue that there should be. Absent: not asked for.",
        false,
    ),
    ("holdfast_autoscale_last_success_timestamp_seconds", "When all nodes were last seen. 0: never.", false),
    ("holdfast_autoscale_errors_total", "Looks at which a node, or the registry, was not seen.", true),
];

/// In the Prometheus text format 0.0.4. What is not known has no sample.
pub fn prometheus_text(decision: &Decision, looks: &Looks) -> String {
    let values = [
        decision.wanted.map(|wanted| f64::from(wanted.nodes)),
        Some(f64::from(decision.load.nodes)),
        Some(f64::from(decision.load.draining)),
        Some(f64::from(decision.silent)),
        Some(decision.load.connections),
        decision.capacity,
        decision.utilization(),
        Some(decision.target),
        decision.processors.map(|processors| f64::from(processors.wanted)),
        Some(looks.success_unix_s),
        Some(looks.failed as f64),
    ];
    let mut page = String::new();
    for ((name, help, counts_up), value) in METRICS.iter().zip(values) {
        let kind = if *counts_up { "counter" } else { "gauge" };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        if let Some(value) = value {
            let _ = writeln!(page, "{name} {value}");
        }
    }
    page
}

#[cfg(test)]
mod tests;
