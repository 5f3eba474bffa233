//! The brakes of the queue: which lanes pause, and what of them is left out.
//!
//! What is told one node holds for the fleet: nodes hear of it from each other's leases.

use super::{
    app::App,
    gate::{Headers, Right},
    reply::{Refusal, Reply, json},
    request::{Query, name_part},
};
use crate::{
    config::{KafkaBrokers, RegistryUrl, duration::parse_query_ms},
    model::Lane,
};
use hyper::{Response, StatusCode, http::request::Parts};
use serde_json::{Value, json as value};

/// From here on a number is a time, and not a span: 1973 in ms, or three years.
const UNIX_MS_MIN: u64 = 100_000_000_000;

/// How far the clock of whoever asks may be ahead, ms.
const AHEAD_MS_MAX: u64 = 60_000;

/// `GET /v1/lanes`
///
/// # Errors
/// 400, 401 and 403.
pub fn list(app: &App, parts: &Parts) -> Result<Response<Reply>, Refusal> {
    app.gate.check_bearer(&Headers::of(&parts.headers, &app.identity()), Right::Read)?;
    Query::parse(parts.uri.query(), &[])?;
    let lanes: Vec<Value> = app.config().lanes.iter().map(|(lane, _)| state(app, lane)).collect();
    Ok(json(StatusCode::OK, &value!({ "lanes": lanes })))
}

/// `POST /v1/lanes/{lane}/pause`, `…/resume` and `…/skip?before=`; `lane` is still percent-encoded.
///
/// # Errors
/// 400, 401 and 403; 404 for a lane that there is not; 409 where there is no queue.
pub fn tell(app: &App, lane: &str, action: &str, parts: &Parts) -> Result<Response<Reply>, Refusal> {
    let caller = app.gate.check_bearer(&Headers::of(&parts.headers, &app.identity()), Right::Admin)?;
    let config = app.config();
    let name = name_part(lane, "lane")?;
    let lane = config.lanes.by_name(&name);
    let lane = lane.ok_or_else(|| Refusal { status: StatusCode::NOT_FOUND, ..app.unknown_lane(&name) })?;
    let known: &[&str] = if action == "skip" { &["before"] } else { &[] };
    let query = Query::parse(parts.uri.query(), known)?;
    if config.kafka.brokers == KafkaBrokers::None && config.registry.url == RegistryUrl::Memory {
        let message = "this node has no queue, and is alone: kafka.brokers is \"none\"";
        return Err(Refusal::new(StatusCode::CONFLICT, "no_queue", message));
    }
    let unix_ms = app.control.clock.now().unix_ms;
    match action {
        "skip" => app.control.brakes.skip(lane, before_ms(query.value("before"), unix_ms)?),
        action => app.control.brakes.pause(lane, action == "pause", unix_ms),
    }
    let before = query.value("before").unwrap_or_default();
    tracing::info!(target: "audit", token = caller.name(), action, lane = &*name, before, outcome = "done", "audit");
    Ok(json(StatusCode::ACCEPTED, &state(app, lane)))
}

/// A time, ms since 1970, or how long ago.
fn before_ms(text: Option<&str>, unix_ms: u64) -> Result<u64, Refusal> {
    let bad = || {
        let message =
            "before must be a time in ms since 1970, or how long ago, such as 10m (0: all that there is now)";
        Refusal::bad_request("bad_parameter", message)
    };
    let text = text.ok_or_else(bad)?;
    match text.parse::<u64>() {
        // Of two such times the later counts, so that one to come would stop the lane for good.
        Ok(at_ms) if at_ms > unix_ms.saturating_add(AHEAD_MS_MAX) => {
            let message = "before must not be in the future: what is left out cannot be taken back";
            return Err(Refusal::bad_request("bad_parameter", message));
        }
        Ok(at_ms) if at_ms >= UNIX_MS_MIN => return Ok(at_ms),
        _ => {}
    }
    parse_query_ms(text).map(|ago_ms| unix_ms.saturating_sub(ago_ms)).ok_or_else(bad)
}

fn state(app: &App, lane: Lane) -> Value {
    let (brake, stats) = (app.control.brakes.of(lane), &app.control.stats);
    value!({
        "lane": app.config().lanes.config(lane).name,
        "paused": brake.paused,
        "skip_before_ms": brake.skip_before_ms,
        "lag": stats.kafka_lag(lane),
        "records": stats.kafka.records_of(lane),
        "parked": stats.kafka.parked(lane),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_from_a_span() {
        const NOW: u64 = 1_800_000_000_000;
        for (text, expected) in [
            ("1799999999999", Some(1_799_999_999_999)),
            ("10m", Some(NOW - 600_000)),
            ("90", Some(NOW - 90_000)),
            ("0", Some(NOW)),
            ("1800000060000", Some(NOW + 60_000)),
            ("1800000060001", None),
            ("8698495272387", None),
            ("18446744073709551616", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(before_ms(Some(text), NOW).ok(), expected, "{text}");
        }
        assert!(before_ms(None, NOW).is_err());
    }
}
