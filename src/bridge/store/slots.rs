//! Slots of a Redis Cluster: which one a key is in, who owns it, and where a redirect points.
//!
//! Owns the arithmetic and the reading of answers. No I/O. Source: the Redis Cluster specification, "Key distribution
//! model" and "Redirection and resharding".

use super::{Address, seam::Slots};
use redis::Value;

/// Slots of a cluster.
pub const SLOTS: u16 = 16_384;

/// What every key of a user begins with.
pub(super) const USER_PREFIX: &str = "holdfast:u:";
/// The key of all leases, and that of their ends. The braces put them into one slot.
pub(super) const LEASES_KEY: &str = "holdfast:{nodes}";
/// See [`LEASES_KEY`].
pub(super) const LEASES_DUE_KEY: &str = "holdfast:{nodes}:due";

/// What every mark of a master begins with.
const MARK_PREFIX: &str = "holdfast:mark:";

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// CRC-16/XMODEM, continued.
fn crc16(crc: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(crc, |crc, &byte| crc << 8 ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

/// The slot of a key: that of the part in its first braces, if there is any.
fn slot_of(key: &[&[u8]; 2]) -> u16 {
    let [prefix, name] = key;
    // The prefix of users has no brace, that of leases is the whole key.
    let tag = name.iter().position(|&byte| byte == b'{').and_then(|open| {
        let behind = &name[open + 1..];
        let length = behind.iter().position(|&byte| byte == b'}')?;
        (length > 0).then(|| &behind[..length])
    });
    let crc = match tag {
        Some(tag) => crc16(0, tag),
        None => crc16(crc16(0, prefix), name),
    };
    crc % SLOTS
}

/// The slot that a user's key is in.
pub fn slot_of_user(user: &str) -> u16 {
    slot_of(&[USER_PREFIX.as_bytes(), user.as_bytes()])
}

/// The slot that the leases are in.
pub(super) fn slot_of_leases() -> u16 {
    slot_of(&[b"", LEASES_KEY.as_bytes()])
}

/// The key of a mark in this slot: the first number in braces that is in it. All nodes find the same.
pub(super) fn mark_key(slot: u16) -> String {
    // The digits of the numbers to a million reach all slots, most of them below a hundred thousand.
    let number = (0..1_000_000u32).find(|number| crc16(0, number.to_string().as_bytes()) % SLOTS == slot);
    format!("{MARK_PREFIX}{{{}}}", number.unwrap_or_default())
}

/// Reads the answer to `CLUSTER SLOTS`. A master that does not know its own name is `asked`. None: no such answer.
pub(super) fn read_map(
    answer: &Value,
    asked: &Address,
) -> Option<Vec<(std::ops::RangeInclusive<u16>, Address)>> {
    let Value::Array(ranges) = answer else { return None };
    let mut map = Vec::with_capacity(ranges.len());
    for range in ranges {
        let Value::Array(parts) = range else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else {
            return None;
        };
        let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
        if first > last || last >= SLOTS {
            return None;
        }
        let [host, Value::Int(port), ..] = master.as_slice() else { return None };
        let host = match host {
            Value::BulkString(host) => std::str::from_utf8(host).ok()?,
            Value::SimpleString(host) => host,
            _ => "",
        };
        let host = if host.is_empty() || host == "?" { &asked.host } else { host };
        map.push((first..=last, Address { host: host.to_owned(), port: u16::try_from(*port).ok()? }));
    }
    Some(map)
}

/// Reads the rest of `MOVED` or `ASK`: slot and address; an empty host is `asked`'s.
pub(super) fn read_redirect(detail: &str, asked: &Address) -> Option<(u16, Address)> {
    let (slot, address) = detail.split_once(' ')?;
    let (host, port) = address.trim_end().rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() || host == "?" { &asked.host } else { host };
    Some((slot.parse().ok()?, Address { host: host.to_owned(), port: port.parse().ok()? }))
}

/// Sorted slots as ranges.
pub(super) fn ranges(slots: impl IntoIterator<Item = u16>) -> Slots {
    let mut ranges: Slots = Vec::new();
    for slot in slots {
        match ranges.last_mut() {
            Some(last) if *last.end() + 1 == slot => *last = *last.start()..=slot,
            _ => ranges.push(slot..=slot),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.into(), port }
    }

    fn bytewise(key: &str) -> u16 {
        let key = key.as_bytes();
        let tag = key.iter().position(|&b| b == b'{').and_then(|open| {
            let close = open + 1 + key[open + 1..].iter().position(|&b| b == b'}')?;
            (close > open + 1).then(|| &key[open + 1..close])
        });
        let mut crc = 0u16;
        for &byte in tag.unwrap_or(key) {
            crc ^= u16::from(byte) << 8;
            for _ in 0..8 {
                crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
            }
        }
        crc % SLOTS
    }

    #[test]
    fn the_sum_is_that_of_the_specification() {
        assert_eq!(crc16(0, b"123456789"), 0x31c3);
        assert_eq!(slot_of_leases(), bytewise("{nodes}"));
        assert_eq!(slot_of(&[b"", LEASES_DUE_KEY.as_bytes()]), slot_of_leases());
    }

    #[test]
    fn every_slot_has_a_mark() {
        let mut reached = vec![false; usize::from(SLOTS)];
        for number in 0..1_000_000u32 {
            reached[usize::from(crc16(0, number.to_string().as_bytes()) % SLOTS)] = true;
        }
        assert!(reached.into_iter().all(|reached| reached));
        for slot in [0, 1, 5_461, 16_383] {
            assert_eq!(bytewise(&mark_key(slot)), slot);
        }
    }

    proptest! {
        #[test]
        fn a_users_slot_is_that_of_its_key(user in "[a-c{}é]{1,12}") {
            prop_assert_eq!(slot_of_user(&user), bytewise(&format!("holdfast:u:{user}")));
        }

        #[test]
        fn ranges_hold_the_slots(slots in proptest::collection::btree_set(0u16..50, 0..40)) {
            let ranges = ranges(slots.iter().copied());
            prop_assert!(ranges.windows(2).all(|pair| *pair[0].end() + 1 < *pair[1].start()));
            prop_assert_eq!(ranges.into_iter().flatten().collect::<Vec<_>>(), slots.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_map_is_read_and_a_master_without_a_name_is_the_one_asked() {
        let node = |host: &str, port| {
            Value::Array(vec![
                Value::BulkString(host.into()),
                Value::Int(port),
                Value::BulkString("id".into()),
            ])
        };
        let range = |first, last, master| {
            Value::Array(vec![Value::Int(first), Value::Int(last), master, node("replica", 9)])
        };
        let asked = address("10.0.0.9", 1);
        let answer =
            Value::Array(vec![range(0, 99, node("10.0.0.1", 7000)), range(100, 16_383, node("", 7001))]);
        let expected = vec![(0..=99, address("10.0.0.1", 7000)), (100..=16_383, address("10.0.0.9", 7001))];
        assert_eq!(read_map(&answer, &asked), Some(expected));
        for bad in [
            Value::Nil,
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![range(5, 4, node("a", 1))]),
            Value::Array(vec![range(0, 16_384, node("a", 1))]),
            Value::Array(vec![range(-1, 5, node("a", 1))]),
            Value::Array(vec![range(0, 5, node("a", 65_536))]),
            Value::Array(vec![range(0, 5, Value::Array(vec![]))]),
        ] {
            assert_eq!(read_map(&bad, &asked), None, "{bad:?}");
        }
    }

    #[test]
    fn a_redirect_is_read() {
        let asked = address("h", 1);
        assert_eq!(read_redirect("3999 127.0.0.1:6381", &asked), Some((3999, address("127.0.0.1", 6381))));
        assert_eq!(read_redirect("1 [::1]:6381", &asked), Some((1, address("::1", 6381))));
        assert_eq!(read_redirect("1 ::1:6381", &asked), Some((1, address("::1", 6381))));
        assert_eq!(read_redirect("1 :6381", &asked), Some((1, address("h", 6381))));
        for bad in ["", "1", "1 host", "x h:1", "1 h:99999"] {
            assert_eq!(read_redirect(bad, &asked), None, "{bad}");
        }
    }
}
