//! `POST /v1/broadcast` and `DELETE /v1/broadcasts/{id}`.

use super::{
    app::{App, Options},
    connection::Watch,
    gate::{Headers, Right},
    reply::{Refusal, Reply, json},
    request::{Kind, Query, name_part, read_body},
};
use crate::{
    bridge::broadcasts::NotStarted,
    model::{Outcome, mail},
};
use hyper::{Response, StatusCode, body::Incoming, http::request::Parts};
use std::{sync::Arc, time::Duration};

const PARAMETERS: &[&str] = &["scope", "spread", "lane", "ttl", "id", "collapse", "timeout"];

/// The longest spread, ms: connections live about as long, so a slower broadcast would miss most of those that come.
const SPREAD_MS_MAX: u64 = 3_600_000;
/// What an answer waits for beyond the spread and the time-out of the last message, ms.
const SLACK_MS: u64 = 1_000;

/// Sends one message to every connection, and answers when all have their outcome or the time is over. One that is not
/// through by then, or whose sender leaves, goes on, and is counted all the same.
///
/// # Errors
/// As the page of the API says.
pub async fn start(
    app: &App,
    watch: &Watch,
    parts: &Parts,
    mut body: Incoming,
) -> Result<Response<Reply>, Refusal> {
    let headers = Headers::of(&parts.headers, &app.identity);
    let caller = app.gate.check_bearer(&headers, Right::Admin)?;
    let query = Query::parse(parts.uri.query(), PARAMETERS)?;
    // A node that is alone is the fleet.
    query.word("scope", &["fleet", "node"])?;
    let spread_ms = query.duration_ms("spread")?.unwrap_or(0);
    if spread_ms > SPREAD_MS_MAX {
        return Err(Refusal::bad_request("bad_parameter", "spread must be at most 1h"));
    }
    let delivery_ms = app.control.config.delivery.timeout_ms;
    let wait_ms = delivery_ms.saturating_add(spread_ms).saturating_add(SLACK_MS);
    let wait_ms = query.duration_ms("timeout")?.unwrap_or(wait_ms).min(wait_ms);
    let id = query.name("id")?.map_or_else(|| app.draw_id(), str::to_owned);
    let options = Options {
        lane: query.value("lane"),
        ttl_ms: query.duration_ms("ttl")?,
        id: query.value("id"),
        collapse: query.value("collapse"),
        timeout_ms: None,
    };
    let payload = read_body(&mut body, app.control.config.limits.push_bytes, watch).await?;
    let message = app.message(Kind::of(headers.content_type).body(payload)?, &options)?;
    let bytes = message.body.bytes().len();
    let started = app.control.broadcasts.start(&app.control.router, &id, Arc::new(message), spread_ms);
    let broadcast = started.map_err(not_started)?;
    tracing::info!(target: "audit", token = caller.name(), action = "broadcast", id, bytes, spread_ms, "audit");
    let done = std::future::poll_fn(|cx| broadcast.tally.poll_done(cx));
    let in_time = tokio::time::timeout(Duration::from_millis(wait_ms), done).await.is_ok();
    if in_time {
        app.control.broadcasts.reap(&app.control.stats);
    }
    Ok(json(StatusCode::OK, &report(app, &id, &broadcast, in_time)))
}

/// Ends a broadcast: connections that it has not reached are left out. `id` is still percent-encoded.
///
/// # Errors
/// 400, 401 and 403; 404 when none of that id is under way.
pub fn stop(app: &App, id: &str, parts: &Parts) -> Result<Response<Reply>, Refusal> {
    let headers = Headers::of(&parts.headers, &app.identity);
    let caller = app.gate.check_bearer(&headers, Right::Admin)?;
    Query::parse(parts.uri.query(), &[])?;
    let id = name_part(id, "broadcast's id")?;
    if !app.control.broadcasts.stop(&id) {
        let message = "no broadcast of this id is under way";
        return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", message));
    }
    tracing::info!(target: "audit", token = caller.name(), action = "stop_broadcast", id = &*id, "audit");
    Ok(json(StatusCode::ACCEPTED, &serde_json::json!({ "id": id })))
}

fn report(app: &App, id: &str, broadcast: &mail::Broadcast, complete: bool) -> serde_json::Value {
    let count = |outcome: Outcome| (outcome.label().to_owned(), broadcast.tally.count(outcome).into());
    let outcomes: serde_json::Map<_, _> = Outcome::ALL.into_iter().map(count).collect();
    let nodes = app.control.router.registry().nodes().len();
    serde_json::json!({ "id": id, "nodes": nodes, "complete": complete, "outcomes": outcomes })
}

fn not_started(why: NotStarted) -> Refusal {
    match why {
        NotStarted::TooMany => Refusal::overloaded("too_many_broadcasts", why.to_string()),
        NotStarted::SameId => Refusal::new(StatusCode::CONFLICT, "same_id", why.to_string()),
    }
}
