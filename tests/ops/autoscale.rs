//! `holdfast autoscale` with real nodes and a real Redis: looked at once, and asked as an exporter while a node dies.

use crate::{
    client::Ws,
    http::Wire,
    node::{Node, Plan, until, without_our_environment},
    servers::Server,
};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Output, Stdio},
};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    without_our_environment(&mut command);
    command.arg("autoscale").args(args);
    command
}

fn autoscale(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|fault| panic!("{fault}: {output:?}"))
}

/// A node for ten connections, with so many.
fn node(id: &str, registry: &str, connections: usize) -> (Node, Vec<Ws>) {
    let node = Plan::new(&["limits.connections=10"]).id(id).registry(registry).start();
    let clients = (0..connections).map(|at| Ws::user(&node, &format!("{id}-{at}"), "tv")).collect();
    (node, clients)
}

/// An exporter, ended when it goes out of scope.
struct Exporter {
    child: Child,
    address: SocketAddr,
}

impl Exporter {
    fn start(args: &[&str]) -> Self {
        let mut child = command(args)
            .args(["--serve", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(": ").next());
        let address = address.unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        Self { child, address }
    }

    fn ask(&self, method: &str, target: &str) -> (u16, String) {
        let answer = Wire::connect(self.address).ask(method, target, &[], b"");
        (answer.status, answer.text())
    }

    fn wanted(&self) -> Value {
        serde_json::from_str(&self.ask("GET", "/wanted").1).unwrap()
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let page = self.ask("GET", "/metrics").1;
        page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_fleet_is_counted_and_held_while_a_node_is_silent() {
    let redis = Server::start(&[]);
    let (a, clients) = node("a", &redis.url(), 8);
    let (mut b, _others) = node("b", &redis.url(), 8);
    let seed = a.internal.to_string();

    // One node says who the other is. 16 of 20 is four fifths: 2 * (0.8 / 0.6)^1.5 = 3.08, but three keep it in the band.
    let seen = until("both nodes", || {
        let seen = json(&autoscale(&["--internal", &seed, "--json"]));
        (seen["connections"] == 16).then_some(seen)
    });
    assert_eq!(
        (&seen["nodes"], &seen["value"], &seen["reason"]),
        (&2.into(), &3.into(), &"above".into()),
        "{seen}"
    );
    let said = autoscale(&["--internal", &seed]);
    let words = String::from_utf8(said.stdout).unwrap();
    assert!(
        words.starts_with("3 nodes, 1 more: 16 connections are 80 % of what 2 nodes may hold, above"),
        "{words}"
    );

    // The registry says the same, once the leases are renewed.
    let url = redis.url();
    until("the leases", || {
        let seen = json(&autoscale(&["--registry", &url, "--json"]));
        (seen["connections"] == 16 && seen["value"] == 3).then_some(())
    });

    let exporter = Exporter::start(&["--internal", &seed, "--every", "100ms"]);
    until("the first look", || (exporter.ask("GET", "/wanted").0 == 200).then_some(()));
    assert_eq!(exporter.wanted()["value"], 3);
    assert_eq!(exporter.metric("holdfast_autoscale_wanted_nodes "), Some(3.0));
    assert_eq!(exporter.metric("holdfast_autoscale_utilization "), Some(0.8));
    assert_eq!(exporter.ask("POST", "/wanted").0, 405);
    assert_eq!(exporter.ask("GET", "/else").0, 404);

    // Half of the fleet is gone without a word and with its clients: that is no reason to have fewer nodes.
    drop(clients);
    b.signal("KILL");
    b.wait_end();
    let blind = until("the silence", || Some(exporter.wanted()).filter(|seen| seen["reason"] == "blind"));
    assert_eq!(
        (&blind["value"], &blind["silent"], &blind["complete"]),
        (&3.into(), &1.into(), &false.into()),
        "{blind}"
    );
    assert!(exporter.metric("holdfast_autoscale_errors_total ").unwrap() >= 1.0);
    assert!(exporter.metric("holdfast_autoscale_last_success_timestamp_seconds ").unwrap() > 1.6e9);
}

#[test]
fn what_answers_nonsense_is_held_and_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let liar = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let body = "{\"connections\":\"many\"}";
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let (a, _clients) = node("a", "memory", 1);
    let output = autoscale(&["--internal", &a.internal.to_string(), "--internal", &liar, "--json"]);
    let seen = json(&output);
    assert_eq!(
        (&seen["value"], &seen["reason"], &seen["silent"]),
        (&2.into(), &"blind".into(), &1.into()),
        "{seen}"
    );
    assert!(seen["faults"][0].as_str().unwrap().contains(&liar), "{seen}");
    assert_eq!(output.status.code(), Some(0));

    // Nobody at all: no number, and that is a failure.
    let output = autoscale(&["--internal", &liar]);
    let words = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.starts_with("how many nodes are wanted is not known.\n! "), "{words}");
}

#[test]
fn bad_usage_is_told() {
    let cases: [(&[&str], i32, &str); 5] = [
        (&["--target", "0.95"], 2, "the target must not be above the ceiling"),
        (&["--target", "60"], 2, "a share lies above 0 and at or below 1"),
        (&["--exponent", "0.5"], 2, "the exponent lies from 1 to 10"),
        (
            &["--registry", "http://me:secret@x"],
            1,
            "--registry http://me:***@x: the scheme must be one of redis",
        ),
        (&["--once", "--every", "1s"], 2, "cannot be used with"),
    ];
    for (args, code, words) in cases {
        let output = autoscale(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(code) && said.contains(words) && !said.contains("secret"),
            "{args:?}: {said}"
        );
    }
}
