//! `holdfast process`: takes messages from the queue to the nodes of a fleet.

use super::{node_args::NodeArgs, serve};
use crate::config;

/// Runs a processor: it takes messages from Kafka, finds their users in the registry, and hands them to the nodes that hold the
/// connections.
///
/// Nodes do the same unless kafka.process = false. Processors hold no connections, so that they can be added, killed and scaled
/// by the lag (holdfast_kafka_lag) at any time; those of one kafka.group share the messages. Needs a Redis registry and Kafka,
/// the same as the nodes. SIGTERM and SIGINT hand its share to the others and stop it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    node: NodeArgs,
}

const EXAMPLES: &str = "\
Examples:
  holdfast process --kafka kafka-1:9092,kafka-2:9092 --registry redis://redis:6379
  holdfast process --config /etc/holdfast.toml --internal 0.0.0.0:7008";

pub fn main(args: &Args) -> i32 {
    let loaded = config::load(&args.node.sources());
    let checked = loaded.and_then(|(config, warnings)| {
        config::check_processor(&config)?;
        Ok((config, warnings))
    });
    serve::run(checked, crate::server::run_processor)
}
