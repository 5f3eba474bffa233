//! What tells two clients' credentials apart, once nothing of a credential shall be kept.
//!
//! A keyed SHA-256 of what the credential is made of. The key is drawn as the process starts, so that what is in memory, or in
//! an image of it, can be compared with nothing that comes from elsewhere.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{
    fmt,
    fs::File,
    io::{self, Read},
};

/// A credential as it is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Credential([u8; 32]);

impl fmt::Debug for Credential {
    /// Enough to tell two apart in a failed test.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({:02x}…)", self.0[0])
    }
}

#[cfg(test)]
impl Credential {
    /// One like no other that a number gives.
    pub(super) fn of_test(number: u8) -> Self {
        Self([number; 32])
    }
}

/// Makes them.
pub struct Hasher(Hmac<Sha256>);

impl Hasher {
    /// By a key.
    pub fn new(key: &[u8; 32]) -> Self {
        // A block has room for it, the only reason to fail.
        Self(Hmac::new_from_slice(key).expect("a key of 32 bytes"))
    }

    /// By a key that nobody knows.
    ///
    /// # Errors
    /// When the host gives no random bytes.
    pub fn random() -> io::Result<Self> {
        let mut key = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        Ok(Self::new(&key))
    }

    /// Of the parts of a credential, in their order. No other parts give the same: each stands with its length.
    pub fn hash<'p>(&self, parts: impl IntoIterator<Item = &'p [u8]>) -> Credential {
        let mut state = self.0.clone();
        for part in parts {
            state.update(&(part.len() as u64).to_le_bytes());
            state.update(part);
        }
        Credential(state.finalize().into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_parts_alone_are_equal() {
        let hasher = Hasher::new(&[7; 32]);
        let hash = |parts: &[&str]| hasher.hash(parts.iter().map(|part| part.as_bytes()));
        assert!(hash(&["ab", "c"]) == hash(&["ab", "c"]));
        for other in [&["a", "bc"][..], &["abc"], &["c", "ab"], &["ab", "c", ""], &["", "ab", "c"], &[]] {
            assert!(hash(&["ab", "c"]) != hash(other), "{other:?}");
        }
        assert!(Hasher::new(&[8; 32]).hash([&b"a"[..]]) != hash(&["a"]));
        let (one, two) = (Hasher::random().unwrap(), Hasher::random().unwrap());
        assert!(one.hash([&b"a"[..]]) != two.hash([&b"a"[..]]));
    }
}
