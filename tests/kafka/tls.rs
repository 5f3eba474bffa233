//! Kafka over TLS, with a password that SCRAM keeps off the wire: a node and `holdfast send`, of a build with the feature
//! `kafka-tls`.

use crate::{
    brokers::{Brokers, PASSWORD, USER, write_certificate},
    client::Sse,
    fleet::{LONG, expect, readiness},
    load::Source,
    node::{Plan, until, without_our_environment},
    reader::Reader,
    site::make_topics,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const TEST: &str = "tls";

/// Builds it beside the program under test, unless that was done: a program without the feature knows no TLS to brokers.
fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("TEST_KAFKA_TLS") {
        return program.into();
    }
    let target = Path::new(env!("CARGO_BIN_EXE_holdfast")).ancestors().nth(2).unwrap().join("kafka-tls");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--features", "kafka-tls", "--bin", "holdfast", "--target-dir"]).arg(&target);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(
        output.status.success(),
        "the build with kafka-tls failed; it needs OpenSSL's headers (Debian: libssl-dev):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join("debug/holdfast")
}

/// Properties of a client that trusts one certificate.
fn properties(certificate: &Path) -> [String; 4] {
    [
        "security.protocol=sasl_ssl".to_owned(),
        "sasl.mechanism=SCRAM-SHA-512".to_owned(),
        format!("sasl.username={USER}"),
        format!("ssl.ca.location={}", certificate.display()),
    ]
}

fn plan(id: &str, brokers: &Brokers, certificate: &Path, password: &Path) -> Plan {
    let properties = format!("kafka.properties={}", properties(certificate).join(","));
    let password = format!("kafka.password_file={}", password.display());
    crate::site::plan(id, "memory", &brokers.secured_addresses(), TEST, &[&properties, &password])
        .program(&program())
}

#[test]
fn a_node_and_a_sender_come_in_over_tls_and_strangers_do_not() {
    let brokers = Brokers::start_secured();
    make_topics(&brokers, TEST);
    let folder = tempfile::tempdir().unwrap();
    let (password, wrong) = (folder.path().join("password"), folder.path().join("wrong"));
    fs::write(&password, PASSWORD).unwrap();
    fs::write(&wrong, "not the password").unwrap();
    write_certificate(folder.path(), "stranger");

    let node = plan("node-1", &brokers, &brokers.certificate(), &password).start();
    let distrustful = plan("node-2", &brokers, &folder.path().join("stranger.pem"), &password).start();
    let unknown = plan("node-3", &brokers, &brokers.certificate(), &wrong).start();
    expect("the node to be ready", LONG, &(200, "ok".to_owned()), || readiness(&node));
    let mut ada = Sse::user(&node, "ada", "tv");
    let status = Reader::start(&brokers.addresses(), &format!("{TEST}.status"));

    let topic = format!("{TEST}.push.high");
    let source = Source::new(&brokers.addresses());
    source.send(1, &topic, Some(b"ada"), Some(b"from elsewhere"), &[]);
    assert_eq!(source.places().len(), 1);
    assert_eq!(ada.event().data, "from elsewhere");
    let mut send = Command::new(program());
    without_our_environment(&mut send);
    send.args([
        "send",
        "ada",
        "by the command",
        "--topic-prefix",
        TEST,
        "--kafka",
        &brokers.secured_addresses(),
    ]);
    send.arg("--password-file").arg(&password);
    for property in properties(&brokers.certificate()) {
        send.args(["--property", &property]);
    }
    let sent = send.output().unwrap();
    let words = String::from_utf8_lossy(&sent.stderr);
    assert_eq!(String::from_utf8_lossy(&sent.stdout), "acked: in tls.push.normal\n", "{words}");
    assert_eq!(ada.event().data, "by the command");
    // The status records came over TLS, too.
    let outcomes = until("two outcomes", || {
        let records = status.records();
        let outcome =
            |value: &[u8]| serde_json::from_slice::<serde_json::Value>(value).unwrap()["outcome"].clone();
        let all: Vec<_> = records.iter().filter_map(|it| it.value.as_deref().map(outcome)).collect();
        (all.len() == 2).then_some(all)
    });
    assert_eq!(outcomes, ["written", "written"]);

    for (node, complaint) in
        [(&distrustful, "certificate verify failed"), (&unknown, "Authentication failed")]
    {
        let log = until(complaint, || Some(node.log()).filter(|log| log.contains(complaint)));
        assert_eq!(readiness(node), (503, "Kafka has not answered yet".to_owned()), "{log}");
        assert!(!log.contains(PASSWORD) && !log.contains("not the password"), "{log}");
    }
}
