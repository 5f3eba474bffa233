//! Client bytes to messages, in whatever pieces they come.

use std::ops::ControlFlow;

use simdutf8::compat::from_utf8;
use tungstenite::protocol::frame::coding::CloseCode;

use super::frame::{CLIENT_HEADER_MAX, ClientOp, Frame, parse_client_header};
use super::mask::{rotate, unmask};
use super::{Incoming, Violation};
use crate::proto::deflate::{InflateError, Inflater};

/// What a connection keeps while a frame or a message is in pieces. It holds what has
/// arrived and at most a quarter more.
#[derive(Debug)]
pub struct Partial {
    /// The beginning of a frame header.
    header: [u8; CLIENT_HEADER_MAX],
    header_length: u8,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// The message whose first frame has begun. Control frames may come between its fragments.
    message_kind: Option<Kind>,
    message: Vec<u8>,
    /// How much of `message` is known to be UTF-8, if it must be.
    valid_up_to: usize,
    control: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    text: bool,
    compressed: bool,
}

impl Partial {
    /// The heap bytes it holds, itself included.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.message.capacity() + self.control.capacity()
    }

    fn new() -> Box<Self> {
        Box::new(Self {
            header: [0; CLIENT_HEADER_MAX],
            header_length: 0,
            frame: None,
            message_kind: None,
            message: Vec::new(),
            valid_up_to: 0,
            control: Vec::new(),
        })
    }

    fn is_idle(&self) -> bool {
        self.header_length == 0 && self.frame.is_none() && self.message_kind.is_none()
    }

    fn header(&self) -> &[u8] {
        self.header.get(..usize::from(self.header_length)).unwrap_or_default()
    }

    /// Adds payload of `frame` to the message. Memory is taken for what has arrived and a quarter more, so that many small pieces
    /// are not copied each time; never for what is only announced.
    fn append(&mut self, frame: &Frame, payload: &[u8]) -> Result<(), Violation> {
        let kind = *self.message_kind.get_or_insert(Kind::of(frame));
        let needed = self.message.len() + payload.len();
        if needed > self.message.capacity() {
            let roomy = self.message.capacity() + self.message.capacity() / 4 + 64;
            let most =
                if frame.fin { self.message.len().saturating_add(frame.payload_left()) } else { usize::MAX };
            let roomy = roomy.min(most);
            self.message.reserve_exact(needed.max(roomy) - self.message.len());
        }
        self.message.extend_from_slice(payload);
        if kind.text && !kind.compressed { self.check_text() } else { Ok(()) }
    }

    /// A byte that can not be part of UTF-8 is found as soon as it is here; a character cut in two may wait.
    fn check_text(&mut self) -> Result<(), Violation> {
        let fresh = self.message.get(self.valid_up_to..).unwrap_or_default();
        match from_utf8(fresh) {
            Ok(text) => self.valid_up_to += text.len(),
            Err(error) if error.error_len().is_none() => self.valid_up_to += error.valid_up_to(),
            Err(_) => return Err(NOT_UTF8),
        }
        Ok(())
    }

    fn take_message(&mut self) -> Vec<u8> {
        self.message_kind = None;
        self.valid_up_to = 0;
        std::mem::take(&mut self.message)
    }
}

impl Kind {
    fn of(frame: &Frame) -> Self {
        Self { text: frame.op == ClientOp::Text, compressed: frame.compressed }
    }
}

const NOT_UTF8: Violation = Violation::InvalidPayload("text is not UTF-8");

/// The rules one connection's bytes are read by. Cheap to make for each read.
pub struct Decoder<'s> {
    /// The longest message in bytes, inflated if it was compressed.
    pub message_max: usize,
    /// The shard's decompressor, if permessage-deflate was negotiated on this connection.
    pub deflate: Option<&'s mut Inflater>,
    /// Frames whose header was read, fragments and control frames included: what an inbound rate counts.
    pub frames: u32,
}

