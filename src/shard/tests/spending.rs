//! The last moment of a handshake: credentials that count once, and users who are blocked just then.

use crate::{
    conn::{
        Shared,
        auth::{Authenticator, Handshake, Verdict},
    },
    model::Reason,
    sim::{rig::Rig, wire},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Lets in as another does, but that `?spent=` is used up already, and `?late=` gets its user blocked meanwhile.
struct Once {
    other: Arc<dyn Authenticator>,
    shared: Arc<Shared>,
    asked: Arc<AtomicU64>,
}

impl Authenticator for Once {
    fn authenticate<'h>(&self, handshake: &Handshake<'h>) -> Verdict<'h> {
        self.other.authenticate(handshake)
    }

    fn use_up(&self, handshake: &Handshake<'_>) -> Result<(), Reason> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let has = |name| handshake.head.query_param(name) != Ok(None);
        if has("late") {
            self.shared.blocks.block("ann", u64::MAX, 0);
        }
        if has("spent") { Err(Reason::AuthFailed) } else { Ok(()) }
    }
}

/// A node of one shard, and how often something was to be used up.
fn rig(connections: usize) -> (Rig, Arc<AtomicU64>) {
    let mut rig = Rig::new(|config| config.limits.connections = connections);
    let asked = Arc::new(AtomicU64::new(0));
    let tools = &mut rig.shards[0].tools;
    let (other, shared) = (tools.authenticator.clone(), tools.shared.clone());
    tools.authenticator = Arc::new(Once { other, shared, asked: asked.clone() });
    (rig, asked)
}

#[test]
fn who_comes_with_a_spent_credential_puts_nobody_out() {
    let (mut rig, asked) = rig(10);
    let older = rig.websocket("user=ann&device=tv");
    let holder = rig.handle("ann");
    for request in [wire::upgrade("user=ann&device=tv&spent"), wire::event_stream("user=ann&device=tv&spent")]
    {
        let newcomer = rig.connect(&request);
        assert_eq!(wire::response(&rig.take(newcomer)).0, 401);
        assert!(rig.is_closed(newcomer));
    }
    assert_eq!((rig.handle("ann"), rig.take_frames(older).len()), (holder, 0));
    assert_eq!(rig.shared.open.load(Ordering::Relaxed), 1);
    assert_eq!((rig.refusals(Reason::AuthFailed), asked.load(Ordering::Relaxed)), (2, 3));
    rig.stop();
}

#[test]
fn what_is_refused_for_something_else_is_not_used_up() {
    let (mut rig, asked) = rig(1);
    for (query, status) in [("user=bob&device=", 400), ("user=bob&ping=x", 400), ("device=a", 401)] {
        let client = rig.connect(&wire::upgrade(query));
        assert_eq!(wire::response(&rig.take(client)).0, status, "{query}");
    }
    rig.shared.blocks.block("ann", u64::MAX, 0);
    let blocked = rig.connect(&wire::upgrade("user=ann"));
    assert_eq!((wire::response(&rig.take(blocked)).0, asked.load(Ordering::Relaxed)), (401, 0));
    rig.websocket("user=bob");
    let full = rig.connect(&wire::upgrade("user=cy"));
    assert_eq!((wire::response(&rig.take(full)).0, asked.load(Ordering::Relaxed)), (503, 1));
    rig.stop();
}

#[test]
fn who_is_blocked_while_being_let_in_does_not_stay() {
    let (mut rig, _) = rig(10);
    let client = rig.connect(&wire::upgrade("user=ann&late"));
    let bytes = rig.take(client);
    let (status, rest) = wire::response(&bytes);
    assert_eq!((status, wire::frames(rest)[0].close_code()), (101, Some(4003)));
    rig.pass_ms(3_100);
    assert_eq!(rig.closes(Reason::Blocked), 1);
    rig.stop();
}
