//! Redis servers of a test: started, waited for, stopped and killed.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long anything may take to start or to change.
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls until there is something.
pub fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A port that was free a moment ago, and another one each time: below those that the kernel gives to connections, and
/// from a place of the process's own.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let port = 10_000 + (std::process::id() * 97 + NEXT.fetch_add(1, Relaxed)) % 20_000;
        if TcpListener::bind(("127.0.0.1", port as u16)).is_ok() {
            return port as u16;
        }
    }
}

/// A server process.
pub struct Server {
    pub port: u16,
    host: String,
    /// Words before the program's.
    within: Vec<String>,
    child: Child,
    pub folder: TempDir,
    arguments: Vec<String>,
}

impl Server {
    /// One without data on disk, with more arguments.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_within("127.0.0.1", "env", arguments)
    }

    /// One at another address, started by other words.
    pub fn start_within(host: &str, within: &str, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let within: Vec<String> = within.split(' ').map(str::to_owned).collect();
        wait_for("a Redis server on a free port", || {
            let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
            let child = spawn(&within, host, port, folder.path(), &arguments);
            let (host, within, arguments) = (host.to_owned(), within.clone(), arguments.clone());
            let mut server = Self { port, host, within, child, folder, arguments };
            server.is_listening().then_some(server)
        })
    }

    /// Kills it and starts it again on its port, without what it held.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.within, &self.host, self.port, self.folder.path(), &self.arguments);
        assert!(self.is_listening());
    }

    /// False when it has ended: another process was quicker on the port.
    fn is_listening(&mut self) -> bool {
        wait_for("a Redis server", || {
            let has_ended = self.child.try_wait().unwrap().is_some();
            let listens = || std::net::TcpStream::connect((self.host.as_str(), self.port)).is_ok();
            if has_ended { Some(false) } else { listens().then_some(true) }
        })
    }

    pub fn url(&self) -> String {
        format!("redis://{}:{}", self.host, self.port)
    }

    /// A connection of the test's own.
    pub fn connect(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection_with_timeout(PATIENCE).unwrap()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal to the process.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(within: &[String], host: &str, port: u16, folder: &Path, arguments: &[String]) -> Child {
    let mut command = Command::new(&within[0]);
    command.args(&within[1..]).arg("redis-server");
    command.args(["--port", &port.to_string(), "--bind", host, "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(folder).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is missing: scripts/install-test-tools installs it")
}

/// Sends a command given as words; any answer is as good as it is.
pub fn command(connection: &mut redis::Connection, words: &str) -> redis::RedisResult<redis::Value> {
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    command.query(connection)
}

/// The answer to a command, as text.
pub fn text(connection: &mut redis::Connection, words: &str) -> String {
    let answer = command(connection, words).unwrap_or_else(|error| panic!("{words}: {error}"));
    redis::from_redis_value(answer).unwrap()
}

/// A master, its replica and three Sentinels.
pub struct Sentinels {
    pub servers: Vec<Server>,
    watchers: Vec<Watcher>,
}

impl Sentinels {
    pub const MASTER: &'static str = "main";

    pub fn start() -> Self {
        let master = Server::start(&["--repl-diskless-sync-delay", "0"]);
        let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
        let mut connection = replica.connect();
        wait_for("the replica", || {
            text(&mut connection, "INFO replication").contains("master_link_status:up").then_some(())
        });
        let watchers = (0..3).map(|_| Watcher::start(master.port, "")).collect();
        let sentinels = Self { servers: vec![master, replica], watchers };
        for watcher in &sentinels.watchers {
            let mut connection = sentinels.connect(watcher.port);
            wait_for("the Sentinels to know each other", || {
                let info = text(&mut connection, "INFO sentinel");
                (info.contains("slaves=1") && info.contains("sentinels=3")).then_some(())
            });
        }
        sentinels
    }

    fn connect(&self, port: u16) -> redis::Connection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        wait_for("a Sentinel", || client.get_connection_with_timeout(PATIENCE).ok())
    }

    pub fn url(&self) -> String {
        let hosts: Vec<String> =
            self.watchers.iter().map(|watcher| format!("127.0.0.1:{}", watcher.port)).collect();
        format!("redis+sentinel://{}/{}", hosts.join(","), Self::MASTER)
    }
}

/// A Sentinel.
pub struct Watcher {
    pub port: u16,
    child: Child,
    _folder: TempDir,
}

impl Watcher {
    /// One that watches this master, with more lines of configuration.
    pub fn start(master: u16, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, name) = (free_port(), Sentinels::MASTER);
        let configuration = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {name} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {name} 500\nsentinel failover-timeout {name} 2000\n{more}",
            folder.path().display()
        );
        let file = folder.path().join("sentinel.conf");
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new("redis-sentinel");
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child =
            command.spawn().expect("redis-sentinel is missing: scripts/install-test-tools installs it");
        Self { port, child, _folder: folder }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three masters with a replica each.
pub struct Cluster {
    pub servers: Vec<Server>,
}

impl Cluster {
    pub fn start() -> Self {
        let servers: Vec<Server> = (0..6)
            .map(|_| {
                let bus = free_port().to_string();
                Server::start(&[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &bus,
                    "--cluster-node-timeout",
                    "1000",
                    "--repl-diskless-sync-delay",
                    "0",
                ])
            })
            .collect();
        let mut connections: Vec<_> = servers.iter().map(Server::connect).collect();
        for (at, range) in ["0 5460", "5461 10922", "10923 16383"].into_iter().enumerate() {
            command(&mut connections[at], &format!("CLUSTER ADDSLOTSRANGE {range}")).unwrap();
        }
        for (at, connection) in connections.iter_mut().enumerate() {
            command(connection, &format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1)).unwrap();
        }
        for server in &servers[1..] {
            let bus = &server.arguments[3];
            command(&mut connections[0], &format!("CLUSTER MEET 127.0.0.1 {} {bus}", server.port)).unwrap();
        }
        let is_whole = |connection: &mut redis::Connection| {
            let info = text(connection, "CLUSTER INFO");
            (info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6")).then_some(())
        };
        for connection in &mut connections {
            wait_for("the cluster", || is_whole(connection));
        }
        let masters: Vec<String> =
            connections[..3].iter_mut().map(|connection| text(connection, "CLUSTER MYID")).collect();
        for (connection, master) in connections[3..].iter_mut().zip(masters) {
            wait_for("a replica", || command(connection, &format!("CLUSTER REPLICATE {master}")).ok());
        }
        for connection in &mut connections[3..] {
            wait_for("a replica's data", || {
                text(connection, "INFO replication").contains("master_link_status:up").then_some(())
            });
        }
        Self { servers }
    }

    pub fn url(&self) -> String {
        let hosts: Vec<String> =
            self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        format!("redis+cluster://{}", hosts[..2].join(","))
    }
}
