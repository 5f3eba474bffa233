//! Wires the node together: descriptors, listeners, mailboxes, threads, signals, and an ordered stop.
//!
//! Owns the order in which things start and stop, and nothing that runs in between.

mod descriptors;
mod memory;
mod ready;
mod secrets;

use crate::{
    bridge::{
        Broadcasts, DrainSwitch, Router,
        drain::{DrainOrigin, DrainPhase, DrainStep},
        registry::{Lease, MemoryRegistry},
    },
    clock::Clock,
    config::Config,
    conn::{
        Settings, Shared, Tools,
        auth::{self, Authenticator, Replaceable},
        lent::Lents,
    },
    control::{self, Control, ControlThread},
    directory::{Dedup, Directory},
    kit::{mailbox, mailbox::Sender, random::Random, token_bucket::TokenBucket},
    model::mail::ToShard,
    shard::{Parts, ShardThread, listen, net_mio::MioNet},
    stats::{BuildInfo, NodeStats},
};
use memory::MemoryWatch;
use secrets::SecretWatch;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::{
    collections::HashMap,
    error::Error,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::Ordering, mpsc},
    time::Duration,
};

/// How often the node looks at its drain, its memory and its lease.
const TICK: Duration = Duration::from_millis(200);
/// Memory is looked at this often, in ticks.
const MEMORY_TICKS: u64 = 5;
/// Files of secrets are read again this often, in ticks.
const SECRET_TICKS: u64 = 10;
/// A lease is renewed this often, in ticks.
const LEASE_TICKS: u64 = 15;
/// Progress of a drain is logged this often, in ticks.
const PROGRESS_TICKS: u64 = 25;
/// Letters to one shard that are not messages: room for a broadcast, a disconnect and a displacement at once of each of
/// its connections would be more than can be asked for in a turn; what finds none is kept or answered 503.
const CONTROL_LETTERS: usize = 65_536;
/// Handshakes at once over the limit of connections: those that wait only for their refusal.
const REFUSALS_AT_ONCE: u32 = 64;

/// How a node ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It drained and stopped.
    Drained,
    /// A second signal cut the drain short.
    CutShort,
}

/// Runs a node until it is told to stop and has drained.
///
/// # Errors
/// When it cannot start.
pub fn run(config: Config) -> Result<Ended, Box<dyn Error>> {
    let authenticator = Arc::new(Replaceable::new(auth::from_config(&config.auth)?));
    let signals = signals()?;
    let secrets = SecretWatch::new(&config, Some(authenticator.clone()));
    let node = Node::start(config, authenticator, secrets)?;
    Ok(node.run(&signals))
}

/// Runs a node whose clients are told apart by an authenticator of the caller's.
///
/// # Errors
/// When it cannot start.
pub fn run_with(config: Config, authenticator: Arc<dyn Authenticator>) -> Result<Ended, Box<dyn Error>> {
    let signals = signals()?;
    let secrets = SecretWatch::new(&config, None);
    let node = Node::start(config, authenticator, secrets)?;
    Ok(node.run(&signals))
}

struct Node {
    config: Arc<Config>,
    clock: Clock,
    shards: Vec<ShardThread>,
    control: ControlThread,
    router: Arc<Router>,
    drain: Arc<DrainSwitch>,
    stats: Arc<NodeStats>,
    shared: Arc<Shared>,
    memory: MemoryWatch,
    secrets: SecretWatch,
    lease: Lease,
}

/// What each shard is given of the node.
struct Common {
    config: Arc<Config>,
    settings: Arc<Settings>,
    authenticator: Arc<dyn Authenticator>,
    directory: Arc<Directory>,
    shared: Arc<Shared>,
    dedup: Arc<Dedup>,
    stats: Arc<NodeStats>,
    clock: Clock,
}

