//! A live host, as far as it bounds connections: read from /proc and /sys below a folder that is an argument.
//!
//! Owns the reading. Never judges, never changes anything, and never fails: what cannot be read or understood is a
//! [`Fact`] that says so.

mod files;
mod groups;

pub use files::{Fact, Unread, Why};
pub use groups::{Group, Groups, Version};

use files::Files;
use std::{collections::BTreeMap, path::Path};

/// Size of a page of memory where the kernel does not tell.
const PAGE_BYTES: u64 = 4_096;
/// The entry of a process' auxiliary vector that has it (getauxval(3), AT_PAGESZ).
const PAGE_ENTRY: usize = 6;

/// A host, and a process on it. Sizes are bytes.
#[derive(Clone, Debug)]
pub struct Host {
    /// Release of the kernel.
    pub kernel: Fact<String>,
    /// Processors that are online.
    pub cores: Fact<u32>,
    /// Main memory and swap.
    pub memory: Fact<Memory>,
    /// Size of a page of memory.
    pub page_bytes: u64,
    /// Control groups of the process, with what they limit.
    pub groups: Groups,
    /// `RLIMIT_NOFILE` of the process.
    pub descriptors: Fact<Descriptors>,
    /// Descriptors that the process has open; None where it is not another one.
    pub open: Option<Fact<u64>>,
    /// Files of the whole host.
    pub files: Fact<OpenFiles>,
    /// Connections that the kernel tracks; None: it has no `nf_conntrack`.
    pub tracked: Option<Fact<Tracked>>,
    /// Settings of the kernel by their name in sysctl(8), in one line each.
    pub settings: BTreeMap<String, Fact<String>>,
    /// Whether transparent huge pages are `always`, `madvise` or `never`.
    pub huge_pages: Fact<String>,
    /// Where the kernel's time comes from.
    pub clock_source: Fact<String>,
    /// Where else it could come from.
    pub clock_sources: Vec<String>,
    /// A daemon of systemd says that it has set the clock. False proves nothing: others do not say.
    pub is_clock_set: bool,
}

/// Main memory, as /proc/meminfo tells of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What programs could have without swapping.
    pub available: u64,
    /// Swap; 0: none.
    pub swap: u64,
}

/// How many descriptors a process may have. `u64::MAX`: as many as it likes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptors {
    /// In effect.
    pub soft: u64,
    /// What it may raise that to by itself.
    pub hard: u64,
}

/// Open files of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenFiles {
    /// Now.
    pub used: u64,
    /// At most.
    pub max: u64,
}

/// The table of `nf_conntrack`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tracked {
    /// Entries now, of this network namespace.
    pub used: u64,
    /// Entries at most.
    pub max: u64,
}

/// Settings that are read in any case.
const SETTINGS: [&str; 7] = [
    "fs.nr_open",
    "fs.epoll.max_user_watches",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_mem",
    "vm.overcommit_memory",
];

