//! What a scenario plays on: the clients, the books, the clock, and the notes that become its step of the report.
//!
//! Owns the rhythm of a run: while anything is waited for, rows are sampled, progress is shown, and a wish to stop is seen.

use crate::{
    books::{self, Books},
    clock::{self, Run},
    compare::Pair,
    fleet::Fleet,
    host,
    internal::Metrics,
    progress::{Progress, Where},
    report::model::{Check, Figure, Memory, Step},
    sender::Sender,
    series::Sampler,
    task::Task,
    worker::tally::Tally,
};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Between two rows.
const ROW: Duration = Duration::from_secs(1);
/// How long books may take to agree after the last event.
pub const SETTLE: Duration = Duration::from_secs(15);
/// The same once they have failed to.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// See the module.
pub struct Stage<'a> {
    /// What is to be done.
    pub task: &'a Task,
    /// Its clock.
    pub run: Run,
    /// When it began, by the calendar.
    pub began: String,
    /// The clients.
    pub fleet: Fleet,
    /// None: nothing is asked of internal ports.
    pub books: Option<Books>,
    /// None: likewise.
    pub sender: Option<Sender>,
    /// What is shown.
    pub progress: Progress,
    /// The rows so far.
    pub sampler: Sampler,
    /// The steps so far.
    pub steps: Vec<Step>,
    /// What connections cost.
    pub memory: Memory,
    /// What a connection costs the generator, bytes.
    pub generator_slope: Option<f64>,
    /// What it took to connect everybody.
    pub ramp: Duration,
    /// How many messages that were written may be missing, as their connections were reset.
    pub lossy: u64,
    step: Step,
    stop: &'a AtomicBool,
    latest: Tally,
    metrics: Option<Metrics>,
    sampled: Option<Instant>,
    has_failed_to_settle: bool,
    /// What differs goes on differing: it is said once.
    said: BTreeSet<String>,
}

impl<'a> Stage<'a> {
    /// An empty one.
    pub fn new(task: &'a Task, run: Run, fleet: Fleet, progress: Progress, stop: &'a AtomicBool) -> Self {
        Self {
            task,
            run,
            began: clock::date(),
            fleet,
            books: None,
            sender: None,
            progress,
            sampler: Sampler::new(),
            steps: Vec::new(),
            memory: Memory { kernel_has_both_ends: task.is_local(), ..Memory::default() },
            generator_slope: None,
            ramp: Duration::ZERO,
            lossy: 0,
            step: Step::default(),
            stop,
            latest: Tally::default(),
            metrics: None,
            sampled: None,
            has_failed_to_settle: false,
            said: BTreeSet::new(),
        }
    }

    /// Seconds since the run began.
    pub fn now_s(&self) -> f64 {
        self.run.now_us() as f64 / 1e6
    }

    /// Whether the run is to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Plays a part of the run as a step of its own.
    pub fn step(
        &mut self,
        name: &str,
        connections: Option<u64>,
        takes: Option<Duration>,
        play: impl FnOnce(&mut Self) -> Result<(), String>,
    ) {
        self.progress.begin(name, connections, takes);
        self.step = Step { name: name.to_owned(), begin_s: self.now_s(), ..Step::default() };
        if let Err(words) = play(self) {
            self.mismatch(words);
        }
        self.sample();
        self.step.end_s = self.now_s();
        self.steps.push(std::mem::take(&mut self.step));
    }

    /// Notes what was measured.
    pub fn figure(&mut self, name: impl Into<String>, value: f64, unit: &str) {
        self.step.figures.push(Figure::new(name, value, unit));
    }

    /// The same with what must be known to read it.
    pub fn figure_with(&mut self, name: impl Into<String>, value: f64, unit: &str, note: impl Into<String>) {
        self.step.figures.push(Figure::new(name, value, unit).note(note));
    }

    /// Notes what is not as it must be.
    pub fn mismatch(&mut self, words: impl Into<String>) {
        self.step.mismatches.push(words.into());
    }

    /// A line about what is being done.
    pub fn say(&mut self, words: &str) {
        self.progress.say(words);
    }

    /// The counts as they are.
    pub fn tally(&mut self) -> &Tally {
        self.latest = self.fleet.tally();
        if let Some(books) = &mut self.books {
            books.ledger.received(self.fleet.take_receipts());
        }
        &self.latest
    }

