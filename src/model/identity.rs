//! Who a client is.

use std::borrow::Cow;

/// What a credential says. Borrowed from a request's head, or owned where the answer came later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity<'h> {
    /// The user. The caller refuses one that is no [`super::Identifier`].
    pub user: Cow<'h, str>,
    /// The device, where the credential itself names it; otherwise the request may.
    pub device: Option<Cow<'h, str>>,
    /// When the credential was made, seconds since 1970.
    pub issued_unix_s: Option<u64>,
    /// When it ends, and the connection with it (4002), seconds since 1970. Without it only `lifetime.max` ends that.
    pub expires_unix_s: Option<u64>,
}

impl Identity<'_> {
    /// The same, owned: to be kept, or sent to another thread.
    pub fn into_owned(self) -> Identity<'static> {
        Identity {
            user: Cow::Owned(self.user.into_owned()),
            device: self.device.map(|device| Cow::Owned(device.into_owned())),
            issued_unix_s: self.issued_unix_s,
            expires_unix_s: self.expires_unix_s,
        }
    }
}
