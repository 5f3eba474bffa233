//! What a fleet counts.

use crate::client::Protocol;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, io};

/// How an open connection ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The client left, and the server let it.
    Left,
    /// The server closed it with this code.
    Server(u16),
    /// The client reset it.
    Aborted,
    /// The server ended it without a word.
    Lost,
    /// A reset from the other side.
    Reset,
    /// The server did not finish the close in time.
    Stuck,
    /// The client vanished, as it was told to: its end of the connection stays, deaf and dumb, until it is buried.
    Vanished,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Left => f.write_str("left"),
            Ending::Server(code) => write!(f, "closed by the server with {code}"),
            Ending::Aborted => f.write_str("reset by the client"),
            Ending::Lost => f.write_str("ended by the server without a word"),
            Ending::Reset => f.write_str("reset by the server"),
            Ending::Stuck => f.write_str("not let go by the server in time"),
            Ending::Vanished => f.write_str("vanished"),
        }
    }
}

/// Why a connection did not come to be, other than by an answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Nothing listens.
    NobodyThere,
    /// The server ended it before it answered.
    CutOff,
    /// No answer in time.
    Silence,
    /// This machine has no port left.
    NoPort,
    /// This process or machine has no descriptor left.
    NoDescriptor,
    /// The source address is not of this machine.
    NoSource,
    /// What answered does not speak the protocol.
    Stranger,
    /// What answered speaks TLS, and was not spoken to by it.
    WantsTls,
    /// What answered does not speak TLS, or not as it must.
    NotTls,
    /// Its certificate is not valid for it, or not signed by who is trusted.
    Certificate,
    /// It speaks TLS and does not go on, or there is no version or cipher that both know.
    NoAgreement,
    /// No way there.
    Unreachable,
}

impl Failure {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => Failure::NobodyThere,
            Some(libc::EADDRNOTAVAIL | libc::EADDRINUSE | libc::EAGAIN) => Failure::NoPort,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Failure::NoDescriptor,
            Some(libc::ETIMEDOUT) => Failure::Silence,
            Some(libc::ECONNRESET | libc::EPIPE) => Failure::CutOff,
            _ => Failure::Unreachable,
        }
    }

    /// What happened, and what to do about it.
    pub const fn words(self) -> &'static str {
        match self {
            Failure::NobodyThere => {
                "nothing listens there: is the node running, and is this its client address?"
            }
            Failure::CutOff => {
                "the server ended the connection before it answered: does it, or a balancer in front, want PROXY protocol \
                 or TLS, or is it out of descriptors?"
            }
            Failure::Silence => {
                "no answer in time: is the node overloaded (lower --rate), or does a firewall drop packets?"
            }
            Failure::NoPort => {
                "this machine has no free port left for the address: name more addresses with --source or --clients, widen \
                 net.ipv4.ip_local_port_range, or wait a minute for TIME_WAIT to pass"
            }
            Failure::NoDescriptor => {
                "no descriptor or memory left for a socket: raise ulimit -Hn, fs.file-max or net.ipv4.tcp_mem"
            }
            Failure::NoSource => "the source address is not one of this machine's: correct --source",
            Failure::Stranger => {
                "what answers there does not speak the protocol: is it the client address of a node?"
            }
            Failure::WantsTls => "the target speaks TLS: give its address as wss:// or https://",
            Failure::NotTls => {
                "the target does not speak TLS: give its address as ws:// or http://, or name the port that does"
            }
            Failure::Certificate => {
                "the target's certificate is not valid for its name, is out of date, or is signed by nobody that is trusted: \
                 connect by the name that it is for, name the certificate that signed it, or do not verify it"
            }
            Failure::NoAgreement => {
                "the target ended the TLS handshake: does it know TLS 1.2 or 1.3, serve this name, or want a certificate of \
                 its clients?"
            }
            Failure::Unreachable => "no way there: is there a route to the address, and is its network up?",
        }
    }
}

/// A message that a client got and that was for it alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// The client's number.
    pub client: u32,
    /// The message's.
    pub sequence: u32,
}

