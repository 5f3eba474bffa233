//! One thread of clients: an event loop over plain or encrypted connections.
//!
//! Owns sockets, timers and what its clients count. What the bytes mean is `client`'s business; what is done about it is in
//! `behaviour`, `parting`, `retry` and `cut`. Idle connections own nothing but their entry, and a session if they are encrypted.

mod behaviour;
pub mod command;
mod connect;
mod connection;
mod cut;
mod net;
mod parting;
mod places;
mod retry;
pub mod tally;
mod timers;
mod tls;
mod traffic;

use crate::{
    client::{Protocol, template::Forms},
    clock::Run,
    plan::Settings,
};
pub use command::{Command, Cut, Wave};
pub use connection::Manner;
use connection::Phase;
use mio::{Events, Poll, Token, Waker};
use places::Places;
use slab::Slab;
use std::{
    collections::VecDeque,
    io::{Error, ErrorKind},
    sync::{Arc, mpsc},
    time::Duration,
};
use tally::Tally;
use timers::{Owner, Timers, What};

/// What is read at once, bytes.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Events taken by one poll.
const EVENTS: usize = 1_024;
/// Timers that fire in one turn; the rest in the next.
const TIMERS_PER_TURN: usize = 256;
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
/// A connection names its target with two bytes.
const TARGETS_MAX: usize = 1 << 16;

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
    forms: Forms,
    /// What each target is called in a request.
    hosts: Vec<String>,
    /// None: connections are plain.
    encryption: Option<tls::Encryption>,
    run: Run,
    index: u32,
    poll: Poll,
    commands: mpsc::Receiver<Command>,
    connections: Places,
    lents: Slab<Lent>,
    sessions: Slab<Box<tls::Session>>,
    timers: Timers,
    schedules: VecDeque<Schedule>,
    tally: Tally,
    /// Phases begun by all connections: the latest stamp.
    phases: u32,
    /// Nobody comes back any more.
    leaving: bool,
    scratch: Vec<u8>,
    /// What was decrypted.
    plain: Vec<u8>,
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
    /// When the kernel has no descriptor for it; of the kind `InvalidInput` when it cannot do what the settings ask for.
    pub fn new(
        settings: Arc<Settings>,
        run: Run,
        index: u32,
        commands: mpsc::Receiver<Command>,
    ) -> std::io::Result<(Self, Waker)> {
        let wrong = |words: String| Error::new(ErrorKind::InvalidInput, words);
        if settings.targets.is_empty() || settings.targets.len() > TARGETS_MAX {
            return Err(wrong(format!("there must be 1 to {TARGETS_MAX} targets")));
        }
        let forms = settings.forms().map_err(wrong)?;
        let encryption = settings.tls.as_ref().map(tls::Encryption::new).transpose().map_err(wrong)?;
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let worker = Self {
            forms,
            hosts: settings.hosts(),
            encryption,
            settings,
            run,
            index,
            poll,
            commands,
            connections: Places::new(),
            lents: Slab::new(),
            sessions: Slab::new(),
            timers: Timers::default(),
            schedules: VecDeque::new(),
            tally: Tally::default(),
            phases: 0,
            leaving: false,
            scratch: vec![0; SCRATCH_BYTES],
            plain: Vec::new(),
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
                // Else the kernel would go on trying to end what cannot hear.
                return self.bury();
            }
            self.fire(now);
            self.open_due(now);
            for key in self.ended.drain(..) {
                self.connections.remove(key);
            }
        }
    }

    fn until_next(&self) -> Option<Duration> {
        let opening = self
            .has_room()
            .then(|| self.schedules.iter().map(|schedule| self.due_us(schedule)).min())
            .flatten();
        let next = self.timers.next_us().into_iter().chain(opening).min()?;
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
                Ok(Command::Adjust(habits)) => Arc::make_mut(&mut self.settings).adopt(habits),
                Ok(Command::Cut { share, how }) => self.cut(now, share, how),
                Ok(Command::Bury) => self.bury(),
                Ok(Command::Stall { share }) => self.stall(share),
                Ok(Command::Resume) => self.resume(now),
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
    pub(super) fn has_room(&self) -> bool {
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

    /// Begins a phase; timers of the one before are void.
    fn enter(&mut self, key: usize, phase: Phase) {
        self.phases = self.phases.wrapping_add(1);
        let connection = &mut self.connections[key];
        connection.phase = phase;
        connection.stamp = self.phases;
    }

    fn after(&mut self, key: usize, at_us: u64, what: What) {
        let connections = &self.connections;
        let owner = Owner { key: key as u32, stamp: connections[key].stamp };
        self.timers.push(at_us, owner, what, |owner| {
            connections.get(owner.key as usize).is_some_and(|connection| connection.stamp == owner.stamp)
        });
    }

    /// A turn stays short, also when all of them are due: who waits for an answer must not take this thread for dead.
    fn fire(&mut self, now: u64) {
        for _ in 0..TIMERS_PER_TURN {
            let Some((Owner { key, stamp }, what)) = self.timers.pop(now) else { return };
            let key = key as usize;
            if self.connections.get(key).is_some_and(|connection| connection.stamp == stamp) {
                self.on_time(now, key, what);
            }
        }
    }

    /// A random moment of the time to come.
    fn within(&mut self, now: u64, time: Duration) -> u64 {
        now + self.random.u64(..=time.as_micros() as u64)
    }

    fn protocol(&self, key: usize) -> Protocol {
        self.settings.protocol(self.connections[key].client)
    }

    fn fault(&mut self, key: usize, words: &str) {
        let connection = &self.connections[key];
        let user = self.settings.user(connection.client);
        let protocol = self.settings.protocol(connection.client).label();
        self.tally.fault(format!("{user} ({protocol}) {words}"));
    }
}

#[cfg(test)]
mod tests;
