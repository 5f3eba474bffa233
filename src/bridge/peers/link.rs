//! The link to one node: a bounded queue that anybody fills, and the task that keeps a stream to carry it.
//!
//! Owns when there is a connection: made when something is wanted, anew when it broke, no sooner than its backoff; replaced
//! when the stream is old, or its format not that of the next; closed when nobody uses it. What a stream says is [`super::stream`]'s.

use super::{Common, Peer, stream::Running, wire};
use crate::{
    bridge::{format, store::Place},
    kit::completion::Ticket,
    model::{Message, Outcome},
};
use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::Waker,
    time::Duration,
};
use tokio::{net::TcpStream, sync::Notify, time::timeout};

/// The first pause after a failure; it doubles with each that follows.
const BACKOFF_MS_MIN: u64 = 50;
/// The longest pause.
const BACKOFF_MS_MAX: u64 = 1_000;
/// A stream that was up for so long and broke is made anew at once.
const STEADY: Duration = Duration::from_secs(1);
/// Between two looks at a stream that is due to end and may not yet.
const LOOK: Duration = Duration::from_millis(50);

/// Something for the other node.
pub(super) struct Ask {
    pub place: Place,
    pub user: Box<str>,
    pub what: What,
    pub waiter: Waiter,
    /// When its answer is waited for no more, monotonic µs.
    pub deadline_us: u64,
    /// Of its payload.
    pub bytes: usize,
}

pub(super) enum What {
    Delivery { device: Box<str>, message: Arc<Message> },
    Displaced,
}

/// Who waits for an answer. Dropped, it has failed.
pub(super) enum Waiter {
    Outcome(Ticket<Outcome>),
    Done(Told),
}

impl Waiter {
    pub fn answer(self, answer: &wire::Answer) {
        match self {
            Waiter::Outcome(ticket) => ticket.answer(answer.delivered()),
            Waiter::Done(told) => told.answer(answer.done),
        }
    }
}

/// Calls back exactly once: with false when it is dropped.
pub(super) struct Told(Option<Box<dyn FnOnce(bool) + Send>>);

impl Told {
    pub fn new(told: impl FnOnce(bool) + Send + 'static) -> Self {
        Self(Some(Box::new(told)))
    }

    fn answer(mut self, done: bool) {
        if let Some(told) = self.0.take() {
            told(done);
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(told) = self.0.take() {
            told(false);
        }
    }
}

/// How a link is, for metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkState {
    /// The other node's number.
    pub node: u64,
    /// What is called.
    pub address: Arc<str>,
    /// Whether the other node has taken the stream.
    pub is_up: bool,
    /// The format of the latest stream that it has taken; 0: it has taken none.
    pub format: u8,
    /// Frames written.
    pub sent: u64,
    /// Frames answered.
    pub answered: u64,
    /// Frames that found no room, no connection or no answer.
    pub failed: u64,
    /// Frames that wait, to be written or for an answer.
    pub in_flight: usize,
    /// Their payload bytes.
    pub in_flight_bytes: usize,
}

/// See the module.
pub(super) struct Link {
    pub common: Arc<Common>,
    pub node: u64,
    pub address: Arc<str>,
    queue: Mutex<Queue>,
    /// Something waits and there is no stream.
    wanted: Notify,
    /// Up to which format the other node reads, by its lease; 0: it is not known.
    reads: AtomicU8,
    /// The format of the next stream.
    format: AtomicU8,
    /// The format is another one.
    reformed: Notify,
    /// The format of the latest stream that was taken.
    taken: AtomicU8,
    in_flight: AtomicUsize,
    in_flight_bytes: AtomicUsize,
    is_up: AtomicBool,
    sent: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    /// When a frame was written or answered last, monotonic µs.
    used_us: AtomicU64,
}

#[derive(Default)]
struct Queue {
    asks: VecDeque<Ask>,
    /// The number of the stream that takes them.
    feeds: Option<u64>,
    /// Of that stream, when it found nothing: taken by the first who puts something in.
    waker: Option<Waker>,
    /// Until then nothing is taken, monotonic µs.
    down_until_us: u64,
    closed: bool,
}

