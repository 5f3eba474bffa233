//! What the internal port answers: bodies, refusals, and JSON written without a tree.

use super::{deliver::DeliverStream, events::EventStream, messages::MessageStream};
use bytes::Bytes;
use hyper::{
    HeaderMap, Response, StatusCode,
    body::{Body, Frame, SizeHint},
    header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use std::{
    borrow::Cow,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The body of an answer.
#[derive(Default)]
pub enum Reply {
    /// Nothing.
    #[default]
    Empty,
    /// All of it.
    Whole(Bytes),
    /// The answers of `/v1/messages`, as they come.
    Stream(Box<MessageStream>),
    /// The answers of `/v1/deliver`, as they come.
    Deliveries(Box<DeliverStream>),
    /// The events of `/v1/events`, as they come.
    Events(Box<EventStream>),
}

impl Reply {
    /// Whether it is made while it is written.
    pub fn is_stream(&self) -> bool {
        matches!(self, Reply::Stream(_) | Reply::Deliveries(_) | Reply::Events(_))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = match &mut *self {
            Reply::Empty => None,
            Reply::Whole(_) => match std::mem::take(&mut *self) {
                Reply::Whole(bytes) => Some(bytes),
                _ => None,
            },
            Reply::Stream(stream) => std::task::ready!(stream.poll_chunk(cx)),
            Reply::Deliveries(stream) => std::task::ready!(stream.poll_chunk(cx)),
            Reply::Events(stream) => std::task::ready!(stream.poll_chunk(cx)),
        };
        Poll::Ready(chunk.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Reply::Empty => true,
            Reply::Whole(bytes) => bytes.is_empty(),
            Reply::Stream(_) | Reply::Deliveries(_) | Reply::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Reply::Empty => SizeHint::with_exact(0),
            Reply::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Reply::Stream(_) | Reply::Deliveries(_) | Reply::Events(_) => SizeHint::default(),
        }
    }
}

/// A status alone. The request's header map goes back as the answer's, emptied: the HTTP library then reads the next
/// request of the connection into it, which saves each push two allocations.
pub fn status_only(status: StatusCode, mut spent: HeaderMap) -> Response<Reply> {
    spent.clear();
    let mut response = Response::new(Reply::Empty);
    *response.status_mut() = status;
    *response.headers_mut() = spent;
    response
}

/// A JSON body that is written already. `spent` as in [`status_only`].
pub fn json_bytes(status: StatusCode, body: impl Into<Bytes>, spent: HeaderMap) -> Response<Reply> {
    let mut response = status_only(status, spent);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    *response.body_mut() = Reply::Whole(body.into());
    response
}

/// A value as JSON.
pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Reply> {
    // What is answered here has string keys and finite numbers, so that it always has a JSON form.
    let body = serde_json::to_vec(value).unwrap_or_default();
    json_bytes(status, body, HeaderMap::new())
}

/// Text of a type.
pub fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Appends a string as JSON, quoted and escaped.
pub fn write_json_string(text: &str, out: &mut Vec<u8>) {
    let plain = |&byte: &u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.as_bytes().iter().all(plain) {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    // Writing to a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// A request that was not done, and what to do about it.
#[derive(Debug)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// One word in `snake_case` for programs.
    pub error: &'static str,
    /// A sentence for people.
    pub message: Cow<'static, str>,
    /// The methods that are allowed (405).
    pub allow: Option<&'static str>,
    /// Whether the connection ends, since the rest of the body was not read.
    pub close: bool,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: StatusCode, error: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, error, message: message.into(), allow: None, close: false }
    }

    /// 400.
    pub fn bad_request(error: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, message)
    }

    /// 503: come back in a second.
    pub fn overloaded(error: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error, message)
    }

    /// 503: the registry does not answer, and the user has no connection at this node.
    pub fn registry_away() -> Self {
        let message = "the registry does not answer, so that nobody knows where the user is; send it again";
        Self::overloaded("registry_away", message)
    }

    /// As an answer with a JSON body.
    pub fn into_response(self) -> Response<Reply> {
        let mut body = Vec::with_capacity(128);
        self.write_json(&mut body);
        let response = json_bytes(self.status, body, HeaderMap::new());
        self.with_headers(response)
    }

    /// As an answer without a body, as Zuul's endpoint gives.
    pub fn into_bare_response(self, spent: HeaderMap) -> Response<Reply> {
        let response = status_only(self.status, spent);
        self.with_headers(response)
    }

    /// `{"error":…,"message":…}`
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"error\":");
        write_json_string(self.error, out);
        out.extend_from_slice(b",\"message\":");
        write_json_string(&self.message, out);
        out.push(b'}');
    }

    fn with_headers(&self, mut response: Response<Reply>) -> Response<Reply> {
        let headers = response.headers_mut();
        if self.status == StatusCode::SERVICE_UNAVAILABLE || self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.close {
            headers.insert(hyper::header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_serde_does() {
        for text in ["", "plain", "with \"quotes\"", "back\\slash", "line\nend", "\u{1}", "ünï", "\u{7f}"] {
            let mut out = Vec::new();
            write_json_string(text, &mut out);
            assert_eq!(out, serde_json::to_vec(text).unwrap(), "{text:?}");
        }
    }
}
