//! What a connection costs the load generator: the slope of its own memory between few and many, against a server in another
//! process that answers and keeps quiet.
//!
//! `MEMORY_CONNECTIONS=19000 cargo test -p holdfast-loadtest --test memory -- --nocapture` prints the figure for as many.

use base64::{Engine, engine::general_purpose::STANDARD};
use holdfast_loadtest::{Cut, Dialect, Fleet, Manner, Run, Settings, Tally, Tls, Wave, raise_descriptors};
use rustls::{
    ServerConfig, ServerConnection, crypto::aws_lc_rs::default_provider, pki_types::PrivatePkcs8KeyDer,
};
use sha1::{Digest, Sha1};
use socket2::{Domain, Socket, Type};
use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// What one may cost, bytes.
const BUDGET: f64 = 100.0;
/// The same of an encrypted one, most of it keys: about 4,300 and room for other versions of rustls.
const ENCRYPTED_BUDGET: f64 = 6_000.0;
/// Connections before the slope is taken: what every fleet needs is there by then.
const FEW: u32 = 2_000;
const MANY: u32 = 15_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections that may wait to be accepted; the kernel takes its own limit if that is lower.
const BACKLOG: i32 = 4_096;
/// Has this program be the server.
const SERVE: &str = "MEMORY_SERVER";

/// Has this program measure one thing.
const MEASURE: &str = "MEMORY_MEASURE";

/// The server's process.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already needs no killing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn server(speaks: &str) -> (Server, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_server", "--nocapture"])
        .env(SERVE, speaks)
        .env_remove(MEASURE)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let address = lines.filter_map(|line| line.split("listens on ").nth(1)?.parse().ok()).next();
    (Server(child), address.expect("it says where it listens"))
}

/// Not a test: what [`server`] runs.
#[test]
fn the_server() {
    if std::env::var_os(SERVE).is_none() {
        return;
    }
    raise_descriptors(1).unwrap();
    // The library's own backlog is too short for a storm.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(BACKLOG).unwrap();
    let listener = TcpListener::from(socket);
    println!("listens on {}", listener.local_addr().unwrap());
    let config = (std::env::var(SERVE).unwrap() == "tls").then(certified);
    let mut held: Vec<(TcpStream, Option<ServerConnection>)> = Vec::new();
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                let mut session = config.clone().map(|config| ServerConnection::new(config).unwrap());
                let answered = match &mut session {
                    Some(session) => answer(&mut rustls::Stream::new(session, &mut stream)),
                    None => answer(&mut stream),
                };
                if answered.is_some() && stream.set_nonblocking(true).is_ok() {
                    held.push((stream, session));
                }
            }
            // No descriptor is left: those go whose clients have gone.
            Err(_) => held.retain(|(stream, _)| {
                stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
            }),
        }
    }
}

fn certified() -> Arc<ServerConfig> {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(vec![signed.cert.der().clone()], key.into()).unwrap())
}

fn answer(stream: &mut (impl Read + Write)) -> Option<()> {
    let (mut bytes, mut used) = ([0; 1024], 0);
    while !bytes[..used].ends_with(b"\r\n\r\n") {
        used += stream.read(&mut bytes[used..]).ok().filter(|&count| count > 0)?;
    }
    let request = std::str::from_utf8(&bytes[..used]).ok()?;
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let answer = match key {
        None => {
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".into()
        }
        Some(key) => {
            let accept = STANDARD
                .encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()));
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            )
        }
    };
    stream.write_all(answer.as_bytes()).ok()?;
    stream.flush().ok()
}

/// What this process has written to, bytes.
fn own_bytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}

fn wait(fleet: &mut Fleet, wish: impl Fn(&Tally) -> bool) {
    fleet.wait(PATIENCE, wish).unwrap_or_else(|tally| panic!("{tally:?}"));
}

/// Each is measured in a process of its own, in which nothing was freed before.
#[test]
fn a_connection_costs_no_more_than_its_budget() {
    if std::env::var_os(SERVE).is_some() || std::env::var_os(MEASURE).is_some() {
        return;
    }
    if let Err(words) = raise_descriptors(many()) {
        return println!("NOT RUN: what a connection costs: {words}");
    }
    for what in ["to stay", "for an hour", "encrypted"] {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "the_measure", "--nocapture"]).env(MEASURE, what);
        assert!(again.status().unwrap().success(), "{what}");
    }
}

/// Not a test: what the test above runs.
#[test]
fn the_measure() {
    match std::env::var(MEASURE).as_deref() {
        Ok("encrypted") => encrypted(),
        Ok("for an hour") => plain("for an hour", Duration::from_secs(3_600)),
        Ok(how) => plain(how, Duration::ZERO),
        Err(_) => {}
    }
}

fn many() -> u32 {
    std::env::var("MEMORY_CONNECTIONS").map_or(MANY, |text| text.parse().unwrap())
}

fn plain(how: &str, dwell: Duration) {
    let many = many();
    raise_descriptors(many).unwrap();
    let (_server, target) = server("plain");
    let mut settings = Settings::new(target);
    (settings.dialect, settings.handshake_timeout) = (Dialect::Plain, PATIENCE);
    let mut fleet = Fleet::start(settings, Run::begin()).unwrap();
    let mut open = |first: u32, end: u32| {
        fleet.open(Wave { first, count: end - first, rate: 5_000.0, manner: Manner::Stay, dwell });
        wait(&mut fleet, |tally| tally.open.sum() == u64::from(end) && tally.in_flight == 0);
        own_bytes()
    };
    let few = open(0, FEW);
    let all = open(FEW, many);
    let slope = |bytes: f64| (bytes - few) / f64::from(many - FEW);
    // Everybody goes and comes back within a second, with a timer each.
    fleet.cut(1.0, Cut::Reset);
    wait(&mut fleet, |tally| tally.reconnected == u64::from(many) && tally.in_flight == 0);
    let again = own_bytes();
    println!("{FEW} to {many}, {how}: {:.1} B each; after a storm {:.1} B", slope(all), slope(again));
    assert!(slope(all) <= BUDGET && slope(again) <= BUDGET);
}

fn encrypted() {
    let (_server, target) = server("tls");
    let mut settings = Settings::new(target);
    (settings.dialect, settings.handshake_timeout) = (Dialect::Plain, PATIENCE);
    settings.tls = Some(Tls { name: None, roots_pem: None, verify: false });
    let mut fleet = Fleet::start(settings, Run::begin()).unwrap();
    let mut open = |first: u32, end: u32| {
        let (count, dwell) = (end - first, Duration::ZERO);
        fleet.open(Wave { first, count, rate: 500.0, manner: Manner::Stay, dwell });
        wait(&mut fleet, |tally| tally.open.sum() == u64::from(end) && tally.in_flight == 0);
        own_bytes()
    };
    let few = open(0, 500);
    let slope = (open(500, 1_500) - few) / 1_000.0;
    println!("500 to 1500, encrypted: {slope:.0} B each");
    assert!(slope <= ENCRYPTED_BUDGET);
}