impl Host {
    /// Reads the host whose /proc, /sys and /run are below `root`, with these settings besides those that are always read.
    /// The limits and groups are those of `process`, or of this one.
    pub fn read<'a>(root: &Path, process: Option<u32>, settings: impl Iterator<Item = &'a str>) -> Self {
        let files = Files::below(root);
        let own = process.map_or_else(|| "self".to_owned(), |process| process.to_string());
        let all = SETTINGS.into_iter().chain(settings);
        Self {
            kernel: files.line("/proc/sys/kernel/osrelease"),
            cores: files.parse("/sys/devices/system/cpu/online", cores),
            memory: files.parse("/proc/meminfo", memory),
            page_bytes: page_bytes(&files),
            groups: Groups::read(&files, &own),
            descriptors: files.parse(&format!("/proc/{own}/limits"), descriptors),
            open: process.map(|process| files.count(&format!("/proc/{process}/fd"))),
            files: files.parse("/proc/sys/fs/file-nr", open_files),
            tracked: tracked(&files),
            settings: all.map(|name| (name.to_owned(), files.line(&setting_path(name)))).collect(),
            huge_pages: files.parse("/sys/kernel/mm/transparent_hugepage/enabled", chosen),
            clock_source: files.line(&format!("{CLOCK}/current_clocksource")),
            clock_sources: words(files.line(&format!("{CLOCK}/available_clocksource"))),
            is_clock_set: files.exists("/run/systemd/timesync/synchronized"),
        }
    }

    /// A setting that is a number.
    ///
    /// # Errors
    /// [`Unread`], also when it is none.
    pub fn number(&self, name: &str) -> Fact<u64> {
        let path = setting_path(name);
        match self.settings.get(name) {
            None => Err(Unread { path, why: Why::Missing }),
            Some(fact) => {
                let text = fact.clone()?;
                text.parse().map_err(|_| Unread::garbage(&path, &text))
            }
        }
    }

    /// A setting that is several numbers.
    ///
    /// # Errors
    /// [`Unread`], also when they are other than so many numbers.
    pub fn numbers<const N: usize>(&self, name: &str) -> Fact<[u64; N]> {
        let path = setting_path(name);
        let Some(fact) = self.settings.get(name) else { return Err(Unread { path, why: Why::Missing }) };
        let text = fact.clone()?;
        let numbers: Option<Vec<u64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
        numbers.and_then(|all| all.try_into().ok()).ok_or_else(|| Unread::garbage(&path, &text))
    }
}

const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0";

/// Where a setting is. A name of an interface may have a slash for each of its own dots, as sysctl(8) has it.
fn setting_path(name: &str) -> String {
    let swapped = |letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    format!("/proc/sys/{}", name.chars().map(swapped).collect::<String>())
}

fn words(line: Fact<String>) -> Vec<String> {
    line.map_or_else(|_| Vec::new(), |line| line.split_whitespace().map(str::to_owned).collect())
}

/// Processors of a list such as `0-3,8`.
fn cores(online: &str) -> Option<u32> {
    let span = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    let counted = online.trim().split(',').try_fold(0u32, |sum, part| sum.checked_add(span(part)?));
    counted.filter(|&cores| cores > 0)
}

fn memory(text: &str) -> Option<Memory> {
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
    };
    let (total, available) = (of("MemTotal")?, of("MemAvailable")?);
    Some(Memory { total, available: available.min(total), swap: of("SwapTotal").unwrap_or(0) })
}

fn descriptors(text: &str) -> Option<Descriptors> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut words = line.split_whitespace().map(|word| match word {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    });
    Some(Descriptors { soft: words.next()??, hard: words.next()?? })
}

fn open_files(text: &str) -> Option<OpenFiles> {
    let mut numbers = text.split_whitespace().map(|word| word.parse::<u64>().ok());
    let (allocated, free, max) = (numbers.next()??, numbers.next()??, numbers.next()??);
    Some(OpenFiles { used: allocated.saturating_sub(free), max })
}

fn tracked(files: &Files) -> Option<Fact<Tracked>> {
    let number = |name: &str| files.parse(&setting_path(name), |text| text.trim().parse().ok());
    match (number("net.netfilter.nf_conntrack_count"), number("net.netfilter.nf_conntrack_max")) {
        (Err(used), Err(max)) if used.why == Why::Missing && max.why == Why::Missing => None,
        (Ok(used), Ok(max)) => Some(Ok(Tracked { used, max })),
        (Err(unread), _) | (_, Err(unread)) => Some(Err(unread)),
    }
}

/// What stands in brackets among the choices.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(chosen, _)| chosen.to_owned())
}

/// The auxiliary vector is pairs of a machine's words: what, and how much.
fn page_bytes(files: &Files) -> u64 {
    const WORD: usize = size_of::<usize>();
    let vector = files.bytes("/proc/self/auxv").unwrap_or_default();
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, usize::from_ne_bytes);
    let mut pairs = vector.chunks_exact(2 * WORD).map(|pair| pair.split_at(WORD));
    let size = pairs.find(|(what, _)| word(what) == PAGE_ENTRY).map(|(_, size)| word(size) as u64);
    size.filter(|size| size.is_power_of_two()).unwrap_or(PAGE_BYTES)
}
