//! Who may ask: tokens and roles, and requests that a browser was talked into.
//!
//! Tokens are compared in constant time and against every one that is configured. Without tokens the port is open: the
//! configuration then allows only a loopback address or `--insecure`, and what is left to fear is a web page on the same
//! host. Such a page gives itself away by its Origin, or by a Host name that is not ours (DNS rebinding).
//!
//! The admin page trades a token for a cookie: [`super::sessions`]. A request that brings no bearer token may bring that. It
//! may then change something only if the browser says that a page of this port sent it; a cookie alone is brought by
//! whatever page makes a browser send a request.

use super::{
    reply::Refusal,
    sessions::{self, Sessions},
};
use crate::config::{Config, Role, Token};
use hyper::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, HeaderName, HeaderValue, ORIGIN},
};
use ipnet::IpNet;
use std::{
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

/// Zuul's spelling of the token.
static SECURE_TOKEN: HeaderName = HeaderName::from_static("x-zuul.push.secure.token");
static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

const SEND_A_TOKEN: &str = "send a token: Authorization: Bearer TOKEN";

/// Ends of names that public DNS does not serve, so that no stranger's name has them (RFC 6761, RFC 6762, RFC 9476 and
/// the cluster names of Kubernetes).
const PRIVATE_SUFFIXES: [&str; 5] = [".localhost", ".local", ".internal", ".svc", ".home.arpa"];

/// What a request is about to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Push.
    Send,
    /// Look.
    Read,
    /// Disconnect, broadcast, drain.
    Admin,
    /// Deliver for another node.
    Peer,
}

impl Right {
    /// Why a token of another role may not.
    fn refusal(self) -> &'static str {
        match self {
            Right::Send => "the role of this token does not suffice: to send it needs the role send",
            Right::Read => "the role of this token does not suffice: to look it needs the role read",
            Right::Admin => "the role of this token does not suffice: it needs the role admin",
            Right::Peer => {
                "the role of this token does not suffice: what nodes do for each other needs the role peer"
            }
        }
    }

    /// Whether a token with this role may do that.
    pub fn is_given_by(self, role: Role) -> bool {
        match (role, self) {
            (Role::All | Role::Admin, _) => true,
            (Role::Send, Right::Send) | (Role::Read, Right::Read) | (Role::Peer, Right::Peer) => true,
            (Role::Send | Role::Read | Role::Peer, _) => false,
        }
    }
}

/// The headers that are looked at, found in one pass. Of a repeated header the first counts, but a second Host is an
/// error (RFC 9112 3.2).
#[derive(Default)]
pub struct Headers<'a> {
    host: Option<&'a HeaderValue>,
    host_repeated: bool,
    origin: Option<&'a HeaderValue>,
    fetch_site: Option<&'a HeaderValue>,
    fetch_mode: Option<&'a HeaderValue>,
    fetch_dest: Option<&'a HeaderValue>,
    authorization: Option<&'a HeaderValue>,
    cookie: Option<&'a HeaderValue>,
    secure_token: Option<&'a HeaderValue>,
    /// The user, on Zuul's endpoint.
    pub identity: Option<&'a HeaderValue>,
    /// What the body is.
    pub content_type: Option<&'a HeaderValue>,
}

impl<'a> Headers<'a> {
    /// Looks through a request's headers.
    pub fn of(headers: &'a HeaderMap, identity: &HeaderName) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            let place = match name {
                name if *name == HOST => {
                    found.host_repeated |= found.host.is_some();
                    &mut found.host
                }
                name if name == identity => &mut found.identity,
                name if *name == CONTENT_TYPE => &mut found.content_type,
                name if *name == AUTHORIZATION => &mut found.authorization,
                name if *name == ORIGIN => &mut found.origin,
                name if *name == SECURE_TOKEN => &mut found.secure_token,
                name if *name == COOKIE => &mut found.cookie,
                name if *name == FETCH_SITE => &mut found.fetch_site,
                name if *name == FETCH_MODE => &mut found.fetch_mode,
                name if *name == FETCH_DEST => &mut found.fetch_dest,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        found
    }

    /// Whether a bearer token is offered at all.
    pub fn brings_a_token(&self) -> bool {
        self.bearer().is_some()
    }

