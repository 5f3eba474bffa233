//! A shard's thread: poll, turn, again.

use super::{Parts, Shard, net_mio::MioNet};
use std::{io, thread::JoinHandle, time::Duration};

/// A running shard.
pub struct ShardThread {
    thread: JoinHandle<()>,
}

impl ShardThread {
    /// Starts a shard on a thread of its own; it ends after a letter [`crate::model::mail::ToShard::Stop`].
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn(parts: Parts<MioNet>) -> io::Result<Self> {
        let name = format!("shard-{}", parts.index);
        let thread = std::thread::Builder::new().name(name).spawn(move || run(Shard::new(parts)))?;
        Ok(Self { thread })
    }

    /// Waits for its end.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a shard's thread panicked");
        }
    }
}

fn run(mut shard: Shard<MioNet>) {
    let mut events = Vec::new();
    let mut timeout = Some(Duration::ZERO);
    while !shard.is_stopped() {
        if let Err(error) = shard.poll(&mut events, timeout) {
            // Without a poll there is nothing to serve: the supervisor's restart is better than a loop that is deaf.
            tracing::error!(%error, "the event loop cannot poll; the node stops");
            std::process::abort();
        }
        timeout = shard.turn(&events);
    }
}
