//! The frames between nodes: in whatever pieces they come, the same frames and the same end.
//!
//! The first byte of the input says with its lowest bit whether requests or answers follow.

use super::dice;
use bytes::{Bytes, BytesMut};
use holdfast::{
    bridge::peers::wire::{Answer, BadFrame, Decoder, Request, write},
    model::Outcome,
};

const FRAME_MAX: usize = 2000;

/// Decodes `data` whole, byte by byte and at random cuts.
pub fn run(data: &[u8]) {
    let Some((flags, bytes)) = data.split_first() else { return };
    let bytes = Bytes::copy_from_slice(bytes);
    if flags & 1 == 1 {
        check(&bytes, requests).iter().for_each(check_request);
    } else {
        check(&bytes, answers).iter().for_each(|answer| {
            assert!(Outcome::ALL.contains(&answer.delivered()));
        });
    }
}

/// The frames out of pieces, their encoding, and how the input ended: whether in the middle of a frame.
type Decoded<M> = (Vec<M>, BytesMut, Result<bool, BadFrame>);

macro_rules! decode {
    ($name:ident, $frame:ty) => {
        fn $name(pieces: &[Bytes]) -> Decoded<$frame> {
            let mut decoder = Decoder::<$frame>::new(FRAME_MAX);
            let (mut frames, mut again) = (Vec::new(), BytesMut::new());
            for piece in pieces {
                decoder.feed(piece.clone());
                while let Some(frame) = decoder.next() {
                    match frame {
                        Ok(frame) => {
                            write(&frame, &mut again);
                            frames.push(frame);
                        }
                        Err(fault) => return (frames, again, Err(fault)),
                    }
                }
            }
            (frames, again, Ok(decoder.is_empty()))
        }
    };
}

decode!(requests, Request);
decode!(answers, Answer);

fn check<M: PartialEq + std::fmt::Debug>(bytes: &Bytes, decode: fn(&[Bytes]) -> Decoded<M>) -> Vec<M> {
    let whole = decode(std::slice::from_ref(bytes));
    let (mut dice, mut rest, mut pieces) = (dice(bytes), bytes.clone(), Vec::new());
    while !rest.is_empty() {
        let most = if dice.bool() { 16 } else { 400 };
        pieces.push(rest.split_to(dice.usize(1..=rest.len().min(most))));
    }
    assert_eq!(decode(&pieces), whole, "random cuts make a difference");
    let single: Vec<Bytes> = (0..bytes.len()).map(|at| bytes.slice(at..=at)).collect();
    assert_eq!(decode(&single), whole, "cuts after each byte make a difference");
    // What was read and is written again reads back: canonical, so it is never longer than a frame may be.
    let (frames, again, _) = whole;
    let (back, _, ended) = decode(&[again.freeze()]);
    assert_eq!((&back, ended), (&frames, Ok(true)));
    frames
}

fn check_request(request: &Request) {
    if let Some(place) = request.place {
        assert!(place.place().is_none_or(|read| place == read.into()));
    }
    let Some(delivery) = &request.delivery else { return };
    if let Some(body) = delivery.body() {
        assert_eq!(body.bytes(), &delivery.payload);
        assert!(body.is_binary() || std::str::from_utf8(&delivery.payload).is_ok());
    }
}
