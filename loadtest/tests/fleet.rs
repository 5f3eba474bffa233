//! Fleets of worker processes and agents against a small server of event streams: what they count is what it saw, and what is
//! lost of them is told.

mod server;

use holdfast_loadtest::{
    AgentAddress, Ending, Fleet, Layout, Manner, Run, Settings, Tally, Wave, agent::Agent,
};
use server::Server;
use std::{
    ffi::OsString,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);
const TOKEN: &str = "a token that nobody guesses";

fn worker() -> Vec<OsString> {
    vec![env!("CARGO_BIN_EXE_load-worker").into()]
}

fn settings(server: &Server) -> Settings {
    Settings { sse_share: 1.0, leave_within: Duration::ZERO, ..Settings::new(server.address) }
}

fn layout(processes: usize, connections: u32) -> Layout {
    Layout { threads: 2, processes, connections, worker_command: worker(), ..Layout::default() }
}

fn wave(first: u32, count: u32) -> Wave {
    Wave { first, count, rate: 2_000.0, manner: Manner::Stay, dwell: Duration::ZERO }
}

/// Says in its panic what has happened meanwhile.
fn wait(fleet: &mut Fleet, what: &str, wish: impl Fn(&Tally) -> bool) -> Tally {
    let found = fleet.wait(PATIENCE, wish);
    found.unwrap_or_else(|tally| panic!("{what}: {tally:#?} {:?}", fleet.losses()))
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|text| !text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

/// Waits until none of these is there, but for this process itself.
fn gone(pids: &[u32]) {
    let deadline = Instant::now() + PATIENCE;
    while pids.iter().any(|pid| *pid != std::process::id() && is_alive(*pid)) {
        assert!(Instant::now() < deadline, "they stay: {pids:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An agent in a thread of this process.
struct Host {
    address: AgentAddress,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    said: Arc<Mutex<Vec<String>>>,
}

impl Host {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let (stop, said) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stopped, heard) = (stop.clone(), said.clone());
        let agent = Agent::new(TOKEN, &worker()).unwrap();
        let thread = std::thread::spawn(move || {
            agent.serve(&listener, &stopped, &|words| heard.lock().unwrap().push(words.to_owned())).unwrap();
        });
        Self { address, stop, thread: Some(thread), said }
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address.as_str()).unwrap()
    }

    fn heard(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said.lock().unwrap().iter().any(|said| said.contains(words)) {
            assert!(Instant::now() < deadline, "{words}: {:?}", self.said.lock().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end();
    }
}

fn on(hosts: &[&Host], processes: usize, connections: u32) -> Layout {
    let agents = hosts.iter().map(|host| host.address.clone()).collect();
    Layout { agents, token: Some(TOKEN.into()), worker_command: Vec::new(), ..layout(processes, connections) }
}

/// Opens 60 clients, has each get two messages, and has them leave.
fn a_visit(layout: &Layout, processes: u32) {
    let run = Run::begin();
    let server = Server::start(run.id);
    let mut fleet = Fleet::launch(settings(&server), run, layout).unwrap();
    assert_eq!(fleet.pids().len(), processes as usize);
    assert!(processes == 1 || fleet.clock_error_us() > 0);
    assert!(fleet.clock_error_us() < 1_000_000, "{}", fleet.clock_error_us());
    fleet.open(wave(100, 60));
    let tally = wait(&mut fleet, "they connect", |tally| tally.open.sse == 60);
    assert_eq!((tally.processes, tally.gone_processes), (processes, 0));
    assert!(tally.rss_bytes > u64::from(processes) << 20, "{}", tally.rss_bytes);
    assert_eq!(tally.handshake_us.len(), 60);
    let mut clients = server.clients();
    clients.sort_unstable();
    assert_eq!(clients, (100..160).collect::<Vec<u32>>(), "each client once");
    server.push(1, run.now_us());
    server.push(2, run.now_us());
    let tally = wait(&mut fleet, "messages come", |tally| tally.direct == 120);
    assert_eq!((tally.faults, tally.delivery_us.len()), (0, 120), "{:?}", tally.fault_words);
    let mut receipts: Vec<(u32, u32)> =
        fleet.take_receipts().iter().map(|receipt| (receipt.client, receipt.sequence)).collect();
    receipts.sort_unstable();
    assert_eq!(receipts, (100..160).flat_map(|client| [(client, 1), (client, 2)]).collect::<Vec<_>>());
    fleet.leave(Duration::from_millis(50));
    let tally = wait(&mut fleet, "they leave", |tally| tally.open.sum() == 0 && tally.is_settled());
    assert_eq!(tally.endings, [(Ending::Left, 60)].into(), "{tally:?}");
    assert_eq!(fleet.losses(), &[] as &[String]);
    assert!(fleet.tally().receipts.is_empty() && fleet.take_receipts().is_empty());
    let pids = fleet.pids();
    drop(fleet);
    gone(&pids);
}

#[test]
fn clients_in_this_process() {
    a_visit(&layout(1, 60), 1);
    a_visit(&layout(0, 60), 1);
}

#[test]
fn clients_in_three_processes() {
    a_visit(&layout(3, 60), 3);
}

#[test]
fn clients_on_two_agents_with_two_processes_each() {
    let (one, other) = (Host::start(), Host::start());
    a_visit(&on(&[&one, &other], 2, 60), 4);
    // They are free for the next at once.
    a_visit(&on(&[&other, &one], 1, 60), 2);
}

#[test]
fn a_worker_that_is_killed_is_told_and_the_rest_goes_on() {
    let run = Run::begin();
    let server = Server::start(run.id);
    let mut fleet = Fleet::launch(settings(&server), run, &layout(3, 90)).unwrap();
    fleet.open(wave(0, 60));
    wait(&mut fleet, "they connect", |tally| tally.open.sum() == 60);
    let killed = fleet.pids()[1];
    std::process::Command::new("kill").args(["-9", &killed.to_string()]).status().unwrap();
    let tally = wait(&mut fleet, "it is noticed", |tally| tally.gone_processes == 1);
    assert_eq!((tally.open.sum(), tally.opened.sum(), tally.processes), (40, 60, 2));
    assert_eq!(tally.endings, [(Ending::Aborted, 20)].into());
    let loss = "worker process 2 of 3 was ended by signal 9: its 20 clients are gone; out of memory? (dmesg)";
    assert_eq!(fleet.losses(), [loss]);
    // A third of those that come now would have been its clients.
    fleet.open(wave(60, 30));
    let tally = wait(&mut fleet, "more connect", |tally| tally.open.sum() == 60);
    assert_eq!((tally.planned, tally.in_flight, tally.handshake_us.len()), (0, 0, 80));
    server.push(1, run.now_us());
    wait(&mut fleet, "messages come", |tally| tally.direct == 60);
    fleet.leave(Duration::ZERO);
    wait(&mut fleet, "they leave", |tally| tally.open.sum() == 0 && tally.is_settled());
    assert_eq!(fleet.losses().len(), 1, "it is told once");
}

#[test]
fn a_worker_that_cannot_begin_is_a_sentence() {
    let run = Run::begin();
    let settings = Settings::new("127.0.0.1:1".parse().unwrap());
    let launch = |command: &[&str]| {
        let worker_command = command.iter().map(OsString::from).collect();
        let layout = Layout { worker_command, ..layout(2, 10) };
        Fleet::launch(settings.clone(), run, &layout).err().unwrap()
    };
    let why = launch(&["/nowhere/at/all"]);
    assert!(why.starts_with("worker process 1 of 2 cannot be started: No such file"), "{why}");
    let why = launch(&[env!("CARGO_BIN_EXE_load-worker"), "bad"]);
    assert_eq!(why, "worker process 1 of 2 ended with status 7 before it began; it said: nothing works here");
    let why = launch(&["sh", "-c", "echo hello; sleep 1"]);
    assert!(why.starts_with("worker process 1 of 2 ") && why.contains("before it began"), "{why}");
}

#[test]
fn a_worker_ends_with_its_parent() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_load-worker"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_agent_that_vanishes_is_told_and_the_rest_goes_on() {
    let run = Run::begin();
    let server = Server::start(run.id);
    let (mut one, other) = (Host::start(), Host::start());
    let mut fleet = Fleet::launch(settings(&server), run, &on(&[&one, &other], 2, 64)).unwrap();
    fleet.open(wave(0, 64));
    wait(&mut fleet, "they connect", |tally| tally.open.sum() == 64);
    one.end();
    let tally = wait(&mut fleet, "it is noticed", |tally| tally.gone_processes == 2);
    assert_eq!((tally.open.sum(), tally.processes), (32, 2));
    assert_eq!(fleet.losses().len(), 1);
    let words =
        format!("agent {} is lost (it has ended the connection): its 32 clients are gone", one.address);
    assert_eq!(fleet.losses(), [words]);
    server.wait_for(32);
    // And when a coordinator goes, its clients do.
    drop(fleet);
    server.wait_for(0);
    other.heard("has left");
}

#[test]
fn a_worker_of_an_agent_that_is_killed_is_told_by_the_coordinator() {
    let run = Run::begin();
    let server = Server::start(run.id);
    let host = Host::start();
    let mut fleet = Fleet::launch(settings(&server), run, &on(&[&host], 2, 60)).unwrap();
    fleet.open(wave(0, 60));
    wait(&mut fleet, "they connect", |tally| tally.open.sum() == 60);
    std::process::Command::new("kill").args(["-9", &fleet.pids()[0].to_string()]).status().unwrap();
    let tally = wait(&mut fleet, "it is noticed", |tally| tally.gone_processes == 1);
    assert_eq!((tally.open.sum(), tally.processes), (30, 1));
    let words =
        format!("agent {}: worker process 1 of 2 was ended by signal 9: its 30 clients", host.address);
    assert!(fleet.losses().len() == 1 && fleet.losses()[0].starts_with(&words), "{:?}", fleet.losses());
}

#[test]
fn who_may_not_come_in_is_told_why() {
    let run = Run::begin();
    let host = Host::start();
    let settings = Settings::new("127.0.0.1:1".parse().unwrap());
    let refused = |layout: &Layout| Fleet::launch(settings.clone(), run, layout).err().unwrap();
    let one = on(&[&host], 1, 10);
    let why = refused(&Layout { token: Some("a token that is not the one".into()), ..one.clone() });
    let address = &host.address;
    assert_eq!(
        why,
        format!("agent {address}: the token is not the agent's: give both the same --token-file")
    );
    host.heard("it does not know the token");
    let why = refused(&Layout { token: None, ..one.clone() });
    assert!(why.starts_with("agents want a token"), "{why}");
    let why = refused(&on(&[&host, &host], 1, 10));
    assert_eq!(why, format!("agent {address}: the agent is busy with another run"));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let why = refused(&Layout { agents: vec![nobody.parse().unwrap()], ..one.clone() });
    assert!(why.contains("cannot be reached: Connection refused") && why.contains("agent --listen"), "{why}");
    let why = refused(&Layout { connections: u32::MAX, ..one.clone() });
    assert!(why.starts_with(&format!("agent {address}: 4,294,967,295 connections need")), "{why}");
    let foreign = Settings { sources: vec!["192.0.2.1".parse().unwrap()], ..settings.clone() };
    let why = Fleet::launch(foreign, run, &one).err().unwrap();
    assert!(why.ends_with("none of the 1 addresses of --source is of this machine"), "{why}");
    assert!(Agent::new("short", &[]).is_err());
    // And all of that has left it free.
    Fleet::launch(settings.clone(), run, &one).unwrap();
}

#[test]
fn what_is_no_agent_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: AgentAddress = listener.local_addr().unwrap().to_string().parse().unwrap();
    let server = std::thread::spawn(move || {
        for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b""] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut scratch = [0; 1_024];
            let _ = stream.read(&mut scratch).unwrap();
            stream.write_all(answer).unwrap();
        }
    });
    for _ in 0..2 {
        let layout = Layout { agents: vec![address.clone()], token: Some(TOKEN.into()), ..layout(1, 10) };
        let settings = Settings::new("127.0.0.1:1".parse().unwrap());
        let why = Fleet::launch(settings, Run::begin(), &layout).err().unwrap();
        assert!(why.contains("what answers there is no agent of a load test"), "{why}");
    }
    server.join().unwrap();
}

#[test]
fn bad_peers_do_not_end_an_agent() {
    let host = Host::start();
    let large = (FRAME + 1).to_be_bytes();
    let table: [&[u8]; 6] = [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\x02{}",
        &large,
        &[255; 64],
        b"\0\0\0\x10{\"hello\":\"short\"}",
    ];
    for bytes in table {
        let mut stream = host.connect();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        // It is closed, by an end or a reset, within moments.
        let _ = stream.read_to_end(&mut answer);
    }
    host.heard("a frame of 1025 bytes, and 1024 are allowed");
    // Those who say nothing take no place for long, and leave room for others.
    let silent: Vec<TcpStream> = (0..4).map(|_| host.connect()).collect();
    a_visit(&on(&[&host], 1, 60), 1);
    drop(silent);
}

/// The longest frame that an agent takes from a stranger, bytes.
const FRAME: u32 = 1_024;
