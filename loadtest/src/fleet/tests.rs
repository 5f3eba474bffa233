//! One client against servers that do not keep their promises: each lie is found and named.

use super::Fleet;
use crate::{
    client::Protocol,
    clock::Run,
    message::{self, Message, To},
    plan::Settings,
    worker::{
        Manner, Wave,
        tally::{Ending, Failure, Tally},
    },
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    time::Duration,
};

const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(10);

fn body(run: Run, to: To, sequence: u32) -> String {
    let mut body = Vec::new();
    message::write(&mut body, run.id, &Message { to, sequence, meant_us: 0 }, 150);
    String::from_utf8(body).unwrap()
}

fn event(name: &str, data: &str) -> String {
    let lines: String = data.split('\n').map(|line| format!("data: {line}\r\n")).collect();
    let event = format!("event: {name}\r\n{lines}\r\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}

fn push(run: Run, to: To, sequence: u32) -> String {
    event("push", &body(run, to, sequence))
}

/// Answers one client with these bytes after it has asked, and ends the connection.
fn serve(answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        // It reads to the end, so that its own end is no reset.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        while stream.read(&mut request).is_ok_and(|count| count > 0) {}
    });
    address
}

/// What one client, number 7, makes of it.
fn visit(run: Run, target: SocketAddr, protocol: Protocol) -> Tally {
    let mut settings = Settings::new(target);
    settings.sse_share = if protocol == Protocol::Sse { 1.0 } else { 0.0 };
    settings.reconnect = false;
    settings.handshake_timeout = Duration::from_millis(200);
    settings.leave_within = Duration::ZERO;
    let mut fleet = Fleet::start(settings, run).unwrap();
    fleet.open(Wave { first: 7, count: 1, rate: 1e9, manner: Manner::Stay, dwell: Duration::ZERO });
    fleet.wait(PATIENCE, |tally| tally.started == 1 && tally.open.sum() == 0 && tally.is_settled()).unwrap()
}

#[test]
fn what_a_server_does_wrong_is_found() {
    let run = Run::begin();
    let (mine, others) = (To::Client(7), To::Client(5));
    let damaged = body(run, mine, 1).replacen('e', "f", 1);
    let table = [
        (push(run, mine, 1).repeat(2), "message 1 came twice"),
        (push(run, mine, 2) + &push(run, mine, 1), "message 1 came too late: the latest was 2"),
        (push(run, To::All, 3).repeat(2), "broadcast 3 came twice"),
        (push(run, others, 1), "got a message that was for client 5"),
        (event("push", &damaged), "got "),
        (event("push", "hello"), "got an unknown body: \"hello\""),
        (push(Run { id: run.id ^ 1, ..run }, mine, 1), "got a message of another run"),
        (event("goaway", "_CLOSE_").repeat(2), "was asked to leave twice"),
        (event("close", "1001 Server going away"), "was closed without a last chunk"),
        (event("news", "hello"), "an event that is not as promised"),
        ("5\r\nabcdefg".to_owned(), "a chunk without its end"),
    ];
    for (lie, expected) in table {
        let tally = visit(run, serve(format!("{STREAM}{lie}")), Protocol::Sse);
        let words = tally.fault_words.join("\n");
        assert!(tally.faults >= 1 && words.contains(expected), "{expected}: {words:?}");
        assert!(words.contains("load-7 (sse)"), "{words}");
    }
}

#[test]
fn what_is_as_promised_is_no_fault() {
    let run = Run::begin();
    let good = push(run, To::Client(7), 1) + &push(run, To::All, 1) + &push(run, To::Client(7), 3);
    let end = event("close", "4001 displaced") + "0\r\n\r\n";
    let tally = visit(run, serve(format!("{STREAM}{good}{end}")), Protocol::Sse);
    assert_eq!((tally.faults, tally.direct, tally.broadcast), (0, 2, 1), "{:?}", tally.fault_words);
    assert_eq!(tally.ended_by(Ending::Server(4001)), 1);
    let tally = visit(run, serve(format!("{STREAM}{good}")), Protocol::Sse);
    assert_eq!(tally.ended_by(Ending::Lost), 1, "an end without a word");
}

#[test]
fn connections_that_do_not_come_to_be_are_told_apart() {
    let run = Run::begin();
    let failed = |target, protocol, failure| {
        let tally = visit(run, target, protocol);
        assert_eq!(tally.failed, [(failure, 1)].into(), "{protocol:?}");
    };
    for protocol in Protocol::ALL {
        failed(serve(String::new()), protocol, Failure::CutOff);
        failed(serve("SSH-2.0-OpenSSH_9.6\r\n".into()), protocol, Failure::Stranger);
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        failed(nobody, protocol, Failure::NobodyThere);
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        failed(silent.local_addr().unwrap(), protocol, Failure::Silence);
        let full = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(visit(run, serve(full.into()), protocol).refused, [(503, 1)].into());
    }
    let forged = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    failed(serve(forged.into()), Protocol::WebSocket, Failure::Stranger);
    let page = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(visit(run, serve(page.into()), Protocol::WebSocket).refused, [(200, 1)].into());
}
