//! Sets of keys, and tokens that are judged by them.

use super::{super::test_keys::*, super::testing::*, *};
use crate::{
    config::{Jwt, Secret},
    conn::auth::{Authenticator, JwtAuth, Verdict},
};
use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Map, json};

const NOW_S: u64 = 2_000_000_000;
const SHARED: &[u8] = b"a shared secret of 64 bytes, which is the length of the SHA-512.";

/// The members of a key by its PEM, from its DER: the last bytes of a public key are its point.
fn jwk(pem: &str) -> Map<String, Value> {
    let (x_y, kind) = match pem {
        P256_PUBLIC => (64, json!({"kty": "EC", "crv": "P-256"})),
        P384_PUBLIC => (96, json!({"kty": "EC", "crv": "P-384"})),
        ED25519_PUBLIC => (32, json!({"kty": "OKP", "crv": "Ed25519"})),
        _ => return rsa_jwk(),
    };
    let der = der(pem);
    let point = &der[der.len() - x_y..];
    let Value::Object(mut members) = kind else { unreachable!() };
    let (x, y) = if x_y == 32 { (point, &[][..]) } else { point.split_at(x_y / 2) };
    members.insert("x".into(), URL_SAFE_NO_PAD.encode(x).into());
    if !y.is_empty() {
        members.insert("y".into(), URL_SAFE_NO_PAD.encode(y).into());
    }
    members
}

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

fn rsa_jwk() -> Map<String, Value> {
    // The end of a SubjectPublicKeyInfo: modulus of 256 bytes, and 02 03 01 00 01.
    let der = der(RSA_PUBLIC);
    let modulus = &der[der.len() - 5 - 256..der.len() - 5];
    let Value::Object(members) = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB"})
    else {
        unreachable!()
    };
    members
}

fn oct(secret: &[u8]) -> Map<String, Value> {
    let Value::Object(members) = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(secret)}) else {
        unreachable!()
    };
    members
}

fn with(mut key: Map<String, Value>, more: &[(&str, Value)]) -> Value {
    key.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Value::Object(key)
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn auth(keys: &[Value], algorithms: &[&str]) -> JwtAuth {
    let config = Jwt {
        algorithms: algorithms.iter().map(|&name| name.into()).collect(),
        jwks: Some(Secret::new(set(keys))),
        ..Jwt::default()
    };
    JwtAuth::from_config(&config).expect("good settings")
}

fn private(algorithm: Algorithm) -> EncodingKey {
    use jsonwebtoken::AlgorithmFamily::{Ec, Ed, Hmac, Rsa};
    match (algorithm.family(), algorithm) {
        (Rsa, _) => EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()).unwrap(),
        (Ec, Algorithm::ES256) => EncodingKey::from_ec_pem(P256_PRIVATE.as_bytes()).unwrap(),
        (Ec, _) => EncodingKey::from_ec_pem(P384_PRIVATE.as_bytes()).unwrap(),
        (Ed, _) => EncodingKey::from_ed_pem(ED25519_PRIVATE.as_bytes()).unwrap(),
        (Hmac, _) => EncodingKey::from_secret(SHARED),
    }
}

fn token(algorithm: Algorithm, kid: Option<&str>) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, &json!({"sub": "u", "exp": NOW_S + 60}), &private(algorithm)).unwrap()
}

fn is_good(auth: &JwtAuth, token: &str) -> bool {
    let text = request("/ws", &[&format!("Authorization: Bearer {token}")]);
    let head = head(&text);
    matches!(auth.authenticate(&handshake(&head, NOW_S * 1000)), Verdict::Accept(_))
}

#[test]
fn every_type_judges_its_own_algorithms_and_no_other() {
    use Algorithm::*;
    let all = [HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA];
    let rows: &[(Map<String, Value>, &[Algorithm])] = &[
        (jwk(RSA_PUBLIC), &[RS256, RS384, RS512, PS256, PS384, PS512]),
        (jwk(P256_PUBLIC), &[ES256]),
        (jwk(P384_PUBLIC), &[ES384]),
        (jwk(ED25519_PUBLIC), &[EdDSA]),
        (oct(SHARED), &[HS256, HS384, HS512]),
        (oct(&SHARED[..48]), &[]),
    ];
    for (key, good) in rows {
        let auth = auth(&[with(key.clone(), &[])], &[]);
        for algorithm in all {
            assert_eq!(
                is_good(&auth, &token(algorithm, None)),
                good.contains(&algorithm),
                "{key:?} {algorithm:?}"
            );
        }
    }
    // Side by side, named or not.
    let keys: Vec<Value> = rows[..5]
        .iter()
        .enumerate()
        .map(|(at, (key, _))| with(key.clone(), &[("kid", json!(at.to_string()))]))
        .collect();
    let auth = auth(&keys, &[]);
    for (at, (_, good)) in rows.iter().enumerate() {
        for &algorithm in *good {
            assert!(is_good(&auth, &token(algorithm, Some(&at.to_string()))));
            assert!(is_good(&auth, &token(algorithm, None)));
            assert!(
                !is_good(&auth, &token(algorithm, Some(&(at + 1).to_string()))),
                "{algorithm:?} by another's name"
            );
        }
    }
}

