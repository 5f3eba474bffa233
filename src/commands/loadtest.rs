//! `holdfast loadtest`: clients and senders in numbers against a running node, every message compared.

use super::{FAILED, USAGE, client::NodeAddress, fail, print};
use crate::config::duration::parse_query_ms;
use holdfast_loadtest::{Internal, Plan, Settings, To, parse_sources, run};
use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// Opens many connections to a node, pushes to some and to all, and checks that each message comes exactly once, in order,
/// whole, and to nobody else.
///
/// It compares its counts with the node's /metrics, before and after the clients leave. The node must take the user from a
/// header (auth.mode = "header") and have no other clients meanwhile; a token must be of role admin, since broadcasts need
/// it. Ctrl-C ends the run in order, with a report.
/// Exit 0: all as it must be; 1: not, with a sentence for each number that differs; 2: bad usage.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Client address of the node; repeat it for several ports
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7001")]
    clients: Vec<SocketAddr>,
    #[command(flatten)]
    node: NodeAddress,
    /// Only connect and hold: no pushes, nothing asked of the internal port, nothing compared
    #[arg(long)]
    connect_only: bool,

    /// How many clients
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    connections: u32,
    /// Share of them that speaks SSE, 0 to 1; the rest is WebSocket
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    sse_share: f64,
    /// Connections a second, begun on time whether or not the node keeps up; 0: all at once
    #[arg(long, value_name = "R", default_value_t = 2_000.0, value_parser = rate)]
    rate: f64,
    /// How long they are held once they are open; pushes fall into this time
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    hold: Duration,
    /// Users are called by this and a number
    #[arg(long, value_name = "PREFIX", default_value = "load-", value_parser = name)]
    users: String,
    /// Header that names the user (the node's auth.header)
    #[arg(long, value_name = "NAME", default_value = "X-CUSTOMER_ID", value_parser = name)]
    user_header: String,
    /// Header that names the device (the node's auth.device_header)
    #[arg(long, value_name = "NAME", default_value = "X-DEVICE-ID", value_parser = name)]
    device_header: String,
    /// Clients come back after a goaway (within --back-within) and when they lose their connection
    #[arg(long)]
    reconnect: bool,
    /// After a goaway a client leaves within this time, at a random moment
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = time)]
    leave_within: Duration,
    /// And is back within this time, at a random moment
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    back_within: Duration,
    /// Local addresses to connect from, as a list or range such as 127.0.0.1-127.0.0.40 [default: the kernel's choice; addresses
    /// of 127/8 when one address's ports do not suffice for a local node]
    #[arg(long, value_name = "LIST", value_parser = sources)]
    source: Option<Sources>,
    /// Threads for the clients
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// How long an answer to a handshake is waited for
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    handshake_timeout: Duration,

    /// Messages that each receiver gets
    #[arg(long, value_name = "N", default_value_t = 5)]
    pushes: u32,
    /// Receivers: a sample of the users one by one, all by broadcast, or both
    #[arg(long, value_enum, default_value_t = Receivers::Both)]
    to: Receivers,
    /// Share of the users that is the sample, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    sample: f64,
    /// Messages a second to the sample, sent on time; 0: one request after the other
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    push_rate: f64,
    /// Messages of one request to /v1/messages; 1: each by /v1/users/{user}/push
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    batch: u16,
    /// Size of a message, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = clap::value_parser!(u32).range(80..=8_388_608))]
    size: u32,

    /// Write the report as JSON, too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  holdfast loadtest                                             1,000 clients of the node of this machine
  holdfast loadtest --connections 15000 --rate 5000 --report report.json
  holdfast loadtest --to some --sample 1 --pushes 20 --push-rate 10000
  holdfast loadtest --reconnect --hold 10m                      across the node's lifetimes
  holdfast loadtest --connections 100000 --source 127.0.0.1-127.0.0.8

Each client takes a descriptor here and one at the node: raise the hard limits (ulimit -Hn) for more than they allow.";

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Receivers {
    /// A sample, one by one
    Some,
    /// Everybody at once
    All,
    /// Some, then all
    Both,
}

/// A list that clap takes for one value.
#[derive(Clone, Debug)]
struct Sources(Vec<IpAddr>);

pub fn main(args: &Args) -> i32 {
    let plan = match plan(args) {
        Ok(plan) => plan,
        Err(Bad::Usage(why)) => {
            eprintln!("holdfast: {why}");
            return USAGE;
        }
        Err(Bad::Other(why)) => return fail(why),
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second one ends the process at once.
        let hooked = signal_hook::flag::register_conditional_shutdown(signal, FAILED, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()));
        if let Err(error) = hooked {
            return fail(format_args!("cannot listen to signals: {error}"));
        }
    }
    let report = match run(plan, &stop, &mut |words| eprintln!("{words}")) {
        Ok(report) => report,
        Err(why) => return fail(why),
    };
    if let Some(path) = &args.report
        && let Err(error) = std::fs::write(path, format!("{:#}\n", report.json()))
    {
        return fail(format_args!("cannot write {}: {error}", path.display()));
    }
    let code = print(&report.text());
    if report.is_good() { code } else { code.max(FAILED) }
}

enum Bad {
    Usage(&'static str),
    Other(String),
}

fn plan(args: &Args) -> Result<Plan, Bad> {
    if args.clients.iter().any(|address| address.port() == 0) {
        return Err(Bad::Usage("--clients needs the node's real ports, not 0"));
    }
    let internal = match args.connect_only {
        true => None,
        false => Some(Internal::new(internal(&args.node)?, args.node.token().map_err(Bad::Other)?)),
    };
    let settings = Settings {
        targets: args.clients.clone(),
        sources: args.source.clone().map_or_else(Vec::new, |sources| sources.0),
        user_header: args.user_header.clone(),
        device_header: args.device_header.clone(),
        prefix: args.users.clone(),
        sse_share: args.sse_share,
        threads: args.threads.into(),
        handshake_timeout: args.handshake_timeout,
        reconnect: args.reconnect,
        leave_within: args.leave_within,
        back_within: args.back_within,
    };
    Ok(Plan {
        settings,
        internal,
        connections: args.connections,
        rate: args.rate,
        hold: args.hold,
        pushes: args.pushes,
        to: match args.to {
            Receivers::Some => To::Some,
            Receivers::All => To::All,
            Receivers::Both => To::Both,
        },
        sample: args.sample,
        push_rate: args.push_rate,
        batch: args.batch.into(),
        size: args.size as usize,
    })
}

/// Where the node's internal port is, by number.
fn internal(node: &NodeAddress) -> Result<SocketAddr, Bad> {
    let name = node.address();
    let found = name.to_socket_addrs().map(|mut addresses| addresses.next());
    match found {
        Ok(Some(address)) if address.port() > 0 => Ok(address),
        Ok(Some(_)) => Err(Bad::Usage("--internal needs the node's real port, not 0")),
        Ok(None) => Err(Bad::Other(format!("{name} has no address"))),
        Err(error) => Err(Bad::Other(format!("--internal {name}: {error}"))),
    }
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
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert!(share("1.1").is_err() && share("nan").is_err() && share("0.5").is_ok());
        assert!(
            name("load-").is_ok() && name("a b").is_err() && name("").is_err() && name("a\r\nb").is_err()
        );
        assert_eq!(time("2s"), Ok(Duration::from_secs(2)));
    }
}