impl Link {
    pub fn new(common: Arc<Common>, peer: &Peer, reads: Option<u8>) -> Self {
        Self {
            reads: AtomicU8::new(reads.unwrap_or(0)),
            format: AtomicU8::new(common.format_for(reads)),
            common,
            node: peer.node,
            address: peer.address.clone(),
            queue: Mutex::default(),
            wanted: Notify::new(),
            reformed: Notify::new(),
            taken: AtomicU8::new(0),
            in_flight: AtomicUsize::new(0),
            in_flight_bytes: AtomicUsize::new(0),
            is_up: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            used_us: AtomicU64::new(0),
        }
    }

    /// Takes something, or lets it fail.
    pub fn ask(&self, ask: Ask, now_us: u64) {
        let settings = &self.common.settings;
        let (count, bytes) = (1, ask.bytes);
        let room = self.in_flight.fetch_add(count, Relaxed) < settings.in_flight_max;
        let bytes_before = self.in_flight_bytes.fetch_add(bytes, Relaxed);
        if !room || bytes_before.saturating_add(bytes) > settings.in_flight_bytes_max {
            return self.fail(vec![ask]);
        }
        let mut queue = self.lock();
        if queue.closed || queue.down_until_us > now_us {
            drop(queue);
            return self.fail(vec![ask]);
        }
        queue.asks.push_back(ask);
        let (waker, is_fed) = (queue.waker.take(), queue.feeds.is_some());
        drop(queue);
        match waker {
            Some(waker) => waker.wake(),
            // The stream looks again before it sleeps.
            None if is_fed => {}
            None => self.wanted.notify_one(),
        }
    }

    /// What the stream of that number is to carry next: at most so many payload bytes, but at least one ask, where there is
    /// one. When there is none, `waker` is called as soon as there is.
    pub fn take(&self, stream: u64, bytes_max: usize, waker: &Waker, out: &mut Vec<Ask>) {
        let mut queue = self.lock();
        if queue.feeds != Some(stream) {
            return;
        }
        let mut bytes = 0;
        while let Some(ask) = queue.asks.front()
            && (out.is_empty() || bytes + ask.bytes <= bytes_max)
        {
            bytes += ask.bytes + wire::PER_FRAME_BYTES;
            out.extend(queue.asks.pop_front());
        }
        if out.is_empty() {
            queue.waker = Some(waker.clone());
        }
    }

    /// Lets what waits too long for a stream to take it fail.
    pub fn sweep(&self, now_us: u64) {
        let mut queue = self.lock();
        let (late, waiting) = std::mem::take(&mut queue.asks)
            .into_iter()
            .partition::<VecDeque<_>, _>(|ask| ask.deadline_us <= now_us);
        queue.asks = waiting;
        drop(queue);
        self.fail(late);
    }

    pub fn on_sent(&self, frames: usize, now_us: u64) {
        self.sent.fetch_add(frames as u64, Relaxed);
        self.used_us.store(now_us, Relaxed);
    }

    pub fn on_answered(&self, bytes: usize, now_us: u64) {
        self.answered.fetch_add(1, Relaxed);
        self.common.answered.fetch_add(1, Relaxed);
        self.used_us.store(now_us, Relaxed);
        self.release(1, bytes);
    }

    /// Counts frames that were sent and have failed; the caller drops them.
    pub fn on_failed(&self, frames: usize, bytes: usize) {
        self.failed.fetch_add(frames as u64, Relaxed);
        self.common.failed.fetch_add(frames as u64, Relaxed);
        self.release(frames, bytes);
    }

    pub fn is_in_use(&self) -> bool {
        self.in_flight.load(Relaxed) > 0
    }

    /// The format of the next stream.
    pub fn format(&self) -> u8 {
        self.format.load(Relaxed)
    }

    /// The other node's lease says that it reads up to this format.
    pub fn set_reads(&self, reads: u8) {
        // A lease that says the same as before says nothing new of what was refused since.
        if self.reads.swap(reads, Relaxed) != reads {
            self.format.store(self.common.format_for(Some(reads)), Relaxed);
            self.reformed.notify_one();
        }
    }

    /// The other node does not read a stream's format: an older build has taken its place at this address, and its lease is
    /// not known yet. Says whether there is an older format to try.
    fn step_back(&self, refused: u8) -> bool {
        let oldest = format::oldest(self.common.settings.format);
        self.format.store(oldest, Relaxed);
        oldest < refused
    }

    /// The other node has taken the stream, with frames of that format.
    pub fn on_up(&self, format: u8) {
        let was_up = self.is_up.swap(true, Relaxed);
        if self.taken.swap(format, Relaxed) != format || !was_up {
            tracing::info!(address = %self.address, format, "linked with another node");
        }
    }

