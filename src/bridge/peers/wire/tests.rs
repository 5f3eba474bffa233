use super::*;
use proptest::prelude::*;
use std::slice;

fn place() -> impl Strategy<Value = Place> {
    any::<(u64, u64, u16, u32, u32)>().prop_map(|(node, incarnation, shard, index, generation)| Place {
        node,
        incarnation,
        connection: Handle { shard, key: Key { index, generation } },
    })
}

fn delivery() -> impl Strategy<Value = WireDelivery> {
    let name = || "[a-zé]{0,9}";
    let options = (
        prop::option::of(name()),
        prop::option::of(name()),
        prop::option::of(any::<u64>()),
        prop::option::of(any::<u64>()),
    );
    (name(), name(), 0u32..5, prop::collection::vec(any::<u8>(), 0..300), options).prop_map(
        |(device, lane, kind, payload, (id, collapse, expires_in_ms, timeout_ms))| WireDelivery {
            device,
            lane,
            kind,
            payload: payload.into(),
            id,
            collapse,
            expires_in_ms,
            timeout_ms,
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let place = prop::option::of(place().prop_map(WirePlace::from));
    (any::<u64>(), place, "[a-zé]{0,9}", prop::option::of(delivery()), any::<bool>()).prop_map(
        |(seq, place, user, delivery, displaced)| Request {
            seq,
            place,
            user,
            delivery,
            displaced,
            sum: None,
        },
    )
}

fn encoded(frames: &[impl Message]) -> Bytes {
    let mut out = BytesMut::new();
    frames.iter().for_each(|frame| write(frame, &mut out));
    out.freeze()
}

/// All frames out of chunks that end at `cuts`, and whether the input may end there.
fn decoded<M: Message + Default>(
    bytes: &Bytes,
    cuts: &[usize],
    bytes_max: usize,
) -> (Vec<M>, Result<bool, BadFrame>) {
    let mut decoder = Decoder::new(bytes_max);
    let mut frames = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        decoder.feed(bytes.slice(from..to));
        from = to;
        while let Some(frame) = decoder.next() {
            match frame {
                Ok(frame) => frames.push(frame),
                Err(fault) => return (frames, Err(fault)),
            }
        }
    }
    (frames, Ok(decoder.is_empty()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_read_back_however_they_are_cut(
        frames in prop::collection::vec(request(), 0..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let bytes = encoded(&frames);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let every: Vec<usize> = (0..bytes.len()).collect();
        for cuts in [&cuts, &every] {
            let (read, ended) = decoded::<Request>(&bytes, cuts, 4_096);
            prop_assert_eq!(&read, &frames);
            prop_assert_eq!(ended, Ok(true));
        }
        if let Some(short) = bytes.len().checked_sub(1) {
            let (read, ended) = decoded::<Request>(&bytes.slice(..short), &[], 4_096);
            prop_assert_eq!((read.len(), ended), (frames.len() - 1, Ok(frames.last().unwrap().encoded_len() == 0)));
        }
    }

    #[test]
    fn no_bytes_panic_and_cuts_make_no_difference(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = Bytes::from(bytes);
        let whole = decoded::<Answer>(&bytes, &[], 64);
        let every: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(&decoded::<Answer>(&bytes, &[cut.index(bytes.len() + 1)], 64), &whole);
        prop_assert_eq!(&decoded::<Answer>(&bytes, &every, 64), &whole);
    }

    #[test]
    fn places_read_back(place in place()) {
        prop_assert_eq!(WirePlace::from(place).place(), Some(place));
    }
}

/// A request as a build of format 1 knows it.
#[derive(Clone, PartialEq, Message)]
struct First {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(message, optional, tag = "2")]
    place: Option<WirePlace>,
    #[prost(string, tag = "3")]
    user: String,
    #[prost(message, optional, tag = "4")]
    delivery: Option<WireDelivery>,
    #[prost(bool, tag = "5")]
    displaced: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_release_reads_what_the_other_writes(request in request(), by in 1u32..) {
        let Request { seq, place, user, delivery, displaced, .. } = request.clone();
        let first = First { seq, place, user, delivery, displaced };
        let (read, _) = decoded::<Request>(&encoded(slice::from_ref(&first)), &[], 4_096);
        prop_assert_eq!(&read, slice::from_ref(&request), "the sum is missing, and nothing else");
        prop_assert!(read[0].is_of_format(1) && !read[0].is_of_format(2));
        for format in [1, 2] {
            let written = request.clone().in_format(format);
            let bytes = encoded(slice::from_ref(&written));
            prop_assert_eq!(&decoded::<First>(&bytes, &[], 4_096).0, slice::from_ref(&first), "the sum is passed over");
            let (read, _) = decoded::<Request>(&bytes, &[], 4_096);
            prop_assert_eq!(&read, &[written]);
            prop_assert!(read[0].is_of_format(1) && read[0].is_of_format(format));
        }
        let mut spoilt = request.in_format(2);
        spoilt.sum = spoilt.sum.map(|sum| sum ^ by);
        prop_assert!(!spoilt.is_of_format(2));
    }
}

#[test]
fn a_frame_of_a_newer_release_is_read_without_what_is_new() {
    #[derive(Clone, PartialEq, Message)]
    struct Newer {
        #[prost(uint64, tag = "1")]
        seq: u64,
        #[prost(uint32, optional, tag = "2")]
        outcome: Option<u32>,
        #[prost(string, tag = "900")]
        note: String,
        #[prost(message, optional, tag = "901")]
        place: Option<WirePlace>,
    }
    let place = Some(WirePlace { node: 7, ..WirePlace::default() });
    let newer = Newer { seq: 3, outcome: Some(1), note: "new".into(), place };
    let (read, ended) = decoded::<Answer>(&encoded(&[newer]), &[], 64);
    assert_eq!((read, ended), (vec![Answer::of_delivery(3, Outcome::Acked)], Ok(true)));
}

#[test]
fn outcomes_read_back_and_an_unknown_number_is_failed() {
    for outcome in Outcome::ALL {
        assert_eq!(Answer::of_delivery(1, outcome).delivered(), outcome);
    }
    for number in [Outcome::ALL.len() as u32, 0xFFFF, u32::MAX] {
        assert_eq!(Answer { outcome: Some(number), ..Answer::default() }.delivered(), Outcome::Failed);
    }
    assert_eq!(Answer::of_displaced(1).delivered(), Outcome::Failed);
}

#[test]
fn a_length_has_its_bounds() {
    let payload = Bytes::from(vec![b'x'; 100]);
    let delivery = WireDelivery { payload, ..WireDelivery::default() };
    let frame = Request { delivery: Some(delivery), ..Request::default() };
    let (bytes, length) = (encoded(slice::from_ref(&frame)), frame.encoded_len());
    assert_eq!(decoded::<Request>(&bytes, &[], length), (vec![frame], Ok(true)));
    assert_eq!(decoded::<Request>(&bytes, &[], length - 1), (vec![], Err(BadFrame::TooLong)));
    for bad in [&b"\xff\xff\xff\xff\xff"[..], b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x80\x01"] {
        assert_eq!(decoded::<Answer>(&Bytes::copy_from_slice(bad), &[], 1 << 20).1, Err(BadFrame::TooLong));
    }
    assert_eq!(decoded::<Answer>(&Bytes::from_static(b"\x01\xff"), &[], 64).1, Err(BadFrame::Unreadable));
}

#[test]
fn a_body_is_of_a_known_kind_and_text_is_text() {
    let delivery = |kind, payload: &'static [u8]| WireDelivery {
        kind,
        payload: Bytes::from_static(payload),
        ..WireDelivery::default()
    };
    for body in [Body::Text("a".into()), Body::Json("1".into()), Body::Binary("\0".into())] {
        let payload = body.bytes().clone();
        let delivery =
            WireDelivery { kind: WireDelivery::kind_of(&body), payload, ..WireDelivery::default() };
        assert_eq!(delivery.body(), Some(body));
    }
    assert_eq!(
        (delivery(0, b"\xff").body(), delivery(1, b"\xff").body(), delivery(3, b"").body()),
        (None, None, None)
    );
    let long = WireDelivery { kind: 2, payload: vec![1; 9_000].into(), ..WireDelivery::default() };
    assert_eq!(long.body().unwrap().bytes().as_ptr(), long.payload.as_ptr(), "a long one is not copied");
}
