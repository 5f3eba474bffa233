//! `POST /v1/deliver`: messages that other nodes have for connections of this one, streamed both ways.
//!
//! Owns the receiving end of [`crate::bridge::peers`]. A frame is believed in nothing but its payload: the connection that it
//! names must be of this run and be found under the user that it names, so whatever a frame says, no byte goes to another
//! user. Answers leave in the order in which they come, many to a chunk. What is held is bounded: [`IN_FLIGHT_MAX`] messages
//! without an outcome, as many as a sender may have under way, then the request is read no further; one frame; one chunk of
//! answers. Outcomes are not counted here but where the message entered the fleet.

use super::{
    app::App,
    connection::Watch,
    gate::{Headers, Right},
    reply::{Refusal, Reply, text},
    request::Query,
};
use crate::{
    bridge::{
        format::{self, FORMAT, FORMAT_OLDEST},
        peers::{
            IN_FLIGHT_BYTES_MAX, IN_FLIGHT_MAX,
            wire::{self, Answer, BadFrame, Decoder, WireDelivery},
        },
        store::Place,
    },
    kit::completion::Returns,
    model::{Identifier, Message, Outcome},
};
use bytes::{Bytes, BytesMut};
use hyper::{
    Response, StatusCode,
    body::{Body, Incoming},
    http::request::Parts,
};
use slab::Slab;
use std::{
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// The longest frame, bytes: the largest `limits.push_bytes` that there is, not this node's own, so that a node which allows
/// more gets `too_large` for a message and keeps its stream. It is held as far as it has come.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024 + wire::ENVELOPE_BYTES_MAX;
/// A chunk of answers leaves when it has grown to this, bytes.
const CHUNK_BYTES: usize = 32 * 1024;
/// How long answers are held back to leave together, as long as those of the newest messages are about to come.
const GATHER: Duration = Duration::from_millis(1);
const CONTENT_TYPE: &str = "application/octet-stream";

/// Answers a request. The head leaves at once: the other node then knows that it is heard.
///
/// # Errors
/// 400 for a format that is not read, 401 and 403 for the token.
pub fn deliver(
    app: &Arc<App>,
    peer: IpAddr,
    watch: &Arc<Watch>,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Reply>, Refusal> {
    app.gate.check_bearer(&Headers::of(&parts.headers, &app.identity()), Right::Peer)?;
    Query::parse(parts.uri.query(), &[])?;
    let name = parts.headers.get(wire::FORMAT_HEADER);
    let Some(format) = name.and_then(|name| format::named(FORMAT, name.as_bytes())) else {
        let message = format!(
            "name the format of the frames in the header {}: this node reads {FORMAT_OLDEST} to {FORMAT}",
            wire::FORMAT_HEADER,
        );
        return Err(Refusal::bad_request("unknown_format", message));
    };
    watch.on_stream_progress();
    let stream = DeliverStream::new(app.clone(), peer, watch.clone(), body, format);
    let mut response = text(StatusCode::OK, CONTENT_TYPE, Bytes::new());
    *response.body_mut() = Reply::Deliveries(Box::new(stream));
    Ok(response)
}

/// The answers to one request, made as they are asked for.
pub struct DeliverStream {
    app: Arc<App>,
    /// The other node.
    peer: IpAddr,
    watch: Arc<Watch>,
    /// None: it is read no more.
    body: Option<Incoming>,
    decoder: Decoder<wire::Request>,
    /// Of the frames.
    format: u8,
    /// Messages without an outcome, by the number of their ticket.
    owed: Slab<Owed>,
    bytes_in_flight: usize,
    returns: Arc<Returns<Outcome>>,
    /// Empty between two polls.
    returned: Vec<(u64, Outcome)>,
    /// Messages posted since outcomes were taken last.
    fresh: usize,
    gathering: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// Answers that have not left.
    out: BytesMut,
}

struct Owed {
    seq: u64,
    /// Of the payload.
    bytes: usize,
}

impl DeliverStream {
    fn new(app: Arc<App>, peer: IpAddr, watch: Arc<Watch>, body: Incoming, format: u8) -> Self {
        Self {
            app,
            peer,
            watch,
            body: Some(body),
            decoder: Decoder::new(FRAME_BYTES_MAX),
            format,
            owed: Slab::new(),
            bytes_in_flight: 0,
            returns: Returns::new(),
            returned: Vec::new(),
            fresh: 0,
            gathering: false,
            timer: None,
            out: BytesMut::new(),
        }
    }

    /// The next chunk of answers; None at the end.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            self.read(cx);
            if self.out.len() >= CHUNK_BYTES {
                return Poll::Ready(Some(self.take_chunk()));
            }
            if self.owed.is_empty() {
                self.gathering = false;
                self.fresh = 0;
                return match &self.body {
                    _ if !self.out.is_empty() => Poll::Ready(Some(self.take_chunk())),
                    None => Poll::Ready(None),
                    Some(_) => {
                        self.watch.on_stream_lull();
                        Poll::Pending
                    }
                };
            }
            match self.poll_returned(cx) {
                Poll::Ready(()) => self.answer(),
                Poll::Pending if self.gathering => {
                    ready!(self.poll_timer(cx));
                    self.gathering = false;
                    // Before more is read, which would be waited for again.
                    if self.poll_returned(cx).is_ready() {
                        self.answer();
                    }
                    if !self.out.is_empty() {
                        return Poll::Ready(Some(self.take_chunk()));
                    }
                }
                Poll::Pending if self.out.is_empty() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Some(self.take_chunk())),
            }
        }
    }

    /// Reads as long as there is room, and posts what was read.
    fn read(&mut self, cx: &mut Context<'_>) {
        while self.has_room() && self.out.len() < CHUNK_BYTES {
            match self.decoder.next() {
                Some(Ok(request)) if !request.is_of_format(self.format) => {
                    return self.on_bad_frame(BadFrame::Unreadable);
                }
                Some(Ok(request)) => {
                    self.take(request);
                    continue;
                }
                Some(Err(fault)) => return self.on_bad_frame(fault),
                None => {}
            }
            let Some(body) = &mut self.body else { return };
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(chunk) = frame.into_data() {
                        self.watch.on_stream_progress();
                        self.decoder.feed(chunk);
                    }
                }
                Poll::Ready(None) if self.decoder.is_empty() => {
                    wire::write(&Answer::all_read(), &mut self.out);
                    return self.stop_reading();
                }
                Poll::Ready(None) => return self.on_bad_frame(BadFrame::Unreadable),
                // The other node broke off: it takes no answer any more.
                Poll::Ready(Some(Err(_))) => return self.stop_reading(),
            }
        }
    }

    fn has_room(&self) -> bool {
        self.owed.len() < IN_FLIGHT_MAX && self.bytes_in_flight < IN_FLIGHT_BYTES_MAX
    }

    fn stop_reading(&mut self) {
        self.body = None;
        self.decoder = Decoder::new(FRAME_BYTES_MAX);
        self.watch.on_body_read();
    }

    fn on_bad_frame(&mut self, fault: BadFrame) {
        tracing::warn!(peer = %self.peer, %fault, "another node's stream of messages cannot be read on");
        self.stop_reading();
    }

    fn take(&mut self, request: wire::Request) {
        let wire::Request { seq, place, user, delivery, displaced, .. } = request;
        let answer = match (place.and_then(|place| place.place()), delivery) {
            (Some(place), Some(delivery)) => match self.post(seq, place, &user, delivery) {
                Ok(()) => return,
                Err(outcome) => Answer::of_delivery(seq, outcome),
            },
            (Some(place), None) if displaced && self.app.control.router.displace_for_peer(place, &user) => {
                Answer::of_displaced(seq)
            }
            // There was no room, and it is to be said again.
            (Some(_), None) if displaced => Answer::of_delivery(seq, Outcome::Failed),
            // What a newer release asks for.
            _ => Answer::of_delivery(seq, Outcome::Failed),
        };
        wire::write(&answer, &mut self.out);
    }

    fn post(&mut self, seq: u64, place: Place, user: &str, delivery: WireDelivery) -> Result<(), Outcome> {
        let router = &self.app.control.router;
        if !router.is_of_this_run(place) {
            return Err(Outcome::Stale);
        }
        let message = self.app.message_of_peer(&delivery)?;
        let bytes = message.body.bytes().len();
        let number = self.owed.insert(Owed { seq, bytes });
        self.bytes_in_flight += bytes;
        self.fresh += 1;
        if !self.gathering {
            self.gathering = true;
            self.set_timer();
        }
        let ticket = self.returns.ticket(number as u64);
        self.app.control.router.deliver_of_peer(place, user, &delivery.device, Arc::new(message), ticket);
        Ok(())
    }

    /// Ready when outcomes were taken: those of all fresh messages while they are waited for, else any.
    fn poll_returned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wanted = if self.gathering { self.fresh.clamp(1, self.owed.len()) } else { 1 };
        self.returns.poll_take(wanted, cx, &mut self.returned)
    }

    fn answer(&mut self) {
        self.gathering = false;
        self.fresh = 0;
        for (number, outcome) in self.returned.drain(..) {
            let Some(owed) = self.owed.try_remove(number as usize) else { continue };
            self.bytes_in_flight -= owed.bytes;
            wire::write(&Answer::of_delivery(owed.seq, outcome), &mut self.out);
        }
    }

    fn set_timer(&mut self) {
        let deadline = Instant::now() + GATHER;
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(deadline),
            None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().map_or(Poll::Ready(()), |timer| timer.as_mut().poll(cx))
    }

    fn take_chunk(&mut self) -> Bytes {
        if self.body.is_some() {
            self.watch.on_stream_progress();
        }
        self.out.split().freeze()
    }
}

