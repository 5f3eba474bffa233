//! A member of a fleet that is another process: a worker of this machine, or an agent on another one.

use super::{AgentAddress, child::Child};
use crate::{
    auth,
    clock::Run,
    room::{Room, grouped},
    wire::{self, Answer, Ask, Begin, FRAME_BYTES_MAX, VERSION},
    worker::{
        Command,
        tally::{Receipt, Tally},
    },
};
use socket2::Socket;
use std::{
    ffi::OsString,
    io::{self, ErrorKind},
    net::{Shutdown, TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

/// How long a far side may take to answer, or to take what it is told.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for the first connection to an agent.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long one that was told to end may take to close its clients.
const END_PATIENCE: Duration = Duration::from_secs(20);
/// The same for one that seems to have ended by itself.
const CRASH_PATIENCE: Duration = Duration::from_secs(2);
/// Questions to a far clock, of which the answer with the least round trip counts.
const CLOCK_ASKS: usize = 9;

/// See the module.
pub struct Far {
    name: String,
    socket: Socket,
    child: Option<Child>,
    /// The far processes with clients.
    pub pids: Vec<u32>,
    /// By how much its clock may differ from ours, us.
    pub clock_error_us: u64,
    epoch_us: i64,
    known: Tally,
    asked: bool,
    asked_us: u64,
    lost: bool,
}

impl Far {
    /// Starts worker process `number` of `of`.
    pub fn spawn(number: u32, of: u32, command: &[OsString]) -> Result<Self, String> {
        let name = format!("worker process {number} of {of}");
        let (child, socket) = Child::start(command).map_err(|error| {
            format!("{name} cannot be started: {error} (pids.max, ulimit -u and memory limit how many there may be)")
        })?;
        Self::new(name, socket, Some(child))
    }

    /// Connects to an agent and has both prove that they know the token.
    pub fn connect(address: &AgentAddress, token: &str) -> Result<Self, String> {
        let name = format!("agent {address}");
        let stream = reach(address).map_err(|error| {
            format!(
                "{name} cannot be reached: {error}: is `holdfast loadtest agent --listen` running there, on an address that \
                 can be reached from here?"
            )
        })?;
        auth::greet(&stream, token).map_err(|why| format!("{name}: {why}"))?;
        Self::new(name, Socket::from(stream), None)
    }

    fn new(name: String, socket: Socket, child: Option<Child>) -> Result<Self, String> {
        let timed =
            socket.set_read_timeout(Some(PATIENCE)).and_then(|()| socket.set_write_timeout(Some(PATIENCE)));
        timed.map_err(|error| format!("{name}: {error}"))?;
        Ok(Self {
            name,
            socket,
            child,
            pids: Vec::new(),
            clock_error_us: 0,
            epoch_us: 0,
            known: Tally::default(),
            asked: false,
            asked_us: 0,
            lost: false,
        })
    }

    /// Who it is, for words.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is one, and no worker process.
    pub fn is_agent(&self) -> bool {
        self.child.is_none()
    }

    /// Hears who is there, and what its machine allows.
    pub fn hello(&mut self) -> Result<Room, String> {
        match self.ask(&Ask::Hello(VERSION.into()))? {
            Answer::Hello(version, room) if version == VERSION => Ok(room),
            Answer::Hello(version, _) => Err(format!(
                "{} is of version {version} and this is {VERSION}: run the same build on all machines",
                self.name
            )),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Finds out when the run began by the far clock: the far moment lies within the round trip, so that half of the
    /// shortest bounds the error.
    pub fn compare_clocks(&mut self, run: Run) -> Result<(), String> {
        let mut best = u64::MAX;
        for _ in 0..CLOCK_ASKS {
            let asked = run.now_us();
            let Answer::Clock(there) = self.ask(&Ask::Clock)? else {
                return Err(format!("{} does not say the time", self.name));
            };
            let trip = run.now_us() - asked;
            if trip < best {
                best = trip;
                self.epoch_us = (there as i64).saturating_sub((asked + trip / 2) as i64);
            }
        }
        self.clock_error_us = best.div_ceil(2);
        Ok(())
    }

    /// Has it have clients; [`Self::ready`] says whether it has begun.
    pub fn begin(&mut self, begin: Begin) -> Result<(), String> {
        self.send(&Ask::Begin(Box::new(Begin { epoch_us: self.epoch_us, ..begin })))
    }

    /// Waits for that.
    pub fn ready(&mut self) -> Result<(), String> {
        match self.receive()? {
            Answer::Ready(error_us, pids) => {
                self.clock_error_us += error_us;
                self.pids = pids;
                Ok(())
            }
            Answer::Failed(why) => Err(format!("{}: {why}", self.name)),
            other => Err(self.unexpected(&other)),
        }
    }

    pub fn tell(&self, command: &Command) {
        if !self.lost {
            // A far side that has gone is noticed when it is asked.
            let _ = wire::write(&mut &self.socket, &Ask::Do(command.clone()));
        }
    }

    /// Asks for its counts; [`Self::answer`] waits for them.
    pub fn ask_report(&mut self, run: Run) {
        if !self.lost {
            // The same.
            let _ = wire::write(&mut &self.socket, &Ask::Report);
            (self.asked, self.asked_us) = (true, run.now_us());
        }
    }

    /// What it has counted, and what of it is lost since the last time.
    pub fn answer(&mut self, until: Instant, run: Run, losses: &mut Vec<String>) -> Tally {
        let mut receipts = Vec::new();
        if std::mem::take(&mut self.asked)
            && let Err(why) = self.hear(until, run, &mut receipts, losses)
        {
            losses.push(self.lose(&why));
        }
        Tally { receipts, ..self.known.clone() }
    }

    fn hear(
        &mut self,
        until: Instant,
        run: Run,
        receipts: &mut Vec<Receipt>,
        losses: &mut Vec<String>,
    ) -> io::Result<()> {
        loop {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left))?;
            match wire::read(&mut &self.socket, FRAME_BYTES_MAX)? {
                Some(Answer::Receipts(flat)) => {
                    let pairs = flat.chunks_exact(2);
                    receipts.extend(pairs.map(|pair| Receipt { client: pair[0], sequence: pair[1] }));
                }
                Some(Answer::Tally(packed, lost, there)) => {
                    packed.unpack(&mut self.known);
                    let name = &self.name;
                    losses.extend(lost.into_iter().map(|words| format!("{name}: {words}")));
                    self.watch_clock(run, there);
                    return Ok(());
                }
                Some(other) => return Err(io::Error::new(ErrorKind::InvalidData, self.unexpected(&other))),
                None => return Err(ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Clocks drift apart in hours: a far moment outside of the time between question and answer says by how much at least.
    fn watch_clock(&mut self, run: Run, there: u64) {
        let there = (there as i64).saturating_sub(self.epoch_us);
        let early = (self.asked_us as i64).saturating_sub(there);
        let late = there.saturating_sub(run.now_us() as i64);
        self.clock_error_us = self.clock_error_us.max(early.max(late).max(0) as u64);
    }

    /// It is gone, or shall be: what to say about it.
    fn lose(&mut self, why: &io::Error) -> String {
        self.lost = true;
        let clients = grouped(super::mourn(&mut self.known));
        (self.known.rss_bytes, self.known.processes) = (0, 0);
        // Some of an agent's may have gone before.
        self.known.gone_processes = self.pids.len() as u32;
        self.pids.clear();
        let name = &self.name;
        let _ = self.socket.shutdown(Shutdown::Both);
        let silent = matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        match &mut self.child {
            Some(child) => {
                let (what, words) = child.end(CRASH_PATIENCE).words();
                let what = if why.kind() == ErrorKind::InvalidData {
                    format!("sent {why}, and {what}")
                } else {
                    what
                };
                format!("{name} {what}: its {clients} clients are gone{words}")
            }
            None if silent => {
                format!("{name} did not answer in time and was left: its {clients} clients are gone")
            }
            None => {
                let why = if why.kind() == ErrorKind::UnexpectedEof {
                    "it has ended the connection".into()
                } else {
                    why.to_string()
                };
                format!("{name} is lost ({why}): its {clients} clients are gone")
            }
        }
    }

    fn ask(&mut self, ask: &Ask) -> Result<Answer, String> {
        self.send(ask)?;
        self.receive()
    }

    fn send(&mut self, ask: &Ask) -> Result<(), String> {
        wire::write(&mut &self.socket, ask).map_err(|error| self.gone(&error))
    }

    fn receive(&mut self) -> Result<Answer, String> {
        match wire::read(&mut &self.socket, FRAME_BYTES_MAX) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(self.gone(&ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(self.gone(&error)),
        }
    }

    /// It has not even begun.
    fn gone(&mut self, error: &io::Error) -> String {
        match &mut self.child {
            Some(child) => {
                let (what, words) = child.end(CRASH_PATIENCE).words();
                format!("{} {what} before it began{words}", self.name)
            }
            None => format!("{} is gone before it began: {error}", self.name),
        }
    }

    fn unexpected(&self, answer: &Answer) -> String {
        let words: String = format!("{answer:?}").chars().take(80).collect();
        format!("{} says what it was not asked: {words}", self.name)
    }

    /// Tells it to end. Dropping waits for that.
    pub fn release(&self) {
        // One that has gone need not be told.
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.release();
        if self.lost {
            return;
        }
        match &mut self.child {
            Some(child) => drop(child.end(END_PATIENCE)),
            None => {
                // It closes the connection once its clients are gone, and may be asked again then.
                let _ = self.socket.set_read_timeout(Some(END_PATIENCE));
                let _ = io::copy(&mut &self.socket, &mut io::sink());
            }
        }
    }
}

fn reach(address: &AgentAddress) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in address.as_str().to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                auth::keep_alive(&stream)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests;