    /// The name by which the browser, or whoever asks, knows this port: with its port, where it has one.
    pub fn host(&self) -> Option<&'a str> {
        self.host.map(text)
    }

    fn bearer(&self) -> Option<&'a [u8]> {
        self.authorization.and_then(bearer)
    }

    /// A browser follows a link, or a person typed the address, and the page will be on its own in a tab.
    fn is_navigation(&self) -> bool {
        self.fetch_mode.map(text) == Some("navigate") && self.fetch_dest.map(text) == Some("document")
    }

    /// A page of this very port sent this: the browser says so. That an Origin is ours was checked before.
    fn is_from_our_page(&self) -> bool {
        self.fetch_site.map(text) == Some("same-origin") || self.origin.is_some()
    }
}

/// See the module.
pub struct Gate {
    state: RwLock<State>,
    push_from: RwLock<Vec<IpNet>>,
    /// Names of this node, in lower case.
    names: Vec<String>,
}

struct State {
    tokens: Arc<[Token]>,
    sessions: Sessions,
}

impl Gate {
    /// The gate of a node. `host_name` is the machine's.
    pub fn new(config: &Config, host_name: Option<&str>) -> Self {
        let advertised = config.node.advertise.as_deref().map(without_port);
        let names = advertised.into_iter().chain(host_name).map(str::to_ascii_lowercase).collect();
        let tokens = config.internal.tokens.clone().into();
        let state = RwLock::new(State { tokens, sessions: Sessions::default() });
        Self { state, push_from: RwLock::new(config.internal.push_from.clone()), names }
    }

    /// Takes other tokens from now on. The sessions of those that are gone end.
    pub fn replace_tokens(&self, tokens: Vec<Token>) {
        let mut state = self.write();
        let place = |token: &Token| tokens.iter().position(|other| is_same(token, other));
        let places: Vec<Option<usize>> = state.tokens.iter().map(place).collect();
        state.sessions.move_tokens(&places);
        state.tokens = tokens.into();
    }

    /// Takes other networks of senders without a token from now on.
    pub fn replace_push_from(&self, networks: Vec<IpNet>) {
        *self.push_from.write().unwrap_or_else(PoisonError::into_inner) = networks;
    }

