//! The flags of `holdfast loadtest`, and the plan that they make.

use super::queue::{self, Kafka};
use crate::{
    commands::{client::NodeAddress, send},
    config::{Secret, duration::parse_query_ms},
    sender::KafkaSettings,
};
use holdfast_loadtest::{
    AgentAddress, Dialect, Internal, Layout, Nodes, Queue, Report, Returns, Scenario, Settings, Task, Tls,
    parse_sources, report::html,
};
use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    time::Duration,
};

/// What a load test takes.
#[derive(clap::Args)]
pub struct LoadArgs {
    /// What to play once the clients are connected, in this order [default: push fanout; idle without an internal port]
    #[arg(value_name = "SCENARIO", value_parser = ScenarioParser)]
    scenarios: Vec<Scenario>,

    /// Client address of a node; repeat it for several ports and nodes
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7001")]
    clients: Vec<SocketAddr>,
    /// Internal address of a node, repeated for each node of the fleet; none: nothing is asked and nothing compared
    /// [env: HOLDFAST_INTERNAL_LISTEN] [default: 127.0.0.1:7008]
    #[arg(long, value_name = "HOST:PORT")]
    internal: Vec<String>,
    /// Token of the internal ports; better in a file or the environment, as `ps` shows flags [env: HOLDFAST_INTERNAL_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// File that holds the token [env: HOLDFAST_INTERNAL_TOKEN_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,

    /// How many clients
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    connections: u32,
    /// Share of them that speaks SSE, 0 to 1; the rest is WebSocket
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    sse_share: f64,
    /// Connections a second, begun on time whether or not the node keeps up; 0: all at once
    #[arg(long, value_name = "R", default_value_t = 2_000.0, value_parser = rate)]
    rate: f64,
    /// How long idle, lifetimes, churn and soak last
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    hold: Duration,
    /// Share of the clients that storm cuts off, that slow has stop reading, and that vanish in halfopen, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    share: f64,
    /// Visits a second of churn and soak
    #[arg(long, value_name = "R", default_value_t = 500.0, value_parser = finite_rate)]
    churn_rate: f64,
    /// How long storm, drain and halfopen may take
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = time)]
    patience: Duration,

    #[command(flatten, next_help_heading = "Messages")]
    messages: Messages,
    #[command(flatten, next_help_heading = "Clients")]
    habits: Habits,
    #[command(flatten, next_help_heading = "This machine")]
    machine: Machine,

    /// Write the report as JSON, too
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    report: Option<PathBuf>,
    /// Write the report as a page with plots, too
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    html: Option<PathBuf>,
    /// Show no progress
    #[arg(long, help_heading = "Report")]
    quiet: bool,
}

#[derive(clap::Args)]
struct Messages {
    /// Messages that each receiver gets
    #[arg(long, value_name = "N", default_value_t = 5)]
    pushes: u32,
    /// Share of the users that gets messages of its own, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    sample: f64,
    /// Messages a second to the sample, sent on time; 0: one request after the other
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    push_rate: f64,
    /// Messages of one request to /v1/messages; 1: each by /v1/users/{user}/push
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    batch: u16,
    /// Pace a broadcast over this time; 0: at once
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = time)]
    spread: Duration,
    /// Size of a message, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = clap::value_parser!(u32).range(80..=8_388_608))]
    size: u32,
    /// Send messages to single users through these brokers; several with commas
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// The lane of messages through Kafka [default: normal]
    #[arg(long, requires = "kafka")]
    lane: Option<String>,
    /// Property of librdkafka, e.g. security.protocol=sasl_ssl; may be repeated
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = send::property, requires = "kafka")]
    properties: Vec<(String, String)>,
    /// File that holds sasl.password [env: HOLDFAST_KAFKA_PASSWORD_FILE]
    #[arg(long, value_name = "FILE", requires = "kafka")]
    password_file: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Habits {
    /// Whose server it is: holdfast's own habits, Zuul Push's, or any WebSocket or SSE server's
    #[arg(long, value_enum, default_value_t = Protocol::Holdfast)]
    protocol: Protocol,
    /// Path of the request; {user} and {n} stand for the user and its number [default: /ws and /sse]
    #[arg(long, value_name = "TEMPLATE")]
    path: Option<String>,
    /// What follows the path's "?", likewise
    #[arg(long, value_name = "TEMPLATE")]
    query: Option<String>,
    /// Another header, e.g. 'Authorization: Bearer {user}'; may be repeated
    #[arg(long = "header", value_name = "NAME: TEMPLATE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Users are called by this and a number
    #[arg(long, value_name = "PREFIX", default_value = "load-", value_parser = name)]
    users: String,
    /// Header that names the user (the node's auth.header)
    #[arg(long, value_name = "NAME", default_value = "X-CUSTOMER_ID", value_parser = name)]
    user_header: String,
    /// Header that names the device (the node's auth.device_header)
    #[arg(long, value_name = "NAME", default_value = "X-DEVICE-ID", value_parser = name)]
    device_header: String,
    /// Speak TLS (wss, https)
    #[arg(long)]
    tls: bool,
    /// Name that the certificate must be for [default: the address]
    #[arg(long, value_name = "NAME", requires = "tls")]
    tls_name: Option<String>,
    /// Certificates of those who may sign the server's, PEM [default: those that browsers trust]
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_ca: Option<PathBuf>,
    /// Believe any certificate: for a test setup only
    #[arg(long, requires = "tls", conflicts_with_all = ["tls_ca"])]
    tls_insecure: bool,
    /// Clients do not come back after a goaway or when they lose their connection
    #[arg(long)]
    no_reconnect: bool,
    /// After a goaway a client leaves within this time, at a random moment
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = time)]
    leave_within: Duration,
    /// And is back within this time, at a random moment
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    back_within: Duration,
    /// How long an answer to a handshake is waited for
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    handshake_timeout: Duration,
}

