//! The frames between nodes: what `POST /v1/deliver` carries both ways.
//!
//! Owns their form and a decoder that takes chunks as they come. Never reads a socket, and never panics on what comes.
//!
//! Each frame is a Protocol Buffers message behind its length as a varint (the `writeDelimitedTo` form of its libraries).
//! Fields that a reader does not know are passed over, so a newer node may add some. The request's header [`FORMAT_HEADER`]
//! names the format of its frames, and the answers are of the same: 1, or the next, which the sender writes only to a node
//! whose lease says that it reads it (`bridge/format.rs`). A receiver that does not read it answers 400 and names those that it
//! reads. Format 2 is for trying that: only builds with the feature `next-format` read and write it.
//!
//! | request | field | type | |
//! |---|---|---|---|
//! | every | 1 | uint64 | `seq`: the answer bears it |
//! | | 2 | message | `place`: the connection, below |
//! | | 3 | string | `user` |
//! | delivery | 4 | message | below |
//! | displaced | 5 | bool | the connection has lost its device to a newer one |
//! | every, format 2 | 6 | uint32 | `sum`: exclusive or of the bytes of `user` and `body` |
//!
//! | place | field | type | |
//! |---|---|---|---|
//! | | 1 | fixed64 | `node`: the number of its id |
//! | | 2 | uint64 | `incarnation` |
//! | | 3 | uint32 | `shard` |
//! | | 4 | uint32 | `index` |
//! | | 5 | uint32 | `generation` |
//!
//! | delivery | field | type | |
//! |---|---|---|---|
//! | | 1 | string | `device` |
//! | | 2 | string | `lane`, by name |
//! | | 3 | uint32 | `kind`: 0 text, 1 JSON, 2 binary |
//! | | 4 | bytes | `body` |
//! | | 5 | string? | `id` |
//! | | 6 | string? | `collapse`: the sender's key, which each node hashes for itself |
//! | | 7 | uint64? | `expires_in_ms`: what is left of its life, so that no two clocks are compared |
//! | | 8 | uint64? | `timeout_ms` |
//!
//! | answer | field | type | |
//! |---|---|---|---|
//! | | 1 | uint64 | `seq` |
//! | | 2 | uint32? | `outcome`: the number of [`Outcome`]; an unknown one is `failed` |
//! | | 3 | bool | `done`: a displaced connection is being closed, or gone |
//! | | 4 | bool | `read_all`: the request was read to its end, and all of it is posted |

use crate::{
    bridge::store::Place,
    kit::{completion::Answer as _, slab::Key},
    model::{Body, Handle, Outcome},
};
use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use std::marker::PhantomData;

/// The request's header that names the format, as a decimal number.
pub const FORMAT_HEADER: &str = "holdfast-format";
/// Room in a frame for everything but its body, bytes: four names of at most 256, a lane's of 32, and numbers.
pub const ENVELOPE_BYTES_MAX: usize = 4 * 1024;
/// What a frame costs beyond its payload, bytes, more or less.
pub const PER_FRAME_BYTES: usize = 128;
/// The longest length prefix, bytes: 35 bits are more than any frame has.
const PREFIX_BYTES_MAX: usize = 5;

/// What one node asks of another.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// The answer bears it.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// The connection.
    #[prost(message, optional, tag = "2")]
    pub place: Option<WirePlace>,
    /// Whose connection it must be.
    #[prost(string, tag = "3")]
    pub user: String,
    /// A message for it.
    #[prost(message, optional, tag = "4")]
    pub delivery: Option<WireDelivery>,
    /// It has lost its device.
    #[prost(bool, tag = "5")]
    pub displaced: bool,
    /// See [`Request::in_format`].
    #[prost(uint32, optional, tag = "6")]
    pub sum: Option<u32>,
}

impl Request {
    /// With what a format has beyond the first.
    pub fn in_format(mut self, format: u8) -> Self {
        self.sum = (format >= 2).then(|| self.own_sum());
        self
    }

    /// Whether it has all that its format asks for.
    pub fn is_of_format(&self, format: u8) -> bool {
        format < 2 || self.sum == Some(self.own_sum())
    }

    fn own_sum(&self) -> u32 {
        let body = self.delivery.iter().flat_map(|delivery| &delivery.payload);
        self.user.as_bytes().iter().chain(body).fold(0, |sum, &byte| sum ^ u32::from(byte))
    }
}

