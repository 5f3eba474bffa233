//! The run of `holdfast loadtest`: connect, hold, push to some and to all, compare, leave, compare again.

use crate::{
    books::{self, Books},
    clock::Run,
    compare::Pair,
    fleet::Fleet,
    internal::{Internal, Metrics, Sender},
    ledger::Ledger,
    plan::{self, Settings},
    report::Report,
    worker::{Manner, Wave, tally::Tally},
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// How long books may take to agree after the last event.
const SETTLE: Duration = Duration::from_secs(15);
/// The same once they have failed to.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Between two lines about progress.
const PROGRESS: Duration = Duration::from_secs(5);
/// How many leave in a second at the end.
const LEAVES_PER_SECOND: u32 = 20_000;

/// To whom messages go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    /// A sample of the users, one by one.
    Some,
    /// Everybody at once.
    All,
    /// Some, then all.
    Both,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who the clients are.
    pub settings: Settings,
    /// The node's internal port; None: connect and hold only, and compare nothing.
    pub internal: Option<Internal>,
    /// How many clients.
    pub connections: u32,
    /// Connections a second; infinite: all at once.
    pub rate: f64,
    /// How long they are held once they are open.
    pub hold: Duration,
    /// How many messages each receiver gets.
    pub pushes: u32,
    /// Who the receivers are.
    pub to: To,
    /// Share of the users that gets messages of its own, 0 to 1; at least one user.
    pub sample: f64,
    /// Messages a second to single users; infinite: a batch after the other.
    pub push_rate: f64,
    /// Messages of one request; 1: a request each by the endpoint for one user.
    pub batch: usize,
    /// Size of a message, bytes.
    pub size: usize,
}

/// Does it. `stop` ends it early and in order; `say` hears about progress.
///
/// # Errors
/// When it cannot even begin: the limit that is in the way, and the remedy.
pub fn run(mut plan: Plan, stop: &AtomicBool, say: &mut dyn FnMut(&str)) -> Result<Report, String> {
    plan::raise_descriptors(plan.connections)?;
    let sources = std::mem::take(&mut plan.settings.sources);
    plan.settings.sources = plan::plan_sources(plan.connections, &plan.settings.targets, sources)?;
    let books = plan.internal.clone().map(Books::open).transpose()?;
    check_capacity(plan.connections, books.as_ref().map(Books::before))?;
    let run = Run::begin();
    let fleet = Fleet::start(plan.settings.clone(), run).map_err(|error| format!("cannot start: {error}"))?;
    Ok(Load { plan, run, fleet, books, mismatches: Vec::new(), stop, say }.run())
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

struct Load<'a> {
    plan: Plan,
    run: Run,
    fleet: Fleet,
    /// None: nothing is asked of the node's internal port.
    books: Option<Books>,
    mismatches: Vec<String>,
    stop: &'a AtomicBool,
    say: &'a mut dyn FnMut(&str),
}

