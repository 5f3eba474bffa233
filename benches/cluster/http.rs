//! The smallest HTTP client that keeps its connection: a request, an answer, blocking.

use crate::outcome::Outcome;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A status and a body.
pub struct Answer<'a> {
    pub status: u16,
    /// With the chunks' heads, where it came in chunks.
    pub body: &'a [u8],
}

/// A kept connection.
pub struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { stream, request: Vec::new(), answer: Vec::new() })
    }

    /// Sends a request and waits for the whole answer.
    pub fn ask(&mut self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Outcome<Answer<'_>> {
        self.request.clear();
        let length = body.len();
        write!(self.request, "{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\n")?;
        write!(self.request, "Content-Length: {length}\r\n\r\n")?;
        self.request.extend_from_slice(body);
        self.stream.write_all(&self.request)?;
        self.answer.clear();
        let mut piece = [0; 64 * 1024];
        loop {
            let length = self.stream.read(&mut piece)?;
            if length == 0 {
                return Err("the internal port has closed the connection".into());
            }
            self.answer.extend_from_slice(&piece[..length]);
            if let Some((status, from)) = complete(&self.answer)? {
                return Ok(Answer { status, body: &self.answer[from..] });
            }
        }
    }
}

/// The status and where the body begins, when all of the answer is there.
fn complete(bytes: &[u8]) -> Outcome<Option<(u16, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(from) = head.parse(bytes)? else { return Ok(None) };
    let header = |name: &str| head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    let is_whole = match header("content-length") {
        Some(length) => bytes.len() - from >= std::str::from_utf8(length.value)?.parse()?,
        None => bytes.ends_with(b"\r\n0\r\n\r\n"),
    };
    Ok(is_whole.then_some((head.code.unwrap_or(0), from)))
}