/// Counts by protocol.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct ByProtocol {
    /// WebSocket.
    pub websocket: u64,
    /// SSE.
    pub sse: u64,
}

impl ByProtocol {
    /// Both together.
    pub fn sum(self) -> u64 {
        self.websocket + self.sse
    }

    /// One of them.
    pub fn of(self, protocol: Protocol) -> u64 {
        match protocol {
            Protocol::WebSocket => self.websocket,
            Protocol::Sse => self.sse,
        }
    }

    pub(super) fn at(&mut self, protocol: Protocol) -> &mut u64 {
        match protocol {
            Protocol::WebSocket => &mut self.websocket,
            Protocol::Sse => &mut self.sse,
        }
    }
}

/// Words about single faults that are kept; all are counted.
const FAULTS_KEPT: usize = 10;
/// One place of [`Tally::goaways_at`], us.
pub const GOAWAY_SLICE_US: u64 = 100_000;

/// What was counted since the fleet started.
#[derive(Clone)]
pub struct Tally {
    /// Connections begun, reconnects included.
    pub started: u64,
    /// Handshakes that succeeded.
    pub opened: ByProtocol,
    /// Open now.
    pub open: ByProtocol,
    /// Begun, and neither open nor failed.
    pub in_flight: u64,
    /// Planned and not begun.
    pub planned: u64,
    /// Gone and about to come back.
    pub away: u64,
    /// Refused by an answer, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Not answered.
    pub failed: BTreeMap<Failure, u64>,
    /// Open connections that ended.
    pub endings: BTreeMap<Ending, u64>,
    /// Goaways that came.
    pub goaways: u64,
    /// When they came, in slices of 100 ms since the run began.
    pub goaways_at: Vec<u32>,
    /// Connections opened by clients that came back.
    pub reconnected: u64,
    /// Connections that were begun again after a refusal or a failure.
    pub retried: u64,
    /// Clients that have vanished and still hold their sockets; not among the open ones.
    pub vanished: u64,
    /// Sockets of such clients that were reset.
    pub buried: u64,
    /// Open connections that are not read now.
    pub stalled: u64,
    /// What the processes of the clients have used of the processors, user and system, us.
    pub cpu_us: u64,
    /// What those processes have of the memory together, bytes.
    pub rss_bytes: u64,
    /// How many there are.
    pub processes: u32,
    /// How many of them have ended before they were told to.
    pub gone_processes: u32,
    /// Messages for one client that came.
    pub direct: u64,
    /// Copies of messages for all that came.
    pub broadcast: u64,
    /// Messages that came and are not of a load; of servers that are no nodes.
    pub others: u64,
    /// Of each of those, by its number, how many.
    pub copies: Vec<u32>,
    /// What came for one client since this was asked last.
    pub receipts: Vec<Receipt>,
    /// What the server did wrong.
    pub faults: u64,
    /// The first of it, in words.
    pub fault_words: Vec<String>,
    /// From the intended start of a connection to its being open, us.
    pub handshake_us: Histogram<u64>,
    /// From the intended sending of a message to its arrival, us.
    pub delivery_us: Histogram<u64>,
    /// How late this program itself was to begin a connection, us.
    pub late_us: Histogram<u64>,
}

/// The counts; lists and histograms would fill pages.
impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally")
            .field("started", &self.started)
            .field("opened", &self.opened)
            .field("open", &self.open)
            .field("in_flight", &self.in_flight)
            .field("planned", &self.planned)
            .field("away", &self.away)
            .field("refused", &self.refused)
            .field("failed", &self.failed)
            .field("endings", &self.endings)
            .field("goaways", &self.goaways)
            .field("reconnected", &self.reconnected)
            .field("retried", &self.retried)
            .field("vanished", &self.vanished)
            .field("buried", &self.buried)
            .field("stalled", &self.stalled)
            .field("direct", &self.direct)
            .field("broadcast", &self.broadcast)
            .field("faults", &self.faults)
            .field("fault_words", &self.fault_words)
            .finish_non_exhaustive()
    }
}

