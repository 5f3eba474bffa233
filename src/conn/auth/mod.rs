//! Who a client is: the [`Authenticator`] trait and the ways that come with the server.
//!
//! An authenticator sees the head of a handshake and answers at once, on the event loop of a shard, or says that the answer
//! comes later, from a thread of its own. It never checks
//! whether a name is well formed (the caller does: [`crate::model::identifier::check`]), never reads a clock (the
//! handshake brings the time) and never writes to the client.

mod combined;
mod cookie;
mod header;
mod http;
mod jwks;
mod jwt;
mod origin;
mod replaceable;
mod signed;
#[cfg(test)]
mod test_keys;
mod ticket;
mod times;

pub use cookie::CookieAuth;
pub use header::HeaderAuth;
pub use http::HttpAuth;
pub use jwt::JwtAuth;
pub use origin::{cors_origin, origin_allowed};
pub use replaceable::Replaceable;
pub use ticket::{TicketRules, Tickets};

pub use crate::model::{Identity, Judgement};

use crate::{
    config::{Auth, AuthMode},
    kit::{mailbox::Sender, slab::Key},
    model::{Protocol, Reason, mail::ToShard, question::Asked},
    proto::http::Head,
};
use combined::Combined;
use std::{borrow::Cow, net::IpAddr, sync::Arc};

/// What an authenticator sees of a handshake.
#[derive(Clone, Copy)]
pub struct Handshake<'h> {
    /// The request head.
    pub head: &'h Head<'h>,
    /// The client's address; behind a trusted balancer with the PROXY protocol, the one that it told.
    pub peer: IpAddr,
    /// What the client wants to speak.
    pub protocol: Protocol,
    /// The time, ms since 1970.
    pub unix_ms: u64,
    home: Option<(&'h Sender<ToShard>, Key)>,
}

impl<'h> Handshake<'h> {
    /// A handshake that nobody waits in: for tests of an authenticator.
    pub fn new(head: &'h Head<'h>, peer: IpAddr, protocol: Protocol, unix_ms: u64) -> Self {
        Self { head, peer, protocol, unix_ms, home: None }
    }

    /// The handshake of the connection with this key, in the shard with this mailbox: where a verdict goes that is
    /// [`Verdict::Deferred`].
    pub fn of(self, shard: &'h Sender<ToShard>, key: Key) -> Self {
        Self { home: Some((shard, key)), ..self }
    }

    /// For a verdict that has to wait for somebody else: hand this to him, and answer [`Verdict::Deferred`]. To be called
    /// once: each of them speaks for the handshake, and the first one counts.
    pub fn defer(&self) -> Judgement {
        match self.home {
            Some((shard, key)) => Judgement::new(shard.clone(), key),
            None => Judgement::of_nobody(),
        }
    }
}

/// An authenticator's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Verdict<'h> {
    /// Let it in as this identity.
    Accept(Identity<'h>),
    /// Refuse it; [`Reason::AuthFailed`] unless there is a better one.
    Refuse(Reason),
    /// Somebody else must be asked. Who has the handshake's [`Judgement`] ([`Handshake::defer`]) gives the answer; until then the
    /// client waits, within `limits.handshake_timeout`. If there is no room to ask, say `Refuse(Reason::AuthUnavailable)`.
    Deferred,
}

/// Decides who a client is. One object serves all shards of a node.
pub trait Authenticator: Send + Sync + 'static {
    /// Judges one handshake. Called on the event loop: it must not block, and every microsecond that it takes is one in
    /// which a shard serves nobody else.
    fn authenticate<'h>(&self, handshake: &Handshake<'h>) -> Verdict<'h>;

    /// Whether the credential rides on a cookie, which a browser sends along for any page that asks: then, without
    /// `clients.origins`, the Origin must match the Host (see [`origin_allowed`]).
    fn uses_cookie(&self, _handshake: &Handshake<'_>) -> bool {
        false
    }

    /// Whether the request brings a credential that this one would judge, be it good or bad. Of several ways side by side the
    /// first that finds one decides.
    fn finds_credential(&self, _handshake: &Handshake<'_>) -> bool {
        true
    }

    /// Whether the credential is one that only the page itself can have put there, in the URL: then, without
    /// `clients.origins`, a page of any origin may read the stream that it opens (CORS).
    fn is_brought_by_page(&self, _handshake: &Handshake<'_>) -> bool {
        false
    }

    /// Everything else lets the handshake in: uses up a credential that counts once. It is called after
    /// [`Authenticator::authenticate`] has accepted the handshake, once, and not for one that is refused for another reason. Where
    /// the first frame brought a token and the verdict came later, the token is not there any more.
    ///
    /// # Errors
    /// Why it is refused after all: another one was quicker.
    fn use_up(&self, _handshake: &Handshake<'_>) -> Result<(), Reason> {
        Ok(())
    }
}

/// The authenticator that a configuration asks for. Keys that a set has in vain are logged, each in a line.
///
/// # Errors
/// What is wrong with the settings, naming the setting.
pub fn from_config(auth: &Auth) -> Result<Arc<dyn Authenticator>, String> {
    asking(auth, None)
}

