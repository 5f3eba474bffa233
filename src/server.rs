//! Wires the node together: descriptors, listeners, mailboxes, threads, signals, and an ordered stop.
//!
//! Owns the order in which things start and stop, and nothing that runs in between.

mod descriptors;
mod fleet;
mod memory;
mod queue;
mod ready;
mod reload;
mod secrets;
mod shards;
mod supervisor;

use crate::{
    bridge::{
        Brakes, Broadcasts, DrainSwitch, Router,
        brakes::Told,
        callout::{self, CalloutThread},
        drain::{DrainOrigin, DrainPhase, DrainStep},
        registry::Lease,
        thread::BridgeThread,
    },
    clock::Clock,
    config::{AuthMode, Config, KafkaBrokers, RegistryUrl, Secret, peer_token},
    conn::{
        Settings, Shared,
        auth::{self, Authenticator, Replaceable, TicketRules, Tickets},
    },
    control::{self, Control, ControlThread},
    directory::{Dedup, Directory, Journal, PresenceLog},
    model::mail::ToShard,
    shard::{ShardThread, listen},
    stats::{BuildInfo, NodeStats, Pressure},
};
use fleet::Fleet;
use memory::MemoryWatch;
use queue::QueuePart;
use secrets::SecretWatch;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::{
    error::Error,
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::Ordering, mpsc},
    time::Duration,
};
use supervisor::{Look, Supervisor};

/// How often the node looks at its drain, its memory and its lease.
const TICK: Duration = Duration::from_millis(200);
/// Memory is looked at this often, in ticks.
const MEMORY_TICKS: u64 = 5;
/// Files of secrets are read again this often, in ticks.
const SECRET_TICKS: u64 = 10;
/// What the node says of itself is brought up to date this often, in ticks.
const LEASE_TICKS: u64 = 5;
/// Progress of a drain is logged this often, in ticks.
const PROGRESS_TICKS: u64 = 25;

/// How a node ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It drained and stopped.
    Drained,
    /// A second signal cut the drain short.
    CutShort,
    /// It drained and stopped, since a later run has its name.
    Superseded,
}

/// What a node does.
enum Role {
    /// It holds connections, whose clients this tells apart, and puts questions there if it must.
    Serve(Arc<dyn Authenticator>, Option<callout::Mail>),
    /// The same by an authenticator of the caller's, which a `?ticket=` may say something to: tickets count where they have
    /// keys.
    ServeOwn(Arc<dyn Authenticator>),
    /// It takes messages from the queue to other nodes, and holds none.
    Process,
}

/// What a processor is in the words of the configuration.
fn as_processor(config: &mut Config) {
    // Nobody is connected: once it has left the queue there is nothing to wait for.
    config.drain.delay_ms = 0;
    config.limits.connections = 0;
    config.node.shards = 0;
}

/// Runs a processor until it is told to stop. The configuration was checked by [`crate::config::check_processor`].
///
/// # Errors
/// When it cannot start.
pub fn run_processor(mut config: Config) -> Result<Ended, Box<dyn Error>> {
    as_processor(&mut config);
    let signals = signals()?;
    let secrets = SecretWatch::new(&config, None);
    let node = Node::start(config, secrets, Role::Process)?;
    Ok(node.run(&signals))
}

/// Whether the keys that clients' credentials are to be checked with, and the endpoint that is to be asked, can be used.
///
/// # Errors
/// What is wrong, naming the setting.
pub fn check_keys(config: &Config) -> Result<(), String> {
    auth::from_config(&config.auth)?;
    match config.auth.modes.contains(&AuthMode::Http) {
        true => callout::probe::check(&config.auth.http).map_err(|error| format!("auth.http: {error}")),
        false => Ok(()),
    }
}

/// Runs a node until it is told to stop and has drained.
///
/// # Errors
/// When it cannot start.
pub fn run(config: Config) -> Result<Ended, Box<dyn Error>> {
    let asks = config.auth.modes.contains(&AuthMode::Http);
    let mail = asks.then(|| callout::Mail::new(config.auth.http.waiting));
    let questions = mail.as_ref().map(|mail| mail.questions.clone());
    let authenticator = Arc::new(Replaceable::new(auth::asking(&config.auth, questions.as_ref())?));
    let signals = signals()?;
    let secrets = SecretWatch::new(&config, Some(authenticator.clone())).asking(questions);
    let node = Node::start(config, secrets, Role::Serve(authenticator, mail))?;
    Ok(node.run(&signals))
}

