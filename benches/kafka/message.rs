//! What is sent: 126 bytes of text that say for whom they are, which of that user's they are, and when they were sent.

/// Bytes of a message.
pub const LENGTH: usize = 126;
/// The same with the head of its WebSocket frame.
pub const FRAME: usize = LENGTH + HEAD.len();
/// A text, unfragmented, whose length follows in two bytes.
pub const HEAD: [u8; 4] = [0x81, 126, 0, LENGTH as u8];
/// In place of a user's number: whose it is does not matter.
pub const ANYBODY: u32 = u32::MAX;

/// What a message says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    /// The user's number.
    pub user: u32,
    /// How many came before it, of the same user and lane.
    pub number: u32,
    /// When it was sent, us since this run began.
    pub sent_us: u64,
    /// A letter.
    pub lane: u8,
}

/// Writes a message. The rest is noise, so that it compresses no better than what people write.
pub fn write(said: Said, into: &mut [u8; LENGTH]) {
    hex(u64::from(said.user), &mut into[..8]);
    hex(u64::from(said.number), &mut into[8..16]);
    hex(said.sent_us, &mut into[16..32]);
    into[32] = said.lane;
    let mut noise = u64::from(said.user) << 32 | u64::from(said.number) | 1;
    for piece in into[33..].chunks_mut(12) {
        noise = noise.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) | 1;
        for (at, byte) in piece.iter_mut().enumerate() {
            *byte = b"abcdefghijklmnopqrstuvwxyz 01234"[(noise >> (at * 5)) as usize % 32];
        }
    }
}

/// Reads a frame; None: it is none of these.
pub fn read(frame: &[u8]) -> Option<Said> {
    let text = frame.strip_prefix(&HEAD)?;
    let part = |from: usize, to: usize| unhex(text.get(from..to)?);
    Some(Said {
        user: part(0, 8)? as u32,
        number: part(8, 16)? as u32,
        sent_us: part(16, 32)?,
        lane: *text.get(32)?,
    })
}

fn hex(mut value: u64, into: &mut [u8]) {
    for byte in into.iter_mut().rev() {
        *byte = b"0123456789abcdef"[(value % 16) as usize];
        value /= 16;
    }
}

fn unhex(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |value, &byte| Some(value << 4 | u64::from((byte as char).to_digit(16)?)))
}
