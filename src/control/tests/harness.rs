//! A node without client sockets, and a sender that speaks raw HTTP.

use super::elsewhere::Others;
use crate::{
    bridge::{Brakes, Broadcasts, DrainSwitch, Router, registry::Lease, router, store::Place},
    clock::Clock,
    config::{Config, KafkaBrokers, RegistryUrl, Role, Secret, Token},
    conn::auth::{TicketRules, Tickets},
    control::{Control, ControlThread, Live, spawn},
    directory::{Arrival, Blocks, Directory},
    kit::{
        completion::Ticket,
        mailbox::{Receiver, Sender, Wake, mailbox},
        slab::Key,
    },
    model::{Handle, Lane, Message, Outcome, Protocol, Reason, mail::CONTROL_LANE, mail::ToShard},
    stats::{BuildInfo, NodeStats},
};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

const NODE: u64 = 7;
const INCARNATION: u64 = 1;

/// What the fake shard was told, and what it is to answer.
#[derive(Default)]
pub struct Script {
    /// By slot; None: keep the ticket.
    answers: Vec<Option<Outcome>>,
    pub kept: Vec<Ticket<Outcome>>,
    pub messages: Vec<Arc<Message>>,
    pub closed: Vec<(u32, Reason)>,
    /// Broadcasts keep their hold.
    pub hold_broadcasts: bool,
    held: Vec<ToShard>,
}

struct Bell(Mutex<bool>, Condvar);

impl Wake for Bell {
    fn wake(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_one();
    }
}

pub struct Node {
    pub address: SocketAddr,
    pub directory: Arc<Directory>,
    pub drain: Arc<DrainSwitch>,
    pub stats: Arc<NodeStats>,
    pub blocks: Arc<Blocks>,
    pub script: Arc<Mutex<Script>>,
    pub clock: Clock,
    pub others: Arc<Others>,
    mail: Sender<ToShard>,
    control: Option<ControlThread>,
    shard: Option<JoinHandle<()>>,
}

impl Node {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.node.id = "node-1".into();
        config.kafka.brokers = KafkaBrokers::None;
        config.delivery.timeout_ms = 300;
        configure(&mut config);
        let lanes = config.lanes.len();
        let directory = Arc::new(Directory::new(0));
        let lease = Lease {
            node: "node-1".into(),
            address: "127.0.0.1:7008".into(),
            region: String::new(),
            incarnation: 1,
            capacity: 10,
            connections: 0,
            draining: false,
            version: "0".into(),
            lanes: Default::default(),
        };
        let others = Others::new(lease);
        let stats = Arc::new(NodeStats::new(1, &config.lanes, BuildInfo::current()));
        let bell = Arc::new(Bell(Mutex::new(false), Condvar::new()));
        let mut rooms = vec![config.limits.mailbox; lanes + 1];
        rooms[CONTROL_LANE] = 1_024;
        let (mail, receiver) = mailbox(&rooms, bell.clone());
        let router = Arc::new(Router::new(router::Parts {
            directory: directory.clone(),
            registry: others.clone(),
            peering: Some(others.clone()),
            shards: vec![mail.clone()],
            stats: stats.clone(),
            node: NODE,
            number: NODE,
        }));
        let drain = Arc::new(DrainSwitch::new(config.drain, config.lifetime.grace_ms));
        let blocks = Arc::new(Blocks::default());
        let clock = Clock::start();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let live = Live::new(Arc::new(config.clone())).unwrap();
        let drawn = (config.registry.url == RegistryUrl::Memory).then(|| Secret::new("k".repeat(32)));
        let tickets = TicketRules::new(&config.auth.tickets).unwrap();
        let tickets = Tickets::new(tickets, drawn, stats.clone()).unwrap();
        let control = Control {
            tickets: Box::new(move |order, unix_ms| tickets.make(order, unix_ms)),
            brakes: Arc::new(Brakes::new(&config.lanes)),
            router,
            broadcasts: Arc::new(Broadcasts::default()),
            drain: drain.clone(),
            stats: stats.clone(),
            blocks: blocks.clone(),
            clock,
            collapse_seed: foldhash::fast::RandomState::default(),
            peers: None,
            clients: vec!["127.0.0.1:7001".parse().unwrap(), "[::]:7002".parse().unwrap()],
        };
        let control = Some(spawn(listener, live, control).unwrap());
        let script = Arc::new(Mutex::new(Script::default()));
        let shard = Some(std::thread::spawn({
            let script = script.clone();
            move || run_shard(receiver, &bell, &script)
        }));
        Self { address, directory, drain, stats, blocks, script, clock, others, mail, control, shard }
    }

    /// Connects a device, whose messages get the outcome, or none at all. Says where it is.
    pub fn connect(&self, user: &str, device: Option<&str>, outcome: Option<Outcome>) -> Place {
        let mut script = self.script.lock().unwrap();
        let key = Key { index: script.answers.len() as u32, generation: 1 };
        let arrival = Arrival {
            user,
            device,
            handle: Handle { shard: 0, key },
            protocol: Protocol::Websocket,
            began_ms: 1_000,
            ends_ms: 1_801_000,
        };
        self.directory.register(&arrival).unwrap();
        script.answers.push(outcome);
        Place { node: NODE, incarnation: INCARNATION, connection: arrival.handle }
    }

    pub fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Client(BufReader::new(stream))
    }

    /// One request on a connection of its own. `head` is the request line without the version, then header lines.
    pub fn ask(&self, head: &[&str], body: impl AsRef<[u8]>) -> Answer {
        let mut client = self.client();
        client.send(head, body);
        client.answer()
    }

    pub fn status(&self, head: &[&str], body: impl AsRef<[u8]>) -> u16 {
        self.ask(head, body).status
    }

    pub fn count(&self, outcome: Outcome) -> u64 {
        (0..3).map(|lane| self.stats.messages_of(Lane(lane), outcome)).sum()
    }

    pub fn stop(mut self) {
        self.control.take().into_iter().for_each(ControlThread::stop);
    }

    pub fn control(&self) -> &ControlThread {
        self.control.as_ref().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).kept.clear();
        self.control.take().into_iter().for_each(ControlThread::stop);
        let _ = self.mail.post(CONTROL_LANE, ToShard::Stop);
        let _ = self.shard.take().map(JoinHandle::join);
    }
}

