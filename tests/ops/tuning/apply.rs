//! `tuning/apply` and `tuning/check` on hosts of files.

use super::{DROP_IN, FRESH, HUGEPAGES, Host, LIMITS, RECORD, find, repository, said};
use crate::node::say_loudly;
use std::{fs, os::unix::fs::symlink, process::Command};

#[test]
fn it_sets_what_is_too_low_and_undo_gives_back_what_was() {
    let host = Host::fresh();
    let before = host.files();
    let lines = host.run("apply", &[]).well();
    for line in [
        "fs.nr_open: 1048576 -> 4194304",
        "net.core.somaxconn: 4096 -> 65535",
        "net.ipv4.tcp_mem: 381585 508783 763170 -> 1048576 2097152 4194304",
        "net.ipv4.tcp_wmem: 4096 16384 4194304 -> 4096 16384 262144",
        "net.ipv4.tcp_orphan_retries: 0 -> 2",
        "/sys/kernel/mm/transparent_hugepage/enabled: always -> madvise",
    ] {
        assert!(lines.iter().any(|said| said == line), "{line} in {lines:#?}");
    }
    assert_eq!(host.get("net.ipv4.tcp_mem"), "1048576 2097152 4194304");
    assert_eq!(host.get("net.ipv4.tcp_tw_reuse"), "2", "not a node's");
    assert_eq!(host.text(HUGEPAGES).unwrap().trim(), "madvise");
    let boot = host.text(DROP_IN).unwrap();
    assert!(boot.contains("\nnet.core.somaxconn = 65535\n"), "{boot}");
    assert!(!boot.contains("syncookies") && !boot.contains("max_user_watches"), "was so already: {boot}");
    assert!(host.text("etc/tmpfiles.d/90-holdfast.conf").unwrap().contains("- madvise\n"));
    assert!(host.text(LIMITS).unwrap().contains("hard nofile 4194304"));
    assert!(host.text(RECORD).unwrap().contains("sysctl\tnet.core.somaxconn\t4096\n"));

    let lines = host.run("apply", &["--undo"]).well();
    assert!(lines.iter().any(|said| said == "fs.nr_open: 4194304 -> 1048576"), "{lines:#?}");
    let mut after = host.files();
    assert_eq!(after.insert(host.root().join(HUGEPAGES), "[always] madvise never".into()).unwrap(), "always");
    assert_eq!(after, before);
    assert!(host.run("apply", &["--undo"]).well()[0].starts_with("nothing to undo"));
}

#[test]
fn the_second_time_nothing_changes_and_undo_still_knows_the_first() {
    let host = Host::fresh();
    host.run("apply", &[]).well();
    let once = host.files();
    let lines = host.run("apply", &[]).well();
    assert_eq!(lines.last().unwrap(), "Nothing to change.", "{lines:#?}");
    assert_eq!(host.files(), once);
    // Somebody lowers one and raises another in between.
    host.set("net.core.somaxconn", "128");
    host.set("fs.nr_open", "9000000");
    let lines = host.run("apply", &[]).well();
    assert!(lines.iter().any(|said| said == "net.core.somaxconn: 128 -> 65535"), "{lines:#?}");
    assert_eq!(host.get("fs.nr_open"), "9000000");
    assert!(host.text(DROP_IN).unwrap().contains("fs.nr_open = 9000000\n"), "the next boot keeps it as well");
    host.run("apply", &["--undo"]).well();
    for (name, value) in FRESH {
        assert_eq!(host.get(name), value.replace('\t', " "), "{name}");
    }
}

#[test]
fn a_dry_run_says_the_same_and_writes_nothing() {
    let host = Host::fresh();
    let before = host.files();
    let mut dry = host.run("apply", &["--dry-run"]).well();
    assert_eq!(host.files(), before);
    assert_eq!(dry.remove(0), "Dry run: nothing is changed.");
    assert_eq!(dry, host.run("apply", &[]).well());
    let applied = host.files();
    let mut dry = host.run("apply", &["--undo", "--dry-run"]).well();
    assert_eq!(host.files(), applied);
    dry.remove(0);
    assert_eq!(dry, host.run("apply", &["--undo"]).well());
}

#[test]
fn what_is_better_already_stays_number_by_number() {
    let host = Host::fresh();
    host.set("net.core.somaxconn", "262144");
    host.set("fs.file-max", "9223372036854775807");
    host.set("net.ipv4.tcp_mem", "100\t9999999\t9999999");
    host.set("net.ipv4.tcp_wmem", "1024\t65536\t131072");
    host.set("net.ipv4.tcp_fin_timeout", "5");
    host.write(HUGEPAGES, "always madvise [never]\n");
    let before = host.files();
    let lines = host.run("apply", &[]).well();
    assert_eq!(host.get("net.core.somaxconn"), "262144");
    assert_eq!(host.get("fs.file-max"), "9223372036854775807");
    assert_eq!(host.get("net.ipv4.tcp_mem"), "1048576 9999999 9999999");
    assert_eq!(host.get("net.ipv4.tcp_wmem"), "1024 16384 131072");
    assert_eq!(host.get("net.ipv4.tcp_fin_timeout"), "5");
    assert_eq!(host.text(HUGEPAGES).unwrap(), "always madvise [never]\n");
    assert!(!lines.iter().any(|line| line.contains("somaxconn") || line.contains("hugepage")), "{lines:#?}");
    let boot = host.text(DROP_IN).unwrap();
    assert!(boot.contains("net.ipv4.tcp_mem = 1048576 9999999 9999999\n"), "{boot}");
    assert!(!boot.contains("somaxconn") && !boot.contains("file-max"), "a boot must not lower them: {boot}");
    host.run("check", &[]).well();
    host.run("apply", &["--undo"]).well();
    assert_eq!(host.files(), before);
}

