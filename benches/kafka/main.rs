//! What it costs to bring messages from Kafka to 10,000 WebSockets, beside the bare parts of that in the same run.
//!
//! `cargo bench --bench kafka` measures all, in some seven minutes; `-- throughput`, `latency` or `lanes` only that, `-- quick`
//! with few messages. Starts an Apache Kafka (`scripts/install-kafka` fetches it), a `redis-server`, which has to be on the path,
//! and nodes on free ports, and ends only what it started. Says what it found and judges nothing: it exits with 1 only when
//! something did not work, a message that was lost, repeated or out of its order included.
//!
//! Kafka, Redis, node, clients and senders share the machine; `taskset` may say which cores. CPU is the time that threads were on
//! one, by the scheduler's own count.

mod broker;
mod clients;
mod consuming;
mod cost;
mod lanes;
mod latency;
mod lookups;
mod message;
mod null_server;
mod sending;
mod stage;
mod throughput;

#[path = "../cluster/clients.rs"]
#[allow(dead_code, reason = "here clients read what comes")]
mod connecting;
#[path = "../cluster/http.rs"]
#[allow(dead_code, reason = "here a status is not looked at")]
mod http;
#[path = "../cluster/outcome.rs"]
#[allow(dead_code, reason = "here a histogram has the quantiles")]
mod outcome;
#[path = "../cluster/process.rs"]
#[allow(dead_code, reason = "here nobody looks at memory")]
mod process;
#[path = "../cluster/table.rs"]
mod table;

use outcome::Outcome;
use stage::Stage;

const PARTS: [&str; 3] = ["throughput", "latency", "lanes"];
/// Fewer messages, and once: whether it works.
const QUICK: &str = "quick";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        [null_server::COMMAND] => null_server::run(),
        [consuming::COMMAND, brokers, topic, count] => consuming::run(brokers, topic, count),
        _ => measure(&words),
    };
    if let Err(fault) = result {
        eprintln!("{fault}");
        std::process::exit(1);
    }
}

fn measure(words: &[&str]) -> Outcome<()> {
    let is_quick = words.contains(&QUICK);
    let wanted: Vec<&str> = words.iter().copied().filter(|word| *word != QUICK).collect();
    if let Some(unknown) = wanted.iter().find(|name| !PARTS.contains(name)) {
        return Err(format!("{unknown:?} is none of {}, {QUICK}", PARTS.join(", ")).into());
    }
    let wants = |name: &str| wanted.is_empty() || wanted.contains(&name);
    rlimit::increase_nofile_limit(u64::MAX)?;
    let mut stage = Stage::set(is_quick)?;
    let result = perform(&mut stage, wants);
    // What was found is worth reading, whatever came after it.
    println!("{}", stage.table);
    result
}

fn perform(stage: &mut Stage, wants: impl Fn(&str) -> bool) -> Outcome<()> {
    let mut top = None;
    if wants("throughput") {
        top = Some(throughput::measure(stage)?);
    }
    if wants("latency") {
        latency::measure(stage, top)?;
    }
    if wants("lanes") {
        lanes::measure(stage)?;
    }
    Ok(())
}
