//! The flags that make a node's configuration, the same for every command that needs one.

use crate::config::{Flags, Sources};
use std::path::PathBuf;

/// Precedence: flags, then the environment (HOLDFAST_SECTION_KEY), then the file, then the default
#[derive(clap::Args, Clone, Debug, Default)]
pub struct NodeArgs {
    /// Configuration file (TOML); `holdfast config default` prints one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set any key of the configuration; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
    /// Address for clients; may be repeated [default: 127.0.0.1:7001]
    #[arg(long, value_name = "ADDR:PORT")]
    clients: Vec<String>,
    /// Address for senders, operators and other nodes [default: 127.0.0.1:7008]
    #[arg(long, value_name = "ADDR:PORT")]
    internal: Option<String>,
    /// What other nodes call [default: the bound internal address]
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Name of this node [default: the host name and a random part]
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,
    /// Event loops, one thread each [default: one for each core]
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// Where nodes learn of each other's connections: memory or redis://… [default: memory]
    #[arg(long, value_name = "URL")]
    registry: Option<String>,
    /// Where queued messages come from: embedded, none, or host:port,… of Kafka [default: embedded]
    #[arg(long, value_name = "BROKERS")]
    kafka: Option<String>,
    /// File that appears, with the bound addresses as JSON, once the ports accept
    #[arg(long, value_name = "FILE")]
    ready_file: Option<String>,
    /// Log lines for people or machines: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// How much to log: error, warn, info, debug, off, or a filter [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Allow header authentication, or no internal token, on an address that others can reach
    #[arg(long)]
    insecure: bool,
}

impl NodeArgs {
    /// These flags with the environment of this process.
    pub fn sources(&self) -> Sources {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        let args = self.clone();
        Sources {
            file: args.config,
            env: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
            sets: args.sets,
            flags: Flags {
                clients: args.clients,
                internal: args.internal,
                advertise: args.advertise,
                node_id: args.node_id,
                shards: args.shards,
                registry: args.registry,
                kafka: args.kafka,
                ready_file: args.ready_file,
                log_format: args.log_format,
                log_level: args.log_level,
                insecure: args.insecure,
            },
        }
    }
}
