//! The configuration as typed, and the one table of its keys.
//!
//! Owns every key's name, kind, default and reason to exist. The file, `--set`, the environment, `config default`,
//! `config show` and docs/config.md all read this table; nothing else lists keys. Checks no value against another.

use super::{
    AuthMode, Distribution, LogFormat, ProxyProtocol, PushRate, Secret,
    endpoint::Endpoint,
    kind::{
        Address, Choice, Count, DURATION_MS_MAX, Duration, File, Flag, Hidden, Input, Kind, List, Network,
        Or, Percent, Rate, RegistryAddress, Rejected, Size, Text,
    },
    login::{KEYS_MAX, Modes, TICKET_TTL_MS_MAX},
    token::{RawToken, Tokens},
    words,
};
use crate::model::LanePolicy;
use ipnet::IpNet;
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;
/// The most of anything that a node counts in memory: slots and handles are 32 bits wide.
const MANY: u64 = 100_000_000;

/// What becomes of another value when the configuration is read again (SIGHUP).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It counts from then on.
    Hot,
    /// It is named in the log and waits for a restart; until then the old value counts.
    Cold,
}

/// A key of the table.
pub struct Key {
    /// Its full name, `section.key`.
    pub name: &'static str,
    /// What it is for, in one line.
    pub why: &'static str,
    /// Whether it changes on a reload.
    pub change: Change,
    /// What is allowed, to follow the word "expected".
    pub allowed: fn() -> String,
    /// Writes the value as TOML, secrets masked.
    pub show: fn(&Raw) -> String,
    /// Whether two configurations have the same value.
    pub same: fn(&Raw, &Raw) -> bool,
    /// Takes the value of the second.
    pub copy: fn(&mut Raw, &Raw),
    set: fn(&mut Raw, &Input) -> Result<(), Rejected>,
    is_secret: fn() -> bool,
}

/// A section of the table.
pub struct Section {
    /// Its name, `limits`.
    pub name: &'static str,
    /// What it is about, in one line.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// One lane as typed; None: the default.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RawLane {
    /// `lanes.NAME.policy`
    pub policy: Option<LanePolicy>,
    /// `lanes.NAME.ttl`
    pub ttl: Option<Option<u64>>,
    /// `lanes.NAME.topics`
    pub topics: Option<String>,
}

/// The kind of `lanes.NAME.policy`.
pub const LANE_POLICY: Choice<LanePolicy> =
    Choice(&[("drop", LanePolicy::Drop), ("replace", LanePolicy::Replace), ("close", LanePolicy::Close)]);
/// The kind of `lanes.NAME.ttl`.
pub const LANE_TTL: Or<Duration> = Or("off", Duration(1, DURATION_MS_MAX));
/// The kind of `lanes.NAME.topics`.
pub const LANE_TOPICS: Text = Text("a regular expression that begins with \"^\"", words::is_topic_pattern);
/// The keys of one lane, with their reasons.
pub const LANE_KEYS: [(&str, Change, &str); 3] = [
    ("policy", Change::Hot, "What happens to a message that finds a client's outbox full."),
    ("ttl", Change::Hot, "Life of a message that brings no ttl of its own; \"off\": for ever."),
    (
        "topics",
        Change::Cold,
        "Kafka's topics whose records are of this lane; those mirrored from other regions have a prefix.",
    ),
];

/// `lanes.NAME.topics` where nothing is said.
pub fn default_topics(lane: &str) -> String {
    format!(r"^([a-z0-9-]+\.)?push\.{lane}$")
}

/// The values of [`LANE_KEYS`] for a lane, as TOML.
pub fn show_lane(raw: &Raw, lane: &str) -> [String; 3] {
    let typed = raw.lane.get(lane).cloned().unwrap_or_default();
    [
        LANE_POLICY.show(&typed.policy.unwrap_or_default()),
        LANE_TTL.show(&typed.ttl.flatten()),
        LANE_TOPICS.show(&typed.topics.unwrap_or_else(|| default_topics(lane))),
    ]
}

