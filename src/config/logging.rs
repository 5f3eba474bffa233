//! The log: one line an event on standard error, for people or for machines, in UTC.
//!
//! Owns the process's one subscriber and its level, which can change while it runs.

use super::{Log, LogFormat, words};
use std::sync::OnceLock;
use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt, reload, util::SubscriberInitExt};

static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts the log. Only the first call of a process has an effect, so that tests may call it freely.
pub fn start(log: &Log) {
    let (filter, handle) = reload::Layer::new(EnvFilter::new(&log.level));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = tracing_subscriber::registry().with(filter);
    let started = match log.format {
        LogFormat::Text => lines.with(layer.compact().with_ansi(false)).try_init(),
        LogFormat::Json => lines.with(layer.json().flatten_event(true)).try_init(),
    };
    if started.is_ok() {
        let _ = LEVEL.set(handle);
    }
}

/// Changes `log.level` of the running process.
///
/// # Errors
/// When it is not a level or filter, or the log was not started here.
pub fn set_level(level: &str) -> Result<(), String> {
    if !words::is_level(level) {
        return Err(format!("log.level = {level:?}: expected {}", words::LEVEL));
    }
    let handle = LEVEL.get().ok_or("the log was not started")?;
    handle.reload(EnvFilter::new(level)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_changes_only_to_what_is_one() {
        start(&Log { format: LogFormat::Text, level: "off".into() });
        assert_eq!(set_level("warn,holdfast=off"), Ok(()));
        assert!(set_level("many").unwrap_err().contains("expected"));
    }

    proptest::proptest! {
        #[test]
        fn every_allowed_level_is_a_filter(level in "(off|error|warn|info|debug|trace|[a-z_:]{1,8}=(info|debug))(,(info|[a-z:]{1,4}=warn))?") {
            if words::is_level(&level) {
                proptest::prop_assert!(EnvFilter::try_new(&level).is_ok(), "{}", level);
            }
        }
    }
}
