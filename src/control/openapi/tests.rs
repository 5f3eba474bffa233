//! The description against the code that it describes.

use super::{super::routes, Document, SOURCE, page};
use crate::config::Config;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn document() -> Value {
    serde_json::from_str(SOURCE).unwrap()
}

#[test]
fn every_path_and_method_is_described_and_nothing_else() {
    let document = document();
    let mut endpoints = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        // A name in braces stands for any.
        let asked = path.replace(['{', '}'], "");
        let (endpoint, allow) = routes::described(&asked).unwrap_or_else(|| panic!("{path} is not there"));
        endpoints.insert(endpoint);
        let allowed: BTreeSet<&str> = allow.split(", ").collect();
        let mut described: BTreeSet<String> =
            item.as_object().unwrap().keys().map(|method| method.to_ascii_uppercase()).collect();
        // As the page says of all.
        if described.contains("GET") && path != "/push" && item["get"]["x-streams"].is_null() {
            described.insert("HEAD".into());
        }
        assert_eq!(described, allowed.into_iter().map(str::to_owned).collect(), "{path}");
    }
    let routes = include_str!("../routes.rs");
    let variants = routes.split_once("enum Endpoint<'a> {").unwrap().1.split_once("\n}").unwrap().0;
    let name = |line: &str| line.trim().split([' ', '(', ',']).next().unwrap_or_default().to_owned();
    let variants: BTreeSet<String> =
        variants.lines().map(name).filter(|name| name.starts_with(char::is_uppercase)).collect();
    assert_eq!(endpoints, variants, "the description's endpoints, and those of control/routes.rs");
}

/// Sources of the internal port that are not tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("tests") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// The words that the code refuses with.
fn words_of_the_code() -> BTreeSet<String> {
    const REFUSALS: [&str; 6] =
        ["Refusal::new(", "bad_request(", "overloaded(", "forbidden(", "bad_line(", "Refusal {"];
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control"), &mut files);
    let mut words = BTreeSet::new();
    for text in files.iter().map(|file| fs::read_to_string(file).unwrap()) {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for refusal in REFUSALS {
            for (at, _) in code.match_indices(refusal) {
                let until = code[at..].find(';').unwrap_or(code.len() - at);
                let word = code[at..at + until].split('"').nth(1).unwrap_or("");
                if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
                    words.insert(word.to_owned());
                }
            }
        }
    }
    words
}

#[test]
fn every_word_of_a_refusal_is_described_and_nothing_else() {
    let document = document();
    let described = document["components"]["schemas"]["ErrorCode"]["oneOf"].as_array().unwrap();
    let described: BTreeSet<String> =
        described.iter().map(|word| word["const"].as_str().unwrap().to_owned()).collect();
    // Of Zuul's endpoint, whose answers have no body.
    let bodiless = ["no_identity", "not_written"].map(str::to_owned);
    let words: BTreeSet<String> =
        words_of_the_code().into_iter().filter(|word| !bodiless.contains(word)).collect();
    assert_eq!(described, words);
    let used = |word: &str| SOURCE.matches(&format!("\"{word}\"")).count() > 1;
    // Those that any path or line may answer.
    let everywhere = ["not_found", "method_not_allowed", "bad_line"];
    let unused: Vec<_> =
        described.iter().filter(|word| !everywhere.contains(&word.as_str()) && !used(word)).collect();
    assert!(unused.is_empty(), "no answer says {unused:?}");
}

#[test]
fn every_reference_leads_somewhere_and_every_part_is_used() {
    fn walk(value: &Value, seen: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                seen.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| walk(value, seen));
            }
            Value::Array(values) => values.iter().for_each(|value| walk(value, seen)),
            _ => {}
        }
    }
    let document = document();
    let mut seen = BTreeSet::new();
    walk(&document, &mut seen);
    for reference in &seen {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference} is nowhere");
    }
    // The lines of a batch are named in words alone.
    let in_words = ["#/components/schemas/Message", "#/components/schemas/Answer"];
    for kind in ["schemas", "parameters", "responses", "headers"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(seen.contains(&reference) || in_words.contains(&&*reference), "{reference} is not used");
        }
    }
}

#[test]
fn every_operation_says_who_may_and_what_it_answers() {
    let document = document();
    let mut names = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned(), ()).is_none(), "{name} is there twice");
            assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{name}");
            let security = operation["security"].as_array().unwrap();
            let has_token = !security.is_empty();
            assert_eq!(has_token, operation["responses"]["401"].is_object(), "{method} {path}");
            for way in security.iter().flat_map(|way| way.as_object().unwrap().values()) {
                let roles: Vec<&str> = way.as_array().unwrap().iter().filter_map(Value::as_str).collect();
                let are_roles = roles.iter().all(|role| ["send", "read", "admin", "peer"].contains(role));
                assert!(are_roles && !roles.is_empty(), "{name}: {roles:?}");
            }
        }
    }
}

#[test]
fn a_node_describes_itself() {
    let mut config = Config::default();
    config.internal.identity_header = "X-Account".into();
    let document: Value = serde_json::from_slice(&Document::new(&config).body).unwrap();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["components"]["parameters"]["identity"]["name"], "X-Account");
    for place in [super::VERSION, super::LANES, super::IDENTITY, super::FORMATS] {
        assert_eq!(SOURCE.matches(place).count(), 1, "{place}");
    }
    assert_ne!(Document::new(&config).etag, Document::new(&Config::default()).etag);
}

#[test]
fn the_page_is_what_the_description_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md");
    let page = page::of(SOURCE);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, &page).unwrap();
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/api.md is out of date: UPDATE_DOCS=1 cargo test --lib control::openapi::");
}
