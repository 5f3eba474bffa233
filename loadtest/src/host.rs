//! The machine: what it is, how it is set up as far as load depends on it, and what its kernel and processes hold. Read from
//! /proc and /sys below a folder that is an argument; what is not there is not known, and never an error.

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Settings that matter to many connections.
const SYSCTLS: [&str; 42] = [
    "fs.epoll.max_user_watches",
    "fs.file-max",
    "fs.nr_open",
    "kernel.pid_max",
    "net.core.default_qdisc",
    "net.core.mem_pcpu_rsv",
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_max",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_autocorking",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_ehash_entries",
    "net.ipv4.tcp_fastopen",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_migrate_req",
    "net.ipv4.tcp_moderate_rcvbuf",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_orphan_retries",
    "net.ipv4.tcp_retries2",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_syn_retries",
    "net.ipv4.tcp_synack_retries",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_wmem",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "vm.max_map_count",
    "vm.min_free_kbytes",
    "vm.overcommit_memory",
];
/// Ticks of a second in /proc/<pid>/stat: the kernel's USER_HZ, which is 100 wherever Rust runs.
const TICKS_PER_SECOND: u64 = 100;
/// Size of a page where the kernel does not tell.
const PAGE_BYTES: u64 = 4_096;
/// The entry of the auxiliary vector that has it (AT_PAGESZ).
const PAGE_ENTRY: usize = 6;

/// A machine, as a report tells of it. What could not be read is empty or 0.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Host {
    /// Release of the kernel.
    pub kernel: String,
    /// Distribution with its version.
    pub distribution: Option<String>,
    /// Model of the processor.
    pub cpu: String,
    /// Processors that are online.
    pub cores: u32,
    /// Main memory.
    pub memory_bytes: u64,
    /// How much of it this process may have together with its group; None: no limit.
    pub memory_limit_bytes: Option<u64>,
    /// How many cores it may keep busy together with its group; None: no limit.
    pub cpu_limit: Option<f64>,
    /// Settings of the kernel that matter to many connections, by name; those that exist.
    pub sysctls: BTreeMap<String, String>,
    /// Descriptors that this process may have; None: no limit.
    pub descriptors_soft: Option<u64>,
    /// Descriptors that it may ask for; None: no limit.
    pub descriptors_hard: Option<u64>,
    /// It runs on a hypervisor.
    pub virtualised: bool,
}

impl Host {
    /// This machine.
    pub fn read() -> Self {
        Self::read_below(Path::new("/"))
    }

    /// A machine whose /proc, /sys and /etc are below a folder.
    pub fn read_below(root: &Path) -> Self {
        let cpuinfo = text(root, "proc/cpuinfo");
        let flags = field(&cpuinfo, "flags").unwrap_or("");
        let (descriptors_soft, descriptors_hard) = descriptors(&text(root, "proc/self/limits"));
        Self {
            kernel: text(root, "proc/sys/kernel/osrelease").trim().to_owned(),
            distribution: distribution(&text(root, "etc/os-release")),
            cpu: ["model name", "Model", "cpu model"]
                .iter()
                .find_map(|name| field(&cpuinfo, name))
                .map_or(String::new(), |model| model.split_whitespace().collect::<Vec<_>>().join(" ")),
            cores: cores(&text(root, "sys/devices/system/cpu/online"), &cpuinfo),
            memory_bytes: kilobytes(&text(root, "proc/meminfo"), "MemTotal").unwrap_or(0),
            memory_limit_bytes: of_groups(root, "memory.max", |text| text.trim().parse().ok()),
            cpu_limit: of_groups(root, "cpu.max", cpu_limit),
            sysctls: sysctls(root),
            descriptors_soft,
            descriptors_hard,
            virtualised: flags.split_whitespace().any(|flag| flag == "hypervisor")
                || root.join("sys/hypervisor/type").exists(),
        }
    }
}

/// What the kernel holds for everybody. Before and after, it tells what connections cost it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KernelMemory {
    /// Small objects of all kinds: sockets, files, entries of epoll.
    pub slab_bytes: u64,
    /// Of them those that it cannot drop at will.
    pub unreclaimable_bytes: u64,
    /// What TCP has reserved for data under way. Idle connections have none.
    pub tcp_bytes: u64,
    /// TCP sockets of IPv4 in use.
    pub tcp_inuse: u64,
    /// TCP sockets of all kinds that are allocated.
    pub tcp_allocated: u64,
    /// Closed, and kept for a minute.
    pub tcp_time_wait: u64,
}

impl KernelMemory {
    /// Of this machine; None where /proc does not tell.
    pub fn read() -> Option<Self> {
        Self::read_below(Path::new("/"))
    }

    /// Of a machine whose /proc is below a folder.
    pub fn read_below(root: &Path) -> Option<Self> {
        let (memory, sockets) = (text(root, "proc/meminfo"), text(root, "proc/net/sockstat"));
        let tcp = sockets.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or("");
        let words: Vec<&str> = tcp.split_whitespace().collect();
        let of = |name: &str| words.chunks_exact(2).find(|pair| pair[0] == name)?[1].parse::<u64>().ok();
        Some(Self {
            slab_bytes: kilobytes(&memory, "Slab")?,
            unreclaimable_bytes: kilobytes(&memory, "SUnreclaim").unwrap_or(0),
            tcp_bytes: of("mem").unwrap_or(0).saturating_mul(page_bytes(root)),
            tcp_inuse: of("inuse").unwrap_or(0),
            tcp_allocated: of("alloc").unwrap_or(0),
            tcp_time_wait: of("tw").unwrap_or(0),
        })
    }