    pub fn state(&self) -> LinkState {
        LinkState {
            node: self.node,
            address: self.address.clone(),
            is_up: self.is_up.load(Relaxed),
            format: self.taken.load(Relaxed),
            sent: self.sent.load(Relaxed),
            answered: self.answered.load(Relaxed),
            failed: self.failed.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            in_flight_bytes: self.in_flight_bytes.load(Relaxed),
        }
    }

    fn fail(&self, asks: impl IntoIterator<Item = Ask>) {
        for ask in asks {
            self.on_failed(1, ask.bytes);
        }
    }

    fn release(&self, frames: usize, bytes: usize) {
        self.in_flight.fetch_sub(frames, Relaxed);
        self.in_flight_bytes.fetch_sub(bytes, Relaxed);
    }

    /// From now on that stream takes what is asked. It must not have looked yet.
    pub fn feed(&self, stream: Option<u64>) {
        let mut queue = self.lock();
        queue.feeds = stream;
        queue.waker = None;
    }

    /// Lets everything that waits fail, and what comes until then.
    fn go_down(&self, until_us: u64) {
        let mut queue = self.lock();
        queue.down_until_us = until_us;
        let asks = std::mem::take(&mut queue.asks);
        drop(queue);
        self.fail(asks);
    }

    fn has_asks(&self) -> bool {
        !self.lock().asks.is_empty()
    }

    async fn wanted(&self) {
        while !self.has_asks() {
            self.wanted.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing inside a locked section can leave it half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a link has no stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// There is no connection.
    Connect(String),
    /// The other node does not take the stream: an HTTP status.
    Refused(u16),
    /// It takes the connection and does not answer the request.
    NoResponse,
    /// It answers nothing any more.
    Stalled,
    /// The connection broke, or the other node ended the stream.
    Broken(String),
    /// What it answers cannot be read.
    BadFrame(wire::BadFrame),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Connect(fault) => write!(f, "cannot connect: {fault}"),
            Fault::Refused(401 | 403) => f.write_str(
                "it refuses this node's token: give all nodes one token with the role peer in internal.tokens",
            ),
            Fault::Refused(400) => f.write_str("it does not read the frames of this release"),
            Fault::Refused(404 | 405) => {
                f.write_str("it does not know /v1/deliver: is that the internal port of a node?")
            }
            Fault::Refused(status) => write!(f, "it answers {status}"),
            Fault::NoResponse => f.write_str("it takes the connection and does not answer"),
            Fault::Stalled => f.write_str("it has stopped answering"),
            Fault::Broken(fault) => write!(f, "the connection broke: {fault}"),
            Fault::BadFrame(fault) => write!(f, "its answers cannot be read: {fault}"),
        }
    }
}

/// The task of a link.
pub(super) struct Keeper {
    link: Arc<Link>,
    /// The number of the next stream.
    next: u64,
    /// In a row.
    failures: u32,
    /// Streams that are read to their ends, while another carries what is new.
    retired: Vec<Running>,
}

impl Keeper {
    pub fn new(link: Arc<Link>) -> Self {
        Self { link, next: 0, failures: 0, retired: Vec::new() }
    }