#[test]
fn a_tokens_kid_chooses() {
    let other = with(oct(b"another shared secret of a good length"), &[("kid", json!("b"))]);
    let named = with(oct(SHARED), &[("kid", json!("a"))]);
    let nameless = with(oct(SHARED), &[]);
    let rows: &[(&[&Value], Option<&str>, bool)] = &[
        (&[&named, &other], Some("a"), true),
        (&[&named, &other], Some("b"), false),
        (&[&named, &other], Some("c"), false),
        (&[&named, &other], None, true),
        (&[&other, &named], None, true),
        (&[&nameless, &other], Some("b"), false),
        // It may be that of a key which does not tell its own.
        (&[&nameless, &other], Some("c"), true),
        (&[&other], Some("b"), false),
    ];
    for (keys, kid, good) in rows {
        let keys: Vec<Value> = keys.iter().map(|&key| key.clone()).collect();
        assert_eq!(is_good(&auth(&keys, &[]), &token(Algorithm::HS256, *kid)), *good, "{kid:?}");
    }
    // A bad token costs no more than so many tries.
    let mut many: Vec<Value> = (0..TRIES).map(|at| with(oct(format!("{at:064}").as_bytes()), &[])).collect();
    many.push(nameless.clone());
    assert!(!is_good(&auth(&many, &[]), &token(Algorithm::HS256, None)));
    many.remove(0);
    assert!(is_good(&auth(&many, &[]), &token(Algorithm::HS256, None)));
}

const TRIES: usize = 8;

#[test]
fn the_settings_algorithms_bound_those_of_the_keys() {
    let keys = [with(jwk(RSA_PUBLIC), &[]), with(oct(SHARED), &[("alg", json!("HS512"))])];
    let bounded = auth(&keys, &["RS256", "HS512"]);
    assert!(
        is_good(&bounded, &token(Algorithm::RS256, None))
            && is_good(&bounded, &token(Algorithm::HS512, None))
    );
    assert!(!is_good(&bounded, &token(Algorithm::PS256, None)));
    // Its alg says HS512, and no more.
    assert!(!is_good(&auth(&keys, &[]), &token(Algorithm::HS256, None)));
    assert!(is_good(&auth(&keys, &[]), &token(Algorithm::HS512, None)));
    let set = read(&set(&keys), &[Algorithm::RS256]).unwrap();
    assert_eq!(set.skipped, ["key number 2, without kid: auth.jwt.algorithms allows nothing that it is for"]);
}

#[test]
fn a_key_that_cannot_be_used_is_named_with_the_reason_and_nothing_more() {
    let long = "k".repeat(100);
    let short_rsa = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0x80; 128]), "e": "AQAB"});
    let rows: &[(Value, &str)] = &[
        (with(oct(SHARED), &[("use", json!("enc"))]), "use"),
        (with(oct(SHARED), &[("use", json!(null))]), "use"),
        (with(oct(SHARED), &[("key_ops", json!(["sign"]))]), "key_ops"),
        (with(oct(SHARED), &[("key_ops", json!("verify"))]), "key_ops"),
        (with(oct(SHARED), &[("alg", json!("RS256"))]), "does not fit"),
        (with(oct(SHARED), &[("alg", json!("none"))]), "its alg"),
        (with(oct(SHARED), &[("alg", json!(256))]), "its alg"),
        (with(oct(&SHARED[..40]), &[("alg", json!("HS512"))]), "does not fit"),
        (with(oct(&SHARED[..31]), &[]), "shorter than 32"),
        (with(oct(RSA_PUBLIC.as_bytes()), &[]), "PEM"),
        (with(oct(SHARED), &[("k", json!("?"))]), "base64url"),
        (with(oct(SHARED), &[("kty", json!("DSA"))]), "kty"),
        (with(oct(SHARED), &[("kty", json!(null))]), "kty"),
        (with(oct(SHARED), &[("kid", json!(7))]), "kid"),
        (with(jwk(RSA_PUBLIC), &[("alg", json!("ES256"))]), "does not fit"),
        (with(jwk(RSA_PUBLIC), &[("alg", json!("RSA-OAEP"))]), "its alg"),
        (with(jwk(RSA_PUBLIC), &[("d", json!("AQAB"))]), "private"),
        (with(jwk(RSA_PUBLIC), &[("e", json!(""))]), "its e"),
        (with(jwk(RSA_PUBLIC), &[("n", json!("AA"))]), "2048"),
        (short_rsa, "2048"),
        (with(jwk(P256_PUBLIC), &[("crv", json!("P-384"))]), "crv"),
        (with(jwk(P256_PUBLIC), &[("crv", json!("secp256k1"))]), "crv"),
        (with(jwk(P256_PUBLIC), &[("alg", json!("ES384"))]), "does not fit"),
        (with(jwk(ED25519_PUBLIC), &[("x", json!("AQAB"))]), "32 bytes"),
        (with(jwk(ED25519_PUBLIC), &[("crv", json!("X25519"))]), "crv"),
        (json!("oct"), "no JSON object"),
        (json!({}), "kty"),
    ];
    for (bad, reason) in rows {
        let mut bad = bad.clone();
        let kid = if bad.is_object() && bad["kid"].is_null() {
            bad["kid"] = json!(format!("old\n{long}"));
            "key \"old\\nkkkk"
        } else {
            "key number 1, without kid"
        };
        let found = read(&set(&[bad.clone(), with(oct(SHARED), &[])]), &[]).unwrap();
        assert_eq!((found.keys.len(), found.skipped.len()), (1, 1), "{bad}");
        let said = &found.skipped[0];
        assert!(said.starts_with(kid) && said.contains(reason) && !said.contains('\n'), "{said}, of {bad}");
        assert!(said.len() < 200, "{said}");
        for member in ["n", "x", "y", "k", "d"] {
            let Some(secret) = bad[member].as_str().filter(|text| text.len() > 8) else { continue };
            assert!(!said.contains(&secret[..8]), "{said}");
        }
        assert!(read(&set(&[bad]), &[]).is_err_and(|error| error.contains(reason)));
    }
}

