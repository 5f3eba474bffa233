//! One `POST /v1/deliver` on a connection of its own: frames out, answers in, in any order.
//!
//! Owns the connection, what was sent on it and is not answered, and the deadlines of that. The request's body takes from the
//! link's queue whatever waits there when the connection can write, so many frames share a write. One task does all of it.

use super::{
    Common,
    link::{Ask, Fault, Link, Waiter, What},
    wire::{self, Answer, Decoder, WireDelivery},
};
use bytes::{Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::watch,
    task::AbortHandle,
    time::{Instant, Sleep},
};

/// A chunk of frames ends when its payloads have grown to this, bytes.
const CHUNK_BYTES: usize = 64 * 1024;
/// Between two looks for answers that are late.
const LOOK: Duration = Duration::from_millis(250);
/// The longest answer: three numbers, and room for what a newer release adds.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// How far a stream is.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// The other node has taken the request.
    up: bool,
    /// The other node has read the request to its end.
    read: bool,
    ended: Option<Fault>,
}

/// A stream as its keeper sees it. Dropped, it ends at once, and what it owes fails.
pub(super) struct Running {
    progress: watch::Receiver<Progress>,
    /// Of its frames.
    format: u8,
    ending: Arc<Ending>,
    task: AbortHandle,
}

#[derive(Default)]
struct Ending {
    told: AtomicBool,
    waker: AtomicWaker,
}

impl Running {
    /// Sends the request's head; its body is the link's queue from now on.
    pub async fn start(link: Arc<Link>, number: u64, io: TcpStream) -> Result<Self, Fault> {
        let broken = |fault: hyper::Error| Fault::Broken(fault.to_string());
        let ending = Arc::new(Ending::default());
        let sent = Arc::new(Mutex::new(Sent::default()));
        let format = link.format();
        let feed = Feed {
            link: link.clone(),
            number,
            format,
            sent: sent.clone(),
            ending: ending.clone(),
            asks: Vec::new(),
        };
        let request = request(&link.common, &link.address, feed)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broken)?;
        let response = Box::pin(sender.send_request(request));
        let (told, progress) = watch::channel(Progress::default());
        let now_us = link.common.clock.micros();
        link.feed(Some(number));
        let stream = Stream {
            link,
            format,
            sent,
            ending: ending.clone(),
            connection: Some(Box::pin(connection)),
            response: Awaited::Head(response),
            decoder: Decoder::new(ANSWER_BYTES_MAX),
            progress: told,
            timer: None,
            began_us: now_us,
            answered_us: 0,
        };
        let task = tokio::spawn(stream).abort_handle();
        Ok(Self { progress, format, ending, task })
    }

    /// Ends the request; the answers may still come.
    pub fn retire(&self) {
        self.ending.told.store(true, Relaxed);
        self.ending.waker.wake();
    }

    /// Until the other node has read the whole request, or the stream has ended.
    pub async fn is_read(&mut self) {
        let _ = self.progress.wait_for(|progress| progress.read || progress.ended.is_some()).await;
    }

    /// Until it ends.
    pub async fn ended(&mut self) -> Fault {
        let gone = || Fault::Broken("the stream is gone".into());
        match self.progress.wait_for(|progress| progress.ended.is_some()).await {
            Ok(progress) => progress.ended.clone().unwrap_or_else(gone),
            Err(_) => gone(),
        }
    }

    /// Of its frames.
    pub fn format(&self) -> u8 {
        self.format
    }

    pub fn was_up(&self) -> bool {
        self.progress.borrow().up
    }

    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn request(common: &Common, address: &str, feed: Feed) -> Result<Request<Feed>, Fault> {
    let mut request = Request::post("/v1/deliver")
        .header(HOST, address)
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(wire::FORMAT_HEADER, u16::from(feed.format));
    if let Some(authorization) = common.authorization() {
        request = request.header(AUTHORIZATION, authorization);
    }
    request.body(feed).map_err(|fault| Fault::Connect(fault.to_string()))
}

/// What was sent and is not answered.
#[derive(Default)]
struct Sent {
    owed: HashMap<u64, Owed, foldhash::fast::RandomState>,
    next: u64,
}

