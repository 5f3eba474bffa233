use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;
use crate::proto::deflate::{Deflater, Inflater};

mod memory;
mod rules;

const MAX: usize = 1000;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// [`Incoming`], owned.
#[derive(Debug, Clone, PartialEq)]
enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Incoming<'_>> for Got {
    fn from(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(text) => Self::Text(text.to_owned()),
            Incoming::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Incoming::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Incoming::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Incoming::Close(code, reason) => Self::Close(code, reason.to_owned()),
        }
    }
}

/// A connection under test: what it has in pieces, what it got, how it ended.
struct Client {
    inflater: Option<Inflater>,
    partial: Option<Box<Partial>>,
    got: Vec<Got>,
    ended: Option<Result<(), Violation>>,
}

impl Client {
    fn new(deflate: bool) -> Self {
        Self { inflater: deflate.then(Inflater::default), partial: None, got: Vec::new(), ended: None }
    }

    fn feed(&mut self, bytes: &[u8]) {
        if self.ended.is_some() {
            return;
        }
        let mut input = bytes.to_vec();
        let mut closed = false;
        let mut decoder = Decoder { message_max: MAX, deflate: self.inflater.as_mut(), frames: 0 };
        let got = &mut self.got;
        let result = decoder.feed(&mut self.partial, &mut input, &mut |incoming| {
            assert!(!closed, "called after a close frame");
            closed = matches!(incoming, Incoming::Close(..));
            got.push(incoming.into());
            ControlFlow::Continue(())
        });
        if closed || result.is_err() {
            assert!(self.partial.is_none(), "something kept after the end");
            self.ended = Some(result);
        }
    }

    /// What came out and how it ended: None while the connection lives.
    fn outcome(self) -> (Vec<Got>, Option<Result<(), Violation>>) {
        (self.got, self.ended)
    }
}

fn whole(bytes: &[u8], deflate: bool) -> (Vec<Got>, Option<Result<(), Violation>>) {
    let mut client = Client::new(deflate);
    client.feed(bytes);
    client.outcome()
}

fn in_pieces(bytes: &[u8], deflate: bool, size: usize) -> (Vec<Got>, Option<Result<(), Violation>>) {
    let mut client = Client::new(deflate);
    bytes.chunks(size).for_each(|piece| client.feed(piece));
    client.outcome()
}

/// A client's frame: `first` is FIN, RSV and opcode; the length is in its shortest form.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

#[test]
fn masking_is_its_own_inverse_at_every_offset() {
    for length in 0..40 {
        let plain: Vec<u8> = (0..length).collect();
        let mut masked = plain.clone();
        unmask(&mut masked, MASK);
        let expected: Vec<u8> = plain.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        assert_eq!(masked, expected);
        for cut in 0..usize::from(length) {
            let mut pieces = expected.clone();
            let (head, tail) = pieces.split_at_mut(cut);
            unmask(head, MASK);
            unmask(tail, mask::rotate(MASK, cut));
            assert_eq!(pieces, plain);
        }
    }
}

