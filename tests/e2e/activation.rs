//! Listeners that belong to a supervisor (sd_listen_fds(3)), here the test: a restart refuses nobody. And what the supervisor
//! hears of its node (sd_notify(3)).

use crate::{
    client::Ws,
    connecters::while_connecting,
    node::{Node, PATIENCE, Plan, say_loudly, until, without_our_environment},
    python,
};
use std::{
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The node finds what the test gave the shell as its input as descriptor 3.
const PASS_ON: &str = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec";

fn input(listener: &TcpListener) -> Stdio {
    OwnedFd::from(listener.try_clone().unwrap()).into()
}

fn start_on(listener: &TcpListener, id: &str, shards: usize) -> Node {
    let sets = ["drain.delay=200ms", "drain.window=300ms", "lifetime.grace=300ms"];
    let node = Plan::new(&sets).id(id).shards(shards).stdin(input(listener)).prelude(PASS_ON).start();
    assert_eq!(node.clients, listener.local_addr().unwrap());
    node
}

fn served(node: &Node) -> f64 {
    node.metric("holdfast_handshakes_total{result=\"accepted\"}")
}

#[test]
fn a_successor_on_the_same_listener_takes_over_and_nobody_is_refused_or_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut old = start_on(&listener, "old", 2);
    let mut new = None;
    let waits = while_connecting(old.clients, || {
        until("clients of the old one", || (served(&old) > 20.0).then_some(()));
        let started = new.insert(start_on(&listener, "new", 1));
        until("clients of both", || (served(started) > 5.0).then_some(()));
        old.sigterm();
        assert_eq!(old.wait(), 0);
        let before = served(started);
        until("clients of the new one alone", || (served(started) > before + 20.0).then_some(()));
    });
    let longest = waits.iter().max().unwrap();
    assert!(*longest < Duration::from_secs(2), "{longest:?}");
    let log = old.log();
    assert!(log.contains("accepting no more") && !log.contains("refused"), "{log}");
}

#[test]
fn between_two_runs_clients_wait_in_the_listeners_queue() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut old = start_on(&listener, "node", 1);
    let mut new = None;
    let waits = while_connecting(old.clients, || {
        until("clients", || (served(&old) > 20.0).then_some(()));
        old.sigterm();
        assert_eq!(old.wait(), 0);
        let started = new.insert(start_on(&listener, "node", 2));
        until("clients of the new one", || (served(started) > 20.0).then_some(()));
    });
    // From the end of the delay to the next start: the window and the grace, unless all have left before.
    assert!(waits.iter().max().unwrap() >= &Duration::from_millis(300), "{waits:?}");
}

#[test]
fn a_drain_that_is_cancelled_accepts_who_has_waited() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = start_on(&listener, "node", 2);
    assert_eq!(node.ask("POST", "/v1/drain", b"").status, 202);
    until("its end", || (node.ask("GET", "/v1/drain", b"").json()["phase"] == "done").then_some(()));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Ws::user(&node, "ada", ""));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!waiting.is_finished(), "neither served nor refused");
        assert_eq!(node.ask("DELETE", "/v1/drain", b"").status, 202);
        let mut ada = waiting.join().unwrap();
        assert_eq!(node.push_one("ada/push", "at last"), "written");
        assert_eq!(ada.text(), "at last");
    });
}

#[test]
fn the_internal_ports_listener_has_a_name_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let words = PASS_ON.replace("LISTEN_FDS=1", "LISTEN_FDS=1 LISTEN_FDNAMES=internal");
    let start = || {
        Plan::new(&["drain.window=100ms", "lifetime.grace=100ms", "drain.delay=0s"])
            .stdin(input(&listener))
            .prelude(&words)
            .start()
    };
    let mut node = start();
    assert_eq!(node.internal, listener.local_addr().unwrap());
    let _ada = Ws::user(&node, "ada", "");
    assert_eq!(node.push_one("ada/push", "hello"), "written");
    node.sigterm();
    assert_eq!(node.wait(), 0);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| node.ask("GET", "/readyz", b"").status);
        let _next = start();
        assert_eq!(sender.join().unwrap(), 200, "the sender waited for the next run");
    });
}

