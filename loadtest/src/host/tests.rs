use super::*;

/// A folder of files that are gone when it is.
struct Folder(PathBuf);

impl Folder {
    fn with(files: &[(&str, &[u8])]) -> Self {
        let root = std::env::temp_dir().join(format!("holdfast-host-{:016x}", fastrand::u64(..)));
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::create_dir_all(&root).unwrap();
        Self(root)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn machine() -> Folder {
    let auxv: Vec<u8> = [3usize, 64, 6, 16_384, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    Folder::with(&[
        ("proc/sys/kernel/osrelease", b"6.18.44\n"),
        ("etc/os-release", b"NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n"),
        (
            "proc/cpuinfo",
            b"processor\t: 0\nmodel name\t: Some  CPU @ 2 GHz\nflags\t\t: fpu hypervisor\nprocessor\t: 1\n",
        ),
        ("sys/devices/system/cpu/online", b"0-2,5\n"),
        ("proc/meminfo", b"MemTotal:       24000 kB\nSlab:  100 kB\nSReclaimable: 40 kB\nSUnreclaim: 60 kB\n"),
        ("proc/self/limits", b"Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 20000                files     \n"),
        ("proc/sys/net/ipv4/tcp_mem", b"1\t2\t3\n"),
        ("proc/sys/net/core/somaxconn", b"65535\n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", b"always [madvise] never\n"),
        ("proc/self/cgroup", b"1:cpu:/old\n0::/a/b\n"),
        ("sys/fs/cgroup/a/b/memory.max", b"max\n"),
        ("sys/fs/cgroup/a/memory.max", b"5000000\n"),
        ("sys/fs/cgroup/a/b/cpu.max", b"150000 100000\n"),
        ("proc/net/sockstat", b"sockets: used 9\nTCP: inuse 7 orphan 1 tw 3 alloc 8 mem 2\nUDP: inuse 1 mem 9\n"),
        ("proc/self/auxv", &auxv),
        ("proc/self/stat", b"7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 3 0\n"),
        ("proc/self/status", b"Name:\tx\nVmRSS:\t   12 kB\nRssAnon:\t 8 kB\nThreads:\t3\n"),
    ])
}

#[test]
fn a_machine_is_read_from_its_files() {
    let folder = machine();
    let host = Host::read_below(&folder.0);
    let sysctls =
        [("net.core.somaxconn", "65535"), ("net.ipv4.tcp_mem", "1 2 3"), ("transparent_hugepage", "madvise")];
    let wanted = Host {
        kernel: "6.18.44".into(),
        distribution: Some("Debian GNU/Linux 13 (trixie)".into()),
        cpu: "Some CPU @ 2 GHz".into(),
        cores: 4,
        memory_bytes: 24_000 * 1_024,
        memory_limit_bytes: Some(5_000_000),
        cpu_limit: Some(1.5),
        sysctls: sysctls.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        descriptors_soft: Some(1_024),
        descriptors_hard: Some(20_000),
        virtualised: true,
    };
    assert_eq!(host, wanted);
}

#[test]
fn what_the_kernel_and_a_process_hold_is_read_too() {
    let folder = machine();
    let memory = KernelMemory::read_below(&folder.0).unwrap();
    let wanted = KernelMemory {
        slab_bytes: 102_400,
        unreclaimable_bytes: 61_440,
        tcp_bytes: 32_768,
        tcp_inuse: 7,
        tcp_allocated: 8,
        tcp_time_wait: 3,
    };
    assert_eq!(memory, wanted);
    assert_eq!(memory.bytes(), 102_400 + 32_768);
    let usage = Usage::read_below(&folder.0, "self").unwrap();
    assert_eq!(usage, Usage { cpu_us: 2_000_000, rss_bytes: 12_288, anonymous_bytes: 8_192, threads: 3 });
}

#[test]
fn what_is_not_there_or_is_nonsense_is_not_known() {
    let empty = Folder::with(&[]);
    assert_eq!(Host::read_below(&empty.0), Host::default());
    assert_eq!(KernelMemory::read_below(&empty.0), None);
    assert_eq!(Usage::read_below(&empty.0, "7"), None);
    let noise: &[u8] =
        b"0-\xff\x00 ,,: 99999999999999999999999 kB )))\nSlab: 18446744073709551615 kB\nTCP: mem\n";
    let paths = [
        "proc/cpuinfo",
        "sys/devices/system/cpu/online",
        "proc/meminfo",
        "proc/self/limits",
        "proc/self/cgroup",
        "proc/self/auxv",
        "proc/self/stat",
        "proc/net/sockstat",
    ];
    let noisy = Folder::with(&paths.map(|path| (path, noise)));
    Host::read_below(&noisy.0);
    KernelMemory::read_below(&noisy.0);
    Usage::read_below(&noisy.0, "self");
    assert_eq!([cores("0", ""), cores("1-0", "processor: 1"), cores("", "processor\t: 0")], [1, 1, 1]);
    assert_eq!(descriptors("Max open files unlimited unlimited files"), (None, None));
}

#[test]
fn this_machine_is_told() {
    let host = Host::read();
    assert!(host.cores > 0 && host.memory_bytes > 0 && !host.kernel.is_empty(), "{host:?}");
    assert!(!host.sysctls.is_empty());
    assert!(KernelMemory::read().is_some_and(|memory| memory.bytes() > 0));
    assert!(Usage::own().is_some_and(|usage| usage.rss_bytes > 0 && usage.threads > 0));
    assert!(Usage::of(std::process::id()).is_some());
}
