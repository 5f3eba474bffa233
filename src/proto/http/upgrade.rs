//! The WebSocket opening handshake, server side (RFC 6455 4.2).

use tungstenite::handshake::derive_accept_key;

use super::{Head, push_header};
use crate::proto::deflate::{self, Negotiated};

/// A request that may become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upgrade<'b> {
    /// `Sec-WebSocket-Key`, checked: the base64 of 16 bytes.
    pub key: &'b str,
    /// permessage-deflate as both sides can have it; None if not offered, not acceptable or not enabled.
    pub deflate: Option<Negotiated>,
    /// The first `Sec-WebSocket-Protocol` line. To ask for one protocol, [`Head::offers_protocol`] looks at all lines.
    pub protocols: Option<&'b str>,
}

/// Why a request can not become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeError {
    /// It does not ask for it: 400.
    NotAnUpgrade,
    /// It asks for another version: 426 with `Sec-WebSocket-Version: 13` (RFC 6455 4.4).
    BadVersion,
    /// It asks for it wrongly: 400. The text is for a log line.
    Malformed(&'static str),
}

impl UpgradeError {
    /// The HTTP status that answers it.
    pub fn status(self) -> u16 {
        match self {
            Self::NotAnUpgrade | Self::Malformed(_) => 400,
            Self::BadVersion => 426,
        }
    }
}

/// Checks a request against RFC 6455 4.2.1. The version is looked at before the key: other versions have other keys.
pub fn websocket_upgrade<'b>(head: &Head<'b>, deflate_enabled: bool) -> Result<Upgrade<'b>, UpgradeError> {
    if head.method() != "GET"
        || !head.has_token("upgrade", "websocket")
        || !head.has_token("connection", "upgrade")
    {
        return Err(UpgradeError::NotAnUpgrade);
    }
    single(head, "upgrade", "repeated Upgrade")?;
    match single(head, "sec-websocket-version", "repeated Sec-WebSocket-Version")? {
        Some("13") => {}
        Some(_) => return Err(UpgradeError::BadVersion),
        None => return Err(UpgradeError::Malformed("missing Sec-WebSocket-Version")),
    }
    let key = single(head, "sec-websocket-key", "repeated Sec-WebSocket-Key")?
        .ok_or(UpgradeError::Malformed("missing Sec-WebSocket-Key"))?;
    if !is_key(key) {
        return Err(UpgradeError::Malformed("bad Sec-WebSocket-Key"));
    }
    let deflate = if deflate_enabled {
        let lines = head.header_lines("sec-websocket-extensions");
        deflate::negotiate(lines.filter_map(|line| std::str::from_utf8(line).ok()))
    } else {
        None
    };
    Ok(Upgrade { key, deflate, protocols: head.header("sec-websocket-protocol") })
}

fn single<'b>(head: &Head<'b>, name: &str, repeated: &'static str) -> Result<Option<&'b str>, UpgradeError> {
    let mut lines = head.header_lines(name);
    let first = lines.next();
    if lines.next().is_some() {
        return Err(UpgradeError::Malformed(repeated));
    }
    // What is not UTF-8 is none of the values looked for here.
    Ok(first.map(|value| std::str::from_utf8(value).unwrap_or("")))
}

/// 16 bytes are 22 base64 digits and two pads. The four bits left over in the last digit are not looked at.
fn is_key(key: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    key.len() == 24 && key.strip_suffix("==").is_some_and(|digits| digits.bytes().all(digit))
}

/// Appends the 101 response (RFC 6455 4.2.2). `protocol` must be one that the client offered.
pub fn write_switching_protocols(
    out: &mut Vec<u8>,
    key: &str,
    deflate: Option<&Negotiated>,
    protocol: Option<&str>,
) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    );
    push_header(out, "Sec-WebSocket-Accept", &derive_accept_key(key.as_bytes()));
    if let Some(protocol) = protocol {
        push_header(out, "Sec-WebSocket-Protocol", protocol);
    }
    if let Some(deflate) = deflate {
        out.extend_from_slice(b"Sec-WebSocket-Extensions: ");
        deflate.write(out);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