    /// Turns away what a browser was talked into. `authority` is that of the request line, where it has one.
    ///
    /// # Errors
    /// 403, and 400 for a second Host.
    pub fn check_origin(&self, headers: &Headers<'_>, authority: Option<&str>) -> Result<(), Refusal> {
        let host = self.check_host(headers, authority)?;
        let site = headers.fetch_site.map(text);
        let other_site = site.is_some_and(|site| site != "same-origin" && site != "none");
        let other_origin = headers.origin.is_some_and(|origin| {
            let authority = text(origin).split_once("://").map(|(_, authority)| authority);
            !authority.zip(host).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host))
        });
        if other_site || other_origin {
            return Err(forbidden("cross_site", "pages of other sites may not use this port"));
        }
        Ok(())
    }

    /// The same for a page that says nothing of the node: a link to it may be followed from anywhere.
    ///
    /// # Errors
    /// As [`Gate::check_origin`].
    pub fn check_page(&self, headers: &Headers<'_>, authority: Option<&str>) -> Result<(), Refusal> {
        if headers.is_navigation() && headers.origin.is_none() {
            return self.check_host(headers, authority).map(|_| ());
        }
        self.check_origin(headers, authority)
    }

    fn check_host<'a>(
        &self,
        headers: &Headers<'a>,
        authority: Option<&'a str>,
    ) -> Result<Option<&'a str>, Refusal> {
        if headers.host_repeated {
            return Err(Refusal::bad_request("bad_host", "send one Host header"));
        }
        let host = authority.or_else(|| headers.host());
        if let Some(host) = host
            && !self.is_our_host(without_port(host))
        {
            let message =
                "this Host name is not known here: use an IP address, localhost or the advertised name";
            return Err(forbidden("foreign_host", message));
        }
        Ok(host)
    }

    /// Checks the bearer token, or else the session's cookie. Returns its name, for the audit log.
    ///
    /// # Errors
    /// 401 when it is missing or wrong, 403 when its role does not suffice, or when a cookie came with what no page of ours
    /// sent.
    pub fn check_bearer(&self, headers: &Headers<'_>, right: Right) -> Result<Caller, Refusal> {
        let tokens = self.read().tokens.clone();
        if tokens.is_empty() {
            return Ok(Caller::default());
        }
        let caller = match headers.bearer() {
            Some(offered) => match find(&tokens, offered) {
                Some(at) => Caller { token: Some((tokens, at)), session: None },
                None => return Err(unauthorized("this token is not one of internal.tokens")),
            },
            // What nodes do for each other no page does.
            None if right == Right::Peer => return Err(unauthorized(SEND_A_TOKEN)),
            None => self.by_cookie(headers).ok_or_else(|| unauthorized(SEND_A_TOKEN))?,
        };
        if caller.session.is_some() && right != Right::Read && !headers.is_from_our_page() {
            let message = "with a session's cookie this is done only for the pages of this port";
            return Err(forbidden("cross_site", message));
        }
        if !caller.role().is_none_or(|role| right.is_given_by(role)) {
            return Err(forbidden("forbidden", right.refusal()));
        }
        Ok(caller)
    }

    /// Whoever sends a request; None: nobody who is known here.
    pub fn caller(&self, headers: &Headers<'_>) -> Option<Caller> {
        let tokens = self.read().tokens.clone();
        if tokens.is_empty() {
            return Some(Caller::default());
        }
        match headers.bearer() {
            Some(offered) => {
                find(&tokens, offered).map(|at| Caller { token: Some((tokens, at)), session: None })
            }
            None => self.by_cookie(headers),
        }
    }

    /// Whether a token is asked for at all.
    pub fn asks_for_token(&self) -> bool {
        !self.read().tokens.is_empty()
    }

    /// Whether whoever was let in would be still.
    pub fn still_knows(&self, caller: &Caller) -> bool {
        let state = self.read();
        match (&caller.token, caller.session) {
            (None, _) => state.tokens.is_empty(),
            (Some(_), Some(session)) => state.sessions.is_open(session, Instant::now()),
            (Some((tokens, at)), None) => {
                Arc::ptr_eq(tokens, &state.tokens)
                    || state.tokens.iter().any(|token| is_same(token, &tokens[*at]))
            }
        }
    }

    /// Opens a session for the bearer of a token. Returns it and the value of its cookie; None where no token is asked for.
    ///
    /// # Errors
    /// 401 without a token that is known here, 403 for one of another node's, 503 when no id can be drawn.
    pub fn sign_in(&self, headers: &Headers<'_>) -> Result<Option<(Caller, String)>, Refusal> {
        let mut state = self.write();
        let tokens = state.tokens.clone();
        if tokens.is_empty() {
            return Ok(None);
        }
        let offered = headers.bearer().ok_or_else(|| unauthorized(SEND_A_TOKEN))?;
        let at =
            find(&tokens, offered).ok_or_else(|| unauthorized("this token is not one of internal.tokens"))?;
        if tokens[at].role == Role::Peer {
            return Err(forbidden(
                "forbidden",
                "this token is for other nodes: there is nothing to see with it",
            ));
        }
        let opened = state.sessions.open(at, Instant::now());
        let (number, id) = opened.map_err(|fault| {
            tracing::error!(%fault, "no session can be opened");
            Refusal::overloaded("no_random", "this host has no random numbers to give at the moment")
        })?;
        Ok(Some((Caller { token: Some((tokens, at)), session: Some(number) }, id)))
    }

    /// Ends the session whose cookie a request brings. Returns whose it was.
    ///
    /// # Errors
    /// 403 when no page of ours asks.
    pub fn sign_out(&self, headers: &Headers<'_>) -> Result<Option<Caller>, Refusal> {
        let Some(caller) = self.by_cookie(headers) else { return Ok(None) };
        if !headers.is_from_our_page() {
            let message = "with a session's cookie this is done only for the pages of this port";
            return Err(forbidden("cross_site", message));
        }
        if let Some(session) = caller.session {
            self.write().sessions.close(session);
        }
        Ok(Some(caller))
    }

    /// Sessions that are open.
    pub fn sessions(&self) -> usize {
        self.read().sessions.count(Instant::now())
    }

    fn by_cookie(&self, headers: &Headers<'_>) -> Option<Caller> {
        let cookies = headers.cookie?.as_bytes();
        let state = self.read();
        let found = sessions::offered(cookies).find_map(|id| state.sessions.find(id, Instant::now()));
        found.map(|(number, at)| Caller { token: Some((state.tokens.clone(), at)), session: Some(number) })
    }

    /// Checks the token of Zuul's endpoint, in either spelling, or the sender's network.
    ///
    /// # Errors
    /// 401 and 403 as for [`Gate::check_bearer`]; 403 also for a secure token that is wrong or not expected.
    pub fn check_zuul(&self, headers: &Headers<'_>, peer: IpAddr) -> Result<(), Refusal> {
        if let Some(offered) = headers.secure_token {
            let tokens = self.read().tokens.clone();
            let role = find(&tokens, offered.as_bytes()).map(|at| tokens[at].role);
            return match role {
                Some(role) if Right::Send.is_given_by(role) => Ok(()),
                _ => Err(forbidden("forbidden", "the secure token is not that of a sender")),
            };
        }
        if headers.authorization.is_none() && self.is_push_from(peer) {
            return Ok(());
        }
        self.check_bearer(headers, Right::Send).map(|_| ())
    }

    fn is_push_from(&self, peer: IpAddr) -> bool {
        let networks = self.push_from.read().unwrap_or_else(PoisonError::into_inner);
        networks.iter().any(|network| network.contains(&peer))
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_our_host(&self, host: &str) -> bool {
        // First what costs least: most senders use an address.
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if literal.parse::<IpAddr>().is_ok() {
            return true;
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        // A name without a dot is resolved within the machine, its network or its cluster only.
        !host.contains('.')
            || PRIVATE_SUFFIXES.iter().any(|suffix| host.ends_with(suffix))
            || self.names.contains(&host)
    }
}

/// Whoever a request comes from.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// None where no token is configured.
    token: Option<(Arc<[Token]>, usize)>,
    /// The session by which it came, where it did.
    session: Option<u64>,
}

