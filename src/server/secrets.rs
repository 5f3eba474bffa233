//! Secrets that come from files are read again, so that they can be rotated without a restart.

use crate::{
    config::{Auth, Config, Secret, Token},
    conn::auth::{self, Authenticator, Replaceable, TicketRules, Tickets},
    kit::mailbox::Sender,
    model::question::Asked,
    stats::NodeStats,
};
use std::sync::Arc;

/// Watches the files of the internal port's tokens, of Kafka's password, and of the keys that clients' credentials are checked
/// with.
pub struct SecretWatch {
    tokens: Vec<Token>,
    kafka: Option<Secret>,
    /// By which the endpoint that is asked who clients are tells who asks.
    callout: Option<Secret>,
    auth: Auth,
    keys: [KeyFile; 5],
    /// None: the authenticator is the caller's own.
    authenticator: Option<Arc<Replaceable>>,
    /// Where questions about clients go.
    questions: Option<Sender<Asked>>,
    tickets: Option<Arc<Tickets>>,
}

/// A file of keys, and what was last wrong with it: said once, not at every look.
struct KeyFile {
    setting: &'static str,
    secret: fn(&mut Auth) -> Option<&mut Secret>,
    /// Of tickets, rather than of what `auth.mode` asks for.
    is_of_tickets: bool,
    refused: Option<Secret>,
    unreadable: Option<String>,
}

impl KeyFile {
    fn new(setting: &'static str, secret: fn(&mut Auth) -> Option<&mut Secret>) -> Self {
        let is_of_tickets = setting.starts_with("auth.tickets.");
        Self { setting, secret, is_of_tickets, refused: None, unreadable: None }
    }

    /// What it holds now, where that is neither what is in use nor what was refused before.
    fn look(&mut self, auth: &mut Auth, stats: &NodeStats) -> Option<Secret> {
        let mut fresh = (self.secret)(auth)?.clone();
        match fresh.reload() {
            Ok(changed) => {
                self.unreadable = None;
                if !changed {
                    self.refused = None;
                    return None;
                }
                (self.refused.as_ref() != Some(&fresh)).then_some(fresh)
            }
            Err(error) => {
                let error = error.to_string();
                if self.unreadable.as_ref() != Some(&error) {
                    warn(self.setting, &error);
                    stats.key_reload(false);
                    self.unreadable = Some(error);
                }
                None
            }
        }
    }
}

impl SecretWatch {
    /// A watch over what a configuration was read with.
    pub fn new(config: &Config, authenticator: Option<Arc<Replaceable>>) -> Self {
        let (tokens, kafka) = (config.internal.tokens.clone(), config.kafka.password.clone());
        let keys = [
            KeyFile::new("auth.jwt.secret_file", |auth| auth.jwt.secret.as_mut()),
            KeyFile::new("auth.jwt.public_key_file", |auth| auth.jwt.public_key.as_mut()),
            KeyFile::new("auth.jwt.jwks_file", |auth| auth.jwt.jwks.as_mut()),
            KeyFile::new("auth.cookie.keys_file", |auth| auth.cookie.keys.as_mut()),
            KeyFile::new("auth.tickets.keys_file", |auth| auth.tickets.keys.as_mut()),
        ];
        let (auth, callout) = (config.auth.clone(), config.auth.http.token.clone());
        Self { tokens, kafka, callout, auth, keys, authenticator, questions: None, tickets: None }
    }

    /// The same, where somebody takes questions about clients.
    pub fn asking(self, questions: Option<Sender<Asked>>) -> Self {
        Self { questions, ..self }
    }

    /// Has it watch the keys of these tickets as well.
    pub fn watch_tickets(&mut self, tickets: Arc<Tickets>) {
        self.tickets = Some(tickets);
    }

    /// Whether it has clients' credentials checked.
    pub fn judges(&self) -> bool {
        self.authenticator.is_some()
    }

    /// Watches what another configuration was read with, by which clients are judged from now on. Kafka's password needs a
    /// restart to come from elsewhere.
    pub fn follow(
        &mut self,
        config: &Config,
        authenticator: Option<Arc<dyn Authenticator>>,
        tickets: TicketRules,
        questions: Option<Sender<Asked>>,
    ) {
        if let Some(all) = &self.tickets {
            all.set_rules(tickets);
        }
        if let (Some(replaceable), Some(fresh)) = (&self.authenticator, authenticator) {
            replaceable.replace(fresh);
        }
        let fresh = Self::new(config, self.authenticator.take());
        *self = Self { kafka: self.kafka.take(), tickets: self.tickets.take(), questions, ..fresh };
    }

