//! `POST /v1/broadcast` and `DELETE /v1/broadcasts/{id}`.

use super::{
    app::{App, Options},
    connection::Watch,
    fleet::{self, Relay, SCOPES, Said, Scope},
    gate::{Headers, Right},
    reply::{Refusal, Reply, json},
    request::{Query, checked_body, kind_of, name_part, read_body},
};
use crate::{
    bridge::broadcasts::{Counted, NotStarted},
    model::{Kind, Lane, Outcome, mail},
};
use hyper::{Response, StatusCode, body::Incoming, http::request::Parts};
use std::{sync::Arc, time::Duration};

/// The broadcast's id where another node has drawn or been given it: `id` is the messages' own.
const RELAYED_ID: &str = "broadcast";
const PARAMETERS: &[&str] = &["scope", "spread", "lane", "ttl", "id", "collapse", "timeout", RELAYED_ID];

/// The longest spread, ms: connections live about as long, so a slower broadcast would miss most of those that come.
const SPREAD_MS_MAX: u64 = 3_600_000;
/// What an answer waits for beyond the spread and the time-out of the last message, ms.
const SLACK_MS: u64 = 1_000;
/// How long another node may take to stop a broadcast.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

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
    let query = Query::parse(parts.uri.query(), PARAMETERS)?;
    let scope = Scope::at(query.word("scope", SCOPES)?);
    let right = if scope == Scope::Relayed { Right::Peer } else { Right::Admin };
    let headers = Headers::of(&parts.headers, &app.identity());
    let caller = app.gate.check_bearer(&headers, right)?;
    let plan = Plan::read(app, &query, scope)?;
    let options = Options {
        lane: query.value("lane"),
        ttl_ms: query.duration_ms("ttl")?,
        id: query.value("id"),
        collapse: query.value("collapse"),
        timeout_ms: None,
    };
    let payload = read_body(&mut body, app.config().limits.push_bytes, watch).await?;
    let kind = kind_of(headers.content_type);
    let message = Arc::new(app.message(checked_body(kind, payload)?, &options)?);
    let Plan { id, spread_ms, wait } = &plan;
    let (broadcasts, router) = (&app.control.broadcasts, &app.control.router);
    let counted = if scope == Scope::Relayed { Counted::Elsewhere } else { Counted::Here };
    let started = broadcasts.start(router, id, message.clone(), *spread_ms, counted);
    let broadcast = started.map_err(not_started)?;
    if scope != Scope::Relayed {
        let bytes = message.body.bytes().len();
        tracing::info!(target: "audit", token = caller.name(), action = "broadcast", id, bytes, spread_ms, outcome = "begun", "audit");
    }
    let here = async {
        let done = std::future::poll_fn(|cx| broadcast.tally.poll_done(cx));
        tokio::time::timeout(*wait, done).await.is_ok()
    };
    let nodes = if scope == Scope::Fleet { fleet::others(app) } else { Vec::new() };
    let relay = plan.relay(&query, kind, message.body.bytes().clone());
    let (in_time, said) = tokio::join!(here, fleet::ask(app, &nodes, &relay));
    if in_time {
        broadcasts.reap(&app.control.stats);
    }
    count(app, message.lane, &said);
    Ok(json(StatusCode::OK, &report(id, &broadcast, in_time, &said)))
}

/// What a broadcast's query says of the whole of it.
struct Plan {
    id: String,
    spread_ms: u64,
    /// How long its answer waits.
    wait: Duration,
}

impl Plan {
    fn read(app: &App, query: &Query<'_>, scope: Scope) -> Result<Self, Refusal> {
        let spread_ms = query.duration_ms("spread")?.unwrap_or(0);
        if spread_ms > SPREAD_MS_MAX {
            return Err(Refusal::bad_request("bad_parameter", "spread must be at most 1h"));
        }
        let delivery_ms = app.config().delivery.timeout_ms;
        let wait_ms = delivery_ms.saturating_add(spread_ms).saturating_add(SLACK_MS);
        let wait_ms = query.duration_ms("timeout")?.unwrap_or(wait_ms).min(wait_ms);
        let relayed = query.name(RELAYED_ID)?;
        if relayed.is_some() != (scope == Scope::Relayed) {
            let message = "scope=relayed and broadcast belong together, and are for other nodes";
            return Err(Refusal::bad_request("bad_parameter", message));
        }
        let id = match relayed {
            Some(id) => id.to_owned(),
            None => query.name("id")?.map_or_else(|| app.draw_id(), str::to_owned),
        };
        Ok(Self { id, spread_ms, wait: Duration::from_millis(wait_ms) })
    }

