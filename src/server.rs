//! Wires the node together: threads, mailboxes, signals, ordered stop.

use crate::config::Config;

/// Runs a node until it is told to stop and has drained.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub fn run(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    Err(format!("the node {} cannot start: this build holds no event loop", config.node.id).into())
}
