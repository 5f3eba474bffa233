//! Frame headers: the server's written, the client's read and checked (RFC 6455 5.2).

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;

use super::{Op, Violation};

/// The longest header a client's frame can have: 2 bytes, a 64-bit length, a mask.
pub(super) const CLIENT_HEADER_MAX: usize = 14;
/// The longest payload of a control frame (RFC 6455 5.5).
pub(super) const CONTROL_MAX: usize = 125;

/// Appends a whole server frame: FIN set, no mask. `compressed` sets RSV1 (RFC 7692 6), and `payload` is then compressed already.
pub fn write_frame(out: &mut Vec<u8>, opcode: Op, payload: &[u8], compressed: bool) {
    let (header, length) = frame_header(opcode, payload.len(), compressed);
    out.reserve(length + payload.len());
    out.extend_from_slice(header.get(..length).unwrap_or(&header));
    out.extend_from_slice(payload);
}

/// Bytes of a server frame with so many bytes of payload.
pub fn frame_bytes(payload: usize) -> usize {
    frame_header(Op::Text, payload, false).1 + payload
}

/// The header of a server frame with `length` bytes of payload, and the header's own length (2, 4 or 10).
pub fn frame_header(opcode: Op, length: usize, compressed: bool) -> ([u8; 10], usize) {
    debug_assert!(length <= CONTROL_MAX || matches!(opcode, Op::Text | Op::Binary));
    let code: u8 = match opcode {
        Op::Text => 0x1,
        Op::Binary => 0x2,
        Op::Close => 0x8,
        Op::Ping => 0x9,
        Op::Pong => 0xa,
    };
    let mut header = [0u8; 10];
    header[0] = 0x80 | if compressed { 0x40 } else { 0 } | code;
    if let Ok(short) = u8::try_from(length)
        && short <= 125
    {
        header[1] = short;
        (header, 2)
    } else if let Ok(medium) = u16::try_from(length) {
        header[1] = 126;
        header[2..4].copy_from_slice(&medium.to_be_bytes());
        (header, 4)
    } else {
        header[1] = 127;
        header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
        (header, 10)
    }
}

/// Appends a close frame. A reason longer than the 123 bytes there is room for is cut between characters.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let cut =
        (0..=reason.len().min(CONTROL_MAX - 2)).rev().find(|&at| reason.is_char_boundary(at)).unwrap_or(0);
    let reason = reason.get(..cut).unwrap_or("");
    let (header, length) = frame_header(Op::Close, 2 + reason.len(), false);
    out.extend_from_slice(header.get(..length).unwrap_or(&header));
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// The opcodes a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientOp {
    Continuation,
    Text,
    Binary,
    Ping,
    Pong,
    Close,
}

impl ClientOp {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Ping | Self::Pong | Self::Close)
    }
}

/// A client's frame of which `remaining` payload bytes are still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub op: ClientOp,
    pub fin: bool,
    pub compressed: bool,
    /// Turned so that its first byte belongs to the next payload byte.
    pub mask: [u8; 4],
    pub remaining: u64,
}

impl Frame {
    pub(super) fn payload_left(&self) -> usize {
        usize::try_from(self.remaining).unwrap_or(usize::MAX)
    }
}

/// Reads a frame header at the start of `bytes`: the frame and the header's length; None if more bytes are needed.
///
/// `deflate`: permessage-deflate was negotiated. `in_message`: a fragmented message is open.
pub(super) fn parse_client_header(
    bytes: &[u8],
    deflate: bool,
    in_message: bool,
) -> Result<Option<(Frame, usize)>, Violation> {
    let &[first, second, ..] = bytes else { return Ok(None) };
    // The codec reports a reserved opcode only with the whole header, and leaves the other rules to its caller.
    let op = check_start(first, second, deflate, in_message)?;
    let mut cursor = Cursor::new(bytes);
    let Some((header, length)) =
        FrameHeader::parse(&mut cursor).map_err(|_| Violation::Protocol("frame header"))?
    else {
        return Ok(None);
    };
    match second & 0x7f {
        126 if length < 126 => return Err(Violation::Protocol("length not in its shortest form")),
        127 if length <= u64::from(u16::MAX) => {
            return Err(Violation::Protocol("length not in its shortest form"));
        }
        127 if length >> 63 != 0 => return Err(Violation::Protocol("length over 63 bits")),
        _ => {}
    }
    let mask = header.mask.ok_or(Violation::Protocol("unmasked frame"))?;
    let frame = Frame { op, fin: header.is_final, compressed: header.rsv1, mask, remaining: length };
    let read = usize::try_from(cursor.position()).map_err(|_| Violation::Protocol("frame header"))?;
    Ok(Some((frame, read)))
}

/// All that the first two bytes can tell.
fn check_start(first: u8, second: u8, deflate: bool, in_message: bool) -> Result<ClientOp, Violation> {
    let op = match first & 0x0f {
        0x0 => ClientOp::Continuation,
        0x1 => ClientOp::Text,
        0x2 => ClientOp::Binary,
        0x8 => ClientOp::Close,
        0x9 => ClientOp::Ping,
        0xa => ClientOp::Pong,
        _ => return Err(Violation::Protocol("reserved opcode")),
    };
    let starts_message = matches!(op, ClientOp::Text | ClientOp::Binary);
    if first & 0x30 != 0 || (first & 0x40 != 0 && !(deflate && starts_message)) {
        return Err(Violation::Protocol("reserved bit"));
    }
    if second & 0x80 == 0 {
        return Err(Violation::Protocol("unmasked frame"));
    }
    if op.is_control() && first & 0x80 == 0 {
        return Err(Violation::Protocol("fragmented control frame"));
    }
    if op.is_control() && usize::from(second & 0x7f) > CONTROL_MAX {
        return Err(Violation::Protocol("control frame over 125 bytes"));
    }
    if op == ClientOp::Continuation && !in_message {
        return Err(Violation::Protocol("continuation of nothing"));
    }
    if starts_message && in_message {
        return Err(Violation::Protocol("message inside a fragmented message"));
    }
    Ok(op)
}
