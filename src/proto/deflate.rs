//! permessage-deflate (RFC 7692), always without context takeover on either side.
//!
//! Each message is its own deflate stream, so a connection keeps nothing between messages and one compressor serves a whole
//! shard. Compressed frames are shared between connections, whatever window each allows the server: no match reaches back
//! further than its message is long, so a message no longer than the window may be compressed for it, and a longer one goes as
//! it is.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What a sync flush ends with; it is left out on the wire (RFC 7692 7.2.1).
const FLUSH_TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// The tail put back, then an empty final block: a message that stops in the middle of a block never reaches its end.
const INFLATE_TAIL: [u8; 6] = [0x00, 0x00, 0xff, 0xff, 0x03, 0x00];
const OFFER_PARAMETERS_MAX: usize = 4;

/// An accepted offer; it knows how to answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// The offer's `server_max_window_bits`, which the answer must name as well (RFC 7692 7.1.2.1).
    server_window_bits: Option<u8>,
}

/// The largest window of deflate, and the one in force unless another is negotiated: 32 KiB.
pub const WINDOW_BITS_MAX: u8 = 15;

impl Negotiated {
    /// The window that the client keeps for what the server sends: 8 to 15, of a power of two bytes.
    pub fn server_window_bits(&self) -> u8 {
        self.server_window_bits.unwrap_or(WINDOW_BITS_MAX)
    }

    /// Appends the value of `Sec-WebSocket-Extensions` that accepts the offer.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"permessage-deflate; server_no_context_takeover; client_no_context_takeover");
        if let Some(bits) = self.server_window_bits {
            out.extend_from_slice(b"; server_max_window_bits=");
            out.extend_from_slice(bits.to_string().as_bytes());
        }
    }
}

/// Picks the first acceptable permessage-deflate offer out of the `Sec-WebSocket-Extensions` lines of a request.
///
/// An offer with an unknown, repeated or malformed parameter is passed over (RFC 7692 5.1, 7.1). None: the connection goes without compression. `client_max_window_bits` is understood and left unanswered, which
/// leaves the client free to use any window: the decompressor reads them all.
pub fn negotiate<'a>(extensions: impl Iterator<Item = &'a str>) -> Option<Negotiated> {
    extensions.flat_map(|line| split_outside_quotes(line, b',')).find_map(accept_offer)
}

fn accept_offer(offer: &str) -> Option<Negotiated> {
    let mut parts = split_outside_quotes(offer, b';').map(str::trim_ascii);
    if parts.next() != Some("permessage-deflate") {
        return None;
    }
    let mut seen: [&str; OFFER_PARAMETERS_MAX] = [""; OFFER_PARAMETERS_MAX];
    let mut server_window_bits = None;
    for (index, part) in parts.enumerate() {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_ascii(), Some(unquote(value.trim_ascii())?)),
            None => (part, None),
        };
        if seen.contains(&name) {
            return None;
        }
        *seen.get_mut(index)? = name;
        match (name, value) {
            (
                "server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits",
                None,
            ) => {}
            ("client_max_window_bits", Some(bits)) => _ = window_bits(bits)?,
            ("server_max_window_bits", Some(bits)) => server_window_bits = Some(window_bits(bits)?),
            _ => return None,
        }
    }
    Some(Negotiated { server_window_bits })
}

/// 8 to 15, decimal, without a leading zero (RFC 7692 7.1.2).
fn window_bits(text: &str) -> Option<u8> {
    let bits: u8 = text.parse().ok()?;
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    (plain && (8..=15).contains(&bits)).then_some(bits)
}

/// A parameter's value is a token or the same token in quotes (RFC 6455 9.1).
fn unquote(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

fn split_outside_quotes(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |character: char| {
        quoted ^= character == '"';
        !quoted && character == char::from(separator)
    })
}

/// A shard's compressor. About 380 KiB from its first use on, nothing before.
#[derive(Default)]
pub struct Deflater {
    stream: Option<Compress>,
}

