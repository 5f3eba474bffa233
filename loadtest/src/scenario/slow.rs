//! Clients that stop to read: what becomes of their messages, what they cost the node, and whether anybody else notices.

use super::Before;
use crate::{
    ledger::Sent,
    plan::is_chosen,
    report::model::Latency,
    scenario::push::{Desk, Pushed, beside, sample},
    sender::Sender,
    series::fresh,
    stage::Stage,
    worker::tally::Ending,
};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// Of those who do not read, so many get messages: the kernel holds megabytes for each.
const FED: usize = 16;
/// What they get, bytes: a few fill a node's outbox, some hundred the kernel's buffers.
const MEAL_BYTES: usize = 32 * 1024;
/// Messages after which each of them must have been found slow.
const MEALS: u32 = 600;
/// Of the others, so many get messages meanwhile.
const OTHERS: u32 = 200;
/// Messages to the others without anybody slow, for comparison.
const ROUNDS_BEFORE: u32 = 20;
/// Between two rounds to the others, us.
const ROUND_US: u64 = 50_000;
/// Messages that may be lost with a connection that the node gave up on, as they were in its buffers.
const HELD: u64 = MEALS as u64;

pub fn play(stage: &mut Stage<'_>) -> Result<(), String> {
    let (task, share) = (stage.task, stage.task.share);
    let reads = |client: &u32| !is_chosen(*client, share);
    let fed: Vec<u32> = (0..task.connections).filter(|client| !reads(client)).take(FED).collect();
    let mut others = sample(task.connections, f64::from(OTHERS) / f64::from(task.connections));
    others.retain(reads);
    if fed.is_empty() || others.is_empty() {
        return Err(format!(
            "a share of {share} of {} clients leaves nobody slow, or only them",
            task.connections
        ));
    }
    let mut outcomes = BTreeMap::new();
    let quiet = Before::of(stage);
    beside(stage, &mut outcomes, |sender, desk| {
        rounds(sender, desk, &others, |round| round < ROUNDS_BEFORE)
    })?;
    let stalled = Before::of(stage);
    others_latency(stage, "nobody slow", &quiet);
    stage.fleet.stall(share);
    stage.until(crate::stage::SETTLE, |tally| tally.stalled > 0);
    let count = stage.tally().stalled;
    stage.figure("clients that do not read", count as f64, "connections");
    let mut outcomes = BTreeMap::new();
    let pushed = beside(stage, &mut outcomes, |sender, desk| feed(sender, desk, &fed, &others));
    others_latency(stage, "some slow", &stalled);
    for (outcome, &count) in &outcomes {
        stage.figure(outcome.clone(), count as f64, "messages");
    }
    stage.fleet.resume();
    stage.until(crate::stage::SETTLE, |tally| tally.stalled == 0);
    let given_up = stage.tally().ended_by(Ending::Reset) + stage.tally().ended_by(Ending::Lost);
    stage.lossy += given_up * HELD;
    stage.figure("given up on by the node", given_up as f64, "connections");
    pushed?;
    if !outcomes.contains_key("slow") && given_up == 0 && !stage.is_stopped() {
        stage.mismatch("the node found nobody slow, though some did not read".to_owned());
    }
    Ok(())
}

/// Fills up those who do not read, while the others get their messages as before.
fn feed(sender: &mut Sender, desk: &Desk<'_>, fed: &[u32], others: &[u32]) -> Result<(), String> {
    let mut beside = sender.fork();
    let is_over = AtomicBool::new(false);
    let done = thread::scope(|scope| {
        let others = scope.spawn(|| rounds(&mut beside, desk, others, |_| !is_over.load(Ordering::Relaxed)));
        let done = fill(sender, desk, fed);
        is_over.store(true, Ordering::Relaxed);
        let others = others.join().unwrap_or_else(|_| Err("the thread that sends has panicked".to_owned()));
        done.and(others)
    });
    sender.absorb(beside);
    done
}

/// Large messages until each was found slow.
fn fill(sender: &mut Sender, desk: &Desk<'_>, fed: &[u32]) -> Result<(), String> {
    let usual = sender.resize(MEAL_BYTES);
    let mut hungry = fed.to_vec();
    for _ in 0..MEALS {
        let sent = sender.push_batch(&hungry, desk.now_us())?;
        hungry = sent.iter().filter(|sent| sent.outcome == "written").map(|sent| sent.client).collect();
        if !desk.book(Pushed::Some(sent)) || hungry.is_empty() {
            break;
        }
    }
    sender.resize(usual);
    Ok(())
}

/// A message to each, again and again, on time.
fn rounds(
    sender: &mut Sender,
    desk: &Desk<'_>,
    clients: &[u32],
    goes_on: impl Fn(u32) -> bool,
) -> Result<(), String> {
    let begin_us = desk.now_us();
    let mut round = 0;
    while goes_on(round) {
        let meant_us = begin_us + u64::from(round) * ROUND_US;
        desk.wait_until(meant_us);
        let sent: Vec<Sent> = sender.push_batch(clients, meant_us)?;
        if !desk.book(Pushed::Some(sent)) {
            break;
        }
        round += 1;
    }
    Ok(())
}

/// Those who do not read take nothing meanwhile, so that what comes is the others'.
fn others_latency(stage: &mut Stage<'_>, when: &str, before: &Before) {
    let now = stage.tally().delivery_us.clone();
    let Some(fresh) = fresh(&now, Some(&before.tally.delivery_us)) else { return };
    let latency = Latency::of(&fresh);
    for (percentile, us) in [("p50", latency.p50), ("p99", latency.p99), ("max", latency.max)] {
        stage.figure(format!("{when}: delivery {percentile} of those who read"), us as f64, "us");
    }
}
