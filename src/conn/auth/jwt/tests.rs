//! Tokens, good and bad, of every family.

use super::{super::test_keys::*, super::testing::*, *};
use crate::config::Secret;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};

const SECRET: &str = "a shared secret of some length, for tests";
/// A day in 2033: the system's clock has no say.
const NOW_S: u64 = 2_000_000_000;
const NOW_MS: u64 = NOW_S * 1000;

fn settings(algorithms: &[&str]) -> Jwt {
    Jwt {
        algorithms: algorithms.iter().map(|&name| name.into()).collect(),
        secret: Some(Secret::new(SECRET)),
        leeway_s: 5,
        ..Jwt::default()
    }
}

fn with_public_key(algorithms: &[&str], pem: &str) -> Result<JwtAuth, String> {
    JwtAuth::from_config(&Jwt { public_key: Some(Secret::new(pem)), ..settings(algorithms) })
}

fn hs256() -> JwtAuth {
    JwtAuth::from_config(&settings(&["HS256"])).expect("good settings")
}

fn sign(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, key).expect("a token")
}

fn sign_hs256(claims: &Value) -> String {
    sign(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), claims)
}

fn private_key(family: AlgorithmFamily, pem: &str) -> EncodingKey {
    let pem = pem.as_bytes();
    let key = match family {
        AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => EncodingKey::from_ec_pem(pem),
        AlgorithmFamily::Ed => EncodingKey::from_ed_pem(pem),
        AlgorithmFamily::Hmac => panic!("a shared secret is no PEM"),
    };
    key.expect("a private key")
}

/// What a token, sent as Bearer, is answered at a time.
fn judge_at(auth: &JwtAuth, token: &str, unix_ms: u64) -> Result<Identity<'static>, Reason> {
    let text = request("/ws", &[&format!("Authorization: Bearer {token}")]);
    let head = head(&text);
    match auth.authenticate(&handshake(&head, unix_ms)) {
        Verdict::Accept(identity) => Ok(identity.into_owned()),
        Verdict::Refuse(reason) => Err(reason),
        Verdict::Deferred => unreachable!("nobody is asked"),
    }
}

fn judge(auth: &JwtAuth, token: &str) -> Result<Identity<'static>, Reason> {
    judge_at(auth, token, NOW_MS)
}

#[test]
fn the_claims_become_the_identity() {
    let claims =
        json!({"sub": "jürgen", "device": "phone", "iat": NOW_S - 10, "exp": NOW_S + 60, "other": [1]});
    let identity = judge(&hs256(), &sign_hs256(&claims)).unwrap();
    let expected = Identity {
        user: "jürgen".into(),
        device: Some("phone".into()),
        issued_unix_s: Some(NOW_S - 10),
        expires_unix_s: Some(NOW_S + 60),
    };
    assert_eq!(identity, expected);
}

#[test]
fn claims_are_judged() {
    let rows = [
        (json!({"sub": "u"}), true),
        (json!({"sub": "u", "exp": null}), true),
        (json!({"exp": NOW_S + 60}), false),
        (json!({"sub": 42}), false),
        (json!({"sub": null}), false),
        (json!({"sub": "u", "device": 42}), false),
        (json!({"sub": "u", "exp": "soon"}), false),
        (json!({"sub": "u", "exp": -1}), false),
        (json!({"sub": "u", "exp": 1e300}), true),
        (json!({"sub": "u", "exp": NOW_S as f64 + 0.5}), true),
        (json!({"sub": "u", "nbf": NOW_S}), true),
        (json!({"sub": "u", "nbf": NOW_S + 5}), true),
        (json!({"sub": "u", "nbf": NOW_S + 6}), false),
        (json!({"sub": "u", "nbf": "x"}), false),
        (json!({"sub": "u", "aud": "elsewhere"}), false),
        (json!({"sub": "u", "aud": 7}), false),
        (json!({"sub": "u", "aud": ["x", 7]}), false),
        (json!(["sub", "u"]), false),
    ];
    for (claims, good) in rows {
        assert_eq!(judge(&hs256(), &sign_hs256(&claims)).is_ok(), good, "{claims}");
    }
}

