//! Pushes against a registry that is a list.

use super::*;
use crate::{
    bridge::{
        registry::{Health, Lease, Registry},
        router::{Parts, Peering},
        store::Place,
    },
    directory::{Arrival, Directory},
    kit::{
        completion::Ticket,
        mailbox::{Receiver, Wake, mailbox},
        slab::Key,
    },
    model::{Body, Lane, Lanes, Protocol, mail::ToShard},
    stats::{BuildInfo, NodeStats, PeersState},
};
use std::sync::Mutex;

/// Knows of a phone from a moment ago, and finds a watch besides when it is asked.
#[derive(Default)]
struct List {
    questions: Mutex<Vec<bool>>,
}

fn found(devices: &[&str]) -> Arc<Found> {
    let route = |&device: &&str| Route {
        device: device.into(),
        place: Place {
            node: 2,
            incarnation: 1,
            connection: Handle { shard: 0, key: Key { index: 0, generation: 1 } },
        },
        protocol: None,
        connected_ms: 0,
        expires_ms: 0,
        node: "b".into(),
        address: "b:1".into(),
    };
    Arc::new(Found { routes: devices.iter().map(route).collect(), ..Found::default() })
}

impl Registry for List {
    fn elsewhere(&self, _: &str, fresh: bool) -> Elsewhere {
        self.questions.lock().unwrap().push(fresh);
        if !fresh {
            return Elsewhere::Known(found(&["phone"]));
        }
        let (answer, lookup) = Lookup::new();
        let _ = answer.send(Ok(found(&["phone", "watch"])));
        Elsewhere::Asked(lookup)
    }

    fn forget(&self, _: &str, _: &str, _: Place) {}

    fn incarnation(&self) -> u64 {
        1
    }

    fn nodes(&self) -> Vec<Lease> {
        Vec::new()
    }

    fn renew(&self, _: Lease) {}

    fn health(&self) -> Health {
        Health::Ready
    }
}

/// Every message is written.
struct Everywhere;

impl Peering for Everywhere {
    fn deliver(&self, _: &Route, _: &str, _: &Arc<Message>, ticket: Ticket<Outcome>) {
        ticket.answer(Outcome::Written);
    }

    fn displaced(&self, _: &str, _: Place, _: &str, answered: Box<dyn FnOnce(bool) + Send>) {
        answered(true);
    }

    fn retain(&self, _: &dyn Fn(&str) -> bool) {}

    fn state(&self) -> PeersState {
        PeersState::default()
    }
}

struct NoBell;

impl Wake for NoBell {
    fn wake(&self) {}
}

/// A router of a node with one shard, whose letters come out of the receiver.
fn router(registry: Arc<List>, directory: Arc<Directory>) -> (Arc<Router>, Receiver<ToShard>) {
    let (shard, letters) = mailbox(&[8; 4], Arc::new(NoBell));
    let router = Router::new(Parts {
        directory,
        registry,
        peering: Some(Arc::new(Everywhere)),
        shards: vec![shard],
        stats: Arc::new(NodeStats::new(1, &Lanes::default(), BuildInfo::current())),
        node: 1,
        number: 1,
    });
    (Arc::new(router), letters)
}

fn text() -> Arc<Message> {
    Arc::new(Message::new(Lane(0), Body::Text("x".into()), 1))
}

fn outcomes(push: &mut Push) -> Option<Vec<Outcome>> {
    match Pin::new(push).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(delivered) => Some(delivered.outcomes().to_vec()),
        Poll::Pending => None,
    }
}

#[test]
fn what_is_meant_for_a_device_that_has_just_gone_is_for_no_other() {
    let directory = Arc::new(Directory::new(0));
    let (router, mut letters) = router(Arc::default(), directory.clone());
    for device in ["phone", "tv"] {
        let arrival = Arrival {
            user: "ann",
            device: Some(device),
            handle: Handle { shard: 0, key: Key { index: 1, generation: 1 } },
            protocol: Protocol::Websocket,
            began_ms: 1,
            ends_ms: 1_000,
        };
        let record = directory.register(&arrival).unwrap().record;
        let mut push = router.push("ann", Some(device), text());
        assert!(directory.unregister(record, arrival.handle));
        let mut taken = Vec::new();
        letters.take(8, &mut taken);
        for letter in taken {
            let ToShard::Deliver { ticket, .. } = letter else { panic!("a message") };
            ticket.answer(Outcome::Stale);
        }
        // The phone has come back elsewhere; of the tv nobody knows.
        let wanted = if device == "phone" { Outcome::Written } else { Outcome::Stale };
        assert_eq!(outcomes(&mut push), Some(vec![wanted]), "{device}");
    }
}

#[test]
fn a_device_that_was_not_there_a_moment_ago_is_asked_for() {
    let registry = Arc::new(List::default());
    let (router, _letters) = router(registry.clone(), Arc::new(Directory::new(0)));
    let push = |device: &str| outcomes(&mut router.push("ann", Some(device), text())).unwrap();
    assert_eq!(push("phone"), [Outcome::Written]);
    assert_eq!(*registry.questions.lock().unwrap(), [false], "what is known is enough");
    assert_eq!(push("watch"), [Outcome::Written]);
    assert_eq!(*registry.questions.lock().unwrap(), [false, false, true]);
    assert_eq!(push("tv"), []);
}
