//! Limits that are numbers of connections: how each comes about, and what lifts it.

use super::{Level, Limit, Question};
use crate::{
    config::descriptors_for_clients,
    ops::{
        cost::{CONNECTION_BYTES_IN_USE, NODE_BYTES, OTHER_DESCRIPTORS, SOURCE_PORTS, TRACKED_BYTES},
        host::{Fact, Group, Version},
    },
};
use holdfast_plots::words::{bytes, count, several};

/// A limit before it is judged.
pub(super) struct Known {
    pub key: &'static str,
    title: String,
    pub allows: Option<u64>,
    because: String,
    lift: Lift,
}

/// What lifts a limit.
enum Lift {
    /// A setting of the kernel, to so much more than the connections.
    Setting(&'static str, u64),
    /// The descriptors of a process.
    Descriptors,
    /// Memory, of a group's file or of the host.
    Memory(Pool),
    /// `limits.connections`.
    Configured,
    /// Addresses of balancers, or ports of the node.
    Ports,
}

/// Memory that connections come out of. Bytes.
struct Pool {
    /// None: the host's own.
    file: Option<String>,
    total: u64,
    used: u64,
    /// Above this share of it the node refuses connections.
    percent: u64,
    /// Of each connection.
    cost: u64,
    reserve: u64,
}

/// All limits, those first that have to be lifted first; and whether all that matter are known.
pub(super) fn all(question: &Question<'_>, unread: &mut Vec<String>) -> (Vec<Known>, bool) {
    let mut known = Vec::new();
    let mut has_all = true;
    let found = [of_process_ceiling(question), of_descriptors(question), of_files(question)];
    for (limit, matters) in found.into_iter().zip([false, true, false]) {
        has_all &= limit.is_ok() || !matters;
        known.extend(noted(limit, unread));
    }
    known.extend(noted(of_watches(question), unread));
    has_all &= question.host.memory.is_ok();
    known.extend(noted(of_memory(question), unread));
    unread.extend(question.host.groups.unread.iter().map(ToString::to_string));
    known.extend(question.host.groups.memory.iter().map(|group| of_group(question, group)));
    known.extend(question.host.tracked.clone().and_then(|tracked| {
        noted(tracked.map(|tracked| of_tracking(question, tracked.used, tracked.max)), unread)
    }));
    known.push(of_ports(question));
    known.push(configured(question));
    (known, has_all)
}

/// What to do so that all allow so many.
pub(super) fn commands(question: &Question<'_>, known: &[Known], target: Option<u64>) -> Vec<String> {
    let Some(target) = target else { return Vec::new() };
    let mut in_the_way: Vec<&Known> = known.iter().filter(|limit| limit.is_in_the_way(target)).collect();
    // The ceiling of a process' descriptors comes before these, whatever each allows.
    in_the_way.sort_by_key(|limit| limit.key != "nr_open");
    in_the_way.into_iter().flat_map(|limit| limit.commands(question, target)).collect()
}

fn noted<T>(fact: Fact<T>, unread: &mut Vec<String>) -> Option<T> {
    fact.map_err(|why| unread.push(why.to_string())).ok()
}

/// Connections that the process has already, as far as they can be told: what they use is free for them.
fn held(question: &Question<'_>) -> u64 {
    let open = question.host.open.as_ref().and_then(|open| open.as_ref().ok());
    open.map_or(0, |open| open.saturating_sub(OTHER_DESCRIPTORS))
}

fn of_process_ceiling(question: &Question<'_>) -> Fact<Known> {
    let max = question.host.number("fs.nr_open")?;
    Ok(Known {
        key: "nr_open",
        title: "ceiling of a process' descriptors".into(),
        allows: Some(descriptors_for_clients(max)),
        because: format!(
            "fs.nr_open is {}, less {OTHER_DESCRIPTORS} that a node keeps for itself",
            count(max)
        ),
        lift: Lift::Setting("fs.nr_open", OTHER_DESCRIPTORS),
    })
}

fn of_descriptors(question: &Question<'_>) -> Fact<Known> {
    let limit = question.host.descriptors.clone()?.hard;
    let (allows, because) = match limit {
        u64::MAX => (None, "the hard limit is unlimited".into()),
        _ => {
            let less = format!("less {OTHER_DESCRIPTORS} that a node keeps for itself");
            (Some(descriptors_for_clients(limit)), format!("the hard limit is {}, {less}", count(limit)))
        }
    };
    let (title, because) = match question.process {
        Some(process) => (format!("descriptors of process {process}"), because),
        None => (
            "descriptors of a process started here".into(),
            format!("{because}; a service has its own (LimitNOFILE=), of one that runs --pid tells"),
        ),
    };
    Ok(Known { key: "descriptors", title, allows, because, lift: Lift::Descriptors })
}

fn of_files(question: &Question<'_>) -> Fact<Known> {
    let files = question.host.files.clone()?;
    let free = files.max.saturating_sub(files.used).saturating_sub(OTHER_DESCRIPTORS);
    let used = format!("{} of them open now", count(files.used));
    Ok(Known {
        key: "file_max",
        title: "open files of the host".into(),
        allows: Some(free.saturating_add(held(question))),
        because: format!("fs.file-max is {}, {used}, less {OTHER_DESCRIPTORS}", huge(files.max)),
        lift: Lift::Setting("fs.file-max", files.used.saturating_add(OTHER_DESCRIPTORS)),
    })
}

/// A count, or that it is beyond counting.
fn huge(value: u64) -> String {
    if value >= i64::MAX as u64 { "as large as can be".into() } else { count(value) }
}

fn of_watches(question: &Question<'_>) -> Fact<Known> {
    let max = question.host.number("fs.epoll.max_user_watches")?;
    Ok(Known {
        key: "epoll_watches",
        title: "sockets that a user may poll".into(),
        allows: Some(descriptors_for_clients(max)),
        because: format!("fs.epoll.max_user_watches is {}, less {OTHER_DESCRIPTORS}", count(max)),
        lift: Lift::Setting("fs.epoll.max_user_watches", OTHER_DESCRIPTORS),
    })
}

fn of_memory(question: &Question<'_>) -> Fact<Known> {
    let memory = question.host.memory.clone()?;
    let groups = &question.host.groups;
    // The node looks at its group where that has a limit, and at the host where not.
    let is_group = |group: &Group| groups.version == Version::V2 && group.file.ends_with("memory.max");
    let is_watched = !groups.memory.iter().any(is_group);
    let pool = Pool::new(question, memory.total, memory.total - memory.available, is_watched);
    Ok(pool.limit(question, "memory", "memory of the host".into()))
}

fn of_group(question: &Question<'_>, group: &Group) -> Known {
    let is_watched = question.host.groups.version == Version::V2 && group.file.ends_with("memory.max");
    let mut pool = Pool::new(question, group.limit, group.used.min(group.limit), is_watched);
    pool.file = Some(group.file.clone());
    pool.limit(question, "group_memory", "memory of the control group".into())
}

impl Pool {
    fn new(question: &Question<'_>, total: u64, used: u64, is_watched: bool) -> Self {
        let percent = question.node.memory_percent;
        let is_tracked = matches!(&question.host.tracked, Some(Ok(tracked)) if tracked.used > 0);
        Self {
            file: None,
            total,
            used,
            percent: if is_watched && percent > 0 { percent.min(100) } else { 100 },
            cost: CONNECTION_BYTES_IN_USE + if is_tracked { TRACKED_BYTES } else { 0 },
            reserve: NODE_BYTES.saturating_add(question.node.buffer_bytes),
        }
    }