#[derive(clap::Args)]
struct Machine {
    /// Local addresses to connect from, as a list or range such as 127.0.0.1-127.0.0.40 [default: the kernel's choice; addresses
    /// of 127/8 when one address's ports do not suffice for a local node]
    #[arg(long, value_name = "LIST", value_parser = sources)]
    source: Option<Sources>,
    /// Threads for the clients, in each process
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Processes for the clients, on each machine [default: as many as the limit of descriptors asks for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    processes: Option<u16>,
    /// Machines that have the clients in place of this one, where `holdfast loadtest agent` runs; several with commas
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', requires = "agent_token_file")]
    agents: Vec<AgentAddress>,
    /// File that holds the agents' token
    #[arg(long, value_name = "FILE", requires = "agents")]
    agent_token_file: Option<PathBuf>,
}

/// A list that clap takes for one value.
#[derive(Clone, Debug)]
struct Sources(Vec<IpAddr>);

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    /// Holdfast
    Holdfast,
    /// Zuul Push
    Zuul,
    /// Anybody's
    Plain,
}

/// Why there is no plan.
pub enum Bad {
    /// The flags do not go together.
    Usage(String),
    /// Something else is in the way.
    Other(String),
}

/// Visitors at once, as far as descriptors are planned for them.
const VISITORS_MAX: u32 = 1_000;

/// A token from its file.
///
/// # Errors
/// When it cannot be read, or is empty.
pub fn token_in(path: &Path) -> Result<String, String> {
    let read = Secret::from_file(path);
    let secret = read.map_err(|error| format!("cannot read the token file {}: {error}", path.display()))?;
    match secret.reveal() {
        "" => Err(format!("the token file {} is empty", path.display())),
        token => Ok(token.to_owned()),
    }
}

/// How a file's text is made.
type Print = fn(&Report) -> Result<String, String>;

fn page(report: &Report) -> Result<String, String> {
    Ok(html(report))
}

impl LoadArgs {
    /// Where the report goes.
    pub fn files(&self) -> Vec<(&Path, Print)> {
        let json = self.report.as_deref().map(|path| (path, Report::json as Print));
        let html = self.html.as_deref().map(|path| (path, page as Print));
        json.into_iter().chain(html).collect()
    }

    /// The plan, and the queue that its messages go through.
    ///
    /// # Errors
    /// When flags do not go together, or a file or a name cannot be read.
    pub fn plan(&self) -> Result<(Task, Option<Box<dyn Queue>>), Bad> {
        if self.clients.iter().any(|address| address.port() == 0) {
            return Err(Bad::Usage("--clients needs the node's real ports, not 0".into()));
        }
        let nodes = self.nodes()?;
        let scenarios = self.scenarios(nodes.is_some())?;
        let messages = &self.messages;
        let queue = messages.queue().map_err(Bad::Other)?;
        let plan = Task {
            settings: self.settings()?,
            layout: self.layout()?,
            nodes,
            scenarios,
            connections: self.connections,
            rate: self.rate,
            hold: self.hold,
            pushes: messages.pushes,
            sample: messages.sample,
            push_rate: messages.push_rate,
            batch: messages.batch.into(),
            spread: messages.spread,
            size: messages.size as usize,
            share: self.share,
            churn_rate: self.churn_rate,
            patience: self.patience,
            command: command_line(),
            quiet: self.quiet,
        };
        Ok((plan, queue))
    }

