//! `auth.mode = "jwt"`: a signed token (RFC 7519) says who the client is, until when.
//!
//! The token comes in `Authorization: Bearer`, else in the configured cookie, else in `?token=`; the first that is there
//! is judged, and a bad one is not passed over. `sub` is the user and must be there; `device` is the device. `exp`, where
//! there is one, ends the connection as well; a token without it is taken, and the connection lives as long as any other.
//! `aud` must match `auth.jwt.audience`; a token for someone else is also refused where that is not set (RFC 7519 4.1.3).
//!
//! Every algorithm family has its own key of its own type, so that no public key is ever used as a shared secret.

use super::{Authenticator, Handshake, Identity, Verdict};
use crate::{config::Jwt, model::Reason, proto::http::Head};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, TokenData, Validation, decode, decode_header, errors::ErrorKind,
};
use serde::Deserialize;
use std::{borrow::Cow, fmt, path::Path};

/// Believes signed tokens.
pub struct JwtAuth {
    keys: Vec<Key>,
    cookie: Option<String>,
    leeway_s: u64,
}

/// The key of one family of algorithms, and what else a token of that family must fulfil.
struct Key {
    family: AlgorithmFamily,
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

/// Seconds since 1970, perhaps with a fraction (RFC 7519 2); anything before 1970 is 1970.
#[derive(Clone, Copy, Deserialize)]
struct NumericDate(f64);

impl NumericDate {
    fn seconds(self) -> u64 {
        self.0 as u64
    }

    fn milliseconds(self) -> u64 {
        (self.0 * 1000.0) as u64
    }
}

impl JwtAuth {
    /// Takes the settings and reads the key file.
    ///
    /// # Errors
    /// What is wrong, naming the setting: no algorithm or an unknown one, or an algorithm without a fitting key.
    pub fn from_config(config: &Jwt) -> Result<Self, String> {
        let algorithms = algorithms(config)?;
        let mut keys: Vec<Key> = Vec::new();
        for algorithm in algorithms {
            let family = algorithm.family();
            if let Some(known) = keys.iter_mut().find(|key| key.family == family) {
                known.validation.algorithms.push(algorithm);
                continue;
            }
            keys.push(Key {
                family,
                key: key_of(family, config)?,
                validation: validation(algorithm, config),
            });
        }
        Ok(Self { keys, cookie: config.cookie.clone(), leeway_s: config.leeway_s })
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
        let key = self.keys.iter().find(|key| key.validation.algorithms.contains(&header.alg))?;
        let TokenData { claims, .. } = decode::<Claims>(token, &key.key, &key.validation).ok()?;
        Some(claims)
    }

    /// Until when a token's connection may live, seconds; or `Err` when it may not live now.
    ///
    /// Within the leeway after `exp` it lives until the leeway ends: what was let in must not be sent away at once.
    fn expiry(&self, claims: &Claims, unix_ms: u64) -> Result<Option<u64>, Reason> {
        let leeway_ms = self.leeway_s.saturating_mul(1000);
        if claims.nbf.is_some_and(|nbf| nbf.milliseconds() > unix_ms.saturating_add(leeway_ms)) {
            return Err(Reason::AuthFailed);
        }
        let Some(exp) = claims.exp else { return Ok(None) };
        let ends_ms = exp.milliseconds().saturating_add(leeway_ms);
        if unix_ms >= ends_ms {
            return Err(Reason::AuthFailed);
        }
        let late = unix_ms >= exp.seconds().saturating_mul(1000);
        Ok(Some(if late { ends_ms.div_ceil(1000) } else { exp.seconds() }))
    }

    fn judge(&self, handshake: &Handshake<'_>) -> Option<Identity<'static>> {
        let (token, _) = self.token(handshake.head)?;
        let claims = self.claims(&token)?;
        let expires_unix_s = self.expiry(&claims, handshake.unix_ms).ok()?;
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
}

impl fmt::Debug for JwtAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families: Vec<_> = self.keys.iter().map(|key| key.family).collect();
        f.debug_struct("JwtAuth").field("families", &families).finish_non_exhaustive()
    }
}

/// The credentials of `Authorization: Bearer` (RFC 6750 2.1); the scheme's case does not matter (RFC 9110 11.1).
fn bearer<'h>(head: &Head<'h>) -> Option<&'h str> {
    let (scheme, token) = head.header("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

fn algorithms(config: &Jwt) -> Result<Vec<Algorithm>, String> {
    if config.algorithms.is_empty() {
        return Err("auth.jwt.algorithms is empty: name at least one, such as \"HS256\"".into());
    }
    let parse = |name: &String| {
        name.parse()
            .map_err(|_| format!("auth.jwt.algorithms: {name:?} is unknown (HS, RS, PS, ES or EdDSA)"))
    };
    config.algorithms.iter().map(parse).collect()
}

fn validation(algorithm: Algorithm, config: &Jwt) -> Validation {
    let mut validation = Validation::new(algorithm);
    // Times are compared with the handshake's clock, here, not with the system's, there.
    validation.validate_exp = false;
    validation.validate_nbf = false;
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
    let path = config.public_key_file.as_deref();
    let path = path.ok_or("auth.jwt.public_key_file is not set: RS, PS, ES and EdDSA need it")?;
    public_key(family, path).map_err(|error| format!("auth.jwt.public_key_file: {}: {error}", path.display()))
}

fn public_key(family: AlgorithmFamily, path: &Path) -> Result<DecodingKey, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let key = match family {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(&pem),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(&pem),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(&pem),
        AlgorithmFamily::Hmac => return Err("HS algorithms take auth.jwt.secret".into()),
    };
    key.map_err(|error| match error.kind() {
        ErrorKind::InvalidKeyFormat => format!("no PEM public key for {family:?} algorithms"),
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests;
