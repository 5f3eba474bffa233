//! The one timer of a connection: what it was for, and when it is due next.
//!
//! Traffic never touches the timer. It fires when a ping is due at the latest, looks at what has happened since, and is
//! armed again.

use super::{Connection, Context, Phase, Step, Tools, arrival, flag};
use crate::{
    kit::{mutant::Mutant, time::Tick},
    model::{Protocol, Reason},
    proto::{sse, ws},
};

/// A peer that answers nothing for so many ping intervals is dead.
const DEAD_AFTER_INTERVALS: u64 = 2;
/// A ping comes up to this share of its interval early, so that pings spread.
const PING_JITTER_SHARE: u64 = 10;

impl Connection {
    /// When the timer of a connection just accepted is due.
    pub fn first_deadline(&self, context: &mut Context<'_>) -> Tick {
        arrival::first_ping(context.tick, self.ping_s, &mut context.tools.random).earlier(self.ends_at)
    }

    /// What the timer must not miss, pings aside: they are what it is armed for otherwise.
    pub fn deadline(&self, tools: &Tools) -> Tick {
        let outbox = tools.lents.get(self.lent).and_then(|lent| lent.outbox.next_deadline());
        let mut due = self.ends_at;
        if self.takes_messages() && self.is(flag::EXPIRES) {
            due = due.earlier(self.expires_at);
        }
        outbox.map_or(due, |outbox| due.earlier(outbox))
    }

    /// The timer, armed for `due`, is to serve an earlier deadline: remembers that a ping was due then.
    pub fn postpone_ping(&mut self, tools: &mut Tools, due: Tick) {
        if self.takes_messages()
            && let Some(lent) = tools.lents.get_mut(self.lent)
        {
            lent.next_ping.get_or_insert(due);
        }
    }

    /// The timer fired, `late_ms` after it was due. Says when it is due next.
    pub fn handle_timeout(&mut self, context: &mut Context<'_>, late_ms: u64) -> (Step, Tick) {
        if let Some(lent) = context.tools.lents.get_mut(self.lent) {
            // Also while closing: a message that was begun before may still wait, its sender does not.
            lent.outbox.expire(context.tick);
        }
        let step = match self.phase {
            Phase::Open | Phase::Leaving => return self.handle_open_timeout(context, late_ms),
            _ if self.never_ends() || !self.ends_at.reached(context.tick) => Step::Stay,
            Phase::Closing => Step::Gone(self.reason),
            _ => self.handle_handshake_timeout(context),
        };
        (step, self.deadline(context.tools))
    }

    fn handle_open_timeout(&mut self, context: &mut Context<'_>, late_ms: u64) -> (Step, Tick) {
        let token_ends = self.is(flag::EXPIRES) && !Mutant::TokenEndForgotten.is_on();
        if token_ends && self.expires_at.reached(context.tick) {
            return (self.close(context, Reason::TokenExpired), self.deadline(context.tools));
        }
        if self.ends_at.reached(context.tick) && !self.never_ends() {
            if self.phase == Phase::Leaving {
                return (self.close(context, self.reason), self.deadline(context.tools));
            }
            let by_token = self.is(flag::ENDS_BY_TOKEN);
            self.goaway(context, if by_token { Reason::TokenExpired } else { Reason::Lifetime });
            self.give_back(context.tools);
            let next = self.ping_after_goaway(context, late_ms);
            return (Step::Stay, self.deadline(context.tools).earlier(next));
        }
        let saved = context.tools.lents.get_mut(self.lent).and_then(|lent| lent.next_ping.take());
        let next_ping = match saved {
            Some(due) if !due.reached(context.tick) => {
                self.lent(context.tools, context.handle).next_ping = Some(due);
                due
            }
            _ => {
                if self.is_dead(context, late_ms) {
                    return (self.close(context, Reason::DeadPeer), self.deadline(context.tools));
                }
                self.ping(context, late_ms)
            }
        };
        let deadline = self.deadline(context.tools);
        if deadline.is_before(next_ping) && !context.tools.lents.needs_nothing(self.lent) {
            self.lent(context.tools, context.handle).next_ping = Some(next_ping);
        }
        self.give_back(context.tools);
        (Step::Stay, next_ping.earlier(deadline))
    }

