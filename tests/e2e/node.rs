//! Starts the real binary, asks its internal port, and ends it.

use crate::http::{self, Answer};
use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What a test waits for at most, unless it says otherwise: far longer than anything takes on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
const ANY_PORT: &str = "127.0.0.1:0";
/// Lines of a node's log that a failed test shows.
const LOG_LINES: usize = 40;

/// A node of its own, killed when it goes out of scope.
pub struct Node {
    child: Child,
    folder: TempDir,
    /// Its name in the fleet.
    pub id: String,
    /// The client port.
    pub clients: SocketAddr,
    /// The internal port.
    pub internal: SocketAddr,
    /// The port of the broker inside it, if there is one.
    pub kafka: Option<String>,
}

/// How a node is started.
pub struct Plan {
    program: PathBuf,
    id: String,
    registry: Option<String>,
    kafka: String,
    role: &'static str,
    environment: Vec<(String, String)>,
    file: Option<PathBuf>,
    sets: Vec<String>,
    shards: usize,
    clients_at: Vec<String>,
    internal_at: String,
    /// Shell words before the program, such as `ulimit -n 300; exec`.
    prelude: Option<String>,
    stdin: Stdio,
}

impl Plan {
    /// One shard, ports of the kernel's choice, and these `section.key=value`.
    pub fn new(sets: &[&str]) -> Self {
        Self {
            program: env!("CARGO_BIN_EXE_holdfast").into(),
            id: "node-1".to_owned(),
            registry: None,
            kafka: "none".to_owned(),
            role: "serve",
            environment: Vec::new(),
            file: None,
            sets: sets.iter().map(|&set| set.to_owned()).collect(),
            shards: 1,
            clients_at: vec![ANY_PORT.to_owned()],
            internal_at: ANY_PORT.to_owned(),
            prelude: None,
            stdin: Stdio::null(),
        }
    }

    /// Another build than the one under test.
    pub fn program(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    /// Another name than `node-1`.
    pub fn id(mut self, id: &str) -> Self {
        self.id = id.to_owned();
        self
    }

    /// In the fleet that has this registry.
    pub fn registry(mut self, url: &str) -> Self {
        self.registry = Some(url.to_owned());
        self
    }

    /// With this queue; else there is none.
    pub fn kafka(mut self, brokers: &str) -> Self {
        self.kafka = brokers.to_owned();
        self
    }

    /// A processor, which has no clients.
    pub fn processor(mut self) -> Self {
        self.role = "process";
        self
    }

    /// A variable of the environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this configuration file.
    pub fn file(mut self, path: &Path) -> Self {
        self.file = Some(path.to_owned());
        self
    }

    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// So many client addresses.
    pub fn client_ports(mut self, count: usize) -> Self {
        self.clients_at = vec![ANY_PORT.to_owned(); count];
        self
    }

    /// Another client address than loopback's.
    pub fn clients_at(mut self, address: &str) -> Self {
        self.clients_at = vec![address.to_owned()];
        self
    }

    /// Another internal address than one of the kernel's choice, such as that of a node that was here before.
    pub fn internal_at(mut self, address: SocketAddr) -> Self {
        self.internal_at = address.to_string();
        self
    }

    /// Has a shell do something first; the words end in `exec`.
    pub fn prelude(mut self, words: &str) -> Self {
        self.prelude = Some(words.to_owned());
        self
    }

    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = stdin.into();
        self
    }

    pub fn start(self) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready.json");
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = match &self.prelude {
            None => Command::new(&self.program),
            Some(words) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("{words} \"$@\""), "sh"]).arg(&self.program);
                shell
            }
        };
        without_our_environment(&mut command);
        command.args([self.role, "--kafka", &self.kafka]);
        for address in &self.clients_at {
            command.args(["--clients", address]);
        }
        command.args(["--internal", &self.internal_at, "--node-id", &self.id]);
        if let Some(url) = &self.registry {
            command.args(["--registry", url]);
        }
        command.envs(self.environment);
        if let Some(path) = &self.file {
            command.arg("--config").arg(path);
        }
        command.arg("--shards").arg(self.shards.to_string()).arg("--ready-file").arg(&ready);
        // What the host's other programs use must not change what a test sees.
        command.args(["--set", "limits.memory=off"]);
        for set in &self.sets {
            command.arg("--set").arg(set);
        }
        let child = command.stdin(self.stdin).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        ready_node(child, folder, &self.id)
    }
}