    /// The same, for other nodes.
    fn relay(&self, query: &Query<'_>, kind: Kind, body: bytes::Bytes) -> Relay {
        let mut parameters = vec![
            (RELAYED_ID, self.id.clone()),
            ("spread", format!("{}ms", self.spread_ms)),
            ("timeout", format!("{}ms", self.wait.as_millis())),
        ];
        let same = ["id", "lane", "ttl", "collapse"].into_iter();
        parameters.extend(same.filter_map(|key| query.value(key).map(|value| (key, value.to_owned()))));
        Relay {
            method: "POST",
            path: "/v1/broadcast".into(),
            query: parameters,
            body,
            content_type: Some(kind.content_type()),
            timeout: self.wait + Duration::from_millis(SLACK_MS),
        }
    }
}

/// Ends a broadcast: connections that it has not reached are left out. `id` is still percent-encoded.
///
/// # Errors
/// 400, 401 and 403; 404 when none of that id is under way; 503 when a node did not answer.
pub async fn stop(app: &App, id: &str, parts: &Parts) -> Result<Response<Reply>, Refusal> {
    let query = Query::parse(parts.uri.query(), &["scope"])?;
    let scope = Scope::at(query.word("scope", SCOPES)?);
    let right = if scope == Scope::Relayed { Right::Peer } else { Right::Admin };
    let caller = app.gate.check_bearer(&Headers::of(&parts.headers, &app.identity()), right)?;
    let id = name_part(id, "broadcast's id")?;
    let mut stopped = app.control.broadcasts.stop(&id);
    let mut is_whole = true;
    if scope == Scope::Fleet {
        let relay = Relay {
            method: "DELETE",
            path: parts.uri.path().to_owned(),
            query: Vec::new(),
            body: bytes::Bytes::new(),
            content_type: None,
            timeout: STOP_TIMEOUT,
        };
        for said in fleet::ask(app, &fleet::others(app), &relay).await {
            stopped |= said.done().is_some();
            is_whole &= said.is_known();
        }
    }
    let outcome = match (is_whole, stopped) {
        (false, _) => "partly",
        (true, true) => "done",
        (true, false) => "nothing",
    };
    tracing::info!(target: "audit", token = caller.name(), action = "stop_broadcast", id = &*id, outcome, "audit");
    if !is_whole {
        return Err(Refusal::overloaded("overloaded", "not every node has answered; send it again"));
    }
    if !stopped {
        let message = "no broadcast of this id is under way";
        return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", message));
    }
    Ok(json(StatusCode::ACCEPTED, &serde_json::json!({ "id": id })))
}

/// Outcomes are counted where the message entered: here, those of other nodes too.
fn count(app: &App, lane: Lane, said: &[Said]) {
    for value in said.iter().filter_map(Said::done) {
        for outcome in Outcome::ALL {
            let many = value["outcomes"][outcome.label()].as_u64().unwrap_or(0);
            app.control.stats.messages_many(lane, outcome, many);
        }
    }
}

fn report(id: &str, broadcast: &mail::Broadcast, in_time: bool, said: &[Said]) -> serde_json::Value {
    let count = |outcome: Outcome| {
        let elsewhere = said.iter().filter_map(Said::done);
        let elsewhere = elsewhere.map(|value| value["outcomes"][outcome.label()].as_u64().unwrap_or(0));
        (outcome.label().to_owned(), (broadcast.tally.count(outcome) + elsewhere.sum::<u64>()).into())
    };
    let outcomes: serde_json::Map<_, _> = Outcome::ALL.into_iter().map(count).collect();
    let done = said.iter().filter(|said| said.done().is_some()).count();
    let silent: Vec<&str> =
        said.iter().filter(|said| said.done().is_none()).map(|said| said.node.as_str()).collect();
    let is_whole = |value: &serde_json::Value| value["complete"].as_bool().unwrap_or(false);
    let complete = in_time && silent.is_empty() && said.iter().filter_map(Said::done).all(is_whole);
    let mut report =
        serde_json::json!({ "id": id, "nodes": 1 + done, "complete": complete, "outcomes": outcomes });
    if !silent.is_empty() {
        report["failed_nodes"] = silent.into();
    }
    report
}

fn not_started(why: NotStarted) -> Refusal {
    match why {
        NotStarted::TooMany => Refusal::overloaded("too_many_broadcasts", why.to_string()),
        NotStarted::SameId => Refusal::new(StatusCode::CONFLICT, "same_id", why.to_string()),
    }
}
