//! Configuration files: refused with words or accepted within the ranges, and then shown as a file that means the same.

use holdfast::config::{Config, Distribution, Sources, load, render};
use std::{io::Write, ops::RangeInclusive};
use tempfile::NamedTempFile;

/// 30 days: the longest duration of any key.
const DURATION_MS_MAX: u64 = 30 * 86_400_000;
const HOUR_MS: u64 = 3_600_000;
const MANY: u64 = 100_000_000;

/// Loads `data` as a file, and each of its first lines as a `--set`.
pub fn run(data: &[u8]) {
    // A configuration may name files to read, and devices and the like never end.
    if ["/dev/", "/proc/", "/sys/", "\\u"].iter().any(|part| contains(data, part)) {
        return;
    }
    let file = written(data);
    let from_file = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
    check(&from_file, !contains(data, "_file") && !contains(data, "secret") && !contains(data, "token"));
    if let Ok(text) = std::str::from_utf8(data) {
        let sets = text.lines().take(8).map(str::to_owned).collect();
        check(&Sources { sets, ..Sources::default() }, false);
    }
}

fn contains(data: &[u8], part: &str) -> bool {
    data.windows(part.len()).any(|window| window == part.as_bytes())
}

fn written(data: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(data).expect("written");
    file
}

/// `open`: there are no secrets in it, so that what is shown can be read again.
fn check(sources: &Sources, open: bool) {
    let config = match load(sources) {
        Ok((config, _)) => config,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(render::effective(sources).is_err());
            return;
        }
    };
    check_ranges(&config);
    let reloaded = config.reload().expect("what was accepted is accepted again");
    assert!(reloaded.changed.is_empty() && reloaded.waiting.is_empty());
    assert_eq!(meaning(&reloaded.config), meaning(&config));
    let (text, _) = render::effective(sources).expect("what was accepted is shown");
    if open {
        let shown = written(text.as_bytes());
        let sources = Sources { file: Some(shown.path().to_owned()), ..Sources::default() };
        let (again, _) = load(&sources).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(meaning(&again), meaning(&config), "{text}");
    }
}

/// Everything but where it came from and the name that a node draws for itself.
fn meaning(config: &Config) -> String {
    let mut config = config.clone();
    config.sources = Sources::default();
    config.node.id.clear();
    format!("{config:?}")
}

fn check_ranges(config: &Config) {
    let (clients, limits, lifetime) = (&config.clients, &config.limits, &config.lifetime);
    assert!((1..=64).contains(&clients.listen.len()));
    assert!(clients.ping_min_ms <= clients.ping_max_ms);
    assert!(!config.node.id.is_empty() && config.node.id.len() <= 64);
    let mib = 1 << 20;
    let rows: &[(&str, u64, RangeInclusive<u64>)] = &[
        ("shards", config.node.shards as u64, 1..=256),
        ("ping", clients.ping_ms, 100..=12 * HOUR_MS),
        ("ping_min", clients.ping_min_ms, 100..=12 * HOUR_MS),
        ("ping_max", clients.ping_max_ms, 100..=12 * HOUR_MS),
        ("deflate_min", clients.deflate_min_bytes as u64, 0..=64 * mib),
        ("leeway", config.auth.jwt.leeway_s, 0..=3600),
        ("mean", lifetime.mean_ms, 100..=DURATION_MS_MAX),
        ("max", lifetime.max_ms, lifetime.mean_ms..=DURATION_MS_MAX),
        ("grace", lifetime.grace_ms, 0..=HOUR_MS),
        ("delay", config.drain.delay_ms, 0..=HOUR_MS),
        ("window", config.drain.window_ms, 0..=24 * HOUR_MS),
        ("rate", config.drain.rate, 1..=MANY),
        ("timeout", config.delivery.timeout_ms, 1..=HOUR_MS),
        ("handshake_timeout", limits.handshake_timeout_ms, 10..=HOUR_MS),
        ("handshakes_per_second", limits.handshakes_per_second, 0..=MANY),
        ("unauthenticated", limits.unauthenticated as u64, 1..=MANY),
        ("connections_per_user", limits.connections_per_user as u64, 0..=MANY),
        ("connections_per_address", limits.connections_per_address as u64, 0..=MANY),
        ("head_bytes", limits.head_bytes as u64, 256..=mib),
        ("message_bytes", limits.message_bytes as u64, 1..=64 * mib),
        ("inbound_rate", limits.inbound_rate.into(), 1..=65_000),
        ("push_bytes", limits.push_bytes as u64, 1..=64 * mib),
        ("outbox_bytes", limits.outbox_bytes as u64, 1..=1024 * mib),
        ("buffer_bytes", limits.buffer_bytes as u64, 64 << 10..=1024 * 1024 * mib),
        ("memory", limits.memory_percent.into(), 0..=100),
        ("mailbox", limits.mailbox as u64, 1..=1 << 24),
        ("dedup.window", config.dedup.window_ms, 1000..=24 * HOUR_MS),
        ("dedup.max", config.dedup.max as u64, 1..=MANY),
        ("lanes", config.lanes.len() as u64, 1..=8),
    ];
    for (name, value, range) in rows {
        assert!(range.contains(value), "{name} = {value} is not in {range:?}");
    }
    assert!(limits.connections == usize::MAX || (1..=MANY as usize).contains(&limits.connections));
    assert!(limits.push_rate.is_none_or(|rate| (1..=1_000_000).contains(&rate.count) && rate.window_ms >= 1));
    assert!(lifetime.distribution != Distribution::Uniform || lifetime.max_ms <= 2 * lifetime.mean_ms);
    for (_, lane) in config.lanes.iter() {
        assert!(lane.ttl_ms.is_none_or(|ttl_ms| (1..=DURATION_MS_MAX).contains(&ttl_ms)));
    }
}
