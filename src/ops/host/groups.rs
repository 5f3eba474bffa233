//! Control groups of a process (cgroups(7)): how much memory and processor time each level leaves it.

use super::files::{Fact, Files, Unread, Why};

/// Which hierarchy limits the process's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// The older one, with a hierarchy for each controller.
    V1,
    /// The unified one.
    V2,
    /// Neither can be seen.
    None,
}

/// What the groups of a process limit.
#[derive(Clone, PartialEq, Debug)]
pub struct Groups {
    /// Whose files were read.
    pub version: Version,
    /// Levels that limit memory, the process's own first.
    pub memory: Vec<Group>,
    /// Processors that it may keep busy; None: all.
    pub cores: Option<f64>,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

/// A level that limits memory. Bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// The file with the limit.
    pub file: String,
    /// What may be used.
    pub limit: u64,
    /// What is used, without file pages that may be dropped at any time.
    pub used: u64,
}

/// Limits of the older hierarchy from here on are none: it writes the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 62;

impl Groups {
    pub(super) fn read(files: &Files, process: &str) -> Self {
        let mut groups = Self { version: Version::None, memory: Vec::new(), cores: None, unread: Vec::new() };
        let path = format!("/proc/{process}/cgroup");
        let listed = match files.text(&path) {
            Ok(text) => text,
            Err(unread) => {
                groups.unread.push(unread);
                return groups;
            }
        };
        // With a hierarchy for memory of its own, the unified one does not limit memory.
        if let Some(own) = controller(&listed, "memory") {
            groups.read_v1(files, own, controller(&listed, "cpu").unwrap_or("/"));
        } else if let Some(own) = listed.lines().find_map(|line| line.strip_prefix("0::")) {
            groups.read_v2(files, own);
        } else {
            groups.unread.push(Unread::garbage(&path, &listed));
        }
        groups
    }

    fn read_v2(&mut self, files: &Files, own: &str) {
        let top = "/sys/fs/cgroup";
        if !files.exists("/sys/fs/cgroup/cgroup.controllers") {
            let path = format!("{top}/cgroup.controllers");
            self.unread.push(Unread { path, why: Why::Missing });
            return;
        }
        self.version = Version::V2;
        for folder in levels(top, own) {
            for name in ["memory.max", "memory.high"] {
                let limit = |text: &str| match text.trim() {
                    "max" => Some(None),
                    number => number.parse().ok().map(Some),
                };
                let found = files.parse(&format!("{folder}/{name}"), limit);
                self.add(files, &folder, name, found, ("memory.current", "inactive_file"));
            }
            let quota = files.parse(&format!("{folder}/cpu.max"), cores_v2);
            self.least_cores(quota);
        }
    }

    fn read_v1(&mut self, files: &Files, own: &str, own_cpu: &str) {
        let top = "/sys/fs/cgroup/memory";
        if !files.exists(top) {
            self.unread.push(Unread { path: top.to_owned(), why: Why::Missing });
            return;
        }
        self.version = Version::V1;
        for folder in levels(top, own) {
            let limit = |text: &str| {
                let bytes = text.trim().parse::<u64>().ok()?;
                Some((bytes < NO_LIMIT).then_some(bytes))
            };
            let name = "memory.limit_in_bytes";
            let found = files.parse(&format!("{folder}/{name}"), limit);
            self.add(files, &folder, name, found, ("memory.usage_in_bytes", "total_inactive_file"));
        }
        for folder in levels("/sys/fs/cgroup/cpu", own_cpu) {
            let number = |text: &str| text.trim().parse::<i64>().ok();
            let quota = files.parse(&format!("{folder}/cpu.cfs_quota_us"), number);
            let period = files.parse(&format!("{folder}/cpu.cfs_period_us"), number);
            if let (Ok(quota), Ok(period)) = (quota, period) {
                let cores = (quota > 0 && period > 0).then(|| quota as f64 / period as f64);
                self.least_cores(Ok(cores));
            }
        }
    }

    /// Takes a level's limit, if it has one, with what is used of it.
    fn add(
        &mut self,
        files: &Files,
        folder: &str,
        name: &str,
        limit: Fact<Option<u64>>,
        (current, droppable): (&str, &str),
    ) {
        let limit = match limit {
            Ok(Some(limit)) => limit,
            // The root group has no limit, and levels above a container's own cannot be seen.
            Ok(None) => return,
            Err(unread) if unread.why == Why::Missing => return,
            Err(unread) => return self.unread.push(unread),
        };
        let used = files.parse(&format!("{folder}/{current}"), |text| text.trim().parse::<u64>().ok());
        let used = used.unwrap_or_else(|unread| {
            self.unread.push(unread);
            0
        });
        let stat = files.text(&format!("{folder}/memory.stat")).unwrap_or_default();
        let of = |line: &str| line.strip_prefix(droppable)?.strip_prefix(' ')?.trim().parse::<u64>().ok();
        let droppable = stat.lines().find_map(of).unwrap_or(0);
        let file = format!("{folder}/{name}");
        self.memory.push(Group { file, limit, used: used.saturating_sub(droppable) });
    }

    fn least_cores(&mut self, quota: Fact<Option<f64>>) {
        match quota {
            Ok(Some(cores)) => self.cores = Some(self.cores.map_or(cores, |least| least.min(cores))),
            Ok(None) => {}
            Err(unread) if unread.why == Why::Missing => {}
            Err(unread) => self.unread.push(unread),
        }
    }
}

/// The group of a controller of the older hierarchy, from lines such as `4:cpu,cpuacct:/a`.
fn controller<'a>(listed: &'a str, name: &str) -> Option<&'a str> {
    listed.lines().find_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|one| one == name).then_some(group)
    })
}

/// The folder of a group and those above it, up to the top. A group outside of what can be seen is taken for the top.
fn levels(top: &str, group: &str) -> Vec<String> {
    let parts: Vec<&str> = group.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let depth = if parts.contains(&"..") { 0 } else { parts.len() };
    let folder = |depth: usize| parts.iter().take(depth).fold(top.to_owned(), |path, part| path + "/" + part);
    (0..=depth).rev().map(folder).collect()
}

/// Cores of a line such as `150000 100000`: microseconds of each period. `max` is no limit.
fn cores_v2(text: &str) -> Option<Option<f64>> {
    let mut words = text.split_whitespace();
    let (quota, period) = (words.next()?, words.next()?.parse::<u64>().ok()?);
    if quota == "max" {
        return Some(None);
    }
    let quota = quota.parse::<u64>().ok()?;
    (period > 0).then(|| Some(quota as f64 / period as f64))
}
