//! Connections that open and close at once, beside those that stay: handshakes a second, and what one costs the node.

use super::{Before, percentiles};
use crate::{
    stage::Stage,
    task::Task,
    worker::{Manner, Wave},
};
use std::time::Duration;

/// How long each stays.
pub const VISIT: Duration = Duration::from_millis(1);

pub fn play(stage: &mut Stage<'_>) {
    let (task, before) = (stage.task, Before::of(stage));
    let count = (task.churn_rate * task.hold.as_secs_f64()).round().clamp(1.0, 1e9) as u32;
    stage.fleet.open(Wave {
        first: first_visitor(task),
        count,
        rate: task.churn_rate,
        manner: Manner::Close,
        dwell: VISIT,
    });
    let open = before.tally.open.sum();
    let within = task.hold * 3 + task.settings.handshake_timeout * 2;
    let is_over =
        stage.until(within, |tally| tally.planned == 0 && tally.in_flight == 0 && tally.open.sum() <= open);
    let seconds = before.seconds(stage);
    let cpu = before.node_cpu_s(stage);
    let tally = stage.tally().clone();
    let opened = tally.opened.sum() - before.tally.opened.sum();
    stage.figure("handshakes", opened as f64, "handshakes");
    stage.figure("asked for", task.churn_rate, "per s");
    stage.figure("reached", opened as f64 / seconds, "per s");
    stage.figure("refused or failed", (tally.not_opened() - before.tally.not_opened()) as f64, "handshakes");
    if let Some(cpu) = cpu {
        let note = "opening and closing; on one host the kernel's work for the clients, too";
        stage.figure_with("CPU of the nodes per visit", cpu * 1e6 / opened.max(1) as f64, "us", note);
    }
    percentiles(stage, "handshake", &tally.handshake_us, &before.tally.handshake_us);
    if !is_over && !stage.is_stopped() {
        let left = tally.planned + tally.in_flight + tally.open.sum().saturating_sub(open);
        stage.mismatch(format!("{left} visits were not over after {:.0} s: lower --churn-rate", seconds));
    }
}

/// Visitors are nobody of those who stay.
pub const fn first_visitor(task: &Task) -> u32 {
    task.connections
}
