//! The request head of a handshake: parsing and checking it, and all that a WebSocket handshake computes.
//!
//! - `parse`: the head becomes slices of the read buffer; every rule of the port is checked.
//! - `upgrade`: parse, the checks of RFC 6455 4.2.1, the accept key and the 101.
//!
//! Not measured: the kernel's work for a connection (accept, read, write, epoll, close), about ten times this; see the
//! handshake figure in `benches/README.md`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use holdfast::proto::http::{parse_head, websocket_upgrade, write_switching_protocols};
use std::hint::black_box;

const LIMIT: usize = 16 * 1_024;

/// What a library sends, and what a browser sends through a proxy or two.
const HEADS: [(&str, &str); 2] = [
    (
        "library",
        "GET /ws HTTP/1.1\r\nHost: push.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nX-CUSTOMER_ID: user-12345\r\n\r\n",
    ),
    (
        "browser",
        "GET /ws?user=user-12345&device=tab-1 HTTP/1.1\r\nHost: push.example.com\r\nConnection: Upgrade\r\n\
         Pragma: no-cache\r\nCache-Control: no-cache\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
         Upgrade: websocket\r\nOrigin: https://app.example.com\r\nSec-WebSocket-Version: 13\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\
         Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=all\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
         X-Forwarded-For: 203.0.113.7\r\nX-Request-Id: 9f1c2d3e-4b5a-6978-8796-a5b4c3d2e1f0\r\n\r\n",
    ),
];

fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http_head");
    for (name, text) in HEADS {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("parse", name), |bencher| {
            bencher.iter(|| {
                let parsed = parse_head(black_box(text.as_bytes()), LIMIT);
                assert!(matches!(parsed, Ok(Some(_))));
            });
        });
        group.bench_function(BenchmarkId::new("upgrade", name), |bencher| {
            let mut out = Vec::with_capacity(1_024);
            bencher.iter(|| {
                out.clear();
                let Ok(Some((head, _))) = parse_head(black_box(text.as_bytes()), LIMIT) else { return };
                if let Ok(upgrade) = websocket_upgrade(&head, true) {
                    write_switching_protocols(&mut out, upgrade.key, upgrade.deflate.as_ref(), None);
                }
                assert!(!out.is_empty());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, heads);
criterion_main!(benches);