struct Owed {
    waiter: Waiter,
    deadline_us: u64,
    sent_us: u64,
    bytes: usize,
}

fn lock(sent: &Mutex<Sent>) -> MutexGuard<'_, Sent> {
    // Nothing inside a locked section can leave it half changed.
    sent.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The request's body.
struct Feed {
    link: Arc<Link>,
    number: u64,
    format: u8,
    sent: Arc<Mutex<Sent>>,
    ending: Arc<Ending>,
    /// Empty between two chunks.
    asks: Vec<Ask>,
}

impl Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ending.told.load(Relaxed) {
            return Poll::Ready(None);
        }
        let mut asks = std::mem::take(&mut self.asks);
        self.link.take(self.number, CHUNK_BYTES, cx.waker(), &mut asks);
        if asks.is_empty() {
            self.asks = asks;
            return Poll::Pending;
        }
        let chunk = self.write(&mut asks);
        self.asks = asks;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }
}

impl Feed {
    fn write(&self, asks: &mut Vec<Ask>) -> Bytes {
        let room: usize = asks.iter().map(|ask| ask.bytes + wire::PER_FRAME_BYTES).sum();
        let mut chunk = BytesMut::with_capacity(room);
        let now = self.link.common.clock.now();
        self.link.on_sent(asks.len(), now.micros);
        let mut sent = lock(&self.sent);
        for ask in asks.drain(..) {
            let seq = sent.next;
            sent.next += 1;
            let Ask { place, user, what, waiter, deadline_us, bytes } = ask;
            let delivery = match what {
                What::Displaced => None,
                What::Delivery { device, message } => {
                    Some(delivery(&self.link.common, device, &message, now.unix_ms))
                }
            };
            let displaced = delivery.is_none();
            let user = user.into_string();
            let place = Some(place.into());
            let request = wire::Request { seq, place, user, delivery, displaced, sum: None };
            wire::write(&request.in_format(self.format), &mut chunk);
            sent.owed.insert(seq, Owed { waiter, deadline_us, sent_us: now.micros, bytes });
        }
        chunk.freeze()
    }
}

fn delivery(
    common: &Common,
    device: Box<str>,
    message: &crate::model::Message,
    unix_ms: u64,
) -> WireDelivery {
    WireDelivery {
        device: device.into_string(),
        lane: common.lanes.get(usize::from(message.lane.0)).cloned().unwrap_or_default(),
        kind: WireDelivery::kind_of(&message.body),
        payload: message.body.bytes().clone(),
        id: message.id.as_ref().map(|id| id.as_str().to_owned()),
        collapse: message.collapse.as_ref().map(|collapse| collapse.key.as_str().to_owned()),
        expires_in_ms: message.expires_unix_ms.map(|expires| expires.saturating_sub(unix_ms)),
        // Also where it has none of its own: the other node may have been given another `delivery.timeout`, and an answer is
        // waited for no longer than by this one's.
        timeout_ms: Some(common.timeout_ms(message)),
    }
}

type Connection = http1::Connection<TokioIo<TcpStream>, Feed>;
type Head = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

enum Awaited {
    Head(Head),
    Answers(Incoming),
}

/// See the module.
struct Stream {
    link: Arc<Link>,
    format: u8,
    sent: Arc<Mutex<Sent>>,
    ending: Arc<Ending>,
    /// None: it has ended.
    connection: Option<Pin<Box<Connection>>>,
    response: Awaited,
    decoder: Decoder<Answer>,
    progress: watch::Sender<Progress>,
    timer: Option<Pin<Box<Sleep>>>,
    began_us: u64,
    /// When something was answered last.
    answered_us: u64,
}

impl Future for Stream {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.ending.waker.register(cx.waker());
        let Err(fault) = self.advance(cx).and_then(|()| self.look(cx)) else { return Poll::Pending };
        self.fail_all();
        self.progress.send_modify(|progress| progress.ended = Some(fault));
        Poll::Ready(())
    }
}