    /// What connections may use of it.
    fn free(&self) -> u64 {
        let usable = (u128::from(self.total) * u128::from(self.percent) / 100) as u64;
        usable.saturating_sub(self.used).saturating_sub(self.reserve)
    }

    fn limit(self, question: &Question<'_>, key: &'static str, title: String) -> Known {
        let of = |value: u64| bytes(value as f64);
        let whose = self.file.as_ref().map(|file| format!("{file}: ")).unwrap_or_default();
        let share = match self.percent {
            100 => String::new(),
            percent => format!(", of which the node takes {percent} % (limits.memory)"),
        };
        let (buffers, held) = (question.node.buffer_bytes, held(question));
        let held_words = match held {
            0 => String::new(),
            held => format!(", besides the {} that the process has", several(held, "connection")),
        };
        let because = format!(
            "{whose}{}{share}; {} is used; less {} for the node and {} for messages that wait (limits.buffer_bytes): {}, \
             at {} B a connection{held_words}",
            of(self.total),
            of(self.used),
            of(NODE_BYTES),
            of(buffers),
            of(self.free()),
            count(self.cost),
        );
        let allows = Some((self.free() / self.cost).saturating_add(held));
        Known { key, title, allows, because, lift: Lift::Memory(self) }
    }

    /// How large it must be for so many connections.
    fn needed(&self, connections: u64) -> u64 {
        let all =
            connections.saturating_mul(self.cost).saturating_add(self.used).saturating_add(self.reserve);
        let total = (u128::from(all) * 100).div_ceil(u128::from(self.percent.max(1)));
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        // Whole MiB, as people write limits.
        total.div_ceil(1 << 20).saturating_mul(1 << 20)
    }