impl Load<'_> {
    fn run(mut self) -> Report {
        let began = Instant::now();
        self.ramp();
        let ramp = began.elapsed();
        // Without clients there is nothing to hold, and what is wrong need not wait to be told.
        if self.fleet.tally().open.sum() > 0 {
            let hold_until = Instant::now() + self.plan.hold;
            self.push();
            while Instant::now() < hold_until && !self.is_stopped() {
                std::thread::sleep(LOOK);
            }
        }
        (self.say)("comparing");
        let mut pairs = Vec::new();
        pairs.extend(self.settle(SETTLE).map(|numbers| ("while they were open", numbers)));
        let agreed = pairs.iter().all(|(_, numbers)| numbers.iter().all(Pair::agrees));
        self.leave();
        let within = if agreed { SETTLE } else { SETTLE_AGAIN };
        pairs.extend(self.settle(within).map(|numbers| ("after they had left", numbers)));
        let tally = self.fleet.tally();
        self.judge(&tally, &pairs);
        Report {
            asked: self.plan.connections,
            ramp,
            rate: self.plan.rate,
            took: began.elapsed(),
            tally,
            pairs,
            interrupted: self.is_stopped(),
            ledger: self.books.map_or_else(Ledger::default, |books| books.ledger),
            mismatches: self.mismatches,
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Connects everybody, and waits until each is open or has failed.
    fn ramp(&mut self) {
        let Plan { connections, rate, settings, .. } = &self.plan;
        let wave =
            Wave { first: 0, count: *connections, rate: *rate, manner: Manner::Stay, dwell: Duration::ZERO };
        let planned = f64::from(*connections) / rate;
        let deadline = Instant::now() + Duration::from_secs_f64(planned) * 3 + settings.handshake_timeout * 2;
        self.fleet.open(wave);
        let mut told = Instant::now();
        loop {
            let tally = self.fleet.tally();
            let done = tally.planned == 0 && tally.in_flight == 0;
            if done || self.is_stopped() || Instant::now() >= deadline {
                if !done && !self.is_stopped() {
                    let left = tally.planned + tally.in_flight;
                    self.mismatches.push(format!("{left} clients were not through in time: lower --rate"));
                }
                return;
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                (self.say)(&format!("{} open, {} not opened", tally.open.sum(), tally.not_opened()));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn push(&mut self) {
        let Some(mut books) = self.books.take().filter(|_| self.plan.pushes > 0) else { return };
        let internal = self.plan.internal.clone().expect("there are books only with an internal port");
        let mut sender = Sender::new(internal, self.run, &self.plan.settings, self.plan.size);
        let (some, all) = match self.plan.to {
            To::Some => (true, false),
            To::All => (false, true),
            To::Both => (true, true),
        };
        let mut pushed = Ok(());
        if some {
            pushed = self.push_to_some(&mut sender, &mut books);
        }
        if all && pushed.is_ok() {
            pushed = self.push_to_all(&mut sender, &mut books);
        }
        self.mismatches.extend(pushed.err());
        self.books = Some(books);
    }

    /// Messages to a sample that is spread over all clients, so over both protocols and all shards.
    fn push_to_some(&mut self, sender: &mut Sender, books: &mut Books) -> Result<(), String> {
        let connections = self.plan.connections;
        let count = ((f64::from(connections) * self.plan.sample).round() as u32).clamp(1, connections);
        // One of each stretch of clients, each time another place in it: so both protocols are in the sample.
        let stretch = connections / count;
        let sample: Vec<u32> = (0..count).map(|at| at * stretch + at % stretch.max(1)).collect();
        (self.say)(&format!("pushing {} message(s) to each of {count} users", self.plan.pushes));
        let (begin_us, mut done) = (self.run.now_us(), 0u64);
        for _ in 0..self.plan.pushes {
            for batch in sample.chunks(self.plan.batch.max(1)) {
                if self.is_stopped() {
                    return Ok(());
                }
                let meant_us = match self.plan.push_rate.is_finite() {
                    true => begin_us + (done as f64 * 1e6 / self.plan.push_rate) as u64,
                    false => self.run.now_us(),
                };
                std::thread::sleep(Duration::from_micros(meant_us.saturating_sub(self.run.now_us())));
                books.push(sender, batch, meant_us)?;
                done += batch.len() as u64;
            }
        }
        Ok(())
    }

    fn push_to_all(&mut self, sender: &mut Sender, books: &mut Books) -> Result<(), String> {
        (self.say)(&format!("broadcasting {} message(s)", self.plan.pushes));
        for _ in 0..self.plan.pushes {
            if self.is_stopped() {
                break;
            }
            books.push_to_all(sender, self.run.now_us())?;
        }
        Ok(())
    }

    /// Waits until all books agree. None: there are none.
    fn settle(&mut self, within: Duration) -> Option<Vec<Pair>> {
        match self.books.as_mut()?.settle(&mut self.fleet, within, 0) {
            Ok((_, pairs)) => Some(pairs),
            Err(words) => {
                self.mismatches.push(words);
                None
            }
        }
    }

    fn leave(&mut self) {
        let seconds = f64::from(self.plan.connections) / f64::from(LEAVES_PER_SECOND);
        (self.say)("leaving");
        let within = Duration::from_secs_f64(seconds);
        self.fleet.leave(within);
        let left = |tally: &Tally| tally.open.sum() == 0 && tally.is_settled();
        if let Err(tally) = self.fleet.wait(within + SETTLE, left) {
            self.mismatches.push(format!("{} connections did not end", tally.open.sum()));
        }
    }

    /// Everything that is not as it must be.
    fn judge(&mut self, tally: &Tally, pairs: &[(&'static str, Vec<Pair>)]) {
        let words = &mut self.mismatches;
        for (status, count) in &tally.refused {
            words.push(format!("{count} connections were refused: {}", refusal(*status)));
        }
        for (failure, count) in &tally.failed {
            words.push(format!("{count} connections failed: {}", failure.words()));
        }
        words.extend(books::faults(tally));
        words.extend(self.books.iter().flat_map(|books| books.ledger.differences(tally, 0)));
        for (when, pairs) in pairs {
            let wrong = pairs.iter().filter(|pair| !pair.agrees());
            words.extend(wrong.map(|pair| format!("{}, {when}", pair.words())));
        }
    }
}

/// What a status means, and what to do.
fn refusal(status: u16) -> String {
    let words = match status {
        101 | 200 => "the target answered without opening: full, draining, or not a node's client address",
        204 => "the device came again too often within a minute",
        400 => "the request was not understood: does a balancer in front want PROXY protocol?",
        401 => "the node wants a credential: run it with auth.mode = \"header\" for a load test",
        403 => "the origin is not allowed",
        404 => "there is no such path: is this a node's client address, not the internal one?",
        408 => "the node waited too long for the request: lower --rate",
        431 => "the request's head is too large: shorten --users",
        503 => {
            "full, draining or over its rate of handshakes: see holdfast_handshakes_total{result} and limits.*"
        }
        _ => "not what a node answers",
    };
    format!("status {status}: {words}")
}
