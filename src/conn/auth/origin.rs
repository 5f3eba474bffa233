//! Which pages may connect (`clients.origins`), by the Origin header (RFC 6454 7, WHATWG Fetch 3.2).
//!
//! An entry is `https://app.example.com[:port]`, or `https://*.example.com[:port]` for every host below it; without a
//! scheme it stands for any scheme. A port left out is the scheme's own. Hosts are compared without regard to case.

use crate::proto::http::Head;

/// Whether a handshake's Origin lets it in.
///
/// No Origin: not a browser, allowed. With `origins`: it must match one of them. Without: any, except that where the
/// credential rides on a cookie it must be the request's own Host, for a browser sends a cookie along for any page.
pub fn origin_allowed(head: &Head<'_>, origins: Option<&[String]>, cookie: bool) -> bool {
    let mut lines = head.header_lines("origin");
    let Some(first) = lines.next() else { return true };
    if origins.is_none() && !cookie {
        return true;
    }
    // Two lines leave open which is meant; "null" and everything else that is no origin matches nothing.
    let text = if lines.next().is_some() { None } else { std::str::from_utf8(first).ok() };
    let Some(origin) = text.and_then(Origin::parse) else { return false };
    match origins {
        Some(origins) => origins.iter().any(|entry| origin.matches(entry)),
        None => head.header("host").is_some_and(|host| origin.is_at(host)),
    }
}

/// The Origin to name in `Access-Control-Allow-Origin`: the request's own, where `clients.origins` is set and allows it.
pub fn cors_origin<'a>(head: &Head<'a>, origins: Option<&[String]>) -> Option<&'a str> {
    let origin = head.header("origin")?;
    (origins.is_some() && origin_allowed(head, origins, false)).then_some(origin)
}

#[derive(Clone, Copy, Debug)]
struct Origin<'o> {
    scheme: &'o str,
    host: &'o str,
    port: Option<u16>,
}

impl<'o> Origin<'o> {
    /// `scheme://host[:port]`, and nothing more.
    fn parse(text: &'o str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (host, port) = split_port(rest)?;
        let port = port.or_else(|| default_port(scheme));
        Some(Self { scheme, host, port })
    }

    fn matches(&self, entry: &str) -> bool {
        let entry = entry.trim();
        let (scheme, place) = match entry.split_once("://") {
            Some((scheme, place)) => (Some(scheme), place),
            None => (None, entry),
        };
        if scheme.is_some_and(|scheme| !scheme.eq_ignore_ascii_case(self.scheme)) {
            return false;
        }
        let Some((host, port)) = split_port(place.strip_suffix('/').unwrap_or(place)) else { return false };
        let host_matches = match host.strip_prefix('*') {
            Some(suffix) => suffix.starts_with('.') && is_below(self.host, suffix),
            None => host.eq_ignore_ascii_case(self.host),
        };
        host_matches && port.or_else(|| default_port(self.scheme)) == self.port
    }

    /// Whether a page of this origin came from where a request with this Host goes.
    fn is_at(&self, host: &str) -> bool {
        split_port(host).is_some_and(|(host, port)| {
            host.eq_ignore_ascii_case(self.host) && port.or_else(|| default_port(self.scheme)) == self.port
        })
    }
}

