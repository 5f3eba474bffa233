//! Hosts that are folders, each with the figure, the limit that binds and the command that lifts it.

use super::*;
use proptest::prelude::*;
use std::{fs, path::Path};
use tempfile::TempDir;

const GIB: u64 = 1 << 30;

const COST: u64 = crate::ops::cost::CONNECTION_BYTES_IN_USE;

/// A host in a folder of its own.
struct Made {
    folder: TempDir,
    node: Node,
    addresses: Option<u64>,
    process: Option<u32>,
}

impl Made {
    /// A virtual machine of a cloud as it comes: 8 GiB, systemd's limits, nothing set.
    fn fresh() -> Self {
        let node = Node {
            connections: None,
            shards: 4,
            listen: vec!["0.0.0.0:7001".parse().unwrap()],
            internal: "127.0.0.1:7008".parse().unwrap(),
            is_behind_balancer: false,
            memory_percent: 90,
            buffer_bytes: 256 << 20,
        };
        let made = Self { folder: tempfile::tempdir().unwrap(), node, addresses: None, process: None };
        made.memory(8 * GIB, 7 * GIB)
            .write("proc/sys/kernel/osrelease", "6.8.0-45-generic\n")
            .write("sys/devices/system/cpu/online", "0-3\n")
            .write("proc/self/cgroup", "0::/user.slice/session-1.scope\n")
            .write("sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n")
            .write("sys/fs/cgroup/user.slice/memory.max", "max\n")
            .write("sys/fs/cgroup/user.slice/cpu.max", "max 100000\n")
            .descriptors("1024", "1048576")
            .write("proc/sys/fs/nr_open", "1048576\n")
            .write("proc/sys/fs/file-nr", "1200\t0\t9223372036854775807\n")
            .write("proc/sys/fs/file-max", "9223372036854775807\n")
            .write("proc/sys/fs/epoll/max_user_watches", "1800000\n")
            .write("proc/sys/net/core/somaxconn", "4096\n")
            .write("proc/sys/net/core/netdev_max_backlog", "1000\n")
            .write("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")
            .write("proc/sys/net/ipv4/ip_local_reserved_ports", "\n")
            .write("proc/sys/net/ipv4/tcp_max_syn_backlog", "512\n")
            .write("proc/sys/net/ipv4/tcp_mem", "93945\t125261\t187890\n")
            .write("proc/sys/vm/max_map_count", "65530\n")
            .write("proc/sys/vm/min_free_kbytes", "67584\n")
            .write("proc/sys/vm/overcommit_memory", "0\n")
            .write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
            .write("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n")
            .write("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc acpi_pm \n")
    }

    /// The same after `tuning/apply`, with 32 GiB.
    fn tuned() -> Self {
        let made = Self::fresh().memory(32 * GIB, 31 * GIB).descriptors("4194304", "4194304");
        for setting in tuned::settings() {
            made.put(&format!("proc/sys/{}", setting.name.replace('.', "/")), &setting.value);
        }
        made.write("proc/sys/fs/file-nr", "1200\t0\t8000000\n")
            .write("proc/sys/net/netfilter/nf_conntrack_count", "0")
            .write("proc/sys/net/ipv4/ip_local_port_range", "1024\t65535\n")
            .write("proc/sys/net/ipv4/ip_local_reserved_ports", "7001,7005-7010\n")
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn write(self, path: &str, text: &str) -> Self {
        self.put(path, text);
        self
    }

    fn remove(self, path: &str) -> Self {
        let path = self.folder.path().join(path);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        self
    }

    fn memory(self, total: u64, available: u64) -> Self {
        let (total, available) = (total >> 10, available >> 10);
        self.write(
            "proc/meminfo",
            &format!("MemTotal: {total} kB\nMemFree: 1 kB\nMemAvailable: {available} kB\nSwapTotal: 0 kB\n"),
        )
    }

    fn descriptors(self, soft: &str, hard: &str) -> Self {
        self.write("proc/self/limits", &limits(soft, hard))
    }

    fn ask(&self, connections: Option<u64>) -> Report {
        let tuned = tuned::settings();
        let names = tuned.iter().map(|setting| setting.name.as_str());
        let host = Host::read(self.folder.path(), self.process, names);
        let report = examine(&Question {
            connections,
            balancer_addresses: self.addresses,
            process: self.process,
            host: &host,
            tuned: &tuned,
            node: &self.node,
            registry: None,
            queue: None,
            endpoint: None,
        });
        for line in report.text(true).lines() {
            let is_one_word = line.split_whitespace().filter(|word| word.len() > 40).count() > 0;
            assert!(line.chars().count() <= 80 || is_one_word, "too long: {line}");
        }
        assert!(serde_json::from_str::<serde_json::Value>(&report.json()).unwrap().is_object());
        report
    }
}

fn limits(soft: &str, hard: &str) -> String {
    let head = "Limit                     Soft Limit           Hard Limit           Units     \n";
    let other = "Max processes             96365                96365                processes \n";
    format!("{head}{other}Max open files            {soft:<20} {hard:<20} files     \n")
}

#[track_caller]
fn limit<'a>(report: &'a Report, key: &str) -> &'a Limit {
    report.limits.iter().find(|limit| limit.limit == key).unwrap_or_else(|| panic!("no {key} in {report:#?}"))
}

