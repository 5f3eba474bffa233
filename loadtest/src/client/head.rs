//! The request that opens a connection, and the head of its answer (RFC 9112, RFC 6455 4).

use super::{Dialect, Fault, Protocol, sse, template::Forms};
use crate::message::shown;
use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};
use std::io::Write;

/// What a server appends to the key before it hashes it (RFC 6455 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// More header lines than any answer has.
const HEADERS_MAX: usize = 64;
/// A longer head is not waited for, bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The body of a refusal that is waited for since it may say when to come back, bytes.
const REFUSAL_BYTES_MAX: usize = 1024;

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What to speak.
    pub protocol: Protocol,
    /// The path, in place of that of `forms`.
    pub path: Option<&'a str>,
    /// The name of the server.
    pub host: &'a str,
    /// Header that names the user; None: nobody is named.
    pub user_header: Option<&'a str>,
    /// Header and name of the device.
    pub device: Option<(&'a str, &'a str)>,
    /// Path, query and headers by template.
    pub forms: &'a Forms,
    /// The client's number, which with this prefix is the user's name.
    pub client: (u32, &'a str),
    /// Makes the WebSocket's key; the answer is checked against the same.
    pub nonce: u128,
}

/// Appends a request.
pub fn write(out: &mut Vec<u8>, request: &Request<'_>) {
    let (client, prefix) = request.client;
    let forms = request.forms;
    out.extend_from_slice(b"GET ");
    match (request.path, &forms.path, request.protocol) {
        (Some(path), ..) => out.extend_from_slice(path.as_bytes()),
        (None, Some(path), _) => path.write(out, client, prefix),
        (None, None, Protocol::WebSocket) => out.extend_from_slice(b"/ws"),
        (None, None, Protocol::Sse) => out.extend_from_slice(b"/sse"),
    }
    if let Some(query) = &forms.query {
        out.push(b'?');
        query.write(out, client, prefix);
    }
    // Writing to a Vec can not fail.
    let _ = write!(out, " HTTP/1.1\r\n");
    if !forms.names("host") {
        let _ = write!(out, "Host: {}\r\n", request.host);
    }
    if let Some(name) = request.user_header {
        let _ = write!(out, "{name}: {prefix}{client}\r\n");
    }
    if let Some((name, device)) = request.device {
        let _ = write!(out, "{name}: {device}\r\n");
    }
    for (name, value) in &forms.headers {
        let _ = write!(out, "{name}: ");
        value.write(out, client, prefix);
        out.extend_from_slice(b"\r\n");
    }
    let _ = match request.protocol {
        Protocol::WebSocket => write!(
            out,
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n\r\n",
            key(request.nonce)
        ),
        Protocol::Sse => write!(out, "Accept: text/event-stream\r\n\r\n"),
    };
}

/// What the server answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The connection is open.
    Open {
        /// What follows comes in chunks.
        chunked: bool,
    },
    /// The connection was refused.
    Refused {
        /// With this status; 200 for an event stream that only says when to come back.
        status: u16,
        /// And is welcome after this time, ms.
        retry_ms: Option<u32>,
    },
}

/// What an answer must fit.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// What was asked for.
    pub protocol: Protocol,
    /// By whose habits.
    pub dialect: Dialect,
    /// A subprotocol was offered.
    pub subprotocol: bool,
    /// With which key.
    pub nonce: u128,
}

/// Reads the head of an answer, and says how many bytes it takes; None when it is not complete.
///
/// # Errors
/// When it is no answer to the request.
pub fn read(bytes: &[u8], asked: &Asked) -> Result<Option<(Answer, usize)>, Fault> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let used = match response.parse(bytes) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Fault(format!(
                "an answer whose head has more than {HEAD_BYTES_MAX} bytes or {HEADERS_MAX} lines: {}",
                shown(bytes)
            )));
        }
        Err(_) => return Err(Fault(format!("no HTTP answer: {}", shown(bytes)))),
    };
    let status = response.code.unwrap_or(0);
    match (asked.protocol, status) {
        (Protocol::WebSocket, 101) => {
            check_upgrade(response.headers, asked)?;
            Ok(Some((Answer::Open { chunked: false }, used)))
        }
        (Protocol::Sse, 200) => read_stream(response.headers, asked, bytes, used),
        _ => Ok(Some((Answer::Refused { status, retry_ms: retry_after_ms(response.headers) }, used))),
    }
}

