//! How a connection ends: goaway, close, and the last bytes either way.

use super::{Connection, Context, Phase, Step, Tools, flag};
use crate::{
    kit::mutant::Mutant,
    model::{Outcome, Reason},
    proto::{sse, ws},
};
use bytes::Bytes;

/// How long last bytes, or the peer's answer to a close, are waited for, ms. Two round trips of the worst mobile network
/// and a retransmission.
const CLOSE_TIMEOUT_MS: u64 = 3_000;
/// A client that was asked to leave for the drain's or the operator's sake comes back within so many ms: the node that takes
/// it is another.
const RECONNECT_MS_MAX: u64 = 5_000;

impl Connection {
    /// Asks the client to close and come back. A connection is asked once, for the earliest of its reasons; what comes
    /// later can only bring its end forward.
    pub fn goaway(&mut self, context: &mut Context<'_>, reason: Reason) {
        let end = context.tick.plus_ms(context.tools.settings.grace_ms);
        let token_end = self.is(flag::EXPIRES).then_some(self.expires_at);
        match self.phase {
            Phase::Open => {
                self.phase = Phase::Leaving;
                self.reason = reason;
                self.ends_at = match (reason, token_end) {
                    // It has until the token ends: its goaway was spread over the time before.
                    (Reason::TokenExpired, Some(token_end)) => token_end,
                    (_, Some(token_end)) => end.earlier(token_end),
                    (_, None) => end,
                };
                context.tools.stats.goaway(reason);
                let retry_ms = context.tools.random.between(1, RECONNECT_MS_MAX) as u32;
                self.write_control(context, |is_sse, out| match is_sse {
                    true => sse::write_goaway(out, Some(retry_ms)),
                    false => ws::write_frame(out, ws::Op::Text, b"_CLOSE_", false),
                });
            }
            Phase::Leaving => {
                if Mutant::GoawayTwice.is_on() {
                    self.phase = Phase::Open;
                    return self.goaway(context, reason);
                }
                if end.is_before(self.ends_at) {
                    self.ends_at = end;
                    self.reason = reason;
                }
            }
            Phase::Opening | Phase::Asking | Phase::Nameless | Phase::NamelessAsking | Phase::Closing => {}
        }
    }

    /// Ends it: a last word, and a short while for it to arrive.
    pub fn close(&mut self, context: &mut Context<'_>, reason: Reason) -> Step {
        match self.phase {
            Phase::Opening | Phase::Asking => return Step::Gone(reason),
            Phase::Closing => return Step::Stay,
            Phase::Nameless | Phase::NamelessAsking | Phase::Open | Phase::Leaving => {}
        }
        let row = reason.consequence();
        self.close_with(context, reason, row.code, row.text)
    }

    /// Ends it with a close code of the protocol's own.
    pub(super) fn close_with(
        &mut self,
        context: &mut Context<'_>,
        reason: Reason,
        code: u16,
        text: &str,
    ) -> Step {
        self.abandon_outbox(context.tools);
        self.write_control(context, |is_sse, out| match is_sse {
            true => {
                sse::write_close(out, code, text);
                if !Mutant::LastChunkForgotten.is_on() {
                    out.extend_from_slice(sse::LAST_CHUNK);
                }
            }
            false => ws::write_close(out, code, text),
        });
        self.start_closing(context, reason)
    }

    /// The client closed by the protocol's own handshake: its close is answered, and then the connection is gone.
    pub(super) fn answer_close(&mut self, context: &mut Context<'_>, code: Option<u16>) -> Step {
        let reason = if self.phase == Phase::Leaving { self.reason } else { Reason::ClientClosed };
        self.abandon_outbox(context.tools);
        self.write_control(context, |_, out| match code {
            Some(code) => ws::write_close(out, code, ""),
            None => ws::write_frame(out, ws::Op::Close, b"", false),
        });
        self.gone_when_flushed(context, reason)
    }

    /// From now on it takes nothing; it is gone when the peer has closed, or soon.
    pub(super) fn start_closing(&mut self, context: &mut Context<'_>, reason: Reason) -> Step {
        if self.phase.waits() {
            context.tools.stats.handshake_refused(reason);
            self.stop_waiting(context.tools, Phase::Closing);
        }
        self.unregister(context);
        self.phase = Phase::Closing;
        self.reason = reason;
        self.ends_at = context.tick.plus_ms(CLOSE_TIMEOUT_MS);
        self.set(flag::SHUT_WHEN_FLUSHED, true);
        Step::Stay
    }

    /// From now on it takes nothing; it is gone when the last byte has gone, or soon.
    fn gone_when_flushed(&mut self, context: &mut Context<'_>, reason: Reason) -> Step {
        let _ = self.start_closing(context, reason);
        self.set(flag::SHUT_WHEN_FLUSHED, false);
        self.set(flag::GONE_WHEN_FLUSHED, true);
        if context.tools.lents.needs_nothing(self.lent) { Step::Gone(reason) } else { Step::Stay }
    }

    /// The peer's bytes after the end are dropped; a WebSocket's close frame among them ends the wait.
    pub(super) fn handle_closing_bytes(&mut self, context: &mut Context<'_>, input: &mut [u8]) -> Step {
        if !self.is(flag::ACCEPTED) || self.is(flag::SSE) || self.is(flag::UNREADABLE) {
            return Step::Stay;
        }
        let closed = self.reads_close(context, input);
        if !closed {
            return Step::Stay;
        }
        if context.tools.lents.needs_nothing(self.lent) {
            return Step::Gone(self.reason);
        }
        self.set(flag::GONE_WHEN_FLUSHED, true);
        Step::Stay
    }

    /// Bytes of ours, in the connection's own protocol: the shard sends them, behind what waits.
    pub(super) fn write_control(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(bool, &mut Vec<u8>),
    ) {
        write(self.is(flag::SSE), &mut context.tools.out);
    }

    /// The kernel would not take these of our bytes, or others wait before them. A client that will not even take these
    /// is too slow to be kept.
    pub fn hold_rest(&mut self, context: &mut Context<'_>, rest: &[u8]) -> Step {
        let limit = context.tools.settings.outbox_bytes;
        let outbox = &mut self.lent(context.tools, context.handle).outbox;
        // A message larger than the limit may be waiting alone: the limit is then that.
        let limit = limit.max(outbox.first_bytes()).max(rest.len());
        match outbox.push_control(Bytes::copy_from_slice(rest), limit) {
            true => Step::Stay,
            false => Step::Gone(Reason::SlowClient),
        }
    }

    /// What waits is not written after the last word; what has been begun must be ended for the rest to be understood.
    fn abandon_outbox(&mut self, tools: &mut Tools) {
        if let Some(lent) = tools.lents.get_mut(self.lent) {
            lent.outbox.abandon(Outcome::Stale, true);
        }
        self.give_back(tools);
    }
}
