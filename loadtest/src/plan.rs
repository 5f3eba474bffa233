//! What a fleet of clients is, and whether this machine can be it: addresses, ports, descriptors.
//!
//! Never opens a connection.

use crate::{
    client::{Dialect, Protocol, template::Forms},
    room::OTHER_DESCRIPTORS,
};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Connections from one address to one port that the kernel finds a free port for without a long search.
const PORTS_PER_SOURCE: u32 = 28_000;
/// Most addresses that a list or range may name.
const SOURCES_MAX: usize = 65_536;
/// The port that is not said with a name.
const HTTPS_PORT: u16 = 443;
/// The kernel's range of ports for connections, where its file cannot be read: Linux's own default.
const PORT_RANGE: (u32, u32) = (32_768, 60_999);

/// Who the clients are and how they behave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Client addresses of the node, taken in turn.
    pub targets: Vec<SocketAddr>,
    /// Addresses of this machine to connect from, taken in turn; none: the kernel's choice.
    pub sources: Vec<IpAddr>,
    /// Header that names the user.
    pub user_header: String,
    /// Header that names the device; every client's is called `load`.
    pub device_header: String,
    /// User n is called by this and n.
    pub prefix: String,
    /// How many of all clients speak SSE, 0 to 1; the rest WebSocket.
    pub sse_share: f64,
    /// Threads, each with an event loop of its own.
    pub threads: usize,
    /// Those of all threads that are on this machine; none: all of them are.
    pub here: Option<Share>,
    /// How long an answer to a handshake is waited for.
    pub handshake_timeout: Duration,
    /// Whether clients come back after a goaway or a lost connection.
    pub reconnect: bool,
    /// A client leaves at a random moment of this time after its goaway.
    pub leave_within: Duration,
    /// And comes back at a random moment of this time after its end.
    pub back_within: Duration,
    /// Whose habits the server has.
    pub dialect: Dialect,
    /// The path, for both protocols, with placeholders ([`crate::client::template`]); none: `/ws` and `/sse`.
    pub paths: Option<String>,
    /// What follows a `?` behind the path, with placeholders.
    pub query: Option<String>,
    /// Further headers: their names, and their values with placeholders.
    pub headers: Vec<(String, String)>,
    /// The connections are encrypted; none: they are not.
    pub tls: Option<Tls>,
    /// To which target a client comes back.
    pub returns: Returns,
    /// Whether a client that comes back waits for as long as the server said, and not for [`Self::back_within`].
    pub hints: bool,
    /// Whether a client that was refused, or got no answer, tries again.
    pub retry_refused: bool,
}

/// How clients come and go: what may change while they are connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Habits {
    /// [`Settings::reconnect`]
    pub reconnect: bool,
    /// [`Settings::hints`]
    pub hints: bool,
    /// [`Settings::retry_refused`]
    pub retry_refused: bool,
    /// [`Settings::leave_within`]
    pub leave_within: Duration,
    /// [`Settings::back_within`]
    pub back_within: Duration,
}

/// Some of all threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Share {
    /// The first of them.
    pub first: u32,
    /// How many.
    pub threads: u32,
}

/// How targets are spoken to by TLS.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tls {
    /// The name that the certificate must be valid for; none: the target's address.
    pub name: Option<String>,
    /// Certificates of those who may sign, PEM; none: those that browsers trust.
    pub roots_pem: Option<Vec<u8>>,
    /// Whether the certificate is looked at.
    pub verify: bool,
}

/// To which target a client comes back.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Returns {
    /// The one that it had.
    #[default]
    Same,
    /// Any but the one that it had, where there are several.
    Any,
}

/// What every client's device is called.
pub const DEVICE: &str = "load";

impl Settings {
    /// Clients of one node, half of them SSE, on one thread, that come back.
    pub fn new(target: SocketAddr) -> Self {
        Self {
            targets: vec![target],
            sources: Vec::new(),
            user_header: "X-CUSTOMER_ID".into(),
            device_header: "X-DEVICE-ID".into(),
            prefix: "load-".into(),
            sse_share: 0.5,
            threads: 1,
            here: None,
            handshake_timeout: Duration::from_secs(10),
            reconnect: true,
            leave_within: Duration::from_secs(1),
            back_within: Duration::from_secs(1),
            dialect: Dialect::Holdfast,
            paths: None,
            query: None,
            headers: Vec::new(),
            tls: None,
            returns: Returns::Same,
            hints: false,
            retry_refused: false,
        }
    }

    /// What client `client` speaks: the protocols are mixed as evenly as the share allows.
    pub fn protocol(&self, client: u32) -> Protocol {
        let before = |client: f64| (client * self.sse_share).floor();
        let is_sse = before(f64::from(client) + 1.0) > before(f64::from(client));
        if is_sse { Protocol::Sse } else { Protocol::WebSocket }
    }

    /// How its clients come and go.
    pub fn habits(&self) -> Habits {
        let &Self { reconnect, hints, retry_refused, leave_within, back_within, .. } = self;
        Habits { reconnect, hints, retry_refused, leave_within, back_within }
    }

