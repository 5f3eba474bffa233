//! The configuration of a running node, read again.

use super::*;
use crate::config::{raw::Change, reload::testing};
use std::path::PathBuf;

/// What a node runs with, and its file.
fn running(text: &str) -> (tempfile::TempDir, PathBuf, Config) {
    let (folder, sources) = file(text);
    let path = sources.file.clone().unwrap();
    (folder, path, load(&sources).unwrap().0)
}

fn keys(all: &[Difference]) -> Vec<&str> {
    all.iter().map(|one| one.key.as_str()).collect()
}

/// The table says which keys change: all others stay as they are.
#[test]
fn each_key_changes_or_waits_as_the_table_says() {
    let folder = tempfile::tempdir().unwrap();
    let strip = |config: &Config| {
        let mut config = config.clone();
        config.sources = Sources::default();
        format!("{config:?}")
    };
    for (key, change, before, reloaded) in testing::each_key_changed(folder.path()) {
        let (found, other) = match change {
            Change::Hot => (&reloaded.changed, &reloaded.waiting),
            Change::Cold => (&reloaded.waiting, &reloaded.changed),
        };
        assert_eq!(keys(found), [key]);
        assert!(other.is_empty(), "{key}: {other:?}");
        // Of two secrets nobody sees which is which.
        let hidden = found[0].old == found[0].new || key.ends_with("_file");
        let takes_effect = strip(&before) != strip(&reloaded.config);
        match change {
            Change::Hot => assert!(takes_effect || hidden, "{key}"),
            Change::Cold => assert!(!takes_effect, "{key}"),
        }
    }
}

#[test]
fn what_has_changed_is_named_with_both_values_and_what_waits_too() {
    let (_folder, path, config) =
        running("[drain]\nrate = 1\n[node]\nregion = \"eu\"\n[internal]\ntoken = \"hush\"\n");
    let text = "[drain]\nrate = 2\n[node]\nregion = \"us\"\n[internal]\ntoken = \"shh\"\n[lanes.high]\nttl = \"1m\"\n";
    std::fs::write(&path, text).unwrap();
    let reloaded = config.reload().unwrap();
    let line = |one: &Difference| format!("{} {} {}", one.key, one.old, one.new);
    let changed: Vec<String> = reloaded.changed.iter().map(line).collect();
    assert_eq!(
        changed,
        ["internal.token \"***\" \"***\"", "drain.rate 1 2", "lanes.high.ttl \"off\" \"1m\""]
    );
    assert_eq!(reloaded.waiting.iter().map(line).collect::<Vec<_>>(), ["node.region \"eu\" \"us\""]);
    assert_eq!((reloaded.config.drain.rate, reloaded.config.node.region.as_str()), (2, "eu"));
    assert!(reloaded.changes("drain.rate") && !reloaded.changes("node.region"));
    // It waits until the restart, however often it is read, and is no news once it is taken back.
    let again = reloaded.config.reload().unwrap();
    assert_eq!((keys(&again.waiting), again.changed.len()), (vec!["node.region"], 0));
    std::fs::write(&path, text.replace("us", "eu")).unwrap();
    assert!(again.config.reload().unwrap().waiting.is_empty());
}

#[test]
fn higher_sources_stay_higher() {
    let (_folder, mut sources) = file("[drain]\nrate = 1\n");
    sources.env.push(("HOLDFAST_DRAIN_RATE".into(), "5".into()));
    sources.sets.push("drain.window=7s".into());
    let (config, _) = load(&sources).unwrap();
    std::fs::write(sources.file.unwrap(), "[drain]\nrate = 2\nwindow = \"9s\"\n").unwrap();
    let reloaded = config.reload().unwrap();
    assert_eq!((reloaded.changed.len(), reloaded.waiting.len()), (0, 0));
    assert_eq!((reloaded.config.drain.rate, reloaded.config.drain.window_ms), (5, 7_000));
}

#[test]
fn a_bad_file_is_refused_as_at_the_start() {
    let (_folder, path, config) = running("[drain]\nrate = 1\n");
    for (text, said) in [
        ("[drain]\nrate = 0\n", "drain.rate = 0: expected"),
        ("[drain]\nrate = 2\n[node]\nshards = 0\n", "node.shards = 0: expected"),
        ("[drain\n", "line 1, column 7: "),
        ("[lifetime]\nmax = \"1m\"\n", "lifetime.max = \"1m\": expected at least"),
        ("", "sets no key any more"),
        ("# [drain]\n", "sets no key any more"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = config.reload().unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("holdfast.toml"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(config.reload().unwrap_err().to_string().contains("No such file"));
    let (_folder, path, config) = running("");
    std::fs::write(&path, "").unwrap();
    assert!(config.reload().unwrap().changed.is_empty(), "it was empty before");
}

#[test]
fn a_pipe_is_not_read_again() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let mut config = Config::default();
    config.sources.file = Some(path.into());
    assert!(config.reload().unwrap_err().to_string().contains("no regular file"));
}

/// The address waits for a restart, so what makes it safe may not go before.
#[test]
fn what_changes_is_checked_against_what_waits() {
    let (_folder, path, config) =
        running("[internal]\nlisten = \"0.0.0.0:7008\"\ntoken = \"hush\"\n[drain]\nrate = 1\n");
    std::fs::write(&path, "[drain]\nrate = 2\n").unwrap();
    let error = config.reload().unwrap_err().to_string();
    assert!(error.contains("internal.listen = \"0.0.0.0:7008\": without a token"), "{error}");
    assert!(error.contains("wait for a restart"), "{error}");
}

#[test]
fn lanes_keep_their_names_and_order_and_change_what_is_said_of_them() {
    let (_folder, path, config) = running("[lanes.low]\npolicy = \"replace\"\n[lanes.high]\nttl = \"1m\"\n");
    let text = "[lanes]\norder = [\"urgent\", \"high\"]\n[lanes.high]\nttl = \"2m\"\ntopics = \"^x$\"\n[lanes.urgent]\nttl = \"1s\"\n";
    std::fs::write(&path, text).unwrap();
    let reloaded = config.reload().unwrap();
    assert_eq!(keys(&reloaded.changed), ["lanes.high.ttl"]);
    assert_eq!(
        keys(&reloaded.waiting),
        ["lanes.order", "lanes.high.topics", "lanes.low.policy", "lanes.urgent.ttl"]
    );
    let lanes = &reloaded.config.lanes;
    let lane = |name: &str| lanes.config(lanes.by_name(name).unwrap()).clone();
    assert_eq!((lanes.len(), lane("high").ttl_ms), (3, Some(120_000)));
    assert_eq!(lane("low").policy, crate::model::LanePolicy::Replace, "it goes with the restart");
    assert_eq!(reloaded.config.kafka.topics, config.kafka.topics);
}

#[test]
fn a_secret_that_needs_a_restart_may_have_moved() {
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (folder.path().join("before"), folder.path().join("after"));
    std::fs::write(&before, "hush").unwrap();
    let text = |path: &std::path::Path, rate: u8| {
        format!("[kafka]\npassword_file = \"{}\"\n[drain]\nrate = {rate}\n", path.display())
    };
    let (_folder, path, config) = running(&text(&before, 1));
    std::fs::rename(&before, &after).unwrap();
    std::fs::write(&path, text(&after, 2)).unwrap();
    let reloaded = config.reload().unwrap();
    assert_eq!(
        (keys(&reloaded.changed), keys(&reloaded.waiting)),
        (vec!["drain.rate"], vec!["kafka.password_file"])
    );
    assert_eq!(reloaded.config.kafka.password, config.kafka.password);
}
