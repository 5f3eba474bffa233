//! How much of the host's or the container's memory is used, kernel sockets included.

use crate::stats::Pressure;
use std::{fs, path::Path};

/// Looks above the limit in a row before handshakes are refused: shedding the lowest lane is given time to help.
const LOOKS_BEFORE_REFUSAL: u32 = 5;
/// Pressure ends this far below the limit, in percent, so that it does not flap.
const RELIEF_PERCENT: u64 = 2;

/// Watches memory against `limits.memory`.
pub struct MemoryWatch {
    limit_percent: u64,
    looks_above: u32,
    pressure: Pressure,
}

impl MemoryWatch {
    /// A watch; 0 is off.
    pub fn new(limit_percent: u8) -> Self {
        Self { limit_percent: u64::from(limit_percent), looks_above: 0, pressure: Pressure::None }
    }

    /// Takes another limit; 0 is off. Says so when that ends a pressure.
    pub fn set_limit(&mut self, limit_percent: u8) -> Option<Pressure> {
        let limit_percent = u64::from(limit_percent);
        if limit_percent == self.limit_percent {
            return None;
        }
        (self.limit_percent, self.looks_above) = (limit_percent, 0);
        // What is still above the new limit shows at the next look.
        let pressed = std::mem::replace(&mut self.pressure, Pressure::None) != Pressure::None;
        pressed.then_some(Pressure::None)
    }

    /// Looks; says so when the pressure has changed. To be called about once a second.
    pub fn look(&mut self) -> Option<Pressure> {
        if self.limit_percent == 0 {
            return None;
        }
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let (used, total) =
            tightest(Path::new("/sys/fs/cgroup"), &own).or_else(|| host(Path::new("/proc/meminfo")))?;
        self.judge(used * 100 / total.max(1))
    }

    fn judge(&mut self, percent: u64) -> Option<Pressure> {
        let next = if percent >= self.limit_percent {
            self.looks_above += 1;
            if self.looks_above > LOOKS_BEFORE_REFUSAL { Pressure::Refuse } else { Pressure::ShedLow }
        } else if percent + RELIEF_PERCENT <= self.limit_percent {
            self.looks_above = 0;
            Pressure::None
        } else {
            self.pressure
        };
        if next == self.pressure {
            return None;
        }
        self.pressure = next;
        match next {
            Pressure::None => tracing::info!(percent, "memory is below limits.memory again"),
            Pressure::ShedLow => {
                tracing::warn!(percent, "memory is above limits.memory: the lowest lane is shed")
            }
            Pressure::Refuse => {
                tracing::warn!(percent, "memory is still above limits.memory: handshakes are refused");
            }
        }
        Some(next)
    }
}

/// Used and allowed bytes of that group among ours which is nearest to its limit: a container sees its own as the root, a
/// service's is some levels below (`own` is /proc/self/cgroup), and each level may have a limit.
fn tightest(root: &Path, own: &str) -> Option<(u64, u64)> {
    let ours = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let groups = Path::new(ours).ancestors().filter_map(|group| cgroup(&root.join(group)));
    groups.max_by_key(|(used, total)| used.saturating_mul(100) / (*total).max(1))
}

/// Used and allowed bytes of the cgroup (version 2), where it has a limit. What the kernel holds for sockets is part of
/// `memory.current`; file pages that it may drop at any time are not counted.
fn cgroup(root: &Path) -> Option<(u64, u64)> {
    let number = |name: &str| fs::read_to_string(root.join(name)).ok()?.trim().parse::<u64>().ok();
    let (current, max) = (number("memory.current")?, number("memory.max")?);
    let stat = fs::read_to_string(root.join("memory.stat")).unwrap_or_default();
    let inactive = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok());
    Some((current.saturating_sub(inactive.unwrap_or(0)), max))
}

/// Used and total bytes of the host.
fn host(meminfo: &Path) -> Option<(u64, u64)> {
    let text = fs::read_to_string(meminfo).ok()?;
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    let (total, available) = (kib("MemTotal:")?, kib("MemAvailable:")?);
    Some((total.saturating_sub(available) * 1_024, total * 1_024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sheds_then_refuses_then_relents_with_some_slack() {
        let mut watch = MemoryWatch::new(80);
        assert_eq!(watch.judge(79), None);
        assert_eq!(watch.judge(80), Some(Pressure::ShedLow));
        for _ in 0..LOOKS_BEFORE_REFUSAL - 1 {
            assert_eq!(watch.judge(85), None);
        }
        assert_eq!(watch.judge(85), Some(Pressure::Refuse));
        assert_eq!(watch.judge(79), None, "not yet well below");
        assert_eq!(watch.judge(78), Some(Pressure::None));
    }

    #[test]
    fn another_limit_counts_from_the_next_look() {
        let mut watch = MemoryWatch::new(80);
        assert_eq!(watch.set_limit(70), None);
        assert_eq!(watch.judge(75), Some(Pressure::ShedLow));
        assert_eq!(watch.set_limit(70), None, "the same");
        assert_eq!(watch.set_limit(90), Some(Pressure::None));
        assert_eq!(watch.judge(75), None);
        assert_eq!(watch.judge(95), Some(Pressure::ShedLow));
        assert_eq!(watch.set_limit(0), Some(Pressure::None));
        assert_eq!(watch.look(), None);
    }

    #[test]
    fn it_reads_a_container_and_a_host() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
        assert_eq!(cgroup(root.path()), None);
        write("memory.current", "1000\n");
        write("memory.max", "max\n");
        assert_eq!(cgroup(root.path()), None, "no limit of its own: the host's counts");
        write("memory.max", "4000\n");
        write("memory.stat", "anon 1\ninactive_file 300\nslab 2\n");
        assert_eq!(cgroup(root.path()), Some((700, 4000)));
        assert_eq!(tightest(root.path(), "0::/\n"), Some((700, 4000)));
        assert_eq!(tightest(root.path(), ""), Some((700, 4000)), "it cannot tell: what it sees as the root");
        write("meminfo", "MemTotal:       100 kB\nMemFree: 1 kB\nMemAvailable:    40 kB\n");
        assert_eq!(host(&root.path().join("meminfo")), Some((60 * 1024, 100 * 1024)));
    }

    /// As a service of systemd's, with `MemoryMax=` of the unit or of a slice above.
    #[test]
    fn it_finds_the_limit_that_is_nearest_of_all_its_groups() {
        let root = tempfile::tempdir().unwrap();
        let own = "1:name=systemd:/elsewhere\n0::/system.slice/holdfast.service\n";
        let group = |path: &str, current: &str, max: &str| {
            let folder = root.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("memory.current"), current).unwrap();
            fs::write(folder.join("memory.max"), max).unwrap();
        };
        group("system.slice/holdfast.service", "500\n", "max\n");
        assert_eq!(tightest(root.path(), own), None);
        group("system.slice/holdfast.service", "500\n", "1000\n");
        assert_eq!(tightest(root.path(), own), Some((500, 1000)));
        group("system.slice", "1900\n", "2000\n");
        assert_eq!(tightest(root.path(), own), Some((1900, 2000)));
        group("system.slice", "1900\n", "20000\n");
        assert_eq!(tightest(root.path(), own), Some((500, 1000)));
    }
}
