//! Configuration: as typed, then checked.
//!
//! Owns the checked [`Config`] that the rest of the program reads. Everything in it is resolved and within its limits; no
//! other module reads files, flags or the environment.

pub mod duration;
pub mod logging;
pub mod redis_url;
pub mod render;
pub mod size;

mod check;
mod endpoint;
mod file;
mod kind;
mod load;
mod login;
mod raw;
mod reload;
mod secret;
mod token;
mod unknown;
mod words;

pub use check::{check_processor, exposed};
pub use load::{ConfigError, Flags, Origin, Sources, Warning, load};
pub use login::{TICKET_TTL_MS_MAX, signing_keys};
pub use raw::Change;
#[cfg(test)]
pub(crate) use reload::testing as reload_testing;
pub use reload::{Difference, Reloaded};
pub use secret::Secret;

use crate::model::Lanes;
use ipnet::IpNet;
use load::Layers;
use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc};

/// The whole checked configuration. Durations are milliseconds, sizes bytes, unless a name says otherwise.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this node is.
    pub node: Node,
    /// The client port.
    pub clients: Clients,
    /// The internal port.
    pub internal: Internal,
    /// How clients say who they are.
    pub auth: Auth,
    /// How long connections live.
    pub lifetime: Lifetime,
    /// How the node leaves.
    pub drain: Drain,
    /// How messages leave.
    pub delivery: Delivery,
    /// What is bounded.
    pub limits: Limits,
    /// What is remembered of message ids.
    pub dedup: Dedup,
    /// Lanes, highest first.
    pub lanes: Lanes,
    /// Where nodes learn of each other's connections.
    pub registry: Registry,
    /// Where messages come from.
    pub kafka: Kafka,
    /// What is logged, and how.
    pub log: Log,
    /// What it was read from, so that it can be read again. What a program has changed in it since is lost by a reload that
    /// changes anything.
    pub sources: Sources,
    /// What was read there.
    typed: Typed,
}

/// The values as typed, which say what has changed when they are read again.
#[derive(Clone)]
struct Typed(Arc<Layers>);

impl fmt::Debug for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Default for Config {
    /// Every default, without any source.
    fn default() -> Self {
        let (config, _) = load(&Sources::default()).expect("a test loads the defaults");
        config
    }
}

/// `node.*`
#[derive(Clone, Debug)]
pub struct Node {
    /// Host name and a random part, unless given.
    pub id: String,
    /// Free text, carried in outcomes and metrics; may be empty.
    pub region: String,
    /// Shards (threads, cores).
    pub shards: usize,
    /// What other nodes call; None: the bound internal address.
    pub advertise: Option<String>,
    /// Where the ready line is renamed into place.
    pub ready_file: Option<PathBuf>,
    /// Allow what is unsafe in the open: header authentication or no internal token on a public address.
    pub insecure: bool,
}

/// `clients.*`
#[derive(Clone, Debug)]
pub struct Clients {
    /// Addresses of the client port; one or more.
    pub listen: Vec<SocketAddr>,
    /// Time between pings.
    pub ping_ms: u64,
    /// The shortest interval that a client may ask for.
    pub ping_min_ms: u64,
    /// The longest interval that a client may ask for.
    pub ping_max_ms: u64,
    /// Answer `ECHO x` (Zuul's sample does).
    pub echo: bool,
    /// Answer every data message with itself (conformance suites).
    pub echo_all: bool,
    /// Allowed origins; None: any (see `auth`).
    pub origins: Option<Vec<String>>,
    /// PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// Who may speak it.
    pub proxy_from: Vec<IpNet>,
    /// Offer permessage-deflate.
    pub deflate: bool,
    /// Messages shorter than this are not compressed.
    pub deflate_min_bytes: usize,
}

/// `clients.proxy_protocol`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ProxyProtocol {
    /// Never read.
    #[default]
    Off,
    /// Read where a trusted peer sends one.
    Accept,
    /// A trusted peer must send one.
    Require,
}

/// `internal.*`
#[derive(Clone, Debug)]
pub struct Internal {
    /// Address of the internal port.
    pub listen: SocketAddr,
    /// Tokens, each with a role.
    pub tokens: Vec<Token>,
    /// Networks that may use Zuul's endpoint without a token.
    pub push_from: Vec<IpNet>,
    /// The header that names the user on Zuul's endpoint.
    pub identity_header: String,
}

/// One named token of the internal port.
#[derive(Clone, Debug)]
pub struct Token {
    /// For the audit log.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The secret.
    pub secret: Secret,
}

