//! How a connection is named: a [`Handle`] within the node, a [`ConnectionId`] within the fleet.

use crate::kit::slab::Key;
use std::{fmt, str::FromStr};

/// Which shard holds a connection and where. The key's generation makes a stale handle resolve to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Handle {
    /// Index of the shard within the node.
    pub shard: u16,
    /// Slot and generation within the shard.
    pub key: Key,
}

/// One run of one node: milliseconds since 1970 at its start, so that a later start is higher.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Incarnation(pub u64);

/// A connection's name, unique in the fleet: the node's incarnation salted with the node's id, and the handle.
///
/// It is derived, never stored: an idle connection pays nothing for it. As text it is also the name of a device that
/// gave none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionId {
    /// A number that no other running node has.
    pub node: u64,
    /// The connection within that node.
    pub handle: Handle,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Handle { shard, key } = self.handle;
        write!(f, "{:016x}-{:x}-{:x}-{:x}", self.node, shard, key.index, key.generation)
    }
}

impl FromStr for ConnectionId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-');
        let mut next = || parts.next().ok_or(());
        let node = next()?;
        if node.len() != 16 {
            return Err(());
        }
        let id = ConnectionId {
            node: u64::from_str_radix(node, 16).map_err(|_| ())?,
            handle: Handle {
                shard: u16::from_str_radix(next()?, 16).map_err(|_| ())?,
                key: Key {
                    index: u32::from_str_radix(next()?, 16).map_err(|_| ())?,
                    generation: u32::from_str_radix(next()?, 16).map_err(|_| ())?,
                },
            },
        };
        // Only the canonical spelling is a name: one connection, one text.
        if parts.next().is_none() && id.to_string() == text { Ok(id) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_reads_back(node: u64, shard: u16, index: u32, generation: u32) {
            let id = ConnectionId { node, handle: Handle { shard, key: Key { index, generation } } };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        for bad in [
            "",
            "-",
            "0-0-0-0",
            "0000000000000001-01-0-1",
            "0000000000000001-1-0-1-2",
            "000000000000000G-0-0-1",
        ] {
            assert_eq!(bad.parse::<ConnectionId>(), Err(()), "{bad}");
        }
    }
}
