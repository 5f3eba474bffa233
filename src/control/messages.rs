//! `POST /v1/messages`: many messages in one request, a line of JSON each, streamed both ways.
//!
//! Lines are parsed as they come, across the body's chunks, and posted at once. Answers leave in the order of the lines,
//! many to a chunk. What is held is bounded: [`IN_FLIGHT_MAX`] messages without an outcome, then the request is read no
//! further; one line; and one chunk of answers.

mod line;
mod lines;

use super::{
    app::App,
    connection::Watch,
    gate::{Headers, Right},
    reply::{Refusal, Reply, text},
    request::Query,
};
use crate::bridge::{Delivered, Push};
use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    body::{Body, Incoming},
    http::request::Parts,
};
use lines::{Lines, TooLong};
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// Messages of one request without an outcome; then it is read no further until one has.
pub const IN_FLIGHT_MAX: usize = 1_000;
/// Payload bytes of one request's messages without an outcome; as above.
const IN_FLIGHT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A chunk of answers leaves when it has grown to this, bytes.
const CHUNK_BYTES: usize = 32 * 1024;
/// How long answers are held back to leave together, as long as more are about to come.
const GATHER: Duration = Duration::from_millis(5);
const CONTENT_TYPE: &str = "application/x-ndjson";

/// Answers a request. The head leaves with the first answers, so that a batch costs one write.
///
/// # Errors
/// 400 for a query, 401 and 403 for the token.
pub async fn messages(
    app: &Arc<App>,
    watch: &Arc<Watch>,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Reply>, Refusal> {
    app.gate.check_bearer(&Headers::of(&parts.headers, &app.identity()), Right::Send)?;
    Query::parse(parts.uri.query(), &[])?;
    watch.on_stream_progress();
    let mut stream = MessageStream::new(app.clone(), watch.clone(), body);
    let first = std::future::poll_fn(|cx| stream.poll_chunk(cx)).await.unwrap_or_default();
    if stream.is_done() {
        drop(stream);
        return Ok(text(StatusCode::OK, CONTENT_TYPE, first));
    }
    stream.first = Some(first);
    let mut response = text(StatusCode::OK, CONTENT_TYPE, Bytes::new());
    *response.body_mut() = Reply::Stream(Box::new(stream));
    Ok(response)
}

/// The answers to one request, made as they are asked for.
pub struct MessageStream {
    app: Arc<App>,
    watch: Arc<Watch>,
    /// None: read to its end.
    body: Option<Incoming>,
    lines: Lines,
    waiting: VecDeque<Waiting>,
    /// Of `waiting`, how many from the front on are known to have been sent on.
    found: usize,
    bytes_in_flight: usize,
    /// Answers that have not left.
    out: Vec<u8>,
    /// A chunk that was made before the head left.
    first: Option<Bytes>,
    gathering: Gathering,
    timer: Option<Pin<Box<Sleep>>>,
}

/// One line that is not answered yet.
struct Waiting {
    /// What its message holds.
    bytes: usize,
    state: State,
}

enum State {
    Pushed { id: Option<Box<str>>, push: Push },
    Delivered { id: Option<Box<str>>, delivered: Delivered },
    Refused(Refusal),
}

impl Waiting {
    /// Ready when it can be answered.
    fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let State::Pushed { id, push } = &mut self.state {
            let delivered = ready!(Pin::new(push).poll(cx));
            self.state = State::Delivered { id: id.take(), delivered };
        }
        Poll::Ready(())
    }
}

/// What to do while the first line in turn has no outcome.
///
/// A shard answers a batch one message after the other. To be woken by each would cost a wake and a chunk for every
/// message, so the stream waits for the newest, but no longer than [`GATHER`]: then the first in turn is a slow one, and
/// what is there leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gathering {
    NotYet,
    ForTheNewest,
    Over,
}

/// How far the request was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Pending,
    NoRoom,
    Ended,
}

/// What to do with the answers that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gathered {
    LookAgain,
    Flush,
}

impl MessageStream {
    fn new(app: Arc<App>, watch: Arc<Watch>, body: Incoming) -> Self {
        let bytes_max = app.config().limits.push_bytes;
        Self {
            app,
            watch,
            body: Some(body),
            lines: Lines::new(line::bytes_max(bytes_max)),
            waiting: VecDeque::new(),
            found: 0,
            bytes_in_flight: 0,
            out: Vec::new(),
            first: None,
            gathering: Gathering::NotYet,
            timer: None,
        }
    }

    /// Whether all is read and answered.
    fn is_done(&self) -> bool {
        self.body.is_none() && self.lines.is_empty() && self.waiting.is_empty() && self.out.is_empty()
    }

