//! The node itself: is it alive, is it ready, what does it count, is it leaving.

use super::{
    Control,
    app::App,
    gate::{Headers, Right},
    reply::{Refusal, Reply, json, text},
    request::Query,
};
use crate::{
    bridge::{
        drain::{DrainOrigin, DrainStatus},
        registry::Health,
    },
    clock::Clock,
    config::{KafkaBrokers, RegistryUrl},
    stats,
};
use hyper::{Method, Response, StatusCode, http::request::Parts};
use serde_json::json as value;
use std::borrow::Cow;

/// `GET /livez`: the control thread answers.
pub fn livez() -> Response<Reply> {
    text(StatusCode::OK, "text/plain", "ok")
}

/// `GET /readyz`: whether a balancer should send clients here.
pub fn readyz(app: &App) -> Response<Reply> {
    let (ready, reason) = readiness(app);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &value!({ "ready": ready, "reason": reason }))
}

/// Whether it should, and why not, or which part is away all the same.
fn readiness(app: &App) -> (bool, Cow<'static, str>) {
    if app.control.drain.is_draining() {
        return (false, "draining".into());
    }
    let (kafka, has_queue) = (&app.control.stats.kafka, has_queue(app));
    match app.control.router.registry().health() {
        Health::Starting => (false, "the registry has not answered yet".into()),
        _ if has_queue && !kafka.has_answered() => (false, "Kafka has not answered yet".into()),
        Health::Ready if has_queue && !kafka.is_up() => (true, "kafka: it does not answer".into()),
        Health::Ready => (true, "ok".into()),
        // The node serves what it knows: to take it out of the balancer would help nobody.
        Health::Degraded(fault) => (true, format!("registry: {fault}").into()),
    }
}

/// Whether the node reads the queue.
fn has_queue(app: &App) -> bool {
    let kafka = &app.config().kafka;
    kafka.process && kafka.brokers != KafkaBrokers::None
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
pub async fn statistics(app: &App, parts: &Parts) -> Result<Response<Reply>, Refusal> {
    check(app, parts, Right::Read)?;
    Ok(json(StatusCode::OK, &numbers(app).await))
}

/// What the node counts, with the lifetimes of its connections and how its parts are.
pub async fn numbers(app: &App) -> serde_json::Value {
    let (config, Control { router, clock, stats, .. }) = (app.config(), &app.control);
    let survey = app.surveyor.survey(router, &config.lifetime, *clock).await;
    let mut numbers = stats.json();
    let now = clock.now();
    numbers["unix_ms"] = now.unix_ms.into();
    numbers["uptime_s"] = (now.millis().saturating_sub(Clock::FIRST_MS) / 1_000).into();
    numbers["lifetimes"] = survey.json(&config.lifetime);
    let (ready, reason) = readiness(app);
    numbers["ready"] = value!({ "ready": ready, "reason": reason });
    numbers["kafka"]["read_here"] = has_queue(app).into();
    let registry = stats.fleet.registry();
    numbers["registry"] = value!({
        "shared": config.registry.url != RegistryUrl::Memory,
        "up": registry.up,
        "unsettled": registry.unsettled,
        "healing": registry.healing,
        "nodes": registry.nodes,
    });
    numbers
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
    if changed {
        app.feed.look();
    }
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
    json(status, &drain_json(&app.control.drain.status()))
}

/// A drain as `GET /v1/drain` and the event `drain` show it.
pub fn drain_json(drain: &DrainStatus) -> serde_json::Value {
    let origin = drain.origin.map(|origin| match origin {
        DrainOrigin::Api => "api",
        DrainOrigin::Signal => "signal",
    });
    value!({
        "phase": drain.phase.label(),
        "origin": origin,
        "connections": drain.connections,
        "remaining": drain.remaining,
        "elapsed_ms": drain.elapsed_ms,
        "deadline_ms": drain.deadline_ms,
    })
}
