//! How a connection ends, by whomever.

use super::{
    CLOSE_PATIENCE_US, Worker,
    behaviour::NORMAL,
    connection::{Manner, Mark, NOTHING, Phase},
    net,
    tally::{Ending, Failure},
    timers::What,
};
use crate::client::{Dialect, Protocol, ws};
use std::{net::Shutdown, time::Duration};

/// Codes after which a client does not come back, as it would only do again what was wrong (RFC 6455 7.4.1).
const NEVER_BACK: [u16; 4] = [1002, 1003, 1007, 1009];
/// The same of a node alone: displaced, and thrown out.
const NEVER_BACK_TO_NODES: [u16; 2] = [4001, 4003];

impl Worker {
    pub(super) fn send_close(&mut self, key: usize, code: u16) {
        self.out.clear();
        ws::write_close(&mut self.out, code, self.random.u32(..).to_be_bytes());
        self.flush_out(key);
    }

    /// The client goes, in order, and reads on until the server has ended the connection, too.
    pub(super) fn leave(&mut self, now: u64, key: usize) {
        self.enter(key, Phase::Closing);
        self.after(key, now + CLOSE_PATIENCE_US, What::GiveUp);
        match self.protocol(key) {
            Protocol::WebSocket => self.send_close(key, NORMAL),
            Protocol::Sse => {
                self.end_session(key);
                self.end_output(key);
            }
        }
        self.read_on(now, key);
    }

    /// The client ends what it sends, and reads on until the server has ended the connection, too.
    pub(super) fn fall_silent(&mut self, now: u64, key: usize) {
        self.enter(key, Phase::Closing);
        self.after(key, now + CLOSE_PATIENCE_US, What::GiveUp);
        self.end_output(key);
        self.read_on(now, key);
    }

    /// The client resets the connection.
    pub(super) fn reset(&mut self, now: u64, key: usize) {
        // What has come is taken, so that the loss is as small as it can be.
        self.read(now, key);
        if let Some(socket) = &self.connections[key].socket {
            net::reset_on_close(socket);
        }
        self.drop_socket(key, Ending::Aborted);
    }