#[test]
fn the_handshakes_clock_ends_a_token() {
    let token = sign_hs256(&json!({"sub": "u", "exp": NOW_S}));
    let rows = [
        (0, Ok(NOW_S)),
        (NOW_MS - 1, Ok(NOW_S)),
        // Within the leeway of 5 s it lasts until that is over.
        (NOW_MS, Ok(NOW_S + 5)),
        (NOW_MS + 4_999, Ok(NOW_S + 5)),
        (NOW_MS + 5_000, Err(Reason::AuthFailed)),
        (u64::MAX, Err(Reason::AuthFailed)),
    ];
    for (unix_ms, expected) in rows {
        let expires = judge_at(&hs256(), &token, unix_ms).map(|identity| identity.expires_unix_s.unwrap());
        assert_eq!(expires, expected, "{unix_ms}");
    }
}

#[test]
fn what_is_let_in_expires_later() {
    let auth = hs256();
    for tenths in 0..100 {
        let exp = NOW_S as f64 - 5.0 + f64::from(tenths) / 10.0;
        let token = sign_hs256(&json!({"sub": "u", "exp": exp}));
        if let Ok(identity) = judge(&auth, &token) {
            assert!(identity.expires_unix_s.unwrap() > NOW_S, "{exp}");
        }
    }
}

#[test]
fn issuer_and_audience_must_match_where_they_are_set() {
    let config = Jwt { issuer: Some("login".into()), audience: Some("push".into()), ..settings(&["HS256"]) };
    let auth = JwtAuth::from_config(&config).unwrap();
    let rows = [
        (json!({"sub": "u", "iss": "login", "aud": "push"}), true),
        (json!({"sub": "u", "iss": "login", "aud": ["mail", "push"]}), true),
        (json!({"sub": "u", "iss": "login", "aud": "mail"}), false),
        (json!({"sub": "u", "iss": "login", "aud": []}), false),
        (json!({"sub": "u", "iss": "login"}), false),
        (json!({"sub": "u", "iss": "someone", "aud": "push"}), false),
        (json!({"sub": "u", "aud": "push"}), false),
    ];
    for (claims, good) in rows {
        assert_eq!(judge(&auth, &sign_hs256(&claims)).is_ok(), good, "{claims}");
    }
}

#[test]
fn the_token_is_looked_for_in_the_header_then_the_cookie_then_the_query() {
    let auth = JwtAuth::from_config(&Jwt { cookie: Some("session".into()), ..settings(&["HS256"]) }).unwrap();
    let token = |user: &str| sign_hs256(&json!({"sub": user}));
    let bearer = format!("authorization: bEARER  {}", token("b"));
    let basic = "Authorization: Basic dTpw".to_owned();
    let cookie = format!("Cookie: a=b; session={}; c=d", token("c"));
    let other_cookie = format!("Cookie: other={}", token("c"));
    let query = format!("/ws?token={}", token("q"));
    let rows: &[(&str, &[&String], Option<&str>, bool)] = &[
        (&query, &[&bearer, &cookie], Some("b"), false),
        (&query, &[&cookie], Some("c"), true),
        (&query, &[&basic, &cookie], Some("c"), true),
        (&query, &[&basic, &other_cookie], Some("q"), false),
        ("/ws", &[&other_cookie], None, false),
        ("/ws", &[], None, false),
        ("/ws?token=", &[], None, false),
        ("/ws?token=%FF", &[], None, false),
        // One that is bad is not passed over.
        (&query, &[&"Authorization: Bearer bad".to_owned()], None, false),
        (&query, &[&"Authorization: Bearer ".to_owned()], Some("q"), false),
        (&query, &[&"Cookie: session=bad".to_owned()], None, true),
    ];
    for (target, lines, user, rides_on_cookie) in rows {
        let lines: Vec<&str> = lines.iter().map(|line| line.as_str()).collect();
        let text = request(target, &lines);
        let head = head(&text);
        let handshake = handshake(&head, NOW_MS);
        let found = match auth.authenticate(&handshake) {
            Verdict::Accept(identity) => Some(identity.user.into_owned()),
            Verdict::Refuse(reason) => {
                assert_eq!(reason, Reason::AuthFailed);
                None
            }
            Verdict::Deferred => None,
        };
        assert_eq!(found.as_deref(), *user, "{text}");
        assert_eq!(auth.uses_cookie(&handshake), *rides_on_cookie, "{text}");
    }
}

