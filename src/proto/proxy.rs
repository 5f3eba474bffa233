//! The PROXY protocol, versions 1 and 2, as a balancer sends it in front of the first request byte.
//!
//! Owns the two header formats of haproxy's proxy-protocol.txt. Never decides who may send one. A fixed buffer's worth is
//! enough: a version 1 line has at most 107 bytes, a version 2 header at most [`V2_MAX`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The longest version 1 line, line end included (section 2.1).
pub const V1_MAX: usize = 107;
/// The longest version 2 header accepted, TLVs included. Addresses need at most 232 bytes; real TLVs a few hundred.
pub const V2_MAX: usize = 2048;

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;

/// What the header says about the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxied {
    /// The client's own address and port.
    Address(SocketAddr),
    /// The connection's peer stands for itself: LOCAL (a health check), UNKNOWN, or no TCP address.
    Keep,
}

/// Why a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyError {
    /// It is no valid header of either version, or a longer one than accepted. The connection is closed without a word.
    Malformed,
}

/// Whether the bytes so far begin a header of either version, or may still come to. True for no bytes at all.
pub fn may_be_proxy(buffer: &[u8]) -> bool {
    agrees(buffer, V1_SIGNATURE) || agrees(buffer, V2_SIGNATURE)
}

/// Parses a header at the start of `buffer`: what it says and its length in bytes; `Ok(None)` if more bytes are needed.
pub fn parse_proxy(buffer: &[u8]) -> Result<Option<(Proxied, usize)>, ProxyError> {
    if agrees(buffer, V2_SIGNATURE) {
        parse_v2(buffer)
    } else if agrees(buffer, V1_SIGNATURE) {
        parse_v1(buffer)
    } else {
        Err(ProxyError::Malformed)
    }
}

fn agrees(buffer: &[u8], signature: &[u8]) -> bool {
    buffer.iter().zip(signature).all(|(have, want)| have == want)
}

fn parse_v1(buffer: &[u8]) -> Result<Option<(Proxied, usize)>, ProxyError> {
    let bounded = buffer.get(..V1_MAX).unwrap_or(buffer);
    let Some(end) = bounded.windows(2).position(|pair| pair == b"\r\n") else {
        return if bounded.len() == V1_MAX { Err(ProxyError::Malformed) } else { Ok(None) };
    };
    let line = bounded.get(V1_SIGNATURE.len()..end).ok_or(ProxyError::Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| ProxyError::Malformed)?;
    let mut fields = line.split(' ');
    let proxied = match fields.next() {
        // What follows UNKNOWN must be ignored (section 2.1).
        Some("UNKNOWN") => Proxied::Keep,
        Some("TCP4") => v1_address::<Ipv4Addr>(fields)?,
        Some("TCP6") => v1_address::<Ipv6Addr>(fields)?,
        _ => return Err(ProxyError::Malformed),
    };
    Ok(Some((proxied, end + 2)))
}

/// `source destination source-port destination-port` and nothing more.
fn v1_address<'a, A: FromStr + Into<IpAddr>>(
    mut fields: impl Iterator<Item = &'a str>,
) -> Result<Proxied, ProxyError> {
    let mut field = || fields.next().ok_or(ProxyError::Malformed);
    let source: A = field()?.parse().map_err(|_| ProxyError::Malformed)?;
    let _destination: A = field()?.parse().map_err(|_| ProxyError::Malformed)?;
    let port = v1_port(field()?)?;
    v1_port(field()?)?;
    if fields.next().is_some() {
        return Err(ProxyError::Malformed);
    }
    Ok(Proxied::Address(SocketAddr::new(source.into(), port)))
}

/// Decimal, no sign, no leading zero. u16's own parser would take `+80`.
fn v1_port(text: &str) -> Result<u16, ProxyError> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    if plain { text.parse().map_err(|_| ProxyError::Malformed) } else { Err(ProxyError::Malformed) }
}

fn parse_v2(buffer: &[u8]) -> Result<Option<(Proxied, usize)>, ProxyError> {
    let &[version_command, family, high, low, ..] = buffer.get(V2_SIGNATURE.len()..).unwrap_or_default()
    else {
        return Ok(None);
    };
    let total = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if total > V2_MAX || !matches!(version_command, 0x20 | 0x21) || family >> 4 > 3 || family & 0xf > 2 {
        return Err(ProxyError::Malformed);
    }
    let Some(body) = buffer.get(V2_FIXED..total) else { return Ok(None) };
    // Addresses come first; TLVs, if any, are the rest and are skipped.
    let proxied = match (version_command, family) {
        (0x20, _) => Proxied::Keep,
        (_, 0x11) => v2_address::<4>(body)?,
        (_, 0x21) => v2_address::<16>(body)?,
        // UNSPEC, datagrams and UNIX sockets name no TCP peer.
        _ => Proxied::Keep,
    };
    Ok(Some((proxied, total)))
}

/// `source destination source-port destination-port`, N bytes an address, big-endian ports.
fn v2_address<const N: usize>(body: &[u8]) -> Result<Proxied, ProxyError>
where
    IpAddr: From<[u8; N]>,
{
    let source: [u8; N] = array_at(body, 0)?;
    let port = u16::from_be_bytes(array_at(body, 2 * N)?);
    let _destination_port: [u8; 2] = array_at(body, 2 * N + 2)?;
    Ok(Proxied::Address(SocketAddr::new(source.into(), port)))
}

fn array_at<const N: usize>(body: &[u8], at: usize) -> Result<[u8; N], ProxyError> {
    body.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).ok_or(ProxyError::Malformed)
}

#[cfg(test)]
mod tests;