#[track_caller]
fn finding<'a>(report: &'a Report, subject: &str) -> &'a Finding {
    let found = report.findings.iter().find(|finding| finding.subject == subject);
    found.unwrap_or_else(|| panic!("no {subject} in {report:#?}"))
}

#[test]
fn a_fresh_host_is_bounded_by_the_ceiling_of_descriptors() {
    let report = Made::fresh().ask(None);
    assert_eq!((report.holds, report.verdict), (Some(1_048_576 - 256), Verdict::NotAsked));
    // Both bind together; the ceiling has to be lifted first.
    assert_eq!(report.binding, Some("nr_open"));
    assert_eq!(report.next, Some("memory"));
    let memory = limit(&report, "memory").allows.unwrap();
    // 90 % of 8 GiB, less the GiB that is used, 64 MB for the node and 256 MiB for messages that wait.
    assert_eq!(memory, (8 * GIB * 90 / 100 - GIB - 64_000_000 - (256 << 20)) / COST);
    assert_eq!(report.target, Some(memory));
    let needed = memory + 256;
    assert_eq!(report.lift[0], "sysctl -w fs.nr_open=4194304");
    assert!(
        report.lift[1].starts_with(&format!("LimitNOFILE={needed} in the service's unit")),
        "{:?}",
        report.lift
    );
    assert_eq!(report.lift.len(), 2);
    assert!(report.is_good());
    assert_eq!(limit(&report, "nr_open").level, Level::Warning, "its memory could hold more");
    assert_eq!(report.unread.len(), 1, "settings that are not made up: {:?}", report.unread);
}

#[test]
fn a_number_that_does_not_fit_has_everything_named_that_is_in_the_way() {
    let made = Made::fresh();
    let report = made.ask(Some(2_000_000));
    assert_eq!(report.verdict, Verdict::DoesNotFit);
    assert!(!report.is_good());
    assert_eq!(report.target, Some(2_000_000));
    assert_eq!(
        report.lift,
        [
            "sysctl -w fs.nr_open=4194304",
            "LimitNOFILE=2000256 in the service's unit (systemctl edit holdfast), then restart it; in a shell: ulimit -n \
             2000256, as root",
            "memory: 2,000,000 connections need a host of 13.0 GB, and this one has 8.59 GB: a larger one, or more nodes \
             (holdfast size)",
            "sysctl -w fs.epoll.max_user_watches=4194304",
        ]
    );
    for key in ["nr_open", "descriptors", "memory", "epoll_watches"] {
        assert_eq!(limit(&report, key).level, Level::Blocks, "{key}");
    }
    assert_eq!(limit(&report, "file_max").level, Level::Ok);
    let report = made.ask(Some(1_048_320));
    assert_eq!((report.verdict, report.is_good()), (Verdict::Fits, true));
    assert_eq!((report.target, report.lift.len()), (None, 0));
    assert_eq!(made.ask(Some(1_048_321)).verdict, Verdict::DoesNotFit);
}

