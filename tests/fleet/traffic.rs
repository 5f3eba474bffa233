//! Load that is counted in and counted out: devices that connect again when they are cut off, wherever somebody lets them
//! in, and senders that push numbered messages through all nodes and keep each answer.

use crate::{
    client::{CLOSE, Sse, TEXT, Ws},
    fleet::{Fleet, LONG},
    http::{Answer, Silence, Wire},
    node::{Node, outcomes, until},
    registry::Row,
};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The lane of the load: what a test pushes itself takes another one.
pub const LANE: &str = "low";
/// Between two messages of a sender.
const PACE: Duration = Duration::from_millis(16);
const SENDERS: usize = 4;
/// How long a client waits for something to come before it looks at what it is told.
const LOOK: Duration = Duration::from_millis(40);
/// How long a device is away that has lost its network: longer than its node needs to notice, on a machine that is not too
/// busy, so that it takes over from itself only now and then.
const AWAY: Duration = Duration::from_millis(250);
/// How long a node believes where other nodes hold connections.
pub const ROUTES_LIVE: Duration = Duration::from_millis(1_100);
/// Messages that are sent when all is well again.
const CALM: u64 = 100;
const NOWHERE: usize = usize::MAX;

/// One node, as clients and senders see it.
struct Door {
    clients: SocketAddr,
    internal: SocketAddr,
    is_open: AtomicBool,
    /// Requests under way.
    asked: AtomicUsize,
}

/// A device of the load. One in two is a WebSocket, the others are event streams.
pub struct Device {
    pub user: String,
    pub name: String,
    /// The number of its node, or none.
    at: AtomicUsize,
    /// The number of the latest message that came.
    heard: AtomicU64,
    /// To leave its node without a word, as one does that has lost its network.
    vanishes: AtomicBool,
}

/// One connection of a device, from its beginning to its end.
#[derive(Debug)]
pub struct Session {
    pub device: usize,
    /// The number of its node.
    pub at: usize,
    pub opened: Instant,
    pub ended: Instant,
    /// It was cut off, or has left, before the load ended.
    pub was_cut: bool,
    /// It was closed with 4001.
    pub was_displaced: bool,
    /// What came, in order.
    pub heard: Vec<String>,
}

/// What became of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Devices and outcomes.
    Outcomes(Vec<(String, String)>),
    /// 404.
    Offline,
    /// 503: all have failed, or nobody knows.
    Refused,
    /// The node has ended.
    Unanswered,
}

/// One message.
pub struct Sent {
    pub number: u64,
    pub user: String,
    /// Through which node.
    pub at: usize,
    pub began: Instant,
    pub took: Duration,
    pub fate: Fate,
}

struct Shared {
    doors: Mutex<Vec<Arc<Door>>>,
    devices: Vec<Device>,
    next: AtomicU64,
    senders_end: AtomicBool,
    clients_end: AtomicBool,
}

/// See the module.
pub struct Traffic {
    shared: Arc<Shared>,
    senders: Vec<JoinHandle<Vec<Sent>>>,
    clients: Vec<JoinHandle<Vec<Session>>>,
}

/// All that was seen of a load.
pub struct Record {
    /// From this message on nothing was amiss.
    pub calm_from: u64,
    pub sent: Vec<Sent>,
    pub sessions: Vec<Session>,
    pub devices: Vec<(String, String)>,
}

impl Traffic {
    /// Begins with so many users, and waits until each device has heard something.
    pub fn start(fleet: &Fleet, users: usize) -> Self {
        let mut traffic = Self::listen(fleet, users);
        let senders = (0..SENDERS).map(|_| {
            let shared = traffic.shared.clone();
            thread::spawn(move || send(&shared, users))
        });
        traffic.senders = senders.collect();
        traffic.wait_heard();
        traffic
    }