#[test]
fn what_the_host_lacks_is_said_and_no_failure() {
    let host = Host::fresh();
    for name in ["net.core.netdev_max_backlog", "net.ipv4.tcp_mem", "net.ipv4.tcp_migrate_req"] {
        fs::remove_file(host.path(name)).unwrap();
    }
    fs::remove_file(host.root().join(HUGEPAGES)).unwrap();
    let lines = host.run("apply", &[]).well();
    for name in ["net.ipv4.tcp_mem", "net.netfilter.nf_conntrack_max"] {
        let line = format!(
            "{name}: not on this host (module not loaded, an older kernel, or a container), left out"
        );
        assert!(lines.contains(&line), "{line} in {lines:#?}");
    }
    assert!(!host.text(DROP_IN).unwrap().contains("tcp_mem"));
    assert!(host.run("check", &[]).well().contains(&"As it should be.".to_owned()));
    // The firewall comes later.
    host.set("net.netfilter.nf_conntrack_max", "262144");
    assert_eq!(host.run("check", &[]).code, 1);
    host.run("apply", &[]).well();
    assert_eq!(host.get("net.netfilter.nf_conntrack_max"), "2097152");
    host.run("apply", &["--undo"]).well();
    assert_eq!(host.get("net.netfilter.nf_conntrack_max"), "262144");
}

/// As in a container. And no limit of descriptors above a ceiling that did not rise: logins would fail.
#[test]
fn what_cannot_be_written_is_a_failure_that_says_why_and_the_rest_is_done() {
    let host = Host::fresh();
    host.set_read_only("fs.nr_open");
    let said = host.run("apply", &[]);
    assert_eq!(said.code, 1);
    said.has("fs.nr_open: 65536 -> 4194304 is not possible: read-only here: set it on the host, or in what starts this container");
    said.has(
        "limits.d/90-holdfast.conf: left out, as fs.nr_open is 65536, below its 4194304: logins would fail",
    );
    assert_eq!(host.get("net.core.somaxconn"), "65535");
    assert!(host.text(LIMITS).is_none() && !host.text(DROP_IN).unwrap().contains("nr_open"));
    assert!(!host.text(RECORD).unwrap().contains("nr_open"), "what was not changed is not undone");
    host.run("apply", &["--undo"]).well();
    assert_eq!(host.get("net.core.somaxconn"), "4096");
}

/// Where the record cannot be kept, nothing is changed that could not be given back.
#[test]
fn without_a_record_nothing_is_changed() {
    let host = Host::fresh();
    // A folder that nobody can make, root neither: the way is a file.
    host.write("var/lib", "");
    let before = host.files();
    let said = host.run("apply", &[]);
    assert_eq!(said.code, 1);
    said.has("net.core.somaxconn: stays 4096, as ");
    assert_eq!(host.files(), before);
}

#[test]
fn a_small_host_keeps_what_follows_its_memory() {
    let host = Host::fresh();
    host.write("proc/meminfo", "MemTotal:        4030000 kB\n");
    let lines = host.run("apply", &[]).well();
    for name in ["net.ipv4.tcp_mem", "net.ipv4.tcp_max_orphans", "vm.min_free_kbytes"] {
        let begin = format!("{name}: stays ");
        assert!(lines.iter().any(|line| line.starts_with(&begin)), "{name} in {lines:#?}");
    }
    assert_eq!(host.get("vm.min_free_kbytes"), "67584");
    assert_eq!(host.get("net.core.somaxconn"), "65535");
    host.run("check", &[]).well();
}

#[test]
fn files_that_were_there_come_back() {
    let host = Host::fresh();
    host.write(DROP_IN, "# mine\nnet.core.somaxconn = 1024\n");
    host.run("apply", &[]).well();
    assert!(host.text(DROP_IN).unwrap().contains("somaxconn = 65535"));
    host.run("apply", &[]).well();
    host.run("apply", &["--undo"]).well();
    assert_eq!(host.text(DROP_IN).unwrap(), "# mine\nnet.core.somaxconn = 1024\n");
}