fn ready_node(mut child: Child, folder: TempDir, id: &str) -> Node {
    let ready = folder.path().join("ready.json");
    let line = until("the ready file", || {
        if let Some(status) = child.try_wait().unwrap() {
            panic!("the node ended with {status}:\n{}", tail(folder.path()));
        }
        fs::read_to_string(&ready).ok()
    });
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = |name: &str| value[name].as_str().map(|address| address.parse().unwrap());
    // A processor has none; nobody connects to it.
    let clients = address("clients").unwrap_or_else(|| ([127, 0, 0, 1], 9).into());
    let kafka = value["kafka"].as_str().map(str::to_owned);
    Node { child, folder, id: id.to_owned(), clients, internal: address("internal").unwrap(), kafka }
}

/// A configuration in this process's environment is not that of the nodes under test.
pub fn without_our_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOLDFAST_") {
            command.env_remove(name);
        }
    }
}

/// Asks until there is an answer; what is waited for is named when there is none in time.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(LOOK);
    }
}

/// Says what a test could not do. Not by a macro, whose output is shown of tests that fail only.
pub fn say_loudly(words: &str) {
    let line = format!("\n******** {words} ********\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

impl Node {
    /// Starts one with these `section.key=value`.
    pub fn start(sets: &[&str]) -> Self {
        Plan::new(sets).start()
    }

    /// Starts the program itself, not through its own command line, and with its addresses and these variables as environment.
    pub fn start_other(program: &Path, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready.json");
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program);
        without_our_environment(&mut command);
        command.env("HOLDFAST_CLIENTS_LISTEN", "127.0.0.1:0").env("HOLDFAST_INTERNAL_LISTEN", "127.0.0.1:0");
        command.env("HOLDFAST_NODE_SHARDS", "1").env("HOLDFAST_NODE_READY_FILE", &ready);
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|fault| panic!("{}: {fault}", program.display()));
        ready_node(child, folder, "")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One request to the internal port, without a token.
    pub fn ask(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        http::request(self.internal, method, target, &[], body)
    }

    /// The same with header lines.
    pub fn ask_with(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        http::request(self.internal, method, target, headers, body)
    }

    /// Pushes text to a user; gives the status, and device and outcome of each answer in the order of the devices.
    pub fn push(&self, target: &str, text: &str) -> (u16, Vec<(String, String)>) {
        let answer = self.ask("POST", &format!("/v1/users/{target}"), text.as_bytes());
        (answer.status, outcomes(&answer.json()))
    }

    /// Pushes text to a user of one device; gives the outcome.
    pub fn push_one(&self, target: &str, text: &str) -> String {
        let (status, mut outcomes) = self.push(target, text);
        assert_eq!((status, outcomes.len()), (200, 1), "{outcomes:?}");
        outcomes.remove(0).1
    }

    /// A series of `/metrics` by its whole name, labels included; 0 where it is not there.
    pub fn metric(&self, series: &str) -> f64 {
        let answer = self.ask("GET", "/metrics", b"");
        assert_eq!(answer.status, 200);
        let text = answer.text();
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or(0.0)
    }

    /// Waits until a series has a value.
    pub fn wait_for_metric(&self, series: &str, value: f64) {
        let mut last = f64::NAN;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            last = self.metric(series);
            if last == value {
                return;
            }
            std::thread::sleep(LOOK);
        }
        panic!("{series} is {last}, not {value}");
    }

    /// Sends a signal by its name without SIG.
    pub fn signal(&self, name: &str) {
        let words = format!("kill -{name} {}", self.pid());
        assert!(Command::new("sh").args(["-c", &words]).status().unwrap().success());
    }

    pub fn sigterm(&self) {
        self.signal("TERM");
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end; gives the exit code.
    pub fn wait(&mut self) -> i32 {
        self.wait_end().code().expect("an exit code, not a signal")
    }

    /// Waits for its end, also by a signal.
    pub fn wait_end(&mut self) -> ExitStatus {
        until("the node's end", || self.ended())
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Processor time that it has used, of all its threads, in clock ticks of 10 ms (proc_pid_stat(5)).
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let after_name = stat.rsplit_once(") ").unwrap().1;
        let fields: Vec<&str> = after_name.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- end of the node's log ---\n{}", tail(self.folder.path()));
        }
    }
}

/// Device and outcome of each entry of `outcomes`.
pub fn outcomes(answer: &serde_json::Value) -> Vec<(String, String)> {
    let text = |entry: &serde_json::Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let list = answer["outcomes"].as_array().cloned().unwrap_or_default();
    let mut all: Vec<_> = list.iter().map(|entry| (text(entry, "device"), text(entry, "outcome"))).collect();
    all.sort();
    all
}

fn tail(folder: &Path) -> String {
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