macro_rules! keys {
    ($($section:ident: $type:ident, $name:literal, $about:literal {
        $($key:ident: $value:ty = $kind:expr, $default:literal, $change:ident, $why:literal;)*
    })*) => {
        /// Every key with its value as typed; the default before any source was read.
        #[derive(Clone)]
        #[allow(missing_docs, reason = "the table says what each key is")]
        pub struct Raw {
            /// `lanes.NAME.*`, by name.
            pub lane: BTreeMap<String, RawLane>,
            $(pub $section: $type,)*
        }

        $(
            #[doc = $about]
            #[derive(Clone)]
            #[allow(missing_docs, reason = "the table says what each key is")]
            pub struct $type { $(pub $key: $value,)* }
        )*

        impl Default for Raw {
            fn default() -> Self {
                Self {
                    lane: BTreeMap::new(),
                    $($section: $type { $($key: default_of(&$kind, $default),)* },)*
                }
            }
        }

        /// The table.
        pub const SECTIONS: &[Section] = &[$(Section {
            name: $name,
            about: $about,
            keys: &[$(Key {
                name: concat!($name, ".", stringify!($key)),
                why: $why,
                change: Change::$change,
                allowed: || $kind.allowed(),
                show: |raw| $kind.show(&raw.$section.$key),
                same: |raw, other| raw.$section.$key == other.$section.$key,
                copy: |raw, other| raw.$section.$key = other.$section.$key.clone(),
                set: |raw, input| {
                    raw.$section.$key = $kind.parse(input)?;
                    Ok(())
                },
                is_secret: || $kind.is_secret(),
            },)*],
        },)*];
    };
}

