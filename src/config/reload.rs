//! The configuration of a running node, read again: what has changed, what of it counts now, and what waits for a restart.
//!
//! Owns the way from the table's column to a configuration: keys that are [`Change::Cold`] keep the values with which the node
//! runs, and the whole is checked as it will be. Changes nothing itself.

use super::{
    Config, ConfigError, Node, Origin, RegistryUrl, Secret, Warning, check,
    load::{self, Layers},
    raw::{self, Change, LANE_KEYS, RawLane},
    redis_url::Kind,
};
use std::{collections::BTreeSet, path::Path};

/// What reading the sources again has come to.
#[derive(Debug)]
pub struct Reloaded {
    /// What is to count from now on.
    pub config: Config,
    /// Whose new values are in it.
    pub changed: Vec<Difference>,
    /// Whose new values wait for a restart.
    pub waiting: Vec<Difference>,
    /// What was odd on the way.
    pub warnings: Vec<Warning>,
}

impl Reloaded {
    /// Whether a key has a new value that counts.
    pub fn changes(&self, key: &str) -> bool {
        self.changed.iter().any(|one| one.key == key)
    }
}

/// A key whose value is another one than that with which the node runs. Values are TOML, secrets masked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Its full name.
    pub key: String,
    /// The running value.
    pub old: String,
    /// What was read.
    pub new: String,
}

impl Config {
    /// Reads the same sources again.
    ///
    /// # Errors
    /// As [`load::load`], for what was read and for that with the keys that need a restart left as they are. A file that can
    /// be read only once, or that says nothing any more, is refused, too.
    pub fn reload(&self) -> Result<Reloaded, ConfigError> {
        if let Some(path) = &self.sources.file {
            check_again_readable(path)?;
        }
        let running = &self.typed.0;
        let read = load::read(&self.sources)?;
        self.check_not_emptied(running, &read)?;
        let (_, warnings) = check::check(read.clone(), &self.sources)?;
        let (changed, waiting) = differences(running, &read);
        let kept = keep_cold(running, read);
        let (config, _) = check::check_knowing(kept, &self.sources, self.secrets_of_servers())
            .map_err(|error| if waiting.is_empty() { error } else { before_restart(&error) })?;
        // What it drew, or found on the machine, when it started.
        let node = Node { insecure: config.node.insecure, ..self.node.clone() };
        Ok(Reloaded { config: Config { node, ..config }, changed, waiting, warnings })
    }

