//! Reads every source and lays the higher over the lower: flags, environment, file, default.
//!
//! Owns where a value came from and how an error says so. The environment is an argument: nothing here asks the process.

use super::{
    Config, check,
    kind::{Input, Rejected},
    raw::{self, Found, Raw},
};
use std::{collections::BTreeMap, fmt, path::PathBuf};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Where to read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// The environment; only names that begin with `HOLDFAST_` are looked at.
    pub env: Vec<(String, String)>,
    /// `--set section.key=value`, in order; a later one wins.
    pub sets: Vec<String>,
    /// The flags that have names of their own; they win over `--set`.
    pub flags: Flags,
}

/// The flags that have names of their own, as typed. Empty: not given.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--clients`, each
    pub clients: Vec<String>,
    /// `--internal`
    pub internal: Option<String>,
    /// `--advertise`
    pub advertise: Option<String>,
    /// `--node-id`
    pub node_id: Option<String>,
    /// `--shards`
    pub shards: Option<String>,
    /// `--registry`
    pub registry: Option<String>,
    /// `--kafka`
    pub kafka: Option<String>,
    /// `--ready-file`
    pub ready_file: Option<String>,
    /// `--log-format`
    pub log_format: Option<String>,
    /// `--log-level`
    pub log_level: Option<String>,
    /// `--insecure`
    pub insecure: bool,
}

/// Something that the operator should know, but that stops nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning(pub String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a configuration was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key that does not exist, or a value that is not allowed.
    #[error("{key} = {value}: {problem}{origin}")]
    Value {
        /// The full name of the key.
        key: String,
        /// The value as typed; `***` for a secret.
        value: String,
        /// What is allowed.
        problem: String,
        /// Where it was set.
        origin: Origin,
    },
    /// A file that cannot be read or is not TOML, or a `--set` without a key.
    #[error("{0}")]
    Source(String),
}

/// Where a value was set; ordered from the lowest to the highest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Origin {
    /// Nowhere.
    #[default]
    Default,
    /// In the file, at a line.
    File(String, usize),
    /// In an environment variable.
    Variable(String),
    /// In a flag.
    Flag(String),
}

impl Origin {
    /// Its place in the precedence of sources.
    pub fn rank(&self) -> u8 {
        match self {
            Origin::Default => 0,
            Origin::File(..) => 1,
            Origin::Variable(_) => 2,
            Origin::Flag(_) => 3,
        }
    }
}

/// In parentheses, with a space before; nothing for the default.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => Ok(()),
            Origin::File(path, line) => write!(f, " ({path}, line {line})"),
            Origin::Variable(name) => write!(f, " ({name})"),
            Origin::Flag(name) => write!(f, " ({name})"),
        }
    }
}

/// Every key's value as typed, and where each that is not the default was set.
#[derive(Clone, Default)]
pub struct Layers {
    /// The values.
    pub raw: Raw,
    /// By the full name of a key.
    pub origins: BTreeMap<String, Origin>,
    /// What was odd on the way.
    pub warnings: Vec<Warning>,
}

/// Reads and checks the configuration.
///
/// # Errors
/// When a source cannot be read, a key of the file or of `--set` is unknown, or a value is not allowed.
pub fn load(sources: &Sources) -> Result<(Config, Vec<Warning>), ConfigError> {
    check::check(read(sources)?, sources)
}

/// Reads all sources, lowest first, without checking values against each other.
///
/// # Errors
/// As [`load`], but for the checks between keys.
pub fn read(sources: &Sources) -> Result<Layers, ConfigError> {
    let mut layers = Layers::default();
    if let Some(path) = &sources.file {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError::Source(format!("cannot read the configuration file {name}: {error}"))
        })?;
        layers.read_file(&name, &text)?;
    }
    layers.read_environment(&sources.env)?;
    for set in &sources.sets {
        let Some((name, value)) = set.split_once('=') else {
            return Err(ConfigError::Source(format!("--set {set}: expected section.key=value")));
        };
        layers.set(name.trim(), &Input::Bare(value.trim().into()), Origin::Flag("--set".into()))?;
    }
    for (flag, name, value) in sources.flags.values() {
        layers.set(name, &Input::Bare(value), Origin::Flag(flag.into()))?;
    }
    Ok(layers)
}

