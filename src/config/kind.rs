//! What kinds of values there are: how each is read, written and described.
//!
//! Owns the words "expected …" of every error. Knows no key.

use super::{PushRate, Secret, duration, redis_url, size};
use ipnet::IpNet;
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

/// The longest duration, 30 days: timers and jitter arithmetic stay far from overflow.
pub const DURATION_MS_MAX: u64 = 30 * 86_400_000;

/// A value as it was typed.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// From a flag, `--set` or the environment: text without a type; lists are comma separated.
    Bare(String),
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML boolean.
    Boolean(bool),
    /// A TOML array.
    List(Vec<Input>),
    /// A TOML table.
    Table(Vec<(String, Input)>),
    /// Any other TOML value, as written.
    Other(String),
}

impl Input {
    fn text(&self) -> Option<&str> {
        match self {
            Input::Bare(text) | Input::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As an error shows it.
    pub fn shown(&self) -> String {
        match self {
            Input::Bare(text) | Input::Text(text) => quoted(text),
            Input::Integer(number) => number.to_string(),
            Input::Boolean(flag) => flag.to_string(),
            Input::List(all) => format!("[{}]", all.iter().map(Input::shown).collect::<Vec<_>>().join(", ")),
            Input::Table(_) => "{…}".into(),
            Input::Other(text) => text.clone(),
        }
    }
}

/// Writes a TOML string, in one line.
pub fn quoted(text: &str) -> String {
    match text.contains(['\n', '\r']) {
        false => toml::Value::from(text).to_string(),
        true => format!("\"{}\"", text.chars().map(escaped).collect::<String>()),
    }
}

fn escaped(c: char) -> String {
    match c {
        '"' | '\\' => format!("\\{c}"),
        '\n' => "\\n".into(),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.into(),
    }
}

/// Why a value was refused: by default because it is not what [`Kind::allowed`] says.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rejected {
    /// The part of the key within the value, such as `[2].role`.
    pub within: String,
    /// The part of the value, where it is not the whole.
    pub value: Option<String>,
    /// What is allowed, where the kind's own words are too wide.
    pub problem: Option<String>,
}

/// How values of one kind are read and written.
pub trait Kind {
    /// What it becomes.
    type Value;

    /// Reads one.
    ///
    /// # Errors
    /// When it is not what [`Kind::allowed`] says.
    fn parse(&self, input: &Input) -> Result<Self::Value, Rejected>;

    /// Writes one as TOML, which `parse` reads back; a secret becomes `"***"`.
    fn show(&self, value: &Self::Value) -> String;

    /// What is allowed, to follow the word "expected".
    fn allowed(&self) -> String;

