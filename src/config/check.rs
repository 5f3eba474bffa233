//! From values as typed to the checked configuration: everything that involves more than one key, or the machine.

use super::{
    AuthMode, Clients, Config, ConfigError, Dedup, Delivery, Distribution, Drain, Internal, Kafka,
    KafkaBrokers, Lifetime, Limits, Log, Node, Registry, RegistryUrl, Role, Secret, Token, Typed, Warning,
    duration::format_ms,
    kind::{DURATION_MS_MAX, quoted},
    load::{Layers, Origin, Sources},
    login, peer_token, raw,
    redis_url::{Kind, Target},
};
use crate::model::{Lanes, lane::LaneConfig};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Checks values against each other and reads the files of secrets.
///
/// # Errors
/// At contradictions, one of each section.
pub fn check(layers: Layers, sources: &Sources) -> Result<(Config, Vec<Warning>), ConfigError> {
    check_knowing(layers, sources, Vec::new())
}

/// The same for a node that runs: a file of one of the `known` secrets may have become unreadable.
///
/// # Errors
/// As [`check`].
pub fn check_knowing(
    layers: Layers,
    sources: &Sources,
    known: Vec<Secret>,
) -> Result<(Config, Vec<Warning>), ConfigError> {
    let mut checker = Checker { layers, warnings: Vec::new(), known };
    checker.warnings.append(&mut checker.layers.warnings);
    let (node, drain, limits, dedup) = (checker.node(), checker.drain(), checker.limits(), checker.dedup());
    let sections = (
        checker.clients(),
        checker.internal(),
        login::check(&mut checker),
        checker.lifetime(),
        checker.lanes(),
        checker.registry(),
        checker.kafka(),
    );
    let config = match sections {
        (Ok(clients), Ok(internal), Ok(auth), Ok(lifetime), Ok(lanes), Ok(registry), Ok(kafka)) => {
            let raw = &checker.layers.raw;
            let delivery = Delivery { timeout_ms: raw.delivery.timeout };
            let log = Log { format: raw.log.format, level: raw.log.level.clone() };
            let typed = Typed(Arc::new(checker.layers.clone()));
            let sources = sources.clone();
            Config {
                node,
                clients,
                internal,
                auth,
                lifetime,
                drain,
                delivery,
                limits,
                dedup,
                lanes,
                registry,
                kafka,
                log,
                sources,
                typed,
            }
        }
        (a, b, c, d, e, f, g) => {
            let all = [a.err(), b.err(), c.err(), d.err(), e.err(), f.err(), g.err()];
            return Err(ConfigError::together(all.into_iter().flatten().collect()));
        }
    };
    checker.exposure(&config)?;
    Ok((config, checker.warnings))
}

/// Checks what a processor needs beyond that: a queue and a registry that it shares with nodes.
///
/// # Errors
/// When it would have nothing to do, or nowhere to deliver to.
pub fn check_processor(config: &Config) -> Result<(), ConfigError> {
    let refuse = |key: &str, value: &str, problem: &str| {
        let origin = config.typed.0.origin(key);
        Err(ConfigError::Value { key: key.into(), value: quoted(value), problem: problem.into(), origin })
    };
    if config.registry.url == RegistryUrl::Memory {
        let problem = "a processor finds connections in the registry of the fleet; expected redis://…";
        return refuse("registry.url", "memory", problem);
    }
    match &config.kafka.brokers {
        KafkaBrokers::At(_) if !config.kafka.process => {
            refuse("kafka.process", "false", "a processor does nothing else; expected true")
        }
        KafkaBrokers::At(_) => Ok(()),
        KafkaBrokers::Embedded => {
            refuse("kafka.brokers", "embedded", "nobody else could reach it; expected host:port of Kafka")
        }
        KafkaBrokers::None => {
            refuse("kafka.brokers", "none", "a processor does nothing else; expected host:port of Kafka")
        }
    }
}

pub(super) struct Checker {
    pub(super) layers: Layers,
    warnings: Vec<Warning>,
    known: Vec<Secret>,
}

