//! One plain request to another node, on a connection of its own: such requests are rare.

use super::Common;
use bytes::{Bytes, BytesMut};
use hyper::{
    Request,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};

/// The largest answer, bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    /// `GET`, `POST`, `DELETE`.
    pub method: &'static str,
    /// Percent-encoded, with its query.
    pub path_and_query: String,
    /// May be empty.
    pub body: Bytes,
    /// What the body is.
    pub content_type: Option<&'static str>,
    /// For all of it.
    pub timeout: Duration,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// At most 1 MiB.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallError {
    /// There was no connection: nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The time is over. The node may have done what was asked.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke. The node may have done what was asked.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The answer is larger than 1 MiB.
    #[error("the answer is too large")]
    TooLarge,
    /// No request can be made of it.
    #[error("not a request: {0}")]
    Invalid(String),
}

pub(super) async fn run(common: &Common, address: &str, call: Call) -> Result<Answer, CallError> {
    let limit = call.timeout;
    let request = request(common, address, call)?;
    timeout(limit, exchange(common, address, request)).await.unwrap_or(Err(CallError::Timeout))
}

fn request(common: &Common, address: &str, call: Call) -> Result<Request<Whole>, CallError> {
    let mut request = Request::builder().method(call.method).uri(&call.path_and_query).header(HOST, address);
    request = request.header(CONNECTION, HeaderValue::from_static("close"));
    if let Some(authorization) = common.authorization() {
        request = request.header(AUTHORIZATION, authorization);
    }
    if let Some(content_type) = call.content_type {
        request = request.header(CONTENT_TYPE, content_type);
    }
    request.body(Whole(call.body)).map_err(|fault| CallError::Invalid(fault.to_string()))
}

async fn exchange(common: &Common, address: &str, request: Request<Whole>) -> Result<Answer, CallError> {
    let broken = |fault: hyper::Error| CallError::Broken(fault.to_string());
    let connected = timeout(common.settings.connect_timeout, TcpStream::connect(address)).await;
    let io = match connected {
        Ok(Ok(io)) => io,
        Ok(Err(fault)) => return Err(CallError::Connect(fault.to_string())),
        Err(_) => return Err(CallError::Connect("it takes too long".into())),
    };
    // An error here is that of a connection which is gone; the first write says so too.
    let _ = io.set_nodelay(true);
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broken)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let body = read(response.into_body()).await?;
        Ok(Answer { status, body })
    };
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // Its end may have brought the rest of the answer; where it did not, the answer says what is missing.
        _ = connection => answer.await,
    }
}

async fn read(mut body: Incoming) -> Result<Bytes, CallError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|fault| CallError::Broken(fault.to_string()))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(CallError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// A body that is all there.
struct Whole(Bytes);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}