/// The same, where somebody takes the questions of `auth.mode = "http"`: see [`HttpAuth`].
///
/// # Errors
/// As [`from_config`].
pub fn asking(auth: &Auth, questions: Option<&Sender<Asked>>) -> Result<Arc<dyn Authenticator>, String> {
    if auth.first_frame && !auth.modes.iter().any(|&mode| judges_tokens(mode, auth)) {
        return Err("auth.first_frame = true: the first frame is a token, and auth.mode has no way that judges tokens; \
                    expected \"jwt\", or \"http\" with \"authorization\" among auth.http.credentials, alone or beside \
                    another"
            .into());
    }
    let way = |&mode| way(mode, auth, questions);
    let mut ways = auth.modes.iter().map(way).collect::<Result<Vec<_>, _>>()?;
    match (ways.pop(), ways.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            ways.push(last);
            Ok(Arc::new(Combined::new(ways)))
        }
        (None, _) => Err("auth.mode is empty".into()),
    }
}

/// The same, but that a ticket, where there is one, decides alone.
pub fn with_tickets(tickets: Arc<Tickets>, others: Arc<dyn Authenticator>) -> Arc<dyn Authenticator> {
    Arc::new(Combined::new(vec![tickets, others]))
}

/// Whether it knows what to do with `Authorization: Bearer`.
fn judges_tokens(mode: AuthMode, auth: &Auth) -> bool {
    match mode {
        AuthMode::Jwt => true,
        AuthMode::Http => auth.http.credentials.iter().any(|name| name == "authorization"),
        AuthMode::Header | AuthMode::Cookie => false,
    }
}

fn way(
    mode: AuthMode,
    auth: &Auth,
    questions: Option<&Sender<Asked>>,
) -> Result<Arc<dyn Authenticator>, String> {
    Ok(match mode {
        AuthMode::Header => Arc::new(HeaderAuth::new(auth.header.clone())),
        AuthMode::Jwt => Arc::new(JwtAuth::from_config(&auth.jwt)?),
        AuthMode::Cookie => Arc::new(CookieAuth::from_config(&auth.cookie)?),
        AuthMode::Http => Arc::new(HttpAuth::from_config(&auth.http, questions.cloned())?),
    })
}

/// The device that a request names: in a header, else in `?device=`.
///
/// A name that is not UTF-8 comes back empty, which is no [`crate::model::Identifier`]: it must not pass for none.
pub fn device_from_request<'h>(head: &Head<'h>, device_header: &str) -> Option<Cow<'h, str>> {
    header::named(head, device_header, "device")
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::proto::http::parse_head;

    /// A request head as text: a target and header lines without line ends.
    pub(crate) fn request(target: &str, lines: &[&str]) -> String {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        format!("GET {target} HTTP/1.1\r\nHost: push.example.com\r\n{lines}\r\n")
    }

    /// Parses it.
    pub(crate) fn head(text: &str) -> Head<'_> {
        parse_head(text.as_bytes(), 16 * 1024).expect("a good head").expect("a whole head").0
    }

    /// A handshake at a time.
    pub(crate) fn handshake<'h>(head: &'h Head<'h>, unix_ms: u64) -> Handshake<'h> {
        Handshake::new(head, IpAddr::from([127, 0, 0, 1]), Protocol::Websocket, unix_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::*, *};
    use crate::config::Config;

    #[test]
    fn the_device_is_named_by_header_before_query() {
        let rows: &[(&str, &[&str], Option<&str>)] = &[
            ("/ws", &[], None),
            ("/ws?device=tablet", &[], Some("tablet")),
            ("/ws?device=a%20b%2Fc", &[], Some("a b/c")),
            ("/ws?device=tablet", &["x-device-id: phone"], Some("phone")),
            ("/ws?device=", &[], Some("")),
            ("/ws?device=%FF", &[], Some("")),
            ("/ws?devices=tablet", &[], None),
        ];
        for (target, lines, device) in rows {
            let text = request(target, lines);
            assert_eq!(
                device_from_request(&head(&text), "X-DEVICE-ID").as_deref(),
                *device,
                "{target} {lines:?}"
            );
        }
    }

    #[test]
    fn a_configuration_becomes_its_authenticator() {
        let mut auth = Auth { modes: vec![AuthMode::Header], ..Config::default().auth };
        let text = request("/ws?user=42", &[]);
        let head = head(&text);
        let verdict = from_config(&auth).unwrap().authenticate(&handshake(&head, 0));
        assert!(matches!(verdict, Verdict::Accept(identity) if identity.user == "42"));
        for (modes, setting) in [
            (vec![AuthMode::Jwt], "auth.jwt.algorithms"),
            (vec![AuthMode::Cookie], "auth.cookie.keys"),
            (vec![AuthMode::Http], "auth.http.url"),
            (vec![], "auth.mode"),
        ] {
            auth.modes = modes;
            assert!(from_config(&auth).is_err_and(|error| error.contains(setting)), "{setting}");
        }
        (auth.modes, auth.first_frame) = (vec![AuthMode::Header], true);
        assert!(
            from_config(&auth).is_err_and(|error| error.contains("auth.first_frame")),
            "who would judge it?"
        );
    }
}
