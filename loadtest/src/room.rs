//! What a machine allows, and whether a number of clients fits: descriptors, memory, the kernel's tables.
//!
//! Reads files of `/proc` and `/sys` in [`Room::read`]; all else follows from what was read. Changes nothing.

use serde::{Deserialize, Serialize};
use std::{fmt::Write, fs};

/// Descriptors of a process that are no client's: polls, files, the internal port.
pub const OTHER_DESCRIPTORS: u64 = 64;
/// What the kernel keeps for one end of an idle connection, bytes: its socket, file and directory entry.
const END_BYTES: u64 = 4_100;
/// What a worker keeps for a client, bytes.
const CLIENT_BYTES: u64 = 100;
/// What a worker process has before its first client, bytes.
const PROCESS_BYTES: u64 = 6 << 20;
/// Most worker processes of one machine: more only wait for each other.
pub const PROCESSES_MAX: u32 = 1_024;

/// What a machine allows. What could not be read does not limit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Room {
    /// A process's hard limit of descriptors.
    pub descriptors: u64,
    /// Memory that can still be had, bytes, and what says so.
    pub memory: Option<(u64, String)>,
    /// Open files of the whole machine, and how many there may be (`fs.file-nr`, `fs.file-max`).
    pub files: Option<(u64, u64)>,
    /// Entries of the connection tracker and how many there may be, where it is in use.
    pub tracked: Option<(u64, u64)>,
}

/// What is to fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Need {
    /// Clients.
    pub connections: u32,
    /// Processes; 0: as many as it takes.
    pub processes: u32,
    /// Threads of each.
    pub threads: u32,
    /// The server's ends are on this machine too.
    pub both_ends: bool,
}

