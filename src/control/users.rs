//! A user's devices: who is connected, and asking them to leave.

use super::{
    app::App,
    fleet::{self, Relay, SCOPES, Scope},
    gate::{Headers, Right},
    reply::{Refusal, Reply, json},
    request::{Query, name_part},
    timestamp::Timestamp,
};
use crate::{bridge::registry::Lease, kit::mailbox::Full, model::Protocol};
use hyper::{Response, StatusCode, http::request::Parts};
use serde::Serialize;
use std::time::Duration;

/// The longest block, ms.
const BLOCK_MS_MAX: u64 = 30 * 86_400_000;
/// How long another node may take to ask its connections to leave.
const RELAY_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Devices<'a> {
    user: &'a str,
    devices: Vec<DeviceRow<'a>>,
    /// There may be others: the registry does not answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

#[derive(Serialize)]
struct DeviceRow<'a> {
    device: &'a str,
    node: &'a str,
    /// Absent: one that this release does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    connected_at: Timestamp,
    expires_at: Timestamp,
}

/// `GET /v1/users/{user}/devices`; `user` is still percent-encoded.
///
/// # Errors
/// 400, 401 and 403; 503 when nobody can say.
pub async fn devices(app: &App, user: &str, parts: &Parts) -> Result<Response<Reply>, Refusal> {
    app.gate.check_bearer(&Headers::of(&parts.headers, &app.identity()), Right::Read)?;
    Query::parse(parts.uri.query(), &[])?;
    let user = name_part(user, "user")?;
    let config = app.config();
    let node = config.node.id.as_str();
    let found = app.control.router.devices(&user, app.control.clock.now()).await;
    let partial = found.unknown.is_some();
    if partial && found.devices.is_empty() {
        return Err(Refusal::registry_away());
    }
    let rows = found.devices.iter().map(|found| DeviceRow {
        device: &found.device,
        node: found.node.as_deref().unwrap_or(node),
        protocol: found.protocol.map(Protocol::label),
        connected_at: Timestamp(found.connected_unix_s),
        expires_at: Timestamp(found.expires_unix_s),
    });
    let devices: Vec<DeviceRow<'_>> = rows.collect();
    let status = if devices.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK };
    Ok(json(status, &Devices { user: &user, devices, partial }))
}

/// `DELETE /v1/users/{user}` and `DELETE /v1/users/{user}/devices/{device}`; both names are still percent-encoded.
///
/// # Errors
/// 400, 401 and 403; 404 when nobody was there to ask and nobody is to be kept out; 503 when a mailbox was full, or a node did
/// not answer.
pub async fn disconnect(
    app: &App,
    user: &str,
    device: Option<&str>,
    parts: &Parts,
) -> Result<Response<Reply>, Refusal> {
    let query =
        Query::parse(parts.uri.query(), if device.is_some() { &["scope"] } else { &["block", "scope"] })?;
    let scope = Scope::at(query.word("scope", SCOPES)?);
    let right = if scope == Scope::Relayed { Right::Peer } else { Right::Admin };
    let caller = app.gate.check_bearer(&Headers::of(&parts.headers, &app.identity()), right)?;
    let user = name_part(user, "user")?;
    let device = device.map(|device| name_part(device, "device")).transpose()?;
    let block_ms = query.duration_ms("block")?.filter(|&block_ms| block_ms > 0);
    if block_ms.is_some_and(|block_ms| block_ms > BLOCK_MS_MAX) {
        return Err(Refusal::bad_request("bad_parameter", "block must be at most 30d"));
    }
    // First the block: whoever is asked to leave comes back at once.
    if let Some(block_ms) = block_ms {
        let unix_ms = app.control.clock.now().unix_ms;
        app.control.blocks.block(&user, unix_ms.saturating_add(block_ms), unix_ms);
    }
    let (mut asked, mut is_whole) = match app.control.router.disconnect_here(&user, device.as_deref()) {
        Ok(asked) => (asked as u64, true),
        Err(Full(asked)) => (asked as u64, false),
    };
    if scope == Scope::Fleet {
        let nodes = nodes_of(app, &user, block_ms.is_some()).await;
        let relay = Relay {
            method: "DELETE",
            path: parts.uri.path().to_owned(),
            query: block_ms.map(|block_ms| ("block", format!("{block_ms}ms"))).into_iter().collect(),
            body: bytes::Bytes::new(),
            content_type: None,
            timeout: RELAY_TIMEOUT,
        };
        for said in fleet::ask(app, &nodes, &relay).await {
            is_whole &= said.is_known();
            asked += said.done().and_then(|value| value["asked"].as_u64()).unwrap_or(0);
        }
    }
    let outcome = match (is_whole, asked > 0 || block_ms.is_some()) {
        (false, _) => "partly",
        (true, true) => "done",
        (true, false) => "nothing",
    };
    let (name, device) = (&*user, device.as_deref());
    tracing::info!(target: "audit", token = caller.name(), action = "disconnect", user = name, device, block_ms, asked, outcome, "audit");
    if !is_whole {
        let message =
            format!("{asked} were asked to leave, and not all could be; send it again for the rest");
        return Err(Refusal::overloaded("overloaded", message));
    }
    if asked == 0 && block_ms.is_none() {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "not_connected",
            "no such user or device is connected",
        ));
    }
    Ok(json(StatusCode::ACCEPTED, &serde_json::json!({ "asked": asked, "blocked": block_ms.is_some() })))
}

/// The other nodes that have to hear of a disconnect: all of a block, and where nobody knows who holds connections of the user.
async fn nodes_of(app: &App, user: &str, block: bool) -> Vec<Lease> {
    let mut nodes = fleet::others(app);
    if block || nodes.is_empty() {
        return nodes;
    }
    if let Ok(routes) = app.control.router.elsewhere(user).await {
        nodes.retain(|lease| routes.iter().any(|route| *route.node == *lease.node));
    }
    nodes
}
