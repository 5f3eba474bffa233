//! Asking other nodes to do what was asked of this one: once each, side by side, with `scope=relayed`.
//!
//! Owns how such a request is made and what its answers come to. A node that does not answer holds up no other, and is named.

use super::app::App;
use crate::bridge::{
    peers::{Call, CallError, Peer},
    registry::Lease,
    store::node_number,
};
use bytes::Bytes;
use futures_util::future::join_all;
use hyper::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::{fmt::Write, time::Duration};

/// Who is to do something: the words of the parameter `scope`, in their order.
pub const SCOPES: &[&str] = &["fleet", "node", "relayed"];

/// See [`SCOPES`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Every node.
    Fleet,
    /// This one only.
    Node,
    /// This one, for another that was asked: it is counted and answered there.
    Relayed,
}

impl Scope {
    /// The word at a place of [`SCOPES`].
    pub fn at(place: usize) -> Self {
        [Scope::Fleet, Scope::Node, Scope::Relayed].get(place).copied().unwrap_or(Scope::Fleet)
    }
}

/// What is asked of other nodes.
pub struct Relay {
    /// `POST` or `DELETE`.
    pub method: &'static str,
    /// As it came, still percent-encoded.
    pub path: String,
    /// Parameters beside the scope.
    pub query: Vec<(&'static str, String)>,
    /// May be empty.
    pub body: Bytes,
    /// What the body is.
    pub content_type: Option<&'static str>,
    /// For all of it.
    pub timeout: Duration,
}

impl Relay {
    fn call(&self) -> Call {
        let mut path_and_query = format!("{}?scope=relayed", self.path);
        for (key, value) in &self.query {
            // Writing to a String cannot fail.
            let _ = write!(path_and_query, "&{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        }
        Call {
            method: self.method,
            path_and_query,
            body: self.body.clone(),
            content_type: self.content_type,
            timeout: self.timeout,
        }
    }
}

/// What a node has answered.
pub struct Said {
    /// Its name.
    pub node: String,
    /// None: it did not answer.
    pub answer: Option<(StatusCode, serde_json::Value)>,
}

impl Said {
    /// What it says when it has done what it was asked to.
    pub fn done(&self) -> Option<&serde_json::Value> {
        self.answer.as_ref().filter(|(status, _)| status.is_success()).map(|(_, value)| value)
    }

    /// Whether it can be told what became of the request there: it was done, or there was nothing to do.
    pub fn is_known(&self) -> bool {
        self.answer
            .as_ref()
            .is_some_and(|(status, _)| status.is_success() || *status == StatusCode::NOT_FOUND)
    }
}

/// The nodes that live, but for this one.
pub fn others(app: &App) -> Vec<Lease> {
    let mut nodes = app.control.router.registry().nodes();
    let own = app.config();
    nodes.retain(|lease| lease.node != own.node.id);
    nodes
}

/// Asks some nodes, side by side.
pub async fn ask(app: &App, nodes: &[Lease], relay: &Relay) -> Vec<Said> {
    let Some(peers) = &app.control.peers else { return Vec::new() };
    let asked = nodes.iter().map(|lease| async {
        let peer = Peer { node: node_number(&lease.node), address: lease.address.as_str().into() };
        let answer = match peers.call(&peer, relay.call()).await {
            Ok(answer) => {
                let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
                Some((status, serde_json::from_slice(&answer.body).unwrap_or_default()))
            }
            Err(fault) => {
                warn(&lease.node, &fault);
                None
            }
        };
        Said { node: lease.node.clone(), answer }
    });
    join_all(asked).await
}

fn warn(node: &str, fault: &CallError) {
    tracing::warn!(node, %fault, "another node does not answer");
}
