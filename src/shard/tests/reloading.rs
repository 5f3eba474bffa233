//! Other settings while connections are open: what counts at once, and what stays as it was settled.

use crate::{
    config::{Config, PushRate},
    conn::Settings,
    model::{Outcome, Reason, mail::ToShard},
    sim::{
        rig::Rig,
        wire::{self, Frame},
    },
};
use std::sync::Arc;

/// The configuration of [`Rig::new`], with a change.
fn reload(rig: &mut Rig, change: impl FnOnce(&mut Config)) {
    let mut config = Rig::config(1);
    change(&mut config);
    *rig.shared.fresh.lock().unwrap() = Some(Arc::new(Settings::new(&config)));
    rig.post_to_all(|| ToShard::Reload);
    rig.settle();
}

#[test]
fn limits_count_for_those_who_come_and_those_who_are_there() {
    let mut rig = Rig::new(|_| {});
    let client = rig.websocket("user=ann");
    reload(&mut rig, |config| {
        config.clients.echo = true;
        config.limits.head_bytes = 300;
        config.limits.message_bytes = 10;
        config.limits.push_rate = Some(PushRate { count: 1, window_ms: 1_000 });
    });
    rig.send(client, &wire::frame(wire::TEXT, b"ECHO me"));
    assert_eq!(rig.take_frames(client), [Frame { op: wire::TEXT, payload: b"ECHO me".to_vec() }]);
    let pushes = [rig.push("ann", "one"), rig.push("ann", "two")];
    assert_eq!(pushes.map(|push| push.outcome()), [Some(Outcome::Written), Some(Outcome::RateLimited)]);
    let long = rig.connect(&wire::upgrade(&format!("user=bob&x={}", "x".repeat(300))));
    assert_eq!(wire::response(&rig.take(long)).0, 431);
    rig.send(client, &wire::frame(wire::TEXT, b"ECHO something longer"));
    assert_eq!(rig.take_frames(client).last().map(|frame| frame.op), Some(wire::CLOSE));
    rig.stop();
}

#[test]
fn a_lifetime_that_was_drawn_stays_and_the_next_is_of_the_new_law() {
    let mut rig = Rig::new(|_| {});
    let early = rig.websocket("user=ann");
    reload(&mut rig, |config| {
        (config.lifetime.mean_ms, config.lifetime.max_ms) = (60_000, 60_000);
    });
    let late = rig.websocket("user=bob");
    rig.pass_ms(61_000);
    assert_eq!(rig.goaways(Reason::Lifetime), 1);
    rig.pass_ms(rig.grace_us() / 1_000 + 1_000);
    let ops = |client| rig.take_frames(client).iter().map(|frame| frame.op).collect::<Vec<_>>();
    assert_eq!(ops(early), [wire::PING]);
    assert_eq!(ops(late), [wire::PING, wire::TEXT, wire::CLOSE], "its goaway and its end");
    rig.stop();
}

#[test]
fn the_table_grows_and_the_rate_of_admission_comes_and_goes() {
    let mut rig = Rig::new(|_| {});
    let refused = |rig: &mut Rig, user: &str| {
        let client = rig.connect(&wire::upgrade(&format!("user={user}")));
        wire::response(&rig.take(client)).0 == 503
    };
    reload(&mut rig, |config| config.limits.handshakes_per_second = 1);
    assert!(!refused(&mut rig, "a") && refused(&mut rig, "b"));
    reload(&mut rig, |config| config.limits.handshakes_per_second = 1);
    assert!(refused(&mut rig, "b"), "what was used up stays used up");
    reload(&mut rig, |_| {});
    assert!((0..5).all(|number| !refused(&mut rig, &number.to_string())));
    reload(&mut rig, |config| config.limits.unauthenticated = 1);
    let waiting = rig.connect(b"GET /ws");
    let second = rig.connect(b"GET /ws");
    assert!(!rig.is_closed(waiting) && rig.is_closed(second));
    rig.stop();
}

