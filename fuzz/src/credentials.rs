//! What says who a client is: cookies, query parameters, headers and signed tokens.
//!
//! The first byte of the input chooses where the rest stands: a header line of its own, a cookie, the query, a token's header and
//! claims (a line each) or the claims of a signed cookie or of a ticket, which are then signed with the right key so that what lies behind the
//! signature is reached as well, or a set of keys.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use holdfast::{
    config::{Cookie, Jwt, Secret, TICKET_TTL_MS_MAX, Tickets as Settings},
    conn::auth::{
        Authenticator, CookieAuth, Handshake, HeaderAuth, JwtAuth, TicketRules, Tickets, Verdict,
        cors_origin, device_from_request, origin_allowed,
    },
    model::{Lanes, Protocol},
    proto::http::{Head, parse_head},
    stats::{BuildInfo, NodeStats},
};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::Value;
use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
};

/// Guards nothing. The tokens and cookies of the corpus are signed with it, all for the user "ada".
const SECRET: &str = "a shared secret of some length, for fuzzing";
const NOW_S: u64 = 2_000_000_000;
const LEEWAY_S: u64 = 5;

/// Reads `data` as credentials.
pub fn run(data: &[u8]) {
    let Some((place, rest)) = data.split_first() else { return };
    match place & 7 {
        0 => check_unsigned(b"/ws", rest),
        1 => check_unsigned(b"/ws", &[b"Cookie: ", rest].concat()),
        2 => check_unsigned(&[b"/ws?", rest].concat(), b"X-Nothing: 1"),
        3 => check_signed(rest),
        4 => check_signed_cookie(rest),
        6 => check_signed_ticket(rest),
        _ => check_key_set(rest),
    }
}

fn request(target: &[u8], line: &[u8]) -> Vec<u8> {
    [b"GET ", target, b" HTTP/1.1\r\nHost: push.example.com\r\n", line, b"\r\n\r\n"].concat()
}

fn handshake<'h>(head: &'h Head<'h>) -> Handshake<'h> {
    let peer = IpAddr::from([127, 0, 0, 1]);
    Handshake::new(head, peer, Protocol::Websocket, NOW_S * 1000)
}

fn jwt() -> JwtAuth {
    let config = Jwt {
        algorithms: vec!["HS256".into()],
        secret: Some(Secret::new(SECRET)),
        cookie: Some("token".into()),
        leeway_s: LEEWAY_S,
        ..Jwt::default()
    };
    JwtAuth::from_config(&config).expect("good settings")
}

fn cookie() -> CookieAuth {
    // Two at a time, as while keys are rotated; the first is of no cookie here.
    let keys = format!("{}\n{}", "x".repeat(32), SECRET.replace(' ', "-"));
    let config = Cookie { name: "token".into(), keys: Some(Secret::new(keys)), leeway_s: LEEWAY_S };
    CookieAuth::from_config(&config).expect("good settings")
}

/// One for all inputs: it counts in a node's counters, which are many. So it says of a ticket that it was used, too.
static TICKETS: LazyLock<Tickets> = LazyLock::new(|| {
    let keys = Some(Secret::new(SECRET.replace(' ', "-")));
    let stats = Arc::new(NodeStats::new(1, &Lanes::default(), BuildInfo::current()));
    let rules = TicketRules::new(&Settings { keys, ttl_ms: 30_000, used: 1_000 }).expect("good settings");
    Tickets::new(rules, None, stats).expect("nothing is drawn")
});

fn check_unsigned(target: &[u8], line: &[u8]) {
    let text = request(target, line);
    let Ok(Some((head, _))) = parse_head(&text, 16 << 10) else { return };
    check_reading(&head);
    let (handshake, jwt) = (handshake(&head), jwt());
    if let Verdict::Accept(identity) = jwt.authenticate(&handshake) {
        assert_eq!(identity.user, "ada", "nobody signed this");
    }
    let by_cookie = cookie();
    if let Verdict::Accept(identity) = by_cookie.authenticate(&handshake) {
        assert_eq!(identity.user, "ada", "nobody signed this");
        assert!(by_cookie.uses_cookie(&handshake) && by_cookie.finds_credential(&handshake));
    }
    let by_ticket = TICKETS.authenticate(&handshake);
    assert!(matches!(by_ticket, Verdict::Refuse(_)), "no input has a ticket, and nobody signed this");
    let by_header = HeaderAuth::new("X-CUSTOMER_ID");
    let _ = by_header.authenticate(&handshake);
    let origins = ["https://*.example.com:8443".to_owned(), "app.example.com".to_owned()];
    for cookie in [jwt.uses_cookie(&handshake), by_header.uses_cookie(&handshake), true] {
        let _ = origin_allowed(&head, None, cookie);
        let allowed = origin_allowed(&head, Some(&origins), cookie);
        assert_eq!(cors_origin(&head, Some(&origins)).is_some(), allowed && head.header("origin").is_some());
    }
}

fn check_reading(head: &Head<'_>) {
    assert!(head.cookie("token").is_none_or(|value| !value.contains(';')));
    let _ = device_from_request(head, "X-DEVICE-ID");
    for name in ["token", "user", "device", "ping"] {
        let Ok(Some(value)) = head.query_param(name) else { continue };
        let target = format!("/ws?{name}={}", percent_encode(value.as_bytes(), NON_ALPHANUMERIC));
        let text = request(target.as_bytes(), b"X-Nothing: 1");
        let (again, _) = parse_head(&text, usize::MAX).expect("a good head").expect("a whole head");
        assert_eq!(again.query_param(name), Ok(Some(value)), "encoded again, it is the same");
    }
}

