//! One sender's connection: its socket, and what it is doing, so that a slow one can be cut off.
//!
//! Owns the time limits of the internal port. They are kept by one sweep a second over all connections instead of by a
//! timer for each request: a request in time costs a few stores.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// From the first byte of a request's head to its last, s.
pub const HEAD_S_MAX: u32 = 10;
/// From the end of the head to the end of the body, s. The bodies of `/v1/messages` and `/v1/deliver` are streams and not
/// bounded by this.
pub const BODY_S_MAX: u32 = 30;
/// How long a connection is kept between requests, and a stream in which nothing happens, s.
pub const QUIET_S_MAX: u32 = 300;
/// How long a sender may take nothing of an answer, s.
pub const STALLED_S_MAX: u32 = 30;

/// The number of the current second, told by the sweep. It starts at 1: 0 means "not at all" in a [`Watch`].
#[derive(Debug)]
pub struct Seconds(AtomicU32);

impl Seconds {
    /// The first second.
    pub fn start() -> Self {
        Self(AtomicU32::new(1))
    }

    /// The next one.
    pub fn advance(&self) -> u32 {
        self.0.fetch_add(1, Relaxed) + 1
    }

    fn now(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Phase {
    /// Between requests.
    Idle,
    /// Some of a head has come.
    Head,
    /// The body is being read.
    Body,
    /// The body of `/v1/messages` or `/v1/deliver` is being read and answered.
    Stream,
    /// The same, and all of it so far is answered.
    Lull,
    /// The answer is being made; whoever makes it bounds the time.
    Busy,
    /// The answer is there and is being written.
    Answered,
}

/// What a connection is doing and since when. Only the control thread touches it; it is atomic so that it may be shared.
#[derive(Debug)]
pub struct Watch {
    clock: Arc<Seconds>,
    phase: AtomicU8,
    since: AtomicU32,
    /// Since when the sender has taken nothing; 0: it does.
    stalled_since: AtomicU32,
}

impl Watch {
    /// A connection that was just accepted.
    pub fn new(clock: Arc<Seconds>) -> Self {
        let since = AtomicU32::new(clock.now());
        Self { clock, phase: AtomicU8::new(Phase::Idle as u8), since, stalled_since: AtomicU32::new(0) }
    }

    /// A whole head was read.
    pub fn on_request(&self) {
        self.enter(Phase::Body);
    }

    /// The whole body was read.
    pub fn on_body_read(&self) {
        self.enter(Phase::Busy);
    }

    /// The body is a stream, and something happened in it.
    pub fn on_stream_progress(&self) {
        self.enter(Phase::Stream);
    }

    /// The body is a stream, and all of it so far is answered.
    pub fn on_stream_lull(&self) {
        self.enter(Phase::Lull);
    }

    /// The answer is complete and needs only to be written.
    pub fn on_answered(&self) {
        self.enter(Phase::Answered);
    }

    /// Whether it is between requests.
    pub fn is_idle(&self) -> bool {
        self.is_in(Phase::Idle)
    }

    /// Whether nothing is lost when it ends.
    pub fn may_end(&self) -> bool {
        self.is_idle() || self.is_in(Phase::Lull)
    }

    /// Whether no request is under way: none that has a whole head.
    pub fn has_no_request(&self) -> bool {
        self.is_idle() || self.is_in(Phase::Head)
    }

    /// Since which second.
    pub fn since(&self) -> u32 {
        self.since.load(Relaxed)
    }

    /// Whether the sender has used up its time.
    pub fn is_overdue(&self, now: u32) -> bool {
        let stalled_since = self.stalled_since.load(Relaxed);
        if stalled_since != 0 && now.saturating_sub(stalled_since) > STALLED_S_MAX {
            return true;
        }
        let limits = [
            (Phase::Idle, QUIET_S_MAX),
            (Phase::Head, HEAD_S_MAX),
            (Phase::Body, BODY_S_MAX),
            (Phase::Stream, QUIET_S_MAX),
            (Phase::Lull, QUIET_S_MAX),
        ];
        let limit = limits.iter().find(|(phase, _)| self.is_in(*phase));
        limit.is_some_and(|&(_, limit)| now.saturating_sub(self.since()) > limit)
    }

    fn on_read(&self) {
        if self.is_in(Phase::Idle) {
            self.enter(Phase::Head);
        }
    }

    fn on_written(&self) {
        if self.stalled_since.load(Relaxed) != 0 {
            self.stalled_since.store(0, Relaxed);
        }
    }

    fn on_write_blocked(&self) {
        if self.stalled_since.load(Relaxed) == 0 {
            self.stalled_since.store(self.clock.now(), Relaxed);
        }
    }

    fn on_flushed(&self) {
        if self.is_in(Phase::Answered) {
            self.enter(Phase::Idle);
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.since.store(self.clock.now(), Relaxed);
    }

    fn is_in(&self, phase: Phase) -> bool {
        self.phase.load(Relaxed) == phase as u8
    }
}

/// A socket that tells its [`Watch`] what passes.
#[derive(Debug)]
pub struct WatchedStream {
    stream: TcpStream,
    watch: Arc<Watch>,
}

impl WatchedStream {
    /// Watches a socket.
    pub fn new(stream: TcpStream, watch: Arc<Watch>) -> Self {
        Self { stream, watch }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Pending => self.watch.on_write_blocked(),
            Poll::Ready(_) => self.watch.on_written(),
        }
        written
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.watch.on_read();
        }
        read
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch.on_flushed();
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_limit_and_an_answer_being_made_has_none() {
        let clock = Arc::new(Seconds::start());
        let watch = Watch::new(clock.clone());
        let overdue_after = |watch: &Watch| {
            let limit = (1..1_000).find(|&s| watch.is_overdue(watch.since() + s));
            limit.map(|s| s - 1)
        };
        assert_eq!(overdue_after(&watch), Some(QUIET_S_MAX));
        watch.on_read();
        assert_eq!(overdue_after(&watch), Some(HEAD_S_MAX));
        assert!(!watch.is_idle() && watch.has_no_request());
        clock.advance();
        watch.on_read();
        assert_eq!(watch.since(), 1, "more of a head does not buy more time");
        watch.on_request();
        assert!(!watch.has_no_request());
        assert_eq!((watch.since(), overdue_after(&watch)), (2, Some(BODY_S_MAX)));
        watch.on_body_read();
        assert_eq!(overdue_after(&watch), None);
        watch.on_flushed();
        assert!(!watch.is_idle(), "a flush in the middle of a request is not its end");
        watch.on_answered();
        watch.on_flushed();
        assert!(watch.is_idle());
        watch.on_stream_progress();
        assert_eq!(overdue_after(&watch), Some(QUIET_S_MAX));
        assert!(!watch.may_end());
        watch.on_stream_lull();
        assert_eq!(overdue_after(&watch), Some(QUIET_S_MAX));
        assert!(watch.may_end() && !watch.has_no_request());
        watch.on_body_read();
        watch.on_write_blocked();
        assert_eq!(overdue_after(&watch), Some(STALLED_S_MAX));
        watch.on_written();
        assert_eq!(overdue_after(&watch), None);
    }
}