/// Up to ten minutes, with two significant digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 2).expect("these bounds are valid")
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            started: 0,
            opened: ByProtocol::default(),
            open: ByProtocol::default(),
            in_flight: 0,
            planned: 0,
            away: 0,
            refused: BTreeMap::new(),
            failed: BTreeMap::new(),
            endings: BTreeMap::new(),
            goaways: 0,
            goaways_at: Vec::new(),
            reconnected: 0,
            retried: 0,
            vanished: 0,
            buried: 0,
            stalled: 0,
            cpu_us: 0,
            rss_bytes: 0,
            processes: 0,
            gone_processes: 0,
            direct: 0,
            broadcast: 0,
            others: 0,
            copies: Vec::new(),
            receipts: Vec::new(),
            faults: 0,
            fault_words: Vec::new(),
            handshake_us: histogram(),
            delivery_us: histogram(),
            late_us: histogram(),
        }
    }
}

impl Tally {
    pub(super) fn fault(&mut self, words: String) {
        self.faults += 1;
        if self.fault_words.len() < FAULTS_KEPT {
            self.fault_words.push(words);
        }
    }

    pub(super) fn count_goaway(&mut self, now_us: u64) {
        self.goaways += 1;
        bump(&mut self.goaways_at, (now_us / GOAWAY_SLICE_US) as usize, 1);
    }

    pub(super) fn count_copy(&mut self, sequence: u32) {
        self.broadcast += 1;
        bump(&mut self.copies, sequence as usize, 1);
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: Tally) {
        self.started += other.started;
        for protocol in Protocol::ALL {
            *self.opened.at(protocol) += other.opened.of(protocol);
            *self.open.at(protocol) += other.open.of(protocol);
        }
        self.in_flight += other.in_flight;
        self.planned += other.planned;
        self.away += other.away;
        add_map(&mut self.refused, other.refused);
        add_map(&mut self.failed, other.failed);
        add_map(&mut self.endings, other.endings);
        self.goaways += other.goaways;
        self.reconnected += other.reconnected;
        self.retried += other.retried;
        self.vanished += other.vanished;
        self.buried += other.buried;
        self.stalled += other.stalled;
        self.cpu_us += other.cpu_us;
        self.rss_bytes += other.rss_bytes;
        self.processes += other.processes;
        self.gone_processes += other.gone_processes;
        self.direct += other.direct;
        self.broadcast += other.broadcast;
        self.others += other.others;
        other.goaways_at.iter().enumerate().for_each(|(at, &count)| bump(&mut self.goaways_at, at, count));
        other.copies.iter().enumerate().for_each(|(at, &count)| bump(&mut self.copies, at, count));
        self.receipts.extend(other.receipts);
        self.faults += other.faults;
        self.fault_words.extend(other.fault_words);
        self.fault_words.truncate(FAULTS_KEPT);
        let same = "all have the same bounds";
        self.handshake_us.add(&other.handshake_us).expect(same);
        self.delivery_us.add(&other.delivery_us).expect(same);
        self.late_us.add(&other.late_us).expect(same);
    }

    /// Connections that ended after they were open.
    pub fn ended(&self) -> u64 {
        self.endings.values().sum()
    }

    /// Those of them that ended so.
    pub fn ended_by(&self, ending: Ending) -> u64 {
        self.endings.get(&ending).copied().unwrap_or(0)
    }

    /// Connections that were refused or not answered.
    pub fn not_opened(&self) -> u64 {
        self.refused.values().sum::<u64>() + self.failed.values().sum::<u64>()
    }

    /// Nothing is under way, planned or about to come back.
    pub fn is_settled(&self) -> bool {
        self.in_flight == 0 && self.planned == 0 && self.away == 0
    }
}

fn bump(list: &mut Vec<u32>, at: usize, by: u32) {
    if list.len() <= at {
        list.resize(at + 1, 0);
    }
    list[at] += by;
}

fn add_map<K: Ord>(to: &mut BTreeMap<K, u64>, from: BTreeMap<K, u64>) {
    for (key, count) in from {
        *to.entry(key).or_default() += count;
    }
}
