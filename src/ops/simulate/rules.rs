//! What a fleet and its clients are like, and the same in steps.
//!
//! Owns the check that the rules make sense, and the tables that a run looks up.

use super::{balancer::Balancing, bins::Bins, clients::TRIES, law::Law, words};

/// More connections than this are refused: a count of a step has 32 bits.
pub const CONNECTIONS_MAX: u64 = 1_000_000_000;
/// More nodes than this are refused.
pub const NODES_MAX: u32 = 20_000;
/// Nodes times the steps of the longest life at most: four bytes each.
const CELLS_MAX: f64 = 250e6;
/// More steps than this take longer than anybody waits.
const STEPS_MAX: f64 = 10e6;

/// The longest wait of a client or a node.
const WAIT_MAX_MS: u64 = 86_400_000;
/// The same in steps: each has a place in several tables.
const WAIT_STEPS_MAX: u64 = 200_000;
/// A mean life has as many stretches at least…
const STRETCHES_OF_MEAN: f64 = 60.0;
/// …and so has what lies between the shortest and the longest.
const STRETCHES_OF_WIDTH: f64 = 12.0;
/// Over as many steps at least can clients come from outside.
const JOIN_STEPS: usize = 64;

/// What the fleet and its clients are like. Times in ms.
#[derive(Clone, PartialEq, Debug)]
pub struct Rules {
    /// The time between two looks.
    pub step_ms: u64,
    /// Clients in all.
    pub connections: u64,
    /// Nodes at the beginning.
    pub nodes: u32,
    /// How long connections live.
    pub life: Law,
    /// After its goaway a client leaves within this time, at a random moment (`lifetime.grace` at most).
    pub leave_within_ms: u64,
    /// Who was asked to go, or lost its connection, is back within this time.
    pub back_within_ms: u64,
    /// Who lost its connection without a word notices within this time.
    pub notice_within_ms: u64,
    /// Who fails waits up to this, and twice as long after each further time.
    pub backoff_ms: u64,
    /// And never longer than this.
    pub backoff_max_ms: u64,
    /// Who is refused comes back after a time between these, as the node says (`Retry-After`, `retry:`).
    pub retry_ms: (u64, u64),
    /// Who waits this long for an answer to a handshake gives up.
    pub patience_ms: u64,
    /// How a node drains.
    pub drain: Drain,
    /// The law of the balancer.
    pub balancing: Balancing,
    /// The balancer notices this long after that a node comes or goes.
    pub detect_ms: u64,
    /// A replaced or an added node takes this long to start.
    pub startup_ms: u64,
    /// Connections that a node can hold (`limits.connections`).
    pub capacity: u64,
    /// Handshakes a second that a node can do.
    pub handshakes: f64,
    /// Handshakes a second that a node admits (`limits.handshakes_per_second`); None: any.
    pub admission: Option<f64>,
    /// Places of a node's accept queues.
    pub backlog: u64,
}

/// How a node drains (`drain.…`); times in ms.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Drain {
    /// It still takes connections for this long.
    pub delay_ms: u64,
    /// Goaways are spread over this time at least.
    pub window_ms: u64,
    /// And no faster than this, a second.
    pub rate: f64,
}

/// The same in steps.
#[derive(Clone, Copy, Default, Debug)]
pub struct Parting {
    /// Steps until it refuses.
    pub delay: u64,
    /// Steps over which goaways are spread at least.
    pub window: u64,
    /// Goaways a step at most.
    pub per_step: f64,
}

/// What a run looks up. Times in steps, lives in stretches.
#[derive(Debug)]
pub struct Tables {
    /// Steps of a second; one where a step is longer.
    pub second: u64,
    /// Steps of a stretch, within which lives end evenly: lives need less precision than handshakes.
    pub stretch: u64,
    /// Lives.
    pub life: Bins,
    /// What is left of the lives of connections of an undisturbed fleet, likewise.
    pub residual: Bins,
    /// From the goaway to the end.
    pub leave: Bins,
    /// From the end to the next try.
    pub back: Bins,
    /// From a loss to its being noticed.
    pub notice: Bins,
    /// After as many failures.
    pub backoff: [Bins; TRIES],
    /// After a refusal.
    pub retry: Bins,
    /// The longest time that a client stays away.
    pub away_len: usize,
    /// Handshakes a step that a node can do.
    pub handshakes_per_step: f64,
    /// Handshakes a step that are admitted.
    pub admission_per_step: Option<f64>,
    /// Handshakes that are admitted at once after a rest.
    pub admission_burst: f64,
    /// Steps that a client waits for an answer.
    pub patience: u64,
    /// See [`Rules::capacity`].
    pub capacity: u64,
    /// See [`Rules::backlog`].
    pub backlog: u64,
}

impl Rules {
    /// How many connections end each second by their lifetimes, on average.
    pub fn steady_rate(&self) -> f64 {
        self.connections as f64 / self.cycle_ms() * 1e3
    }

    /// From one connection of a client to the next, on average, ms.
    pub fn cycle_ms(&self) -> f64 {
        self.life.mean_ms() + (self.leave_within_ms + self.back_within_ms) as f64 / 2.0
    }

    /// How many clients are between two connections at any moment, on average.
    pub fn steady_away(&self) -> f64 {
        self.connections as f64 * (1.0 - self.life.mean_ms() / self.cycle_ms())
    }

    /// A time in steps, rounded up.
    pub fn steps(&self, ms: u64) -> u64 {
        ms.div_ceil(self.step_ms)
    }

