//! Broadcasts under way on this node.

use super::router::Router;
use crate::{
    kit::completion::Tally,
    model::{Message, Outcome, mail},
    stats::NodeStats,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Broadcasts at once. Each costs every shard a slice of every turn; a sender with more is told to come back.
pub const BROADCASTS_MAX: usize = 32;

/// See the module.
#[derive(Default)]
pub struct Broadcasts {
    running: Mutex<HashMap<String, Running>>,
}

struct Running {
    broadcast: Arc<mail::Broadcast>,
    counted: Counted,
}

/// Where the outcomes of a broadcast are counted: where it entered the fleet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// By this node.
    Here,
    /// By the node that asked this one.
    Elsewhere,
}

/// Why a broadcast did not start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotStarted {
    /// [`BROADCASTS_MAX`] are under way.
    #[error("{BROADCASTS_MAX} broadcasts are under way; wait for one to end or stop one")]
    TooMany,
    /// One with this id is under way.
    #[error("a broadcast with this id is under way")]
    SameId,
}

impl Broadcasts {
    /// Posts a message to every shard.
    ///
    /// # Errors
    /// When too many are under way, or one of this id.
    pub fn start(
        &self,
        router: &Router,
        id: &str,
        message: Arc<Message>,
        spread_ms: u64,
        counted: Counted,
    ) -> Result<Arc<mail::Broadcast>, NotStarted> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.contains_key(id) {
            return Err(NotStarted::SameId);
        }
        if running.len() >= BROADCASTS_MAX {
            return Err(NotStarted::TooMany);
        }
        let tally = Tally::new(Outcome::ALL.len());
        let broadcast = Arc::new(mail::Broadcast::new(message, spread_ms, tally));
        // Held until every shard has its letter: the first shard may be through before the last has it.
        let hold = broadcast.tally.hold();
        router.post_to_all(|| mail::ToShard::Broadcast(broadcast.clone(), broadcast.tally.hold()));
        drop(hold);
        running.insert(id.to_owned(), Running { broadcast: broadcast.clone(), counted });
        Ok(broadcast)
    }

    /// Ends one early. Says whether it was under way.
    pub fn stop(&self, id: &str) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(id).inspect(|running| running.broadcast.stop()).is_some()
    }

    /// Counts the outcomes of those that are done, and forgets them. To be called about once a second, and by whoever
    /// waited for one.
    pub fn reap(&self, stats: &NodeStats) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, Running { broadcast, counted }| {
            let done = broadcast.tally.is_done();
            if done && *counted == Counted::Here {
                for outcome in Outcome::ALL {
                    stats.messages_many(broadcast.message.lane, outcome, broadcast.tally.count(outcome));
                }
            }
            !done
        });
    }
}
