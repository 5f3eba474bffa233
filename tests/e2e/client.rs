//! WebSocket (RFC 6455, RFC 7692) and event stream clients of the tests' own, blocking, with deadlines.

use crate::{
    http::{Answer, Head, Silence, Wire},
    node::{Node, PATIENCE},
};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The sample nonce of RFC 6455 1.3, and what a server makes of it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A frame of the server's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub fin: bool,
    pub compressed: bool,
    pub op: u8,
    pub payload: Vec<u8>,
}

/// An open WebSocket.
pub struct Ws {
    wire: Wire,
    /// The head of its 101.
    pub head: Head,
}

/// The request that asks for a WebSocket.
pub fn upgrade(target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!(
        "GET {target} HTTP/1.1\r\nHost: push.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// A GET with these header lines.
pub fn get(target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {target} HTTP/1.1\r\nHost: push.example\r\n{lines}\r\n").into_bytes()
}

impl Ws {
    /// Connects as a user, with or without a device's name.
    pub fn user(node: &Node, user: &str, device: &str) -> Self {
        let mut headers = vec![("X-CUSTOMER_ID", user)];
        if !device.is_empty() {
            headers.push(("X-DEVICE-ID", device));
        }
        Self::open(node, "/ws", &headers)
    }

    /// Connects with a target and header lines.
    pub fn open(node: &Node, target: &str, headers: &[(&str, &str)]) -> Self {
        Self::try_open(Wire::connect(node.clients), target, headers)
            .unwrap_or_else(|answer| panic!("{target}: {answer:?}"))
    }

    /// Connects over a socket of the caller's; a refusal comes back as it is.
    pub fn try_open(mut wire: Wire, target: &str, headers: &[(&str, &str)]) -> Result<Self, Answer> {
        wire.send(&upgrade(target, headers));
        Self::after_request(wire)
    }

    /// Connects to a server that may be gone, or may refuse.
    pub fn attempt(address: SocketAddr, target: &str) -> Option<Self> {
        let mut wire = Wire::try_connect(address)?;
        let head = wire.try_send(&upgrade(target, &[])).then(|| wire.head().ok())??;
        (head.status == 101).then_some(Self { wire, head })
    }

    /// The request was sent: reads the answer.
    pub fn after_request(mut wire: Wire) -> Result<Self, Answer> {
        let head = wire.head().expect("an answer");
        if head.status == 101 {
            return Ok(Self { wire, head });
        }
        let body = wire.body(&head);
        Err(Answer { status: head.status, headers: head.headers, body })
    }

    /// Sends one frame, masked as a client must.
    pub fn send(&mut self, op: u8, payload: &[u8]) {
        self.wire.send(&masked(true, false, op, payload));
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.wire.send(bytes);
    }

    /// Sends a frame to a server that may be gone.
    pub fn try_send(&mut self, op: u8, payload: &[u8]) -> bool {
        self.wire.try_send(&masked(true, false, op, payload))
    }

    /// The next frame, whatever it is.
    pub fn frame(&mut self, within: Duration) -> Result<Frame, Silence> {
        self.wire.read_until(within, parse_frame)
    }

    /// The next frame that is no ping; pings are answered.
    pub fn next(&mut self, within: Duration) -> Result<Frame, Silence> {
        let deadline = Instant::now() + within;
        loop {
            let frame = self.frame(deadline.saturating_duration_since(Instant::now()))?;
            if frame.op != PING {
                return Ok(frame);
            }
            self.try_send(PONG, &frame.payload);
        }
    }

    /// The next frame, which is one whole text.
    pub fn text(&mut self) -> String {
        let frame = self.next(PATIENCE).unwrap_or_else(|silence| panic!("{silence:?} instead of text"));
        assert!(frame.fin && !frame.compressed && frame.op == TEXT, "{frame:?}");
        String::from_utf8(frame.payload).unwrap()
    }

    /// The next frame, which is a close: code and reason.
    pub fn close_frame(&mut self) -> (u16, String) {
        let frame = self.next(PATIENCE).unwrap_or_else(|silence| panic!("{silence:?} instead of a close"));
        assert_eq!(frame.op, CLOSE, "{frame:?}");
        assert!(frame.payload.len() >= 2, "{frame:?}");
        let code = u16::from_be_bytes([frame.payload[0], frame.payload[1]]);
        (code, String::from_utf8(frame.payload[2..].to_vec()).unwrap())
    }

    /// Asserts that nothing but pings comes for a while.
    pub fn assert_silent(&mut self, time: Duration) {
        let seen = self.next(time);
        assert_eq!(seen, Err(Silence::Late));
    }

    /// Closes in order: frame, answer, end.
    pub fn close(mut self) {
        self.send(CLOSE, &1000u16.to_be_bytes());
        loop {
            match self.next(PATIENCE).expect("an answer to the close") {
                Frame { op: CLOSE, payload, .. } => {
                    assert_eq!(payload, 1000u16.to_be_bytes());
                    break;
                }
                _ => continue,
            }
        }
        self.assert_end();
    }

    /// Asserts that the server closes the socket and sends nothing before.
    pub fn assert_end(&mut self) {
        self.wire.assert_closed();
    }

    /// Says that nothing more will be sent.
    pub fn shut_write(&self) {
        self.wire.shut_write();
    }

    /// Reads and drops everything until the server closes; gives the frames.
    pub fn frames_to_end(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Ok(frame) = self.frame(PATIENCE) {
            frames.push(frame);
        }
        frames
    }
}

/// A client's frame.
pub fn masked(fin: bool, compressed: bool, op: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![(u8::from(fin) << 7) | (u8::from(compressed) << 6) | op];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn parse_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(first & 0x30, 0, "reserved bits");
    assert_eq!(second & 0x80, 0, "a server's frame is not masked");
    let (length, start) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize, 10),
        length => (usize::from(length), 2),
    };
    let minimal = match start {
        4 => length > 125,
        10 => length > 0xffff,
        _ => true,
    };
    assert!(minimal, "the length is in its shortest form");
    let payload = bytes.get(start..start + length)?.to_vec();
    let frame = Frame { fin: first & 0x80 != 0, compressed: first & 0x40 != 0, op: first & 0xf, payload };
    Some((frame, start + length))
}