    /// The next chunk of answers; None at the end.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Poll::Ready(Some(first));
        }
        loop {
            let reading = self.read(cx);
            self.look_up(cx);
            let answered = self.answer();
            if self.out.len() >= CHUNK_BYTES {
                return Poll::Ready(Some(self.take_chunk()));
            }
            if answered > 0 && reading == Reading::NoRoom {
                continue;
            }
            if self.waiting.is_empty() {
                self.gathering = Gathering::NotYet;
                return match reading {
                    _ if !self.out.is_empty() => Poll::Ready(Some(self.take_chunk())),
                    Reading::Ended => Poll::Ready(None),
                    Reading::Pending | Reading::NoRoom => Poll::Pending,
                };
            }
            if ready!(self.poll_gather(cx)) == Gathered::Flush {
                return Poll::Ready(Some(self.take_chunk()));
            }
        }
    }

    /// Reads as long as there is room, and posts what was read.
    fn read(&mut self, cx: &mut Context<'_>) -> Reading {
        loop {
            while self.has_room() {
                let Some(line) = self.lines.next(self.body.is_none()) else { break };
                self.take(line);
            }
            if !self.has_room() {
                return Reading::NoRoom;
            }
            let Some(body) = &mut self.body else { return Reading::Ended };
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return Reading::Pending,
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(chunk) = frame.into_data() {
                        self.watch.on_stream_progress();
                        self.lines.feed(chunk);
                    }
                    if body.is_end_stream() {
                        self.on_read_to_the_end();
                    }
                }
                Poll::Ready(None) => self.on_read_to_the_end(),
                // The sender broke off: what it began is no message.
                Poll::Ready(Some(Err(_))) => {
                    self.lines.clear();
                    self.on_read_to_the_end();
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < IN_FLIGHT_MAX && self.bytes_in_flight < IN_FLIGHT_BYTES_MAX
    }

    /// Posts a line's message. A blank line is passed over.
    fn take(&mut self, line: Result<Bytes, TooLong>) {
        let pushed = match line {
            Ok(line) if line.trim_ascii().is_empty() => return,
            Ok(line) => line::push(&self.app, &line),
            Err(TooLong) => Err(line::too_large(&self.app)),
        };
        let waiting = match pushed {
            Ok(line::Pushed { bytes, id, push }) => Waiting { bytes, state: State::Pushed { id, push } },
            Err(refusal) => Waiting { bytes: 0, state: State::Refused(refusal) },
        };
        self.bytes_in_flight += waiting.bytes;
        self.waiting.push_back(waiting);
    }

    fn on_read_to_the_end(&mut self) {
        self.body = None;
        self.watch.on_body_read();
    }

    /// Lets every line whose devices the registry has found go on, so that none waits until it is the first in turn.
    fn look_up(&mut self, cx: &mut Context<'_>) {
        let mut all_before = true;
        for (at, waiting) in self.waiting.iter_mut().enumerate().skip(self.found) {
            let found = match &mut waiting.state {
                State::Pushed { push, .. } => push.poll_found(cx).is_ready(),
                State::Delivered { .. } | State::Refused(_) => true,
            };
            all_before &= found;
            if all_before {
                self.found = at + 1;
            }
        }
    }

    /// Writes the answers of the lines that have one, in turn. Says how many.
    fn answer(&mut self) -> usize {
        let before = self.waiting.len();
        while self.out.len() < CHUNK_BYTES
            && let Some(first) = self.waiting.front_mut()
        {
            // One that waits for the registry keeps its waker.
            if self.found == 0 || first.poll_settled(&mut Context::from_waker(Waker::noop())).is_pending() {
                break;
            }
            match &first.state {
                State::Pushed { .. } => break,
                State::Delivered { delivered, .. }
                    if delivered.is_empty() && delivered.unknown().is_some() =>
                {
                    Refusal::registry_away().write_json(&mut self.out);
                }
                State::Delivered { id, delivered } => {
                    self.app.write_delivered(id.as_deref(), delivered, &mut self.out);
                }
                State::Refused(refusal) => refusal.write_json(&mut self.out),
            }
            self.out.push(b'\n');
            self.bytes_in_flight -= first.bytes;
            self.waiting.pop_front();
            self.found -= 1;
        }
        let answered = before - self.waiting.len();
        if answered > 0 && self.gathering == Gathering::Over {
            self.gathering = Gathering::NotYet;
        }
        answered
    }

    /// Ready when it is worth to look again, or time to let go what is there.
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<Gathered> {
        if self.gathering == Gathering::NotYet {
            let deadline = Instant::now() + GATHER;
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
            self.gathering = Gathering::ForTheNewest;
        }
        if self.gathering == Gathering::ForTheNewest {
            let over = self.timer.as_mut().is_none_or(|timer| timer.as_mut().poll(cx).is_ready());
            let newest = self.waiting.back_mut();
            if !over && newest.is_some_and(|newest| newest.poll_settled(cx).is_pending()) {
                return Poll::Pending;
            }
            self.gathering = Gathering::Over;
        }
        if self.waiting.front_mut().is_none_or(|first| first.poll_settled(cx).is_ready()) {
            return Poll::Ready(Gathered::LookAgain);
        }
        if self.out.is_empty() { Poll::Pending } else { Poll::Ready(Gathered::Flush) }
    }

    fn take_chunk(&mut self) -> Bytes {
        if self.body.is_some() {
            self.watch.on_stream_progress();
        }
        std::mem::take(&mut self.out).into()
    }
}

impl Drop for MessageStream {
    fn drop(&mut self) {
        self.watch.on_answered();
    }
}