#[test]
fn a_file_that_is_no_set_is_refused_without_a_word_of_it() {
    let too_many: Vec<Value> = (0..65).map(|_| with(oct(SHARED), &[])).collect();
    for (text, problem) in [
        (String::new(), "not JSON"),
        ("hushhush".into(), "not JSON"),
        ("\"hushhush\"".into(), "no list"),
        ("{\"keys\": \"hushhush\"}".into(), "no list"),
        ("{\"keys\": {\"hushhush\": 1}}".into(), "no list"),
        ("[{\"kty\": \"oct\", \"k\": \"hushhush\"}]".into(), "no list"),
        ("{\"keys\": []}".into(), "no key that can be used"),
        (
            "{\"keys\": [{\"kty\": \"oct\", \"k\": \"hushhush\"}]}".into(),
            "key number 1, without kid: its k is shorter",
        ),
        (format!("{{\"keys\": {}{}", "[".repeat(10_000), "]".repeat(10_000)), "not JSON"),
        (set(&too_many), "65 keys"),
    ] {
        let error = read(&text, &[]).map(|_| ()).unwrap_err();
        assert!(error.contains(problem) && !error.contains("hush"), "{error}, not {problem}");
    }
}

#[test]
fn a_public_key_is_no_shared_secret_in_any_spelling() {
    let rsa = jwk(RSA_PUBLIC);
    let auth = auth(&[with(rsa.clone(), &[("kid", json!("a"))])], &[]);
    let modulus = URL_SAFE_NO_PAD.decode(rsa["n"].as_str().unwrap()).unwrap();
    let spellings = [
        RSA_PUBLIC.as_bytes().to_vec(),
        RSA_PUBLIC.trim_end().as_bytes().to_vec(),
        der(RSA_PUBLIC),
        rsa["n"].as_str().unwrap().as_bytes().to_vec(),
        modulus,
        Value::Object(rsa).to_string().into_bytes(),
        Vec::new(),
    ];
    for key in spellings {
        for kid in [None, Some("a".to_owned())] {
            let header = Header { kid, ..Header::new(Algorithm::HS256) };
            let forged = encode(&header, &json!({"sub": "u"}), &EncodingKey::from_secret(&key)).unwrap();
            assert!(!is_good(&auth, &forged));
        }
    }
    // A key that the token brings itself is none.
    let brought =
        json!({"alg": "HS256", "kid": "a", "jwk": {"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SHARED)}});
    let front = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(brought.to_string()),
        URL_SAFE_NO_PAD.encode(r#"{"sub":"u"}"#)
    );
    let signature =
        jsonwebtoken::crypto::sign(front.as_bytes(), &EncodingKey::from_secret(SHARED), Algorithm::HS256);
    assert!(!is_good(&auth, &format!("{front}.{}", signature.unwrap())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_file_panics(text in "\\PC{0,60}", at in 0usize..400, to: u8) {
        let _ = read(&text, &[]);
        let keys = [with(jwk(P256_PUBLIC), &[("kid", json!("a"))]), with(oct(SHARED), &[]), with(rsa_jwk(), &[])];
        let mut bytes = set(&keys).into_bytes();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = b' ' + to % 95;
        }
        let _ = read(&String::from_utf8(bytes).unwrap(), &[]);
    }
}
