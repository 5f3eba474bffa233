//! Server-Sent Events over HTTP/1.1 chunks (WHATWG HTML 9.2, RFC 9112 7.1).
//!
//! Every event is exactly one chunk, so that any tail of a stream can be cut between events. Never parses: a client of an event
//! stream sends nothing.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::http::{cors_headers, push_header};

/// Ends the stream: the last chunk, no trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

const STREAM_HEADERS: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-store, no-transform\r\nX-Accel-Buffering: no\r\n";
/// Room for the longest chunk size in hex, 64 bits of it, and its line end.
const CHUNK_HEAD_MAX: usize = 18;

/// Appends the response head and, as the first chunk, the delay after which the client comes back by itself.
///
/// `allow_origin` is the page's origin, checked by the caller: see [`super::http::cors_headers`].
pub fn write_head(out: &mut Vec<u8>, retry_ms: u32, allow_origin: Option<&str>) {
    out.extend_from_slice(STREAM_HEADERS);
    push_cors(out, allow_origin);
    out.extend_from_slice(b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n");
    push_chunk(out, |out| {
        push_retry(out, retry_ms);
        out.extend_from_slice(b"\r\n");
    });
}

/// Appends a whole response that only tells the client to come back in `retry_ms`. It is a 200, because an EventSource that
/// meets any other status gives up for good.
pub fn write_refusal(out: &mut Vec<u8>, retry_ms: u32, allow_origin: Option<&str>) {
    let mut body = Vec::with_capacity(24);
    push_retry(&mut body, retry_ms);
    body.extend_from_slice(b"\r\n");
    out.extend_from_slice(STREAM_HEADERS);
    push_cors(out, allow_origin);
    // Writing to a Vec can not fail.
    let _ = write!(out, "Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    out.extend_from_slice(&body);
}

/// Appends a text push. CR, LF and CRLF in it all become line ends, and reach the client as LF.
pub fn write_push(out: &mut Vec<u8>, id: Option<&str>, text: &str) {
    push_event(out, "push", id, None, text);
}

/// Appends a binary push, in base64.
pub fn write_push_binary(out: &mut Vec<u8>, id: Option<&str>, bytes: &[u8]) {
    push_event(out, "push.base64", id, None, &STANDARD.encode(bytes));
}

/// Appends a ping event.
pub fn write_ping(out: &mut Vec<u8>) {
    push_event(out, "ping", None, None, "ping");
}

/// Appends the request to go away; `retry_ms` tells the client when to come back.
pub fn write_goaway(out: &mut Vec<u8>, retry_ms: Option<u32>) {
    push_event(out, "goaway", None, retry_ms, "_CLOSE_");
}

/// Appends the notice that the stream ends, with a WebSocket close code and its reason.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    push_event(out, "close", None, None, &format!("{code} {reason}"));
}

fn push_event(out: &mut Vec<u8>, event: &str, id: Option<&str>, retry_ms: Option<u32>, data: &str) {
    push_chunk(out, |out| {
        if let Some(retry_ms) = retry_ms {
            push_retry(out, retry_ms);
        }
        push_field(out, "event", event);
        // An id with a line break would start a field of its own; one with NUL is ignored by the client.
        if let Some(id) = id.filter(|id| !id.contains(['\r', '\n', '\0'])) {
            push_field(out, "id", id);
        }
        for line in lines(data) {
            push_field(out, "data", line);
        }
        out.extend_from_slice(b"\r\n");
    });
}

fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn push_retry(out: &mut Vec<u8>, retry_ms: u32) {
    // Writing to a Vec can not fail.
    let _ = write!(out, "retry: {retry_ms}\r\n");
}

fn push_cors(out: &mut Vec<u8>, allow_origin: Option<&str>) {
    for (name, value) in cors_headers(allow_origin) {
        push_header(out, name, value);
    }
}

/// The lines of a text as an event stream's parser sees them (WHATWG HTML 9.2.6): one more than it has line breaks.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest.take()?;
        let Some((line, after)) = current.split_once(['\r', '\n']) else { return Some(current) };
        let crlf = current.as_bytes().get(line.len()) == Some(&b'\r');
        rest = Some(if crlf { after.strip_prefix('\n').unwrap_or(after) } else { after });
        Some(line)
    })
}

/// Writes one chunk around what `write` appends. Its size is known only afterwards: room is left and the excess taken out.
fn push_chunk(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[b'0'; CHUNK_HEAD_MAX]);
    write(out);
    let head = format!("{:x}\r\n", out.len() - start - CHUNK_HEAD_MAX);
    out.splice(start..start + CHUNK_HEAD_MAX, head.bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