fn check_signed(parts: &[u8]) {
    let cut = parts.iter().position(|&byte| byte == b'\n').unwrap_or(parts.len());
    let (header, claims) = (&parts[..cut], parts.get(cut + 1..).unwrap_or_default());
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = sign(message.as_bytes(), &key, Algorithm::HS256).expect("signed");
    let text = request(b"/ws", format!("Authorization: Bearer {message}.{signature}").as_bytes());
    let Ok(Some((head, _))) = parse_head(&text, 16 << 10) else { return };
    let Verdict::Accept(identity) = jwt().authenticate(&handshake(&head)) else { return };
    // Strings in claims that nobody asks for are passed over, not checked, by whoever reads the token; here all are read.
    let read = |part| serde_json::from_str::<Value>(&String::from_utf8_lossy(part));
    let (Ok(header), Ok(claims)) = (read(header), read(claims)) else { return };
    assert_eq!(header["alg"], "HS256", "only the configured algorithm is accepted");
    assert!(header["crit"].is_null(), "no extension is understood");
    assert_eq!(claims["sub"], *identity.user);
    assert_eq!(claims["device"].as_str(), identity.device.as_deref());
    // Times are compared in whole milliseconds.
    let (earliest, latest) = ((NOW_S - LEEWAY_S) as f64 - 0.001, (NOW_S + LEEWAY_S) as f64 + 0.001);
    assert!(claims["nbf"].as_f64().is_none_or(|nbf| nbf < latest), "it is not valid yet");
    assert!(claims["exp"].as_f64().is_none_or(|exp| exp > earliest), "it has ended");
    assert_eq!(identity.expires_unix_s.is_some(), claims["exp"].is_number());
    assert!(identity.expires_unix_s.is_none_or(|ends| ends > NOW_S), "it ends at once");
}

fn check_signed_cookie(claims: &[u8]) {
    let text = format!("v1.{}", URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET.replace(' ', "-").as_bytes());
    // The same code as a token's.
    let mac = sign(text.as_bytes(), &key, Algorithm::HS256).expect("signed");
    let text = request(b"/ws", format!("Cookie: token={text}.{mac}").as_bytes());
    let Ok(Some((head, _))) = parse_head(&text, 16 << 10) else { return };
    let Verdict::Accept(identity) = cookie().authenticate(&handshake(&head)) else { return };
    assert!(claims.starts_with(b"{"), "only an object is accepted");
    let Ok(claims) = serde_json::from_slice::<Value>(claims) else { return };
    assert_eq!(claims["user"], *identity.user);
    assert_eq!(claims["device"].as_str(), identity.device.as_deref());
    assert!(
        claims["exp"].as_f64().is_some_and(|exp| exp > (NOW_S - LEEWAY_S) as f64 - 0.001),
        "it has ended"
    );
    assert!(identity.expires_unix_s.is_some_and(|ends| ends > NOW_S), "it ends at once, or never");
}

fn check_signed_ticket(claims: &[u8]) {
    let text = format!("t1.{}", URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET.replace(' ', "-").as_bytes());
    let mac = sign(text.as_bytes(), &key, Algorithm::HS256).expect("signed");
    let text = request(format!("/sse?ticket={text}.{mac}").as_bytes(), b"X-Nothing: 1");
    let Ok(Some((head, _))) = parse_head(&text, 16 << 10) else { return };
    let handshake = handshake(&head);
    let Verdict::Accept(identity) = TICKETS.authenticate(&handshake) else { return };
    assert!(claims.starts_with(b"{"), "only an object is accepted");
    assert!(identity.expires_unix_s.is_none_or(|ends| ends > NOW_S), "it ends at once");
    // Where there is no room to remember it, it is not used.
    if TICKETS.use_up(&handshake).is_ok() {
        assert!(matches!(TICKETS.authenticate(&handshake), Verdict::Refuse(_)), "it counts once");
    }
    let Ok(claims) = serde_json::from_slice::<Value>(claims) else { return };
    assert_eq!(claims["user"], *identity.user);
    assert_eq!(claims["device"].as_str(), identity.device.as_deref());
    assert_eq!(claims["end"].as_u64(), identity.expires_unix_s);
    let lives = NOW_S + 1..=NOW_S + TICKET_TTL_MS_MAX / 1_000 + 60;
    assert!(claims["exp"].as_u64().is_some_and(|exp| lives.contains(&exp)), "it has ended, or never does");
}

/// The rest is a file with a set, by which a token that nobody signed is judged: every key that the file may have brought is
/// the fuzzer's own, but it does not know what it would have to sign.
fn check_key_set(set: &[u8]) {
    let Ok(set) = std::str::from_utf8(set) else { return };
    let config = Jwt { jwks: Some(Secret::new(set)), ..Jwt::default() };
    let Ok(auth) = JwtAuth::from_config(&config) else { return };
    for alg in ["HS256", "HS512", "RS256", "PS384", "ES256", "ES384", "EdDSA", "none"] {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let header = part(&format!("{{\"alg\":\"{alg}\",\"kid\":\"a\"}}"));
        let front = format!("{header}.{}", part("{\"sub\":\"ada\"}"));
        for signature in ["", "AAAA", &part(&"\0".repeat(64))] {
            let text = request(b"/ws", format!("Authorization: Bearer {front}.{signature}").as_bytes());
            let (head, _) = parse_head(&text, 16 << 10).expect("a good head").expect("a whole head");
            assert!(matches!(auth.authenticate(&handshake(&head)), Verdict::Refuse(_)), "nobody signed this");
        }
    }
}
