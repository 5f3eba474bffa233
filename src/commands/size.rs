//! `holdfast size`: which nodes, and how many.

use super::{DONE, FAILED, USAGE, fail, print};
use crate::{
    config::duration::parse_ms,
    ops::{
        amount,
        size::{self, EXAMPLES as EXAMPLE_TYPES, Question, Tls, TypeList},
    },
};
use std::path::PathBuf;

/// Compares fleets of different nodes: what each costs, and what the loss of a node does to the rest.
///
/// Few large nodes hurt when one is lost: its clients all come to the others at once. Many small ones cost more and take long to
/// deploy. Of each type of node in the list it finds the smallest fleet that bears what you ask, and recommends the cheapest.
/// The prices that come with it are examples: give your own with --types.
/// Exit 0: there is a fleet to recommend; 1: none, with the reasons; 2: bad usage.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Connections that are open at the busiest moment, like 250k or 10M
    #[arg(long, value_name = "N", value_parser = amount::parse_some, required_unless_present = "print_types")]
    connections: Option<u64>,
    /// TOML file of node types: name, cores, memory and price of each [default: examples that come with this program]
    #[arg(long, value_name = "FILE")]
    types: Option<PathBuf>,
    /// Print the example file of node types, to begin your own with
    #[arg(long, exclusive = true)]
    print_types: bool,
    #[command(flatten)]
    wishes: Wishes,
    #[command(flatten)]
    measured: Measured,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page with plots to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What the fleet is to be like.
#[derive(clap::Args)]
struct Wishes {
    /// Share of what nodes can hold that they hold then
    #[arg(long, value_name = "SHARE", default_value = "0.6", value_parser = amount::parse_share)]
    target: f64,
    /// Share that they may be filled to when others are lost
    #[arg(long, value_name = "SHARE", default_value = "0.9", value_parser = amount::parse_share)]
    ceiling: f64,
    /// Nodes whose loss at once must fit
    #[arg(long, value_name = "NODES", default_value_t = 1)]
    spare: u32,
    /// Zones over which nodes are spread: of several, the loss of one must fit too
    #[arg(long, visible_alias = "regions", value_name = "ZONES", default_value_t = 1)]
    zones: u32,
    /// Share of all connections that one node's loss may take; 50,000 it may in any case
    #[arg(long, value_name = "SHARE", default_value = "10%", value_parser = amount::parse_share)]
    lost_most: f64,
    /// A lost node's clients are all back within this
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = seconds)]
    reconnect_within: f64,
    /// Clients spread their first attempt over this
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = seconds)]
    spread: f64,
    /// Mean lifetime of connections: lifetime.mean
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = seconds)]
    lifetime: f64,
    /// Between pings: clients.ping
    #[arg(long, value_name = "TIME", default_value = "50s", value_parser = seconds)]
    ping: f64,
    /// The deploy of a whole fleet ends within this
    #[arg(long, value_name = "TIME", default_value = "4h", value_parser = seconds)]
    deploy_within: f64,
    /// Share of the nodes that a deploy replaces at a time, at least one
    #[arg(long, value_name = "SHARE", default_value = "2%", value_parser = amount::parse_share)]
    deploy_share: f64,
    /// Never more nodes: each has a link with each other
    #[arg(long, value_name = "NODES", default_value_t = 500)]
    nodes_most: u32,
}

