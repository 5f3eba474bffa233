//! Lookups alone: bare pipelines of the node's own script for users who have one device each.

use crate::{
    connecting::{device, user},
    cost::cpu_ns_of_thread,
    outcome::Outcome,
    process::Redis,
};
use std::time::Instant;

/// As many as the node has at most.
const PIPELINE: u32 = 256;
/// The length of the registry's record.
const RECORD: [u8; 52] = [1; 52];

/// What a lookup has cost, us of CPU.
pub struct LookedUp {
    /// Lookups a second.
    pub rate: f64,
    /// The one who asks.
    pub asking: f64,
    pub redis: f64,
}

/// Looks so many users up, again and again.
pub fn measure(redis: &Redis, users: u32, count: u32) -> Outcome<LookedUp> {
    redis.flush()?;
    let mut connection = redis.connection()?;
    for first in (0..users).step_by(PIPELINE as usize) {
        let mut pipeline = redis::pipe();
        for number in first..users.min(first + PIPELINE) {
            pipeline.cmd("HSET").arg(key(number)).arg(device(number)).arg(&RECORD);
        }
        pipeline.exec(&mut connection)?;
    }
    let source = include_str!("../../src/bridge/store/scripts/lookup.lua");
    let digest: String = redis::cmd("SCRIPT").arg("LOAD").arg(source).query(&mut connection)?;
    let (redis_ns, own_ns, began) = (redis.cpu_ns()?, cpu_ns_of_thread()?, Instant::now());
    for first in (0..count).step_by(PIPELINE as usize) {
        let mut pipeline = redis::pipe();
        let some = first..count.min(first + PIPELINE);
        for number in some.clone() {
            pipeline.cmd("EVALSHA").arg(&digest).arg(1).arg(key(number % users * 7_919 % users)).arg(number);
        }
        connection.send_packed_command(&pipeline.get_packed_pipeline())?;
        for _ in some {
            if !matches!(connection.recv_response()?, redis::Value::Array(_)) {
                return Err("the script was refused".into());
            }
        }
    }
    let each = |from: u64, to: u64| (to - from) as f64 / 1e3 / f64::from(count);
    Ok(LookedUp {
        rate: f64::from(count) / began.elapsed().as_secs_f64(),
        asking: each(own_ns, cpu_ns_of_thread()?),
        redis: each(redis_ns, redis.cpu_ns()?),
    })
}

fn key(number: u32) -> String {
    format!("holdfast:u:{}", user(number))
}
