//! The internal port: senders push here, operators look and act here.
//!
//! Owns one thread with a small async runtime and hyper's HTTP/1 server on it; no other part of the node speaks HTTP to
//! senders. It knows connections only through the router, and no client socket. Everything is bounded: connections by
//! [`CONNECTIONS_MAX`], heads and bodies in size and time, messages in flight for each request.

mod app;
mod audit;
mod broadcast;
mod connection;
mod deliver;
mod demo;
mod events;
mod fleet;
mod gate;
mod lanes;
mod lifetimes;
mod messages;
mod node;
mod openapi;
mod page;
mod push;
mod reply;
mod request;
mod routes;
mod session;
mod sessions;
mod tickets;
mod timestamp;
mod users;

#[cfg(test)]
mod tests;

pub use tickets::MakeTicket;

use crate::{
    bridge::{Brakes, Broadcasts, DrainSwitch, Router, peers::Peers},
    clock::Clock,
    config::Token,
    directory::Blocks,
    stats::NodeStats,
};
use app::App;
pub use app::Live;
use connection::{Seconds, Watch, WatchedStream};
use gate::Gate;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{Notify, oneshot},
    task::AbortHandle,
    time::MissedTickBehavior,
};

/// Connections to the internal port at once. When one more comes, the one that has been in the middle of a head longest is
/// closed for it, else the one that has been without a request longest; when every one has a request, the new one is closed.
pub const CONNECTIONS_MAX: usize = 1_024;
/// The largest request head, bytes; then 431.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The largest read buffer of a connection, bytes.
const READ_BYTES_MAX: usize = 64 * 1024;
/// How long open requests may go on once the port is told to stop.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// Between two looks at whether they are done.
const STOP_LOOK: Duration = Duration::from_millis(10);

/// The parts of the node that the internal port acts on.
pub struct Control {
    /// From users to shards.
    pub router: Arc<Router>,
    /// Broadcasts under way.
    pub broadcasts: Arc<Broadcasts>,
    /// What the lanes of the queue are told.
    pub brakes: Arc<Brakes>,
    /// Begins and takes back a drain.
    pub drain: Arc<DrainSwitch>,
    /// What the node counts.
    pub stats: Arc<NodeStats>,
    /// Users who are kept out.
    pub blocks: Arc<Blocks>,
    /// Makes tickets for clients.
    pub tickets: Box<MakeTicket>,
    /// The node's clocks.
    pub clock: Clock,
    /// Turns collapse keys into numbers: one seed for the node, which no sender knows.
    pub collapse_seed: foldhash::fast::RandomState,
    /// The way to other nodes; None: this one is alone.
    pub peers: Option<Arc<Peers>>,
    /// Where clients connect, with the real ports.
    pub clients: Vec<SocketAddr>,
}

