//! WebSocket frames: what a message costs to encode, once for all its connections, and what a client's frame costs to read.
//!
//! - `write`: one unmasked text frame is appended to a buffer with room.
//! - `read`: one masked text frame, whole in the read buffer: header, unmasking, UTF-8, hand-over as a slice.
//! - `read_in_two`: the same, cut in the middle of its payload: what has come is copied to a lent buffer, which is
//!   allocated and freed each time.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use holdfast::proto::ws::{Decoder, Op, write_frame};
use std::{hint::black_box, ops::ControlFlow};

/// A ping's answer or a short command, the message of the broadcast figure, and one that spans a few packets.
const SIZES: [usize; 3] = [16, 126, 4_096];
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A client's frame (RFC 6455 5.2): FIN, text, masked.
fn masked_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Feeds the pieces to a connection that had nothing pending; the bytes of the messages that came of it.
fn read(pieces: &mut [Vec<u8>]) -> usize {
    let mut partial = None;
    let mut bytes = 0;
    for piece in pieces {
        let mut decoder = Decoder { message_max: 64 * 1_024, deflate: None, frames: 0 };
        let outcome = decoder.feed(&mut partial, piece, &mut |incoming| {
            if let holdfast::proto::ws::Incoming::Text(text) = incoming {
                bytes += text.len();
            }
            ControlFlow::Continue(())
        });
        assert!(outcome.is_ok());
    }
    bytes
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ws_frame");
    for size in SIZES {
        let payload = vec![b'x'; size];
        let frame = masked_frame(&payload);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("write", size), |bencher| {
            let mut out = Vec::with_capacity(size + 16);
            bencher.iter(|| {
                out.clear();
                write_frame(&mut out, Op::Text, black_box(&payload), false);
            });
        });
        group.bench_function(BenchmarkId::new("read", size), |bencher| {
            // Reading unmasks in place, so each time needs a fresh copy; copying is not timed.
            bencher.iter_batched_ref(|| [frame.clone()], |pieces| read(pieces), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("read_in_two", size), |bencher| {
            let (first, second) = frame.split_at(frame.len() - size / 2);
            let pieces = || [first.to_vec(), second.to_vec()];
            bencher.iter_batched_ref(pieces, |pieces| read(pieces), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
