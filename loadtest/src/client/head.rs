//! The request that opens a connection, and the head of its answer (RFC 9112, RFC 6455 4).

use super::{Fault, Protocol};
use crate::message::shown;
use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};
use std::io::Write;

/// What a server appends to the key before it hashes it (RFC 6455 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// More header lines than any answer has.
const HEADERS_MAX: usize = 64;
/// A longer head is not waited for, bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What to speak.
    pub protocol: Protocol,
    /// The path; None: the protocol's own.
    pub path: Option<&'a str>,
    /// The name of the server.
    pub host: &'a str,
    /// Header and name of the user; None: nobody.
    pub user: Option<(&'a str, std::fmt::Arguments<'a>)>,
    /// Header and name of the device.
    pub device: Option<(&'a str, &'a str)>,
    /// Makes the WebSocket's key; the answer is checked against the same.
    pub nonce: u128,
}

/// Appends a request.
pub fn write(out: &mut Vec<u8>, request: &Request<'_>) {
    let own = match request.protocol {
        Protocol::WebSocket => "/ws",
        Protocol::Sse => "/sse",
    };
    let path = request.path.unwrap_or(own);
    // Writing to a Vec can not fail.
    let _ = write!(out, "GET {path} HTTP/1.1\r\nHost: {}\r\n", request.host);
    if let Some((name, user)) = request.user {
        let _ = write!(out, "{name}: {user}\r\n");
    }
    if let Some((name, device)) = request.device {
        let _ = write!(out, "{name}: {device}\r\n");
    }
    let _ = match request.protocol {
        Protocol::WebSocket => write!(
            out,
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n\r\n",
            key(request.nonce)
        ),
        Protocol::Sse => write!(out, "Accept: text/event-stream\r\n\r\n"),
    };
}

/// What the server answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The connection is open.
    Open,
    /// The connection was refused with this status; 200 for an event stream that only says when to come back.
    Refused(u16),
}

/// Reads the head of an answer, and says how many bytes it takes; None when it is not complete.
///
/// # Errors
/// When it is no answer to the request.
pub fn read(bytes: &[u8], protocol: Protocol, nonce: u128) -> Result<Option<(Answer, usize)>, Fault> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let used = match response.parse(bytes) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("an answer whose head does not end".into()),
        Err(_) => return Err(Fault(format!("no HTTP answer: {}", shown(bytes)))),
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map_or("", |header| std::str::from_utf8(header.value).unwrap_or("").trim())
    };
    let answer = match (protocol, response.code.unwrap_or(0)) {
        (Protocol::WebSocket, 101) => {
            let expected = accept(nonce);
            if header("sec-websocket-accept") != expected {
                return Err(Fault(format!("a 101 whose Sec-WebSocket-Accept is not {expected}")));
            }
            if !header("upgrade").eq_ignore_ascii_case("websocket")
                || !header("connection").to_ascii_lowercase().contains("upgrade")
                || !header("sec-websocket-extensions").is_empty()
                || !header("sec-websocket-protocol").is_empty()
            {
                return Err("a 101 that does not agree to what was asked".into());
            }
            Answer::Open
        }
        (Protocol::Sse, 200) if header("transfer-encoding").eq_ignore_ascii_case("chunked") => {
            if !header("content-type").starts_with("text/event-stream") {
                return Err(Fault(format!("an event stream of type {:?}", header("content-type"))));
            }
            Answer::Open
        }
        (_, status) => Answer::Refused(status),
    };
    Ok(Some((answer, used)))
}

fn key(nonce: u128) -> String {
    STANDARD.encode(nonce.to_be_bytes())
}

fn accept(nonce: u128) -> String {
    let mut hash = Sha1::new();
    hash.update(key(nonce).as_bytes());
    hash.update(GUID);
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_of_the_rfc_is_accepted() {
        // "the sample nonce", RFC 6455 1.3.
        let nonce = u128::from_be_bytes(*b"the sample nonce");
        assert_eq!(key(nonce), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(nonce), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn answers_are_read() {
        let good = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n\x01",
            accept(1)
        );
        for cut in 0..good.len() - 1 {
            assert_eq!(read(&good.as_bytes()[..cut], Protocol::WebSocket, 1), Ok(None));
        }
        assert_eq!(read(good.as_bytes(), Protocol::WebSocket, 1), Ok(Some((Answer::Open, good.len() - 1))));
        assert!(read(good.as_bytes(), Protocol::WebSocket, 2).is_err());
        let shed = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 15\r\n\r\n";
        assert_eq!(read(shed, Protocol::Sse, 1), Ok(Some((Answer::Refused(200), shed.len()))));
        let page = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(read(page, Protocol::WebSocket, 1), Ok(Some((Answer::Refused(200), page.len()))));
        assert!(read(b"SSH-2.0-OpenSSH_9.6\r\n", Protocol::Sse, 1).is_err());
    }
}
