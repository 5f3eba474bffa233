//! A node with an authenticator of its own: API keys of the form `id.secret`, each belonging to one user.
//!
//! ```text
//! cargo run --example custom_auth
//! curl -N -H 'X-API-Key: k1.correct-horse' http://127.0.0.1:7001/sse
//! ```

use holdfast::{
    config::{Config, Sources, load},
    conn::auth::{Authenticator, Handshake, Identity, Verdict},
    model::Reason,
    server::{self, Ended},
};
use std::{borrow::Cow, collections::HashMap, error::Error, sync::Arc};
use subtle::ConstantTimeEq;

struct ApiKeys {
    by_id: HashMap<String, ApiKey>,
}

struct ApiKey {
    secret: String,
    user: String,
    /// Seconds since 1970; the connection ends with its key.
    expires_unix_s: Option<u64>,
}

impl ApiKeys {
    fn find(&self, presented: &str) -> Option<&ApiKey> {
        let (id, secret) = presented.split_once('.')?;
        let key = self.by_id.get(id)?;
        // An answer that takes the same time for every wrong secret tells nothing about the right one.
        bool::from(key.secret.as_bytes().ct_eq(secret.as_bytes())).then_some(key)
    }
}

impl Authenticator for ApiKeys {
    // A look-up in memory: quick enough for the event loop. Never ask a database here; keep a copy and refresh it from a
    // thread of your own.
    fn authenticate<'h>(&self, handshake: &Handshake<'h>) -> Verdict<'h> {
        let Some(key) = handshake.head.header("x-api-key").and_then(|presented| self.find(presented)) else {
            return Verdict::Refuse(Reason::AuthFailed);
        };
        if key.expires_unix_s.is_some_and(|end| end.saturating_mul(1000) <= handshake.unix_ms) {
            return Verdict::Refuse(Reason::AuthFailed);
        }
        Verdict::Accept(Identity {
            user: Cow::Owned(key.user.clone()),
            // The key says nothing about the device: X-DEVICE-ID or ?device= may.
            device: None,
            issued_unix_s: None,
            expires_unix_s: key.expires_unix_s,
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let key = ApiKey { secret: "correct-horse".into(), user: "ada".into(), expires_unix_s: None };
    let keys = ApiKeys { by_id: HashMap::from([("k1".into(), key)]) };
    // Like `holdfast serve`, it takes its settings from HOLDFAST_... variables.
    let (config, warnings): (Config, _) =
        load(&Sources { env: std::env::vars().collect(), ..Sources::default() })?;
    for warning in warnings {
        eprintln!("{warning}");
    }
    match server::run_with(config, Arc::new(keys))? {
        Ended::Drained => Ok(()),
        Ended::CutShort | Ended::Superseded => Err("stopped before the drain was over".into()),
    }
}
