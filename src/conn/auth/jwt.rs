//! `auth.mode = "jwt"`: a signed token (RFC 7519) says who the client is, until when.
//!
//! The token comes in `Authorization: Bearer`, else in the configured cookie, else in `?token=`; the first that is there
//! is judged, and a bad one is not passed over. `sub` is the user and must be there; `device` is the device. `exp`, where
//! there is one, ends the connection as well; a token without it is taken, and the connection lives as long as any other.
//! `aud` must match `auth.jwt.audience`; a token for someone else is also refused where that is not set (RFC 7519 4.1.3).
//!
//! Every key has algorithms that fit its type, so that no public key is ever used as a shared secret. There is one, a shared
//! secret or a public key, or a set: there a token's `kid` chooses, and a token without one is tried with those that fit.

use super::{
    Authenticator, Handshake, Identity, Verdict, jwks,
    times::{NumericDate, Span},
};
use crate::{
    config::{Jwt, Secret},
    model::Reason,
    proto::http::Head,
};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, TokenData, Validation, decode, decode_header, errors::ErrorKind,
};
use serde::Deserialize;
use std::{borrow::Cow, fmt};

/// Most keys that one token is tried with: a bad one must not keep a shard busy.
const TRIED_MAX: usize = 8;

/// Believes signed tokens.
pub struct JwtAuth {
    keys: Vec<Key>,
    cookie: Option<String>,
    leeway_s: u64,
}

/// A key, and what it may judge.
pub(super) struct KeyOf {
    /// Its name; a token that has one is judged by the keys of that name.
    pub(super) kid: Option<String>,
    pub(super) key: DecodingKey,
    /// Of one family, and at least one.
    pub(super) algorithms: Vec<Algorithm>,
}

/// A key, and what else a token must fulfil that it judges.
struct Key {
    kid: Option<String>,
    key: DecodingKey,
    validation: Validation,
}

/// Where a token was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Bearer,
    Cookie,
    Query,
}

/// The claims that are read. A claim of the wrong type makes the token a bad one.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    device: Option<String>,
    exp: Option<NumericDate>,
    nbf: Option<NumericDate>,
    iat: Option<NumericDate>,
    /// Who it is for is judged by the library, which takes one of a wrong type for none: here it makes the token a bad one.
    #[serde(rename = "aud")]
    _audience: Option<Audience>,
}

/// One name or several (RFC 7519 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "read to check its type")]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl JwtAuth {
    /// Takes the settings. Keys of a set that cannot be used are logged, each in a line.
    ///
    /// # Errors
    /// What is wrong, naming the setting: no algorithm or an unknown one, or no key that fits.
    pub fn from_config(config: &Jwt) -> Result<Self, String> {
        let algorithms = algorithms(config)?;
        let keys = match &config.jwks {
            Some(set) => {
                let set = jwks::read(set.reveal(), &algorithms)
                    .map_err(|error| format!("auth.jwt.jwks_file: {}: {error}", place(set)))?;
                for skipped in set.skipped {
                    tracing::warn!("auth.jwt.jwks_file has a key that is not used: {skipped}");
                }
                set.keys
            }
            None => keys_of(&algorithms, config)?,
        };
        let keys = keys.into_iter().map(|key| Key {
            validation: validation(key.algorithms, config),
            kid: key.kid,
            key: key.key,
        });
        Ok(Self { keys: keys.collect(), cookie: config.cookie.clone(), leeway_s: config.leeway_s })
    }

    fn token<'h>(&self, head: &Head<'h>) -> Option<(Cow<'h, str>, Source)> {
        if let Some(token) = bearer(head) {
            return Some((Cow::Borrowed(token), Source::Bearer));
        }
        if let Some(token) = self.cookie.as_deref().and_then(|name| head.cookie(name)) {
            return Some((Cow::Borrowed(token), Source::Cookie));
        }
        // A parameter that is not UTF-8 is no token.
        head.query_param("token").ok().flatten().map(|token| (token, Source::Query))
    }

    /// The claims of a token whose signature, issuer and audience are right.
    fn claims(&self, token: &str) -> Option<Claims> {
        let header = decode_header(token).ok()?;
        // No extension is understood here, so none that must be understood is accepted (RFC 7515 4.1.11).
        if header.crit.is_some() {
            return None;
        }
        // A name that no key has may be that of a key which does not tell its own.
        let name = header.kid.as_deref();
        let is_known = name.is_some_and(|name| self.keys.iter().any(|key| key.kid.as_deref() == Some(name)));
        let may_judge = |key: &&Key| {
            let is_meant = name.is_none() || key.kid.as_deref() == name.filter(|_| is_known);
            is_meant && key.validation.algorithms.contains(&header.alg)
        };
        let mut keys = self.keys.iter().filter(may_judge).take(TRIED_MAX);
        let TokenData { claims, .. } =
            keys.find_map(|key| decode::<Claims>(token, &key.key, &key.validation).ok())?;
        Some(claims)
    }

    fn judge(&self, handshake: &Handshake<'_>) -> Option<Identity<'static>> {
        let (token, _) = self.token(handshake.head)?;
        let claims = self.claims(&token)?;
        let span = Span { not_before: claims.nbf, ends: claims.exp };
        let expires_unix_s = span.expiry(self.leeway_s, handshake.unix_ms).ok()?;
        Some(Identity {
            user: Cow::Owned(claims.sub),
            device: claims.device.map(Cow::Owned),
            issued_unix_s: claims.iat.map(NumericDate::seconds),
            expires_unix_s,
        })
    }
}

