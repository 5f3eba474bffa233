//! Holds connections at rest: what they cost in memory, as a slope, and in CPU; and that none is lost.

use super::Before;
use crate::{
    host::KernelMemory,
    stage::Stage,
    worker::tally::{Ending, Tally},
};
use std::time::Duration;

/// How long what is measured may come to rest: allocators give pages back after a second.
const REST: Duration = Duration::from_secs(3);

/// What so many connections held.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    open: f64,
    node: Option<f64>,
    kernel: Option<f64>,
    generator: f64,
}

impl Mark {
    /// As it is after a moment of rest.
    pub fn take(stage: &mut Stage<'_>) -> Self {
        stage.pass(REST);
        stage.sample();
        let node = stage.metrics().map(|metrics| metrics.sum("holdfast_resident_bytes", ""));
        let tally = stage.tally();
        Self {
            open: tally.open.sum() as f64,
            generator: tally.rss_bytes as f64,
            node: node.filter(|bytes| *bytes > 0.0),
            kernel: KernelMemory::read().map(|kernel| kernel.slab_bytes as f64),
        }
    }

    /// What each connection between the two adds; what is there without any does not count.
    pub fn slope(self, more: Mark, stage: &mut Stage<'_>) -> Option<f64> {
        let connections = more.open - self.open;
        if connections < 1_000.0 {
            return None;
        }
        let of = |from: Option<f64>, to: Option<f64>| Some((to? - from?) / connections);
        stage.memory.node_per_connection = of(self.node, more.node);
        stage.memory.kernel_per_connection = of(self.kernel, more.kernel);
        of(Some(self.generator), Some(more.generator))
    }
}

pub fn play(stage: &mut Stage<'_>) {
    let before = Before::of(stage);
    stage.pass(stage.task.hold);
    let seconds = before.seconds(stage);
    let cpu = before.node_cpu_s(stage);
    let tally = stage.tally();
    let ended = tally.ended() - before.tally.ended();
    let cut_off =
        |tally: &Tally| [Ending::Lost, Ending::Reset, Ending::Stuck].map(|ending| tally.ended_by(ending));
    let lost: u64 = cut_off(tally).iter().sum::<u64>() - cut_off(&before.tally).iter().sum::<u64>();
    stage.figure("held", seconds, "s");
    if let Some(cpu) = cpu {
        stage.figure_with(
            "CPU of the nodes",
            cpu / seconds * 100.0,
            "%",
            "of a core; pings and being asked included",
        );
    }
    let memory = stage.memory.clone();
    if let Some(bytes) = memory.node_per_connection {
        stage.figure_with(
            "node memory per connection",
            bytes,
            "bytes",
            "resident, the slope between two counts",
        );
    }
    if let Some(bytes) = memory.kernel_per_connection {
        let note = match memory.kernel_has_both_ends {
            true => "slab, both ends, as clients and nodes are on one host",
            false => "slab of this host: the clients' ends",
        };
        stage.figure_with("kernel memory per connection", bytes, "bytes", note);
    }
    stage.figure("ended meanwhile", ended as f64, "connections");
    if lost > 0 {
        stage.mismatch(format!("{lost} connection(s) ended without a word"));
    }
}
