//! Which request is answered by whom: every path and method of the internal port.

use super::{
    app::App,
    audit, broadcast,
    connection::Watch,
    deliver, demo, events,
    gate::Headers,
    lanes, messages, node, openapi,
    page::{self, PageFile},
    push,
    reply::{Refusal, Reply},
    session, tickets, users,
};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, http::request::Parts};
use std::{net::IpAddr, sync::Arc};

/// A path of the internal port. Names are still percent-encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Endpoint<'a> {
    Livez,
    Readyz,
    Metrics,
    ZuulPush,
    Push {
        user: &'a str,
    },
    Messages,
    Broadcast,
    StopBroadcast {
        id: &'a str,
    },
    User {
        user: &'a str,
    },
    Devices {
        user: &'a str,
    },
    Device {
        user: &'a str,
        device: &'a str,
    },
    Nodes,
    Drain,
    Lanes,
    Lane {
        lane: &'a str,
        action: &'a str,
    },
    Stats,
    Tickets,
    Deliver,
    Openapi,
    Events,
    Session,
    /// A file of the admin page or of the demo.
    Page(PageFile),
    DemoPlaces,
}

impl<'a> Endpoint<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let Some(v1) = path.strip_prefix("/v1/") else {
            return match path {
                "/livez" => Some(Endpoint::Livez),
                "/readyz" => Some(Endpoint::Readyz),
                "/metrics" => Some(Endpoint::Metrics),
                "/demo.json" => Some(Endpoint::DemoPlaces),
                path if path.ends_with("/push") => Some(Endpoint::ZuulPush),
                path => PageFile::at(path).map(Endpoint::Page),
            };
        };
        let mut parts = v1.split('/');
        let path: [Option<&str>; 5] = std::array::from_fn(|_| parts.next());
        Some(match path {
            [Some("users"), Some(user), Some("push"), None, _] => Endpoint::Push { user },
            [Some("messages"), None, ..] => Endpoint::Messages,
            [Some("broadcast"), None, ..] => Endpoint::Broadcast,
            [Some("broadcasts"), Some(id), None, ..] => Endpoint::StopBroadcast { id },
            [Some("users"), Some(user), None, ..] => Endpoint::User { user },
            [Some("users"), Some(user), Some("devices"), None, _] => Endpoint::Devices { user },
            [Some("users"), Some(user), Some("devices"), Some(device), None] => {
                Endpoint::Device { user, device }
            }
            [Some("nodes"), None, ..] => Endpoint::Nodes,
            [Some("drain"), None, ..] => Endpoint::Drain,
            [Some("lanes"), None, ..] => Endpoint::Lanes,
            [Some("lanes"), Some(lane), Some(action @ ("pause" | "resume" | "skip")), None, _] => {
                Endpoint::Lane { lane, action }
            }
            [Some("stats"), None, ..] => Endpoint::Stats,
            [Some("tickets"), None, ..] => Endpoint::Tickets,
            [Some("deliver"), None, ..] => Endpoint::Deliver,
            [Some("openapi.json"), None, ..] => Endpoint::Openapi,
            [Some("events"), None, ..] => Endpoint::Events,
            [Some("session"), None, ..] => Endpoint::Session,
            _ => return None,
        })
    }

    /// The methods that it takes.
    fn allow(self) -> &'static str {
        match self {
            Endpoint::Livez | Endpoint::Readyz | Endpoint::Metrics | Endpoint::Openapi => "GET, HEAD",
            Endpoint::Devices { .. } | Endpoint::Nodes | Endpoint::Lanes | Endpoint::Stats => "GET, HEAD",
            Endpoint::Page(_) | Endpoint::DemoPlaces => "GET, HEAD",
            Endpoint::Events => "GET",
            Endpoint::Session => "GET, HEAD, POST, DELETE",
            Endpoint::ZuulPush => "GET, POST",
            Endpoint::Push { .. } | Endpoint::Messages | Endpoint::Broadcast | Endpoint::Deliver => "POST",
            Endpoint::Lane { .. } | Endpoint::Tickets => "POST",
            Endpoint::StopBroadcast { .. } | Endpoint::User { .. } | Endpoint::Device { .. } => "DELETE",
            Endpoint::Drain => "GET, HEAD, POST, DELETE",
        }
    }

    fn takes(self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }
}