impl Caller {
    /// The token's name; `-` where none is configured.
    pub fn name(&self) -> &str {
        self.token().map_or("-", |token| &token.name)
    }

    /// The token's role; None where none is configured: whoever asks may do everything.
    pub fn role(&self) -> Option<Role> {
        self.token().map(|token| token.role)
    }

    fn token(&self) -> Option<&Token> {
        self.token.as_ref().and_then(|(tokens, at)| tokens.get(*at))
    }
}

fn is_same(one: &Token, other: &Token) -> bool {
    let secrets = one.secret.reveal().as_bytes().ct_eq(other.secret.reveal().as_bytes());
    bool::from(secrets) && one.name == other.name && one.role == other.role
}

/// Looks at every token, however early it finds the one, so that the time does not tell which it was.
fn find(tokens: &[Token], offered: &[u8]) -> Option<usize> {
    let mut found = None;
    for (at, token) in tokens.iter().enumerate() {
        if bool::from(token.secret.reveal().as_bytes().ct_eq(offered)) {
            found = Some(at);
        }
    }
    found
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// A header as text; one that is not ASCII matches nothing, as the empty text.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("")
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // A colon within the brackets of an IPv6 address, or of a bare one, is not before a port.
        Some((host, port)) if !port.contains(']') && (!host.contains(':') || host.ends_with(']')) => host,
        _ => authority,
    }
}

