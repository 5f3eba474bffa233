//! WebSocket frames, a client's side (RFC 6455 5).

use super::{Dialect, Event, Fault, GOAWAY, UNIT_BYTES_MAX};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The longest payload of a control frame (RFC 6455 5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// Stands for a close frame without a code (RFC 6455 7.1.5).
pub const NO_CODE: u16 = 1005;

/// One frame as it came.
struct Frame<'a> {
    is_last: bool,
    op: u8,
    payload: &'a [u8],
}

/// Reads the frames that are complete and hands each event to `sink`; says how many bytes were used. `parts` keeps what came
/// of a message in several frames, behind its opcode.
///
/// # Errors
/// When the server breaks RFC 6455, or, being a node, its own promise not to send messages in parts.
pub fn feed(
    bytes: &[u8],
    dialect: Dialect,
    parts: &mut Vec<u8>,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<usize, Fault> {
    let mut used = 0;
    while let Some((frame, length)) = next(&bytes[used..])? {
        used += length;
        if frame.op < CLOSE && (!frame.is_last || frame.op == CONTINUATION) {
            if dialect.is_strict() {
                return Err("a fragmented message".into());
            }
            join(&frame, dialect, parts, sink)?;
        } else if frame.op < CLOSE && !parts.is_empty() {
            return Err("a new message within one in parts".into());
        } else {
            sink(event(frame.op, frame.payload, dialect)?);
        }
    }
    Ok(used)
}

/// A part of a message, and the message once it is whole.
fn join(
    frame: &Frame<'_>,
    dialect: Dialect,
    parts: &mut Vec<u8>,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<(), Fault> {
    match (frame.op, parts.is_empty()) {
        (CONTINUATION, true) => return Err("a continuation of nothing".into()),
        (CONTINUATION, false) => {}
        (_, false) => return Err("a new message within one in parts".into()),
        (op, true) => parts.push(op),
    }
    parts.extend_from_slice(frame.payload);
    if parts.len() as u64 > UNIT_BYTES_MAX {
        return Err(Fault(format!("a message of more than {UNIT_BYTES_MAX} bytes")));
    }
    if frame.is_last {
        let whole = std::mem::take(parts);
        sink(event(whole[0], &whole[1..], dialect)?);
    }
    Ok(())
}

/// What a whole message or control frame means.
fn event(op: u8, payload: &[u8], dialect: Dialect) -> Result<Event<'_>, Fault> {
    Ok(match op {
        TEXT if payload == GOAWAY && dialect.has_goaway() => Event::Goaway,
        TEXT if std::str::from_utf8(payload).is_err() => return Err("text that is not UTF-8".into()),
        TEXT | BINARY => Event::Push(payload),
        PING => Event::Ping(payload),
        CLOSE => Event::Close(close_code(payload)?),
        _ => Event::Other,
    })
}

/// The first frame, and how many bytes it takes; None when it is not complete.
fn next(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Fault> {
    let (Some(&first), Some(&second)) = (bytes.first(), bytes.get(1)) else { return Ok(None) };
    let (op, is_last) = (first & 0x0f, first & 0x80 != 0);
    if first & 0x70 != 0 {
        return Err("a frame with reserved bits, though no extension was agreed on".into());
    }
    if second & 0x80 != 0 {
        return Err("a masked frame from the server".into());
    }
    if !matches!(op, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
        return Err(Fault(format!("a frame with the reserved opcode {op}")));
    }
    let Some((length, begin)) = length(bytes, second)? else { return Ok(None) };
    if op >= CLOSE && (length > CONTROL_BYTES_MAX || !is_last) {
        return Err(Fault(format!("a control frame of {length} bytes, or a part of one")));
    }
    let Some(payload) = bytes.get(begin..begin + length) else { return Ok(None) };
    Ok(Some((Frame { is_last, op, payload }, begin + length)))
}

/// The payload's length and where it begins.
fn length(bytes: &[u8], second: u8) -> Result<Option<(usize, usize)>, Fault> {
    let (size, begin) = match second & 0x7f {
        126 => (2, 4),
        127 => (8, 10),
        short => return Ok(Some((usize::from(short), 2))),
    };
    let Some(field) = bytes.get(2..2 + size) else { return Ok(None) };
    let length = field.iter().fold(0, |length: u64, &byte| length << 8 | u64::from(byte));
    if length < 126 || size == 8 && length <= 0xffff {
        return Err(Fault(format!("a length of {length} that is not in its shortest form")));
    }
    match usize::try_from(length) {
        Ok(short) if length <= UNIT_BYTES_MAX => Ok(Some((short, begin))),
        _ => Err(Fault(format!("a frame of {length} bytes"))),
    }
}

fn close_code(payload: &[u8]) -> Result<u16, Fault> {
    match payload {
        [] => Ok(NO_CODE),
        [_] => Err("a close frame with half a code".into()),
        [high, low, reason @ ..] if std::str::from_utf8(reason).is_ok() => {
            Ok(u16::from_be_bytes([*high, *low]))
        }
        _ => Err("a close frame whose reason is not UTF-8".into()),
    }
}

/// Appends a close frame with a code.
pub fn write_close(out: &mut Vec<u8>, code: u16, mask: [u8; 4]) {
    let code = code.to_be_bytes();
    write(out, CLOSE, if code == NO_CODE.to_be_bytes() { &[] } else { &code }, mask);
}

/// Appends the answer to a ping.
pub fn write_pong(out: &mut Vec<u8>, payload: &[u8], mask: [u8; 4]) {
    write(out, PONG, payload, mask);
}

/// Appends a frame that no server may take: of a reserved opcode.
pub fn write_violation(out: &mut Vec<u8>, mask: [u8; 4]) {
    write(out, 0x0b, b"", mask);
}

/// Control frames only: the payload is short.
fn write(out: &mut Vec<u8>, op: u8, payload: &[u8], mask: [u8; 4]) {
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
    out.extend_from_slice(&[0x80 | op, 0x80 | payload.len() as u8]);
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}