impl Stream {
    /// Reads and writes as long as anything moves.
    fn advance(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        loop {
            let mut fault = None;
            if let Some(connection) = &mut self.connection
                && let Poll::Ready(ended) = connection.as_mut().poll(cx)
            {
                self.connection = None;
                fault = ended.err();
            }
            let moved = self.read(cx)?;
            if self.ending.told.load(Relaxed)
                && self.progress.borrow().read
                && lock(&self.sent).owed.is_empty()
            {
                return Err(Fault::Broken("it was replaced".into()));
            }
            if self.connection.is_none() {
                let fault =
                    fault.map_or_else(|| "closed by the other node".into(), |fault| fault.to_string());
                return Err(Fault::Broken(fault));
            }
            if !moved {
                return Ok(());
            }
        }
    }

    /// Takes what has come. Says whether anything had.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Fault> {
        let broken = |fault: hyper::Error| Fault::Broken(fault.to_string());
        let mut moved = false;
        loop {
            match &mut self.response {
                Awaited::Head(head) => {
                    let Poll::Ready(response) = head.as_mut().poll(cx) else { return Ok(moved) };
                    let response = response.map_err(broken)?;
                    if !response.status().is_success() {
                        return Err(Fault::Refused(response.status().as_u16()));
                    }
                    self.progress.send_modify(|progress| progress.up = true);
                    self.link.on_up(self.format);
                    self.response = Awaited::Answers(response.into_body());
                }
                Awaited::Answers(body) => {
                    let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else { return Ok(moved) };
                    let frame =
                        frame.ok_or_else(|| Fault::Broken("the other node ended the stream".into()))?;
                    if let Ok(chunk) = frame.map_err(broken)?.into_data() {
                        self.take(chunk)?;
                    }
                }
            }
            moved = true;
        }
    }

    fn take(&mut self, chunk: Bytes) -> Result<(), Fault> {
        let now_us = self.link.common.clock.micros();
        self.answered_us = now_us;
        self.decoder.feed(chunk);
        while let Some(answer) = self.decoder.next() {
            let answer = answer.map_err(Fault::BadFrame)?;
            if answer.read_all {
                self.progress.send_modify(|progress| progress.read = true);
                continue;
            }
            // One that is late was given up; one that nobody asked for is of no use.
            let Some(owed) = lock(&self.sent).owed.remove(&answer.seq) else { continue };
            self.link.on_answered(owed.bytes, now_us);
            owed.waiter.answer(&answer);
        }
        Ok(())
    }

    /// Every now and then, while anything is owed: gives up what is late.
    fn look(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        loop {
            let owes = !lock(&self.sent).owed.is_empty();
            let ends = self.ending.told.load(Relaxed);
            if !owes && !ends && !self.link.is_in_use() && self.progress.borrow().up {
                return Ok(());
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
            if timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            timer.as_mut().reset(Instant::now() + LOOK);
            if ends && !owes {
                return Err(Fault::Broken("it was replaced".into()));
            }
            self.give_up_what_is_late()?;
        }
    }

    fn give_up_what_is_late(&mut self) -> Result<(), Fault> {
        let now_us = self.link.common.clock.micros();
        let settings = &self.link.common.settings;
        let response_us =
            settings.connect_timeout.as_micros() as u64 + settings.answer_slack_ms.saturating_mul(1_000);
        if !self.progress.borrow().up && now_us.saturating_sub(self.began_us) > response_us {
            return Err(Fault::NoResponse);
        }
        let late: Vec<Owed> = {
            let mut sent = lock(&self.sent);
            let late: Vec<u64> = sent
                .owed
                .iter()
                .filter(|(_, owed)| owed.deadline_us <= now_us)
                .map(|(&seq, _)| seq)
                .collect();
            late.iter().filter_map(|seq| sent.owed.remove(seq)).collect()
        };
        // Nothing at all has come since one of them was sent: the node is paused, or the path is gone.
        let stalled = late.iter().any(|owed| self.answered_us < owed.sent_us);
        self.link.on_failed(late.len(), late.iter().map(|owed| owed.bytes).sum());
        drop(late);
        if !self.ending.told.load(Relaxed) {
            self.link.sweep(now_us);
        }
        if stalled { Err(Fault::Stalled) } else { Ok(()) }
    }

    fn fail_all(&self) {
        let owed = std::mem::take(&mut lock(&self.sent).owed);
        let bytes = owed.values().map(|owed| owed.bytes).sum();
        self.link.on_failed(owed.len(), bytes);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.fail_all();
    }
}