/// [`Place`] in a frame.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct WirePlace {
    /// The node's number.
    #[prost(fixed64, tag = "1")]
    pub node: u64,
    /// The node's run.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Of the handle.
    #[prost(uint32, tag = "3")]
    pub shard: u32,
    /// Of the handle.
    #[prost(uint32, tag = "4")]
    pub index: u32,
    /// Of the handle.
    #[prost(uint32, tag = "5")]
    pub generation: u32,
}

impl WirePlace {
    /// The place; None when no connection can have it.
    pub fn place(&self) -> Option<Place> {
        let key = Key { index: self.index, generation: self.generation };
        let connection = Handle { shard: u16::try_from(self.shard).ok()?, key };
        Some(Place { node: self.node, incarnation: self.incarnation, connection })
    }
}

impl From<Place> for WirePlace {
    fn from(place: Place) -> Self {
        let Handle { shard, key } = place.connection;
        Self {
            node: place.node,
            incarnation: place.incarnation,
            shard: shard.into(),
            index: key.index,
            generation: key.generation,
        }
    }
}

/// A message in a frame.
#[derive(Clone, PartialEq, Message)]
pub struct WireDelivery {
    /// The device's name.
    #[prost(string, tag = "1")]
    pub device: String,
    /// The lane's name.
    #[prost(string, tag = "2")]
    pub lane: String,
    /// See [`WireDelivery::body`].
    #[prost(uint32, tag = "3")]
    pub kind: u32,
    /// The payload.
    #[prost(bytes = "bytes", tag = "4")]
    pub payload: Bytes,
    /// The sender's name for the message.
    #[prost(string, optional, tag = "5")]
    pub id: Option<String>,
    /// The sender's collapse key.
    #[prost(string, optional, tag = "6")]
    pub collapse: Option<String>,
    /// What is left of its life, ms.
    #[prost(uint64, optional, tag = "7")]
    pub expires_in_ms: Option<u64>,
    /// How long it may wait in an outbox, ms.
    #[prost(uint64, optional, tag = "8")]
    pub timeout_ms: Option<u64>,
}

impl WireDelivery {
    /// The number of a kind of body.
    pub fn kind_of(body: &Body) -> u32 {
        match body {
            Body::Text(_) => 0,
            Body::Json(_) => 1,
            Body::Binary(_) => 2,
        }
    }

    /// The message's body; None for a kind that is not known, and for text that is not UTF-8. That JSON is JSON was checked
    /// where it came in.
    pub fn body(&self) -> Option<Body> {
        let is_text = || simdutf8::basic::from_utf8(&self.payload).is_ok();
        match self.kind {
            0 if is_text() => Some(Body::Text(self.own_payload())),
            1 if is_text() => Some(Body::Json(self.own_payload())),
            2 => Some(Body::Binary(self.own_payload())),
            _ => None,
        }
    }

    /// A short payload is copied: as a part of the chunk it came in it would keep all of that for as long as it waits.
    fn own_payload(&self) -> Bytes {
        const SHARED_BYTES_MIN: usize = 8 * 1024;
        match self.payload.len() {
            0..SHARED_BYTES_MIN => Bytes::copy_from_slice(&self.payload),
            _ => self.payload.clone(),
        }
    }
}

/// What the other node answers.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Answer {
    /// That of the request.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// Of a delivery.
    #[prost(uint32, optional, tag = "2")]
    pub outcome: Option<u32>,
    /// To displaced.
    #[prost(bool, tag = "3")]
    pub done: bool,
    /// To no request: every frame of the request's body was read and is posted.
    #[prost(bool, tag = "4")]
    pub read_all: bool,
}

impl Answer {
    /// What became of a delivery.
    pub fn of_delivery(seq: u64, outcome: Outcome) -> Self {
        Self { seq, outcome: Some(outcome.to_bits().into()), ..Self::default() }
    }

    /// To displaced.
    pub fn of_displaced(seq: u64) -> Self {
        Self { seq, done: true, ..Self::default() }
    }

    /// The end of the request was read.
    pub fn all_read() -> Self {
        Self { read_all: true, ..Self::default() }
    }

    /// The outcome; `failed` for a number that this release does not know, and where there is none.
    pub fn delivered(&self) -> Outcome {
        let number = self.outcome.and_then(|number| u16::try_from(number).ok());
        number.map_or(Outcome::Failed, Outcome::from_bits)
    }
}

