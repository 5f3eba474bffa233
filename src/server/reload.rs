//! SIGHUP: the configuration is read again, and what can change without a restart changes.
//!
//! Owns the order: everything is read, checked and made first, and only then put in place, by steps none of which can fail.
//! Decides nothing about keys: [`crate::config::Config::reload`] does, by the table.

use super::{Node, as_processor, descriptors};
use crate::{
    bridge::callout::{self, CalloutThread},
    config::{
        AuthMode, Config, ConfigError, Difference, Http, check_processor, exposed, logging, peer_token,
    },
    conn::{
        Settings,
        auth::{self, Authenticator, TicketRules},
    },
    control::Live,
    model::mail::ToShard,
};
use std::{
    io,
    sync::{Arc, PoisonError, atomic::Ordering},
};

/// What was read, ready to be put in place.
struct Fresh {
    config: Arc<Config>,
    /// None: the authenticator is the caller's own, or there are no clients.
    authenticator: Option<Arc<dyn Authenticator>>,
    tickets: TicketRules,
    callout: Fresher,
    live: Live,
}

/// Who asks the endpoint of `auth.http` from now on.
enum Fresher {
    /// The same as before, or nobody.
    Same,
    /// Another, or nobody any more.
    Other(Option<CalloutThread>),
}

/// What a reload has come to.
struct Found {
    /// None: nothing that counts without a restart has changed.
    fresh: Option<Fresh>,
    changed: Vec<Difference>,
    waiting: Vec<Difference>,
}

impl Node {
    /// Reads the configuration again. What cannot be used changes nothing.
    pub(super) fn reload(&mut self) {
        self.supervisor.reloading();
        let found = self.read_again();
        self.common.stats.config_reload(found.is_ok());
        match found {
            Ok(found) => self.take(found),
            Err(mistakes) => {
                for mistake in mistakes {
                    tracing::error!("the configuration is refused, the running one stays: {mistake}");
                }
            }
        }
        self.supervisor.reloaded();
    }

    /// # Errors
    /// What is wrong, each mistake fit for a line.
    fn read_again(&self) -> Result<Found, Vec<String>> {
        let lines = |error: ConfigError| error.each().iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut reloaded = self.common.config.reload().map_err(lines)?;
        for warning in &reloaded.warnings {
            tracing::warn!("{warning}");
        }
        if reloaded.changed.is_empty() {
            return Ok(Found { fresh: None, changed: Vec::new(), waiting: reloaded.waiting });
        }
        let limit_changes = reloaded.changes("limits.connections");
        let config = &mut reloaded.config;
        if self.is_processor() {
            check_processor(config).map_err(lines)?;
            as_processor(config);
        } else if limit_changes {
            config.limits.connections = descriptors::raise_and_cap(config.limits.connections);
        } else {
            config.limits.connections = self.common.config.limits.connections;
        }
        self.check_exposure(config).map_err(|mistake| vec![mistake])?;
        let callout = self.callout_of(config).map_err(|error| vec![error.to_string()])?;
        let asks = match &callout {
            Fresher::Same => self.callout.as_ref(),
            Fresher::Other(other) => other.as_ref(),
        };
        let questions = asks.map(CalloutThread::questions);
        let judges = self.secrets.judges();
        let authenticator = judges.then(|| auth::asking(&config.auth, questions.as_ref())).transpose();
        let authenticator = authenticator.map_err(|mistake| vec![mistake])?;
        let tickets = TicketRules::new(&config.auth.tickets).map_err(|mistake| vec![mistake])?;
        let config = Arc::new(reloaded.config);
        let live = Live::new(config.clone()).map_err(|error| vec![error.to_string()])?;
        let fresh = Some(Fresh { config, authenticator, tickets, callout, live });
        Ok(Found { fresh, changed: reloaded.changed, waiting: reloaded.waiting })
    }

    /// What is kept of answers is kept where nothing but the token changes, or what is asked of others.
    fn callout_of(&self, config: &Config) -> io::Result<Fresher> {
        let is_asked = |config: &Config| config.auth.modes.contains(&AuthMode::Http);
        let rules = |config: &Config| {
            let http = Http { token: None, ..config.auth.http.clone() };
            is_asked(config).then_some((http, config.limits.handshake_timeout_ms))
        };
        if !self.secrets.judges() || rules(config) == rules(&self.common.config) {
            return Ok(Fresher::Same);
        }
        let other = is_asked(config).then(|| {
            let mail = callout::Mail::new(config.auth.http.waiting);
            self.common.callout(config, mail)
        });
        Ok(Fresher::Other(other.transpose()?))
    }