#[test]
fn server_frames_are_those_of_the_rfc() {
    let written = |op, payload: &[u8], compressed| {
        let mut out = Vec::new();
        write_frame(&mut out, op, payload, compressed);
        out
    };
    // RFC 6455 5.7 and RFC 7692 7.2.3.1.
    assert_eq!(written(Op::Text, b"Hello", false), b"\x81\x05Hello");
    assert_eq!(written(Op::Ping, b"Hello", false), b"\x89\x05Hello");
    assert_eq!(written(Op::Pong, b"", false), b"\x8a\0");
    assert_eq!(written(Op::Text, b"\xf2\x48", true), b"\xc1\x02\xf2\x48");
    assert_eq!(written(Op::Binary, &[0; 256], false)[..4], [0x82, 126, 1, 0]);
    assert_eq!(written(Op::Binary, &[0; 65_536], false)[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    for (length, header) in [(125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        assert_eq!(frame_header(Op::Binary, length, false).1, header, "{length}");
    }
}

#[test]
fn close_frames_fit() {
    let mut out = Vec::new();
    write_close(&mut out, 1001, "drain");
    assert_eq!(out, b"\x88\x07\x03\xe9drain");
    let mut out = Vec::new();
    write_close(&mut out, 1000, &"é".repeat(100));
    assert_eq!(out.len(), 2 + 2 + 122, "cut between characters");
    assert!(std::str::from_utf8(&out[4..]).is_ok());
}

/// What a client may do next.
#[derive(Debug, Clone)]
enum Act {
    Text(String),
    Binary(Vec<u8>),
    Fragments(Vec<String>),
    Compressed(String),
    Ping(Vec<u8>),
    Close(u16, String),
    Noise(Vec<u8>),
}

fn act() -> impl Strategy<Value = Act> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    prop_oneof![
        4 => "[ -~éあ😀]{0,60}".prop_map(Act::Text),
        4 => bytes(300).prop_map(Act::Binary),
        4 => proptest::collection::vec("[ -~éあ😀]{0,20}", 1..5).prop_map(Act::Fragments),
        4 => "[a-c]{0,200}".prop_map(Act::Compressed),
        4 => bytes(126).prop_map(Act::Ping),
        1 => (1000u16..1016, "[a-zé]{0,20}").prop_map(|(code, reason)| Act::Close(code, reason)),
        1 => bytes(30).prop_map(Act::Noise),
    ]
}

/// Appends the bytes of `act`, and what must come of them: None if that is not known.
fn perform(act: &Act, bytes: &mut Vec<u8>, expected: &mut Option<Vec<Got>>) {
    let mut got = |message| {
        if let Some(expected) = expected {
            expected.push(message);
        }
    };
    match act {
        Act::Text(text) => {
            bytes.extend(frame(0x81, text.as_bytes()));
            got(Got::Text(text.clone()));
        }
        Act::Binary(payload) => {
            bytes.extend(frame(0x82, payload));
            got(Got::Binary(payload.clone()));
        }
        Act::Fragments(parts) => {
            let joined = parts.concat();
            // Cut by bytes, so that characters are cut too, with a ping in between.
            let pieces: Vec<&[u8]> = joined.as_bytes().chunks(joined.len() / parts.len() + 1).collect();
            bytes.extend(frame(0x01, b""));
            for piece in pieces {
                bytes.extend(frame(0x00, piece));
                bytes.extend(frame(0x89, b"between"));
                got(Got::Ping(b"between".to_vec()));
            }
            bytes.extend(frame(0x80, b""));
            got(Got::Text(joined));
        }
        Act::Compressed(text) => {
            let mut payload = Vec::new();
            Deflater::default().compress(text.as_bytes(), &mut payload);
            let (one, two) = payload.split_at(payload.len() / 2);
            bytes.extend(frame(0x41, one));
            bytes.extend(frame(0x80, two));
            got(Got::Text(text.clone()));
        }
        Act::Ping(payload) => {
            let payload = &payload[..payload.len().min(125)];
            bytes.extend(frame(0x89, payload));
            got(Got::Ping(payload.to_vec()));
        }
        Act::Close(code, reason) => {
            bytes.extend(frame(0x88, &[&code.to_be_bytes(), reason.as_bytes()].concat()));
            *expected = None;
        }
        Act::Noise(noise) => {
            bytes.extend(noise);
            *expected = None;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn cuts_make_no_difference(
        acts in proptest::collection::vec(act(), 0..8),
        deflate in proptest::bool::weighted(0.8),
        wrong in proptest::option::weighted(0.3, (any::<usize>(), any::<u8>())),
        size in 1usize..40,
    ) {
        let mut bytes = Vec::new();
        let mut expected = deflate.then(Vec::new);
        acts.iter().for_each(|act| perform(act, &mut bytes, &mut expected));
        if let Some((at, byte)) = wrong && !bytes.is_empty() {
            let at = at % bytes.len();
            bytes[at] = byte;
            expected = None;
        }
        let at_once = whole(&bytes, deflate);
        if let Some(expected) = expected {
            prop_assert_eq!(&at_once, &(expected, None));
        }
        prop_assert_eq!(&in_pieces(&bytes, deflate, 1), &at_once);
        prop_assert_eq!(&in_pieces(&bytes, deflate, size), &at_once);
    }
}
