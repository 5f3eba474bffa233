//! `holdfast serve`: runs a node.

use super::{DONE, FAILED, fail, node_args::NodeArgs};
use crate::{
    config::{self, logging},
    server::Ended,
};

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
  HOLDFAST_LIMITS_CONNECTIONS=200000 holdfast serve --shards 4";

pub fn main(args: &Args) -> i32 {
    let (config, warnings) = match config::load(&args.node.sources()) {
        Ok(loaded) => loaded,
        Err(error) => return fail(error),
    };
    logging::start(&config.log);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    exit_code(crate::server::run(config))
}

/// What a node's end means to whoever has started it.
pub fn exit_code(ended: Result<Ended, Box<dyn std::error::Error>>) -> i32 {
    match ended {
        Ok(Ended::Drained) => DONE,
        Ok(Ended::CutShort | Ended::Superseded) => FAILED,
        Err(error) => {
            tracing::error!("{error}");
            FAILED
        }
    }
}
