//! A node of the simulation: its connections, and what it decides.

use crate::{
    bridge::registrar::{Arrived, Input, Own, Registrar},
    kit::slab::Key,
    model::{Handle, Protocol},
};
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, PartialEq, Debug)]
pub struct Conn {
    pub user: String,
    pub device: String,
    pub began_ms: u64,
}

/// A node: its connections, and what it decides.
pub struct Node {
    pub name: String,
    pub registrar: Registrar,
    pub incarnation: u64,
    pub conns: BTreeMap<(u32, u32), Conn>,
    pub next_slot: u32,
    pub paused_until_ms: u64,
    /// Nobody hears it, and it hears nobody.
    pub dead_since_ms: Option<u64>,
    /// It cannot reach the registry.
    pub cut_off: bool,
    /// The master's history and mark, as its store saw them last, and when.
    pub seen: Option<(u64, u64)>,
    pub looked_ms: u64,
    pub inbox: VecDeque<Input>,
}

/// What its directory would say.
pub struct Table<'a>(pub &'a BTreeMap<(u32, u32), Conn>);

pub fn handle_of(key: (u32, u32)) -> Handle {
    Handle { shard: 0, key: Key { index: key.0, generation: key.1 } }
}

pub fn arrived(key: (u32, u32), conn: &Conn) -> Arrived {
    Arrived {
        handle: handle_of(key),
        user: conn.user.as_str().into(),
        device: conn.device.as_str().into(),
        protocol: Protocol::Websocket,
        began_ms: conn.began_ms,
        ends_ms: conn.began_ms + 3_600_000,
    }
}

impl Own for Table<'_> {
    fn holds(&self, user: &str, handle: Handle) -> bool {
        self.0.get(&(handle.key.index, handle.key.generation)).is_some_and(|conn| conn.user == user)
    }

    fn arrived(&self, user: &str, handle: Handle) -> Option<Arrived> {
        let (key, conn) = self.0.get_key_value(&(handle.key.index, handle.key.generation))?;
        (conn.user == user).then(|| arrived(*key, conn))
    }

    fn holder(&self, user: &str, device: &str) -> Option<Arrived> {
        // The newest, as the directory has it.
        let held = self.0.iter().filter(|(_, conn)| conn.user == user && conn.device == device);
        held.max_by_key(|(_, conn)| conn.began_ms).map(|(&key, conn)| arrived(key, conn))
    }

    fn walk(&self, from: u64, max: usize, visit: &mut dyn FnMut(Arrived)) -> Option<u64> {
        // From a place on, not a number: others come and go meanwhile.
        let mut some = self.0.range((from as u32, 0)..);
        for (&key, conn) in some.by_ref().take(max) {
            visit(arrived(key, conn));
        }
        some.next().map(|(key, _)| u64::from(key.0))
    }
}

impl Node {
    /// Its connection goes.
    pub fn leave(&mut self, key: (u32, u32)) {
        if let Some(Conn { user, device, .. }) = self.conns.remove(&key) {
            self.inbox.push_back(Input::Departed {
                handle: handle_of(key),
                user: user.into(),
                device: device.into(),
                protocol: Protocol::Websocket,
            });
        }
    }
}
