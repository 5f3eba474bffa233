//! What a supervisor such as systemd is told (sd_notify(3)): that the node is ready, what it does, that it stops, that it lives.
//!
//! Owns when each of that is due, as a function of the time. Where there is no supervisor (`NOTIFY_SOCKET`), nothing is said.

use super::TICK;
use crate::bridge::drain::{DrainOrigin, DrainPhase, DrainStatus};
use sd_notify::NotifyState;
use std::{env, time::Duration};

/// How often a supervisor hears of progress, ms.
const STATUS_MS: u64 = 5_000;
/// While a node drains, its supervisor is to wait for so long after each word of it: several times the time between two.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Supervisor {
    is_there: bool,
    watchdog: Option<Watchdog>,
    /// It was told that the node stops.
    stopping: bool,
    phase: DrainPhase,
    said_ms: u64,
}

/// What it is told of.
pub(super) struct Look<'a> {
    /// Monotonic, ms.
    pub now_ms: u64,
    /// Of the node.
    pub drain: DrainStatus,
    /// Open now.
    pub connections: u64,
    /// The threads without which the node is dead, each with how often its loop has turned.
    pub turns: &'a dyn Fn() -> Vec<(String, u64)>,
}

/// It expects a sign of life.
struct Watchdog {
    every_ms: u64,
    fed_ms: u64,
    seen: Vec<(String, u64)>,
    /// Who had not turned when it was last fed or starved.
    stuck: Option<String>,
}

impl Supervisor {
    /// Whoever the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`), from now on.
    pub fn from_environment(now_ms: u64) -> Self {
        let is_there = env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty());
        let timeout = sd_notify::watchdog_enabled().filter(|_| is_there);
        Self::new(is_there, timeout, now_ms)
    }

    fn new(is_there: bool, timeout: Option<Duration>, now_ms: u64) -> Self {
        let watchdog = timeout.map(|timeout| {
            // Never later than half of its time, though there is a look only at each tick.
            let every_ms = (timeout / 2).saturating_sub(TICK).as_millis() as u64;
            Watchdog { every_ms, fed_ms: now_ms, seen: Vec::new(), stuck: None }
        });
        Self { is_there, watchdog, stopping: false, phase: DrainPhase::Serving, said_ms: now_ms }
    }

    /// The ports accept.
    pub fn ready(&self) {
        if self.is_there {
            tell(&[NotifyState::Ready, NotifyState::Status("Serving")]);
        }
    }

    /// The configuration is about to be read again.
    pub fn reloading(&self) {
        if self.is_there
            && !self.stopping
            && let Ok(now) = NotifyState::monotonic_usec_now()
        {
            tell(&[NotifyState::Reloading, now]);
        }
    }

    /// It was, or was refused.
    pub fn reloaded(&self) {
        if self.is_there && !self.stopping {
            tell(&[NotifyState::Ready]);
        }
    }

    /// To be called at each tick. Says whether the threads should be made to turn, as signs of life are looked for next time.
    pub fn look(&mut self, look: &Look<'_>) -> bool {
        if !self.is_there {
            return false;
        }
        let stops = look.drain.phase != DrainPhase::Serving && look.drain.origin == Some(DrainOrigin::Signal);
        let begins = stops && !std::mem::replace(&mut self.stopping, stops);
        let mut words = Vec::new();
        if begins {
            words.push(NotifyState::Stopping);
        }
        let said;
        let due = look.now_ms.saturating_sub(self.said_ms) >= STATUS_MS;
        if begins || due || self.phase != look.drain.phase {
            (self.phase, self.said_ms) = (look.drain.phase, look.now_ms);
            said = status(&look.drain, look.connections);
            words.push(NotifyState::Status(&said));
            if stops {
                words.push(NotifyState::ExtendTimeoutUsec(PATIENCE.as_micros() as u32));
            }
        }
        let lives = self.watchdog.as_mut().is_some_and(|watchdog| watchdog.is_to_be_fed(look));
        if lives {
            words.push(NotifyState::Watchdog);
        }
        if !words.is_empty() {
            tell(&words);
        }
        lives
    }
}