    /// Begins with the devices of so many users, of whom one in four has two, and without senders: whoever sends says with
    /// the last word of each message its number.
    pub fn listen(fleet: &Fleet, users: usize) -> Self {
        let device = |user: usize, name: &str| Device {
            user: format!("load-{user}"),
            name: name.to_owned(),
            at: AtomicUsize::new(NOWHERE),
            heard: AtomicU64::new(0),
            vanishes: AtomicBool::new(false),
        };
        let mut devices: Vec<Device> = (0..users).map(|user| device(user, "a")).collect();
        devices.extend((0..users).step_by(4).map(|user| device(user, "b")));
        let shared = Arc::new(Shared {
            doors: Mutex::new(fleet.nodes.iter().map(door).collect()),
            devices,
            next: AtomicU64::new(1),
            senders_end: AtomicBool::new(false),
            clients_end: AtomicBool::new(false),
        });
        let clients = (0..shared.devices.len()).map(|number| {
            let shared = shared.clone();
            thread::spawn(move || live(&shared, number))
        });
        let clients = clients.collect();
        Self { shared, senders: Vec::new(), clients }
    }

    /// From now on nobody goes to this node; who is there stays. Waits for what senders have asked it.
    pub fn shut(&self, at: usize) {
        let door = self.shared.doors.lock().unwrap()[at].clone();
        door.is_open.store(false, Relaxed);
        until("the answers to what was asked", || (door.asked.load(Relaxed) == 0).then_some(()));
    }

    /// The node is used, at the addresses that it has now. It may be one more than there were.
    pub fn open(&self, at: usize, node: &Node) {
        let mut doors = self.shared.doors.lock().unwrap();
        match doors.get_mut(at) {
            Some(known) => *known = door(node),
            None => doors.push(door(node)),
        }
    }

    /// The devices at a node, by their numbers.
    pub fn at(&self, at: usize) -> Vec<usize> {
        let devices = self.shared.devices.iter().enumerate();
        devices.filter(|(_, device)| device.at.load(Relaxed) == at).map(|(number, _)| number).collect()
    }

    /// A device loses its network, and connects elsewhere.
    pub fn vanish(&self, device: usize) {
        self.shared.devices[device].vanishes.store(true, Relaxed);
    }

    /// All devices lose their networks, and connect again. Nobody believes any more that one is at a node that has ended.
    pub fn vanish_all(&self) {
        thread::sleep(ROUTES_LIVE);
        (0..self.shared.devices.len()).for_each(|device| self.vanish(device));
    }

    /// Waits until every device has heard a message that was sent from now on.
    pub fn wait_heard(&self) {
        self.wait_heard_since(self.shared.next.load(Relaxed));
    }

    /// Waits until every device has heard a message of this number or a later one.
    pub fn wait_heard_since(&self, mark: u64) {
        let deadline = Instant::now() + LONG;
        let is_deaf = |device: &&Device| device.heard.load(Relaxed) < mark;
        while let Some(device) = self.shared.devices.iter().find(is_deaf) {
            let (at, heard) = (device.at.load(Relaxed), device.heard.load(Relaxed));
            assert!(
                Instant::now() < deadline,
                "{} {}, at node {at}, heard {heard} last, and nothing since {mark}",
                device.user,
                device.name
            );
            thread::sleep(LOOK);
        }
    }

    /// Waits until all devices are connected, and the registry says the same.
    pub fn wait_registered(&self, fleet: &Fleet, more: &[Row]) {
        let deadline = Instant::now() + LONG;
        loop {
            let rows = self.rows(fleet).map(|rows| [rows, more.to_vec()].concat());
            let seen = fleet.registry.rows();
            let matches = rows.clone().is_some_and(|mut rows| {
                rows.sort();
                rows == seen
            });
            if matches {
                assert_eq!(fleet.registry.everlasting_keys(), Vec::<String>::new());
                return;
            }
            assert!(Instant::now() < deadline, "registered: {seen:?}\nconnected: {rows:?}");
            thread::sleep(LOOK);
        }
    }

