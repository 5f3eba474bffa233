//! What an open connection does by itself: pings, and the watch over what its client sends.

use crate::model::{Outcome, Reason};
use crate::sim::{
    rig::{Client, Rig},
    wire::{self, Frame},
};

const PING: Frame = Frame { op: wire::PING, payload: Vec::new() };

fn with_ping(ping_ms: u64) -> Rig {
    Rig::new(|config| {
        config.clients.ping_ms = ping_ms;
        (config.clients.ping_min_ms, config.clients.ping_max_ms) = (10_000, 600_000);
    })
}

/// Lets time pass in steps; the client answers every ping within one. Returns how many there were.
fn pass_answering(rig: &mut Rig, client: Client, ms: u64, step_ms: u64) -> usize {
    let mut pings = 0;
    for _ in 0..ms / step_ms {
        rig.pass_ms(step_ms);
        for frame in rig.take_frames(client) {
            assert_eq!(frame, PING);
            rig.send(client, &wire::frame(wire::PONG, b""));
            pings += 1;
        }
    }
    pings
}

#[test]
fn pings_come_at_their_interval_or_up_to_a_tenth_early() {
    let mut rig = with_ping(50_000);
    let client = rig.websocket("user=ann");
    rig.pass_ms(24_990);
    assert_eq!(rig.take(client), b"", "the first comes in the second half of the interval");
    let pings = pass_answering(&mut rig, client, 5_000_000, 1_000);
    assert!((100..=112).contains(&pings), "{pings}");
    assert_eq!(rig.lent(), 0);
    rig.stop();
}

#[test]
fn a_client_asks_for_its_own_interval_within_bounds() {
    for (asked, interval_s) in [("20s", 20), ("300s", 300), ("1s", 10), ("2h", 600), ("30", 30)] {
        let mut rig = with_ping(50_000);
        let client = rig.websocket(&format!("user=ann&ping={asked}"));
        let pings = pass_answering(&mut rig, client, interval_s * 20_000, 1_000);
        assert!((20..=23).contains(&pings), "{asked}: {pings} pings in 20 intervals");
        rig.stop();
    }
}

#[test]
fn a_websocket_that_is_silent_for_two_intervals_is_dead() {
    let mut rig = with_ping(50_000);
    let client = rig.websocket("user=ann");
    rig.pass_ms(99_980);
    let pings = rig.take_frames(client);
    assert!((1..=3).contains(&pings.len()) && pings.iter().all(|frame| *frame == PING), "{pings:?}");
    rig.pass_ms(30);
    assert_eq!(rig.take_frames(client)[0].close_code(), Some(1001));
    rig.pass_ms(3_100);
    assert_eq!(rig.closes(Reason::DeadPeer), 1);
    rig.stop();
}

#[test]
fn a_websocket_that_is_asked_to_leave_is_dead_no_later() {
    let mut rig = Rig::new(|config| {
        config.clients.ping_ms = 50_000;
        (config.lifetime.mean_ms, config.lifetime.max_ms) = (90_000, 90_000);
        config.lifetime.grace_ms = 60_000;
    });
    rig.websocket("user=ann");
    rig.pass_ms(99_980);
    assert_eq!((rig.goaways(Reason::Lifetime), rig.closes(Reason::DeadPeer)), (1, 0));
    rig.pass_ms(3_100);
    assert_eq!(rig.closes(Reason::DeadPeer), 1);
    rig.stop();
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let mut rig = with_ping(10_000);
    let client = rig.websocket("user=ann");
    let message = wire::frame(wire::BINARY, &[7; 100]);
    for byte in &message[..50] {
        rig.pass_ms(15_000);
        rig.send(client, &[*byte]);
    }
    assert!(!rig.is_closed(client));
    assert_eq!(rig.stats.connections(), 1);
    assert!(rig.take_frames(client).iter().all(|frame| *frame == PING));
    rig.stop();
}

/// The client's answer lies in the kernel while the loop is late: it is not the client that is silent.
#[test]
fn what_the_loop_is_late_by_is_not_held_against_a_client() {
    let mut rig = with_ping(10_000);
    let client = rig.websocket("user=ann");
    rig.pass_ms(19_900);
    rig.take(client);
    rig.stall_ms(3_000);
    rig.end(client).send(&wire::frame(wire::PONG, b""));
    // So many sockets are ready that this one's turn comes with the next poll.
    rig.world.borrow_mut().events_max = 0;
    rig.turn(0);
    rig.world.borrow_mut().events_max = usize::MAX;
    rig.settle();
    assert!(rig.take_frames(client).iter().all(|frame| *frame == PING));
    assert_eq!(rig.stats.connections(), 1);
    rig.stop();
}

