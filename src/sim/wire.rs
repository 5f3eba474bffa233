//! A client's side of the protocols, written apart from the server's: it would not share the server's mistakes.

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// One frame as a server sends it: not masked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub op: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn text(text: &str) -> Self {
        Self { op: TEXT, payload: text.into() }
    }

    pub fn close_code(&self) -> Option<u16> {
        let code = self.payload.get(..2).filter(|_| self.op == CLOSE)?;
        Some(u16::from_be_bytes([code[0], code[1]]))
    }
}

/// One masked final frame.
pub fn frame(op: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | op];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

pub fn close(code: u16) -> Vec<u8> {
    frame(CLOSE, &code.to_be_bytes())
}

/// Whole frames from the server; panics on anything else.
pub fn frames(bytes: &[u8]) -> Vec<Frame> {
    let (frames, rest) = split_frames(bytes);
    assert!(rest.is_empty(), "a frame that is cut off");
    frames
}

/// Whole frames from the server, the last of which may have been cut off.
pub fn frames_until_cut(bytes: &[u8]) -> Vec<Frame> {
    split_frames(bytes).0
}

fn split_frames(mut bytes: &[u8]) -> (Vec<Frame>, &[u8]) {
    let mut frames = Vec::new();
    while let &[first, second, ref rest @ ..] = bytes {
        assert_eq!(first & 0xf0, 0x80, "a final frame without extension bits");
        assert!(second < 127, "unmasked, and of a length that tests use");
        let (length, payload) = match (second, rest) {
            (126, &[high, low, ref payload @ ..]) => (usize::from(u16::from_be_bytes([high, low])), payload),
            (126, _) => break,
            (length, payload) => (usize::from(length), payload),
        };
        if payload.len() < length {
            break;
        }
        let (payload, rest) = payload.split_at(length);
        frames.push(Frame { op: first & 15, payload: payload.to_vec() });
        bytes = rest;
    }
    (frames, bytes)
}

/// The data of each event of a stream, whose last chunk may have been cut off; panics when something follows its end.
pub fn events_until_cut(mut bytes: &[u8]) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(line) = bytes.windows(2).position(|window| window == b"\r\n") {
        let Ok(length) = usize::from_str_radix(&String::from_utf8_lossy(&bytes[..line]), 16) else { break };
        let Some((chunk, rest)) = bytes[line + 2..].split_at_checked(length + 2) else { break };
        assert!(length > 0 || rest.is_empty(), "an event after the last chunk");
        let chunk = String::from_utf8_lossy(chunk);
        let data = chunk.lines().filter_map(|line| line.strip_prefix("data: "));
        events.push(data.collect::<Vec<_>>().join("\n"));
        bytes = rest;
    }
    events
}

/// A request to open a WebSocket.
pub fn upgrade(query: &str) -> Vec<u8> {
    upgrade_with(query, "")
}

/// A request to open a WebSocket, with further header lines.
pub fn upgrade_with(query: &str, headers: &str) -> Vec<u8> {
    format!(
        "GET /ws?{query} HTTP/1.1\r\nHost: push\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
    .into_bytes()
}

/// A request for an event stream.
pub fn event_stream(query: &str) -> Vec<u8> {
    get(&format!("/sse?{query}"))
}

pub fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: push\r\n\r\n").into_bytes()
}

/// The status of a response, and what follows its head.
pub fn response(bytes: &[u8]) -> (u16, &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|text| text.get(..3)?.parse().ok());
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    match (status, end) {
        (Some(status), Some(end)) => (status, &bytes[end + 4..]),
        _ => panic!("not a response: {text:?}"),
    }
}
