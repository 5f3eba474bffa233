//! sysctl.conf and loadtest.conf: that they are complete, and that every page that names a value names theirs.

use super::{read, repository};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

#[derive(Debug)]
struct Setting {
    name: String,
    values: Vec<u64>,
    rule: String,
    why: String,
    without: String,
}

/// Reads a file of settings as strictly as its head describes it: groups apart by blank lines, the first without a setting.
fn parse(text: &str) -> Vec<Setting> {
    let mut groups = text.split("\n\n");
    let head = groups.next().unwrap();
    assert!(head.lines().all(|line| line.starts_with("# ")), "the head is comments: {head}");
    groups.map(one).collect()
}

fn one(group: &str) -> Setting {
    let (mut why, mut without, mut rule) = (String::new(), String::new(), "at least".to_owned());
    let mut lines = group.trim_end().lines();
    let last = lines.next_back().unwrap();
    let mut now = &mut String::new();
    for line in lines {
        let words = line.strip_prefix("# ").unwrap_or_else(|| panic!("not a comment: {line:?} in\n{group}"));
        if let Some(words) = words.strip_prefix("Why: ") {
            assert!(why.is_empty(), "two reasons: {group}");
            why = words.to_owned();
            now = &mut why;
        } else if let Some(words) = words.strip_prefix("Without: ") {
            assert!(without.is_empty(), "two of them: {group}");
            without = words.to_owned();
            now = &mut without;
        } else if let Some(words) = words.strip_prefix("Rule: ") {
            rule = words.to_owned();
        } else {
            now.push(' ');
            now.push_str(words);
        }
    }
    let (name, value) = last.split_once(" = ").unwrap_or_else(|| panic!("no setting: {last}"));
    let values = value.split(' ').map(|number| number.parse().unwrap()).collect();
    Setting { name: name.to_owned(), values, rule, why, without }
}

fn server() -> Vec<Setting> {
    parse(&read("sysctl.conf"))
}

fn clients() -> Vec<Setting> {
    parse(&read("tuning/loadtest.conf"))
}

#[test]
fn every_setting_says_why_and_what_breaks_without() {
    let all: Vec<Setting> = server().into_iter().chain(clients()).collect();
    let mut names = BTreeSet::new();
    for setting in &all {
        let name = &setting.name;
        assert!(names.insert(name.clone()), "{name} twice");
        assert!(name.starts_with("net.") || name.starts_with("fs.") || name.starts_with("vm."), "{name}");
        assert!(
            ["at least", "at most", "exact"].contains(&setting.rule.as_str()),
            "{name}: {}",
            setting.rule
        );
        for words in [&setting.why, &setting.without] {
            assert!(words.len() > 20 && words.ends_with(['.', ')']), "{name}: {words:?}");
        }
        assert!(setting.values.is_sorted(), "{name}: {:?}", setting.values);
        assert!([1, 2, 3].contains(&setting.values.len()), "{name}: {:?}", setting.values);
    }
    for wanted in
        ["fs.nr_open", "fs.file-max", "fs.epoll.max_user_watches", "net.core.somaxconn", "net.ipv4.tcp_mem"]
    {
        assert!(names.contains(wanted), "{wanted}");
    }
}

/// What a million connections need by the arithmetic that the reasons give.
#[test]
fn the_values_hold_a_million_connections() {
    let values: BTreeMap<String, Vec<u64>> =
        server().into_iter().map(|setting| (setting.name, setting.values)).collect();
    let first = |name: &str| values[name][0];
    let million = 1_000_000;
    assert!(
        first("fs.nr_open") >= million + 256
            && first("fs.file-max") >= 2 * first("fs.nr_open").min(2 * million)
    );
    assert!(first("fs.epoll.max_user_watches") >= 2 * million);
    assert!(values["net.ipv4.tcp_mem"][1] > million, "a page for each is below the pressure");
    assert_eq!(
        values["net.ipv4.tcp_mem"].iter().map(|pages| (pages * 4_096) >> 30).collect::<Vec<_>>(),
        [4, 8, 16]
    );
    assert!(first("net.netfilter.nf_conntrack_max") >= 2 * million);
    // 10 minutes are the longest that a client may ask for between pings.
    assert!(first("net.netfilter.nf_conntrack_tcp_timeout_established") >= 2 * 600);
    let source = read("src/shard/listen.rs");
    assert!(source.contains("const BACKLOG: i32 = 65_535;") && first("net.core.somaxconn") == 65_535);
}

