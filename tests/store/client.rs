//! A store as a test uses it: asks, and checks that each question has one answer, in time.

use crate::servers::wait_for;
use holdfast::{
    bridge::{
        format::FORMAT,
        registry::Lease,
        store::{
            Connected, Devices, Event, Failure, Output, Place, Reply, Request, Settings, Store, node_number,
        },
    },
    kit::slab::Key,
    model::{Handle, Protocol},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub type Answer = Result<Reply, Failure>;

/// A request's time.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// What a busy machine adds to it.
const SLACK: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Seen {
    answers: HashMap<u64, (Answer, Duration)>,
    events: Vec<Event>,
}

pub struct Client {
    pub store: Store,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    next: AtomicU64,
}

impl Client {
    pub fn start(url: &str) -> Self {
        Self::with(Settings::new(url.parse().unwrap()))
    }

    pub fn with(settings: Settings) -> Self {
        let seen: Arc<(Mutex<Seen>, Condvar)> = Arc::default();
        let shared = seen.clone();
        let deliver = move |output| {
            let mut seen = shared.0.lock().unwrap();
            match output {
                Output::Answer { id, result, took_us } => {
                    let before = seen.answers.insert(id, (result, Duration::from_micros(took_us)));
                    assert!(before.is_none(), "{id} was answered twice");
                }
                Output::Event(event) => seen.events.push(event),
            }
            shared.1.notify_all();
        };
        Self { store: Store::start(&settings, deliver).unwrap(), seen, next: AtomicU64::new(0) }
    }

    /// One whose masters are all up.
    pub fn ready(url: &str, masters: usize) -> Self {
        let client = Self::start(url);
        client.wait_up(masters);
        client
    }

    pub fn wait_up(&self, masters: usize) {
        wait_for("the masters", || {
            let ups = self.events().iter().filter(|event| matches!(event, Event::Up { .. })).count();
            (ups >= masters).then_some(())
        });
    }

    pub fn events(&self) -> Vec<Event> {
        self.seen.0.lock().unwrap().events.clone()
    }

    pub fn forget_events(&self) {
        self.seen.0.lock().unwrap().events.clear();
    }

    pub fn submit(&self, request: Request) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.store.submit(id, request).unwrap();
        id
    }

    /// The one answer, which must come in time.
    pub fn answer(&self, id: u64) -> Answer {
        let (seen, changed) = &*self.seen;
        let waiting = |seen: &mut Seen| !seen.answers.contains_key(&id);
        let limit = TIMEOUT + SLACK;
        let (mut seen, _) = changed.wait_timeout_while(seen.lock().unwrap(), limit * 2, waiting).unwrap();
        let (answer, took) = seen.answers.remove(&id).expect("no answer");
        assert!(took <= limit, "{answer:?} took {took:?}");
        answer
    }

    pub fn ask(&self, request: Request) -> Answer {
        self.answer(self.submit(request))
    }

    pub fn connect(&self, user: &str, device: &str, place: Place, age_ms: u64, life_ms: u64) -> Connected {
        match self.ask(connect(user, device, place, age_ms, life_ms)) {
            Ok(Reply::Connected(connected)) => connected,
            other => panic!("{other:?}"),
        }
    }

    pub fn disconnect(&self, user: &str, device: &str, place: Place) -> bool {
        let request = Request::Disconnect { user: user.into(), device: device.into(), place };
        match self.ask(request) {
            Ok(Reply::Disconnected { gone, .. }) => gone,
            other => panic!("{other:?}"),
        }
    }

    pub fn lookup(&self, user: &str) -> Devices {
        match self.ask(lookup(user)) {
            Ok(Reply::Devices(mut devices)) => {
                devices.devices.sort_by(|a, b| a.device.cmp(&b.device));
                devices
            }
            other => panic!("{other:?}"),
        }
    }

    /// Device and place of each living record.
    pub fn places(&self, user: &str) -> Vec<(String, Place)> {
        let found = self.lookup(user).devices;
        found.into_iter().map(|device| (device.device.into(), device.record.place)).collect()
    }
}

pub fn place(node: &str, incarnation: u64, index: u32) -> Place {
    let connection = Handle { shard: 1, key: Key { index, generation: 3 } };
    Place { node: node_number(node), incarnation, connection }
}

pub fn connect(user: &str, device: &str, place: Place, age_ms: u64, life_ms: u64) -> Request {
    let protocol = Protocol::Sse;
    let (user, device, format) = (user.into(), device.into(), FORMAT);
    Request::Connect { user, device, place, protocol, age_ms, life_ms, format }
}

pub fn lookup(user: &str) -> Request {
    Request::Lookup { user: user.into() }
}

pub fn lease(node: &str, incarnation: u64) -> Lease {
    Lease {
        node: node.into(),
        address: "127.0.0.1:7008".into(),
        region: "eu".into(),
        incarnation,
        capacity: 100,
        connections: 7,
        draining: false,
        version: "0.1.0".into(),
        lanes: Default::default(),
    }
}

pub fn renew(node: &str, incarnation: u64, ttl_ms: u64) -> Request {
    Request::RenewLease { lease: lease(node, incarnation), format: FORMAT, ttl_ms }
}