impl Node {
    fn start(
        mut config: Config,
        authenticator: Arc<dyn Authenticator>,
        secrets: SecretWatch,
    ) -> Result<Self, Box<dyn Error>> {
        let clock = Clock::start();
        let capacity = descriptors::raise_and_cap(config.limits.connections);
        config.limits.connections = capacity;
        let config = Arc::new(config);
        let incarnation = clock.now().unix_ms;
        let drain = Arc::new(DrainSwitch::new(config.drain, config.lifetime.grace_ms));
        let shared = Arc::new(Shared { draining: drain.flag(), ..Shared::default() });
        shared.capacity.store(capacity, Ordering::Relaxed);
        shared.node.store(node_number(&config.node.id, incarnation), Ordering::Relaxed);
        let stats = Arc::new(NodeStats::new(config.node.shards, &config.lanes, BuildInfo::current()));
        stats.set_capacity(capacity as u64);
        let directory = Arc::new(Directory::new(config.limits.connections_per_user));
        let common = Common {
            settings: Arc::new(Settings::new(&config)),
            authenticator,
            directory: directory.clone(),
            shared: shared.clone(),
            dedup: Arc::new(Dedup::new(config.dedup.window_ms, config.dedup.max)),
            stats: stats.clone(),
            clock,
            config: config.clone(),
        };

        let internal = bind_internal(config.internal.listen)?;
        let (nets, addresses) = open_nets(&config, clock)?;
        let (mailboxes, shards) = spawn_shards(&common, nets)?;

        let lease = Lease {
            node: config.node.id.clone(),
            address: config.node.advertise.clone().unwrap_or_else(|| address_of(&internal)),
            region: config.node.region.clone(),
            incarnation,
            capacity: capacity as u64,
            connections: 0,
            draining: false,
            version: env!("CARGO_PKG_VERSION").into(),
        };
        let registry = Arc::new(MemoryRegistry::new(directory, lease.clone()));
        let number = shared.node.load(Ordering::Relaxed);
        let router = Arc::new(Router::new(registry, mailboxes, stats.clone(), number));
        let internal_address = internal.local_addr()?;
        let control = control::spawn(
            internal,
            Control {
                config: config.clone(),
                router: router.clone(),
                broadcasts: Arc::new(Broadcasts::default()),
                drain: drain.clone(),
                stats: stats.clone(),
                blocks: shared.blocks.clone(),
                clock,
                collapse_seed: foldhash::fast::RandomState::default(),
            },
        )?;
        stats.mark_baseline();
        let memory = MemoryWatch::new(config.limits.memory_percent);
        announce(&config, &addresses, internal_address, capacity)?;
        Ok(Self { config, clock, shards, control, router, drain, stats, shared, memory, secrets, lease })
    }

    /// Serves until a drain that a signal began is over.
    fn run(mut self, signals: &mpsc::Receiver<i32>) -> Ended {
        let mut ticks = 0u64;
        loop {
            match signals.recv_timeout(TICK) {
                Ok(SIGHUP) => {
                    tracing::warn!(
                        "SIGHUP: this version reloads nothing; restart the node to change its configuration"
                    );
                }
                Ok(_) if self.drain.status().origin == Some(DrainOrigin::Signal) => {
                    tracing::warn!("a second signal: stopping at once");
                    return Ended::CutShort;
                }
                Ok(_) => {
                    self.drain.start(DrainOrigin::Signal, self.clock.now(), self.stats.connections());
                    tracing::info!(
                        connections = self.stats.connections(),
                        "draining; a second signal stops at once"
                    );
                }
                Err(_) => {}
            }
            ticks += 1;
            if self.advance_drain(ticks) {
                break;
            }
            self.watch(ticks);
        }
        self.stop();
        Ended::Drained
    }