    /// Reads the files again. Changed keys are used at once and counted; changed tokens are returned. What cannot be read, or
    /// used, leaves things as they were and is logged.
    pub fn look(&mut self, stats: &NodeStats) -> Option<Vec<Token>> {
        self.look_at_keys(stats);
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

    /// The same for the token that is sent to the endpoint of `auth.http`.
    pub fn look_at_callout(&mut self) -> Option<&Secret> {
        let token = self.callout.as_mut()?;
        reload(token, "auth.http.token_file").then_some(&*token)
    }

    /// Each file by itself: one that is bad does not keep back another.
    fn look_at_keys(&mut self, stats: &NodeStats) {
        for file in &mut self.keys {
            let is_used =
                if file.is_of_tickets { self.tickets.is_some() } else { self.authenticator.is_some() };
            if !is_used {
                continue;
            }
            let Some(fresh) = file.look(&mut self.auth, stats) else { continue };
            let mut auth = self.auth.clone();
            if let Some(secret) = (file.secret)(&mut auth) {
                *secret = fresh.clone();
            }
            let taken = match (&self.authenticator, &self.tickets) {
                (_, Some(tickets)) if file.is_of_tickets => {
                    TicketRules::new(&auth.tickets).map(|rules| tickets.set_rules(rules))
                }
                (Some(authenticator), _) => {
                    auth::asking(&auth, self.questions.as_ref()).map(|changed| authenticator.replace(changed))
                }
                _ => Ok(()),
            };
            stats.key_reload(taken.is_ok());
            match taken {
                Ok(()) => {
                    self.auth = auth;
                    file.refused = None;
                    tracing::info!(file = file.setting, "the keys for clients' credentials were read again");
                }
                Err(error) => {
                    tracing::warn!(error, "the changed keys cannot be used; the old ones stay");
                    file.refused = Some(fresh);
                }
            }
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
            warn(what, &error.to_string());
            false
        }
    }
}

fn warn(what: &str, error: &str) {
    tracing::warn!(secret = what, error, "the file of a secret cannot be read; the old secret stays");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{AuthMode, Role},
        model::Lanes,
        stats::BuildInfo,
    };
    use std::path::Path;

    fn stats() -> NodeStats {
        NodeStats::new(1, &Lanes::default(), BuildInfo::current())
    }

    #[test]
    fn a_changed_file_changes_the_token_and_a_lost_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let stats = stats();
        std::fs::write(&path, "one").unwrap();
        let secret = Secret::from_file(&path).unwrap();
        let mut config = Config::default();
        config.internal.tokens = vec![Token { name: "ops".into(), role: Role::Admin, secret }];
        let mut watch = SecretWatch::new(&config, None);
        assert!(watch.look(&stats).is_none());
        std::fs::write(&path, "two\n").unwrap();
        let tokens = watch.look(&stats).unwrap();
        assert_eq!(tokens[0].secret.reveal(), "two");
        assert!(watch.look(&stats).is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(watch.look(&stats).is_none());
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

    /// Both ways, with keys of both in files.
    fn two_ways(folder: &Path) -> Config {
        std::fs::write(folder.join("jwt"), "a".repeat(32)).unwrap();
        std::fs::write(folder.join("cookie"), "b".repeat(32)).unwrap();
        let mut config = Config::default();
        config.auth.modes = vec![AuthMode::Jwt, AuthMode::Cookie];
        config.auth.jwt.algorithms = vec!["HS256".into()];
        config.auth.jwt.secret = Some(Secret::from_file(&folder.join("jwt")).unwrap());
        config.auth.cookie.keys = Some(Secret::from_file(&folder.join("cookie")).unwrap());
        config
    }

    #[test]
    fn a_bad_file_of_keys_keeps_no_other_back_and_is_complained_of_once() {
        let folder = tempfile::tempdir().unwrap();
        let config = two_ways(folder.path());
        let (jwt, cookie) = (folder.path().join("jwt"), folder.path().join("cookie"));
        let authenticator = Arc::new(Replaceable::new(auth::from_config(&config.auth).unwrap()));
        let (mut watch, stats) = (SecretWatch::new(&config, Some(authenticator)), stats());
        let mut counts = || {
            watch.look(&stats);
            watch.look(&stats);
            let text = stats.prometheus_text();
            let count = |result: &str| {
                let series = format!("holdfast_key_reloads_total{{result=\"{result}\"}} ");
                text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse::<u64>().unwrap()
            };
            (count("ok"), count("refused"))
        };
        assert_eq!(counts(), (0, 0));
        std::fs::write(&cookie, "short").unwrap();
        assert_eq!(counts(), (0, 1));
        std::fs::write(&jwt, "c".repeat(32)).unwrap();
        assert_eq!(counts(), (1, 1));
        std::fs::write(&cookie, "d".repeat(32)).unwrap();
        assert_eq!(counts(), (2, 1));
        std::fs::remove_file(&jwt).unwrap();
        assert_eq!(counts(), (2, 2));
        // It is back as it was: nothing to read.
        std::fs::write(&jwt, "c".repeat(32)).unwrap();
        assert_eq!(counts(), (2, 2));
        std::fs::remove_file(&jwt).unwrap();
        assert_eq!(counts(), (2, 3));
        assert_eq!(watch.auth.cookie.keys.unwrap().reveal(), "d".repeat(32));
        assert_eq!(watch.auth.jwt.secret.unwrap().reveal(), "c".repeat(32));
    }
}