impl Flags {
    fn values(&self) -> Vec<(&'static str, &'static str, String)> {
        let clients = (!self.clients.is_empty()).then(|| self.clients.join(","));
        let insecure = self.insecure.then(|| "true".to_owned());
        let all = [
            ("--clients", "clients.listen", &clients),
            ("--internal", "internal.listen", &self.internal),
            ("--advertise", "node.advertise", &self.advertise),
            ("--node-id", "node.id", &self.node_id),
            ("--shards", "node.shards", &self.shards),
            ("--registry", "registry.url", &self.registry),
            ("--kafka", "kafka.brokers", &self.kafka),
            ("--ready-file", "node.ready_file", &self.ready_file),
            ("--log-format", "log.format", &self.log_format),
            ("--log-level", "log.level", &self.log_level),
            ("--insecure", "node.insecure", &insecure),
        ];
        all.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value.clone()?))).collect()
    }
}

impl Layers {
    /// Where a key's value was set.
    pub fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).cloned().unwrap_or_default()
    }

    fn set(&mut self, name: &str, input: &Input, origin: Origin) -> Result<(), ConfigError> {
        let Some(found) = raw::find(name) else { return Err(unknown(name, input, origin)) };
        match found.set(&mut self.raw, input) {
            Ok(()) => {
                self.origins.insert(name.into(), origin);
                Ok(())
            }
            Err(rejected) => Err(refused(name, &found, input, rejected, origin)),
        }
    }

    fn read_environment(&mut self, env: &[(String, String)]) -> Result<(), ConfigError> {
        for (variable, value) in env.iter().filter(|(name, _)| name.starts_with("HOLDFAST_")) {
            match raw::name_of_variable(variable) {
                Some(name) => {
                    self.set(&name, &Input::Bare(value.clone()), Origin::Variable(variable.clone()))?
                }
                None => self.warnings.push(Warning(format!(
                    "the environment variable {variable} is no setting of Holdfast and is ignored"
                ))),
            }
        }
        Ok(())
    }

    fn read_file(&mut self, path: &str, text: &str) -> Result<(), ConfigError> {
        let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(1, |span| line(span.start));
            ConfigError::Source(format!("{path}, line {at}: {}", error.message()))
        })?;
        self.read_table("", table.get_ref(), &|at| Origin::File(path.into(), line(at)))
    }

    fn read_table(
        &mut self,
        prefix: &str,
        table: &DeTable<'_>,
        origin: &dyn Fn(usize) -> Origin,
    ) -> Result<(), ConfigError> {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let origin_here = origin(key.span().start);
            match value.get_ref() {
                // A table with the name of a key is that key's value, of the wrong type.
                DeValue::Table(inner) if raw::find(&name).is_none() => {
                    if !is_section(&name) {
                        return Err(unknown(&name, &Input::Table(Vec::new()), origin_here));
                    }
                    self.read_table(&format!("{name}."), inner, origin)?;
                }
                _ => self.set(&name, &input_of(value), origin_here)?,
            }
        }
        Ok(())
    }
}

fn is_section(name: &str) -> bool {
    let lane = name.strip_prefix("lanes.").is_some_and(super::words::is_lane);
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

fn refused(name: &str, found: &Found<'_>, input: &Input, rejected: Rejected, origin: Origin) -> ConfigError {
    let hidden = || "***".to_owned();
    let shown = || if found.is_secret() { hidden() } else { input.shown() };
    ConfigError::Value {
        key: format!("{name}{}", rejected.within),
        value: rejected.value.unwrap_or_else(shown),
        problem: rejected.problem.unwrap_or_else(|| format!("expected {}", found.allowed())),
        origin,
    }
}

fn unknown(name: &str, input: &Input, origin: Origin) -> ConfigError {
    // A misspelt key may be that of a secret.
    let secret = ["tok", "sec", "pass", "key"].iter().any(|word| name.contains(word));
    let value = if secret { "***".into() } else { input.shown() };
    ConfigError::Value {
        key: name.into(),
        value,
        problem: format!("unknown key; expected {}", near(name)),
        origin,
    }
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
