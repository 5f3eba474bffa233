//! One thin file a subcommand: arguments in, a call, words and an exit code out.
//!
//! Owns what a person at a terminal sees. Exit 0 done, 1 bad configuration or a failed run, 2 bad usage.

mod autoscale;
mod client;
mod config;
mod devices;
mod doctor;
mod drain;
mod lanes;
mod loadtest;
mod node_args;
mod process;
mod rule;
mod send;
mod serve;
mod simulate;
mod size;
mod top;
mod version;

use crate::config::ConfigError;
use clap::{Parser, Subcommand};

/// Done.
const DONE: i32 = 0;
/// Bad configuration or a failed run.
const FAILED: i32 = 1;
/// Bad usage; clap's own code for it, too.
const USAGE: i32 = 2;

#[derive(Parser)]
#[command(name = "holdfast", version, about = ABOUT, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const ABOUT: &str =
    "Holds millions of mostly idle WebSocket and SSE connections and pushes messages down them.";

const EXAMPLES: &str = "\
Try it on one machine:
  holdfast serve                                  a node
  curl -N 'http://127.0.0.1:7001/sse?user=ann'    a client, in a second terminal
  holdfast send ann 'hello'                       a message to it, in a third

Exit codes: 0 done, 1 bad configuration or a failed run, 2 bad usage.";

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Process(process::Args),
    Send(send::Args),
    Devices(devices::Args),
    Drain(drain::Args),
    Lanes(lanes::Args),
    Top(top::Args),
    Doctor(Box<doctor::Args>),
    Size(size::Args),
    Simulate(Box<simulate::Args>),
    Autoscale(autoscale::Args),
    Loadtest(Box<loadtest::Args>),
    Config(config::Args),
    /// Prints the version
    Version,
}

/// Runs the command that the process was started with; the exit code.
pub fn main() -> i32 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is no reason to fail when help was asked for.
            let _ = error.print();
            return error.exit_code();
        }
    };
    match cli.command {
        Command::Serve(args) => serve::main(&args),
        Command::Process(args) => process::main(&args),
        Command::Send(args) => send::main(&args),
        Command::Devices(args) => devices::main(&args),
        Command::Drain(args) => drain::main(&args),
        Command::Lanes(args) => lanes::main(&args),
        Command::Top(args) => top::main(&args),
        Command::Doctor(args) => doctor::main(&args),
        Command::Size(args) => size::main(&args),
        Command::Simulate(args) => simulate::main(&args),
        Command::Autoscale(args) => autoscale::main(&args),
        Command::Loadtest(args) => loadtest::main(&args),
        Command::Config(args) => config::main(&args),
        Command::Version => version::main(),
    }
}

/// Says why the command failed.
fn fail(why: impl std::fmt::Display) -> i32 {
    complain(why);
    FAILED
}

/// Says every mistake of a configuration.
fn fail_each(error: &ConfigError) -> i32 {
    for mistake in error.each() {
        fail(mistake);
    }
    FAILED
}

/// Writes a line to standard error; a reader that went away is no failure.
fn complain(why: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "holdfast: {why}");
}

/// Writes to standard output; a reader that went away is no failure.
fn print(text: &str) -> i32 {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => fail(format_args!("cannot write: {error}")),
        _ => DONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
