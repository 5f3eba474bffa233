//! What is done to clients on purpose: some are cut off, some vanish, some stop reading.

use super::{
    Worker,
    command::Cut,
    connection::{Connection, Manner, Mark, Phase},
    net,
    tally::Ending,
};
use crate::plan::is_chosen;

impl Worker {
    pub(super) fn cut(&mut self, now: u64, share: f64, how: Cut) {
        let is_open = |connection: &Connection| connection.phase == Phase::Open;
        self.with_some(share, is_open, |worker, key| {
            worker.connections[key].mark(Mark::Cut);
            match how {
                Cut::Reset => worker.reset(now, key),
                Cut::Fin => worker.fall_silent(now, key),
                Cut::Close => worker.leave(now, key),
                Cut::Vanish => worker.vanish(key),
            }
        });
    }

    pub(super) fn stall(&mut self, share: f64) {
        let is_read = |connection: &Connection| {
            connection.phase == Phase::Open
                && connection.manner != Manner::Slow
                && !connection.is(Mark::Stalled)
        };
        for key in 0..self.connections.end() {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if is_read(connection) && is_chosen(connection.client, share) {
                connection.mark(Mark::Stalled);
                connection.mark(Mark::Dull);
                self.tally.stalled += 1;
            }
        }
    }

    pub(super) fn resume(&mut self, now: u64) {
        for key in 0..self.connections.end() {
            if self.connections.get(key).is_some_and(|connection| connection.is(Mark::Stalled)) {
                self.unstall(key);
                self.read(now, key);
            }
        }
    }

    /// It is read again from now on.
    pub(super) fn unstall(&mut self, key: usize) {
        if self.connections[key].unmark(Mark::Stalled) {
            self.tally.stalled -= 1;
        }
    }

    /// From now on it hears and says nothing.
    fn vanish(&mut self, key: usize) {
        let Some(socket) = &self.connections[key].socket else { return };
        if let Err(error) = net::deafen(socket) {
            return self.fault(key, &format!("cannot vanish: {error}"));
        }
        self.forget_edges(key);
        self.unstall(key);
        self.give_back(key);
        *self.tally.open.at(self.protocol(key)) -= 1;
        *self.tally.endings.entry(Ending::Vanished).or_default() += 1;
        self.tally.vanished += 1;
        self.enter(key, Phase::Vanished);
    }

    /// Resets the sockets of those that have vanished.
    pub(super) fn bury(&mut self) {
        for key in 0..self.connections.end() {
            let Some(connection) = self.connections.get(key) else { continue };
            if let Some(socket) = connection.socket.as_ref().filter(|_| connection.phase == Phase::Vanished) {
                net::reset_on_close(socket);
                self.tally.vanished -= 1;
                self.tally.buried += 1;
                self.let_go(key);
            }
        }
    }

    /// Acts on a share of the connections that are as wished: on so many of them, each as likely as the other.
    fn with_some(
        &mut self,
        share: f64,
        wish: impl Fn(&Connection) -> bool,
        mut act: impl FnMut(&mut Self, usize),
    ) {
        let end = self.connections.end();
        let fits = |worker: &Self, key: usize| worker.connections.get(key).is_some_and(&wish);
        let mut left = (0..end).filter(|&key| fits(self, key)).count() as u64;
        let mut wanted = (left as f64 * share.clamp(0.0, 1.0)).round() as u64;
        for key in 0..end {
            if wanted > 0 && fits(self, key) {
                if self.random.u64(..left) < wanted {
                    wanted -= 1;
                    act(self, key);
                }
                left -= 1;
            }
        }
    }
}
