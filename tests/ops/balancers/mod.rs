//! The files of `tuning/balancers/`, in the hands of the real HAProxy and nginx, with real nodes behind them. Only addresses,
//! folders, sizes and the time between two checks are other than in the shipped files.

mod files;
mod haproxy;
mod nginx;

use crate::{
    client::Ws,
    http::{Silence, Wire},
    node::{Node, Plan, until},
};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// What balancers know as nodes, in the shipped files.
const NODES: [&str; 3] = ["10.0.3.7:7001", "10.0.3.8:7001", "10.0.3.9:7001"];

/// The words of a shipped file, to be changed where a test must.
struct Shipped(String);

impl Shipped {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/balancers").join(name);
        Self(fs::read_to_string(path).unwrap())
    }

    /// Replaces what must be there.
    fn set(mut self, from: &str, to: &str) -> Self {
        assert!(self.0.contains(from), "the shipped file no longer has {from:?}");
        self.0 = self.0.replace(from, to);
        self
    }

    /// Without the lines that begin so.
    fn without(mut self, beginning: &str) -> Self {
        let all = self.0.lines().count();
        let lines = self.0.lines().filter(|line| !line.trim_start().starts_with(beginning));
        self.0 = lines.map(|line| format!("{line}\n")).collect();
        assert!(self.0.lines().count() < all, "the shipped file no longer has a line {beginning:?}");
        self
    }

    /// With these nodes instead of its own.
    fn nodes(mut self, nodes: &[&Node]) -> Self {
        let live = |line: &&str| !line.trim_start().starts_with('#');
        for (at, shipped) in NODES.iter().enumerate() {
            assert_eq!(self.0.lines().filter(live).filter(|line| line.contains(shipped)).count(), 1);
            self = match nodes.get(at) {
                Some(node) => self.set(shipped, &node.clients.to_string()),
                None => self.without_node(shipped),
            };
        }
        self
    }

    fn without_node(mut self, address: &str) -> Self {
        let lines = self.0.lines().filter(|line| !line.contains(address));
        self.0 = lines.map(|line| format!("{line}\n")).collect();
        self
    }
}

/// A running balancer, killed when it goes out of scope.
struct Balancer {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
}

impl Balancer {
    /// Starts it on a port that was free a moment ago, with what is made of folder and address.
    fn start(program: &str, words: &[&str], file: impl Fn(&Path, SocketAddr) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Somebody else may be quicker to take the port.
        for _ in 0..3 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            fs::write(folder.path().join("conf"), file(folder.path(), address)).unwrap();
            let log = fs::File::create(folder.path().join("log")).unwrap();
            let mut command = command(program);
            command.args(words).arg(folder.path().join("conf")).current_dir(folder.path());
            let output = (log.try_clone().unwrap(), log);
            let mut child =
                command.stdin(Stdio::null()).stdout(output.0).stderr(output.1).spawn().unwrap_or_else(
                    |fault| panic!("{program}: {fault}: scripts/install-test-tools installs it"),
                );
            let up = until("the balancer's port, or its end", || match child.try_wait().unwrap() {
                Some(_) => Some(false),
                None => Wire::try_connect(address).map(|_| true),
            });
            if up {
                return Self { child, folder, address };
            }
        }
        panic!("{program}: {}", fs::read_to_string(folder.path().join("log")).unwrap());
    }

    /// One connection through it, from an address of the loopback's.
    fn open_from(&self, source: &str, user: &str) -> Result<Ws, u16> {
        let wire = Wire::connect_from(source.parse().unwrap(), self.address);
        Ws::try_open(wire, "/ws", &[("X-CUSTOMER_ID", user)]).map_err(|answer| answer.status)
    }

    fn open(&self, user: &str) -> Ws {
        self.open_from("127.0.0.1", user).unwrap_or_else(|status| panic!("{user}: {status}"))
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Not by SIGKILL: nginx's workers would outlive it.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("--- the balancer's log ---\n{log}");
        }
    }
}

/// A program that may not be on everybody's path.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// A node behind a balancer that must say who the client is.
fn node(id: &str, sets: &[&str]) -> Node {
    let drain = ["drain.delay=800ms", "drain.window=300ms", "lifetime.grace=300ms"];
    let all: Vec<&str> =
        ["clients.proxy_protocol=require"].iter().chain(&drain).chain(sets).copied().collect();
    Plan::new(&all).id(id).start()
}

fn accepted(node: &Node) -> f64 {
    node.metric("holdfast_handshakes_total{result=\"accepted\"}")
}

fn open_at(node: &Node) -> usize {
    node.metric("holdfast_connections{protocol=\"websocket\"}") as usize
}

/// A node dies with the connections of some of these users: all of those come back to the other one, nobody else has to.
fn lose(balancer: &Balancer, mut dies: Node, lives: &Node) {
    const USERS: usize = 24;
    let mut clients: Vec<Ws> = (0..USERS).map(|user| balancer.open(&format!("u{user}"))).collect();
    until("all", || (open_at(&dies) + open_at(lives) == USERS).then_some(()));
    let lost = open_at(&dies);
    assert!((1..USERS).contains(&lost), "both have some: {lost}");
    dies.signal("KILL");
    dies.wait_end();
    let mut back = Vec::new();
    until("the lost to hear of it", || {
        for (user, client) in clients.iter_mut().enumerate() {
            if client.next(Duration::from_millis(1)) == Err(Silence::Closed) {
                *client = balancer.open(&format!("u{user}"));
                back.push(user);
            }
        }
        (back.len() == lost).then_some(())
    });
    until("all to be at the other", || (open_at(lives) == USERS).then_some(()));
    for (user, client) in clients.iter_mut().enumerate() {
        assert_eq!(lives.push_one(&format!("u{user}/push"), "still here"), "written");
        assert_eq!(client.text(), "still here");
    }
}
