//! What a node needs besides its host: the registry, the queue and whoever knows its clients, as far as how they are set up
//! concerns it.

use super::{Finding, Level};
use crate::{
    bridge::{
        callout::probe::OfNobody,
        queue::probe::{Site, Topic},
        store::probe::{About, Master},
    },
    ops::cost::REGISTRY_BYTES,
};
use holdfast_plots::words::{bytes, count, duration, several, time};
use regex::Regex;
use std::ops::RangeInclusive;

/// How long a node's lease is, ms: a Redis that is silent for longer has nobody taken for dead, and nobody found.
const LEASE_MS: u64 = 10_000;
/// The oldest Redis that has what the scripts use.
const REDIS: (u32, u32) = (6, 2);
/// A round trip that says that Redis is far away, µs.
const FAR_US: u64 = 20_000;
/// Clocks that differ by more say something of one of them, ms.
const SKEW_MS: u64 = 1_000;
/// The registry's masters, or why nobody knows of any.
pub type Registry = Result<Vec<Master>, String>;

/// Kafka, as it is and as the node wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Queue {
    /// What it says, or why it says nothing.
    pub site: Result<Site, String>,
    /// Lanes, highest first, each with the pattern of its topics.
    pub lanes: Vec<(String, String)>,
    /// Topics that the node writes.
    pub written: Vec<String>,
    /// `kafka.session_timeout`, ms.
    pub session_timeout_ms: u64,
}

/// The endpoint that is asked who clients are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// What it says of a client without a credential, or why it says nothing.
    pub of_nobody: Result<OfNobody, String>,
    /// `auth.http.in_flight`.
    pub in_flight: u64,
}

/// `connections`: how many of this node there will be.
pub(super) fn of_registry(registry: &Registry, connections: Option<u64>) -> Vec<Finding> {
    match registry {
        Err(cause) => vec![unreachable("redis", cause)],
        Ok(masters) => {
            masters.iter().flat_map(|master| of_master(master, masters.len(), connections)).collect()
        }
    }
}

fn unreachable(what: &str, cause: &str) -> Finding {
    let says = format!("{cause}. A node is not ready until it has answered once");
    Finding::new(what, Level::Blocks, says)
        .remedy("is it running, and is the address in the configuration right?")
}

fn of_master(master: &Master, masters: usize, connections: Option<u64>) -> Vec<Finding> {
    let subject = format!("redis {}", master.address);
    let about = match &master.about {
        Ok(about) => about,
        Err(cause) => return vec![unreachable(&subject, cause)],
    };
    let mut found = vec![answers(&subject, about)];
    found.extend(role(&subject, about));
    found.push(eviction(&subject, about));
    found.extend(node_timeout(&subject, about));
    found.extend(room(&subject, about, masters, connections));
    if about.skew_ms.unsigned_abs() > SKEW_MS {
        let ahead = if about.skew_ms > 0 { "ahead of" } else { "behind" };
        let by = duration(about.skew_ms.unsigned_abs() as f64 / 1e3);
        let says = format!(
            "its clock is {by} {ahead} this host's. The registry goes by its own; tokens and messages that expire go by \
             this host's"
        );
        found.push(
            Finding::new(&subject, Level::Warning, says).remedy("timedatectl, or chronyc tracking, on both"),
        );
    }
    found
}

fn field<'a>(about: &'a About, name: &str) -> &'a str {
    about.info.get(name).map_or("", String::as_str)
}

fn answers(subject: &str, about: &About) -> Finding {
    let version = field(about, "redis_version");
    let says = format!("version {version} answers within {}", time(about.round_trip_us as f64));
    let mut numbers = version.split('.').map(str::parse::<u32>);
    let is_old = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < REDIS,
        _ => false,
    };
    if is_old {
        return Finding::new(subject, Level::Warning, format!("{says}; the registry's scripts need 6.2"));
    }
    if about.round_trip_us > FAR_US {
        let says =
            format!("{says}, as if it were in another region: each connect and each first look waits for it");
        return Finding::new(subject, Level::Advice, says);
    }
    Finding::ok(subject, says)
}

fn role(subject: &str, about: &About) -> Option<Finding> {
    let role = field(about, "role");
    (role != "master").then(|| {
        let says = format!("it is no master (its role is {role:?}), and nodes refuse it");
        Finding::new(subject, Level::Blocks, says)
            .remedy("name the master, or its Sentinels, in registry.url")
    })
}