    /// Says whether the node is to end.
    fn advance_drain(&mut self, ticks: u64) -> bool {
        let remaining = self.stats.connections();
        let step = self.drain.advance(self.clock.now(), remaining);
        let status = self.drain.status();
        self.stats.set_drain(status.phase, if status.phase == DrainPhase::Serving { 0 } else { remaining });
        match step {
            DrainStep::Wait => {
                if status.phase == DrainPhase::Leaving && ticks.is_multiple_of(PROGRESS_TICKS) {
                    tracing::info!(remaining, elapsed_ms = status.elapsed_ms, "draining");
                }
            }
            DrainStep::Leave { window_ms } => {
                tracing::info!(remaining, window_ms, "refusing connections, and asking those here to leave");
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
        if ticks.is_multiple_of(SECRET_TICKS)
            && let Some(tokens) = self.secrets.look()
        {
            self.control.replace_tokens(tokens);
        }
        if ticks.is_multiple_of(MEMORY_TICKS)
            && let Some(pressure) = self.memory.look()
        {
            self.shared.pressure.store(pressure as u8, Ordering::Relaxed);
            self.stats.set_memory_pressure(pressure);
        }
        if ticks.is_multiple_of(LEASE_TICKS) {
            let lease = Lease {
                connections: self.stats.connections(),
                draining: self.drain.is_draining(),
                ..self.lease.clone()
            };
            self.router.registry().renew(lease);
        }
    }

    /// Shards first, so that senders hear of every end; then the internal port.
    fn stop(self) {
        self.router.post_to_all(|| ToShard::Stop);
        for shard in self.shards {
            shard.join();
        }
        self.control.stop();
        if let Some(path) = &self.config.node.ready_file {
            let _ = std::fs::remove_file(path);
        }
        tracing::info!("stopped");
    }
}

/// A shard's network, and how its mailbox wakes it.
type NetAndWake = (MioNet, Arc<dyn mailbox::Wake>);

/// One network per shard, and the client addresses with their real ports.
fn open_nets(config: &Config, clock: Clock) -> io::Result<(Vec<NetAndWake>, Vec<SocketAddr>)> {
    let shards = config.node.shards;
    let mut inherited = listen::inherited()?;
    let mut nets = Vec::with_capacity(shards);
    if !inherited.is_empty() {
        tracing::info!(listeners = inherited.len(), "using the listeners that this process was started with");
        let addresses = inherited.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        let own = inherited.len() >= shards;
        for shard in 0..shards {
            // Enough for all: each shard has its own. Fewer: every shard accepts from every one.
            let listeners = if own {
                let share = inherited.len() / (shards - shard);
                inherited.drain(..share).collect()
            } else {
                inherited.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?
            };
            nets.push(MioNet::new(listeners, clock)?);
        }
        return Ok((nets, addresses));
    }
    // With port 0 the first shard's ports are everyone's.
    let first = listen::bind_all(&config.clients.listen)?;
    let addresses = first.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    nets.push(MioNet::new(first, clock)?);
    for _ in 1..shards {
        nets.push(MioNet::new(listen::bind_all(&addresses)?, clock)?);
    }
    Ok((nets, addresses))
}

fn spawn_shards(
    common: &Common,
    nets: Vec<NetAndWake>,
) -> io::Result<(Vec<Sender<ToShard>>, Vec<ShardThread>)> {
    let limits = &common.config.limits;
    let mut capacities = vec![CONTROL_LETTERS];
    capacities.extend(common.config.lanes.iter().map(|_| limits.mailbox));
    let (nets, boxes): (Vec<_>, Vec<_>) =
        nets.into_iter().map(|(net, wake)| (net, mailbox::mailbox(&capacities, wake))).unzip();
    let (senders, receivers): (Vec<_>, Vec<_>) = boxes.into_iter().unzip();
    let mut threads = Vec::with_capacity(senders.len());
    for (index, (net, mail)) in nets.into_iter().zip(receivers).enumerate() {
        let parts = Parts {
            index: index as u16,
            net,
            tools: tools(common, index, senders.len()),
            dedup: common.dedup.clone(),
            mail,
            shards: senders.clone(),
            table_max: table_max(limits.connections, limits.unauthenticated),
        };
        threads.push(ShardThread::spawn(parts)?);
    }
    Ok((senders, threads))
}

fn tools(common: &Common, index: usize, shards: usize) -> Tools {
    let rate = common.config.limits.handshakes_per_second as f64 / shards as f64;
    let admission = (rate > 0.0).then(|| TokenBucket::new(rate, rate.max(1.0), common.clock.micros()));
    Tools {
        settings: common.settings.clone(),
        authenticator: common.authenticator.clone(),
        directory: common.directory.clone(),
        shared: common.shared.clone(),
        stats: common.stats.shard(index).clone(),
        random: Random::seeded(fastrand::u64(..)),
        lents: Lents::default(),
        deflater: Default::default(),
        inflater: Default::default(),
        out: Vec::new(),
        displaced: Vec::new(),
        admission,
        push_buckets: HashMap::new(),
        addresses: HashMap::new(),
        opening: 0,
        refusing: false,
    }
}

/// A shard may come to hold all connections of the node, the handshakes under way, and those being refused.
fn table_max(connections: usize, unauthenticated: usize) -> u32 {
    let most = connections.saturating_add(unauthenticated).min((1 << 24) - 1);
    (most as u32).saturating_add(REFUSALS_AT_ONCE).min((1 << 24) - 1)
}

fn bind_internal(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "; is another node running? choose another port with --internal",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{hint}"))
    })
}

fn address_of(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string())
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
    capacity: usize,
) -> io::Result<()> {
    let list = clients.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ");
    tracing::info!(
        node = config.node.id,
        clients = list,
        %internal,
        shards = config.node.shards,
        connections = capacity,
        registry = "memory (this process only)",
        "ready"
    );
    match &config.node.ready_file {
        Some(path) => ready::write(path, clients, internal),
        None => Ok(()),
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
