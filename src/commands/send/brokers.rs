//! Where Kafka is: a flag, the environment, or the answer of a node that has a broker inside.

use crate::{
    commands::client::{NodeAddress, variable},
    config::Secret,
    sender::http::{Answer, Failure},
};
use serde_json::Value;
use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

/// The brokers, `host:port` with commas. `embedded` is the word for asking the node, which also knows whether the lane is one:
/// Kafka would take messages for any.
///
/// # Errors
/// When there are none, the node cannot be asked, or the lane is none of its own.
pub fn find(flag: Option<&str>, node: &NodeAddress, lane: Option<&str>) -> Result<String, String> {
    let named = flag.map(str::to_owned).or_else(|| variable("HOLDFAST_KAFKA_BROKERS"));
    match named.as_deref() {
        Some("none") => Err("there is no Kafka to send to (none): use --direct".into()),
        Some("embedded") | None => of_node(node, lane),
        Some(brokers) => Ok(brokers.to_owned()),
    }
}

/// `sasl.password`, if there is one.
///
/// # Errors
/// When its file cannot be read.
pub fn password(flag: Option<&Path>) -> Result<Option<Secret>, String> {
    if let (None, Some(password)) = (flag, variable("HOLDFAST_KAFKA_PASSWORD")) {
        return Ok(Some(Secret::new(password)));
    }
    let path = flag.map(Path::to_owned).or_else(|| variable("HOLDFAST_KAFKA_PASSWORD_FILE").map(Into::into));
    let Some(path) = path else { return Ok(None) };
    let secret = Secret::from_file(&path);
    secret.map(Some).map_err(|error| format!("cannot read the password file {}: {error}", path.display()))
}

/// The broker inside a node.
fn of_node(node: &NodeAddress, lane: Option<&str>) -> Result<String, String> {
    const OTHERWISE: &str = "name the brokers with --kafka, or send with --direct";
    let answer = match node.client(Duration::ZERO)?.ask("GET", "/v1/stats", None) {
        Ok(Answer { status: 200, body, .. }) => body,
        Ok(answer) => return Err(format!("{}; or {OTHERWISE}", answer.refusal("the node refused"))),
        Err(Failure::Refused(why)) => return Err(format!("{why} (a token of role read); or {OTHERWISE}")),
        Err(failure) => return Err(format!("{} Or {OTHERWISE}", failure.text())),
    };
    let address = node.address();
    let broker =
        answer.pointer("/kafka/embedded").and_then(Value::as_str).filter(|broker| !broker.is_empty());
    let broker = broker.ok_or_else(|| format!("{address} has no Kafka inside: {OTHERWISE}"))?;
    if is_loopback(broker) && !is_loopback(&address) {
        return Err(format!(
            "the Kafka inside {address} listens on its own loopback, {broker}: send with --direct, or from that machine \
             with --kafka {broker}"
        ));
    }
    if let (Some(lane), Some(lanes)) = (lane, answer.pointer("/kafka/lanes").and_then(Value::as_object))
        && !lanes.contains_key(lane)
    {
        let lanes: Vec<&str> = lanes.keys().map(String::as_str).collect();
        return Err(format!("{lane:?} is not a lane of {address}; the lanes are {}", lanes.join(", ")));
    }
    Ok(broker.to_owned())
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let ip = address.parse::<SocketAddr>().map(|address| address.ip()).ok();
    host == "localhost" || ip.or_else(|| host.parse::<IpAddr>().ok()).is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_the_rest() {
        for here in ["127.0.0.1:1", "[::1]:7008", "localhost:7008", "127.0.0.2:9"] {
            assert!(is_loopback(here), "{here}");
        }
        for there in ["10.0.0.1:1", "node-1:7008", "[2001:db8::1]:1", ""] {
            assert!(!is_loopback(there), "{there}");
        }
    }
}