fn value<'a>(headers: &[httparse::Header<'a>], name: &str) -> &'a str {
    let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    found.map_or("", |header| std::str::from_utf8(header.value).unwrap_or("").trim())
}

fn check_upgrade(headers: &[httparse::Header<'_>], asked: &Asked) -> Result<(), Fault> {
    let expected = accept(asked.nonce);
    if value(headers, "sec-websocket-accept") != expected {
        return Err(Fault(format!("a 101 whose Sec-WebSocket-Accept is not {expected}")));
    }
    if !value(headers, "upgrade").eq_ignore_ascii_case("websocket")
        || !value(headers, "connection").to_ascii_lowercase().contains("upgrade")
        || !value(headers, "sec-websocket-extensions").is_empty()
        || !(asked.subprotocol || value(headers, "sec-websocket-protocol").is_empty())
    {
        return Err("a 101 that does not agree to what was asked".into());
    }
    Ok(())
}

/// A 200 to who asked for an event stream.
fn read_stream(
    headers: &[httparse::Header<'_>],
    asked: &Asked,
    bytes: &[u8],
    used: usize,
) -> Result<Option<(Answer, usize)>, Fault> {
    let chunked = value(headers, "transfer-encoding").eq_ignore_ascii_case("chunked");
    let kind = value(headers, "content-type");
    let is_stream = kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case("text/event-stream"));
    let length = value(headers, "content-length");
    if chunked && !is_stream && asked.dialect.is_strict() {
        return Err(Fault(format!("an event stream of type {kind:?}")));
    }
    if is_stream && (chunked || length.is_empty() && !asked.dialect.is_strict()) {
        return Ok(Some((Answer::Open { chunked }, used)));
    }
    // It ends after these bytes, in which there may be when to come back.
    let length = length.parse().ok().filter(|&length: &usize| is_stream && length <= REFUSAL_BYTES_MAX);
    let Some(body) = bytes.get(used..used + length.unwrap_or(0)) else { return Ok(None) };
    let lines = body.split(|byte| matches!(byte, b'\r' | b'\n'));
    let hint =
        lines.filter_map(|line| sse::retry(line.strip_prefix(b"retry:")?.trim_ascii_start())).next_back();
    let retry_ms = hint.or_else(|| retry_after_ms(headers));
    Ok(Some((Answer::Refused { status: 200, retry_ms }, used + body.len())))
}

/// `Retry-After` in seconds (RFC 9110 10.2.3); a date, which would ask for a clock that both share, is passed over.
fn retry_after_ms(headers: &[httparse::Header<'_>]) -> Option<u32> {
    sse::retry(value(headers, "retry-after").as_bytes()).map(|seconds| seconds.saturating_mul(1_000))
}

fn key(nonce: u128) -> String {
    STANDARD.encode(nonce.to_be_bytes())
}

fn accept(nonce: u128) -> String {
    let mut hash = Sha1::new();
    hash.update(key(nonce).as_bytes());
    hash.update(GUID);
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_of_the_rfc_is_accepted() {
        // "the sample nonce", RFC 6455 1.3.
        let nonce = u128::from_be_bytes(*b"the sample nonce");
        assert_eq!(key(nonce), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(nonce), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    fn asked(protocol: Protocol, dialect: Dialect, nonce: u128) -> Asked {
        Asked { protocol, dialect, subprotocol: false, nonce }
    }

    fn answer(bytes: &str, protocol: Protocol, dialect: Dialect) -> Option<Answer> {
        read(bytes.as_bytes(), &asked(protocol, dialect, 1)).unwrap().map(|(answer, used)| {
            assert_eq!(used, bytes.len());
            answer
        })
    }

    #[test]
    fn answers_are_read() {
        let good = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n\x01",
            accept(1)
        );
        let strict = |nonce| asked(Protocol::WebSocket, Dialect::Holdfast, nonce);
        for cut in 0..good.len() - 1 {
            assert_eq!(read(&good.as_bytes()[..cut], &strict(1)), Ok(None));
        }
        let open = Answer::Open { chunked: false };
        assert_eq!(read(good.as_bytes(), &strict(1)), Ok(Some((open, good.len() - 1))));
        assert!(read(good.as_bytes(), &strict(2)).is_err());
        let chosen = good.replace("Upgrade: websocket", "Upgrade: websocket\r\nSec-WebSocket-Protocol: a");
        assert!(read(chosen.as_bytes(), &strict(1)).is_err());
        assert!(read(chosen.as_bytes(), &Asked { subprotocol: true, ..strict(1) }).is_ok());
        let page = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let refused = Some(Answer::Refused { status: 200, retry_ms: None });
        assert_eq!(answer(page, Protocol::WebSocket, Dialect::Holdfast), refused);
        assert!(read(b"SSH-2.0-OpenSSH_9.6\r\n", &asked(Protocol::Sse, Dialect::Plain, 1)).is_err());
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(HEAD_BYTES_MAX));
        let fault = read(long.as_bytes(), &strict(1)).unwrap_err();
        assert!(fault.0.contains("head"), "{fault:?}");
    }

    #[test]
    fn a_refusal_may_say_when_to_come_back() {
        let shed = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 15\r\n\r\nretry: 2500\r\n\r\n";
        let expected = Some(Answer::Refused { status: 200, retry_ms: Some(2_500) });
        for dialect in [Dialect::Holdfast, Dialect::Plain] {
            assert_eq!(answer(shed, Protocol::Sse, dialect), expected);
            assert_eq!(
                answer(&shed[..shed.len() - 1], Protocol::Sse, dialect),
                None,
                "the body is waited for"
            );
        }
        for (value, expected) in
            [("7", Some(7_000)), ("0", Some(0)), ("99999999", Some(u32::MAX)), ("-1", None)]
        {
            let full = format!("HTTP/1.1 503 Service Unavailable\r\nRetry-After: {value}\r\n\r\n");
            for protocol in Protocol::ALL {
                let refused = Answer::Refused { status: 503, retry_ms: expected };
                assert_eq!(answer(&full, protocol, Dialect::Holdfast), Some(refused));
            }
        }
    }

    #[test]
    fn streams_of_others_need_no_chunks() {
        let table = [
            ("Content-Type: text/event-stream\r\n", true),
            ("Content-Type: Text/Event-Stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n", true),
            ("Content-Type: text/html\r\nTransfer-Encoding: chunked\r\n", false),
            ("Content-Type: text/event-stream\r\nContent-Length: 0\r\n", false),
        ];
        for (headers, opens) in table {
            let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
            let chunked = headers.contains("chunked");
            let expected = match opens {
                true => Answer::Open { chunked },
                false => Answer::Refused { status: 200, retry_ms: None },
            };
            assert_eq!(answer(&text, Protocol::Sse, Dialect::Plain), Some(expected), "{headers}");
            let strict = read(text.as_bytes(), &asked(Protocol::Sse, Dialect::Holdfast, 1));
            let opened = matches!(strict, Ok(Some((Answer::Open { .. }, _))));
            assert_eq!(opened, opens && chunked, "a node always sends chunks");
        }
    }

    #[test]
    fn a_request_is_made_by_its_templates() {
        let headers = [("Cookie".to_owned(), "u={user}".to_owned()), ("Host".to_owned(), "h".to_owned())];
        let forms = Forms::parse(Some("/push/{n}"), Some("?who={user}"), &headers).unwrap();
        let request = Request {
            protocol: Protocol::Sse,
            path: None,
            host: "ignored",
            user_header: None,
            device: None,
            forms: &forms,
            client: (7, "u-"),
            nonce: 1,
        };
        let written = |request: &Request<'_>| {
            let mut out = Vec::new();
            write(&mut out, request);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written(&request),
            "GET /push/7?who=u-7 HTTP/1.1\r\nCookie: u=u-7\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"
        );
        let own = Request {
            protocol: Protocol::WebSocket,
            user_header: Some("X-U"),
            device: Some(("X-D", "d")),
            forms: &Forms::default(),
            host: "a:1",
            ..request
        };
        let expected = "GET /ws HTTP/1.1\r\nHost: a:1\r\nX-U: u-7\r\nX-D: d\r\nUpgrade: websocket\r\n";
        assert!(written(&own).starts_with(expected), "{}", written(&own));
    }
}