impl Drop for DeliverStream {
    fn drop(&mut self) {
        self.watch.on_answered();
    }
}

impl App {
    /// Makes a message of what another node sent. It has entered this node now.
    ///
    /// # Errors
    /// The outcome of one that is none.
    fn message_of_peer(&self, delivery: &WireDelivery) -> Result<Message, Outcome> {
        let config = self.config();
        if delivery.payload.len() > config.limits.push_bytes {
            return Err(Outcome::TooLarge);
        }
        let name = |name: &Option<String>| {
            name.as_deref().map(Identifier::new).transpose().map_err(|_| Outcome::Failed)
        };
        // Lanes are known by their names: nodes may be configured one after the other.
        let lane = config.lanes.by_name(&delivery.lane).unwrap_or(config.lanes.default_lane());
        let now = self.control.clock.now();
        let mut message = Message::new(lane, delivery.body().ok_or(Outcome::Failed)?, now.micros);
        message.id = name(&delivery.id)?;
        message.collapse = name(&delivery.collapse)?.map(|key| self.collapse(key));
        message.expires_unix_ms = delivery.expires_in_ms.map(|left_ms| match left_ms {
            0 => 0,
            left_ms => now.unix_ms.saturating_add(left_ms),
        });
        message.timeout_ms = delivery.timeout_ms.map(|timeout_ms| timeout_ms.min(config.delivery.timeout_ms));
        Ok(message)
    }
}
