//! `/demo`: a client in a page, for whoever tries the node out. Where it connects, and how it says who it is.
//!
//! Owns no connection: the page connects to the client port as any client does, and pushes to itself as any sender does.

use super::{
    app::App,
    gate::Headers,
    reply::{Refusal, Reply, json},
    request::Query,
};
use crate::{
    config::AuthMode,
    model::{Reason, reason::Advice},
};
use hyper::{
    Response, StatusCode,
    header::{CACHE_CONTROL, HeaderValue},
    http::request::Parts,
};
use serde_json::{Value, json as value};
use std::{fmt::Write, net::SocketAddr};

/// The client ports as `connect-src` of a Content-Security-Policy takes them, each after a space.
///
/// # Errors
/// 400 for a Host that is no name.
pub fn sources(app: &App, host: Option<&str>) -> Result<String, Refusal> {
    let host = host_name(host)?;
    let mut sources = String::new();
    for address in &app.control.clients {
        let source = match authority(*address, host) {
            // The grammar of a policy has no IPv6 addresses (CSP level 3, 2.3.1).
            at if at.starts_with('[') => "ws:".to_owned(),
            at => format!("ws://{at}"),
        };
        if !sources.contains(&source) {
            // Writing to a String cannot fail.
            let _ = write!(sources, " {source}");
        }
    }
    Ok(sources)
}

/// `GET /demo.json`: what the page of the demo needs to know.
///
/// # Errors
/// 400; 401 for whoever is not known here.
pub fn places(app: &App, parts: &Parts) -> Result<Response<Reply>, Refusal> {
    let headers = Headers::of(&parts.headers, &app.identity());
    if app.gate.caller(&headers).is_none() {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "sign in on the admin page first",
        ));
    }
    Query::parse(parts.uri.query(), &[])?;
    let host = host_name(headers.host())?;
    let config = app.config();
    let sockets = app.control.clients.iter().map(|address| format!("ws://{}/ws", authority(*address, host)));
    let origins = config.clients.origins.as_deref();
    let origin = format!("http://{}", headers.host().unwrap_or("localhost"));
    let body = value!({
        "node": config.node.id,
        "sockets": sockets.collect::<Vec<_>>(),
        // Else a ticket says who the client is.
        "by_query": config.auth.modes.contains(&AuthMode::Header),
        "closes": closes(),
        "origin": origin,
        "origin_allowed": origins.is_none_or(|origins| origins.contains(&origin)),
    });
    let mut response = json(StatusCode::OK, &body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Every code with which a connection is closed, what is said with it, and what the client is to do then.
fn closes() -> Vec<Value> {
    let mut closes: Vec<Value> = Vec::new();
    for reason in Reason::ALL {
        let row = reason.consequence();
        let advice = match row.advice {
            Advice::Never => "never",
            Advice::BackOff => "back_off",
            Advice::Now => "now",
        };
        let close = value!({ "code": row.code, "text": row.text, "advice": advice });
        if !closes.contains(&close) {
            closes.push(close);
        }
    }
    closes
}

/// Where a browser that knows this port by a name finds a client port.
fn authority(address: SocketAddr, host: &str) -> String {
    let ip = address.ip().to_canonical();
    if ip.is_unspecified() || ip.is_loopback() {
        // On the same host, or at the same end of a tunnel.
        return format!("{host}:{}", address.port());
    }
    SocketAddr::new(ip, address.port()).to_string()
}

/// The name in a Host header, without the port and in what brackets it has. It goes into a policy: nothing but names and
/// addresses may.
fn host_name(host: Option<&str>) -> Result<&str, Refusal> {
    let host = host.unwrap_or("localhost");
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']').map_or(host.len(), |end| end + 2),
        None => host.find(':').unwrap_or(host.len()),
    };
    let name = &host[..end];
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(Refusal::bad_request("bad_host", "this Host name cannot be used"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_a_host_header() {
        for (host, name) in [
            (None, "localhost"),
            (Some("localhost:7008"), "localhost"),
            (Some("10.0.0.1"), "10.0.0.1"),
            (Some("[::1]:7008"), "[::1]"),
            (Some("[::1"), "[::1"),
        ] {
            assert_eq!(host_name(host).unwrap(), name);
        }
        for bad in ["", ":1", "a b", "a;script-src *", "a,b", "é"] {
            assert!(host_name(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_client_port_is_where_the_page_came_from_unless_it_has_an_address_of_its_own() {
        let at = |address: &str, host| authority(address.parse().unwrap(), host);
        assert_eq!(at("127.0.0.1:7001", "localhost"), "localhost:7001");
        assert_eq!(at("0.0.0.0:7001", "10.0.0.1"), "10.0.0.1:7001");
        assert_eq!(at("[::]:7001", "[::1]"), "[::1]:7001");
        assert_eq!(at("192.0.2.7:7001", "localhost"), "192.0.2.7:7001");
        assert_eq!(at("[2001:db8::1]:7001", "localhost"), "[2001:db8::1]:7001");
    }
}
