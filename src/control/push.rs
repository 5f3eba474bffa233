//! One message for one user: Zuul's endpoint and `POST /v1/users/{user}/push`. The hot paths.

use super::{
    app::{App, Options},
    connection::Watch,
    gate::{Headers, Right},
    reply::{Refusal, Reply, json_bytes, status_only},
    request::{Query, check_name, checked_body, kind_of, name_part, read_body},
};
use crate::model::{Kind, Outcome};
use hyper::{Method, Response, StatusCode, body::Incoming, http::request::Parts};
use std::{net::IpAddr, sync::Arc};

const PUSH_PARAMETERS: &[&str] = &["device", "lane", "ttl", "id", "collapse", "wait", "timeout"];

/// Zuul's endpoint: the answer is a status, its body empty.
pub async fn zuul(
    app: &App,
    peer: IpAddr,
    watch: &Watch,
    mut parts: Parts,
    body: Incoming,
) -> Response<Reply> {
    let answered = try_zuul(app, peer, watch, &parts, body).await;
    let spent = std::mem::take(&mut parts.headers);
    match answered {
        Ok(status) => status_only(status, spent),
        Err(refusal) => refusal.into_bare_response(spent),
    }
}

async fn try_zuul(
    app: &App,
    peer: IpAddr,
    watch: &Watch,
    parts: &Parts,
    mut body: Incoming,
) -> Result<StatusCode, Refusal> {
    let probe = parts.method == Method::GET;
    if !probe && parts.method != Method::POST {
        let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "");
        return Err(Refusal { allow: Some("GET, POST"), ..refusal });
    }
    let headers = Headers::of(&parts.headers, &app.identity());
    app.gate.check_origin(&headers, parts.uri.authority().map(|authority| authority.as_str()))?;
    app.gate.check_zuul(&headers, peer)?;
    let Some(user) = headers.identity else {
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "no_identity", ""));
    };
    let user = std::str::from_utf8(user.as_bytes()).unwrap_or("");
    check_name(user, "user")?;
    if probe {
        return match app.control.router.is_connected(user).await {
            Some(true) => Ok(StatusCode::OK),
            Some(false) => Ok(StatusCode::NOT_FOUND),
            None => Err(Refusal::registry_away()),
        };
    }
    let payload = read_body(&mut body, app.config().limits.push_bytes, watch).await?;
    if payload.is_empty() {
        return Ok(StatusCode::NO_CONTENT);
    }
    // Zuul sends every body as a text frame, whatever its type.
    let message = app.message(checked_body(Kind::Text, payload)?, &Options::default())?;
    let delivered = app.control.router.push(user, None, Arc::new(message)).await;
    if delivered.is_empty() && delivered.unknown().is_some() {
        return Err(Refusal::registry_away());
    }
    match zuul_status(delivered.outcomes()) {
        StatusCode::SERVICE_UNAVAILABLE => Err(Refusal::overloaded("not_written", "")),
        status => Ok(status),
    }
}

/// Zuul knows one status for all devices: the best news there is.
fn zuul_status(outcomes: impl Iterator<Item = Outcome> + Clone) -> StatusCode {
    let any = |wanted: &[Outcome]| outcomes.clone().any(|outcome| wanted.contains(&outcome));
    if any(&[Outcome::Written, Outcome::Acked]) {
        StatusCode::OK
    } else if any(&[Outcome::Slow, Outcome::RateLimited, Outcome::Failed]) {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::NOT_FOUND
    }
}

/// `POST /v1/users/{user}/push`; `user` is still percent-encoded.
///
/// # Errors
/// As the page of the API says.
pub async fn v1(
    app: &App,
    watch: &Watch,
    user: &str,
    parts: &Parts,
    mut body: Incoming,
) -> Result<Response<Reply>, Refusal> {
    let headers = Headers::of(&parts.headers, &app.identity());
    app.gate.check_bearer(&headers, Right::Send)?;
    let user = name_part(user, "user")?;
    let query = Query::parse(parts.uri.query(), PUSH_PARAMETERS)?;
    let device = query.name("device")?;
    // A client that cannot acknowledge is answered for by its kernel: `written`.
    query.word("wait", &["written", "ack"])?;
    let options = Options {
        lane: query.value("lane"),
        ttl_ms: query.duration_ms("ttl")?,
        id: query.value("id"),
        collapse: query.value("collapse"),
        timeout_ms: query.duration_ms("timeout")?,
    };
    let payload = read_body(&mut body, app.config().limits.push_bytes, watch).await?;
    let message = app.message(checked_body(kind_of(headers.content_type), payload)?, &options)?;
    let delivered = app.control.router.push(&user, device, Arc::new(message)).await;
    if delivered.is_empty() && delivered.unknown().is_some() {
        return Err(Refusal::registry_away());
    }
    if !delivered.is_empty() && delivered.outcomes().all(|outcome| outcome == Outcome::Failed) {
        return Err(Refusal::overloaded("failed", "no connection could take the message now; send it again"));
    }
    let mut answer = Vec::with_capacity(192);
    app.write_delivered(options.id, &delivered, &mut answer);
    let status = if delivered.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK };
    Ok(json_bytes(status, answer, hyper::HeaderMap::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zuuls_status_is_the_best_news() {
        for (outcomes, status) in [
            (&[Outcome::Written][..], 200),
            (&[Outcome::Failed, Outcome::Acked], 200),
            (&[Outcome::Stale, Outcome::Slow], 503),
            (&[Outcome::RateLimited], 503),
            (&[Outcome::Failed], 503),
            (
                &[Outcome::Stale, Outcome::Offline, Outcome::Expired, Outcome::Duplicate, Outcome::TooLarge],
                404,
            ),
            (&[], 404),
        ] {
            assert_eq!(zuul_status(outcomes.iter().copied()).as_u16(), status, "{outcomes:?}");
        }
    }
}