/// Runs a node whose clients are told apart by an authenticator of the caller's.
///
/// # Errors
/// When it cannot start.
pub fn run_with(config: Config, authenticator: Arc<dyn Authenticator>) -> Result<Ended, Box<dyn Error>> {
    let signals = signals()?;
    let secrets = SecretWatch::new(&config, None);
    let node = Node::start(config, secrets, Role::ServeOwn(authenticator))?;
    Ok(node.run(&signals))
}

/// An authenticator, where there are clients, and who asks for it.
type Judges = (Option<Arc<dyn Authenticator>>, Option<CalloutThread>);

struct Node {
    common: Common,
    shards: Vec<ShardThread>,
    control: ControlThread,
    router: Arc<Router>,
    fleet: Fleet,
    /// None: nobody is asked who clients are.
    callout: Option<CalloutThread>,
    queue: QueuePart,
    memory: MemoryWatch,
    secrets: SecretWatch,
    supervisor: Supervisor,
    bound: Bound,
    /// What other nodes call.
    address: String,
    ready_line: Option<String>,
    /// A later run has this node's name.
    superseded: bool,
    /// What the lanes were told when it was last carried out.
    told: Told,
    /// What the last look at the drain has told the registry and the queue.
    was_draining: bool,
}

/// Where the node listens: not what the configuration says, where it was started with listeners.
struct Bound {
    /// A processor has none.
    clients: Vec<SocketAddr>,
    internal: SocketAddr,
}

/// What all threads of a node share.
struct Common {
    config: Arc<Config>,
    settings: Arc<Settings>,
    directory: Arc<Directory>,
    shared: Arc<Shared>,
    dedup: Arc<Dedup>,
    stats: Arc<NodeStats>,
    drain: Arc<DrainSwitch>,
    brakes: Arc<Brakes>,
    clock: Clock,
    incarnation: u64,
}

impl Common {
    fn new(mut config: Config, journal: Option<Journal>, presence: Option<PresenceLog>) -> Self {
        let clock = Clock::start();
        let incarnation = clock.now().unix_ms;
        let capacity = descriptors::raise_and_cap(config.limits.connections);
        config.limits.connections = capacity;
        let drain = Arc::new(DrainSwitch::new(config.drain, config.lifetime.grace_ms));
        let shared = Arc::new(Shared { draining: drain.flag(), ..Shared::default() });
        shared.capacity.store(capacity, Ordering::Relaxed);
        shared.node.store(node_number(&config.node.id, incarnation), Ordering::Relaxed);
        let per_user = config.limits.connections_per_user;
        let directory = match journal {
            Some(journal) => Directory::with_journal(per_user, journal),
            None => Directory::new(per_user),
        };
        let stats = Arc::new(NodeStats::new(config.node.shards, &config.lanes, BuildInfo::current()));
        stats.set_capacity(capacity as u64);
        stats.name(&config.node.id, &config.node.region);
        Self {
            settings: Arc::new(Settings::new(&config)),
            directory: Arc::new(directory.telling(presence)),
            shared,
            dedup: Arc::new(Dedup::new(config.dedup.window_ms, config.dedup.max)),
            stats,
            drain,
            brakes: Arc::new(Brakes::new(&config.lanes)),
            clock,
            incarnation,
            config: Arc::new(config),
        }
    }

    /// Who tells clients apart, tickets first; and the thread that asks the endpoint of `auth.http`, where one is asked.
    fn judges(&self, role: Role, tickets: &Arc<Tickets>) -> io::Result<Judges> {
        let with_tickets = |others| Some(auth::with_tickets(tickets.clone(), others));
        Ok(match role {
            Role::Serve(others, mail) => {
                let callout = mail.map(|mail| self.callout(&self.config, mail)).transpose()?;
                (with_tickets(others), callout)
            }
            Role::ServeOwn(own) if self.config.auth.tickets.keys.is_none() => (Some(own), None),
            Role::ServeOwn(own) => (with_tickets(own), None),
            Role::Process => (None, None),
        })
    }

