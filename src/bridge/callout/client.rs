//! The connections to the endpoint: one request for each question, on connections that are kept.
//!
//! Owns what is sent and how much is read: at most 16 KiB, no redirect followed, nothing unpacked. How long it takes is bounded
//! by the caller. A kept connection that the endpoint closes just as it is used is no failure: the question is asked once more on
//! a new one.

use super::reply::{BODY_BYTES_MAX, Problem, says_more};
use crate::{
    config::{Http, Secret},
    model::Question,
};
use bytes::{Bytes, BytesMut};
use hyper::{
    HeaderMap, Request, StatusCode, Uri,
    body::{Body, Frame, Incoming, SizeHint},
    header::{ACCEPT, HeaderName, HeaderValue, USER_AGENT},
};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::{
    convert::Infallible,
    error::Error,
    future::poll_fn,
    io,
    path::Path,
    pin::{Pin, pin},
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::Duration,
};

/// A kept connection that nobody uses for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// The longest head of an answer, bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What the endpoint sees of us.
const AGENT: &str = concat!("holdfast/", env!("CARGO_PKG_VERSION"));
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const TOKEN: HeaderName = HeaderName::from_static("x-holdfast-token");

type Connections = legacy::Client<HttpsConnector<HttpConnector>, Nothing>;

/// See the module.
pub struct Client {
    url: Uri,
    token: RwLock<Option<HeaderValue>>,
    kept: Connections,
    /// Keeps none, so that what is asked once more is asked on a new one.
    fresh: Connections,
}

/// A whole answer, not yet understood.
pub struct Answered {
    /// Its status.
    pub status: StatusCode,
    /// Its header lines.
    pub headers: HeaderMap,
    /// Its body; empty where the status says it all.
    pub body: Bytes,
}

impl Client {
    /// Connections that are made when there is something to ask.
    ///
    /// # Errors
    /// When the certificates to trust cannot be read, or the address cannot be used.
    pub fn new(config: &Http) -> io::Result<Self> {
        let url: Uri = config.url.as_deref().unwrap_or_default().parse().map_err(io::Error::other)?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(IDLE));
        // One that nobody waits for any more must end as well.
        tcp.set_connect_timeout(Some(Duration::from_millis(config.timeout_ms)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(&url, config.ca_file.as_deref())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let connections = |kept: usize| {
            legacy::Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(kept)
                .http1_max_buf_size(HEAD_BYTES_MAX)
                .build(connector.clone())
        };
        let (kept, fresh) = (connections(config.in_flight), connections(0));
        let client = Self { url, token: RwLock::default(), kept, fresh };
        client.set_token(config.token.as_ref());
        Ok(client)
    }

    /// Sends another token from now on.
    pub fn set_token(&self, token: Option<&Secret>) {
        let header = token.and_then(|token| {
            let mut header = HeaderValue::from_str(token.reveal()).ok()?;
            header.set_sensitive(true);
            Some(header)
        });
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = header;
    }

    /// Asks one question.
    ///
    /// # Errors
    /// When there is no whole answer of a status that says something.
    pub async fn ask(&self, question: &Question) -> Result<Answered, Problem> {
        match self.ask_on(&self.kept, question).await {
            Err(Problem::Died) => self.ask_on(&self.fresh, question).await,
            end => end,
        }
    }

    async fn ask_on(&self, connections: &Connections, question: &Question) -> Result<Answered, Problem> {
        let request = self.request(question).ok_or(Problem::Question(400))?;
        let response = connections.request(request).await.map_err(|error| problem_of(&error))?;
        let (head, body) = response.into_parts();
        let body = match (says_more(head.status)?, read(body).await) {
            (true, body) => body?,
            // Only read so that the connection can be used again.
            (false, _) => Bytes::new(),
        };
        Ok(Answered { status: head.status, headers: head.headers, body })
    }

    /// None: what the client sent cannot be sent on.
    fn request(&self, question: &Question) -> Option<Request<Nothing>> {
        let mut request = Request::get(self.url.clone()).body(Nothing).ok()?;
        let headers = request.headers_mut();
        for (name, value) in question.headers() {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_bytes(value).ok()?);
        }
        let peer = question.peer().to_canonical().to_string();
        headers.insert(FORWARDED_FOR, HeaderValue::from_str(&peer).ok()?);
        headers.insert(ORIGINAL_URI, HeaderValue::from_bytes(question.target().as_bytes()).ok()?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(token) = self.token.read().unwrap_or_else(PoisonError::into_inner).clone() {
            headers.insert(TOKEN, token);
        }
        Some(request)
    }
}

/// Whom to trust. A host without certificates can still ask in plaintext.
fn tls(url: &Uri, ca_file: Option<&Path>) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    let builder = match ca_file {
        Some(path) => {
            for certificate in CertificateDer::pem_file_iter(path).map_err(io::Error::other)? {
                roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
            }
            builder.with_root_certificates(roots)
        }
        None if url.scheme_str() == Some("https") => builder.with_native_roots()?,
        None => builder.with_root_certificates(roots),
    };
    Ok(builder.with_no_client_auth())
}

/// The whole body, as long as it is short enough. What is left unread ends its connection.
async fn read(body: Incoming) -> Result<Bytes, Problem> {
    let mut body = pin!(body);
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(Problem::TooLarge);
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        // It has begun to answer: asking once more is not for us to decide any more.
        let frame =
            frame.map_err(|_| Problem::Unreachable("the connection ended within the answer".into()))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > BODY_BYTES_MAX {
            return Err(Problem::TooLarge);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

fn problem_of(error: &legacy::Error) -> Problem {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
        let Some(hyper) = cause.downcast_ref::<hyper::Error>() else { continue };
        if hyper.is_incomplete_message() || hyper.is_closed() || hyper.is_canceled() {
            return Problem::Died;
        }
        if hyper.is_parse_too_large() {
            return Problem::TooLarge;
        }
    }
    let ends = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionAborted];
    match cause.downcast_ref::<io::Error>() {
        Some(fault) if !error.is_connect() && ends.contains(&fault.kind()) => Problem::Died,
        _ => Problem::Unreachable(cause.to_string()),
    }
}

/// The body of a request that has none.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}
