//! What a client does about what it hears, and when its time has come.

use super::{
    CLOSE_PATIENCE_US, Manner, NOTHING_LENT, What, Worker,
    connection::Phase,
    net,
    tally::{Ending, Failure, Receipt},
};
use crate::{
    client::{
        Event, Protocol,
        head::{self, Answer},
        sse, ws,
    },
    message::{self, To},
};
use std::{net::Shutdown, time::Duration};

/// How often a slow client reads, us.
const LOOK_US: u64 = 1_000_000;
/// How long a lingering client keeps a connection that the server has closed, us: longer than the server waits.
const LINGER_US: u64 = 3_500_000;
/// The code of a client that has nothing to complain of (RFC 6455 7.4.1).
const NORMAL: u16 = 1000;
/// Codes after which a client does not come back.
const NEVER_BACK: [u16; 6] = [1002, 1003, 1007, 1009, 4001, 4003];
/// More messages of one kind than any run sends.
const SEQUENCE_MAX: u32 = 1 << 24;

impl Worker {
    /// Reads what is complete; says how many bytes were used.
    pub(super) fn advance(&mut self, now: u64, key: usize, bytes: &[u8], text: &mut Vec<u8>) -> usize {
        let (mut used, protocol) = (0, self.protocol(key));
        if self.connections[key].phase == Phase::Asking {
            match head::read(bytes, protocol, self.nonce(&self.connections[key])) {
                Ok(None) => return 0,
                Ok(Some((Answer::Open, length))) => {
                    used = length;
                    self.on_open(now, key, protocol);
                }
                Ok(Some((Answer::Refused(status), length))) => {
                    self.on_refused(key, status);
                    return length;
                }
                Err(fault) => {
                    self.fault(key, &fault.0);
                    self.fail(key, Failure::Stranger);
                    return bytes.len();
                }
            }
        }
        let read = match protocol {
            Protocol::WebSocket => self.read_frames(now, key, &bytes[used..]),
            Protocol::Sse => {
                let mut joined = std::mem::take(&mut self.joined);
                let read =
                    sse::feed(&bytes[used..], text, &mut joined, &mut |event| self.on_event(now, key, event));
                self.joined = joined;
                read
            }
        };
        match read {
            Ok(more) => used + more,
            Err(fault) => {
                self.fault(key, &fault.0);
                self.drop_socket(key, Ending::Aborted);
                bytes.len()
            }
        }
    }

    fn read_frames(&mut self, now: u64, key: usize, bytes: &[u8]) -> Result<usize, crate::client::Fault> {
        let mut used = 0;
        while let Some((event, length)) = ws::next(&bytes[used..])? {
            used += length;
            self.on_event(now, key, event);
        }
        Ok(used)
    }

    fn on_open(&mut self, now: u64, key: usize, protocol: Protocol) {
        let came_back = self.connections[key].visits > 1;
        self.enter(key, Phase::Open);
        self.tally.in_flight -= 1;
        *self.tally.opened.at(protocol) += 1;
        *self.tally.open.at(protocol) += 1;
        self.tally.reconnected += u64::from(came_back);
        let connection = &self.connections[key];
        let (meant_us, dwell_ms, manner) = (connection.meant_us, connection.dwell_ms, connection.manner);
        self.tally.handshake_us.saturating_record(now.saturating_sub(meant_us).max(1));
        if self.leaving {
            self.leave(now, key);
        } else if dwell_ms > 0 && manner.leaves() {
            self.after(key, now + u64::from(dwell_ms) * 1_000, What::Dwelt);
        }
        if manner == Manner::Slow {
            self.after(key, now + LOOK_US, What::Look);
        }
    }

    fn on_refused(&mut self, key: usize, status: u16) {
        *self.tally.refused.entry(status).or_default() += 1;
        self.tally.in_flight -= 1;
        self.let_go(key);
    }

    /// The connection did not come to be.
    pub(super) fn fail(&mut self, key: usize, failure: Failure) {
        *self.tally.failed.entry(failure).or_default() += 1;
        self.tally.in_flight -= 1;
        self.let_go(key);
    }

    pub(super) fn on_event(&mut self, now: u64, key: usize, event: Event<'_>) {
        if self.connections[key].socket.is_none() {
            return;
        }
        match event {
            Event::Push(body) => self.on_push(now, key, body),
            Event::Goaway => self.on_goaway(now, key),
            Event::Ping(payload) => {
                self.out.clear();
                ws::write_pong(&mut self.out, payload, self.random.u32(..).to_be_bytes());
                self.flush_out(key);
            }
            Event::Close(code) => self.on_close(now, key, code),
            Event::End => self.connections[key].stream_ended = true,
            Event::Other => {}
        }
    }