#[test]
fn a_shell_with_a_low_hard_limit_is_bounded_by_it() {
    let report = Made::fresh().descriptors("1024", "4096").ask(None);
    assert_eq!(
        (report.holds, report.binding, report.next),
        (Some(3_840), Some("descriptors"), Some("nr_open"))
    );
    assert_eq!(report.lift.len(), 1);
    assert!(report.lift[0].starts_with("LimitNOFILE=1048576 "), "{:?}", report.lift);
    assert_eq!(Made::fresh().descriptors("1024", "unlimited").ask(None).binding, Some("nr_open"));
    assert_eq!(Made::fresh().descriptors("64", "64").ask(None).holds, Some(1), "as a node has it");
}

#[test]
fn a_tuned_host_has_every_setting_and_is_bounded_by_its_descriptors_or_memory() {
    let report = Made::tuned().ask(Some(1_000_000));
    assert_eq!((report.verdict, report.settings.len()), (Verdict::Fits, 0), "{:#?}", report.settings);
    assert_eq!(report.holds, Some(4_194_304 - 256));
    assert!(report.settings_known > 10);
    assert_eq!(report.unread, Vec::<String>::new());
    assert!(report.findings.iter().all(|finding| finding.level == Level::Ok), "{:#?}", report.findings);
    assert!(report.text(false).contains("All that can be read are as in sysctl.conf."));
}

#[test]
fn settings_that_differ_come_with_their_reasons() {
    let made = Made::fresh();
    let report = made.ask(None);
    let of = |name: &str| report.settings.iter().find(|setting| setting.name == name);
    let backlog = of("net.core.somaxconn").unwrap();
    assert_eq!(
        (backlog.is.as_str(), backlog.wants.as_str(), backlog.rule.as_str()),
        ("4096", "65535", "at least")
    );
    assert_eq!(backlog.command, "sysctl -w net.core.somaxconn=65535");
    assert!(!backlog.why.is_empty() && !backlog.without.is_empty());
    assert!(of("net.ipv4.tcp_mem").is_none(), "its value is half of this host's memory");
    assert!(of("fs.file-max").is_none(), "more is as good");
    assert_eq!(finding(&report, "accept queue").level, Level::Advice);
    assert!(finding(&report, "accept queue").says.starts_with("16,384 connections may wait"));
    let large = made.memory(64 * GIB, 60 * GIB).ask(None);
    let tcp = large.settings.iter().find(|setting| setting.name == "net.ipv4.tcp_mem").unwrap();
    assert_eq!(tcp.command, "sysctl -w net.ipv4.tcp_mem='1048576 2097152 4194304'");
    assert!(large.text(true).contains("Without:") && !large.text(false).contains("Without:"));
}

#[test]
fn the_least_of_nested_groups_counts_and_is_lifted_where_it_is() {
    let made = Made::fresh()
        .write("proc/self/cgroup", "0::/system.slice/holdfast.service\n")
        .write("sys/fs/cgroup/system.slice/memory.max", &format!("{}\n", 4 * GIB))
        .write("sys/fs/cgroup/system.slice/memory.current", &format!("{}\n", GIB))
        .write("sys/fs/cgroup/system.slice/memory.stat", "anon 1\ninactive_file 73741824\n")
        .write("sys/fs/cgroup/system.slice/holdfast.service/memory.max", "max\n")
        .write("sys/fs/cgroup/system.slice/holdfast.service/memory.high", &format!("{}\n", 3 * GIB))
        .write("sys/fs/cgroup/system.slice/holdfast.service/memory.current", "100000000\n")
        .write("sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n");
    let report = made.ask(Some(800_000));
    let reserve = 64_000_000 + (256 << 20);
    // memory.high is nobody's share: all of it.
    let high = (3 * GIB - 100_000_000 - reserve) / COST;
    let max = (4 * GIB * 90 / 100 - (GIB - 73_741_824) - reserve) / COST;
    let groups: Vec<u64> = report
        .limits
        .iter()
        .filter(|limit| limit.limit == "group_memory")
        .filter_map(|limit| limit.allows)
        .collect();
    assert_eq!(groups, [max.min(high), max.max(high)]);
    assert_eq!((report.holds, report.binding), (Some(max.min(high)), Some("group_memory")));
    assert!(
        report.lift.iter().any(|it| it.starts_with("systemctl set-property holdfast.service MemoryHigh="))
    );
    assert!(report.lift.iter().any(|it| it.starts_with("systemctl set-property system.slice MemoryMax=")));
    // The host's memory is no longer what the node looks at.
    assert!(!limit(&report, "memory").because.contains("limits.memory"));
    assert_eq!(finding(&report, "processors").level, Level::Warning);
    assert_eq!(finding(&report, "processors").remedy, ["--shards 1"]);
}

