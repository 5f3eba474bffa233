//! Holdfast holds millions of mostly idle WebSocket and SSE connections and pushes messages down them.
//!
//! The crate is the server and a library: a team brings its own [`conn::auth::Authenticator`], or embeds the whole node
//! through [`server`], or sends through a [`sender::Sender`]. Modules are layers and import only downward; `tests/tidy.rs` checks it.

pub mod bridge;
pub mod clock;
pub mod commands;
pub mod config;
pub mod conn;
pub mod control;
pub mod directory;
pub mod kit;
pub mod model;
pub mod ops;
pub mod proto;
pub mod sender;
pub mod server;
pub mod shard;
#[cfg(any(test, feature = "sim"))]
#[allow(missing_docs, reason = "equipment of tests, whose names say what they are")]
pub mod sim;
pub mod stats;
