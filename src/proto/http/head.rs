//! The request head: parsed once, kept as slices of the caller's buffer.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// The most header lines a request may have; one more is [`HeadError::TooLarge`].
pub const HEADERS_MAX: usize = 100;

/// Why a request head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// Not a request this port understands: 400. The text is for a log line.
    Malformed(&'static str),
    /// More bytes than the limit or more than [`HEADERS_MAX`] header lines: 431.
    TooLarge,
}

impl HeadError {
    /// The HTTP status that answers it.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::TooLarge => 431,
        }
    }
}

/// A complete, checked request head, borrowing the buffer it was read from.
#[derive(Debug, Clone)]
pub struct Head<'b> {
    method: &'b str,
    target: &'b str,
    path_length: usize,
    headers_count: usize,
    headers: [httparse::Header<'b>; HEADERS_MAX],
}

/// Parses a request head at the start of `buffer`.
///
/// `Ok(None)` means more bytes are needed; otherwise the head and its length in bytes, the blank line included. A head longer
/// than `limit` bytes, complete or not, is [`HeadError::TooLarge`]. The answer does not depend on how the bytes were cut.
pub fn parse_head<'b>(buffer: &'b [u8], limit: usize) -> Result<Option<(Head<'b>, usize)>, HeadError> {
    let bounded = buffer.get(..limit).unwrap_or(buffer);
    // RFC 9112 2.2 lets a server skip blank lines before a request; on a connection's only request nobody sends them.
    if matches!(bounded.first(), Some(b'\r' | b'\n')) {
        return Err(HeadError::Malformed("blank line before the request line"));
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bounded) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bounded.len() == limit => return Err(HeadError::TooLarge),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(refusal(error)),
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(HeadError::Malformed("incomplete request line"));
    };
    let headers_count = request.headers.len();
    check_request_line(target, version)?;
    check_line_ends(bounded.get(..length).unwrap_or(bounded))?;
    check_headers(request.headers, matches!(method, "GET" | "HEAD" | "OPTIONS"))?;
    let path_length = target.bytes().position(|byte| byte == b'?').unwrap_or(target.len());
    Ok(Some((Head { method, target, path_length, headers_count, headers }, length)))
}

fn refusal(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooLarge,
        httparse::Error::HeaderName => HeadError::Malformed("header name"),
        httparse::Error::HeaderValue => HeadError::Malformed("header value"),
        httparse::Error::NewLine => HeadError::Malformed("line end"),
        httparse::Error::Version => HeadError::Malformed("HTTP version"),
        httparse::Error::Token | httparse::Error::Status => HeadError::Malformed("request line"),
    }
}

fn check_request_line(target: &str, version: u8) -> Result<(), HeadError> {
    if version != 1 {
        return Err(HeadError::Malformed("HTTP version"));
    }
    if !target.starts_with('/') {
        return Err(HeadError::Malformed("target is not in origin form"));
    }
    if target.contains('#') {
        return Err(HeadError::Malformed("fragment in the target"));
    }
    Ok(())
}

/// httparse takes a lone LF for a line end, which other parsers on the way may not: each LF must follow a CR, and each CR
/// must be followed by an LF. Three counts that vectorise, instead of a branch a byte.
fn check_line_ends(head: &[u8]) -> Result<(), HeadError> {
    let (Some((_, after)), Some((_, before))) = (head.split_first(), head.split_last()) else {
        return Ok(());
    };
    // Sums of at most 255 fit a byte, and bytes are what a vector holds most of.
    let count = |byte: u8| -> usize {
        head.chunks(255)
            .map(|chunk| usize::from(chunk.iter().map(|&b| u8::from(b == byte)).sum::<u8>()))
            .sum()
    };
    let pair = |(&one, &two): (&u8, &u8)| u8::from((one == b'\r') & (two == b'\n'));
    let pairs: usize = before
        .chunks(255)
        .zip(after.chunks(255))
        .map(|(before, after)| usize::from(before.iter().zip(after).map(pair).sum::<u8>()))
        .sum();
    if count(b'\n') != pairs || count(b'\r') != pairs {
        return Err(HeadError::Malformed("line end"));
    }
    Ok(())
}