    fn rows(&self, fleet: &Fleet) -> Option<Vec<Row>> {
        let row = |device: &Device| match device.at.load(Relaxed) {
            NOWHERE => None,
            at => Some(fleet.row(&device.user, &device.name, at)),
        };
        self.shared.devices.iter().map(row).collect()
    }

    /// When all is well again: sends on for a while, and stops.
    pub fn end(self) -> Record {
        // What was read of the registry before is believed for so long.
        thread::sleep(ROUTES_LIVE);
        let calm_from = self.shared.next.load(Relaxed);
        until("messages in the calm", || (self.shared.next.load(Relaxed) > calm_from + CALM).then_some(()));
        self.stop(calm_from)
    }

    /// Waits until all devices are connected.
    pub fn wait_connected(&self) {
        until("all devices to be connected", || self.at(NOWHERE).is_empty().then_some(()));
    }

    /// Ends the senders, lets the last messages come, then ends the clients.
    pub fn stop(self, calm_from: u64) -> Record {
        self.shared.senders_end.store(true, Relaxed);
        let sent = self.senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
        self.shared.clients_end.store(true, Relaxed);
        let sessions = self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        let devices = self.shared.devices.iter().map(|it| (it.user.clone(), it.name.clone())).collect();
        Record { calm_from, sent, sessions, devices }
    }
}

fn door(node: &Node) -> Arc<Door> {
    Arc::new(Door {
        clients: node.clients,
        internal: node.internal,
        is_open: AtomicBool::new(true),
        asked: AtomicUsize::new(0),
    })
}

impl Shared {
    fn open_door(&self) -> Option<(usize, Arc<Door>)> {
        let doors = self.doors.lock().unwrap();
        let open: Vec<usize> = (0..doors.len()).filter(|&at| doors[at].is_open.load(Relaxed)).collect();
        let at = fastrand::choice(open)?;
        Some((at, doors[at].clone()))
    }

    /// A node to ask something, which is told when it was answered.
    fn door_to_ask(&self) -> Option<(usize, Arc<Door>)> {
        let (at, door) = self.open_door()?;
        door.asked.fetch_add(1, Relaxed);
        // It may have been shut meanwhile.
        if door.is_open.load(Relaxed) {
            return Some((at, door));
        }
        door.asked.fetch_sub(1, Relaxed);
        None
    }
}

/// A connection of either kind.
enum Link {
    Ws(Ws),
    Sse(Sse),
}

/// What comes over it.
enum Heard {
    Push(String),
    Nothing,
    GoAway,
    /// With the code, where there was one.
    Ended(Option<u16>),
}

impl Link {
    fn open(door: &Door, device: &Device, number: usize) -> Option<Self> {
        let target = format!("user={}&device={}", device.user, device.name);
        if number.is_multiple_of(2) {
            Ws::attempt(door.clients, &format!("/ws?{target}")).map(Self::Ws)
        } else {
            Sse::attempt(door.clients, &format!("/sse?{target}")).map(Self::Sse)
        }
    }

    fn hear(&mut self) -> Heard {
        match self {
            Self::Ws(socket) => match socket.next(LOOK) {
                Ok(frame) if frame.op == TEXT => match String::from_utf8(frame.payload).unwrap() {
                    text if text == "_CLOSE_" => Heard::GoAway,
                    text => Heard::Push(text),
                },
                Ok(frame) if frame.op == CLOSE => {
                    let code =
                        frame.payload.get(..2).map(|code| u16::from_be_bytes(code.try_into().unwrap()));
                    Heard::Ended(code)
                }
                Ok(frame) => panic!("{frame:?}"),
                Err(Silence::Late) => Heard::Nothing,
                Err(Silence::Closed) => Heard::Ended(None),
            },
            Self::Sse(stream) => match stream.block(LOOK) {
                Ok(Some(event)) => match event.name.as_str() {
                    "push" => Heard::Push(event.data),
                    "goaway" => Heard::GoAway,
                    "close" => Heard::Ended(event.data.split(' ').next().and_then(|code| code.parse().ok())),
                    _ => Heard::Nothing,
                },
                Ok(None) | Err(Silence::Closed) => Heard::Ended(None),
                Err(Silence::Late) => Heard::Nothing,
            },
        }
    }
}