keys! {
    node: Node, "node", "Who this node is." {
        id: Option<String> = Or("", Text("a name of 1 to 64 letters, digits, \".\", \"_\" or \"-\"", words::is_node_id)), "",
            Cold, "Name of this node in the registry, outcomes and logs; empty: the host name and a random part.";
        region: String = Text("at most 64 bytes without control characters", words::is_region), "",
            Cold, "Region of this node, carried in outcomes and metrics; may be empty.";
        shards: Option<u64> = Or("auto", Count("shards", 1, 256)), "auto",
            Cold, "Event loops, one thread each; \"auto\": one for each core.";
        advertise: Option<String> = Or("", Text("HOST:PORT", words::is_host_and_port)), "",
            Cold, "HOST:PORT that other nodes call; empty: the bound internal address.";
        ready_file: Option<PathBuf> = Or("", File), "",
            Cold, "File that appears, with the bound addresses as JSON, once the ports accept; empty: none.";
        insecure: bool = Flag, "false",
            Hot, "Allow what is unsafe in the open: auth.mode = \"header\" or no internal token on a public address.";
    }
    clients: Clients, "clients", "The port of the clients: WebSocket and SSE." {
        listen: Vec<SocketAddr> = List(Address, 1, 64), "127.0.0.1:7001",
            Cold, "Addresses to listen on; a layer-4 balancer's one address reaches each port only 64 k times.";
        ping: u64 = Duration(100, 12 * 3_600 * SECOND), "50s",
            Hot, "Time between pings, jittered, in whole seconds (rounded up); common proxies drop what idles for 60 s.";
        ping_min: u64 = Duration(100, 12 * 3_600 * SECOND), "10s",
            Hot, "Shortest interval that a client may ask for with ?ping=.";
        ping_max: u64 = Duration(100, 12 * 3_600 * SECOND), "10m",
            Hot, "Longest interval that a client may ask for: phones save their radio.";
        echo: bool = Flag, "false",
            Hot, "Answer the text ECHO x with itself, as Zuul Push's sample does.";
        echo_all: bool = Flag, "false",
            Hot, "Answer every data message with itself, for conformance suites.";
        origins: Vec<String> = List(Text(words::ORIGIN, words::is_origin), 0, 256), "",
            Hot, "Origins of pages that may connect; empty: any.";
        proxy_protocol: ProxyProtocol = Choice(&[
            ("off", ProxyProtocol::Off), ("accept", ProxyProtocol::Accept), ("require", ProxyProtocol::Require),
        ]), "off",
            Hot, "Whether a balancer in front says with PROXY protocol v1 or v2 who the client is.";
        proxy_from: Vec<IpNet> = List(Network, 0, 256), "127.0.0.0/8,::1/128",
            Hot, "Networks whose PROXY protocol header is believed.";
        deflate: bool = Flag, "true",
            Hot, "Offer permessage-deflate to WebSocket clients; costs no memory per connection.";
        deflate_min: u64 = Size(0, 64 * MIB), "512B",
            Hot, "Messages shorter than this are not compressed: it would cost more than it saves.";
    }
    internal: Internal, "internal", "The port of senders, operators and other nodes." {
        listen: SocketAddr = Address, "127.0.0.1:7008",
            Cold, "Address to listen on.";
        token: Option<Secret> = Or("", Hidden), "",
            Hot, "A token that may do everything; several with roles: [[internal.tokens]].";
        token_file: Option<PathBuf> = Or("", File), "",
            Hot, "File that holds internal.token; read again when it changes.";
        push_from: Vec<IpNet> = List(Network, 0, 256), "",
            Hot, "Networks that may use Zuul's push endpoint without a token.";
        identity_header: String = Text(words::HEADER, words::is_header), "X-CUSTOMER_ID",
            Hot, "Header that names the user on Zuul's push endpoint.";
        tokens: Vec<RawToken> = Tokens, "",
            Hot, "Named tokens, several valid at once, each with a role: send, read, admin or peer.";
    }
    auth: Auth, "auth", "How clients say who they are." {
        mode: Vec<AuthMode> = Modes, "header",
            Hot, "\"header\" trusts what the client says, for trying out; \"jwt\" wants a signed token, \"cookie\" a signed cookie, \"http\" asks your endpoint; of several the first whose credential is there decides.";
        header: String = Text(words::HEADER, words::is_header), "X-CUSTOMER_ID",
            Hot, "Header that names the user in mode \"header\"; else ?user=.";
        device_header: String = Text(words::HEADER, words::is_header), "X-DEVICE-ID",
            Hot, "Header that names the device where the credential does not; else ?device=.";
        first_frame: bool = Flag, "false",
            Hot, "A WebSocket without a credential may send its token as its first frame: for pages, which can set no header.";
        first_frame_timeout: u64 = Duration(100, 60 * SECOND), "8s",
            Hot, "Time for that frame, from the 101.";
    }
    jwt: Jwt, "auth.jwt", "Signed tokens: Bearer header, cookie or ?token=; needs secret, secret_file, public_key_file or jwks_file." {
        algorithms: Vec<String> = List(Text(words::ALGORITHM, words::is_algorithm), 0, 12), "",
            Hot, "Allowed algorithms, of one family that suits the key; empty: HS256 with a secret, with a set what its keys are for.";
        secret: Option<Secret> = Or("", Hidden), "",
            Hot, "Shared secret of HS256, HS384 and HS512.";
        secret_file: Option<PathBuf> = Or("", File), "",
            Hot, "File that holds auth.jwt.secret; read again when it changes.";
        public_key_file: Option<PathBuf> = Or("", File), "",
            Hot, "PEM file with the public key of RS, PS, ES and EdDSA; read again when it changes.";
        jwks_file: Option<PathBuf> = Or("", File), "",
            Hot, "File with a set of keys, a JWKS (RFC 7517), of any families; read again when it changes.";
        issuer: Option<String> = Or("", Text("text", words::is_text)), "",
            Hot, "Required \"iss\" of a token; empty: any.";
        audience: Option<String> = Or("", Text("text", words::is_text)), "",
            Hot, "Required \"aud\" of a token; empty: any.";
        cookie: Option<String> = Or("", Text(words::COOKIE, words::is_header)), "",
            Hot, "Cookie that may carry the token; empty: none.";
        leeway: u64 = Duration(0, 3_600 * SECOND), "5s",
            Hot, "Clock skew allowed between the issuer and this node; whole seconds.";
    }
    cookie: Cookie, "auth.cookie", "Signed cookies of your own backend (docs/auth.md); needs keys or keys_file." {
        name: String = Text(words::COOKIE, words::is_header), "holdfast",
            Hot, "Name of the cookie; one that begins with __Host- no other host can set.";
        keys: Vec<Secret> = List(Hidden, 0, KEYS_MAX), "",
            Hot, "Keys, each of 32 to 256 characters without spaces. All are accepted; backends sign with the first.";
        keys_file: Option<PathBuf> = Or("", File), "",
            Hot, "File that holds auth.cookie.keys, one a line; read again when it changes.";
        leeway: u64 = Duration(0, 3_600 * SECOND), "5s",
            Hot, "Clock skew allowed between the backend and this node; whole seconds.";
    }
    http: Http, "auth.http", "An endpoint of your own that is asked who a client is (docs/auth.md); needs url." {
        url: Option<String> = Or("", Endpoint), "",
            Hot, "What is asked, with GET: http:// or https://.";
        credentials: Vec<String> = List(Text(words::HEADER, words::is_header), 1, 16), "authorization,cookie",
            Hot, "Headers that are a client's credential; ?token= always is. Clients with equal ones are one client: name all that the answer depends on.";
        token: Option<Secret> = Or("", Hidden), "",
            Hot, "Sent along as X-Holdfast-Token, so that the endpoint can tell who asks.";
        token_file: Option<PathBuf> = Or("", File), "",
            Hot, "File that holds auth.http.token; read again when it changes.";
        ca_file: Option<PathBuf> = Or("", File), "",
            Hot, "Certificates (PEM) to trust in place of the host's, for https.";
        timeout: u64 = Duration(10, 60 * SECOND), "2s",
            Hot, "For one question, from connecting to the last byte of the answer; less than limits.handshake_timeout.";
        in_flight: u64 = Count("questions", 1, 10_000), "64",
            Hot, "Questions under way at once: divided by the time of an answer, the handshakes a second.";
        waiting: u64 = Count("clients", 1, MANY), "10000",
            Hot, "Clients that wait for an answer at once; more are told to come back later.";
        cache: u64 = Count("answers", 0, MANY), "100000",
            Hot, "Answers that are kept, each as long as its Cache-Control allows; then the one that ends first goes.";
        cache_max: u64 = Duration(0, DURATION_MS_MAX), "1h",
            Hot, "Longest time that an answer is kept, whatever it allows.";
        failures: u64 = Count("failures", 1, 16), "5",
            Hot, "Failures in a row, or half of the last four times as many, after which the endpoint is left alone.";
        pause: u64 = Duration(10, 3_600 * SECOND), "1s",
            Hot, "How long it is left alone at first, jittered; then one question tries, and each failure doubles the pause.";
        pause_max: u64 = Duration(10, 3_600 * SECOND), "30s",
            Hot, "Longest such pause.";
    }
    tickets: Tickets, "auth.tickets", "Tickets for browsers (docs/auth.md): POST /v1/tickets makes one, ?ticket= brings it, whatever auth.mode is." {
        keys: Vec<Secret> = List(Hidden, 0, KEYS_MAX), "",
            Hot, "Keys, each of 32 to 256 characters without spaces, the same on every node. All are accepted; the first signs. A node alone needs none.";
        keys_file: Option<PathBuf> = Or("", File), "",
            Hot, "File that holds auth.tickets.keys, one a line; read again when it changes.";
        ttl: u64 = Duration(SECOND, TICKET_TTL_MS_MAX), "30s",
            Hot, "Life of a ticket that is asked for without a ttl: long enough for a page to connect, too short to be worth stealing from a log.";
        used: u64 = Count("tickets", 1, MANY), "262144",
            Hot, "Used tickets that a node remembers until they end, 24 bytes each; when full, more are told to come back later.";
    }
    lifetime: Lifetime, "lifetime", "How long connections live: they are asked to reconnect, so that load spreads." {
        mean: u64 = Duration(100, DURATION_MS_MAX), "30m",
            Hot, "Mean life of a connection; each draws its own.";
        max: Option<u64> = Or("auto", Duration(100, DURATION_MS_MAX)), "auto",
            Hot, "Longest life, at least the mean; \"auto\": 3 x mean, for \"uniform\" 1.5 x mean, for \"zuul\" the mean.";
        distribution: Distribution = Choice(&[
            ("exponential", Distribution::Exponential), ("uniform", Distribution::Uniform), ("zuul", Distribution::Zuul),
        ]), "exponential",
            Hot, "Law of the draw: \"exponential\" flattens a wave of reconnects at once, \"uniform\" is 2·mean - max .. max.";
        grace: u64 = Duration(0, 3_600 * SECOND), "4s",
            Hot, "From goaway to the server's own close: TIME_WAIT should lie with the client.";
    }
    drain: Drain, "drain", "How the node leaves." {
        delay: u64 = Duration(0, 3_600 * SECOND), "5s",
            Hot, "Still accepting while balancers notice; make it longer than their detection.";
        window: u64 = Duration(0, DAY), "30s",
            Hot, "Least time over which goaways are spread.";
        rate: u64 = Count("goaways a second", 1, MANY), "5000",
            Hot, "Most goaways a second; many connections make the window longer.";
    }
    delivery: Delivery, "delivery", "How messages leave." {
        timeout: u64 = Duration(1, 3_600 * SECOND), "5s",
            Hot, "How long a message may wait for a slow client before its outcome is \"slow\".";
    }
    limits: Limits, "limits", "What is bounded." {
        connections: Option<u64> = Or("auto", Count("connections", 1, MANY)), "auto",
            Hot, "Open connections; always cut to the process's descriptors - 256.";
        connections_per_user: Option<u64> = Or("off", Count("connections", 1, MANY)), "off",
            Hot, "Connections of one user; one more closes the oldest.";
        connections_per_address: Option<u64> = Or("off", Count("connections", 1, MANY)), "off",
            Hot, "Connections of one client address; one more is refused.";
        handshakes_per_second: Option<u64> = Or("off", Count("handshakes a second", 1, MANY)), "off",
            Hot, "New connections a second on this node; more are told to come back later.";
        handshake_timeout: u64 = Duration(10, 3_600 * SECOND), "10s",
            Hot, "From accept to the end of the handshake.";
        unauthenticated: u64 = Count("handshakes", 1, MANY), "10000",
            Hot, "Handshakes waiting at once.";
        head_bytes: u64 = Size(256, MIB), "16KiB",
            Hot, "Largest request head of a client.";
        message_bytes: u64 = Size(1, 64 * MIB), "64KiB",
            Hot, "Largest message that a client may send.";
        inbound_rate: Option<u64> = Or("off", Count("frames a second", 1, 65_000)), "100",
            Hot, "Frames a second that one connection may send.";
        push_bytes: u64 = Size(1, 64 * MIB), "256KiB",
            Hot, "Largest message that a sender may push.";
        outbox_bytes: u64 = Size(1, GIB), "64KiB",
            Hot, "Bytes that may wait for one connection; one message of any allowed size fits an empty outbox.";
        buffer_bytes: u64 = Size(64 * KIB, 1024 * GIB), "256MiB",
            Hot, "All waiting bytes of the node together; above it the largest go first.";
        memory: Option<u8> = Or("off", Percent), "90%",
            Hot, "Share of the host's or cgroup's memory; above it low lanes are shed, then handshakes refused.";
        push_rate: Option<PushRate> = Or("off", Rate), "off",
            Hot, "Messages to one connection in a window; Zuul's is \"3/2s\".";
        mailbox: u64 = Count("messages", 1, 16_777_216), "16384",
            Cold, "Messages that may wait in one lane of one shard's mailbox.";
    }
    dedup: Dedup, "dedup", "What is remembered of message ids, so that a repeated one is written once." {
        window: u64 = Duration(SECOND, DAY), "10m",
            Hot, "How long an id is remembered once written.";
        max: u64 = Count("ids", 1, MANY), "100000",
            Hot, "Ids that a node remembers; then the oldest goes.";
    }
    lanes: Lanes, "lanes", "Priorities of messages; each lane may have its own [lanes.NAME]." {
        order: Vec<String> = List(Text("a name of 1 to 32 of a-z, 0-9 and \"-\" (not \"order\")", words::is_lane), 1, 8),
            "high,normal,low",
            Cold, "Names, highest first. Without a lane a message is \"normal\", or the middle one.";
    }
    registry: Registry, "registry", "Where nodes learn of each other's connections." {
        url: String = RegistryAddress, "memory",
            Cold, "\"memory\": this process only; else the Redis that all nodes of the fleet share.";
        password: Option<Secret> = Or("", Hidden), "",
            Cold, "Password of Redis, in place of one in registry.url.";
        password_file: Option<PathBuf> = Or("", File), "",
            Cold, "File that holds registry.password; read again for each new connection.";
        sentinel_password: Option<Secret> = Or("", Hidden), "",
            Cold, "Password of the Sentinels, in place of one in registry.url.";
        sentinel_password_file: Option<PathBuf> = Or("", File), "",
            Cold, "File that holds registry.sentinel_password; read again for each new connection.";
        ca_file: Option<PathBuf> = Or("", File), "",
            Cold, "Certificates (PEM) to trust in place of the host's, for rediss addresses.";
        timeout: u64 = Duration(200, 60 * SECOND), "2s",
            Cold, "Within this each question to the registry is answered, or fails.";
        heal_rate: u64 = Count("connections a second", 1, MANY), "20000",
            Cold, "How fast the fleet registers its connections again after Redis has lost them; each node takes its share.";
    }
    kafka: Kafka, "kafka", "Where queued messages come from." {
        brokers: String = Text("\"embedded\", \"none\" or host:port with commas", words::is_brokers), "embedded",
            Cold, "\"embedded\": a broker inside the process, for trying out; \"none\": no queue; else Kafka's bootstrap servers.";
        process: bool = Flag, "true",
            Cold, "Whether this node takes messages from the queue; false: others do, nodes or processors.";
        group: String = Text("1 to 249 of A-Z, a-z, 0-9 and \"._-\"", words::is_topic), "holdfast",
            Cold, "The consumer group: its members share the messages. A new one starts at the earliest.";
        properties: Vec<String> = List(Text("name=value, a property of librdkafka", words::is_property), 0, 64), "",
            Cold, "More settings of librdkafka, such as security.protocol=sasl_ssl, sasl.mechanism and sasl.username.";
        password: Option<Secret> = Or("", Hidden), "",
            Cold, "The property sasl.password.";
        password_file: Option<PathBuf> = Or("", File), "",
            Cold, "File that holds kafka.password; read again when it changes, for new connections.";
        session_timeout: u64 = Duration(6 * SECOND, 300 * SECOND), "10s",
            Cold, "After so long without a sign a member's share goes to others: what a killed node costs. Brokers allow 6s and more.";
        in_flight: u64 = Count("messages", 1, 1_000_000), "8192",
            Cold, "Messages of one lane that are under way at once; then the lane is not read.";
        share: u64 = Count("of 100 messages", 0, 50), "10",
            Cold, "Of 100 messages of higher lanes, how many each lower lane is read nevertheless.";
        retry: u64 = Duration(0, 10 * 60 * SECOND), "15s",
            Cold, "How long a message whose node cannot be reached is tried again; longer than a dead node's lease, 10s.";
        dead_letter: Option<String> = Or("", Text("the name of a topic", words::is_topic)), "",
            Cold, "Topic for records that cannot be read; else they are only counted.";
        status_topic: Option<String> = Or("", Text("the name of a topic", words::is_topic)), "",
            Cold, "Topic that gets one record for each outcome.";
        events_topic: Option<String> = Or("", Text("the name of a topic", words::is_topic)), "",
            Cold, "Topic that gets one record for each connect and each disconnect.";
    }
    log: Log, "log", "What is logged to standard error, and how." {
        format: LogFormat = Choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]), "text",
            Cold, "\"text\" for people, \"json\" for machines.";
        level: String = Text(words::LEVEL, words::is_level), "info",
            Hot, "How much is logged.";
    }
}

