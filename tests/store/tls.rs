//! TLS with a certificate authority of one's own: one server, a Sentinel, a Cluster.

use crate::{
    access::cause,
    client::{Client, lookup, place},
    servers::{Server, Watcher, command, free_port, text, wait_for},
};
use holdfast::bridge::store::{Failure, Settings};
use std::{path::Path, process::Command};
use tempfile::TempDir;

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output();
    let output = output.expect("openssl is missing: scripts/install-test-tools installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A certificate authority, a server's certificate by it, and another authority.
struct Certificates(TempDir);

impl Certificates {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        let key = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        for name in ["ca", "other"] {
            let files = format!("-keyout {name}.key -out {name}.crt");
            openssl(folder.path(), &format!("{key} -x509 -days 2 -subj /CN={name} {files}"));
        }
        openssl(folder.path(), &format!("{key} -subj /CN=server -keyout server.key -out server.csr"));
        let sign = "x509 -req -days 2 -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names";
        openssl(folder.path(), &format!("{sign} -in server.csr -out server.crt"));
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// What a server is configured with, names and values in turn.
    fn options(&self, port: u16) -> Vec<String> {
        let options = [
            ("tls-port", port.to_string()),
            ("tls-cert-file", self.file("server.crt")),
            ("tls-key-file", self.file("server.key")),
            ("tls-ca-cert-file", self.file("ca.crt")),
            ("tls-auth-clients", "no".to_owned()),
        ];
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// A server with TLS on the port beside the plain one.
    fn server(&self, port: u16, more: &[&str]) -> Server {
        let options = self.options(port);
        let name =
            |(at, word): (usize, &String)| if at % 2 == 0 { format!("--{word}") } else { word.clone() };
        let options: Vec<String> = options.iter().enumerate().map(name).collect();
        let all: Vec<&str> = options.iter().map(String::as_str).chain(more.iter().copied()).collect();
        Server::start(&all)
    }

    fn settings(&self, url: &str, ca: &str) -> Settings {
        let mut settings = Settings::new(url.parse().unwrap());
        settings.ca_file = Some(self.file(ca).into());
        settings
    }

    /// With the authority it works, and without it does not.
    fn check(&self, url: &str, masters: usize) {
        let client = Client::with(self.settings(url, "ca.crt"));
        client.wait_up(masters);
        for n in 0..20 {
            client.connect(&format!("user-{n}"), "tv", place("a", 1, n), 0, 60_000);
            assert_eq!(client.places(&format!("user-{n}")).len(), 1);
        }
        for ca in ["other.crt", "none.crt"] {
            self.check_refused(url, ca);
        }
    }

    fn check_refused(&self, url: &str, ca: &str) {
        let client = Client::with(self.settings(url, ca));
        println!("{}", cause(&client));
        assert_eq!(client.ask(lookup("ann")), Err(Failure::Down), "{url} {ca}");
    }
}

#[test]
fn one_server() {
    let certificates = Certificates::make();
    let port = free_port();
    let _server = certificates.server(port, &[]);
    certificates.check(&format!("rediss://127.0.0.1:{port}"), 1);
    // A name that the certificate does not have.
    certificates.check_refused(&format!("rediss://localhost:{port}"), "ca.crt");
}

#[test]
fn a_sentinel() {
    let certificates = Certificates::make();
    let (master, port) = (free_port(), free_port());
    let _server = certificates.server(master, &["--tls-replication", "yes"]);
    // It is TLS on the way to the master too, and its plain port is closed to the store.
    let options = certificates.options(port);
    let lines: String = options.chunks(2).map(|pair| format!("{} {}\n", pair[0], pair[1])).collect();
    let _watcher = Watcher::start(master, &format!("{lines}tls-replication yes\n"));
    certificates.check(&format!("rediss+sentinel://127.0.0.1:{port}/main"), 1);
}

#[test]
fn a_cluster() {
    let certificates = Certificates::make();
    let (ports, buses) = ([free_port(), free_port()], [free_port(), free_port()].map(|bus| bus.to_string()));
    let server = |at: usize| {
        let more = ["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-port", &buses[at]];
        certificates.server(ports[at], &more)
    };
    let servers = [server(0), server(1)];
    let mut raw = servers.each_ref().map(Server::connect);
    for (at, range) in ["0 8191", "8192 16383"].into_iter().enumerate() {
        command(&mut raw[at], &format!("CLUSTER ADDSLOTSRANGE {range}")).unwrap();
        command(&mut raw[at], &format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1)).unwrap();
    }
    command(&mut raw[0], &format!("CLUSTER MEET 127.0.0.1 {} {}", ports[1], buses[1])).unwrap();
    for raw in &mut raw {
        wait_for("the cluster", || text(raw, "CLUSTER INFO").contains("cluster_state:ok").then_some(()));
    }
    certificates.check(&format!("rediss+cluster://127.0.0.1:{}", ports[1]), 2);
}
