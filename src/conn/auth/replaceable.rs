//! An authenticator that can be replaced while shards use it: keys change without a restart.

use super::{Authenticator, Handshake, Verdict};
use crate::model::Reason;
use std::sync::{Arc, PoisonError, RwLock};

/// Judges by whichever authenticator was put in last. The lock is held for one judgement and contended only while
/// another is put in.
pub struct Replaceable(RwLock<Arc<dyn Authenticator>>);

impl Replaceable {
    /// Judges by `authenticator` until another is put in.
    pub fn new(authenticator: Arc<dyn Authenticator>) -> Self {
        Self(RwLock::new(authenticator))
    }

    /// From now on judges by `authenticator`.
    pub fn replace(&self, authenticator: Arc<dyn Authenticator>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = authenticator;
    }
}

impl Authenticator for Replaceable {
    fn authenticate<'h>(&self, handshake: &Handshake<'h>) -> Verdict<'h> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).authenticate(handshake)
    }

    fn uses_cookie(&self, handshake: &Handshake<'_>) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).uses_cookie(handshake)
    }

    fn finds_credential(&self, handshake: &Handshake<'_>) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).finds_credential(handshake)
    }
    fn is_brought_by_page(&self, handshake: &Handshake<'_>) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_brought_by_page(handshake)
    }

    fn use_up(&self, handshake: &Handshake<'_>) -> Result<(), Reason> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).use_up(handshake)
    }
}
