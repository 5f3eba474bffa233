//! What a server has sent, read strictly and by another hand than the server's: it panics at the first byte that a
//! specification, or our own protocol page, does not allow there.
//!
//! Sources: RFC 9112 for heads and chunks, RFC 6455 and RFC 7692 for frames, WHATWG HTML 9.2 for events.

use super::wire::{BINARY, CLOSE, PING, PONG, TEXT};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::io::Read;

/// Of the key that every simulated client sends (RFC 6455 1.3 has both).
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// One thing that a server said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// The head of a response.
    Head { status: u16 },
    /// A data frame, or a push.
    Message { body: Vec<u8>, binary: bool },
    /// It asks to leave.
    Goaway,
    /// A ping, with its payload.
    Ping(Vec<u8>),
    /// A pong, with its payload.
    Pong(Vec<u8>),
    /// It closes, with this code and text.
    Close { code: Option<u16>, text: String },
    /// The response is over.
    End,
}

/// See the module.
#[derive(Default, Debug)]
pub struct Reader {
    /// The client may have sent another key than it meant to.
    any_key: bool,
    unread: Vec<u8>,
    /// Bytes that have been understood.
    understood: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum State {
    #[default]
    Head,
    Body {
        left: usize,
    },
    Frames {
        deflate: bool,
    },
    /// The first chunk says when to come back, and nothing else does so.
    FirstChunk,
    Chunks,
    LastChunk,
    Over,
}

impl Reader {
    pub fn new(any_key: bool) -> Self {
        Self { any_key, ..Self::default() }
    }

    /// Takes more bytes; what they said, and after how many bytes each of it began.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<(u64, Heard)> {
        self.unread.extend_from_slice(bytes);
        let mut heard = Vec::new();
        let mut all = Vec::new();
        while let Some(used) = self.step(&mut heard) {
            all.extend(heard.drain(..).map(|heard| (self.understood, heard)));
            self.unread.drain(..used);
            self.understood += used as u64;
        }
        all
    }

    /// Whether all that has come was complete.
    pub fn is_between(&self) -> bool {
        let is_inside =
            matches!(self.state, State::Body { left: 1.. } | State::FirstChunk | State::LastChunk);
        self.unread.is_empty() && !is_inside
    }

    /// Whether it was a response that is complete.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Reads one thing; the bytes that it took.
    fn step(&mut self, heard: &mut Vec<Heard>) -> Option<usize> {
        let bytes = std::mem::take(&mut self.unread);
        let used = match self.state {
            State::Head => self.read_head(&bytes, heard),
            State::Body { left } => self.read_body(&bytes, left, heard),
            State::Frames { deflate } => self.read_frame(&bytes, deflate, heard),
            State::FirstChunk | State::Chunks | State::LastChunk => self.read_chunk(&bytes, heard),
            State::Over => {
                assert!(bytes.is_empty(), "after the end: {}", bytes.escape_ascii());
                None
            }
        };
        self.unread = bytes;
        used
    }

