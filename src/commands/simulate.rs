//! `holdfast simulate`: what would become of a fleet, and of the herd, if.

use super::{DONE, USAGE, fail, print, rule::Rule};
use crate::{
    config::{Distribution, duration::parse_ms},
    ops::{
        amount,
        autoscale::policy::Policy,
        simulate::{Balancing, Drain, Law, Lost, Measured, Outcome, Rules, Scenario, Settings, page, text},
    },
};
use std::path::{Path, PathBuf};

/// Simulates a fleet: reconnects by lifetimes, a deploy, lost nodes, a broken network, added nodes, a day of the autoscaler.
///
/// Clients are counted, not kept one by one: a hundred million connections take seconds. Handshakes, drains, lifetimes, back-off
/// and the balancer are as Holdfast's are; the flags say how your fleet is. The same seed gives the same run.
/// Exit 0: simulated; 1: it cannot be, with the reason; 2: bad usage.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What happens
    #[arg(value_enum, default_value_t = What::Lifetimes)]
    scenario: What,
    /// How many connections, e.g. 250k, 10M; of a day at its busiest hour
    #[arg(long, value_name = "N", default_value = "10M", value_parser = amount::parse)]
    connections: u64,
    /// How many nodes [default: as many as are --target full, in any scenario]
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,
    /// How long it is looked at [default: what the scenario needs]
    #[arg(long, value_name = "TIME", value_parser = time)]
    length: Option<u64>,
    /// The time between two looks [default: 1s, 10s for a day, less for short lives]
    #[arg(long, value_name = "TIME", value_parser = time)]
    step: Option<u64>,
    /// The same seed gives the same run
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten, next_help_heading = "Nodes")]
    node: NodeArgs,
    #[command(flatten, next_help_heading = "Clients")]
    client: ClientArgs,
    #[command(flatten, next_help_heading = "What happens")]
    event: EventArgs,
    #[command(flatten, next_help_heading = "Autoscaler (day)")]
    rule: Rule,
    /// Print everything as JSON, curves included
    #[arg(long, help_heading = "Report")]
    json: bool,
    /// Write a page with plots, too
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    html: Option<PathBuf>,
}

#[derive(clap::Args)]
struct NodeArgs {
    /// lifetime.distribution; the lifetimes scenario compares all three
    #[arg(long, value_enum, default_value_t = LawName::Exponential)]
    distribution: LawName,
    /// lifetime.mean
    #[arg(long, alias = "lifetime", value_name = "TIME", default_value = "30m", value_parser = time)]
    mean: u64,
    /// lifetime.max [default: 3 x mean; 1.5 x mean where the law is uniform]
    #[arg(long, value_name = "TIME", value_parser = time)]
    max: Option<u64>,
    /// Connections that a node can hold (limits.connections)
    #[arg(long, value_name = "N", default_value = "200k", value_parser = amount::parse_some)]
    capacity: u64,
    /// Handshakes a second that a node can do
    #[arg(long, value_name = "N", default_value = "20k", value_parser = amount::parse_some)]
    handshakes: u64,
    /// Handshakes a second that it admits (limits.handshakes_per_second) [default: any]
    #[arg(long, value_name = "N", value_parser = amount::parse_some)]
    admission: Option<u64>,
    /// Places of its accept queues, all shards together
    #[arg(long, value_name = "N", default_value = "65535", value_parser = amount::parse)]
    backlog: u64,
    /// drain.delay
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    drain_delay: u64,
    /// drain.window
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    drain_window: u64,
    /// drain.rate, goaways a second
    #[arg(long, value_name = "N", default_value = "5000", value_parser = amount::parse_some)]
    drain_rate: u64,
    /// A new node takes this long to start
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    startup: u64,
    /// How the balancer spreads; the scale scenario compares all three
    #[arg(long, value_enum, default_value_t = BalancerName::RoundRobin)]
    balancer: BalancerName,
    /// It notices this long after that a node comes or goes
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = time)]
    detect: u64,
}

#[derive(clap::Args)]
struct ClientArgs {
    /// After a goaway a client leaves within this time (lifetime.grace at most)
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    leave_within: u64,
    /// And is back within this time, at a random moment, as also after a loss
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    back_within: u64,
    /// Who fails waits up to this, at random, and up to twice as long after each further time
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    backoff: u64,
    /// But never longer than this
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    backoff_max: u64,
    /// How long an answer to a handshake is waited for
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    handshake_timeout: u64,
    /// Who loses its connection without a word notices within this time: at once when a process dies, by its pings when a host does
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    notice: u64,
}