/// A device's whole life: one connection after the other.
fn live(shared: &Shared, number: usize) -> Vec<Session> {
    let device = &shared.devices[number];
    let mut sessions = Vec::new();
    while !shared.clients_end.load(Relaxed) {
        let opened = Instant::now();
        let link = shared.open_door().and_then(|(at, door)| Some((at, Link::open(&door, device, number)?)));
        let Some((at, mut link)) = link else {
            thread::sleep(LOOK);
            continue;
        };
        device.at.store(at, Relaxed);
        sessions.push(listen(shared, number, at, opened, &mut link));
        device.at.store(NOWHERE, Relaxed);
        drop(link);
        if device.vanishes.swap(false, Relaxed) {
            thread::sleep(AWAY);
        }
    }
    sessions
}

/// Until the connection ends, or the load.
fn listen(shared: &Shared, number: usize, at: usize, opened: Instant, link: &mut Link) -> Session {
    let device = &shared.devices[number];
    let mut heard = Vec::new();
    let (was_cut, was_displaced) = loop {
        if device.vanishes.load(Relaxed) {
            break (true, false);
        }
        // Looked at before what comes: all that was sent by then is there.
        let is_over = shared.clients_end.load(Relaxed);
        match link.hear() {
            Heard::Push(text) => {
                let said = text.rsplit_once(' ').and_then(|(_, number)| number.parse().ok());
                device.heard.fetch_max(said.unwrap_or(0), Relaxed);
                heard.push(text);
            }
            Heard::Nothing if is_over => break (false, false),
            Heard::Nothing => {}
            Heard::GoAway => break (true, false),
            Heard::Ended(code) => break (true, code == Some(4001)),
        }
    };
    Session { device: number, at, opened, ended: Instant::now(), was_cut, was_displaced, heard }
}

/// Pushes one message after the other through nodes by chance.
fn send(shared: &Shared, users: usize) -> Vec<Sent> {
    let mut wires: Vec<Option<(SocketAddr, Wire)>> = Vec::new();
    let mut sent = Vec::new();
    while !shared.senders_end.load(Relaxed) {
        thread::sleep(PACE);
        let Some((at, door)) = shared.door_to_ask() else { continue };
        wires.resize_with(wires.len().max(at + 1), || None);
        sent.extend(push(shared, users, at, &door, &mut wires[at]));
        door.asked.fetch_sub(1, Relaxed);
    }
    sent
}

/// One message, through one node; None: the node is gone.
fn push(
    shared: &Shared,
    users: usize,
    at: usize,
    door: &Door,
    wire: &mut Option<(SocketAddr, Wire)>,
) -> Option<Sent> {
    // A node that began anew is at another address.
    if wire.as_ref().is_none_or(|(address, _)| *address != door.internal) {
        *wire = Wire::try_connect(door.internal).map(|wire| (door.internal, wire));
    }
    let (user, number) = (format!("load-{}", fastrand::usize(..users)), shared.next.fetch_add(1, Relaxed));
    let (target, began) = (format!("/v1/users/{user}/push?lane={LANE}"), Instant::now());
    let (_, open) = wire.as_mut()?;
    let answer = open.try_ask("POST", &target, &[], format!("{user} {number}").as_bytes());
    let took = began.elapsed();
    if answer.is_err() {
        *wire = None;
    }
    let fate = answer.map_or(Fate::Unanswered, |answer| fate(&answer));
    Some(Sent { number, user, at, began, took, fate })
}

fn fate(answer: &Answer) -> Fate {
    match answer.status {
        200 => Fate::Outcomes(outcomes(&answer.json())),
        404 => Fate::Offline,
        503 => Fate::Refused,
        other => panic!("{other}: {}", answer.text()),
    }
}
