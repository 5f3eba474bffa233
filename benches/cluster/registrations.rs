//! What a connection costs with the registry in Redis: Redis' CPU beside that of a bare pipeline of the same script; the node's
//! CPU and memory beside those of a node with the registry in memory.

use crate::{
    clients::{Clients, device, user},
    outcome::{Outcome, median},
    process::{Node, Redis, cpu_ns_by_thread, until},
    table::Table,
};
use std::{
    collections::BTreeMap,
    ops::Range,
    thread,
    time::{Duration, Instant},
};

const TURNS: usize = 3;
/// Connections before the slope begins, and those that make it.
const FIRST: Range<u32> = 0..2_000;
const REST: Range<u32> = 2_000..15_000;
/// Commands in a pipeline, as many as the node has at most.
const PIPELINE: u32 = 256;
/// Before memory is looked at.
const REST_TIME: Duration = Duration::from_secs(3);
const LIFE_MS: u64 = 600_000;
/// The length of the registry's record, and where the hash of its user begins.
const RECORD_BYTES: usize = 52;
const USER_AT: usize = 44;

/// What a turn has found, for each name.
#[derive(Default)]
struct Found(BTreeMap<String, Vec<f64>>);

impl Found {
    fn put(&mut self, name: &str, value: f64) {
        self.0.entry(name.to_owned()).or_default().push(value);
    }

    fn last(&self, name: &str) -> f64 {
        self.0.get(name).and_then(|values| values.last().copied()).unwrap_or(f64::NAN)
    }

    /// The median.
    fn get(&self, name: &str) -> f64 {
        self.0.get(name).map_or(f64::NAN, |values| median(values))
    }
}

pub fn measure(redis: &Redis, table: &mut Table) -> Outcome<()> {
    let mut found = Found::default();
    for _ in 0..TURNS {
        bare(redis, "bare", PIPELINE, None, &mut found)?;
        in_memory(&mut found)?;
        in_redis(redis, &mut found)?;
        let (batch, rate) = (found.last("batch"), found.last("rate"));
        bare(redis, "alike", batch.round().max(1.0) as u32, Some(rate), &mut found)?;
    }
    let (deep, alike) = (found.get("bare cpu"), found.get("alike cpu"));
    let (cpu, again) = (found.get("cpu"), found.get("heal cpu"));
    table.ratio("Redis CPU per registration, us; floor: bare pipeline of 256", deep, cpu, 2, "1.3");
    table.ratio("the same; floor: a bare pipeline as short and as slow as the node's", alike, cpu, 2, "");
    table.ratio(
        "Redis CPU per registration after a loss, us; floor: bare pipeline of 256",
        deep,
        again,
        2,
        "1.3",
    );
    let rate = found.get("bare rate");
    table.ratio(
        "registrations a second, as clients come; floor: bare pipeline of 256",
        rate,
        found.get("rate"),
        0,
        "",
    );
    table.ratio(
        "node's CPU per handshake, us; floor: registry in memory",
        found.get("memory cpu"),
        found.get("node cpu"),
        2,
        "",
    );
    table.ratio(
        "user memory per idle WebSocket, bytes; floor: registry in memory",
        found.get("memory pss"),
        found.get("pss"),
        0,
        "",
    );
    table.alone(
        "memory in Redis per device by a node, slope 2,000 to 15,000, bytes",
        format!("{:.0}", found.get("used")),
        "256",
    );
    let threads = found.0.keys().filter_map(|name| name.strip_prefix("thread "));
    let threads: Vec<String> =
        threads.map(|name| format!("{name} {:.2}", found.get(&format!("thread {name}")))).collect();
    table.remark(format!(
        "Commands that Redis read at once: {:.1} as clients came, {:.1} when all were registered again.",
        found.get("batch"),
        found.get("heal batch")
    ));
    table.remark(
        "User memory: users and devices have names of 16 bytes here; its budget, 112, is for less.".into(),
    );
    table.remark(format!("The node's CPU per handshake by thread, us: {}.", threads.join(", ")));
    Ok(())
}

/// The same script with the same names, each pipeline sent when the one before is answered, at so many commands a second or as
/// fast as can be; replies are only counted.
fn bare(redis: &Redis, name: &str, depth: u32, rate: Option<f64>, found: &mut Found) -> Outcome<()> {
    redis.flush()?;
    connect_bare(redis, FIRST, depth, rate)?;
    let (cpu, began) = (redis.cpu_ns()?, Instant::now());
    connect_bare(redis, REST, depth, rate)?;
    let count = REST.len() as f64;
    found.put(&format!("{name} rate"), count / began.elapsed().as_secs_f64());
    found.put(&format!("{name} cpu"), (redis.cpu_ns()? - cpu) as f64 / 1e3 / count);
    Ok(())
}

