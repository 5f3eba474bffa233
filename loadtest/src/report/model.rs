//! What a report is made of, as its JSON has it. Nothing here measures or prints.
//!
//! A later version may add fields, which this one ignores, so that reports of both can be compared; what changes its meaning
//! raises [`FORMAT`]. A number that is not finite is written as null and read as not a number.

use crate::host::Host;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// The format that this version writes, and the last that it reads.
pub const FORMAT: u32 = 1;

/// A run, from its command to its verdict.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`], of the version that wrote it.
    pub format: u32,
    /// The generator and its version: `holdfast 0.1.0`.
    pub tool: String,
    /// When the run began: RFC 3339, UTC.
    pub began: String,
    /// The whole run, seconds.
    #[serde(deserialize_with = "number")]
    pub took_s: f64,
    /// The command line, without secrets.
    pub command: Vec<String>,
    /// What was played, in order.
    pub scenarios: Vec<String>,
    /// It was ended before it was through.
    pub interrupted: bool,
    /// Everything was as it must be.
    pub good: bool,
    /// The machine of the generator.
    pub host: Host,
    /// What was loaded.
    pub target: Target,
    /// What the load came from.
    pub generator: Generator,
    /// What became of the clients.
    pub clients: Clients,
    /// What a connection costs.
    pub memory: Memory,
    /// The scenarios, or the phases of one, in order.
    pub steps: Vec<Step>,
    /// What was measured second by second.
    pub series: Series,
    /// By what was timed: `handshake`, `delivery`, `delivery of fanout`.
    pub latencies: BTreeMap<String, Latency>,
    /// Everything that is not as it must be, in sentences.
    pub mismatches: Vec<String>,
    /// What makes the figures doubtful, in sentences.
    pub warnings: Vec<String>,
}

/// What was loaded.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Target {
    /// Where clients connected to.
    pub addresses: Vec<String>,
    /// The nodes that told of themselves; none where there is no internal port.
    pub nodes: Vec<Node>,
    /// `holdfast`, `zuul` or `plain`.
    pub dialect: String,
    /// Clients spoke TLS.
    pub tls: bool,
}

/// A node, as its internal port tells.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Address of its internal port.
    pub internal: String,
    /// Of its build; empty if it does not tell.
    pub version: String,
    /// Connections it had before the run.
    pub connections_before: u64,
    /// Its shards, if it tells.
    pub shards: Option<u32>,
}

/// What the load came from.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Generator {
    /// Processes, this one included.
    pub processes: u32,
    /// Threads with clients, in all processes.
    pub threads: u32,
    /// Agents on other hosts.
    pub agents: Vec<String>,
    /// User and system time of all processes, seconds.
    #[serde(deserialize_with = "number")]
    pub cpu_seconds: f64,
    /// The most that were busy within a second, cores.
    #[serde(deserialize_with = "number")]
    pub cpu_peak: f64,
    /// By how much clients acted later than they were to, 99th percentile; None: it was not measured.
    pub late_p99_us: Option<u64>,
    /// How far the agents' clocks may be off; 0 without agents.
    pub clock_error_us: u64,
    /// Memory of all processes at the fullest moment.
    pub rss_bytes: u64,
    /// What of it a connection costs.
    pub bytes_per_connection: Option<f64>,
    /// Why the figures say more of the generator than of the target, in a sentence.
    pub bottleneck: Option<String>,
}

/// What became of the clients.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Clients {
    /// How many were to connect.
    pub asked: u64,
    /// Connections that opened, those that came back included.
    pub opened: u64,
    /// Of them WebSockets.
    pub websocket: u64,
    /// Of them event streams.
    pub sse: u64,
    /// The most that were open at once.
    pub most_open: u64,
    /// Connections a second that were asked for; None: all at once.
    pub rate_asked: Option<f64>,
    /// Connections a second from the first one's start to the last one's being open; None: nothing opened.
    pub rate_reached: Option<f64>,
    /// By status, with what it means.
    pub refused: BTreeMap<String, u64>,
    /// By cause.
    pub failed: BTreeMap<String, u64>,
    /// By how they ended.
    pub ended: BTreeMap<String, u64>,
    /// Requests to come again elsewhere.
    pub goaways: u64,
    /// Connections of clients that had one before.
    pub reconnected: u64,
    /// Messages to one that came.
    pub direct: u64,
    /// Copies of messages to all that came.
    pub broadcast: u64,
}

/// What a connection costs. Slopes over the number of connections, so that what is there without any does not count.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// Of the nodes' processes, bytes for each connection.
    pub node_per_connection: Option<f64>,
    /// Of the kernel, bytes for each connection.
    pub kernel_per_connection: Option<f64>,
    /// Whether the kernel's figure is of both ends, as nodes and clients are on one host.
    pub kernel_has_both_ends: bool,
}

/// A scenario, or a phase of one.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// What it is called.
    pub name: String,
    /// Seconds since the run began.
    #[serde(deserialize_with = "number")]
    pub begin_s: f64,
    /// The same.
    #[serde(deserialize_with = "number")]
    pub end_s: f64,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// What clients and nodes say of the same.
    pub checks: Vec<Check>,
    /// What in it is not as it must be, in sentences.
    pub mismatches: Vec<String>,
}

