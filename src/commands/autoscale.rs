//! `holdfast autoscale`: how many nodes the fleet should have.

use super::{
    DONE, FAILED, USAGE,
    client::FleetAddress,
    fail, print,
    rule::{Rule, duration},
};
use crate::{
    clock::Clock,
    config::Secret,
    ops::{
        amount,
        autoscale::{
            decide::{Autoscaler, Decision, Looks},
            lag::LagPolicy,
            policy::Policy,
            registry::Registry,
            seen::Seen,
            serve::{self, Board},
        },
        fleet::Fleet,
    },
};
use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    thread::sleep,
    time::Duration,
};

/// Says how many nodes the fleet should have, and why.
///
/// It looks at the connections of all nodes: CPU says little about a server of idle connections. The further above the target
/// they are, the more nodes are added, and there are never so few that the loss of one does not fit. A look without --every
/// stands for itself; with --every it also has patience: more nodes at once, fewer only after a while and one at a time.
/// When a node does not answer, the number is held: missing data never mean fewer nodes.
/// Exit 0: there is a number; 1: there is none; 2: bad usage.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    rule: Rule,
    #[command(flatten)]
    bounds: Bounds,
    #[command(flatten)]
    queue: Queue,
    /// Look once; the default
    #[arg(long, conflicts_with_all = ["every", "serve"])]
    once: bool,
    /// Look again and again [default with --serve: 15s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    every: Option<Duration>,
    /// Be an exporter at this address: /metrics for Prometheus and Kubernetes, /wanted for KEDA
    #[arg(long, value_name = "ADDR:PORT")]
    serve: Option<SocketAddr>,
    /// Print JSON, a line for each look
    #[arg(long)]
    json: bool,
}

/// Where the fleet is seen.
#[derive(clap::Args)]
struct Source {
    #[command(flatten)]
    nodes: FleetAddress,
    /// Read the nodes' leases in Redis instead, as in registry.url; no node is asked
    #[arg(long, value_name = "URL", conflicts_with_all = ["internal", "only", "token", "token_file"])]
    registry: Option<String>,
    /// File that holds the password of Redis
    #[arg(long, value_name = "FILE", requires = "registry")]
    registry_password_file: Option<PathBuf>,
    /// Certificates to trust in place of the host's, PEM
    #[arg(long, value_name = "FILE", requires = "registry")]
    registry_ca_file: Option<PathBuf>,
}

/// How many nodes there may be.
#[derive(clap::Args)]
struct Bounds {
    /// Connections that a node may hold [default: what the nodes say, on average]
    #[arg(long, value_name = "N", value_parser = amount::parse_some)]
    capacity: Option<u64>,
    /// Never fewer nodes
    #[arg(long, value_name = "NODES", default_value_t = 2)]
    least: u32,
    /// Never more nodes
    #[arg(long, value_name = "NODES", default_value_t = 1_000)]
    most: u32,
}

/// Processors of the queue.
#[derive(clap::Args)]
struct Queue {
    /// Say too how many processors (`holdfast process`) the queue needs, by its lag
    #[arg(long, conflicts_with = "registry")]
    lag: bool,
    /// What waits in the queue is to be handled within this
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration, requires = "lag")]
    lag_within: Duration,
    /// Messages that a processor is trusted with, per second
    #[arg(long, value_name = "N", default_value = "20k", value_parser = amount::parse_some, requires = "lag")]
    per_processor: u64,
    /// Never fewer processors
    #[arg(long, value_name = "N", default_value_t = 1, requires = "lag")]
    least_processors: u32,
    /// Never more: beyond the partitions of the topics one has nothing to read
    #[arg(long, value_name = "N", default_value_t = 16, requires = "lag")]
    most_processors: u32,
}

const EXAMPLES: &str = "\
Examples:
  holdfast autoscale --internal 10.0.0.5:7008 --token-file token
  holdfast autoscale --registry redis://10.0.0.9 --capacity 200k --every 15s --json
  holdfast autoscale --internal holdfast:7008 --token-file token --serve 0.0.0.0:7010
  holdfast autoscale --lag --lag-within 1m --most-processors 12

docs/autoscale.md has the rule, and how Kubernetes and KEDA read it.";

/// Between looks of an exporter that was not told.
const EVERY: Duration = Duration::from_secs(15);

pub fn main(args: &Args) -> i32 {
    let policy = args.policy();
    if let Err(why) = policy.check() {
        eprintln!("holdfast: {why}");
        return USAGE;
    }
    let eyes = match args.source.open() {
        Ok(eyes) => eyes,
        Err(why) => return fail(why),
    };
    let every = args.every.or(args.serve.map(|_| EVERY));
    let patience = every.map(|_| args.rule.patience());
    let capacity = args.bounds.capacity.map(|capacity| capacity as f64);
    let scaler = Autoscaler::new(policy, capacity, patience, args.queue.policy());
    let board = match args.serve.map(exporter).transpose() {
        Ok(board) => board,
        Err(why) => return fail(why),
    };
    let mut watch = Watch { args, eyes, scaler, clock: Clock::start(), board, looks: Looks::default() };
    match every {
        Some(every) => watch.again_and_again(every),
        None => watch.once(),
    }
}

