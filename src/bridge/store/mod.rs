//! The push registry in Redis, as far as it is I/O: requests in, one answer each out.
//!
//! Owns the connections to Redis, the scripts that run there, and the form of what is kept there. Decides nothing:
//! what a lost lease or a lost master means, what is cached and who is told is for those above. Talks to them in plain
//! values ([`Request`], [`Output`]), so that a fake can take its place.
//!
//! # What is kept
//!
//! | key | type | what |
//! |---|---|---|
//! | `holdfast:u:USER` | hash | device -> record of at most 64 bytes (`record.rs`), 1 and device -> whom it displaced; expires with its last record |
//! | `holdfast:{nodes}` | hash | node -> lease (`lease.rs`) |
//! | `holdfast:{nodes}:due` | sorted set | node by the end of its lease |
//! | `holdfast:mark:{N}` | string | one for each master, in one of its slots: `mark.rs` |
//!
//! One key holds all leases, so that a Cluster shows them with one question, and the renewals themselves forget those
//! that have run out, in a step whose cost does not grow with the number of nodes.
//!
//! # What the scripts guarantee
//!
//! Each is one atomic step on one slot. All times are the registry's.
//!
//! - **connect**: prunes records that are dead or unreadable. The newer connection of a device wins: the one that began
//!   later by the registry's clock, which is now less its age; then the higher incarnation, connection and node. The
//!   time that a request has waited here counts as age, and the time that it was under way does too, so that a
//!   connection does not get younger on the way. It refuses to run once the caller has been told of the time-out.
//!   A record of the same connection is written again and keeps its beginning. A record that names another user counts
//!   for nothing.
//! - Whom a connection has displaced is remembered for as long as that record would have lived, and no longer than its
//!   own: said again when the connect is repeated, and to who displaces or removes it, because the reply that said so
//!   first may have been lost, and with it the only one who would have told the displaced.
//! - **disconnect**: deletes if node, incarnation and connection are those of the record.
//! - **lookup** writes nothing.
//! - **renew**: of two runs of one node the higher incarnation has the lease, the other is told so. The reply says since
//!   when the lease is there, so that a loss is noticed even when the reply that would have said so is lost.
//! - **mark**: makes one where there is none.
//! - **remove** deletes a lease if the run holds it.
//!
//! # When a reply is believed
//!
//! A command carries a number that no other has, and its reply repeats it and the key. A reply that does not is no reply:
//! the connection is dropped with everything that is yet to be read from it, and the request is asked again once, then it
//! is [`Failure::Misattributed`]. Errors carry no key; they are reasons to fail, or to ask elsewhere, and nothing else. A
//! record carries a hash of its user besides, and one of another user's is never shown as a route.
//!
//! # Bounds
//!
//! A queue of [`Settings::queue_max`] requests for each master, beyond which [`Store::submit`] says [`Full`]; a pipeline of
//! 256. A request is answered within [`Settings::timeout`], whatever the network does. It is asked again at most four
//! times, within that time.
//!
//! # Threads
//!
//! One for each master, one that keeps time, and with Sentinel or Cluster one that finds the masters.
//!
//! The user of an ACL needs: `EVALSHA`, `SCRIPT LOAD`, `TIME`, `INFO`, the commands in the scripts, and in a Cluster
//! `CLUSTER SLOTS` and `ASKING`.

mod carrier;
mod fleet;
mod keeper;
mod lane;
mod lease;
mod line;
mod mark;
pub mod probe;
mod record;
mod scout;
mod script;
mod seam;
mod slots;

pub use crate::config::redis_url::{Address, Kind, Login, Target};
pub use record::{RECORD_BYTES, node_number, user_hash};
pub use seam::{
    Cause, Connected, Counters, Device, Devices, Event, Failure, Full, LiveLease, Output, Place, Record,
    Renewed, Reply, Request, Slots,
};
pub use slots::{SLOTS, slot_of_user};

use crate::clock::Clock;
use fleet::Fleet;
use scout::Scout;
use std::{io, path::PathBuf, sync::Arc, thread, time::Duration};

/// What a store must know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The servers.
    pub target: Target,
    /// Certificates to trust in place of the host's, PEM. Read again for each connection.
    pub ca_file: Option<PathBuf>,
    /// Within this each request is answered; at least 200 ms.
    pub timeout: Duration,
    /// Requests that may wait for a master. By default 16,384: at 100,000 a second they wait a sixth of a second, far
    /// less than the time-out, and take some 5 MB.
    pub queue_max: usize,
}

impl Settings {
    /// With a time-out of 2 s.
    pub fn new(target: Target) -> Self {
        Self { target, ca_file: None, timeout: Duration::from_secs(2), queue_max: 16_384 }
    }
}

/// See the module.
pub struct Store {
    fleet: Arc<Fleet>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Store {
    /// Starts the threads, which connect by themselves. `deliver` is called on them, one call at a time; it should be
    /// quick, and may submit.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(settings: &Settings, deliver: impl Fn(Output) + Send + 'static) -> io::Result<Self> {
        let settings =
            Settings { timeout: settings.timeout.max(Duration::from_millis(200)), ..settings.clone() };
        let fleet = Arc::new(Fleet::new(&settings, Clock::start(), Box::new(deliver)));
        let mut store = Self { fleet: fleet.clone(), threads: Vec::new() };
        let keeper = fleet.clone();
        let start = |name: &str, run: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.to_owned()).spawn(run)
        };
        store.threads.push(start("registry keeper", Box::new(move || keeper::run(&keeper)))?);
        let mut scout = Scout::new(fleet, settings.target.kind);
        if !scout.settle() {
            start("registry scout", Box::new(move || scout.run()))?;
        }
        Ok(store)
    }

    /// Takes a request; never waits. Its one answer carries the `id`, which is the caller's own.
    ///
    /// # Errors
    /// [`Full`] when too many requests wait for its master: nothing will be delivered for it.
    pub fn submit(&self, id: u64, request: Request) -> Result<(), Full> {
        self.submit_quietly(id, request)?;
        self.wake();
        Ok(())
    }

    /// The same for a request that others follow at once: it may wait until [`Store::wake`], so that all leave in one pipeline.
    /// Woken by the first, a master's thread would send that one alone, which costs Redis a multiple.
    ///
    /// # Errors
    /// As above.
    pub fn submit_quietly(&self, id: u64, request: Request) -> Result<(), Full> {
        self.fleet.submit(id, request)
    }

    /// Has what was submitted quietly leave.
    pub fn wake(&self) {
        self.fleet.wake();
    }

    /// What has been counted since the start.
    pub fn counters(&self) -> Counters {
        self.fleet.tallies.counters()
    }
}

impl Drop for Store {
    /// Nothing is delivered any more when this returns: what has no answer yet gets none. A thread that is in the middle
    /// of connecting ends a moment later.
    fn drop(&mut self) {
        self.fleet.end();
        for thread in self.threads.drain(..) {
            // It does not panic; if it did, there would be nothing left to do about it.
            let _ = thread.join();
        }
    }
}
