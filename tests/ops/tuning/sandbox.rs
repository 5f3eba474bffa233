//! What the units forbid is nothing that a node does: its system calls, from start to end, against the filter.

use super::{find, said, units::section};
use crate::{
    client::Ws,
    node::{Plan, say_loudly, until},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

/// systemd's sets of system calls, whole: a set may hold others.
struct Sets(BTreeMap<String, Vec<String>>);

impl Sets {
    fn read() -> Option<Self> {
        let program = find("systemd-analyze")?;
        // It may complain that the kernel's own list cannot be had; that is not needed.
        let text = said(Command::new(program).args(["--no-pager", "syscall-filter"])).out;
        let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut now = String::new();
        for line in text.lines() {
            let word = line.trim();
            if !line.starts_with(' ') && word.starts_with('@') {
                now = word.to_owned();
            } else if line.starts_with(' ') && !word.is_empty() && !word.starts_with('#') {
                sets.entry(now.clone()).or_default().push(word.to_owned());
            }
        }
        Some(Self(sets))
    }

    /// The calls of a list of sets and calls.
    fn calls(&self, list: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&str> = list.split_whitespace().collect();
        while let Some(word) = open.pop() {
            match self.0.get(word) {
                Some(inner) => open.extend(inner.iter().map(String::as_str)),
                None => assert!(
                    !word.starts_with('@') && found.insert(word.to_owned()) || found.contains(word),
                    "{word}"
                ),
            }
        }
        found
    }
}

/// A line of strace: the process, then the call with its arguments. What goes on from an earlier line begins with "<...".
fn calls_of(trace: &str) -> impl Iterator<Item = (&str, &str)> {
    trace.lines().filter_map(|line| {
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let (name, arguments) = call.split_once('(')?;
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name.then_some((name, arguments))
    })
}

#[test]
fn a_node_does_nothing_that_its_unit_forbids() {
    let missing = "NOT RUN: strace or systemd-analyze is missing, or may not trace here. \
                   Whether a node lives within the filter of its unit has NOT been tested.";
    let works = find("strace").is_some_and(|strace| {
        Command::new(strace).args(["-o", "/dev/null", "true"]).output().unwrap().status.success()
    });
    let Some(sets) = Sets::read().filter(|_| works) else {
        say_loudly(missing);
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    // -D: the node is this test's child, and strace beside it.
    let prelude = format!("exec strace -D -f -q -o '{}'", file.display());
    let sets_of_node = ["drain.delay=0s", "drain.window=100ms", "lifetime.grace=100ms"];
    let mut node = Plan::new(&sets_of_node).kafka("embedded").prelude(&prelude).start();
    let mut ada = Ws::user(&node, "ada", "");
    assert_eq!(node.push_one("ada/push", "hello"), "written");
    assert_eq!(ada.text(), "hello");
    drop(ada);
    assert_eq!(node.ask("GET", "/metrics", b"").status, 200);
    node.sigterm();
    assert_eq!(node.wait(), 0, "{}", node.log());
    let pid = node.pid();
    let trace = until("the end of the trace", || {
        let trace = fs::read_to_string(&file).unwrap();
        trace
            .lines()
            .any(|line| line.starts_with(&format!("{pid} ")) && line.ends_with("+++"))
            .then_some(trace)
    });

    let settings = section("holdfast.service", "Service");
    let given = |key: &'static str| {
        settings.iter().filter(move |(found, _)| found == key).map(|(_, value)| value.as_str())
    };
    let (mut allowed, mut families) = (BTreeSet::new(), BTreeSet::new());
    for list in given("SystemCallFilter") {
        match list.strip_prefix('~') {
            Some(list) => allowed = &allowed - &sets.calls(list),
            None => allowed.extend(sets.calls(list)),
        }
    }
    for list in given("RestrictAddressFamilies") {
        families.extend(list.split_whitespace());
    }
    let mut seen = BTreeSet::new();
    for (name, arguments) in calls_of(&trace) {
        seen.insert(name);
        assert!(allowed.contains(name), "{name}({arguments}");
        if name == "socket" {
            let family = arguments.split(',').next().unwrap();
            assert!(families.contains(family), "socket({arguments}");
        }
        // MemoryDenyWriteExecute.
        let executable = arguments.contains("PROT_EXEC");
        assert!(!(name == "mmap" && executable && arguments.contains("PROT_WRITE")), "mmap({arguments}");
        assert!(!(name == "mprotect" && executable), "mprotect({arguments}");
    }
    for name in ["epoll_wait", "accept4", "setsockopt", "prlimit64", "madvise"] {
        assert!(seen.contains(name), "{name}: the trace has not seen the node at work: {seen:?}");
    }
    assert!(!allowed.contains("mount") && !allowed.contains("ptrace") && !allowed.contains("chown"));
}
