//! `auth.mode = "header"`: the request says who it is, and is believed.
//!
//! For trying out, and behind a gateway that authenticates and sets the header itself. A header may also be spelt with `-`
//! for `_`, since proxies drop or rewrite names with underscores; the configured spelling comes first.

use super::{Authenticator, Handshake, Identity, Verdict};
use crate::{model::Reason, proto::http::Head};
use std::borrow::Cow;

/// Believes a header, else `?user=`.
#[derive(Clone, Debug)]
pub struct HeaderAuth {
    header: String,
    /// The same with `-` for `_`, where that is another name.
    hyphened: Option<String>,
}

impl HeaderAuth {
    /// Believes this header.
    pub fn new(header: impl Into<String>) -> Self {
        let header = header.into();
        let hyphened = header.contains('_').then(|| header.replace('_', "-"));
        Self { header, hyphened }
    }
}

impl Authenticator for HeaderAuth {
    fn authenticate<'h>(&self, handshake: &Handshake<'h>) -> Verdict<'h> {
        let head = handshake.head;
        let hyphened = || self.hyphened.as_deref().and_then(|header| header_value(head, header));
        let user =
            header_value(head, &self.header).or_else(hyphened).or_else(|| parameter_value(head, "user"));
        match user {
            Some(user) => {
                Verdict::Accept(Identity { user, device: None, issued_unix_s: None, expires_unix_s: None })
            }
            None => Verdict::Refuse(Reason::AuthFailed),
        }
    }
}

/// A name from the first line of a header, else from a query parameter.
pub(super) fn named<'h>(head: &Head<'h>, header: &str, parameter: &str) -> Option<Cow<'h, str>> {
    header_value(head, header).or_else(|| parameter_value(head, parameter))
}

/// A value that is not UTF-8 comes back empty, so that it is refused as a name rather than taken for absent.
fn header_value<'h>(head: &Head<'h>, header: &str) -> Option<Cow<'h, str>> {
    let value = head.header_lines(header).next()?;
    Some(Cow::Borrowed(std::str::from_utf8(value).unwrap_or_default()))
}

fn parameter_value<'h>(head: &Head<'h>, parameter: &str) -> Option<Cow<'h, str>> {
    head.query_param(parameter).unwrap_or(Some(Cow::Borrowed("")))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    #[test]
    fn the_header_comes_before_the_query() {
        let auth = HeaderAuth::new("X-CUSTOMER_ID");
        let rows: &[(&str, &[&str], Option<&str>)] = &[
            ("/ws", &["X-CUSTOMER_ID: 42"], Some("42")),
            ("/ws", &["x-customer_id: 42"], Some("42")),
            ("/ws?user=7", &["X-CUSTOMER_ID: 42"], Some("42")),
            ("/ws?user=7", &["X-Customer-Id: 42"], Some("42")),
            ("/ws", &["X-CUSTOMER-ID: 7", "X-CUSTOMER_ID: 42"], Some("42")),
            ("/ws?user=7", &[], Some("7")),
            ("/sse?a=b&user=j%C3%BCrgen", &[], Some("jürgen")),
            ("/ws", &["X-CUSTOMER_ID: jürgen"], Some("jürgen")),
            ("/ws?user=7", &["X-CUSTOMER_ID:"], Some("")),
            ("/ws?user=%FF", &[], Some("")),
            ("/ws", &[], None),
            ("/ws?users=7", &["X-CUSTOMER: 42"], None),
        ];
        for (target, lines, user) in rows {
            let text = request(target, lines);
            let head = head(&text);
            let verdict = auth.authenticate(&handshake(&head, 0));
            match (verdict, user) {
                (Verdict::Accept(identity), Some(user)) => {
                    assert_eq!(identity.user, *user, "{target} {lines:?}");
                    assert_eq!((identity.device, identity.expires_unix_s), (None, None));
                }
                (Verdict::Refuse(reason), None) => assert_eq!(reason, Reason::AuthFailed),
                (verdict, user) => panic!("{target} {lines:?}: {verdict:?}, not {user:?}"),
            }
            assert!(!auth.uses_cookie(&handshake(&head, 0)));
        }
    }

    #[test]
    fn a_plain_name_is_not_copied() {
        let text = request("/ws", &["X-CUSTOMER_ID: 42"]);
        let head = head(&text);
        assert!(matches!(named(&head, "X-CUSTOMER_ID", "user"), Some(Cow::Borrowed("42"))));
    }

    #[test]
    fn a_header_that_is_not_utf8_is_not_passed_over() {
        let text = b"GET /ws?user=7 HTTP/1.1\r\nHost: h\r\nX-CUSTOMER_ID: \xFF\r\n\r\n";
        let (head, _) = crate::proto::http::parse_head(text, 1024).unwrap().unwrap();
        assert_eq!(named(&head, "X-CUSTOMER_ID", "user").as_deref(), Some(""));
    }
}
