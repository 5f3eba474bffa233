//! `GET /v1/openapi.json`: what this port understands, in a form for programs (OpenAPI 3.1).
//!
//! Owns the description, `openapi/document.json`, which is written by hand and from which docs/api.md is made. Tests hold it
//! to the routes and to the words of the refusals, and send what it says to a running node.

#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;

use super::{
    app::App,
    reply::{Refusal, Reply, json_bytes, status_only},
    request::Query,
};
use crate::{
    bridge::format::{FORMAT, FORMAT_OLDEST},
    config::Config,
};
use bytes::Bytes;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{ETAG, HeaderValue, IF_NONE_MATCH},
    http::request::Parts,
};
use std::hash::BuildHasher;

const SOURCE: &str = include_str!("openapi/document.json");
/// What of the source stands for the node's own, as it is written there.
const VERSION: &str = "\"version\": \"0.0.0\"";
const LANES: &str = "\"enum\": [\"high\", \"normal\", \"low\"]";
const IDENTITY: &str = "\"name\": \"X-CUSTOMER_ID\"";

const FORMATS: &str = "\"enum\": [\"1\"]";

/// The description as one node gives it: with its release, its lanes, its identity header and the frames
/// that it reads.
pub struct Document {
    body: Bytes,
    etag: HeaderValue,
}

impl Document {
    /// That of a node with this configuration.
    pub fn new(config: &Config) -> Self {
        let lanes: Vec<&str> = config.lanes.iter().map(|(_, lane)| lane.name.as_str()).collect();
        let formats: Vec<String> = (FORMAT_OLDEST..=FORMAT).map(|format| format.to_string()).collect();
        let text = SOURCE
            .replace(VERSION, &format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION")))
            .replace(FORMATS, &format!("\"enum\": {}", serde_json::json!(formats)))
            .replace(LANES, &format!("\"enum\": {}", serde_json::json!(lanes)))
            .replace(IDENTITY, &format!("\"name\": {}", serde_json::json!(config.internal.identity_header)));
        let hash = foldhash::fast::FixedState::default().hash_one(&text);
        // Hexadecimal digits in quotes are a header's value.
        let etag =
            HeaderValue::from_str(&format!("\"{hash:016x}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Self { body: text.into(), etag }
    }
}

/// Answers with the description. It needs no token: nothing of it is secret.
///
/// # Errors
/// 400 for a query.
pub fn openapi(app: &App, parts: &Parts) -> Result<Response<Reply>, Refusal> {
    Query::parse(parts.uri.query(), &[])?;
    let document = app.openapi();
    let Document { body, etag } = &*document;
    let mut response = match parts.headers.get(IF_NONE_MATCH) {
        Some(known) if known == etag => status_only(StatusCode::NOT_MODIFIED, HeaderMap::new()),
        _ => json_bytes(StatusCode::OK, body.clone(), HeaderMap::new()),
    };
    response.headers_mut().insert(ETAG, etag.clone());
    Ok(response)
}