    /// What the nodes said at the last row.
    pub fn metrics(&self) -> Option<&Metrics> {
        self.metrics.as_ref()
    }

    /// A moment passes.
    pub fn tick(&mut self) {
        std::thread::sleep(self.fleet.look());
        if self.sampled.is_none_or(|sampled| sampled.elapsed() >= ROW) {
            self.sample();
        }
    }

    /// Adds a row now.
    pub fn sample(&mut self) {
        self.sampled = Some(Instant::now());
        self.tally();
        let asked = self.books.as_mut().map(|books| books.nodes().metrics());
        if let Some(Ok(metrics)) = asked {
            self.metrics = Some(metrics);
        }
        let kernel = host::KernelMemory::read().map(|kernel| kernel.slab_bytes);
        self.sampler.sample(self.now_s(), &self.latest, self.metrics.as_ref(), kernel);
        let last = |name| {
            let column = self.sampler.series().columns.get(name);
            column.and_then(|column| *column.last()?).unwrap_or(0.0)
        };
        use crate::report::model::columns::{MESSAGES, OPENED};
        let place = Where {
            open: self.latest.open.sum(),
            not_opened: self.latest.not_opened(),
            opened_per_s: last(OPENED),
            messages_per_s: last(MESSAGES),
        };
        self.progress.at(place);
    }

    /// Time passes; ends early when the run is to.
    pub fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.is_stopped() {
            self.tick();
        }
    }

    /// Waits until the counts are as wished; says whether they are. Ends early when the run is to.
    pub fn until(&mut self, within: Duration, wish: impl FnMut(&Tally) -> bool) -> bool {
        self.wait(within, true, wish)
    }

    /// The same, also when the run is to end.
    pub fn finish(&mut self, within: Duration, wish: impl FnMut(&Tally) -> bool) -> bool {
        self.wait(within, false, wish)
    }

    fn wait(&mut self, within: Duration, heeds_stop: bool, mut wish: impl FnMut(&Tally) -> bool) -> bool {
        let deadline = Instant::now() + within;
        loop {
            if wish(self.tally()) {
                return true;
            }
            if Instant::now() >= deadline || heeds_stop && self.is_stopped() {
                return false;
            }
            self.tick();
        }
    }

    /// The same of what the nodes say, which is asked once a second.
    pub fn until_nodes(&mut self, within: Duration, mut wish: impl FnMut(&Tally, &Metrics) -> bool) -> bool {
        let deadline = Instant::now() + within;
        loop {
            self.sample();
            if self.metrics.as_ref().is_some_and(|metrics| wish(&self.latest, metrics)) {
                return true;
            }
            if Instant::now() >= deadline || self.is_stopped() {
                return false;
            }
            self.pass(ROW);
        }
    }

    /// Waits until the books of both sides agree, and notes what does not. Without a node's books, what the clients have to
    /// complain of.
    pub fn settle(&mut self) {
        let looked = self.settled();
        let words = match &looked {
            Ok((tally, pairs)) => self.complaints(tally, pairs),
            Err(words) => vec![words.clone()],
        };
        self.step.mismatches.extend(words.into_iter().filter(|words| self.said.insert(words.clone())));
        if let Ok((tally, pairs)) = looked {
            self.step.checks.extend(pairs.into_iter().map(check));
            self.latest = tally;
        }
    }

    /// The last look at both sides.
    fn settled(&mut self) -> Result<(Tally, Vec<Pair>), String> {
        let within = if self.has_failed_to_settle { SETTLE_AGAIN } else { SETTLE };
        let deadline = Instant::now() + within;
        loop {
            let Some(books) = &mut self.books else { return Ok((self.fleet.tally(), Vec::new())) };
            let (tally, pairs) = books.look(&mut self.fleet)?;
            let is_over = Instant::now() >= deadline;
            if is_over || books.are_even(&tally, &pairs, self.lossy) {
                self.has_failed_to_settle |= is_over;
                return Ok((tally, pairs));
            }
            self.tick();
        }
    }

    fn complaints(&self, tally: &Tally, pairs: &[Pair]) -> Vec<String> {
        match &self.books {
            Some(books) => books.differences(tally, pairs, self.lossy),
            None => books::faults(tally),
        }
    }
}

fn check(pair: Pair) -> Check {
    let agrees = pair.agrees();
    Check { what: pair.what, clients: pair.ours as f64, node: pair.node, slack: pair.slack as f64, agrees }
}
