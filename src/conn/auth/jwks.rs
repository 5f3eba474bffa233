//! A set of keys for tokens (JWKS, RFC 7517; the keys' members are those of RFC 7518 6 and RFC 8037 2).
//!
//! What a key may judge follows from its own type: an RSA key never serves an ES or HS algorithm, whatever a token says of
//! itself. A key that cannot be used is passed over, with words that name it and say why, and hold nothing else of it.

use super::jwt::KeyOf;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// Most keys of a set.
const KEYS_MAX: usize = 64;
/// Characters of a key's id that are shown.
const SHOWN_MAX: usize = 64;
/// The sizes of a modulus that can be used, bits (RFC 7518 3.3 asks for 2048 or more).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// What was read.
pub(super) struct KeySet {
    /// Those that can be used; at least one.
    pub(super) keys: Vec<KeyOf>,
    /// Which others there are, and why they cannot.
    pub(super) skipped: Vec<String>,
}

/// Reads a set. Of what its keys could judge only the `allowed` algorithms remain; none: all.
///
/// # Errors
/// When it is no set, is too large, or has no key that can be used; never with a part of a key.
pub(super) fn read(text: &str, allowed: &[Algorithm]) -> Result<KeySet, String> {
    let set: Value = serde_json::from_str(text)
        .map_err(|error| format!("it is not JSON (line {}, column {})", error.line(), error.column()))?;
    let Some(all) = set.get("keys").and_then(Value::as_array) else {
        return Err("it is no set of keys: it has no list \"keys\"".into());
    };
    if all.len() > KEYS_MAX {
        return Err(format!("it has {} keys, and at most {KEYS_MAX} are allowed", all.len()));
    }
    let mut found = KeySet { keys: Vec::new(), skipped: Vec::new() };
    for (at, key) in all.iter().enumerate() {
        match read_key(key, allowed) {
            Ok(key) => found.keys.push(key),
            Err(reason) => found.skipped.push(format!("{}: {reason}", name(key, at))),
        }
    }
    if found.keys.is_empty() {
        let why = found.skipped.join("; ");
        return Err(format!("it has no key that can be used{}{why}", if why.is_empty() { "" } else { ": " }));
    }
    Ok(found)
}

/// By its id, else by its place.
fn name(key: &Value, at: usize) -> String {
    match key.get("kid").and_then(Value::as_str) {
        Some(kid) => format!("key {:?}", kid.chars().take(SHOWN_MAX).collect::<String>()),
        None => format!("key number {}, without kid", at + 1),
    }
}

fn read_key(key: &Value, allowed: &[Algorithm]) -> Result<KeyOf, &'static str> {
    if !key.is_object() {
        return Err("it is no JSON object");
    }
    let kid = match key.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return Err("its kid is no text"),
    };
    check_purpose(key)?;
    let (decoding, mut algorithms) = match text(key, "kty").ok_or("it has no kty")? {
        "RSA" => rsa(key)?,
        "EC" => elliptic(key)?,
        "OKP" => edwards(key)?,
        "oct" => shared(key)?,
        _ => return Err("its kty is unknown; RSA, EC, OKP and oct are known"),
    };
    if let Some(alg) = key.get("alg") {
        let alg = alg.as_str().and_then(|name| name.parse::<Algorithm>().ok());
        let alg = alg.ok_or("its alg is none that tokens are signed with here")?;
        algorithms.retain(|one| *one == alg);
        if algorithms.is_empty() {
            return Err("its alg does not fit its type, its curve or its length");
        }
    }
    algorithms.retain(|one| allowed.is_empty() || allowed.contains(one));
    if algorithms.is_empty() {
        return Err("auth.jwt.algorithms allows nothing that it is for");
    }
    Ok(KeyOf { kid, key: decoding, algorithms })
}

/// Whether it is there to check signatures (RFC 7517 4.2 and 4.3), and is what may lie here: of a pair only the public half.
fn check_purpose(key: &Value) -> Result<(), &'static str> {
    if key.get("use").is_some_and(|purpose| purpose != "sig") {
        return Err("its use is not sig");
    }
    let may_verify =
        |operations: &Value| operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"));
    if !key.get("key_ops").is_none_or(may_verify) {
        return Err("its key_ops lack verify");
    }
    if key.get("d").is_some() {
        return Err("it is a private key: only its public half belongs here");
    }
    Ok(())
}

fn rsa(key: &Value) -> Result<(DecodingKey, Vec<Algorithm>), &'static str> {
    use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
    let modulus = bytes(key, "n").ok_or("its n is no base64url")?;
    let exponent = bytes(key, "e").ok_or("its e is no base64url")?;
    // A sign byte, as some encoders write, is no part of the number.
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(&modulus);
    let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err("it has fewer than 2048 or more than 8192 bits");
    }
    if exponent.is_empty() || exponent.len() > 8 {
        return Err("its e has a length that no exponent has");
    }
    let decoding = DecodingKey::from_rsa_raw_components(modulus, &exponent);
    Ok((decoding, vec![RS256, RS384, RS512, PS256, PS384, PS512]))
}

fn elliptic(key: &Value) -> Result<(DecodingKey, Vec<Algorithm>), &'static str> {
    let (algorithm, length) = match text(key, "crv") {
        Some("P-256") => (Algorithm::ES256, 32),
        Some("P-384") => (Algorithm::ES384, 48),
        _ => return Err("its crv is neither P-256 nor P-384"),
    };
    let coordinate = |name| bytes(key, name).filter(|bytes| bytes.len() == length);
    let (Some(x), Some(y)) = (coordinate("x"), coordinate("y")) else {
        return Err("its x and y are not as long as its crv says");
    };
    // Uncompressed (SEC 1 2.3.3).
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    Ok((DecodingKey::from_ec_der(&point), vec![algorithm]))
}

fn edwards(key: &Value) -> Result<(DecodingKey, Vec<Algorithm>), &'static str> {
    if text(key, "crv") != Some("Ed25519") {
        return Err("its crv is not Ed25519");
    }
    let x = bytes(key, "x").filter(|bytes| bytes.len() == 32).ok_or("its x does not have 32 bytes")?;
    Ok((DecodingKey::from_ed_der(&x), vec![Algorithm::EdDSA]))
}

/// A shared secret serves a hash that is not longer than itself (RFC 7518 3.2).
fn shared(key: &Value) -> Result<(DecodingKey, Vec<Algorithm>), &'static str> {
    let secret = bytes(key, "k").ok_or("its k is no base64url")?;
    // A public key is no secret: whoever knows it could sign.
    if secret.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Err("its k is a PEM file, not a secret");
    }
    let lengths = [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)];
    let fitting = lengths.into_iter().filter(|(_, length)| secret.len() >= *length);
    let algorithms: Vec<Algorithm> = fitting.map(|(algorithm, _)| algorithm).collect();
    if algorithms.is_empty() {
        return Err("its k is shorter than 32 bytes");
    }
    Ok((DecodingKey::from_secret(&secret), algorithms))
}

fn text<'k>(key: &'k Value, name: &str) -> Option<&'k str> {
    key.get(name)?.as_str()
}

fn bytes(key: &Value, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text(key, name)?).ok()
}

#[cfg(test)]
mod tests;