#[derive(clap::Args)]
struct EventArgs {
    /// deploy: nodes replaced at a time [default: a tenth of them]
    #[arg(long, value_name = "N")]
    batch: Option<u32>,
    /// loss: how many nodes die, or `zone`
    #[arg(long, value_name = "N|zone", default_value = "1", value_parser = lost)]
    lost: Lost,
    /// loss: zones that the nodes are spread over
    #[arg(long, value_name = "N", default_value_t = 3)]
    zones: u32,
    /// blip: the share of the clients that loses connection and network
    #[arg(long, value_name = "SHARE", default_value = "20%", value_parser = amount::parse_share)]
    share: f64,
    /// blip: for how long
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    outage: u64,
    /// scale: nodes added [default: a tenth of them]
    #[arg(long, value_name = "N")]
    added: Option<u32>,
    /// day: the share of the users that is there at the quietest hour
    #[arg(long, value_name = "SHARE", default_value = "40%", value_parser = amount::parse_share)]
    trough: f64,
    /// herd: the report of a load test (holdfast loadtest --report)
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// day: what a node costs an hour
    #[arg(long, value_name = "PRICE", default_value_t = 0.0)]
    price: f64,
}

const EXAMPLES: &str = "\
Examples:
  holdfast simulate                             all connect at once: the herd, by each law of lifetimes
  holdfast simulate deploy --connections 10M --nodes 84 --batch 8
  holdfast simulate loss --connections 100M --lost zone --html loss.html
  holdfast simulate blip --share 30% --outage 20s
  holdfast simulate scale --added 10            by each law of the balancer
  holdfast simulate day --connections 100M --price 0.34
  holdfast simulate herd --against run.json     as holdfast loadtest --report wrote it