    /// What trusts everybody must not come to be where everybody is, wherever that was said.
    fn check_exposure(&self, config: &Config) -> Result<(), String> {
        let mut bound = config.clone();
        bound.clients.listen.clone_from(&self.bound.clients);
        bound.internal.listen = self.bound.internal;
        match exposed(&bound) {
            None => Ok(()),
            Some((_, address, problem)) => Err(format!("this node listens at {address}: {problem}")),
        }
    }

    fn is_processor(&self) -> bool {
        self.common.config.node.shards == 0
    }

    fn take(&mut self, found: Found) {
        match found.fresh {
            Some(fresh) => self.put_in_place(fresh),
            // Files of secrets may have changed since they were last looked at.
            None => self.look_at_secrets(),
        }
        for Difference { key, old, new } in &found.changed {
            tracing::info!(%key, %old, %new, "changed");
        }
        for Difference { key, old, new } in &found.waiting {
            tracing::warn!(%key, %old, %new, "needs a restart");
        }
        match (found.changed.len(), found.waiting.len()) {
            (0, 0) => tracing::info!("the configuration was read again: nothing has changed"),
            (changed, waiting) => tracing::info!(changed, waiting, "the configuration was read again"),
        }
    }

    fn put_in_place(&mut self, fresh: Fresh) {
        let Fresh { config, authenticator, tickets, callout, live } = fresh;
        let common = &mut self.common;
        if config.log.level != common.config.log.level
            && let Err(error) = logging::set_level(&config.log.level)
        {
            tracing::warn!(error, "log.level stays");
        }
        let limits = &config.limits;
        common.shared.capacity.store(limits.connections, Ordering::Relaxed);
        common.stats.set_capacity(limits.connections as u64);
        common.directory.set_per_user_max(limits.connections_per_user);
        common.dedup.set_bounds(config.dedup.window_ms, config.dedup.max);
        common.drain.set_rules(config.drain, config.lifetime.grace_ms);
        let before = match callout {
            Fresher::Same => None,
            Fresher::Other(other) => std::mem::replace(&mut self.callout, other),
        };
        let questions = self.callout.as_ref().map(CalloutThread::questions);
        self.secrets.follow(&config, authenticator, tickets, questions);
        // From here on nobody asks it any more.
        if let Some(before) = before {
            before.retire();
        }
        if let Some(callout) = &self.callout {
            callout.set_token(config.auth.http.token.as_ref());
        }
        common.settings = Arc::new(Settings::new(&config));
        let settings = Some(common.settings.clone());
        *common.shared.fresh.lock().unwrap_or_else(PoisonError::into_inner) = settings;
        self.router.post_to_all(|| ToShard::Reload);
        self.control.replace(live);
        if let Some(peers) = &self.fleet.peers {
            peers.set_token(peer_token(&config.internal.tokens).cloned());
            peers.set_bounds(limits.push_bytes, config.delivery.timeout_ms);
        }
        if let Some(processor) = &self.queue.processor {
            processor.set_bounds(config.lanes.clone(), limits.push_bytes);
        }
        let relief = self.memory.set_limit(limits.memory_percent);
        common.config = config;
        if let Some(pressure) = relief {
            self.press(pressure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Change, reload_testing};

    /// Hot keys that no shard has to hear of, and to whom they go instead. Whoever marks another key hot puts it in place in
    /// [`Node::put_in_place`], or in the shards' settings.
    const ELSEWHERE: [(&str, &str); 12] = [
        ("auth.", "the authenticator, and who asks the endpoint"),
        ("internal.", "the internal port, and the links to other nodes"),
        ("drain.", "the drain"),
        ("dedup.", "the ids that are remembered"),
        ("limits.connections", "what the shards share, too"),
        ("limits.connections_per_user", "the directory"),
        ("limits.memory", "the watch over memory"),
        ("limits.push_bytes", "the internal port, the processor, the links to other nodes"),
        ("delivery.", "the internal port and the links to other nodes, too"),
        ("lanes.", "the processor and the internal port, too"),
        ("log.level", "the log"),
        ("node.insecure", "the check of addresses"),
    ];

    #[test]
    fn each_hot_key_goes_somewhere() {
        let folder = tempfile::tempdir().unwrap();
        for (key, change, mut before, mut reloaded) in reload_testing::each_key_changed(folder.path()) {
            for config in [&mut before, &mut reloaded.config] {
                // As when the descriptors are counted.
                config.limits.connections = config.limits.connections.min(100_000);
            }
            let settings = |config: &Config| format!("{:?}", Settings::new(config));
            let shards_hear = settings(&before) != settings(&reloaded.config);
            let elsewhere = ELSEWHERE.iter().any(|(begin, _)| key.starts_with(begin));
            match change {
                Change::Hot => assert!(shards_hear || elsewhere, "{key} is used by nobody"),
                Change::Cold => assert!(!shards_hear, "{key} changes without a restart"),
            }
        }
    }
}
