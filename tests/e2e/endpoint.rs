//! An endpoint that is asked who clients are, as good or as bad as a test wants it.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

/// What becomes of one question: it is given the request's head, and writes whatever it likes. False: the connection ends.
pub type Manner = Arc<dyn Fn(&str, &mut TcpStream) -> bool + Send + Sync>;

/// A server with a thread for each connection, on a port that it keeps while it is away.
pub struct Endpoint {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

struct Shared {
    manner: Mutex<Manner>,
    heads: Mutex<Vec<String>>,
    connections: Mutex<Vec<TcpStream>>,
    connected: AtomicUsize,
    /// Questions without an answer, and the most at once.
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Endpoint {
    pub fn start(manner: Manner) -> Self {
        let shared = Arc::new(Shared {
            manner: Mutex::new(manner),
            heads: Mutex::default(),
            connections: Mutex::default(),
            connected: AtomicUsize::new(0),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut endpoint = Self { address: listener.local_addr().unwrap(), shared, listening: None };
        endpoint.listen(listener);
        endpoint
    }

    /// `auth.http.url=…`
    pub fn setting(&self) -> String {
        format!("auth.http.url=http://{}/whoami", self.address)
    }

    /// Behaves differently from now on.
    pub fn set(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// Heads of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// How many questions there were so far.
    pub fn asked(&self) -> usize {
        self.shared.heads.lock().unwrap().len()
    }

    /// How many connections there were so far.
    pub fn connected(&self) -> usize {
        self.shared.connected.load(SeqCst)
    }

    /// The most questions that waited for an answer at once.
    pub fn most(&self) -> usize {
        self.shared.most.load(SeqCst)
    }

    /// Is gone: what was connected is cut off, and what comes is refused.
    pub fn die(&mut self) {
        let Some((stop, thread)) = self.listening.take() else { return };
        stop.store(true, SeqCst);
        // Wakes it.
        let _ = TcpStream::connect(self.address);
        thread.join().unwrap();
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Is back at the same address.
    pub fn revive(&mut self) {
        self.listen(TcpListener::bind(self.address).unwrap());
    }

    fn listen(&mut self, listener: TcpListener) {
        let (stop, shared) = (Arc::new(AtomicBool::new(false)), self.shared.clone());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(SeqCst) {
                    return;
                }
                let (stream, shared) = (stream.unwrap(), shared.clone());
                shared.connected.fetch_add(1, SeqCst);
                shared.connections.lock().unwrap().push(stream.try_clone().unwrap());
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        self.listening = Some((stop, thread));
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.die();
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    let (mut buffer, mut chunk) = (Vec::new(), [0; 16 * 1024]);
    loop {
        while let Some(end) = crate::http::find(&buffer, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 4);
            shared.heads.lock().unwrap().push(head.clone());
            let manner = shared.manner.lock().unwrap().clone();
            let now = shared.now.fetch_add(1, SeqCst) + 1;
            shared.most.fetch_max(now, SeqCst);
            let goes_on = manner(&head, &mut stream);
            shared.now.fetch_sub(1, SeqCst);
            if !goes_on {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
        }
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => buffer.extend_from_slice(&chunk[..count]),
            _ => return,
        }
    }
}

/// The value of a header line of a head.
pub fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
    lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Writes a whole answer.
pub fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &str) -> bool {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).is_ok()
}

/// Always the same.
pub fn always(status: &'static str, headers: &'static str, body: &'static str) -> Manner {
    Arc::new(move |_, stream| answer(stream, status, headers, body))
}

/// Bytes as they are, and then the end.
pub fn raw(bytes: &'static [u8]) -> Manner {
    Arc::new(move |_, stream| {
        let _ = stream.write_all(bytes);
        false
    })
}

/// Never answers.
pub fn hang() -> Manner {
    Arc::new(|_, stream| {
        // Until the other end gives up.
        let _ = stream.read(&mut [0; 1]);
        false
    })
}

/// A good one: whoever brings `session=NAME`, or the header `X-CUSTOMER_ID`, is NAME, unless that begins with `bad`.
pub fn good(cache: &'static str, delay: Duration) -> Manner {
    Arc::new(move |head, stream| {
        std::thread::sleep(delay);
        let cookie =
            header(head, "cookie").and_then(|cookies| cookies.split_once("session=")).map(|(_, rest)| rest);
        let bearer = header(head, "authorization").and_then(|line| line.strip_prefix("Bearer "));
        let name = cookie.or(bearer).or(header(head, "x-customer_id")).unwrap_or("bad");
        let name = name.split(';').next().unwrap();
        match name.starts_with("bad") {
            true => answer(stream, "401 Unauthorized", cache, ""),
            false => answer(stream, "200 OK", cache, &format!("{{\"user\":\"{name}\"}}")),
        }
    })
}