    /// Whether errors must not show the value.
    fn is_secret(&self) -> bool {
        false
    }
}

/// A whole number of something, from min to max.
pub struct Count(pub &'static str, pub u64, pub u64);

impl Kind for Count {
    type Value = u64;

    fn parse(&self, input: &Input) -> Result<u64, Rejected> {
        let number = match input {
            Input::Bare(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            Input::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        number.filter(|number| (self.1..=self.2).contains(number)).ok_or_else(Rejected::default)
    }

    fn show(&self, value: &u64) -> String {
        value.to_string()
    }

    fn allowed(&self) -> String {
        let Count(of, min, max) = self;
        match (*min, *max) {
            (0, u64::MAX) => format!("a whole number of {of}"),
            (min, u64::MAX) => format!("a whole number of {of}, at least {min}"),
            (min, max) => format!("a whole number of {of} from {min} to {max}"),
        }
    }
}

/// A duration, ms, from min to max.
pub struct Duration(pub u64, pub u64);

impl Kind for Duration {
    type Value = u64;

    fn parse(&self, input: &Input) -> Result<u64, Rejected> {
        let ms = input.text().and_then(duration::parse_ms);
        ms.filter(|ms| (self.0..=self.1).contains(ms)).ok_or_else(Rejected::default)
    }

    fn show(&self, value: &u64) -> String {
        quoted(&duration::format_ms(*value))
    }

    fn allowed(&self) -> String {
        let (min, max) = (duration::format_ms(self.0), duration::format_ms(self.1));
        format!("a duration with its unit, like \"250ms\", \"30s\", \"10m\" or \"1h\", from {min} to {max}")
    }
}

/// A size in bytes, from min to max.
pub struct Size(pub u64, pub u64);

impl Kind for Size {
    type Value = u64;

    fn parse(&self, input: &Input) -> Result<u64, Rejected> {
        let bytes = match input {
            Input::Integer(number) => u64::try_from(*number).ok(),
            _ => input.text().and_then(size::parse_bytes),
        };
        bytes.filter(|bytes| (self.0..=self.1).contains(bytes)).ok_or_else(Rejected::default)
    }

    fn show(&self, value: &u64) -> String {
        quoted(&size::format_bytes(*value))
    }

    fn allowed(&self) -> String {
        let (min, max) = (size::format_bytes(self.0), size::format_bytes(self.1));
        format!("a size like \"512B\", \"64KiB\" or \"1MiB\", or a number of bytes, from {min} to {max}")
    }
}

/// A share, `1%` to `100%`.
pub struct Percent;

impl Kind for Percent {
    type Value = u8;

    fn parse(&self, input: &Input) -> Result<u8, Rejected> {
        let number = input.text().and_then(|text| text.strip_suffix('%'));
        let percent = number
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok());
        percent.filter(|percent| (1..=100).contains(percent)).ok_or_else(Rejected::default)
    }

    fn show(&self, value: &u8) -> String {
        format!("\"{value}%\"")
    }

    fn allowed(&self) -> String {
        "a share from \"1%\" to \"100%\"".into()
    }
}

/// A number of messages in a window, `3/2s`.
pub struct Rate;

impl Kind for Rate {
    type Value = PushRate;

    fn parse(&self, input: &Input) -> Result<PushRate, Rejected> {
        let (count, window) =
            input.text().and_then(|text| text.split_once('/')).ok_or_else(Rejected::default)?;
        let count = Count("messages", 1, 1_000_000).parse(&Input::Bare(count.trim().into()))?;
        let window_ms = Duration(1, 86_400_000).parse(&Input::Bare(window.trim().into()))?;
        Ok(PushRate { count: count as u32, window_ms })
    }

    fn show(&self, value: &PushRate) -> String {
        quoted(&format!("{}/{}", value.count, duration::format_ms(value.window_ms)))
    }

    fn allowed(&self) -> String {
        "a number of messages and a window, like \"3/2s\" (up to 1000000 messages, up to 1d)".into()
    }
}

/// Where the registry is: `memory`, or an address of Redis that may hold passwords.
pub struct RegistryAddress;

impl Kind for RegistryAddress {
    type Value = String;

    fn parse(&self, input: &Input) -> Result<String, Rejected> {
        let url = input.text().ok_or_else(Rejected::default)?;
        if url == "memory" {
            return Ok(url.to_owned());
        }
        let refuse = |problem: String| Rejected {
            value: Some(quoted(&redis_url::masked(url))),
            problem: Some(problem),
            ..Rejected::default()
        };
        match url.parse::<redis_url::Target>() {
            Ok(_) => Ok(url.to_owned()),
            Err(error) => Err(refuse(format!("{error}; expected {}", self.allowed()))),
        }
    }

    fn show(&self, value: &String) -> String {
        quoted(&redis_url::masked(value))
    }

    fn allowed(&self) -> String {
        "\"memory\", \"redis://HOST:PORT\", \"redis+sentinel://HOST:PORT,…/MASTER\" or \"redis+cluster://HOST:PORT,…\" \
         (rediss: with TLS)"
            .into()
    }
}

/// `true` or `false`.
pub struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn parse(&self, input: &Input) -> Result<bool, Rejected> {
        match input {
            Input::Boolean(flag) => Ok(*flag),
            Input::Bare(text) => text.parse().map_err(|_| Rejected::default()),
            _ => Err(Rejected::default()),
        }
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }

    fn allowed(&self) -> String {
        "true or false".into()
    }
}

/// One of some words.
pub struct Choice<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Kind for Choice<T> {
    type Value = T;

    fn parse(&self, input: &Input) -> Result<T, Rejected> {
        let found = self.0.iter().find(|(word, _)| input.text() == Some(word));
        found.map(|(_, value)| *value).ok_or_else(Rejected::default)
    }

    fn show(&self, value: &T) -> String {
        self.0.iter().find(|(_, one)| one == value).map(|(word, _)| quoted(word)).unwrap_or_default()
    }

    fn allowed(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|(word, _)| quoted(word)).collect();
        match words.split_last() {
            Some((last, first)) if !first.is_empty() => format!("{} or {last}", first.join(", ")),
            _ => words.concat(),
        }
    }
}

/// Text of a known form: a description of what is allowed, and the test for it.
pub struct Text(pub &'static str, pub fn(&str) -> bool);

impl Kind for Text {
    type Value = String;

    fn parse(&self, input: &Input) -> Result<String, Rejected> {
        input.text().filter(|text| (self.1)(text)).map(str::to_owned).ok_or_else(Rejected::default)
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }

    fn allowed(&self) -> String {
        self.0.into()
    }
}

/// A path of a file.
pub struct File;

impl Kind for File {
    type Value = PathBuf;

    fn parse(&self, input: &Input) -> Result<PathBuf, Rejected> {
        let path = input.text().filter(|text| !text.is_empty() && !text.contains('\0'));
        path.map(PathBuf::from).ok_or_else(Rejected::default)
    }

    fn show(&self, value: &PathBuf) -> String {
        quoted(&value.display().to_string())
    }

    fn allowed(&self) -> String {
        "the path of a file".into()
    }
}

/// An address with its port.
pub struct Address;

impl Kind for Address {
    type Value = SocketAddr;

    fn parse(&self, input: &Input) -> Result<SocketAddr, Rejected> {
        input.text().and_then(|text| text.trim().parse().ok()).ok_or_else(Rejected::default)
    }

    fn show(&self, value: &SocketAddr) -> String {
        quoted(&value.to_string())
    }

    fn allowed(&self) -> String {
        "ADDRESS:PORT, like \"127.0.0.1:7001\" or \"[::1]:7001\" (port 0: any free one)".into()
    }
}

/// A network or one address.
pub struct Network;

impl Kind for Network {
    type Value = IpNet;

    fn parse(&self, input: &Input) -> Result<IpNet, Rejected> {
        let text = input.text().map(str::trim).unwrap_or_default();
        let network = text.parse::<IpNet>().ok().or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)));
        network.map(|network| network.trunc()).ok_or_else(Rejected::default)
    }

    fn show(&self, value: &IpNet) -> String {
        quoted(&value.to_string())
    }

    fn allowed(&self) -> String {
        "a network like \"10.0.0.0/8\" or \"fd00::/8\", or one address".into()
    }
}

