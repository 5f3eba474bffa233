//! Clients against small servers, each a thread for each connection: bad ones, others than nodes, encrypted ones.

mod cuts;
mod dialects;
mod returns;
mod secure;
mod targets;

use super::{Manner, Wave, tally::Tally};
use crate::{client::Protocol, clock::Run, fleet::Fleet, plan::Settings};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(20);
const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Has a thread for each connection, which is told its number.
fn server(serve: impl Fn(TcpStream, usize) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (serve, stream) = (serve.clone(), stream.unwrap());
            std::thread::spawn(move || serve(stream, number));
        }
    });
    address
}

/// Reads a request up to its end; empty when there is none.
fn request(stream: &mut impl Read) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// The answer that opens what is asked for, by WebSocket or in chunks.
fn opening(request: &str) -> String {
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let Some(key) = key else { return STREAM.into() };
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = STANDARD.encode(hash.finalize());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Answers a request by opening the connection.
fn open(stream: &mut (impl Read + Write)) {
    let answer = opening(&request(stream));
    stream.write_all(answer.as_bytes()).unwrap();
}

/// Reads until the other side ends the connection.
fn drain(stream: &mut impl Read) {
    let mut rest = [0; 4096];
    while stream.read(&mut rest).is_ok_and(|count| count > 0) {}
}

/// Waits for the client's goodbye, and ends the connection in order.
fn hang_up(stream: &mut (impl Read + Write), is_websocket: bool) {
    if stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) && is_websocket {
        let _ = stream.write_all(&[0x88, 2, 0x03, 0xe8]);
    }
}

/// A text frame.
fn text(payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x81];
    match payload.len() {
        short @ 0..=125 => out.push(short as u8),
        medium @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Clients of one protocol who hurry and come back.
fn settings(target: SocketAddr, protocol: Protocol) -> Settings {
    let mut settings = Settings::new(target);
    settings.sse_share = if protocol == Protocol::Sse { 1.0 } else { 0.0 };
    settings.leave_within = Duration::ZERO;
    settings.back_within = Duration::ZERO;
    settings
}

/// Clients from number 0 on that begin at once.
fn crowd(settings: Settings, count: u32) -> Fleet {
    let fleet = Fleet::start(settings, Run::begin()).unwrap();
    fleet.open(Wave { first: 0, count, rate: 1e9, manner: Manner::Stay, dwell: Duration::ZERO });
    fleet
}

/// Waits for a wish, and shows the counts when it does not come true.
fn wait(fleet: &mut Fleet, wish: impl Fn(&Tally) -> bool) -> Tally {
    fleet.wait(PATIENCE, wish).unwrap_or_else(|tally| panic!("{tally:?}"))
}

/// What a few clients make of a target once nothing is under way any more.
fn visit(settings: Settings, count: u32) -> Tally {
    let mut fleet = crowd(settings, count);
    wait(&mut fleet, |tally| tally.started >= u64::from(count) && tally.open.sum() == 0 && tally.is_settled())
}
