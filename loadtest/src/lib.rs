//! Clients and senders in numbers for a Holdfast node, which count and compare every byte.
//!
//! A [`Fleet`] is the clients: worker threads with an event loop each. A [`Sender`] pushes over the node's internal port.
//! [`Books`] hold what was sent, with what the node said became of it, against what came and what the node counted. [`run`] is all of it in one
//! go, as `holdfast loadtest` does. Nothing here uses the server's code.

pub mod agent;
mod auth;
mod books;
pub mod client;
mod clock;
pub mod compare;
mod fleet;
pub mod host;
mod internal;
mod ledger;
pub mod message;
mod nodes;
mod plan;
mod progress;
pub mod report;
mod room;
mod run;
mod scenario;
mod sender;
mod series;
mod stage;
mod task;
mod verdict;
mod wire;
mod worker;

pub use books::{Books, faults};
pub use client::{Dialect, Protocol};
pub use clock::Run;
pub use fleet::{AgentAddress, Fleet, Layout, work_for_parent};
pub use internal::{Internal, Metrics};
pub use ledger::{Fate, Ledger, Sent};
pub use nodes::Nodes;
pub use plan::{
    DEVICE, Habits, Returns, Settings, Tls, is_chosen, parse_sources, plan_sources, raise_descriptors,
};
pub use report::model::Report;
pub use run::run;
pub use sender::{Queue, Sender};
pub use task::{Scenario, Task};
pub use worker::{
    Command, Cut, Manner, Wave,
    tally::{ByProtocol, Ending, Failure, GOAWAY_SLICE_US, Receipt, Tally},
};