    fn on_push(&mut self, now: u64, key: usize, body: &[u8]) {
        let mut expected = std::mem::take(&mut self.expected);
        let read = message::read(body, self.run.id, &mut expected);
        self.expected = expected;
        let message = match read {
            Ok(message) if message.sequence < SEQUENCE_MAX => message,
            Ok(message) => return self.fault(key, &format!("got the message number {}", message.sequence)),
            Err(words) => return self.fault(key, &format!("got {words}")),
        };
        let connection = &mut self.connections[key];
        let (kind, last) = match message.to {
            To::Client(client) if client != connection.client => {
                return self.fault(key, &format!("got a message that was for client {client}"));
            }
            To::Client(_) => ("message", &mut connection.last_direct),
            To::All => ("broadcast", &mut connection.last_broadcast),
        };
        let before = std::mem::replace(last, message.sequence.max(*last));
        if message.sequence <= before {
            let how = if message.sequence == before { "came twice" } else { "came too late" };
            self.fault(key, &format!("{kind} {} {how}: the latest was {before}", message.sequence));
        }
        self.tally.delivery_us.saturating_record(now.saturating_sub(message.meant_us).max(1));
        match message.to {
            To::Client(client) => {
                self.tally.direct += 1;
                self.tally.receipts.push(Receipt { client, sequence: message.sequence });
            }
            To::All => self.tally.count_copy(message.sequence),
        }
    }

    fn on_goaway(&mut self, now: u64, key: usize) {
        self.tally.count_goaway(now);
        let connection = &mut self.connections[key];
        if std::mem::replace(&mut connection.asked, true) {
            return self.fault(key, "was asked to leave twice");
        }
        let stays = matches!(connection.manner, Manner::Ignore | Manner::Linger);
        if connection.phase == Phase::Open && !stays {
            self.enter(key, Phase::Leaving);
            let at = self.within(now, self.settings.leave_within);
            self.after(key, at, What::Leave);
        }
    }

    fn on_close(&mut self, now: u64, key: usize, code: u16) {
        let connection = &mut self.connections[key];
        if connection.phase == Phase::Closing {
            // The answer to our own close, or a close that crossed with it.
            let ours = matches!(code, NORMAL | ws::NO_CODE);
            connection.ending = Some(if ours { Ending::Left } else { Ending::Server(code) });
            return;
        }
        connection.ending = Some(Ending::Server(code));
        let lingers = connection.manner == Manner::Linger;
        self.enter(key, Phase::Closing);
        self.after(key, now + if lingers { LINGER_US } else { CLOSE_PATIENCE_US }, What::GiveUp);
        if self.protocol(key) == Protocol::WebSocket && !lingers {
            self.send_close(key, code);
        }
    }

