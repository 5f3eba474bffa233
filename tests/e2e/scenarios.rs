//! Each scenario of `holdfast loadtest` against a real node, in miniature: its figures, and that it notices what is wrong.

use crate::{
    loadtest::{Ran, command, figure, json, run},
    node::{Node, Plan},
};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// Plays, and gives the report.
#[track_caller]
fn play(node: &Node, args: &[&str]) -> (Ran, Value) {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let args = [args, &["--report", report.to_str().unwrap()]].concat();
    let ran = run(node.clients, node.internal, &args);
    assert!(report.exists(), "{}{}", ran.out, ran.err);
    (ran, json(&report))
}

#[track_caller]
fn play_well(node: &Node, args: &[&str]) -> Value {
    let (ran, report) = play(node, args);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    report
}

#[test]
fn idle_measures_what_a_connection_costs() {
    let node = Node::start(&[]);
    let report = play_well(&node, &["idle", "--connections", "3000", "--hold", "1s", "--rate", "3000"]);
    assert_eq!(report["clients"]["most_open"], 3_000);
    let node_bytes = report["memory"]["node_per_connection"].as_f64().unwrap();
    assert!((0.0..2_000.0).contains(&node_bytes), "{node_bytes}");
    assert_eq!(figure(&report, "idle", "ended meanwhile"), 0.0);
    let rows = report["series"]["at_s"].as_array().unwrap().len();
    assert!(rows > 5 && report["series"]["columns"]["node memory bytes"].as_array().unwrap().len() == rows);
}

#[test]
fn a_storm_comes_back_at_once_and_then_well() {
    let node = Node::start(&[]);
    let report = play_well(&node, &["storm", "--share", "1", "--connections", "400"]);
    let back = |how: &str| figure(&report, "storm", &format!("{how}: 100 % were back after"));
    assert!(back("at once") < back("heeding hints"), "{report:#}");
    assert_eq!(report["clients"]["reconnected"], 800);
}

#[test]
fn lifetimes_have_a_rate() {
    let node = Node::start(&["lifetime.mean=2s", "lifetime.grace=4s"]);
    let times = ["--leave-within", "100ms", "--back-within", "100ms"];
    let report =
        play_well(&node, &[&["lifetimes", "--hold", "6s", "--connections", "300"], &times[..]].concat());
    let generations = figure(&report, "lifetimes", "generations");
    assert!((1.0..6.0).contains(&generations), "{generations}");
    assert!(figure(&report, "lifetimes", "whole time: peak to mean") < 4.0);
    let steady = Node::start(&[]);
    let (ran, _) = play(&steady, &["lifetimes", "--hold", "300ms", "--connections", "10"]);
    assert!(ran.code == 1 && ran.out.contains("give the node short lives"), "{}", ran.out);
}

#[test]
fn a_drain_is_watched_and_called_back() {
    let node = Node::start(&["drain.delay=300ms", "drain.window=2s", "lifetime.grace=1s"]);
    let times = ["--leave-within", "200ms", "--back-within", "200ms"];
    let report = play_well(&node, &[&["drain", "--connections", "300"], &times[..]].concat());
    assert_eq!(figure(&report, "drain", "connections of the node"), 300.0);
    assert_eq!(report["clients"]["goaways"], 300);
    assert_eq!(node.metric("holdfast_drain_phase"), 0.0);
}

#[test]
fn who_does_not_read_is_slow_and_nobody_else() {
    let node = Node::start(&["delivery.timeout=1s"]);
    let report = play_well(&node, &["slow", "--share", "0.1", "--connections", "200"]);
    assert!((15.0..25.0).contains(&figure(&report, "slow", "clients that do not read")));
    assert!(figure(&report, "slow", "slow") > 0.0);
    assert!(figure(&report, "slow", "some slow: delivery p50 of those who read") > 0.0);
}

#[test]
fn who_vanishes_is_noticed() {
    let node = Node::start(&["clients.ping_min=1s", "clients.ping=1s"]);
    let args =
        ["halfopen", "--share", "0.2", "--connections", "100", "--sse-share", "0", "--patience", "30s"];
    let report = play_well(&node, &args);
    assert_eq!(figure(&report, "halfopen", "vanished"), 20.0);
    assert!(figure(&report, "halfopen", "100 % were noticed after") > 0.5);
    assert_eq!(node.metric("holdfast_closes_total{reason=\"dead_peer\"}"), 20.0);
    // One who is not noticed in time is.
    let (ran, _) = play(&Node::start(&[]), &["halfopen", "--connections", "20", "--patience", "1s"]);
    assert!(ran.code == 1 && ran.out.contains("vanished clients within 1 s"), "{}", ran.out);
}

#[test]
fn visits_and_a_soak_leave_even_books() {
    let node = Node::start(&[]);
    let args =
        ["churn", "soak", "--hold", "2s", "--churn-rate", "200", "--connections", "50", "--sample", "1"];
    let report = play_well(&node, &args);
    assert_eq!(figure(&report, "churn", "handshakes"), 400.0);
    assert!(figure(&report, "soak", "visits") >= 2_000.0);
    assert!(figure(&report, "soak", "written") >= 100.0);
}

#[test]
fn messages_go_through_kafka() {
    let node = Plan::new(&[]).kafka("embedded").start();
    let brokers = node.kafka.clone().expect("a broker inside");
    let args = ["push", "--connections", "50", "--sample", "1", "--pushes", "3", "--kafka", &brokers];
    let report = play_well(&node, &args);
    assert_eq!(report["clients"]["direct"], 150);
    let (ran, _) = play(&node, &["push", "--connections", "5", "--kafka", "127.0.0.1:1"]);
    assert!(ran.code == 1 && ran.out.contains("Kafka did not"), "{}", ran.out);
}

