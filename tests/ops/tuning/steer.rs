//! `tuning/steer` on hosts of files: masks as the kernel writes them.

use super::{Host, Said};

/// A card with so many queues, its interrupts from 40 on, on a host with these processors.
fn host(queues: usize, online: &str) -> Host {
    let host = Host::fresh();
    host.write("sys/devices/system/cpu/online", &format!("{online}\n"));
    host.write("proc/sys/net/core/rps_sock_flow_entries", "0\n");
    host.write("sys/class/net/eth0/device/numa_node", "-1\n");
    for queue in 0..queues {
        host.write(&format!("sys/class/net/eth0/queues/rx-{queue}/rps_cpus"), "0\n");
        host.write(&format!("sys/class/net/eth0/queues/rx-{queue}/rps_flow_cnt"), "0\n");
        host.write(&format!("sys/class/net/eth0/queues/tx-{queue}/xps_cpus"), "0\n");
        host.write(&format!("sys/class/net/eth0/device/msi_irqs/{}", 40 + queue), "");
        host.write(&format!("proc/irq/{}/smp_affinity", 40 + queue), "f\n");
    }
    host
}

fn steer(host: &Host, arguments: &[&str]) -> Said {
    host.run("steer", &[arguments, &["eth0"]].concat())
}

fn mask(host: &Host, path: &str) -> String {
    host.text(path).unwrap().trim().to_owned()
}

fn of_queue(host: &Host, kind: &str, queue: usize) -> String {
    let file = if kind == "rx" { "rps_cpus" } else { "xps_cpus" };
    mask(host, &format!("sys/class/net/eth0/queues/{kind}-{queue}/{file}"))
}

#[test]
fn as_many_queues_as_processors_need_no_rps() {
    let host = host(4, "0-3");
    steer(&host, &[]).well();
    let interrupts: Vec<String> =
        (40..44).map(|one| mask(&host, &format!("proc/irq/{one}/smp_affinity"))).collect();
    assert_eq!(interrupts, ["1", "2", "4", "8"]);
    assert_eq!((0..4).map(|queue| of_queue(&host, "rx", queue)).collect::<Vec<_>>(), ["0", "0", "0", "0"]);
    assert_eq!((0..4).map(|queue| of_queue(&host, "tx", queue)).collect::<Vec<_>>(), ["1", "2", "4", "8"]);
    assert_eq!(steer(&host, &[]).well(), ["Nothing to change."]);
}

#[test]
fn one_queue_is_spread_by_rps() {
    let host = host(1, "0-1");
    let lines = steer(&host, &[]).well();
    assert_eq!(of_queue(&host, "rx", 0), "3");
    assert_eq!(of_queue(&host, "tx", 0), "0", "with one there is no choice");
    assert!(
        lines.iter().any(|line| line.starts_with("eth0 has 1 receive queues for 2 processors")),
        "{lines:#?}"
    );
}

#[test]
fn masks_of_many_processors_have_groups_of_32() {
    let host = host(2, "0-39");
    steer(&host, &["--flows", "32768"]).well();
    assert_eq!(of_queue(&host, "rx", 0), "000000ff,ffffffff");
    assert_eq!(of_queue(&host, "tx", 0), "00000055,55555555");
    assert_eq!(of_queue(&host, "tx", 1), "000000aa,aaaaaaaa");
    assert_eq!(mask(&host, "sys/class/net/eth0/queues/rx-1/rps_flow_cnt"), "16384");
    assert_eq!(mask(&host, "proc/sys/net/core/rps_sock_flow_entries"), "32768");
    // As the kernel shows them.
    host.write("proc/irq/40/smp_affinity", "00,00000001\n");
    assert!(!steer(&host, &["--flows", "32768"]).out.contains("irq"));
}

#[test]
fn it_keeps_to_the_cards_node_and_to_processors_that_are_asked_for() {
    let host = host(2, "0-7");
    host.write("sys/class/net/eth0/device/numa_node", "1\n");
    host.write("sys/devices/system/node/node1/cpulist", "4-7\n");
    steer(&host, &[]).well();
    assert_eq!(
        (of_queue(&host, "rx", 0), mask(&host, "proc/irq/41/smp_affinity")),
        ("f0".into(), "20".into())
    );
    steer(&host, &["--cpus", "0,2-3"]).well();
    assert_eq!((of_queue(&host, "rx", 0), mask(&host, "proc/irq/41/smp_affinity")), ("d".into(), "4".into()));
}

/// A virtio card's interrupts are named after its driver's device, one folder up.
#[test]
fn interrupts_are_found_by_device_or_by_name() {
    let host = host(1, "0-1");
    std::fs::remove_dir_all(host.root().join("sys/class/net/eth0/device/msi_irqs")).unwrap();
    host.write("sys/class/net/eth0/msi_irqs/41", "");
    host.write("proc/irq/41/smp_affinity", "3\n");
    steer(&host, &[]).well();
    assert_eq!(mask(&host, "proc/irq/41/smp_affinity"), "1");
    std::fs::remove_dir_all(host.root().join("sys/class/net/eth0/msi_irqs")).unwrap();
    host.write("proc/irq/77/smp_affinity", "3\n");
    host.write(
        "proc/interrupts",
        "     CPU0  CPU1\n 9: 1 2 IO-APIC acpi\n 77: 5 6 PCI-MSI eth0-TxRx-0\n 78: 1 1 PCI-MSI eth01\n",
    );
    steer(&host, &[]).well();
    assert_eq!(mask(&host, "proc/irq/77/smp_affinity"), "1");
}

#[test]
fn a_dry_run_writes_nothing_and_undo_switches_everything_off() {
    let host = host(2, "0-3");
    let before = host.files();
    let dry = steer(&host, &["--dry-run", "--flows", "1024"]).well();
    assert_eq!(host.files(), before);
    assert_eq!(dry[1..], steer(&host, &["--flows", "1024"]).well());
    assert_ne!(host.files(), before);
    steer(&host, &["--undo"]).well();
    assert_eq!(host.files(), before);
}

#[test]
fn what_cannot_be_is_said() {
    let host = host(2, "0-3");
    for (arguments, words) in [
        (["--cpus", "x"], "x is no list of processors"),
        (["--cpus", "2-9"], "only these are online: 2 3"),
        (["--flows", "1000"], "a power of two"),
        (["--flows", "-1"], "is not a number"),
        (["eth1", "--dry-run"], "one interface at a time"),
    ] {
        let said = steer(&host, &arguments);
        assert_eq!(said.code, 2, "{arguments:?}: {}", said.out);
        assert!(said.err.contains(words), "{arguments:?}: {}", said.err);
    }
    let said = host.run("steer", &["eth9"]);
    assert!(said.code == 1 && said.err.contains("no such interface"), "{}", said.err);
    // The kernel refuses: one that it manages itself.
    std::fs::remove_file(host.root().join("proc/irq/40/smp_affinity")).unwrap();
    std::os::unix::fs::symlink("/proc/sys/kernel/ngroups_max", host.root().join("proc/irq/40/smp_affinity"))
        .unwrap();
    let said = steer(&host, &[]);
    assert_eq!(said.code, 1);
    said.has("/proc/irq/40/smp_affinity: 65536 -> 1 is not possible");
    assert_eq!(mask(&host, "proc/irq/41/smp_affinity"), "2", "the others are set");
}
