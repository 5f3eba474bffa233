//! `/v1/session`: the admin page's way from a token to a cookie, and what it may do.

use super::{
    app::App,
    gate::{Caller, Headers, Right},
    reply::{Refusal, Reply, json, status_only},
    request::Query,
    sessions,
};
use crate::config::Role;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{CACHE_CONTROL, HeaderValue, SET_COOKIE},
    http::request::Parts,
};
use serde_json::json as value;

/// `POST`, `GET` and `DELETE /v1/session`: sign in, look, sign out.
///
/// # Errors
/// 400; 401 and 403 for a token that opens no session; 403 when another page asks to sign out.
pub fn session(app: &App, parts: &Parts) -> Result<Response<Reply>, Refusal> {
    Query::parse(parts.uri.query(), &[])?;
    let headers = Headers::of(&parts.headers, &app.identity());
    let mut response = match parts.method {
        Method::POST => {
            let mut response = status_only(StatusCode::NO_CONTENT, HeaderMap::new());
            if let Some((caller, id)) = app.gate.sign_in(&headers)? {
                audit(&caller, "sign_in");
                set(&mut response, &sessions::set_cookie(&id));
            }
            response
        }
        Method::DELETE => {
            if let Some(caller) = app.gate.sign_out(&headers)? {
                audit(&caller, "sign_out");
                app.feed.look();
            }
            let mut response = status_only(StatusCode::NO_CONTENT, HeaderMap::new());
            set(&mut response, &sessions::clear_cookie());
            response
        }
        _ => state(app, &headers),
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn state(app: &App, headers: &Headers<'_>) -> Response<Reply> {
    let caller = app.gate.caller(headers);
    let may = |caller: &Caller| {
        let rights = [("send", Right::Send), ("read", Right::Read), ("admin", Right::Admin)];
        let given = |right: Right| caller.role().is_none_or(|role| right.is_given_by(role));
        rights.into_iter().filter(|&(_, right)| given(right)).map(|(word, _)| word).collect()
    };
    let rights: Vec<&str> = caller.as_ref().map(may).unwrap_or_default();
    let body = value!({
        "required": app.gate.asks_for_token(),
        "signed_in": caller.is_some(),
        "name": caller.as_ref().filter(|caller| caller.role().is_some()).map(Caller::name),
        "role": caller.as_ref().and_then(Caller::role).map(role_word),
        "may": rights,
    });
    json(StatusCode::OK, &body)
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Send => "send",
        Role::Read => "read",
        Role::Admin => "admin",
        Role::Peer => "peer",
        Role::All => "all",
    }
}

fn set(response: &mut Response<Reply>, cookie: &str) {
    // An id is base64, so that the cookie is always a header's value.
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
}

fn audit(caller: &Caller, action: &str) {
    tracing::info!(target: "audit", token = caller.name(), action, outcome = "done", "audit");
}