docs/simulate.md says what is simulated, what is left out, and how it compares with a real fleet.";

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Everybody connects at once, and reconnects as lifetimes end
    Lifetimes,
    /// Nodes are replaced, some at a time
    Deploy,
    /// Nodes die
    Loss,
    /// Clients lose connection and network for a while
    Blip,
    /// Nodes are added
    Scale,
    /// Users come and go over a day, and the autoscaler follows
    Day,
    /// What a load test did is done again, to compare
    Herd,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LawName {
    /// Cut off at max: the rate is flat from the start
    Exponential,
    /// 2 x mean - max to max
    Uniform,
    /// Zuul Push's: mean less up to a tenth
    Zuul,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BalancerName {
    /// One after the other
    RoundRobin,
    /// Any
    Random,
    /// The one with the fewest connections
    Least,
}

pub fn main(args: &Args) -> i32 {
    let measured = match &args.event.against {
        None => None,
        Some(path) => match read(path) {
            Ok(measured) => Some(measured),
            Err(why) => return fail(format_args!("{}: {why}", path.display())),
        },
    };
    let outcome = match (Settings { measured, ..settings(args) }).play() {
        Ok(outcome) => outcome,
        Err(why) => {
            eprintln!("holdfast: {why}");
            return USAGE;
        }
    };
    let code = match args.json {
        true => json(&outcome),
        false => print(&text::text(&outcome)),
    };
    match &args.html {
        Some(path) if code == DONE => match std::fs::write(path, page::html(&outcome)) {
            Ok(()) => DONE,
            Err(error) => fail(format_args!("cannot write {}: {error}", path.display())),
        },
        _ => code,
    }
}

fn read(path: &Path) -> Result<Measured, String> {
    std::fs::read_to_string(path).map_err(|error| error.to_string()).and_then(|text| Measured::parse(&text))
}

fn json(outcome: &Outcome) -> i32 {
    match serde_json::to_string(outcome) {
        Ok(line) => print(&format!("{line}\n")),
        Err(error) => fail(error),
    }
}

/// The flags with what they leave open.
fn settings(args: &Args) -> Settings {
    let scenario = scenario(args.scenario);
    let distribution = distribution(args.node.distribution);
    let rules = rules(args, scenario, distribution);
    let tenth = rules.nodes.div_ceil(10).max(1);
    let mean_ms = args.node.mean;
    let longest = |least_ms: u64, means: u64| least_ms.max(mean_ms.saturating_mul(means));
    let length_ms = args.length.unwrap_or(match scenario {
        Scenario::Lifetimes => longest(0, 30),
        Scenario::Deploy => longest(3_600_000, 2),
        Scenario::Loss | Scenario::Blip => longest(600_000, 2),
        Scenario::Scale => longest(600_000, 4),
        Scenario::Day => 86_400_000,
        Scenario::Herd => longest(1_000, 1),
    });
    let policy = Policy { capacity: rules.capacity as f64, most: u32::MAX, ..args.rule.policy() };
    Settings {
        scenario,
        distribution,
        mean_ms,
        max_ms: longest_life(args, distribution),
        length_ms,
        seed: args.seed,
        batch: args.event.batch.unwrap_or(tenth),
        lost: args.event.lost,
        zones: args.event.zones,
        share: args.event.share,
        blip_ms: args.event.outage,
        added: args.event.added.unwrap_or(tenth),
        policy,
        patience: args.rule.patience(),
        trough: args.event.trough,
        price: args.event.price,
        measured: None,
        rules,
    }
}

fn rules(args: &Args, scenario: Scenario, distribution: Distribution) -> Rules {
    let NodeArgs { mean, capacity, .. } = args.node;
    let aimed = args.connections as f64 / (args.rule.target * capacity as f64);
    let admission = args.node.admission.map(|rate| rate as f64);
    Rules {
        step_ms: args.step.unwrap_or(match (scenario, mean) {
            (Scenario::Day, 400_000..) => 10_000,
            (_, 200_000..) => 1_000,
            (_, mean) => (mean / 200).clamp(1, 1_000),
        }),
        connections: args.connections,
        nodes: args.nodes.unwrap_or((aimed.ceil() as u32).max(3)),
        life: Law::of(distribution, mean as f64, longest_life(args, distribution) as f64),
        leave_within_ms: args.client.leave_within,
        back_within_ms: args.client.back_within,
        notice_within_ms: args.client.notice,
        backoff_ms: args.client.backoff,
        backoff_max_ms: args.client.backoff_max,
        retry_ms: RETRY_MS,
        patience_ms: args.client.handshake_timeout,
        drain: Drain {
            delay_ms: args.node.drain_delay,
            window_ms: args.node.drain_window,
            rate: args.node.drain_rate as f64,
        },
        balancing: match args.node.balancer {
            BalancerName::RoundRobin => Balancing::RoundRobin,
            BalancerName::Random => Balancing::Random,
            BalancerName::Least => Balancing::Least,
        },
        detect_ms: args.node.detect,
        startup_ms: args.node.startup,
        capacity,
        handshakes: args.node.handshakes as f64,
        admission,
        backlog: args.node.backlog,
    }
}

/// When a node that refuses has its clients come back (`Retry-After`, `retry:`).
const RETRY_MS: (u64, u64) = (1_000, 10_000);

fn longest_life(args: &Args, distribution: Distribution) -> u64 {
    let mean = args.node.mean;
    args.node.max.unwrap_or(match distribution {
        Distribution::Uniform => mean.saturating_mul(3) / 2,
        Distribution::Exponential | Distribution::Zuul => mean.saturating_mul(3),
    })
}

fn scenario(what: What) -> Scenario {
    match what {
        What::Lifetimes => Scenario::Lifetimes,
        What::Deploy => Scenario::Deploy,
        What::Loss => Scenario::Loss,
        What::Blip => Scenario::Blip,
        What::Scale => Scenario::Scale,
        What::Day => Scenario::Day,
        What::Herd => Scenario::Herd,
    }
}

fn distribution(law: LawName) -> Distribution {
    match law {
        LawName::Exponential => Distribution::Exponential,
        LawName::Uniform => Distribution::Uniform,
        LawName::Zuul => Distribution::Zuul,
    }
}

fn time(text: &str) -> Result<u64, String> {
    parse_ms(text).ok_or_else(|| "write a time like 500ms, 30s, 10m, 1h".into())
}

fn lost(text: &str) -> Result<Lost, String> {
    match text {
        "zone" => Ok(Lost::Zone),
        text => text.parse().map(Lost::Nodes).map_err(|_| "write how many nodes, or `zone`".into()),
    }
}