    /// From now on they do so.
    pub fn adopt(&mut self, habits: Habits) {
        Habits {
            reconnect: self.reconnect,
            hints: self.hints,
            retry_refused: self.retry_refused,
            leave_within: self.leave_within,
            back_within: self.back_within,
        } = habits;
    }

    /// The parts of a request that differ by client.
    ///
    /// # Errors
    /// Which of them cannot be read or sent, and why.
    pub fn forms(&self) -> Result<Forms, String> {
        Forms::parse(self.paths.as_deref(), self.query.as_deref(), &self.headers)
    }

    /// What each target is called in a request: by its address, or by the name that its certificate is for.
    pub fn hosts(&self) -> Vec<String> {
        let name = self.tls.as_ref().and_then(|tls| tls.name.as_deref());
        let host = |target: &SocketAddr| match name {
            Some(name) if target.port() == HTTPS_PORT => name.to_owned(),
            Some(name) => format!("{name}:{}", target.port()),
            None => target.to_string(),
        };
        self.targets.iter().map(host).collect()
    }

    /// The place of a client among those of its machine, from 0 and without gaps. By it they take targets and sources in
    /// turn: by its number those of one machine would take, say, only every other source.
    pub fn turn(&self, client: u32) -> u32 {
        let Some(here) = self.here else { return client };
        let threads = self.threads.max(1) as u32;
        (client / threads) * here.threads + (client % threads).saturating_sub(here.first)
    }

    /// What user `client` is called.
    pub fn user(&self, client: u32) -> String {
        format!("{}{client}", self.prefix)
    }
}

/// Whether a client is one of a share of them, 0 to 1: the same ones each time, and evenly spread over all numbers.
pub fn is_chosen(client: u32, share: f64) -> bool {
    // Fibonacci hashing: the golden ratio spreads consecutive numbers (Knuth, The Art of Computer Programming 3, 6.4).
    const GOLDEN: u32 = 0x9E37_79B1;
    f64::from(client.wrapping_mul(GOLDEN)) < share * 4_294_967_296.0
}

/// Reads a list of addresses and ranges: `127.0.0.1-127.0.0.40,10.0.0.9`.
///
/// # Errors
/// What cannot be read, and what is expected.
pub fn parse_sources(text: &str) -> Result<Vec<IpAddr>, String> {
    let mut sources = Vec::new();
    for part in text.split(',').map(str::trim) {
        let wrong = || format!("{part:?} is neither an address nor a range such as 127.0.0.1-127.0.0.40");
        match part.split_once('-') {
            None => sources.push(part.parse().map_err(|_| wrong())?),
            Some((first, last)) => {
                let number = |text: &str| text.trim().parse::<Ipv4Addr>().map(u32::from).map_err(|_| wrong());
                let (first, last) = (number(first)?, number(last)?);
                if first > last || (last - first) as usize >= SOURCES_MAX {
                    return Err(format!("{part:?} is empty or names more than {SOURCES_MAX} addresses"));
                }
                sources.extend((first..=last).map(|number| IpAddr::V4(number.into())));
            }
        }
    }
    if sources.len() > SOURCES_MAX {
        return Err(format!("more than {SOURCES_MAX} addresses"));
    }
    Ok(sources)
}

/// The addresses to connect from: those given, none where one address's ports suffice, else addresses of 127/8.
///
/// # Errors
/// When the ports do not suffice: the limit and the remedy.
pub fn plan_sources(
    connections: u32,
    targets: &[SocketAddr],
    given: Vec<IpAddr>,
) -> Result<Vec<IpAddr>, String> {
    plan_sources_with(connections, targets, given, port_range())
}

fn plan_sources_with(
    connections: u32,
    targets: &[SocketAddr],
    given: Vec<IpAddr>,
    (first, last): (u32, u32),
) -> Result<Vec<IpAddr>, String> {
    let ports = u64::from(last.saturating_sub(first)) + 1;
    let reached = ports * targets.len() as u64;
    let wanted = u64::from(connections);
    // The kernel looks for a free port in one half of them first, odd or even ones, and through all of those before it turns to
    // the other: what a connection costs grows a thousandfold where the first is full.
    if given.is_empty() && wanted <= reached / 2 * 9 / 10 {
        return Ok(given);
    }
    if given.is_empty() && targets.iter().all(|target| target.ip().is_loopback() && target.is_ipv4()) {
        let count = connections.div_ceil(PORTS_PER_SOURCE.min(ports as u32 / 2) * targets.len() as u32);
        let first = u32::from(Ipv4Addr::LOCALHOST);
        return Ok((first..=first + count).map(|number| IpAddr::V4(number.into())).collect());
    }
    let sources = given.len().max(1) as u64;
    if wanted > reached * sources {
        return Err(format!(
            "{connections} connections need more ports than there are: {sources} source address(es) x {ports} local ports \
             (net.ipv4.ip_local_port_range {first} {last}) x {} address(es) of the node = {}. Name more addresses of this \
             machine with --source, more ports of the node with --clients, or widen the range \
             (sysctl net.ipv4.ip_local_port_range='1024 65535')",
            targets.len(),
            reached * sources
        ));
    }
    Ok(given)
}