/// Appends a frame.
pub fn write(frame: &impl Message, out: &mut BytesMut) {
    // The buffer grows as it is written to: there is nothing that could fail.
    let written = frame.encode_length_delimited(out);
    debug_assert!(written.is_ok());
}

/// Why bytes are no frames. There is no way to go on after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadFrame {
    /// Its length is no number, or larger than allowed.
    #[error("a frame is too long")]
    TooLong,
    /// It is no message of Protocol Buffers, or not of these types.
    #[error("a frame cannot be read")]
    Unreadable,
}

/// Takes frames out of chunks that are cut anywhere. Holds at most one chunk and the beginning of one frame.
pub struct Decoder<M> {
    chunk: Bytes,
    /// The beginning of a frame with its length, from earlier chunks.
    begun: BytesMut,
    bytes_max: usize,
    frames: PhantomData<fn() -> M>,
}

impl<M: Message + Default> Decoder<M> {
    /// Frames of at most so many bytes each, without the length.
    pub fn new(bytes_max: usize) -> Self {
        Self { chunk: Bytes::new(), begun: BytesMut::new(), bytes_max, frames: PhantomData }
    }

    /// The next chunk. To be called when [`Decoder::next`] has given None.
    pub fn feed(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty());
        self.chunk = chunk;
    }

    /// The next frame; None when more bytes are needed.
    ///
    /// # Errors
    /// When there is none: then nothing that follows can be read either.
    #[allow(clippy::should_implement_trait, reason = "a decoder is fed between two calls")]
    pub fn next(&mut self) -> Option<Result<M, BadFrame>> {
        if self.chunk.is_empty() {
            return None;
        }
        let frame = if self.begun.is_empty() { self.whole() } else { self.completed() };
        frame.map(|frame| M::decode(frame?).map_err(|_| BadFrame::Unreadable))
    }

    /// Whether the input may end here.
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty() && self.begun.is_empty()
    }

    /// A frame that lies in the chunk as a whole, without a copy; else what there is of it is kept.
    fn whole(&mut self) -> Option<Result<Bytes, BadFrame>> {
        match length(&self.chunk, self.bytes_max) {
            Err(fault) => Some(Err(fault)),
            Ok(Some((prefix, length))) if self.chunk.len() - prefix >= length => {
                self.chunk.advance(prefix);
                Some(Ok(self.chunk.split_to(length)))
            }
            Ok(_) => {
                self.begun.extend_from_slice(&self.chunk);
                self.chunk = Bytes::new();
                None
            }
        }
    }

    /// The frame that was begun, when the chunk holds the rest of it.
    fn completed(&mut self) -> Option<Result<Bytes, BadFrame>> {
        loop {
            match length(&self.begun, self.bytes_max) {
                Err(fault) => return Some(Err(fault)),
                Ok(None) if self.chunk.is_empty() => return None,
                Ok(None) => {
                    let byte = self.chunk.split_to(1);
                    self.begun.extend_from_slice(&byte);
                }
                Ok(Some((prefix, length))) => {
                    let missing = (prefix + length).saturating_sub(self.begun.len());
                    let part = self.chunk.split_to(missing.min(self.chunk.len()));
                    self.begun.extend_from_slice(&part);
                    if part.len() < missing {
                        return None;
                    }
                    let mut frame = std::mem::take(&mut self.begun).freeze();
                    frame.advance(prefix);
                    return Some(Ok(frame));
                }
            }
        }
    }
}

/// The length at the beginning of a frame, and how many bytes say it; None when they are not all there.
fn length(bytes: &[u8], bytes_max: usize) -> Result<Option<(usize, usize)>, BadFrame> {
    let mut length = 0u64;
    for (at, &byte) in bytes.iter().take(PREFIX_BYTES_MAX).enumerate() {
        length |= u64::from(byte & 0x7F) << (7 * at);
        if byte < 0x80 {
            let length = usize::try_from(length).ok().filter(|&length| length <= bytes_max);
            return length.map(|length| Some((at + 1, length))).ok_or(BadFrame::TooLong);
        }
    }
    if bytes.len() >= PREFIX_BYTES_MAX { Err(BadFrame::TooLong) } else { Ok(None) }
}

#[cfg(test)]
mod tests;
