//! What bounds no number of connections and is worth knowing all the same: settings of the kernel, and how the host is set up.

use super::{Finding, Level, Question, Untuned};
use crate::ops::{
    cost::{SOURCE_PORTS, UNREAD_PAGES},
    host::{Fact, Version, Why},
};
use holdfast_plots::words::{bytes, count, several};

/// What a node asks the kernel for, for each of its listeners.
const BACKLOG: u64 = 65_535;
/// The oldest kernel that has every setting of a tuned host.
const KERNEL: (u32, u32) = (5, 14);
/// A host with less memory shall keep its own values of [`OF_LARGE`], as `tuning/apply` has it.
const LARGE_BYTES: u64 = 20 << 30;
/// Settings whose values are memory.
const OF_LARGE: [&str; 3] = ["net.ipv4.tcp_mem", "net.ipv4.tcp_max_orphans", "vm.min_free_kbytes"];
/// Sources of time that a program can read without a system call.
const FAST_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "riscv_clocksource"];

/// Settings that the host does not have as it should.
pub(super) fn untuned(question: &Question<'_>, unread: &mut Vec<String>) -> Vec<Untuned> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    let is_small = question.host.memory.as_ref().is_ok_and(|memory| memory.total < LARGE_BYTES);
    let is_tracking = matches!(&question.host.tracked, Some(Ok(tracked)) if tracked.used > 0);
    for wants in question.tuned {
        let is_of_tracking = wants.name.starts_with("net.netfilter.nf_conntrack");
        if is_small && OF_LARGE.contains(&wants.name.as_str()) || is_of_tracking && !is_tracking {
            continue;
        }
        match question.host.settings.get(&wants.name) {
            Some(Ok(is)) if !wants.is_met_by(is) => found.push(Untuned {
                name: wants.name.clone(),
                is: is.clone(),
                rule: wants.rule.to_string(),
                wants: wants.value.clone(),
                why: wants.why.clone(),
                without: wants.without.clone(),
                command: command(&wants.name, &wants.value),
            }),
            Some(Ok(_)) => {}
            Some(Err(fault)) if fault.why != Why::Missing => unread.push(fault.to_string()),
            _ => missing.push(wants.name.as_str()),
        }
    }
    if !missing.is_empty() {
        let names = missing.join(", ");
        unread.push(format!(
            "{names}: not there; a container does not see settings that are the host's, an older kernel does not have \
             all, and a module's come with the module"
        ));
    }
    found
}

fn command(name: &str, value: &str) -> String {
    if value.contains(' ') {
        format!("sysctl -w {name}='{value}'")
    } else {
        format!("sysctl -w {name}={value}")
    }
}

/// Everything else about the host; `holds`: the connections that it can hold.
pub(super) fn of_host(question: &Question<'_>, holds: Option<u64>, unread: &mut Vec<String>) -> Vec<Finding> {
    let connections = question.connections.or(holds);
    let facts = [
        kernel(question),
        processors(question),
        unread_messages(question, connections),
        accept_queue(question),
        own_ports(question),
        overcommit(question),
        huge_pages(question),
        swap(question),
        clock(question),
    ];
    let mut found: Vec<Finding> = facts
        .into_iter()
        .filter_map(|fact| fact.map_err(|why| unread.push(why.to_string())).ok().flatten())
        .collect();
    found.extend(older_groups(question));
    found.extend(balancers(question, connections));
    if let Some(Err(why)) = &question.host.open {
        unread.push(why.to_string());
    }
    found
}

fn kernel(question: &Question<'_>) -> Fact<Option<Finding>> {
    let release = question.host.kernel.clone()?;
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Ok(Some(Finding::new("kernel", Level::Advice, format!("{release} names no release"))));
    };
    Ok(Some(if (major, minor) >= KERNEL {
        Finding::ok("kernel", release)
    } else {
        let says = format!(
            "{release} is older than 5.14, which first has net.ipv4.tcp_migrate_req: connections that wait at a shard's \
             listener are reset when it closes. The figures here were measured on 6.18"
        );
        Finding::new("kernel", Level::Advice, says)
    }))
}