#[test]
fn a_container_of_the_unified_hierarchy_sees_its_own_limit_at_the_top() {
    let made = Made::fresh()
        .write("proc/self/cgroup", "0::/\n")
        .write("sys/fs/cgroup/memory.max", "536870912\n")
        .write("sys/fs/cgroup/memory.current", "20000000\n")
        .remove("proc/sys/net/core/netdev_max_backlog");
    let report = made.ask(Some(100_000));
    let free = 536_870_912 * 90 / 100 - 20_000_000 - 64_000_000 - (256 << 20);
    assert_eq!((report.holds, report.binding), (Some(free / COST), Some("group_memory")));
    // 100,000 connections, what is used and what is kept, of which 90 % are taken, in whole MiB.
    let command = &report.lift[0];
    assert!(command.starts_with("echo 965738496 > /sys/fs/cgroup/memory.max"), "{command}");
    assert!(command.contains("docker update --memory=965738496") && command.contains("921Mi"), "{command}");
    assert!(report.unread.iter().any(|it| it.contains("net.core.netdev_max_backlog")), "{:?}", report.unread);
    assert_eq!(
        made.write("sys/fs/cgroup/memory.max", "965738496\n").ask(Some(100_000)).verdict,
        Verdict::Fits
    );
}

#[test]
fn groups_of_version_1_are_counted_and_said_to_be_no_limit_of_the_node() {
    let made = Made::fresh()
        .write("proc/self/cgroup", "5:cpu,cpuacct:/app\n4:memory:/app\n0::/\n")
        .write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
        .write("sys/fs/cgroup/memory/app/memory.limit_in_bytes", &format!("{}\n", 2 * GIB))
        .write("sys/fs/cgroup/memory/app/memory.usage_in_bytes", "500000000\n")
        .write("sys/fs/cgroup/memory/app/memory.stat", "inactive_file 1\ntotal_inactive_file 400000000\n")
        .write("sys/fs/cgroup/cpu/app/cpu.cfs_quota_us", "-1\n")
        .write("sys/fs/cgroup/cpu/app/cpu.cfs_period_us", "100000\n");
    let report = made.ask(Some(500_000));
    let free = 2 * GIB - 100_000_000 - 64_000_000 - (256 << 20);
    assert_eq!((report.holds, report.binding), (Some(free / COST), Some("group_memory")));
    assert!(
        report.lift[0].starts_with("echo ") && report.lift[0].contains("/memory/app/memory.limit_in_bytes")
    );
    let said = finding(&report, "control groups");
    assert_eq!(said.level, Level::Warning);
    assert!(said.says.contains("the kernel ends the node"), "{}", said.says);
    let free = Made::fresh().write("proc/self/cgroup", "4:memory:/\n").ask(None);
    assert!(free.unread.iter().any(|it| it == "/sys/fs/cgroup/memory is not there"), "{:?}", free.unread);
}

#[test]
fn tiny_memory_holds_nobody_and_says_how_much_it_takes() {
    let report = Made::fresh().memory(GIB / 4, GIB / 8).ask(Some(1_000));
    assert_eq!((report.holds, report.binding), (Some(0), Some("memory")));
    assert!(report.lift[0].contains("1,000 connections need a host of 524 MB"), "{:?}", report.lift);
}

#[test]
fn a_full_table_of_the_firewall_binds_and_one_that_tracks_nothing_does_not() {
    let made = Made::fresh()
        .write("proc/sys/net/netfilter/nf_conntrack_max", "65536\n")
        .write("proc/sys/net/netfilter/nf_conntrack_count", "65000\n");
    let report = made.ask(Some(50_000));
    assert_eq!((report.holds, report.binding), (Some(536), Some("conntrack")));
    assert_eq!(report.lift, ["sysctl -w net.netfilter.nf_conntrack_max=2097152"]);
    assert!(limit(&report, "memory").because.contains("at 5,483 B"), "an entry costs memory, too");
    assert!(report.settings.iter().any(|setting| setting.name == "net.netfilter.nf_conntrack_max"));
    let idle = made.write("proc/sys/net/netfilter/nf_conntrack_count", "0\n").ask(Some(50_000));
    assert_eq!(idle.verdict, Verdict::Fits);
    assert_eq!(limit(&idle, "conntrack").allows, None);
}

