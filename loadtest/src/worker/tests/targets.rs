//! Targets that are down, busy, or something else: each failure has its name, and words that help.

use super::*;
use crate::{
    client::Dialect,
    plan::Tls,
    worker::{net, tally::Failure},
};

/// Long enough for a busy machine, short enough to be waited for by those whom nobody answers.
const HANDSHAKE: Duration = Duration::from_millis(500);

fn encrypted() -> Option<Tls> {
    Some(Tls { name: None, roots_pem: None, verify: false })
}

/// Answers each request with these bytes, and ends the connection.
fn answer(bytes: Vec<u8>) -> SocketAddr {
    server(move |mut stream, _| {
        request(&mut stream);
        // A client need not hear all of it.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        drain(&mut stream);
    })
}

/// Three clients that do not come to be open, each protocol and dialect.
fn each(target: SocketAddr, tls: Option<Tls>, check: impl Fn(Protocol, &Tally)) {
    for protocol in Protocol::ALL {
        for dialect in [Dialect::Holdfast, Dialect::Zuul, Dialect::Plain] {
            let mut settings = settings(target, protocol);
            settings.handshake_timeout = HANDSHAKE;
            settings.tls = tls.clone();
            settings.dialect = dialect;
            let tally = visit(settings, 3);
            assert_eq!((tally.started, tally.in_flight, tally.opened.sum()), (3, 0, 0));
            check(protocol, &tally);
        }
    }
}

fn fails(target: SocketAddr, tls: Option<Tls>, failure: Failure, remedy: &str) {
    assert!(failure.words().contains(remedy), "{}", failure.words());
    each(target, tls, |protocol, tally| {
        assert_eq!(tally.failed, [(failure, 3)].into(), "{protocol:?} {:?}", tally.fault_words);
        assert!(tally.refused.is_empty());
    });
}

#[test]
fn nobody_there() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for tls in [None, encrypted()] {
        fails(target, tls, Failure::NobodyThere, "is the node running");
    }
}

#[test]
fn one_that_resets_or_hangs_up() {
    let resets = server(|stream, _| net::reset_on_close(&stream));
    let hangs_up = server(|stream, _| drop(stream));
    let listens_first = server(|mut stream, _| assert!(stream.read(&mut [0; 9]).is_ok()));
    for target in [resets, hangs_up, listens_first] {
        for tls in [None, encrypted()] {
            fails(target, tls, Failure::CutOff, "PROXY protocol or TLS");
        }
    }
}

#[test]
fn one_that_never_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let listens = server(|mut stream, _| drain(&mut stream));
    fails(silent.local_addr().unwrap(), None, Failure::Silence, "overloaded");
    fails(listens, encrypted(), Failure::Silence, "overloaded");
}

#[test]
fn one_that_speaks_something_else() {
    let heads = [
        (b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), "no HTTP answer: \"SSH-2.0"),
        ((0..200).map(|byte| byte as u8 ^ 0x5a).collect(), "no HTTP answer"),
        ([&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'x'; 1 << 20], b"\r\n\r\n"].concat(), "head has more than"),
        ([&b"HTTP/1.1 200 OK\r\n"[..], &b"X: y\r\n".repeat(1_000), b"\r\n"].concat(), "head has more than"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n".repeat(2), "no HTTP answer"),
    ];
    for (bytes, words) in heads {
        let target = answer(bytes);
        fails(target, None, Failure::Stranger, "is it the client address");
        each(target, None, |_, tally| {
            assert!(tally.fault_words[0].contains(words), "{:?}", tally.fault_words)
        });
    }
}

#[test]
fn one_that_speaks_tls_or_does_not() {
    // What servers of TLS say to who does not speak it: an alert, and a page that tells so.
    fails(answer(vec![0x15, 0x03, 0x01, 0, 2, 2, 70]), None, Failure::WantsTls, "wss://");
    let plain = server(|mut stream, _| {
        let _ = stream.read(&mut [0; 64]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        drain(&mut stream);
    });
    fails(plain, encrypted(), Failure::NotTls, "ws://");
    // An alert from a server that does not like what it hears.
    let picky = server(|mut stream, _| {
        let _ = stream.read(&mut [0; 64]);
        let _ = stream.write_all(&[0x15, 0x03, 0x03, 0, 2, 2, 40]);
        drain(&mut stream);
    });
    fails(picky, encrypted(), Failure::NoAgreement, "TLS 1.2 or 1.3");
}

#[test]
fn one_that_refuses() {
    let table: [(&str, u16); 6] = [
        ("404 Not Found\r\nContent-Length: 0", 404),
        ("503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0", 503),
        ("503 Service Unavailable\r\nContent-Length: 0", 503),
        ("429 Too Many Requests\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\nContent-Length: 0", 429),
        ("200 OK\r\nContent-Type: text/html\r\nContent-Length: 0", 200),
        ("302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0", 302),
    ];
    for (head, status) in table {
        each(answer(format!("HTTP/1.1 {head}\r\n\r\n").into_bytes()), None, |_, tally| {
            assert_eq!((&tally.refused, tally.faults), (&[(status, 3)].into(), 0), "{head}");
            assert!(tally.failed.is_empty());
        });
    }
}
