//! What must be nowhere but with those who own it: credentials of clients, the keys that they are checked with, and the internal
//! port's tokens. Every mode is spoken with, well and badly, at the loudest level of the log, and then everything is read that
//! a node says.

use crate::{
    auth::{NEW, OLD, cookie_of, file},
    chromium::{SECRET, token},
    client::{TEXT, get, masked, upgrade},
    endpoint::Endpoint,
    http::{self, Wire},
    node::{Node, until, without_our_environment},
};
use std::{io::Write, process::Command, sync::Arc, time::Duration};

const TICKETS: &str = "key-of-tickets-0123456789abcdef-0123456789";
const BACKEND: &str = "token-of-the-backend-0123456789";
const WRONG: &str = "a-token-that-is-wrong-0123456789";

/// Everything that clients and senders of a node have heard and everything that it has said of itself.
struct Overheard {
    node: Node,
    text: String,
}

impl Overheard {
    /// Sends this to the client port, and keeps the answer.
    fn send(&mut self, request: &[u8]) {
        let mut wire = Wire::connect(self.node.clients);
        wire.try_send(request);
        wire.shut_write();
        self.text += &String::from_utf8_lossy(&wire.rest(Duration::from_secs(5)));
    }

    /// Says this as the first frame of a WebSocket, where a token may come.
    fn say(&mut self, first: &str) {
        let mut wire = Wire::connect(self.node.clients);
        wire.send(&upgrade("/ws", &[]));
        assert_eq!(wire.head().unwrap().status, 101);
        wire.send(&masked(true, false, TEXT, first.as_bytes()));
        wire.shut_write();
        self.text += &String::from_utf8_lossy(&wire.rest(Duration::from_secs(5)));
    }

    /// Asks the internal port, and keeps the answer.
    fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) {
        let answer = http::request(self.node.internal, method, target, headers, body);
        self.text += &format!("{:?}\n{}\n", answer.headers, answer.text());
    }
}

impl Overheard {
    /// Listens to what the admin page is told, for its first events.
    fn watch(&mut self) {
        let mut wire = Wire::connect(self.node.internal);
        let line =
            format!("GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {BACKEND}\r\n\r\n");
        wire.send(line.as_bytes());
        assert_eq!(wire.head().unwrap().status, 200);
        let chunk = wire.chunk(Duration::from_secs(5)).unwrap().unwrap();
        self.text += &String::from_utf8(chunk).unwrap();
    }

    /// Trades the token for the page's cookie, uses and spoils it, and gives it.
    fn sign_in(&mut self) -> String {
        let bearer = format!("Bearer {BACKEND}");
        let answer = self.node.ask_with("POST", "/v1/session", &[("Authorization", &bearer)], b"");
        assert_eq!(answer.status, 204, "{answer:?}");
        let (name, rest) = answer.header("set-cookie").unwrap().split_once('=').unwrap();
        let session = rest.split(';').next().unwrap().to_owned();
        for value in spoilt(&session) {
            let line = format!("{name}={value}");
            for (method, target) in [("GET", "/v1/stats"), ("POST", "/v1/drain"), ("GET", "/v1/session")] {
                self.ask(method, target, &[("Cookie", &line)], b"");
            }
        }
        session
    }
}

/// Requests of clients that bring a credential in this target and these lines, in all ways to go wrong.
fn requests(target: &str, headers: &[(&str, &str)]) -> Vec<Vec<u8>> {
    let and = if target.is_empty() { "?" } else { "&" };
    let at = |path: &str| format!("{path}{target}");
    let stream = get(&at("/sse"), headers);
    let text = String::from_utf8(stream.clone()).unwrap();
    let with = |line: &str| text.replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n")).into_bytes();
    vec![
        upgrade(&at("/ws"), headers),
        get(&at("/ws"), headers),
        get(&at("/nowhere"), headers),
        get(&format!("{}{and}ping=soon", at("/sse")), headers),
        get(&format!("{}{and}device=%00", at("/sse")), headers),
        text.replace("GET", "POST").into_bytes(),
        text.replace("GET", "OPTIONS").into_bytes(),
        text.replace("HTTP/1.1", "HTTP/1.9").into_bytes(),
        upgrade(&at("/ws"), &[headers, &[("Origin", "https://evil.example")]].concat()),
        with(&format!("X-Fill: {}", "x".repeat(20_000))),
        with("X-Bad : a"),
        with("X-Nul: \0"),
        text.replace("\r\n\r\n", "\r\n").into_bytes(),
        stream,
    ]
}

