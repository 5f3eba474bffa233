//! Names that come from outside: users, devices, message ids, collapse keys.
//!
//! Owns the one rule of what such a name may be. Everything past the edge holds an [`Identifier`] and need not ask again.

use std::fmt;

/// The longest name, in bytes. A record of the registry and a header line of any sender hold it.
pub const IDENTIFIER_BYTES_MAX: usize = 256;

/// A checked name: 1 to 256 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identifier(Box<str>);

impl Identifier {
    /// Checks and copies a name.
    ///
    /// # Errors
    /// When it is empty, longer than 256 bytes or holds a control character.
    pub fn new(name: &str) -> Result<Self, BadIdentifier> {
        check(name)?;
        Ok(Self(name.into()))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks a name without copying it.
///
/// # Errors
/// When it is empty, longer than 256 bytes or holds a control character.
pub fn check(name: &str) -> Result<(), BadIdentifier> {
    if name.is_empty() {
        return Err(BadIdentifier::Empty);
    }
    if name.len() > IDENTIFIER_BYTES_MAX {
        return Err(BadIdentifier::TooLong);
    }
    // ASCII controls and DEL are single bytes; C1 controls (U+0080..U+009F) are the two bytes C2 80..9F.
    let bytes = name.as_bytes();
    let control = bytes.iter().any(|&b| b < 0x20 || b == 0x7F)
        || bytes.windows(2).any(|pair| pair[0] == 0xC2 && (0x80..=0x9F).contains(&pair[1]));
    if control { Err(BadIdentifier::Control) } else { Ok(()) }
}

/// Why a name was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadIdentifier {
    /// It has no bytes.
    #[error("must not be empty")]
    Empty,
    /// It is longer than [`IDENTIFIER_BYTES_MAX`].
    #[error("must be at most 256 bytes long")]
    TooLong,
    /// It holds a control character.
    #[error("must not hold control characters")]
    Control,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_rule_is_one_to_256_bytes_without_controls() {
        assert_eq!(check(""), Err(BadIdentifier::Empty));
        assert_eq!(check("a"), Ok(()));
        assert_eq!(check(&"a".repeat(256)), Ok(()));
        assert_eq!(check(&"é".repeat(128)), Ok(()));
        assert_eq!(check(&"a".repeat(257)), Err(BadIdentifier::TooLong));
        for bad in ["a\n", "\0", "\x7f", "a\u{85}b", "\r\nX: 1"] {
            assert_eq!(check(bad), Err(BadIdentifier::Control), "{bad:?}");
        }
        assert_eq!(check("ünïcode / and spaces ok"), Ok(()));
    }

    proptest! {
        #[test]
        fn agrees_with_char_is_control(name in "\\PC{0,40}|[\u{0}-\u{ff}]{1,40}") {
            let twin = !name.is_empty() && name.len() <= IDENTIFIER_BYTES_MAX && !name.chars().any(char::is_control);
            prop_assert_eq!(check(&name).is_ok(), twin);
        }
    }
}
