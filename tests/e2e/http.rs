//! A small HTTP/1.1 client over one socket: reads heads, bodies by length, by chunks and to the end.

use crate::node::PATIENCE;
use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// A socket with a buffer of what was read and not yet used, whose reads have a deadline.
pub struct Wire {
    tcp: TcpStream,
    buffer: Vec<u8>,
}

/// What the head of an answer says.
#[derive(Clone, Debug)]
pub struct Head {
    pub status: u16,
    pub headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Why nothing came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silence {
    /// The other end has closed, in order or by a reset.
    Closed,
    /// Nothing in time.
    Late,
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    /// To a server that may be gone.
    pub fn try_connect(address: SocketAddr) -> Option<Self> {
        TcpStream::connect(address).ok().map(Self::new)
    }

    /// From an address of this host's own.
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::new(socket.into())
    }

    /// With little room in the kernel for what comes, so that a client that does not read is a slow one at once.
    pub fn connect_narrow(address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::new(socket.into())
    }

    fn new(tcp: TcpStream) -> Self {
        tcp.set_nodelay(true).unwrap();
        Self { tcp, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.tcp.write_all(bytes).unwrap();
    }

    /// Sends to a peer that may have closed already.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.tcp.write_all(bytes).is_ok()
    }

    /// Says that nothing more will be sent.
    pub fn shut_write(&self) {
        let _ = self.tcp.shutdown(std::net::Shutdown::Write);
    }

    /// Reads some more.
    pub fn fill(&mut self, deadline: Instant) -> Result<(), Silence> {
        let mut chunk = [0; 64 * 1024];
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.tcp.set_read_timeout(Some(left)).unwrap();
        match self.tcp.read(&mut chunk) {
            Ok(0) => Err(Silence::Closed),
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(Silence::Late)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(_) => Err(Silence::Closed),
        }
    }

    /// Reads until something is found in the buffer; says how many bytes it takes.
    pub fn read_until<T>(
        &mut self,
        within: Duration,
        mut find: impl FnMut(&[u8]) -> Option<(T, usize)>,
    ) -> Result<T, Silence> {
        let deadline = Instant::now() + within;
        loop {
            if let Some((found, used)) = find(&self.buffer) {
                self.buffer.drain(..used);
                return Ok(found);
            }
            self.fill(deadline)?;
        }
    }

    /// Reads the head of an answer.
    pub fn head(&mut self) -> Result<Head, Silence> {
        self.read_until(PATIENCE, |bytes| {
            let end = find(bytes, b"\r\n\r\n")?;
            Some((parse_head(std::str::from_utf8(&bytes[..end]).unwrap()), end + 4))
        })
    }

    /// Reads the body that a head announces.
    pub fn body(&mut self, head: &Head) -> Vec<u8> {
        self.try_body(head).expect("the whole body")
    }

    /// The same from a server that may end in the middle.
    pub fn try_body(&mut self, head: &Head) -> Result<Vec<u8>, Silence> {
        if head.status < 200 || head.status == 204 || head.status == 304 {
            return Ok(Vec::new());
        }
        if head.header("transfer-encoding") == Some("chunked") {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk(PATIENCE)? {
                body.extend_from_slice(&chunk);
            }
            return Ok(body);
        }
        match head.header("content-length").map(|length| length.parse::<usize>().unwrap()) {
            Some(length) => self.read_until(PATIENCE, |bytes| {
                (bytes.len() >= length).then(|| (bytes[..length].to_vec(), length))
            }),
            None => {
                self.read_to_end(PATIENCE);
                Ok(std::mem::take(&mut self.buffer))
            }
        }
    }

    /// Reads one chunk of a chunked body (RFC 9112 7.1); None: the last.
    pub fn chunk(&mut self, within: Duration) -> Result<Option<Vec<u8>>, Silence> {
        self.read_until(within, |bytes| {
            let line = find(bytes, b"\r\n")?;
            let digits = std::str::from_utf8(&bytes[..line]).unwrap();
            let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("chunk size {digits:?}"));
            let end = line + 2 + size;
            let after = bytes.get(end..end + 2)?;
            assert_eq!(after, b"\r\n", "a chunk ends with CRLF");
            Some(((size > 0).then(|| bytes[line + 2..end].to_vec()), end + 2))
        })
    }

    pub fn answer(&mut self) -> Result<Answer, Silence> {
        let head = self.head()?;
        let body = self.try_body(&head)?;
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Reads on until the other end closes; says whether it did.
    pub fn read_to_end(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            match self.fill(deadline) {
                Ok(()) => {}
                Err(Silence::Closed) => return true,
                Err(Silence::Late) => return false,
            }
        }
    }

    /// Everything that still comes until the other end closes.
    pub fn rest(&mut self, within: Duration) -> Vec<u8> {
        assert!(self.read_to_end(within), "the server does not close");
        std::mem::take(&mut self.buffer)
    }

    /// Asserts that the other end closes and that nothing more comes before.
    pub fn assert_closed(&mut self) {
        assert!(self.read_to_end(PATIENCE), "the server does not close");
        assert_eq!(String::from_utf8_lossy(&self.buffer), "", "nothing may follow");
    }

    /// A request on this connection, kept open where the server keeps it.
    pub fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let answer = self.try_ask(method, target, headers, body);
        answer.unwrap_or_else(|silence| panic!("{method} {target}: {silence:?}"))
    }

    /// The same of a server that may be gone.
    pub fn try_ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Silence> {
        let host = self.tcp.peer_addr().map_err(|_| Silence::Closed)?.to_string();
        if !self.try_send(&request_bytes(&host, method, target, headers, body)) {
            return Err(Silence::Closed);
        }
        self.answer()
    }
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        lookup(&self.headers, name)
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        lookup(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} {:?}", self.status, self.text()))
    }
}

/// One request on a connection of its own.
pub fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    Wire::connect(address).ask(method, target, headers, body)
}

pub fn request_bytes(
    host: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    if !body.is_empty() || method == "POST" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

fn parse_head(text: &str) -> Head {
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").unwrap();
    let status = status.get(..3).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    Head { status, headers: lines.map(header).collect() }
}

fn lookup<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    let mut found = headers.iter().filter(|(had, _)| had == name).map(|(_, value)| value.as_str());
    let first = found.next();
    assert!(found.next().is_none(), "{name} is there twice");
    first
}

/// Where one string of bytes begins in another.
pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