impl Checker {
    pub(super) fn refuse(
        &self,
        key: &str,
        value: impl Into<String>,
        problem: impl Into<String>,
    ) -> ConfigError {
        let origin = self.layers.origin(key);
        ConfigError::Value { key: key.into(), value: value.into(), problem: problem.into(), origin }
    }

    /// Refuses a key that contradicts another: where it was not set itself, the place is the other's.
    pub(super) fn refuse_with(
        &self,
        key: &str,
        other: &str,
        value: impl Into<String>,
        problem: impl Into<String>,
    ) -> ConfigError {
        let origin = match self.layers.origin(key) {
            Origin::Default => self.layers.origin(other),
            own => own,
        };
        ConfigError::Value { key: key.into(), value: value.into(), problem: problem.into(), origin }
    }

    pub(super) fn warn(&mut self, text: String) {
        self.warnings.push(Warning(text));
    }

    fn kafka(&mut self) -> Result<Kafka, ConfigError> {
        let raw = self.layers.raw.clone();
        let kafka = raw.kafka;
        let password =
            self.secret("kafka.password", &kafka.password, "kafka.password_file", &kafka.password_file)?;
        let brokers = match kafka.brokers.as_str() {
            "none" => KafkaBrokers::None,
            "embedded" => KafkaBrokers::Embedded,
            outside => KafkaBrokers::At(outside.split(',').map(str::trim).collect::<Vec<_>>().join(",")),
        };
        let outside = matches!(brokers, KafkaBrokers::At(_));
        if outside && raw.registry.url == "memory" && kafka.process {
            self.warn(
                "with registry.url = \"memory\" this node finds only its own connections: a message that it takes from \
                 Kafka for a user of another node is lost as offline; give all nodes one Redis"
                    .into(),
            );
        }
        let topics = raw.lanes.order.iter().map(|lane| {
            let typed = raw.lane.get(lane).and_then(|lane| lane.topics.clone());
            typed.unwrap_or_else(|| raw::default_topics(lane))
        });
        let properties = kafka.properties.iter().filter_map(|one| one.split_once('='));
        Ok(Kafka {
            brokers,
            process: kafka.process,
            group: kafka.group,
            topics: topics.collect(),
            properties: properties.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            password,
            session_timeout_ms: kafka.session_timeout,
            in_flight: size(kafka.in_flight),
            share: kafka.share as u32,
            retry_ms: kafka.retry,
            dead_letter: kafka.dead_letter,
            status_topic: kafka.status_topic,
            events_topic: kafka.events_topic,
        })
    }

    fn registry(&self) -> Result<Registry, ConfigError> {
        let raw = &self.layers.raw.registry;
        let password =
            self.secret("registry.password", &raw.password, "registry.password_file", &raw.password_file)?;
        let of_sentinels = self.secret(
            "registry.sentinel_password",
            &raw.sentinel_password,
            "registry.sentinel_password_file",
            &raw.sentinel_password_file,
        )?;
        let mut url = match raw.url.parse::<Target>() {
            Ok(target) => RegistryUrl::Redis(target),
            // Anything else was refused as it was read.
            Err(_) => RegistryUrl::Memory,
        };
        if let RegistryUrl::Redis(target) = &mut url {
            target.login.password = password.or_else(|| target.login.password.take());
            match &mut target.kind {
                Kind::Sentinel { login, .. } => {
                    login.password = of_sentinels.or_else(|| login.password.take());
                }
                Kind::Single(_) | Kind::Cluster(_) if of_sentinels.is_some() => {
                    let problem = "expected only with a redis+sentinel registry.url";
                    let (key, file) = ("registry.sentinel_password", "registry.sentinel_password_file");
                    return Err(self.refuse_with(key, file, "***", problem));
                }
                Kind::Single(_) | Kind::Cluster(_) => {}
            }
        }
        Ok(Registry { url, ca_file: raw.ca_file.clone(), timeout_ms: raw.timeout, heal_rate: raw.heal_rate })
    }

