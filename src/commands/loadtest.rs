//! `holdfast loadtest`: clients and senders in numbers against a running node or another server, every message compared.

mod agent;
mod args;
mod queue;

use super::{FAILED, USAGE, fail, print};
use args::{Bad, LoadArgs};
use holdfast_loadtest::{Report, report, run};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

/// Opens many connections, plays scenarios with them, and checks that each message comes exactly once, in order, whole, and
/// to nobody else.
///
/// It compares its counts with the nodes' /metrics. A node must take the user from a header (auth.mode = "header") and have
/// no other clients meanwhile; a token must be of role admin, since broadcasts need it. Ctrl-C ends the run in order, with a
/// report of what was reached; a second one at once.
/// Exit 0: all as it must be; 1: not, with a sentence for each number that differs; 2: bad usage.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_value_name = "OTHER")]
pub struct Args {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(clap::Subcommand)]
enum Other {
    /// Compares two reports: what was different around them, and what is better or worse
    Compare {
        /// The report to compare with
        first: PathBuf,
        /// The other one
        second: PathBuf,
    },
    Agent(agent::Args),
    /// Has clients for the process that started it
    #[command(hide = true)]
    Worker,
}

const EXAMPLES: &str = "\
Examples:
  holdfast loadtest                                           1,000 clients of the node of this machine, push and fanout
  holdfast loadtest idle push fanout --connections 15000 --rate 5000 --report run.json --html run.html
  holdfast loadtest push --sample 1 --pushes 20 --push-rate 10000
  holdfast loadtest push --kafka kafka-1:9092                 the same by way of the queue
  holdfast loadtest storm --share 1 --connections 10000       everybody at once, carelessly and then well
  holdfast loadtest lifetimes --hold 10m                      with the node's lifetime.mean at some seconds
  holdfast loadtest idle --connections 1000000                in as many processes as descriptors ask for
  holdfast loadtest idle --protocol plain --clients 192.0.2.7:8080 --path '/feed?user={user}' --internal none
  holdfast loadtest compare before.json after.json
  holdfast loadtest agent --listen 10.0.0.9:7070 --token-file token           on each of several hosts; and then
  holdfast loadtest idle --connections 4000000 --agents 10.0.0.9:7070,10.0.0.10:7070 --agent-token-file token

Each client takes a descriptor here and one at the node. loadtest/README.md says how to read a report.";

pub fn main(args: &Args) -> i32 {
    match &args.other {
        Some(Other::Compare { first, second }) => compare(first, second),
        Some(Other::Agent(args)) => agent::main(args),
        Some(Other::Worker) => holdfast_loadtest::work_for_parent(),
        None => load(&args.load),
    }
}

fn load(args: &LoadArgs) -> i32 {
    let (plan, queue) = match args.plan() {
        Ok(planned) => planned,
        Err(Bad::Usage(why)) => {
            eprintln!("holdfast: {why}");
            return USAGE;
        }
        Err(Bad::Other(why)) => return fail(why),
    };
    let stop = match stop_on_signals() {
        Ok(stop) => stop,
        Err(error) => return fail(format_args!("cannot listen to signals: {error}")),
    };
    let report = match run(plan, queue, &stop) {
        Ok(report) => report,
        Err(why) => return fail(why),
    };
    let code = print(&report::text(&report));
    for (path, write) in args.files() {
        let written = write(&report).and_then(|text| {
            std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
        });
        if let Err(why) = written {
            return fail(why);
        }
    }
    if report.good { code } else { code.max(FAILED) }
}

/// Set by the first signal to end; the second one ends the process at once.
fn stop_on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, FAILED, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

fn compare(first: &Path, second: &Path) -> i32 {
    let reports = Report::read(first).and_then(|first| Ok((first, Report::read(second)?)));
    match reports {
        Ok((first, second)) => print(&report::compare(&first, &second).text()),
        Err(why) => fail(why),
    }
}
