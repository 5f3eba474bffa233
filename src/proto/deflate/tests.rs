use std::io::Read;

use proptest::prelude::*;

use super::*;

fn answer(lines: &[&str]) -> Option<String> {
    let negotiated = negotiate(lines.iter().copied())?;
    let mut out = Vec::new();
    negotiated.write(&mut out);
    Some(String::from_utf8(out).unwrap())
}

const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

#[test]
fn offers_are_answered() {
    let with_window = format!("{PLAIN}; server_max_window_bits=15");
    let with_small_window = format!("{PLAIN}; server_max_window_bits=10");
    let cases: &[(&[&str], Option<&str>)] = &[
        (&[], None),
        (&[""], None),
        (&["x-webkit-deflate-frame"], None),
        (&["permessage-deflate"], Some(PLAIN)),
        (&["permessage-deflate; client_max_window_bits"], Some(PLAIN)),
        (&["permessage-deflate;client_max_window_bits=9"], Some(PLAIN)),
        (&["permessage-deflate; client_max_window_bits=\"15\""], Some(PLAIN)),
        (&["permessage-deflate; client_no_context_takeover; server_no_context_takeover"], Some(PLAIN)),
        (&["permessage-deflate; server_max_window_bits=15"], Some(&with_window)),
        (&["permessage-deflate; server_max_window_bits = \"15\" "], Some(&with_window)),
        // Frames are shared: a smaller window is declined, and the next offer looked at.
        (&["permessage-deflate; server_max_window_bits=10"], Some(&with_small_window)),
        (&["permessage-deflate; server_max_window_bits=10, permessage-deflate"], Some(&with_small_window)),
        (&["permessage-deflate; server_max_window_bits=7", "x, permessage-deflate"], Some(PLAIN)),
        (&["x; a=\"b, permessage-deflate; c\""], None),
        // Malformed, unknown or repeated.
        (&["permessage-deflate; server_max_window_bits"], None),
        (&["permessage-deflate; server_max_window_bits=16"], None),
        (&["permessage-deflate; server_max_window_bits=015"], None),
        (&["permessage-deflate; server_max_window_bits=+15"], None),
        (&["permessage-deflate; client_max_window_bits=7"], None),
        (&["permessage-deflate; client_max_window_bits=08"], None),
        (&["permessage-deflate; client_max_window_bits="], None),
        (&["permessage-deflate; client_max_window_bits=\"9"], None),
        (&["permessage-deflate; server_no_context_takeover=1"], None),
        (&["permessage-deflate; client_no_context_takeover; client_no_context_takeover"], None),
        (&["permessage-deflate; client_max_window_bits; client_max_window_bits=9"], None),
        (&["permessage-deflate; mode=fast"], None),
        (&["permessage-deflate; "], None),
        (&["permessage-deflate; a; b; c; d; e; f"], None),
    ];
    for (lines, expected) in cases {
        assert_eq!(answer(lines).as_deref(), *expected, "{lines:?}");
    }
}

fn inflate(payload: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    let mut out = Vec::new();
    Inflater::default().inflate(payload, limit, &mut out).map(|()| out)
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    // RFC 7692 7.2.3.1, .3 (stored), .4 (final block), .5 (two blocks), .6 (empty).
    assert_eq!(inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 5).unwrap(), b"Hello");
    let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    assert_eq!(inflate(&stored, 5).unwrap(), b"Hello");
    assert_eq!(inflate(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], 5).unwrap(), b"Hello");
    let two = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(inflate(&two, 5).unwrap(), b"Hello");
    assert_eq!(inflate(&[0x00], 0).unwrap(), b"");
    assert_eq!(inflate(&[], 0).unwrap(), b"");
}