#[test]
fn a_rate_that_is_switched_off_leaves_nothing_behind() {
    let mut rig = Rig::new(|config| config.limits.push_rate = Some(PushRate { count: 1, window_ms: 1_000 }));
    let client = rig.websocket("user=ann");
    rig.push("ann", "one");
    assert_eq!(rig.push("ann", "two").outcome(), Some(Outcome::RateLimited));
    reload(&mut rig, |_| {});
    assert_eq!(rig.push("ann", "three").outcome(), Some(Outcome::Written));
    assert_eq!(rig.shards[0].cold_entries(), 0);
    rig.end(client).end();
    rig.settle();
    rig.stop();
}

/// Limits of any kind, changed in the midst of whatever. What is true of every connection after every turn is checked by the rig.
fn other_limits(seed: u64) -> impl FnOnce(&mut Config) {
    let pick = move |shift: u32, some: [u64; 4]| some[(seed >> shift & 3) as usize];
    move |config| {
        config.lifetime.mean_ms = pick(0, [1_000, 5_000, 60_000, 86_400_000]);
        config.lifetime.max_ms = config.lifetime.mean_ms;
        config.lifetime.grace_ms = pick(2, [0, 500, 4_000, 60_000]);
        config.clients.echo_all = pick(4, [0, 1, 0, 1]) == 1;
        config.clients.deflate = pick(6, [0, 1, 1, 1]) == 1;
        config.clients.ping_ms = pick(8, [1_000, 5_000, 50_000, 600_000]);
        config.delivery.timeout_ms = pick(10, [10, 200, 5_000, 60_000]);
        let limits = &mut config.limits;
        limits.connections_per_address = pick(12, [0, 1, 3, 100]) as usize;
        limits.handshakes_per_second = pick(14, [0, 0, 1, 1_000]);
        limits.handshake_timeout_ms = pick(16, [100, 1_000, 10_000, 60_000]);
        limits.unauthenticated = pick(18, [1, 2, 1_000, 10_000]) as usize;
        limits.message_bytes = pick(20, [10, 1_000, 65_536, 1 << 20]) as usize;
        limits.inbound_rate = pick(22, [0, 1, 10, 100]) as u32;
        limits.buffer_bytes = pick(24, [20_000, 1 << 20, 1 << 28, 1 << 30]) as usize;
        limits.connections = pick(26, [1, 5, 1_000, 100_000]) as usize;
        limits.push_rate =
            [None, Some(PushRate { count: 1, window_ms: 1_000 })][pick(28, [0, 1, 0, 1]) as usize];
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_changes_when_every_connection_is_sound(steps in proptest::collection::vec((0u8..8, proptest::prelude::any::<u64>()), 1..60)) {
        let mut rig = Rig::new(|_| {});
        let mut clients = Vec::new();
        for (what, number) in steps {
            let client = (!clients.is_empty()).then(|| clients[number as usize % clients.len()]);
            match (what, client) {
                (0..=1, _) => {
                    let request = format!("user=u{}&device=d{}", number % 5, number % 3);
                    let bytes = if number % 2 == 0 { wire::upgrade(&request) } else { wire::event_stream(&request) };
                    // Some are slow to ask.
                    let end = if number % 7 == 0 { bytes.len() / 2 } else { bytes.len() };
                    clients.push(rig.connect(&bytes[..end]));
                }
                (2, _) => reload(&mut rig, other_limits(number)),
                (3, Some(client)) => rig.send(client, &wire::frame(wire::TEXT, &vec![b'x'; number as usize % 2_000])),
                (4, Some(client)) => rig.set_room(client, number as usize % 100),
                (5, Some(_)) => drop(rig.broadcast(&"x".repeat(number as usize % 30_000), 0)),
                (6, Some(client)) => rig.end(client).end(),
                _ => rig.pass_ms(number % 20_000),
            }
            rig.settle();
        }
        rig.stop();
    }
}
