//! Pushes, broadcasts and visits for a long time, the books compared all the while; does anything grow?

use super::{Before, churn, push};
use crate::{
    scenario::push::Pushed,
    stage::Stage,
    worker::{Manner, Wave},
};
use std::{collections::BTreeMap, time::Duration};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(10);
/// Every so many rounds the books are compared.
const COMPARED_EVERY: u32 = 6;
/// How much more memory than at first makes a warning, besides a fifth.
const GROWTH_BYTES: f64 = 32e6;

pub fn play(stage: &mut Stage<'_>) -> Result<(), String> {
    let task = stage.task;
    let before = Before::of(stage);
    let clients = push::sample(task.connections, task.sample);
    let mut outcomes = BTreeMap::new();
    let (mut rounds, mut visits) = (0_u32, 0_u32);
    let mut at_first = None;
    while before.seconds(stage) < task.hold.as_secs_f64() && !stage.is_stopped() {
        let visitors = ((task.churn_rate * ROUND.as_secs_f64()) as u32).max(1);
        let first = churn::first_visitor(task).wrapping_add(visits);
        let wave = Wave {
            first,
            count: visitors,
            rate: task.churn_rate,
            manner: Manner::Close,
            dwell: churn::VISIT,
        };
        stage.fleet.open(wave);
        visits = visits.wrapping_add(visitors);
        push::beside(stage, &mut outcomes, |sender, desk| {
            push::to_each(sender, desk, &clients, 1, task.push_rate, task.batch)?;
            let (sequence, counts) = push::broadcast(sender, desk, task.spread)?;
            desk.book(Pushed::All(sequence, counts));
            Ok(())
        })?;
        rounds += 1;
        let left = task.hold.as_secs_f64() - before.seconds(stage);
        stage.pass(ROUND.min(Duration::from_secs_f64(left.max(0.0))));
        if rounds.is_multiple_of(COMPARED_EVERY) {
            stage.settle();
        }
        if rounds == 2 {
            at_first = memory(stage);
        }
    }
    stage.until(ROUND, |tally| tally.planned == 0 && tally.in_flight == 0);
    stage.figure("lasted", before.seconds(stage), "s");
    stage.figure("visits", f64::from(visits), "connections");
    for (outcome, count) in outcomes {
        stage.figure(outcome, count as f64, "messages");
    }
    if let (Some(first), Some(last)) = (at_first, memory(stage)) {
        stage.figure("node memory at first", first, "bytes");
        stage.figure("node memory at last", last, "bytes");
        if last > first * 1.2 + GROWTH_BYTES {
            stage.mismatch(format!("the nodes' memory grew from {first:.0} to {last:.0} bytes"));
        }
    }
    Ok(())
}

fn memory(stage: &mut Stage<'_>) -> Option<f64> {
    stage.sample();
    let bytes = stage.metrics()?.sum("holdfast_resident_bytes", "");
    (bytes > 0.0).then_some(bytes)
}