fn processors(question: &Question<'_>) -> Fact<Option<Finding>> {
    let cores = question.host.cores.clone()?;
    let (shards, quota) = (question.node.shards, question.host.groups.cores);
    let may = quota.map_or(f64::from(cores), |quota| quota.min(f64::from(cores)));
    let has = match quota {
        Some(quota) if quota < f64::from(cores) => {
            format!("{quota:.1} of {} by cpu.max", several(cores.into(), "core"))
        }
        _ => several(cores.into(), "core"),
    };
    let shards_words = several(shards, "shard");
    if shards as f64 > may.ceil().max(1.0) {
        let says = format!("{has} for {shards_words}: shards that wait for a core answer late, together");
        let remedy = format!("--shards {}", may.floor().max(1.0));
        return Ok(Some(Finding::new("processors", Level::Warning, says).remedy(remedy)));
    }
    Ok(Some(Finding::ok("processors", format!("{has}, {shards_words}"))))
}

fn unread_messages(question: &Question<'_>, connections: Option<u64>) -> Fact<Option<Finding>> {
    let [_, pressure, most] = question.host.numbers("net.ipv4.tcp_mem")?;
    let Some(connections) = connections else { return Ok(None) };
    let pages = connections.saturating_mul(UNREAD_PAGES);
    let words = |pages: u64| {
        format!("{} pages ({})", count(pages), bytes(pages.saturating_mul(question.host.page_bytes) as f64))
    };
    let says = format!(
        "a broadcast that none of {} reads holds {}; TCP saves from {}, and drops above {}",
        several(connections, "client"),
        words(pages),
        words(pressure),
        words(most)
    );
    if pages <= pressure {
        return Ok(Some(Finding::ok("tcp memory", says)));
    }
    let tuned = question.tuned.iter().find(|setting| setting.name == "net.ipv4.tcp_mem");
    let of_tuned = |at: usize| {
        tuned.and_then(|it| it.value.split_whitespace().nth(at)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let (low, middle, high) = (
        of_tuned(0).max(pages),
        of_tuned(1).max(pages.saturating_mul(2)),
        of_tuned(2).max(pages.saturating_mul(4)),
    );
    let remedy = format!(
        "sysctl -w net.ipv4.tcp_mem='{low} {middle} {high}', where memory allows; else slow broadcasts down (spread=60s)"
    );
    Ok(Some(Finding::new("tcp memory", Level::Warning, says).remedy(remedy)))
}

fn accept_queue(question: &Question<'_>) -> Fact<Option<Finding>> {
    let somaxconn = question.host.number("net.core.somaxconn")?;
    let (each, shards) = (somaxconn.min(BACKLOG), question.node.shards);
    let addresses = question.node.listen.len().max(1) as u64;
    let all = each.saturating_mul(shards).saturating_mul(addresses);
    let says = format!(
        "{} may wait to be accepted: {} at each of {} and {} (the least of net.core.somaxconn and the node's own {})",
        several(all, "connection"),
        count(each),
        several(shards, "shard"),
        several(addresses, "client address"),
        count(BACKLOG),
    );
    let wants = question.tuned.iter().find(|setting| setting.name == "net.core.somaxconn");
    Ok(Some(match wants {
        // It is among the settings, with its reasons.
        Some(wants) if !wants.is_met_by(&somaxconn.to_string()) => {
            Finding::new("accept queue", Level::Advice, says)
        }
        _ => Finding::ok("accept queue", says),
    }))
}

/// Ports of the node that another program's outgoing connection might have when it starts.
fn own_ports(question: &Question<'_>) -> Fact<Option<Finding>> {
    let [first, last] = question.host.numbers("net.ipv4.ip_local_port_range")?;
    let reserved = match question.host.settings.get("net.ipv4.ip_local_reserved_ports") {
        Some(Ok(ports)) => ports.clone(),
        _ => String::new(),
    };
    let own =
        question.node.listen.iter().chain([&question.node.internal]).map(|address| u64::from(address.port()));
    let mut at_risk: Vec<u64> = own
        .filter(|&port| port > 0 && (first..=last).contains(&port) && !is_listed(&reserved, port))
        .collect();
    at_risk.sort_unstable();
    at_risk.dedup();
    let listed = |ports: &[u64]| ports.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    if at_risk.is_empty() {
        return Ok(Some(Finding::ok(
            "own ports",
            format!("none is among {first} to {last}, or all are reserved"),
        )));
    }
    let ports = listed(&at_risk);
    let says = format!(
        "{ports} may be taken by an outgoing connection of this host (net.ipv4.ip_local_port_range is {first} {last}); \
         a node that starts then finds its address in use"
    );
    let all = if reserved.is_empty() { ports } else { format!("{reserved},{ports}") };
    let remedy = command("net.ipv4.ip_local_reserved_ports", &all);
    Ok(Some(Finding::new("own ports", Level::Advice, says).remedy(remedy)))
}

/// Whether a list such as `7001-7004,7008` has a port.
fn is_listed(list: &str, port: u64) -> bool {
    list.split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let bounds = (first.trim().parse::<u64>(), last.trim().parse::<u64>());
        matches!(bounds, (Ok(first), Ok(last)) if (first..=last).contains(&port))
    })
}

