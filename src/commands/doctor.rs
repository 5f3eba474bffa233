//! `holdfast doctor`: what this host can hold, and what is in the way of more.

use super::{DONE, FAILED, fail, fail_each, node_args::NodeArgs, print};
use crate::{
    config::load,
    ops::{
        amount,
        doctor::ask::{Asked, ask},
    },
};
use std::path::PathBuf;

/// Says how many connections this host can hold, which limit binds first, and what lifts it. Changes nothing.
///
/// It reads limits, memory and settings of the kernel from /proc and /sys, and asks the Redis and the Kafka of the
/// configuration how they are set up, and the endpoint of auth.http about a client that brings nothing. Limits are those of a process started from here, unless --pid names a running node.
/// Give it the configuration of the node that shall run here.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How many connections the host shall hold; exit 1 when it cannot. 250000, 250k, 1M
    #[arg(long, short = 'n', value_name = "N", value_parser = amount::parse_some)]
    connections: Option<u64>,
    /// Look at the limits and groups of a running node; what its connections use counts as free
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// From how many addresses balancers connect to this node: each reaches each port 64,511 times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    balancer_addresses: Option<u64>,
    /// Read /proc, /sys and /run below this folder
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Say why each setting of the kernel is recommended, and what breaks without it
    #[arg(long, conflicts_with = "json")]
    explain: bool,
    /// Print one JSON object, with keys that scripts can rely on
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeArgs,
}

const EXAMPLES: &str = "\
Examples:
  holdfast doctor                                      what this host can hold
  holdfast doctor -n 1M --config /etc/holdfast.toml    whether a million fit
  holdfast doctor --pid $(pidof holdfast)              by the limits of the node that runs
  holdfast doctor -n 200k --balancer-addresses 2       behind two balancers' addresses
  holdfast doctor --json | jq -r '.lift[]'             what to do for more

Exit codes: 0 it fits, or no number was asked for; 1 it does not fit, or a limit that
matters cannot be read, or Redis, Kafka or the endpoint of auth.http cannot be reached;
2 bad usage.";

pub fn main(args: &Args) -> i32 {
    let (config, warnings) = match load(&args.node.sources()) {
        Ok(loaded) => loaded,
        Err(error) => return fail_each(&error),
    };
    for warning in warnings {
        eprintln!("holdfast: warning: {warning}");
    }
    if !args.root.is_dir() {
        return fail(format_args!(
            "{} is no folder; --root takes one with proc and sys in it",
            args.root.display()
        ));
    }
    if let Some(pid) = args.pid
        && !args.root.join(format!("proc/{pid}")).exists()
    {
        return fail(format_args!("there is no process {pid}"));
    }
    let report = ask(&Asked {
        connections: args.connections,
        balancer_addresses: args.balancer_addresses,
        process: args.pid,
        root: &args.root,
        config: &config,
    });
    let code = print(&if args.json { report.json() } else { report.text(args.explain) });
    match code {
        DONE if !report.is_good() => FAILED,
        code => code,
    }
}