    fn send_close(&mut self, key: usize, code: u16) {
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
            Protocol::Sse => self.end_output(key),
        }
        self.read_on(now, key);
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
        let connection = &self.connections[key];
        if let Some(socket) = connection.socket.as_ref().filter(|_| connection.manner == Manner::Slow) {
            net::widen(socket);
            self.read(now, key);
        }
    }

    /// The visit is over.
    fn depart(&mut self, now: u64, key: usize) {
        match (self.connections[key].manner, self.protocol(key)) {
            (Manner::Fin, _) => {
                self.enter(key, Phase::Closing);
                self.after(key, now + CLOSE_PATIENCE_US, What::GiveUp);
                self.end_output(key);
            }
            (Manner::Reset, _) => {
                // What has come is taken, so that the loss is as small as it can be.
                self.read(now, key);
                if let Some(socket) = &self.connections[key].socket {
                    net::reset_on_close(socket);
                }
                self.drop_socket(key, Ending::Aborted);
            }
            (Manner::Violate | Manner::Linger, Protocol::WebSocket) => {
                self.out.clear();
                ws::write_violation(&mut self.out, self.random.u32(..).to_be_bytes());
                self.flush_out(key);
            }
            _ => self.leave(now, key),
        }
    }

    pub(super) fn on_time(&mut self, now: u64, key: usize, what: What) {
        match (what, self.connections[key].phase) {
            (What::GiveUp, Phase::Connecting | Phase::Asking) => self.fail(key, Failure::Silence),
            (What::GiveUp, _) => {
                let lingers = self.connections[key].manner == Manner::Linger;
                let ending = self.connections[key].ending.filter(|_| lingers);
                self.drop_socket(key, ending.unwrap_or(Ending::Stuck));
            }
            (What::Dwelt, _) => self.depart(now, key),
            (What::Leave, _) => self.leave(now, key),
            (What::Back, _) => {
                self.tally.away -= 1;
                self.connect(now, key);
            }
            (What::Look, _) => {
                self.read(now, key);
                if self.connections[key].phase == Phase::Open {
                    self.after(key, now + LOOK_US, What::Look);
                }
            }
        }
    }

    /// The server has ended its side.
    pub(super) fn on_end(&mut self, key: usize) {
        let connection = &self.connections[key];
        match connection.phase {
            Phase::Connecting | Phase::Asking => return self.fail(key, Failure::CutOff),
            Phase::Away | Phase::Gone => return,
            Phase::Open | Phase::Leaving | Phase::Closing => {}
        }
        let Some(ending) = connection.ending else { return self.drop_socket(key, Ending::Lost) };
        if connection.manner == Manner::Linger && matches!(ending, Ending::Server(_)) {
            // It keeps its own side open until its timer fires; the edge does not come again.
            return self.forget_edges(key);
        }
        if matches!(ending, Ending::Server(_))
            && self.protocol(key) == Protocol::Sse
            && !connection.stream_ended
        {
            self.fault(key, "was closed without a last chunk");
        }
        self.drop_socket(key, ending);
    }

    pub(super) fn on_reset(&mut self, key: usize) {
        let connection = &self.connections[key];
        match (connection.phase, connection.ending) {
            (Phase::Connecting | Phase::Asking, _) => self.fail(key, Failure::CutOff),
            // After the last word a reset is no worse than an end.
            (Phase::Closing, Some(ending)) => self.drop_socket(key, ending),
            _ => self.drop_socket(key, Ending::Reset),
        }
    }

    /// An open connection has ended.
    pub(super) fn drop_socket(&mut self, key: usize, ending: Ending) {
        let protocol = self.protocol(key);
        let connection = &mut self.connections[key];
        if connection.socket.is_none() {
            return;
        }
        if matches!(connection.phase, Phase::Connecting | Phase::Asking) {
            return self.fail(key, Failure::CutOff);
        }
        // A server may give up on a client that reads too slowly to hear that it shall go.
        let manner = connection.manner;
        let is_harsh = matches!(ending, Ending::Lost | Ending::Reset) && manner != Manner::Slow;
        if is_harsh || ending == Ending::Stuck {
            self.fault(key, &format!("was {ending} (manner: {manner:?})"));
        }
        *self.tally.open.at(protocol) -= 1;
        *self.tally.endings.entry(ending).or_default() += 1;
        let connection = &mut self.connections[key];
        let asked_back = match ending {
            Ending::Server(code) => !NEVER_BACK.contains(&code),
            Ending::Left => connection.asked,
            Ending::Lost | Ending::Reset => true,
            Ending::Aborted | Ending::Stuck => false,
        };
        let is_staying = matches!(connection.manner, Manner::Stay | Manner::Slow | Manner::Ignore);
        if !(asked_back && is_staying && self.settings.reconnect && !self.leaving) {
            return self.let_go(key);
        }
        connection.socket = None;
        connection.ending = None;
        connection.asked = false;
        connection.stream_ended = false;
        // A broadcast that is under way while a client reconnects may reach both of its connections.
        connection.last_broadcast = connection.last_broadcast.saturating_sub(1);
        self.give_back(key);
        self.enter(key, Phase::Away);
        self.tally.away += 1;
        let at = self.within(self.run.now_us(), self.settings.back_within);
        self.connections[key].meant_us = at;
        self.after(key, at, What::Back);
    }

    /// Nothing is left of it but its place, until the end of the turn.
    fn let_go(&mut self, key: usize) {
        self.give_back(key);
        self.connections[key].socket = None;
        self.enter(key, Phase::Gone);
        self.ended.push(key);
    }

    fn give_back(&mut self, key: usize) {
        let lent = std::mem::replace(&mut self.connections[key].lent, NOTHING_LENT);
        self.lents.try_remove(lent as usize);
    }

    /// Everyone leaves, and nobody comes or comes back.
    pub(super) fn leave_all(&mut self, now: u64, within: Duration) {
        self.leaving = true;
        self.schedules.clear();
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            match self.connections[key].phase {
                Phase::Open | Phase::Leaving => {
                    self.enter(key, Phase::Leaving);
                    let at = self.within(now, within);
                    self.after(key, at, What::Leave);
                }
                Phase::Away => {
                    self.tally.away -= 1;
                    self.let_go(key);
                }
                _ => {}
            }
        }
    }

    /// A random moment of the time to come.
    fn within(&mut self, now: u64, time: Duration) -> u64 {
        now + self.random.u64(..=time.as_micros() as u64)
    }

    pub(super) fn fault(&mut self, key: usize, words: &str) {
        let connection = &self.connections[key];
        let user = self.settings.user(connection.client);
        let protocol = self.settings.protocol(connection.client).label();
        self.tally.fault(format!("{user} ({protocol}) {words}"));
    }

    fn forget_edges(&mut self, key: usize) {
        use std::os::fd::AsRawFd;
        if let Some(socket) = &self.connections[key].socket {
            // One that is not registered sends no events either.
            let _ = self.poll.registry().deregister(&mut mio::unix::SourceFd(&socket.as_raw_fd()));
        }
    }
}