/// A secret, given as it is.
pub struct Hidden;

impl Kind for Hidden {
    type Value = Secret;

    fn parse(&self, input: &Input) -> Result<Secret, Rejected> {
        // The mask of `config show` is no secret: a configuration made from its output must not come up with it.
        let text = input.text().filter(|text| !text.is_empty() && *text != "***");
        text.map(Secret::new).ok_or_else(Rejected::default)
    }

    fn show(&self, _: &Secret) -> String {
        "\"***\"".into()
    }

    fn allowed(&self) -> String {
        "a secret text (not \"***\", which is how `config show` hides one)".into()
    }

    fn is_secret(&self) -> bool {
        true
    }
}

/// A word that stands for None, or else a value; for `off` a 0 will also do.
pub struct Or<K>(pub &'static str, pub K);

impl<K: Kind> Kind for Or<K> {
    type Value = Option<K::Value>;

    fn parse(&self, input: &Input) -> Result<Self::Value, Rejected> {
        let zero = matches!(input, Input::Integer(0)) || *input == Input::Bare("0".into());
        if input.text() == Some(self.0) || (self.0 == "off" && zero) {
            return Ok(None);
        }
        self.1.parse(input).map(Some)
    }

    fn show(&self, value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| quoted(self.0), |value| self.1.show(value))
    }

    fn allowed(&self) -> String {
        match self.0 {
            "" => format!("{} (or \"\" for none)", self.1.allowed()),
            word => format!("{} (or \"{word}\")", self.1.allowed()),
        }
    }

    fn is_secret(&self) -> bool {
        self.1.is_secret()
    }
}

/// A list of values, with at least and at most so many.
pub struct List<K>(pub K, pub usize, pub usize);

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;

    fn parse(&self, input: &Input) -> Result<Self::Value, Rejected> {
        let bare = |text: &str| Input::Bare(text.trim().to_owned());
        let all = match input {
            Input::Bare(text) if text.trim().is_empty() => Vec::new(),
            Input::Bare(text) => text.split(',').map(bare).collect(),
            Input::List(all) => all.clone(),
            _ => return Err(Rejected::default()),
        };
        if !(self.1..=self.2).contains(&all.len()) {
            return Err(Rejected::default());
        }
        let item = |(at, one): (usize, &Input)| {
            self.0.parse(one).map_err(|inner| Rejected {
                within: format!("[{at}]{}", inner.within),
                value: inner.value.or_else(|| (!self.0.is_secret()).then(|| one.shown())),
                problem: inner.problem.or_else(|| Some(format!("expected {}", self.0.allowed()))),
            })
        };
        all.iter().enumerate().map(item).collect()
    }

    fn show(&self, value: &Self::Value) -> String {
        format!("[{}]", value.iter().map(|one| self.0.show(one)).collect::<Vec<_>>().join(", "))
    }

    fn allowed(&self) -> String {
        let least = match self.1 {
            0 => String::new(),
            least => format!("at least {least}, "),
        };
        format!("a list ({least}at most {}), each {}", self.2, self.0.allowed())
    }

    fn is_secret(&self) -> bool {
        self.0.is_secret()
    }
}
