//! Ends: the last word arrives, what was begun is finished before it, and the peer has a while to hear it.

use crate::model::{Outcome, Reason};
use crate::sim::{
    rig::{Client, Rig},
    wire::{self, Frame},
};
use std::io::ErrorKind;

/// Longer than the server waits for last bytes.
const LINGER_MS: u64 = 3_100;

fn codes(rig: &Rig, client: Client) -> Vec<u16> {
    rig.take_frames(client).iter().filter_map(Frame::close_code).collect()
}

#[test]
fn a_message_that_has_begun_is_finished_before_the_close_frame() {
    let mut rig = Rig::new(|_| {});
    let client = rig.websocket("user=ann");
    rig.set_room(client, 3);
    let (begun, waiting) = (rig.push("ann", "begun"), rig.push("ann", "waiting"));
    rig.close("ann", Reason::Operator, false);
    assert_eq!((begun.outcome(), waiting.outcome()), (None, Some(Outcome::Stale)));
    rig.set_room(client, usize::MAX);
    assert_eq!(begun.outcome(), Some(Outcome::Written));
    let frames = rig.take_frames(client);
    assert_eq!((&frames[0], frames[1].close_code()), (&Frame::text("begun"), Some(4003)));
    assert!(rig.end(client).shut && !rig.is_closed(client), "the client is to close first");
    rig.send(client, &wire::close(4003));
    assert!(rig.is_closed(client));
    assert_eq!(rig.closes(Reason::Operator), 1);
    rig.stop();
}

/// Half a frame, or an answer that the client has not had, must not be cut out of what it reads.
#[test]
fn our_own_bytes_that_wait_come_before_the_close_frame() {
    for room in [0, 1, 5] {
        let mut rig = Rig::new(|_| {});
        let client = rig.websocket("user=ann");
        rig.set_room(client, room);
        rig.close("ann", Reason::Operator, true);
        rig.close("ann", Reason::Operator, false);
        rig.set_room(client, usize::MAX);
        let frames = rig.take_frames(client);
        assert_eq!(
            (&frames[0], frames[1].close_code()),
            (&Frame::text("_CLOSE_"), Some(4003)),
            "room for {room}"
        );
        rig.stop();
    }
    for room in [0, 20] {
        let mut rig = Rig::new(|_| {});
        let client = rig.connect(b"");
        rig.set_room(client, room);
        rig.send(client, &wire::upgrade("user=ann"));
        rig.close("ann", Reason::Operator, false);
        rig.set_room(client, usize::MAX);
        let bytes = rig.take(client);
        let (status, rest) = wire::response(&bytes);
        assert_eq!((status, wire::frames(rest)[0].close_code()), (101, Some(4003)), "room for {room}");
        rig.stop();
    }
}

#[test]
fn a_client_that_takes_nothing_is_not_waited_for() {
    let mut rig = Rig::new(|_| {});
    let client = rig.websocket("user=ann");
    rig.set_room(client, 3);
    let begun = rig.push("ann", "begun");
    rig.close("ann", Reason::Operator, false);
    rig.pass_ms(LINGER_MS);
    assert!(rig.is_closed(client));
    assert_eq!(begun.outcome(), Some(Outcome::Stale));
    rig.stop();
}

/// The timer of a connection that closes behind a message that has begun serves that message's time as well.
#[test]
fn a_sender_does_not_wait_for_a_close_behind_its_message() {
    let mut rig = Rig::new(|config| config.delivery.timeout_ms = 1_000);
    let client = rig.websocket("user=ann");
    rig.set_room(client, 3);
    let begun = rig.push("ann", "begun");
    rig.close("ann", Reason::Operator, false);
    rig.pass_ms(1_050);
    assert_eq!(begun.outcome(), Some(Outcome::Slow));
    assert!(!rig.is_closed(client));
    rig.stop();
}

#[test]
fn a_closed_connection_takes_no_message_and_is_not_found() {
    let mut rig = Rig::new(|_| {});
    let client = rig.websocket("user=ann");
    let handle = rig.handle("ann");
    rig.close("ann", Reason::Operator, false);
    assert_eq!(rig.directory.connections(), 0);
    let message = rig.text("x");
    let push = rig.post(handle, message);
    rig.settle();
    assert_eq!(push.outcome(), Some(Outcome::Stale));
    assert_eq!(codes(&rig, client), [4003]);
    rig.pass_ms(LINGER_MS);
    assert!(rig.is_closed(client));
    rig.stop();
}

#[test]
fn a_clients_close_is_answered_with_its_code() {
    for (sent, echoed) in [(wire::close(1000), vec![3, 232]), (wire::frame(wire::CLOSE, b""), vec![])] {
        let mut rig = Rig::new(|_| {});
        let client = rig.websocket("user=ann");
        rig.send(client, &sent);
        assert_eq!(rig.take_frames(client), [Frame { op: wire::CLOSE, payload: echoed }]);
        assert!(rig.is_closed(client));
        assert_eq!(rig.closes(Reason::ClientClosed), 1);
        rig.stop();
    }
}

#[test]
fn a_clients_close_behind_a_message_that_has_begun_is_answered_after_it() {
    let mut rig = Rig::new(|_| {});
    let client = rig.websocket("user=ann");
    rig.set_room(client, 3);
    let (begun, waiting) = (rig.push("ann", "begun"), rig.push("ann", "waiting"));
    rig.send(client, &wire::close(1001));
    assert_eq!(waiting.outcome(), Some(Outcome::Stale));
    rig.set_room(client, usize::MAX);
    let frames = rig.take_frames(client);
    assert_eq!((&frames[0], frames[1].close_code()), (&Frame::text("begun"), Some(1001)));
    assert_eq!(begun.outcome(), Some(Outcome::Written));
    assert!(rig.is_closed(client));
    rig.stop();
}