#[test]
fn an_event_stream_is_pinged_and_never_dead_for_its_silence() {
    let mut rig = with_ping(10_000);
    let client = rig.event_stream("user=ann");
    rig.pass_ms(100_000);
    let pings = rig.take_text(client).matches("event: ping\r\n").count();
    assert!((10..=13).contains(&pings), "{pings}");
    assert_eq!(rig.stats.connections(), 1);
    rig.stop();
}

#[test]
fn for_a_stream_bytes_that_wait_are_as_good_as_a_ping_and_a_websocket_is_pinged_behind_them() {
    let mut rig = with_ping(10_000);
    let (client, stream) = (rig.websocket("user=ann"), rig.event_stream("user=bob"));
    for (client, user) in [(client, "ann"), (stream, "bob")] {
        rig.set_room(client, 1);
        rig.push(user, "begun");
    }
    rig.pass_ms(10_100);
    for client in [client, stream] {
        rig.set_room(client, usize::MAX);
    }
    assert_eq!(rig.take_frames(client), [Frame::text("begun"), PING]);
    let heard = rig.take_text(stream);
    assert!(heard.contains("begun") && !heard.contains("ping"), "{heard}");
    rig.stop();
}

#[test]
fn a_client_for_which_something_always_waits_is_asked_whether_it_lives() {
    let mut rig = with_ping(10_000);
    let client = rig.websocket("user=ann");
    for _ in 0..120 {
        rig.set_room(client, 0);
        rig.push("ann", "x");
        rig.pass_ms(500);
        rig.set_room(client, usize::MAX);
        if rig.take_frames(client).contains(&PING) {
            rig.send(client, &wire::frame(wire::PONG, b""));
        }
    }
    assert_eq!(rig.closes(Reason::DeadPeer), 0);
    rig.stop();
}

#[test]
fn a_client_that_answers_is_not_dead_for_having_been_asked_to_leave() {
    for life_ms in (8_000..40_000).step_by(500) {
        let mut rig = Rig::new(|config| {
            config.clients.ping_ms = 10_000;
            (config.lifetime.mean_ms, config.lifetime.max_ms) = (life_ms, life_ms);
            config.lifetime.grace_ms = 60_000;
        });
        let client = rig.websocket("user=ann");
        for _ in 0..(life_ms + 59_000) / 2_000 {
            rig.pass_ms(2_000);
            if rig.take_frames(client).contains(&PING) {
                rig.send(client, &wire::frame(wire::PONG, b""));
            }
        }
        assert_eq!((rig.goaways(Reason::Lifetime), rig.closes(Reason::DeadPeer)), (1, 0), "{life_ms}");
        rig.stop();
    }
}

#[test]
fn a_held_message_does_not_put_off_the_next_ping() {
    let mut rig = with_ping(10_000);
    let client = rig.websocket("user=ann");
    for _ in 0..20 {
        rig.set_room(client, 0);
        rig.push("ann", "x");
        rig.set_room(client, usize::MAX);
        rig.pass_ms(500);
        rig.send(client, &wire::frame(wire::PONG, b""));
    }
    rig.pass_ms(100);
    let pings = rig.take_frames(client).iter().filter(|frame| **frame == PING).count();
    assert!((1..=3).contains(&pings), "{pings} pings in 10 s");
    rig.stop();
}

#[test]
fn a_ping_that_the_loop_was_too_late_for_comes_with_the_goaway() {
    let mut rig = Rig::new(|config| {
        config.clients.ping_ms = 5_000;
        (config.lifetime.mean_ms, config.lifetime.max_ms) = (5_010, 5_010);
        config.lifetime.grace_ms = 60_000;
    });
    let client = rig.websocket("user=ann");
    rig.pass_ms(2_000);
    rig.stall_ms(4_000);
    rig.pass_ms(0);
    assert_eq!(rig.take_frames(client), [Frame::text("_CLOSE_"), PING]);
    rig.pass_ms(4_500);
    rig.send(client, &wire::frame(wire::PONG, b""));
    assert_eq!(rig.closes(Reason::DeadPeer), 0, "it has as long to answer as the loop was late");
    rig.stop();
}

