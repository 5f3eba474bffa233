//! What a client does about what it hears, and when its time has come.

use super::{
    CLOSE_PATIENCE_US, Worker,
    connection::{Manner, Mark, Phase},
    tally::{Ending, Failure, Receipt},
    timers::What,
};
use crate::{
    client::{
        Event, Protocol,
        head::{self, Answer},
        sse, ws,
    },
    message::{self, To},
};

/// How often a slow client reads, us.
const LOOK_US: u64 = 1_000_000;
/// How long a lingering client keeps a connection that the server has closed, us: longer than the server waits.
const LINGER_US: u64 = 3_500_000;
/// The code of a client that has nothing to complain of (RFC 6455 7.4.1).
pub(super) const NORMAL: u16 = 1000;
/// More messages of one kind than any run sends.
const SEQUENCE_MAX: u32 = 1 << 24;
/// What a server of TLS says to who does not speak it begins with one of these: an alert, or a handshake (RFC 8446 5.1).
const TLS_RECORDS: [[u8; 2]; 2] = [[0x15, 0x03], [0x16, 0x03]];

impl Worker {
    /// Reads what is complete; says how many bytes were used.
    pub(super) fn advance(&mut self, now: u64, key: usize, bytes: &[u8], text: &mut Vec<u8>) -> usize {
        let mut used = 0;
        if self.connections[key].phase == Phase::Asking {
            match head::read(bytes, &self.asked(key)) {
                Ok(None) => return 0,
                Ok(Some((Answer::Open { chunked }, length))) => {
                    used = length;
                    self.on_open(now, key, chunked);
                }
                Ok(Some((Answer::Refused { status, retry_ms }, length))) => {
                    self.on_refused(key, status, retry_ms);
                    return length;
                }
                Err(_) if TLS_RECORDS.iter().any(|begin| bytes.starts_with(begin)) => {
                    self.fail(key, Failure::WantsTls);
                    return bytes.len();
                }
                Err(fault) => {
                    self.fault(key, &fault.0);
                    self.fail(key, Failure::Stranger);
                    return bytes.len();
                }
            }
        }
        let (rest, dialect) = (&bytes[used..], self.settings.dialect);
        let read = match self.protocol(key) {
            Protocol::WebSocket => ws::feed(rest, dialect, text, &mut |event| self.on_event(now, key, event)),
            Protocol::Sse => {
                let rules = sse::Rules { dialect, chunked: !self.connections[key].is(Mark::Unchunked) };
                let mut joined = std::mem::take(&mut self.joined);
                let mut hear = |event: Event<'_>| self.on_event(now, key, event);
                let read = sse::feed(rest, rules, text, &mut joined, &mut hear);
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

    fn on_open(&mut self, now: u64, key: usize, chunked: bool) {
        let protocol = self.protocol(key);
        self.enter(key, Phase::Open);
        self.tally.in_flight -= 1;
        *self.tally.opened.at(protocol) += 1;
        *self.tally.open.at(protocol) += 1;
        let connection = &mut self.connections[key];
        self.tally.reconnected += u64::from(connection.is(Mark::Seasoned));
        connection.mark(Mark::Seasoned);
        if !chunked {
            connection.mark(Mark::Unchunked);
        }
        (connection.tries, connection.hint_ms) = (0, 0);
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
            Event::Retry(ms) => self.connections[key].hint_ms = ms,
            Event::End if self.settings.dialect.is_strict() => self.connections[key].mark(Mark::StreamEnded),
            // The stream is all that was asked for, even if the connection would last.
            Event::End => self.drop_socket(key, Ending::Server(ws::NO_CODE)),
            Event::Other => {}
        }
    }

    fn on_push(&mut self, now: u64, key: usize, body: &[u8]) {
        if !self.settings.dialect.is_strict() && !message::is_ours(body) {
            self.tally.others += 1;
            return;
        }
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
        if message.meant_us != message::NOT_TIMED {
            self.tally.delivery_us.saturating_record(now.saturating_sub(message.meant_us).max(1));
        }
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
        if connection.is(Mark::Asked) {
            return if self.settings.dialect.is_strict() {
                self.fault(key, "was asked to leave twice")
            };
        }
        connection.mark(Mark::Asked);
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
            let ending = if ours { Ending::Left } else { Ending::Server(code) };
            connection.ending = Some(ending);
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

    pub(super) fn on_time(&mut self, now: u64, key: usize, what: What) {
        if what == What::GiveUp && !self.is_silent(now, key) {
            return;
        }
        match (what, self.connections[key].phase) {
            (What::GiveUp, phase) if phase.is_opening() => self.fail(key, Failure::Silence),
            (What::GiveUp, _) => {
                let connection = &self.connections[key];
                // A node promises to end what was closed. Of others it is enough that both have said so.
                let is_settled = connection.manner == Manner::Linger || !self.settings.dialect.is_strict();
                let ending = connection.ending.filter(|_| is_settled);
                self.drop_socket(key, ending.unwrap_or(Ending::Stuck));
            }
            (What::Dwelt, _) => self.depart(now, key),
            (What::Leave, _) => self.leave(now, key),
            (What::Back, _) => self.come_back(now, key),
            (What::Look, _) => {
                self.read(now, key);
                if self.connections[key].phase == Phase::Open {
                    self.after(key, now + LOOK_US, What::Look);
                }
            }
        }
    }

    /// Whether nothing has come that this thread was only too late to read: that would be its own fault.
    fn is_silent(&mut self, now: u64, key: usize) -> bool {
        let stamp = self.connections[key].stamp;
        if self.connections[key].phase != Phase::Connecting {
            self.read(now, key);
        }
        self.connections[key].stamp == stamp
    }
}