/// Exactly one usable Host (RFC 9112 3.2), and nothing that announces a body where the method has none: what two parsers read
/// differently there is how requests are smuggled. Methods that may have one are not served on this port at all.
fn check_headers(headers: &[httparse::Header<'_>], bodiless: bool) -> Result<(), HeadError> {
    let mut host_seen = false;
    let mut length_seen = false;
    for header in headers {
        match header.name.len() {
            4 if header.name.eq_ignore_ascii_case("host") => {
                if host_seen {
                    return Err(HeadError::Malformed("repeated Host"));
                }
                if !is_host(header.value) {
                    return Err(HeadError::Malformed("bad Host"));
                }
                host_seen = true;
            }
            14 if bodiless && header.name.eq_ignore_ascii_case("content-length") => {
                if length_seen {
                    return Err(HeadError::Malformed("repeated Content-Length"));
                }
                if header.value != b"0" {
                    return Err(HeadError::Malformed("request with a body"));
                }
                length_seen = true;
            }
            17 if bodiless && header.name.eq_ignore_ascii_case("transfer-encoding") => {
                return Err(HeadError::Malformed("request with a body"));
            }
            _ => {}
        }
    }
    if host_seen { Ok(()) } else { Err(HeadError::Malformed("missing Host")) }
}

/// uri-host [":" port] by its characters (RFC 3986 3.2.2), which is all that comparing it with an Origin needs.
fn is_host(value: &[u8]) -> bool {
    let allowed = |&byte: &u8| byte.is_ascii_alphanumeric() || b".-_~%:[]!$&'()*+,;=".contains(&byte);
    !value.is_empty() && value.iter().all(allowed)
}

impl<'b> Head<'b> {
    /// The request method, as sent: methods are case-sensitive.
    pub fn method(&self) -> &'b str {
        self.method
    }

    /// The whole request target, query included, not decoded.
    pub fn target(&self) -> &'b str {
        self.target
    }

    /// The target up to the first `?`, not decoded.
    pub fn path(&self) -> &'b str {
        self.target.get(..self.path_length).unwrap_or(self.target)
    }

    /// The target after the first `?`, not decoded; empty when there is none.
    pub fn query(&self) -> &'b str {
        self.target.get(self.path_length + 1..).unwrap_or("")
    }

    /// The same with one `Authorization` line of this value instead of those that it has. None: there is no room for the line.
    pub fn with_authorization<'c>(&self, value: &'c [u8]) -> Option<Head<'c>>
    where
        'b: 'c,
    {
        let mut head: Head<'c> = self.clone();
        let mut kept = 0;
        for at in 0..self.headers_count {
            let line = *self.headers.get(at)?;
            if !line.name.eq_ignore_ascii_case("authorization") {
                *head.headers.get_mut(kept)? = line;
                kept += 1;
            }
        }
        *head.headers.get_mut(kept)? = httparse::Header { name: "Authorization", value };
        head.headers_count = kept + 1;
        Some(head)
    }

    /// All header lines in order. Values have no white space around them and no control characters but tabs inside.
    pub fn headers(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + '_ {
        self.headers.iter().take(self.headers_count).map(|header| (header.name, header.value))
    }

    /// The values of every line called `name` (in any case), in order.
    pub fn header_lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'b [u8]> + 'a {
        self.headers().filter(move |(line, _)| line.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The first line called `name` (in any case), if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&'b str> {
        self.header_lines(name).next().and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether any line called `name` lists `token` among its comma-separated values, both in any case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.listed(name).any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether the client offers this WebSocket subprotocol, on any of its lines. Subprotocol names are case-sensitive.
    pub fn offers_protocol(&self, protocol: &str) -> bool {
        self.listed("sec-websocket-protocol").any(|item| item == protocol.as_bytes())
    }

    fn listed<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'b [u8]> + 'a {
        self.header_lines(name).flat_map(|value| value.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
    }

    /// The first query parameter called `name`, with `%XX` and `+` decoded (a `%` without two hex digits stands for itself,
    /// as in the WHATWG URL standard). `Ok(None)` if it is absent; a value that does not decode to UTF-8 is
    /// [`HeadError::Malformed`], so that it can never be mistaken for another name or for none.
    pub fn query_param(&self, name: &str) -> Result<Option<Cow<'b, str>>, HeadError> {
        for pair in self.query().split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if key == name || (key.contains(['%', '+']) && form_decode(key).is_ok_and(|key| key == name)) {
                return form_decode(value).map(Some);
            }
        }
        Ok(None)
    }

    /// The first cookie called `name` on any Cookie line (RFC 6265 5.4), without quotes around it.
    pub fn cookie(&self, name: &str) -> Option<&'b str> {
        self.cookies(name).next()
    }

    /// All cookies called `name`, in the order in which they came. One that is not UTF-8 is passed over, and hides no other.
    pub fn cookies<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'b str> + 'a {
        self.header_lines("cookie")
            .flat_map(|line| line.split(|&byte| byte == b';'))
            .filter_map(|pair| std::str::from_utf8(pair).ok()?.split_once('='))
            .filter(move |(key, _)| key.trim_ascii() == name)
            .map(|(_, value)| unquote(value.trim_ascii()))
    }
}

fn form_decode(text: &str) -> Result<Cow<'_, str>, HeadError> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    // '+' first: a literal plus arrives as %2B and must survive.
    let spaced = text.replace('+', " ");
    let decoded = percent_decode(spaced.as_bytes()).decode_utf8();
    decoded
        .map(|text| Cow::Owned(text.into_owned()))
        .map_err(|_| HeadError::Malformed("query parameter is not UTF-8"))
}

fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}