fn eviction(subject: &str, about: &About) -> Finding {
    let (policy, max) =
        (field(about, "maxmemory_policy"), field(about, "maxmemory").parse::<u64>().unwrap_or(0));
    let max_words =
        if max == 0 { "no maxmemory".to_owned() } else { format!("maxmemory {}", bytes(max as f64)) };
    let set = "redis-cli config set maxmemory-policy noeviction, then config rewrite";
    match policy {
        "" => {
            Finding::new(subject, Level::Advice, "it does not say its maxmemory-policy; noeviction is best")
        }
        "noeviction" if max > 0 => {
            Finding::ok(subject, format!("{max_words}, noeviction: a full Redis says so, and loses nobody"))
        }
        "noeviction" => {
            let says =
                "no maxmemory: before it refuses anything, its host is out of memory and the kernel ends it";
            Finding::new(subject, Level::Advice, says)
                .remedy("redis-cli config set maxmemory BYTES, then config rewrite")
        }
        _ => {
            let which = match policy.starts_with("allkeys") {
                true => "any key",
                false => "keys that expire, and all of the registry's do: users and the leases of nodes",
            };
            let says = format!(
                "{max_words}, {policy}: when it is full it drops {which}. Users are then not found until they connect again, \
                 and live nodes are taken for dead until they have registered everybody again"
            );
            let level = if max > 0 { Level::Warning } else { Level::Advice };
            Finding::new(subject, level, says).remedy(set)
        }
    }
}

fn node_timeout(subject: &str, about: &About) -> Option<Finding> {
    let timeout_ms = about.node_timeout_ms?;
    let words = duration(timeout_ms as f64 / 1e3);
    if timeout_ms < LEASE_MS {
        return Some(Finding::ok(
            subject,
            format!("cluster-node-timeout is {words}, within a node's lease of 10 s"),
        ));
    }
    let says = format!(
        "cluster-node-timeout is {words}, and a node's lease 10 s: a dead master is missed for longer than that, its users \
         answer 503 and their messages from Kafka wait meanwhile, and leases that it held have all ended by then"
    );
    let remedy = "redis-cli config set cluster-node-timeout 5000 on each server, then config rewrite";
    Some(Finding::new(subject, Level::Warning, says).remedy(remedy))
}

fn room(subject: &str, about: &About, masters: usize, connections: Option<u64>) -> Option<Finding> {
    let max = field(about, "maxmemory").parse::<u64>().ok().filter(|&max| max > 0)?;
    let used = field(about, "used_memory").parse::<u64>().ok()?;
    let connections = connections?;
    let needed = connections.saturating_mul(REGISTRY_BYTES) / masters.max(1) as u64;
    let free = max.saturating_sub(used);
    let says = format!(
        "{} of this node alone take about {} here, and {} is free",
        several(connections, "connection"),
        bytes(needed as f64),
        bytes(free as f64)
    );
    Some(if needed <= free {
        Finding::ok(subject, says)
    } else {
        let remedy =
            format!("redis-cli config set maxmemory {}", used.saturating_add(needed.saturating_mul(2)));
        Finding::new(subject, Level::Warning, says).remedy(remedy)
    })
}

pub(super) fn of_queue(queue: &Queue) -> Vec<Finding> {
    let site = match &queue.site {
        Ok(site) => site,
        Err(cause) => return vec![unreachable("kafka", cause)],
    };
    let says = format!("{}: {}", several(site.brokers.len() as u64, "broker"), site.brokers.join(", "));
    let mut found = vec![Finding::ok("kafka", says)];
    let mut taken = Vec::new();
    for (lane, pattern) in &queue.lanes {
        found.push(of_lane(lane, pattern, &site.topics, &mut taken));
    }
    for topic in queue.written.iter().filter(|name| !site.topics.iter().any(|topic| topic.name == **name)) {
        let says = format!("the topic {topic}, which the node writes, is not there");
        found.push(Finding::new("kafka", Level::Warning, says).remedy(create(topic)));
    }
    found.push(sessions(queue.session_timeout_ms, site.sessions_ms.as_ref()));
    found
}

fn sessions(timeout_ms: u64, allowed: Option<&RangeInclusive<u64>>) -> Finding {
    let words = |ms: u64| duration(ms as f64 / 1e3);
    let own = format!("kafka.session_timeout is {}", words(timeout_ms));
    let Some(allowed) = allowed else {
        return Finding::ok(
            "kafka",
            format!("{own}; the brokers do not say what they allow, by default 6 s to 30 min"),
        );
    };
    let says = format!("{own}, and brokers allow {} to {}", words(*allowed.start()), words(*allowed.end()));
    if allowed.contains(&timeout_ms) {
        return Finding::ok("kafka", says);
    }
    let says = format!("{says}: they refuse the node as a member of its group, and it takes no messages");
    let remedy = "set kafka.session_timeout within, or the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms";
    Finding::new("kafka", Level::Warning, says).remedy(remedy)
}

