//! `holdfast loadtest` against a real node: what it says, what it writes, how it exits.

use crate::node::{Node, without_our_environment};
use std::{
    net::{SocketAddr, TcpListener},
    process::{Command, Stdio},
};

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn command(clients: SocketAddr, internal: SocketAddr, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    without_our_environment(&mut command);
    command.arg("loadtest").args(["--clients", &clients.to_string(), "--internal", &internal.to_string()]);
    command.args(args);
    command
}

fn run(clients: SocketAddr, internal: SocketAddr, args: &[&str]) -> Ran {
    let output = command(clients, internal, args).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
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
    let mut args = vec!["--connections", "300", "--hold", "100ms", "--pushes", "3", "--sse-share", "0.25"];
    args.extend(["--report", report.to_str().unwrap()]);
    let ran = run(node.clients, node.internal, &args);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("300 (225 websocket, 75 sse)"), "{}", ran.out);
    assert!(ran.out.ends_with("all as it must be\n"), "{}", ran.out);
    let value: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    assert_eq!(value["good"], true);
    assert_eq!(value["direct"]["received"], 90);
    assert_eq!(value["broadcast"]["outcomes"]["written"], 900);
    assert_eq!(value["handshake_us"]["count"], 300);
    // One message a request, at a rate, from addresses of its own, by several threads.
    let args = ["--connections", "50", "--hold", "0", "--to", "some", "--sample", "1", "--batch", "1"];
    let more = ["--push-rate", "500", "--pushes", "1", "--source", "127.0.0.2-127.0.0.4", "--threads", "2"];
    let ran = run(node.clients, node.internal, &[&args[..], &more[..]].concat());
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("50 written; 50 came"), "{}", ran.out);
}

#[test]
fn a_number_that_differs_is_named() {
    let node = Node::start(&[]);
    // Another client's message and connection are in the node's books only.
    let other = crate::client::Ws::user(&node, "other", "");
    let mut child =
        command(node.clients, node.internal, &["--connections", "20", "--hold", "1s", "--pushes", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
    node.wait_for_metric("holdfast_messages_total{lane=\"normal\",outcome=\"written\"}", 23.0);
    assert_eq!(node.push_one("other/push", "hello"), "written");
    let code = child.wait().unwrap().code();
    let out = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("MISMATCH: broadcast 1: 20 copies came, the node wrote 21"), "{out}");
    assert!(out.contains("MISMATCH: messages written: 23 by the clients' count, 24 by the node's"), "{out}");
    assert!(out.ends_with("not as it must be\n"), "{out}");
    drop(other);
}

#[test]
fn what_is_in_the_way_is_named_with_its_remedy() {
    let node = Node::start(&["limits.connections=50", "internal.token=secret"]);
    let good = ["--connections", "10", "--hold", "0", "--token", "secret"];
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
        (node.clients, node.internal, vec!["--connections", "9000000"], 1, "descriptors"),
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
    let args = ["--connections", "20", "--hold", "10m", "--pushes", "1"];
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
    assert!(out.contains("interrupted; so far all as it must be"), "{out}");
    node.wait_for_metric("holdfast_closes_total{reason=\"client_closed\"}", 10.0);
    node.wait_for_metric("holdfast_timers", 0.0);
}

#[test]
fn clients_come_back_after_a_goaway_and_are_counted() {
    let node = Node::start(&["lifetime.mean=1s", "lifetime.grace=5s"]);
    let args =
        ["--connections", "100", "--hold", "4s", "--reconnect", "--pushes", "20", "--push-rate", "500"];
    let times = ["--sample", "1", "--leave-within", "200ms", "--back-within", "200ms"];
    let ran = run(node.clients, node.internal, &[&args[..], &times[..]].concat());
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let goaways = node.metric("holdfast_goaways_total{reason=\"lifetime\"}");
    assert!(goaways > 50.0 && ran.out.contains(&format!("goaways               {goaways}; ")), "{}", ran.out);
}
