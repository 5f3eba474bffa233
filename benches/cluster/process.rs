//! The servers that are measured: started on free ports, killed when they go out of scope, and what the kernel says they use.

use crate::{http::Connection, outcome::Outcome};
use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What anything is waited for at most.
pub const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(10);

/// A server process.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Time that all threads of a process were on a CPU, ns, by the scheduler's own count (proc(5), schedstat).
pub fn cpu_ns(pid: u32) -> Outcome<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while it is looked at.
        let Ok(times) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        sum += times.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// The same of each thread that was on a CPU, by its name.
pub fn cpu_ns_by_thread(pid: u32) -> Outcome<Vec<(String, u64)>> {
    let mut threads = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let folder = thread?.path();
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
        let name = read("comm").split_whitespace().next().unwrap_or_default().to_owned();
        threads.push((
            name,
            read("schedstat").split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0),
        ));
    }
    Ok(threads)
}

/// Waits until something is so.
pub fn until(what: &str, mut look: impl FnMut() -> Outcome<bool>) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    while !look()? {
        if Instant::now() >= deadline {
            return Err(format!("waited {PATIENCE:?} in vain for {what}").into());
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// A redis-server of its own, without persistence.
pub struct Redis {
    process: Process,
    port: u16,
}

impl Redis {
    pub fn start() -> Outcome<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        let child = command.stdout(Stdio::null()).spawn();
        let process = Process(child.map_err(|fault| format!("cannot start redis-server: {fault}"))?);
        until("redis-server", || Ok(TcpStream::connect(("127.0.0.1", port)).is_ok()))?;
        Ok(Self { process, port })
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn connection(&self) -> Outcome<redis::Connection> {
        Ok(redis::Client::open(self.url())?.get_connection()?)
    }

    pub fn flush(&self) -> Outcome<()> {
        Ok(redis::cmd("FLUSHALL").arg("SYNC").exec(&mut self.connection()?)?)
    }

    pub fn cpu_ns(&self) -> Outcome<u64> {
        cpu_ns(self.process.0.id())
    }

    /// A number of `INFO`.
    pub fn info(&self, section: &str, field: &str) -> Outcome<f64> {
        let text: String = redis::cmd("INFO").arg(section).query(&mut self.connection()?)?;
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.ok_or_else(|| format!("INFO has no {field}"))?.trim().parse()?)
    }
}

/// A node with one shard.
pub struct Node {
    process: Process,
    /// Holds the ready file and the log.
    _folder: TempDir,
    /// The client port.
    pub clients: SocketAddr,
    /// The internal port.
    pub internal: SocketAddr,
}

impl Node {
    /// Starts one of one shard without a queue, and waits until it takes clients. `registry` is what is behind `--registry`.
    pub fn start(name: &str, registry: &str) -> Outcome<Self> {
        Self::start_with(name, registry, &["--kafka", "none", "--shards", "1"])
    }

    /// Starts one with these arguments besides: with a shard for each core, unless they say otherwise.
    pub fn start_with(name: &str, registry: &str, arguments: &[&str]) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let ready = folder.path().join("ready.json");
        let log = fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        // A configuration in this process's environment is not that of the nodes.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HOLDFAST_"))
        {
            command.env_remove(name);
        }
        command.args(["serve", "--clients", "127.0.0.1:0", "--internal", "127.0.0.1:0"]);
        command.args(["--node-id", name, "--registry", registry, "--set", "auth.mode=header"]);
        command.args(["--set", "limits.memory=off"]).args(arguments).arg("--ready-file").arg(&ready);
        let mut process = Process(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?);
        until("the node's ready file", || match process.0.try_wait()? {
            Some(status) => {
                let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                Err(format!("the node ended with {status}:\n{log}").into())
            }
            None => Ok(ready.exists()),
        })?;
        let value: serde_json::Value = serde_json::from_str(&fs::read_to_string(&ready)?)?;
        let address = |name: &str| -> Outcome<SocketAddr> { Ok(value[name].as_str().unwrap_or("").parse()?) };
        let (clients, internal) = (address("clients")?, address("internal")?);
        Ok(Self { process, _folder: folder, clients, internal })
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub fn cpu_ns(&self) -> Outcome<u64> {
        cpu_ns(self.pid())
    }

    /// Its proportional share of memory, bytes.
    pub fn pss(&self) -> Outcome<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()))?;
        let kilobytes = rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB"));
        Ok(kilobytes.ok_or("smaps_rollup has no Pss")?.trim().parse::<u64>()? * 1024)
    }

    /// A series of `/metrics` by its whole name, labels included; 0 where it is not there.
    pub fn metric(&self, series: &str) -> Outcome<f64> {
        let mut connection = Connection::open(self.internal)?;
        let answer = connection.ask("GET", "/metrics", "text/plain", b"")?;
        let text = String::from_utf8_lossy(answer.body);
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        Ok(found.unwrap_or(0.0))
    }

    /// Connections that the registry has taken.
    pub fn registered(&self) -> Outcome<u32> {
        Ok(self.metric("holdfast_registry_seconds_count{operation=\"connect\"}")? as u32)
    }
}