/// What a token may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Push.
    Send,
    /// Read metrics, stats, devices.
    Read,
    /// Drain, disconnect, broadcast.
    Admin,
    /// Node to node.
    Peer,
    /// Everything (`internal.token`).
    All,
}

/// `auth.*`
#[derive(Clone, Debug)]
pub struct Auth {
    /// How: of several, the first whose credential is there decides. Never empty.
    pub modes: Vec<AuthMode>,
    /// The header of `mode = "header"` that names the user.
    pub header: String,
    /// The header that names the device, in every mode where the credential does not.
    pub device_header: String,
    /// Whether a WebSocket without a credential may send its token as its first frame.
    pub first_frame: bool,
    /// How long it has for that, from the 101, ms.
    pub first_frame_timeout_ms: u64,
    /// Settings of `mode = "jwt"`.
    pub jwt: Jwt,
    /// Settings of `mode = "cookie"`.
    pub cookie: Cookie,
    /// Settings of `mode = "http"`.
    pub http: Http,
    /// Settings of tickets, which count in every mode.
    pub tickets: Tickets,
}

/// `auth.mode`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthMode {
    /// Trust a header or `?user=`: for trying out.
    Header,
    /// A signed token.
    Jwt,
    /// A signed cookie.
    Cookie,
    /// An endpoint is asked.
    Http,
}

/// `auth.jwt.*`
#[derive(Clone, Debug, Default)]
pub struct Jwt {
    /// Allowed algorithms, e.g. `HS256`.
    pub algorithms: Vec<String>,
    /// Shared secret of HS algorithms.
    pub secret: Option<Secret>,
    /// Public key of RS, PS, ES and EdDSA, PEM.
    pub public_key: Option<Secret>,
    /// A set of keys, JSON (RFC 7517).
    pub jwks: Option<Secret>,
    /// Required `iss`.
    pub issuer: Option<String>,
    /// Required `aud`.
    pub audience: Option<String>,
    /// Cookie that may carry the token.
    pub cookie: Option<String>,
    /// Clock skew allowed.
    pub leeway_s: u64,
}

/// `auth.cookie.*`
#[derive(Clone, Debug, Default)]
pub struct Cookie {
    /// What it is called.
    pub name: String,
    /// The keys, as a file of keys has them: see [`signing_keys`].
    pub keys: Option<Secret>,
    /// Clock skew allowed.
    pub leeway_s: u64,
}

/// `auth.http.*`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Http {
    /// What is asked; there where the mode is on.
    pub url: Option<String>,
    /// Names of the headers that are a credential, lower case.
    pub credentials: Vec<String>,
    /// By which the endpoint can tell who asks.
    pub token: Option<Secret>,
    /// Certificates to trust in place of the host's, PEM.
    pub ca_file: Option<PathBuf>,
    /// For one question.
    pub timeout_ms: u64,
    /// Questions under way at once.
    pub in_flight: usize,
    /// Clients that wait at once.
    pub waiting: usize,
    /// Answers that are kept.
    pub cache: usize,
    /// Longest time that one is kept.
    pub cache_max_ms: u64,
    /// Failures in a row after which the endpoint is left alone, 1 to 16.
    pub failures: u32,
    /// For how long at first.
    pub pause_ms: u64,
    /// For how long at most.
    pub pause_max_ms: u64,
}

/// `auth.tickets.*`
#[derive(Clone, Debug)]
pub struct Tickets {
    /// The keys, as a file of keys has them (see [`signing_keys`]); None: one is drawn where the node is alone.
    pub keys: Option<Secret>,
    /// Life of a ticket for which none was asked.
    pub ttl_ms: u64,
    /// Used tickets that a node remembers.
    pub used: usize,
}

/// `lifetime.*`
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// Mean life.
    pub mean_ms: u64,
    /// Longest life.
    pub max_ms: u64,
    /// Law.
    pub distribution: Distribution,
    /// Between goaway and the server's own close.
    pub grace_ms: u64,
}

/// `lifetime.distribution`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Distribution {
    /// Truncated at max, floor mean/20: the rate of ends is flat from the start.
    #[default]
    Exponential,
    /// 2·mean − max .. max.
    Uniform,
    /// mean − U(0, mean/10).
    Zuul,
}

impl Distribution {
    /// The shortest and the longest life, of any unit, for `lifetime.mean` and `lifetime.max`. The exponential law has a floor
    /// of a twentieth of the mean: a client that has just come is not asked to leave again.
    pub fn bounds(self, mean: f64, max: f64) -> (f64, f64) {
        match self {
            Self::Exponential => (mean / 20.0, max),
            Self::Uniform => ((2.0 * mean - max).max(0.0), max),
            Self::Zuul => (mean - mean / 10.0, mean),
        }
    }
}

