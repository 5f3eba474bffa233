//! What a device takes in Redis, and what that is made of: the same keys by plain commands, one part after the other.

use crate::{
    clients::{device, user},
    outcome::Outcome,
    process::Redis,
    registrations::connect_bare,
    table::Table,
};

/// Users, with one device each.
const USERS: u32 = 100_000;
const PIPELINE: u32 = 256;
const LIFE_MS: u64 = 600_000;
const RECORD: [u8; 52] = [7; 52];

pub fn measure(redis: &Redis, table: &mut Table) -> Outcome<()> {
    // A small number is an object that all share, so that what is left is the key and its place in the table of keys.
    let key = slope(redis, || plain(redis, &|call, number| _ = call.cmd("SET").arg(key(number)).arg(1)))?;
    let hash = |call: &mut redis::Pipeline, number: u32| {
        _ = call.cmd("HSET").arg(self::key(number)).arg(device(number)).arg(&RECORD);
    };
    let lasting = slope(redis, || plain(redis, &hash))?;
    let bare = slope(redis, || {
        plain(redis, &|call, number| {
            hash(call, number);
            call.cmd("PEXPIRE").arg(self::key(number)).arg(LIFE_MS);
        })
    })?;
    let ours = slope(redis, || connect_bare(redis, 0..USERS, PIPELINE, None))?;
    let usage: u64 = redis::cmd("MEMORY").arg("USAGE").arg(self::key(7)).query(&mut redis.connection()?)?;
    redis.flush()?;
    table.ratio(
        "memory in Redis per device, 100,000 of them, bytes; floor: HSET and PEXPIRE",
        bare,
        ours,
        0,
        "256",
    );
    table.remark(format!(
        "A device takes {ours:.0} bytes in Redis: {key:.0} for the key of 27 bytes and its place in the table of keys, {:.0} \
         for the hash with a device of 16 bytes and a record of {}, {:.0} for the expiry. MEMORY USAGE says {usage}, \
         which is without the expiry and the tables.",
        lasting - key,
        RECORD.len(),
        bare - lasting
    ));
    Ok(())
}

fn key(number: u32) -> String {
    format!("holdfast:u:{}", user(number))
}

/// Bytes per user of what is written.
fn slope(redis: &Redis, write: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    redis.flush()?;
    let before = redis.info("memory", "used_memory")?;
    write()?;
    Ok((redis.info("memory", "used_memory")? - before) / f64::from(USERS))
}

fn plain(redis: &Redis, add: &dyn Fn(&mut redis::Pipeline, u32)) -> Outcome<()> {
    let mut connection = redis.connection()?;
    for first in (0..USERS).step_by(PIPELINE as usize) {
        let mut pipeline = redis::pipe();
        (first..USERS.min(first + PIPELINE)).for_each(|number| add(&mut pipeline, number));
        pipeline.exec(&mut connection)?;
    }
    Ok(())
}