    fn nodes(&self) -> Result<Option<Nodes>, Bad> {
        if self.internal.iter().any(|name| name == "none") {
            return match self.internal.len() {
                1 => Ok(None),
                _ => Err(Bad::Usage("--internal none goes with no other --internal".into())),
            };
        }
        let token =
            NodeAddress::token_of(self.token.as_deref(), self.token_file.as_deref()).map_err(Bad::Other)?;
        let names = match self.internal.as_slice() {
            [] => vec![NodeAddress::default_address()],
            names => names.to_vec(),
        };
        let ports = names.iter().map(|name| Ok(Internal::new(address(name)?, token.clone())));
        Ok(Nodes::new(ports.collect::<Result<_, _>>()?))
    }

    fn scenarios(&self, has_nodes: bool) -> Result<Vec<Scenario>, Bad> {
        if self.scenarios.is_empty() {
            return Ok(if has_nodes { vec![Scenario::Push, Scenario::Fanout] } else { vec![Scenario::Idle] });
        }
        match self.scenarios.iter().find(|scenario| scenario.needs_internal() && !has_nodes) {
            Some(scenario) => Err(Bad::Usage(format!(
                "{} needs the node's internal port: name it with --internal",
                scenario.label()
            ))),
            None => Ok(self.scenarios.clone()),
        }
    }

    fn layout(&self) -> Result<Layout, Bad> {
        let machine = &self.machine;
        let token = machine.agent_token_file.as_deref().map(token_in).transpose().map_err(Bad::Other)?;
        // Visitors come on top.
        let visits = match self.scenarios.iter().any(|it| matches!(it, Scenario::Churn | Scenario::Soak)) {
            true => VISITORS_MAX,
            false => 0,
        };
        Ok(Layout {
            threads: machine.threads.into(),
            processes: machine.processes.map_or(0, usize::from),
            agents: machine.agents.clone(),
            token,
            connections: self.connections.saturating_add(visits),
            worker_command: Vec::new(),
        })
    }

    fn settings(&self) -> Result<Settings, Bad> {
        let (habits, machine) = (&self.habits, &self.machine);
        Ok(Settings {
            targets: self.clients.clone(),
            sources: machine.source.clone().map_or_else(Vec::new, |sources| sources.0),
            user_header: habits.user_header.clone(),
            device_header: habits.device_header.clone(),
            prefix: habits.users.clone(),
            sse_share: self.sse_share,
            threads: machine.threads.into(),
            handshake_timeout: habits.handshake_timeout,
            reconnect: !habits.no_reconnect,
            leave_within: habits.leave_within,
            back_within: habits.back_within,
            dialect: match habits.protocol {
                Protocol::Holdfast => Dialect::Holdfast,
                Protocol::Zuul => Dialect::Zuul,
                Protocol::Plain => Dialect::Plain,
            },
            paths: habits.path.clone(),
            query: habits.query.clone(),
            headers: habits.headers.clone(),
            tls: habits.tls().map_err(Bad::Other)?,
            returns: if self.clients.len() > 1 { Returns::Any } else { Returns::Same },
            ..Settings::new(self.clients[0])
        })
    }
}

impl Messages {
    fn queue(&self) -> Result<Option<Box<dyn Queue>>, String> {
        let Some(brokers) = &self.kafka else { return Ok(None) };
        let mut settings = KafkaSettings { timeout: queue::TIMEOUT, ..KafkaSettings::new(brokers) };
        if let Some(lane) = &self.lane {
            settings.lane.clone_from(lane);
        }
        settings.properties.clone_from(&self.properties);
        settings.password = send::password(self.password_file.as_deref())?;
        Ok(Some(Box::new(Kafka::start(settings)?)))
    }
}

impl Habits {
    fn tls(&self) -> Result<Option<Tls>, String> {
        if !self.tls {
            return Ok(None);
        }
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| format!("cannot read --tls-ca {}: {error}", path.display()))
        };
        let roots_pem = self.tls_ca.as_ref().map(read).transpose()?;
        Ok(Some(Tls { name: self.tls_name.clone(), roots_pem, verify: !self.tls_insecure }))
    }
}