/// What was measured, where yours differs.
#[derive(clap::Args)]
struct Measured {
    /// Memory of a connection on its node, the kernel's included, bytes [default: 5,163, as measured]
    #[arg(long, value_name = "BYTES", value_parser = amount::parse_some)]
    connection_bytes: Option<u64>,
    /// Handshakes that a core of a node is trusted with, per second [default: 10,000; measured: 45,000 with nothing else to do]
    #[arg(long, value_name = "N", value_parser = amount::parse_some)]
    handshakes_per_core: Option<u64>,
    /// Where TLS ends
    #[arg(long, value_enum, default_value_t = TlsPlace::Apart)]
    tls: TlsPlace,
    /// Short for --tls elsewhere
    #[arg(long, conflicts_with = "tls")]
    plain: bool,
    /// Memory of a connection where TLS ends, bytes [default: 26,000, as measured with HAProxy; others take up to 155,000]
    #[arg(long, value_name = "BYTES", value_parser = amount::parse_some)]
    tls_bytes: Option<u64>,
    /// Handshakes of TLS that a core is trusted with, per second [default: 1,500, with ECDSA; with RSA several times fewer]
    #[arg(long, value_name = "N", value_parser = amount::parse_some)]
    tls_handshakes_per_core: Option<u64>,
    /// Masters of Redis, each trusted with 50,000 registrations a second [default: as many as lifetimes need]
    #[arg(long, value_name = "N")]
    redis_masters: Option<u32>,
    /// Descriptors that a process may have [default: 4,194,304, as sysctl.conf sets]
    #[arg(long, value_name = "N", value_parser = amount::parse_some)]
    descriptors: Option<u64>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum TlsPlace {
    /// On hosts of its own in front, which are sized and priced beside the nodes
    Apart,
    /// In a proxy on each node's host, which takes memory and time from the node
    Here,
    /// Where it does not count: in the cloud's balancer, or nowhere
    Elsewhere,
}

const EXAMPLES: &str = "\
Examples:
  holdfast size --connections 10M
  holdfast size --connections 10M --plain --html fleet.html        TLS ends in the cloud's balancer
  holdfast size --connections 250k --zones 3 --reconnect-within 20s
  holdfast size --print-types > types.toml                         put in your own prices, and then
  holdfast size --connections 2.5M --types types.toml --json

docs/size.md says how it calculates and where its figures come from.";

pub fn main(args: &Args) -> i32 {
    if args.print_types {
        return print(EXAMPLE_TYPES);
    }
    let list = match types(args) {
        Ok(list) => list,
        Err(why) => return fail(why),
    };
    let question = args.question();
    if let Err(why) = question.check() {
        eprintln!("holdfast: {why}");
        return USAGE;
    }
    let answer = size::answer(&question, &list.types);
    if let Some(file) = &args.html
        && let Err(error) = std::fs::write(file, size::page(&question, &list, &answer))
    {
        return fail(format_args!("cannot write {}: {error}", file.display()));
    }
    let code = match args.json {
        true => print(&format!("{}\n", size::json(&question, &list, &answer))),
        false => print(&size::text(&question, &list, &answer)),
    };
    if code == DONE && answer.best.is_none() { FAILED } else { code }
}

fn types(args: &Args) -> Result<TypeList, String> {
    let Some(file) = &args.types else {
        return size::parse(EXAMPLE_TYPES).map_err(|error| format!("the examples: {error}"));
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the node types in {}: {error}", file.display()))?;
    size::parse(&text).map_err(|error| format!("{}, {error}", file.display()))
}

impl Args {
    fn question(&self) -> Question {
        let (wishes, measured) = (&self.wishes, &self.measured);
        // Nobody asks for none without --print-types.
        let usual = Question::new(self.connections.unwrap_or(0));
        let or = |given: Option<u64>, usual: f64| given.map_or(usual, |given| given as f64);
        Question {
            connections: usual.connections,
            target: wishes.target,
            ceiling: wishes.ceiling,
            spare: wishes.spare,
            zones: wishes.zones,
            lost_most: wishes.lost_most,
            within_s: wishes.reconnect_within,
            spread_s: wishes.spread,
            lifetime_s: wishes.lifetime,
            ping_s: wishes.ping,
            connection_bytes: or(measured.connection_bytes, usual.connection_bytes),
            handshakes_per_core: or(measured.handshakes_per_core, usual.handshakes_per_core),
            tls: match measured.tls {
                _ if measured.plain => Tls::Elsewhere,
                TlsPlace::Apart => Tls::Apart,
                TlsPlace::Here => Tls::Here,
                TlsPlace::Elsewhere => Tls::Elsewhere,
            },
            tls_bytes: or(measured.tls_bytes, usual.tls_bytes),
            tls_per_core: or(measured.tls_handshakes_per_core, usual.tls_per_core),
            masters: measured.redis_masters,
            descriptors: measured.descriptors.unwrap_or(usual.descriptors),
            nodes_most: wishes.nodes_most,
            deploy_within_s: wishes.deploy_within,
            deploy_share: wishes.deploy_share,
        }
    }
}

/// A duration with its unit, in seconds.
fn seconds(text: &str) -> Result<f64, String> {
    match parse_ms(text) {
        // Ten years; an f64 holds it exactly.
        Some(ms) if ms <= 315_360_000_000 => Ok(ms as f64 / 1e3),
        _ => Err(format!("`{text}` is no duration: write it with its unit, like 500ms, 60s, 30m or 4h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn without_flags_the_question_is_the_usual_one() {
        let line = Line::parse_from(["size", "--connections", "10M"]);
        assert_eq!(line.args.question(), Question::new(10_000_000));
        let line =
            Line::parse_from(["size", "--connections", "1", "--plain", "--zones", "3", "--target", "50%"]);
        let expected = Question { tls: Tls::Elsewhere, zones: 3, target: 0.5, ..Question::new(1) };
        assert_eq!(line.args.question(), expected);
    }
}
