//! One thread of clients: an event loop over plain connections.
//!
//! Owns sockets, timers and what its clients count. What the bytes mean is `client`'s business; what is done about it is in
//! `behaviour`. Idle connections own nothing but their entry.

mod behaviour;
pub mod command;
mod connection;
mod net;
pub mod tally;

use crate::{
    client::{Protocol, head},
    clock::Run,
    plan::{DEVICE, Settings},
};
pub use command::{Command, Cut, Wave};
pub use connection::Manner;
use connection::{Connection, NOTHING_LENT, Phase};
use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};
use slab::Slab;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io::{ErrorKind, Read, Write},
    os::fd::AsRawFd,
    sync::{Arc, mpsc},
    time::Duration,
};
use tally::{Ending, Failure, Tally};

/// What is read at once, bytes.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Events taken by one poll.
const EVENTS: usize = 1_024;
/// Connections begun in one turn.
const OPENS_PER_TURN: usize = 64;
/// Connections of all workers together without an answer: under what a node lets wait (10,000), so that the load and not a
/// limit is measured. Times count from the intended start, so that this hides nothing.
const IN_FLIGHT_MAX: u64 = 4_000;
/// Those of one worker, however many there are.
const IN_FLIGHT_EACH: u64 = 16;
/// How long the server may take to end a connection that was closed, us.
const CLOSE_PATIENCE_US: u64 = 10_000_000;
/// Wakes the loop for a command.
const WAKE: Token = Token(usize::MAX);

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum What {
    /// No answer came, or the server does not let go.
    GiveUp,
    /// The visit is over.
    Dwelt,
    /// It was asked to go.
    Leave,
    /// It comes back.
    Back,
    /// A slow client reads.
    Look,
}

/// When, for which connection in which of its phases, and what for.
type Timer = Reverse<(u64, u32, u32, What)>;

struct Schedule {
    wave: Wave,
    begin_us: u64,
    /// Of the wave's clients, the next one of this worker.
    next: u32,
}

/// What a connection holds that has read a part of something.
#[derive(Default)]
struct Lent {
    raw: Vec<u8>,
    text: Vec<u8>,
}

/// See the module.
pub struct Worker {
    settings: Arc<Settings>,
    run: Run,
    index: u32,
    poll: Poll,
    commands: mpsc::Receiver<Command>,
    connections: Slab<Connection>,
    lents: Slab<Lent>,
    timers: BinaryHeap<Timer>,
    schedules: VecDeque<Schedule>,
    tally: Tally,
    /// Phases begun by all connections: the latest stamp.
    phases: u32,
    /// Nobody comes back any more.
    leaving: bool,
    scratch: Vec<u8>,
    joined: Vec<u8>,
    expected: Vec<u8>,
    out: Vec<u8>,
    /// Freed at the end of the turn, so that no event of this turn meets another connection in the same place.
    ended: Vec<usize>,
    random: fastrand::Rng,
}

