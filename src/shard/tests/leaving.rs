//! Goaways: one to each connection, for the earliest of its reasons, and then the end.

use crate::model::{Outcome, Reason};
use crate::sim::{
    rig::{Client, Rig},
    wire::{self, Frame},
};

const GRACE_MS: u64 = 4_000;

/// Goaways and the close code that a client has been sent.
fn last_words(rig: &Rig, client: Client) -> (usize, Option<u16>) {
    let frames = rig.take_frames(client);
    let goaways = frames.iter().filter(|frame| **frame == Frame::text("_CLOSE_")).count();
    (goaways, frames.iter().find_map(Frame::close_code))
}

fn short_lived(mean_ms: u64) -> Rig {
    Rig::new(|config| {
        (config.lifetime.mean_ms, config.lifetime.max_ms) = (mean_ms, mean_ms);
        config.lifetime.grace_ms = GRACE_MS;
        (config.clients.ping_ms, config.clients.ping_max_ms) = (600_000, 600_000);
    })
}

#[test]
fn a_life_ends_with_a_goaway_a_grace_and_a_close() {
    let mut rig = short_lived(60_000);
    let client = rig.websocket("user=ann");
    rig.pass_ms(59_980);
    assert_eq!(last_words(&rig, client), (0, None));
    rig.pass_ms(30);
    assert_eq!(last_words(&rig, client), (1, None));
    assert_eq!(rig.push("ann", "still here").outcome(), Some(Outcome::Written));
    rig.pass_ms(GRACE_MS - 30);
    assert_eq!(last_words(&rig, client), (0, None));
    rig.pass_ms(40);
    assert_eq!(last_words(&rig, client), (0, Some(1000)));
    rig.send(client, &wire::close(1000));
    assert!(rig.is_closed(client));
    assert_eq!((rig.goaways(Reason::Lifetime), rig.closes(Reason::Lifetime)), (1, 1));
    rig.stop();
}

#[test]
fn a_client_that_leaves_when_asked_is_counted_by_what_it_was_asked_for() {
    let mut rig = short_lived(60_000);
    let (polite, abrupt) = (rig.websocket("user=ann"), rig.websocket("user=bob"));
    rig.pass_ms(60_010);
    rig.take(polite);
    rig.send(polite, &wire::close(1000));
    rig.end(abrupt).end();
    rig.settle();
    assert_eq!(rig.take_frames(polite)[0].close_code(), Some(1000));
    assert!(rig.is_closed(polite) && rig.is_closed(abrupt));
    assert_eq!(rig.closes(Reason::Lifetime), 2);
    rig.stop();
}

#[test]
fn a_connection_is_asked_once_and_a_later_reason_can_only_hasten_its_end() {
    let mut rig = short_lived(60_000);
    let client = rig.websocket("user=ann");
    rig.close("ann", Reason::Operator, true);
    rig.close("ann", Reason::Drain, true);
    rig.pass_ms(1_000);
    rig.close("ann", Reason::Drain, true);
    assert_eq!(last_words(&rig, client), (1, None));
    rig.pass_ms(GRACE_MS - 1_000 + 20);
    assert_eq!(last_words(&rig, client), (0, Some(4003)), "the first reason came first to its end");
    assert_eq!((rig.goaways(Reason::Operator), rig.goaways(Reason::Drain)), (1, 0));
    rig.stop();
}

#[test]
fn a_token_that_ends_has_a_goaway_before_and_4002_after() {
    let mut rig = short_lived(3_600_000);
    let now_s = rig.world.borrow().now().unix_ms / 1_000;
    let client = rig.websocket(&format!("user=ann&issued={}&expires={}", now_s - 900, now_s + 100));
    // The last tenth of a life of 1,000 s.
    rig.pass_ms(100_000 - 20);
    assert_eq!(last_words(&rig, client), (1, None));
    rig.pass_ms(40);
    assert_eq!(last_words(&rig, client), (0, Some(4002)));
    assert_eq!((rig.goaways(Reason::TokenExpired), rig.closes(Reason::TokenExpired)), (1, 0));
    rig.pass_ms(3_100);
    assert_eq!(rig.closes(Reason::TokenExpired), 1);
    rig.stop();
}

#[test]
fn goaways_of_tokens_minted_together_are_spread() {
    let mut rig = short_lived(7_200_000);
    let now_s = rig.world.borrow().now().unix_ms / 1_000;
    for n in 0..100 {
        rig.websocket(&format!("user=u{n}&issued={now_s}&expires={}", now_s + 1_000));
    }
    rig.pass_ms(900_000 - 1_000);
    assert_eq!(rig.goaways(Reason::TokenExpired), 0);
    rig.pass_ms(51_000);
    let half = rig.goaways(Reason::TokenExpired);
    assert!((30..70).contains(&half), "{half} in the first half of the last tenth");
    rig.pass_ms(50_020);
    assert_eq!(rig.goaways(Reason::TokenExpired), 100);
    rig.stop();
}

#[test]
fn a_token_that_ends_first_cuts_the_grace_short() {
    let mut rig = short_lived(60_000);
    let now_s = rig.world.borrow().now().unix_ms / 1_000;
    let client = rig.websocket(&format!("user=ann&issued={}&expires={}", now_s - 1, now_s + 30));
    rig.pass_ms(26_000);
    rig.close("ann", Reason::Drain, true);
    rig.pass_ms(5_000);
    assert_eq!(last_words(&rig, client), (1, Some(4002)));
    rig.stop();
}

#[test]
fn a_drain_hastens_one_who_waits_for_the_end_of_a_token() {
    let mut rig = short_lived(7_200_000);
    let now_s = rig.world.borrow().now().unix_ms / 1_000;
    let client = rig.websocket(&format!("user=ann&issued={}&expires={}", now_s - 2_000, now_s + 1_000));
    rig.pass_ms(990_000);
    assert_eq!(rig.goaways(Reason::TokenExpired), 1);
    rig.close("ann", Reason::Drain, true);
    rig.pass_ms(GRACE_MS + 20);
    assert_eq!(last_words(&rig, client), (1, Some(1001)));
    rig.stop();
}

#[test]
fn an_event_stream_is_asked_to_leave_and_when_to_come_back() {
    let mut rig = short_lived(60_000);
    let client = rig.event_stream("user=ann");
    rig.pass_ms(60_010);
    let text = rig.take_text(client);
    assert!(text.contains("event: goaway\r\ndata: _CLOSE_\r\n") && text.contains("retry: "), "{text:?}");
    rig.pass_ms(GRACE_MS + 10);
    assert!(rig.take_text(client).contains("data: 1000 Server closed connection\r\n"));
    rig.stop();
}

#[test]
fn a_goaway_that_waits_behind_messages_comes_after_them() {
    let mut rig = short_lived(60_000);
    let client = rig.websocket("user=ann");
    rig.set_room(client, 0);
    let push = rig.push("ann", "first");
    rig.close("ann", Reason::Operator, true);
    rig.set_room(client, usize::MAX);
    assert_eq!(push.outcome(), Some(Outcome::Written));
    assert_eq!(rig.take_frames(client), [Frame::text("first"), Frame::text("_CLOSE_")]);
    rig.stop();
}