#[test]
fn addresses_of_balancers_bound_connections_where_they_are_told() {
    let mut made = Made::fresh();
    made.addresses = Some(2);
    let report = made.ask(Some(200_000));
    assert_eq!((report.holds, report.binding), (Some(2 * 64_511), Some("ports")));
    assert_eq!(
        report.lift,
        [
            "give the balancers 4 addresses in all (now 2), or the node 2 client ports (now 1; --clients may be repeated)"
        ]
    );
    made.node.listen.push("0.0.0.0:7002".parse().unwrap());
    assert_eq!(made.ask(Some(200_000)).verdict, Verdict::Fits);
    made.addresses = None;
    made.node.is_behind_balancer = true;
    let report = made.ask(Some(200_000));
    let said = finding(&report, "balancers");
    assert_eq!(said.level, Level::Warning);
    assert!(said.says.contains("at least 2 balancer addresses and 2 client ports"), "{}", said.says);
}

#[test]
fn the_configuration_bounds_as_well() {
    let mut made = Made::fresh();
    made.node.connections = Some(20_000);
    let report = made.ask(Some(30_000));
    assert_eq!((report.holds, report.binding), (Some(20_000), Some("limits.connections")));
    assert_eq!(report.lift, ["--set limits.connections=30000, or auto"]);
    made.node.memory_percent = 0;
    assert!(!limit(&made.ask(None), "memory").because.contains("limits.memory)"));
}

#[test]
fn what_a_running_node_holds_already_is_free_for_it() {
    let mut made = Made::fresh()
        .write("proc/77/limits", &limits("3000", "3000"))
        .write("proc/77/cgroup", "0::/\n")
        .write("proc/sys/fs/file-nr", "2000\t0\t2500\n");
    made.process = Some(77);
    let without = made.ask(None);
    assert!(without.unread.iter().any(|it| it == "/proc/77/fd is not there"), "{:?}", without.unread);
    assert_eq!(limit(&without, "file_max").allows, Some(2_500 - 2_000 - 256));
    for descriptor in 0..756 {
        made.put(&format!("proc/77/fd/{descriptor}"), "");
    }
    let report = made.ask(None);
    assert_eq!(limit(&report, "file_max").allows, Some(2_500 - 2_000 - 256 + 500));
    assert_eq!(limit(&report, "descriptors").allows, Some(3_000 - 256));
    assert_eq!(limit(&report, "descriptors").title, "descriptors of process 77");
    let more = limit(&report, "memory").allows.unwrap() - limit(&without, "memory").allows.unwrap();
    assert_eq!(more, 500);
}

#[test]
fn what_cannot_be_read_is_said_and_never_taken_for_good() {
    let made = Made::fresh().remove("proc/self/limits");
    let report = made.ask(Some(1_000));
    assert_eq!((report.verdict, report.is_good()), (Verdict::Unknown, false));
    assert!(report.unread.iter().any(|it| it == "/proc/self/limits is not there"), "{:?}", report.unread);
    assert!(report.text(false).starts_with("Whether 1,000 fit cannot be told"));
    assert_eq!(
        made.ask(Some(3_000_000)).verdict,
        Verdict::DoesNotFit,
        "another limit is known to be in the way"
    );
    let empty = Made { folder: tempfile::tempdir().unwrap(), ..Made::fresh() };
    let report = empty.ask(Some(1));
    assert_eq!((report.holds, report.verdict), (None, Verdict::Unknown));
    assert!(report.unread.len() > 8, "{:?}", report.unread);
    let report = empty.ask(None);
    assert!(report.text(false).starts_with("Nothing is known that limits"), "{}", report.text(false));
    assert!(!report.text(false).contains("sysctl.conf"), "none was compared");
    assert_eq!((report.verdict, report.is_good()), (Verdict::Unknown, false));
    let garbage =
        Made::fresh().write("proc/meminfo", "MemTotal: lots\n").write("proc/sys/fs/nr_open", "\u{1}\u{2}");
    let report = garbage.ask(Some(1));
    assert_eq!(report.verdict, Verdict::Unknown);
    let said = "/proc/meminfo says \"MemTotal: lots\", which is not understood";
    assert!(report.unread.iter().any(|it| it == said), "{:?}", report.unread);
    let folder = Made::fresh().remove("proc/meminfo").write("proc/meminfo/x", "");
    let report = folder.ask(Some(1));
    assert!(
        report.unread.iter().any(|it| it.starts_with("/proc/meminfo cannot be read: ")),
        "{:?}",
        report.unread
    );
}