#[test]
fn a_listener_that_trusts_whoever_reaches_it_is_refused_wherever_it_comes_from() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    for (name, problem) in [("clients", "auth.mode"), ("internal", "internal.token")] {
        let words = PASS_ON.replace("LISTEN_FDS=1", &format!("LISTEN_FDS=1 LISTEN_FDNAMES={name}"));
        let mut command = Command::new("sh");
        without_our_environment(&mut command);
        command.args(["-c", &format!("{words} \"$@\""), "sh", env!("CARGO_BIN_EXE_holdfast"), "serve"]);
        command.args(["--clients", "127.0.0.1:0", "--internal", "127.0.0.1:0", "--shards", "1"]);
        let output = command.stdin(input(&listener)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("LISTEN_FDS is at 0.0.0.0:") && said.contains(problem), "{said}");
    }
}

/// What the supervisor hears, line by line, until there is a line that begins so.
fn hear(supervisor: &UnixDatagram, wanted: &str) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    let (mut heard, mut bytes) = (Vec::new(), [0; 4_096]);
    while Instant::now() < deadline {
        supervisor.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let Ok(count) = supervisor.recv(&mut bytes) else { continue };
        let text = std::str::from_utf8(&bytes[..count]).unwrap();
        heard.extend(text.lines().map(str::to_owned));
        if heard.iter().any(|line| line.starts_with(wanted)) {
            return heard;
        }
    }
    panic!("no {wanted} in {heard:?}");
}

#[test]
fn a_supervisor_hears_that_the_node_is_ready_lives_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    let mut node = Plan::new(&["drain.delay=200ms", "drain.window=1h", "lifetime.grace=500ms"])
        .shards(2)
        .environment("NOTIFY_SOCKET", path.to_str().unwrap())
        .environment("WATCHDOG_USEC", "1000000")
        .start();
    assert_eq!(hear(&supervisor, "READY=1")[0], "READY=1");
    node.signal("HUP");
    let heard = hear(&supervisor, "READY=1");
    let reloads = heard.iter().position(|line| line == "RELOADING=1").expect("that it reloads");
    assert!(heard[reloads + 1].starts_with("MONOTONIC_USEC="), "{heard:?}");
    // Shards that have nothing to do live, too.
    let began = Instant::now();
    for _ in 0..3 {
        hear(&supervisor, "WATCHDOG=1");
    }
    assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
    let ada = Ws::user(&node, "ada", "");
    assert_eq!(node.ask("POST", "/v1/drain", b"").status, 202);
    let heard = hear(&supervisor, "STATUS=Drain");
    assert!(!heard.iter().any(|line| line.starts_with("STOPPING")), "the process stays: {heard:?}");
    node.sigterm();
    let heard = hear(&supervisor, "EXTEND_TIMEOUT_USEC=30000000");
    assert!(heard.contains(&"STOPPING=1".to_owned()), "{heard:?}");
    assert!(heard.iter().any(|line| line.starts_with("STATUS=Drain") && line.ends_with("1")), "{heard:?}");
    hear(&supervisor, "WATCHDOG=1");
    drop(ada);
    assert_eq!(node.wait(), 0);
}

#[test]
fn a_node_with_a_loop_that_is_stuck_gives_no_sign_of_life() {
    let said = python::run(include_str!("scripts/stuck_shard.py"), &[env!("CARGO_BIN_EXE_holdfast")]);
    if said.starts_with("ptrace:") {
        say_loudly(&format!("no thread can be stopped here, so none was: {}", said.trim()));
        return;
    }
    assert_eq!(said.trim(), "True 0 True");
}