    fn node(&self) -> Node {
        let node = &self.layers.raw.node;
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get().min(256));
        Node {
            id: node.id.clone().unwrap_or_else(random_node_id),
            region: node.region.clone(),
            shards: node.shards.map_or_else(cores, size),
            advertise: node.advertise.clone(),
            ready_file: node.ready_file.clone(),
            insecure: node.insecure,
        }
    }

    fn clients(&mut self) -> Result<Clients, ConfigError> {
        let clients = self.layers.raw.clients.clone();
        if clients.ping_min > clients.ping_max {
            let problem =
                format!("expected at most clients.ping_max, which is {}", format_ms(clients.ping_max));
            let shown = quoted(&format_ms(clients.ping_min));
            return Err(self.refuse_with("clients.ping_min", "clients.ping_max", shown, problem));
        }
        if !(clients.ping_min..=clients.ping_max).contains(&clients.ping) {
            self.warn(format!(
                "clients.ping = {} lies outside clients.ping_min..ping_max ({}..{}), within which clients may choose",
                quoted(&format_ms(clients.ping)),
                format_ms(clients.ping_min),
                format_ms(clients.ping_max)
            ));
        }
        if let Some(twice) = repeated(clients.listen.iter().filter(|address| address.port() != 0)) {
            return Err(self.refuse(
                "clients.listen",
                quoted(&twice.to_string()),
                "expected each address once",
            ));
        }
        let origins: Vec<String> = clients.origins.iter().map(|origin| origin.to_ascii_lowercase()).collect();
        Ok(Clients {
            listen: clients.listen,
            ping_ms: clients.ping,
            ping_min_ms: clients.ping_min,
            ping_max_ms: clients.ping_max,
            echo: clients.echo,
            echo_all: clients.echo_all,
            origins: (!origins.is_empty()).then_some(origins),
            proxy_protocol: clients.proxy_protocol,
            proxy_from: clients.proxy_from,
            deflate: clients.deflate,
            deflate_min_bytes: size(clients.deflate_min),
        })
    }

    fn internal(&self) -> Result<Internal, ConfigError> {
        let internal = &self.layers.raw.internal;
        let mut tokens = Vec::new();
        let all =
            self.secret("internal.token", &internal.token, "internal.token_file", &internal.token_file)?;
        tokens.extend(all.map(|secret| Token { name: "token".into(), role: Role::All, secret }));
        for (at, token) in internal.tokens.iter().enumerate() {
            let secret = match (&token.token, &token.token_file) {
                (Some(secret), _) => secret.clone(),
                (None, Some(path)) => self.secret_file(&format!("internal.tokens[{at}].token_file"), path)?,
                (None, None) => continue,
            };
            tokens.push(Token { name: token.name.clone(), role: token.role, secret });
        }
        self.check_distinct(&tokens)?;
        self.check_peers(&tokens)?;
        let identity_header = internal.identity_header.clone();
        Ok(Internal {
            listen: internal.listen,
            tokens,
            push_from: internal.push_from.clone(),
            identity_header,
        })
    }

    fn check_distinct(&self, tokens: &[Token]) -> Result<(), ConfigError> {
        let twice = |same: fn(&Token, &Token) -> bool| {
            (1..tokens.len()).find(|at| tokens[..*at].iter().any(|one| same(one, &tokens[*at])))
        };
        // The first may be internal.token.
        let place = |at: usize| at - (tokens.len() - self.layers.raw.internal.tokens.len());
        if let Some(at) = twice(|one, other| one.name == other.name) {
            let problem = "expected each name once (internal.token is called \"token\")";
            let key = format!("internal.tokens[{}].name", place(at));
            return Err(self.refuse(&key, quoted(&tokens[at].name), problem));
        }
        if let Some(at) = twice(|one, other| one.secret == other.secret) {
            let name = &tokens[at].name;
            let problem = format!("the token {name} is the same as another; expected different ones");
            return Err(self.refuse(&format!("internal.tokens[{}].token", place(at)), "***", problem));
        }
        Ok(())
    }

    /// Nodes of a fleet call each other with a token of theirs.
    fn check_peers(&self, tokens: &[Token]) -> Result<(), ConfigError> {
        let fleet = self.layers.raw.registry.url != "memory";
        if fleet && !tokens.is_empty() && peer_token(tokens).is_none() {
            let problem = "expected one with role \"peer\", with which the nodes of a fleet call each other";
            return Err(self.refuse("internal.tokens", "***", problem));
        }
        Ok(())
    }

    /// A secret or its file, whichever was set in the higher source.
    pub(super) fn secret(
        &self,
        key: &str,
        given: &Option<Secret>,
        file_key: &str,
        file: &Option<PathBuf>,
    ) -> Result<Option<Secret>, ConfigError> {
        let (given_rank, file_rank) = (self.layers.origin(key).rank(), self.layers.origin(file_key).rank());
        match (given, file) {
            (Some(_), Some(path)) if given_rank == file_rank => {
                let shown = quoted(&path.display().to_string());
                Err(self.refuse(file_key, shown, format!("expected only one of {key} and {file_key}")))
            }
            (Some(secret), Some(_)) if given_rank > file_rank => Ok(Some(secret.clone())),
            (_, Some(path)) => self.secret_file(file_key, path).map(Some),
            (given, None) => Ok(given.clone()),
        }
    }

    fn secret_file(&self, key: &str, path: &Path) -> Result<Secret, ConfigError> {
        Secret::from_file(path).or_else(|error| {
            let known = self.known.iter().find(|secret| secret.source() == Some(path));
            known.cloned().ok_or_else(|| {
                let shown = quoted(&path.display().to_string());
                self.refuse(key, shown, format!("expected a readable file that holds the secret: {error}"))
            })
        })
    }

    fn lifetime(&self) -> Result<Lifetime, ConfigError> {
        let raw = &self.layers.raw.lifetime;
        let (mean, law) = (raw.mean, raw.distribution);
        let auto = match law {
            Distribution::Exponential => mean.saturating_mul(3),
            Distribution::Uniform => mean.saturating_add(mean / 2),
            Distribution::Zuul => mean,
        };
        let max = raw.max.unwrap_or(auto.min(DURATION_MS_MAX));
        let shown = quoted(&format_ms(max));
        let refuse = |problem| Err(self.refuse_with("lifetime.max", "lifetime.mean", shown, problem));
        if max < mean {
            return refuse(format!("expected at least lifetime.mean, which is {}", format_ms(mean)));
        }
        if law == Distribution::Uniform && max > mean.saturating_mul(2) {
            let most = format_ms(mean.saturating_mul(2));
            return refuse(format!(
                "expected at most 2 x lifetime.mean, which is {most}, for a uniform distribution"
            ));
        }
        Ok(Lifetime { mean_ms: mean, max_ms: max, distribution: law, grace_ms: raw.grace })
    }

    fn drain(&self) -> Drain {
        let drain = &self.layers.raw.drain;
        Drain { delay_ms: drain.delay, window_ms: drain.window, rate: drain.rate }
    }

    fn dedup(&self) -> Dedup {
        let dedup = &self.layers.raw.dedup;
        Dedup { window_ms: dedup.window, max: size(dedup.max) }
    }

    fn limits(&mut self) -> Limits {
        let limits = self.layers.raw.limits.clone();
        if limits.buffer_bytes < limits.outbox_bytes {
            self.warn(
                "limits.buffer_bytes is less than limits.outbox_bytes: no outbox can ever be full".into(),
            );
        }
        Limits {
            connections: limits.connections.map_or(usize::MAX, size),
            connections_per_user: size(limits.connections_per_user.unwrap_or(0)),
            connections_per_address: size(limits.connections_per_address.unwrap_or(0)),
            handshakes_per_second: limits.handshakes_per_second.unwrap_or(0),
            handshake_timeout_ms: limits.handshake_timeout,
            unauthenticated: size(limits.unauthenticated),
            head_bytes: size(limits.head_bytes),
            message_bytes: size(limits.message_bytes),
            inbound_rate: u32::try_from(limits.inbound_rate.unwrap_or(0)).unwrap_or(u32::MAX),
            push_bytes: size(limits.push_bytes),
            outbox_bytes: size(limits.outbox_bytes),
            buffer_bytes: size(limits.buffer_bytes),
            memory_percent: limits.memory.unwrap_or(0),
            push_rate: limits.push_rate,
            mailbox: size(limits.mailbox),
        }
    }

    fn lanes(&self) -> Result<Lanes, ConfigError> {
        let raw = &self.layers.raw;
        let order = &raw.lanes.order;
        if let Some(name) = repeated(order.iter()) {
            return Err(self.refuse("lanes.order", quoted(name), "expected each lane once"));
        }
        if let Some(name) = raw.lane.keys().find(|name| !order.contains(name)) {
            let problem = format!("unknown lane; expected one of lanes.order: {}", order.join(", "));
            let keys = raw::LANE_KEYS.iter().map(|(key, ..)| format!("lanes.{name}.{key}"));
            let set = keys.zip(raw::show_lane(raw, name));
            let mut set = set.filter(|(key, _)| self.layers.origins.contains_key(key));
            let (key, value) = set.next().unwrap_or_default();
            return Err(self.refuse(&key, value, problem));
        }
        let lane = |name: &String| {
            let typed = raw.lane.get(name).cloned().unwrap_or_default();
            let (policy, ttl_ms) = (typed.policy.unwrap_or_default(), typed.ttl.flatten());
            LaneConfig { name: name.clone(), policy, ttl_ms }
        };
        Ok(Lanes::new(order.iter().map(lane).collect()))
    }

    /// See [`exposed`]; a plaintext port beyond the loopback is worth a word in any case.
    fn exposure(&mut self, config: &Config) -> Result<(), ConfigError> {
        if let Some((key, address, problem)) = exposed(config) {
            return Err(self.refuse(key, quoted(&address.to_string()), problem));
        }
        if let Some(address) = config.clients.listen.iter().find(|address| !is_loopback(address)) {
            let value = quoted(&address.to_string());
            self.warn(format!("clients.listen = {value} is plaintext: put TLS in front of it"));
        }
        if !is_loopback(&config.internal.listen) {
            let value = quoted(&config.internal.listen.to_string());
            self.warn(format!("internal.listen = {value} is plaintext: keep it on a private network"));
        }
        Ok(())
    }
}