fn create(topic: &str) -> String {
    format!("kafka-topics.sh --create --topic {topic} --partitions 12 --replication-factor 3")
}

/// A topic that fits several lanes is the highest's.
fn of_lane<'a>(lane: &str, pattern: &str, topics: &'a [Topic], taken: &mut Vec<&'a str>) -> Finding {
    let subject = format!("kafka lane {lane}");
    let Ok(pattern) = Regex::new(pattern) else {
        return Finding::new(subject, Level::Warning, format!("{pattern} is no pattern"));
    };
    let own: Vec<&Topic> = topics
        .iter()
        .filter(|topic| pattern.is_match(&topic.name) && !taken.contains(&topic.name.as_str()))
        .collect();
    taken.extend(own.iter().map(|topic| topic.name.as_str()));
    if own.is_empty() {
        let says = format!(
            "no topic is called {pattern}: what is sent there is lost or refused, by how the brokers are set"
        );
        return Finding::new(subject, Level::Warning, says).remedy(create(&format!("push.{lane}")));
    }
    let of = |topic: &&Topic| {
        format!(
            "{} ({}, {})",
            topic.name,
            several(topic.partitions as u64, "partition"),
            copies(topic.copies)
        )
    };
    let says = own.iter().map(of).collect::<Vec<_>>().join(", ");
    let leaderless: usize = own.iter().map(|topic| topic.leaderless).sum();
    if leaderless > 0 {
        let says = format!("{says}; {} without a leader", several(leaderless as u64, "partition"));
        return Finding::new(subject, Level::Warning, says);
    }
    let alone = own.iter().filter(|topic| topic.copies < 2).count() as u64;
    if alone > 0 {
        let says = format!("{says}; what one broker has is lost with it, in {}", several(alone, "topic"));
        return Finding::new(subject, Level::Advice, says);
    }
    Finding::ok(subject, says)
}

fn copies(copies: usize) -> String {
    if copies == 1 { "1 copy".into() } else { format!("{} copies", count(copies as u64)) }
}