fn port_range() -> (u32, u32) {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    numbers.next().zip(numbers.next()).unwrap_or(PORT_RANGE)
}

/// Raises the descriptor limit to the hard limit.
///
/// # Errors
/// When that does not suffice: the limit and the remedy.
pub fn raise_descriptors(connections: u32) -> Result<(), String> {
    let needed = u64::from(connections) + OTHER_DESCRIPTORS;
    let limit = rlimit::increase_nofile_limit(u64::MAX)
        .map_err(|error| format!("cannot raise the limit of descriptors: {error}"))?;
    if limit >= needed {
        return Ok(());
    }
    Err(format!(
        "{connections} connections need {needed} descriptors, and the hard limit of this process is {limit}: raise it \
         (ulimit -Hn, LimitNOFILE, fs.nr_open), or ask for at most {} connections",
        limit.saturating_sub(OTHER_DESCRIPTORS)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn sources_are_lists_and_ranges() {
        let four = parse_sources("127.0.0.1-127.0.0.3, 10.0.0.9").unwrap();
        assert_eq!(four.len(), 4);
        assert_eq!(four[2], "127.0.0.3".parse::<IpAddr>().unwrap());
        assert_eq!(parse_sources("::1").unwrap().len(), 1);
        for bad in ["", "here", "127.0.0.9-127.0.0.1", "1.0.0.0-2.0.0.0", "::1-::2"] {
            assert!(parse_sources(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_kernel_chooses_as_long_as_one_address_suffices() {
        let range = (10_000, 65_535);
        let local = [target("127.0.0.1:7001")];
        assert_eq!(plan_sources_with(24_000, &local, Vec::new(), range), Ok(Vec::new()));
        // More than the half of the ports that is looked through first.
        assert!(!plan_sources_with(30_000, &local, Vec::new(), range).unwrap().is_empty());
        let planned = plan_sources_with(1_000_000, &local, Vec::new(), range).unwrap();
        assert!((36..=40).contains(&planned.len()), "{}", planned.len());
        let remote = [target("192.0.2.1:7001")];
        let fault = plan_sources_with(100_000, &remote, Vec::new(), range).unwrap_err();
        assert!(fault.contains("ip_local_port_range") && fault.contains("--source"), "{fault}");
        let given = vec!["192.0.2.2".parse().unwrap(), "192.0.2.3".parse().unwrap()];
        assert_eq!(plan_sources_with(100_000, &remote, given.clone(), range), Ok(given));
    }

    #[test]
    fn a_share_is_chosen_evenly() {
        for (share, expected) in [(0.0, 0), (0.01, 10), (0.25, 250), (1.0, 1_000)] {
            for first in [0, 17, 500_000] {
                let chosen = (first..first + 1_000).filter(|&client| is_chosen(client, share)).count();
                assert!(chosen.abs_diff(expected) <= 2, "{share}: {chosen}");
            }
        }
    }

    #[test]
    fn the_clients_of_each_machine_take_turns() {
        let mut settings = Settings::new(target("127.0.0.1:1"));
        settings.threads = 10;
        assert_eq!(settings.turn(1_234_567), 1_234_567);
        for (first, threads) in [(0, 4), (4, 1), (5, 5)] {
            settings.here = Some(Share { first, threads });
            let mine = (0..1_000).filter(|client| (first..first + threads).contains(&(client % 10)));
            let turns: Vec<u32> = mine.map(|client| settings.turn(client)).collect();
            assert_eq!(turns, (0..threads * 100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn settings_can_be_written_down() {
        let mut settings = Settings::new(target("[::1]:443"));
        settings.sources = vec!["127.0.0.9".parse().unwrap()];
        settings.headers = vec![("Cookie".into(), "u={user}".into())];
        settings.tls =
            Some(Tls { name: Some("push.example".into()), roots_pem: Some(vec![1]), verify: true });
        (settings.dialect, settings.returns) = (Dialect::Zuul, Returns::Any);
        let text = serde_json::to_string(&settings).unwrap();
        let read: Settings = serde_json::from_str(&text).unwrap();
        assert_eq!(format!("{read:?}"), format!("{settings:?}"));
        assert_eq!((read.hosts(), read.forms().is_ok()), (vec!["push.example".to_owned()], true));
        settings.targets.push(target("192.0.2.1:8443"));
        assert_eq!(settings.hosts()[1], "push.example:8443");
        settings.tls = None;
        assert_eq!(settings.hosts(), ["[::1]:443", "192.0.2.1:8443"]);
    }

    #[test]
    fn protocols_are_mixed_by_the_share() {
        let mut settings = Settings::new(target("127.0.0.1:1"));
        for (share, expected) in [(0.0, 0), (0.5, 500), (0.1, 100), (1.0, 1_000)] {
            settings.sse_share = share;
            let sse = (0..1_000).filter(|&client| settings.protocol(client) == Protocol::Sse).count();
            assert!(sse.abs_diff(expected) <= 1, "{share}: {sse}");
        }
    }
}
