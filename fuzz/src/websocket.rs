//! A client's WebSocket bytes: in whatever pieces they come, the same messages and the same end.
//!
//! The first byte of the input says with its lowest bit whether deflate was negotiated; the rest is what the client sends.

use super::dice;
use holdfast::proto::{
    deflate::Inflater,
    ws::{Decoder, Incoming, Op, Partial, Violation, write_frame},
};
use std::ops::ControlFlow;

const MESSAGE_MAX: usize = 2000;

/// Decodes `data` whole, byte by byte and at random cuts.
pub fn run(data: &[u8]) {
    let Some((flags, bytes)) = data.split_first() else { return };
    let deflate = flags & 1 == 1;
    let whole = outcome([bytes], deflate);
    let mut pieces = Vec::new();
    let (mut dice, mut rest) = (dice(data), bytes);
    while !rest.is_empty() {
        let most = if dice.bool() { 16 } else { 400 };
        let (piece, after) = rest.split_at(dice.usize(1..=rest.len().min(most)));
        pieces.push(piece);
        rest = after;
    }
    assert_eq!(outcome(pieces, deflate), whole, "random cuts make a difference");
    assert_eq!(outcome(bytes.chunks(1), deflate), whole, "cuts after each byte make a difference");
    whole.got.iter().for_each(check_round_trip);
}

/// [`Incoming`], owned.
#[derive(Debug, Clone, PartialEq)]
enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// What came of a connection.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    got: Vec<Got>,
    frames: u32,
    /// None while it lives.
    ended: Option<Result<(), Violation>>,
}

fn outcome<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, deflate: bool) -> Outcome {
    let mut inflater = deflate.then(Inflater::default);
    let mut partial: Option<Box<Partial>> = None;
    let (mut outcome, mut fed) = (Outcome::default(), 0);
    for piece in pieces {
        let mut input = piece.to_vec();
        let mut closed = false;
        let mut decoder = Decoder { message_max: MESSAGE_MAX, deflate: inflater.as_mut(), frames: 0 };
        let result = decoder.feed(&mut partial, &mut input, &mut |incoming| {
            assert!(!closed, "called after a close frame");
            closed = matches!(incoming, Incoming::Close(..));
            outcome.got.push(owned(incoming));
            ControlFlow::Continue(())
        });
        outcome.frames += decoder.frames;
        fed += piece.len();
        let held = partial.as_ref().map_or(0, |partial| partial.bytes());
        assert!(held <= 1024 + fed + fed / 4, "{held} bytes held of {fed}");
        if closed || result.is_err() {
            assert!(partial.is_none(), "something kept after the end");
            outcome.ended = Some(result);
            break;
        }
    }
    outcome
}

fn owned(incoming: Incoming<'_>) -> Got {
    match incoming {
        Incoming::Text(text) => Got::Text(within(text, MESSAGE_MAX).to_owned()),
        Incoming::Binary(bytes) => Got::Binary(within(bytes, MESSAGE_MAX).to_vec()),
        Incoming::Ping(bytes) => Got::Ping(within(bytes, 125).to_vec()),
        Incoming::Pong(bytes) => Got::Pong(within(bytes, 125).to_vec()),
        Incoming::Close(code, reason) => Got::Close(code, within(reason, 123).to_owned()),
    }
}

fn within<T: AsRef<[u8]> + ?Sized>(payload: &T, most: usize) -> &T {
    assert!(payload.as_ref().len() <= most);
    payload
}

/// Sent back by the server, and masked on the way, a message is still itself.
fn check_round_trip(message: &Got) {
    let (op, payload) = match message {
        Got::Text(text) => (Op::Text, text.as_bytes()),
        Got::Binary(bytes) => (Op::Binary, bytes.as_slice()),
        Got::Ping(bytes) => (Op::Ping, bytes.as_slice()),
        Got::Pong(bytes) => (Op::Pong, bytes.as_slice()),
        Got::Close(..) => return,
    };
    let mut frame = Vec::new();
    write_frame(&mut frame, op, payload, false);
    assert!(frame.ends_with(payload));
    let header_length = frame.len() - payload.len();
    // A mask of zeros changes nothing.
    frame.splice(header_length..header_length, [0; 4]);
    frame[1] |= 0x80;
    let expected = Outcome { got: vec![message.clone()], frames: 1, ended: None };
    assert_eq!(outcome([frame.as_slice()], false), expected);
}
