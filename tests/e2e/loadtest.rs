//! `holdfast loadtest` against a real node: what it says, what it writes, how it exits.

use crate::node::{Node, without_our_environment};
use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Command, Stdio},
};

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub fn command(clients: SocketAddr, internal: SocketAddr, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    without_our_environment(&mut command);
    command.arg("loadtest").args(["--clients", &clients.to_string(), "--internal", &internal.to_string()]);
    command.args(args);
    command
}

pub fn run(clients: SocketAddr, internal: SocketAddr, args: &[&str]) -> Ran {
    let output = command(clients, internal, args).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn json(report: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap()
}

/// A figure of a step.
#[track_caller]
pub fn figure(report: &serde_json::Value, step: &str, name: &str) -> f64 {
    let named = |list: &serde_json::Value, name: &str| {
        list.as_array().unwrap().iter().find(|one| one["name"] == name).cloned()
    };
    let found = named(&report["steps"], step).and_then(|step| named(&step["figures"], name));
    let figure = found.unwrap_or_else(|| panic!("no {name} of {step} in {report:#}"));
    figure["value"].as_f64().unwrap()
}

/// An address at which nothing listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_good_run_says_so_and_writes_its_report() {
    let node = Node::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let page = folder.path().join("report.html");
    let mut args = vec!["--connections", "300", "--pushes", "3", "--sse-share", "0.25"];
    args.extend(["--report", report.to_str().unwrap(), "--html", page.to_str().unwrap()]);
    let ran = run(node.clients, node.internal, &args);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("300 asked for, 300 opened (225 websocket, 75 sse)"), "{}", ran.out);
    assert!(ran.out.ends_with("all as it must be\n"), "{}", ran.out);
    let value = json(&report);
    assert_eq!(value["good"], true);
    assert_eq!(value["clients"]["direct"], 90);
    assert_eq!(value["clients"]["broadcast"], 900);
    assert_eq!(value["latencies"]["handshake"]["count"], 300);
    let names: Vec<&str> =
        value["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["connect", "push", "fanout", "leave"]);
    assert_eq!(figure(&value, "fanout", "written"), 900.0);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<svg"), "no page");
    // One message a request, at a rate, from addresses of its own, by several threads.
    let args = ["push", "--connections", "50", "--sample", "1", "--batch", "1", "--report"];
    let more = [report.to_str().unwrap(), "--push-rate", "500", "--pushes", "1"];
    let last = ["--source", "127.0.0.2-127.0.0.4", "--threads", "2"];
    let ran = run(node.clients, node.internal, &[&args[..], &more, &last].concat());
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(figure(&json(&report), "push", "written"), 50.0);
}

#[test]
fn a_number_that_differs_is_named() {
    let node = Node::start(&[]);
    // Another client's message and connection are in the node's books only.
    let other = crate::client::Ws::user(&node, "other", "");
    let mut child = command(
        node.clients,
        node.internal,
        &["push", "fanout", "idle", "--connections", "20", "--hold", "1s", "--pushes", "1"],
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    node.wait_for_metric("holdfast_messages_total{lane=\"normal\",outcome=\"written\"}", 23.0);
    assert_eq!(node.push_one("other/push", "hello"), "written");
    let code = child.wait().unwrap().code();
    let out = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("MISMATCH: fanout: broadcast 1: 20 copies came, the node wrote 21"), "{out}");
    assert!(
        out.contains("MISMATCH: fanout: messages written: 23 by the clients' count, 24 by the node's"),
        "{out}"
    );
    assert!(out.ends_with("not as it must be\n"), "{out}");
    drop(other);
}

#[test]
fn what_is_in_the_way_is_named_with_its_remedy() {
    let node = Node::start(&["limits.connections=50", "internal.token=secret"]);
    let good = ["--connections", "10", "--token", "secret"];
    let with = |more: &[&'static str]| [&good[..], more].concat();
    let cases = [
        (nobody(), node.internal, with(&[]), 1, "nothing listens there: is the node running"),
        (node.clients, nobody(), with(&[]), 1, "is the node running, and is this its internal address?"),
        (node.clients, node.clients, with(&[]), 1, "is it a node's internal port?"),
        (node.internal, node.internal, with(&[]), 1, "status 404: there is no such path"),
        (node.clients, node.internal, with(&["--token", "wrong"]), 2, "cannot be used multiple times"),
        (node.clients, node.internal, vec!["--connections", "10"], 1, "wants another token"),
        (node.clients, node.internal, with(&["--source", "192.0.2.1"]), 1, "not one of this machine's"),
        (
            node.clients,
            node.internal,
            vec!["--connections", "60", "--token", "secret"],
            1,
            "limits.connections",
        ),
        (node.clients, node.internal, with(&["--source", "here"]), 2, "neither an address nor a range"),
        (node.clients, node.internal, with(&["--sse-share", "2"]), 2, "expected a number from 0 to 1"),
    ];
    for (clients, internal, args, code, words) in cases {
        let ran = run(clients, internal, &args);
        let said = format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.code, code, "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
    // A server that takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let args = with(&["--handshake-timeout", "200ms"]);
    let ran = run(silent.local_addr().unwrap(), node.internal, &args);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("10 connections failed: no answer in time"), "{}", ran.out);
}

#[test]
fn an_interrupted_run_leaves_in_order_and_reports() {
    let node = Node::start(&[]);
    let args = ["push", "fanout", "idle", "--connections", "20", "--hold", "10m", "--pushes", "1"];
    let child = command(node.clients, node.internal, &args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    node.wait_for_metric("holdfast_messages_total{lane=\"normal\",outcome=\"written\"}", 22.0);
    let words = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &words]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("interrupted"), "{out}");
    node.wait_for_metric("holdfast_closes_total{reason=\"client_closed\"}", 10.0);
    node.wait_for_metric("holdfast_timers", 0.0);
}

#[test]
fn clients_come_back_after_a_goaway_and_are_counted() {
    let node = Node::start(&["lifetime.mean=1s", "lifetime.grace=5s"]);
    let args = ["push", "--connections", "100", "--pushes", "20", "--push-rate", "500"];
    let times = ["--sample", "1", "--leave-within", "200ms", "--back-within", "200ms"];
    let ran = run(node.clients, node.internal, &[&args[..], &times[..]].concat());
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let goaways = node.metric("holdfast_goaways_total{reason=\"lifetime\"}");
    assert!(goaways > 50.0 && ran.out.contains(&format!("goaways       {goaways}; ")), "{}", ran.out);
}
