//! permessage-deflate: offers of extensions, and compressed messages with a bound on what comes out.
//!
//! The first byte of the input chooses the bound. The rest is taken for the lines of a client's offers, for a compressed
//! message, and for a message to compress.

use holdfast::proto::deflate::{Deflater, InflateError, Inflater, Negotiated, WINDOW_BITS_MAX, negotiate};

const LIMITS: [usize; 8] = [0, 1, 7, 100, 1000, 4096, 4097, 65_536];

/// Negotiates, inflates and compresses `data`.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    if let Ok(text) = std::str::from_utf8(rest)
        && let Some(negotiated) = negotiate(text.split('\n'))
    {
        check_answer(&negotiated);
    }
    check_inflate(rest, LIMITS[usize::from(choice & 7)]);
    check_compress(rest);
}

/// The answer is an acceptable offer itself, which comes to the same.
fn check_answer(negotiated: &Negotiated) {
    assert!((8..=WINDOW_BITS_MAX).contains(&negotiated.server_window_bits()));
    let mut answer = Vec::new();
    negotiated.write(&mut answer);
    let answer = String::from_utf8(answer).expect("ASCII");
    assert!(!answer.contains(['\r', '\n']));
    assert_eq!(negotiate(std::iter::once(answer.as_str())), Some(*negotiated));
}

fn check_inflate(payload: &[u8], limit: usize) {
    let mut inflater = Inflater::default();
    let mut out = b"before".to_vec();
    let result = inflater.inflate(payload, limit, &mut out);
    assert!(out.starts_with(b"before") && out.len() <= 6 + limit, "{} bytes of {limit}", out.len() - 6);
    let message = &out[6..];
    // Nothing of one message is left for the next.
    let again = inflater.inflated(payload, limit).map(<[u8]>::to_vec);
    assert_eq!(again, result.map(|()| message.to_vec()));
    if result.is_ok() {
        assert_eq!(inflater.inflated(payload, message.len()), Ok(message), "a limit that just fits");
        if let Some(less) = message.len().checked_sub(1) {
            assert_eq!(inflater.inflated(payload, less), Err(InflateError::TooBig));
        }
    }
}

fn check_compress(message: &[u8]) {
    let mut payload = Vec::new();
    Deflater::default().compress(message, &mut payload);
    assert_eq!(Inflater::default().inflated(&payload, message.len()), Ok(message));
}