fn unauthorized(message: &'static str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

fn forbidden(error: &'static str, message: &'static str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, error, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn token(name: &str, role: Role) -> Token {
        Token { name: name.into(), role, secret: Secret::new(format!("{name}-secret")) }
    }

    fn gate(tokens: Vec<Token>) -> Gate {
        let mut config = Config::default();
        config.internal.tokens = tokens;
        config.internal.push_from = vec!["10.0.0.0/8".parse().unwrap()];
        config.node.advertise = Some("push-1.example.com:7008".into());
        Gate::new(&config, Some("Box"))
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let mut map = HeaderMap::new();
        for (name, value) in lines.iter().map(pair) {
            map.append(name, value);
        }
        map
    }

    fn identity() -> HeaderName {
        HeaderName::from_static("x-customer_id")
    }

    #[test]
    fn only_our_own_names_and_no_other_site() {
        let gate = gate(vec![]);
        let check = |lines: &[(&'static str, &str)]| {
            let map = headers(lines);
            let refused = gate.check_origin(&Headers::of(&map, &identity()), None);
            refused.map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
        };
        for host in [
            "127.0.0.1:7008",
            "[::1]:7008",
            "[::1]",
            "localhost",
            "LOCALHOST:1",
            "a.localhost",
            "box:7008",
            "pod-3",
            "push-1.example.com",
            "Push-1.Example.com.:9",
            "push.team.svc.cluster.local:7008",
            "node.internal",
        ] {
            assert_eq!(check(&[("host", host)]), 200, "{host}");
        }
        for host in
            ["evil.example", "push-2.example.com:7008", "localhost.evil.com", "127.0.0.1.evil.com", "a.b"]
        {
            assert_eq!(check(&[("host", host)]), 403, "{host}");
        }
        assert_eq!(check(&[]), 200);
        assert_eq!(check(&[("host", "a"), ("host", "b")]), 400);
        assert_eq!(check(&[("host", "localhost:1"), ("origin", "http://localhost:1")]), 200);
        assert_eq!(check(&[("host", "localhost:1"), ("origin", "http://localhost:2")]), 403);
        assert_eq!(check(&[("host", "localhost:1"), ("origin", "null")]), 403);
        assert_eq!(check(&[("host", "localhost:1"), ("sec-fetch-site", "cross-site")]), 403);
        assert_eq!(check(&[("host", "localhost:1"), ("sec-fetch-site", "same-site")]), 403);
        assert_eq!(check(&[("host", "localhost:1"), ("sec-fetch-site", "none")]), 200);
    }

    #[test]
    fn every_role_has_its_rights() {
        let roles = [Role::Send, Role::Read, Role::Admin, Role::Peer, Role::All];
        let allowed = |right: Right| roles.map(|role| right.is_given_by(role));
        assert_eq!(allowed(Right::Send), [true, false, true, false, true]);
        assert_eq!(allowed(Right::Read), [false, true, true, false, true]);
        assert_eq!(allowed(Right::Admin), [false, false, true, false, true]);
        assert_eq!(allowed(Right::Peer), [false, false, true, true, true]);
    }

    #[test]
    fn bearer_tokens() {
        let gate = gate(vec![token("old", Role::Read), token("new", Role::Send), token("ops", Role::Admin)]);
        let check = |value: Option<&str>, right| {
            let map = value.map_or_else(HeaderMap::new, |value| headers(&[("authorization", value)]));
            match gate.check_bearer(&Headers::of(&map, &identity()), right) {
                Ok(caller) => caller.name().to_owned(),
                Err(refusal) => refusal.status.as_u16().to_string(),
            }
        };
        assert_eq!(check(None, Right::Send), "401");
        assert_eq!(check(Some("Basic new-secret"), Right::Send), "401");
        assert_eq!(check(Some("Bearer wrong"), Right::Send), "401");
        assert_eq!(check(Some("Bearer "), Right::Send), "401");
        assert_eq!(check(Some("Bearer new-secret"), Right::Send), "new");
        assert_eq!(check(Some("bearer  ops-secret"), Right::Send), "ops");
        assert_eq!(check(Some("Bearer old-secret"), Right::Send), "403");
        assert_eq!(check(Some("Bearer new-secret"), Right::Admin), "403");
        gate.replace_tokens(vec![token("next", Role::All)]);
        assert_eq!(check(Some("Bearer new-secret"), Right::Send), "401");
        assert_eq!(check(Some("Bearer next-secret"), Right::Admin), "next");
    }

    #[test]
    fn the_secure_token_and_the_networks_of_zuuls_endpoint() {
        let near = IpAddr::from([10, 1, 2, 3]);
        let far = IpAddr::from([192, 0, 2, 1]);
        let check = |gate: &Gate, lines: &[(&'static str, &str)], peer| {
            let map = headers(lines);
            let checked = gate.check_zuul(&Headers::of(&map, &identity()), peer);
            checked.map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
        };
        let open = gate(vec![]);
        assert_eq!(check(&open, &[], far), 200);
        assert_eq!(check(&open, &[("x-zuul.push.secure.token", "any")], far), 403);
        let closed = gate(vec![token("read", Role::Read), token("send", Role::Send)]);
        assert_eq!(check(&closed, &[], far), 401);
        assert_eq!(check(&closed, &[], near), 200);
        assert_eq!(check(&closed, &[("x-zuul.push.secure.token", "send-secret")], far), 200);
        assert_eq!(check(&closed, &[("x-zuul.push.secure.token", "read-secret")], far), 403);
        assert_eq!(check(&closed, &[("x-zuul.push.secure.token", "wrong")], near), 403);
        assert_eq!(check(&closed, &[("authorization", "Bearer send-secret")], far), 200);
        assert_eq!(check(&closed, &[("authorization", "Bearer wrong")], near), 401);
    }
}
