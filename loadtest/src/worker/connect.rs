//! How a connection begins: when, from where to where, and what it asks for.

use super::{
    OPENS_PER_TURN, Schedule, Worker,
    connection::{Connection, Manner, Phase},
    net,
    tally::Failure,
    timers::What,
};
use crate::{
    client::{Dialect, head},
    plan::DEVICE,
};
use mio::{Interest, Token, unix::SourceFd};
use std::os::fd::AsRawFd;

impl Worker {
    pub(super) fn open_due(&mut self, now: u64) {
        for _ in 0..OPENS_PER_TURN {
            let due = self.schedules.iter().position(|schedule| self.due_us(schedule) <= now);
            let Some(at) = due.filter(|_| self.has_room()) else { return };
            let meant_us = self.due_us(&self.schedules[at]);
            let threads = self.threads();
            let Schedule { wave, next, .. } = &mut self.schedules[at];
            let (wave, client) = (*wave, wave.first + *next);
            *next += threads;
            if *next >= wave.count {
                self.schedules.remove(at);
            }
            let target = self.settings.turn(client) as usize % self.settings.targets.len();
            let dwell_ms = wave.dwell.as_millis() as u32;
            let connection = Connection::new(client, target as u16, meant_us, dwell_ms, wave.manner);
            let key = self.connections.insert(connection);
            self.connect(now, key);
        }
    }

    pub(super) fn connect(&mut self, now: u64, key: usize) {
        let connection = &mut self.connections[key];
        let settings = &self.settings;
        let target = settings.targets[usize::from(connection.target)];
        // Clients of one target take all sources in turn.
        let turn = settings.turn(connection.client) as usize / settings.targets.len();
        let source = (!settings.sources.is_empty()).then(|| settings.sources[turn % settings.sources.len()]);
        self.tally.started += 1;
        self.tally.in_flight += 1;
        self.tally.late_us.saturating_record(now.saturating_sub(connection.meant_us).max(1));
        let narrow = connection.manner == Manner::Slow;
        let opened = net::connect(source, target, narrow).and_then(|socket| {
            let both = Interest::READABLE | Interest::WRITABLE;
            let registered =
                self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(key), both);
            registered.map(|()| socket).map_err(|error| Failure::of(&error))
        });
        match opened {
            Ok(socket) => {
                connection.socket = Some(socket);
                connection.visits = connection.visits.wrapping_add(1);
                let patience = settings.handshake_timeout.as_micros() as u64;
                self.enter(key, Phase::Connecting);
                self.after(key, now + patience, What::GiveUp);
            }
            Err(failure) => self.fail(key, failure),
        }
    }

    /// The kernel has connected, or failed to.
    pub(super) fn on_connected(&mut self, key: usize, writable: bool) {
        let connection = &mut self.connections[key];
        let Some(socket) = &connection.socket else { return };
        if let Ok(Some(error)) | Err(error) = socket.take_error() {
            return self.fail(key, Failure::of(&error));
        }
        let Some(encryption) = self.encryption.as_ref().filter(|_| writable) else {
            return if writable {
                self.ask(key)
            };
        };
        match encryption.begin(self.settings.targets[usize::from(connection.target)].ip()) {
            Ok(session) => {
                connection.session = self.sessions.insert(session) as u32;
                connection.phase = Phase::Securing;
                self.flush_session(key);
            }
            Err(error) => self.on_broken_seal(key, &error),
        }
    }

    pub(super) fn ask(&mut self, key: usize) {
        let connection = &self.connections[key];
        let settings = &self.settings;
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        // To who does not know them, these headers mean nothing.
        let is_known = settings.dialect != Dialect::Plain;
        let is_named = is_known && connection.manner != Manner::Nameless;
        head::write(
            &mut out,
            &head::Request {
                protocol: settings.protocol(connection.client),
                path: (connection.manner == Manner::WrongPath).then_some("/nowhere"),
                host: &self.hosts[usize::from(connection.target)],
                user_header: is_named.then_some(&settings.user_header),
                device: is_known.then_some((&settings.device_header, DEVICE)),
                forms: &self.forms,
                client: (connection.client, &settings.prefix),
                nonce: self.nonce(connection),
            },
        );
        if connection.manner == Manner::HalfRequest {
            out.truncate(out.len() / 2);
        }
        self.out = out;
        self.connections[key].phase = Phase::Asking;
        self.flush_out(key);
    }

    /// What an answer to this connection must fit.
    pub(super) fn asked(&self, key: usize) -> head::Asked {
        head::Asked {
            protocol: self.protocol(key),
            dialect: self.settings.dialect,
            subprotocol: self.forms.names("sec-websocket-protocol"),
            nonce: self.nonce(&self.connections[key]),
        }
    }

    fn nonce(&self, connection: &Connection) -> u128 {
        let client = u128::from(connection.client) << 8 | u128::from(connection.visits);
        u128::from(self.run.id) << 64 | client
    }
}
