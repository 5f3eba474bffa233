//! WebSocket clients that look at every message: that it is theirs, and the one after the last. One thread for all.

use crate::{
    connecting,
    message::{self, ANYBODY, FRAME, Said},
    outcome::Outcome,
};
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token, Waker, net::TcpStream};
use std::{
    collections::HashMap,
    io::{ErrorKind, Read},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What clients have seen.
#[derive(Default)]
struct Shared {
    stops: AtomicBool,
    received: AtomicU64,
    /// The first thing that was wrong.
    fault: Mutex<Option<String>>,
    measured: Mutex<Measured>,
}

/// How long messages were under way, us.
#[derive(Default)]
struct Measured {
    /// Only of this lane.
    lane: Option<u8>,
    /// Only of those sent from here on, us since the run began.
    since_us: u64,
    times: Option<Histogram<u64>>,
}

/// Users from 0 on, connected until they go out of scope.
pub struct Clients {
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Clients {
    /// Connects so many, and returns when the last has its answer. `began`: what times in messages count from.
    pub fn open(target: SocketAddr, count: u32, began: Instant) -> Outcome<Self> {
        let poll = Poll::new()?;
        let mut clients = Vec::with_capacity(count as usize);
        for (user, stream) in (0..).zip(connecting::connect(target, 0..count)?) {
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(user as usize), Interest::READABLE)?;
            clients.push(Client { user, stream, rest: Vec::new(), next: HashMap::new() });
        }
        let waker = Waker::new(poll.registry(), Token(usize::MAX))?;
        let shared = Arc::new(Shared::default());
        let reader = Reader { clients, shared: shared.clone(), began };
        let thread = std::thread::Builder::new().name("clients".into()).spawn(move || reader.run(poll))?;
        Ok(Self { shared, waker, thread: Some(thread) })
    }

    /// Messages so far.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Relaxed)
    }

    /// From now on times are taken, of one lane, of messages sent no earlier than that.
    pub fn watch(&self, lane: u8, since_us: u64) -> Outcome<()> {
        let times = Histogram::new_with_bounds(1, 120_000_000, 3)?;
        *self.measured() = Measured { lane: Some(lane), since_us, times: Some(times) };
        Ok(())
    }

    /// The times so far.
    pub fn times(&self) -> Option<Histogram<u64>> {
        self.measured().times.clone()
    }

    /// Waits until so many messages have come.
    ///
    /// # Errors
    /// When one was not as it should be, or none came for so long.
    pub fn wait(&self, wanted: u64, patience: Duration) -> Outcome<()> {
        let (mut seen, mut since) = (self.received(), Instant::now());
        while seen < wanted && since.elapsed() < patience {
            self.check()?;
            std::thread::sleep(Duration::from_millis(2));
            let now = self.received();
            if now > seen {
                (seen, since) = (now, Instant::now());
            }
        }
        self.check()?;
        if seen == wanted { Ok(()) } else { Err(format!("{seen} messages came of {wanted}").into()) }
    }

    fn check(&self) -> Outcome<()> {
        let fault = self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.as_ref().map_or(Ok(()), |fault| Err(fault.clone().into()))
    }

    fn measured(&self) -> std::sync::MutexGuard<'_, Measured> {
        self.shared.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.shared.stops.store(true, Relaxed);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Client {
    user: u32,
    stream: TcpStream,
    /// The beginning of a message whose end has not come yet.
    rest: Vec<u8>,
    /// The number of the next message, by lane.
    next: HashMap<u8, u32>,
}

impl Client {
    /// Takes what has come, message by message.
    fn take(&mut self, mut bytes: &[u8], see: &mut impl FnMut(Said)) -> Result<(), String> {
        if !self.rest.is_empty() {
            let missing = (FRAME - self.rest.len()).min(bytes.len());
            self.rest.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if self.rest.len() < FRAME {
                return Ok(());
            }
            let whole = std::mem::take(&mut self.rest);
            self.check(&whole, see)?;
        }
        let mut frames = bytes.chunks_exact(FRAME);
        for frame in &mut frames {
            self.check(frame, see)?;
        }
        self.rest.extend_from_slice(frames.remainder());
        Ok(())
    }

    fn check(&mut self, frame: &[u8], see: &mut impl FnMut(Said)) -> Result<(), String> {
        let said = message::read(frame).ok_or_else(|| format!("no message: {frame:?}"))?;
        if said.user != ANYBODY {
            let next = self.next.entry(said.lane).or_default();
            if (said.user, said.number) != (self.user, *next) {
                return Err(format!("user {} got {said:?}, and waited for number {next}", self.user));
            }
            *next += 1;
        }
        see(said);
        Ok(())
    }
}

/// The clients' thread.
struct Reader {
    clients: Vec<Client>,
    shared: Arc<Shared>,
    began: Instant,
}

impl Reader {
    fn run(mut self, mut poll: Poll) {
        let (mut events, mut scratch) = (Events::with_capacity(1_024), vec![0; 64 * 1024]);
        while !self.shared.stops.load(Relaxed) {
            if poll.poll(&mut events, None).is_err_and(|fault| fault.kind() != ErrorKind::Interrupted) {
                return;
            }
            if let Err(fault) = self.read(&events, &mut scratch) {
                self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
            }
        }
    }

    fn read(&mut self, events: &Events, scratch: &mut [u8]) -> Result<(), String> {
        let shared = self.shared.clone();
        let mut measured = shared.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let Measured { lane, since_us, times } = &mut *measured;
        for event in events {
            let Some(client) = self.clients.get_mut(event.token().0) else { continue };
            loop {
                let length = match client.stream.read(scratch) {
                    Ok(0) => return Err(format!("the connection of user {} was closed", client.user)),
                    Ok(length) => length,
                    Err(fault) if fault.kind() == ErrorKind::Interrupted => continue,
                    Err(fault) if fault.kind() == ErrorKind::WouldBlock => break,
                    Err(fault) => return Err(fault.to_string()),
                };
                let now_us = self.began.elapsed().as_micros() as u64;
                let mut seen = 0;
                client.take(&scratch[..length], &mut |said| {
                    seen += 1;
                    if let Some(times) = times.as_mut().filter(|_| *lane == Some(said.lane))
                        && said.sent_us >= *since_us
                    {
                        times.saturating_record(now_us.saturating_sub(said.sent_us));
                    }
                })?;
                shared.received.fetch_add(seen, Relaxed);
                if length < scratch.len() {
                    break;
                }
            }
        }
        Ok(())
    }
}
