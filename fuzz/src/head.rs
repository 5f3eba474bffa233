//! Request heads: cut anywhere with the same answer, and nothing read out of one that another reader would not find.

use super::prefixes;
use holdfast::proto::http::{Head, HeadError, parse_head, websocket_upgrade, write_switching_protocols};

/// `limits.head_bytes` by default.
const LIMIT: usize = 16 << 10;

/// Parses `data` as a head, with the default limit and with one that it may just exceed.
pub fn run(data: &[u8]) {
    for limit in [LIMIT, data.len().saturating_sub(1).max(1)] {
        let whole = answer(data, limit);
        let early = prefixes(data)
            .into_iter()
            .map(|cut| answer(&data[..cut], limit))
            .find(|early| *early != Ok(None));
        assert_eq!(early.unwrap_or(Ok(None)), whole, "cuts make a difference at limit {limit}");
    }
    if let Ok(Some((head, length))) = parse_head(data, LIMIT) {
        assert!(length <= data.len() && length <= LIMIT);
        check_reading(&head);
        check_rewritten(&head);
        check_upgrade(&head);
    }
}

fn answer(data: &[u8], limit: usize) -> Result<Option<(String, usize)>, HeadError> {
    Ok(parse_head(data, limit)?.map(|(head, length)| (format!("{:?}", parts(&head)), length)))
}

fn parts<'b>(head: &Head<'b>) -> (&'b str, &'b str, Vec<(&'b str, &'b [u8])>) {
    (head.method(), head.target(), head.headers().collect())
}

fn check_reading(head: &Head<'_>) {
    assert!(head.path().starts_with('/') && head.target().starts_with(head.path()));
    let tail = &head.target()[head.path().len()..];
    assert_eq!(tail.strip_prefix('?').unwrap_or(tail), head.query());
    assert_eq!(head.header_lines("HOST").count(), 1);
    for (name, value) in head.headers() {
        assert!(!name.is_empty() && value.trim_ascii() == value);
        assert!(value.iter().all(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
    }
}

/// Written out again in the plainest form, it is the same head.
fn check_rewritten(head: &Head<'_>) {
    let mut plain = format!("{} {} HTTP/1.1\r\n", head.method(), head.target()).into_bytes();
    for (name, value) in head.headers() {
        plain.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    plain.extend(b"\r\n");
    let (again, length) = parse_head(&plain, usize::MAX).expect("a good head").expect("a whole head");
    assert_eq!((parts(&again), length), (parts(head), plain.len()));
}

fn check_upgrade(head: &Head<'_>) {
    let (without, with) = (websocket_upgrade(head, false), websocket_upgrade(head, true));
    assert_eq!(
        without.map(|upgrade| upgrade.key),
        with.map(|upgrade| upgrade.key),
        "the extension decides alone"
    );
    let Ok(upgrade) = with else { return };
    assert_eq!((head.method(), upgrade.key.len()), ("GET", 24));
    assert_eq!(without.ok().and_then(|upgrade| upgrade.deflate), None);
    let mut out = Vec::new();
    write_switching_protocols(&mut out, upgrade.key, upgrade.deflate.as_ref(), None);
    let out = String::from_utf8(out).expect("ASCII");
    assert!(out.starts_with("HTTP/1.1 101 ") && out.ends_with("\r\n\r\n"));
    assert_eq!(out.lines().count(), 5 + usize::from(upgrade.deflate.is_some()), "{out}");
}
