//! Secrets: never printed, and read again when their file changes.

use super::size::format_bytes;
use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// The largest secret file that is read; anything longer is no secret.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A secret: never printed, compared in constant time by those who hold it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    source: Option<Box<Source>>,
}

#[derive(Clone, PartialEq, Eq)]
struct Source {
    path: PathBuf,
    /// The most that is read of it.
    bytes_max: u64,
}

impl Secret {
    /// Wraps a secret that was given as it is.
    pub fn new(secret: impl Into<String>) -> Self {
        Self { text: secret.into(), source: None }
    }

    /// Reads a secret from a file, without its trailing line ends.
    ///
    /// # Errors
    /// When the file cannot be read, is not UTF-8, is empty or is larger than 64 KiB.
    pub fn from_file(path: &Path) -> io::Result<Self> {
        Self::from_file_within(path, FILE_BYTES_MAX)
    }

    /// The same of a file that may be larger, or must be smaller.
    ///
    /// # Errors
    /// As [`Secret::from_file`], with so many bytes.
    pub fn from_file_within(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let source = Source { path: path.to_owned(), bytes_max };
        Ok(Self { text: read(&source)?, source: Some(Box::new(source)) })
    }

    /// The secret itself, for the one place that must have it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The file that it came from, if it came from one.
    pub fn source(&self) -> Option<&Path> {
        self.source.as_ref().map(|source| source.path.as_path())
    }

    /// Reads the file again; true when the secret is another one now. On an error the old secret stays.
    ///
    /// # Errors
    /// As [`Secret::from_file`]. A secret without a file never fails and never changes.
    pub fn reload(&mut self) -> io::Result<bool> {
        let Some(source) = &self.source else { return Ok(false) };
        let text = read(source)?;
        let changed = text != self.text;
        self.text = text;
        Ok(changed)
    }
}

fn read(source: &Source) -> io::Result<String> {
    use io::Read;
    let Source { path, bytes_max } = source;
    let mut text = String::new();
    std::fs::File::open(path)?.take(*bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > *bytes_max {
        return Err(io::Error::other(format!("it is larger than {}", format_bytes(*bytes_max))));
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    if text.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(text)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"***\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_trimmed_read_again_and_never_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one\r\n\n").unwrap();
        let mut secret = Secret::from_file(&path).unwrap();
        assert_eq!((secret.reveal(), secret.source()), ("one", Some(path.as_path())));
        assert!(!secret.reload().unwrap());
        std::fs::write(&path, " two\n").unwrap();
        assert!(secret.reload().unwrap());
        assert_eq!(secret.reveal(), " two");
        std::fs::write(&path, "\n").unwrap();
        assert!(secret.reload().is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(secret.reload().is_err());
        assert_eq!(secret.reveal(), " two");
        assert_eq!(format!("{secret:?}"), "\"***\"");
    }

    #[test]
    fn a_large_file_is_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "x".repeat(70_000)).unwrap();
        assert!(Secret::from_file(&path).is_err());
        assert!(!Secret::new("given").reload().unwrap());
    }
}