#[test]
fn a_host_that_plays_clients_gets_both_files_and_one_undo() {
    let host = Host::fresh();
    let before = host.files();
    let file = repository().join("tuning/loadtest.conf");
    let clients = ["--file", file.to_str().unwrap()];
    host.run("apply", &[]).well();
    assert_eq!(host.run("check", &clients).code, 1);
    host.run("apply", &clients).well();
    host.run("check", &clients).well();
    host.run("check", &[]).well();
    assert_eq!(host.get("net.ipv4.ip_local_port_range"), "1024 65535");
    let boot = host.text("etc/sysctl.d/91-holdfast-loadtest.conf").unwrap();
    assert!(boot.contains("net.ipv4.tcp_tw_reuse = 1\n") && !boot.contains("somaxconn"), "{boot}");
    assert!(host.text(DROP_IN).unwrap().contains("somaxconn"));
    host.run("apply", &["--undo"]).well();
    let mut after = host.files();
    after.insert(host.root().join(HUGEPAGES), "[always] madvise never".into());
    assert_eq!(after, before);
}

/// The commands that `check` prints, followed to the letter, mend the host.
#[test]
fn check_names_what_differs_and_the_command_that_mends_it() {
    let host = Host::fresh();
    let before = host.files();
    let said = host.run("check", &[]);
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    said.has("net.core.somaxconn is 4096, wants at least 65535: sysctl -w \"net.core.somaxconn=65535\"");
    said.has("net.ipv4.tcp_slow_start_after_idle is 1, wants 0: sysctl -w \"net.ipv4.tcp_slow_start_after_idle=0\"");
    said.has("transparent huge pages are always on, want madvise: echo madvise > /sys/kernel/mm/");
    said.has("/tuning/apply");
    assert_eq!(host.files(), before, "it writes nothing");
    let mut mended = 0;
    for line in said.out.lines() {
        if let Some((_, command)) = line.split_once(": sysctl -w ") {
            let (name, value) = command.trim_matches('"').split_once('=').unwrap();
            host.set(name, value);
            mended += 1;
        }
    }
    said.has(&format!("{} differ", mended + 1));
    host.write(HUGEPAGES, "always [madvise] never\n");
    assert!(host.run("check", &[]).well().contains(&"As it should be.".to_owned()));
}

#[test]
fn bad_usage_is_exit_2_and_help_is_for_a_person() {
    let host = Host::fresh();
    for (script, arguments) in [
        ("apply", ["--frobnicate", ""].as_slice()),
        ("apply", &["--file"]),
        ("apply", &["--file", "/nowhere/at.all"]),
        ("apply", &["--root", "/nowhere/at/all"]),
        ("check", &["--undo"]),
        ("check", &["extra"]),
    ] {
        let said = host.run(script, arguments);
        assert_eq!(said.code, 2, "{script} {arguments:?}: {}{}", said.out, said.err);
        assert!(said.err.contains("--help"), "{}", said.err);
    }
    for script in ["apply", "check", "steer"] {
        let help =
            said(Command::new(repository().join("tuning").join(script)).arg("--help")).well().join("\n");
        assert!(help.contains("Usage: ") && help.contains("Exit 0") && help.contains("--root DIR"), "{help}");
    }
}

#[test]
fn a_file_of_settings_with_a_mistake_is_refused_whole() {
    let host = Host::fresh();
    let before = host.files();
    for (text, words) in [
        ("net.core.somaxconn = 65535\nnet.core.somaxconn 1\n", "line 2 is no setting"),
        ("# Rule: about\nnet.core.somaxconn = 65535\n", "the rule before it is unknown: about"),
        ("net.core.somaxconn = lots\n", "line 1 is no setting"),
        ("../../etc/passwd = 1\n", "line 1 is no setting"),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        for script in ["apply", "check"] {
            let said = host.run(script, &["--file", file.path().to_str().unwrap()]);
            assert_eq!(said.code, 1, "{}{}", said.out, said.err);
            assert!(said.err.contains(words), "{}", said.err);
        }
    }
    assert_eq!(host.files(), before);
}

/// Distributions have different shells and awks.
#[test]
fn it_does_the_same_with_every_shell_and_awk_of_this_host() {
    let expected = Host::fresh().run("apply", &[]).well();
    let shells = ["dash", "bash", "busybox"].into_iter().filter_map(|name| Some(("sh", find(name)?)));
    let awks =
        ["mawk", "gawk", "original-awk", "busybox"].into_iter().filter_map(|name| Some(("awk", find(name)?)));
    for (name, program) in shells.chain(awks) {
        let folder = tempfile::tempdir().unwrap();
        symlink(&program, folder.path().join(name)).unwrap();
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let host = Host::fresh();
        let mut command = Command::new(folder.path().join(name));
        if name == "awk" {
            command = Command::new("sh");
        }
        command.env("PATH", path).arg(repository().join("tuning/apply")).arg("--root").arg(host.root());
        assert_eq!(said(&mut command).well(), expected, "{}", program.display());
    }
}

#[test]
fn the_scripts_are_free_of_what_shellcheck_knows() {
    let Some(program) = find("shellcheck") else {
        say_loudly(
            "NOT RUN: shellcheck is missing (make test installs it). The scripts of tuning/ have NOT been checked.",
        );
        return;
    };
    let mut command = Command::new(program);
    command.current_dir(repository().join("tuning")).args(["-x", "apply", "check", "steer", "common.sh"]);
    said(&mut command).well();
}