fn exporter(address: SocketAddr) -> Result<Arc<Board>, String> {
    let listener =
        TcpListener::bind(address).map_err(|error| format!("cannot listen at {address}: {error}"))?;
    let bound = listener.local_addr().unwrap_or(address);
    let board = Arc::new(Board::default());
    serve::spawn(listener, board.clone()).map_err(|error| format!("cannot serve at {bound}: {error}"))?;
    eprintln!("serving at http://{bound}: /metrics and /wanted");
    Ok(board)
}

/// What looks, and at what.
enum Eyes<'a> {
    Nodes { fleet: Box<Fleet>, token: Option<String>, nodes: &'a FleetAddress },
    Leases(Registry),
}

impl Eyes<'_> {
    fn look(&mut self) -> Result<Seen, String> {
        match self {
            Eyes::Nodes { fleet, token, nodes } => {
                // A token's file may have changed. One that cannot be read leaves the old token in force.
                if let Ok(now) = nodes.token()
                    && now != *token
                {
                    **fleet = nodes.fleet(now.clone());
                    *token = now;
                }
                Ok(Seen::of_view(&fleet.read()))
            }
            Eyes::Leases(registry) => registry
                .leases()
                .map(|leases| Seen::of_leases(&leases))
                .map_err(|why| format!("the registry: {why}")),
        }
    }
}

/// Looks, decides and tells.
struct Watch<'a> {
    args: &'a Args,
    eyes: Eyes<'a>,
    scaler: Autoscaler,
    clock: Clock,
    board: Option<Arc<Board>>,
    looks: Looks,
}

impl Watch<'_> {
    fn once(&mut self) -> i32 {
        // The rate of what is handled needs two looks.
        if self.args.queue.lag && self.eyes.look().is_ok() {
            sleep(Duration::from_secs(1));
        }
        let decision = self.look();
        match print(&self.words(&decision)) {
            DONE if decision.wanted.is_none() => FAILED,
            code => code,
        }
    }

    fn again_and_again(&mut self, every: Duration) -> i32 {
        loop {
            let decision = self.look();
            let told = write_all(&self.words(&decision));
            match (told, &self.board) {
                // An exporter goes on though nobody reads its lines; who only prints has nobody left to print for.
                (Ok(()), _) | (Err(_), Some(_)) => sleep(every),
                (Err(error), None) if error.kind() == io::ErrorKind::BrokenPipe => return DONE,
                (Err(error), None) => return fail(format_args!("cannot write: {error}")),
            }
        }
    }

    fn look(&mut self) -> Decision {
        let seen = self.eyes.look();
        let now = self.clock.now();
        let decision = self.scaler.decide(now.micros as f64 / 1e6, seen).clone();
        self.looks.all += 1;
        match decision.is_whole {
            true => self.looks.success_unix_s = now.unix_ms as f64 / 1e3,
            false => self.looks.failed += 1,
        }
        if let Some(board) = &self.board {
            board.put(&decision, self.looks);
        }
        decision
    }

    fn words(&self, decision: &Decision) -> String {
        if self.args.json { format!("{}\n", decision.json()) } else { decision.text() }
    }
}

fn write_all(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

impl Source {
    fn open(&self) -> Result<Eyes<'_>, String> {
        if let Some(url) = &self.registry {
            return self.open_registry(url).map(Eyes::Leases);
        }
        let token = self.nodes.token()?;
        Ok(Eyes::Nodes { fleet: Box::new(self.nodes.fleet(token.clone())), token, nodes: &self.nodes })
    }

    fn open_registry(&self, url: &str) -> Result<Registry, String> {
        let password = match &self.registry_password_file {
            None => None,
            Some(file) => {
                let read = Secret::from_file(file);
                Some(
                    read.map_err(|error| format!("cannot read the password in {}: {error}", file.display()))?,
                )
            }
        };
        Registry::open(url, password, self.registry_ca_file.clone())
            .map_err(|why| format!("--registry {why}"))
    }
}

impl Args {
    fn policy(&self) -> Policy {
        Policy { least: self.bounds.least, most: self.bounds.most, ..self.rule.policy() }
    }
}

impl Queue {
    fn policy(&self) -> Option<LagPolicy> {
        let policy = LagPolicy {
            within_s: self.lag_within.as_secs_f64(),
            per_processor: self.per_processor as f64,
            least: self.least_processors,
            most: self.most_processors,
        };
        self.lag.then_some(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::autoscale::policy::Patience;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn without_flags_the_rule_is_the_usual_one() {
        let line = Line::parse_from(["autoscale"]);
        assert_eq!(line.args.policy(), Policy::default());
        assert_eq!(line.args.queue.policy(), None);
        assert_eq!(line.args.rule.patience(), Patience::default());
    }
}
