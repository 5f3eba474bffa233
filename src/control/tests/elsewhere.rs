//! A registry and other nodes that answer when a test says so. Users whose names begin with `far-` are theirs.

use crate::{
    bridge::{
        registry::{Answer, Elsewhere, Found, Health, Lease, Lookup, MemoryRegistry, Registry, Route},
        router::Peering,
        store::Place,
    },
    kit::{completion::Ticket, slab::Key},
    model::{Handle, Message, Outcome},
    stats::PeersState,
};
use futures_channel::oneshot;
use std::sync::{Arc, Mutex};

/// User, device and place of a connection that was looked for in vain.
pub type Lacking = (String, String, Place);

/// See the module.
pub struct Others {
    memory: MemoryRegistry,
    /// What the registry is to forget.
    pub lacking: Mutex<Vec<Lacking>>,
    asked: Mutex<Vec<(String, oneshot::Sender<Answer>)>>,
    /// Users whose message went to another node, where it was written.
    pub carried: Mutex<Vec<String>>,
}

impl Others {
    pub fn new(lease: Lease) -> Arc<Self> {
        let memory = MemoryRegistry::new(lease);
        Arc::new(Self {
            memory,
            lacking: Mutex::default(),
            asked: Mutex::default(),
            carried: Mutex::default(),
        })
    }

    /// Users that the registry was asked for, and has not answered.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(user, _)| user.clone()).collect()
    }

    /// The registry answers that the user has a phone at another node.
    pub fn answer(&self, user: &str) {
        let mut asked = self.asked.lock().unwrap();
        let at = asked.iter().position(|(name, _)| name == user).unwrap();
        let connection = Handle { shard: 0, key: Key { index: 1, generation: 1 } };
        let route = Route {
            device: "phone".into(),
            place: Place { node: 99, incarnation: 1, connection },
            protocol: None,
            connected_ms: 0,
            expires_ms: 0,
            node: "node-2".into(),
            region: "".into(),
            address: "127.0.0.1:1".into(),
        };
        let found = Found { routes: vec![route], ..Found::default() };
        // Whoever asked may have left.
        let _ = asked.remove(at).1.send(Ok(Arc::new(found)));
    }
}

impl Registry for Others {
    fn elsewhere(&self, user: &str, fresh: bool) -> Elsewhere {
        if !user.starts_with("far-") {
            return self.memory.elsewhere(user, fresh);
        }
        let (answer, lookup) = Lookup::new();
        self.asked.lock().unwrap().push((user.to_owned(), answer));
        Elsewhere::Asked(lookup)
    }

    fn forget(&self, user: &str, device: &str, place: Place) {
        self.lacking.lock().unwrap().push((user.to_owned(), device.to_owned(), place));
    }

    fn incarnation(&self) -> u64 {
        self.memory.incarnation()
    }

    fn nodes(&self) -> Vec<Lease> {
        self.memory.nodes()
    }

    fn renew(&self, lease: Lease) {
        self.memory.renew(lease);
    }

    fn health(&self) -> Health {
        self.memory.health()
    }
}

impl Peering for Others {
    fn deliver(&self, _: &Route, user: &str, _: &Arc<Message>, ticket: Ticket<Outcome>) {
        self.carried.lock().unwrap().push(user.to_owned());
        ticket.answer(Outcome::Written);
    }

    fn displaced(&self, _: &str, _: Place, _: &str, _: Box<dyn FnOnce(bool) + Send>) {}

    fn set_nodes(&self, _: &mut dyn Iterator<Item = (&str, u8)>) {}

    fn state(&self) -> PeersState {
        PeersState::default()
    }
}
