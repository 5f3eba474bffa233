//! What threads cost, by their names.

use crate::{outcome::Outcome, process::cpu_ns_by_thread};
use std::{collections::BTreeMap, fs};

/// CPU of a process, us for each message, by thread.
pub type ByThread = BTreeMap<String, f64>;

/// What the threads of a process had used at some moment, ns.
pub struct Reading {
    pid: u32,
    threads: BTreeMap<String, u64>,
}

impl Reading {
    pub fn of(pid: u32) -> Outcome<Self> {
        let mut threads = BTreeMap::new();
        for (name, ns) in cpu_ns_by_thread(pid)? {
            // A client of Kafka has a thread for each broker, and one for the address with which it began.
            let name = if name.starts_with("rdk:broker") { "rdk:broker".to_owned() } else { name };
            *threads.entry(name).or_default() += ns;
        }
        Ok(Self { pid, threads })
    }

    /// What has been used since.
    pub fn since(&self, messages: u64) -> Outcome<ByThread> {
        let now = Self::of(self.pid)?;
        let each = |(name, ns): (String, u64)| {
            let before = self.threads.get(&name).copied().unwrap_or(0);
            (name, ns.saturating_sub(before) as f64 / 1e3 / messages as f64)
        };
        Ok(now.threads.into_iter().map(each).collect())
    }
}

/// What the calling thread has used, ns.
pub fn cpu_ns_of_thread() -> Outcome<u64> {
    let times = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(times.split(' ').next().unwrap_or_default().parse()?)
}