    /// What its growth says of connections. While data is under way it counts small buffers twice, so it is at most so much.
    pub fn bytes(&self) -> u64 {
        self.slab_bytes.saturating_add(self.tcp_bytes)
    }
}

/// What a process has used, and holds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Usage {
    /// User and system time of all its threads, in steps of 10 ms.
    pub cpu_us: u64,
    /// Resident memory, with the parts of files.
    pub rss_bytes: u64,
    /// Resident memory of its own: heap and stacks.
    pub anonymous_bytes: u64,
    /// Its threads.
    pub threads: u32,
}

impl Usage {
    /// Of this process; None where /proc does not tell.
    pub fn own() -> Option<Self> {
        Self::read_below(Path::new("/"), "self")
    }

    /// Of another process of this machine; None when there is none.
    pub fn of(process: u32) -> Option<Self> {
        Self::read_below(Path::new("/"), &process.to_string())
    }

    /// Of a process of a machine whose /proc is below a folder.
    pub fn read_below(root: &Path, process: &str) -> Option<Self> {
        let folder = format!("proc/{process}");
        let (stat, status) = (text(root, &format!("{folder}/stat")), text(root, &format!("{folder}/status")));
        // The name stands in brackets, and may have any character.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let ticks = ticks(11)?.saturating_add(ticks(12)?);
        Some(Self {
            cpu_us: ticks.saturating_mul(1_000_000 / TICKS_PER_SECOND),
            rss_bytes: kilobytes(&status, "VmRSS").unwrap_or(0),
            anonymous_bytes: kilobytes(&status, "RssAnon").unwrap_or(0),
            threads: field(&status, "Threads").and_then(|threads| threads.parse().ok()).unwrap_or(0),
        })
    }
}

/// A file below the root; empty when there is none, or it is no text.
fn text(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap_or_default()
}

/// What stands behind `name:` in the first line that begins so.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (before, value) = line.split_once(':')?;
        (before.trim_end() == name).then_some(value.trim())
    })
}

/// The same in bytes, of a line in kB, which are 1,024 each.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
}

fn distribution(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let name = line.trim().trim_matches(['"', '\'']);
    (!name.is_empty()).then(|| name.to_owned())
}

/// Processors of a list such as `0-3,8`; where there is none, those that are told of.
fn cores(online: &str, cpuinfo: &str) -> u32 {
    let span = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    let counted = online.trim().split(',').map(span).try_fold(0u32, |sum, cores| sum.checked_add(cores?));
    let told =
        || cpuinfo.lines().filter(|line| line.split(':').next().unwrap_or("").trim() == "processor").count();
    counted.unwrap_or_else(|| told() as u32)
}

fn descriptors(limits: &str) -> (Option<u64>, Option<u64>) {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or("");
    let mut words = line.split_whitespace().map(|word| word.parse().ok());
    (words.next().flatten(), words.next().flatten())
}

fn sysctls(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for name in SYSCTLS {
        let value = text(root, &format!("proc/sys/{}", name.replace('.', "/")));
        if !value.trim().is_empty() {
            found.insert(name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    let pages = text(root, "sys/kernel/mm/transparent_hugepage/enabled");
    if let Some((_, chosen)) = pages.split_once('[') {
        let chosen = chosen.split(']').next().unwrap_or("").to_owned();
        found.insert("transparent_hugepage".to_owned(), chosen);
    }
    found
}

/// The least of a limit of the control groups (v2) that this process is in.
fn of_groups<T: PartialOrd>(root: &Path, file: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    let groups = text(root, "proc/self/cgroup");
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or("");
    let top = PathBuf::from("sys/fs/cgroup");
    let mut folder = top.join(own);
    let mut least: Option<T> = None;
    while folder.starts_with(&top) {
        let limit = fs::read_to_string(root.join(&folder).join(file)).ok().and_then(|text| read(&text));
        if let Some(limit) = limit
            && least.as_ref().is_none_or(|least| limit < *least)
        {
            least = Some(limit);
        }
        folder.pop();
    }
    least
}

/// Cores of a line such as `150000 100000`: microseconds of each period. `max` is no limit.
fn cpu_limit(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace().map(str::parse::<f64>);
    let (quota, period) = (words.next()?.ok()?, words.next()?.ok()?);
    (period > 0.0).then(|| quota / period)
}

/// The auxiliary vector is pairs of a machine's words: what, and how much.
fn page_bytes(root: &Path) -> u64 {
    const WORD: usize = size_of::<usize>();
    let vector = fs::read(root.join("proc/self/auxv")).unwrap_or_default();
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, usize::from_ne_bytes);
    let size = vector.chunks_exact(2 * WORD).find(|pair| word(&pair[..WORD]) == PAGE_ENTRY);
    size.map_or(PAGE_BYTES, |pair| word(&pair[WORD..]) as u64)
}

#[cfg(test)]
mod tests;