    /// The thread that asks the endpoint of `auth.http`.
    fn callout(&self, config: &Config, mail: callout::Mail) -> io::Result<CalloutThread> {
        let patience_ms = config.limits.handshake_timeout_ms;
        CalloutThread::spawn(mail, &config.auth.http, patience_ms, self.clock, self.stats.clone())
            .map_err(|error| io::Error::new(error.kind(), format!("auth.http: {error}")))
    }

    /// This node's line in the registry. `address` is what others call where nothing else is advertised.
    fn lease(&self, address: String) -> Lease {
        let node = &self.config.node;
        Lease {
            node: node.id.clone(),
            address: node.advertise.clone().unwrap_or(address),
            region: node.region.clone(),
            incarnation: self.incarnation,
            capacity: self.config.limits.connections as u64,
            connections: self.stats.connections(),
            draining: self.drain.is_draining(),
            version: env!("CARGO_PKG_VERSION").into(),
            lanes: self.brakes.told(),
        }
    }
}

impl Node {
    fn start(config: Config, mut secrets: SecretWatch, role: Role) -> Result<Self, Box<dyn Error>> {
        let (mail, journal) = fleet::mail(&config.registry.url);
        let events = queue::event_mail(&config);
        let presence = events.as_ref().map(|events| events.log.clone());
        let common = Common::new(config, journal, presence);
        let config = &common.config;
        let inherited = shards::inherited(config)?;
        let internal = match inherited.internal {
            Some(listener) => listener,
            None => bind_internal(config.internal.listen)?,
        };
        let tickets = Arc::new(tickets_of(&common, &role)?);
        secrets.watch_tickets(tickets.clone());
        let (authenticator, callout) = common.judges(role, &tickets)?;
        let (addresses, (mailboxes, shards)) = match authenticator {
            Some(authenticator) => {
                let (nets, addresses) = shards::open_nets(config, inherited.clients, common.clock)?;
                (addresses, shards::spawn(&common, &authenticator, nets)?)
            }
            None => Default::default(),
        };

        let internal_address = internal.local_addr()?;
        let address = fleet::address_of(internal_address, &config.registry.url);
        let (router, fleet) = fleet::join(&common, mail, common.lease(address.clone()), mailboxes)?;
        let live = control::Live::new(config.clone())?;
        let collapse_seed = foldhash::fast::RandomState::default();
        let queue = queue::start(&common, &router, collapse_seed.clone(), events)?;
        let parts = Control {
            router: router.clone(),
            broadcasts: Arc::new(Broadcasts::default()),
            drain: common.drain.clone(),
            brakes: common.brakes.clone(),
            stats: common.stats.clone(),
            blocks: common.shared.blocks.clone(),
            tickets: Box::new(move |order, unix_ms| tickets.make(order, unix_ms)),
            clock: common.clock,
            collapse_seed,
            peers: fleet.peers.clone(),
            clients: addresses.clone(),
        };
        let control = control::spawn(internal, live, parts)?;
        common.stats.mark_baseline();
        let memory = MemoryWatch::new(config.limits.memory_percent);
        let ready_line = announce(config, &addresses, internal_address, queue.address())?;
        let supervisor = Supervisor::from_environment(common.clock.now().millis());
        supervisor.ready();
        Ok(Self {
            common,
            shards,
            control,
            router,
            fleet,
            callout,
            queue,
            memory,
            secrets,
            supervisor,
            bound: Bound { clients: addresses, internal: internal_address },
            address,
            ready_line,
            superseded: false,
            told: Told::default(),
            was_draining: false,
        })
    }

    /// Serves until a drain that a signal began is over.
    fn run(mut self, signals: &mpsc::Receiver<i32>) -> Ended {
        let mut ticks = 0u64;
        loop {
            match signals.recv_timeout(TICK) {
                Ok(SIGHUP) => self.reload(),
                Ok(_) if self.common.drain.status().origin == Some(DrainOrigin::Signal) => {
                    tracing::warn!("a second signal: stopping at once");
                    return Ended::CutShort;
                }
                Ok(_) => {
                    self.common.drain.start(
                        DrainOrigin::Signal,
                        self.common.clock.now(),
                        self.common.stats.connections(),
                    );
                    tracing::info!(
                        connections = self.common.stats.connections(),
                        "draining; a second signal stops at once"
                    );
                }
                Err(_) => {}
            }
            ticks += 1;
            self.step_down();
            self.tell_of_drain();
            self.apply_brakes(ticks);
            self.tell_supervisor();
            if self.advance_drain(ticks) {
                break;
            }
            self.watch(ticks);
        }
        let superseded = self.superseded;
        self.stop();
        if superseded { Ended::Superseded } else { Ended::Drained }
    }