/// One that is wrong at its end, and one that is cut.
fn spoilt(good: &str) -> [String; 3] {
    let cut = &good[..good.len() - 6];
    [good.to_owned(), format!("{cut}AAAAAA"), cut.to_owned()]
}

#[test]
fn no_credential_and_no_key_is_ever_said() {
    let (_folder, path) = file(&format!("{NEW}\n{OLD}\n"));
    for format in ["text", "json"] {
        let sets = [
            "log.level=trace".to_owned(),
            format!("log.format={format}"),
            "auth.mode=jwt,cookie".into(),
            format!("auth.jwt.secret={SECRET}"),
            "auth.jwt.cookie=token".into(),
            "auth.first_frame=true".into(),
            format!("auth.cookie.keys_file={}", path.display()),
            format!("auth.tickets.keys={TICKETS}"),
            format!("internal.token={BACKEND}"),
            "clients.origins=https://app.example".into(),
        ];
        let node = Node::start(&sets.each_ref().map(String::as_str));
        let bearer = format!("Bearer {BACKEND}");
        let asked =
            node.ask_with("POST", "/v1/tickets", &[("Authorization", &bearer)], b"{\"user\":\"ada\"}");
        let ticket = asked.json()["ticket"].as_str().unwrap().to_owned();
        let mut secrets = [SECRET, NEW, OLD, TICKETS, BACKEND, WRONG].map(str::to_owned).to_vec();
        let mut said = Overheard { node, text: String::new() };
        for value in [token("ada"), cookie_of(OLD, "ada"), ticket].iter().flat_map(|good| spoilt(good)) {
            for (target, header) in [
                (format!("?token={value}"), None),
                (format!("?ticket={value}"), None),
                (String::new(), Some(("Authorization", format!("Bearer {value}")))),
                (String::new(), Some(("Cookie", format!("token={value}")))),
                (String::new(), Some(("Cookie", format!("a=b; holdfast={value}")))),
            ] {
                let lines: Vec<_> = header.iter().map(|(name, value)| (*name, value.as_str())).collect();
                requests(&target, &lines).iter().for_each(|request| said.send(request));
            }
            said.say(&value);
            // Its signature is what counts.
            secrets.extend(value.split('.').map(str::to_owned).filter(|part| part.len() > 15));
        }
        for token in [BACKEND, WRONG] {
            let bearer = ("Authorization", format!("Bearer {token}"));
            let zuul = ("X-Zuul.push.secure.token", token.to_owned());
            for (name, value) in [bearer, zuul] {
                let headers = [(name, value.as_str()), ("X-CUSTOMER_ID", "ada")];
                for (method, target) in [
                    ("GET", "/metrics"),
                    ("GET", "/v1/stats"),
                    ("GET", "/v1/nodes"),
                    ("GET", "/v1/openapi.json"),
                    ("GET", "/v1/session"),
                    ("GET", "/demo.json"),
                    ("GET", "/v1/nowhere"),
                    ("POST", "/v1/users/ada/push"),
                    ("POST", "/v1/broadcast"),
                    ("POST", "/push"),
                    ("POST", "/v1/tickets"),
                    ("PUT", "/v1/tickets"),
                    ("DELETE", "/v1/users/ada?block=1s"),
                ] {
                    said.ask(method, target, &headers, b"x");
                }
            }
            said.ask("POST", &format!("/v1/tickets?token={}", &token[..3]), &[], b"");
        }
        said.watch();
        let session = said.sign_in();
        let Overheard { node, mut text } = said;
        node.sigterm();
        until("the end of the drain's beginning", || node.log().contains("draining").then_some(()));
        let log = node.log();
        assert!(log.contains("sign_in") && !log.contains(&session), "the session in {format}");
        text += &log;
        text += &shown(&sets);
        assert!(text.contains("holdfast_tickets_total") && text.contains("audit") && text.contains("***"));
        let ends = text.matches("connection ended").count();
        assert!(ends > 500, "the log is loud: it has told of {ends} ends");
        for secret in secrets {
            let at = text.find(&secret);
            let around = at.map(|at| text[..at].lines().last().unwrap_or_default().to_owned());
            assert_eq!(around, None, "{secret} is said in {format}");
        }
    }
}

