//! Bytes to and from sockets, through a session where the connection is encrypted.

use super::{
    Worker,
    connection::{NOTHING, Phase},
    tally::Ending,
    tls,
};
use std::io::{ErrorKind, Read, Write};

impl Worker {
    pub(super) fn on_ready(&mut self, now: u64, key: usize, writable: bool) {
        let Some(connection) = self.connections.get(key) else { return };
        if connection.socket.is_none() {
            return;
        }
        if connection.phase == Phase::Connecting {
            return self.on_connected(key, writable);
        }
        if writable {
            self.flush_session(key);
        }
        let connection = &self.connections[key];
        if !(connection.is_slow() && connection.phase.is_open()) {
            self.read(now, key);
        }
    }

    /// Sends what was written: some hundred bytes at most, for which the kernel has room.
    pub(super) fn flush_out(&mut self, key: usize) {
        let connection = &self.connections[key];
        let Some(mut socket) = connection.socket.as_ref() else { return };
        if let Some(session) = self.sessions.get_mut(connection.session as usize) {
            // It takes much more than that, or it is over, which is noticed by reading.
            let _ = session.writer().write_all(&self.out);
            return self.flush_session(key);
        }
        match socket.write(&self.out) {
            Ok(count) if count == self.out.len() => {}
            // A server that has gone is noticed by reading.
            Err(error) if error.kind() != ErrorKind::WouldBlock => {}
            _ => self.drop_socket(key, Ending::Stuck),
        }
    }

    /// Sends what a session has to send, as far as the kernel has room; the rest once it has.
    pub(super) fn flush_session(&mut self, key: usize) {
        let connection = &self.connections[key];
        let Some(mut socket) = connection.socket.as_ref() else { return };
        let Some(session) = self.sessions.get_mut(connection.session as usize) else { return };
        while session.wants_write() {
            match session.write_tls(&mut socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A server that has gone is noticed by reading.
                Err(_) => return,
            }
        }
    }

    /// Says goodbye to the other end of a session.
    pub(super) fn end_session(&mut self, key: usize) {
        if let Some(session) = self.sessions.get_mut(self.connections[key].session as usize) {
            session.send_close_notify();
            self.flush_session(key);
        }
    }

    pub(super) fn read(&mut self, now: u64, key: usize) {
        let mut scratch = std::mem::take(&mut self.scratch);
        // It is taken while a connection is being read, which goes on by itself.
        if scratch.is_empty() {
            return;
        }
        while let Some(mut socket) = self.connections[key].socket.as_ref() {
            match socket.read(&mut scratch) {
                Ok(0) => {
                    self.on_end(key);
                    break;
                }
                Ok(count) if self.encryption.is_none() => self.on_bytes(now, key, &scratch[..count]),
                Ok(count) => self.on_sealed(now, key, &scratch[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.on_reset(key);
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    /// Decrypts what came.
    fn on_sealed(&mut self, now: u64, key: usize, mut sealed: &[u8]) {
        while !sealed.is_empty() {
            // It is gone when what came before has ended the connection.
            let Some(session) = self.sessions.get_mut(self.connections[key].session as usize) else { return };
            let mut plain = std::mem::take(&mut self.plain);
            let opened = tls::open(session, &mut sealed, &mut plain);
            let is_secure = !session.is_handshaking();
            // Its part of the handshake, or why it will not go on.
            self.flush_session(key);
            match opened {
                Err(error) => self.on_broken_seal(key, &error),
                Ok(()) => {
                    if is_secure && self.connections[key].phase == Phase::Securing {
                        self.ask(key);
                    }
                    if !plain.is_empty() {
                        self.on_bytes(now, key, &plain);
                    }
                }
            }
            self.plain = plain;
        }
    }

    pub(super) fn on_broken_seal(&mut self, key: usize, error: &tls::Broken) {
        self.fault(key, &format!("cannot speak TLS: {}", error.words()));
        match self.connections[key].phase.is_opening() {
            true => self.fail(key, error.failure()),
            false => self.drop_socket(key, Ending::Aborted),
        }
    }

    fn on_bytes(&mut self, now: u64, key: usize, fresh: &[u8]) {
        let lent = std::mem::replace(&mut self.connections[key].lent, NOTHING);
        let mut lent = self.lents.try_remove(lent as usize).unwrap_or_default();
        let mut raw = std::mem::take(&mut lent.raw);
        let used = if raw.is_empty() {
            self.advance(now, key, fresh, &mut lent.text)
        } else {
            raw.extend_from_slice(fresh);
            self.advance(now, key, &raw, &mut lent.text)
        };
        if self.connections[key].socket.is_none() {
            return;
        }
        if raw.is_empty() {
            raw.extend_from_slice(&fresh[used..]);
        } else {
            raw.drain(..used);
        }
        lent.raw = raw;
        if !lent.raw.is_empty() || !lent.text.is_empty() {
            self.connections[key].lent = self.lents.insert(lent) as u32;
        }
    }
}
