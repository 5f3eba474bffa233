//! `holdfast config`: the default file, a check, the effective values.

use super::{fail, fail_each, node_args::NodeArgs, print};
use crate::{
    config::{ConfigError, Sources, Warning, load, render},
    server,
};
use std::path::PathBuf;

/// Prints the default configuration, checks a file, or shows what is in effect.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  holdfast config default > holdfast.toml
  holdfast config check holdfast.toml
  HOLDFAST_DRAIN_RATE=2000 holdfast config show --set limits.push_rate=3/2s";

#[derive(clap::Subcommand)]
enum Command {
    /// Print a file with every key, its default and why it is there
    Default,
    /// Check a file by itself, without the environment; exit 1 when it is refused
    Check {
        /// The file (TOML)
        file: PathBuf,
    },
    /// Show every value in effect and where it was set, secrets masked; takes the flags of serve
    Show(Box<NodeArgs>),
}

pub fn main(args: &Args) -> i32 {
    match &args.command {
        Command::Default => print(&render::default_file()),
        Command::Check { file } => {
            let sources = Sources { file: Some(file.clone()), ..Sources::default() };
            let loaded = load(&sources);
            // Whether a file of keys can be used is known once it is read.
            if let Ok((config, _)) = &loaded
                && let Err(error) = server::check_keys(config)
            {
                return fail(error);
            }
            answer(loaded.map(|(_, warnings)| (format!("{} is fine\n", file.display()), warnings)))
        }
        Command::Show(node) => answer(render::effective(&node.sources())),
    }
}

fn answer(said: Result<(String, Vec<Warning>), ConfigError>) -> i32 {
    let (text, warnings) = match said {
        Ok(said) => said,
        Err(error) => return fail_each(&error),
    };
    for warning in warnings {
        eprintln!("holdfast: warning: {warning}");
    }
    print(&text)
}