    fn read_head(&mut self, bytes: &[u8], heard: &mut Vec<Heard>) -> Option<usize> {
        let start = b"HTTP/1.1 ";
        assert!(bytes.iter().zip(start).all(|(byte, wanted)| byte == wanted), "{}", bytes.escape_ascii());
        let length = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let text = std::str::from_utf8(&bytes[..length]).expect("a head is text");
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.get(9..12)).and_then(|status| status.parse().ok());
        let status = status.expect("a status");
        let headers: Vec<(&str, &str)> = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("not a header line: {line:?}")))
            .inspect(|(name, value)| assert!(!name.contains([' ', '\n']) && !value.contains(['\r', '\n'])))
            .collect();
        let header = |wanted: &str| {
            let mut found = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            let first = found.next();
            assert!(found.next().is_none(), "two headers {wanted}");
            first.map(|(_, value)| *value)
        };
        heard.push(Heard::Head { status });
        self.state = match status {
            101 => {
                assert!(self.any_key || header("Sec-WebSocket-Accept") == Some(ACCEPT), "the accept key");
                assert!(header("Upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")));
                assert!(header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
                State::Frames { deflate: header("Sec-WebSocket-Extensions").is_some_and(is_deflate) }
            }
            200 if header("Transfer-Encoding") == Some("chunked") => {
                assert_eq!(header("Content-Type"), Some("text/event-stream"));
                State::FirstChunk
            }
            204 => State::Body { left: 0 },
            _ => {
                let left = header("Content-Length").and_then(|length| length.parse().ok());
                if status == 503 {
                    let delay: Option<u64> = header("Retry-After").and_then(|delay| delay.parse().ok());
                    assert!(delay.is_none_or(|delay| (1..=60).contains(&delay)));
                }
                State::Body { left: left.expect("a length") }
            }
        };
        Some(length + 4)
    }

    fn read_body(&mut self, bytes: &[u8], left: usize, heard: &mut Vec<Heard>) -> Option<usize> {
        assert!(bytes.len() <= left, "after the body: {}", bytes[left.min(bytes.len())..].escape_ascii());
        self.state = State::Body { left: left - bytes.len() };
        if bytes.len() == left {
            self.state = State::Over;
            heard.push(Heard::End);
        }
        (!bytes.is_empty()).then_some(bytes.len())
    }

    fn read_frame(&mut self, bytes: &[u8], deflate: bool, heard: &mut Vec<Heard>) -> Option<usize> {
        let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
        assert_eq!(first & 0xb0, 0x80, "one final frame, without unknown extension bits");
        assert!(second < 128, "a server does not mask");
        let (op, compressed) = (first & 15, first & 0x40 != 0);
        let (length, rest) = match second {
            126 => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                let length = usize::from(u16::from_be_bytes(*length));
                assert!(length > 125, "a length that is not in its shortest form");
                (length, rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk::<8>()?;
                let length = usize::try_from(u64::from_be_bytes(*length)).expect("a length");
                assert!((0x1_0000..1 << 24).contains(&length), "a length that is not in its shortest form");
                (length, rest)
            }
            length => (usize::from(length), rest),
        };
        assert!(op < CLOSE || length <= 125, "a control frame of {length} bytes");
        assert!(!compressed || deflate && matches!(op, TEXT | BINARY), "compressed without leave");
        let payload = rest.get(..length)?;
        let used = bytes.len() - rest.len() + length;
        let plain = if compressed { inflate(payload) } else { payload.to_vec() };
        heard.push(self.understand(op, plain));
        Some(used)
    }

    fn understand(&mut self, op: u8, payload: Vec<u8>) -> Heard {
        match op {
            TEXT => {
                assert!(std::str::from_utf8(&payload).is_ok(), "text that is not UTF-8");
                if payload == b"_CLOSE_" {
                    return Heard::Goaway;
                }
                Heard::Message { body: payload, binary: false }
            }
            BINARY => Heard::Message { body: payload, binary: true },
            PING => Heard::Ping(payload),
            PONG => Heard::Pong(payload),
            CLOSE => {
                self.state = State::Over;
                let code = payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
                assert!(payload.is_empty() || code.is_some(), "a close frame of one byte");
                assert!(
                    code.is_none_or(|code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)),
                    "close code {code:?}"
                );
                let text = String::from_utf8(payload.get(2..).unwrap_or_default().to_vec());
                Heard::Close { code, text: text.expect("a close reason is text") }
            }
            _ => panic!("opcode {op}"),
        }
    }

    fn read_chunk(&mut self, bytes: &[u8], heard: &mut Vec<Heard>) -> Option<usize> {
        let line = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..line]).ok();
        let size = size.and_then(|text| usize::from_str_radix(text, 16).ok()).expect("the size of a chunk");
        let used = line + 2 + size + 2;
        let chunk = bytes.get(line + 2..used)?;
        assert!(chunk.ends_with(b"\r\n"), "a chunk ends with a line");
        let event = std::str::from_utf8(&chunk[..size]).expect("events are UTF-8");
        match (self.state, size) {
            (State::LastChunk, 0) => {
                self.state = State::Over;
                heard.push(Heard::End);
            }
            (State::FirstChunk, 1..) => {
                let delay = event.strip_prefix("retry: ").and_then(|text| text.strip_suffix("\r\n\r\n"));
                let delay: Option<u64> = delay.and_then(|delay| delay.parse().ok());
                assert!(delay.is_some_and(|delay| (1..60_000).contains(&delay)), "{event:?}");
                self.state = State::Chunks;
            }
            (State::Chunks, 1..) => heard.push(self.understand_event(event)),
            (state, _) => panic!("a chunk of {size} bytes in {state:?}"),
        }
        Some(used)
    }

    fn understand_event(&mut self, text: &str) -> Heard {
        let body = text.strip_suffix("\r\n\r\n").expect("an event ends with an empty line");
        let (mut name, mut data) = ("", Vec::new());
        for line in body.split("\r\n") {
            match line.split_once(": ").unwrap_or_else(|| panic!("not a field: {line:?}")) {
                ("event", value) => name = value,
                ("data", value) => data.push(value),
                ("id" | "retry", _) => {}
                (field, _) => panic!("field {field:?}"),
            }
        }
        let data = data.join("\n");
        match name {
            "push" => Heard::Message { body: data.into_bytes(), binary: false },
            "push.base64" => Heard::Message { body: STANDARD.decode(data).expect("base64"), binary: true },
            "ping" => Heard::Ping(Vec::new()),
            "goaway" => {
                assert_eq!(data, "_CLOSE_");
                Heard::Goaway
            }
            "close" => {
                self.state = State::LastChunk;
                let (code, text) = data.split_once(' ').expect("a close code and a text");
                Heard::Close { code: Some(code.parse().expect("a close code")), text: text.to_owned() }
            }
            _ => panic!("event {name:?}"),
        }
    }
}

