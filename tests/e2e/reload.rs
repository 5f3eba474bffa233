//! SIGHUP: what a running node takes of another configuration, what it names, and that nobody is lost meanwhile.

use crate::{
    client::{Sse, Ws},
    http::Wire,
    node::{Node, Plan, until},
};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

const OLD: &str = "an-old-secret-of-more-than-thirty-two-bytes";
const NEW: &str = "a-new-secret-of-more-than-thirty-two-bytes!";
const REFUSED: &str = "the configuration is refused, the running one stays: ";
const READ: &str = "the configuration was read again";

/// A node, and the file that it was started with.
struct Reloaded {
    node: Node,
    path: PathBuf,
    reloads: usize,
    _folder: tempfile::TempDir,
}

impl Reloaded {
    fn start(text: &str) -> Self {
        Self::start_as(text, |plan| plan)
    }

    fn start_as(text: &str, plan: impl FnOnce(Plan) -> Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holdfast.toml");
        fs::write(&path, text).unwrap();
        let node = plan(Plan::new(&[]).file(&path)).start();
        Self { node, path, reloads: 0, _folder: folder }
    }

    /// Puts another file in its place, and waits until it was read; gives the lines of the log since.
    fn reload(&mut self, text: &str) -> String {
        let fresh = self.path.with_extension("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(&fresh, &self.path).unwrap();
        let before = self.node.log().len();
        self.hup();
        self.node.log()[before..].to_owned()
    }

    fn hup(&mut self) {
        self.node.signal("HUP");
        self.reloads += 1;
        until("the reload", || (self.count() >= self.reloads as f64).then_some(()));
    }

    fn count(&self) -> f64 {
        let of = |result: &str| {
            let series = format!("holdfast_config_reloads_total{{result=\"{result}\"}}");
            let token = ("Authorization", format!("Bearer {}", self.token()));
            let answer = self.node.ask_with("GET", "/metrics", &[(token.0, &token.1)], b"");
            let text = answer.text();
            let value = text.lines().find_map(|line| line.strip_prefix(&series)?.trim().parse::<f64>().ok());
            value.unwrap_or(0.0)
        };
        of("ok") + of("refused")
    }

    /// What the file says, where it does.
    fn token(&self) -> String {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let token = text.lines().find_map(|line| line.strip_prefix("token = \""));
        token.map_or_else(String::new, |token| token.trim_end_matches('"').to_owned())
    }
}

fn status(node: &Node, target: &str, headers: &[(&str, &str)]) -> u16 {
    Ws::try_open(Wire::connect(node.clients), target, headers).map_or_else(|answer| answer.status, |_| 101)
}

fn bearer(secret: &str) -> String {
    let claims = json!({ "sub": "ada", "exp": 4_000_000_000u64 });
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap();
    format!("Bearer {token}")
}

#[test]
fn limits_lifetimes_and_origins_change_and_open_connections_stay() {
    let mut run = Reloaded::start("[limits]\nhead_bytes = \"16KiB\"\n");
    let mut early = Ws::user(&run.node, "early", "");
    let long = format!("/ws?user=ada&x={}", "x".repeat(2_000));
    assert_eq!(status(&run.node, &long, &[]), 101);
    let log = run.reload(
        "[limits]\nhead_bytes = \"1KiB\"\npush_bytes = \"10B\"\n[clients]\norigins = [\"https://app.example\"]\n\
         echo = true\n[lifetime]\nmean = \"300ms\"\nmax = \"300ms\"\n[internal]\nidentity_header = \"X-User\"\n",
    );
    for line in [
        "changed key=limits.head_bytes old=\"16KiB\" new=\"1KiB\"",
        "changed key=clients.origins old=[] new=[\"https://app.example\"]",
        "the configuration was read again changed=7 waiting=0",
    ] {
        assert!(log.contains(line), "{line}:\n{log}");
    }
    assert_eq!(status(&run.node, &long, &[]), 431);
    assert_eq!(status(&run.node, "/ws?user=ada", &[("Origin", "https://evil.example")]), 403);
    assert_eq!(status(&run.node, "/ws?user=ada", &[("Origin", "https://app.example")]), 101);
    assert_eq!(run.node.push("early/push", "more than ten bytes").0, 413);
    // Who comes now goes soon; who was there has the lifetime that was drawn for him.
    let mut late = Ws::user(&run.node, "late", "");
    assert_eq!(late.text(), "_CLOSE_");
    early.send(crate::client::TEXT, b"ECHO still here");
    assert_eq!(early.text(), "ECHO still here");
    assert_eq!(run.node.push_one("early/push", "short"), "written");
    assert_eq!(early.text(), "short");
    let zuul = |header: &str| run.node.ask_with("POST", "/push", &[(header, "early")], b"x").status;
    assert_eq!((zuul("X-User"), zuul("X-CUSTOMER_ID")), (200, 401));
    // Nothing new is said to be so.
    let before = run.node.log().len();
    run.hup();
    assert!(run.node.log()[before..].contains("the configuration was read again: nothing has changed"));
}

#[test]
fn keys_tokens_and_ways_change_and_no_secret_is_logged() {
    let text = |secret: &str, token: &str| {
        format!(
            "[auth]\nmode = \"jwt\"\n[auth.jwt]\nsecret = \"{secret}\"\n[internal]\ntoken = \"{token}\"\n"
        )
    };
    let mut run = Reloaded::start(&text(OLD, "first-token"));
    let (old, new) = (bearer(OLD), bearer(NEW));
    let with = |node: &Node, value: &str| status(node, "/ws", &[("Authorization", value)]);
    let mut open = Ws::open(&run.node, "/ws", &[("Authorization", &old)]);
    assert_eq!((with(&run.node, &old), with(&run.node, &new)), (101, 401));
    let log = run.reload(&text(NEW, "second-token"));
    assert!(log.contains("changed key=auth.jwt.secret old=\"***\" new=\"***\""), "{log}");
    assert_eq!((with(&run.node, &old), with(&run.node, &new)), (401, 101));
    let push = |token: &str| {
        let token = format!("Bearer {token}");
        run.node.ask_with("POST", "/v1/users/ada/push", &[("Authorization", &token)], b"x").status
    };
    assert_eq!((push("first-token"), push("second-token")), (401, 200));
    assert_eq!(open.text(), "x");
    // To another way altogether.
    run.reload("[internal]\ntoken = \"second-token\"\n");
    assert_eq!((with(&run.node, &new), status(&run.node, "/ws?user=bob", &[])), (401, 101));
    let log = run.node.log();
    for secret in [OLD, NEW, "first-token", "second-token"] {
        assert!(!log.contains(secret), "{secret}:\n{log}");
    }
}

/// The watch over files of secrets goes on with the new ones.
#[test]
fn a_file_of_keys_that_was_named_by_a_reload_is_watched() {
    let keys = tempfile::tempdir().unwrap();
    let path = keys.path().join("jwt");
    fs::write(&path, OLD).unwrap();
    let mut run = Reloaded::start("[drain]\nrate = 7\n");
    let text = format!("[auth]\nmode = \"jwt\"\n[auth.jwt]\nsecret_file = \"{}\"\n", path.display());
    run.reload(&text);
    let with = |value: &str| status(&run.node, "/ws", &[("Authorization", value)]);
    let (old, new) = (bearer(OLD), bearer(NEW));
    assert_eq!((with(&old), with(&new)), (101, 401));
    fs::write(&path, NEW).unwrap();
    until("the new key", || (with(&new) == 101).then_some(()));
    assert_eq!(with(&old), 401);
}

#[test]
fn the_log_changes_its_level() {
    let mut run = Reloaded::start("[log]\nlevel = \"warn\"\n");
    assert!(!run.node.log().contains("ready"), "{}", run.node.log());
    assert!(run.reload("[log]\nlevel = \"info\"\n").contains("changed key=log.level"));
    // Ends of single connections are said at debug, and here of one module alone.
    run.reload("[log]\nlevel = \"warn,holdfast::shard=debug\"\n");
    drop(Ws::user(&run.node, "ada", ""));
    until("a line of a shard's", || run.node.log().contains("DEBUG").then_some(()));
    let log = run.reload("[log]\nlevel = \"off\"\nformat = \"json\"\n");
    assert_eq!(log, "");
    assert!(
        run.reload("[log]\nlevel = \"warn\"\nformat = \"json\"\n")
            .contains("needs a restart key=log.format old=\"text\" new=\"json\"")
    );
}

#[test]
fn what_needs_a_restart_is_named_and_stays() {
    let mut run = Reloaded::start_as("[limits]\nmailbox = 100\n", |plan| plan.shards(2));
    let log = run.reload(
        "[limits]\nmailbox = 200\npush_rate = \"1/1h\"\n[lanes]\norder = [\"one\", \"two\"]\n[lanes.two]\nttl = \"1s\"\n\
         [registry]\nheal_rate = 5\n[clients]\nlisten = [\"127.0.0.1:1\"]\n",
    );
    for key in ["limits.mailbox", "lanes.order", "lanes.two.ttl", "registry.heal_rate"] {
        assert!(log.contains(&format!("needs a restart key={key} old=")), "{key}:\n{log}");
    }
    // A flag goes before the file, as it did at the start.
    assert!(!log.contains("clients.listen") && log.contains("changed=1 waiting=4"), "{log}");
    let mut ada = Ws::user(&run.node, "ada", "");
    assert_eq!(run.node.push_one("ada/push?lane=high", "x"), "written");
    assert_eq!(run.node.push_one("ada/push?lane=low", "y"), "rate_limited");
    assert_eq!(ada.text(), "x");
}

#[test]
fn a_bad_file_changes_nothing() {
    let good = "[limits]\nhead_bytes = \"16KiB\"\n";
    let mut run = Reloaded::start(good);
    let mut ada = Ws::user(&run.node, "ada", "");
    let path = run.path.display().to_string();
    for (text, said) in [
        (
            "[limits]\nhead_bytes = \"1KiB\"\npush_bytes = 0\n",
            format!(
                "limits.push_bytes = 0: expected a size like \"512B\", \"64KiB\" or \"1MiB\", or a number of bytes, from 1B to 64MiB ({path}, line 3)"
            ),
        ),
        ("[limits]\nhead_bytes = \n", format!("{path}, line 2, column 14: head_bytes: ")),
        ("", format!("the configuration file {path} sets no key any more")),
        // Its keys cannot be used, which is known only once they are.
        (
            "[limits]\nhead_bytes = \"1KiB\"\n[auth]\nmode = \"jwt\"\n",
            "auth.mode = \"jwt\": the mode \"jwt\" needs a key".into(),
        ),
    ] {
        let log = run.reload(text);
        assert!(log.contains(&format!("ERROR {REFUSED}{said}")), "{said}:\n{log}");
        assert!(!log.contains(READ), "{log}");
        assert_eq!(status(&run.node, &format!("/ws?user=bob&x={}", "x".repeat(2_000)), &[]), 101);
    }
    fs::remove_file(&run.path).unwrap();
    run.hup();
    assert!(run.node.log().contains("No such file or directory"));
    assert_eq!(run.node.metric("holdfast_config_reloads_total{result=\"refused\"}"), 5.0);
    assert!(run.reload(good).contains("nothing has changed"));
    assert_eq!(run.node.metric("holdfast_config_reloads_total{result=\"ok\"}"), 1.0);
    assert_eq!(run.node.push_one("ada/push", "here"), "written");
    assert_eq!(ada.text(), "here");
}

/// Clients come and go all the time, and some stay.
#[test]
fn twenty_reloads_lose_nobody() {
    let mut run = Reloaded::start_as("[drain]\nrate = 1\n", |plan| plan.shards(2));
    let mut stay: Vec<Ws> = (0..50).map(|n| Ws::user(&run.node, &format!("stay{n}"), "")).collect();
    let mut stream = Sse::user(&run.node, "stream", "");
    let (over, clients) = (AtomicBool::new(false), run.node.clients);
    let come = || {
        let mut opened = 0u32;
        while !over.load(Ordering::Relaxed) {
            let ws = Ws::try_open(Wire::connect(clients), "/ws?user=comes", &[("X-DEVICE-ID", "one")]);
            // The device is never fought over: each has a name of its own.
            assert!(ws.is_ok(), "{:?}", ws.err());
            opened += 1;
            thread::sleep(Duration::from_millis(1));
        }
        opened
    };
    let opened = thread::scope(|scope| {
        let coming = scope.spawn(come);
        for number in 0..20 {
            let text = format!(
                "[drain]\nrate = {}\n[limits]\nhead_bytes = \"{}KiB\"\nhandshakes_per_second = {}\npush_rate = \"{}/1s\"\n\
                 unauthenticated = {}\n",
                number + 2,
                number % 4 + 1,
                [0, 50_000][number % 2],
                number + 1_000,
                1_000 + number,
            );
            run.reload(&text);
        }
        over.store(true, Ordering::Relaxed);
        coming.join().unwrap()
    });
    assert!(opened > 20, "{opened}");
    for (n, ws) in stay.iter_mut().enumerate() {
        assert_eq!(run.node.push_one(&format!("stay{n}/push"), "here"), "written");
        assert_eq!(ws.text(), "here");
    }
    assert_eq!(run.node.push_one("stream/push", "here"), "written");
    assert_eq!(stream.event().data, "here");
    let log = run.node.log();
    assert_eq!(log.matches(READ).count(), 20, "{log}");
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}

#[test]
fn a_drain_under_way_goes_on_as_it_began() {
    let mut run =
        Reloaded::start("[drain]\ndelay = \"100ms\"\nwindow = \"1h\"\n[lifetime]\ngrace = \"300ms\"\n");
    let ada = Ws::user(&run.node, "ada", "");
    run.node.sigterm();
    until("the drain", || run.node.log().contains("asking those here to leave").then_some(()));
    let log = run.reload("[drain]\ndelay = \"1h\"\nwindow = \"1ms\"\n[limits]\nhead_bytes = \"1KiB\"\n");
    assert!(log.contains("changed key=drain.delay"), "{log}");
    // Refused as before, and not gone: its window is still an hour long.
    assert_eq!(status(&run.node, "/ws?user=bob", &[]), 503);
    thread::sleep(Duration::from_millis(500));
    assert!(run.node.ended().is_none());
    drop(ada);
    assert_eq!(run.node.wait(), 0);
}

/// It takes messages to others, and has no clients.
#[test]
fn a_processor_reloads_too() {
    let away = "127.0.0.1:9";
    let mut run = Reloaded::start_as("[internal]\ntoken = \"first\"\n", |plan| {
        plan.processor().registry(&format!("redis://{away}")).kafka(away)
    });
    let log = run.reload("[internal]\ntoken = \"second\"\n[limits]\nconnections = 5\n");
    assert!(log.contains("changed key=internal.token"), "{log}");
    let stats = run.node.ask_with("GET", "/v1/stats", &[("Authorization", "Bearer second")], b"");
    assert_eq!(stats.status, 200);
    let log = run.reload("[internal]\ntoken = \"third\"\n[kafka]\nprocess = false\n");
    assert!(log.contains("needs a restart key=kafka.process"), "{log}");
    run.node.sigterm();
    until("its end", || run.node.ended());
}
