//! The real binary's command line: what it prints, what it refuses, how it exits.

use std::{
    io::{Read, Seek, Write},
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
    thread::JoinHandle,
};

struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// Runs the binary with nothing of this process's environment that it would read.
fn run_with(env: &[(&str, &str)], args: &[&str]) -> Ran {
    run_on(Stdio::null(), env, args)
}

fn run_on(input: Stdio, env: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HOLDFAST_")) {
        command.env_remove(name);
    }
    let output = command.args(args).envs(env.iter().copied()).stdin(input).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(args: &[&str]) -> Ran {
    run_with(&[], args)
}

/// With this for its standard input.
fn run_reading(input: &str, args: &[&str]) -> Ran {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input.as_bytes()).unwrap();
    file.rewind().unwrap();
    run_on(file.into(), &[], args)
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("holdfast.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

/// A node that answers one request with this, and gives back the request.
fn node(status: &'static str, body: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !complete(&request) {
            match stream.read(&mut buffer).unwrap() {
                0 => break,
                count => request.extend_from_slice(&buffer[..count]),
            }
        }
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (address, answer)
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0_usize)
}

#[test]
fn the_default_configuration_passes_its_own_check() {
    let default = run(&["config", "default"]);
    assert_eq!((default.code, default.err.as_str()), (0, ""));
    let (_folder, path) = file(&default.out);
    let check = run(&["config", "check", path.to_str().unwrap()]);
    assert_eq!(check.code, 0, "{}", check.err);
}