/// Whether a host is a true subdomain: it ends in the suffix, which starts with a dot, and has more before that.
fn is_below(host: &str, suffix: &str) -> bool {
    let Some(before) = host.len().checked_sub(suffix.len()) else { return false };
    before > 0 && host.get(before..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// Host and port of `host[:port]`; None when it is something else. The host may be `[` IPv6 `]`.
fn split_port(place: &str) -> Option<(&str, Option<u16>)> {
    let host_end =
        if place.starts_with('[') { place.find(']')? + 1 } else { place.find(':').unwrap_or(place.len()) };
    let (host, rest) = (place.get(..host_end)?, place.get(host_end..)?);
    if host.is_empty() || host.contains(['/', '@', '?', '#', '\\', ' ', '\t']) {
        return None;
    }
    let port = match rest.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        None if rest.is_empty() => None,
        _ => return None,
    };
    Some((host, port))
}

fn default_port(scheme: &str) -> Option<u16> {
    let is = |name| scheme.eq_ignore_ascii_case(name);
    if is("https") || is("wss") {
        Some(443)
    } else if is("http") || is("ws") {
        Some(80)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::proto::http::parse_head;
    use proptest::prelude::*;

    fn allowed(lines: &[&str], origins: Option<&[&str]>, cookie: bool) -> bool {
        let text = request("/ws", lines);
        let origins: Option<Vec<String>> =
            origins.map(|list| list.iter().map(|&entry| entry.into()).collect());
        origin_allowed(&head(&text), origins.as_deref(), cookie)
    }

    #[test]
    fn configured_origins() {
        let list: &[&str] = &[
            "https://App.example.com",
            "http://dev.example.com:3000",
            "*.wild.example",
            "https://*.tls.example:8443/",
        ];
        let rows = [
            ("https://app.example.com", true),
            ("HTTPS://APP.EXAMPLE.COM", true),
            ("https://app.example.com:443", true),
            ("https://app.example.com:8443", false),
            ("http://app.example.com", false),
            ("https://app.example.com.evil.example", false),
            ("https://app.example.com/", false),
            ("https://app.example.com@evil.example", false),
            ("http://dev.example.com:3000", true),
            ("http://dev.example.com", false),
            ("http://a.wild.example", true),
            ("https://a.b.WILD.example", true),
            ("https://wild.example", false),
            ("https://evilwild.example", false),
            ("https://.wild.example", false),
            ("https://a.wild.example:8443", false),
            ("https://a.tls.example:8443", true),
            ("http://a.tls.example:8443", false),
            ("null", false),
            ("", false),
            ("https://", false),
            ("https://app.example.com:", false),
            ("https://app.example.com:99999", false),
        ];
        for (origin, expected) in rows {
            for cookie in [false, true] {
                assert_eq!(
                    allowed(&[&format!("Origin: {origin}")], Some(list), cookie),
                    expected,
                    "{origin}"
                );
            }
        }
        assert!(allowed(&[], Some(list), true), "no origin is no browser");
        assert!(!allowed(&["Origin: https://app.example.com"], Some(&[]), false));
        let two = ["Origin: https://app.example.com", "Origin: https://app.example.com"];
        assert!(!allowed(&two, Some(list), false));
    }

    #[test]
    fn without_configured_origins_only_a_cookie_is_guarded() {
        let rows = [
            ("https://push.example.com", true),
            ("http://push.example.com", true),
            ("https://PUSH.example.com:443", true),
            ("https://push.example.com:8443", false),
            ("https://evil.example", false),
            ("https://a.push.example.com", false),
            ("null", false),
        ];
        for (origin, own) in rows {
            let line = format!("Origin: {origin}");
            assert!(allowed(&[&line], None, false), "{origin}");
            assert_eq!(allowed(&[&line], None, true), own, "{origin}");
        }
        assert!(allowed(&[], None, true));
    }

    #[test]
    fn a_host_with_a_port_is_compared_with_it() {
        let text = "GET /ws HTTP/1.1\r\nHost: [::1]:8080\r\nOrigin: http://[::1]:8080\r\n\r\n";
        assert!(origin_allowed(&head(text), None, true));
        let text = "GET /ws HTTP/1.1\r\nHost: h:8080\r\nOrigin: http://h\r\n\r\n";
        assert!(!origin_allowed(&head(text), None, true));
    }

    #[test]
    fn cors_echoes_only_what_is_configured() {
        let list = ["https://app.example.com".to_owned()];
        let rows = [
            ("https://app.example.com", Some("https://app.example.com")),
            ("https://APP.example.com:443", Some("https://APP.example.com:443")),
            ("https://evil.example", None),
        ];
        for (origin, echoed) in rows {
            let text = request("/sse", &[&format!("Origin: {origin}")]);
            assert_eq!(cors_origin(&head(&text), Some(&list)), echoed);
            assert_eq!(cors_origin(&head(&text), None), None);
        }
        assert_eq!(cors_origin(&head(&request("/sse", &[])), Some(&list)), None);
    }

    proptest! {
        #[test]
        fn no_origin_panics_and_a_host_is_never_below_itself(
            origin in "[ -~é]{0,40}|https?://[a-z.:*\\[\\]0-9]{0,20}",
            entry in "[ -~é]{0,40}",
        ) {
            let text = format!("GET / HTTP/1.1\r\nHost: h\r\nOrigin: {origin}\r\n\r\n");
            if let Ok(Some((head, _))) = parse_head(text.as_bytes(), 1024) {
                origin_allowed(&head, Some(std::slice::from_ref(&entry)), true);
                origin_allowed(&head, None, true);
            }
            prop_assert!(!is_below(&entry, &entry));
        }
    }
}
