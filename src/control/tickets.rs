//! `POST /v1/tickets`: a backend asks for a ticket, with which a page connects as a user of the backend's.

use super::{
    app::App,
    connection::Watch,
    gate::{Headers, Right},
    reply::{Refusal, Reply, json},
    request::{Query, check_name, read_body},
    timestamp::Timestamp,
};
use crate::{
    config::{TICKET_TTL_MS_MAX, duration},
    model::{MadeTicket, TicketOrder},
};
use hyper::{
    Response, StatusCode,
    body::Incoming,
    header::{CACHE_CONTROL, HeaderValue},
    http::request::Parts,
};
use serde::{Deserialize, Serialize};

/// Makes a ticket, at a time in ms since 1970; `None` where there are no keys.
pub type MakeTicket = dyn Fn(&TicketOrder<'_>, u64) -> Option<MadeTicket> + Send + Sync;

/// The largest body, bytes: two names, each character of them escaped, and two times.
const BODY_BYTES_MAX: usize = 8 * 1024;

/// An unknown member is an error, as a misspelt `exp` would silently lose its meaning.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    user: String,
    device: Option<String>,
    ttl: Option<Span>,
    exp: Option<u64>,
}

/// A duration: a number of seconds, or text such as `30s`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "ttl: a number of seconds, or text such as 30s")]
enum Span {
    Seconds(u64),
    Text(String),
}

#[derive(Serialize)]
struct Made<'a> {
    ticket: &'a str,
    expires_at: Timestamp,
}

/// Answers a request.
///
/// # Errors
/// 400 for a body that asks for no ticket, 401 and 403 for the token, 409 where there are no keys, 413.
pub async fn make(
    app: &App,
    watch: &Watch,
    parts: &Parts,
    mut body: Incoming,
) -> Result<Response<Reply>, Refusal> {
    app.gate.check_bearer(&Headers::of(&parts.headers, &app.identity()), Right::Send)?;
    Query::parse(parts.uri.query(), &[])?;
    let body = read_body(&mut body, BODY_BYTES_MAX, watch).await.map_err(|refusal| match refusal.status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Refusal { message: format!("the body is larger than {BODY_BYTES_MAX} bytes").into(), ..refusal }
        }
        _ => refusal,
    })?;
    // An array of the members' values would also be read.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(bad_body("the body must be a JSON object such as {\"user\": \"ann\"}"));
    }
    let asked: Asked = serde_json::from_slice(&body).map_err(|fault| bad_body(fault.to_string()))?;
    check_name(&asked.user, "user")?;
    asked.device.as_deref().map_or(Ok(()), |device| check_name(device, "device"))?;
    let unix_ms = app.control.clock.now().unix_ms;
    if asked.exp.is_some_and(|exp| exp.saturating_mul(1_000) <= unix_ms) {
        return Err(bad_body("exp must be in the future, in seconds since 1970"));
    }
    let id = app.draw_id();
    let order = TicketOrder {
        user: &asked.user,
        device: asked.device.as_deref(),
        ttl_ms: asked.ttl.as_ref().map(ttl_ms).transpose()?,
        ends_unix_s: asked.exp,
        id: &id,
    };
    let ticket = (app.control.tickets)(&order, unix_ms).ok_or_else(no_keys)?;
    let expires_at = Timestamp(u32::try_from(ticket.expires_unix_s).unwrap_or(u32::MAX));
    let mut response = json(StatusCode::OK, &Made { ticket: &ticket.text, expires_at });
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn ttl_ms(span: &Span) -> Result<u64, Refusal> {
    let ttl_ms = match span {
        Span::Seconds(seconds) => seconds.checked_mul(1_000),
        Span::Text(text) => duration::parse_query_ms(text),
    };
    ttl_ms
        .filter(|ttl_ms| (1..=TICKET_TTL_MS_MAX).contains(ttl_ms))
        .ok_or_else(|| bad_body("ttl must be a number of seconds, or text such as 30s, and at most 5m"))
}

fn bad_body(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::bad_request("bad_body", message)
}

fn no_keys() -> Refusal {
    let message = "tickets need keys that all nodes share: set auth.tickets.keys or auth.tickets.keys_file";
    Refusal::new(StatusCode::CONFLICT, "no_keys", message)
}
