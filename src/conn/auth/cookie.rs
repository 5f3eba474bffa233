//! `auth.mode = "cookie"`: a cookie that your own backend signed says who the client is, until when.
//!
//! Its value is `v1.CLAIMS.MAC`. CLAIMS is base64url without padding of a JSON object: `user` and `exp`, and if there are any
//! `device` and `iat`, times in seconds since 1970; other members are passed over. MAC is base64url without padding of
//! HMAC-SHA-256 (RFC 2104) over the text `v1.CLAIMS`, as it stands.
//!
//! There is nothing to choose in it: `v1` stands for the hash, the encoding and the members together, and lies under the
//! signature, so that what is signed can be mistaken neither for a token of RFC 7519 nor for another version. Which key has
//! signed is not said; all are tried, and they are few.

use super::{
    Authenticator, Handshake, Identity, Verdict,
    times::{NumericDate, Span},
};
use crate::{
    config::{self, Cookie},
    model::Reason,
    proto::http::Head,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use std::{borrow::Cow, fmt};

/// What a value begins with.
const VERSION: &str = "v1.";
/// The longest value that is looked at, bytes: browsers keep none that is longer (RFC 6265 6.1).
const VALUE_BYTES_MAX: usize = 4_096;
const MAC_BYTES: usize = 32;
/// What they take in base64url.
const MAC_CHARS: usize = 43;

/// Believes signed cookies.
pub struct CookieAuth {
    name: String,
    /// Each with its two blocks hashed already.
    keys: Vec<Hmac<Sha256>>,
    leeway_s: u64,
}

/// What is read of the claims. A member of the wrong type, or there twice, makes the cookie a bad one.
#[derive(Deserialize)]
struct Claims {
    user: String,
    device: Option<String>,
    exp: NumericDate,
    iat: Option<NumericDate>,
}

impl CookieAuth {
    /// Takes the settings.
    ///
    /// # Errors
    /// What is wrong, naming the setting: no key, or one that can be none.
    pub fn from_config(config: &Cookie) -> Result<Self, String> {
        let keys = config.keys.as_ref().ok_or("auth.cookie.keys is not set")?;
        let name = if keys.source().is_some() { "auth.cookie.keys_file" } else { "auth.cookie.keys" };
        let keys = config::cookie_keys(keys.reveal()).map_err(|problem| format!("{name}: {problem}"))?;
        let state =
            |key: &str| Hmac::new_from_slice(key.as_bytes()).map_err(|_| format!("{name}: bad length"));
        let keys = keys.into_iter().map(state).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { name: config.name.clone(), keys, leeway_s: config.leeway_s })
    }

    /// The value, unless there are two different ones: a page of a neighbouring host can add one of its own, and nothing
    /// says which of them is meant.
    fn value<'h>(&self, head: &Head<'h>) -> Option<&'h str> {
        let mut values = head.cookies(&self.name);
        let first = values.next()?;
        values.all(|value| value == first).then_some(first)
    }

    fn is_signed(&self, text: &str, mac: &[u8]) -> bool {
        // The comparison takes the same time for every wrong code.
        self.keys.iter().any(|key| key.clone().chain_update(text).verify_slice(mac).is_ok())
    }

    fn claims(&self, value: &str) -> Option<Claims> {
        if value.len() > VALUE_BYTES_MAX {
            return None;
        }
        let (text, mac) = value.rsplit_once('.')?;
        let claims = text.strip_prefix(VERSION)?;
        let mut buffer = [0; VALUE_BYTES_MAX];
        if mac.len() != MAC_CHARS || URL_SAFE_NO_PAD.decode_slice(mac, &mut buffer).ok()? != MAC_BYTES {
            return None;
        }
        if !self.is_signed(text, buffer.get(..MAC_BYTES)?) {
            return None;
        }
        let length = URL_SAFE_NO_PAD.decode_slice(claims, &mut buffer).ok()?;
        // An array of the members' values would also be read.
        let claims = buffer.get(..length).filter(|json| json.starts_with(b"{"))?;
        serde_json::from_slice(claims).ok()
    }

    fn judge(&self, handshake: &Handshake<'_>) -> Option<Identity<'static>> {
        let claims = self.claims(self.value(handshake.head)?)?;
        let span = Span { not_before: None, ends: Some(claims.exp) };
        let expires_unix_s = span.expiry(self.leeway_s, handshake.unix_ms).ok()?;
        Some(Identity {
            user: Cow::Owned(claims.user),
            device: claims.device.map(Cow::Owned),
            issued_unix_s: claims.iat.map(NumericDate::seconds),
            expires_unix_s,
        })
    }
}

impl Authenticator for CookieAuth {
    fn authenticate<'h>(&self, handshake: &Handshake<'h>) -> Verdict<'h> {
        self.judge(handshake).map_or(Verdict::Refuse(Reason::AuthFailed), Verdict::Accept)
    }

    fn uses_cookie(&self, handshake: &Handshake<'_>) -> bool {
        self.finds_credential(handshake)
    }

    fn finds_credential(&self, handshake: &Handshake<'_>) -> bool {
        handshake.head.cookie(&self.name).is_some()
    }
}

impl fmt::Debug for CookieAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CookieAuth").field("name", &self.name).field("keys", &self.keys.len()).finish()
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// The text with its code, signed as a backend would.
    pub(crate) fn sign(key: &str, text: &str) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("a key").chain_update(text);
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    /// The value of a cookie with these claims.
    pub(crate) fn cookie(key: &str, claims: &str) -> String {
        sign(key, &format!("{VERSION}{}", URL_SAFE_NO_PAD.encode(claims)))
    }
}

#[cfg(test)]
mod tests;
