//! What can be simulated, and what each takes.

mod blip;
mod day;
mod deploy;
mod herd;
mod lifetimes;
mod loss;
mod scale;
mod storm;

use super::{
    balancer::Balancing,
    outcome::Outcome,
    rules::{Parting, Rules},
    words,
};
use crate::{
    config::Distribution,
    ops::autoscale::policy::{Patience, Policy},
};

pub use herd::Measured;

/// Before anything happens the fleet runs for so long, seconds.
pub const BEFORE_S: f64 = 60.0;

/// What can be simulated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scenario {
    /// Everybody connects at once, and reconnects as the law of lifetimes has it.
    Lifetimes,
    /// Nodes are replaced, some at a time.
    Deploy,
    /// Nodes die.
    Loss,
    /// Clients lose their network for a while.
    Blip,
    /// Nodes are added.
    Scale,
    /// Users come and go over a day, and the autoscaler follows.
    Day,
    /// What a load test did is done again.
    Herd,
}

/// What a simulation is of. Times in ms.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What happens.
    pub scenario: Scenario,
    /// The fleet and its clients.
    pub rules: Rules,
    /// The law of lifetimes.
    pub distribution: Distribution,
    /// `lifetime.mean`.
    pub mean_ms: u64,
    /// `lifetime.max`.
    pub max_ms: u64,
    /// How long it is looked at.
    pub length_ms: u64,
    /// The same seed gives the same run.
    pub seed: u64,
    /// Nodes that are replaced at a time.
    pub batch: u32,
    /// What dies.
    pub lost: Lost,
    /// Zones that the nodes are spread over.
    pub zones: u32,
    /// The share of the clients that lose their network.
    pub share: f64,
    /// For how long they do.
    pub blip_ms: u64,
    /// Nodes that are added.
    pub added: u32,
    /// The rule of the autoscaler.
    pub policy: Policy,
    /// How slowly it scales in.
    pub patience: Patience,
    /// The share of the users that is there at the quietest hour.
    pub trough: f64,
    /// What a node costs an hour; 0: not told.
    pub price: f64,
    /// What a load test measured, for [`Scenario::Herd`].
    pub measured: Option<Measured>,
}

/// What dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// So many nodes.
    Nodes(u32),
    /// A zone.
    Zone,
}

impl Scenario {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Lifetimes => "lifetimes",
            Scenario::Deploy => "deploy",
            Scenario::Loss => "loss",
            Scenario::Blip => "blip",
            Scenario::Scale => "scale",
            Scenario::Day => "day",
            Scenario::Herd => "herd",
        }
    }
}

impl Settings {
    /// How many nodes die.
    pub fn lost(&self) -> u32 {
        match self.lost {
            Lost::Nodes(nodes) => nodes,
            Lost::Zone => self.rules.nodes.div_ceil(self.zones.max(1)),
        }
    }

    /// Whether they make sense; the error is a sentence.
    ///
    /// # Errors
    /// When they do not.
    pub fn check(&self) -> Result<(), String> {
        if self.mean_ms == 0 {
            return Err("lives of no length: --mean must be above zero".into());
        }
        if self.max_ms < self.mean_ms {
            return Err(format!(
                "--max ({}) must not be shorter than --mean ({})",
                words::ms(self.max_ms),
                words::ms(self.mean_ms)
            ));
        }
        if self.max_ms.max(self.length_ms).max(self.blip_ms) > TIME_MAX_MS {
            return Err("nothing longer than a year is simulated".into());
        }
        let nodes = self.rules.nodes;
        if self.scenario == Scenario::Day {
            self.policy.check()?;
            // As many as the day begins with, and at its busiest hour needs, do not depend on what was asked for.
            let nodes = day::busiest(self);
            return Rules { nodes, ..self.rules.clone() }.check(self.length_ms);
        }
        self.rules.check(self.length_ms)?;
        let happens_s = self.length_ms as f64 / 1e3;
        match self.scenario {
            Scenario::Lifetimes | Scenario::Day => Ok(()),
            Scenario::Herd if self.measured.is_none() => {
                Err("herd compares with a load test: --against REPORT.json, as `holdfast loadtest --report` writes it".into())
            }
            Scenario::Herd => Ok(()),
            _ if happens_s <= BEFORE_S => {
                Err(format!("it happens after {BEFORE_S:.0} s: --length must be longer"))
            }
            Scenario::Deploy if self.batch == 0 => Err("--batch must be one node at least".into()),
            Scenario::Deploy if self.batch >= nodes => Err(format!(
                "a --batch of {} leaves none of {} for the clients: fewer at a time",
                self.batch,
                words::nodes(nodes)
            )),
            Scenario::Loss if self.zones == 0 => Err("--zones must be one at least".into()),
            Scenario::Loss if self.lost() == 0 => Err("--lost must be one node at least".into()),
            Scenario::Loss if self.lost() >= nodes => Err(format!(
                "{} cannot lose {}: somebody must survive",
                words::nodes(nodes),
                self.lost()
            )),
            Scenario::Blip if !(self.share > 0.0 && self.share <= 1.0) => {
                Err("--share is above 0 and at most 1".into())
            }
            Scenario::Scale if self.added == 0 => Err("--added must be one node at least".into()),
            Scenario::Deploy | Scenario::Loss | Scenario::Blip | Scenario::Scale => Ok(()),
        }
    }