/// Bytes that end a connection, and with which code.
fn violations() -> [(&'static str, Vec<u8>, u16, Reason); 5] {
    let mut unmasked = wire::frame(wire::TEXT, b"");
    unmasked[1] = 0;
    let too_big = [&[0x82, 0xff][..], &1_000_000u64.to_be_bytes()[..], &[0; 4][..]].concat();
    [
        ("unmasked", unmasked, 1002, Reason::ProtocolError),
        ("an opcode that there is not", wire::frame(3, b""), 1002, Reason::ProtocolError),
        ("a close code that may not be sent", wire::close(1005), 1002, Reason::ProtocolError),
        ("not UTF-8", wire::frame(wire::TEXT, b"\xff\xff"), 1007, Reason::InvalidPayload),
        ("too big", too_big, 1009, Reason::MessageTooBig),
    ]
}

#[test]
fn a_violation_has_its_code_and_the_peer_a_while_to_read_it() {
    for (what, bytes, code, reason) in violations() {
        let mut rig = Rig::new(|_| {});
        let client = rig.websocket("user=ann");
        rig.send(client, &bytes);
        assert_eq!(codes(&rig, client), [code], "{what}");
        assert!(rig.end(client).shut && !rig.is_closed(client), "{what}");
        rig.end(client).end();
        rig.settle();
        assert!(rig.is_closed(client), "{what}");
        assert_eq!(rig.closes(reason), 1, "{what}");
        rig.stop();
    }
}

/// A socket closed on bytes that come is reset, and the client never reads why.
#[test]
fn what_follows_a_violation_is_dropped_and_does_not_cut_the_wait_short() {
    for (what, bytes, code, reason) in violations() {
        let mut rig = Rig::new(|_| {});
        let client = rig.websocket("user=ann");
        rig.send(client, &bytes);
        rig.send(client, &[0xff; 100]);
        assert!(!rig.is_closed(client), "{what}");
        rig.send(client, &wire::close(1000));
        assert!(!rig.is_closed(client), "{what}: nothing can be told apart any more");
        assert_eq!(codes(&rig, client), [code], "{what}");
        rig.pass_ms(LINGER_MS);
        assert!(rig.is_closed(client), "{what}");
        assert_eq!(rig.closes(reason), 1, "{what}");
        rig.stop();
    }
}

#[test]
fn a_close_in_the_middle_of_a_clients_message_still_waits_for_the_clients_own() {
    let mut rig = Rig::new(|_| {});
    let client = rig.websocket("user=ann");
    let message = wire::frame(wire::BINARY, &[0xff; 1_000]);
    rig.send(client, &message[..500]);
    assert_eq!(rig.lent(), 1);
    rig.close("ann", Reason::Operator, false);
    rig.send(client, &message[500..]);
    assert!(!rig.is_closed(client), "the rest of the message is no violation");
    rig.send(client, &wire::close(4003));
    assert!(rig.is_closed(client), "the client's close ends the wait");
    rig.stop();
}

#[test]
fn an_event_stream_ends_with_its_last_chunk() {
    let mut rig = Rig::new(|_| {});
    let client = rig.event_stream("user=ann");
    rig.close("ann", Reason::Operator, false);
    let text = rig.take_text(client);
    assert!(text.contains("event: close\r\ndata: 4003 closed by an operator\r\n\r\n"), "{text:?}");
    assert!(text.ends_with("0\r\n\r\n"));
    assert!(rig.end(client).shut && !rig.is_closed(client));
    rig.send(client, b"whatever");
    rig.end(client).end();
    rig.settle();
    assert!(rig.is_closed(client));
    assert_eq!(rig.closes(Reason::Operator), 1);
    rig.stop();
}

#[test]
fn a_client_that_is_gone_is_counted_so() {
    type Leave = fn(&mut crate::sim::net::End);
    let ways: [(Leave, Reason); 3] = [
        (|end| end.end(), Reason::ClientGone),
        (|end| end.reset(), Reason::ClientGone),
        (|end| end.fail(ErrorKind::TimedOut), Reason::DeadPeer),
    ];
    for (leave, reason) in ways {
        let mut rig = Rig::new(|_| {});
        let client = rig.websocket("user=ann");
        leave(&mut rig.end(client));
        rig.settle();
        assert!(rig.is_closed(client));
        assert_eq!(rig.closes(reason), 1);
        rig.stop();
    }
}

#[test]
fn what_a_client_said_before_its_connection_failed_is_heard() {
    let mut rig = Rig::new(|_| {});
    let client = rig.websocket("user=ann");
    {
        let mut end = rig.end(client);
        end.send(&wire::close(1000));
        end.reset();
    }
    rig.settle();
    assert_eq!((rig.closes(Reason::ClientClosed), rig.closes(Reason::ClientGone)), (1, 0));
    rig.stop();
}

#[test]
fn a_shard_that_stops_says_so_to_everyone() {
    let mut rig = Rig::new(|_| {});
    let clients = [rig.websocket("user=ann"), rig.websocket("user=bob")];
    rig.stop();
    for client in clients {
        assert_eq!(codes(&rig, client), [1001]);
        assert!(rig.is_closed(client));
    }
    assert!(rig.shards[0].is_stopped());
}
