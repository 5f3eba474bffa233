//! Cookies, good and bad.

use super::{
    super::{signed::testing::sign, testing::*},
    testing::cookie,
    *,
};
use crate::config::Secret;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const OLD: &str = "an-older-key-that-is-long-enough-too";
/// A day in 2033: the system's clock has no say.
const NOW_S: u64 = 2_000_000_000;
const NOW_MS: u64 = NOW_S * 1000;

fn with_keys(keys: &str) -> CookieAuth {
    let config = Cookie { name: "session".into(), keys: Some(Secret::new(keys)), leeway_s: 5 };
    CookieAuth::from_config(&config).expect("good settings")
}

fn auth() -> CookieAuth {
    with_keys(&format!("{KEY}\n{OLD}\n"))
}

/// What a request with this Cookie line is answered at a time.
fn judge_at(line: &str, unix_ms: u64) -> Result<Identity<'static>, Reason> {
    let text = request("/ws", &[&format!("Cookie: {line}")]);
    let head = head(&text);
    match auth().judge(&handshake(&head, unix_ms)) {
        Some(identity) => Ok(identity),
        None => Err(Reason::AuthFailed),
    }
}

fn judge(line: &str) -> Result<Identity<'static>, Reason> {
    judge_at(line, NOW_MS)
}

fn judge_claims(claims: &str) -> Result<Identity<'static>, Reason> {
    judge(&format!("session={}", cookie(KEY, claims)))
}

fn good() -> String {
    cookie(KEY, &json!({"user": "ada", "exp": NOW_S + 60}).to_string())
}

#[test]
fn the_format_is_the_one_of_the_documents() {
    // Made by Python's hmac.
    let value = "v1.eyJleHAiOjIwMDAwMDAwNjAsInVzZXIiOiJhZGEifQ.4IuhfX7qmb-7YRZ1GB0XCaJPx3yBWLUS4mp51kjL4qc";
    assert_eq!(good(), value);
    let claims =
        r#"{"user": "jürgen", "device": "phone", "exp": 2000000060, "iat": 1999999990, "roles": [1]}"#;
    let expected = Identity {
        user: "jürgen".into(),
        device: Some("phone".into()),
        issued_unix_s: Some(NOW_S - 10),
        expires_unix_s: Some(NOW_S + 60),
    };
    assert_eq!(judge_claims(claims), Ok(expected));
}

