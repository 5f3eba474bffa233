//! Connects a second through the store, and the client's CPU for each, beside the same script down a bare connection in
//! the same run; and what a device takes in Redis. Needs `redis-server` on the path.

use holdfast::{
    bridge::{
        format::FORMAT,
        store::{Output, Place, Request, Settings, Store, node_number, user_hash},
    },
    kit::slab::Key,
    model::{Handle, Protocol},
};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

const CONNECTS: u32 = 200_000;
/// As many are under way at once as four pipelines hold.
const WINDOW: u32 = 1_024;
const PIPELINE: u32 = 256;
const LIFE_MS: u64 = 600_000;

struct Server(Child, u16);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    let server = start();
    println!(
        "{CONNECTS} connects, each of another user with a name of 16 bytes and one device with another:"
    );
    let (bare, bare_cpu) = measure("bare pipeline of 256", &server, || bare(&server));
    flush(&server);
    let (store, store_cpu) = measure("store, 1,024 under way", &server, || through_store(&server));
    println!(
        "store / bare: {:.2} of the rate, {:.2} of the client's CPU",
        store / bare,
        store_cpu / bare_cpu
    );
    let mut connection = connection(&server);
    let key = format!("holdfast:u:{}", user(7));
    let bytes: u64 = redis::cmd("MEMORY").arg("USAGE").arg(&key).query(&mut connection).unwrap();
    let info: String = redis::cmd("INFO").arg("memory").query(&mut connection).unwrap();
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.parse::<f64>().unwrap()
    };
    let all = field("used_memory_dataset:") / f64::from(CONNECTS);
    println!("{bytes} bytes a device by MEMORY USAGE, {all:.0} by the server's data set");
}

fn start() -> Server {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let child = command.stdout(Stdio::null()).spawn().expect("redis-server is not on the path");
    let server = Server(child, port);
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "redis-server does not answer");
        thread::sleep(Duration::from_millis(10));
    }
    server
}

fn connection(server: &Server) -> redis::Connection {
    redis::Client::open(("127.0.0.1", server.1)).unwrap().get_connection().unwrap()
}

fn flush(server: &Server) {
    redis::cmd("FLUSHALL").exec(&mut connection(server)).unwrap();
}

fn user(n: u32) -> String {
    format!("user-{n:011}")
}

fn device(n: u32) -> String {
    format!("tv-{n:013}")
}

/// Runs and prints; returns the rate and the client's CPU, µs each.
fn measure(name: &str, server: &Server, run: impl FnOnce()) -> (f64, f64) {
    let (client, there) = (cpu("self"), cpu(&server.0.id().to_string()));
    let began = Instant::now();
    run();
    let rate = f64::from(CONNECTS) / began.elapsed().as_secs_f64();
    let each = |from: f64, to: f64| (to - from) * 1e6 / f64::from(CONNECTS);
    let client = each(client, cpu("self"));
    let there = each(there, cpu(&server.0.id().to_string()));
    println!("  {name}: {rate:.0} a second; CPU each: client {client:.2} us, redis-server {there:.2} us");
    (rate, client)
}

/// CPU time of a process, s: user and system, in ticks of 10 ms (proc(5)).
fn cpu(process: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let behind_name = stat.rsplit_once(')').unwrap().1;
    let ticks: f64 = behind_name.split_whitespace().skip(11).take(2).map(|t| t.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

/// The same script with the same arguments, by the crate's own pipeline; replies are only counted.
fn bare(server: &Server) {
    let mut connection = connection(server);
    let source = include_str!("../src/bridge/store/scripts/connect.lua");
    let digest: String = redis::cmd("SCRIPT").arg("LOAD").arg(source).query(&mut connection).unwrap();
    let (seconds, _): (u64, u64) = redis::cmd("TIME").query(&mut connection).unwrap();
    for first in (0..CONNECTS).step_by(PIPELINE as usize) {
        let many = PIPELINE.min(CONNECTS - first);
        let mut pipeline = redis::pipe();
        for n in first..first + many {
            let mut record = [0; 52];
            record[0] = 1;
            record[44..].copy_from_slice(&user_hash(&user(n)).to_be_bytes());
            let call = pipeline.cmd("EVALSHA").arg(&digest).arg(1).arg(format!("holdfast:u:{}", user(n)));
            call.arg(n).arg(device(n)).arg(&record).arg(0).arg(LIFE_MS);
            call.arg(seconds * 1000).arg((seconds + 3600) * 1000);
        }
        connection.send_packed_command(&pipeline.get_packed_pipeline()).unwrap();
        for _ in 0..many {
            assert!(matches!(connection.recv_response().unwrap(), redis::Value::Array(_)));
        }
    }
}

fn through_store(server: &Server) {
    let (deliver, outputs) = mpsc::channel();
    let settings = Settings::new(format!("redis://127.0.0.1:{}", server.1).parse().unwrap());
    let store = Store::start(&settings, move |output| {
        let _ = deliver.send(output);
    });
    let store = store.unwrap();
    let node = node_number("a");
    let mut left_to_answer = CONNECTS;
    let submit = |n: u32| {
        let connection = Handle { shard: 0, key: Key { index: n, generation: 1 } };
        let place = Place { node, incarnation: 1, connection };
        let (user, device) = (user(n).into(), device(n).into());
        let protocol = Protocol::Websocket;
        let (age_ms, life_ms, format) = (0, LIFE_MS, FORMAT);
        let request = Request::Connect { user, device, place, protocol, age_ms, life_ms, format };
        store.submit(u64::from(n), request).unwrap();
    };
    (0..WINDOW).for_each(&submit);
    let mut next = WINDOW;
    // In batches, as a thread does that has others to serve.
    while left_to_answer > 0 {
        for output in outputs.try_iter() {
            if let Output::Answer { result, .. } = output {
                result.unwrap();
                left_to_answer -= 1;
                if next < CONNECTS {
                    submit(next);
                    next += 1;
                }
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}