pub(super) fn of_endpoint(endpoint: &Endpoint) -> Finding {
    let subject = "auth.http";
    let of_nobody = match &endpoint.of_nobody {
        Ok(of_nobody) => of_nobody,
        Err(cause) => {
            let says = format!("{cause}. No client can connect that it alone knows");
            return Finding::new(subject, Level::Blocks, says)
                .remedy("is it running, and is auth.http.url right?");
        }
    };
    if of_nobody.lets_in {
        let says = "it answers 200 for a client that brings no credential at all: it must refuse whom it does not know";
        return Finding::new(subject, Level::Warning, says).remedy("let the endpoint answer 401 there");
    }
    let rate = endpoint.in_flight.saturating_mul(1_000_000) / of_nobody.micros.max(1);
    let says = format!(
        "it refuses a client without a credential, within {}; at that rate {} at once are {} handshakes a second",
        time(of_nobody.micros as f64),
        count(endpoint.in_flight),
        count(rate)
    );
    Finding::ok(subject, says)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A master that is as it should be, but for these fields.
    fn master(fields: &[(&str, &str)], change: impl Fn(&mut About)) -> Vec<Finding> {
        let good = [
            ("redis_version", "7.0.15"),
            ("role", "master"),
            ("maxmemory", "1000000000"),
            ("maxmemory_policy", "noeviction"),
            ("used_memory", "1000000"),
        ];
        let all = good.iter().chain(fields);
        let info = all.map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut about = About { round_trip_us: 300, skew_ms: 2, info, node_timeout_ms: Some(5_000) };
        change(&mut about);
        of_registry(&Ok(vec![Master { address: "10.0.0.1:6379".into(), about: Ok(about) }]), Some(1_000_000))
    }

    #[test]
    fn a_good_redis_is_good() {
        let found = master(&[], |_| {});
        assert!(
            found.iter().all(|finding| finding.level == Level::Ok && finding.remedy.is_empty()),
            "{found:#?}"
        );
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn each_fault_of_a_redis_is_named() {
        type Change = fn(&mut About);
        type Case<'a> = (&'a [(&'a str, &'a str)], Change, Level, &'a str);
        let same: Change = |_| {};
        let cases: [Case<'_>; 11] = [
            (&[("redis_version", "6.0.9")], same, Level::Warning, "scripts need 6.2"),
            (&[("role", "slave")], same, Level::Blocks, "is no master"),
            (
                &[("maxmemory_policy", "volatile-ttl")],
                same,
                Level::Warning,
                "volatile-ttl: when it is full it drops keys",
            ),
            (
                &[("maxmemory_policy", "allkeys-lru")],
                same,
                Level::Warning,
                "allkeys-lru: when it is full it drops any key",
            ),
            (
                &[("maxmemory", "0"), ("maxmemory_policy", "volatile-lru")],
                same,
                Level::Advice,
                "no maxmemory, volatile-lru",
            ),
            (&[("maxmemory_policy", "")], same, Level::Advice, "does not say its maxmemory-policy"),
            (
                &[("maxmemory", "100000000")],
                same,
                Level::Warning,
                "take about 213 MB here, and 99 MB is free",
            ),
            (&[], |about| about.round_trip_us = 45_000, Level::Advice, "as if it were in another region"),
            (&[], |about| about.skew_ms = -90_000, Level::Warning, "its clock is 90.0 s behind this host's"),
            (&[], |about| about.skew_ms = i64::MIN, Level::Warning, "behind this host's"),
            (
                &[],
                |about| about.node_timeout_ms = Some(10_000),
                Level::Warning,
                "cluster-node-timeout is 10.0 s, and",
            ),
        ];
        for (fields, change, level, words) in cases {
            let found = master(fields, change);
            let bad: Vec<_> = found.iter().filter(|finding| finding.level != Level::Ok).collect();
            assert!(
                matches!(&bad[..], [one] if one.level == level && one.says.contains(words)),
                "{words}: {bad:#?}"
            );
        }
        // One that says nothing that is understood.
        let found = master(&[("maxmemory", "much"), ("redis_version", ""), ("used_memory", "")], |_| {});
        assert!(found.iter().all(|finding| finding.level <= Level::Advice), "{found:#?}");
    }

    fn topic(name: &str, copies: usize, leaderless: usize) -> Topic {
        Topic { name: name.into(), partitions: 12, copies, leaderless }
    }

    #[test]
    fn lanes_and_sessions_of_a_kafka_are_judged() {
        let queue = Queue {
            site: Ok(Site {
                brokers: vec!["a:9092".into(), "b:9092".into()],
                topics: vec![topic("push.high", 3, 0), topic("push.low", 3, 2), topic("told", 3, 0)],
                sessions_ms: Some(6_000..=300_000),
            }),
            // The second takes nothing that the first has.
            lanes: vec![
                ("high".into(), r"^push\.high$".into()),
                ("normal".into(), r"^push\.(high|normal)$".into()),
                ("low".into(), r"^push\.low$".into()),
            ],
            written: vec!["told".into()],
            session_timeout_ms: 10_000,
        };
        let levels = |queue: &Queue| of_queue(queue).iter().map(|finding| finding.level).collect::<Vec<_>>();
        assert_eq!(levels(&queue), [Level::Ok, Level::Ok, Level::Warning, Level::Warning, Level::Ok]);
        let found = of_queue(&queue);
        assert!(found[2].says.starts_with("no topic is called ^push"), "{}", found[2].says);
        assert!(found[3].says.ends_with("2 partitions without a leader"), "{}", found[3].says);
        let short = Queue { session_timeout_ms: 5_000, ..queue };
        assert!(of_queue(&short)[4].says.contains("brokers allow 6.0 s to 5 min 00 s: they refuse"));
    }

    #[test]
    fn an_endpoint_must_answer_and_refuse_whom_it_does_not_know() {
        let found = |of_nobody| of_endpoint(&Endpoint { of_nobody, in_flight: 64 });
        let good = found(Ok(OfNobody { micros: 20_000, lets_in: false }));
        assert_eq!(good.level, Level::Ok);
        assert!(good.says.contains("64 at once are 3,200 handshakes a second"), "{}", good.says);
        assert_eq!(found(Ok(OfNobody { micros: 0, lets_in: true })).level, Level::Warning);
        let away = found(Err("it cannot be reached: Connection refused".into()));
        assert!(away.level == Level::Blocks && away.says.contains("refused. No client"), "{}", away.says);
    }
}
