//! What somebody else is asked about a client: what the client sent, owned, so that it can wait.
//!
//! Owns which of a client's header lines are passed on. Not those that are about the connection, nor those that would change
//! what kind of answer comes back, nor those with which a proxy in front would say what we say ourselves.

use super::Judgement;
use std::{fmt, net::IpAddr};

/// What is asked about one client.
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    target: Box<str>,
    /// Header lines that are passed on, each `name: value` and a line feed: values have none.
    lines: Box<[u8]>,
    peer: IpAddr,
    by_query: bool,
}

/// A question, and who waits for its answer.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub question: Question,
    /// Where the answer goes.
    pub judgement: Judgement,
}

impl Question {
    /// About the client at this address, which asked for this target, path and query, with these header lines. `by_query`: the
    /// query holds a credential.
    pub fn new<'h>(
        target: &str,
        headers: impl Iterator<Item = (&'h str, &'h [u8])>,
        peer: IpAddr,
        by_query: bool,
    ) -> Self {
        let mut lines = Vec::with_capacity(512);
        for (name, value) in headers.filter(|(name, _)| is_passed_on(name)) {
            lines.extend_from_slice(name.as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value);
            lines.push(b'\n');
        }
        Self { target: target.into(), lines: lines.into(), peer, by_query }
    }

    /// Path and query that the client asked for, not decoded.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The query, where it holds a credential.
    pub fn credential_query(&self) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        self.by_query.then_some(query)
    }

    /// The header lines that are passed on, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines.split(|&byte| byte == b'\n').filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((std::str::from_utf8(line.get(..colon)?).ok()?, line.get(colon + 2..)?))
        })
    }

    /// The client's address.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }
}

impl fmt::Debug for Question {
    /// Without anything that the client sent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Names that are not passed on; those that begin with one of [`PREFIXES`] neither.
#[rustfmt::skip]
const NAMES: [&str; 26] = [
    // About the connection (RFC 9110, section 7.6.1), or the message.
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings",
    "content-length", "content-type", "content-encoding", "expect", "host",
    // About the answer: one that is packed, a part, or "not modified" would tell nothing.
    "accept", "accept-charset", "accept-encoding", "range", "if-range", "if-match", "if-none-match", "if-modified-since",
    "if-unmodified-since",
    // What we say ourselves.
    "user-agent", "forwarded", "x-real-ip", "x-http-method-override",
];
const PREFIXES: [&str; 5] = ["sec-websocket-", "proxy-auth", "x-forwarded-", "x-original-", "x-holdfast-"];

/// Whether header lines of this name are passed on. An underscore counts as a hyphen, as where names become variables: else
/// `X_Forwarded_For` would pass for what it is not.
pub fn is_passed_on(name: &str) -> bool {
    let is = |known: &str| name.len() == known.len() && begins(name, known);
    !NAMES.iter().any(|known| is(known)) && !PREFIXES.iter().any(|prefix| begins(name, prefix))
}

fn begins(name: &str, prefix: &str) -> bool {
    let same = |(one, other): (u8, u8)| one.to_ascii_lowercase() == other || one == b'_' && other == b'-';
    name.len() >= prefix.len() && name.bytes().zip(prefix.bytes()).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_about_the_connection_or_ours_to_say_is_not_passed_on() {
        for name in [
            "Host",
            "CONNECTION",
            "Upgrade",
            "Sec-WebSocket-Key",
            "sec-websocket-protocol",
            "Proxy-Authorization",
            "X-Forwarded-For",
            "x-forwarded-host",
            "X_Forwarded_For",
            "X-Real-IP",
            "x_real_ip",
            "X-Original-URI",
            "X-Holdfast-Token",
            "Forwarded",
            "Accept-Encoding",
            "If-None-Match",
            "Range",
            "User-Agent",
            "Transfer-Encoding",
            "Content-Length",
        ] {
            assert!(!is_passed_on(name), "{name}");
        }
        for name in [
            "Cookie",
            "Authorization",
            "X-CUSTOMER_ID",
            "X-Api-Key",
            "Origin",
            "Accept-Language",
            "Hos",
            "Hosts",
        ] {
            assert!(is_passed_on(name), "{name}");
        }
    }

    #[test]
    fn debug_shows_nothing_that_the_client_sent() {
        let headers = [("Cookie", &b"session=secret"[..])];
        let question = Question::new("/ws?token=secret", headers.into_iter(), [127, 0, 0, 1].into(), true);
        assert!(!format!("{question:?}").contains("secret"));
        assert_eq!(question.credential_query(), Some("token=secret"));
    }

    proptest! {
        #[test]
        fn headers_come_back_as_they_were(headers in prop::collection::vec(("X-[A-Za-z]{1,9}", "[ -~\t\u{80}-\u{ff}]{0,20}"), 0..8)) {
            let lines = || headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            let question = Question::new("/ws", lines(), [127, 0, 0, 1].into(), false);
            let kept: Vec<_> = lines().filter(|(name, _)| is_passed_on(name)).collect();
            prop_assert_eq!(question.headers().collect::<Vec<_>>(), kept);
            prop_assert_eq!(question.credential_query(), None);
        }
    }
}
