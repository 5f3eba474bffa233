//! What a fleet costs: the registry, and the way between nodes. Each figure beside its floor in the same run, as one table.
//!
//! `cargo bench --bench cluster` measures all, in under three minutes; `-- registrations`, `memory`, `healing` or `pushes` only
//! that. Starts a `redis-server`, which has to be on the path, and nodes on free ports, and ends only what it started. Says what
//! it found and judges nothing: it exits with 1 only when something did not work.
//!
//! CPU is the time that all threads of a process were on one, by the scheduler's own count. A figure is the median of some
//! turns, and in a turn floor and figure follow each other, so that what else the machine does meets both.

mod clients;
mod healing;
mod http;
mod memory;
mod outcome;
mod process;
mod pushes;
mod registrations;
mod table;

use outcome::Outcome;
use process::Redis;
use table::Table;

type Measurement = fn(&Redis, &mut Table) -> Outcome<()>;

const ALL: [(&str, Measurement); 4] = [
    ("registrations", registrations::measure),
    ("memory", memory::measure),
    ("healing", healing::measure),
    ("pushes", pushes::measure),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let Err(fault) = run(&wanted) {
        eprintln!("{fault}");
        std::process::exit(1);
    }
}

fn run(wanted: &[String]) -> Outcome<()> {
    if let Some(unknown) = wanted.iter().find(|name| !ALL.iter().any(|(known, _)| known == name)) {
        let known: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
        return Err(format!("{unknown:?} is none of {}", known.join(", ")).into());
    }
    rlimit::increase_nofile_limit(u64::MAX)?;
    let redis = Redis::start()?;
    let mut table = Table::default();
    for (name, measure) in ALL {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            eprintln!("measuring {name} ...");
            measure(&redis, &mut table).map_err(|fault| format!("{name}: {fault}"))?;
        }
    }
    println!("{table}");
    Ok(())
}