impl Room {
    /// What this machine and process have.
    pub fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let number = |path: &str| text(path).trim().parse::<u64>().ok();
        let files = text("/proc/sys/fs/file-nr");
        let mut files = files.split_whitespace().map(|word| word.parse::<u64>().ok());
        let tracked = number("/proc/sys/net/netfilter/nf_conntrack_count");
        let group = text("/proc/self/cgroup");
        let group = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
        let of_group = |file: &str| number(&format!("/sys/fs/cgroup{}/{file}", group.trim_end_matches('/')));
        let grouped = of_group("memory.max").zip(of_group("memory.current"));
        let memory = [
            available(&text("/proc/meminfo")).map(|bytes| (bytes, "MemAvailable")),
            grouped.map(|(most, used)| (most.saturating_sub(used), "memory.max of this control group")),
        ];
        Self {
            descriptors: rlimit::Resource::NOFILE.get_hard().unwrap_or(u64::MAX),
            memory: memory.into_iter().flatten().min().map(|(bytes, what)| (bytes, what.to_owned())),
            files: files.next().flatten().zip(files.nth(1).flatten()),
            // It counts nothing where no rule of the firewall wants it.
            tracked: tracked
                .filter(|count| *count > 0)
                .zip(number("/proc/sys/net/netfilter/nf_conntrack_max")),
        }
    }

    /// In how many processes these clients fit.
    ///
    /// # Errors
    /// A sentence for each limit that is in the way, on a line of its own: its value, the remedy, and what fits.
    pub fn fit(&self, need: Need) -> Result<u32, String> {
        let processes = self.processes(need);
        let wrong = [
            self.lacks_descriptors(need),
            self.lacks_memory(need, processes),
            self.lacks_files(need),
            self.lacks_tracks(need),
        ];
        let wrong: Vec<String> = wrong.into_iter().flatten().collect();
        if wrong.is_empty() { Ok(processes) } else { Err(wrong.join("\n")) }
    }

    /// The most clients of one process. Clients are dealt to threads in turn, so that some have one more than others.
    fn per_process(&self, threads: u32) -> u64 {
        let threads = u64::from(threads.max(1));
        self.descriptors.saturating_sub(OTHER_DESCRIPTORS) / threads * threads
    }

    fn processes(&self, need: Need) -> u32 {
        match need.processes {
            0 => {
                let wanted = u64::from(need.connections).div_ceil(self.per_process(need.threads).max(1));
                wanted.clamp(1, u64::from(PROCESSES_MAX)) as u32
            }
            given => given,
        }
    }

    fn lacks_descriptors(&self, need: Need) -> Option<String> {
        let (processes, each) = (self.processes(need), self.per_process(need.threads));
        if processes > PROCESSES_MAX {
            return Some(format!("{processes} worker processes are too many: at most {PROCESSES_MAX}"));
        }
        let fit = each.saturating_mul(processes.into());
        (u64::from(need.connections) > fit).then(|| {
            let count = grouped(need.connections.into());
            let remedy = "raise it (ulimit -Hn, LimitNOFILE; above fs.nr_open also sysctl -w fs.nr_open=...)";
            let more = if need.processes == 0 || need.processes >= PROCESSES_MAX {
                String::new()
            } else {
                let wanted = self.processes(Need { processes: 0, ..need });
                format!(", have at least {wanted} worker processes (0: as many as it takes)")
            };
            format!(
                "{count} connections need a descriptor each, and the hard limit of a process is {}, of which {OTHER_DESCRIPTORS} \
                 are for other things: {remedy}{more}, or ask for at most {} connections",
                grouped(self.descriptors),
                grouped(fit)
            )
        })
    }

    fn lacks_memory(&self, need: Need, processes: u32) -> Option<String> {
        let (available, what) = self.memory.as_ref()?;
        let each = END_BYTES * if need.both_ends { 2 } else { 1 } + CLIENT_BYTES;
        let fixed = u64::from(processes) * PROCESS_BYTES;
        let wanted = u64::from(need.connections) * each + fixed;
        (wanted > *available).then(|| {
            let (count, fit) = (need.connections, available.saturating_sub(fixed) / each);
            let ends = if need.both_ends { "both ends of each are on this machine" } else { "one end of each" };
            format!(
                "{} connections need about {} of memory ({ends}, {} in the kernel and {CLIENT_BYTES} B here; a server's own \
                 comes on top), and {what} is {}: add memory, have agents on other machines (--agents), or ask for at most \
                 {} connections",
                grouped(count.into()),
                megabytes(wanted),
                format_args!("{:.1} kB", (each - CLIENT_BYTES) as f64 / 1e3),
                megabytes(*available),
                grouped(fit)
            )
        })
    }

    fn lacks_files(&self, need: Need) -> Option<String> {
        let (used, most) = self.files?;
        let each = if need.both_ends { 2 } else { 1 };
        let wanted = u64::from(need.connections) * each;
        let free = most.saturating_sub(used);
        (wanted > free).then(|| {
            format!(
                "{} connections need {} open files of the machine ({each} each), and of fs.file-max = {most} there are {} \
                 left: sysctl -w fs.file-max={}, or ask for at most {} connections",
                grouped(need.connections.into()),
                grouped(wanted),
                grouped(free),
                rounded_up(used, wanted, 100_000),
                grouped(free / each)
            )
        })
    }

    fn lacks_tracks(&self, need: Need) -> Option<String> {
        let (used, most) = self.tracked?;
        let (wanted, free) = (u64::from(need.connections), most.saturating_sub(used));
        (wanted > free).then(|| {
            format!(
                "the firewall tracks connections, and {} need an entry each, of which net.netfilter.nf_conntrack_max = {most} \
                 leaves {}: sysctl -w net.netfilter.nf_conntrack_max={}, exempt them from tracking (a NOTRACK rule), or ask \
                 for at most {} connections",
                grouped(wanted),
                grouped(free),
                rounded_up(used, wanted, 65_536),
                grouped(free)
            )
        })
    }
}

/// `MemAvailable` of `/proc/meminfo`, bytes.
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

fn rounded_up(used: u64, wanted: u64, step: u64) -> u64 {
    used.saturating_add(wanted).checked_next_multiple_of(step).unwrap_or(u64::MAX)
}

