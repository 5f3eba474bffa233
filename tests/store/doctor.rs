//! What `holdfast doctor` says of real Redis servers.

use crate::servers::{Cluster, Sentinels, Server, command, free_port};
use std::process::Command;

/// The findings about Redis of a configuration with this registry, and the exit code.
fn findings(url: &str) -> (Vec<(String, String, String)>, i32) {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HOLDFAST_")) {
        doctor.env_remove(name);
    }
    doctor.args(["doctor", "--json", "--kafka", "none", "--registry", url]);
    let output = doctor.output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let of = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let all = report["findings"].as_array().unwrap().iter();
    let all = all.map(|it| (of(it, "subject"), of(it, "level"), of(it, "says")));
    (all.filter(|(subject, ..)| subject.starts_with("redis")).collect(), output.status.code().unwrap())
}

#[track_caller]
fn says(found: &[(String, String, String)], level: &str, words: &str) {
    let is_it = |it: &&(String, String, String)| it.1 == level && it.2.contains(words);
    assert!(found.iter().find(is_it).is_some(), "no {level} with {words:?} in {found:#?}");
}

#[test]
fn the_doctor_looks_at_one_server() {
    let server = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"]);
    let (found, code) = findings(&server.url());
    assert_eq!(code, 0, "{found:#?}");
    says(&found, "ok", " answers within ");
    says(&found, "warning", "maxmemory 105 MB, volatile-lru: when it is full it drops keys that expire");
    command(&mut server.connect(), "CONFIG SET maxmemory-policy allkeys-lfu").unwrap();
    says(&findings(&server.url()).0, "warning", "it drops any key");
    command(&mut server.connect(), "CONFIG SET maxmemory-policy noeviction").unwrap();
    says(&findings(&server.url()).0, "ok", "maxmemory 105 MB, noeviction");
    command(&mut server.connect(), "CONFIG SET maxmemory 0").unwrap();
    says(&findings(&server.url()).0, "advice", "no maxmemory");
    let port = server.port.to_string();
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {port}")]);
    let (found, code) = findings(&replica.url());
    assert_eq!(code, 1);
    says(&found, "blocks", "it is no master (its role is \"slave\"), and nodes refuse it");
}

#[test]
fn the_doctor_says_who_does_not_answer() {
    let (found, code) = findings(&format!("redis://127.0.0.1:{}", free_port()));
    assert_eq!(code, 1);
    says(&found, "blocks", "Connection refused");
    let (found, code) = findings(&format!("redis+sentinel://127.0.0.1:{}/main", free_port()));
    assert_eq!(code, 1);
    says(&found, "blocks", "Connection refused");
}

/// Of the servers that the cluster's own test has started.
pub fn of_cluster(cluster: &Cluster) {
    let (found, code) = findings(&cluster.url());
    assert_eq!(code, 0, "{found:#?}");
    let answers = found.iter().filter(|(_, _, says)| says.contains("answers within")).count();
    assert_eq!(answers, 3, "each master once: {found:#?}");
    says(&found, "ok", "cluster-node-timeout is 1.0 s, within a node's lease of 10 s");
    for server in &cluster.servers {
        command(&mut server.connect(), "CONFIG SET cluster-node-timeout 15000").unwrap();
    }
    let (found, _) = findings(&cluster.url());
    for server in &cluster.servers {
        command(&mut server.connect(), "CONFIG SET cluster-node-timeout 1000").unwrap();
    }
    says(&found, "warning", "cluster-node-timeout is 15.0 s, and a node's lease 10 s");
}

/// Of the master that these know.
pub fn of_sentinels(sentinels: &Sentinels) {
    let (found, code) = findings(&sentinels.url());
    assert_eq!(code, 0, "{found:#?}");
    let master = format!("redis 127.0.0.1:{}", sentinels.servers[0].port);
    assert!(found.iter().all(|(subject, ..)| *subject == master), "{found:#?}");
    says(&found, "ok", "answers within");
}