fn run_shard(mut receiver: Receiver<ToShard>, bell: &Bell, script: &Mutex<Script>) {
    let mut letters = Vec::new();
    loop {
        let mut rung = bell.0.lock().unwrap();
        while !*rung {
            rung = bell.1.wait(rung).unwrap();
        }
        *rung = false;
        drop(rung);
        receiver.take(usize::MAX, &mut letters);
        let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
        for letter in letters.drain(..) {
            match letter {
                ToShard::Deliver { key, message, ticket } => {
                    script.messages.push(message);
                    match script.answers[key.index as usize] {
                        Some(outcome) => ticket.answer(outcome),
                        None => script.kept.push(ticket),
                    }
                }
                ToShard::Broadcast(broadcast, hold) => {
                    script.messages.push(broadcast.message.clone());
                    for outcome in script.answers.iter().flatten() {
                        broadcast.tally.ticket().answer(*outcome);
                    }
                    if script.hold_broadcasts && !broadcast.is_stopped() {
                        script.held.push(ToShard::Broadcast(broadcast, hold));
                    }
                }
                ToShard::Close { key, reason, goaway } => {
                    assert_eq!(goaway, reason != Reason::Displaced);
                    script.closed.push((key.index, reason));
                }
                ToShard::Stop => return,
                ToShard::Identified { .. }
                | ToShard::Drain { .. }
                | ToShard::CancelDrain
                | ToShard::Reload
                | ToShard::Beat => {}
            }
        }
    }
}

pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    pub fn send(&mut self, head: &[&str], body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let mut request = format!("{} HTTP/1.1\r\n", head[0]);
        for line in &head[1..] {
            request += &format!("{line}\r\n");
        }
        if !head.iter().any(|line| line.starts_with("Host:")) {
            request += "Host: localhost\r\n";
        }
        if !body.is_empty() || head[0].starts_with("POST") {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut bytes = format!("{request}\r\n").into_bytes();
        bytes.extend_from_slice(body);
        // A refusal may come before all is written.
        let _ = self.0.get_mut().write_all(&bytes);
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub fn head(&mut self) -> Answer {
        let status = self.line();
        let status =
            status.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {status:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        Answer { status, headers, body: Vec::new() }
    }

    /// One chunk of a chunked body; None at the end.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line(), 16).unwrap();
        let mut chunk = vec![0; size];
        self.0.read_exact(&mut chunk).unwrap();
        self.line();
        (size > 0).then_some(chunk)
    }

    pub fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = std::iter::from_fn(|| self.chunk()).flatten().collect();
        } else if let Some(length) = answer.header("content-length") {
            answer.body = vec![0; length.parse().unwrap()];
            self.0.read_exact(&mut answer.body).unwrap();
        }
        answer
    }

    /// Whether the port has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(had, _)| had == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|fault| panic!("{fault}: {self:?}"))
    }

    pub fn lines(&self) -> Vec<serde_json::Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The status and the error's word.
    pub fn error(&self) -> (u16, String) {
        let json = self.json();
        assert!(json["message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
        (self.status, json["error"].as_str().unwrap_or("").to_owned())
    }
}

pub fn token(name: &str, role: Role) -> Token {
    Token { name: name.into(), role, secret: Secret::new(format!("{name}-secret")) }
}

/// Waits, for a few seconds at most, until something holds.
pub fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < deadline, "it did not come to hold");
        std::thread::sleep(Duration::from_millis(5));
    }
}
