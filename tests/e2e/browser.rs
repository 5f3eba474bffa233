//! A headless Chromium with one page, which the test gives scripts to run, and which reports what it saw.
//!
//! The page comes from a small HTTP server of the test's own. It asks that server for scripts, one after the other, and posts
//! its reports to it: no protocol of the browser's own is involved.

use crate::node::PATIENCE;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};
use tempfile::TempDir;

/// Names under which distributions have it.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// What it says on standard error, in its profile.
const LOG: &str = "log";
const OPTIONS: [&str; 11] = [
    "--headless=new",
    // Its sandbox refuses to work for root, and in many containers. The only page is ours.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
];

/// Runs what it is given, and reports in order.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><script>
  let said = Promise.resolve();
  const say = (kind, body = "") => {
    said = said.then(() => fetch("/say?" + encodeURIComponent(kind), { method: "POST", body }));
  };
  addEventListener("error", ({ message }) => say("failed", message));
  addEventListener("unhandledrejection", ({ reason }) => say("failed", String(reason)));
  (async () => {
    for (;;) (0, eval)(await (await fetch("/next")).text());
  })();
</script>"#;

/// A browser with a profile of its own, ended when it goes out of scope.
pub struct Browser {
    child: Child,
    profile: TempDir,
}

impl Browser {
    /// Starts it; the last of these arguments is what it opens.
    pub fn start(arguments: &[&str]) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut user_data = std::ffi::OsString::from("--user-data-dir=");
        user_data.push(profile.path());
        for name in NAMES {
            let mut command = Command::new(name);
            command.args(OPTIONS).arg(&user_data).args(arguments);
            let log = File::create(profile.path().join(LOG)).unwrap();
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            // A group of its own, so that its helpers end with it.
            if let Ok(child) = command.process_group(0).spawn() {
                return Self { child, profile };
            }
        }
        panic!("no browser: install chromium");
    }

    /// What a file of its profile holds.
    pub fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.profile.path().join(name)).ok()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.child.id())]).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the browser's log ---\n{}", self.file(LOG).unwrap_or_default());
        }
    }
}

/// What the page's own backend answers to a POST to `/ticket`.
pub type Backend = Arc<dyn Fn() -> String + Send + Sync>;

/// A page, open until it goes out of scope.
pub struct Page {
    address: SocketAddr,
    scripts: Sender<String>,
    reports: Receiver<(String, Vec<u8>)>,
    /// Once it is started.
    browser: Option<Browser>,
}

impl Page {
    /// Its server, which knows the origin before the browser starts; each of its answers sets this cookie, unless it is empty.
    pub fn serve(cookie: &str) -> Self {
        Self::serve_with(cookie, Arc::new(String::new))
    }

    /// The same, with a backend that gives tickets.
    pub fn serve_with(cookie: &str, backend: Backend) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (scripts, to_run) = channel();
        let (report, reports) = channel();
        let to_run = Arc::new(Mutex::new(to_run));
        let cookie = if cookie.is_empty() { String::new() } else { format!("Set-Cookie: {cookie}\r\n") };
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                let (report, to_run, cookie) = (report.clone(), to_run.clone(), cookie.clone());
                let backend = backend.clone();
                // A browser opens connections ahead of need: one that is idle must not hold up the others.
                std::thread::spawn(move || serve(tcp.ok()?, &report, &to_run, &cookie, &backend));
            }
        });
        Self { address, scripts, reports, browser: None }
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts the browser on the page.
    pub fn open(mut self) -> Self {
        self.browser = Some(Browser::start(&[&self.origin()]));
        self
    }

    /// Has the page run a script, after those before it.
    pub fn run(&self, script: &str) {
        self.scripts.send(script.to_owned()).unwrap();
    }

    /// The next report: what happened, and what it came with.
    pub fn next(&self) -> (String, Vec<u8>) {
        self.reports.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no report within {PATIENCE:?}"))
    }

    /// The next report, which is of this kind.
    pub fn bytes(&self, kind: &str) -> Vec<u8> {
        let (had, body) = self.next();
        assert_eq!(had, kind, "{:?}", String::from_utf8_lossy(&body[..body.len().min(200)]));
        body
    }

    /// The same as text.
    pub fn text(&self, kind: &str) -> String {
        String::from_utf8(self.bytes(kind)).unwrap()
    }

    /// Asserts that the page reports nothing for a while.
    pub fn assert_silent(&self, time: Duration) {
        if let Ok((kind, body)) = self.reports.recv_timeout(time) {
            panic!("{kind} {:?}", String::from_utf8_lossy(&body));
        }
    }
}

/// Answers one request, and closes.
fn serve(
    mut tcp: TcpStream,
    report: &Sender<(String, Vec<u8>)>,
    to_run: &Mutex<Receiver<String>>,
    cookie: &str,
    backend: &Backend,
) -> Option<()> {
    let mut reader = BufReader::new(tcp.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let target = head.split(' ').nth(1)?;
    let answer = match target.split_once('?') {
        Some(("/say", kind)) => {
            let _ = report.send((kind.replace("%20", " "), body));
            String::new()
        }
        // Waits for the next script; at the end of the test there is none, and nobody who asks.
        _ if target == "/next" => to_run.lock().unwrap().recv().ok()?,
        _ if target == "/ticket" => backend(),
        _ => PAGE.to_owned(),
    };
    // A backend that has nothing to say is away.
    let status = if target == "/ticket" && answer.is_empty() { "503 Away" } else { "200 OK" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n{cookie}Connection: close\r\n\r\n",
        answer.len()
    );
    tcp.write_all(&[head.as_bytes(), answer.as_bytes()].concat()).ok()
}