    /// Simulates.
    ///
    /// # Errors
    /// Why it cannot, in a sentence.
    pub fn play(&self) -> Result<Outcome, String> {
        self.check()?;
        Ok(match self.scenario {
            Scenario::Lifetimes => lifetimes::play(self),
            Scenario::Deploy => deploy::play(self),
            Scenario::Loss => loss::play(self),
            Scenario::Blip => blip::play(self),
            Scenario::Scale => scale::play(self),
            Scenario::Day => day::play(self),
            Scenario::Herd => herd::play(self, self.measured.as_ref().unwrap_or(&Measured::default())),
        })
    }

    /// Seconds of a mean lifetime.
    fn mean_s(&self) -> f64 {
        self.rules.life.mean_ms() / 1e3
    }

    /// Steps of the whole run.
    fn steps(&self) -> u64 {
        self.length_ms / self.rules.step_ms
    }

    /// The step at which it happens.
    fn happens(&self) -> u64 {
        self.rules.steps((BEFORE_S * 1e3) as u64)
    }

    /// What all scenarios are given.
    fn given(&self) -> Vec<(&'static str, String)> {
        let rules = &self.rules;
        vec![
            ("connections", words::count(rules.connections)),
            (
                "nodes",
                format!("{}, of at most {} connections each", rules.nodes, words::count(rules.capacity)),
            ),
            (
                "lifetimes",
                format!(
                    "{}, mean {}, at most {}",
                    words::law(self.distribution),
                    words::ms(self.mean_ms),
                    words::ms(self.max_ms)
                ),
            ),
            (
                "handshakes",
                format!(
                    "{} a second for each node{}",
                    words::count(rules.handshakes as u64),
                    rules.admission.map_or(String::new(), |rate| format!(
                        ", {} of them admitted",
                        words::count(rate as u64)
                    ))
                ),
            ),
            ("balancer", words::balancing(rules.balancing).into()),
            (
                "clients",
                format!(
                    "leave within {} of a goaway, are back within {}; back off up to {}, doubling to {}",
                    words::ms(rules.leave_within_ms),
                    words::ms(rules.back_within_ms),
                    words::ms(rules.backoff_ms),
                    words::ms(rules.backoff_max_ms)
                ),
            ),
            ("step", words::ms(rules.step_ms)),
            ("seed", self.seed.to_string()),
        ]
    }

    /// The same without those that the scenario decides itself.
    fn given_but(&self, names: &[&str]) -> Vec<(&'static str, String)> {
        self.given().into_iter().filter(|(name, _)| !names.contains(name)).collect()
    }

    /// The clients of those who wrote none of it: back at once, again and again.
    fn careless(&self) -> Rules {
        Rules {
            back_within_ms: CARELESS_MS,
            backoff_ms: CARELESS_MS,
            backoff_max_ms: CARELESS_MS,
            retry_ms: (0, CARELESS_MS),
            ..self.rules.clone()
        }
    }

    /// Goaways to all of a node in one step.
    fn at_once(&self) -> Parting {
        Parting { delay: self.rules.parting().delay, window: 0, per_step: f64::MAX }
    }
}

/// The longest life, length or outage.
const TIME_MAX_MS: u64 = 366 * 86_400_000;

/// How soon careless clients are back, ms.
const CARELESS_MS: u64 = 1_000;

/// The balancer's laws.
const BALANCINGS: [Balancing; 3] = [Balancing::RoundRobin, Balancing::Random, Balancing::Least];
