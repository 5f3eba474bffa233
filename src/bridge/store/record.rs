//! The bytes of a record, and the two hashes that all nodes and releases must agree on.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | format, [`FORMAT`] at most |
//! | 1 | protocol: 0 WebSocket, 1 SSE |
//! | 2..10 | node's number |
//! | 10..18 | incarnation |
//! | 18..20 | shard |
//! | 20..24 | slot within the shard |
//! | 24..28 | generation of the slot |
//! | 28..36 | connected, ms since 1970 |
//! | 36..44 | expires, ms since 1970 |
//! | 44..52 | hash of the user |
//! | 52 | format 2: exclusive or of bytes 2..28 and 44..52 |
//!
//! A node reads the format that it would write and the one before, and of later ones what it knows. It writes the highest
//! that every live node reads, as their leases say: the rule is `bridge/format.rs`'s. Format 2 is for trying that: only
//! builds with the feature `next-format` read it as such and write it.
//!
//! Numbers are big-endian, so that bytes 2..28 are a connection's identity and the scripts compare bytes as numbers. A
//! later format only adds bytes behind these: who does not know them reads the rest. The scripts know the offsets.

use super::seam::{Place, Record};
use crate::{
    bridge::format::{self, FORMAT},
    kit::slab::Key,
    model::{Handle, Protocol},
};

/// Bytes of a record of format 1, which all begin with.
pub const RECORD_BYTES: usize = 52;
/// Bytes of a record of the longest format.
pub(super) const RECORD_BYTES_MAX: usize = RECORD_BYTES + 1;
/// Bytes of the identity within it.
pub(super) const PLACE_BYTES: usize = 26;

const PLACE_AT: usize = 2;
const CONNECTED_AT: usize = PLACE_AT + PLACE_BYTES;
const EXPIRES_AT: usize = CONNECTED_AT + 8;
const USER_AT: usize = EXPIRES_AT + 8;

const _: () = assert!(RECORD_BYTES_MAX <= 64 && USER_AT + 8 == RECORD_BYTES);

/// Why bytes are no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unreadable;

impl Place {
    /// As in a record.
    pub(super) fn bytes(&self) -> [u8; PLACE_BYTES] {
        let mut out = [0; PLACE_BYTES];
        out[..8].copy_from_slice(&self.node.to_be_bytes());
        out[8..16].copy_from_slice(&self.incarnation.to_be_bytes());
        out[16..18].copy_from_slice(&self.connection.shard.to_be_bytes());
        out[18..22].copy_from_slice(&self.connection.key.index.to_be_bytes());
        out[22..26].copy_from_slice(&self.connection.key.generation.to_be_bytes());
        out
    }
}

impl Record {
    /// The bytes that the registry holds, and how many of them: in a format between the lowest and the highest.
    pub(super) fn bytes(&self, format: u8) -> ([u8; RECORD_BYTES_MAX], usize) {
        let mut out = [0; RECORD_BYTES_MAX];
        out[0] = format;
        out[1] = match self.protocol {
            Some(Protocol::Websocket) => 0,
            Some(Protocol::Sse) => 1,
            None => u8::MAX,
        };
        out[PLACE_AT..CONNECTED_AT].copy_from_slice(&self.place.bytes());
        out[CONNECTED_AT..EXPIRES_AT].copy_from_slice(&self.connected_ms.to_be_bytes());
        out[EXPIRES_AT..USER_AT].copy_from_slice(&self.expires_ms.to_be_bytes());
        out[USER_AT..RECORD_BYTES].copy_from_slice(&self.user.to_be_bytes());
        if format < 2 {
            return (out, RECORD_BYTES);
        }
        out[RECORD_BYTES] = self.sum();
        (out, RECORD_BYTES_MAX)
    }

    /// Of what the scripts do not fill in.
    fn sum(&self) -> u8 {
        self.place.bytes().into_iter().chain(self.user.to_be_bytes()).fold(0, |sum, byte| sum ^ byte)
    }