#[test]
fn claims_are_judged() {
    let rows: &[(&str, bool)] = &[
        (r#"{"user":"u","exp":2000000001}"#, true),
        (r#"{"user":"u","exp":2000000000.5}"#, true),
        (r#"{"user":"u","exp":2e9,"device":null,"iat":null}"#, true),
        (r#"{"user":"u","exp":1e300}"#, true),
        (r#"{"user":"\u0061\ud83d\ude00","exp":2000000001}"#, true),
        (r#"{"user":"u","exp":2000000001,"session":{"cart":[1,2,3]}}"#, true),
        // It has to have an end.
        (r#"{"user":"u"}"#, false),
        (r#"{"user":"u","exp":null}"#, false),
        (r#"{"user":"u","exp":"2000000001"}"#, false),
        (r#"{"user":"u","exp":1999999990}"#, false),
        (r#"{"user":"u","exp":-1}"#, false),
        (r#"{"user":7,"exp":2000000001}"#, false),
        (r#"{"user":null,"exp":2000000001}"#, false),
        (r#"{"sub":"u","exp":2000000001}"#, false),
        (r#"{"user":"u","exp":2000000001,"device":1}"#, false),
        (r#"{"user":"u","exp":2000000001,"iat":"x"}"#, false),
        (r#"{"user":"u","user":"admin","exp":2000000001}"#, false),
        (r#"{"user":"u","exp":1,"exp":2000000001}"#, false),
        (r#"["u",null,2000000001,null]"#, false),
        (r#"{"user":"u","exp":2000000001}{}"#, false),
        (r#"{"user":"u","exp":2000000001"#, false),
        (r#""u""#, false),
        ("", false),
    ];
    for (claims, is_good) in rows {
        assert_eq!(judge_claims(claims).is_ok(), *is_good, "{claims}");
    }
    assert!(
        judge(&format!("session={}", sign(KEY, &format!("v1.{}", URL_SAFE_NO_PAD.encode(b"\xff"))))).is_err()
    );
}

#[test]
fn the_handshakes_clock_ends_a_cookie() {
    let line = format!("session={}", cookie(KEY, &json!({"user": "u", "exp": NOW_S}).to_string()));
    let rows = [
        (0, Ok(NOW_S)),
        (NOW_MS - 3_600_000, Ok(NOW_S)),
        // Within the leeway of 5 s it lasts until that is over.
        (NOW_MS + 4_999, Ok(NOW_S + 5)),
        (NOW_MS + 5_000, Err(Reason::AuthFailed)),
        (NOW_MS + 3_600_000, Err(Reason::AuthFailed)),
        (u64::MAX, Err(Reason::AuthFailed)),
    ];
    for (unix_ms, expected) in rows {
        let expires = judge_at(&line, unix_ms).map(|identity| identity.expires_unix_s.unwrap());
        assert_eq!(expires, expected, "{unix_ms}");
    }
}

#[test]
fn every_key_is_accepted_and_no_other() {
    let claims = json!({"user": "u", "exp": NOW_S + 60}).to_string();
    let is_good = |auth: &CookieAuth, key: &str| auth.claims(&cookie(key, &claims)).is_some();
    let two = auth();
    assert!(is_good(&two, KEY) && is_good(&two, OLD));
    assert!(!is_good(&two, &OLD.to_uppercase()) && !is_good(&two, ""));
    let one = with_keys(KEY);
    assert!(is_good(&one, KEY) && !is_good(&one, OLD));
    assert_eq!(format!("{two:?}"), r#"CookieAuth { name: "session", keys: 2 }"#);
}

#[test]
fn a_cookie_is_read_to_the_letter() {
    let value = good();
    let (text, mac) = value.rsplit_once('.').unwrap();
    let (_, claims) = text.split_once('.').unwrap();
    assert!(judge(&format!("session={value}")).is_ok());
    let token = {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        sign(KEY, &format!("{header}.{claims}"))
    };
    let bad = [
        format!("{text}."),
        text.to_owned(),
        format!("{text}.{mac}="),
        format!("{text}=.{mac}"),
        format!("{text}.{mac}A"),
        format!("{text}.{}", &mac[1..]),
        format!("{text}.{}", mac.to_uppercase()),
        format!("v2.{claims}.{mac}"),
        format!("V1.{claims}.{mac}"),
        format!("{claims}.{mac}"),
        format!("v1.{value}"),
        format!("{value}.{mac}"),
        sign(KEY, claims),
        sign(KEY, &format!("v2.{claims}")),
        sign(KEY, &format!("v1.{claims}=")),
        sign(KEY, &format!("v1.{claims}.x")),
        sign(KEY, "v1."),
        // A token of RFC 7519 that the same key has signed.
        token,
        String::new(),
        ".".into(),
        "..".into(),
        "v1..".into(),
        format!("{text}.{}", URL_SAFE_NO_PAD.encode([0; 32])),
        format!("{text}.{}", "A".repeat(43)),
    ];
    for value in bad {
        assert!(judge(&format!("session={value}")).is_err(), "{value}");
    }
}

#[test]
fn it_is_found_among_others() {
    let value = good();
    let many = (0..300).map(|n| format!("c{n}=x; ")).collect::<String>();
    let rows = [
        (format!("a=b; session={value}; c=d"), true),
        (format!("a=b;session=\"{value}\""), true),
        (format!("{many}session={value}"), true),
        (format!("session={value}; session={value}"), true),
        (format!("Session={value}"), false),
        (format!("xsession={value}"), false),
        ("session".into(), false),
        // Whoever may set a cookie for a neighbouring host cannot choose who this is.
        (format!("session={value}; session=x"), false),
        (format!("session=x; session={value}"), false),
        (format!("session=; session={value}"), false),
    ];
    for (line, is_good) in rows {
        assert_eq!(judge(&line).is_ok(), is_good, "{line}");
    }
    let text = request("/ws", &[&format!("Cookie: session={value}"), "Cookie: session=other"]);
    assert!(auth().judge(&handshake(&head(&text), NOW_MS)).is_none(), "on two lines");
}

#[test]
fn a_cookie_that_is_there_is_judged_and_rides_on_a_cookie() {
    for (lines, is_there) in [
        (vec!["Cookie: session=bad"], true),
        (vec!["Cookie: session="], true),
        (vec!["Cookie: other=1"], false),
        (vec!["Authorization: Bearer session=x"], false),
        (vec![], false),
    ] {
        let text = request("/ws?session=x", &lines);
        let head = head(&text);
        let (handshake, auth) = (handshake(&head, NOW_MS), auth());
        assert_eq!(auth.authenticate(&handshake), Verdict::Refuse(Reason::AuthFailed));
        assert_eq!((auth.uses_cookie(&handshake), auth.finds_credential(&handshake)), (is_there, is_there));
    }
}

#[test]
fn one_that_no_browser_would_keep_is_not_looked_at() {
    let of_length = |length: usize| {
        let value = |fill: usize| {
            let claims = json!({"user": "u", "exp": NOW_S + 60, "fill": "x".repeat(fill)}).to_string();
            cookie(KEY, &claims)
        };
        (0..).map(value).find(|value| value.len() >= length).unwrap()
    };
    let auth = auth();
    assert!(auth.claims(&of_length(4_090)).is_some());
    assert!(auth.claims(&of_length(4_097)).is_none());
    assert!(auth.claims(&"x".repeat(1 << 20)).is_none());
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let refused = |keys: Option<Secret>| {
        let config = Cookie { name: "session".into(), keys, leeway_s: 0 };
        CookieAuth::from_config(&config).expect_err("refused")
    };
    assert!(refused(None).contains("auth.cookie.keys"));
    let error = refused(Some(Secret::new("hush-hush")));
    assert!(error.contains("auth.cookie.keys: ") && !error.contains("hush"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_is_a_cookie(text in "(v1\\.)?[A-Za-z0-9_.=-]{0,120}", at in 0usize..120, to: u8) {
        prop_assert!(auth().claims(&text).is_none());
        // One character of a good one changed: never a panic, never accepted.
        let mut bytes = good().into_bytes();
        let before = bytes.clone();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = b'!' + to % 90;
        }
        let value = String::from_utf8(bytes.clone()).unwrap();
        prop_assert_eq!(auth().claims(&value).is_some(), bytes == before);
    }

    #[test]
    fn what_a_backend_signs_is_what_is_read(user in "\\PC{0,40}", device in proptest::option::of("\\PC{0,40}")) {
        let claims: Value = json!({"user": user, "device": device, "exp": NOW_S + 60});
        let identity = judge_claims(&claims.to_string()).unwrap();
        prop_assert_eq!(&identity.user, &user);
        prop_assert_eq!(identity.device.as_deref(), device.as_deref());
    }
}
