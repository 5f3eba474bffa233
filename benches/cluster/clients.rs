//! WebSocket clients in numbers: opened, held, and read from. Names of users and devices have 16 bytes.

use crate::outcome::Outcome;
use mio::{Events, Interest, Poll, Token, Waker, net::TcpStream as Polled};
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Handshakes that wait for their answer at once.
const AT_ONCE: usize = 256;

/// The name of a user, 16 bytes.
pub fn user(number: u32) -> String {
    format!("user-{number:011}")
}

/// The name of the user's one device, 16 bytes.
pub fn device(number: u32) -> String {
    format!("tv-{number:013}")
}

#[derive(Default)]
struct Shared {
    stops: AtomicBool,
    closed: AtomicU64,
}

/// Clients that hold their connections until they go out of scope.
pub struct Clients {
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Clients {
    /// Connects users of these numbers, and returns when the last has its answer.
    pub fn open(target: SocketAddr, numbers: Range<u32>) -> Outcome<Self> {
        let streams = connect(target, numbers)?;
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), Token(usize::MAX))?;
        let mut polled = Vec::with_capacity(streams.len());
        for (at, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true)?;
            let mut stream = Polled::from_std(stream);
            poll.registry().register(&mut stream, Token(at), Interest::READABLE)?;
            polled.push(stream);
        }
        let shared = Arc::new(Shared::default());
        let held = shared.clone();
        let thread = std::thread::spawn(move || hold(poll, polled, &held));
        Ok(Self { shared, waker, thread: Some(thread) })
    }

    /// Connections that the node has closed.
    pub fn closed(&self) -> u64 {
        self.shared.closed.load(Relaxed)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.shared.stops.store(true, Relaxed);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Connects users of these numbers, in their order.
pub fn connect(target: SocketAddr, numbers: Range<u32>) -> Outcome<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(numbers.len());
    for first in numbers.clone().step_by(AT_ONCE) {
        let from = streams.len();
        for number in first..numbers.end.min(first + AT_ONCE as u32) {
            streams.push(begin(target, number)?);
        }
        for stream in &mut streams[from..] {
            finish(stream)?;
        }
    }
    Ok(streams)
}

fn begin(target: SocketAddr, number: u32) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(target)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let (user, device) = (user(number), device(number));
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-CUSTOMER_ID: {user}\r\nX-DEVICE-ID: {device}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    Ok(stream)
}

fn finish(stream: &mut TcpStream) -> Outcome<()> {
    let (mut bytes, mut length) = ([0; 1024], 0);
    while !bytes[..length].ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut bytes[length..])?;
        if read == 0 {
            break;
        }
        length += read;
    }
    if bytes.starts_with(b"HTTP/1.1 101 ") {
        return Ok(());
    }
    Err(format!("a handshake was answered {:?}", String::from_utf8_lossy(&bytes[..length])).into())
}

/// Reads what comes, until it is told to stop.
fn hold(mut poll: Poll, mut streams: Vec<Polled>, shared: &Shared) {
    let (mut events, mut scratch) = (Events::with_capacity(1_024), vec![0; 64 * 1024]);
    while !shared.stops.load(Relaxed) {
        if poll.poll(&mut events, None).is_err_and(|fault| fault.kind() != ErrorKind::Interrupted) {
            return;
        }
        for event in &events {
            let Some(stream) = streams.get_mut(event.token().0) else { continue };
            loop {
                match stream.read(&mut scratch) {
                    Ok(0) => {
                        shared.closed.fetch_add(1, Relaxed);
                        break;
                    }
                    Ok(_) => {}
                    Err(fault) if fault.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        }
    }
}
