//! An authenticator that believes what it is told, and that gives some of its verdicts when a test says so.

use crate::{
    conn::auth::{Authenticator, Handshake, Identity, Judgement, Verdict},
    model::Reason,
};
use percent_encoding::percent_decode_str;
use std::{
    borrow::Cow,
    sync::{Mutex, MutexGuard},
};

/// Verdicts put off at a time; there is no room for more.
const ROOM: usize = 64;

/// Believes `?user=`, and `?issued=` and `?expires=` in seconds since 1970; or a token with the same parameters. With `later=`
/// it puts its verdict off, with `twice=` it promises two.
#[derive(Default)]
pub struct Desk(Mutex<Vec<Deferred>>);

/// A verdict that is still to be given.
#[derive(Debug)]
pub struct Deferred {
    pub identity: Identity<'static>,
    judgements: Vec<Judgement>,
}

impl Deferred {
    /// Says that it is who it says.
    pub fn accept(&mut self) {
        if let Some(judgement) = self.judgements.pop() {
            judgement.accept(self.identity.clone());
        }
    }

    pub fn refuse(&mut self, reason: Reason) {
        if let Some(judgement) = self.judgements.pop() {
            judgement.refuse(reason);
        }
    }

    /// Whether it has been given as often as it was promised.
    pub fn is_done(&self) -> bool {
        self.judgements.is_empty()
    }
}

impl Desk {
    /// What is still to be said, the oldest first.
    pub fn deferred(&self) -> MutexGuard<'_, Vec<Deferred>> {
        self.0.lock().expect("no other thread")
    }
}

impl Authenticator for Desk {
    fn authenticate<'h>(&self, handshake: &Handshake<'h>) -> Verdict<'h> {
        let parameter = |name| parameter(handshake, name);
        let seconds = |name| parameter(name).and_then(|text| text.parse().ok());
        let Some(user) = parameter("user") else { return Verdict::Refuse(Reason::AuthFailed) };
        let (issued_unix_s, expires_unix_s) = (seconds("issued"), seconds("expires"));
        let identity = Identity { user, device: None, issued_unix_s, expires_unix_s };
        if parameter("later").is_none() {
            return Verdict::Accept(identity);
        }
        let mut deferred = self.deferred();
        if deferred.len() >= ROOM {
            return Verdict::Refuse(Reason::AuthUnavailable);
        }
        let times = 1 + usize::from(parameter("twice").is_some());
        let judgements = (0..times).map(|_| handshake.defer()).collect();
        deferred.push(Deferred { identity: identity.into_owned(), judgements });
        Verdict::Deferred
    }

    fn finds_credential(&self, handshake: &Handshake<'_>) -> bool {
        bearer(handshake).is_some() || handshake.head.query_param("user") != Ok(None)
    }
}

fn bearer<'h>(handshake: &Handshake<'h>) -> Option<&'h str> {
    handshake.head.header("authorization")?.strip_prefix("Bearer ")
}

/// From the token, if there is one, else from the query.
fn parameter<'h>(handshake: &Handshake<'h>, name: &str) -> Option<Cow<'h, str>> {
    let Some(token) = bearer(handshake) else { return handshake.head.query_param(name).ok().flatten() };
    let pair = token.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
    pair.and_then(|(_, value)| percent_decode_str(value).decode_utf8().ok())
}