fn is_deflate(extensions: &str) -> bool {
    let mut parts = extensions.split("; ");
    assert_eq!(parts.next(), Some("permessage-deflate"));
    let parts: Vec<&str> = parts.collect();
    // The reader below begins anew with each message.
    assert!(parts.contains(&"server_no_context_takeover"), "{extensions}");
    true
}

/// RFC 7692 7.2.2: each message by itself, its tail put back.
fn inflate(payload: &[u8]) -> Vec<u8> {
    let whole = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut plain = Vec::new();
    let mut decoder = flate2::read::DeflateDecoder::new(whole.as_slice());
    let mut buffer = [0; 4_096];
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return plain,
            Ok(count) => plain.extend_from_slice(&buffer[..count]),
            // There is no final block.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return plain,
            Err(error) => panic!("a compressed message: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_the_older_hand_writes_at_any_cut() {
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        );
        let bytes = [head.as_bytes(), b"\x81\x02hi\x89\x00\x81\x07_CLOSE_\x88\x02\x03\xe8"].concat();
        for cut in 0..bytes.len() {
            let mut reader = Reader::default();
            let mut heard = reader.read(&bytes[..cut]);
            heard.extend(reader.read(&bytes[cut..]));
            assert!(heard.windows(2).all(|two| two[0].0 < two[1].0));
            let heard: Vec<Heard> = heard.into_iter().map(|(_, heard)| heard).collect();
            let message = Heard::Message { body: b"hi".to_vec(), binary: false };
            let wanted = [
                Heard::Head { status: 101 },
                message,
                Heard::Ping(Vec::new()),
                Heard::Goaway,
                Heard::Close { code: Some(1000), text: String::new() },
            ];
            assert_eq!(heard, wanted);
            assert!(reader.is_between());
        }
    }

    #[test]
    #[should_panic(expected = "after the end")]
    fn a_frame_after_the_close_frame_is_found() {
        let mut reader = Reader { state: State::Frames { deflate: false }, ..Reader::default() };
        reader.read(b"\x88\x00\x89\x00");
    }

    #[test]
    #[should_panic(expected = "shortest form")]
    fn a_length_that_is_longer_than_it_need_be_is_found() {
        let mut reader = Reader { state: State::Frames { deflate: false }, ..Reader::default() };
        reader.read(b"\x81\x7e\x00\x01x");
    }
}