    /// Whoever writes a file in place empties it first.
    fn check_not_emptied(&self, running: &Layers, read: &Layers) -> Result<(), ConfigError> {
        let from_file = |layers: &Layers| {
            layers.origins.values().filter(|origin| matches!(origin, Origin::File(..))).count()
        };
        match (&self.sources.file, from_file(running), from_file(read)) {
            (Some(path), 1.., 0) => Err(ConfigError::Source(format!(
                "the configuration file {} sets no key any more: it may be about to be written",
                path.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Those of keys that need a restart. Their files may have moved, and the configuration with them.
    fn secrets_of_servers(&self) -> Vec<Secret> {
        let mut all = vec![self.kafka.password.clone()];
        if let RegistryUrl::Redis(target) = &self.registry.url {
            all.push(target.login.password.clone());
            if let Kind::Sentinel { login, .. } = &target.kind {
                all.push(login.password.clone());
            }
        }
        all.into_iter().flatten().collect()
    }
}

/// A pipe has been read to its end, and to open one may take for ever.
fn check_again_readable(path: &Path) -> Result<(), ConfigError> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() && !found.is_dir() => Err(ConfigError::Source(format!(
            "cannot read the configuration file {} again: it is no regular file",
            path.display()
        ))),
        // What else is wrong with it is said where it is read.
        _ => Ok(()),
    }
}

fn before_restart(error: &ConfigError) -> ConfigError {
    let said = error.each().iter().map(|one| {
        ConfigError::Source(format!("{one}; this is so as long as other changed keys wait for a restart"))
    });
    ConfigError::together(said.collect())
}

/// What counts now, and what needs a restart.
fn differences(running: &Layers, read: &Layers) -> (Vec<Difference>, Vec<Difference>) {
    let mut found = Vec::new();
    for key in raw::keys().filter(|key| !(key.same)(&running.raw, &read.raw)) {
        let (old, new) = ((key.show)(&running.raw), (key.show)(&read.raw));
        found.push((key.change, Difference { key: key.name.into(), old, new }));
    }
    for lane in lanes(running, read) {
        let values = raw::show_lane(&running.raw, lane).into_iter().zip(raw::show_lane(&read.raw, lane));
        for ((key, change, _), (old, new)) in LANE_KEYS.iter().zip(values) {
            // What is said of a lane counts once there is such a lane.
            let change = if keeps(running, read, lane) { *change } else { Change::Cold };
            if old != new {
                found.push((change, Difference { key: format!("lanes.{lane}.{key}"), old, new }));
            }
        }
    }
    let (hot, cold): (Vec<_>, Vec<_>) = found.into_iter().partition(|(change, _)| *change == Change::Hot);
    let plain = |all: Vec<(Change, Difference)>| all.into_iter().map(|(_, difference)| difference).collect();
    (plain(hot), plain(cold))
}

/// Of which anything is said.
fn lanes<'a>(running: &'a Layers, read: &'a Layers) -> BTreeSet<&'a String> {
    running.raw.lane.keys().chain(read.raw.lane.keys()).collect()
}

/// Whether a lane is there, and is to stay.
fn keeps(running: &Layers, read: &Layers, lane: &String) -> bool {
    running.raw.lanes.order.contains(lane) && read.raw.lanes.order.contains(lane)
}

/// What was read, but for the keys that need a restart.
fn keep_cold(running: &Layers, read: Layers) -> Layers {
    let mut kept = read.clone();
    let keep_origin = |kept: &mut Layers, key: &str| {
        match running.origins.get(key) {
            Some(origin) => kept.origins.insert(key.into(), origin.clone()),
            None => kept.origins.remove(key),
        };
    };
    for key in raw::keys().filter(|key| key.change == Change::Cold) {
        (key.copy)(&mut kept.raw, &running.raw);
        keep_origin(&mut kept, key.name);
    }
    for lane in lanes(running, &read) {
        let before = running.raw.lane.get(lane).cloned();
        let after = read.raw.lane.get(lane).cloned().unwrap_or_default();
        let stays = keeps(running, &read, lane);
        let now = match before.clone() {
            before if !stays => before,
            before => Some(RawLane { topics: before.and_then(|before| before.topics), ..after }),
        };
        match now {
            Some(now) => kept.raw.lane.insert(lane.clone(), now),
            None => kept.raw.lane.remove(lane),
        };
        for (key, change, _) in LANE_KEYS {
            if !stays || change == Change::Cold {
                keep_origin(&mut kept, &format!("lanes.{lane}.{key}"));
            }
        }
    }
    kept
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::config::{Sources, load};

    /// One of them is a value of each key, and another than the default.
    const VALUES: [&str; 24] = [
        "true",
        "false",
        "7",
        "2",
        "11m",
        "7s",
        "100ms",
        "35m",
        "40m",
        "20m",
        "70KiB",
        "300KiB",
        "50%",
        "3/2s",
        "off",
        "10.9.8.0/24",
        "127.0.0.2:7",
        "https://a.example",
        "accept",
        "uniform",
        "json",
        "cookie",
        "HS512",
        "x-other-header",
    ];
    /// More of them, for keys that ask for what no other does.
    const MORE: [&str; 7] = [
        "debug",
        "redis://127.0.0.1:9",
        "ci:send:a-token",
        "b:9092",
        "a=b",
        "urgent,high,normal,low",
        "another-key-of-cookies-with-more-than-32-bytes",
    ];

    /// For each key of the table: a running configuration, and what reading it again comes to once that key has another value.
    /// Files that keys name are made in `folder`.
    pub(crate) fn each_key_changed(folder: &Path) -> Vec<(&'static str, Change, Config, Reloaded)> {
        let secret = folder.join("secret");
        std::fs::write(&secret, "a-secret-that-is-long-enough-for-all-that-ask").unwrap();
        let set = folder.join("set.json");
        std::fs::write(&set, "{\"keys\": [{}]}").unwrap();
        let public = folder.join("public.pem");
        std::fs::write(&public, "-----BEGIN PUBLIC KEY-----\n").unwrap();
        let authority = folder.join("authority.pem");
        std::fs::write(&authority, "-----BEGIN CERTIFICATE-----\n").unwrap();
        let files = [&secret, &set, &public, &authority].map(|path| path.display().to_string());
        let environment = [
            ("HOLDFAST_AUTH_COOKIE_KEYS", "a-key-of-cookies-with-more-than-32-bytes"),
            ("HOLDFAST_AUTH_JWT_ALGORITHMS", ""),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut found = Vec::new();
        for key in raw::keys() {
            let values = VALUES.iter().chain(&MORE).map(|value| (*value).to_owned()).chain(files.clone());
            let sources = |more: Option<String>| {
                let mut env = environment.to_vec();
                // A public key alone says not what it is for.
                if key.name == "auth.jwt.public_key_file" {
                    env[1].1 = "RS256".into();
                }
                Sources { env, sets: more.into_iter().collect(), ..Sources::default() }
            };
            let (before, _) = load(&sources(None)).unwrap();
            let changed = values.into_iter().find_map(|value| {
                let mut again = before.clone();
                again.sources = sources(Some(format!("{}={value}", key.name)));
                let reloaded = again.reload().ok()?;
                (!reloaded.changed.is_empty() || !reloaded.waiting.is_empty()).then_some(reloaded)
            });
            let changed =
                changed.unwrap_or_else(|| panic!("no value of VALUES or MORE is one of {}", key.name));
            found.push((key.name, key.change, before, changed));
        }
        found
    }
}