/// Answers one request.
pub async fn handle(
    app: &Arc<App>,
    peer: IpAddr,
    watch: &Arc<Watch>,
    request: Request<Incoming>,
) -> Response<Reply> {
    let (parts, body) = request.into_parts();
    let endpoint = match admit(app, &parts) {
        Ok(endpoint) => endpoint,
        Err(refusal) => return refusal.into_response(),
    };
    let answered = match endpoint {
        Endpoint::ZuulPush => return push::zuul(app, peer, watch, parts, body).await,
        Endpoint::Push { user } => push::v1(app, watch, user, &parts, body).await,
        Endpoint::Messages => messages::messages(app, watch, &parts, body).await,
        Endpoint::Deliver => deliver::deliver(app, peer, watch, &parts, body),
        // A rare one: its state is not worth its place in that of every other request.
        Endpoint::Broadcast => Box::pin(broadcast::start(app, watch, &parts, body)).await,
        Endpoint::StopBroadcast { id } => Box::pin(broadcast::stop(app, id, &parts)).await,
        Endpoint::User { user } => Box::pin(users::disconnect(app, user, None, &parts)).await,
        Endpoint::Devices { user } => Box::pin(users::devices(app, user, &parts)).await,
        Endpoint::Device { user, device } => {
            Box::pin(users::disconnect(app, user, Some(device), &parts)).await
        }
        Endpoint::Nodes => node::nodes(app, &parts),
        Endpoint::Drain => node::drain(app, &parts),
        Endpoint::Lanes => lanes::list(app, &parts),
        Endpoint::Lane { lane, action } => lanes::tell(app, lane, action, &parts),
        Endpoint::Stats => Box::pin(node::statistics(app, &parts)).await,
        Endpoint::Events => events::events(app, watch, &parts),
        Endpoint::Session => session::session(app, &parts),
        Endpoint::Page(file) => page::page(app, file, &parts),
        Endpoint::DemoPlaces => demo::places(app, &parts),
        Endpoint::Tickets => Box::pin(tickets::make(app, watch, &parts, body)).await,
        Endpoint::Metrics => node::metrics(app, &parts),
        Endpoint::Openapi => openapi::openapi(app, &parts),
        Endpoint::Livez => Ok(node::livez()),
        Endpoint::Readyz => Ok(node::readyz(app)),
    };
    answered.unwrap_or_else(|refusal| {
        audit::refused(app, &parts, &refusal);
        refusal.into_response()
    })
}

/// Finds the endpoint, and checks what comes before the token: that no browser was talked into the request (health checks
/// are answered to whoever asks), and the method. Zuul's endpoint, whose answers have no body, does both itself.
fn admit<'a>(app: &App, parts: &'a Parts) -> Result<Endpoint<'a>, Refusal> {
    let endpoint = Endpoint::of(parts.uri.path());
    if endpoint == Some(Endpoint::ZuulPush) {
        return Ok(Endpoint::ZuulPush);
    }
    if !matches!(endpoint, Some(Endpoint::Livez | Endpoint::Readyz)) {
        let headers = Headers::of(&parts.headers, &app.identity());
        let authority = parts.uri.authority().map(|authority| authority.as_str());
        match endpoint {
            Some(Endpoint::Page(_)) => app.gate.check_page(&headers, authority)?,
            _ => app.gate.check_origin(&headers, authority)?,
        }
    }
    let endpoint = endpoint.ok_or_else(|| {
        let message = "there is nothing at this path; GET /v1/openapi.json says what there is";
        Refusal::new(StatusCode::NOT_FOUND, "not_found", message)
    })?;
    if !endpoint.takes(&parts.method) {
        let allow = endpoint.allow();
        let message = format!("allowed here: {allow}");
        let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
        return Err(Refusal { allow: Some(allow), ..refusal });
    }
    Ok(endpoint)
}

/// The name of the endpoint at a path, and the methods that it takes.
#[cfg(test)]
pub fn described(path: &str) -> Option<(String, &'static str)> {
    let endpoint = Endpoint::of(path)?;
    let name = format!("{endpoint:?}");
    Some((name.split([' ', '(']).next().unwrap_or_default().to_owned(), endpoint.allow()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, endpoint) in [
            ("/livez", Some(Endpoint::Livez)),
            ("/push", Some(Endpoint::ZuulPush)),
            ("/x/y/push", Some(Endpoint::ZuulPush)),
            ("/xpush", None),
            ("/v1/push", None),
            ("/v1/x/push", None),
            ("/v1/users/a%2Fb/push", Some(Endpoint::Push { user: "a%2Fb" })),
            ("/v1/users/push", Some(Endpoint::User { user: "push" })),
            ("/v1/users/push/push", Some(Endpoint::Push { user: "push" })),
            ("/v1/users/a/push/", None),
            ("/v1/users", None),
            ("/v1/users/a/devices", Some(Endpoint::Devices { user: "a" })),
            ("/v1/users/a/devices/b", Some(Endpoint::Device { user: "a", device: "b" })),
            ("/v1/users/a/devices/b/c", None),
            ("/v1/users/a/devices/b/c/d", None),
            ("/v1/messages", Some(Endpoint::Messages)),
            ("/v1/messages/", None),
            ("/v1/broadcasts/7", Some(Endpoint::StopBroadcast { id: "7" })),
            ("/v1/drain", Some(Endpoint::Drain)),
            ("/v1/events", Some(Endpoint::Events)),
            ("/v1/session", Some(Endpoint::Session)),
            ("/v1/session/x", None),
            ("/", PageFile::at("/").map(Endpoint::Page)),
            ("/page.js", PageFile::at("/page.js").map(Endpoint::Page)),
            ("/page.html", None),
            ("/demo.json", Some(Endpoint::DemoPlaces)),
            ("/v1/deliver", Some(Endpoint::Deliver)),
            ("/v1/deliver/x", None),
            ("/v1/openapi.json", Some(Endpoint::Openapi)),
            ("/v1/tickets", Some(Endpoint::Tickets)),
            ("/v1/tickets/x", None),
            ("/v1/lanes", Some(Endpoint::Lanes)),
            ("/v1/lanes/low/pause", Some(Endpoint::Lane { lane: "low", action: "pause" })),
            ("/v1/lanes/low/hurry", None),
            ("/v2/push", Some(Endpoint::ZuulPush)),
            ("*", None),
        ] {
            assert_eq!(Endpoint::of(path), endpoint, "{path}");
        }
    }
}
