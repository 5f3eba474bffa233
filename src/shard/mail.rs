//! Letters from other threads.

use super::{
    Shard, context,
    net::Net,
    sweep::{BroadcastSweep, LeavingSweep},
};
use crate::{
    conn::Step,
    kit::{completion::Ticket, mailbox::Full, mutant::Mutant, slab::Key, time::Now},
    model::{
        Identity, Message, Outcome, Reason,
        mail::{ToShard, post_control},
    },
};
use std::io::ErrorKind;

/// Letters handled per turn: about 5 ms of writes.
const LETTERS_PER_TURN: usize = 1_024;

impl<N: Net> Shard<N> {
    /// Handles letters; says whether there are more.
    pub(super) fn read_mail(&mut self, now: Now) -> bool {
        let mut letters = std::mem::take(&mut self.letters);
        let more = self.mail.take(LETTERS_PER_TURN, &mut letters);
        for letter in letters.drain(..) {
            self.handle_letter(now, letter);
        }
        self.letters = letters;
        more
    }

    fn handle_letter(&mut self, now: Now, letter: ToShard) {
        match letter {
            ToShard::Deliver { key, message, ticket } => {
                let mut ticket = Some(ticket);
                let outcome = self.deliver(now, key, &message, || ticket.take().unwrap_or_else(Ticket::none));
                if outcome == Some(Outcome::Written) {
                    let micros = self.net.micros().saturating_sub(message.entered_us);
                    self.tools.stats.delivered(message.lane, micros);
                }
                if let (Some(outcome), Some(ticket)) = (outcome, ticket) {
                    ticket.answer(outcome);
                }
            }
            ToShard::Broadcast(broadcast, hold) => {
                let end = self.table.high_water();
                self.broadcasts.push(BroadcastSweep::new(broadcast, hold, end, now.tick()));
            }
            ToShard::Close { key, reason, goaway: true } => self.with(now, key, |connection, context| {
                connection.goaway(context, reason);
                Step::Stay
            }),
            ToShard::Close { key, reason, goaway: false } => {
                self.with(now, key, |connection, context| connection.close(context, reason));
            }
            ToShard::Identified { key, verdict } => self.hear_verdict(now, key, *verdict),
            ToShard::Drain { window_ms } => {
                self.stop_accepting(now);
                self.leaving = Some(LeavingSweep::new(self.table.high_water(), now.tick(), window_ms));
            }
            ToShard::CancelDrain => {
                self.accept_again(now);
                self.leaving = None;
            }
            ToShard::Reload => {
                self.tools.take_settings(now.micros);
                self.table.set_limit(self.tools.settings.table_max);
            }
            ToShard::Beat => {}
            ToShard::Stop => {
                for slot in 0..self.table.high_water() {
                    if let Some(key) = self.table.key_at(slot) {
                        self.end_now(now, key, Reason::Drain);
                    }
                }
                self.net.close_listeners();
                self.stopped = true;
            }
        }
    }

    /// Somebody who was asked has answered. Of a client that has gone meanwhile nothing is heard.
    fn hear_verdict(&mut self, now: Now, key: Key, verdict: Result<Identity<'static>, Reason>) {
        let Some(entry) = self.table.get_mut(key) else { return };
        let since = entry.connection.waits_since();
        let mut context = context(&self.own, &mut self.tools, now, key, None);
        let step = entry.connection.handle_verdict(&mut context, verdict);
        self.settle_handshake(now, key, since, step);
    }

    /// Writes a message to a connection. None: it waits, and the ticket that was asked for will be answered. The time that a
    /// message written at once has taken is the caller's to count.
    pub(super) fn deliver(
        &mut self,
        now: Now,
        key: Key,
        message: &Message,
        ticket: impl FnOnce() -> Ticket<Outcome>,
    ) -> Option<Outcome> {
        let Some(entry) = self.table.get_mut(key) else { return Some(Outcome::Stale) };
        let mut context = context(&self.own, &mut self.tools, now, key, None);
        let prepared = match entry.connection.prepare(&mut context, message) {
            Ok(prepared) => prepared,
            Err(outcome) => return Some(outcome),
        };
        let mut sent = 0;
        if context.tools.lents.get(entry.connection.lent_ref()).is_none_or(|lent| lent.outbox.is_empty()) {
            match self.net.send(entry.socket, prepared.bytes) {
                Ok(count) => sent = count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => {
                    self.with(now, key, |connection, _| connection.handle_gone(Some(error.kind())));
                    return Some(Outcome::Stale);
                }
            }
        }
        context.tools.stats.bytes_out(sent as u64);
        if sent == prepared.bytes.len() {
            if let Some(key) = prepared.dedup {
                self.own.dedup.remember(key, now.millis());
            }
            return Some(Outcome::Written);
        }
        let step = entry.connection.hold_message(&mut context, message, &prepared, ticket(), sent);
        self.settle(now, key, step);
        None
    }

    /// Tells other shards of their connections that were put out of their place. What finds no room is kept: each
    /// connection is in this list at most once, so it is bounded by the node's connections.
    pub(super) fn post_undelivered(&mut self) {
        let shards = &self.shards;
        self.undelivered.retain(|&(handle, reason)| {
            let letter = ToShard::Close { key: handle.key, reason, goaway: false };
            match shards.get(usize::from(handle.shard)) {
                Some(shard) => {
                    let is_full = matches!(post_control(shard, letter), Err(Full(_)));
                    is_full && !shard.is_closed() && !Mutant::DisplacedLetterLost.is_on()
                }
                None => false,
            }
        });
    }
}