#[test]
fn every_algorithm_of_a_family_works_with_its_key() {
    use AlgorithmFamily::{Ec, Ed, Rsa};
    let rows: &[(&[&str], AlgorithmFamily, &str, &str)] = &[
        (&["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"], Rsa, RSA_PRIVATE, RSA_PUBLIC),
        (&["ES256"], Ec, P256_PRIVATE, P256_PUBLIC),
        (&["ES384"], Ec, P384_PRIVATE, P384_PUBLIC),
        (&["EdDSA"], Ed, ED25519_PRIVATE, ED25519_PUBLIC),
    ];
    for (names, family, private, public) in rows {
        let key = private_key(*family, private);
        let auth = with_public_key(names, public).unwrap();
        for name in *names {
            let token = sign(name.parse().unwrap(), &key, &json!({"sub": "u"}));
            assert_eq!(judge(&auth, &token).map(|identity| identity.user), Ok("u".into()), "{name}");
            let mut forged = token.clone();
            let last = forged.rfind('.').unwrap() + 10;
            let other = if &forged[last..=last] == "A" { "B" } else { "A" };
            forged.replace_range(last..=last, other);
            assert!(judge(&auth, &forged).is_err(), "{name} with another signature");
        }
    }
    for name in ["HS256", "HS384", "HS512"] {
        let auth = JwtAuth::from_config(&settings(&[name])).unwrap();
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        assert!(judge(&auth, &sign(name.parse().unwrap(), &key, &json!({"sub": "u"}))).is_ok(), "{name}");
    }
}

#[test]
fn families_side_by_side_keep_to_their_own_keys() {
    let auth = with_public_key(&["HS256", "RS256"], RSA_PUBLIC).unwrap();
    let claims = json!({"sub": "u"});
    let rsa = private_key(AlgorithmFamily::Rsa, RSA_PRIVATE);
    assert!(judge(&auth, &sign_hs256(&claims)).is_ok());
    assert!(judge(&auth, &sign(Algorithm::RS256, &rsa, &claims)).is_ok());
    // The same family, but not in the list.
    assert!(judge(&auth, &sign(Algorithm::RS512, &rsa, &claims)).is_err());
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    assert!(judge(&auth, &sign(Algorithm::HS512, &secret, &claims)).is_err());
    // Signed with the public key as if it were the shared secret, in every spelling of that key.
    for stolen in [RSA_PUBLIC, RSA_PUBLIC.trim_end()] {
        let confused = sign(Algorithm::HS256, &EncodingKey::from_secret(stolen.as_bytes()), &claims);
        assert!(judge(&auth, &confused).is_err());
        let only_rsa = with_public_key(&["RS256"], RSA_PUBLIC).unwrap();
        assert!(judge(&only_rsa, &confused).is_err());
    }
}