/// The running internal port.
pub struct ControlThread {
    app: Arc<App>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl ControlThread {
    /// Serves requests by another configuration from now on.
    pub fn replace(&self, live: Live) {
        self.app.replace(live);
    }

    /// Takes other tokens from now on.
    pub fn replace_tokens(&self, tokens: Vec<Token>) {
        self.app.gate.replace_tokens(tokens);
        self.app.feed.look();
    }

    /// Takes no more connections, lets open requests finish for up to a second, and waits for the thread.
    pub fn stop(self) {
        // An error says that the thread has ended by itself, or panicked: then that was reported already.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// Starts the thread on a bound listener.
///
/// # Errors
/// When the runtime or the thread cannot be made.
pub fn spawn(listener: TcpListener, live: Live, control: Control) -> io::Result<ControlThread> {
    let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let gate = Gate::new(live.config(), host_name.as_deref().map(str::trim));
    let app = Arc::new(App::new(control, gate, live, fastrand::u64(..)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    listener.set_nonblocking(true)?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let (stop, stopped) = oneshot::channel();
    let port = Port {
        app: app.clone(),
        http: http(),
        seconds: Arc::new(Seconds::start()),
        open: Vec::new(),
        turned_away: 0,
    };
    let thread = std::thread::Builder::new()
        .name("control".into())
        .spawn(move || runtime.block_on(port.run(listener, stopped)))?;
    Ok(ControlThread { app, stop, thread })
}

/// Wakes the shards once for all messages that the requests of one turn of the runtime have posted: this task is run after
/// those that were ready before it.
async fn wake_shards(app: Arc<App>) {
    let posted = Arc::new(Notify::new());
    let hook = posted.clone();
    app.control.router.wake_by(move || hook.notify_one());
    loop {
        posted.notified().await;
        app.control.router.wake();
    }
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // The time limits are in `connection`: hyper's own would arm a timer for every request. Not `pipeline_flush`: it
    // holds back what is answered to a request that cannot be read.
    http.header_read_timeout(None).max_header_size(HEAD_BYTES_MAX).max_buf_size(READ_BYTES_MAX);
    http
}

/// The accepting side.
struct Port {
    app: Arc<App>,
    http: http1::Builder,
    seconds: Arc<Seconds>,
    open: Vec<Open>,
    /// Senders for whom there was no room within this second.
    turned_away: u64,
}

struct Open {
    watch: Arc<Watch>,
    task: AbortHandle,
}

impl Port {
    async fn run(mut self, listener: tokio::net::TcpListener, mut stopped: oneshot::Receiver<()>) {
        let waker = tokio::spawn(wake_shards(self.app.clone()));
        let feed = tokio::spawn(self.app.feed.clone().run(self.app.clone()));
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.serve(stream, peer),
                    // A connection that was gone before it was taken, or no descriptor: others may still be closed.
                    Err(fault) => {
                        tracing::warn!(%fault, "cannot accept on the internal port");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                _ = second.tick() => self.sweep(),
                // The handle's drop is a stop too.
                _ = &mut stopped => break,
            }
        }
        drop(listener);
        self.app.feed.close();
        feed.abort();
        self.finish().await;
        waker.abort();
    }

    fn serve(&mut self, stream: TcpStream, peer: SocketAddr) {
        if !self.make_room() {
            self.turned_away += 1;
            return;
        }
        // An error here is that of a connection which is gone; the first read says so too.
        let _ = stream.set_nodelay(true);
        let watch = Arc::new(Watch::new(self.seconds.clone()));
        let connection = serve(&self.http, self.app.clone(), stream, peer.ip().to_canonical(), watch.clone());
        let task = tokio::spawn(connection).abort_handle();
        self.open.push(Open { watch, task });
    }

    fn make_room(&mut self) -> bool {
        if self.open.len() < CONNECTIONS_MAX {
            return true;
        }
        self.open.retain(|open| !open.task.is_finished());
        if self.open.len() < CONNECTIONS_MAX {
            return true;
        }
        let idle = self.open.iter().enumerate().filter(|(_, open)| open.watch.has_no_request());
        // A head comes in one piece from those who mean to go on: who is still in the middle of one goes first.
        let longest =
            idle.min_by_key(|(_, open)| (open.watch.is_idle(), open.watch.since())).map(|(at, _)| at);
        longest.map(|at| self.open.swap_remove(at).task.abort()).is_some()
    }

    /// Once a second: cuts off who is overdue, counts who uses the page and what was answered after its sender had left, and
    /// says who found no room: a flood of senders must not become a flood of lines.
    fn sweep(&mut self) {
        let now = self.seconds.advance();
        self.open.retain(|open| {
            if open.watch.is_overdue(now) {
                open.task.abort();
            }
            !open.task.is_finished()
        });
        let turned_away = std::mem::take(&mut self.turned_away);
        if turned_away > 0 {
            tracing::warn!(
                turned_away,
                "the internal port is full: each of its connections has a request under way"
            );
        }
        let stats = &self.app.control.stats;
        stats.set_page_watchers(self.app.feed.watchers() as u64);
        stats.set_page_sessions(self.app.gate.sessions() as u64);
        self.app.control.router.reap();
        self.app.control.broadcasts.reap(stats);
    }

    async fn finish(mut self) {
        let deadline = tokio::time::Instant::now() + STOP_GRACE;
        loop {
            self.open.retain(|open| {
                if open.watch.may_end() {
                    open.task.abort();
                }
                !open.task.is_finished()
            });
            if self.open.is_empty() || tokio::time::Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(STOP_LOOK).await;
        }
        self.open.iter().for_each(|open| open.task.abort());
        tokio::task::yield_now().await;
        self.app.control.router.reap();
        self.app.control.broadcasts.reap(&self.app.control.stats);
    }
}

/// Serves one connection until its end.
fn serve(
    http: &http1::Builder,
    app: Arc<App>,
    stream: TcpStream,
    peer: IpAddr,
    watch: Arc<Watch>,
) -> impl Future<Output = ()> + Send + 'static {
    let io = TokioIo::new(WatchedStream::new(stream, watch.clone()));
    let service = service_fn(move |request| {
        watch.on_request();
        let (app, watch) = (app.clone(), watch.clone());
        async move {
            let response = routes::handle(&app, peer, &watch, request).await;
            // The end of a stream says so itself.
            if !response.body().is_stream() {
                watch.on_answered();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http.serve_connection(io, service);
    async move {
        // An error is a sender that broke off or sent what is not HTTP: hyper has answered what can be answered.
        let _ = connection.await;
    }
}
