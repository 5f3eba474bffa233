//! A small server of event streams that keeps its promises: a thread for each client.

use holdfast_loadtest::message::{self, Message, To};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(30);

type Streams = Arc<Mutex<BTreeMap<u32, TcpStream>>>;

/// See the module.
pub struct Server {
    pub address: SocketAddr,
    run: u64,
    streams: Streams,
}

impl Server {
    pub fn start(run: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let streams = Streams::default();
        let all = streams.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, all) = (stream.unwrap(), all.clone());
                std::thread::spawn(move || serve(stream, &all));
            }
        });
        Self { address, run, streams }
    }

    /// The numbers of those who are there.
    pub fn clients(&self) -> Vec<u32> {
        self.streams.lock().unwrap().keys().copied().collect()
    }

    pub fn wait_for(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.clients().len() != count {
            assert!(Instant::now() < deadline, "{} and not {count} clients", self.clients().len());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends each client its message of this number.
    pub fn push(&self, sequence: u32, meant_us: u64) {
        for (client, mut stream) in self.streams.lock().unwrap().iter() {
            let mut body = Vec::new();
            message::write(
                &mut body,
                self.run,
                &Message { to: To::Client(*client), sequence, meant_us },
                100,
            );
            let body = String::from_utf8(body).unwrap();
            let lines: String = body.split('\n').map(|line| format!("data: {line}\r\n")).collect();
            stream.write_all(chunk(&format!("event: push\r\n{lines}\r\n")).as_bytes()).unwrap();
        }
    }
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn serve(mut stream: TcpStream, all: &Streams) -> Option<()> {
    let mut client = None;
    for line in BufReader::new(stream.try_clone().unwrap()).lines() {
        let line = line.ok()?;
        if let Some((_, number)) = line.split_once("load-") {
            client = number.parse::<u32>().ok();
        }
        if line.is_empty() {
            break;
        }
    }
    let client = client?;
    stream.write_all(HEAD.as_bytes()).ok()?;
    all.lock().unwrap().insert(client, stream.try_clone().unwrap());
    // It leaves by ending what it sends, or without a word.
    let left = stream.read(&mut [0; 64]).is_ok();
    all.lock().unwrap().remove(&client);
    if left {
        let _ = stream.write_all(b"0\r\n\r\n");
    }
    Some(())
}
