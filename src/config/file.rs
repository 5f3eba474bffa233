//! The configuration file: TOML, read within bounds, with the line of everything in it.
//!
//! Owns how a file that is none, or no TOML, is complained of. Never repeats a value that it could not read: it may be a secret.

use super::{
    kind::Input,
    load::{ConfigError, Layers, Origin},
    raw,
    size::format_bytes,
    unknown, words,
};
use std::{fs::File, io::Read, path::Path};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The largest file that is read: many times the one with every key.
const BYTES_MAX: u64 = 1 << 20;
/// Places where a file is no TOML that are reported; beyond, one mistake has made many.
const MISTAKES_MAX: usize = 10;

/// Reads a file.
///
/// # Errors
/// When it cannot be read, is too large or is not UTF-8.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    let name = path.display();
    let refuse =
        |why: String| ConfigError::Source(format!("cannot read the configuration file {name}: {why}"));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(refuse(format!("it is larger than {}", format_bytes(BYTES_MAX))));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        ConfigError::Source(format!("{name}, line {line}: expected a text file in UTF-8"))
    })
}

/// Sets what the text of a file says; remembers what is wrong with it.
pub fn enter(layers: &mut Layers, path: &str, text: &str) {
    let (table, faults) = DeTable::parse_recoverable(text);
    // What was made of a text that is no TOML may be anything.
    for fault in faults.iter().take(MISTAKES_MAX) {
        layers.mistake(not_toml(path, text, fault));
    }
    if faults.is_empty() {
        let place = |at| Origin::File(path.into(), line(text, at));
        Reader { layers, place: &place }.table("", table.get_ref());
    }
}

fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

fn not_toml(path: &str, text: &str, fault: &toml::de::Error) -> ConfigError {
    let span = fault.span().unwrap_or_default();
    let before = text.get(..span.start).unwrap_or_default();
    let begin = before.rfind('\n').map_or(0, |end| end + 1);
    let column = 1 + before[begin..].chars().count();
    let typed = text[begin..].lines().next().unwrap_or_default();
    let key = typed.split_once('=').map(|(key, _)| key.trim()).filter(|key| is_key(key));
    let problem = match (fault.message(), text.get(span)) {
        ("duplicate key", Some(twice)) if is_key(twice) => {
            format!("{twice} is there already; expected each key and each section once")
        }
        (message, _) => match key {
            Some(key) => format!("{key}: {message}"),
            None => message.to_owned(),
        },
    };
    ConfigError::Source(format!("{path}, line {}, column {column}: {problem}", line(text, begin)))
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

struct Reader<'a> {
    layers: &'a mut Layers,
    place: &'a dyn Fn(usize) -> Origin,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let here = (self.place)(key.span().start);
            match value.get_ref() {
                // A table with the name of a key is that key's value, of the wrong type.
                DeValue::Table(inner) if raw::find(&name).is_none() => match is_section(&name) {
                    true => self.table(&format!("{name}."), inner),
                    false => self.layers.mistake(unknown::error(&name, &Input::Table(Vec::new()), here)),
                },
                other => {
                    self.items(&name, other);
                    self.layers.enter(&name, &input_of(value), here);
                }
            }
        }
    }

    /// Remembers the places of what is within a list.
    fn items(&mut self, name: &str, value: &DeValue<'_>) {
        for (at, item) in value.as_array().into_iter().flat_map(|all| all.iter()).enumerate() {
            let name = format!("{name}[{at}]");
            let inner = item.get_ref().as_table().into_iter().flatten();
            let mut places: Vec<_> = inner
                .map(|(key, _)| (format!("{name}.{}", key.get_ref()), (self.place)(key.span().start)))
                .collect();
            places.push((name, (self.place)(item.span().start)));
            self.layers.places.extend(places);
        }
    }
}

fn is_section(name: &str) -> bool {
    let lane = name.strip_prefix("lanes.").is_some_and(words::is_lane);
    lane || raw::SECTIONS.iter().any(|section| section.name == name)
}

fn input_of(value: &Spanned<DeValue<'_>>) -> Input {
    match value.get_ref() {
        DeValue::String(text) => Input::Text(text.clone().into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Input::Other(number.to_string()), Input::Integer),
        DeValue::Float(number) => Input::Other(number.to_string()),
        DeValue::Boolean(flag) => Input::Boolean(*flag),
        DeValue::Datetime(time) => Input::Other(time.to_string()),
        DeValue::Array(all) => Input::List(all.iter().map(input_of).collect()),
        DeValue::Table(table) => Input::Table(
            table.iter().map(|(key, value)| (key.get_ref().to_string(), input_of(value))).collect(),
        ),
    }
}
