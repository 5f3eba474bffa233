//! Random scripts over two shards: whatever happens, the rig's invariants hold after every turn, every message has one
//! outcome, and in the end nothing is left.

use super::{
    rig::{Client, Rig},
    wire,
};
use crate::model::{Outcome, Reason, mail::ToShard};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Connect {
        shard: usize,
        user: u8,
        device: Option<u8>,
        stream: bool,
        cut: usize,
        life_s: Option<u64>,
    },
    Send {
        client: usize,
        kind: u8,
        cut: usize,
    },
    Leave {
        client: usize,
        reset: bool,
    },
    Room {
        client: usize,
        room: usize,
    },
    Push {
        user: u8,
        size: usize,
        ttl_ms: Option<u64>,
        collapse: Option<u64>,
    },
    Broadcast {
        spread_ms: u64,
    },
    Close {
        user: u8,
        goaway: bool,
    },
    Drain {
        window_ms: u64,
    },
    CancelDrain,
    Pass {
        ms: u64,
    },
    /// The loop is late, and its polls bring few events.
    Stall {
        ms: u64,
        events_max: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let room = prop_oneof![Just(0), 1usize..40, Just(usize::MAX)];
    let pass = prop_oneof![0u64..200, 0u64..8_000, 20_000u64..60_000];
    let device = prop::option::of(0u8..2);
    prop_oneof![
        6 => (0usize..2, 0u8..6, device, any::<bool>(), 0usize..400, prop::option::of(1u64..100)).prop_map(
            |(shard, user, device, stream, cut, life_s)| Op::Connect { shard, user, device, stream, cut, life_s }
        ),
        4 => (0usize..20, any::<u8>(), 0usize..60).prop_map(|(client, kind, cut)| Op::Send { client, kind, cut }),
        1 => (0usize..20, any::<bool>()).prop_map(|(client, reset)| Op::Leave { client, reset }),
        4 => (0usize..20, room).prop_map(|(client, room)| Op::Room { client, room }),
        8 => (0u8..6, 0usize..600, prop::option::of(0u64..6_000), prop::option::of(0u64..2)).prop_map(
            |(user, size, ttl_ms, collapse)| Op::Push { user, size, ttl_ms, collapse }
        ),
        1 => (0u64..5_000).prop_map(|spread_ms| Op::Broadcast { spread_ms }),
        1 => (0u8..6, any::<bool>()).prop_map(|(user, goaway)| Op::Close { user, goaway }),
        1 => (0u64..5_000).prop_map(|window_ms| Op::Drain { window_ms }),
        1 => Just(Op::CancelDrain),
        3 => pass.prop_map(|ms| Op::Pass { ms }),
        1 => (0u64..5_000, 1usize..5).prop_map(|(ms, events_max)| Op::Stall { ms, events_max }),
    ]
}

