//! The bytes of a node's lease.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | highest format that the node reads, of records, leases and frames |
//! | 1..9 | incarnation, big-endian |
//! | 9..17 | end, ms since 1970 by the registry's clock, big-endian; the script that renews fills it in |
//! | 17..25 | when this run's lease was made, in the same way; the script fills it in, and keeps it at each renewal |
//! | 25.. | JSON: node, address, region, capacity, connections, draining, version, lanes (what each was told: paused, said_ms, skip_before_ms); format 2: oldest, the lowest format that the node reads |
//!
//! A lease tells others what they may write for its node, so it is written in the node's own format, whoever reads it: a later
//! format only adds fields to the JSON. A field that is not known is ignored, one that is missing is empty.

use super::record::{Unreadable, take};
use crate::bridge::{brakes::Told, format, registry::Lease};
use std::borrow::Cow;

#[derive(serde::Serialize, serde::Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(borrow, default)]
    address: Cow<'a, str>,
    #[serde(borrow, default)]
    region: Cow<'a, str>,
    #[serde(default)]
    capacity: u64,
    #[serde(default)]
    connections: u64,
    #[serde(default)]
    draining: bool,
    #[serde(borrow, default)]
    version: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Told::is_empty")]
    lanes: Told,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oldest: Option<u8>,
}

/// A lease without its times, of a node whose highest format is `format`.
pub(super) fn bytes(lease: &Lease, format: u8) -> Vec<u8> {
    let body = Body {
        node: Cow::Borrowed(&lease.node),
        address: Cow::Borrowed(&lease.address),
        region: Cow::Borrowed(&lease.region),
        capacity: lease.capacity,
        connections: lease.connections,
        draining: lease.draining,
        version: Cow::Borrowed(&lease.version),
        lanes: lease.lanes.clone(),
        oldest: (format >= 2).then(|| format::oldest(format)),
    };
    let mut out = Vec::with_capacity(256);
    out.push(format);
    out.extend(lease.incarnation.to_be_bytes());
    out.extend([0; 16]);
    // Strings and numbers into memory: nothing of this can fail.
    let _ = serde_json::to_writer(&mut out, &body);
    out
}

/// The lease, its format and its end.
pub(super) fn read(bytes: &[u8]) -> Result<(Lease, u8, u64), Unreadable> {
    let mut rest = bytes;
    let [format] = take(&mut rest)?;
    let incarnation = u64::from_be_bytes(take(&mut rest)?);
    let ends_ms = u64::from_be_bytes(take(&mut rest)?);
    let _since_ms = take::<8>(&mut rest)?;
    let body: Body<'_> = serde_json::from_slice(rest).map_err(|_| Unreadable)?;
    let lease = Lease {
        node: body.node.into_owned(),
        address: body.address.into_owned(),
        region: body.region.into_owned(),
        incarnation,
        capacity: body.capacity,
        connections: body.connections,
        draining: body.draining,
        version: body.version.into_owned(),
        lanes: body.lanes,
    };
    Ok((lease, format, ends_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::brakes::Brake;

    fn lease() -> Lease {
        Lease {
            node: "a\"é".into(),
            address: "[::1]:7008".into(),
            region: "eu".into(),
            incarnation: u64::MAX - 1,
            capacity: 1 << 60,
            connections: 3,
            draining: true,
            version: "0.1.0".into(),
            lanes: [("low".to_owned(), Brake { paused: true, said_ms: 7, skip_before_ms: 9 })].into(),
        }
    }

    #[test]
    fn a_lease_reads_back() {
        assert_eq!(read(&bytes(&lease(), 7)), Ok((lease(), 7, 0)));
    }

    #[test]
    fn a_later_format_adds_fields_and_changes_none() {
        let [first, second] = [1, 2].map(|format| bytes(&lease(), format));
        let [mut first, mut second] = [first, second].map(|bytes| {
            serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes[25..]).unwrap()
        });
        assert_eq!((first.remove("oldest"), second.remove("oldest")), (None, Some(1.into())));
        assert_eq!(first, second);
    }

    #[test]
    fn what_is_not_known_is_ignored_and_what_is_missing_is_empty() {
        let mut later = bytes(&lease(), 9)[..25].to_vec();
        later.extend(br#"{"zone":{"a":[1]},"node":"b"}"#);
        let (read, format, _) = read(&later).unwrap();
        assert_eq!((read.node.as_str(), read.address.as_str(), read.capacity, format), ("b", "", 0, 9));
    }

    #[test]
    fn other_bytes_are_refused() {
        let whole = bytes(&lease(), 1);
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), Err(Unreadable), "{cut}");
        }
    }
}