    fn end_output(&mut self, key: usize) {
        self.connections[key].ending = Some(Ending::Left);
        if let Some(socket) = &self.connections[key].socket {
            // A server that has gone is noticed by reading.
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    /// A slow client has left edges unread, and would take too long for the rest through its narrow buffer.
    fn read_on(&mut self, now: u64, key: usize) {
        self.unstall(key);
        let connection = &self.connections[key];
        let Some(socket) = &connection.socket else { return };
        if connection.manner == Manner::Slow {
            net::widen(socket);
        }
        if connection.manner == Manner::Slow || connection.is(Mark::Dull) {
            self.read(now, key);
        }
    }

    /// The visit is over.
    pub(super) fn depart(&mut self, now: u64, key: usize) {
        match (self.connections[key].manner, self.protocol(key)) {
            (Manner::Fin, _) => self.fall_silent(now, key),
            (Manner::Reset, _) => self.reset(now, key),
            (Manner::Violate | Manner::Linger, Protocol::WebSocket) => {
                self.out.clear();
                ws::write_violation(&mut self.out, self.random.u32(..).to_be_bytes());
                self.flush_out(key);
            }
            _ => self.leave(now, key),
        }
    }

    /// The server has ended its side.
    pub(super) fn on_end(&mut self, key: usize) {
        let (protocol, dialect) = (self.protocol(key), self.settings.dialect);
        let connection = &self.connections[key];
        match connection.phase {
            phase if phase.is_opening() => return self.fail(key, Failure::CutOff),
            Phase::Away | Phase::Gone | Phase::Vanished => return,
            _ => {}
        }
        let Some(ending) = connection.ending else {
            // Without chunks, the end of the connection is that of the stream.
            let is_whole = protocol == Protocol::Sse && connection.is(Mark::Unchunked);
            return self.drop_socket(key, if is_whole { Ending::Server(ws::NO_CODE) } else { Ending::Lost });
        };
        if connection.manner == Manner::Linger && matches!(ending, Ending::Server(_)) {
            // It keeps its own side open until its timer fires; the edge does not come again.
            return self.forget_edges(key);
        }
        if matches!(ending, Ending::Server(_))
            && protocol == Protocol::Sse
            && dialect == Dialect::Holdfast
            && !connection.is(Mark::StreamEnded)
        {
            self.fault(key, "was closed without a last chunk");
        }
        self.drop_socket(key, ending);
    }

    pub(super) fn on_reset(&mut self, key: usize) {
        let connection = &self.connections[key];
        match (connection.phase, connection.ending) {
            (phase, _) if phase.is_opening() => self.fail(key, Failure::CutOff),
            // After the last word a reset is no worse than an end.
            (Phase::Closing, Some(ending)) => self.drop_socket(key, ending),
            _ => self.drop_socket(key, Ending::Reset),
        }
    }

    /// An open connection has ended.
    pub(super) fn drop_socket(&mut self, key: usize, ending: Ending) {
        let protocol = self.protocol(key);
        let connection = &self.connections[key];
        if connection.socket.is_none() {
            return;
        }
        if connection.phase.is_opening() {
            return self.fail(key, Failure::CutOff);
        }
        self.judge(key, ending);
        self.unstall(key);
        *self.tally.open.at(protocol) -= 1;
        *self.tally.endings.entry(ending).or_default() += 1;
        let dialect = self.settings.dialect;
        let connection = &self.connections[key];
        let may_return = match ending {
            Ending::Server(code) => {
                !NEVER_BACK.contains(&code)
                    && (dialect != Dialect::Holdfast || !NEVER_BACK_TO_NODES.contains(&code))
            }
            Ending::Left => connection.is(Mark::Asked) || connection.is(Mark::Cut),
            Ending::Lost | Ending::Reset => true,
            Ending::Aborted | Ending::Stuck => connection.is(Mark::Cut),
            Ending::Vanished => false,
        };
        if !(may_return && connection.returns() && self.settings.reconnect && !self.leaving) {
            return self.let_go(key);
        }
        let wait = self.wait_to_return(key);
        self.go_away(key, wait);
    }

    /// A node tells clients why they must go, and lets them go. It may give up on one that reads too slowly to hear it.
    fn judge(&mut self, key: usize, ending: Ending) {
        let connection = &self.connections[key];
        let manner = connection.manner;
        let is_slow = manner == Manner::Slow || connection.is(Mark::Dull);
        let is_harsh = matches!(ending, Ending::Lost | Ending::Reset) && !is_slow;
        if self.settings.dialect.is_strict() && (is_harsh || ending == Ending::Stuck) {
            self.fault(key, &format!("was {ending} (manner: {manner:?})"));
        }
    }

    /// Nothing is left of it but its place, until the end of the turn.
    pub(super) fn let_go(&mut self, key: usize) {
        self.give_back(key);
        self.connections[key].socket = None;
        self.enter(key, Phase::Gone);
        self.ended.push(key);
    }

    /// Whatever it holds besides its place.
    pub(super) fn give_back(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        let lent = std::mem::replace(&mut connection.lent, NOTHING);
        let session = std::mem::replace(&mut connection.session, NOTHING);
        self.lents.try_remove(lent as usize);
        self.sessions.try_remove(session as usize);
    }

    /// Everyone leaves, and nobody comes or comes back.
    pub(super) fn leave_all(&mut self, now: u64, within: Duration) {
        self.leaving = true;
        self.schedules.clear();
        for key in 0..self.connections.end() {
            match self.connections.get(key).map(|connection| connection.phase) {
                Some(Phase::Open | Phase::Leaving) => {
                    self.enter(key, Phase::Leaving);
                    let at = self.within(now, within);
                    self.after(key, at, What::Leave);
                }
                Some(Phase::Away) => {
                    self.tally.away -= 1;
                    self.let_go(key);
                }
                _ => {}
            }
        }
    }

    pub(super) fn forget_edges(&mut self, key: usize) {
        use std::os::fd::AsRawFd;
        if let Some(socket) = &self.connections[key].socket {
            // One that is not registered sends no events either.
            let _ = self.poll.registry().deregister(&mut mio::unix::SourceFd(&socket.as_raw_fd()));
        }
    }
}
