//! Messages, and what became of them. Sending has a thread of its own, so that rows go on being sampled.

use super::{Before, percentiles};
use crate::{
    clock::Run,
    ledger::{Fate, Sent},
    message::NOT_TIMED,
    sender::Sender,
    stage::Stage,
};
use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, SyncSender},
    },
    thread,
    time::Duration,
};

/// How long the last of them may be on their way, once they were sent.
const LAST: Duration = Duration::from_secs(5);
/// What waits to be booked.
const BOOKED: usize = 1_024;

/// What is to be booked.
pub enum Pushed {
    /// Messages to single clients.
    Some(Vec<Sent>),
    /// A broadcast by its number.
    All(u32, BTreeMap<String, u64>),
}

/// How a thread that sends tells of it, and hears that it is to end.
pub struct Desk<'a> {
    run: Run,
    booked: SyncSender<Pushed>,
    stop: &'a AtomicBool,
}

impl Desk<'_> {
    /// Books; says whether to go on.
    pub fn book(&self, pushed: Pushed) -> bool {
        self.booked.send(pushed).is_ok() && !self.stop.load(Ordering::Relaxed)
    }

    pub fn now_us(&self) -> u64 {
        self.run.now_us()
    }

    /// Waits for a moment of the run, or the end.
    pub fn wait_until(&self, at_us: u64) {
        const NAP_US: u64 = 50_000;
        while let Some(left) = at_us.checked_sub(self.now_us()).filter(|left| *left > 0) {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(Duration::from_micros(left.min(NAP_US)));
        }
    }
}

