//! Response heads, and the small bodies that go with some.

use smallvec::SmallVec;
use std::io::Write;

/// A response whose body, if any, is short text.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    /// The status code; the reason phrase follows from it.
    pub status: u16,
    /// Further header lines. `Content-Length` and `Connection` are written for you.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body, UTF-8; its Content-Type is up to `headers`.
    pub body: &'a str,
}

impl Response<'_> {
    /// Appends the response to `out`. With `close` it says so, and the caller then closes.
    pub fn write(&self, out: &mut Vec<u8>, close: bool) {
        push_status(out, self.status);
        for (name, value) in self.headers {
            push_header(out, name, value);
        }
        // A 204 has no Content-Length (RFC 9110 8.6).
        if self.status != 204 {
            push_formatted(out, format_args!("Content-Length: {}\r\n", self.body.len()));
        }
        if close {
            out.extend_from_slice(b"Connection: Close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if self.status != 204 {
            out.extend_from_slice(self.body.as_bytes());
        }
    }
}

/// Appends a response without a body.
pub fn write_response(out: &mut Vec<u8>, status: u16, headers: &[(&str, &str)], close: bool) {
    Response { status, headers, body: "" }.write(out, close);
}

/// The headers that let a page of this origin read an answer (WHATWG Fetch 3.3), also one to a request with cookies; `*`: a
/// page of any origin, but of a request without. The caller has checked the origin.
pub fn cors_headers(allow_origin: Option<&str>) -> SmallVec<[(&str, &str); 5]> {
    let mut headers = SmallVec::new();
    if let Some(origin) = allow_origin {
        headers.push(("Access-Control-Allow-Origin", origin));
        if origin != "*" {
            headers.extend([("Access-Control-Allow-Credentials", "true"), ("Vary", "Origin")]);
        }
    }
    headers
}

fn push_status(out: &mut Vec<u8>, status: u16) {
    push_formatted(out, format_args!("HTTP/1.1 {status} {}\r\n", reason(status)));
}

/// Appends `name: value` and a line end. A value can not break out of its line: control characters are left out.
pub(in crate::proto) fn push_header(out: &mut Vec<u8>, name: &str, value: &str) {
    debug_assert!(is_line(name) && is_line(value), "a header line with a line break in it: {name}");
    push_line_text(out, name);
    out.extend_from_slice(b": ");
    push_line_text(out, value);
    out.extend_from_slice(b"\r\n");
}

fn is_line(text: &str) -> bool {
    !text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

pub(super) fn push_line_text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
}

fn push_formatted(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec can not fail.
    let _ = out.write_fmt(text);
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        // The phrase may be empty (RFC 9112 4); clients look at the number.
        _ => "",
    }
}
