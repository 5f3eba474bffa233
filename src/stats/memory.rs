//! Memory of the process, asked at a scrape.

use tikv_jemalloc_ctl::{epoch, stats};

/// What the process holds, bytes. A number that cannot be had is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Resident set, by the kernel's count.
    pub resident: u64,
    /// What the program holds from jemalloc. Under another allocator this says next to nothing.
    pub allocated: u64,
    /// The pages that jemalloc serves it from.
    pub active: u64,
}

impl Memory {
    /// Asks the kernel and the allocator.
    pub fn now() -> Self {
        // jemalloc hands out a copy of its statistics, made when the epoch is advanced.
        let fresh = epoch::advance().is_ok();
        let ask =
            |answer: Result<usize, _>| answer.ok().filter(|_| fresh).map_or(0, |bytes: usize| bytes as u64);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            resident: resident_bytes(&status),
            allocated: ask(stats::allocated::read()),
            active: ask(stats::active::read()),
        }
    }
}

/// `VmRSS` of `/proc/self/status` (proc(5)), which, unlike `statm`, does not depend on the size of a page.
fn resident_bytes(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_resident_set() {
        assert_eq!(resident_bytes("VmHWM:\t    9 kB\nVmRSS:\t    1234 kB\n"), 1234 * 1024);
        assert_eq!(resident_bytes(""), 0);
        assert_eq!(resident_bytes("VmRSS: many kB"), 0);
        assert!(Memory::now().resident > 0);
    }
}