    /// Two nodes with one name would take each other's connections for their own: the earlier one leaves.
    fn step_down(&mut self) {
        let later = self.fleet.bridge.as_ref().and_then(BridgeThread::superseded);
        let Some(incarnation) = later.filter(|_| !self.superseded) else { return };
        self.superseded = true;
        let node = &self.common.config.node.id;
        tracing::error!(
            node,
            incarnation,
            "another node runs with this name and began later: draining; set node.id to a name of its own"
        );
        let (now, connections) = (self.common.clock.now(), self.common.stats.connections());
        self.common.drain.start(DrainOrigin::Signal, now, connections);
    }

    /// Says whether the node is to end.
    fn advance_drain(&mut self, ticks: u64) -> bool {
        let remaining = self.common.stats.connections();
        let step = self.common.drain.advance(self.common.clock.now(), remaining, self.queue.has_left());
        let status = self.common.drain.status();
        self.common
            .stats
            .set_drain(status.phase, if status.phase == DrainPhase::Serving { 0 } else { remaining });
        match step {
            DrainStep::Wait => {
                if status.phase == DrainPhase::Leaving && ticks.is_multiple_of(PROGRESS_TICKS) {
                    tracing::info!(remaining, elapsed_ms = status.elapsed_ms, "draining");
                }
            }
            DrainStep::Leave { window_ms } => {
                tracing::info!(remaining, window_ms, "accepting no more, and asking those here to leave");
                self.router.post_to_all(|| ToShard::Drain { window_ms });
            }
            DrainStep::Resume => {
                tracing::info!("the drain was cancelled: serving");
                self.router.post_to_all(|| ToShard::CancelDrain);
            }
            DrainStep::Finish => {
                tracing::info!(remaining, elapsed_ms = status.elapsed_ms, "drained");
                return status.origin == Some(DrainOrigin::Signal);
            }
        }
        false
    }

    fn watch(&mut self, ticks: u64) {
        if ticks.is_multiple_of(SECRET_TICKS) {
            self.look_at_secrets();
        }
        if ticks.is_multiple_of(MEMORY_TICKS)
            && let Some(pressure) = self.memory.look()
        {
            self.press(pressure);
        }
        if ticks.is_multiple_of(LEASE_TICKS) {
            self.renew();
        }
    }

    fn look_at_secrets(&mut self) {
        if let Some(tokens) = self.secrets.look(&self.common.stats) {
            if let Some(peers) = &self.fleet.peers {
                peers.set_token(peer_token(&tokens).cloned());
            }
            self.control.replace_tokens(tokens);
        }
        if let Some(password) = self.secrets.look_at_kafka() {
            self.queue.set_password(password);
        }
        if let Some(callout) = &self.callout
            && let Some(token) = self.secrets.look_at_callout()
        {
            callout.set_token(Some(token));
        }
    }

    fn press(&self, pressure: Pressure) {
        self.common.shared.pressure.store(pressure as u8, Ordering::Relaxed);
        self.common.stats.set_memory_pressure(pressure);
    }

    /// A drain that has begun, or was taken back, is told to the registry, and to the queue: others are to take this node's
    /// share before it refuses anybody.
    fn tell_of_drain(&mut self) {
        let draining = self.common.drain.is_draining();
        if draining == self.was_draining {
            return;
        }
        self.was_draining = draining;
        if let Some(processor) = &self.queue.processor {
            if draining { processor.leave() } else { processor.join() }
        }
        self.renew();
    }

    /// A thread that waits for something to do shows that it lives when it is given something: see [`Supervisor::look`].
    fn tell_supervisor(&mut self) {
        let Common { stats, drain, clock, .. } = &self.common;
        let turns = || {
            let shards = (0..self.shards.len()).map(|at| (format!("shard-{at}"), stats.shard(at).turns()));
            let bridge = self.fleet.bridge.iter().map(|bridge| ("bridge".to_owned(), bridge.turns()));
            shards.chain(bridge).collect()
        };
        let (now_ms, connections) = (clock.now().millis(), stats.connections());
        let look = Look { now_ms, drain: drain.status(), connections, turns: &turns };
        if self.supervisor.look(&look) {
            self.router.post_to_all(|| ToShard::Beat);
            self.renew();
        }
    }

