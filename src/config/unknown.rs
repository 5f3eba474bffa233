//! Names that are no key: what an error or a warning says of them, and what may have been meant.

use super::{
    kind::Input,
    load::{ConfigError, Origin},
    raw,
};

/// A name with at most so many letters wrong, of four, is taken for a misspelling.
const WRONG_OF_FOUR: usize = 1;

/// The error of an unknown key.
pub fn error(name: &str, input: &Input, origin: Origin) -> ConfigError {
    if raw::SECTIONS.iter().any(|section| section.name == name) {
        let problem = format!("expected a section with keys of its own, [{name}]");
        return ConfigError::Value { key: name.into(), value: "…".into(), problem, origin };
    }
    let meant = meant(name, names()).or_else(|| elsewhere(name));
    // A misspelt key may be that of a secret.
    let secret = ["tok", "sec", "pass", "key"].iter().any(|word| name.contains(word));
    let secret = secret || meant.and_then(raw::find).is_some_and(|found| found.is_secret());
    let value = if secret { "***".into() } else { input.shown() };
    let hint = meant.map_or_else(String::new, |meant| format!(" (did you mean {meant}?)"));
    ConfigError::Value {
        key: name.into(),
        value,
        problem: format!("unknown key{hint}; expected {}", near(name)),
        origin,
    }
}

/// The warning of an unknown variable of the environment.
pub fn variable(variable: &str) -> String {
    let known: Vec<String> = raw::keys().map(|key| raw::variable(key.name)).collect();
    let meant = meant(variable, known.iter().map(String::as_str));
    let hint = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    format!("the environment variable {variable} is no setting of Holdfast and is ignored{hint}")
}

fn names() -> impl Iterator<Item = &'static str> {
    raw::SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| key.name).chain([section.name]))
}

/// The only key of another section that is called so.
fn elsewhere(name: &str) -> Option<&'static str> {
    let own = name.rsplit('.').next()?;
    let mut named = raw::keys().map(|key| key.name).filter(|key| key.rsplit('.').next() == Some(own));
    named.next().filter(|_| named.next().is_none())
}

fn meant<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer ones are no misspelling, and take long to compare.
    let near = known.filter(|known| known.len().abs_diff(name.len()) <= known.len() / 4);
    let near = near.map(|known| (strsim::damerau_levenshtein(name, known), known));
    let (wrong, known) = near.min_by_key(|(wrong, _)| *wrong)?;
    // The names of one section begin alike, which says nothing.
    let own = known.rsplit('.').next().unwrap_or(known).len();
    (wrong * 4 <= own.max(4) * WRONG_OF_FOUR).then_some(known)
}

/// The keys of the section that a name seems to mean, else the sections.
fn near(name: &str) -> String {
    let section = raw::SECTIONS.iter().filter(|section| {
        name.strip_prefix(section.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    match section.max_by_key(|section| section.name.len()) {
        Some(section) => {
            let mut all: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
            if section.name == "lanes" {
                all.extend(["lanes.NAME.policy", "lanes.NAME.ttl", "lanes.NAME.topics"]);
            }
            let inner =
                raw::SECTIONS.iter().filter(|other| other.name.starts_with(&format!("{}.", section.name)));
            all.extend(inner.map(|other| other.name));
            format!("one of {}", all.join(", "))
        }
        None => {
            let all: Vec<&str> = raw::SECTIONS.iter().map(|section| section.name).collect();
            format!("a key of one of the sections {}", all.join(", "))
        }
    }
}
