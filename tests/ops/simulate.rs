//! `holdfast simulate` from outside: its table, its JSON, its page, its exit codes; and a small real fleet beside it.

use crate::node::Node;
use std::{
    process::{Command, Output},
    time::Duration,
};

fn simulate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast")).arg("simulate").args(args).output().unwrap()
}

#[track_caller]
fn json(args: &[&str]) -> serde_json::Value {
    let output = simulate(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn figure(outcome: &serde_json::Value, run: usize, name: &str) -> f64 {
    let figures = outcome["runs"][run]["figures"].as_array().unwrap();
    figures.iter().find(|figure| figure["name"] == name).unwrap()["value"].as_f64().unwrap()
}

#[test]
fn a_hundred_million_connections_take_seconds_and_the_same_seed_says_the_same() {
    let args = [
        "loss",
        "--connections",
        "100M",
        "--nodes",
        "900",
        "--lost",
        "zone",
        "--length",
        "3m",
        "--step",
        "2s",
    ];
    let began = std::time::Instant::now();
    let first = json(&args);
    // An unoptimised program on a busy machine; a release takes a tenth of a second.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let lost = figure(&first, 0, "lost their connection");
    assert!((lost / 33.3e6 - 1.0).abs() < 0.01, "{lost}");
    assert!(figure(&first, 0, "absorbed (99 %) after") < 30.0);
    assert_eq!(first, json(&args));
}

#[test]
fn a_page_and_a_table_say_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("scale.html");
    let args =
        ["scale", "--connections", "1M", "--mean", "2m", "--length", "6m", "--html", page.to_str().unwrap()];
    let output = simulate(&args);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success()
            && text.contains("least connections")
            && text.contains("half of its share after")
    );
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("<svg") && page.contains("Connections of a new node") && !page.contains("http://"));
}

#[test]
fn what_makes_no_sense_is_told_in_a_sentence_and_exits_with_two() {
    let cases: [(&[&str], &str); 7] = [
        (&["--connections", "0"], "there are no connections"),
        (&["loss", "--nodes", "0"], "a fleet of no nodes"),
        (&["loss", "--connections", "1M", "--lost", "90"], "somebody must survive"),
        (&["--mean", "30m", "--max", "10m"], "must not be shorter than --mean"),
        (&["--mean", "soon"], "write a time like"),
        (&["loss", "--lost", "all"], "write how many nodes"),
        (&["herd"], "--against"),
    ];
    for (args, words) in cases {
        let output = simulate(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(words), "{args:?}: {said}");
    }
    let output = simulate(&["herd", "--against", "/nowhere/report.json"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("/nowhere/report.json"), "{said}");
}

/// Totals only: when things happen on a busy machine is for `make herd` to compare.
#[test]
fn a_small_real_fleet_reconnects_as_often_as_its_simulation() {
    let lives = ["lifetime.mean=2s", "lifetime.max=6s"];
    let nodes = [Node::start(&lives), Node::start(&lives)];
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let report = report.to_str().unwrap();
    let mut load = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    load.args(["loadtest", "lifetimes", "--connections", "900", "--rate", "900", "--hold", "5s", "--quiet"]);
    load.args(["--leave-within", "300ms", "--back-within", "1s", "--report", report]);
    for node in &nodes {
        load.args(["--clients", &node.clients.to_string(), "--internal", &node.internal.to_string()]);
    }
    let output = load.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let args =
        ["herd", "--against", report, "--connections", "900", "--nodes", "2", "--mean", "2s", "--max", "6s"];
    let outcome = json(&[&args[..], &["--leave-within", "300ms", "--back-within", "1s"]].concat());
    let [real, simulated] = [0, 1].map(|run| figure(&outcome, run, "handshakes once all were connected"));
    assert!(real > 1_000.0 && (simulated / real - 1.0).abs() < 0.15, "{real} really, {simulated} simulated");
}