/// Where an internal port is, by number.
fn address(name: &str) -> Result<SocketAddr, Bad> {
    let found = name.to_socket_addrs().map(|mut addresses| addresses.next());
    match found {
        Ok(Some(address)) if address.port() > 0 => Ok(address),
        Ok(Some(_)) => Err(Bad::Usage("--internal needs the node's real port, not 0".into())),
        Ok(None) => Err(Bad::Other(format!("{name} has no address"))),
        Err(error) => Err(Bad::Other(format!("--internal {name}: {error}"))),
    }
}

/// The command line as a report may show it: without tokens, and without what headers say.
fn command_line() -> Vec<String> {
    let mut hides = false;
    let args = std::env::args().map(|arg| {
        let (flag, value) =
            arg.split_once('=').map_or((arg.as_str(), None), |(flag, value)| (flag, Some(value)));
        let is_secret = matches!(flag, "--token" | "--header" | "--property");
        match (std::mem::take(&mut hides), value) {
            (true, _) => "***".to_owned(),
            (false, Some(_)) if is_secret => format!("{flag}=***"),
            (false, None) if is_secret => {
                hides = true;
                arg
            }
            _ => arg,
        }
    });
    args.collect()
}

#[derive(Clone)]
struct ScenarioParser;

impl clap::builder::TypedValueParser for ScenarioParser {
    type Value = Scenario;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Scenario, clap::Error> {
        let labels = clap::builder::PossibleValuesParser::new(possible());
        let label = labels.parse_ref(command, arg, value)?;
        let found = Scenario::ALL.into_iter().find(|scenario| scenario.label() == label);
        Ok(found.expect("the parser takes labels only"))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = clap::builder::PossibleValue> + '_>> {
        Some(Box::new(possible().into_iter()))
    }
}

fn possible() -> Vec<clap::builder::PossibleValue> {
    let value =
        |scenario: Scenario| clap::builder::PossibleValue::new(scenario.label()).help(scenario.about());
    Scenario::ALL.into_iter().map(value).collect()
}

fn share(text: &str) -> Result<f64, &'static str> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or("expected a number from 0 to 1")
}

/// A rate; 0 stands for no limit.
fn rate(text: &str) -> Result<f64, &'static str> {
    match text.parse::<f64>() {
        Ok(0.0) => Ok(f64::INFINITY),
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("expected a number a second, or 0 for no limit"),
    }
}

fn finite_rate(text: &str) -> Result<f64, &'static str> {
    let rate = text.parse::<f64>().ok().filter(|rate| *rate > 0.0 && rate.is_finite());
    rate.ok_or("expected a number a second, above 0")
}

fn time(text: &str) -> Result<Duration, &'static str> {
    let time = parse_query_ms(text).map(Duration::from_millis);
    time.ok_or("expected a duration like 250ms, 30s or 10m")
}

/// What goes into a line of a request's head as it is.
fn name(text: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = (1..=200).contains(&text.len()) && text.bytes().all(is_plain);
    fits.then(|| text.to_owned()).ok_or("expected 1 to 200 letters, digits, \"-\", \"_\" or \".\"")
}

fn header(text: &str) -> Result<(String, String), &'static str> {
    let expected = "expected 'NAME: VALUE' in printable ASCII";
    let (header, value) = text.split_once(':').ok_or(expected)?;
    let is_value = value.bytes().all(|byte| (b' '..=b'~').contains(&byte) || byte == b'\t');
    match name(header.trim()) {
        Ok(header) if is_value => Ok((header, value.trim().to_owned())),
        _ => Err(expected),
    }
}

fn sources(text: &str) -> Result<Sources, String> {
    parse_sources(text).map(Sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked() {
        assert_eq!(rate("0"), Ok(f64::INFINITY));
        assert_eq!(rate("2.5"), Ok(2.5));
        for bad in ["-1", "inf", "nan", "fast"] {
            assert!(rate(bad).is_err() && finite_rate(bad).is_err(), "{bad}");
        }
        assert!(finite_rate("0").is_err());
        assert!(share("1.1").is_err() && share("nan").is_err() && share("0.5").is_ok());
        assert!(
            name("load-").is_ok() && name("a b").is_err() && name("").is_err() && name("a\r\nb").is_err()
        );
        assert_eq!(time("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(header("A: b c "), Ok(("A".into(), "b c".into())));
        for bad in ["A", "A\r\nB: c", "A: b\r\nC: d", ": b", "A B: c"] {
            assert!(header(bad).is_err(), "{bad}");
        }
    }
}
