//! The exporter: an HTTP port at which an autoscaler asks for the number of nodes.
//!
//! `GET /metrics` is for Prometheus and, through its adapter, for Kubernetes' external metrics; `GET /wanted` is JSON with the number
//! as `value`, as KEDA's metrics-api scaler reads it; `GET /livez` says that it runs. Nothing is read from a body, nothing can
//! be changed here, and what is told is no secret, so there is no token.

use super::decide::{Decision, Looks, prometheus_text};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    io,
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Semaphore;

/// Scrapers at once; more wait until one has left.
const CONNECTIONS_MAX: usize = 64;
/// A scraper's head must be there within this.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// No connection is kept longer, so that those who only hold one open make room.
const LONGEST: Duration = Duration::from_secs(300);
/// A breath after a fault of the listener: others may still be closed.
const BREATH: Duration = Duration::from_millis(100);

/// What is told, replaced after each look.
#[derive(Default)]
pub struct Board(Mutex<(Decision, Looks)>);

impl Board {
    /// Puts up what was decided.
    pub fn put(&self, decision: &Decision, looks: Looks) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (decision.clone(), looks);
    }

    fn look(&self) -> (Decision, Looks) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves on a thread of its own, for as long as the process runs.
///
/// # Errors
/// When the runtime or the thread cannot be made.
pub fn spawn(listener: TcpListener, board: Arc<Board>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    listener.set_nonblocking(true)?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    std::thread::Builder::new()
        .name("exporter".into())
        .spawn(move || runtime.block_on(run(listener, board)))
        .map(drop)
}

async fn run(listener: tokio::net::TcpListener, board: Arc<Board>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // It is never closed, so there is always a permit to wait for.
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let board = board.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &board);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(16 * 1024);
            // However it ends, there is nobody left to tell.
            let _ = tokio::time::timeout(LONGEST, http.serve_connection(TokioIo::new(stream), service)).await;
            drop(permit);
        });
    }
}

fn answer(request: &Request<Incoming>, board: &Board) -> Response<String> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".into());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let (decision, looks) = board.look();
    match request.uri().path() {
        "/metrics" => text(StatusCode::OK, crate::stats::CONTENT_TYPE, prometheus_text(&decision, &looks)),
        // An error keeps KEDA from taking nothing for a number: it then leaves things as they are.
        "/wanted" if decision.wanted.is_none() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "application/json", format!("{}\n", decision.json()))
        }
        "/wanted" => text(StatusCode::OK, "application/json", format!("{}\n", decision.json())),
        "/livez" => text(StatusCode::OK, "text/plain", "ok\n".into()),
        _ => text(StatusCode::NOT_FOUND, "text/plain", "here are /metrics, /wanted and /livez\n".into()),
    }
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
