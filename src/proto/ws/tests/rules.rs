//! One line a rule of the protocol, fed whole and byte by byte.

use super::*;

fn check(bytes: &[u8], deflate: bool) -> (Vec<Got>, Option<Result<(), Violation>>) {
    let at_once = whole(bytes, deflate);
    assert_eq!(in_pieces(bytes, deflate, 1), at_once, "{bytes:x?}");
    at_once
}

fn close_code(bytes: &[u8], deflate: bool) -> Option<u16> {
    check(bytes, deflate).1.and_then(Result::err).map(Violation::close_code)
}

#[test]
fn framing_rules() {
    let cases: &[(&str, Vec<u8>)] = &[
        ("unmasked", vec![0x81, 0x05, b'H', b'e', b'l', b'l', b'o']),
        ("reserved data opcode, by its first two bytes", vec![0x83, 0x80]),
        ("reserved control opcode, by its first two bytes", vec![0x8b, 0xfe]),
        ("RSV1 without deflate", vec![0xc1, 0x80]),
        ("RSV2", vec![0xa1, 0x80]),
        ("RSV3", vec![0x91, 0x80]),
        ("RSV1 on a ping", vec![0xc9, 0x80]),
        ("fragmented ping", vec![0x09, 0x80]),
        ("fragmented close", vec![0x08, 0x80]),
        ("ping of 126 bytes", frame(0x89, &[0; 126])),
        ("continuation of nothing", vec![0x80, 0x80]),
        ("continuation after the end", [frame(0x01, b"a"), frame(0x80, b"b"), frame(0x80, b"c")].concat()),
        ("text inside a message", [frame(0x01, b"a"), frame(0x81, b"b")].concat()),
        ("binary inside a message", [frame(0x01, b""), frame(0x02, b"b")].concat()),
        ("16-bit length of 5", vec![0x82, 0xfe, 0, 5, 0, 0, 0, 0]),
        ("16-bit length of 125", vec![0x82, 0xfe, 0, 125, 0, 0, 0, 0]),
        ("64-bit length of 65535", vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]),
        ("64-bit length with its top bit", vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0]),
    ];
    for (name, bytes) in cases {
        assert_eq!(close_code(bytes, false), Some(1002), "{name}");
    }
}

#[test]
fn reserved_bits_with_deflate() {
    assert_eq!(close_code(&[0xc0, 0x80], true), Some(1002), "continuation of nothing");
    assert_eq!(close_code(&[0xc9, 0x80], true), Some(1002), "ping");
    assert_eq!(close_code(&[0xe1, 0x80], true), Some(1002), "RSV2 too");
    let continued = [frame(0x41, &[0xf2]), frame(0xc0, &[0x48])].concat();
    assert_eq!(close_code(&continued, true), Some(1002), "RSV1 on a continuation");
    // RFC 7692 7.2.3.1, whole and in two frames; and a message that is not compressed, which is allowed.
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let expected = (vec![Got::Text("Hello".to_owned())], None);
    assert_eq!(check(&frame(0xc1, &hello), true), expected);
    assert_eq!(check(&[frame(0x41, &hello[..3]), frame(0x80, &hello[3..])].concat(), true), expected);
    assert_eq!(check(&frame(0x81, b"Hello"), true), expected);
}

#[test]
fn closing() {
    let close = |payload: &[u8]| check(&[frame(0x88, payload), frame(0x81, b"late")].concat(), false);
    let closed = |code, reason: &str| (vec![Got::Close(code, reason.to_owned())], Some(Ok(())));
    assert_eq!(close(b""), closed(None, ""));
    assert_eq!(close(b"\x03\xe8"), closed(Some(1000), ""));
    assert_eq!(close("\x03\u{0}".as_bytes()).1.unwrap().unwrap_err().close_code(), 1002, "768");
    assert_eq!(close(b"\x03\xf3bye \xc3\xa9"), closed(Some(1011), "bye é"));
    for code in [1000u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999]
    {
        assert_eq!(close(&code.to_be_bytes()), closed(Some(code), ""));
    }
    for code in [0u16, 999, 1004, 1005, 1006, 1014, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let violation = close(&code.to_be_bytes()).1.unwrap().unwrap_err();
        assert_eq!(violation.close_code(), 1002, "{code}");
    }
    assert_eq!(close(b"\x03").1.unwrap().unwrap_err().close_code(), 1002, "one byte");
    assert_eq!(close(b"\x03\xe8\xff").1.unwrap().unwrap_err().close_code(), 1007, "reason");
    assert_eq!(
        close(b"\x03\xe8\xc3").1.unwrap().unwrap_err().close_code(),
        1007,
        "reason cut in a character"
    );
}

#[test]
fn text_must_be_utf8() {
    let cases: &[&[u8]] = &[
        b"\xff",
        b"a\xc3",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        "あ".as_bytes().split_last().unwrap().1,
    ];
    for text in cases {
        assert_eq!(close_code(&frame(0x81, text), false), Some(1007), "{text:x?}");
        let (one, two) = text.split_at(text.len() / 2);
        let bytes = [frame(0x01, one), frame(0x80, two)].concat();
        assert_eq!(close_code(&bytes, false), Some(1007), "{text:x?} in two");
    }
    assert_eq!(check(&frame(0x82, b"\xff"), false).0, [Got::Binary(vec![0xff])]);
    let mut compressed = Vec::new();
    Deflater::default().compress(b"\xff", &mut compressed);
    assert_eq!(close_code(&frame(0xc1, &compressed), true), Some(1007));
}

