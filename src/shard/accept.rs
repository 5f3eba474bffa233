//! New connections: accepted within a budget, read at once, registered with epoll last.

use super::{
    Shard, context,
    net::{Net, NotAccepted, Socket},
    table::Entry,
};
use crate::{
    conn::{Connection, Step},
    kit::{
        mutant::Mutant,
        time::{Now, Tick},
        wheel::Timer,
    },
    model::Reason,
};
use std::{io::ErrorKind, net::IpAddr};

/// Connections accepted per listener and turn: a storm of them must not starve those that are here.
const ACCEPTS_PER_TURN: usize = 256;
/// Connections accepted per listener before a drain refuses: what the kernel had queued before.
const ACCEPTS_BEFORE_REFUSAL: usize = 65_536;
/// Out of descriptors, nothing is accepted for so long, ms: one connection was answered by closing it, the rest wait in
/// the kernel's queue.
const NO_DESCRIPTOR_PAUSE_MS: u64 = 100;

impl<N: Net> Shard<N> {
    pub(super) fn accept_some(&mut self, now: Now) {
        let over = self.accept_after.is_some_and(|after| after.reached(now.tick()));
        if over && !Mutant::AcceptPausedForEver.is_on() {
            self.accept_after = None;
        }
        for listener in 0..self.accepting.len() {
            if self.accepting[listener] && self.accept_after.is_none() {
                self.accept_from(now, listener, ACCEPTS_PER_TURN);
            }
        }
    }

    /// Whether there are connections to accept right now.
    pub(super) fn accepts_now(&self, now: Now) -> bool {
        let paused = self.accept_after.is_some_and(|after: Tick| !after.reached(now.tick()));
        !paused && self.accepting.contains(&true)
    }

    /// Listeners that somebody else holds are left to him, with who waits there: nobody is refused. Else what the kernel has
    /// queued is taken in, so that only those who come later are refused.
    pub(super) fn stop_accepting(&mut self, now: Now) {
        let left = self.net.leave_listeners().unwrap_or_else(|error| {
            tracing::error!(%error, "the listeners cannot be left to others: refusing");
            false
        });
        if left {
            self.accepting.fill(false);
            self.left_to_others = true;
            return;
        }
        for listener in 0..self.accepting.len() {
            self.accept_from(now, listener, ACCEPTS_BEFORE_REFUSAL);
        }
        self.tools.refusing = true;
    }

    /// Takes back what [`Shard::stop_accepting`] did.
    pub(super) fn accept_again(&mut self, now: Now) {
        self.tools.refusing = false;
        self.left_to_others = false;
        if let Err(error) = self.net.take_back_listeners() {
            self.log_rarely(now, || tracing::error!(%error, "the listeners cannot be watched again"));
        }
    }

    fn accept_from(&mut self, now: Now, listener: usize, budget: usize) {
        for _ in 0..budget {
            match self.net.accept(listener) {
                Ok((socket, peer)) => self.open(now, socket, peer),
                Err(NotAccepted::Nobody) => {
                    self.accepting[listener] = false;
                    return;
                }
                Err(NotAccepted::NoDescriptor) => {
                    self.out_of_descriptors(now, listener);
                    return;
                }
                // That one is gone already; the kernel reports it by the call that would have accepted it.
                Err(NotAccepted::Failed(error)) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(NotAccepted::Failed(error)) => {
                    self.log_rarely(now, || tracing::warn!(%error, "accepting failed; trying again shortly"));
                    self.accept_after = Some(now.tick().plus_ms(NO_DESCRIPTOR_PAUSE_MS));
                    return;
                }
            }
        }
    }