/// A number for people: 19,231.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn megabytes(bytes: u64) -> String {
    let mut out = String::new();
    // Writing to a String can not fail.
    let _ = match bytes {
        0..10_000_000_000 => write!(out, "{} MB", grouped(bytes.div_ceil(1_000_000))),
        _ => write!(out, "{:.1} GB", bytes as f64 / 1e9),
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> Room {
        Room {
            descriptors: 20_000,
            memory: Some((24 << 30, "MemAvailable".into())),
            files: Some((1_000, 2_466_170)),
            tracked: None,
        }
    }

    const MILLION: Need = Need { connections: 1_000_000, processes: 0, threads: 1, both_ends: true };

    #[test]
    fn processes_follow_from_descriptors() {
        let table = [
            (20_000, 0, 1, 19_936, Ok(1)),
            (20_000, 0, 1, 19_937, Ok(2)),
            (20_000, 0, 1, 1_000_000, Ok(51)),
            (20_000, 0, 3, 1_000_000, Ok(51)),
            (1_048_576, 0, 2, 1_000_000, Ok(1)),
            (20_000, 5, 1, 90_000, Ok(5)),
            (20_000, 4, 1, 90_000, Err("have at least 5 worker processes")),
            (20_000, 4, 1, 90_000, Err("at most 79,744 connections")),
            (20_000, 2_000, 1, 90_000, Err("2000 worker processes are too many: at most 1024")),
            (64, 0, 1, 1, Err("ulimit -Hn")),
            (0, 0, 1, 1, Err("the hard limit of a process is 0")),
            (100, 0, 1, 50_000, Err("at most 36,864 connections")),
            (u64::MAX, 0, 1, u32::MAX, Ok(1)),
        ];
        for (descriptors, processes, threads, connections, expected) in table {
            let need = Need { connections, processes, threads, both_ends: false };
            let found = Room { descriptors, memory: None, files: None, ..room() }.fit(need);
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(*found, expected, "{descriptors} {need:?}"),
                (Err(words), Err(expected)) => assert!(words.contains(expected), "{words}"),
                _ => panic!("{descriptors} {need:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_million_fits_into_a_machine_like_this() {
        assert_eq!(room().fit(MILLION), Ok(51));
    }

    #[test]
    fn each_limit_is_named_with_the_remedy_and_what_fits() {
        let memory = |bytes| Room { memory: Some((bytes, "MemAvailable".into())), ..room() };
        let remote = Need { both_ends: false, ..MILLION };
        let table: [(Room, Need, &[&str]); 6] = [
            (
                memory(8 << 30),
                MILLION,
                &[
                    "need about 8,621 MB",
                    "MemAvailable is 8,590 MB",
                    "--agents",
                    "at most 996,273 connections",
                ],
            ),
            (memory(4 << 30), remote, &["one end of each, 4.1 kB in the kernel", "at most 946,"]),
            (memory(0), MILLION, &["at most 0 connections"]),
            (
                Room { files: Some((1_000, 1_001_000)), ..room() },
                MILLION,
                &[
                    "2,000,000 open files",
                    "1,000,000 left",
                    "sysctl -w fs.file-max=2100000",
                    "at most 500,000",
                ],
            ),
            (
                Room { tracked: Some((5, 262_144)), ..room() },
                remote,
                &["sysctl -w net.netfilter.nf_conntrack_max=1048576", "at most 262,139 connections"],
            ),
            (
                Room { tracked: Some((u64::MAX / 2, 1)), files: Some((9, 3)), ..memory(1) },
                MILLION,
                &["MemAvailable", "\n", "fs.file-max", "nf_conntrack_max"],
            ),
        ];
        for (room, need, expected) in table {
            let words = room.fit(need).unwrap_err();
            for part in expected {
                assert!(words.contains(part), "{part}: {words}");
            }
        }
        assert_eq!(Room { files: Some((1_000, 1_001_000)), ..room() }.fit(remote), Ok(51), "one file each");
    }

    #[test]
    fn this_machine_is_read() {
        let room = Room::read();
        assert!(room.descriptors > 0 && room.memory.as_ref().is_some_and(|(bytes, _)| *bytes > 1 << 20));
        assert!(room.files.is_some_and(|(used, most)| used > 0 && most >= used), "{room:?}");
        assert_eq!(available("MemFree: 1 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemAvailable: much\n"), None);
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(
            [0, 999, 1_000, 19_231, 1_000_000].map(grouped),
            ["0", "999", "1,000", "19,231", "1,000,000"]
        );
        assert_eq!((megabytes(1), megabytes(12_340_000_000)), ("1 MB".into(), "12.3 GB".into()));
    }
}
