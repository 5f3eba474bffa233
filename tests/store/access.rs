//! Passwords, users and TLS.

use crate::{
    client::{Client, lookup},
    servers::{Server, wait_for},
};
use holdfast::bridge::store::{Event, Failure, Settings};
use std::{path::Path, process::Command};

/// Why the master of a client is down.
fn cause(client: &Client) -> String {
    wait_for("the news", || {
        client.events().into_iter().find_map(|event| match event {
            Event::Down { cause, .. } => Some(cause),
            _ => None,
        })
    })
}

#[test]
fn a_password_and_a_user() {
    let user = "--requirepass p@ss --user app on >sec:ret ~holdfast:* +@all -@dangerous +info";
    let server = Server::start(&user.split(' ').collect::<Vec<_>>());
    for login in [":p%40ss@", "default:p%40ss@", "app:sec%3Aret@"] {
        let client = Client::ready(&format!("redis://{login}127.0.0.1:{}", server.port), 1);
        client.lookup("ann");
    }
    for login in ["", ":hush@", "app:hush@"] {
        let client = Client::start(&format!("redis://{login}127.0.0.1:{}", server.port));
        let cause = cause(&client);
        assert!(!cause.contains("hush") && !cause.contains("ret"), "{cause}");
        assert_eq!(client.ask(lookup("ann")), Err(Failure::Down));
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output();
    let output = output.expect("openssl is missing: scripts/install-test-tools installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A certificate authority of one's own and a server's certificate.
fn make_certificates(folder: &Path) {
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let key = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for name in ["ca", "other"] {
        openssl(folder, &format!("{key} -x509 -days 2 -subj /CN={name} -keyout {name}.key -out {name}.crt"));
    }
    openssl(folder, &format!("{key} -subj /CN=server -keyout server.key -out server.csr"));
    let sign = "x509 -req -days 2 -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names";
    openssl(folder, &format!("{sign} -in server.csr -out server.crt"));
}

#[test]
fn tls_with_a_certificate_authority_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    make_certificates(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    // TLS on the port that would be plain.
    let port = crate::servers::free_port();
    let server = Server::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &file("server.crt"),
        "--tls-key-file",
        &file("server.key"),
        "--tls-ca-cert-file",
        &file("ca.crt"),
        "--tls-auth-clients",
        "no",
    ]);
    let settings = |ca: &str, host: &str| {
        let mut settings = Settings::new(format!("rediss://{host}:{port}").parse().unwrap());
        settings.ca_file = Some(file(ca).into());
        settings
    };
    let client = Client::with(settings("ca.crt", "127.0.0.1"));
    client.wait_up(1);
    client.lookup("ann");
    for (ca, host) in [("other.crt", "127.0.0.1"), ("ca.crt", "localhost"), ("none.crt", "127.0.0.1")] {
        let client = Client::with(settings(ca, host));
        println!("{}", cause(&client));
        assert_eq!(client.ask(lookup("ann")), Err(Failure::Down), "{ca} {host}");
    }
    drop(server);
}