/// Descriptors that a node keeps for everything that is not a client: listeners, polls, the internal port, files.
pub const OTHER_DESCRIPTORS: u64 = 256;

/// What so many descriptors leave for clients; one place in any case.
pub fn descriptors_for_clients(descriptors: u64) -> u64 {
    descriptors.saturating_sub(OTHER_DESCRIPTORS).max(1)
}

/// `drain.*`
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// Still accepting while balancers notice.
    pub delay_ms: u64,
    /// Least time over which goaways are spread.
    pub window_ms: u64,
    /// Most goaways a second.
    pub rate: u64,
}

/// `delivery.*`
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// How long a message may wait in an outbox.
    pub timeout_ms: u64,
}

/// `limits.*`
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections; cut to descriptors − 256 at start.
    pub connections: usize,
    /// Connections of one user; 0: off.
    pub connections_per_user: usize,
    /// Connections of one client address; 0: off.
    pub connections_per_address: usize,
    /// Handshakes a second, per node; 0: off.
    pub handshakes_per_second: u64,
    /// From accept to the end of the handshake.
    pub handshake_timeout_ms: u64,
    /// Handshakes waiting at once.
    pub unauthenticated: usize,
    /// A request head.
    pub head_bytes: usize,
    /// What a client may send in one message.
    pub message_bytes: usize,
    /// Frames per second from one connection; 0: off.
    pub inbound_rate: u32,
    /// What a sender may push.
    pub push_bytes: usize,
    /// Waiting bytes of one connection.
    pub outbox_bytes: usize,
    /// Outboxes and lent buffers of the node together.
    pub buffer_bytes: usize,
    /// Share of the host's or cgroup's memory, in percent; 0: off.
    pub memory_percent: u8,
    /// Messages to one connection: burst and window.
    pub push_rate: Option<PushRate>,
    /// Messages waiting in one lane of one shard's mailbox.
    pub mailbox: usize,
}

/// `limits.push_rate`, e.g. `3/2s`: a bucket of `count` refilled with `count` every `window`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PushRate {
    /// Messages.
    pub count: u32,
    /// Window, ms.
    pub window_ms: u64,
}

/// `dedup.*`
#[derive(Clone, Copy, Debug)]
pub struct Dedup {
    /// How long an id is remembered.
    pub window_ms: u64,
    /// How many ids a node remembers.
    pub max: usize,
}

/// The token with which a node calls others: the first of role `peer`, else one that may do more.
pub fn peer_token(tokens: &[Token]) -> Option<&Secret> {
    let of = |role: Role| tokens.iter().find(|token| token.role == role);
    of(Role::Peer).or_else(|| of(Role::All)).or_else(|| of(Role::Admin)).map(|token| &token.secret)
}

/// `registry.*`
#[derive(Clone, Debug)]
pub struct Registry {
    /// Which.
    pub url: RegistryUrl,
    /// Certificates to trust in place of the host's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Within this each question to the registry is answered.
    pub timeout_ms: u64,
    /// Connections that the fleet registers again in a second after a loss.
    pub heal_rate: u64,
}

/// `registry.url`
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RegistryUrl {
    /// This process only.
    Memory,
    /// Redis, in which nodes find each other's connections.
    Redis(redis_url::Target),
}

/// `kafka.*`
#[derive(Clone, Debug)]
pub struct Kafka {
    /// Which.
    pub brokers: KafkaBrokers,
    /// Whether this node takes messages from it.
    pub process: bool,
    /// The consumer group.
    pub group: String,
    /// For each lane, highest first, the pattern of its topics.
    pub topics: Vec<String>,
    /// More settings of librdkafka.
    pub properties: Vec<(String, String)>,
    /// The property `sasl.password`.
    pub password: Option<Secret>,
    /// After this silence a member's share goes to others.
    pub session_timeout_ms: u64,
    /// Messages of one lane under way.
    pub in_flight: usize,
    /// Of 100 messages of higher lanes, how many a lower lane gets.
    pub share: u32,
    /// How long a message whose node cannot be reached is tried again.
    pub retry_ms: u64,
    /// For records that cannot be read.
    pub dead_letter: Option<String>,
    /// For outcomes.
    pub status_topic: Option<String>,
    /// For connects and disconnects.
    pub events_topic: Option<String>,
}

/// `kafka.brokers`
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KafkaBrokers {
    /// No queue.
    None,
    /// One inside the process.
    Embedded,
    /// `host:port`, several with commas.
    At(String),
}

/// `log.*`
#[derive(Clone, Debug)]
pub struct Log {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, or a filter of `tracing`.
    pub level: String,
}

/// `log.format`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests;
