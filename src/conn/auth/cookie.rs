//! `auth.mode = "cookie"`: a cookie that your own backend signed says who the client is, until when.
//!
//! Its value is `v1.CLAIMS.MAC`, as [`super::signed`] has it. The claims are `user` and `exp`, and if there are any `device`
//! and `iat`, times in seconds since 1970; other members are passed over.

use super::{
    Authenticator, Handshake, Identity, Verdict,
    signed::Signer,
    times::{NumericDate, Span},
};
use crate::{config::Cookie, model::Reason, proto::http::Head};
use serde::Deserialize;
use std::{borrow::Cow, fmt};

/// What a value begins with.
const VERSION: &str = "v1.";

/// Believes signed cookies.
pub struct CookieAuth {
    name: String,
    signer: Signer,
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
        let signer = Signer::new(VERSION, keys, "auth.cookie.keys")?;
        Ok(Self { name: config.name.clone(), signer, leeway_s: config.leeway_s })
    }

    /// The value, unless there are two different ones: a page of a neighbouring host can add one of its own, and nothing
    /// says which of them is meant.
    fn value<'h>(&self, head: &Head<'h>) -> Option<&'h str> {
        let mut values = head.cookies(&self.name);
        let first = values.next()?;
        values.all(|value| value == first).then_some(first)
    }

    fn claims(&self, value: &str) -> Option<Claims> {
        self.signer.open(value).map(|(claims, _)| claims)
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
        f.debug_struct("CookieAuth").field("name", &self.name).field("keys", &self.signer.keys()).finish()
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::{super::signed::testing::signed, VERSION};

    /// The value of a cookie with these claims.
    pub(crate) fn cookie(key: &str, claims: &str) -> String {
        signed(VERSION, key, claims)
    }
}

#[cfg(test)]
mod tests;