    /// What operators have told the lanes, here or at another node, is told the queue, and what was told here the others.
    fn apply_brakes(&mut self, ticks: u64) {
        let brakes = &self.common.brakes;
        // Leases are no newer between.
        if ticks.is_multiple_of(LEASE_TICKS) {
            self.router.registry().nodes().iter().for_each(|lease| brakes.merge(&lease.lanes));
        }
        let told = brakes.told();
        if told == self.told {
            return;
        }
        if let Some(processor) = &self.queue.processor {
            processor.obey(&self.common.config.lanes, brakes);
        }
        self.told = told;
        self.renew();
    }

    fn renew(&self) {
        self.router.registry().renew(self.common.lease(self.address.clone()));
    }

    /// The queue first, while there is still somebody to deliver to; then the shards, so that senders hear of every end; then
    /// the registry hears who has left; then the internal port.
    fn stop(self) {
        if let Some(processor) = self.queue.processor {
            processor.stop();
        }
        self.router.post_to_all(|| ToShard::Stop);
        for shard in self.shards {
            shard.join();
        }
        if let Some(callout) = self.callout {
            callout.stop();
        }
        if let Some(events) = self.queue.events {
            events.stop();
        }
        drop(self.queue.embedded);
        if let Some(bridge) = self.fleet.bridge {
            bridge.stop();
        }
        self.control.stop();
        if let (Some(path), Some(line)) = (&self.common.config.node.ready_file, &self.ready_line) {
            ready::remove(path, line);
        }
        tracing::info!("stopped");
    }
}

/// Makes and judges tickets. A node alone that was given no keys draws one for this run; in a fleet others would not know it.
fn tickets_of(common: &Common, role: &Role) -> Result<Tickets, Box<dyn Error>> {
    let is_alone = common.config.registry.url == RegistryUrl::Memory && matches!(role, Role::Serve(..));
    let drawn = is_alone.then(draw_key).transpose()?;
    Ok(Tickets::new(TicketRules::new(&common.config.auth.tickets)?, drawn, common.stats.clone())?)
}

/// A key that nobody can guess, as text.
fn draw_key() -> io::Result<Secret> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(Secret::new(bytes.map(|byte| format!("{byte:02x}")).concat()))
}

fn bind_internal(address: SocketAddr) -> io::Result<TcpListener> {
    listen::bind_internal(address).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "; is another node running? choose another port with --internal",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{hint}"))
    })
}

/// Tells this run from all others in connection ids.
fn node_number(id: &str, incarnation: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (id, incarnation).hash(&mut hasher);
    hasher.finish()
}

fn announce(
    config: &Config,
    clients: &[SocketAddr],
    internal: SocketAddr,
    kafka: Option<&str>,
) -> io::Result<Option<String>> {
    let list = clients.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ");
    tracing::info!(
        node = config.node.id,
        clients = list,
        %internal,
        shards = config.node.shards,
        connections = config.limits.connections,
        registry = registry_of(config),
        kafka = kafka_of(config),
        "ready"
    );
    let page = format!("http://{}/", page_address(config, internal));
    // A processor has no clients, so that there is nothing to try.
    let demo = clients.first().map(|_| format!("{page}demo"));
    tracing::info!(page, demo, "for a browser");
    match &config.node.ready_file {
        Some(path) => ready::write(path, clients, internal, kafka).map(Some),
        None => Ok(None),
    }
}

/// Where a browser finds the internal port: as advertised, else on this host where the port listens on every address.
fn page_address(config: &Config, internal: SocketAddr) -> String {
    match &config.node.advertise {
        Some(address) => address.clone(),
        None if internal.ip().is_unspecified() => format!("localhost:{}", internal.port()),
        None => internal.to_string(),
    }
}

fn registry_of(config: &Config) -> &'static str {
    match config.registry.url {
        RegistryUrl::Memory => "memory (this process only)",
        RegistryUrl::Redis(_) => "redis",
    }
}

fn kafka_of(config: &Config) -> &str {
    match &config.kafka.brokers {
        KafkaBrokers::None => "none",
        KafkaBrokers::Embedded => "embedded",
        KafkaBrokers::At(brokers) => brokers,
    }
}

/// Signals arrive on a thread of their own, which tells the node's.
fn signals() -> io::Result<mpsc::Receiver<i32>> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}
