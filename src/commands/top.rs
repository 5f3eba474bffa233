//! `holdfast top`: a live view of the fleet, or one look at it.

use super::{
    DONE, FAILED, USAGE,
    client::{FleetAddress, table},
    fail, print,
};
use crate::{
    config::duration::parse_ms,
    ops::{
        fleet::{Fleet, View},
        top::{self, Totals},
    },
};
use std::{
    io::IsTerminal,
    sync::{Arc, atomic::AtomicBool},
    thread::sleep,
    time::Duration,
};

/// Shows a fleet as it is: every node, its connections, who comes and goes, messages, delays. ? explains keys and columns.
///
/// One address is enough: that node names the others. A token of role read will do.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    nodes: FleetAddress,
    /// How long to wait between two looks, 100ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    every: Duration,
    /// Print one table and end, after two looks, between which rates are measured
    #[arg(long)]
    once: bool,
    /// Print one JSON object and end; times in ms, memory in bytes, null for what is not known
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  holdfast top                                        the fleet of the node on this machine
  holdfast top --internal 10.0.3.7:7008 --token-file ops.token
  holdfast top --once                                 one table, for a log or a mail
  holdfast top --json | jq '.nodes[] | select(.state == \"silent\") | .why'

Without a terminal: --once or --json; exit 1 when no node has answered.";

fn interval(text: &str) -> Result<Duration, String> {
    let limits = Duration::from_millis(100)..=Duration::from_secs(3_600);
    match parse_ms(text).map(Duration::from_millis) {
        Some(every) if limits.contains(&every) => Ok(every),
        _ => Err("a time from 100ms to 1h is wanted, such as 1s".into()),
    }
}

pub fn main(args: &Args) -> i32 {
    let token = match args.nodes.token() {
        Ok(token) => token,
        Err(why) => return fail(why),
    };
    let fleet = args.nodes.fleet(token);
    match args.once || args.json {
        true => once(args, fleet),
        false => live(args, fleet),
    }
}

fn live(args: &Args, fleet: Fleet) -> i32 {
    if !std::io::stdout().is_terminal() {
        eprintln!("holdfast: this is no terminal: --once prints a table, --json an object");
        return USAGE;
    }
    let stop = match stop_on_signals() {
        Ok(stop) => stop,
        Err(error) => return fail(format_args!("cannot listen to signals: {error}")),
    };
    match top::run(fleet, args.every, &stop) {
        Ok(()) => DONE,
        Err(error) => fail(format_args!("cannot use the terminal: {error}; --once prints a table")),
    }
}

/// Set by a signal to end, so that the terminal is given back as it was.
fn stop_on_signals() -> std::io::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

fn once(args: &Args, mut fleet: Fleet) -> i32 {
    let mut view = fleet.read();
    if view.answers() {
        sleep(args.every);
        view = fleet.read();
    }
    let text = if args.json { format!("{}\n", top::json(&view)) } else { words(&view) };
    let code = print(&text);
    if view.answers() { code } else { code.max(FAILED) }
}

/// The fleet in a line, the table, and why nodes are silent.
fn words(view: &View) -> String {
    let mut text = format!("{}\n\n{}", Totals::of(view).line(), table(&top::rows(view)));
    let silent: Vec<String> =
        view.nodes.iter().filter_map(|node| Some(format!("{}: {}\n", node.name(), node.fault()?))).collect();
    if !silent.is_empty() {
        text.push('\n');
        text.extend(silent);
    }
    text
}