fn overcommit(question: &Question<'_>) -> Fact<Option<Finding>> {
    Ok((question.host.number("vm.overcommit_memory")? == 2).then(|| {
        let says = "vm.overcommit_memory is 2: a node reserves more address space than it uses, and may be refused it";
        Finding::new("overcommit", Level::Warning, says).remedy("sysctl -w vm.overcommit_memory=0")
    }))
}

fn huge_pages(question: &Question<'_>) -> Fact<Option<Finding>> {
    let chosen = match question.host.huge_pages.clone() {
        Err(unread) if unread.why == Why::Missing => return Ok(None),
        known => known?,
    };
    if chosen != "always" {
        return Ok(Some(Finding::ok("huge pages", chosen)));
    }
    let says = "always: memory grows by 2 MiB where a few kB are meant, so that a node looks larger than its connections";
    let remedy = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
    Ok(Some(Finding::new("huge pages", Level::Advice, says).remedy(remedy)))
}

fn swap(question: &Question<'_>) -> Fact<Option<Finding>> {
    let swap = question.host.memory.clone()?.swap;
    if swap == 0 {
        return Ok(Some(Finding::ok("swap", "none")));
    }
    let says = format!(
        "{}: what a node keeps of idle connections is what the kernel swaps out first, and every shard waits for the \
         disk when they come back; sockets are never swapped, so it makes room for few",
        bytes(swap as f64)
    );
    Ok(Some(Finding::new("swap", Level::Advice, says).remedy("swapoff -a, and take it out of /etc/fstab")))
}

fn clock(question: &Question<'_>) -> Fact<Option<Finding>> {
    let source = match question.host.clock_source.clone() {
        Err(unread) if unread.why == Why::Missing => return Ok(None),
        known => known?,
    };
    if !FAST_CLOCKS.contains(&source.as_str()) {
        let says = format!("the kernel's time comes from {source}, which each reading asks the kernel for");
        let finding = Finding::new("clock", Level::Advice, says);
        let better = FAST_CLOCKS.iter().find(|name| question.host.clock_sources.iter().any(|it| it == *name));
        let remedy = |better| {
            format!("echo {better} > /sys/devices/system/clocksource/clocksource0/current_clocksource")
        };
        return Ok(Some(match better {
            Some(better) => finding.remedy(remedy(better)),
            None => finding,
        }));
    }
    let set = if question.host.is_clock_set {
        "set by NTP"
    } else {
        "whether NTP sets it cannot be told from here"
    };
    Ok(Some(Finding::ok("clock", format!("{source}; {set}"))))
}

fn older_groups(question: &Question<'_>) -> Option<Finding> {
    let groups = &question.host.groups;
    (groups.version == Version::V1).then(|| {
        let says = if groups.memory.is_empty() {
            "version 1, with no limit on memory in sight"
        } else {
            "version 1: the limit on memory is counted here, but the node's limits.memory looks at the host then, so that at this limit the kernel ends the node instead of the node refusing clients"
        };
        let level = if groups.memory.is_empty() { Level::Ok } else { Level::Warning };
        let finding = Finding::new("control groups", level, says);
        match level {
            Level::Ok => finding,
            _ => finding.remedy("start the host with systemd.unified_cgroup_hierarchy=1, or set limits.connections below it"),
        }
    })
}

/// How many addresses of balancers it takes, where that was not told.
fn balancers(question: &Question<'_>, connections: Option<u64>) -> Option<Finding> {
    let connections = connections.filter(|_| question.balancer_addresses.is_none())?;
    let ports = question.node.listen.len().max(1) as u64;
    let needed = connections.div_ceil(SOURCE_PORTS.saturating_mul(ports));
    if needed <= 1 {
        return None;
    }
    let says = format!(
        "behind a balancer that connects from addresses of its own, {} take at least {} and {}: each pair has {} source \
         ports (--balancer-addresses has this counted)",
        several(connections, "connection"),
        several(needed, "balancer address"),
        several(ports, "client port"),
        count(SOURCE_PORTS)
    );
    let level = if question.node.is_behind_balancer { Level::Warning } else { Level::Ok };
    Some(Finding::new("balancers", level, says))
}
