//! A node of real shards on the fake network, stepped by hand. After every turn its invariants are checked.

use super::{
    login::Desk,
    net::{Bell, End, FakeNet, World},
    wire::{self, Frame},
};
use crate::{
    bridge::DrainSwitch,
    config::{Config, Distribution},
    conn::{Settings, Shared, Tools, lent::Lents},
    directory::{Dedup, Directory},
    kit::{
        completion::{Batch, Tally},
        mailbox::{self, Sender},
        random::Random,
    },
    model::{
        Body, Handle, Lane, Message, Outcome, Reason,
        mail::{Broadcast, CONTROL_LANE, ToShard, mailbox_lane},
    },
    shard::{Parts, Shard, audit::Audit},
    stats::{BuildInfo, NodeStats},
};
use std::{
    cell::{RefCell, RefMut},
    collections::HashMap,
    net::IpAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Turns within which a node that is left alone must come to rest, at one moment of its clock.
const TURNS_MAX: usize = 10_000;

/// See the module.
pub struct Rig {
    pub world: Rc<RefCell<World>>,
    pub shards: Vec<Shard<FakeNet>>,
    pub mailboxes: Vec<Sender<ToShard>>,
    pub stats: Arc<NodeStats>,
    pub shared: Arc<Shared>,
    pub directory: Arc<Directory>,
    pub drain: DrainSwitch,
    /// Verdicts that are still to be given.
    pub desk: Arc<Desk>,
    bells: Vec<Arc<Bell>>,
    /// How long each shard said that it may sleep.
    waits: Vec<Option<Duration>>,
    /// Until when that is, µs; a new shard has not slept yet.
    wakes_us: Vec<u64>,
    pushes: Vec<Push>,
    grace_us: u64,
}

/// A connection's client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Client(pub usize);

/// A message on its way to one connection.
#[derive(Clone)]
pub struct Push(Arc<Batch<Outcome>>);

impl Push {
    pub fn outcome(&self) -> Option<Outcome> {
        self.0.answer(0)
    }
}

impl Rig {
    /// One shard, and lives too long to matter, unless `change` says otherwise.
    pub fn new(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_shards(1, 64, change)
    }

    /// Several shards, with room for so many letters in each lane of each mailbox.
    pub fn with_shards(shards: usize, letters: usize, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Self::config(shards);
        change(&mut config);
        Self::build(&config, letters, 1)
    }

    /// What such a node has where nothing is changed: connections of long lives.
    pub fn config(shards: usize) -> Config {
        let mut config = Config::default();
        config.node.shards = shards;
        config.lifetime.distribution = Distribution::Uniform;
        (config.lifetime.mean_ms, config.lifetime.max_ms) = (86_400_000, 86_400_000);
        config.limits.memory_percent = 0;
        config
    }

    /// A node of this configuration; the seed decides what its connections draw.
    pub fn build(config: &Config, letters: usize, seed: u64) -> Self {
        let directory = Directory::new(config.limits.connections_per_user);
        Self::build_with(config, letters, seed, Arc::new(directory))
    }

    /// The same, with a directory that others know too.
    pub fn build_with(config: &Config, letters: usize, seed: u64, directory: Arc<Directory>) -> Self {
        let shards = config.node.shards;
        let world = Rc::new(RefCell::new(World::new(shards)));
        let drain = DrainSwitch::new(config.drain, config.lifetime.grace_ms);
        let shared = Arc::new(Shared { draining: drain.flag(), ..Shared::default() });
        shared.capacity.store(config.limits.connections, Ordering::Relaxed);
        let stats = Arc::new(NodeStats::new(shards, &config.lanes, BuildInfo::current()));
        let bells: Vec<Arc<Bell>> = (0..shards).map(|_| Arc::default()).collect();
        let capacities = vec![letters; config.lanes.len() + 1];
        let boxes = bells.iter().map(|bell| mailbox::mailbox(&capacities, bell.clone()));
        let (mailboxes, receivers): (Vec<_>, Vec<_>) = boxes.unzip();
        let dedup = Arc::new(Dedup::new(config.dedup.window_ms, config.dedup.max));
        let settings = Arc::new(Settings::new(config));
        let now_us = world.borrow().micros;
        let grace_us = config.lifetime.grace_ms * 1_000;
        let desk = Arc::new(Desk::default());
        let node = receivers.into_iter().enumerate().map(|(index, mail)| {
            let net = FakeNet { world: world.clone(), shard: index, mail: bells[index].clone() };
            let tools = Tools {
                settings: settings.clone(),
                authenticator: desk.clone(),
                directory: directory.clone(),
                shared: shared.clone(),
                stats: stats.shard(index).clone(),
                random: Random::seeded(seed.wrapping_add(index as u64)),
                lents: Lents::default(),
                deflater: Default::default(),
                inflater: Default::default(),
                out: Vec::new(),
                displaced: Vec::new(),
                admission: Tools::admission(&settings, now_us),
                push_buckets: HashMap::new(),
                addresses: HashMap::new(),
                opening: 0,
                refusing: false,
            };
            Shard::new(Parts {
                index: index as u16,
                net,
                tools,
                dedup: dedup.clone(),
                mail,
                shards: mailboxes.clone(),
            })
        });
        let shards: Vec<_> = node.collect();
        let (waits, wakes_us) = (vec![None; shards.len()], vec![0; shards.len()]);
        Self {
            world,
            shards,
            mailboxes,
            stats,
            shared,
            directory,
            drain,
            desk,
            bells,
            waits,
            wakes_us,
            pushes: Vec::new(),
            grace_us,
        }
    }

    /// One turn of one shard.
    pub fn turn(&mut self, shard: usize) {
        let mut events = Vec::new();
        let polled = self.shards[shard].poll(&mut events, Some(Duration::ZERO));
        polled.expect("the fake network never fails to poll");
        let wait = self.shards[shard].turn(&events);
        let now_us = self.world.borrow().micros;
        self.waits[shard] = wait;
        self.wakes_us[shard] = wait.map_or(u64::MAX, |wait| now_us.saturating_add(wait.as_micros() as u64));
        self.check();
    }

    /// Turns, at this moment of the clock, until no shard has anything to do. Says whether there was anything.
    pub fn settle(&mut self) -> bool {
        for turns in 0..TURNS_MAX {
            let busy = (0..self.shards.len()).find(|&shard| self.is_busy(shard));
            match busy {
                Some(shard) => self.turn(shard),
                None => return turns > 0,
            }
        }
        let why = |shard| {
            let events = self.world.borrow().has_events(shard, self.shards[shard].accepts());
            (events, self.waits[shard], self.bells[shard].is_rung())
        };
        let why: Vec<_> = (0..self.shards.len()).map(why).collect();
        panic!("the node does not come to rest: events, wait, bell of each shard {why:?}");
    }

    /// Time passes: shards sleep exactly as long as they said they may, or until there is an event.
    pub fn pass_ms(&mut self, ms: u64) {
        let end_us = self.world.borrow().micros + ms * 1_000;
        loop {
            self.settle();
            let now_us = self.world.borrow().micros;
            if now_us >= end_us {
                return;
            }
            self.world.borrow_mut().micros = self.wakes_us().clamp(now_us, end_us);
        }
    }

    /// When the first shard wants to be woken, µs.
    pub fn wakes_us(&self) -> u64 {
        self.wakes_us.iter().copied().min().unwrap_or(u64::MAX)
    }

    /// Time passes while no shard runs.
    pub fn stall_ms(&mut self, ms: u64) {
        self.world.borrow_mut().micros += ms * 1_000;
    }

    /// A client that has sent these bytes.
    pub fn connect_to(&mut self, shard: usize, bytes: &[u8]) -> Client {
        let number = self.world.borrow_mut().connect(shard, IpAddr::from([127, 0, 0, 1]));
        self.end(Client(number)).up.extend(bytes);
        self.settle();
        Client(number)
    }

    pub fn connect(&mut self, bytes: &[u8]) -> Client {
        self.connect_to(0, bytes)
    }

    /// A client whose WebSocket is open.
    pub fn websocket_on(&mut self, shard: usize, query: &str) -> Client {
        let client = self.connect_to(shard, &wire::upgrade(query));
        let bytes = self.take(client);
        assert_eq!(wire::response(&bytes), (101, &b""[..]));
        client
    }

    pub fn websocket(&mut self, query: &str) -> Client {
        self.websocket_on(0, query)
    }

    /// A client whose event stream is open.
    pub fn event_stream(&mut self, query: &str) -> Client {
        let client = self.connect(&wire::event_stream(query));
        let bytes = self.take(client);
        assert_eq!(wire::response(&bytes).0, 200);
        client
    }

    /// The client's end of a connection.
    pub fn end(&self, client: Client) -> RefMut<'_, End> {
        RefMut::map(self.world.borrow_mut(), |world| &mut world.sockets[client.0])
    }

    /// The client sends, and the node handles it.
    pub fn send(&mut self, client: Client, bytes: &[u8]) {
        self.end(client).send(bytes);
        self.settle();
    }

    /// What the server has sent since this was last asked.
    pub fn take(&self, client: Client) -> Vec<u8> {
        std::mem::take(&mut self.end(client).down)
    }

    pub fn take_frames(&self, client: Client) -> Vec<Frame> {
        wire::frames(&self.take(client))
    }

    pub fn take_text(&self, client: Client) -> String {
        String::from_utf8(self.take(client)).expect("text")
    }

    pub fn is_closed(&self, client: Client) -> bool {
        self.end(client).closed
    }

    /// How full the kernel's buffer of a connection is: so many bytes are taken from now on.
    pub fn set_room(&mut self, client: Client, room: usize) {
        self.end(client).set_room(room);
        self.settle();
    }

    pub fn handle(&self, user: &str) -> Handle {
        let mut found = Vec::new();
        self.directory.lookup(user, |route| found.push(route.handle));
        assert_eq!(found.len(), 1, "connections of {user}");
        found[0]
    }

    pub fn text(&self, text: &str) -> Message {
        Message::new(Lane(1), Body::Text(text.to_owned().into()), self.world.borrow().micros)
    }

    /// Pushes a text to a user's one connection.
    pub fn push(&mut self, user: &str, text: &str) -> Push {
        self.push_message(user, self.text(text))
    }

    pub fn push_message(&mut self, user: &str, message: Message) -> Push {
        let push = self.post(self.handle(user), message);
        self.settle();
        push
    }

    /// Posts a message to a connection, without a turn. Where the mailbox is full its outcome is `failed`.
    pub fn post(&mut self, handle: Handle, message: Message) -> Push {
        let batch = Batch::new(1);
        let lane = mailbox_lane(message.lane);
        let message = Arc::new(message);
        let letter = ToShard::Deliver { key: handle.key, message, ticket: batch.ticket(0) };
        let posted = self.mailboxes[usize::from(handle.shard)].post(lane, letter);
        let push = Push(batch);
        if posted.is_ok() {
            self.pushes.push(push.clone());
        }
        push
    }

    /// Posts a letter to every shard, without a turn.
    pub fn post_to_all(&mut self, letter: impl Fn() -> ToShard) {
        for mailbox in &self.mailboxes {
            assert!(mailbox.post(CONTROL_LANE, letter()).is_ok());
        }
    }

    pub fn close(&mut self, user: &str, reason: Reason, goaway: bool) {
        let handle = self.handle(user);
        let letter = ToShard::Close { key: handle.key, reason, goaway };
        assert!(self.mailboxes[usize::from(handle.shard)].post(CONTROL_LANE, letter).is_ok());
        self.settle();
    }

    /// Begins a broadcast of a text, without a turn.
    pub fn broadcast(&mut self, text: &str, spread_ms: u64) -> Arc<Broadcast> {
        self.broadcast_message(self.text(text), spread_ms)
    }

    /// Begins a broadcast, without a turn.
    pub fn broadcast_message(&mut self, message: Message, spread_ms: u64) -> Arc<Broadcast> {
        let tally = Tally::new(Outcome::ALL.len());
        let broadcast = Arc::new(Broadcast::new(Arc::new(message), spread_ms, tally.clone()));
        self.post_to_all(|| ToShard::Broadcast(broadcast.clone(), tally.hold()));
        broadcast
    }

    pub fn closes(&self, reason: Reason) -> u64 {
        self.sum(|shard| self.stats.shard(shard).closed_for(reason))
    }

    pub fn refusals(&self, reason: Reason) -> u64 {
        self.sum(|shard| self.stats.shard(shard).refused_for(reason))
    }

    pub fn goaways(&self, reason: Reason) -> u64 {
        self.sum(|shard| self.stats.shard(shard).goaways_for(reason))
    }

    /// Connections in any phase.
    pub fn connections_at_all(&self) -> usize {
        self.shards.iter().map(Shard::connections).sum()
    }

    /// Outcomes of all messages that found room in a mailbox and are answered.
    pub fn outcomes(&self) -> impl Iterator<Item = Outcome> {
        self.pushes.iter().filter_map(Push::outcome)
    }

    /// Messages whose outcome is not known yet.
    pub fn unanswered(&self) -> usize {
        self.pushes.len() - self.outcomes().count()
    }

    /// How many connections have been lent something.
    pub fn lent(&self) -> usize {
        (0..self.shards.len()).map(|shard| self.check_shard(shard).lent_to).sum()
    }

    /// How long a client that was asked to leave may take, µs.
    pub fn grace_us(&self) -> u64 {
        self.grace_us
    }

    pub fn wait(&self, shard: usize) -> Option<Duration> {
        self.waits[shard]
    }

    /// Ends the node: every message must have had its one outcome then.
    pub fn stop(&mut self) {
        self.post_to_all(|| ToShard::Stop);
        self.turn_all();
        assert_eq!(self.unanswered(), 0, "every message has its outcome");
        assert_eq!((self.stats.connections(), self.shared.open.load(Ordering::Relaxed)), (0, 0));
        assert_eq!((self.directory.connections(), self.lent()), (0, 0));
        assert_eq!(self.shared.buffers.load(Ordering::Relaxed), 0);
    }

    pub fn turn_all(&mut self) {
        for shard in 0..self.shards.len() {
            self.turn(shard);
        }
    }

    fn is_busy(&self, shard: usize) -> bool {
        let accepts = self.shards[shard].accepts();
        let world = self.world.borrow();
        let awake = self.wakes_us[shard] <= world.micros || self.bells[shard].is_rung();
        awake || world.has_events(shard, accepts)
    }

    fn sum(&self, of: impl Fn(usize) -> u64) -> u64 {
        (0..self.shards.len()).map(of).sum()
    }

    fn check(&self) {
        let audits: Vec<Audit> = (0..self.shards.len()).map(|shard| self.check_shard(shard)).collect();
        let sum = |of: fn(&Audit) -> usize| audits.iter().map(of).sum::<usize>();
        assert_eq!(self.shared.open.load(Ordering::Relaxed), sum(|audit| audit.accepted), "open connections");
        assert_eq!(self.shared.buffers.load(Ordering::Relaxed), sum(|audit| audit.lent_bytes), "buffers");
        if self.shards.iter().all(Shard::has_no_letters) {
            let takers = sum(|audit| audit.takers);
            assert_eq!(self.directory.connections(), takers, "the directory is who takes messages");
        }
    }

    fn check_shard(&self, index: usize) -> Audit {
        let (shard, stats) = (&self.shards[index], self.stats.shard(index));
        let world = self.world.borrow();
        let audit = shard.audit(|socket| world.sockets[socket.0 as usize].watches_writable());
        let closes: u64 = Reason::ALL.into_iter().map(|reason| stats.closed_for(reason)).sum();
        assert_eq!(stats.accepted_total(), stats.open_now() + closes, "accepted = open + closes by reason");
        assert_eq!(stats.open_now(), audit.accepted as u64, "the gauge of open connections");
        if !shard.is_stopped() {
            assert_eq!(world.open_sockets(index), audit.connections, "each connection has one socket");
        }
        audit
    }
}