    /// Reads a record as this build does.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        Self::read_as(bytes, FORMAT)
    }

    /// Reads a record as a build does whose highest format is `known`: of that format, the one before, or a later one.
    fn read_as(bytes: &[u8], known: u8) -> Result<Self, Unreadable> {
        let mut rest = bytes;
        let [format] = take(&mut rest)?;
        if format < format::oldest(known) {
            return Err(Unreadable);
        }
        let [protocol] = take(&mut rest)?;
        let place = Place {
            node: u64::from_be_bytes(take(&mut rest)?),
            incarnation: u64::from_be_bytes(take(&mut rest)?),
            connection: Handle {
                shard: u16::from_be_bytes(take(&mut rest)?),
                key: Key {
                    index: u32::from_be_bytes(take(&mut rest)?),
                    generation: u32::from_be_bytes(take(&mut rest)?),
                },
            },
        };
        let record = Self {
            place,
            protocol: match protocol {
                0 => Some(Protocol::Websocket),
                1 => Some(Protocol::Sse),
                _ => None,
            },
            connected_ms: u64::from_be_bytes(take(&mut rest)?),
            expires_ms: u64::from_be_bytes(take(&mut rest)?),
            user: u64::from_be_bytes(take(&mut rest)?),
        };
        if known.min(format) >= 2 && take(&mut rest)? != [record.sum()] {
            return Err(Unreadable);
        }
        Ok(record)
    }
}

/// Takes the first bytes off.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Unreadable> {
    let (first, behind) = rest.split_first_chunk::<N>().ok_or(Unreadable)?;
    *rest = behind;
    Ok(*first)
}

/// The hash by which a record names its user: FNV-1a with 64 bits over the name's bytes, its bits then mixed by the
/// finalizer of MurmurHash3. No key: it is the same on every node and in every release.
pub fn user_hash(user: &str) -> u64 {
    hash(user.as_bytes())
}

/// The number by which records name a node: the same hash, of its id.
pub fn node_number(node: &str) -> u64 {
    hash(node.as_bytes())
}

fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let mixed = (fnv ^ fnv >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ mixed >> 33
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn record()(node: u64, incarnation: u64, shard: u16, index: u32, generation: u32, sse: bool,
                    connected_ms: u64, expires_ms: u64, user: u64) -> Record {
            let connection = Handle { shard, key: Key { index, generation } };
            let protocol = Some(if sse { Protocol::Sse } else { Protocol::Websocket });
            Record { place: Place { node, incarnation, connection }, protocol, connected_ms, expires_ms, user }
        }
    }

    proptest! {
        #[test]
        fn a_record_reads_back_in_builds_of_either_format(record in record(), format in 1u8..=2, known in 1u8..=2) {
            let (bytes, length) = record.bytes(format);
            prop_assert_eq!(Record::read_as(&bytes[..length], known), Ok(record));
            prop_assert_eq!(&bytes[PLACE_AT..CONNECTED_AT], &record.place.bytes()[..]);
        }

        #[test]
        fn a_later_format_is_read_as_far_as_it_is_known(record in record(), format in 3u8.., known in 1u8..=2, more: Vec<u8>) {
            let (bytes, _) = record.bytes(2);
            let mut bytes = bytes.to_vec();
            bytes[0] = format;
            bytes.extend(more);
            prop_assert_eq!(Record::read_as(&bytes, known), Ok(record));
        }

        #[test]
        fn what_does_not_add_up_is_no_record_where_that_is_known(record in record(), at in PLACE_AT..CONNECTED_AT, by in 1u8..) {
            let (mut bytes, length) = record.bytes(2);
            bytes[at] ^= by;
            prop_assert!(Record::read_as(&bytes[..length], 1).is_ok());
            prop_assert_eq!(Record::read_as(&bytes[..length], 2), Err(Unreadable));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            prop_assert_eq!(Record::read_as(&bytes, 1).is_ok(), bytes.len() >= RECORD_BYTES && bytes[0] >= 1);
            prop_assert!(Record::read_as(&bytes, 3).is_err() || bytes[0] >= 2);
        }
    }

    #[test]
    fn an_unknown_protocol_is_no_reason_to_lose_a_record() {
        let connection = Handle { shard: 1, key: Key { index: 2, generation: 3 } };
        let place = Place { node: 4, incarnation: 5, connection };
        let record = Record { place, protocol: None, connected_ms: 6, expires_ms: 7, user: 8 };
        assert_eq!(Record::read(&record.bytes(FORMAT).0), Ok(record));
    }

    // Every node of a fleet computes these, whatever its release: they may never change.
    #[test]
    fn the_hashes_are_what_they_have_always_been() {
        assert_eq!(user_hash(""), 0xefd0_1f60_ba99_2926);
        assert_eq!(user_hash("ann"), 0x6ef4_c3ab_a814_f113);
        assert_eq!(node_number("é-1"), 0x7095_16bd_569b_0a1a);
    }
}