/// Pages, units and manifests that could name a value.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["docs", "tuning", "deploy", "loadtest"].iter().map(|folder| repository().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
            let path = entry.path();
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if path.is_dir() && !path.ends_with("reports") && !path.ends_with("src") {
                folders.push(path);
            } else if ["md", "yaml", "yml", "service", "conf", "cfg", "toml"].contains(&ending) {
                found.push(path);
            }
        }
    }
    found.push(repository().join("README.md"));
    found
}

/// The numbers that a page gives a setting where it stands: `name = 1`, `name`=1, `name: "1"`; of a pod's, `value: "1"` follows.
fn given(page: &str, name: &str) -> Vec<Vec<u64>> {
    page.match_indices(name)
        .filter_map(|(at, _)| {
            let after = page[at + name.len()..].trim_start_matches(['`', '"', '\'']).trim_start_matches(' ');
            let pod = || after.trim_start_matches([',', ' ', '\n']).strip_prefix("value:");
            let value =
                after.strip_prefix(['=', ':']).or_else(pod)?.trim_start_matches([' ', '`', '"', '\'']);
            let numbers: String = value.chars().take_while(|c| c.is_ascii_digit() || *c == ' ').collect();
            let numbers: Vec<u64> =
                numbers.split_whitespace().map(|number| number.parse().unwrap()).collect();
            (!numbers.is_empty()).then_some(numbers)
        })
        .collect()
}

#[test]
fn pages_that_name_a_value_name_the_same() {
    assert_eq!(
        given("`a.b` = 65535, a.b=1 2 3, a.b: \"4\"; a.b is 5\n- name: a.b\n  value: \"6\"", "a.b"),
        [vec![65_535], vec![1, 2, 3], vec![4], vec![6]]
    );
    let all: Vec<Setting> = server().into_iter().chain(clients()).collect();
    let mut named = 0;
    for path in pages() {
        let page = fs::read_to_string(&path).unwrap();
        for setting in &all {
            for numbers in given(&page, &setting.name) {
                named += 1;
                assert_eq!(numbers, setting.values, "{} in {}", setting.name, path.display());
            }
        }
    }
    assert!(named > 3, "{named}: it finds those of loadtest.conf and of docs/operations.md at least");
}

/// The page on tuning says of each setting whether a container has its own.
#[test]
fn the_page_says_whose_each_setting_is() {
    let page = read("tuning/README.md");
    let table = page.split("## Containers").nth(1).unwrap();
    let (row, _) = table.split_once("(Linux ").unwrap();
    for setting in server() {
        let short = setting.name.strip_prefix("net.ipv4.").unwrap_or(&setting.name);
        assert!(row.contains(short), "{} is missing in tuning/README.md, Containers", setting.name);
    }
}

/// The script leaves what follows memory alone on small hosts, and the file's head says so.
#[test]
fn what_small_hosts_keep_is_said_where_the_values_are() {
    let common = read("tuning/common.sh");
    let line = common.lines().find(|line| line.starts_with("large_only=")).unwrap();
    let text = read("sysctl.conf");
    let (head, _) = text.split_once("\n\n").unwrap();
    let names: Vec<&str> = line["large_only=".len()..].trim_matches('"').split_whitespace().collect();
    assert!(!names.is_empty());
    for name in names {
        assert!(head.contains(name), "{name}");
        assert!(server().iter().any(|setting| setting.name == name), "{name}");
    }
}

#[test]
fn links_of_the_page_lead_somewhere() {
    let page = read("tuning/README.md");
    for (at, _) in page.match_indices("](") {
        let target = page[at + 2..].split(')').next().unwrap();
        if target.starts_with('#') || target == "balancers/" {
            continue;
        }
        assert!(repository().join("tuning").join(target).exists(), "{target}");
    }
    assert!(Path::new(repository()).join("tuning/common.sh").exists());
}
