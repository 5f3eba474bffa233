//! The least a server can do: it accepts, answers a fixed head, keeps the descriptor in epoll, and writes one message after the
//! other to every connection. A process of its own.

use crate::{
    message::{self, ANYBODY, FRAME, HEAD, LENGTH, Said},
    outcome::Outcome,
};
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
    unix::SourceFd,
};
use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

/// The argument that makes this program the server.
pub const COMMAND: &str = "null-server";

const LISTENER: Token = Token(usize::MAX);
const ORDERS: Token = Token(usize::MAX - 1);
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// One that runs. Killed when it goes out of scope.
pub struct NullServer {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub address: SocketAddr,
}

impl NullServer {
    pub fn start() -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take().ok_or("no way in")?;
        let mut answers = BufReader::new(child.stdout.take().ok_or("no way out")?);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        Ok(Self { child, orders, answers, address: line.trim().parse()? })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes so many messages to each connection, and returns when all are written. `step`: after a connection comes not the
    /// next one but the one so far behind it; it must have no divisor in common with their number.
    pub fn broadcast(&mut self, messages: u64, step: usize) -> Outcome<()> {
        writeln!(self.orders, "{messages} {step}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() { Err("the null server has ended".into()) } else { Ok(()) }
    }
}

impl Drop for NullServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server, until nobody gives it orders any more.
pub fn run() -> Outcome<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    println!("{}", listener.local_addr()?);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1_024));
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    poll.registry().register(&mut SourceFd(&0), ORDERS, Interest::READABLE)?;
    let (mut streams, mut scratch) = (Vec::<TcpStream>::new(), vec![0; 64 * 1024]);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => accept(&listener, &poll, &mut streams)?,
                ORDERS => {
                    let mut line = String::new();
                    if std::io::stdin().read_line(&mut line)? == 0 {
                        return Ok(());
                    }
                    let (messages, step) = line.trim().split_once(' ').ok_or("no order")?;
                    broadcast(&mut streams, messages.parse()?, step.parse()?)?;
                    println!("done");
                }
                Token(at) => {
                    if streams[at]
                        .read(&mut scratch)
                        .is_ok_and(|length| scratch[..length].starts_with(b"GET "))
                    {
                        streams[at].write_all(ANSWER)?;
                    }
                }
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, streams: &mut Vec<TcpStream>) -> Outcome<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                poll.registry().register(&mut stream, Token(streams.len()), Interest::READABLE)?;
                streams.push(stream);
            }
            Err(fault) if fault.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(fault) => return Err(fault.into()),
        }
    }
}

fn broadcast(streams: &mut [TcpStream], messages: u64, step: usize) -> Outcome<()> {
    let (mut frame, mut text) = ([0; FRAME], [0; LENGTH]);
    message::write(Said { user: ANYBODY, number: 0, sent_us: 0, lane: b'n' }, &mut text);
    frame[..HEAD.len()].copy_from_slice(&HEAD);
    frame[HEAD.len()..].copy_from_slice(&text);
    for _ in 0..messages {
        for at in 0..streams.len() {
            let at = at * step % streams.len();
            let stream = &mut streams[at];
            // A client that is far behind is waited for: what is not read is no throughput.
            while stream.write(&frame).is_err_and(|fault| fault.kind() == ErrorKind::WouldBlock) {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
    Ok(())
}
