//! Files below a root: read in bounds, with words for what cannot be.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Far more than any file that is read here.
const BYTES_MAX: u64 = 256 * 1024;
/// Letters of a file that is not understood that are shown.
const SHOWN_MAX: usize = 40;

/// What a file says, or why that is not known.
pub type Fact<T> = Result<T, Unread>;

/// A file that says nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unread {
    /// As the host names it.
    pub path: String,
    /// And the cause.
    pub why: Why,
}

/// Why a file says nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// There is none.
    Missing,
    /// The kernel refuses, in its words.
    Refused(String),
    /// It has something else in it, of which this is the beginning.
    Garbage(String),
}

impl Unread {
    pub(super) fn garbage(path: &str, text: &str) -> Self {
        let line = text.lines().next().unwrap_or_default();
        let letter = |letter: char| if letter.is_control() { ' ' } else { letter };
        let shown = line.chars().map(letter).take(SHOWN_MAX).collect::<String>();
        Self { path: path.to_owned(), why: Why::Garbage(shown.trim().to_owned()) }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.why {
            Why::Missing => write!(f, "{path} is not there"),
            Why::Refused(cause) => write!(f, "{path} cannot be read: {cause}"),
            Why::Garbage(text) if text.is_empty() => write!(f, "{path} does not say what it should"),
            Why::Garbage(text) => write!(f, "{path} says {text:?}, which is not understood"),
        }
    }
}

/// Files of a host.
pub(super) struct Files {
    root: PathBuf,
}

impl Files {
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// What a file says.
    pub fn text(&self, path: &str) -> Fact<String> {
        self.bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The same where it is no text.
    pub fn bytes(&self, path: &str) -> Fact<Vec<u8>> {
        let read = || {
            let mut bytes = Vec::new();
            File::open(self.at(path))?.take(BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|error| unread(path, &error))
    }

    /// The same, in one line with one space between words; never empty.
    pub fn line(&self, path: &str) -> Fact<String> {
        self.parse(path, |text| Some(text.split_whitespace().collect::<Vec<_>>().join(" ")))
    }

    /// What a file means.
    pub fn parse<T>(&self, path: &str, meaning: impl FnOnce(&str) -> Option<T>) -> Fact<T> {
        let text = self.text(path)?;
        meaning(&text).ok_or_else(|| Unread::garbage(path, &text))
    }

    /// How many entries a folder has.
    pub fn count(&self, path: &str) -> Fact<u64> {
        let entries = fs::read_dir(self.at(path)).map_err(|error| unread(path, &error))?;
        Ok(entries.count() as u64)
    }

    pub fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

fn unread(path: &str, error: &io::Error) -> Unread {
    let why = match error.kind() {
        io::ErrorKind::NotFound => Why::Missing,
        _ => Why::Refused(error.to_string()),
    };
    Unread { path: path.to_owned(), why }
}
