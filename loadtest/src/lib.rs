//! Clients and senders in numbers for a Holdfast node, which count and compare every byte.
//!
//! A [`Fleet`] is the clients: worker threads with an event loop each. A [`Sender`] pushes over the node's internal port.
//! [`Books`] hold what was sent, with what the node said became of it, against what came and what the node counted. [`run`] is all of it in one
//! go, as `holdfast loadtest` does. Nothing here uses the server's code.

mod books;
pub mod client;
pub mod compare;
mod fleet;
mod internal;
mod ledger;
mod message;
mod plan;
pub mod report;
mod run;
mod worker;

pub use books::{Books, faults};
pub use client::Protocol;
pub use fleet::Fleet;
pub use internal::{Internal, Metrics, Sender, Sent};
pub use ledger::{Fate, Ledger};
pub use plan::{DEVICE, Settings, parse_sources, plan_sources, raise_descriptors};
pub use report::Report;
pub use run::{Plan, To, run};
pub use worker::{
    Manner, Wave,
    tally::{ByProtocol, Ending, Failure, GOAWAY_SLICE_US, Receipt, Tally},
};

use std::time::Instant;

/// One run: what tells its messages from all others, and the moment from which its times count.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// In every message.
    pub id: u64,
    /// When it began.
    pub epoch: Instant,
}

impl Run {
    /// A run that begins now.
    pub fn begin() -> Self {
        Self { id: fastrand::u64(..), epoch: Instant::now() }
    }

    /// Microseconds since it began.
    pub fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }
}
