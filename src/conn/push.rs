//! A message for a connection: whether it may go, and its bytes on the connection's wire.

use super::{
    Connection, Context, Step, Tools, flag,
    outbox::{Outgoing, Queued},
};
use crate::{
    kit::{completion::Ticket, mutant::Mutant, token_bucket::TokenBucket},
    model::{Body, Message, Outcome, Reason},
    proto::{sse, ws},
    stats::Pressure,
};
use bytes::Bytes;

/// A message that may be written now.
pub struct Prepared<'m> {
    /// Its bytes on the connection's wire, shared with every other connection that has it.
    pub bytes: &'m Bytes,
    /// To be remembered once it is written.
    pub dedup: Option<u64>,
}

impl Connection {
    /// Decides about a message.
    ///
    /// # Errors
    /// The outcome, where it is not to be written.
    pub fn prepare<'m>(
        &mut self,
        context: &mut Context<'_>,
        message: &'m Message,
    ) -> Result<Prepared<'m>, Outcome> {
        if !self.takes_messages() && !Mutant::MessageAfterClose.is_on() {
            return Err(Outcome::Stale);
        }
        if message.is_expired(context.now.unix_ms) {
            return Err(Outcome::Expired);
        }
        let lanes = &context.tools.settings.lanes;
        let sheds = context.tools.shared.pressure() >= Pressure::ShedLow;
        if sheds && lanes.len() > 1 && message.lane == lanes.lowest() {
            return Err(Outcome::Failed);
        }
        let dedup = self.dedup_key(context, message);
        if dedup.is_some_and(|key| context.dedup.is_duplicate(key, context.now.millis())) {
            return Err(Outcome::Duplicate);
        }
        if !self.take_push_token(context) {
            return Err(Outcome::RateLimited);
        }
        Ok(Prepared { bytes: self.encode(context.tools, message), dedup })
    }

    /// Holds a message of which the kernel has taken `gone` bytes, or none because others wait.
    pub fn hold_message(
        &mut self,
        context: &mut Context<'_>,
        message: &Message,
        prepared: &Prepared<'_>,
        ticket: Ticket<Outcome>,
        gone: usize,
    ) -> Step {
        let settings = context.tools.settings.clone();
        let timeout_ms = settings.delivery_timeout_ms.min(message.timeout_ms.unwrap_or(u64::MAX));
        let left_ms = message.expires_unix_ms.map(|expires| expires.saturating_sub(context.now.unix_ms));
        let dies_by_expiry = left_ms.is_some_and(|left_ms| left_ms < timeout_ms);
        let wait_ms = if dies_by_expiry { left_ms.unwrap_or(0) } else { timeout_ms };
        let outgoing = Box::new(Outgoing {
            bytes: prepared.bytes.clone(),
            ticket,
            lane: message.lane,
            policy: settings.lanes.config(message.lane).policy,
            collapse: message.collapse.as_ref().map(|collapse| collapse.hash),
            dedup: prepared.dedup,
            entered_us: message.entered_us,
            deadline: context.tick.plus_ms(wait_ms).plus(1),
            dies_by_expiry,
        });
        let outbox = &mut self.lent(context.tools, context.handle).outbox;
        if outbox.is_empty() && gone > 0 && !Mutant::BegunMessageBeginsAnew.is_on() {
            outbox.push_begun(outgoing, gone);
            return Step::Stay;
        }
        match outbox.push(outgoing, settings.outbox_bytes) {
            Queued::Yes => Step::Stay,
            Queued::NoRoom(refused) => {
                refused.ticket.answer(Outcome::Slow);
                Step::Stay
            }
            Queued::Close(refused) => {
                refused.ticket.answer(Outcome::Slow);
                self.close(context, Reason::SlowClient)
            }
        }
    }

    fn encode<'m>(&self, tools: &mut Tools, message: &'m Message) -> &'m Bytes {
        let payload = message.body.bytes();
        if self.is(flag::SSE) {
            return message.wires.sse.get_or_init(|| encode_event(message));
        }
        let op = if message.body.is_binary() { ws::Op::Binary } else { ws::Op::Text };
        let plain = || {
            message.wires.websocket.get_or_init(|| {
                // No byte too much: else what is left over costs `Bytes` an allocation.
                let mut frame = Vec::with_capacity(ws::frame_bytes(payload.len()));
                ws::write_frame(&mut frame, op, payload, false);
                frame.into()
            })
        };
        if !self.compresses(payload.len(), tools.settings.deflate_min_bytes) {
            return plain();
        }
        message.wires.websocket_deflated.get_or_init(|| {
            let mut compressed = Vec::new();
            tools.deflater.compress(payload, &mut compressed);
            if compressed.len() >= payload.len() {
                return plain().clone();
            }
            let mut frame = Vec::with_capacity(ws::frame_bytes(compressed.len()));
            ws::write_frame(&mut frame, op, &compressed, true);
            frame.into()
        })
    }

    fn dedup_key(&self, context: &Context<'_>, message: &Message) -> Option<u64> {
        let id = message.id.as_ref()?;
        let own_id = || context.id().to_string();
        context.tools.directory.identity(self.record, context.handle, |user, device| match device {
            Some(device) => context.dedup.key(user, device, id.as_str()),
            None => context.dedup.key(user, &own_id(), id.as_str()),
        })
    }

    fn take_push_token(&self, context: &mut Context<'_>) -> bool {
        let Some(rate) = context.tools.settings.push_rate else { return true };
        let now_us = context.now.micros;
        let bucket = context.tools.push_buckets.entry(context.handle.key.index).or_insert_with(|| {
            let burst = f64::from(rate.count);
            TokenBucket::new(burst * 1_000.0 / rate.window_ms as f64, burst, now_us)
        });
        bucket.try_take(now_us)
    }
}

fn encode_event(message: &Message) -> Bytes {
    let id = message.id.as_ref().map(|id| id.as_str());
    let mut event = Vec::with_capacity(message.body.bytes().len() + 64);
    match &message.body {
        Body::Binary(bytes) => sse::write_push_binary(&mut event, id, bytes),
        // Checked where it came in.
        Body::Text(bytes) | Body::Json(bytes) => {
            sse::write_push(&mut event, id, &String::from_utf8_lossy(bytes));
        }
    }
    event.into()
}