    /// Runs until it is aborted.
    pub async fn run(mut self) {
        loop {
            self.link.wanted().await;
            let opened = match self.connect().await {
                Ok(io) => self.start(io).await,
                Err(fault) => Err(fault),
            };
            match opened {
                Ok(mut stream) => {
                    while let Some(next) = self.attend(stream).await {
                        stream = next;
                    }
                }
                Err(fault) => self.on_failure(&fault),
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, Fault> {
        let limit = self.link.common.settings.connect_timeout;
        let connected = timeout(limit, TcpStream::connect(&*self.link.address)).await;
        let io = connected.map_err(|_| Fault::Connect("it takes too long".into()))?;
        let io = io.map_err(|fault| Fault::Connect(fault.to_string()))?;
        // An error here is that of a connection which is gone; the first write says so too.
        let _ = io.set_nodelay(true);
        Ok(io)
    }

    /// Begins a stream, which carries what is asked from now on.
    async fn start(&mut self, io: TcpStream) -> Result<Running, Fault> {
        let number = self.next;
        self.next += 1;
        Running::start(self.link.clone(), number, io).await
    }

    /// Looks after a stream for as long as it is in use. Returns the one that takes its place, where one does.
    async fn attend(&mut self, mut stream: Running) -> Option<Running> {
        let settings = self.link.common.settings.clone();
        let began_us = self.now_us();
        let mut due_us = began_us + jittered(settings.stream_life.as_micros() as u64);
        loop {
            let idle_us = self.idle_at_us(began_us);
            let pause = Duration::from_micros(idle_us.min(due_us).saturating_sub(self.now_us())).max(LOOK);
            let ended = tokio::select! {
                fault = stream.ended() => Some(fault),
                () = tokio::time::sleep(pause) => None,
                () = self.link.reformed.notified() => None,
            };
            let now_us = self.now_us();
            if let Some(fault) = ended {
                self.link.feed(None);
                let lived = Duration::from_micros(now_us.saturating_sub(began_us));
                self.on_ended(&stream, &fault, lived);
                return None;
            }
            if now_us >= self.idle_at_us(began_us) && !self.link.is_in_use() {
                self.link.feed(None);
                self.link.is_up.store(false, Relaxed);
                self.retire(stream);
                return None;
            }
            if now_us >= due_us || stream.format() != self.link.format() {
                match self.connect().await {
                    Ok(io) => return self.replace(stream, io).await,
                    // What is there still serves.
                    Err(fault) => {
                        tracing::debug!(address = %self.link.address, %fault, "cannot renew a link");
                        due_us = self.now_us() + BACKOFF_MS_MAX * 1_000;
                    }
                }
            }
        }
    }

    /// Ends the old stream's request and begins another. What is asked in between waits in the queue until the other node
    /// says that it has read the old one to its end: so no message overtakes another.
    async fn replace(&mut self, mut stream: Running, io: TcpStream) -> Option<Running> {
        self.link.feed(None);
        stream.retire();
        let slack = Duration::from_millis(self.link.common.settings.answer_slack_ms);
        // Whoever does not say so in time breaks the order of this moment, which is better than to stop.
        let _ = timeout(slack, stream.is_read()).await;
        self.retire(stream);
        match self.start(io).await {
            Ok(next) => Some(next),
            Err(fault) => {
                self.on_failure(&fault);
                None
            }
        }
    }

    fn retire(&mut self, stream: Running) {
        stream.retire();
        self.retired.retain(|stream| !stream.is_over());
        self.retired.push(stream);
    }

    fn on_ended(&mut self, stream: &Running, fault: &Fault, lived: Duration) {
        if stream.was_up() && lived >= STEADY {
            self.failures = 0;
            self.link.is_up.store(false, Relaxed);
            tracing::warn!(address = %self.link.address, %fault, "lost the link with another node");
        } else if *fault == Fault::Refused(400) && self.link.step_back(stream.format()) {
            self.link.is_up.store(false, Relaxed);
            tracing::info!(address = %self.link.address, "another node reads older frames than it did");
        } else {
            self.on_failure(fault);
        }
    }

    fn on_failure(&mut self, fault: &Fault) {
        self.link.is_up.store(false, Relaxed);
        self.failures = self.failures.saturating_add(1);
        let doublings = (self.failures - 1).min(10);
        let backoff_ms = (BACKOFF_MS_MIN << doublings).min(BACKOFF_MS_MAX);
        self.link.go_down(self.now_us() + jittered(backoff_ms * 1_000));
        // A node that stays away is worth a line less and less often.
        let (address, failures) = (&self.link.address, self.failures);
        if failures.is_power_of_two() {
            tracing::warn!(%address, failures, %fault, "no link with another node");
        } else {
            tracing::debug!(%address, failures, %fault, "no link with another node");
        }
    }

    fn idle_at_us(&self, began_us: u64) -> u64 {
        let used_us = self.link.used_us.load(Relaxed).max(began_us);
        used_us + self.link.common.settings.idle.as_micros() as u64
    }

    fn now_us(&self) -> u64 {
        self.link.common.clock.micros()
    }
}

impl Drop for Keeper {
    /// Also when the runtime ends: nothing is left to take what waits.
    fn drop(&mut self) {
        self.link.is_up.store(false, Relaxed);
        self.link.lock().closed = true;
        self.link.go_down(u64::MAX);
    }
}

/// Within a quarter, so that links which began together do not go on together.
fn jittered(time_us: u64) -> u64 {
    time_us - time_us / 4 + fastrand::u64(..=time_us / 2)
}
