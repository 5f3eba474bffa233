//! The run of `holdfast loadtest`: connect, play the scenarios, leave, and tell.

use crate::{
    books::Books,
    clock::Run,
    fleet::{Fleet, Layout},
    internal::Metrics,
    nodes::Nodes,
    plan::Settings,
    progress::Progress,
    report::model::Report,
    scenario::{Mark, Scenario},
    sender::{Queue, Sender},
    stage::{SETTLE, Stage},
    verdict,
    worker::{Manner, Wave, tally::Tally},
};
use std::{sync::atomic::AtomicBool, time::Duration};

/// How many leave in a second at the end.
const LEAVES_PER_SECOND: u32 = 20_000;
/// What part of the clients connects first, so that memory has two points to draw a slope through.
const FIRST_PART: u32 = 10;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who the clients are.
    pub settings: Settings,
    /// Where they are.
    pub layout: Layout,
    /// The nodes' internal ports; None: nothing is asked of them, and nothing compared.
    pub nodes: Option<Nodes>,
    /// What is played, in this order.
    pub scenarios: Vec<Scenario>,
    /// How many clients.
    pub connections: u32,
    /// Connections a second; infinite: all at once.
    pub rate: f64,
    /// How long scenarios last that end by the clock.
    pub hold: Duration,
    /// How many messages each receiver gets.
    pub pushes: u32,
    /// Share of the users that gets messages of its own, 0 to 1; at least one user.
    pub sample: f64,
    /// Messages a second to single users; infinite: a batch after the other.
    pub push_rate: f64,
    /// Messages of one request; 1: a request each by the endpoint for one user.
    pub batch: usize,
    /// Over which time a broadcast is paced; zero: at once.
    pub spread: Duration,
    /// Size of a message, bytes.
    pub size: usize,
    /// Share of the clients that a storm cuts off, that stop to read, or that vanish, 0 to 1.
    pub share: f64,
    /// Visits a second.
    pub churn_rate: f64,
    /// How long what must happen may take.
    pub patience: Duration,
    /// The command line, without secrets, for the report.
    pub command: Vec<String>,
    /// Progress is not shown.
    pub quiet: bool,
}

impl Plan {
    /// Whether nodes and clients are on one host, as far as the addresses tell.
    pub fn is_local(&self) -> bool {
        self.settings.targets.iter().all(|target| target.ip().is_loopback())
    }
}

/// Does it; messages to single users go through the queue, if there is one. `stop` ends it early and in order.
///
/// # Errors
/// When it cannot even begin: the limit that is in the way, and the remedy.
pub fn run(plan: Plan, queue: Option<Box<dyn Queue>>, stop: &AtomicBool) -> Result<Report, String> {
    let books = plan.nodes.clone().map(Books::open).transpose()?;
    check_capacity(plan.connections, books.as_ref().map(Books::before))?;
    let run = Run::begin();
    let fleet = Fleet::launch(plan.settings.clone(), run, &plan.layout)?;
    let progress = Progress::new(plan.quiet);
    let mut stage = Stage::new(&plan, run, fleet, progress, stop);
    stage.books = books;
    stage.sender = stage
        .books
        .as_mut()
        .map(|books| Sender::with(books.nodes().alive(), queue, run, &plan.settings, plan.size));
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
    let connections = u64::from(stage.plan.connections);
    let planned = Duration::from_secs_f64(f64::from(stage.plan.connections) / stage.plan.rate);
    stage.step("connect", Some(connections), Some(planned), |stage| {
        connect(stage);
        stage.settle();
        Ok(())
    });
    for scenario in &stage.plan.scenarios {
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
    let plan = stage.plan;
    let is_measured = plan.scenarios.contains(&Scenario::Idle) && plan.connections >= 2_000;
    let first = if is_measured { plan.connections / FIRST_PART } else { 0 };
    let mut took = ramp(stage, 0, first);
    let few = is_measured.then(|| Mark::take(stage));
    took += ramp(stage, first, plan.connections - first);
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
    let (plan, begin_s) = (stage.plan, stage.sampler.now_s());
    stage.fleet.open(Wave { first, count, rate: plan.rate, manner: Manner::Stay, dwell: Duration::ZERO });
    let planned = Duration::from_secs_f64(f64::from(count) / plan.rate);
    let is_through = |tally: &Tally| tally.planned == 0 && tally.in_flight == 0;
    let within = planned * 3 + plan.settings.handshake_timeout * 2;
    if !stage.until(within, is_through) && !stage.is_stopped() {
        let left = stage.tally().planned + stage.tally().in_flight;
        stage.mismatch(format!("{left} clients were not through in time: lower --rate"));
    }
    stage.sampler.now_s() - begin_s
}

fn leave(stage: &mut Stage<'_>) -> Result<(), String> {
    let within = Duration::from_secs_f64(f64::from(stage.plan.connections) / f64::from(LEAVES_PER_SECOND));
    stage.fleet.leave(within);
    stage.finish(within + SETTLE, |tally| tally.open.sum() == 0 && tally.is_settled());
    let open = stage.tally().open.sum();
    if open > 0 {
        stage.mismatch(format!("{open} connections did not end"));
    }
    stage.settle();
    Ok(())
}