impl Authenticator for JwtAuth {
    fn authenticate<'h>(&self, handshake: &Handshake<'h>) -> Verdict<'h> {
        self.judge(handshake).map_or(Verdict::Refuse(Reason::AuthFailed), Verdict::Accept)
    }

    fn uses_cookie(&self, handshake: &Handshake<'_>) -> bool {
        matches!(self.token(handshake.head), Some((_, Source::Cookie)))
    }

    fn finds_credential(&self, handshake: &Handshake<'_>) -> bool {
        // A place for a token that holds none is a bad credential rather than none.
        let head = handshake.head;
        self.token(head).is_some() || is_meant_for_bearer(head) || head.query_param("token").is_err()
    }
}

impl fmt::Debug for JwtAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<_> = self.keys.iter().map(|key| &key.validation.algorithms).collect();
        f.debug_struct("JwtAuth").field("algorithms", &algorithms).finish_non_exhaustive()
    }
}

/// The credentials of `Authorization: Bearer` (RFC 6750 2.1); the scheme's case does not matter (RFC 9110 11.1).
fn bearer<'h>(head: &Head<'h>) -> Option<&'h str> {
    let (scheme, token) = head.header("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

/// Whether any Authorization line is of that scheme, be it well formed or not.
fn is_meant_for_bearer(head: &Head<'_>) -> bool {
    let scheme = |line: &[u8]| line.split(|&byte| byte == b' ').next().map(<[u8]>::to_ascii_lowercase);
    head.header_lines("authorization").any(|line| scheme(line).is_some_and(|scheme| scheme == b"bearer"))
}

fn algorithms(config: &Jwt) -> Result<Vec<Algorithm>, String> {
    if config.algorithms.is_empty() && config.jwks.is_none() {
        return Err("auth.jwt.algorithms is empty: name at least one, such as \"HS256\"".into());
    }
    let parse = |name: &String| {
        name.parse()
            .map_err(|_| format!("auth.jwt.algorithms: {name:?} is unknown (HS, RS, PS, ES or EdDSA)"))
    };
    config.algorithms.iter().map(parse).collect()
}

fn validation(algorithms: Vec<Algorithm>, config: &Jwt) -> Validation {
    // Times are compared with the handshake's clock, here, not with the system's, there.
    let mut validation =
        Validation { algorithms, validate_exp: false, validate_nbf: false, ..Validation::default() };
    let mut required = vec!["sub"];
    if let Some(issuer) = &config.issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    if let Some(audience) = &config.audience {
        validation.set_audience(&[audience]);
        required.push("aud");
    }
    validation.set_required_spec_claims(&required);
    validation
}

/// Without a set: one key for each family that the algorithms are of.
fn keys_of(algorithms: &[Algorithm], config: &Jwt) -> Result<Vec<KeyOf>, String> {
    let mut keys: Vec<KeyOf> = Vec::new();
    for &algorithm in algorithms {
        let of_family = |key: &&mut KeyOf| key.key.family() == algorithm.family();
        match keys.iter_mut().find(of_family) {
            Some(known) => known.algorithms.push(algorithm),
            None => {
                let key = key_of(algorithm.family(), config)?;
                keys.push(KeyOf { kid: None, key, algorithms: vec![algorithm] });
            }
        }
    }
    Ok(keys)
}

fn key_of(family: AlgorithmFamily, config: &Jwt) -> Result<DecodingKey, String> {
    if family == AlgorithmFamily::Hmac {
        let secret =
            config.secret.as_ref().ok_or("auth.jwt.secret is not set: HS algorithms need it")?.reveal();
        if secret.is_empty() {
            return Err("auth.jwt.secret is empty".into());
        }
        // A public key is no secret: whoever knows it could sign.
        if secret.trim_start().starts_with("-----BEGIN") {
            return Err("auth.jwt.secret is a PEM key: set auth.jwt.public_key_file instead".into());
        }
        return Ok(DecodingKey::from_secret(secret.as_bytes()));
    }
    let pem = config.public_key.as_ref();
    let pem = pem.ok_or("auth.jwt.public_key_file is not set: RS, PS, ES and EdDSA need it")?;
    public_key(family, pem.reveal().as_bytes())
        .map_err(|error| format!("auth.jwt.public_key_file: {}: {error}", place(pem)))
}

fn public_key(family: AlgorithmFamily, pem: &[u8]) -> Result<DecodingKey, String> {
    let key = match family {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(pem),
        AlgorithmFamily::Hmac => return Err("HS algorithms take auth.jwt.secret".into()),
    };
    key.map_err(|error| match error.kind() {
        ErrorKind::InvalidKeyFormat => format!("no PEM public key for {family:?} algorithms"),
        _ => error.to_string(),
    })
}

/// Where a key came from.
fn place(key: &Secret) -> String {
    key.source().map_or_else(|| "as given".into(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests;