impl Deflater {
    /// Appends the payload of a compressed frame (RFC 7692 7.2.1) to `out`. It may be longer than `payload`.
    pub fn compress(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let stream = self.stream.get_or_insert_with(|| Compress::new(Compression::default(), false));
        stream.reset();
        let start = out.len();
        out.reserve(payload.len() / 2 + 64);
        let mut rest = payload;
        loop {
            let before = stream.total_in();
            let status = stream.compress_vec(rest, out, FlushCompress::Sync);
            let consumed = usize::try_from(stream.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(consumed..).unwrap_or_default();
            // A flush is complete once the compressor leaves room in the output (zlib's rule for Z_SYNC_FLUSH).
            if status.is_err() || (rest.is_empty() && out.len() < out.capacity()) {
                break;
            }
            out.reserve(rest.len() / 2 + 64);
        }
        debug_assert!(rest.is_empty() && out.get(start..).is_some_and(|made| made.ends_with(&FLUSH_TAIL)));
        out.truncate(out.len().saturating_sub(FLUSH_TAIL.len()).max(start));
    }
}

/// Why a compressed message can not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InflateError {
    /// Not a deflate stream, or not a whole one.
    Corrupt,
    /// It inflates to more than the limit.
    TooBig,
}

/// A shard's decompressor. About 48 KiB from its first use on, nothing before.
#[derive(Default)]
pub struct Inflater {
    stream: Option<Box<Decompress>>,
    scratch: Vec<u8>,
}

impl Inflater {
    /// Inflates the payload of one compressed message and appends it to `out`: at most `limit` bytes, or
    /// [`InflateError::TooBig`]. `out` never grows by more than that, whatever the payload promises.
    pub fn inflate(&mut self, payload: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), InflateError> {
        let stream = self.stream.get_or_insert_with(|| Box::new(Decompress::new(false)));
        stream.reset(false);
        // Strictly an empty message is one zero byte (RFC 7692 7.2.3.6), but no byte at all can mean nothing else.
        if payload.is_empty() {
            return Ok(());
        }
        let end = out.len().saturating_add(limit);
        if inflate_part(stream, payload, end, out)? {
            return Ok(());
        }
        if inflate_part(stream, &INFLATE_TAIL, end, out)? { Ok(()) } else { Err(InflateError::Corrupt) }
    }

    /// Like [`Self::inflate`], into a buffer that is used again for the next message.
    pub fn inflated(&mut self, payload: &[u8], limit: usize) -> Result<&[u8], InflateError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let result = self.inflate(payload, limit, &mut scratch);
        self.scratch = scratch;
        result.map(|()| self.scratch.as_slice())
    }
}

/// Inflates all of `input`; true if a final block ended exactly with it. A final block before that ends only its stream (RFC
/// 7692 7.2.3.5), and another begins.
fn inflate_part(
    stream: &mut Decompress,
    mut input: &[u8],
    end: usize,
    out: &mut Vec<u8>,
) -> Result<bool, InflateError> {
    let mut block = [0u8; 4096];
    loop {
        let (read, written) = (stream.total_in(), stream.total_out());
        let status =
            stream.decompress(input, &mut block, FlushDecompress::None).map_err(|_| InflateError::Corrupt)?;
        let consumed = usize::try_from(stream.total_in() - read).unwrap_or(usize::MAX);
        let produced = usize::try_from(stream.total_out() - written).unwrap_or(usize::MAX);
        input = input.get(consumed..).unwrap_or_default();
        let made = block.get(..produced).unwrap_or_default();
        if made.len() > end.saturating_sub(out.len()) {
            return Err(InflateError::TooBig);
        }
        out.extend_from_slice(made);
        match status {
            Status::StreamEnd if input.is_empty() => return Ok(true),
            Status::StreamEnd => stream.reset(false),
            // A full block may have left more behind in the decompressor.
            _ if input.is_empty() && produced < block.len() => return Ok(false),
            _ if consumed == 0 && produced == 0 => return Err(InflateError::Corrupt),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
