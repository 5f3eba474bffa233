//! Reads every source and lays the higher over the lower: flags, environment, file, default.
//!
//! Owns where a value came from and how an error says so. The environment is an argument: nothing here asks the process. A
//! mistake does not hide another: all that can be told apart are reported together.

use super::{
    Config, check, file,
    kind::{Input, Rejected},
    raw::{self, Found, Raw},
    unknown,
};
use std::{collections::BTreeMap, fmt, path::PathBuf};

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
    /// More than one of them, a line each.
    #[error("{}", .0.iter().map(Self::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<Self>),
}

impl ConfigError {
    fn origin(&self) -> Origin {
        match self {
            Self::Value { origin, .. } => origin.clone(),
            _ => Origin::Default,
        }
    }

    /// The mistakes one by one, each fit for a line.
    pub fn each(&self) -> &[Self] {
        match self {
            Self::Several(all) => all,
            one => std::slice::from_ref(one),
        }
    }

    /// All of them as one error, in the order of their places.
    pub(super) fn together(mut mistakes: Vec<Self>) -> Self {
        mistakes.sort_by_key(Self::origin);
        match mistakes.pop() {
            Some(only) if mistakes.is_empty() => only,
            last => Self::Several(mistakes.into_iter().chain(last).collect()),
        }
    }
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
    /// Places in the file of what is within a value: of `key[2]` and `key[2].name`.
    pub(super) places: BTreeMap<String, Origin>,
    /// What was odd on the way.
    pub warnings: Vec<Warning>,
    mistakes: Vec<ConfigError>,
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
        match file::read(path) {
            Ok(text) => file::enter(&mut layers, &name, &text),
            Err(fault) => layers.mistake(fault),
        }
    }
    layers.enter_environment(&sources.env);
    for set in &sources.sets {
        match set.split_once('=') {
            Some((name, value)) => {
                let origin = Origin::Flag("--set".into());
                layers.enter(name.trim(), &Input::Bare(value.trim().into()), origin);
            }
            None => layers.mistake(ConfigError::Source(without_key(set))),
        }
    }
    for (flag, name, value) in sources.flags.values() {
        layers.enter(name, &Input::Bare(value), Origin::Flag(flag.into()));
    }
    let mistakes = std::mem::take(&mut layers.mistakes);
    if mistakes.is_empty() { Ok(layers) } else { Err(ConfigError::together(mistakes)) }
}

/// What follows the name may be a secret.
fn without_key(set: &str) -> String {
    let named = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name = set.split(|c| !named(c)).next().unwrap_or_default();
    let rest = if name.len() < set.len() { "…" } else { "" };
    format!("--set {name}{rest}: expected section.key=value")
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
    /// Where a key's value was set, or what is within it, such as `internal.tokens[1].token_file`.
    pub fn origin(&self, name: &str) -> Origin {
        let key = name.split('[').next().unwrap_or(name);
        let origin = self.origins.get(key).cloned().unwrap_or_default();
        self.within(name, origin)
    }

    /// The place of what is within a value of the file: where it is not known, of what holds it.
    fn within(&self, name: &str, origin: Origin) -> Origin {
        if !matches!(origin, Origin::File(..)) {
            return origin;
        }
        let item = name.split_inclusive(']').next().unwrap_or(name);
        self.places.get(name).or_else(|| self.places.get(item)).cloned().unwrap_or(origin)
    }

    /// Sets a value, or remembers why it is refused.
    pub(super) fn enter(&mut self, name: &str, input: &Input, origin: Origin) {
        let Some(found) = raw::find(name) else {
            return self.mistake(unknown::error(name, input, origin));
        };
        match found.set(&mut self.raw, input) {
            Ok(()) => {
                self.origins.insert(name.into(), origin);
            }
            Err(rejected) => {
                let origin = self.within(&format!("{name}{}", rejected.within), origin);
                self.mistake(refused(name, &found, input, rejected, origin));
            }
        }
    }

    pub(super) fn mistake(&mut self, mistake: ConfigError) {
        self.mistakes.push(mistake);
    }

    fn enter_environment(&mut self, env: &[(String, String)]) {
        for (variable, value) in env.iter().filter(|(name, _)| name.starts_with("HOLDFAST_")) {
            match raw::name_of_variable(variable) {
                Some(name) => {
                    self.enter(&name, &Input::Bare(value.clone()), Origin::Variable(variable.clone()));
                }
                None => self.warnings.push(Warning(unknown::variable(variable))),
            }
        }
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
