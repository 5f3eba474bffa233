//! A device that connects again: the newer connection wins, wherever the older one is.

use crate::model::{
    Outcome, Reason,
    mail::{CONTROL_LANE, ToShard},
};
use crate::sim::{
    rig::{Client, Rig},
    wire::{self, Frame},
};
use std::time::Duration;

fn close_codes(rig: &Rig, client: Client) -> Vec<u16> {
    rig.take_frames(client).iter().filter_map(Frame::close_code).collect()
}

#[test]
fn the_newer_connection_of_a_device_takes_over_on_any_shard() {
    for shard in [0, 1] {
        let mut rig = Rig::with_shards(2, 64, |_| {});
        let older = rig.websocket_on(0, "user=ann&device=tv");
        let displaced = rig.handle("ann");
        let newer = rig.websocket_on(shard, "user=ann&device=tv");
        assert_eq!(close_codes(&rig, older), [4001]);
        let message = rig.text("late");
        let late = rig.post(displaced, message);
        rig.settle();
        assert_eq!(late.outcome(), Some(Outcome::Stale));
        assert_eq!(rig.push("ann", "x").outcome(), Some(Outcome::Written));
        assert_eq!(rig.take_frames(newer), [Frame::text("x")]);
        assert_eq!(rig.handle("ann").shard, shard as u16);
        rig.send(older, &wire::close(4001));
        assert_eq!(rig.closes(Reason::Displaced), 1);
        rig.stop();
    }
}

#[test]
fn a_message_posted_after_a_takeover_is_stale_for_the_older_connection() {
    let mut rig = Rig::with_shards(2, 64, |_| {});
    let older = rig.websocket_on(0, "user=ann&device=tv");
    let displaced = rig.handle("ann");
    let number = rig.world.borrow_mut().connect(1, [127, 0, 0, 1].into());
    rig.end(Client(number)).send(&wire::upgrade("user=ann&device=tv"));
    rig.turn(1);
    let message = rig.text("late");
    let late = rig.post(displaced, message);
    rig.settle();
    assert_eq!(late.outcome(), Some(Outcome::Stale));
    assert_eq!(close_codes(&rig, older), [4001]);
    rig.stop();
}

/// A registry change that finds no room is kept and tried again, soon, also where nothing else happens.
#[test]
fn a_displacement_that_finds_a_full_mailbox_is_told_later() {
    let mut rig = Rig::with_shards(2, 1, |_| {});
    let older = rig.websocket_on(0, "user=ann&device=tv");
    let handle = rig.handle("ann");
    rig.mailboxes[0].post(CONTROL_LANE, ToShard::CancelDrain).unwrap();
    let number = rig.world.borrow_mut().connect(1, [127, 0, 0, 1].into());
    rig.end(Client(number)).send(&wire::upgrade("user=ann&device=tv"));
    rig.turn(1);
    assert_eq!(rig.shards[1].undelivered, [(handle, Reason::Displaced)]);
    rig.turn(0);
    assert_eq!(rig.take(older), b"");
    let wait = rig.wait(1).expect("it has something to do");
    assert!(
        wait <= Duration::from_secs(1),
        "the shard sleeps {wait:?} on a displacement that nobody was told of"
    );
    rig.pass_ms(1_000);
    assert_eq!(close_codes(&rig, older), [4001]);
    rig.stop();
}

#[test]
fn two_who_fight_for_a_device_are_parted() {
    let mut rig = Rig::new(|_| {});
    for _ in 0..4 {
        rig.websocket("user=ann&device=tv");
    }
    let holder = rig.handle("ann");
    let newcomer = rig.connect(&wire::upgrade("user=ann&device=tv"));
    let bytes = rig.take(newcomer);
    let (status, rest) = wire::response(&bytes);
    assert_eq!((status, wire::frames(rest)[0].close_code()), (101, Some(4001)));
    assert!(rig.end(newcomer).shut && !rig.is_closed(newcomer));
    rig.end(newcomer).end();
    rig.settle();
    assert!(rig.is_closed(newcomer));
    let stream = rig.connect(&wire::event_stream("user=ann&device=tv"));
    assert_eq!(wire::response(&rig.take(stream)).0, 204);
    assert!(rig.is_closed(stream));
    assert_eq!(rig.handle("ann"), holder);
    assert_eq!((rig.refusals(Reason::TakeoverFight), rig.closes(Reason::TakeoverFight)), (2, 0));
    rig.stop();
}

#[test]
fn a_users_oldest_connection_makes_way() {
    let mut rig = Rig::with_shards(2, 64, |config| config.limits.connections_per_user = 2);
    let oldest = rig.websocket_on(0, "user=ann&device=a");
    let others = [rig.websocket_on(1, "user=ann&device=b"), rig.websocket_on(1, "user=ann&device=c")];
    assert_eq!(close_codes(&rig, oldest), [4001]);
    assert!(others.iter().all(|&client| close_codes(&rig, client).is_empty()));
    rig.pass_ms(3_100);
    assert_eq!(rig.closes(Reason::UserLimit), 1);
    rig.stop();
}

#[test]
fn an_event_stream_that_is_displaced_is_told_not_to_come_back() {
    let mut rig = Rig::new(|_| {});
    let older = rig.event_stream("user=ann&device=tv");
    rig.event_stream("user=ann&device=tv");
    assert!(rig.take_text(older).contains("event: close\r\ndata: 4001 displaced\r\n"));
    rig.stop();
}