#[test]
fn an_unknown_key_and_a_bad_value_name_key_value_and_what_is_allowed() {
    let (_folder, path) = file("[limits]\nconections = 5\n");
    let path = path.to_str().unwrap();
    for ran in [run(&["config", "check", path]), run(&["serve", "--config", path])] {
        assert_eq!(ran.code, 1);
        assert!(
            ran.err.starts_with(
                "holdfast: limits.conections = 5: unknown key (did you mean limits.connections?); expected one of limits.conn"
            ),
            "{}",
            ran.err
        );
    }
    let expected = "holdfast: limits.connections = \"many\": expected a whole number of connections";
    for ran in [
        run(&["serve", "--set", "limits.connections=many"]),
        run(&["config", "show", "--set", "limits.connections=many"]),
        run_with(&[("HOLDFAST_LIMITS_CONNECTIONS", "many")], &["serve"]),
    ] {
        assert_eq!(ran.code, 1);
        assert!(ran.err.starts_with(expected), "{}", ran.err);
    }
    let ran = run(&["serve", "--shards", "many"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("node.shards = \"many\"") && ran.err.contains("(--shards)"), "{}", ran.err);
    let ran = run(&["serve", "--config", "/nowhere/holdfast.toml"]);
    assert!(ran.code == 1 && ran.err.contains("/nowhere/holdfast.toml"), "{}", ran.err);
}

#[test]
fn each_mistake_of_a_file_has_its_line() {
    let (_folder, path) = file("[drain]\nrate = 0\ndelay = 5\n\n[log]\nlevel = \"loud\"\n");
    for ran in [
        run(&["config", "check", path.to_str().unwrap()]),
        run(&["serve", "--config", path.to_str().unwrap()]),
    ] {
        assert_eq!((ran.code, ran.out.as_str()), (1, ""));
        let lines: Vec<&str> = ran.err.lines().collect();
        for (line, (begin, end)) in lines.iter().zip([
            ("holdfast: drain.rate = 0: expected", ", line 2)"),
            ("holdfast: drain.delay = 5: expected", ", line 3)"),
            ("holdfast: log.level = \"loud\": expected", ", line 6)"),
        ]) {
            assert!(line.starts_with(begin) && line.ends_with(end), "{line}");
        }
        assert_eq!(lines.len(), 3);
    }
    let (_folder, path) = file("[drain]\nrate = 5\n");
    let ran = run(&["config", "check", path.to_str().unwrap()]);
    assert_eq!((ran.code, ran.out), (0, format!("{} is fine\n", path.display())));
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_default() {
    let (_folder, path) = file("[drain]\nrate = 1\ndelay = \"1s\"\nwindow = \"1s\"\n");
    let path = path.to_str().unwrap();
    let env = [("HOLDFAST_DRAIN_DELAY", "2s"), ("HOLDFAST_DRAIN_WINDOW", "2s")];
    let ran = run_with(&env, &["config", "show", "--config", path, "--set", "drain.window=3s"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let table: toml::Table = ran.out.parse().unwrap();
    assert_eq!(table["drain"]["rate"].as_integer(), Some(1));
    assert_eq!(table["drain"]["delay"].as_str(), Some("2s"));
    assert_eq!(table["drain"]["window"].as_str(), Some("3s"));
    assert_eq!(table["lifetime"]["grace"].as_str(), Some("4s"));
    assert!(ran.out.contains("delay = \"2s\" # (HOLDFAST_DRAIN_DELAY)"), "{}", ran.out);
    let ran = run(&[
        "config",
        "show",
        "--clients",
        "127.0.0.1:1",
        "--clients",
        "[::1]:0",
        "--set",
        "clients.listen=127.0.0.1:9",
    ]);
    assert!(ran.out.contains("listen = [\"127.0.0.1:1\", \"[::1]:0\"]"), "{}", ran.out);
}

#[test]
fn secrets_are_masked() {
    let (_folder, path) = file("hush\n");
    let secret_file = format!("auth.jwt.secret_file={}", path.display());
    let env = [("HOLDFAST_INTERNAL_TOKENS", "ci:send:hush2")];
    let ran = run_with(&env, &["config", "show", "--set", "internal.token=hush3", "--set", &secret_file]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!ran.out.contains("hush") && !ran.err.contains("hush"), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("token = \"***\"") && ran.out.contains("name = \"ci\""), "{}", ran.out);
    for variable in ["HOLDFAST_INTERNAL_TOKENS", "HOLDFAST_AUTH_COOKIE_KEYS"] {
        let ran = run_with(&[(variable, "hush")], &["config", "show"]);
        assert!(ran.code == 1 && !ran.err.contains("hush"), "{}", ran.err);
    }
}

#[test]
fn keys_that_cannot_be_used_are_found_before_a_node_runs() {
    let (_folder, set) = file("{\"keys\": [{\"kty\": \"oct\", \"kid\": \"short\", \"k\": \"aHVzaA\"}]}");
    let text = format!("[auth]\nmode = \"jwt\"\n[auth.jwt]\njwks_file = {set:?}\n");
    let (_folder, path) = file(&text);
    for words in [
        &["config", "check"][..],
        &["serve", "--clients", "127.0.0.1:0", "--internal", "127.0.0.1:0", "--config"],
    ] {
        let ran = run(&[words, &[path.to_str().unwrap()]].concat());
        assert_eq!(ran.code, 1);
        let said = "key that can be used: key \"short\": its k is shorter than 32 bytes";
        assert!(ran.err.contains("auth.jwt.jwks_file: ") && ran.err.contains(said), "{}", ran.err);
        assert!(!ran.err.contains("aHVzaA"), "{}", ran.err);
    }
}

#[test]
fn an_unknown_variable_is_only_a_warning() {
    let ran = run_with(&[("HOLDFAST_PORT_7001_TCP", "tcp://10.0.0.1:7001")], &["config", "show"]);
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("warning") && ran.err.contains("HOLDFAST_PORT_7001_TCP"), "{}", ran.err);
    assert_eq!(run_with(&[("HOLDFASTER", "x")], &["config", "show"]).err, "");
}

#[test]
fn what_is_unsafe_in_the_open_needs_a_word() {
    let ran = run(&["serve", "--clients", "0.0.0.0:0"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("clients.listen = \"0.0.0.0:0\"") && ran.err.contains("--insecure"),
        "{}",
        ran.err
    );
    let ran = run(&["serve", "--internal", "0.0.0.0:0"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("internal.listen = \"0.0.0.0:0\"") && ran.err.contains("internal.token"),
        "{}",
        ran.err
    );
    let ran = run(&["config", "show", "--clients", "0.0.0.0:0", "--internal", "[::]:0", "--insecure"]);
    assert!(ran.code == 0 && ran.err.contains("plaintext"), "{}", ran.err);
}

#[test]
fn a_queue_that_is_none_is_refused_with_a_sentence() {
    let ran = run(&["serve", "--kafka", "somewhere"]);
    assert!(ran.code == 1 && ran.err.contains("kafka.brokers = \"somewhere\""), "{}", ran.err);
    let brokers = ["--kafka", "127.0.0.1:9"];
    let ran = run(&[&["process", "--registry", "memory"][..], &brokers].concat());
    assert!(ran.code == 1 && ran.err.contains("registry.url = \"memory\""), "{}", ran.err);
    let registry = ["process", "--registry", "redis://127.0.0.1:9"];
    for (more, says) in [
        (&[][..], "kafka.brokers = \"embedded\""),
        (&["--kafka", "none"], "kafka.brokers = \"none\""),
        (&["--kafka", "127.0.0.1:9", "--set", "kafka.process=false"], "kafka.process = \"false\""),
    ] {
        let ran = run(&[&registry[..], more].concat());
        assert!(ran.code == 1 && ran.err.contains(says), "{says}: {}", ran.err);
    }
    let ran = run(&["serve", "--kafka", "127.0.0.1:9", "--set", "kafka.properties=no.such.property=1"]);
    assert!(ran.code == 1 && ran.err.contains("no.such.property"), "{}", ran.err);
}

#[test]
fn a_bad_address_of_the_registry_is_refused_without_its_password() {
    let ran = run(&["serve", "--registry", "redis+sentinel://me:hush@redis:6379"]);
    assert!(ran.code == 1 && ran.err.contains("registry.url") && !ran.err.contains("hush"), "{}", ran.err);
    assert!(ran.err.contains("redis+sentinel://HOST:PORT"), "it says what is allowed: {}", ran.err);
}

#[test]
fn usage_errors_exit_with_two_and_help_with_zero() {
    for args in [
        &["serve", "--colour"][..],
        &["juggle"],
        &[],
        &["config"],
        &["send"],
        &["send", "--direct", "a", "b", "--ttl", "x"],
        &["lanes", "pause"],
        &["lanes", "skip", "low"],
        &["lanes", "hurry", "low"],
    ] {
        assert_eq!(run(args).code, 2, "{args:?}");
    }
    let help = run(&["--help"]);
    assert_eq!(help.code, 0);
    for command in ["serve", "process", "send", "devices", "drain", "lanes", "loadtest", "config", "version"]
    {
        assert!(help.out.contains(&format!("  {command} ")), "{command} in {}", help.out);
        let own = run(&[command, "--help"]);
        assert!(own.code == 0 && own.out.contains("Usage: holdfast"), "{command}: {}", own.out);
    }
    for flag in [
        "--config",
        "--set",
        "--clients",
        "--internal",
        "--advertise",
        "--node-id",
        "--shards",
        "--registry",
        "--kafka",
        "--ready-file",
        "--insecure",
        "--log-format",
        "--log-level",
    ] {
        assert!(run(&["serve", "--help"]).out.contains(flag), "{flag}");
    }
    let version = run(&["version"]);
    assert!(version.code == 0 && version.out.starts_with("holdfast 0."), "{}", version.out);
}

#[test]
fn send_says_what_became_of_the_message() {
    let body = r#"{"id":"7","outcomes":[{"device":"phone","outcome":"written","node":"n1"}]}"#;
    let (address, request) = node("200 OK", body);
    let ran = run(&[
        "send",
        "--direct",
        "a/ü",
        "hello",
        "--internal",
        &address,
        "--token",
        "t",
        "--lane",
        "high",
        "--ttl",
        "30s",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.out, "DEVICE  OUTCOME  NODE\nphone   written  n1\n");
    let request = request.join().unwrap();
    assert!(
        request.starts_with("POST /v1/users/a%2F%C3%BC/push?lane=high&ttl=30s HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.to_ascii_lowercase().contains("authorization: bearer t\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nhello"), "{request}");
    assert!(!request.to_ascii_lowercase().contains("content-type"), "{request}");

    let body =
        r#"{"id":"7","outcomes":[{"device":"a","outcome":"written"},{"device":"b","outcome":"slow"}]}"#;
    let (address, _request) = node("200 OK", body);
    let ran =
        run_with(&[("HOLDFAST_INTERNAL_LISTEN", &address)], &["send", "--direct", "ann", "x", "--json"]);
    assert_eq!((ran.code, ran.out.contains("\"slow\"")), (1, true), "{}", ran.err);

    for (status, body, words) in [
        ("404 Not Found", r#"{"id":"7","outcomes":[]}"#, "ann is not connected"),
        ("404 Not Found", "{}", "refused the message (status 404)"),
        ("401 Unauthorized", "{}", "wants a token"),
        ("403 Forbidden", "{}", "may not"),
    ] {
        let (address, _request) = node(status, body);
        let ran = run(&["send", "--direct", "ann", "x", "--internal", &address]);
        assert!(ran.code == 1 && ran.err.contains(words), "{status}: {}", ran.err);
    }
}

#[test]
fn send_asks_the_node_where_its_kafka_is() {
    for (status, body, words) in [
        ("200 OK", r#"{"connections":1}"#, "has no Kafka inside: name the brokers with --kafka"),
        ("200 OK", r#"{"kafka":{"embedded":null}}"#, "has no Kafka inside"),
        ("403 Forbidden", r#"{"message":"role"}"#, "a token of role read"),
        ("404 Not Found", "", "name the brokers with --kafka"),
    ] {
        let (address, request) = node(status, body);
        let ran = run(&["send", "ann", "hello", "--internal", &address]);
        assert!(ran.code == 1 && ran.err.contains(words), "{status}: {}", ran.err);
        assert!(request.join().unwrap().starts_with("GET /v1/stats HTTP/1.1"));
    }
    // Nobody is there; but that is where it was sent.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (address, _request) = node("200 OK", format!(r#"{{"kafka":{{"embedded":"{nobody}"}}}}"#).leak());
    let env = [("HOLDFAST_KAFKA_BROKERS", "embedded"), ("HOLDFAST_INTERNAL_LISTEN", &address)];
    let ran = run_with(&env, &["send", "ann", "hello", "--timeout", "300ms"]);
    assert!(ran.code == 1 && ran.err.contains("Kafka did not take the message"), "{}", ran.err);
    let ran = run_with(&[("HOLDFAST_KAFKA_BROKERS", "none")], &["send", "ann", "hello"]);
    assert!(ran.code == 1 && ran.err.contains("use --direct"), "{}", ran.err);
}

#[test]
fn what_kafka_cannot_tell_is_a_usage_error() {
    for (args, words) in [
        (&["ann", "x", "--wait", "ack"][..], "--wait needs --direct"),
        (&["--lines", "--direct", "--wait", "ack"], "--wait and --timeout are for one message"),
        (&["ann", "x", "--direct", "--kafka", "a:1"], "cannot be used with"),
        (&["ann", "x", "--direct", "--property", "a=b"], "cannot be used with"),
        (&["ann", "x", "--lines"], "cannot be used with"),
        (&["ann", "x", "--file", "y"], "cannot be used with"),
        (&["ann", "x", "--rate", "5/s"], "--lines"),
        (&["--lines", "--rate", "0/s"], "100/s or 100/m"),
        (&["--lines", "--id", "m-1"], "cannot be used with"),
    ] {
        let ran = run(&[&["send"], args].concat());
        assert!(ran.code == 2 && ran.err.contains(words), "{args:?}: {}", ran.err);
    }
}

#[test]
fn lines_are_sent_in_batches_and_summed_up() {
    let (address, request) = node("200 OK", r#"{"id":"1","outcomes":[]}"#);
    let lines = "{\"user\":\"ann\",\"json\":[1]}\nnonsense\n";
    let ran = run_reading(lines, &["send", "--direct", "--lines", "--ttl", "1h", "--internal", &address]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "sent 1, delivered 0, dropped 1, bad 1\n"), "{}", ran.err);
    assert!(ran.err.contains("holdfast: for ann: the user is not connected\n"), "{}", ran.err);
    assert!(ran.err.contains("holdfast: message 2: expected USER BODY"), "{}", ran.err);
    let request = request.join().unwrap();
    assert!(request.starts_with("POST /v1/messages HTTP/1.1"), "{request}");
    let sent = request.split_once("\r\n\r\n").unwrap().1;
    assert!(
        sent.starts_with("{\"user\":\"ann\",\"ttl\":\"3599") && sent.ends_with("\"json\":[1]}\n"),
        "{sent}"
    );
}

#[test]
fn devices_are_listed_and_sent_away() {
    let body = r#"{"user":"ann","devices":[{"device":"phone","node":"n1","protocol":"websocket","connected_at":1,"expires_at":2}]}"#;
    let (address, request) = node("200 OK", body);
    let ran = run(&["devices", "ann", "--internal", &address]);
    assert!(ran.code == 0 && ran.out.contains("phone   n1    websocket"), "{}{}", ran.out, ran.err);
    assert!(request.join().unwrap().starts_with("GET /v1/users/ann/devices HTTP/1.1"));
    let (address, request) = node("202 Accepted", r#"{"asked":1,"blocked":false}"#);
    let ran = run(&["devices", "ann", "--disconnect", "my phone", "--internal", &address]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "1 connection was told to go away\n"), "{}", ran.err);
    assert!(request.join().unwrap().starts_with("DELETE /v1/users/ann/devices/my%20phone HTTP/1.1"));
    let (address, request) = node("404 Not Found", "{}");
    assert_eq!(run(&["devices", "ann", "--disconnect-all", "--internal", &address]).code, 1);
    assert!(request.join().unwrap().starts_with("DELETE /v1/users/ann HTTP/1.1"));
    let (address, request) = node("202 Accepted", r#"{"asked":2,"blocked":true}"#);
    let ran = run(&["devices", "ann", "--disconnect-all", "--block", "10m", "--internal", &address]);
    let said = "2 connections were told to go away; ann is kept out for 10m\n";
    assert_eq!((ran.code, ran.out.as_str()), (0, said), "{}", ran.err);
    assert!(request.join().unwrap().starts_with("DELETE /v1/users/ann?block=10m HTTP/1.1"));
}

#[test]
fn a_script_is_told_of_nobody_in_the_form_that_it_asked_for() {
    let body = r#"{"devices":[],"user":"ann"}"#;
    let (address, _request) = node("404 Not Found", body);
    let ran = run(&["devices", "ann", "--json", "--internal", &address]);
    assert_eq!((ran.code, ran.out, ran.err), (1, format!("{body}\n"), String::new()));
    let (address, _request) = node("404 Not Found", body);
    let ran = run(&["devices", "ann", "--internal", &address]);
    assert_eq!((ran.code, ran.err.as_str()), (1, "holdfast: ann is not connected\n"));
}

/// Whatever is asked, of whatever is not a node: one line that says so.
#[test]
fn what_answers_may_be_no_node() {
    let internal = "the internal port of a node (7008 unless set)?\n";
    for (status, body) in [
        ("404 Not Found", ""),
        ("404 Not Found", "<!DOCTYPE HTML><h1>Not Found</h1>"),
        ("405 Method Not Allowed", ""),
        ("501 Unsupported method", "<html>"),
    ] {
        for args in [&["send", "--direct", "ann", "x"][..], &["devices", "ann"], &["drain"], &["lanes"]] {
            let (address, _request) = node(status, body);
            let ran = run(&[args, &["--internal", &address]].concat());
            assert!(ran.code == 1 && ran.err.ends_with(internal), "{args:?}, {status}: {}", ran.err);
            assert_eq!((ran.out.as_str(), ran.err.lines().count()), ("", 1), "{}", ran.err);
        }
    }
    for args in [&["send", "--direct", "ann", "x"][..], &["devices", "ann"], &["drain"], &["lanes"]] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shell = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
            let _ = stream.read(&mut [0; 4096]);
        });
        let ran = run(&[args, &["--internal", &address]].concat());
        let said = format!("holdfast: what answers at {address} does not speak HTTP: is that {internal}");
        assert_eq!((ran.code, ran.err), (1, said), "{args:?}");
        shell.join().unwrap();
    }
}

#[test]
fn an_address_is_checked_before_anybody_is_asked() {
    for (address, words) in [
        ("10.0.0.5", "expected HOST:PORT"),
        ("https://10.0.0.5:7008", "plain HTTP"),
        ("http://10.0.0.5:7008/v1", "expected HOST:PORT"),
    ] {
        let ran = run(&["devices", "ann", "--internal", address]);
        assert!(ran.code == 2 && ran.err.contains(words), "{address}: {}", ran.err);
    }
    let (address, request) = node("404 Not Found", r#"{"user":"ann","devices":[]}"#);
    assert_eq!(run(&["devices", "ann", "--internal", &format!("http://{address}/")]).code, 1);
    assert!(request.join().unwrap().starts_with("GET /v1/users/ann/devices HTTP/1.1"));
    let ran = run(&["devices", "ann", "--internal", "no-such-host.invalid:7008"]);
    assert!(ran.code == 1 && ran.err.contains("is not known"), "{}", ran.err);
}

#[test]
fn nothing_to_send_is_no_message() {
    // The address is that of nobody: it is not asked.
    for args in [
        &["send", "--direct", "ann", "--internal", "127.0.0.1:1"][..],
        &["send", "ann", "--kafka", "127.0.0.1:1"],
    ] {
        let ran = run(args);
        assert!(ran.code == 1 && ran.err.contains("standard input is empty"), "{args:?}: {}", ran.err);
    }
    let ran = run(&["send", "--direct", "ann", "--file", "/"]);
    assert!(ran.code == 1 && ran.err.contains("cannot read /: Is a directory"), "{}", ran.err);
}

#[test]
fn a_lane_that_the_node_does_not_have_is_not_sent_to() {
    let stats = r#"{"kafka":{"embedded":"127.0.0.1:1","lanes":{"high":{},"low":{},"normal":{}}}}"#;
    let (address, _request) = node("200 OK", stats);
    let ran = run(&["send", "ann", "x", "--lane", "urgent", "--internal", &address]);
    let said = format!("holdfast: \"urgent\" is not a lane of {address}; the lanes are high, low, normal\n");
    assert_eq!((ran.code, ran.err), (1, said));
}

#[test]
fn readers_that_have_gone_are_no_crash() {
    let program = env!("CARGO_BIN_EXE_holdfast");
    let (address, _request) = node("200 OK", r#"{"user":"ann","devices":[{"device":"phone"}]}"#);
    for (words, code) in [
        (format!("{program} devices ann --internal {address} | true; echo ${{PIPESTATUS[0]}}"), "0"),
        (
            format!(
                "{program} devices ann --internal 127.0.0.1:1 2>&1 >/dev/null | true; echo ${{PIPESTATUS[0]}}"
            ),
            "1",
        ),
    ] {
        let ran = Command::new("bash").args(["-c", &words]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), code, "{words}");
    }
}

#[test]
fn a_drain_is_begun_watched_and_called_back() {
    for (action, method) in [("start", "POST"), ("status", "GET"), ("cancel", "DELETE")] {
        let (address, request) = node("200 OK", r#"{"draining":true,"remaining":5}"#);
        let ran = run(&["drain", action, "--internal", &address]);
        assert_eq!((ran.code, ran.out.as_str()), (0, "draining true, remaining 5\n"), "{}", ran.err);
        assert!(request.join().unwrap().starts_with(&format!("{method} /v1/drain HTTP/1.1")));
    }
    let (address, _request) = node("200 OK", r#"{"draining":true,"remaining":5}"#);
    let ran = run(&["drain", "--wait", "--internal", &address]);
    assert!(ran.code == 0 && ran.out.ends_with("is gone\n"), "{}{}", ran.out, ran.err);
}

#[test]
fn nothing_listening_is_said() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for args in
        [&["send", "--direct", "ann", "x"][..], &["send", "ann", "x"], &["devices", "ann"], &["drain"]]
    {
        let ran = run(&[args, &["--internal", &address]].concat());
        assert!(ran.code == 1 && ran.err.contains("nothing listens at"), "{args:?}: {}", ran.err);
    }
}