/// One event, as the WHATWG's algorithm dispatches it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Event {
    pub name: String,
    pub data: String,
    pub id: Option<String>,
    pub retry: Option<u64>,
}

/// An open event stream.
pub struct Sse {
    wire: Wire,
    pub head: Head,
    /// The chunks so far, byte for byte.
    pub raw: Vec<u8>,
    text: String,
}

impl Sse {
    pub fn user(node: &Node, user: &str, device: &str) -> Self {
        let mut headers = vec![("X-CUSTOMER_ID", user)];
        if !device.is_empty() {
            headers.push(("X-DEVICE-ID", device));
        }
        Self::open(node, "/sse", &headers)
    }

    pub fn open(node: &Node, target: &str, headers: &[(&str, &str)]) -> Self {
        Self::on(Wire::connect(node.clients), target, headers)
    }

    /// Connects to a server that may be gone, or may refuse.
    pub fn attempt(address: SocketAddr, target: &str) -> Option<Self> {
        let mut wire = Wire::try_connect(address)?;
        let head = wire.try_send(&get(target, &[])).then(|| wire.head().ok())??;
        (head.status == 200).then(|| Self { wire, head, raw: Vec::new(), text: String::new() })
    }

    pub fn on(mut wire: Wire, target: &str, headers: &[(&str, &str)]) -> Self {
        wire.send(&get(target, headers));
        let head = wire.head().expect("an answer");
        assert_eq!(head.status, 200, "{head:?}");
        Self { wire, head, raw: Vec::new(), text: String::new() }
    }

    /// The next block of lines up to a blank one; None: the last chunk came.
    pub fn block(&mut self, within: Duration) -> Result<Option<Event>, Silence> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(end) = self.text.find("\r\n\r\n") {
                let block: String = self.text.drain(..end + 4).collect();
                return Ok(Some(parse_event(&block)));
            }
            match self.wire.chunk(deadline.saturating_duration_since(Instant::now()))? {
                None => {
                    assert_eq!(self.text, "", "the stream ends between two events");
                    return Ok(None);
                }
                Some(chunk) => {
                    self.raw.extend_from_slice(&chunk);
                    self.text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
                }
            }
        }
    }

    /// The next event that is no ping and has data; the `retry:` of the beginning is passed over.
    pub fn event(&mut self) -> Event {
        loop {
            let block = self.block(PATIENCE).expect("an event").expect("an event, not the end");
            if block.name != "ping" && !block.name.is_empty() {
                return block;
            }
        }
    }

    /// Asserts that the last chunk comes, and the end of the connection after it.
    pub fn assert_end(&mut self) {
        assert_eq!(self.block(PATIENCE), Ok(None), "a proper last chunk");
        self.wire.assert_closed();
    }
}

/// Reads the fields of one event (WHATWG HTML 9.2.6).
fn parse_event(block: &str) -> Event {
    let mut event = Event::default();
    let mut data: Vec<&str> = Vec::new();
    for line in block.split("\r\n").filter(|line| !line.is_empty()) {
        assert!(!line.contains(['\r', '\n']), "every line ends with CRLF: {line:?}");
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => event.name = value.into(),
            "data" => data.push(value),
            "id" => event.id = Some(value.into()),
            "retry" => event.retry = Some(value.parse().unwrap()),
            other => panic!("the field {other:?}"),
        }
    }
    event.data = data.join("\n");
    event
}
