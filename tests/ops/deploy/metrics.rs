//! Every metric that deploy/ and docs/ name is one of the catalogue, with labels that it has and values that they can have.

use super::{repository, text_of};
use crate::node::Node;
use holdfast::stats::catalogue::{self, Kind, Metric};
use regex::Regex;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// Words that begin like a metric and are none.
const OTHERS: [&str; 3] = ["holdfast_loadtest", "holdfast_plots", "holdfast_session"];
/// What Prometheus and its operator add.
const TARGET_LABELS: [&str; 4] = ["job", "instance", "namespace", "pod"];
/// Where the exporter of `holdfast autoscale` names what it says.
const EXPORTER: &str = "src/ops/autoscale/";

/// The files below a folder, or the file itself, with their text.
pub fn files(path: &str, endings: &[&str]) -> Vec<(String, String)> {
    let at = repository(path);
    if at.is_dir() {
        let mut names: Vec<String> = fs::read_dir(at)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        return names.iter().flat_map(|name| files(&format!("{path}/{name}"), endings)).collect();
    }
    match endings.iter().any(|ending| path.ends_with(&format!(".{ending}"))) {
        true => vec![(path.to_owned(), text_of(path))],
        false => Vec::new(),
    }
}

/// Names with their labels: those of nodes, with a histogram's three, and those of the exporter.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let of = |metric: &Metric, more: &str| {
        metric.labels.iter().copied().chain([more]).map(str::to_owned).collect()
    };
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for metric in catalogue::ALL {
        known.insert(metric.name.to_owned(), of(metric, ""));
        if metric.kind == Kind::Histogram {
            known.insert(format!("{}_bucket", metric.name), of(metric, "le"));
            known.insert(format!("{}_sum", metric.name), of(metric, ""));
            known.insert(format!("{}_count", metric.name), of(metric, ""));
        }
    }
    let exported = Regex::new("holdfast_autoscale_[a-z_]*[a-z]").unwrap();
    for (_, text) in files(EXPORTER.trim_end_matches('/'), &["rs"]) {
        for name in exported.find_iter(&text) {
            known.entry(name.as_str().to_owned()).or_default();
        }
    }
    known
}

fn pages() -> Vec<(String, String)> {
    let mut pages = files("deploy", &["yaml", "json", "toml", "cfg"]);
    pages.extend(files("docs", &["md"]));
    pages
}

#[test]
fn metrics_that_are_named_exist_with_their_labels() {
    let known = known();
    let labels: BTreeSet<&str> = known.values().flatten().map(String::as_str).chain(TARGET_LABELS).collect();
    let name = Regex::new(r"holdfast_[a-z_]+(\{[^}]*\})?").unwrap();
    let matcher = Regex::new(r#"([a-z_]+)(?:=~|!~|!=|=|$)"#).unwrap();
    let grouping = Regex::new(r"(?:by|on|without) \(([a-z_, ]+)\)").unwrap();
    let mut faults = Vec::new();
    let mut seen = 0;
    for (path, text) in pages() {
        // A quoted quote within JSON.
        let text = text.replace("\\\"", "\"");
        for found in name.find_iter(&text) {
            let (word, braces) = found.as_str().split_once('{').unwrap_or((found.as_str(), ""));
            // A name that ends so is the beginning of several.
            let begins = word.ends_with('_') && known.keys().any(|known| known.starts_with(word));
            if begins || OTHERS.contains(&word) {
                continue;
            }
            seen += 1;
            let Some(has) = known.get(word) else {
                faults.push(format!("{path}: {word} is no metric"));
                continue;
            };
            for one in braces.trim_end_matches('}').split(',') {
                let Some(label) = matcher.captures(one.trim()).map(|found| found[1].to_owned()) else {
                    continue;
                };
                if !has.contains(&label) && !TARGET_LABELS.contains(&label.as_str()) {
                    faults.push(format!("{path}: {word} has no label {label}"));
                }
            }
        }
        for found in grouping.captures_iter(&text).filter(|_| !path.ends_with(".md")) {
            faults.extend(
                found[1]
                    .split(',')
                    .map(str::trim)
                    .filter(|label| !labels.contains(label))
                    .map(|label| format!("{path}: no metric has a label {label}")),
            );
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(seen > 200, "{seen} names seen");
}

/// A reason or an outcome that is spelt wrong never fires; so each is one that a node shows.
#[test]
fn label_values_that_are_named_exist() {
    let node = Node::start(&[]);
    let scrape = node.ask("GET", "/metrics", b"").text();
    let series = Regex::new(r"(?m)^(holdfast_[a-z_]+)\{([^}]*)\}").unwrap();
    let pair = Regex::new(r#"([a-z_]+)(=~|!~|!=|=)"([^"]*)""#).unwrap();
    let mut shown: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for found in series.captures_iter(&scrape) {
        for one in pair.captures_iter(&found[2]) {
            shown.entry((found[1].to_owned(), one[1].to_owned())).or_default().insert(one[3].to_owned());
        }
    }
    let selector = Regex::new(r"(holdfast_[a-z_]+)\{([^}]*)\}").unwrap();
    let mut seen = 0;
    for (path, text) in pages().into_iter().filter(|(path, _)| !path.ends_with(".test.yaml")) {
        let text = text.replace("\\\"", "\"").replace("\\|", "|");
        for found in selector.captures_iter(&text) {
            for one in pair.captures_iter(&found[2]) {
                if let Some(has) = shown.get(&(found[1].to_owned(), one[1].to_owned())) {
                    for value in
                        one[3].split('|').filter(|value| !value.is_empty() && !value.starts_with('$'))
                    {
                        seen += 1;
                        assert!(has.contains(value), "{path}: {}: {value} is none of {has:?}", &found[0]);
                    }
                }
            }
        }
    }
    assert!(seen > 20, "{seen} values seen");
}

/// A panel that shows nothing, or whose place another has, is a slip.
#[test]
fn panels_have_places_and_questions() {
    let board: serde_json::Value = serde_json::from_str(&text_of("deploy/grafana/holdfast.json")).unwrap();
    let mut places = BTreeSet::new();
    for panel in board["panels"].as_array().unwrap() {
        let at = &panel["gridPos"];
        let number = |key: &str| at[key].as_u64().unwrap();
        assert!(number("x") + number("w") <= 24, "{}", panel["title"]);
        for y in number("y")..number("y") + number("h") {
            for x in number("x")..number("x") + number("w") {
                assert!(places.insert((x, y)), "{} lies on another", panel["title"]);
            }
        }
        if panel["type"] != "row" {
            assert!(panel["targets"].as_array().is_some_and(|all| !all.is_empty()), "{}", panel["title"]);
        }
    }
}