fn default_of<K: Kind>(kind: &K, default: &str) -> K::Value {
    // A test reads every default, so that none can fail at start.
    kind.parse(&Input::Bare(default.into())).unwrap_or_else(|_| panic!("the default {default:?} is allowed"))
}

/// What a name leads to.
#[derive(Clone, Copy)]
pub enum Found<'a> {
    /// A key of the table.
    Key(&'static Key),
    /// `lanes.NAME.policy`
    LanePolicy(&'a str),
    /// `lanes.NAME.ttl`
    LaneTtl(&'a str),
    /// `lanes.NAME.topics`
    LaneTopics(&'a str),
}

/// Every key of the table.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// Finds a key by its full name.
pub fn find(name: &str) -> Option<Found<'_>> {
    if let Some(key) = keys().find(|key| key.name == name) {
        return Some(Found::Key(key));
    }
    let (lane, key) = name.strip_prefix("lanes.")?.split_once('.')?;
    match key {
        "policy" if words::is_lane(lane) => Some(Found::LanePolicy(lane)),
        "ttl" if words::is_lane(lane) => Some(Found::LaneTtl(lane)),
        "topics" if words::is_lane(lane) => Some(Found::LaneTopics(lane)),
        _ => None,
    }
}

/// The environment variable of a key.
pub fn variable(name: &str) -> String {
    format!("HOLDFAST_{}", name.to_ascii_uppercase().replace(['.', '-'], "_"))
}

/// The full name of the key that an environment variable sets.
pub fn name_of_variable(variable_name: &str) -> Option<String> {
    if let Some(key) = keys().find(|key| variable(key.name) == variable_name) {
        return Some(key.name.into());
    }
    let lane = variable_name.strip_prefix("HOLDFAST_LANES_")?;
    let (lane, key) = lane.rsplit_once('_')?;
    let name = format!("lanes.{}.{}", lane.to_ascii_lowercase().replace('_', "-"), key.to_ascii_lowercase());
    find(&name).is_some().then_some(name)
}

impl Found<'_> {
    /// Sets the value.
    ///
    /// # Errors
    /// When it is not what [`Found::allowed`] says.
    pub fn set(&self, raw: &mut Raw, input: &Input) -> Result<(), Rejected> {
        match self {
            Found::Key(key) => (key.set)(raw, input)?,
            Found::LanePolicy(lane) => {
                let policy = LANE_POLICY.parse(input)?;
                raw.lane.entry((*lane).into()).or_default().policy = Some(policy);
            }
            Found::LaneTtl(lane) => {
                let ttl = LANE_TTL.parse(input)?;
                raw.lane.entry((*lane).into()).or_default().ttl = Some(ttl);
            }
            Found::LaneTopics(lane) => {
                let topics = LANE_TOPICS.parse(input)?;
                raw.lane.entry((*lane).into()).or_default().topics = Some(topics);
            }
        }
        Ok(())
    }

    /// What is allowed, to follow the word "expected".
    pub fn allowed(&self) -> String {
        match self {
            Found::Key(key) => (key.allowed)(),
            Found::LanePolicy(_) => LANE_POLICY.allowed(),
            Found::LaneTtl(_) => LANE_TTL.allowed(),
            Found::LaneTopics(_) => LANE_TOPICS.allowed(),
        }
    }

    /// Whether errors must not show the value.
    pub fn is_secret(&self) -> bool {
        match self {
            Found::Key(key) => (key.is_secret)(),
            Found::LanePolicy(_) | Found::LaneTtl(_) | Found::LaneTopics(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_default_is_allowed_and_reads_back_as_it_is_written() {
        let raw = Raw::default();
        assert!(words::is_topic_pattern(&default_topics("very-high")));
        for key in keys() {
            let document = format!("value = {}", (key.show)(&raw));
            let table: toml::Table = document.parse().unwrap();
            assert!(table.contains_key("value"), "{}", key.name);
            assert!(!(key.allowed)().is_empty() && key.why.ends_with('.'), "{}", key.name);
        }
    }

    #[test]
    fn names_and_variables_are_unique_and_lead_back() {
        let mut seen = HashSet::new();
        for key in keys() {
            assert!(seen.insert(variable(key.name)), "{}", key.name);
            assert_eq!(name_of_variable(&variable(key.name)).as_deref(), Some(key.name));
        }
        assert_eq!(name_of_variable("HOLDFAST_LANES_VERY_HIGH_TTL").as_deref(), Some("lanes.very-high.ttl"));
        for unknown in ["HOLDFAST_PORT", "HOLDFAST_LANES_HIGH_COLOUR", "HOLDFAST_LANES_TTL", "HOLDFAST_"] {
            assert_eq!(name_of_variable(unknown), None, "{unknown}");
        }
        assert!(find("limits.conections").is_none() && find("lanes.A.ttl").is_none());
    }
}
