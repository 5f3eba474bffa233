//! Clients of other servers: what they ask for, and what they put up with.

use super::*;
use crate::{
    client::{Dialect, Protocol},
    worker::tally::Ending,
};
use std::sync::mpsc;

#[test]
fn requests_are_made_by_templates() {
    for (dialect, named) in [(Dialect::Holdfast, true), (Dialect::Zuul, true), (Dialect::Plain, false)] {
        for (protocol, own) in [(Protocol::WebSocket, "/ws"), (Protocol::Sse, "/sse")] {
            let (sender, requests) = mpsc::channel();
            let target = server(move |mut stream, _| sender.send(request(&mut stream)).unwrap());
            let mut settings = settings(target, protocol);
            settings.dialect = dialect;
            visit(settings.clone(), 1);
            let plain: String = requests.recv().unwrap();
            assert!(plain.starts_with(&format!("GET {own} HTTP/1.1\r\nHost: {target}\r\n")), "{plain}");
            assert_eq!(plain.contains("X-CUSTOMER_ID: load-0\r\nX-DEVICE-ID: load\r\n"), named, "{plain}");
            settings.paths = Some("/push/{n}".into());
            settings.query = Some("?u={user}".into());
            settings.headers = vec![("Cookie".into(), "userAuthCookie={user}".into())];
            visit(settings, 1);
            let made = requests.recv().unwrap();
            assert!(made.starts_with("GET /push/0?u=load-0 HTTP/1.1\r\n"), "{made}");
            assert!(made.contains("\r\nCookie: userAuthCookie=load-0\r\n"), "{made}");
        }
    }
}

#[test]
fn what_cannot_be_asked_for_is_said_before_anybody_connects() {
    let target = "127.0.0.1:1".parse().unwrap();
    let fault = |change: fn(&mut Settings)| {
        let mut settings = Settings::new(target);
        change(&mut settings);
        let Err(error) = Fleet::start(settings, Run::begin()) else { panic!("it starts") };
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        error.to_string()
    };
    let words = fault(|settings| settings.query = Some("id={id}".into()));
    assert!(words.contains("the query") && words.contains("{id}") && words.contains("{user}"), "{words}");
    let words = fault(|settings| settings.headers = vec![("Upgrade".into(), "h2c".into())]);
    assert!(words.contains("Upgrade"), "{words}");
    let words = fault(|settings| settings.targets.clear());
    assert!(words.contains("targets"), "{words}");
}

/// Opens the first connection with some bytes and ends it when the client has gone; holds the others.
fn talker(websocket: Vec<u8>, stream_text: String) -> SocketAddr {
    server(move |mut stream, number| {
        let asked = request(&mut stream);
        stream.write_all(opening(&asked).as_bytes()).unwrap();
        if number == 0 {
            let is_stream = asked.contains("text/event-stream");
            stream.write_all(if is_stream { stream_text.as_bytes() } else { &websocket }).unwrap();
            return hang_up(&mut stream, !is_stream);
        }
        drain(&mut stream);
    })
}

#[test]
fn a_goaway_is_for_those_who_know_it() {
    for (dialect, asked) in [(Dialect::Holdfast, 1), (Dialect::Zuul, 1), (Dialect::Plain, 0)] {
        for protocol in Protocol::ALL {
            let event = chunk("event: goaway\r\ndata: _CLOSE_\r\n\r\n");
            let mut settings = settings(talker(text(b"_CLOSE_"), event), protocol);
            settings.dialect = dialect;
            let mut fleet = crowd(settings, 1);
            let tally = wait(&mut fleet, |tally| tally.goaways + tally.others == 1);
            assert_eq!((tally.goaways, tally.others), (asked, 1 - asked), "{dialect:?}");
            if asked == 1 {
                let tally = wait(&mut fleet, |tally| tally.reconnected == 1);
                assert_eq!(tally.faults, 0, "{:?}", tally.fault_words);
                assert_eq!(tally.ended_by(Ending::Left), 1);
            }
        }
    }
}

#[test]
fn others_may_say_what_a_node_does_not() {
    // A message in parts around a ping, and news in lines that end with LF.
    let parts = [&[0x01, 1, b'a'][..], &[0x89, 0], &[0x80, 1, b'b'], &text(b"more")].concat();
    let news = [chunk("id: 1\ndata: news\n\n:"), chunk("\n\nevent: x\ndata\n\n\r\n\r\n")].concat();
    for dialect in [Dialect::Holdfast, Dialect::Zuul, Dialect::Plain] {
        for protocol in Protocol::ALL {
            let mut settings = settings(talker(parts.clone(), news.clone()), protocol);
            settings.dialect = dialect;
            let mut fleet = crowd(settings, 1);
            let tally = wait(&mut fleet, |tally| tally.others == 2 || tally.faults > 0);
            assert_eq!(tally.faults > 0, dialect == Dialect::Holdfast, "{:?}", tally.fault_words);
        }
    }
}

#[test]
fn a_stream_without_chunks_lasts_until_the_connection_ends() {
    let target = server(|mut stream, number| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\n").unwrap();
        if number > 0 {
            drain(&mut stream);
        }
    });
    let mut settings = settings(target, Protocol::Sse);
    settings.dialect = Dialect::Plain;
    let mut fleet = crowd(settings, 1);
    let tally = wait(&mut fleet, |tally| tally.others == 2 && tally.reconnected == 1);
    assert_eq!((tally.ended_by(Ending::Server(1005)), tally.faults), (1, 0), "{tally:?}");
}

#[test]
fn a_stream_that_has_ended_is_left_though_the_connection_lasts() {
    let target = server(|mut stream, number| {
        open(&mut stream);
        if number == 0 {
            stream.write_all(b"0\r\n\r\n").unwrap();
        }
        drain(&mut stream);
    });
    let mut settings = settings(target, Protocol::Sse);
    settings.dialect = Dialect::Plain;
    let mut fleet = crowd(settings, 1);
    let tally = wait(&mut fleet, |tally| tally.reconnected == 1);
    assert_eq!((tally.ended_by(Ending::Server(1005)), tally.faults), (1, 0), "{tally:?}");
}

#[test]
fn our_own_messages_are_checked_in_every_dialect() {
    let run = Run::begin();
    for dialect in [Dialect::Zuul, Dialect::Plain] {
        let mut good = Vec::new();
        let message = crate::message::Message { to: crate::message::To::Client(0), sequence: 1, meant_us: 0 };
        crate::message::write(&mut good, run.id, &message, 100);
        let frames = [text(&good), text(b"other"), text(&good)].concat();
        let mut settings = settings(talker(frames, String::new()), Protocol::WebSocket);
        settings.dialect = dialect;
        let mut fleet = Fleet::start(settings, run).unwrap();
        fleet.open(Wave { first: 0, count: 1, rate: 1e9, manner: Manner::Stay, dwell: Duration::ZERO });
        let tally = wait(&mut fleet, |tally| tally.direct == 2);
        assert_eq!((tally.others, tally.faults), (1, 1), "it came twice: {:?}", tally.fault_words);
    }
}
