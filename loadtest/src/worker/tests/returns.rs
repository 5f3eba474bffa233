//! Clients that come back or try again: when, and to which target.

use super::*;
use crate::{plan::Returns, worker::tally::Failure};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Instant,
};

const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// Answers so many connections with this and ends them, opens the others, and says when each came.
fn busy(times: usize, answer: &'static str) -> (SocketAddr, mpsc::Receiver<Instant>) {
    let (sender, came) = mpsc::channel();
    let target = server(move |mut stream, number| {
        let _ = sender.send(Instant::now());
        let asked = request(&mut stream);
        let opens = number >= times;
        let answer = if opens { opening(&asked) } else { answer.to_owned() };
        stream.write_all(answer.as_bytes()).unwrap();
        if opens {
            drain(&mut stream);
        }
    });
    (target, came)
}

#[test]
fn who_is_refused_tries_again_when_the_server_says() {
    let shed =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 15\r\n\r\nretry: 1200\r\n\r\n";
    let full = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
    for (protocol, answer, least_ms) in [(Protocol::Sse, shed, 1_200), (Protocol::WebSocket, full, 1_000)] {
        let (target, came) = busy(1, answer);
        let mut settings = settings(target, protocol);
        (settings.hints, settings.retry_refused) = (true, true);
        let mut fleet = crowd(settings, 1);
        let tally = wait(&mut fleet, |tally| tally.open.sum() == 1);
        assert_eq!((tally.started, tally.retried, tally.reconnected), (2, 1, 0));
        assert_eq!(tally.refused.values().sum::<u64>(), 1);
        let between = came.recv().unwrap().elapsed() - came.recv().unwrap().elapsed();
        assert!(between >= Duration::from_millis(least_ms), "{between:?}");
        // The wait is not part of the time that a connection takes.
        assert!(tally.handshake_us.max() < 900_000, "{}", tally.handshake_us.max());
    }
}

#[test]
fn who_gets_no_hint_tries_again_within_a_second() {
    for protocol in Protocol::ALL {
        let (target, _came) = busy(2, FULL);
        let mut settings = settings(target, protocol);
        settings.retry_refused = true;
        let mut fleet = crowd(settings, 1);
        let tally = wait(&mut fleet, |tally| tally.open.sum() == 1);
        assert!(tally.is_settled());
        assert_eq!((tally.retried, tally.refused), (2, [(503, 2)].into()));
    }
}

#[test]
fn who_may_not_try_again_gives_up() {
    let gone = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    for (answer, retries) in [(FULL, false), (gone, true)] {
        let (target, _came) = busy(1, answer);
        let mut settings = settings(target, Protocol::WebSocket);
        settings.retry_refused = retries;
        let tally = visit(settings, 1);
        assert_eq!((tally.started, tally.retried, tally.not_opened()), (1, 0, 1));
    }
}

#[test]
fn who_waits_to_try_again_leaves_at_once() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut settings = settings(target, Protocol::WebSocket);
    settings.retry_refused = true;
    let mut fleet = crowd(settings, 50);
    wait(&mut fleet, |tally| tally.failed.get(&Failure::NobodyThere).is_some_and(|&count| count >= 50));
    fleet.leave(Duration::ZERO);
    let tally = wait(&mut fleet, |tally| tally.is_settled());
    assert_eq!(tally.open.sum(), 0);
    assert_eq!(tally.started, 50 + tally.retried);
}

#[test]
fn a_stream_says_how_long_to_stay_away() {
    for (hints, least_ms) in [(true, 700), (false, 0)] {
        let (sender, came) = mpsc::channel();
        let target = server(move |mut stream, number| {
            let _ = sender.send(Instant::now());
            open(&mut stream);
            if number == 0 {
                let close = "event: close\r\ndata: 1001 Server going away\r\n\r\n";
                let all = [chunk("retry: 700\r\n\r\n"), chunk(close), "0\r\n\r\n".into()].concat();
                stream.write_all(all.as_bytes()).unwrap();
            } else {
                drain(&mut stream);
            }
        });
        let mut settings = settings(target, Protocol::Sse);
        settings.hints = hints;
        let mut fleet = crowd(settings, 1);
        let tally = wait(&mut fleet, |tally| tally.reconnected == 1);
        assert_eq!((tally.faults, tally.retried), (0, 0), "{:?}", tally.fault_words);
        let between = came.recv().unwrap().elapsed() - came.recv().unwrap().elapsed();
        assert!(between >= Duration::from_millis(least_ms), "{between:?}");
        assert!(hints || between < Duration::from_millis(700), "{between:?}");
    }
}

/// Three targets: the first one throws out, or refuses, whoever comes; says how many came to it.
fn three(settings: &mut Settings, throws_out: bool) -> Arc<AtomicU64> {
    let came = Arc::new(AtomicU64::new(0));
    let count = came.clone();
    let bad = server(move |mut stream, _| {
        count.fetch_add(1, Ordering::Relaxed);
        if throws_out {
            open(&mut stream);
            stream.write_all(&[0x88, 2, 0x03, 0xe9]).unwrap();
            hang_up(&mut stream, false);
        } else {
            request(&mut stream);
            stream.write_all(FULL.as_bytes()).unwrap();
        }
    });
    let good = || {
        server(|mut stream, _| {
            open(&mut stream);
            drain(&mut stream);
        })
    };
    settings.targets = vec![bad, good(), good()];
    came
}

#[test]
fn who_comes_back_may_take_another_target() {
    for throws_out in [true, false] {
        let mut settings = settings("127.0.0.1:1".parse().unwrap(), Protocol::WebSocket);
        (settings.returns, settings.retry_refused) = (Returns::Any, true);
        let came = three(&mut settings, throws_out);
        let mut fleet = crowd(settings, 30);
        let tally = wait(&mut fleet, |tally| {
            tally.open.sum() == 30 && tally.is_settled() && tally.reconnected + tally.retried >= 10
        });
        assert_eq!(came.load(Ordering::Relaxed), 10, "each leaves it for another at once: {tally:?}");
    }
}

#[test]
fn who_keeps_its_target_comes_back_to_it() {
    let mut settings = settings("127.0.0.1:1".parse().unwrap(), Protocol::WebSocket);
    settings.back_within = Duration::from_millis(20);
    let came = three(&mut settings, true);
    let mut fleet = crowd(settings, 3);
    wait(&mut fleet, |_| came.load(Ordering::Relaxed) >= 3);
}