    fn lift(&self, target: u64) -> Vec<String> {
        let needed = self.needed(target);
        let Some(file) = &self.file else {
            let (needed, has) = (bytes(needed as f64), bytes(self.total as f64));
            return vec![format!(
                "memory: {} need a host of {needed}, and this one has {has}: a larger one, or more nodes (holdfast size)",
                several(target, "connection"),
            )];
        };
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
        let unit = folder.rsplit('/').next().unwrap_or_default();
        let property = match name {
            "memory.max" => Some("MemoryMax"),
            "memory.high" => Some("MemoryHigh"),
            _ => None,
        };
        match property {
            Some(property) if unit.ends_with(".service") || unit.ends_with(".slice") => {
                vec![format!("systemctl set-property {unit} {property}={needed}")]
            }
            _ => vec![format!(
                "echo {needed} > {file}   (of a container: docker update --memory={needed}, Kubernetes \
                 resources.limits.memory: {}Mi)",
                needed >> 20
            )],
        }
    }
}

fn of_tracking(question: &Question<'_>, used: u64, max: u64) -> Known {
    let (allows, because) = match used {
        0 => (None, "nf_conntrack is loaded, but tracks nothing now".into()),
        _ => {
            let free = max.saturating_sub(used).saturating_add(held(question));
            let words = format!("nf_conntrack_max is {}, {} are tracked now", count(max), count(used));
            (Some(free), words)
        }
    };
    let lift = Lift::Setting("net.netfilter.nf_conntrack_max", used);
    Known { key: "conntrack", title: "connections that the firewall tracks".into(), allows, because, lift }
}

fn of_ports(question: &Question<'_>) -> Known {
    let ports = client_ports(question);
    let each = format!("{} source ports for each of", count(SOURCE_PORTS));
    let (allows, because) = match question.balancer_addresses {
        Some(addresses) => {
            let pairs = addresses.saturating_mul(ports);
            let words = format!(
                "{each} {} and {}",
                several(addresses, "balancer address"),
                several(ports, "client port")
            );
            (Some(SOURCE_PORTS.saturating_mul(pairs)), words)
        }
        None => (None, "clients connect directly, as no --balancer-addresses are given".into()),
    };
    let title = "source ports of the balancers".into();
    Known { key: "ports", title, allows, because, lift: Lift::Ports }
}

fn client_ports(question: &Question<'_>) -> u64 {
    question.node.listen.len().max(1) as u64
}

fn configured(question: &Question<'_>) -> Known {
    let because = match question.node.connections {
        None => "as many as the descriptors allow".to_owned(),
        Some(connections) => format!("limits.connections is {}", count(connections)),
    };
    let title = "the node's configuration".into();
    let allows = question.node.connections;
    Known { key: "limits.connections", title, allows, because, lift: Lift::Configured }
}

impl Known {
    fn is_in_the_way(&self, target: u64) -> bool {
        self.allows.is_some_and(|allows| allows < target)
    }

    pub fn judged(&self, question: &Question<'_>, target: Option<u64>, memory: Option<u64>) -> Limit {
        let is_below = |other: Option<u64>| other.is_some_and(|other| self.is_in_the_way(other));
        let level = match () {
            () if is_below(question.connections) => Level::Blocks,
            () if question.connections.is_none() && is_below(memory) => Level::Warning,
            () => Level::Ok,
        };
        let lift = target.filter(|&target| self.is_in_the_way(target));
        Limit {
            limit: self.key,
            title: self.title.clone(),
            allows: self.allows,
            because: self.because.clone(),
            level,
            lift: lift.map_or_else(Vec::new, |target| self.commands(question, target)),
        }
    }

    fn commands(&self, question: &Question<'_>, target: u64) -> Vec<String> {
        match &self.lift {
            Lift::Setting(name, more) => {
                vec![format!("sysctl -w {name}={}", setting(question, name, target.saturating_add(*more)))]
            }
            Lift::Descriptors => {
                let needed = target.saturating_add(OTHER_DESCRIPTORS);
                vec![format!(
                    "LimitNOFILE={needed} in the service's unit (systemctl edit holdfast), then restart it; in a shell: \
                     ulimit -n {needed}, as root"
                )]
            }
            Lift::Memory(pool) => pool.lift(target),
            Lift::Configured => vec![format!("--set limits.connections={target}, or auto")],
            Lift::Ports => vec![ports(question, target)],
        }
    }
}

/// What a setting needs, or more where a tuned host has more.
fn setting(question: &Question<'_>, name: &str, needed: u64) -> u64 {
    let tuned = question.tuned.iter().find(|setting| setting.name == name);
    let tuned = tuned.and_then(|setting| setting.value.parse::<u64>().ok());
    tuned.map_or(needed, |tuned| tuned.max(needed))
}

fn ports(question: &Question<'_>, target: u64) -> String {
    let (ports, addresses) = (client_ports(question), question.balancer_addresses.unwrap_or(1).max(1));
    let more_addresses = target.div_ceil(SOURCE_PORTS.saturating_mul(ports));
    let more_ports = target.div_ceil(SOURCE_PORTS.saturating_mul(addresses));
    format!(
        "give the balancers {} in all (now {addresses}), or the node {} (now {ports}; --clients may be repeated)",
        several(more_addresses, "address"),
        several(more_ports, "client port"),
    )
}