/// A number with its name.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What it is of.
    pub name: String,
    /// How much.
    #[serde(deserialize_with = "number")]
    pub value: f64,
    /// In what: `us`, `ms`, `s`, `bytes`, `bytes per connection`, `per s`, `cores`, `%`, or a plural; empty: a mere number.
    pub unit: String,
    /// What must be known to read it.
    pub note: Option<String>,
    /// Which way is better; None: as [`Figure::direction`] says of the unit.
    pub better: Option<Better>,
}

/// Which way a figure is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Times, memory, losses.
    Less,
    /// What was achieved.
    More,
    /// It is as it is.
    Neither,
}

impl Figure {
    /// A figure without a note.
    pub fn new(name: impl Into<String>, value: f64, unit: impl Into<String>) -> Self {
        Self { name: name.into(), value, unit: unit.into(), ..Self::default() }
    }

    /// With what must be known to read it.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    /// With which way is better, where the unit does not tell.
    #[must_use]
    pub fn better(self, better: Better) -> Self {
        Self { better: Some(better), ..self }
    }

    /// Which way is better: of times, memory and processors less, of rates more, unless the figure says so itself.
    pub fn direction(&self) -> Better {
        self.better.unwrap_or(match self.unit.as_str() {
            "us" | "ms" | "s" | "bytes" | "cores" => Better::Less,
            "per s" => Better::More,
            unit if unit.starts_with("bytes ") => Better::Less,
            _ => Better::Neither,
        })
    }
}

/// The same thing counted by the clients and by the nodes.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What is counted.
    pub what: String,
    /// By the clients.
    #[serde(deserialize_with = "number")]
    pub clients: f64,
    /// By the nodes.
    #[serde(deserialize_with = "number")]
    pub node: f64,
    /// By how much they may differ.
    #[serde(deserialize_with = "number")]
    pub slack: f64,
    /// Whether they do not differ by more.
    pub agrees: bool,
}

/// What was measured again and again. Each column has a value, or none, for each moment.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Series {
    /// Seconds since the run began, rising.
    #[serde(deserialize_with = "numbers")]
    pub at_s: Vec<f64>,
    /// By name; those of [`columns`] are known to plots.
    pub columns: BTreeMap<String, Vec<Option<f64>>>,
}

/// Names of columns.
pub mod columns {
    /// Connections that are open.
    pub const OPEN: &str = "open";
    /// Handshakes that were answered well.
    pub const OPENED: &str = "opened per s";
    /// Connections that ended.
    pub const CLOSED: &str = "closed per s";
    /// Handshakes that were refused or failed.
    pub const REFUSED: &str = "refused per s";
    /// Requests to come again.
    pub const GOAWAYS: &str = "goaways per s";
    /// Messages that came.
    pub const MESSAGES: &str = "messages per s";
    /// Of the handshakes of the last second.
    pub const HANDSHAKE_P50: &str = "handshake p50 us";
    /// Of the handshakes of the last second.
    pub const HANDSHAKE_P99: &str = "handshake p99 us";
    /// Of the messages of the last second.
    pub const DELIVERY_P50: &str = "delivery p50 us";
    /// Of the messages of the last second.
    pub const DELIVERY_P99: &str = "delivery p99 us";
    /// Resident memory of the nodes.
    pub const NODE_MEMORY: &str = "node memory bytes";
    /// What the kernel holds for sockets and files.
    pub const KERNEL_MEMORY: &str = "kernel memory bytes";
    /// Resident memory of the generator.
    pub const GENERATOR_MEMORY: &str = "generator memory bytes";
    /// Busy with the generator.
    pub const GENERATOR_CPU: &str = "generator CPU cores";
    /// Busy with the nodes.
    pub const NODE_CPU: &str = "node CPU cores";
}

/// How long something took.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// `us`.
    pub unit: String,
    /// How often it was measured.
    pub count: u64,
    /// The least.
    pub min: u64,
    /// On average.
    #[serde(deserialize_with = "number")]
    pub mean: f64,
    /// Half took no longer.
    pub p50: u64,
    /// 90 % took no longer.
    pub p90: u64,
    /// 99 % took no longer.
    pub p99: u64,
    /// 99.9 % took no longer.
    pub p999: u64,
    /// 99.99 % took no longer.
    pub p9999: u64,
    /// The most.
    pub max: u64,
    /// Percentiles (0 to 100, rising) with the time that so many did not exceed.
    #[serde(deserialize_with = "curve")]
    pub curve: Vec<(f64, u64)>,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            format: FORMAT,
            tool: concat!("holdfast ", env!("CARGO_PKG_VERSION")).to_owned(),
            began: String::new(),
            took_s: 0.0,
            command: Vec::new(),
            scenarios: Vec::new(),
            interrupted: false,
            good: true,
            host: Host::default(),
            target: Target::default(),
            generator: Generator::default(),
            clients: Clients::default(),
            memory: Memory::default(),
            steps: Vec::new(),
            series: Series::default(),
            latencies: BTreeMap::new(),
            mismatches: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

fn numbers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    let read: Vec<Option<f64>> = Vec::deserialize(from)?;
    Ok(read.into_iter().map(|number| number.unwrap_or(f64::NAN)).collect())
}

fn curve<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(f64, u64)>, D::Error> {
    let read: Vec<(Option<f64>, u64)> = Vec::deserialize(from)?;
    Ok(read.into_iter().map(|(at, us)| (at.unwrap_or(f64::NAN), us)).collect())
}
