//! HTTP/1.1 on the client port: request heads in, response heads out (RFC 9112).
//!
//! Owns what a head may look like and the WebSocket opening handshake. Stricter than RFC 9112 asks where leniency has no
//! honest user on this port: no bodies, no bare line feeds, origin-form targets only. Never routes, never decides who may come in.

mod head;
mod response;
mod upgrade;

pub use head::{HEADERS_MAX, Head, HeadError, parse_head};
pub use response::{Response, cors_headers, write_response};
pub use upgrade::{Upgrade, UpgradeError, websocket_upgrade, write_switching_protocols};

pub(super) use response::push_header;

#[cfg(test)]
mod tests;
