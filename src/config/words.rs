//! The forms of names and words that configuration values must have.

/// What an origin is, for errors.
pub const ORIGIN: &str = "an origin like \"https://app.example.com\" (scheme://host[:port]), or with a wildcard for every host below a domain, \"https://*.example.com\" or, for any scheme, \"*.example.com\" (a port left out is the scheme's own)";
/// What a header name is, for errors.
pub const HEADER: &str = "the name of a header: 1 to 64 of A-Z, a-z, 0-9 and !#$%&'*+-.^_`|~";
/// What a cookie name is, for errors.
pub const COOKIE: &str = "the name of a cookie: 1 to 64 of A-Z, a-z, 0-9 and !#$%&'*+-.^_`|~";
/// What a log level is, for errors.
pub const LEVEL: &str =
    "\"error\", \"warn\", \"info\", \"debug\" or \"off\", or a filter like \"info,holdfast::shard=debug\"";
/// What an algorithm is, for errors.
pub const ALGORITHM: &str =
    "one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA";

/// The algorithms of signed tokens with the family that one key suits.
pub const ALGORITHMS: [(&str, &str); 12] = [
    ("HS256", "HS"),
    ("HS384", "HS"),
    ("HS512", "HS"),
    ("RS256", "RSA"),
    ("RS384", "RSA"),
    ("RS512", "RSA"),
    ("PS256", "RSA"),
    ("PS384", "RSA"),
    ("PS512", "RSA"),
    ("ES256", "P-256"),
    ("ES384", "P-384"),
    ("EdDSA", "Ed25519"),
];

/// A name of a node.
pub fn is_node_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// A region.
pub fn is_region(text: &str) -> bool {
    text.len() <= 64 && !text.chars().any(char::is_control)
}

/// Any text, within reason.
pub fn is_text(text: &str) -> bool {
    (1..=4096).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A lane; `order` is a key of the section itself.
pub fn is_lane(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(allowed) && text != "order"
}

/// A topic of Kafka, or a consumer group.
pub fn is_topic(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=249).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
}

/// A pattern of topics: anchored, since the client library takes only such for a pattern.
pub fn is_topic_pattern(text: &str) -> bool {
    text.len() <= 1024 && text.starts_with('^') && regex::Regex::new(text).is_ok()
}

/// A property of the Kafka library with its value.
pub fn is_property(text: &str) -> bool {
    let named = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._".contains(&b);
    is_text(text) && text.split_once('=').is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(named))
}

/// `embedded`, `none`, or brokers.
pub fn is_brokers(text: &str) -> bool {
    matches!(text, "embedded" | "none") || text.split(',').all(|broker| is_host_and_port(broker.trim()))
}

/// A token of HTTP (RFC 9110, section 5.6.2): what names headers and cookies.
pub fn is_header(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// HOST:PORT, where an IPv6 address stands in brackets and the port is not 0.
pub fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    is_host(host) && is_port(port)
}

/// `scheme://host[:port]` (RFC 6454, section 6.1), `scheme://*.domain[:port]` or `*.domain[:port]`.
pub fn is_origin(text: &str) -> bool {
    let (scheme, authority) = match text.split_once("://") {
        Some((scheme, authority)) => (Some(scheme), authority),
        None => (None, text),
    };
    let scheme_fits = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    let domain = authority.strip_prefix("*.");
    let place = domain.unwrap_or(authority);
    let place_fits =
        (is_host(place) || is_host_and_port(place)) && !(domain.is_some() && place.starts_with('['));
    place_fits && scheme.map_or(domain.is_some(), scheme_fits)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port != 0)
}

/// A host name or an address, IPv6 in brackets.
pub fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
    text.len() <= 253 && text.split('.').all(label)
}

/// A level or a comma separated list of levels and `target=level`.
pub fn is_level(text: &str) -> bool {
    let level = |text: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&text);
    let target = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:-".contains(&b))
    };
    let part = |part: &str| match part.split_once('=') {
        Some((name, one)) => target(name) && level(one),
        None => level(part),
    };
    text.len() <= 1024 && text.split(',').all(part)
}

/// An algorithm of signed tokens.
pub fn is_algorithm(text: &str) -> bool {
    ALGORITHMS.iter().any(|(name, _)| *name == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn table(test: fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(test(text), "{text:?} is allowed");
        }
        for text in bad {
            assert!(!test(text), "{text:?} is refused");
        }
    }

    #[test]
    fn forms() {
        table(is_node_id, &["node-1", "a.b_c"], &["", "a b", "ä", &"x".repeat(65)]);
        table(is_lane, &["high", "very-high", "1"], &["", "High", "a_b", "order", &"x".repeat(33)]);
        table(is_header, &["X-CUSTOMER_ID"], &["", "a b", "a:", "ä", "a\r\n"]);
        table(
            is_host_and_port,
            &["a:1", "10.0.0.1:7008", "[::1]:7008"],
            &["a", "a:0", ":1", "::1:7008", "a:b", "a:+1"],
        );
        table(
            is_origin,
            &[
                "https://a.example",
                "http://localhost:3000",
                "*.example.com",
                "https://*.example.com:8443",
                "https://[::1]:1",
                "app+x://y",
            ],
            &[
                "",
                "a.example",
                "https://a/",
                "https://a/b",
                "*",
                "*.",
                "https://",
                "https://a:x",
                "null",
                "https://*",
                "*.[::1]",
                "://a",
                "a.example",
            ],
        );
        table(
            is_level,
            &["info", "off", "info,holdfast::shard=debug", "holdfast=trace"],
            &["", "many", "info,", "holdfast=", "=info", "holdfast=many", "INFO "],
        );
        table(is_algorithm, &["HS256", "EdDSA"], &["none", "hs256", "ES256K"]);
    }
}
