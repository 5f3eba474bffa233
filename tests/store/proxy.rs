//! A proxy between the store and a server that spoils replies.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// What may happen to a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    Drop,
    Duplicate,
    /// It comes behind the next one.
    Swap,
    Delay(Duration),
    /// Byte by byte, with so long between them: no read ever waits long.
    Dribble(Duration),
}

/// What happens when.
#[derive(Default)]
struct Plan {
    /// To the next replies that are echoes of requests, in this order.
    next: Vec<Fault>,
    /// To every reply from now on.
    always: Option<Fault>,
    /// One in so many is spoilt, by chance.
    one_in: Option<u32>,
    /// How long requests are kept.
    request_delay: Duration,
    /// Nothing gets through, either way, and no connection is made; nobody is told.
    is_cut: bool,
    random: fastrand::Rng,
}

/// See the module. It lives as long as the process: its threads end with their connections.
pub struct Proxy {
    port: u16,
    plan: Arc<Mutex<Plan>>,
}

impl Proxy {
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan: Arc<Mutex<Plan>> = Arc::default();
        let shared = plan.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                wait_for_network(&shared);
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                }
                let (back, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (requests, replies) = (shared.clone(), shared.clone());
                thread::spawn(move || carry_requests(client, to, &requests));
                thread::spawn(move || carry_replies(server, back, &replies));
            }
        });
        Self { port, plan }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn spoil_next(&self, faults: &[Fault]) {
        self.plan.lock().unwrap().next = faults.to_vec();
    }

    pub fn spoil_all(&self, fault: Option<Fault>) {
        self.plan.lock().unwrap().always = fault;
    }

    pub fn spoil_one_in(&self, one_in: Option<u32>) {
        self.plan.lock().unwrap().one_in = one_in;
    }

    pub fn delay_requests(&self, time: Duration) {
        self.plan.lock().unwrap().request_delay = time;
    }

    /// Cuts the network. What is sent meanwhile arrives when it is there again, as TCP sees to it.
    pub fn cut(&self, is_cut: bool) {
        self.plan.lock().unwrap().is_cut = is_cut;
    }
}

fn wait_for_network(plan: &Mutex<Plan>) {
    while plan.lock().unwrap().is_cut {
        thread::sleep(Duration::from_millis(10));
    }
}

fn carry_requests(mut from: TcpStream, mut to: TcpStream, plan: &Mutex<Plan>) {
    let mut room = [0; 65_536];
    while let Ok(length) = from.read(&mut room) {
        let delay = plan.lock().unwrap().request_delay;
        thread::sleep(delay);
        wait_for_network(plan);
        // What was on its way arrives, whether or not its sender is there to see it.
        if length == 0 || to.write_all(&room[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn carry_replies(mut from: TcpStream, mut to: TcpStream, plan: &Mutex<Plan>) {
    let (mut held, mut bytes, mut room) = (None::<Vec<u8>>, Vec::new(), [0; 65_536]);
    while let Ok(length @ 1..) = from.read(&mut room) {
        wait_for_network(plan);
        bytes.extend_from_slice(&room[..length]);
        while let Some(end) = reply_end(&bytes) {
            let reply: Vec<u8> = bytes.drain(..end).collect();
            let mut out = reply.clone();
            match fault(&reply, plan) {
                Some(Fault::Drop) => out.clear(),
                Some(Fault::Duplicate) => out.extend_from_slice(&reply),
                Some(Fault::Swap) if held.is_none() => {
                    held = Some(reply);
                    continue;
                }
                Some(Fault::Delay(time)) => thread::sleep(time),
                Some(Fault::Dribble(pause)) => {
                    for byte in out.drain(..) {
                        thread::sleep(pause);
                        let _ = to.write_all(&[byte]);
                    }
                }
                _ => {}
            }
            out.extend(held.take().unwrap_or_default());
            if to.write_all(&out).is_err() {
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// Only replies to requests are spoilt: arrays of at least three that are not about a master's mark.
fn fault(reply: &[u8], plan: &Mutex<Plan>) -> Option<Fault> {
    let is_mark = reply.windows(14).any(|part| part == b"holdfast:mark:");
    if reply[0] != b'*' || reply.starts_with(b"*2\r\n") || is_mark {
        return None;
    }
    let mut plan = plan.lock().unwrap();
    if !plan.next.is_empty() {
        return Some(plan.next.remove(0));
    }
    if plan.always.is_some() {
        return plan.always;
    }
    let one_in = plan.one_in?;
    if plan.random.u32(..one_in) > 0 {
        return None;
    }
    Some(match plan.random.u8(..4) {
        0 => Fault::Drop,
        1 => Fault::Duplicate,
        2 => Fault::Swap,
        _ => Fault::Delay(Duration::from_millis(20)),
    })
}

/// Where the first reply ends, if it is whole.
fn reply_end(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let number = || std::str::from_utf8(&bytes[1..line - 2]).unwrap().parse::<i64>().unwrap();
    match bytes[0] {
        b'$' => {
            let end = if number() < 0 { line } else { line + number() as usize + 2 };
            (end <= bytes.len()).then_some(end)
        }
        b'*' => (0..number()).try_fold(line, |at, _| Some(at + reply_end(&bytes[at..])?)),
        _ => Some(line),
    }
}
