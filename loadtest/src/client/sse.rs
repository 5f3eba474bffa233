//! An event stream, a client's side (WHATWG HTML 9.2.6, RFC 9112 7.1).

use super::{Dialect, Event, Fault, GOAWAY, UNIT_BYTES_MAX};
use crate::message::shown;

/// The longest size of a chunk in hex, with its line end.
const SIZE_LINE_MAX: usize = 18;
/// The same with an extension, which a node of Holdfast does not send.
const EXTENDED_LINE_MAX: usize = 256;

/// The last chunk with what may follow it, bytes.
const TRAILERS_MAX: usize = 16 * 1024;

/// How a stream comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Whose it is.
    pub dialect: Dialect,
    /// In chunks; else it is all bytes up to the end of the connection.
    pub chunked: bool,
}

/// Reads what is complete and hands each event to `sink`; says how many bytes were used. `text` keeps the beginning of an
/// event that did not end yet, `joined` is room for data of several lines.
///
/// # Errors
/// When a chunk, a line or a field is not as the server promises.
pub fn feed(
    bytes: &[u8],
    rules: Rules,
    text: &mut Vec<u8>,
    joined: &mut Vec<u8>,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<usize, Fault> {
    if !rules.chunked {
        take(bytes, rules.dialect, text, joined, sink)?;
        return Ok(bytes.len());
    }
    let mut used = 0;
    while let Some((chunk, length)) = chunk(&bytes[used..], rules.dialect)? {
        used += length;
        if !chunk.is_empty() {
            take(chunk, rules.dialect, text, joined, sink)?;
            continue;
        }
        if !text.is_empty() && rules.dialect.is_strict() {
            return Err(Fault(format!("the stream ends within an event: {}", shown(text))));
        }
        text.clear();
        sink(Event::End);
    }
    Ok(used)
}

/// Some of the stream's bytes.
fn take(
    bytes: &[u8],
    dialect: Dialect,
    text: &mut Vec<u8>,
    joined: &mut Vec<u8>,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<(), Fault> {
    let events = if dialect.is_strict() { strict_events } else { events };
    if text.is_empty() {
        let rest = events(bytes, dialect, joined, sink)?;
        text.extend_from_slice(&bytes[rest..]);
    } else {
        text.extend_from_slice(bytes);
        let rest = events(text, dialect, joined, sink)?;
        text.drain(..rest);
    }
    if text.len() as u64 > UNIT_BYTES_MAX {
        return Err(Fault(format!("an event that does not end: {}", shown(text))));
    }
    Ok(())
}

/// The first chunk's bytes, and how many it takes with its frame around. The last chunk is empty.
fn chunk(bytes: &[u8], dialect: Dialect) -> Result<Option<(&[u8], usize)>, Fault> {
    let wrong = || Fault(format!("no chunk's size: {}", shown(bytes)));
    let longest = if dialect.is_strict() { SIZE_LINE_MAX } else { EXTENDED_LINE_MAX };
    let Some(line_end) = find(&bytes[..bytes.len().min(longest)], b"\r\n") else {
        return if bytes.len() >= longest { Err(wrong()) } else { Ok(None) };
    };
    let mut digits = std::str::from_utf8(&bytes[..line_end]).map_err(|_| wrong())?;
    if !dialect.is_strict() {
        digits = digits.split(';').next().unwrap_or("").trim();
    }
    let size = Some(digits).filter(|digits| !digits.starts_with('+'));
    let size = size.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let size = size.filter(|&size| size <= UNIT_BYTES_MAX).ok_or_else(wrong)? as usize;
    let begin = line_end + 2;
    if size == 0 && !dialect.is_strict() {
        // Trailers may follow; nothing of them matters.
        return match find(&bytes[line_end..], b"\r\n\r\n") {
            Some(length) => Ok(Some((&[], line_end + length + 4))),
            None if bytes.len() < TRAILERS_MAX => Ok(None),
            None => Err(Fault("trailers that do not end".into())),
        };
    }
    let Some(whole) = bytes.get(begin..begin + size + 2) else { return Ok(None) };
    if !whole.ends_with(b"\r\n") {
        return Err(Fault(format!("a chunk without its end: {}", shown(whole))));
    }
    Ok(Some((&whole[..size], begin + size + 2)))
}

/// Hands on every complete event of a node; says where the rest begins.
fn strict_events(
    text: &[u8],
    _: Dialect,
    joined: &mut Vec<u8>,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<usize, Fault> {
    let mut begin = 0;
    while let Some(length) = find(&text[begin..], b"\r\n\r\n") {
        strict_event(&text[begin..begin + length], joined, sink)?;
        begin += length + 4;
    }
    Ok(begin)
}

/// One event of a node from its lines.
fn strict_event(block: &[u8], joined: &mut Vec<u8>, sink: &mut dyn FnMut(Event<'_>)) -> Result<(), Fault> {
    let wrong = || Fault(format!("an event that is not as promised: {}", shown(block)));
    let block = std::str::from_utf8(block).map_err(|_| Fault("an event that is not UTF-8".into()))?;
    joined.clear();
    let (mut name, mut lines, mut retry) = ("", 0, None);
    for line in block.split("\r\n") {
        if line.contains(['\r', '\n']) {
            return Err(Fault("a line that does not end with CRLF".into()));
        }
        let (field, value) = line.split_once(": ").ok_or_else(wrong)?;
        match field {
            "event" if name.is_empty() => name = value,
            "data" => add_line(joined, &mut lines, value.as_bytes()),
            "retry" => retry = Some(value.parse().map_err(|_| wrong())?),
            "id" => {}
            _ => return Err(wrong()),
        }
    }
    let event = match (name, lines) {
        ("push", 1..) => Event::Push(joined),
        ("goaway", 1) if joined == GOAWAY => Event::Goaway,
        ("close", 1) => {
            let code = joined.split(|&byte| byte == b' ').next();
            let code = code.and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
            Event::Close(code.ok_or_else(wrong)?)
        }
        ("ping", 1) | ("", 0) => Event::Other,
        _ => return Err(wrong()),
    };
    if let Some(retry_ms) = retry {
        sink(Event::Retry(retry_ms));
    }
    sink(event);
    Ok(())
}

/// Hands on every complete event of any server, as a browser would; says where the rest begins. A line may end with CR, LF
/// or both; a CR at the very end is looked at once more is there, since its LF may follow.
fn events(
    text: &[u8],
    dialect: Dialect,
    joined: &mut Vec<u8>,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<usize, Fault> {
    let (mut begin, mut at, mut lines) = (0, 0, 0);
    joined.clear();
    while let Some(length) = text[at..].iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        let line = &text[at..at + length];
        at += length + 1;
        if text[at - 1] == b'\r' {
            match text.get(at) {
                Some(b'\n') => at += 1,
                Some(_) => {}
                None => break,
            }
        }
        if !line.is_empty() {
            let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
            let (field, value) = match line.iter().position(|&byte| byte == b':') {
                Some(colon) => (&line[..colon], &line[colon + 1..]),
                None => (line, &line[line.len()..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match field {
                b"data" => add_line(joined, &mut lines, value),
                b"retry" => retry(value).into_iter().for_each(|ms| sink(Event::Retry(ms))),
                _ => {}
            }
            continue;
        }
        if lines > 0 {
            let asks = dialect.has_goaway() && joined == GOAWAY;
            sink(if asks { Event::Goaway } else { Event::Push(joined) });
            joined.clear();
        }
        (begin, lines) = (at, 0);
    }
    Ok(begin)
}

/// The value of a `retry` field: digits alone, ms.
pub(super) fn retry(value: &[u8]) -> Option<u32> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()
}

fn add_line(joined: &mut Vec<u8>, lines: &mut u32, value: &[u8]) {
    if *lines > 0 {
        joined.push(b'\n');
    }
    *lines += 1;
    joined.extend_from_slice(value);
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