#[test]
fn a_token_without_a_signature_is_no_token() {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let payload = part(&json!({"sub": "u"}));
    let good = sign_hs256(&json!({"sub": "u"}));
    let signature = good.rsplit('.').next().unwrap();
    for alg in ["none", "None", "NONE", "", "HS256", "RS256"] {
        let header = part(&json!({"alg": alg, "typ": "JWT"}));
        for token in [format!("{header}.{payload}."), format!("{header}.{payload}")] {
            assert_eq!(judge(&hs256(), &token), Err(Reason::AuthFailed), "{token}");
        }
        if alg != "HS256" {
            assert!(judge(&hs256(), &format!("{header}.{payload}.{signature}")).is_err(), "{alg}");
        }
    }
}

#[test]
fn an_extension_that_must_be_understood_is_refused() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let header = Header { crit: Some(vec!["exp".into()]), ..Header::new(Algorithm::HS256) };
    let token = encode(&header, &json!({"sub": "u"}), &key).unwrap();
    assert!(judge(&hs256(), &token).is_err());
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let refused = |config: Jwt| JwtAuth::from_config(&config).expect_err("refused");
    assert!(refused(settings(&[])).contains("auth.jwt.algorithms"));
    assert!(refused(settings(&["none"])).contains("\"none\""));
    assert!(refused(settings(&["HS257"])).contains("auth.jwt.algorithms"));
    assert!(refused(settings(&["RS256"])).contains("auth.jwt.public_key_file"));
    assert!(refused(Jwt { secret: None, ..settings(&["HS256"]) }).contains("auth.jwt.secret"));
    assert!(
        refused(Jwt { secret: Some(Secret::new("")), ..settings(&["HS256"]) }).contains("auth.jwt.secret")
    );
    let pem = Some(Secret::new(RSA_PUBLIC));
    assert!(refused(Jwt { secret: pem, ..settings(&["HS256"]) }).contains("auth.jwt.public_key_file"));
    for (algorithm, pem) in
        [("RS256", P256_PUBLIC), ("ES256", RSA_PUBLIC), ("EdDSA", RSA_PUBLIC), ("RS256", "x")]
    {
        let error = with_public_key(&[algorithm], pem).expect_err("refused");
        assert!(error.contains("auth.jwt.public_key_file"), "{error}");
    }
}

#[test]
fn huge_and_deep_claims_are_read_or_refused_and_no_more() {
    let huge = json!({"sub": "u", "roles": vec!["x".repeat(100); 80], "exp": NOW_S + 60});
    assert!(judge(&hs256(), &sign_hs256(&huge)).is_ok());
    for depth in [100, 2_000] {
        let claims = format!("{{\"sub\":\"u\",\"deep\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let front = [r#"{"alg":"HS256"}"#, &claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let signature = jsonwebtoken::crypto::sign(front.as_bytes(), &key, Algorithm::HS256).unwrap();
        let _ = judge(&hs256(), &format!("{front}.{signature}"));
    }
}

#[test]
fn a_clock_that_is_off_by_an_hour_needs_a_leeway_of_an_hour() {
    let auth = |leeway_s| JwtAuth::from_config(&Jwt { leeway_s, ..settings(&["HS256"]) }).unwrap();
    let ahead = sign_hs256(&json!({"sub": "u", "nbf": NOW_S + 3_600, "exp": NOW_S + 7_200}));
    let behind = sign_hs256(&json!({"sub": "u", "nbf": NOW_S - 7_200, "exp": NOW_S - 3_599}));
    for token in [ahead, behind] {
        assert!(judge(&auth(60), &token).is_err());
        assert!(judge(&auth(3_600), &token).is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_is_a_token(parts in prop::collection::vec("[A-Za-z0-9_=+/-]{0,24}", 0..5), at in 0usize..200, to: u8) {
        prop_assert!(judge(&hs256(), &parts.join(".")).is_err());
        // One character of a good token changed: never a panic, never another user.
        let mut bytes = sign_hs256(&json!({"sub": "u"})).into_bytes();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = b'!' + to % 90;
        }
        if let Ok(identity) = judge(&hs256(), &String::from_utf8(bytes).unwrap()) {
            prop_assert_eq!(identity.user, "u");
        }
    }
}