fn apply(rig: &mut Rig, clients: &mut Vec<(Client, u8)>, op: &Op) {
    let pick = |clients: &[(Client, u8)], at: usize| Some(clients.get(at % clients.len().max(1))?.0);
    match *op {
        Op::Connect { shard, user, device, stream, cut, life_s } => {
            let device = device.map_or(String::new(), |device| format!("&device={device}"));
            let now_s = rig.world.borrow().now().unix_ms / 1_000;
            let life =
                life_s.map_or(String::new(), |life_s| format!("&issued={now_s}&expires={}", now_s + life_s));
            let query = format!("user=u{user}{device}{life}");
            let bytes = if stream { wire::event_stream(&query) } else { wire::upgrade(&query) };
            let (now, later) = bytes.split_at(cut.min(bytes.len()));
            let client = rig.connect_to(shard, now);
            clients.push((client, user));
            if cut % 2 == 0 {
                rig.send(client, later);
            }
        }
        Op::Send { client, kind, cut } => {
            let Some(client) = pick(clients, client) else { return };
            let bytes = match kind % 8 {
                0 => wire::close(1000),
                1 => vec![kind; 9],
                2 => wire::frame(wire::PING, b"ping"),
                3 => wire::frame(wire::TEXT, b"ECHO hello").repeat(30),
                _ => wire::frame(wire::TEXT, b"ECHO hello"),
            };
            let whole = kind % 3 > 0;
            rig.send(client, &bytes[..if whole { bytes.len() } else { cut.min(bytes.len()) }]);
        }
        Op::Leave { client, reset } => {
            let Some(client) = pick(clients, client) else { return };
            if reset {
                rig.end(client).reset()
            } else {
                rig.end(client).end()
            }
            rig.settle();
        }
        Op::Room { client, room } => {
            let Some(client) = pick(clients, client) else { return };
            rig.set_room(client, room);
        }
        Op::Push { user, size, ttl_ms, collapse } => {
            let mut handles = Vec::new();
            rig.directory.lookup(&format!("u{user}"), |route| handles.push(route.handle));
            let unix_ms = rig.world.borrow().now().unix_ms;
            for handle in handles {
                let mut message = rig.text(&format!("u{user} {}", "x".repeat(size)));
                (message.expires_unix_ms, message.collapse) =
                    (ttl_ms.map(|ttl_ms| unix_ms + ttl_ms), collapse);
                rig.post(handle, message);
            }
            if size % 3 > 0 {
                rig.settle();
            }
        }
        Op::Broadcast { spread_ms } => {
            rig.settle();
            rig.broadcast("all", spread_ms);
        }
        Op::Close { user, goaway } => {
            let mut handles = Vec::new();
            rig.directory.lookup(&format!("u{user}"), |route| handles.push(route.handle));
            for handle in handles {
                let letter = ToShard::Close { key: handle.key, reason: Reason::Operator, goaway };
                let _ = rig.mailboxes[usize::from(handle.shard)].post(0, letter);
            }
        }
        Op::Drain { window_ms } => {
            rig.settle();
            rig.post_to_all(|| ToShard::Drain { window_ms });
        }
        Op::CancelDrain => {
            rig.settle();
            rig.post_to_all(|| ToShard::CancelDrain);
        }
        Op::Pass { ms } => rig.pass_ms(ms),
        Op::Stall { ms, events_max } => {
            rig.world.borrow_mut().events_max = events_max;
            rig.stall_ms(ms);
        }
    }
}

/// What a client was sent makes sense up to where it was cut off, is for its user alone, and is silent after the end.
fn check_what_was_said(rig: &Rig, client: Client, user: u8) {
    let bytes = rig.take(client);
    if !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        return;
    }
    let (status, rest) = wire::response(&bytes);
    let said: Vec<String> = match status {
        101 => {
            let frames = wire::frames_until_cut(rest);
            let close = frames.iter().position(|frame| frame.op == wire::CLOSE);
            assert!(close.is_none_or(|at| at + 1 == frames.len()), "a frame after the close frame");
            let texts = frames.into_iter().filter(|frame| frame.op == wire::TEXT);
            texts.map(|frame| String::from_utf8(frame.payload).expect("text")).collect()
        }
        200 => wire::events_until_cut(rest),
        _ => return,
    };
    assert!(said.iter().filter(|text| *text == "_CLOSE_").count() <= 1, "asked to leave twice");
    let own = format!("u{user} ");
    let strange = said.iter().find(|text| text.starts_with('u') && !text.starts_with(&own));
    assert_eq!(strange, None, "said to u{user}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_the_books_are_right(ops in prop::collection::vec(op(), 1..80)) {
        let mut rig = Rig::with_shards(2, 4, |config| {
            config.clients.echo = true;
            config.limits.outbox_bytes = 1_500;
            config.limits.buffer_bytes = 6_000;
            config.limits.connections_per_user = 3;
            config.limits.inbound_rate = 20;
            (config.lifetime.mean_ms, config.lifetime.max_ms) = (90_000, 120_000);
        });
        let mut clients = Vec::new();
        for op in &ops {
            apply(&mut rig, &mut clients, op);
        }
        // Longer than any message may wait.
        rig.pass_ms(6_000);
        prop_assert!(rig.unanswered() <= clients.len(), "only a message that has begun waits longer");
        // Nothing outlives its life, the grace and the last word.
        rig.pass_ms(120_000 + 4_000 + 3_100);
        prop_assert_eq!(rig.connections_at_all(), 0);
        rig.stop();
        let failed = rig.outcomes().filter(|outcome| *outcome == Outcome::Failed).count();
        prop_assert_eq!(failed, 0, "a ticket was dropped");
        for (client, user) in clients {
            check_what_was_said(&rig, client, user);
        }
    }
}
