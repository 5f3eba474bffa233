//! Reading, writing and closing one connection.

use super::{Shard, context, net::Net};
use crate::{
    conn::{Step, outbox::Outgoing},
    kit::{
        mutant::Mutant,
        slab::Key,
        time::{Now, Tick},
    },
    model::{Outcome, Reason, reason::Loudness},
};
use std::io::{ErrorKind, IoSlice};

/// Reads of one connection per turn: 256 KiB, then others have their turn.
const READS_PER_TURN: usize = 4;
/// Connections left over from earlier turns that are read in one turn.
const UNREAD_PER_TURN: usize = 64;
/// Pieces of an outbox in one vectored write.
const PIECES_MAX: usize = 16;
/// Vectored writes of one connection per turn.
const WRITES_PER_TURN: usize = 16;
/// Connections closed in one turn because the node's buffers are over their budget.
const SHEDS_PER_TURN: usize = 16;

impl<N: Net> Shard<N> {
    /// Reads what is there; to the end, where the peer has closed.
    pub(super) fn read(&mut self, now: Now, key: Key, ended: bool) {
        for _ in 0..READS_PER_TURN {
            let Some(entry) = self.table.get_mut(key) else { return };
            let waits_since = entry.connection.waits_since();
            let received = self.net.receive(entry.socket, &mut self.scratch);
            let mut context = context(&self.own, &mut self.tools, now, key, None);
            let (step, more) = match received {
                Ok(0) => (entry.connection.handle_gone(None), false),
                Ok(count) => {
                    let step = entry.connection.handle_bytes(&mut context, &mut self.scratch[..count]);
                    (step, ended || count == self.scratch.len())
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => (entry.connection.handle_gone(Some(error.kind())), false),
            };
            self.settle_handshake(now, key, waits_since, step);
            if !more {
                return;
            }
        }
        let more = self.table.get_mut(key).is_some_and(|entry| entry.connection.set_more_to_read(true));
        if more && !Mutant::UnreadForgotten.is_on() {
            self.unread.push_back(key);
        }
    }

    /// Goes on with connections that had more to read than a turn takes.
    pub(super) fn read_more(&mut self, now: Now) {
        for _ in 0..self.unread.len().min(UNREAD_PER_TURN) {
            let Some(key) = self.unread.pop_front() else { return };
            if let Some(entry) = self.table.get_mut(key) {
                entry.connection.set_more_to_read(false);
            }
            // Read to the end: that it has one may have been said by an event of an earlier turn.
            self.read(now, key, true);
        }
    }

    /// The kernel has room again.
    pub(super) fn flush(&mut self, now: Now, key: Key) {
        let mut full = false;
        for _ in 0..WRITES_PER_TURN {
            let Some(entry) = self.table.get_mut(key) else { return };
            let Some(lent) = self.tools.lents.get_mut(entry.connection.lent_ref()) else { return };
            if lent.outbox.is_empty() {
                return;
            }
            // What is too late is not begun only because room came before its timer.
            lent.outbox.expire(now.tick());
            if lent.outbox.is_empty() {
                self.with(now, key, |connection, context| connection.handle_flushed(context));
                return;
            }
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            let count = lent.outbox.slices(&mut pieces);
            match self.net.send_pieces(entry.socket, &pieces[..count]) {
                Ok(sent) => {
                    let micros = self.net.micros();
                    let (stats, dedup) = (&self.tools.stats, &self.own.dedup);
                    stats.bytes_out(sent as u64);
                    lent.outbox.advance(sent, |message| written(stats, dedup, message, now, micros));
                    if lent.outbox.is_empty() {
                        self.with(now, key, |connection, context| connection.handle_flushed(context));
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    full = true;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.with(now, key, |connection, _| connection.handle_gone(Some(error.kind())));
                    return;
                }
            }
        }
        // The turn's share is used up, the socket's room is not: asked anew, epoll reports it once more. It fails only for a
        // socket that is gone, which is reported as an event.
        if !full && let Some(entry) = self.table.get(key) {
            let _ = self.net.watch_writable(entry.socket, key.to_token(), true);
        }
        self.with(now, key, |_, _| Step::Stay);
    }

    /// [`Shard::settle`] after an event by which a connection may have got its identity: `since` is when it came, if it had none
    /// before.
    pub(super) fn settle_handshake(&mut self, now: Now, key: Key, since: Option<Tick>, step: Step) {
        let since = since.filter(|_| self.table.get(key).is_some_and(|entry| entry.connection.is_accepted()));
        self.settle(now, key, step);
        if let Some(since) = since {
            let waited_us = now.tick().ms_since(since) * 1_000;
            self.accepted(now, key, now.micros.saturating_sub(waited_us));
        }
    }

    /// After every event: what the connection has to say is sent, its timer and its buffers are brought up to date, and
    /// it is forgotten where it is gone.
    pub(super) fn settle(&mut self, now: Now, key: Key, step: Step) {
        let step = self.send_control(now, key, step);
        match step {
            Step::Gone(reason) => self.remove(now, key, reason),
            Step::Stay => {
                self.shut_if_done(key);
                self.watch(key);
                self.rearm(now, key);
                if let Some(entry) = self.table.get(key) {
                    self.tools.lents.account(entry.connection.lent_ref());
                }
            }
        }
        self.displace(now);
    }

    /// Asks to be told when a connection can be written exactly while something waits.
    pub(super) fn watch(&mut self, key: Key) {
        let Some(entry) = self.table.get_mut(key) else { return };
        let lent = self.tools.lents.get(entry.connection.lent_ref());
        let waits = lent.is_some_and(|lent| !lent.outbox.is_empty()) && !Mutant::RoomNotAskedFor.is_on();
        if let Some(on) = entry.connection.change_watch(waits) {
            // It fails only for a socket that is gone, which is reported as an event.
            let _ = self.net.watch_writable(entry.socket, key.to_token(), on);
        }
    }

    pub(super) fn remove(&mut self, now: Now, key: Key, reason: Reason) {
        let Some(entry) = self.table.get_mut(key) else { return };
        let (phase, accepted) = (entry.connection.phase(), entry.connection.is_accepted());
        let (protocol, socket) = (entry.connection.protocol(), entry.socket);
        let mut context = context(&self.own, &mut self.tools, now, key, None);
        entry.connection.release(&mut context);
        if !Mutant::TimerOutlivesItsConnection.is_on() {
            self.wheel.cancel(&mut self.table, key.index);
        }
        self.table.remove(key);
        self.net.close(socket);
        if accepted && !Mutant::CloseNotCounted.is_on() {
            self.tools.stats.closed(protocol, reason);
        } else if phase.waits() {
            self.tools.stats.handshake_refused(reason);
        }
        self.log_end(now, key, reason, accepted);
    }

    /// Above `limits.buffer_bytes` the largest go first.
    pub(super) fn shed_buffers(&mut self, now: Now) {
        self.tools.lents.publish(&mut self.published_buffers, &self.tools.shared.buffers);
        for _ in 0..SHEDS_PER_TURN {
            let used = self.tools.shared.buffers.load(std::sync::atomic::Ordering::Relaxed);
            if used <= self.tools.settings.buffer_bytes || Mutant::BuffersWithoutLimit.is_on() {
                return;
            }
            let Some(key) = self.tools.lents.largest().and_then(|slot| self.table.key_at(slot)) else {
                return;
            };
            self.with(now, key, |connection, context| connection.close(context, Reason::BufferPressure));
            // Its buffers are what must go: the close frame is sent if the kernel takes it now.
            self.remove(now, key, Reason::BufferPressure);
            self.tools.lents.publish(&mut self.published_buffers, &self.tools.shared.buffers);
        }
    }

    pub(super) fn log_rarely(&mut self, now: Now, log: impl FnOnce()) {
        if self.log_budget.try_take(now.micros) {
            log();
        }
    }

    fn send_control(&mut self, now: Now, key: Key, step: Step) -> Step {
        if self.tools.out.is_empty() {
            return step;
        }
        let mut out = std::mem::take(&mut self.tools.out);
        let step = self.send_or_hold(now, key, step, &out);
        out.clear();
        self.tools.out = out;
        step
    }

    fn send_or_hold(&mut self, now: Now, key: Key, step: Step, out: &[u8]) -> Step {
        let Some(entry) = self.table.get_mut(key) else { return step };
        let lent = self.tools.lents.get(entry.connection.lent_ref());
        let mut sent = 0;
        if lent.is_none_or(|lent| lent.outbox.is_empty()) || Mutant::ControlCutsIn.is_on() {
            match self.net.send(entry.socket, out) {
                Ok(count) => sent = count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return entry.connection.handle_gone(Some(error.kind())),
            }
            self.tools.stats.bytes_out(sent as u64);
        }
        match step {
            Step::Stay if sent < out.len() => {
                let mut context = context(&self.own, &mut self.tools, now, key, None);
                entry.connection.hold_rest(&mut context, &out[sent..])
            }
            step => step,
        }
    }

    fn shut_if_done(&mut self, key: Key) {
        let Some(entry) = self.table.get_mut(key) else { return };
        let lent = self.tools.lents.get(entry.connection.lent_ref());
        if lent.is_none_or(|lent| lent.outbox.is_empty()) && entry.connection.take_shut() {
            self.net.shut_write(entry.socket);
        }
    }

    /// Connections that an event put out of their place: ours are closed now, others' by letter.
    fn displace(&mut self, now: Now) {
        while let Some((handle, reason)) = self.tools.displaced.pop() {
            if Mutant::DisplacedNotClosed.is_on() {
                continue;
            }
            if handle.shard == self.own.index {
                self.with(now, handle.key, |connection, context| connection.close(context, reason));
            } else {
                self.undelivered.push((handle, reason));
            }
        }
        if !self.undelivered.is_empty() {
            self.post_undelivered();
        }
    }

    fn log_end(&mut self, now: Now, key: Key, reason: Reason, accepted: bool) {
        let (label, loudness) = (reason.label(), reason.consequence().loudness);
        let (shard, slot) = (self.own.index, key.index);
        match loudness {
            Loudness::Debug => tracing::debug!(shard, slot, reason = label, accepted, "connection ended"),
            Loudness::Info => {
                self.log_rarely(now, || {
                    tracing::info!(shard, slot, reason = label, accepted, "connection ended")
                });
            }
            Loudness::Error => {
                self.log_rarely(now, || {
                    tracing::error!(shard, slot, reason = label, accepted, "connection ended")
                });
            }
        }
    }
}

/// The kernel took a message's last byte.
fn written(
    stats: &crate::stats::ShardStats,
    dedup: &crate::directory::Dedup,
    message: Outgoing,
    now: Now,
    micros: u64,
) {
    if let Some(key) = message.dedup {
        dedup.remember(key, now.millis());
    }
    stats.delivered(message.lane, micros.saturating_sub(message.entered_us));
    message.ticket.answer(Outcome::Written);
}