/// Sends on a thread of its own; books and samples here meanwhile. `outcomes` counts what became of single messages.
pub fn beside(
    stage: &mut Stage<'_>,
    outcomes: &mut BTreeMap<String, u64>,
    send: impl FnOnce(&mut Sender, &Desk<'_>) -> Result<(), String> + Send,
) -> Result<(), String> {
    let mut sender =
        stage.sender.take().ok_or("there is no internal port to push by: name one with --internal")?;
    if let Some(books) = &mut stage.books {
        sender.go_over(books.nodes().alive());
    }
    let stop = AtomicBool::new(false);
    let (booked, arrived) = mpsc::sync_channel(BOOKED);
    let desk = Desk { run: stage.run, booked, stop: &stop };
    let done = thread::scope(|scope| {
        let sending = scope.spawn(move || {
            let done = send(&mut sender, &desk).and_then(|()| sender.flush());
            (sender, done)
        });
        while !sending.is_finished() {
            arrived.try_iter().for_each(|pushed| book(stage, outcomes, pushed));
            stage.tick();
            stop.fetch_or(stage.is_stopped(), Ordering::Relaxed);
        }
        sending.join().map_err(|_| "the thread that sends has panicked".to_owned())
    });
    arrived.try_iter().for_each(|pushed| book(stage, outcomes, pushed));
    let (sender, done) = done?;
    stage.sender = Some(sender);
    done
}

fn book(stage: &mut Stage<'_>, outcomes: &mut BTreeMap<String, u64>, pushed: Pushed) {
    let Some(books) = &mut stage.books else { return };
    match pushed {
        Pushed::Some(sent) => {
            for Sent { outcome, .. } in &sent {
                *outcomes.entry(outcome.clone()).or_default() += 1;
            }
            books.ledger.sent(sent);
        }
        Pushed::All(sequence, counts) => {
            for (outcome, count) in &counts {
                *outcomes.entry(outcome.clone()).or_default() += count;
            }
            books.ledger.sent_to_all(sequence, &counts);
        }
    }
}

/// The users that get messages of their own: spread over all clients, so over both protocols, all shards and all nodes.
pub fn sample(connections: u32, share: f64) -> Vec<u32> {
    let count = ((f64::from(connections) * share).round() as u32).clamp(1, connections.max(1));
    // One of each stretch of clients, each time another place in it: so both protocols are in the sample.
    let stretch = connections / count;
    (0..count).map(|at| at * stretch + at % stretch.max(1)).collect()
}

/// Messages to a sample, at the task's rate.
pub fn some(stage: &mut Stage<'_>) -> Result<(), String> {
    let task = stage.task;
    let sample = sample(task.connections, task.sample);
    stage.say(&format!("pushing {} message(s) to each of {} users", task.pushes, sample.len()));
    let before = Before::of(stage);
    let mut outcomes = BTreeMap::new();
    let sent = beside(stage, &mut outcomes, |sender, desk| {
        to_each(sender, desk, &sample, task.pushes, task.push_rate, task.batch)
    });
    figures(stage, &before, &outcomes, task.push_rate);
    sent
}

/// So many messages to each of them, at a rate, messages a second.
pub fn to_each(
    sender: &mut Sender,
    desk: &Desk<'_>,
    clients: &[u32],
    pushes: u32,
    rate: f64,
    batch: usize,
) -> Result<(), String> {
    let (begin_us, mut done) = (desk.now_us(), 0_u64);
    for _ in 0..pushes {
        for batch in clients.chunks(batch.max(1)) {
            let meant_us = match rate.is_finite() {
                true => begin_us + (done as f64 * 1e6 / rate) as u64,
                false => desk.now_us(),
            };
            desk.wait_until(meant_us);
            let sent = sender.push_to(batch, meant_us)?;
            done += batch.len() as u64;
            if !desk.book(Pushed::Some(sent)) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Messages to everybody, one after the other.
pub fn all(stage: &mut Stage<'_>) -> Result<(), String> {
    let task = stage.task;
    stage.say(&format!("broadcasting {} message(s)", task.pushes));
    let before = Before::of(stage);
    let mut outcomes = BTreeMap::new();
    let sent = beside(stage, &mut outcomes, |sender, desk| {
        for _ in 0..task.pushes {
            let (sequence, counts) = broadcast(sender, desk, task.spread)?;
            if !desk.book(Pushed::All(sequence, counts)) {
                break;
            }
        }
        Ok(())
    });
    figures(stage, &before, &outcomes, f64::INFINITY);
    sent
}

/// One that is paced says nothing of how fast a message is delivered: it is not timed.
pub fn broadcast(
    sender: &mut Sender,
    desk: &Desk<'_>,
    spread: Duration,
) -> Result<(u32, BTreeMap<String, u64>), String> {
    let meant_us = if spread.is_zero() { desk.now_us() } else { NOT_TIMED };
    sender.broadcast_over(spread, meant_us)
}

fn figures(stage: &mut Stage<'_>, before: &Before, outcomes: &BTreeMap<String, u64>, asked: f64) {
    let seconds = before.seconds(stage);
    // What is under way may come.
    let expected: u64 =
        outcomes.iter().filter(|(word, _)| Fate::of(word) == Fate::Comes).map(|(_, n)| n).sum();
    let came = |tally: &crate::worker::tally::Tally| tally.direct + tally.broadcast;
    let had = came(&before.tally);
    stage.until(LAST, |tally| came(tally) >= had + expected);
    let arrived = before.seconds(stage);
    let tally = stage.tally().clone();
    let messages: u64 = outcomes.values().sum();
    stage.figure("messages", messages as f64, "messages");
    if asked.is_finite() {
        stage.figure("rate asked for", asked, "per s");
    }
    stage.figure("sent", messages as f64 / seconds, "per s");
    stage.figure("received", (came(&tally) - had) as f64 / arrived, "per s");
    for (outcome, &count) in outcomes.iter().filter(|(_, count)| **count > 0) {
        stage.figure(outcome.clone(), count as f64, "messages");
    }
    percentiles(stage, "delivery", &tally.delivery_us, &before.tally.delivery_us);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_over_all() {
        let tenth = sample(1_000, 0.1);
        assert_eq!(tenth.len(), 100);
        assert!(tenth.windows(2).all(|pair| pair[0] < pair[1]) && tenth[99] > 980 && tenth[99] < 1_000);
        assert_eq!(sample(3, 1.0), [0, 1, 2]);
        assert_eq!(sample(10, 0.0).len(), 1);
    }
}
