//! `holdfast doctor` from outside: hosts that are folders, exit codes, words, JSON, and a Kafka.

use crate::node::without_our_environment;
use holdfast::bridge::queue::Embedded;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};
use tempfile::TempDir;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn doctor(args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    without_our_environment(&mut command);
    let output = command.arg("doctor").args(args).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A host of 4 GiB that allows 20,000 descriptors.
fn host() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n"),
        ("proc/meminfo", "MemTotal: 4194304 kB\nMemAvailable: 3670016 kB\nSwapTotal: 0 kB\n"),
        ("proc/self/limits", "Max open files            1024                 20000                files\n"),
        ("proc/self/cgroup", "0::/\n"),
        ("sys/fs/cgroup/cgroup.controllers", "memory\n"),
        ("sys/devices/system/cpu/online", "0-7\n"),
        ("proc/sys/fs/nr_open", "1048576\n"),
        ("proc/sys/fs/file-nr", "1000\t0\t400000\n"),
        ("proc/sys/fs/epoll/max_user_watches", "800000\n"),
        ("proc/sys/net/core/somaxconn", "4096\n"),
        ("proc/sys/net/ipv4/tcp_mem", "46971\t62629\t93942\n"),
        ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
    ];
    for (path, text) in files {
        write(folder.path(), path, text);
    }
    folder
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn it_says_what_fits_what_is_in_the_way_and_what_lifts_it() {
    let host = host();
    let root = host.path().to_str().unwrap();
    let ran = doctor(&["--root", root, "--shards", "4"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    let start = "This host can hold 19,744 connections.\n\
         What binds first: descriptors of a process started here.\n\
         What would bind then: open files of the host, at 398,744.\n";
    assert!(ran.out.starts_with(start), "{}", ran.out);
    assert!(ran.out.contains("\n   1. LimitNOFILE=399000 in the service's unit"), "{}", ran.out);
    assert!(ran.out.contains("Not known, so not judged"), "{}", ran.out);
    let fits = doctor(&["--root", root, "-n", "19744"]);
    assert_eq!(fits.code, 0);
    assert!(fits.out.starts_with("19,744 fit. This host can hold 19,744 connections.\n"), "{}", fits.out);
    let more = doctor(&["--root", root, "--connections", "500k"]);
    assert_eq!(more.code, 1);
    assert!(more.out.starts_with("500,000 do not fit."), "{}", more.out);
    assert!(
        more.out.contains("\n   1. LimitNOFILE=500256 ") && more.out.contains("fs.file-max=8000000"),
        "{}",
        more.out
    );
    let explained = doctor(&["--root", root, "--explain"]);
    assert!(explained.out.contains("          Without: "), "{}", explained.out);
    let set = doctor(&["--root", root, "-n", "10k", "--set", "limits.connections=5000"]);
    assert_eq!(set.code, 1);
    assert!(set.out.contains("limits.connections is 5,000"), "{}", set.out);
}

#[test]
fn what_it_cannot_do_is_said() {
    let host = host();
    let root = host.path().to_str().unwrap();
    fs::remove_file(host.path().join("proc/meminfo")).unwrap();
    let blind = doctor(&["--root", root, "-n", "10"]);
    assert_eq!(blind.code, 1);
    assert!(
        blind.out.starts_with("Whether 10 fit cannot be told: a limit that matters cannot be read"),
        "{}",
        blind.out
    );
    assert!(blind.out.contains("  - /proc/meminfo is not there\n"), "{}", blind.out);
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--root", "/no/such/folder"], 1, "/no/such/folder is no folder"),
        (&["--root", root, "--pid", "77"], 1, "there is no process 77"),
        (&["-n", "0"], 2, "there must be at least one"),
        (&["-n", "lots"], 2, "write it like 250000"),
        (&["--balancer-addresses", "0"], 2, "0 is not in 1.."),
        (&["--set", "limits.nonsense=1"], 1, "limits.nonsense"),
        (&["--explain", "--json"], 2, "cannot be used with"),
    ];
    for (args, code, words) in cases {
        let ran = doctor(args);
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(words), "{args:?}: {}", ran.err);
    }
}