/// An endpoint hears the credential, and may say whatever it likes of it: the node repeats nothing.
#[test]
fn what_an_endpoint_is_asked_and_answers_is_never_said() {
    const SESSION: &str = "session-0123456789abcdef-of-ada";
    const BEARER: &str = "bearer-0123456789abcdef-of-ada";
    // Some answers are fair, others are not; all but the first have the credential in them.
    let endpoint = Endpoint::start(Arc::new(|head, stream| {
        let turn = head.len() % 5;
        let (status, line, body) = match turn {
            0 => ("200 OK", String::new(), "{\"user\":\"ada\"}".to_owned()),
            1 => ("401 Unauthorized", format!("X-Was: {SESSION}\r\n"), format!("{SESSION} {BEARER}")),
            2 => ("302 Found", format!("Location: /?{SESSION}\r\n"), BEARER.to_owned()),
            3 => ("200 OK", String::new(), format!("{{\"user\":\"{SESSION}\\n{BEARER}\"}}")),
            _ => ("500 Oh", String::new(), format!("no {SESSION}, no {BEARER}")),
        };
        let answer = format!("HTTP/1.1 {status}\r\n{line}Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).is_ok()
    }));
    let url = endpoint.setting();
    let own = format!("auth.http.token={BACKEND}");
    let sets =
        ["log.level=trace", "auth.mode=http", "auth.first_frame=true", "auth.http.failures=16", &url, &own];
    let mut said = Overheard { node: Node::start(&sets), text: String::new() };
    let (bearer, cookie) = (format!("Bearer {BEARER}"), format!("session={SESSION}"));
    for at in 0..10 {
        // Heads of different lengths get different answers.
        let fill = "x".repeat(at);
        for (target, line) in [
            (String::new(), Some(("Authorization", bearer.as_str()))),
            (String::new(), Some(("Cookie", cookie.as_str()))),
            (format!("?token={BEARER}{fill}"), None),
        ] {
            let lines: Vec<_> = line.into_iter().chain([("X-Fill", fill.as_str())]).collect();
            requests(&target, &lines).iter().for_each(|request| said.send(request));
        }
        said.say(&format!("{BEARER}{fill}"));
    }
    for target in ["/metrics", "/v1/stats"] {
        said.ask("GET", target, &[], b"");
    }
    let Overheard { node, mut text } = said;
    text += &node.log();
    text += &shown(&sets.map(str::to_owned));
    assert!(text.contains("HTTP/1.1 101") || text.contains("connection ended"), "it has spoken");
    assert!(endpoint.asked() > 50, "{} questions", endpoint.asked());
    for secret in [SESSION, BEARER, BACKEND] {
        let at = text.find(secret);
        let around = at.map(|at| text[..at].lines().last().unwrap_or_default().to_owned());
        assert_eq!(around, None, "{secret} is said");
    }
}

/// What `config show` prints.
fn shown(sets: &[String]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    without_our_environment(&mut command);
    command.args(["config", "show"]);
    for set in sets {
        command.args(["--set", set]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}
