//! An event stream in HTTP chunks, a client's side (WHATWG HTML 9.2.6, RFC 9112 7.1).

use super::{Event, Fault, GOAWAY, UNIT_BYTES_MAX};
use crate::message::shown;

/// The longest size of a chunk in hex, with its line end.
const SIZE_LINE_MAX: usize = 18;

/// Reads the chunks that are complete and hands each event to `sink`; says how many bytes were used. `text` keeps the
/// beginning of an event whose chunk did not end it, `joined` is room for data of several lines.
///
/// # Errors
/// When a chunk, a line or a field is not as the server promises.
pub fn feed(
    bytes: &[u8],
    text: &mut Vec<u8>,
    joined: &mut Vec<u8>,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<usize, Fault> {
    let mut used = 0;
    while let Some((chunk, length)) = chunk(&bytes[used..])? {
        used += length;
        if chunk.is_empty() {
            if !text.is_empty() {
                return Err(Fault(format!("the stream ends within an event: {}", shown(text))));
            }
            sink(Event::End);
        } else if text.is_empty() {
            let rest = events(chunk, joined, sink)?;
            text.extend_from_slice(&chunk[rest..]);
        } else {
            text.extend_from_slice(chunk);
            let rest = events(text, joined, sink)?;
            text.drain(..rest);
        }
    }
    Ok(used)
}

/// The first chunk's bytes, and how many it takes with its frame around. The last chunk is empty.
fn chunk(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, Fault> {
    let Some(line_end) = find(&bytes[..bytes.len().min(SIZE_LINE_MAX)], b"\r\n") else {
        let hopeless = bytes.len() >= SIZE_LINE_MAX;
        return if hopeless { Err(Fault(format!("no chunk's size: {}", shown(bytes)))) } else { Ok(None) };
    };
    let digits = std::str::from_utf8(&bytes[..line_end]).ok().filter(|digits| !digits.starts_with('+'));
    let size = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let size = size.filter(|&size| size <= UNIT_BYTES_MAX);
    let size = size.ok_or_else(|| Fault(format!("no chunk's size: {}", shown(bytes))))? as usize;
    let begin = line_end + 2;
    let Some(whole) = bytes.get(begin..begin + size + 2) else { return Ok(None) };
    if !whole.ends_with(b"\r\n") {
        return Err(Fault(format!("a chunk without its end: {}", shown(whole))));
    }
    Ok(Some((&whole[..size], begin + size + 2)))
}

/// Hands on every complete event; says where the rest begins.
fn events(text: &[u8], joined: &mut Vec<u8>, sink: &mut dyn FnMut(Event<'_>)) -> Result<usize, Fault> {
    let mut begin = 0;
    while let Some(length) = find(&text[begin..], b"\r\n\r\n") {
        sink(event(&text[begin..begin + length], joined)?);
        begin += length + 4;
    }
    Ok(begin)
}

/// One event from its lines.
fn event<'a>(block: &[u8], joined: &'a mut Vec<u8>) -> Result<Event<'a>, Fault> {
    let wrong = || Fault(format!("an event that is not as promised: {}", shown(block)));
    let block = std::str::from_utf8(block).map_err(|_| Fault("an event that is not UTF-8".into()))?;
    joined.clear();
    let (mut name, mut lines) = ("", 0);
    for line in block.split("\r\n") {
        if line.contains(['\r', '\n']) {
            return Err(Fault("a line that does not end with CRLF".into()));
        }
        let (field, value) = line.split_once(": ").ok_or_else(wrong)?;
        match field {
            "event" if name.is_empty() => name = value,
            "data" => {
                if lines > 0 {
                    joined.push(b'\n');
                }
                lines += 1;
                joined.extend_from_slice(value.as_bytes());
            }
            "retry" if value.parse::<u32>().is_ok() => {}
            "id" => {}
            _ => return Err(wrong()),
        }
    }
    match (name, lines) {
        ("push", 1..) => Ok(Event::Push(joined)),
        ("goaway", 1) if joined == GOAWAY => Ok(Event::Goaway),
        ("close", 1) => {
            let code =
                joined.splitn(2, |&byte| byte == b' ').next().and_then(|code| std::str::from_utf8(code).ok());
            Ok(Event::Close(code.and_then(|code| code.parse().ok()).ok_or_else(wrong)?))
        }
        ("ping", 1) | ("", 0) => Ok(Event::Other),
        _ => Err(wrong()),
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