#[test]
fn every_key_of_the_json_is_documented() {
    let host = host();
    write(host.path(), "proc/sys/net/netfilter/nf_conntrack_max", "65536");
    write(host.path(), "proc/sys/net/netfilter/nf_conntrack_count", "3");
    write(host.path(), "sys/fs/cgroup/memory.max", "2000000000");
    write(host.path(), "sys/fs/cgroup/memory.current", "1000");
    let ran = doctor(&["--json", "--root", host.path().to_str().unwrap(), "-n", "1M"]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md")).unwrap();
    let mut names = BTreeSet::new();
    collect(&report, &mut names);
    names.extend(
        report["limits"].as_array().unwrap().iter().map(|it| it["limit"].as_str().unwrap().to_owned()),
    );
    let missing: Vec<_> = names.iter().filter(|name| !docs.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "not in docs/doctor.md: {missing:?}");
    assert_eq!(report["verdict"], "does_not_fit");
    assert_eq!(report["limits"][0]["limit"], report["binding"]);
}

fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                names.insert(name.clone());
                collect(value, names);
            }
        }
        Value::Array(all) => all.iter().for_each(|value| collect(value, names)),
        _ => {}
    }
}

fn of_kafka(args: &[&str]) -> (i32, Vec<(String, String, String)>) {
    let ran = doctor(&[&["--json"], args].concat());
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}", ran.err));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let all = report["findings"].as_array().unwrap().iter();
    let all = all.map(|it| (text(it, "subject"), text(it, "level"), text(it, "says")));
    (ran.code, all.filter(|(subject, ..)| subject.starts_with("kafka")).collect())
}

#[test]
fn the_lanes_of_a_kafka_are_looked_up() {
    let broker = Embedded::start(&["push.high", "eu.push.normal", "other"]).unwrap();
    let status = ["--set", "kafka.status_topic=told", "--set", "kafka.session_timeout=7s"];
    let (code, found) = of_kafka(&[&["--kafka", broker.address()], &status[..]].concat());
    assert_eq!(code, 0, "{found:#?}");
    let expected = [
        ("kafka", "ok", format!("1 broker: {}", broker.address())),
        (
            "kafka lane high",
            "advice",
            "push.high (8 partitions, 1 copy); what one broker has is lost with it".into(),
        ),
        ("kafka lane normal", "advice", "eu.push.normal (8 partitions, 1 copy)".into()),
        ("kafka lane low", "warning", "no topic is called ".into()),
        ("kafka", "warning", "the topic told, which the node writes, is not there".into()),
        ("kafka", "ok", "kafka.session_timeout is 7.0 s; the brokers do not say what they allow".into()),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((subject, level, says), (its, at, words)) in found.iter().zip(&expected) {
        assert_eq!((subject.as_str(), level.as_str()), (*its, *at), "{says}");
        assert!(says.contains(words), "{says}");
    }
}

#[test]
fn a_kafka_that_does_not_answer_is_waited_for_with_bounds() {
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let began = Instant::now();
    let (code, found) = of_kafka(&["--kafka", &silent.local_addr().unwrap().to_string()]);
    assert_eq!(code, 1);
    assert_eq!((found[0].1.as_str(), found.len()), ("blocks", 1), "{found:#?}");
    assert!(found[0].2.contains("answers within 3 s"), "{found:#?}");
    assert!(began.elapsed() < Duration::from_secs(20));
    let nobody = doctor(&["--registry", "redis://127.0.0.1:1", "--kafka", "none"]);
    assert_eq!(nobody.code, 1);
    assert!(
        nobody.out.contains("\nA node cannot work here yet: redis 127.0.0.1:1 (see below).\n"),
        "{}",
        nobody.out
    );
}
