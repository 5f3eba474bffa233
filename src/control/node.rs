//! The node itself: is it alive, is it ready, what does it count, is it leaving.

use super::{
    app::App,
    gate::{Headers, Right},
    reply::{Refusal, Reply, json, text},
    request::Query,
};
use crate::{
    bridge::{drain::DrainOrigin, registry::Health},
    config::KafkaBrokers,
    stats,
};
use hyper::{Method, Response, StatusCode, http::request::Parts};
use serde_json::json as value;

/// `GET /livez`: the control thread answers.
pub fn livez() -> Response<Reply> {
    text(StatusCode::OK, "text/plain", "ok")
}

/// `GET /readyz`: whether a balancer should send clients here.
pub fn readyz(app: &App) -> Response<Reply> {
    let ready = |ready: bool, reason: &str| {
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(status, &value!({ "ready": ready, "reason": reason }))
    };
    if app.control.drain.is_draining() {
        return ready(false, "draining");
    }
    let (config, kafka) = (app.config(), &app.control.stats.kafka);
    let has_queue = config.kafka.process && config.kafka.brokers != KafkaBrokers::None;
    match app.control.router.registry().health() {
        Health::Starting => ready(false, "the registry has not answered yet"),
        _ if has_queue && !kafka.has_answered() => ready(false, "Kafka has not answered yet"),
        Health::Ready if has_queue && !kafka.is_up() => ready(true, "kafka: it does not answer"),
        Health::Ready => ready(true, "ok"),
        // The node serves what it knows: to take it out of the balancer would help nobody.
        Health::Degraded(fault) => ready(true, &format!("registry: {fault}")),
    }
}

/// `GET /metrics`
///
/// # Errors
/// 401 and 403.
pub fn metrics(app: &App, parts: &Parts) -> Result<Response<Reply>, Refusal> {
    // No check of the query: scrapers add their own.
    app.gate.check_bearer(&Headers::of(&parts.headers, &app.identity()), Right::Read)?;
    Ok(text(StatusCode::OK, stats::CONTENT_TYPE, app.control.stats.prometheus_text()))
}

/// `GET /v1/stats`
///
/// # Errors
/// 400, 401 and 403.
pub fn statistics(app: &App, parts: &Parts) -> Result<Response<Reply>, Refusal> {
    check(app, parts, Right::Read)?;
    Ok(json(StatusCode::OK, &app.control.stats.json()))
}

/// `GET /v1/nodes`
///
/// # Errors
/// 400, 401 and 403.
pub fn nodes(app: &App, parts: &Parts) -> Result<Response<Reply>, Refusal> {
    check(app, parts, Right::Read)?;
    Ok(json(StatusCode::OK, &value!({ "nodes": app.control.router.registry().nodes() })))
}

/// `POST`, `GET` and `DELETE /v1/drain`: begin, look, take back.
///
/// # Errors
/// 400, 401 and 403; 409 when there is no drain of the API's to take back.
pub fn drain(app: &App, parts: &Parts) -> Result<Response<Reply>, Refusal> {
    let drain = &app.control.drain;
    if parts.method == Method::GET || parts.method == Method::HEAD {
        check(app, parts, Right::Read)?;
        return Ok(drain_status(app, StatusCode::OK));
    }
    let caller = check(app, parts, Right::Admin)?;
    let begin = parts.method == Method::POST;
    let changed = if begin {
        drain.start(DrainOrigin::Api, app.control.clock.now(), app.control.stats.connections())
    } else {
        drain.cancel()
    };
    let (action, outcome) = match (begin, changed) {
        (true, true) => ("drain", "begun"),
        (true, false) => ("drain", "unchanged"),
        (false, true) => ("cancel_drain", "done"),
        (false, false) => ("cancel_drain", "nothing"),
    };
    tracing::info!(target: "audit", token = caller.name(), action, outcome, "audit");
    if !begin && !changed {
        let message = "no drain that was begun here is under way: one that a signal began goes on to its end";
        return Err(Refusal::new(StatusCode::CONFLICT, "not_draining", message));
    }
    Ok(drain_status(app, StatusCode::ACCEPTED))
}

fn check(app: &App, parts: &Parts, right: Right) -> Result<super::gate::Caller, Refusal> {
    let caller = app.gate.check_bearer(&Headers::of(&parts.headers, &app.identity()), right)?;
    Query::parse(parts.uri.query(), &[])?;
    Ok(caller)
}

fn drain_status(app: &App, status: StatusCode) -> Response<Reply> {
    let drain = app.control.drain.status();
    let origin = drain.origin.map(|origin| match origin {
        DrainOrigin::Api => "api",
        DrainOrigin::Signal => "signal",
    });
    let body = value!({
        "phase": drain.phase.label(),
        "origin": origin,
        "connections": drain.connections,
        "remaining": drain.remaining,
        "elapsed_ms": drain.elapsed_ms,
        "deadline_ms": drain.deadline_ms,
    });
    json(status, &body)
}