impl Worker {
    /// A worker with no clients, and what wakes it for a command.
    ///
    /// # Errors
    /// When the kernel has no descriptor for it.
    pub fn new(
        settings: Arc<Settings>,
        run: Run,
        index: u32,
        commands: mpsc::Receiver<Command>,
    ) -> std::io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let worker = Self {
            settings,
            run,
            index,
            poll,
            commands,
            connections: Slab::new(),
            lents: Slab::new(),
            timers: BinaryHeap::new(),
            schedules: VecDeque::new(),
            tally: Tally::default(),
            phases: 0,
            leaving: false,
            scratch: vec![0; SCRATCH_BYTES],
            joined: Vec::new(),
            expected: Vec::new(),
            out: Vec::new(),
            ended: Vec::new(),
            random: fastrand::Rng::with_seed(run.id ^ u64::from(index)),
        };
        Ok((worker, waker))
    }

    /// Works until it is told to stop, or nobody is left to tell it.
    pub fn work(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            match self.poll.poll(&mut events, self.until_next()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("the event loop cannot poll: {error}"),
                Ok(()) => {}
            }
            let now = self.run.now_us();
            for event in events.iter().filter(|event| event.token() != WAKE) {
                self.on_ready(now, event.token().0, event.is_writable() || event.is_error());
            }
            if !self.obey(now) {
                return;
            }
            self.fire(now);
            self.open_due(now);
            for key in self.ended.drain(..) {
                self.connections.remove(key);
            }
        }
    }

    fn until_next(&self) -> Option<Duration> {
        let timer = self.timers.peek().map(|Reverse((at, ..))| *at);
        let opening = (self.has_room())
            .then(|| self.schedules.iter().map(|schedule| self.due_us(schedule)).min())
            .flatten();
        let next = timer.into_iter().chain(opening).min()?;
        Some(Duration::from_micros(next.saturating_sub(self.run.now_us())))
    }

    /// Says whether to go on.
    fn obey(&mut self, now: u64) -> bool {
        loop {
            match self.commands.try_recv() {
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) | Ok(Command::Stop) => return false,
                Ok(Command::Open(wave, begin_us)) => self.plan(wave, begin_us),
                Ok(Command::Leave(within)) => self.leave_all(now, within),
                Ok(Command::Cut { .. } | Command::Bury | Command::Stall { .. } | Command::Resume) => {}
                Ok(Command::Report(to)) => {
                    self.tally.planned = self.schedules.iter().map(|schedule| self.left(schedule)).sum();
                    let receipts = std::mem::take(&mut self.tally.receipts);
                    // Whoever asked may have given up waiting.
                    let _ = to.send(Tally { receipts, ..self.tally.clone() });
                }
            }
        }
    }

    /// Whether another connection may begin.
    fn has_room(&self) -> bool {
        let share = IN_FLIGHT_MAX / u64::from(self.threads().max(1));
        self.tally.in_flight < share.max(IN_FLIGHT_EACH)
    }

    fn threads(&self) -> u32 {
        self.settings.threads as u32
    }

    fn plan(&mut self, wave: Wave, begin_us: u64) {
        let threads = self.threads();
        let next = (self.index + threads - wave.first % threads) % threads;
        if next < wave.count {
            self.leaving = false;
            self.schedules.push_back(Schedule { wave, begin_us, next });
        }
    }

    /// When the schedule's next connection is meant to begin.
    fn due_us(&self, schedule: &Schedule) -> u64 {
        schedule.begin_us + (f64::from(schedule.next) * 1e6 / schedule.wave.rate) as u64
    }

    fn left(&self, schedule: &Schedule) -> u64 {
        u64::from((schedule.wave.count - schedule.next).div_ceil(self.threads()))
    }

    fn open_due(&mut self, now: u64) {
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
            let key = self.connections.insert(Connection {
                socket: None,
                client,
                stamp: 0,
                last_direct: 0,
                last_broadcast: 0,
                meant_us,
                dwell_ms: wave.dwell.as_millis() as u32,
                lent: NOTHING_LENT,
                phase: Phase::Away,
                manner: wave.manner,
                ending: None,
                asked: false,
                stream_ended: false,
                visits: 0,
            });
            self.connect(now, key);
        }
    }

    fn connect(&mut self, now: u64, key: usize) {
        let connection = &mut self.connections[key];
        let slow = connection.manner == Manner::Slow;
        let settings = &self.settings;
        let place = settings.turn(connection.client) as usize;
        let target = settings.targets[place % settings.targets.len()];
        // Clients of one target take all sources in turn.
        let turn = place / settings.targets.len();
        let source = (!settings.sources.is_empty()).then(|| settings.sources[turn % settings.sources.len()]);
        self.tally.started += 1;
        self.tally.in_flight += 1;
        self.tally.late_us.saturating_record(now.saturating_sub(connection.meant_us).max(1));
        let opened = net::connect(source, target, slow).and_then(|socket| {
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

    /// Begins a phase; timers of the one before are void.
    fn enter(&mut self, key: usize, phase: Phase) {
        self.phases = self.phases.wrapping_add(1);
        let connection = &mut self.connections[key];
        connection.phase = phase;
        connection.stamp = self.phases;
    }

    fn after(&mut self, key: usize, at_us: u64, what: What) {
        let stamp = self.connections[key].stamp;
        self.timers.push(Reverse((at_us, key as u32, stamp, what)));
    }

    fn fire(&mut self, now: u64) {
        while let Some(&Reverse((at, key, stamp, what))) = self.timers.peek() {
            if at > now {
                return;
            }
            self.timers.pop();
            let key = key as usize;
            if self.connections.get(key).is_some_and(|connection| connection.stamp == stamp) {
                self.on_time(now, key, what);
            }
        }
    }

    fn on_ready(&mut self, now: u64, key: usize, writable: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(socket) = &connection.socket else { return };
        if connection.phase == Phase::Connecting {
            if let Ok(Some(error)) | Err(error) = socket.take_error() {
                return self.fail(key, Failure::of(&error));
            }
            if writable {
                self.ask(key);
            }
            return;
        }
        let is_open = matches!(connection.phase, Phase::Open | Phase::Leaving);
        if connection.manner != Manner::Slow || !is_open {
            self.read(now, key);
        }
    }

    fn ask(&mut self, key: usize) {
        let connection = &self.connections[key];
        let settings = &self.settings;
        let target =
            settings.targets[settings.turn(connection.client) as usize % settings.targets.len()].to_string();
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let (prefix, client) = (&settings.prefix, connection.client);
        let request = head::Request {
            protocol: settings.protocol(client),
            path: (connection.manner == Manner::WrongPath).then_some("/nowhere"),
            host: &target,
            user: None,
            device: Some((&settings.device_header, DEVICE)),
            nonce: self.nonce(connection),
        };
        match connection.manner {
            Manner::Nameless => head::write(&mut out, &request),
            _ => {
                let user = format_args!("{prefix}{client}");
                head::write(
                    &mut out,
                    &head::Request { user: Some((&settings.user_header, user)), ..request },
                );
            }
        }
        if connection.manner == Manner::HalfRequest {
            out.truncate(out.len() / 2);
        }
        self.out = out;
        self.connections[key].phase = Phase::Asking;
        self.flush_out(key);
    }

    fn nonce(&self, connection: &Connection) -> u128 {
        let client = u128::from(connection.client) << 8 | u128::from(connection.visits);
        u128::from(self.run.id) << 64 | client
    }

    /// Sends what was written: some hundred bytes at most, for which the kernel has room.
    fn flush_out(&mut self, key: usize) {
        let Some(mut socket) = self.connections[key].socket.as_ref() else { return };
        match socket.write(&self.out) {
            Ok(count) if count == self.out.len() => {}
            // A server that has gone is noticed by reading.
            Err(error) if error.kind() != ErrorKind::WouldBlock => {}
            _ => self.drop_socket(key, Ending::Stuck),
        }
    }

    fn read(&mut self, now: u64, key: usize) {
        let mut scratch = std::mem::take(&mut self.scratch);
        while let Some(mut socket) = self.connections[key].socket.as_ref() {
            match socket.read(&mut scratch) {
                Ok(0) => {
                    self.on_end(key);
                    break;
                }
                Ok(count) => self.on_bytes(now, key, &scratch[..count]),
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

    fn on_bytes(&mut self, now: u64, key: usize, fresh: &[u8]) {
        let lent = std::mem::replace(&mut self.connections[key].lent, NOTHING_LENT);
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

    fn protocol(&self, key: usize) -> Protocol {
        self.settings.protocol(self.connections[key].client)
    }
}