/// Registers these users by pipelines of the node's own script.
pub fn connect_bare(redis: &Redis, numbers: Range<u32>, depth: u32, rate: Option<f64>) -> Outcome<()> {
    let mut connection = redis.connection()?;
    let source = include_str!("../../src/bridge/store/scripts/connect.lua");
    let digest: String = redis::cmd("SCRIPT").arg("LOAD").arg(source).query(&mut connection)?;
    let (seconds, _): (u64, u64) = redis::cmd("TIME").query(&mut connection)?;
    let began = Instant::now();
    for first in numbers.clone().step_by(depth as usize) {
        if let Some(rate) = rate {
            let due = began + Duration::from_secs_f64(f64::from(first - numbers.start) / rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let mut pipeline = redis::pipe();
        let some = first..numbers.end.min(first + depth);
        for number in some.clone() {
            let user = user(number);
            let mut record = [0; RECORD_BYTES];
            record[0] = 1;
            record[USER_AT..].copy_from_slice(&holdfast::bridge::store::user_hash(&user).to_be_bytes());
            let call = pipeline.cmd("EVALSHA").arg(&digest).arg(1).arg(format!("holdfast:u:{user}"));
            call.arg(number).arg(device(number)).arg(&record).arg(0).arg(LIFE_MS);
            call.arg(seconds * 1_000).arg((seconds + 3_600) * 1_000);
        }
        connection.send_packed_command(&pipeline.get_packed_pipeline())?;
        for _ in some {
            if !matches!(connection.recv_response()?, redis::Value::Array(_)) {
                return Err("the script was refused".into());
            }
        }
    }
    Ok(())
}

fn in_memory(found: &mut Found) -> Outcome<()> {
    let node = Node::start("alone", "memory")?;
    let first = Clients::open(node.clients, FIRST)?;
    thread::sleep(REST_TIME);
    let (pss, cpu) = (node.pss()?, node.cpu_ns()?);
    let rest = Clients::open(node.clients, REST)?;
    found.put("memory cpu", (node.cpu_ns()? - cpu) as f64 / 1e3 / REST.len() as f64);
    thread::sleep(REST_TIME);
    found.put("memory pss", node.pss()?.saturating_sub(pss) as f64 / REST.len() as f64);
    nobody_left(&[&first, &rest])
}

fn in_redis(redis: &Redis, found: &mut Found) -> Outcome<()> {
    redis.flush()?;
    let node = Node::start("one", &redis.url())?;
    let first = Clients::open(node.clients, FIRST)?;
    until("the first registrations", || Ok(node.registered()? >= FIRST.end))?;
    thread::sleep(REST_TIME);
    let (pss, used) = (node.pss()?, redis.info("memory", "used_memory")?);
    let before = Readings::take(redis, &node)?;
    let began = Instant::now();
    let rest = Clients::open(node.clients, REST)?;
    until("all registrations", || Ok(node.registered()? >= REST.end))?;
    let (count, elapsed) = (REST.len() as f64, began.elapsed());
    let after = Readings::take(redis, &node)?;
    found.put("rate", count / elapsed.as_secs_f64());
    found.put("cpu", (after.redis - before.redis) as f64 / 1e3 / count);
    found.put("node cpu", (after.node - before.node) as f64 / 1e3 / count);
    found.put("batch", (after.commands - before.commands) / (after.reads - before.reads));
    for ((name, now), (_, then)) in after.threads.iter().zip(&before.threads) {
        found.put(&format!("thread {name}"), (now - then) as f64 / 1e3 / count);
    }
    thread::sleep(REST_TIME);
    found.put("pss", node.pss()?.saturating_sub(pss) as f64 / count);
    found.put("used", (redis.info("memory", "used_memory")? - used) / count);

    redis.flush()?;
    let before = Readings::take(redis, &node)?;
    until("all to be registered again", || Ok(node.registered()? >= 2 * REST.end))?;
    let after = Readings::take(redis, &node)?;
    found.put("heal cpu", (after.redis - before.redis) as f64 / 1e3 / f64::from(REST.end));
    found.put("heal batch", (after.commands - before.commands) / (after.reads - before.reads));
    nobody_left(&[&first, &rest])
}

struct Readings {
    redis: u64,
    node: u64,
    threads: Vec<(String, u64)>,
    /// Without those inside of scripts: each registration runs four.
    commands: f64,
    reads: f64,
}

impl Readings {
    fn take(redis: &Redis, node: &Node) -> Outcome<Self> {
        Ok(Self {
            commands: f64::from(node.registered()?),
            reads: redis.info("stats", "total_reads_processed")?,
            redis: redis.cpu_ns()?,
            node: node.cpu_ns()?,
            threads: cpu_ns_by_thread(node.pid())?,
        })
    }
}

/// A connection that was closed is one that was not measured.
pub fn nobody_left(all: &[&Clients]) -> Outcome<()> {
    match all.iter().map(|clients| clients.closed()).sum::<u64>() {
        0 => Ok(()),
        closed => Err(format!("{closed} connections were closed by the node").into()),
    }
}
