//! What is signed with a shared key: `VERSION.CLAIMS.MAC`, the form of signed cookies and of tickets.
//!
//! CLAIMS is base64url without padding of a JSON object. MAC is base64url without padding of HMAC-SHA-256 (RFC 2104) over the
//! text `VERSION.CLAIMS`, as it stands. There is nothing to choose in it: the version stands for the hash, the encoding and
//! the members together, and lies under the signature, so that what is signed can be mistaken neither for a token of RFC 7519
//! nor for another version, whichever keys are used for both. Which key has signed is not said; all are tried, and they are
//! few. Knows nothing of what the claims mean.

use crate::config::{Secret, signing_keys};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Serialize, de::DeserializeOwned};
use sha2::Sha256;

/// The longest text that is looked at, bytes: browsers keep no cookie that is longer (RFC 6265 6.1).
pub(super) const BYTES_MAX: usize = 4_096;
const MAC_BYTES: usize = 32;
/// What they take in base64url.
const MAC_CHARS: usize = 43;

/// The code under a signed text.
pub(super) type Code = [u8; MAC_BYTES];

/// Signs and opens texts of one version.
pub(super) struct Signer {
    /// With its dot.
    version: &'static str,
    /// Each with its two blocks hashed already; the first signs. There is at least one.
    keys: Vec<Hmac<Sha256>>,
}

impl Signer {
    /// With keys as a file of keys has them, one a line. `setting` is where they are given, and with `_file` behind it the
    /// name of the file's setting.
    ///
    /// # Errors
    /// What is wrong, naming the setting: no key, or one that can be none.
    pub(super) fn new(version: &'static str, keys: &Secret, setting: &str) -> Result<Self, String> {
        let name = if keys.source().is_some() { format!("{setting}_file") } else { setting.to_owned() };
        let keys = signing_keys(keys.reveal()).map_err(|problem| format!("{name}: {problem}"))?;
        let state =
            |key: &str| Hmac::new_from_slice(key.as_bytes()).map_err(|_| format!("{name}: bad length"));
        let keys = keys.into_iter().map(state).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { version, keys })
    }

    /// How many keys there are.
    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The text that says these claims, signed with the first key; `None` for claims that JSON has no form for.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Option<String> {
        let mut text = self.version.to_owned();
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims).ok()?, &mut text);
        let code = self.keys.first()?.clone().chain_update(&text).finalize().into_bytes();
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(code, &mut text);
        Some(text)
    }

    /// The claims of a text that one of the keys has signed, and its code. A member of the wrong type, or there twice, makes
    /// the text a bad one.
    pub(super) fn open<C: DeserializeOwned>(&self, value: &str) -> Option<(C, Code)> {
        if value.len() > BYTES_MAX {
            return None;
        }
        let (text, code_text) = value.rsplit_once('.')?;
        let claims = text.strip_prefix(self.version)?;
        let mut buffer = [0; BYTES_MAX];
        if code_text.len() != MAC_CHARS
            || URL_SAFE_NO_PAD.decode_slice(code_text, &mut buffer).ok()? != MAC_BYTES
        {
            return None;
        }
        let code: Code = *buffer.first_chunk()?;
        if !self.has_signed(text, &code) {
            return None;
        }
        let length = URL_SAFE_NO_PAD.decode_slice(claims, &mut buffer).ok()?;
        // An array of the members' values would also be read.
        let claims = buffer.get(..length).filter(|json| json.starts_with(b"{"))?;
        Some((serde_json::from_slice(claims).ok()?, code))
    }

    fn has_signed(&self, text: &str, code: &Code) -> bool {
        // The comparison takes the same time for every wrong code.
        self.keys.iter().any(|key| key.clone().chain_update(text).verify_slice(code).is_ok())
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

    /// The text of a version that says these claims.
    pub(crate) fn signed(version: &str, key: &str, claims: &str) -> String {
        sign(key, &format!("{version}{}", URL_SAFE_NO_PAD.encode(claims)))
    }
}
