//! How a node leaves: when it stops to be ready, when it refuses, when it is done.
//!
//! Owns the plan, as a pure state machine over time, and the switch through which signals and the API start and cancel
//! it. Says what to do next; `server` does it.

pub use crate::stats::DrainPhase;
use crate::{config, kit::time::Now};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// How long a drain without a delay waits for the consumer group, ms. It takes some tens; a broker that is away must not hold
/// up a node.
const LEAVE_QUEUE_MS: u64 = 2_000;

/// Who asked for a drain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DrainOrigin {
    /// The API, which may cancel it, and whose process stays when it is done.
    Api,
    /// A signal: the process ends when it is done.
    Signal,
}

/// What an observer sees of a drain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DrainStatus {
    /// Where it is.
    pub phase: DrainPhase,
    /// Who asked.
    pub origin: Option<DrainOrigin>,
    /// Connections when it began.
    pub connections: u64,
    /// Connections left.
    pub remaining: u64,
    /// Since it began, ms.
    pub elapsed_ms: u64,
    /// At the latest it ends this long after it began, ms.
    pub deadline_ms: u64,
}

/// What the server is to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DrainStep {
    /// Nothing.
    Wait,
    /// Tell the shards to refuse and to spread goaways over so many ms.
    Leave {
        /// The time over which goaways are spread, ms.
        window_ms: u64,
    },
    /// Tell the shards to serve again.
    Resume,
    /// It is over. With [`DrainOrigin::Signal`] the process ends.
    Finish,
}

/// The drain of one node.
pub struct DrainSwitch {
    state: Mutex<State>,
    /// True from the first moment of a drain: what health checks look at.
    draining: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
struct State {
    /// Of the drain under way, which goes on as it began.
    rules: Rules,
    /// Of the next.
    next: Rules,
    phase: DrainPhase,
    origin: Option<DrainOrigin>,
    began_ms: u64,
    connections: u64,
    remaining: u64,
    window_ms: u64,
    cancelled: bool,
    now_ms: u64,
}

#[derive(Clone, Copy)]
struct Rules {
    config: config::Drain,
    grace_ms: u64,
}

impl DrainSwitch {
    /// A node that serves. `grace_ms` is `lifetime.grace`.
    pub fn new(config: config::Drain, grace_ms: u64) -> Self {
        let rules = Rules { config, grace_ms };
        let state = State {
            rules,
            next: rules,
            phase: DrainPhase::Serving,
            origin: None,
            began_ms: 0,
            connections: 0,
            remaining: 0,
            window_ms: config.window_ms,
            cancelled: false,
            now_ms: 0,
        };
        Self { state: Mutex::new(state), draining: Arc::default() }
    }

    /// Changes the settings of drains that begin from now on.
    pub fn set_rules(&self, config: config::Drain, grace_ms: u64) {
        self.lock().next = Rules { config, grace_ms };
    }

    /// Begins a drain now, with so many connections. A signal takes over one that the API began; otherwise one under way goes on as it is. Says
    /// whether anything changed.
    pub fn start(&self, origin: DrainOrigin, now: Now, connections: u64) -> bool {
        let mut state = self.lock();
        if state.phase != DrainPhase::Serving {
            let taken_over = origin == DrainOrigin::Signal && state.origin == Some(DrainOrigin::Api);
            if taken_over {
                state.origin = Some(origin);
            }
            return taken_over;
        }
        self.draining.store(true, Ordering::Relaxed);
        state.rules = state.next;
        state.window_ms = state.rules.config.window_ms;
        state.phase = DrainPhase::Delay;
        state.origin = Some(origin);
        (state.began_ms, state.now_ms) = (now.millis(), now.millis());
        (state.connections, state.remaining) = (connections, connections);
        state.cancelled = false;
        true
    }

    /// Takes back a drain that the API began. Says whether there was one.
    pub fn cancel(&self) -> bool {
        let mut state = self.lock();
        let ours = state.phase != DrainPhase::Serving && state.origin == Some(DrainOrigin::Api);
        if ours {
            self.draining.store(false, Ordering::Relaxed);
            state.cancelled = true;
            state.phase = DrainPhase::Serving;
            state.origin = None;
        }
        ours
    }

    /// Whether a drain is under way: readiness ends with its first moment.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The same, for those who look often.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.draining.clone()
    }

    /// What an observer sees.
    pub fn status(&self) -> DrainStatus {
        let state = *self.lock();
        let draining = state.phase != DrainPhase::Serving;
        let Rules { config, grace_ms } = state.rules;
        DrainStatus {
            phase: state.phase,
            origin: state.origin,
            connections: state.connections,
            remaining: state.remaining,
            elapsed_ms: if draining { state.now_ms.saturating_sub(state.began_ms) } else { 0 },
            deadline_ms: if draining { config.delay_ms + state.window_ms + grace_ms } else { 0 },
        }
    }