    /// The goaway has taken the timer, and when a ping would have been due is not known any more: it comes an interval after
    /// the client was seen at the latest. Says when.
    fn ping_after_goaway(&mut self, context: &mut Context<'_>, late_ms: u64) -> Tick {
        let ping_by = self.last_seen.plus_ms(self.ping_interval_ms());
        if !ping_by.reached(context.tick) {
            return self.next_look(context, late_ms, ping_by);
        }
        // Where the loop was late, the ping may have been due before the goaway.
        if late_ms > 0 && !self.is(flag::SSE) {
            return self.ping(context, late_ms);
        }
        self.next_look(context, late_ms, context.tick.plus_ms(self.ping_interval_ms()))
    }

    /// Sends a ping. Says when the next is due. For an event stream bytes that wait are as good as one; a WebSocket's client
    /// answers nothing else, so that it is owed one however much it is sent.
    fn ping(&mut self, context: &mut Context<'_>, late_ms: u64) -> Tick {
        let interval_ms = self.ping_interval_ms();
        let waits = context.tools.lents.get(self.lent).is_some_and(|lent| !lent.outbox.is_empty());
        let spared = waits && self.is(flag::SSE) || Mutant::PingForgotten.is_on();
        if !spared {
            self.write_control(context, |is_sse, out| match is_sse {
                true => sse::write_ping(out),
                false => ws::write_frame(out, ws::Op::Ping, b"", false),
            });
        }
        let early_ms = context.tools.random.between(0, interval_ms / PING_JITTER_SHARE);
        self.next_look(context, late_ms, context.tick.plus_ms(interval_ms - early_ms))
    }

    /// When to look at it again, its next ping being due at `next`. A WebSocket that has missed a ping is looked at when its time
    /// is over, not at the ping after; one whose time was over when the loop was late, after as long again.
    fn next_look(&self, context: &Context<'_>, late_ms: u64, next: Tick) -> Tick {
        if self.is(flag::SSE) {
            return next;
        }
        let dead_at = self.last_seen.plus_ms(self.ping_interval_ms() * DEAD_AFTER_INTERVALS);
        let late = dead_at.reached(context.tick);
        next.earlier(if late { context.tick.plus_ms(late_ms).plus(1) } else { dead_at.plus_ms(late_ms) })
    }

    fn ping_interval_ms(&self) -> u64 {
        u64::from(self.ping_s) * 1_000
    }

    /// Whether a WebSocket has been silent too long. What the loop itself was late by is not held against the client, and as
    /// long again is left for reading what has come meanwhile. An event stream never answers: there the kernel's own time-out finds a dead peer.
    fn is_dead(&self, context: &Context<'_>, late_ms: u64) -> bool {
        let silent_ms = context.tick.ms_since(self.last_seen);
        let allowed_ms = self.ping_interval_ms() * DEAD_AFTER_INTERVALS + 2 * late_ms;
        let late = silent_ms >= allowed_ms && !Mutant::DeadPeerKept.is_on();
        self.protocol() == Protocol::Websocket && late
    }

    /// Whether a defect keeps it in its phase.
    fn never_ends(&self) -> bool {
        match self.phase {
            Phase::Opening => Mutant::HandshakeTimeoutForgotten.is_on(),
            Phase::Asking | Phase::NamelessAsking => Mutant::VerdictTimeoutForgotten.is_on(),
            Phase::Nameless => Mutant::TokenTimeoutForgotten.is_on(),
            Phase::Open => Mutant::LifetimeForgotten.is_on(),
            Phase::Leaving => Mutant::GraceForgotten.is_on(),
            Phase::Closing => Mutant::CloseTimeoutForgotten.is_on(),
        }
    }
}