impl Decoder<'_> {
    /// Consumes all of `input`, unmasking it in place, and calls `on` for each whole message and control frame in order.
    ///
    /// `partial` is what the connection has in pieces: given back as it was left, and None as soon as nothing is pending. After
    /// a close frame, when `on` breaks, or upon a violation, the rest of the input is discarded and `partial` is None; the
    /// connection must not feed again. The outcome does not depend on how the bytes were cut.
    pub fn feed(
        &mut self,
        partial: &mut Option<Box<Partial>>,
        input: &mut [u8],
        on: &mut dyn FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<(), Violation> {
        self.feed_until(partial, input, on).map(drop)
    }

    /// The same, but when `on` breaks at a message, the rest of `input` is left as it came: says how many bytes of its end that are.
    /// They may be fed to another decoder, with the same `partial`.
    pub fn feed_until(
        &mut self,
        partial: &mut Option<Box<Partial>>,
        mut input: &mut [u8],
        on: &mut dyn FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Violation> {
        let outcome = self.feed_frames(partial, &mut input, on);
        let ended = !matches!(outcome, Ok(ControlFlow::Continue(())));
        if ended || partial.as_ref().is_some_and(|partial| partial.is_idle()) {
            *partial = None;
        }
        outcome.map(|_| input.len())
    }

    /// Leaves in `input` what it has not used.
    fn feed_frames(
        &mut self,
        partial: &mut Option<Box<Partial>>,
        input: &mut &mut [u8],
        on: &mut dyn FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        loop {
            let mut frame = match partial.as_ref().and_then(|partial| partial.frame) {
                Some(frame) => frame,
                None => {
                    let Some((frame, used)) = self.read_header(partial, input)? else {
                        *input = &mut [];
                        return Ok(ControlFlow::Continue(()));
                    };
                    *input = std::mem::take(input).get_mut(used..).unwrap_or_default();
                    self.frames = self.frames.saturating_add(1);
                    frame
                }
            };
            let here = frame.payload_left().min(input.len());
            let (payload, rest) = std::mem::take(input).split_at_mut(here);
            *input = rest;
            unmask(payload, frame.mask);
            if here as u64 == frame.remaining {
                if self.finish_frame(partial, &frame, payload, on)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                continue;
            }
            let kept = partial.get_or_insert_with(Partial::new);
            if frame.op.is_control() {
                kept.control.extend_from_slice(payload);
            } else {
                kept.append(&frame, payload)?;
            }
            frame.remaining -= here as u64;
            frame.mask = rotate(frame.mask, here);
            kept.frame = Some(frame);
            return Ok(ControlFlow::Continue(()));
        }
    }

    /// Reads a header from what was kept of it and `input`: the frame, and how much of `input` was used. None if it is still
    /// incomplete; all of `input` is then kept.
    fn read_header(
        &self,
        partial: &mut Option<Box<Partial>>,
        input: &[u8],
    ) -> Result<Option<(Frame, usize)>, Violation> {
        let mut bytes = [0u8; CLIENT_HEADER_MAX];
        let kept = partial.as_ref().map_or(&[][..], |partial| partial.header());
        let kept_length = kept.len();
        let mut length = 0;
        for (to, from) in bytes.iter_mut().zip(kept.iter().chain(input)) {
            *to = *from;
            length += 1;
        }
        let message = partial
            .as_ref()
            .and_then(|partial| partial.message_kind.map(|kind| (kind, partial.message.len())));
        let available = bytes.get(..length).unwrap_or(&bytes);
        let Some((frame, header_length)) =
            parse_client_header(available, self.deflate.is_some(), message.is_some())?
        else {
            if length > 0 {
                let partial = partial.get_or_insert_with(Partial::new);
                partial.header = bytes;
                // At most 13: with all 14 there is a header.
                partial.header_length = length as u8;
            }
            return Ok(None);
        };
        if let Some(partial) = partial {
            partial.header_length = 0;
        }
        if !frame.op.is_control() {
            let (kind, held) = message.unwrap_or((Kind::of(&frame), 0));
            if frame.remaining > self.payload_max(kind).saturating_sub(held) as u64 {
                return Err(Violation::TooBig);
            }
        }
        Ok(Some((frame, header_length.saturating_sub(kept_length))))
    }

    /// How many payload bytes a message may have on the wire. Compressing what can not be compressed makes it a little longer.
    fn payload_max(&self, kind: Kind) -> usize {
        if kind.compressed {
            self.message_max.saturating_add(self.message_max / 256).saturating_add(64)
        } else {
            self.message_max
        }
    }

    /// Handles a frame whose last `payload` bytes are here.
    fn finish_frame(
        &mut self,
        partial: &mut Option<Box<Partial>>,
        frame: &Frame,
        payload: &[u8],
        on: &mut dyn FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        if let Some(kept) = partial {
            kept.frame = None;
        }
        if frame.op.is_control() {
            let mut whole =
                partial.as_mut().map(|kept| std::mem::take(&mut kept.control)).unwrap_or_default();
            if whole.is_empty() {
                return on_control(frame.op, payload, on);
            }
            whole.extend_from_slice(payload);
            return on_control(frame.op, &whole, on);
        }
        let in_pieces = partial.as_ref().is_some_and(|kept| kept.message_kind.is_some());
        if frame.fin && !in_pieces {
            return self.on_message(Kind::of(frame), payload, on);
        }
        let kept = partial.get_or_insert_with(Partial::new);
        kept.append(frame, payload)?;
        if !frame.fin {
            return Ok(ControlFlow::Continue(()));
        }
        let kind = kept.message_kind.unwrap_or(Kind::of(frame));
        let message = kept.take_message();
        self.on_message(kind, &message, on)
    }

    fn on_message(
        &mut self,
        kind: Kind,
        payload: &[u8],
        on: &mut dyn FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        let message = match &mut self.deflate {
            Some(inflater) if kind.compressed => {
                inflater.inflated(payload, self.message_max).map_err(|error| match error {
                    InflateError::TooBig => Violation::TooBig,
                    InflateError::Corrupt => Violation::InvalidPayload("compressed data"),
                })?
            }
            _ => payload,
        };
        if kind.text {
            Ok(on(Incoming::Text(from_utf8(message).map_err(|_| NOT_UTF8)?)))
        } else {
            Ok(on(Incoming::Binary(message)))
        }
    }
}

fn on_control(
    op: ClientOp,
    payload: &[u8],
    on: &mut dyn FnMut(Incoming<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Violation> {
    match op {
        ClientOp::Ping => Ok(on(Incoming::Ping(payload))),
        ClientOp::Pong => Ok(on(Incoming::Pong(payload))),
        _ => {
            let (code, reason) = parse_close(payload)?;
            // Whatever the caller says: nothing that follows a close frame counts (RFC 6455 5.5.1).
            let _ = on(Incoming::Close(code, reason));
            Ok(ControlFlow::Break(()))
        }
    }
}

/// A close frame's payload: nothing, or a code that may be sent and a reason in UTF-8 (RFC 6455 5.5.1, 7.4).
fn parse_close(payload: &[u8]) -> Result<(Option<u16>, &str), Violation> {
    match payload {
        [] => Ok((None, "")),
        [_] => Err(Violation::Protocol("close frame of one byte")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !CloseCode::from(code).is_allowed() {
                return Err(Violation::Protocol("close code"));
            }
            let reason =
                from_utf8(reason).map_err(|_| Violation::InvalidPayload("close reason is not UTF-8"))?;
            Ok((Some(code), reason))
        }
    }
}