#[test]
fn how_a_host_is_set_up_is_judged() {
    let bad = Made::fresh()
        .write("proc/sys/kernel/osrelease", "5.4.0\n")
        .write("proc/sys/vm/overcommit_memory", "2\n")
        .write("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n")
        .write("sys/devices/system/clocksource/clocksource0/current_clocksource", "acpi_pm\n")
        .write("proc/sys/net/ipv4/ip_local_port_range", "1024 65535\n")
        .write("proc/sys/net/ipv4/ip_local_reserved_ports", "7005-7010\n")
        .write("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 8000000 kB\nSwapTotal: 2097152 kB\n");
    let report = bad.ask(None);
    let cases = [
        ("kernel", Level::Advice, ""),
        ("overcommit", Level::Warning, "sysctl -w vm.overcommit_memory=0"),
        ("huge pages", Level::Advice, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"),
        (
            "clock",
            Level::Advice,
            "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource",
        ),
        ("own ports", Level::Advice, "sysctl -w net.ipv4.ip_local_reserved_ports=7005-7010,7001"),
        ("swap", Level::Advice, "swapoff -a, and take it out of /etc/fstab"),
        ("processors", Level::Ok, ""),
        (
            "tcp memory",
            Level::Warning,
            "sysctl -w net.ipv4.tcp_mem='1048576 2097152 4194304', where memory allows; else slow broadcasts down \
             (spread=60s)",
        ),
    ];
    for (subject, level, remedy) in cases {
        let found = finding(&report, subject);
        assert_eq!((found.level, found.remedy.concat().as_str()), (level, remedy), "{subject}");
    }
}

/// Whatever is in a file, there is an answer, and it is text and JSON.
#[test]
fn no_content_of_any_file_is_too_much() {
    let mut made = Made::tuned()
        .write("proc/sys/net/netfilter/nf_conntrack_count", "7")
        .write("sys/fs/cgroup/memory.max", "1000000000")
        .write("sys/fs/cgroup/memory.current", "1000")
        .write("sys/fs/cgroup/memory.stat", "inactive_file 7")
        .write("sys/fs/cgroup/cpu.max", "100000 100000");
    let files = files_below(made.folder.path());
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        "[0-9]{1,25}( [0-9]{1,25}){0,3}\n".prop_map(String::into_bytes),
        "(MemTotal|MemAvailable|SwapTotal): [0-9]{1,22} kB\nMemAvailable: [0-9]{1,22} kB\n"
            .prop_map(String::into_bytes),
        "Max open files +([0-9]{1,22}|unlimited) +([0-9]{1,22}|unlimited)".prop_map(String::into_bytes),
        "(0:|4:memory|1:cpu):(/|/\\.\\./a|/a//b/\\.|//|[^\n]{0,20})\n".prop_map(String::into_bytes),
        "-?[0-9]{1,20}-?,?[0-9]{1,20}".prop_map(String::into_bytes),
    ];
    let input = (
        any::<prop::sample::Index>(),
        content,
        prop::option::of(any::<u64>()),
        prop::option::of(1..u64::MAX),
    );
    let config = ProptestConfig { cases: 40, ..ProptestConfig::default() };
    let made = std::cell::RefCell::new(&mut made);
    let outcome =
        proptest::test_runner::TestRunner::new(config).run(&input, |(at, bytes, asked, addresses)| {
            let mut made = made.borrow_mut();
            let file = at.get(&files);
            let before = fs::read(file).unwrap();
            fs::write(file, bytes).unwrap();
            made.addresses = addresses;
            let report = made.ask(asked);
            fs::write(file, before).unwrap();
            prop_assert!(report.limits.len() >= 3);
            if let (Some(asked), Some(holds)) = (asked, report.holds) {
                prop_assert_eq!(report.verdict == Verdict::DoesNotFit, holds < asked);
            }
            Ok(())
        });
    outcome.unwrap();
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
