use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::proto::http::response::push_line_text;

const LIMIT: usize = 16 * 1024;
const PLAIN: &str =
    "GET /ws?user=a%20b&device=x+y HTTP/1.1\r\nHost: push.example:8080\r\nX-CUSTOMER_ID: 42\r\n\r\n";

fn parse(text: &str) -> Result<Option<(Head<'_>, usize)>, HeadError> {
    parse_head(text.as_bytes(), LIMIT)
}

fn head(text: &str) -> Head<'_> {
    parse(text).expect("a good head").expect("a whole head").0
}

fn with_lines(lines: &str) -> String {
    format!("GET /ws HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
}

#[test]
fn a_head_is_read() {
    let (head, length) = parse(PLAIN).unwrap().unwrap();
    assert_eq!(length, PLAIN.len());
    assert_eq!((head.method(), head.target()), ("GET", "/ws?user=a%20b&device=x+y"));
    assert_eq!((head.path(), head.query()), ("/ws", "user=a%20b&device=x+y"));
    assert_eq!(head.header("x-customer_id"), Some("42"));
    assert_eq!(head.header("x-absent"), None);
    assert_eq!(head.headers().count(), 2);
}

#[test]
fn what_follows_the_head_is_left_alone() {
    let text = format!("{PLAIN}\x01\n\nGET");
    assert_eq!(parse(&text).unwrap().unwrap().1, PLAIN.len());
}

#[test]
fn values_lose_the_white_space_around_them() {
    let text = with_lines("A:  b\tc \t\r\nEmpty: \r\n");
    let head = head(&text);
    assert_eq!(head.header("a"), Some("b\tc"));
    assert_eq!(head.header("empty"), Some(""));
}

#[test]
fn a_value_that_is_not_utf8_is_there_but_is_no_text() {
    let bytes = b"GET / HTTP/1.1\r\nHost: h\r\nA: \xff\r\n\r\n";
    let (head, _) = parse_head(bytes, LIMIT).unwrap().unwrap();
    assert_eq!(head.header("a"), None);
    assert_eq!(head.headers().last(), Some(("A", &b"\xff"[..])));
}

#[test]
fn malformed_heads_are_refused() {
    let cases: &[&str] = &[
        "GET / HTTP/1.0\r\nHost: h\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "GET /\r\nHost: h\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
        "GET http://h/ws HTTP/1.1\r\nHost: h\r\n\r\n",
        "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /ws#part HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a\x01 HTTP/1.1\r\nHost: h\r\n\r\n",
        "GE(T / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n",
        "GET / HTTP/1.1\nHost: h\n\n",
        "GET / HTTP/1.1\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\n",
        "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03",
    ];
    for case in cases {
        assert!(
            matches!(parse(case), Err(HeadError::Malformed(_))),
            "{case:?} gave {:?}",
            parse(case).map(|_| ())
        );
    }
    let lines: &[&str] = &[
        "A : b\r\n",
        " A: b\r\n",
        "A: b\r\n c\r\n",
        "A: b\r\n\tc\r\n",
        ": b\r\n",
        "A\r\n",
        "A(: b\r\n",
        "A: b\0c\r\n",
        "A: b\x7fc\r\n",
        "A: b\x1bc\r\n",
        "A: b\rc\r\n",
        "Content-Length: 1\r\n",
        "Content-Length: +0\r\n",
        "Content-Length: 0, 0\r\n",
        "Content-Length:\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding: identity\r\n",
    ];
    for case in lines {
        let text = with_lines(case);
        assert!(matches!(parse(&text), Err(HeadError::Malformed(_))), "{text:?}");
    }
    assert!(parse(&with_lines("Content-Length: 0\r\n")).is_ok());
}

#[test]
fn the_limit_holds_for_whole_and_unfinished_heads() {
    let length = PLAIN.len();
    assert!(parse_head(PLAIN.as_bytes(), length).unwrap().is_some());
    assert_eq!(parse_head(PLAIN.as_bytes(), length - 1).unwrap_err(), HeadError::TooLarge);
    let unfinished = &PLAIN.as_bytes()[..length - 2];
    assert!(parse_head(unfinished, length).unwrap().is_none());
    assert_eq!(parse_head(unfinished, length - 2).unwrap_err(), HeadError::TooLarge);
    assert!(parse_head(b"", LIMIT).unwrap().is_none());
}

#[test]
fn the_number_of_lines_is_limited() {
    let most = with_lines(&"A: b\r\n".repeat(HEADERS_MAX - 1));
    assert_eq!(head(&most).headers().count(), HEADERS_MAX);
    let more = with_lines(&"A: b\r\n".repeat(HEADERS_MAX));
    assert_eq!(parse(&more).unwrap_err(), HeadError::TooLarge);
    assert_eq!((HeadError::TooLarge.status(), HeadError::Malformed("").status()), (431, 400));
}

#[test]
fn query_parameters_are_decoded() {
    let text =
        "GET /ws?user=a%20b+c%2B&flag&none=&us%65r2=%C3%A9&odd=%zz%4&bad=%ff HTTP/1.1\r\nHost: h\r\n\r\n";
    let head = head(text);
    let query = |name| head.query_param(name).map(|value| value.map(Cow::into_owned));
    assert_eq!(query("user"), Ok(Some("a b c+".to_owned())));
    assert_eq!(query("flag"), Ok(Some(String::new())));
    assert_eq!(query("none"), Ok(Some(String::new())));
    assert_eq!(query("user2"), Ok(Some("é".to_owned())));
    assert_eq!(query("odd"), Ok(Some("%zz%4".to_owned())));
    assert_eq!(query("absent"), Ok(None));
    assert!(query("bad").is_err());
}

#[test]
fn a_parameter_that_needs_no_decoding_is_borrowed() {
    let head = head("GET /ws?user=a&user=b?c=d HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(matches!(head.query_param("user"), Ok(Some(Cow::Borrowed("a")))));
    assert_eq!(head.query(), "user=a&user=b?c=d");
}

#[test]
fn a_line_of_authorization_takes_the_place_of_all_others() {
    let text = with_lines("Authorization: Basic dTpw\r\nX: y\r\nauthorization: Bearer a\r\nCookie: b=c\r\n");
    let before = head(&text);
    let after = before.with_authorization(b"Bearer token").expect("there is room");
    let lines: Vec<_> = after.headers().collect();
    let wanted: [(&str, &[u8]); 4] =
        [("Host", b"h"), ("X", b"y"), ("Cookie", b"b=c"), ("Authorization", b"Bearer token")];
    assert_eq!(lines, wanted);
    assert_eq!((after.target(), after.header("authorization")), ("/ws", Some("Bearer token")));
    assert_eq!(before.header("authorization"), Some("Basic dTpw"), "the request itself stays as it was");
    let full = with_lines(&"X: y\r\n".repeat(HEADERS_MAX - 1));
    assert!(head(&full).with_authorization(b"Bearer token").is_none());
    let full = with_lines(&format!("Authorization: a\r\n{}", "X: y\r\n".repeat(HEADERS_MAX - 2)));
    assert!(head(&full).with_authorization(b"Bearer token").is_some());
}

#[test]
fn tokens_are_found_on_any_line() {
    let text = with_lines("Connection: keep-alive\r\nconnection: x ,UpGrade\r\nUpgrade: websocketx\r\n");
    let head = head(&text);
    assert!(head.has_token("Connection", "upgrade"));
    assert!(!head.has_token("Connection", "up"));
    assert!(!head.has_token("upgrade", "websocket"));
}

#[test]
fn cookies_are_found() {
    let text = with_lines("Cookie: a=1; session=\"x=y\"\r\nCookie: b=2\r\n");
    let head = head(&text);
    assert_eq!(head.cookie("a"), Some("1"));
    assert_eq!(head.cookie("session"), Some("x=y"));
    assert_eq!(head.cookie("b"), Some("2"));
    assert_eq!(head.cookie("c"), None);
}

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ASK: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";

fn upgrade(lines: &str) -> Result<(), UpgradeError> {
    let text = with_lines(lines);
    websocket_upgrade(&head(&text), true).map(|_| ())
}

#[test]
fn upgrades_are_checked() {
    let malformed = |result| matches!(result, Err(UpgradeError::Malformed(_)));
    assert_eq!(upgrade(&format!("{ASK}{VERSION}{KEY}")), Ok(()));
    assert_eq!(upgrade(""), Err(UpgradeError::NotAnUpgrade));
    assert_eq!(upgrade(&format!("Upgrade: websocket\r\n{VERSION}{KEY}")), Err(UpgradeError::NotAnUpgrade));
    assert_eq!(upgrade(&format!("Connection: upgrade\r\n{VERSION}{KEY}")), Err(UpgradeError::NotAnUpgrade));
    assert_eq!(upgrade(&format!("{ASK}{KEY}Sec-WebSocket-Version: 8\r\n")), Err(UpgradeError::BadVersion));
    assert_eq!(upgrade(&format!("{ASK}Sec-WebSocket-Version: 8\r\n")), Err(UpgradeError::BadVersion));
    assert_eq!(UpgradeError::BadVersion.status(), 426);
    assert!(malformed(upgrade(&format!("{ASK}{KEY}"))));
    assert!(malformed(upgrade(&format!("{ASK}{VERSION}"))));
    assert!(malformed(upgrade(&format!("{ASK}{VERSION}{KEY}{KEY}"))));
    assert!(malformed(upgrade(&format!("{ASK}{VERSION}{VERSION}{KEY}"))));
    assert!(malformed(upgrade(&format!("{ASK}Upgrade: websocket\r\n{VERSION}{KEY}"))));
    for key in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25j!Q==",
        "dGhlIHNhbXBsZSBub25jZQAA",
    ] {
        assert!(malformed(upgrade(&format!("{ASK}{VERSION}Sec-WebSocket-Key: {key}\r\n"))), "{key}");
    }
    let text = with_lines(&format!("{ASK}{VERSION}{KEY}")).replace("GET", "POST");
    assert_eq!(websocket_upgrade(&head(&text), true), Err(UpgradeError::NotAnUpgrade));
}

#[test]
fn an_upgrade_knows_what_was_offered() {
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: a, holdfast.v1\r\n";
    let text = with_lines(&format!("{ASK}{VERSION}{KEY}{offer}"));
    let head = head(&text);
    let with = websocket_upgrade(&head, true).unwrap();
    assert_eq!((with.key, with.protocols), ("dGhlIHNhbXBsZSBub25jZQ==", Some("a, holdfast.v1")));
    assert!(with.deflate.is_some());
    assert!(websocket_upgrade(&head, false).unwrap().deflate.is_none());
    assert!(head.offers_protocol("holdfast.v1") && !head.offers_protocol("Holdfast.v1"));
}

#[test]
fn the_101_is_that_of_the_rfc() {
    let mut out = Vec::new();
    write_switching_protocols(&mut out, "dGhlIHNhbXBsZSBub25jZQ==", None, Some("chat"));
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let mut out = Vec::new();
    let deflate = crate::proto::deflate::negotiate(["permessage-deflate"].into_iter()).unwrap();
    write_switching_protocols(&mut out, "dGhlIHNhbXBsZSBub25jZQ==", Some(&deflate), None);
    assert!(String::from_utf8(out).unwrap().ends_with(
        "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n\r\n"
    ));
}

#[test]
fn responses_are_written() {
    let mut out = Vec::new();
    write_response(&mut out, 503, &[("Retry-After", "7")], true);
    let expected = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let mut out = Vec::new();
    Response { status: 200, headers: &[("Content-Type", "text/plain")], body: "ok" }.write(&mut out, false);
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let mut out = Vec::new();
    write_response(&mut out, 204, &[], true);
    assert_eq!(String::from_utf8(out).unwrap(), "HTTP/1.1 204 No Content\r\nConnection: Close\r\n\r\n");
}

#[test]
fn a_value_can_not_start_another_line() {
    let mut out = Vec::new();
    push_line_text(&mut out, "a\r\nSet-Cookie: b\0");
    assert_eq!(out, b"aSet-Cookie: b");
}

/// What the incremental reader ends with: fed one more byte at a time until there is an answer.
fn byte_by_byte(bytes: &[u8], limit: usize) -> Result<Option<usize>, HeadError> {
    for end in 0..=bytes.len() {
        if let Some((_, length)) = parse_head(&bytes[..end], limit)? {
            return Ok(Some(length));
        }
    }
    Ok(None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn cuts_make_no_difference(
        lines in proptest::collection::vec(("[A-Za-z-]{1,12}", "[ -~\t]{0,12}"), 0..6),
        wrong in proptest::option::of((0usize..120, any::<u8>())),
        limit in 20usize..300,
    ) {
        let mut text = "GET /ws?a=b HTTP/1.1\r\nHost: h\r\n".to_owned();
        for (name, value) in &lines {
            text += &format!("{name}: {value}\r\n");
        }
        let mut bytes = (text + "\r\n").into_bytes();
        if let Some((at, byte)) = wrong {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let whole = parse_head(&bytes, limit).map(|found| found.map(|(_, length)| length));
        prop_assert_eq!(whole, byte_by_byte(&bytes, limit));
    }

    #[test]
    fn hostile_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut text = b"GET /?".to_vec();
        text.extend(&bytes);
        text.extend(b" HTTP/1.1\r\nHost: h\r\nCookie: ");
        text.extend(&bytes);
        text.extend(b"\r\n\r\n");
        if let Ok(Some((head, _))) = parse_head(&text, LIMIT) {
            let _ = (head.query_param("a"), head.cookie("a"), head.has_token("cookie", "a"));
            let _ = websocket_upgrade(&head, true);
        }
        let _ = parse_head(&bytes, LIMIT);
    }
}
