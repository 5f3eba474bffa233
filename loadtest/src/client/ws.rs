//! WebSocket frames, a client's side (RFC 6455 5).

use super::{Event, Fault, GOAWAY, UNIT_BYTES_MAX};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The longest payload of a control frame (RFC 6455 5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// Stands for a close frame without a code (RFC 6455 7.1.5).
pub const NO_CODE: u16 = 1005;

/// The first frame, and how many bytes it takes; None when it is not complete.
///
/// # Errors
/// When the server breaks RFC 6455, or its own promises: unfragmented, and uncompressed since that was not offered.
pub fn next(bytes: &[u8]) -> Result<Option<(Event<'_>, usize)>, Fault> {
    let (Some(&first), Some(&second)) = (bytes.first(), bytes.get(1)) else { return Ok(None) };
    let op = first & 0x0f;
    if first & 0x70 != 0 {
        return Err("a frame with reserved bits, though no extension was agreed on".into());
    }
    if second & 0x80 != 0 {
        return Err("a masked frame from the server".into());
    }
    if first & 0x80 == 0 || op == 0 {
        return Err("a fragmented message".into());
    }
    if !matches!(op, TEXT | BINARY | CLOSE | PING | PONG) {
        return Err(Fault(format!("a frame with the reserved opcode {op}")));
    }
    let Some((length, begin)) = length(bytes, second)? else { return Ok(None) };
    if op >= CLOSE && length > CONTROL_BYTES_MAX {
        return Err(Fault(format!("a control frame of {length} bytes")));
    }
    let Some(payload) = bytes.get(begin..begin + length) else { return Ok(None) };
    let event = match op {
        TEXT if payload == GOAWAY => Event::Goaway,
        TEXT if std::str::from_utf8(payload).is_err() => return Err("text that is not UTF-8".into()),
        TEXT | BINARY => Event::Push(payload),
        PING => Event::Ping(payload),
        CLOSE => Event::Close(close_code(payload)?),
        _ => Event::Other,
    };
    Ok(Some((event, begin + length)))
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
