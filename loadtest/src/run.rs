//! The run of `holdfast loadtest`: connect, play the scenarios, leave, and tell.

use crate::{
    books::Books,
    clock::Run,
    fleet::Fleet,
    internal::Metrics,
    progress::Progress,
    report::model::Report,
    scenario::Mark,
    sender::{Queue, Sender},
    stage::{SETTLE, Stage},
    task::{Scenario, Task},
    verdict,
    worker::{Manner, Wave, tally::Tally},
};
use std::{sync::atomic::AtomicBool, time::Duration};

/// How many leave in a second at the end, where the rate at which they came says nothing of it.
const LEAVES_PER_SECOND: f64 = 20_000.0;
/// And at least.
const LEAVES_PER_SECOND_MIN: f64 = 1_000.0;
/// What part of the clients connects first, so that memory has two points to draw a slope through.
const FIRST_PART: u32 = 10;

/// Does it; messages to single users go through the queue, if there is one. `stop` ends it early and in order.
///
/// # Errors
/// When it cannot even begin: the limit that is in the way, and the remedy.
pub fn run(task: Task, queue: Option<Box<dyn Queue>>, stop: &AtomicBool) -> Result<Report, String> {
    let books = task.nodes.clone().map(Books::open).transpose()?;
    check_capacity(task.connections, books.as_ref().map(Books::before))?;
    let run = Run::begin();
    let fleet = Fleet::launch(task.settings.clone(), run, &task.layout)?;
    let progress = Progress::new(task.quiet);
    let mut stage = Stage::new(&task, run, fleet, progress, stop);
    stage.books = books;
    stage.sender = stage
        .books
        .as_mut()
        .map(|books| Sender::with(books.nodes().alive(), queue, run, &task.settings, task.size));
    play(&mut stage);
    stage.progress.end();
    Ok(verdict::report(stage))
}

fn check_capacity(connections: u32, metrics: Option<&Metrics>) -> Result<(), String> {
    let Some(metrics) = metrics else { return Ok(()) };
    let (capacity, open) =
        (metrics.sum("holdfast_connections_capacity", ""), metrics.sum("holdfast_connections", "{"));
    if f64::from(connections) + open <= capacity {
        return Ok(());
    }
    Err(format!(
        "the node holds at most {capacity} connections (holdfast_connections_capacity) and has {open}: ask for at most {}, \
         or raise its limits.connections and its descriptors (LimitNOFILE, ulimit -Hn)",
        (capacity - open).max(0.0)
    ))
}

fn play(stage: &mut Stage<'_>) {
    let connections = u64::from(stage.task.connections);
    let planned = Duration::from_secs_f64(f64::from(stage.task.connections) / stage.task.rate);
    stage.step("connect", Some(connections), Some(planned), |stage| {
        connect(stage);
        stage.settle();
        Ok(())
    });
    for scenario in &stage.task.scenarios {
        // Without clients there is nothing to play with, and what is wrong need not wait to be told.
        if stage.is_stopped() || stage.tally().open.sum() == 0 {
            break;
        }
        scenario.play(stage);
    }
    stage.step("leave", None, None, leave);
}

/// Connects everybody. Where memory is measured a part comes first, and both times it comes to rest.
fn connect(stage: &mut Stage<'_>) {
    let task = stage.task;
    let is_measured = task.scenarios.contains(&Scenario::Idle) && task.connections >= 2_000;
    let first = if is_measured { task.connections / FIRST_PART } else { 0 };
    let mut took = ramp(stage, 0, first);
    let few = is_measured.then(|| Mark::take(stage));
    took += ramp(stage, first, task.connections - first);
    if let Some(few) = few {
        let all = Mark::take(stage);
        stage.generator_slope = few.slope(all, stage);
    }
    stage.ramp = Duration::from_secs_f64(took);
    let tally = stage.tally().clone();
    for (status, count) in &tally.refused {
        stage.mismatch(format!("{count} connections were refused: {}", verdict::refusal(*status)));
    }
    for (failure, count) in &tally.failed {
        stage.mismatch(format!("{count} connections failed: {}", failure.words()));
    }
}

/// Connects some, and waits until each is open or has failed; says how many seconds it took.
fn ramp(stage: &mut Stage<'_>, first: u32, count: u32) -> f64 {
    if count == 0 {
        return 0.0;
    }
    let (task, begin_s) = (stage.task, stage.now_s());
    stage.fleet.open(Wave { first, count, rate: task.rate, manner: Manner::Stay, dwell: Duration::ZERO });
    let planned = Duration::from_secs_f64(f64::from(count) / task.rate);
    let is_through = |tally: &Tally| tally.planned == 0 && tally.in_flight == 0;
    let within = planned * 3 + task.settings.handshake_timeout * 2;
    if !stage.until(within, is_through) && !stage.is_stopped() {
        let left = stage.tally().planned + stage.tally().in_flight;
        stage.mismatch(format!("{left} clients were not through in time: lower --rate"));
    }
    stage.now_s() - begin_s
}

fn leave(stage: &mut Stage<'_>) -> Result<(), String> {
    // Who goes costs both sides less than who comes.
    let came = f64::from(stage.task.connections) / stage.ramp.as_secs_f64().max(1e-3);
    let rate = (came * 1.5).clamp(LEAVES_PER_SECOND_MIN, LEAVES_PER_SECOND);
    let within = Duration::from_secs_f64(f64::from(stage.task.connections) / rate);
    stage.fleet.leave(within);
    stage.finish(within + SETTLE, |tally| tally.open.sum() == 0 && tally.is_settled());
    let open = stage.tally().open.sum();
    if open > 0 {
        stage.mismatch(format!("{open} connections did not end"));
    }
    stage.settle();
    Ok(())
}
