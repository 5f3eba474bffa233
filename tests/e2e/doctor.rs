//! `holdfast doctor` on the host that it runs on: its figure is true. The load generator reaches it, and no more.

use crate::{
    loadtest::json,
    node::{Plan, without_our_environment},
};
use std::process::Command;

/// A limit that can be lowered anywhere, for one process and what it starts.
const FEW: &str = "ulimit -n 1200; exec";
const MORE: u64 = 200;

fn doctor(args: &[&str]) -> serde_json::Value {
    let mut shell = Command::new("sh");
    without_our_environment(&mut shell);
    shell.args(["-c", &format!("{FEW} \"$@\""), "sh", env!("CARGO_BIN_EXE_holdfast"), "doctor", "--json"]);
    let output = shell.args(args).output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_node_holds_what_the_doctor_says_and_no_more() {
    let report = doctor(&[]);
    assert_eq!(report["binding"], "descriptors", "{report:#}");
    let holds = report["holds"].as_u64().unwrap();
    let node = Plan::new(&[]).prelude(FEW).start();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("report.json");
    let asked = (holds + MORE).to_string();
    // Told of the node's books, the load generator would not even try.
    let mut generator = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    without_our_environment(&mut generator);
    generator.args(["loadtest", "idle", "--internal", "none", "--clients", &node.clients.to_string()]);
    generator.args(["--connections", &asked, "--rate", "4000", "--hold", "300ms", "--report"]).arg(&to);
    let output = generator.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "some were refused, which it complains of");
    let clients = &json(&to)["clients"];
    assert_eq!(
        (clients["most_open"].as_u64(), clients["opened"].as_u64()),
        (Some(holds), Some(holds)),
        "{clients:#}"
    );
    let refused: u64 =
        clients["refused"].as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(refused, MORE, "{clients:#}");
    assert_eq!(node.metric("holdfast_handshakes_total{result=\"full\"}"), MORE as f64);
    // By the limits of the node that runs, started from elsewhere.
    let pid = node.pid().to_string();
    let of_node = doctor(&["--pid", &pid, "-n", &holds.to_string()]);
    assert_eq!(
        (of_node["holds"].as_u64(), of_node["verdict"].as_str()),
        (Some(holds), Some("fits")),
        "{of_node:#}"
    );
    let of_node = doctor(&["--pid", &pid, "-n", &(holds + 1).to_string()]);
    assert_eq!(of_node["verdict"], "does_not_fit");
}
