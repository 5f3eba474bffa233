//! What a push costs all servers together: at a node without a fleet, at the node that holds the connection, and at the other.

use crate::{
    clients::{Clients, user},
    http::Connection,
    outcome::{Outcome, median},
    process::{Node, Redis, until},
    registrations::nobody_left,
    table::Table,
};
use std::{
    fmt::Write,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

const USERS: u32 = 8_000;
/// So few that a route that was learned is used again and again in the second for which it is believed.
const FEW: u32 = 100;
const TURNS: usize = 3;
const BATCH: u32 = 100;
/// Longer than a route is believed: none is used twice.
const ROUTE_LIFE: Duration = Duration::from_millis(1_100);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// A request for each message, on so many connections.
    Single,
    /// Many messages a request, on so many connections.
    Batches,
}

impl Manner {
    fn senders(self) -> u32 {
        match self {
            Self::Single => 16,
            Self::Batches => 2,
        }
    }
}

/// CPU per push, us.
#[derive(Default)]
struct Cost {
    called: Vec<f64>,
    holding: Vec<f64>,
    redis: Vec<f64>,
    rate: Vec<f64>,
}

impl Cost {
    fn nodes(&self) -> f64 {
        let sums: Vec<f64> =
            self.called.iter().zip(&self.holding).map(|(called, holding)| called + holding).collect();
        median(&sums)
    }
}

struct Fleet<'a> {
    redis: &'a Redis,
    alone: Node,
    right: Node,
    wrong: Node,
}

pub fn measure(redis: &Redis, table: &mut Table) -> Outcome<()> {
    redis.flush()?;
    let fleet = Fleet {
        redis,
        alone: Node::start("alone", "memory")?,
        right: Node::start("right", &redis.url())?,
        wrong: Node::start("wrong", &redis.url())?,
    };
    let near = Clients::open(fleet.alone.clients, 0..USERS)?;
    let far = Clients::open(fleet.right.clients, 0..USERS)?;
    until("all registrations", || Ok(fleet.right.registered()? >= USERS))?;
    until("both nodes to know each other", || Ok(fleet.wrong.metric("holdfast_nodes")? >= 2.0))?;
    // The link is made by the first push.
    pass(fleet.wrong.internal, Manner::Single, USERS)?;
    let cases: Vec<(Manner, u32)> = [Manner::Single, Manner::Batches]
        .into_iter()
        .flat_map(|manner| [(manner, USERS), (manner, FEW)])
        .collect();
    let mut costs: Vec<[Cost; 3]> = cases.iter().map(|_| Default::default()).collect();
    for _ in 0..TURNS {
        for (&(manner, users), costs) in cases.iter().zip(&mut costs) {
            for (node, cost) in [&fleet.alone, &fleet.right, &fleet.wrong].into_iter().zip(costs) {
                one(&fleet, node, manner, users, cost)?;
            }
        }
    }
    nobody_left(&[&near, &far])?;
    for ((manner, users), costs) in cases.into_iter().zip(&costs) {
        tell(manner, users, costs, table);
    }
    Ok(())
}

/// Pushes once to each user, or as often to few, through `node`, and adds what that has cost.
fn one(fleet: &Fleet<'_>, node: &Node, manner: Manner, users: u32, cost: &mut Cost) -> Outcome<()> {
    let holding = if node.pid() == fleet.wrong.pid() { Some(&fleet.right) } else { None };
    let holding_ns = || holding.map_or(Ok(0), Node::cpu_ns);
    if users == USERS {
        thread::sleep(ROUTE_LIFE);
    }
    let before = (node.cpu_ns()?, holding_ns()?, fleet.redis.cpu_ns()?);
    let began = Instant::now();
    pass(node.internal, manner, users)?;
    let elapsed = began.elapsed().as_secs_f64();
    let after = (node.cpu_ns()?, holding_ns()?, fleet.redis.cpu_ns()?);
    let each = |from: u64, to: u64| (to - from) as f64 / 1e3 / f64::from(USERS);
    cost.called.push(each(before.0, after.0));
    cost.holding.push(each(before.1, after.1));
    cost.redis.push(each(before.2, after.2));
    cost.rate.push(f64::from(USERS) / elapsed);
    Ok(())
}

/// As many pushes as there are users, to so many different ones.
fn pass(internal: SocketAddr, manner: Manner, users: u32) -> Outcome<()> {
    thread::scope(|scope| {
        let senders: Vec<_> = (0..manner.senders())
            .map(|sender| {
                scope.spawn(move || match manner {
                    Manner::Single => singles(internal, sender, users),
                    Manner::Batches => batches(internal, sender, users),
                })
            })
            .collect();
        senders.into_iter().try_for_each(|sender| sender.join().map_err(|_| "a sender has panicked")?)
    })
}

fn singles(internal: SocketAddr, sender: u32, users: u32) -> Outcome<()> {
    let mut connection = Connection::open(internal)?;
    for at in (sender..USERS).step_by(Manner::Single.senders() as usize) {
        let path = format!("/v1/users/{}/push", user(at % users));
        let answer = connection.ask("POST", &path, "text/plain", &[b'x'; 110])?;
        expect_written(answer.body, 1)?;
    }
    Ok(())
}

fn batches(internal: SocketAddr, sender: u32, users: u32) -> Outcome<()> {
    let mut connection = Connection::open(internal)?;
    let text = "x".repeat(110);
    for batch in (sender..USERS / BATCH).step_by(Manner::Batches.senders() as usize) {
        let mut body = String::new();
        for at in batch * BATCH..(batch + 1) * BATCH {
            writeln!(body, "{{\"user\":\"{}\",\"text\":\"{text}\"}}", user(at % users))?;
        }
        let answer = connection.ask("POST", "/v1/messages", "application/x-ndjson", body.as_bytes())?;
        expect_written(answer.body, BATCH as usize)?;
    }
    Ok(())
}

fn expect_written(body: &[u8], count: usize) -> Outcome<()> {
    let text = std::str::from_utf8(body)?;
    let written = text.matches("\"written\"").count();
    if written == count { Ok(()) } else { Err(format!("{written} of {count} were written: {text}").into()) }
}

fn tell(manner: Manner, users: u32, [alone, right, wrong]: &[Cost; 3], table: &mut Table) {
    let how = match (manner, users) {
        (Manner::Single, USERS) => "push by POST",
        (Manner::Single, _) => "push by POST, routes cached",
        (Manner::Batches, USERS) => "message in batches of 100",
        (Manner::Batches, _) => "message in batches of 100, routes cached",
    };
    let figure = format!("both nodes' CPU per {how}, through the wrong node, us; floor: the right one");
    table.ratio(&figure, right.nodes(), wrong.nodes(), 2, "2");
    let figure = "the same through the right node; floor: a node with the registry in memory";
    table.ratio(figure, alone.nodes(), right.nodes(), 2, "");
    table.remark(format!(
        "CPU per {how}, us: wrong node {:.2} + holding node {:.2} + Redis {:.2} ({:.0} a second); right node {:.2} + Redis {:.2} \
         ({:.0} a second); in memory {:.2} ({:.0} a second).",
        median(&wrong.called),
        median(&wrong.holding),
        median(&wrong.redis),
        median(&wrong.rate),
        median(&right.called),
        median(&right.redis),
        median(&right.rate),
        median(&alone.called),
        median(&alone.rate),
    ));
}