    /// Steps that lives are counted by: few enough that the law looks the same.
    fn stretch(&self) -> u64 {
        let longest_ms =
            (self.life.mean_ms() / STRETCHES_OF_MEAN).min(self.life.width_ms() / STRETCHES_OF_WIDTH);
        ((longest_ms / self.step_ms.max(1) as f64) as u64).max(1)
    }

    /// How a node drains, in steps.
    pub fn parting(&self) -> Parting {
        let Drain { delay_ms, window_ms, rate } = self.drain;
        Parting {
            delay: self.steps(delay_ms),
            window: self.steps(window_ms),
            per_step: rate * self.step_ms as f64 / 1e3,
        }
    }

    /// Whether they make sense, for a run of `length_ms`; the error is a sentence.
    pub fn check(&self, length_ms: u64) -> Result<(), String> {
        let stretch_ms = (self.stretch() * self.step_ms).max(1) as f64;
        let cells = f64::from(self.nodes) * self.life.max_ms() / stretch_ms;
        let steps = length_ms as f64 / self.step_ms.max(1) as f64;
        let room = self.capacity.saturating_mul(u64::from(self.nodes));
        let refused = match () {
            () if self.connections == 0 => {
                "there are no connections to simulate: --connections 1M".to_owned()
            }
            () if self.connections > CONNECTIONS_MAX => {
                format!("--connections is at most {}", words::count(CONNECTIONS_MAX))
            }
            () if self.nodes == 0 => "a fleet of no nodes holds nothing: --nodes 10".to_owned(),
            () if self.nodes > NODES_MAX => format!("--nodes is at most {NODES_MAX}"),
            () if self.step_ms == 0 => "--step must be above zero".to_owned(),
            () if self.longest_wait_ms() > WAIT_MAX_MS => {
                "clients, drains and starts that wait for more than a day are not simulated".to_owned()
            }
            () if self.longest_wait_ms() / self.step_ms > WAIT_STEPS_MAX => {
                format!("waits of more than {WAIT_STEPS_MAX} steps: choose a longer --step")
            }
            () if length_ms < self.step_ms => "--length must be a step at least".to_owned(),
            () if self.step_ms as f64 > self.life.mean_ms() / 20.0 => format!(
                "a step of {} ms is too coarse for lives of {:.0} ms: it must be a twentieth of their mean at most",
                self.step_ms,
                self.life.mean_ms()
            ),
            () if steps > STEPS_MAX => {
                format!("{steps:.0} steps are too many: choose a longer --step, or a shorter --length")
            }
            () if cells > CELLS_MAX => format!(
                "{} with lives of up to {:.0} stretches do not fit in memory: choose a longer --step",
                words::nodes(self.nodes),
                self.life.max_ms() / stretch_ms
            ),
            () if room < self.connections => format!(
                "{} of {} connections hold {}, not {}: more --nodes, or a larger --capacity",
                words::nodes(self.nodes),
                words::count(self.capacity),
                words::count(room),
                words::count(self.connections)
            ),
            () if self.handshakes.is_nan() || self.handshakes <= 0.0 => {
                "--handshakes must be above zero".to_owned()
            }
            () if self.handshakes * f64::from(self.nodes) < self.steady_rate() => format!(
                "lifetimes alone make {:.0} handshakes a second, and {} can do {:.0}: longer lives, or more nodes",
                self.steady_rate(),
                words::nodes(self.nodes),
                self.handshakes * f64::from(self.nodes)
            ),
            () if self.drain.rate.is_nan() || self.drain.rate <= 0.0 => {
                "--drain-rate must be above zero".to_owned()
            }
            () => return Ok(()),
        };
        Err(refused)
    }

    fn longest_wait_ms(&self) -> u64 {
        let Drain { delay_ms, window_ms, .. } = self.drain;
        let clients = [self.leave_within_ms, self.back_within_ms, self.notice_within_ms, self.patience_ms];
        let others = [self.backoff_ms, self.backoff_max_ms, self.retry_ms.1, self.detect_ms, self.startup_ms];
        clients.into_iter().chain(others).chain([delay_ms, window_ms]).max().unwrap_or(0)
    }

    /// The tables of a run.
    pub fn tables(&self) -> Tables {
        let step_ms = self.step_ms as f64;
        let within = |ms: u64, least: usize| Bins::uniform(step_ms, 0.0, ms as f64, least);
        let stretch = self.stretch();
        let life = Bins::new(step_ms * stretch as f64, self.life.max_ms(), 1, |ms| self.life.ended_by(ms));
        let backoff = std::array::from_fn(|tries: usize| {
            let longest = self.backoff_ms.saturating_mul(1 << tries.saturating_sub(1));
            within(longest.min(self.backoff_max_ms), 1)
        });
        let retry = Bins::uniform(step_ms, self.retry_ms.0 as f64, self.retry_ms.1 as f64, 1);
        let back = within(self.back_within_ms, 0);
        let longest = backoff.iter().map(Bins::len).max().unwrap_or(1);
        Tables {
            second: (1_000 / self.step_ms).max(1),
            stretch,
            residual: life.residual(),
            life,
            leave: within(self.leave_within_ms, 0),
            away_len: longest.max(retry.len()).max(back.len()).max(JOIN_STEPS) + 1,
            back,
            notice: within(self.notice_within_ms, 0),
            backoff,
            retry,
            handshakes_per_step: self.handshakes * step_ms / 1e3,
            admission_per_step: self.admission.map(|rate| rate * step_ms / 1e3),
            admission_burst: self.admission.unwrap_or(0.0),
            patience: self.steps(self.patience_ms),
            capacity: self.capacity,
            backlog: self.backlog,
        }
    }
}