#[test]
fn text_fails_as_soon_as_it_must() {
    // Inside a frame that is not complete: a surrogate, and a code point past the last.
    for bad in [&b"\xce\xba\xed\xa0"[..], b"\xce\xba\xf4\x90"] {
        let bytes = frame(0x81, &[bad, b"........"].concat());
        let mut client = Client::new(false);
        let bad_at = 6 + bad.len();
        client.feed(&bytes[..bad_at - 1]);
        assert_eq!(client.ended, None);
        client.feed(&bytes[bad_at - 1..bad_at]);
        assert_eq!(client.ended.unwrap().unwrap_err().close_code(), 1007);
    }
    // In the first fragment of a message that has not ended.
    assert_eq!(close_code(&frame(0x01, b"\xff"), false), Some(1007));
    // A character over three fragments with an empty one between.
    let bytes = [frame(0x01, b"\xe3"), frame(0x00, b""), frame(0x00, b"\x81"), frame(0x80, b"\x82")].concat();
    assert_eq!(check(&bytes, false).0, [Got::Text("あ".to_owned())]);
}

#[test]
fn messages_are_bounded() {
    assert_eq!(check(&frame(0x82, &[1; MAX]), false).0, [Got::Binary(vec![1; MAX])]);
    let over = frame(0x82, &[1; MAX + 1]);
    assert_eq!(close_code(&over[..8], false), Some(1009), "from the header");
    assert_eq!(close_code(&[0x82, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], false), Some(1009));
    let sum = [frame(0x02, &[1; MAX]), frame(0x00, b""), frame(0x80, b"")].concat();
    assert_eq!(check(&sum, false).0.len(), 1);
    let sum = [frame(0x02, &[1; MAX]), frame(0x00, b""), frame(0x80, &[1])].concat();
    assert_eq!(close_code(&sum, false), Some(1009));
}

#[test]
fn inflated_messages_are_bounded() {
    let compressed = |length: usize| {
        let mut payload = Vec::new();
        Deflater::default().compress(&vec![0; length], &mut payload);
        frame(0xc2, &payload)
    };
    assert_eq!(check(&compressed(MAX), true).0, [Got::Binary(vec![0; MAX])]);
    assert_eq!(close_code(&compressed(MAX + 1), true), Some(1009));
    assert_eq!(close_code(&frame(0xc2, &[0xff; 9]), true), Some(1007), "corrupt");
    // The longest message allowed may come out longer than it is when it can not be compressed.
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(MAX)
    .collect();
    let mut payload = Vec::new();
    Deflater::default().compress(&noise, &mut payload);
    assert!(payload.len() > MAX);
    assert_eq!(check(&frame(0xc2, &payload), true).0, [Got::Binary(noise)]);
}

#[test]
fn breaking_discards_the_rest() {
    let mut input = [frame(0x81, b"one"), frame(0x81, b"two"), frame(0x01, b"three")].concat();
    let mut partial = None;
    let mut calls = 0;
    let mut decoder = Decoder { message_max: MAX, deflate: None, frames: 0 };
    let result = decoder.feed(&mut partial, &mut input, &mut |_| {
        calls += 1;
        ControlFlow::Break(())
    });
    assert_eq!((result, calls), (Ok(()), 1));
    assert!(partial.is_none());
}

#[test]
fn whoever_breaks_off_at_a_message_may_go_on_behind_it() {
    let bytes =
        [frame(0x89, b"p"), frame(0x01, b"to"), frame(0x80, b"ken"), frame(0x89, b"q"), frame(0x81, b"more")]
            .concat();
    for cut in 0..bytes.len() {
        let (mut partial, mut got, mut left) = (None, Vec::new(), None);
        for piece in [&bytes[..cut], &bytes[cut..]] {
            let mut input = piece.to_vec();
            let mut rest = input.as_mut_slice();
            if left.is_none() {
                let mut decoder = Decoder { message_max: 10, deflate: None, frames: 0 };
                let end = decoder.feed_until(&mut partial, rest, &mut |incoming| {
                    let is_message = matches!(incoming, Incoming::Text(_));
                    got.push(Got::from(incoming));
                    if is_message { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
                if !got.contains(&Got::Text("token".into())) {
                    assert_eq!(end, Ok(0), "all of it is used up");
                    continue;
                }
                assert!(partial.is_none());
                left = end.ok();
                let from = rest.len() - left.unwrap();
                rest = &mut rest[from..];
            }
            let mut decoder = Decoder { message_max: 10, deflate: None, frames: 0 };
            let on = &mut |incoming: Incoming<'_>| {
                got.push(Got::from(incoming));
                ControlFlow::Continue(())
            };
            assert_eq!(decoder.feed(&mut partial, rest, on), Ok(()));
        }
        let wanted = [
            Got::Ping(b"p".to_vec()),
            Got::Text("token".into()),
            Got::Ping(b"q".to_vec()),
            Got::Text("more".into()),
        ];
        assert_eq!(got, wanted, "cut at {cut}");
    }
}