    fn out_of_descriptors(&mut self, now: Now, listener: usize) {
        self.tools.stats.accept_emfile();
        if self.net.accept_and_close(listener) {
            self.tools.stats.handshake_refused(Reason::NoDescriptor);
        }
        self.accept_after = Some(now.tick().plus_ms(NO_DESCRIPTOR_PAUSE_MS));
        self.log_rarely(now, || {
            tracing::warn!(
                "out of descriptors: raise the limit (LimitNOFILE, ulimit -n) or lower limits.connections"
            );
        });
    }

    fn open(&mut self, now: Now, socket: Socket, peer: IpAddr) {
        let connection = Connection::new(now.tick(), &self.tools.settings);
        let Some(key) = self.table.insert(Entry { timer: Timer::UNARMED, socket, connection }) else {
            self.net.close(socket);
            self.tools.stats.handshake_refused(Reason::Full);
            return;
        };
        self.tools.opening += 1;
        self.wheel.schedule(
            &mut self.table,
            key.index,
            now.tick().plus_ms(self.tools.settings.handshake_timeout_ms),
        );
        let began_us = self.net.micros();
        // The kernel hands over a connection when its request is there: most need no event to be answered.
        let step = match self.net.receive(socket, &mut self.scratch) {
            Ok(0) => Step::Gone(Reason::ClientGone),
            Ok(count) => self.first_bytes(now, key, peer, count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.silence(now, key, peer),
            Err(_) => Step::Gone(Reason::ClientGone),
        };
        let accepted = self.table.get(key).is_some_and(|entry| entry.connection.is_accepted());
        self.settle(now, key, step);
        if self.table.get(key).is_some() {
            self.register(now, key, socket);
        }
        if accepted {
            self.accepted(now, key, began_us);
        }
    }

    /// A connection has just been accepted, though it may be gone again: its timer is now that of its life.
    pub(super) fn accepted(&mut self, now: Now, key: crate::kit::slab::Key, began_us: u64) {
        self.tools.stats.handshake_accepted(self.net.micros().saturating_sub(began_us));
        let Some(entry) = self.table.get_mut(key) else { return };
        let mut context = context(&self.own, &mut self.tools, now, key, None);
        let due = entry.connection.first_deadline(&mut context);
        self.wheel.schedule(&mut self.table, key.index, due);
        self.ask_late_comer(now, key);
    }

    /// Whose handshake ends after the listeners were left to others is served all the same. Where the goaways have passed his
    /// slot already, he has his now.
    fn ask_late_comer(&mut self, now: Now, key: crate::kit::slab::Key) {
        let passed = self.leaving.as_ref().is_none_or(|leaving| leaving.has_passed(key.index));
        if self.left_to_others && passed {
            self.with(now, key, |connection, context| {
                connection.goaway(context, Reason::Drain);
                Step::Stay
            });
        }
    }

    fn first_bytes(&mut self, now: Now, key: crate::kit::slab::Key, peer: IpAddr, count: usize) -> Step {
        let Some(entry) = self.table.get_mut(key) else { return Step::Stay };
        let mut context = context(&self.own, &mut self.tools, now, key, Some(peer));
        entry.connection.handle_bytes(&mut context, &mut self.scratch[..count])
    }

    fn silence(&mut self, now: Now, key: crate::kit::slab::Key, peer: IpAddr) -> Step {
        let Some(entry) = self.table.get_mut(key) else { return Step::Stay };
        let mut context = context(&self.own, &mut self.tools, now, key, Some(peer));
        entry.connection.handle_silence(&mut context)
    }

    fn register(&mut self, now: Now, key: crate::kit::slab::Key, socket: Socket) {
        if let Err(error) = self.net.register(socket, key.to_token()) {
            self.log_rarely(now, || {
                tracing::error!(%error, "epoll takes no more sockets: raise fs.epoll.max_user_watches");
            });
            self.with(now, key, |_, _| Step::Gone(Reason::ServerError));
            return;
        }
        // A first write that was cut short waits for room.
        let Some(entry) = self.table.get_mut(key) else { return };
        entry.connection.set_registered();
        self.watch(key);
    }
}