/// Safe by default: what trusts whoever can reach it stays on the loopback, unless the operator insists. Which key and which
/// address of it is refused, and why.
pub fn exposed(config: &Config) -> Option<(&'static str, SocketAddr, &'static str)> {
    if config.node.insecure {
        return None;
    }
    let open = config.clients.listen.iter().find(|address| !is_loopback(address));
    if let Some(&address) = open.filter(|_| config.auth.modes.contains(&AuthMode::Header)) {
        let problem = "with auth.mode = \"header\" whoever reaches it may say to be any user; expected a loopback \
                       address, another auth.mode, or --insecure";
        return Some(("clients.listen", address, problem));
    }
    let internal = config.internal.listen;
    if !is_loopback(&internal) && config.internal.tokens.is_empty() {
        let problem = "without a token whoever reaches it may push to any user; expected a loopback address, \
                       internal.token, internal.token_file or internal.tokens, or --insecure";
        return Some(("internal.listen", internal, problem));
    }
    None
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

pub(super) fn repeated<T: PartialEq>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut seen = Vec::new();
    for one in all {
        if seen.contains(&one) {
            return Some(one);
        }
        seen.push(one);
    }
    None
}

pub(super) fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn random_node_id() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let allowed = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' };
    let host: String = host.trim().chars().take(48).map(allowed).collect();
    let host = if host.is_empty() { "node" } else { &host };
    format!("{host}-{:08x}", fastrand::u32(..))
}
