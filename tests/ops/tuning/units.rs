//! The systemd units: what systemd itself thinks of them, and what they must agree on with the rest.

use super::{find, read, repository, said};
use crate::node::say_loudly;
use std::{fs, path::Path, process::Command, time::Duration};

const UNITS: [&str; 4] =
    ["holdfast.service", "holdfast.socket", "holdfast@.service", "holdfast-steer@.service"];

/// The settings of a unit's section in order, without comments.
pub fn section(unit: &str, name: &str) -> Vec<(String, String)> {
    let text = read(&format!("tuning/{unit}"));
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            inside = line == format!("[{name}]");
        } else if inside {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{unit}: {line}"));
            found.push((key.to_owned(), value.to_owned()));
        }
    }
    assert!(!found.is_empty(), "{unit} has no [{name}]");
    found
}

fn value(unit: &str, name: &str, key: &str) -> String {
    let all = section(unit, name);
    all.into_iter().find(|(found, _)| found == key).unwrap_or_else(|| panic!("{unit}: no {key}")).1
}

/// systemd-analyze on copies of the units, whose program is one that this host has.
fn analyze(folder: &Path, arguments: &[&str]) -> Option<String> {
    let Some(program) = find("systemd-analyze") else {
        say_loudly(
            "NOT RUN: systemd-analyze is missing. The units of tuning/ have NOT been checked by systemd.",
        );
        return None;
    };
    for unit in UNITS {
        let text = read(&format!("tuning/{unit}"));
        let text = text
            .replace("/usr/bin/holdfast", "/bin/true")
            .replace("/usr/share/holdfast/tuning/steer", "/bin/true");
        fs::write(folder.join(unit), &text).unwrap();
        if unit.contains('@') {
            fs::write(folder.join(unit.replace('@', "@a")), &text).unwrap();
        }
    }
    let said = said(Command::new(program).current_dir(folder).args(arguments));
    assert_eq!(said.code, 0, "{arguments:?}: {}{}", said.out, said.err);
    Some(said.out + &said.err)
}

#[test]
fn systemd_understands_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let units =
        ["./holdfast.service", "./holdfast.socket", "./holdfast@a.service", "./holdfast-steer@a.service"];
    if let Some(said) = analyze(folder.path(), &[&["verify"], units.as_slice()].concat()) {
        assert_eq!(said, "");
    }
}

/// Exposure in tenths, by systemd's own table: 20 is "OK" at its better end.
#[test]
fn systemd_finds_little_that_a_node_may_do() {
    let folder = tempfile::tempdir().unwrap();
    for unit in ["./holdfast.service", "./holdfast@a.service"] {
        let arguments = ["security", "--offline=true", "--threshold=20", "--no-pager", unit];
        if let Some(said) = analyze(folder.path(), &arguments) {
            assert!(said.contains("Overall exposure level"), "{said}");
        }
    }
}

#[test]
fn the_two_services_differ_only_in_what_takes_turns() {
    let one = section("holdfast.service", "Service");
    let own = ["Sockets", "EnvironmentFile", "RuntimeDirectory"];
    let rest = |all: Vec<(String, String)>| -> Vec<(String, String)> {
        all.into_iter().filter(|(key, _)| !own.contains(&key.as_str())).collect()
    };
    assert_eq!(rest(one), rest(section("holdfast@.service", "Service")));
    assert_eq!(value("holdfast@.service", "Service", "Sockets"), "holdfast.socket");
    assert_eq!(section("holdfast.service", "Install"), section("holdfast@.service", "Install"));
}

fn seconds(words: &str) -> Duration {
    let at = words.find(|c: char| !c.is_ascii_digit()).unwrap_or(words.len());
    let unit = match &words[at..] {
        "s" | "" => 1,
        "min" | "m" => 60,
        unit => panic!("{unit} of {words}"),
    };
    Duration::from_secs(words[..at].parse::<u64>().unwrap() * unit)
}

/// The default of a key, as the program prints it.
fn default(file: &toml::Table, section: &str, key: &str) -> toml::Value {
    file[section].as_table().unwrap()[key].clone()
}

#[test]
fn a_drain_of_a_million_ends_before_systemd_kills_it() {
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast")).args(["config", "default"]).output().unwrap();
    let file: toml::Table = String::from_utf8(output.stdout).unwrap().parse().unwrap();
    let time = |section, key| seconds(default(&file, section, key).as_str().unwrap());
    let rate = default(&file, "drain", "rate").as_integer().unwrap() as u64;
    let drain = |connections: u64| {
        let window = time("drain", "window").max(Duration::from_secs(connections / rate));
        time("drain", "delay") + window + time("lifetime", "grace")
    };
    let stop = seconds(&value("holdfast.service", "Service", "TimeoutStopSec"));
    assert!(stop > drain(1_000_000), "{stop:?}, {:?}", drain(1_000_000));
    // What the page says of it.
    let page = read("tuning/README.md");
    for (connections, words) in [(150_000, "39 s"), (1_000_000, "209 s"), (1_400_000, "289 s")] {
        assert_eq!(format!("{} s", drain(connections).as_secs()), words);
        assert!(page.contains(&format!("= {words} |")), "{words}");
    }
    assert!(stop >= drain(1_400_000));
}

#[test]
fn descriptors_agree_everywhere() {
    let settings = read("sysctl.conf");
    let ceiling = settings.lines().find_map(|line| line.strip_prefix("fs.nr_open = ")).unwrap();
    assert_eq!(value("holdfast.service", "Service", "LimitNOFILE"), ceiling);
    let limits = read("tuning/limits.conf");
    for line in limits.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1..], ["hard", "nofile", ceiling], "{line}");
    }
    // The queue of a socket that systemd holds is a node's own.
    assert_eq!(value("holdfast.socket", "Socket", "Backlog"), "65535");
}

/// The node's own options are what the units start it with.
#[test]
fn the_units_start_the_program_as_it_wants() {
    let start = value("holdfast.service", "Service", "ExecStart");
    let words: Vec<&str> = start.split(' ').collect();
    assert_eq!(words[..2], ["/usr/bin/holdfast", "serve"]);
    let help = said(Command::new(env!("CARGO_BIN_EXE_holdfast")).args(["serve", "--help"])).well().join("\n");
    for option in words.iter().filter(|word| word.starts_with("--")) {
        assert!(help.contains(option), "{option}");
    }
    let steer = value("holdfast-steer@.service", "Service", "ExecStart");
    assert!(steer.contains("tuning/steer") && repository().join("tuning/steer").exists());
}
