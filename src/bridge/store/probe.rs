//! A look at the servers of the registry from outside of a node: whether they answer, and how they are set up.
//!
//! Owns the questions. Writes nothing, believes nothing, decides nothing: who looks judges. Bounded in time by
//! [`Settings::timeout`] for each server that is asked, and by [`WITHIN`] for all.

use super::{Address, Kind, Settings, line::Access, scout::read_master, slots::read_map};
use crate::clock::Clock;
use redis::{Connection, Value};
use std::{collections::BTreeMap, time::Duration};

/// For all servers together; the rest is not asked any more.
pub const WITHIN: Duration = Duration::from_secs(4);

/// A master.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Master {
    /// `host:port`.
    pub address: String,
    /// What it says, or why it says nothing.
    pub about: Result<About, String>,
}

/// What a server says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct About {
    /// How long a question took, µs.
    pub round_trip_us: u64,
    /// Its time less this host's, ms; off by at most the round trip.
    pub skew_ms: i64,
    /// Fields of `INFO` by their names.
    pub info: BTreeMap<String, String>,
    /// `cluster-node-timeout`, ms; None where it is in no cluster, or does not say.
    pub node_timeout_ms: Option<u64>,
}

/// Asks the Sentinels or the cluster for its masters, and each of them what it is.
///
/// # Errors
/// When nobody knows of a master, in words.
pub fn masters(settings: &Settings, clock: &Clock) -> Result<Vec<Master>, String> {
    let deadline_us = clock.micros() + WITHIN.as_micros() as u64;
    let access = Access {
        login: settings.target.login.clone(),
        tls: settings.target.tls,
        ca_file: settings.ca_file.clone(),
        database: settings.target.database,
        timeout: settings.timeout,
    };
    let found = match &settings.target.kind {
        Kind::Single(address) => vec![address.clone()],
        Kind::Cluster(seeds) => first_answer(&access, seeds, (clock, deadline_us), |address, connection| {
            let answer = redis::cmd("CLUSTER").arg("SLOTS").query::<Value>(connection);
            let mut masters: Vec<Address> =
                read_map(&answer.ok()?, address)?.into_iter().map(|(_, master)| master).collect();
            masters.sort_unstable();
            masters.dedup();
            Some(masters)
        })?,
        Kind::Sentinel { sentinels, master, login } => {
            let access = Access { login: login.clone(), database: 0, ..access.clone() };
            first_answer(&access, sentinels, (clock, deadline_us), |_, connection| {
                let question = redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).take();
                Some(vec![read_master(&question.query(connection).ok()?)?])
            })?
        }
    };
    let ask = |address: Address| {
        let about = match clock.micros() < deadline_us {
            true => access.dial(&address).and_then(|mut connection| about(&mut connection, clock)),
            false => Err("not asked, as the others have taken all the time".to_owned()),
        };
        Master { address: address.to_string(), about }
    };
    Ok(found.into_iter().map(ask).collect())
}

/// What the first of several servers answers that knows.
fn first_answer(
    access: &Access,
    servers: &[Address],
    (clock, deadline_us): (&Clock, u64),
    ask: impl Fn(&Address, &mut Connection) -> Option<Vec<Address>>,
) -> Result<Vec<Address>, String> {
    let mut cause = "nobody to ask".to_owned();
    for server in servers {
        if clock.micros() >= deadline_us {
            break;
        }
        match access.dial(server) {
            Ok(mut connection) => match ask(server, &mut connection).filter(|found| !found.is_empty()) {
                Some(found) => return Ok(found),
                None => cause = format!("{server} knows of no master"),
            },
            Err(fault) => cause = format!("{server}: {fault}"),
        }
    }
    Err(cause)
}

fn about(connection: &mut Connection, clock: &Clock) -> Result<About, String> {
    let words = |error: redis::RedisError| error.to_string();
    // The first question finds the connection made, so that this is a round trip and nothing else.
    let before = clock.now();
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(connection).map_err(words)?;
    let after = clock.now();
    let theirs_ms = seconds.saturating_mul(1_000).saturating_add(micros / 1_000);
    let ours_ms = before.unix_ms.midpoint(after.unix_ms);
    let info: String = redis::cmd("INFO").query(connection).map_err(words)?;
    let field =
        |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    // A login may lack the right to ask this; then it is not known.
    let asked = redis::cmd("CONFIG").arg("GET").arg("cluster-node-timeout").query::<Vec<String>>(connection);
    let info: BTreeMap<String, String> = info.lines().filter_map(field).collect();
    let is_cluster = info.get("cluster_enabled").is_some_and(|enabled| enabled == "1");
    let timeout = asked.ok().filter(|_| is_cluster);
    Ok(About {
        round_trip_us: after.micros.saturating_sub(before.micros),
        skew_ms: theirs_ms.cast_signed().saturating_sub(ours_ms.cast_signed()),
        node_timeout_ms: timeout.and_then(|answer| answer.get(1)?.parse().ok()),
        info,
    })
}
