//! `holdfast serve`: runs a node.

use super::{DONE, FAILED, fail_each, node_args::NodeArgs};
use crate::{
    config::{self, Config, ConfigError, Warning, logging},
    server::Ended,
};
use std::error::Error;

/// Runs a node: it holds the connections of clients and delivers what senders push.
///
/// Clients connect to /ws (WebSocket) or /sse (Server-Sent Events) on the client port; senders, operators and Prometheus
/// use the internal port. SIGTERM and SIGINT drain the node, a second one stops it at once.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    node: NodeArgs,
}

const EXAMPLES: &str = "\
Examples:
  holdfast serve
  holdfast serve --config /etc/holdfast.toml --log-format json
  holdfast serve --clients 0.0.0.0:7001 --set auth.mode=jwt \\
      --set auth.jwt.secret_file=/run/secrets/jwt
  holdfast serve --clients 0.0.0.0:7001 --set auth.mode=jwt,cookie \\
      --set auth.jwt.jwks_file=/run/jwks.json --set auth.cookie.keys_file=/run/secrets/cookie
  HOLDFAST_LIMITS_CONNECTIONS=200000 holdfast serve --shards 4";

pub fn main(args: &Args) -> i32 {
    run(config::load(&args.node.sources()), crate::server::run)
}

/// Starts logging, runs what is to be run with the configuration, and says what its end means.
pub fn run(
    loaded: Result<(Config, Vec<Warning>), ConfigError>,
    run: impl FnOnce(Config) -> Result<Ended, Box<dyn Error>>,
) -> i32 {
    let (config, warnings) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return fail_each(&error),
    };
    logging::start(&config.log);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    match run(config) {
        Ok(Ended::Drained) => DONE,
        Ok(Ended::CutShort | Ended::Superseded) => FAILED,
        Err(error) => {
            tracing::error!("{error}");
            FAILED
        }
    }
}
