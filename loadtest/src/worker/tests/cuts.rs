//! Clients that are cut off, vanish or stop reading, seen from the server's side.

use super::*;
use crate::{
    client::Dialect,
    worker::{command::Cut, net, tally::Ending},
};
use socket2::SockRef;
use std::{io::ErrorKind, sync::mpsc};

/// How the server sees a connection end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    Fin,
    Reset,
    CloseFrame,
    TimedOut,
}

/// Opens whatever comes, and says how it ended; answers a close frame with another.
fn witness() -> (SocketAddr, mpsc::Receiver<Seen>) {
    let (sender, ends) = mpsc::channel();
    let target = server(move |mut stream, _| {
        open(&mut stream);
        let _ = sender.send(end_of(&mut stream));
        let _ = stream.write_all(&[0x88, 2, 0x03, 0xe8]);
    });
    (target, ends)
}

fn end_of(stream: &mut TcpStream) -> Seen {
    let mut bytes = [0; 256];
    match stream.read(&mut bytes) {
        Ok(0) => Seen::Fin,
        Ok(_) if bytes[0] == 0x88 => Seen::CloseFrame,
        Ok(count) => panic!("a client says {:x?}", &bytes[..count]),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Seen::Reset,
        Err(error) if error.kind() == ErrorKind::TimedOut => Seen::TimedOut,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_share_is_cut_and_comes_back() {
    let table = [
        (Cut::Reset, Protocol::WebSocket, Seen::Reset, Ending::Aborted),
        (Cut::Reset, Protocol::Sse, Seen::Reset, Ending::Aborted),
        (Cut::Fin, Protocol::WebSocket, Seen::Fin, Ending::Left),
        (Cut::Fin, Protocol::Sse, Seen::Fin, Ending::Left),
        (Cut::Close, Protocol::WebSocket, Seen::CloseFrame, Ending::Left),
        (Cut::Close, Protocol::Sse, Seen::Fin, Ending::Left),
    ];
    for (how, protocol, seen, ending) in table {
        let (target, ends) = witness();
        let mut settings = settings(target, protocol);
        (settings.dialect, settings.threads) = (Dialect::Plain, 2);
        let mut fleet = crowd(settings, 40);
        wait(&mut fleet, |tally| tally.open.sum() == 40);
        fleet.cut(0.25, how);
        let tally = wait(&mut fleet, |tally| tally.reconnected == 10 && tally.open.sum() == 40);
        assert_eq!((tally.ended_by(ending), tally.ended(), tally.faults), (10, 10, 0), "{how:?}");
        for _ in 0..10 {
            assert_eq!(ends.recv_timeout(PATIENCE), Ok(seen), "{how:?}");
        }
    }
}

#[test]
fn who_does_not_come_back_stays_cut() {
    let (target, _ends) = witness();
    let mut settings = settings(target, Protocol::WebSocket);
    settings.reconnect = false;
    let mut fleet = crowd(settings, 30);
    wait(&mut fleet, |tally| tally.open.sum() == 30);
    for (share, left) in [(0.0, 30), (0.5, 15), (1.0, 0), (1.0, 0)] {
        fleet.cut(share, Cut::Reset);
        let tally = fleet.tally();
        assert_eq!((tally.open.sum(), tally.ended()), (left, 30 - left));
    }
}

#[test]
fn who_vanishes_is_gone_for_the_server_until_it_is_buried() {
    let (sender, ends) = mpsc::channel();
    let (begin, begun) = mpsc::channel();
    let begun = std::sync::Arc::new(std::sync::Mutex::new(begun));
    let target = server(move |mut stream, _| {
        open(&mut stream);
        let number = begun.lock().unwrap().recv().unwrap();
        if number == 0 {
            // What is not acknowledged in this time ends the connection.
            SockRef::from(&stream).set_tcp_user_timeout(Some(Duration::from_millis(300))).unwrap();
            stream.write_all(&text(b"are you there?")).unwrap();
        }
        let _ = sender.send((number, end_of(&mut stream)));
    });
    let mut settings = settings(target, Protocol::WebSocket);
    settings.dialect = Dialect::Plain;
    let mut fleet = crowd(settings, 2);
    wait(&mut fleet, |tally| tally.open.sum() == 2);
    fleet.cut(1.0, Cut::Vanish);
    let tally = wait(&mut fleet, |tally| tally.vanished == 2);
    assert_eq!((tally.open.sum(), tally.ended_by(Ending::Vanished), tally.away), (0, 2, 0));
    (0..2).for_each(|number| begin.send(number).unwrap());
    assert_eq!(ends.recv_timeout(PATIENCE), Ok((0, Seen::TimedOut)), "nothing is acknowledged");
    let tally = fleet.tally();
    assert_eq!((tally.vanished, tally.others, tally.ended()), (2, 0, 2), "it heard nothing of the end");
    fleet.bury();
    assert_eq!(ends.recv_timeout(PATIENCE), Ok((1, Seen::Reset)));
    let tally = fleet.tally();
    assert_eq!((tally.vanished, tally.buried, tally.ended(), tally.faults), (0, 2, 2, 0));
}

#[test]
fn who_stalls_reads_on_when_it_resumes() {
    let (sender, counts) = mpsc::channel();
    let (begin, begun) = mpsc::channel::<()>();
    let begun = std::sync::Arc::new(std::sync::Mutex::new(begun));
    let target = server(move |mut stream, _| {
        open(&mut stream);
        begun.lock().unwrap().recv().unwrap();
        let frame = text(&[b'x'; 16_000]);
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let (mut count, mut rest) = (0u64, 0);
        while let Ok(written) = stream.write(&frame[rest..]) {
            rest = (rest + written) % frame.len();
            count += u64::from(rest == 0);
        }
        sender.send(count + u64::from(rest > 0)).unwrap();
        stream.set_write_timeout(None).unwrap();
        if rest > 0 {
            stream.write_all(&frame[rest..]).unwrap();
        }
        hang_up(&mut stream, true);
    });
    let mut settings = settings(target, Protocol::WebSocket);
    settings.dialect = Dialect::Plain;
    let mut fleet = crowd(settings, 1);
    wait(&mut fleet, |tally| tally.open.sum() == 1);
    fleet.stall(1.0);
    wait(&mut fleet, |tally| tally.stalled == 1);
    begin.send(()).unwrap();
    // The server has no room any more.
    let count = counts.recv_timeout(PATIENCE).unwrap();
    assert_eq!(fleet.tally().others, 0);
    fleet.resume();
    let tally = wait(&mut fleet, |tally| tally.others == count);
    assert_eq!((tally.stalled, tally.open.sum(), tally.faults), (0, 1, 0));
    fleet.stall(1.0);
    fleet.leave(Duration::ZERO);
    let tally = wait(&mut fleet, |tally| tally.ended() == 1);
    assert_eq!((tally.stalled, tally.ended_by(Ending::Left)), (0, 1), "{tally:?}");
}

#[test]
fn a_server_may_give_up_on_who_stalls() {
    let (begin, begun) = mpsc::channel::<()>();
    let begun = std::sync::Arc::new(std::sync::Mutex::new(begun));
    let (sender, ended) = mpsc::channel();
    let target = server(move |mut stream, number| {
        open(&mut stream);
        if number == 0 {
            begun.lock().unwrap().recv().unwrap();
            net::reset_on_close(&stream);
            drop(stream);
            return sender.send(()).unwrap();
        }
        drain(&mut stream);
    });
    // A node, of which a reset is a fault else.
    let mut fleet = crowd(settings(target, Protocol::WebSocket), 1);
    wait(&mut fleet, |tally| tally.open.sum() == 1);
    fleet.stall(1.0);
    wait(&mut fleet, |tally| tally.stalled == 1);
    begin.send(()).unwrap();
    ended.recv().unwrap();
    assert_eq!((fleet.tally().open.sum(), fleet.tally().stalled), (1, 1), "it does not look");
    fleet.resume();
    let tally = wait(&mut fleet, |tally| tally.reconnected == 1);
    assert_eq!((tally.ended_by(Ending::Reset), tally.stalled, tally.faults), (1, 0, 0), "{tally:?}");
}