#[test]
fn clients_in_processes_of_their_own_count_the_same() {
    let node = Node::start(&[]);
    let args =
        ["push", "fanout", "--connections", "300", "--processes", "3", "--threads", "2", "--sample", "1"];
    let report = play_well(&node, &args);
    assert_eq!(report["generator"]["processes"], 3);
    assert_eq!(report["clients"]["direct"], 1_500);
    assert_eq!(report["clients"]["broadcast"], 1_500);
}

#[test]
fn a_process_that_is_killed_is_a_sentence_and_the_rest_goes_on() {
    let node = Node::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let args = ["idle", "push", "--connections", "100", "--processes", "2", "--hold", "3s", "--sample", "1"];
    let mut run = command(node.clients, node.internal, &args);
    let run = run.arg("--report").arg(&report).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    node.wait_for_metric("holdfast_handshakes_total{result=\"accepted\"}", 100.0);
    let children = format!("/proc/{0}/task/{0}/children", run.id());
    let children = std::fs::read_to_string(children).unwrap();
    let worker = children.split_whitespace().next().expect("a worker process");
    assert!(Command::new("sh").args(["-c", &format!("kill -KILL {worker}")]).status().unwrap().success());
    let output = run.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.contains("was ended by signal 9") && out.contains("50 clients"), "{out}");
    assert_eq!(json(&report)["clients"]["direct"], 250, "the other process' clients");
}

#[test]
fn clients_on_other_machines_count_the_same() {
    let node = Node::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "a token of many characters\n").unwrap();
    let token = token.to_str().unwrap();
    let (mut agents, addresses): (Vec<Child>, Vec<String>) = (0..2).map(|_| agent(token)).unzip();
    let addresses = addresses.join(",");
    let place = ["--agents", &addresses, "--agent-token-file", token];
    let report = play_well(&node, &[&["push", "--connections", "200", "--sample", "1"], &place[..]].concat());
    assert_eq!(report["generator"]["agents"].as_array().unwrap().len(), 2);
    assert_eq!(report["clients"]["direct"], 1_000);
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "another token of many characters").unwrap();
    let place = ["--agents", &addresses, "--agent-token-file", wrong.to_str().unwrap()];
    let ran = run(node.clients, node.internal, &[&["--connections", "10"], &place[..]].concat());
    assert!(ran.code == 1 && ran.err.contains("token"), "{}{}", ran.out, ran.err);
    for agent in &mut agents {
        let words = format!("kill -TERM {}", agent.id());
        assert!(Command::new("sh").args(["-c", &words]).status().unwrap().success());
        assert_eq!(agent.wait().unwrap().code(), Some(0));
    }
}

/// An agent on a free port, and where it listens.
fn agent(token: &str) -> (Child, String) {
    let args = ["loadtest", "agent", "--listen", "127.0.0.1:0", "--token-file", token];
    let mut child =
        Command::new(env!("CARGO_BIN_EXE_holdfast")).args(args).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    let address = line.trim().strip_prefix("listening at ").unwrap_or_else(|| panic!("{line}"));
    (child, address.to_owned())
}

#[test]
fn reports_are_compared() {
    let node = Node::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a.json", "b.json"].map(|name| folder.path().join(name));
    for path in &paths {
        let args = ["push", "--connections", "20", "--report", path.to_str().unwrap()];
        assert_eq!(run(node.clients, node.internal, &args).code, 0);
    }
    let compare = |first: &str, second: &str| {
        let args = ["loadtest", "compare", first, second];
        let output = Command::new(env!("CARGO_BIN_EXE_holdfast")).args(args).output().unwrap();
        let words = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(words).unwrap())
    };
    let [first, second] = paths.each_ref().map(|path| path.to_str().unwrap());
    let (code, words) = compare(first, second);
    assert!(code == Some(0) && words.contains("handshake"), "{words}");
    let (code, words) = compare(first, "/nowhere.json");
    assert!(code == Some(1) && words.contains("there is no such file"), "{words}");
}

#[test]
fn flags_that_do_not_go_together_are_bad_usage() {
    let node = Node::start(&[]);
    let cases = [
        (vec!["push", "--internal", "none"], "goes with no other --internal"),
        (vec!["dance"], "possible values: idle, push, fanout"),
        (vec!["--agents", "127.0.0.1:7070"], "--agent-token-file"),
        (vec!["--header", "no colon"], "expected 'NAME: VALUE'"),
        (vec!["--path", "/{who}", "--connections", "1"], "{user}"),
    ];
    for (args, words) in cases {
        let ran = run(node.clients, node.internal, &args);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(ran.code != 0 && said.contains(words), "{args:?}: {said}");
    }
    // Without an internal port nothing is asked, and what needs one is refused.
    let bare = |args: &[&str]| {
        let mut bare = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        crate::node::without_our_environment(&mut bare);
        let clients = node.clients.to_string();
        let output =
            bare.args(["loadtest", "--clients", &clients, "--internal", "none"]).args(args).output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, words) = bare(&["push"]);
    assert!(code == Some(2) && words.contains("push needs the node's internal port"), "{words}");
    let (code, words) = bare(&["--connections", "9000000"]);
    assert!(
        code == Some(1) && words.contains("MemAvailable") && words.contains("ask for at most"),
        "{words}"
    );
    let (code, words) = bare(&[
        "--connections",
        "20",
        "--hold",
        "100ms",
        "--protocol",
        "plain",
        "--header",
        "X-CUSTOMER_ID: p{n}",
    ]);
    assert!(code == Some(0) && words.contains("20 asked for, 20 opened"), "{words}");
}