impl Watchdog {
    /// It is fed when it is time and every thread has turned since: a thread that is stuck has the node started anew.
    fn is_to_be_fed(&mut self, look: &Look<'_>) -> bool {
        let since_ms = look.now_ms.saturating_sub(self.fed_ms);
        if since_ms < self.every_ms {
            return false;
        }
        let turns = (look.turns)();
        let stuck = turns.iter().find(|thread| self.seen.contains(thread)).map(|(name, _)| name.clone());
        if stuck.is_some() && self.stuck != stuck {
            tracing::error!(thread = stuck, since_ms, "a thread does not turn: the watchdog is not fed");
        }
        self.stuck = stuck;
        if self.stuck.is_some() {
            return false;
        }
        (self.fed_ms, self.seen) = (look.now_ms, turns);
        true
    }
}

fn status(drain: &DrainStatus, connections: u64) -> String {
    match drain.phase {
        DrainPhase::Serving => format!("Serving; connections: {connections}"),
        DrainPhase::Delay => format!("Draining, still accepting; connections: {connections}"),
        DrainPhase::Leaving => format!("Draining; connections left: {connections}"),
        DrainPhase::Done => format!("Drained; connections left: {connections}"),
    }
}

fn tell(words: &[NotifyState<'_>]) {
    // A supervisor that cannot be told acts on its own time-outs; there is nobody else to tell.
    if let Err(error) = sd_notify::notify(words) {
        tracing::debug!(%error, "the supervisor cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const SERVING: DrainStatus = DrainStatus {
        phase: DrainPhase::Serving,
        origin: None,
        connections: 0,
        remaining: 0,
        elapsed_ms: 0,
        deadline_ms: 0,
    };

    fn feeds(watchdog: &mut Watchdog, now_ms: u64, turns: &[u64]) -> bool {
        let named = || turns.iter().enumerate().map(|(at, &turns)| (format!("shard-{at}"), turns)).collect();
        watchdog.is_to_be_fed(&Look { now_ms, drain: SERVING, connections: 0, turns: &named })
    }

    #[test]
    fn the_watchdog_is_fed_before_half_of_its_time_while_every_thread_turns() {
        let mut supervisor = Supervisor::new(true, Some(Duration::from_secs(10)), 1_000);
        let watchdog = supervisor.watchdog.as_mut().unwrap();
        assert_eq!(watchdog.every_ms, 4_800);
        assert!(!feeds(watchdog, 5_799, &[1, 1]));
        assert!(feeds(watchdog, 5_800, &[1, 1]));
        assert!(!feeds(watchdog, 10_599, &[2, 2]), "it is not time");
        assert!(feeds(watchdog, 10_600, &[2, 2]));
        assert!(!feeds(watchdog, 15_400, &[3, 2]), "one is stuck");
        assert_eq!(watchdog.stuck.as_deref(), Some("shard-1"));
        assert!(!feeds(watchdog, 15_600, &[9, 2]));
        assert!(feeds(watchdog, 15_800, &[9, 3]), "at once when it turns again");
        assert!(watchdog.stuck.is_none());
    }

    #[test]
    fn threads_are_looked_at_only_for_a_watchdog_that_is_there() {
        let looked = Cell::new(0);
        let turns = || {
            looked.set(looked.get() + 1);
            Vec::new()
        };
        let look = |now_ms| Look { now_ms, drain: SERVING, connections: 7, turns: &turns };
        assert!(!Supervisor::new(false, None, 0).look(&look(60_000)));
        assert!(!Supervisor::new(true, None, 0).look(&look(60_000)));
        assert_eq!(looked.get(), 0);
        assert!(Supervisor::new(true, Some(Duration::from_secs(1)), 0).look(&look(60_000)));
        assert_eq!(looked.get(), 1);
    }

    #[test]
    fn what_the_node_does_is_said_in_words() {
        let draining = DrainStatus { phase: DrainPhase::Leaving, ..SERVING };
        assert_eq!(status(&SERVING, 12), "Serving; connections: 12");
        assert_eq!(status(&draining, 3), "Draining; connections left: 3");
    }
}