#[test]
fn broken_streams_are_corrupt() {
    let mut compressed = Vec::new();
    Deflater::default().compress(&b"the quick brown fox ".repeat(50), &mut compressed);
    for cut in 1..compressed.len() - 1 {
        assert_eq!(inflate(&compressed[..cut], 10_000), Err(InflateError::Corrupt), "cut at {cut}");
    }
    assert_eq!(inflate(&[0xff; 20], 10_000), Err(InflateError::Corrupt));
    // A reference to before the message: nothing may leak in from an earlier one.
    let mut inflater = Inflater::default();
    assert_eq!(inflater.inflated(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 99).unwrap(), b"Hello");
    assert_eq!(inflater.inflated(&[0xf2, 0x00, 0x11, 0x00, 0x00], 99), Err(InflateError::Corrupt));
    assert_eq!(inflater.inflated(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 99).unwrap(), b"Hello");
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let mut compressed = Vec::new();
    Deflater::default().compress(&vec![0; 10 << 20], &mut compressed);
    let mut out = Vec::new();
    let result = Inflater::default().inflate(&compressed, 65_536, &mut out);
    assert_eq!(result, Err(InflateError::TooBig));
    assert!(out.len() <= 65_536 && out.capacity() <= 2 * 65_536);
    assert!(inflate(&compressed, 10 << 20).is_ok());
    assert_eq!(inflate(&compressed, (10 << 20) - 1), Err(InflateError::TooBig));
}

#[test]
fn a_compressor_serves_one_message_after_the_other() {
    let mut deflater = Deflater::default();
    let mut first = b"kept".to_vec();
    deflater.compress(b"Hello", &mut first);
    assert_eq!(&first[..4], b"kept");
    let mut second = Vec::new();
    deflater.compress(b"Hello", &mut second);
    assert_eq!(first[4..], second, "no context is taken over");
    let mut empty = Vec::new();
    deflater.compress(b"", &mut empty);
    assert_eq!(inflate(&empty, 0).unwrap(), b"");
}

/// flate2's own reader over the same bytes with the tail put back, as another implementation would.
fn independent(payload: &[u8], length: usize) -> Vec<u8> {
    let mut stream = payload.to_vec();
    stream.extend(FLUSH_TAIL);
    let mut out = vec![0; length];
    flate2::read::DeflateDecoder::new(&stream[..]).read_exact(&mut out).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_is_compressed_comes_back(
        unit in proptest::collection::vec(any::<u8>(), 0..600),
        times in 1usize..40,
    ) {
        let payload = unit.repeat(times);
        let mut compressed = Vec::new();
        Deflater::default().compress(&payload, &mut compressed);
        prop_assert_eq!(&inflate(&compressed, payload.len()).unwrap(), &payload);
        prop_assert_eq!(&independent(&compressed, payload.len()), &payload);
        if !payload.is_empty() {
            prop_assert_eq!(inflate(&compressed, payload.len() - 1), Err(InflateError::TooBig));
        }
    }

    #[test]
    fn hostile_bytes_do_not_panic(payload in proptest::collection::vec(any::<u8>(), 0..300), text in "[ -~]{0,60}") {
        if let Ok(out) = inflate(&payload, 1000) {
            prop_assert!(out.len() <= 1000);
        }
        let _ = answer(&[&text, &format!("permessage-deflate;{text}")]);
    }
}

/// A decoder that keeps only `bits` of window, and so fails on a match that reaches back further.
fn inflates_in(bits: u8, compressed: &[u8], payload: &[u8]) -> bool {
    let mut decoder = Decompress::new_with_window_bits(false, bits);
    let mut input = compressed.to_vec();
    input.extend_from_slice(&INFLATE_TAIL);
    let mut out = Vec::with_capacity(payload.len() + 64);
    let ended = decoder.decompress_vec(&input, &mut out, FlushDecompress::Finish);
    matches!(ended, Ok(Status::StreamEnd)) && out == payload
}

proptest! {
    #[test]
    fn a_message_no_longer_than_a_window_is_read_through_that_window(bits in 9u8..=15, seed: u64, share in 0.0f64..=1.0) {
        // Random bytes in the first half, the same again in the second: matches reach back as far as they can.
        let len = ((1usize << bits) as f64 * share) as usize;
        let mut random = fastrand::Rng::with_seed(seed);
        let half: Vec<u8> = (0..len / 2).map(|_| random.u8(..)).collect();
        let payload = [half.clone(), half].concat();
        let mut compressed = Vec::new();
        Deflater::default().compress(&payload, &mut compressed);
        prop_assert!(inflates_in(bits, &compressed, &payload));
    }
}