    /// Moves on to `now` with so many connections left. `has_left_queue`: others take this node's share of the queue, which
    /// is waited for before connections are refused. To be called several times a second.
    pub fn advance(&self, now: Now, remaining: u64, has_left_queue: bool) -> DrainStep {
        let mut state = self.lock();
        state.now_ms = now.millis();
        state.remaining = remaining;
        if std::mem::take(&mut state.cancelled) {
            return DrainStep::Resume;
        }
        let elapsed_ms = state.now_ms.saturating_sub(state.began_ms);
        let Rules { config, grace_ms } = state.rules;
        let delay_ms = match has_left_queue {
            true => config.delay_ms,
            false => config.delay_ms.max(LEAVE_QUEUE_MS),
        };
        match state.phase {
            DrainPhase::Delay if elapsed_ms >= delay_ms => {
                let paced_ms = remaining.saturating_mul(1_000) / config.rate.max(1);
                state.window_ms = config.window_ms.max(paced_ms);
                state.phase = DrainPhase::Leaving;
                DrainStep::Leave { window_ms: state.window_ms }
            }
            DrainPhase::Leaving => {
                let deadline_ms = config.delay_ms + state.window_ms + grace_ms;
                if remaining > 0 && elapsed_ms < deadline_ms {
                    return DrainStep::Wait;
                }
                state.phase = DrainPhase::Done;
                DrainStep::Finish
            }
            // A signal may take over a drain of the API's that is done.
            DrainPhase::Done if state.origin == Some(DrainOrigin::Signal) => DrainStep::Finish,
            _ => DrainStep::Wait,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: config::Drain = config::Drain { delay_ms: 5_000, window_ms: 30_000, rate: 5_000 };

    fn at(ms: u64) -> Now {
        Now { micros: ms * 1_000, unix_ms: 0 }
    }

    #[test]
    fn it_delays_then_leaves_then_finishes_when_nothing_is_left() {
        let drain = DrainSwitch::new(CONFIG, 4_000);
        assert_eq!(drain.advance(at(1_000), 10, true), DrainStep::Wait);
        let start = || drain.start(DrainOrigin::Signal, at(1_100), 11);
        assert!(start() && !start());
        assert_eq!((drain.status().connections, drain.status().elapsed_ms), (11, 0));
        assert!(drain.is_draining());
        assert_eq!(drain.advance(at(6_099), 10, true), DrainStep::Wait);
        assert_eq!(drain.advance(at(6_100), 10, true), DrainStep::Leave { window_ms: 30_000 });
        assert_eq!(drain.advance(at(6_150), 1, true), DrainStep::Wait);
        assert_eq!(drain.advance(at(6_200), 0, true), DrainStep::Finish);
        assert_eq!(drain.status().phase, DrainPhase::Done);
        assert_eq!(drain.status().connections, 11);
    }

    #[test]
    fn it_leaves_the_queue_first_but_does_not_wait_for_ever() {
        let drain = DrainSwitch::new(config::Drain { delay_ms: 0, ..CONFIG }, 4_000);
        drain.start(DrainOrigin::Signal, at(0), 5);
        assert_eq!(drain.advance(at(100), 5, false), DrainStep::Wait);
        assert_eq!(drain.advance(at(2_000), 5, false), DrainStep::Leave { window_ms: 30_000 });
        let drain = DrainSwitch::new(config::Drain { delay_ms: 0, ..CONFIG }, 4_000);
        drain.start(DrainOrigin::Signal, at(0), 5);
        assert_eq!(drain.advance(at(100), 5, true), DrainStep::Leave { window_ms: 30_000 });
    }

    #[test]
    fn it_ends_at_the_latest_after_delay_and_window_and_grace() {
        let drain = DrainSwitch::new(CONFIG, 4_000);
        drain.start(DrainOrigin::Signal, at(0), 0);
        assert_eq!(drain.advance(at(5_000), 1_000_000, true), DrainStep::Leave { window_ms: 200_000 });
        assert_eq!(drain.advance(at(208_999), 1, true), DrainStep::Wait);
        assert_eq!(drain.advance(at(209_000), 1, true), DrainStep::Finish);
    }

    #[test]
    fn a_drain_under_way_goes_on_as_it_began_and_the_next_by_the_new_settings() {
        let drain = DrainSwitch::new(CONFIG, 4_000);
        drain.start(DrainOrigin::Api, at(0), 5);
        drain.set_rules(config::Drain { delay_ms: 1_000, window_ms: 2_000, rate: 1 }, 500);
        assert_eq!(drain.status().deadline_ms, 39_000);
        assert_eq!(drain.advance(at(4_999), 5, true), DrainStep::Wait);
        assert!(drain.cancel());
        assert_eq!(drain.advance(at(5_000), 5, true), DrainStep::Resume);
        drain.start(DrainOrigin::Api, at(10_000), 5);
        assert_eq!(drain.status().deadline_ms, 3_500);
        assert_eq!(drain.advance(at(11_000), 5, true), DrainStep::Leave { window_ms: 5_000 });
    }

    #[test]
    fn only_the_apis_own_drain_can_be_cancelled_and_a_signal_takes_it_over() {
        let drain = DrainSwitch::new(CONFIG, 4_000);
        assert!(!drain.cancel());
        drain.start(DrainOrigin::Api, at(0), 0);
        assert!(drain.cancel() && !drain.is_draining());
        assert_eq!(drain.advance(at(1), 3, true), DrainStep::Resume);
        assert_eq!(drain.advance(at(2), 3, true), DrainStep::Wait);
        drain.start(DrainOrigin::Api, at(0), 0);
        assert!(drain.start(DrainOrigin::Signal, at(0), 0), "a signal takes it over");
        assert!(!drain.cancel());
        assert_eq!(drain.status().origin, Some(DrainOrigin::Signal));
    }
}