#[test]
fn a_message_that_is_late_when_its_connection_is_asked_to_leave_leaves_nothing_behind() {
    let mut rig = Rig::new(|config| {
        (config.lifetime.mean_ms, config.lifetime.max_ms) = (10_000, 10_000);
        config.delivery.timeout_ms = 9_990;
    });
    let client = rig.websocket("user=ann");
    rig.set_room(client, 0);
    let push = rig.push("ann", "x");
    // Room comes, and the news of it later than the end of both.
    rig.world.borrow_mut().events_max = 0;
    rig.end(client).set_room(usize::MAX);
    rig.stall_ms(10_000);
    rig.turn(0);
    assert_eq!((push.outcome(), rig.goaways(Reason::Lifetime)), (Some(Outcome::Slow), 1));
    assert_eq!((rig.take_frames(client), rig.lent()), (vec![Frame::text("_CLOSE_")], 0));
    rig.world.borrow_mut().events_max = usize::MAX;
    rig.stop();
}

#[test]
fn a_clients_ping_is_answered_and_its_echo_where_that_is_on() {
    let mut rig = Rig::new(|config| config.clients.echo = true);
    let client = rig.websocket("user=ann");
    let sent =
        [wire::frame(wire::PING, b"abc"), wire::frame(wire::TEXT, b"ECHO x"), wire::frame(wire::TEXT, b"x")];
    rig.send(client, &sent.concat());
    let pong = Frame { op: wire::PONG, payload: b"abc".to_vec() };
    assert_eq!(rig.take_frames(client), [pong, Frame::text("ECHO x")]);
    rig.stop();
}

#[test]
fn a_client_may_send_frames_at_the_inbound_rate_and_no_more() {
    for pause_ms in [0, 9] {
        let mut rig = Rig::new(|config| config.limits.inbound_rate = 100);
        let client = rig.websocket("user=ann");
        // At the start of a second of the node's clock.
        let into_ms = rig.world.borrow().micros / 1_000 % 1_000;
        rig.pass_ms(1_000 - into_ms);
        for _ in 0..100 {
            rig.send(client, &wire::frame(wire::TEXT, b"x"));
            rig.pass_ms(pause_ms);
        }
        assert_eq!(rig.take(client), b"", "100 frames in a second, one a read");
        rig.pass_ms(1_000);
        rig.send(client, &wire::frame(wire::TEXT, b"x").repeat(100));
        assert_eq!(rig.take(client), b"", "100 frames in a second, in one read");
        rig.send(client, &wire::frame(wire::TEXT, b"x"));
        assert_eq!(rig.take_frames(client)[0].close_code(), Some(1008));
        rig.stop();
    }
}

#[test]
fn a_frame_in_pieces_is_lent_a_buffer_until_it_is_whole() {
    let mut rig = Rig::new(|config| config.clients.echo_all = true);
    let client = rig.websocket("user=ann");
    let message = wire::frame(wire::TEXT, "h\u{e9}llo".as_bytes());
    for (at, byte) in message.iter().enumerate() {
        rig.send(client, &[*byte]);
        assert_eq!(rig.lent(), usize::from(at + 1 < message.len()));
    }
    assert_eq!(rig.take_frames(client), [Frame::text("h\u{e9}llo")]);
    rig.stop();
}

#[test]
fn a_client_that_reads_no_answer_is_too_slow() {
    let mut rig = Rig::new(|config| config.limits.outbox_bytes = 1_000);
    let client = rig.websocket("user=ann");
    rig.set_room(client, 0);
    for _ in 0..90 {
        rig.send(client, &wire::frame(wire::PING, &[1; 100]));
        if rig.is_closed(client) {
            break;
        }
        rig.pass_ms(100);
    }
    assert_eq!(rig.closes(Reason::SlowClient), 1);
    rig.stop();
}

#[test]
fn more_than_a_turn_reads_is_read_in_the_next() {
    let mut rig = Rig::new(|_| {});
    let client = rig.websocket("user=ann");
    let message = wire::frame(wire::BINARY, &[1; 60_000]);
    rig.end(client).send(&message.repeat(20));
    rig.end(client).end();
    rig.settle();
    assert!(rig.end(client).up.is_empty() && rig.is_closed(client));
    rig.stop();
}
