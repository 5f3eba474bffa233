//! `GET /v1/events`: what `GET /v1/stats` says, each second, to those who watch.
//!
//! Owns the watchers. One task makes the numbers, once for all of them, and makes none when nobody watches. Everything is
//! bounded: [`WATCHERS_MAX`] watchers; a few events for each that has not taken them yet, and one that takes none for
//! [`MISSED_MAX`] seconds is dropped. A stream ends when the session or the token by which it was opened does.

use super::{
    app::App,
    connection::Watch,
    gate::{Caller, Gate, Headers, Right},
    node,
    reply::{Refusal, Reply, text},
    request::Query,
};
use crate::bridge::drain::{DrainPhase, DrainStatus};
use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{CACHE_CONTROL, HeaderName, HeaderValue},
    http::request::Parts,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{
        Notify,
        mpsc::{self, error::TrySendError},
    },
    time::Instant,
};

/// Watchers at once; one more gets 503.
pub const WATCHERS_MAX: usize = 64;
/// Between two events of the numbers.
const PERIOD: Duration = Duration::from_secs(1);
/// Events that may wait for one watcher: those of its beginning and a few more.
const WAITING_MAX: usize = 4;
/// Events in a row that a watcher may miss because so many wait for it.
const MISSED_MAX: u32 = 10;
/// How soon a browser is to come back.
const OPENING: &str = "retry: 2000\n\n";

/// The watchers, and what is told to all of them.
#[derive(Default)]
pub struct Feed {
    inner: Mutex<Inner>,
    /// Somebody has come, or something has changed.
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    watchers: Vec<Watcher>,
    /// The last event of the numbers, and until when it is news.
    numbers: Option<(Bytes, Instant)>,
    /// The drain as it was told last.
    drain: Option<DrainStatus>,
    closed: bool,
}

struct Watcher {
    caller: Caller,
    events: mpsc::Sender<Bytes>,
    missed: u32,
}

impl Feed {
    /// Looks again at once at what may have changed: the drain, or who may watch.
    pub fn look(&self) {
        self.changed.notify_one();
    }

    /// Ends every stream, and opens no other.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.watchers.clear();
    }

    /// How many watch.
    pub fn watchers(&self) -> usize {
        self.lock().watchers.iter().filter(|watcher| !watcher.events.is_closed()).count()
    }

    /// Makes the events until the feed is closed.
    pub async fn run(self: Arc<Self>, app: Arc<App>) {
        let mut next = Instant::now();
        loop {
            self.leave_out(&app.gate);
            if self.lock().watchers.is_empty() {
                self.changed.notified().await;
                continue;
            }
            self.tell_drain(app.control.drain.status());
            if Instant::now() >= next {
                next = Instant::now() + PERIOD;
                let numbers = node::numbers(&app).await;
                self.tell_numbers(event("stats", &numbers), next);
            }
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    fn join(&self, caller: Caller, drain: DrainStatus) -> Result<mpsc::Receiver<Bytes>, Refusal> {
        let mut inner = self.lock();
        inner.watchers.retain(|watcher| !watcher.events.is_closed());
        if inner.closed || inner.watchers.len() >= WATCHERS_MAX {
            let message = format!("{WATCHERS_MAX} watch already; close a page that nobody looks at");
            return Err(Refusal::overloaded("too_many_watchers", message));
        }
        let (events, receiver) = mpsc::channel(WAITING_MAX);
        // There is room for all of these.
        let _ = events.try_send(Bytes::from_static(OPENING.as_bytes()));
        let _ = events.try_send(event("drain", &node::drain_json(&drain)));
        if let Some((numbers, _)) = inner.numbers.as_ref().filter(|(_, until)| Instant::now() < *until) {
            let _ = events.try_send(numbers.clone());
        }
        // Nobody has to hear what this one has just been told.
        if inner.watchers.is_empty() {
            inner.drain = Some(drain);
        }
        inner.watchers.push(Watcher { caller, events, missed: 0 });
        self.changed.notify_one();
        Ok(receiver)
    }

    /// Lets go who has left, and who would not be let in again.
    fn leave_out(&self, gate: &Gate) {
        let mut inner = self.lock();
        inner.watchers.retain(|watcher| !watcher.events.is_closed() && gate.still_knows(&watcher.caller));
    }

    fn tell_numbers(&self, event: Bytes, until: Instant) {
        let mut inner = self.lock();
        inner.tell(&event);
        inner.numbers = Some((event, until));
    }

    fn tell_drain(&self, drain: DrainStatus) {
        let mut inner = self.lock();
        let before = inner.drain.replace(drain);
        // While it serves, a node's connections come and go, and that is no news of a drain.
        let is_same = |before: DrainStatus| match drain.phase {
            DrainPhase::Serving => before.phase == drain.phase,
            _ => before == drain,
        };
        if !before.is_some_and(is_same) {
            inner.tell(&event("drain", &node::drain_json(&drain)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tell(&mut self, event: &Bytes) {
        self.watchers.retain_mut(|watcher| match watcher.events.try_send(event.clone()) {
            Ok(()) => {
                watcher.missed = 0;
                true
            }
            Err(TrySendError::Full(_)) => {
                watcher.missed += 1;
                watcher.missed <= MISSED_MAX
            }
            Err(TrySendError::Closed(_)) => false,
        });
    }
}

/// One event with a JSON value, which has no line ends, as its data.
fn event(name: &str, value: &serde_json::Value) -> Bytes {
    format!("event: {name}\ndata: {value}\n\n").into()
}

/// `GET /v1/events`
///
/// # Errors
/// 400, 401 and 403; 503 when too many watch.
pub fn events(app: &Arc<App>, watch: &Arc<Watch>, parts: &Parts) -> Result<Response<Reply>, Refusal> {
    let caller = app.gate.check_bearer(&Headers::of(&parts.headers, &app.identity()), Right::Read)?;
    Query::parse(parts.uri.query(), &[])?;
    let events = app.feed.join(caller, app.control.drain.status())?;
    watch.on_stream_progress();
    let mut response = text(StatusCode::OK, "text/event-stream", Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    *response.body_mut() = Reply::Events(Box::new(EventStream { events, watch: watch.clone() }));
    Ok(response)
}

/// The events of one watcher.
pub struct EventStream {
    events: mpsc::Receiver<Bytes>,
    watch: Arc<Watch>,
}

impl EventStream {
    /// The next event; None at the end.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let event = self.events.poll_recv(cx);
        if event.is_ready() {
            self.watch.on_stream_progress();
        }
        event
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.watch.on_answered();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_nothing_is_dropped_and_who_takes_it_late_is_not() {
        let mut inner = Inner::default();
        let mut join = || {
            let (events, receiver) = mpsc::channel(WAITING_MAX);
            inner.watchers.push(Watcher { caller: Caller::default(), events, missed: 0 });
            receiver
        };
        let (stuck, mut late) = (join(), join());
        let number = Bytes::from_static(b"1");
        for second in 1..=WAITING_MAX as u32 + MISSED_MAX {
            inner.tell(&number);
            if second % MISSED_MAX == 0 {
                assert_eq!(late.try_recv().unwrap(), number);
            }
        }
        assert_eq!(inner.watchers.len(), 2);
        inner.tell(&number);
        assert_eq!(inner.watchers.len(), 1);
        assert!(!late.is_closed() && stuck.is_closed());
        drop(late);
        inner.tell(&number);
        assert!(inner.watchers.is_empty());
    }
}
