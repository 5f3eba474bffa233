//! Secrets that come from files are read again, so that they can be rotated without a restart.

use crate::{
    config::{Auth, Config, Secret, Token},
    conn::auth::{self, Replaceable},
};
use std::{io, path::Path, sync::Arc};

/// Watches the files of the internal port's tokens, of Kafka's password, and of the keys that clients' tokens are checked with.
pub struct SecretWatch {
    tokens: Vec<Token>,
    kafka: Option<Secret>,
    auth: Auth,
    public_key: Option<Vec<u8>>,
    /// None: the authenticator is the caller's own.
    authenticator: Option<Arc<Replaceable>>,
}

impl SecretWatch {
    /// A watch over what a configuration was read with.
    pub fn new(config: &Config, authenticator: Option<Arc<Replaceable>>) -> Self {
        let public_key = config.auth.jwt.public_key_file.as_deref().and_then(|path| std::fs::read(path).ok());
        let (tokens, kafka) = (config.internal.tokens.clone(), config.kafka.password.clone());
        Self { tokens, kafka, auth: config.auth.clone(), public_key, authenticator }
    }

    /// Reads the files again. Changed keys are used at once; changed tokens are returned. What cannot be read, or used, leaves
    /// things as they were and is logged.
    pub fn look(&mut self) -> Option<Vec<Token>> {
        self.look_at_keys();
        let mut changed = false;
        for token in &mut self.tokens {
            let what = format!("internal.tokens {}", token.name);
            changed |= reload(&mut token.secret, &what);
        }
        changed.then(|| self.tokens.clone())
    }

    /// The same for Kafka's password.
    pub fn look_at_kafka(&mut self) -> Option<&Secret> {
        let password = self.kafka.as_mut()?;
        reload(password, "kafka.password_file").then_some(&*password)
    }

    fn look_at_keys(&mut self) {
        let Some(authenticator) = &self.authenticator else { return };
        let jwt = &mut self.auth.jwt;
        let mut changed = jwt.secret.as_mut().is_some_and(|secret| reload(secret, "auth.jwt.secret_file"));
        if let Some(path) = &jwt.public_key_file {
            match read_key(path) {
                Ok(key) if self.public_key.as_ref() != Some(&key) => {
                    self.public_key = Some(key);
                    changed = true;
                }
                Ok(_) => {}
                Err(error) => warn("auth.jwt.public_key_file", &error),
            }
        }
        if !changed {
            return;
        }
        match auth::from_config(&self.auth) {
            Ok(fresh) => {
                authenticator.replace(fresh);
                tracing::info!("the keys for clients' tokens were read again");
            }
            Err(error) => tracing::warn!(error, "the changed key cannot be used; the old one stays"),
        }
    }
}

fn reload(secret: &mut Secret, what: &str) -> bool {
    match secret.reload() {
        Ok(changed) => {
            if changed {
                tracing::info!(secret = what, "a secret was read again");
            }
            changed
        }
        Err(error) => {
            warn(what, &error);
            false
        }
    }
}

fn read_key(path: &Path) -> io::Result<Vec<u8>> {
    let key = std::fs::read(path)?;
    // A file being replaced in place may be empty for a moment.
    if key.is_empty() { Err(io::Error::other("it is empty")) } else { Ok(key) }
}

fn warn(what: &str, error: &io::Error) {
    tracing::warn!(secret = what, %error, "the file of a secret cannot be read; the old secret stays");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;

    #[test]
    fn a_changed_file_changes_the_token_and_a_lost_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one").unwrap();
        let secret = Secret::from_file(&path).unwrap();
        let mut config = Config::default();
        config.internal.tokens = vec![Token { name: "ops".into(), role: Role::Admin, secret }];
        let mut watch = SecretWatch::new(&config, None);
        assert!(watch.look().is_none());
        std::fs::write(&path, "two\n").unwrap();
        let tokens = watch.look().unwrap();
        assert_eq!(tokens[0].secret.reveal(), "two");
        assert!(watch.look().is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(watch.look().is_none());
        assert_eq!(watch.tokens[0].secret.reveal(), "two");
    }

    #[test]
    fn a_changed_file_changes_the_queues_password_and_one_that_is_given_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "one").unwrap();
        let mut config = Config::default();
        config.kafka.password = Some(Secret::from_file(&path).unwrap());
        let mut watch = SecretWatch::new(&config, None);
        assert!(watch.look_at_kafka().is_none());
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(watch.look_at_kafka().map(Secret::reveal), Some("two"));
        assert!(watch.look_at_kafka().is_none());
        config.kafka.password = Some(Secret::new("given"));
        assert!(SecretWatch::new(&config, None).look_at_kafka().is_none());
    }
}
