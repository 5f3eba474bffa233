//! What a record says: whom it is for and what, or why it cannot be read.
//!
//! Owns the rules of the wire between senders and the queue. Keeps nothing.

use crate::{
    bridge::queue::{Header, Record},
    kit::time::Now,
    model::{Collapse, Identifier, Kind, Lane, Lanes, Message, identifier},
    stats::REJECTED,
};
use bytes::Bytes;
use foldhash::fast::RandomState;
use std::hash::BuildHasher;

/// What a record must fit.
pub struct Intake {
    /// With their default lives.
    pub lanes: Lanes,
    /// The largest payload, bytes.
    pub push_bytes: usize,
    /// How this node's outboxes compare collapse keys.
    pub collapse_seed: RandomState,
}

/// A record that can be delivered.
#[derive(Debug)]
pub struct Parcel {
    /// Whom it is for.
    pub user: Bytes,
    /// The one device that is meant.
    pub device: Option<Box<str>>,
    /// What it says.
    pub message: Message,
}

/// Why a record cannot be read; the numbers are places in [`REJECTED`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// There is no key, or an empty one: nobody is named.
    NoKey,
    /// The key is no user's name.
    Key,
    /// A header that means something does not mean anything.
    Header,
    /// There is no value, or it is not what its content type says.
    Body,
    /// The payload is larger than allowed.
    TooLarge,
}

impl Unreadable {
    /// Its name in metrics and dead letters.
    pub fn label(self) -> &'static str {
        REJECTED[self as usize]
    }
}

/// The headers that mean something here. Of one that is there twice the last counts, as with Kafka's own clients.
#[derive(Default)]
struct Said<'a> {
    id: Option<&'a [u8]>,
    device: Option<&'a [u8]>,
    expires: Option<&'a [u8]>,
    collapse: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
}

impl<'a> Said<'a> {
    fn of(headers: &'a [Header]) -> Self {
        let mut said = Said::default();
        for header in headers {
            let place = match &header.name[..] {
                b"id" => &mut said.id,
                b"device" => &mut said.device,
                b"expires" => &mut said.expires,
                b"collapse" => &mut said.collapse,
                b"content-type" => &mut said.content_type,
                _ => continue,
            };
            *place = header.value.as_deref();
        }
        said
    }
}

impl Intake {
    /// Reads a record.
    ///
    /// # Errors
    /// Why it cannot be delivered to anybody.
    pub fn read(&self, lane: Lane, record: &Record, now: Now) -> Result<Parcel, Unreadable> {
        let user = user_of(record)?;
        let value = record.value.as_ref().ok_or(Unreadable::Body)?;
        if value.len() > self.push_bytes {
            return Err(Unreadable::TooLarge);
        }
        let said = Said::of(&record.headers);
        let name = |value: Option<&[u8]>| value.map(identifier_of).transpose();
        let (id, device, collapse) = (name(said.id)?, name(said.device)?, name(said.collapse)?);
        let expires = said.expires.map(millis_of).transpose()?;
        let body = Kind::of(said.content_type).body(value.clone()).map_err(|_| Unreadable::Body)?;
        let mut message = Message::new(lane, body, now.micros);
        message.id = id;
        message.collapse =
            collapse.map(|key| Collapse { hash: self.collapse_seed.hash_one(key.as_str()), key });
        message.expires_unix_ms = expires.or_else(|| {
            let ttl_ms = self.lanes.config(lane).ttl_ms?;
            // The lane's life begins with the record: one that has waited in the queue for so long is not worth more.
            let born = record.timestamp_ms.and_then(|at| u64::try_from(at).ok()).unwrap_or(now.unix_ms);
            Some(born.saturating_add(ttl_ms))
        });
        Ok(Parcel { user: user.clone(), device: device.map(|name| name.as_str().into()), message })
    }
}

/// Whom a record is for.
///
/// # Errors
/// When it names nobody.
pub fn user_of(record: &Record) -> Result<&Bytes, Unreadable> {
    let key = record.key.as_ref().filter(|key| !key.is_empty()).ok_or(Unreadable::NoKey)?;
    let name = simdutf8::basic::from_utf8(key).map_err(|_| Unreadable::Key)?;
    identifier::check(name).map_err(|_| Unreadable::Key)?;
    Ok(key)
}

fn identifier_of(value: &[u8]) -> Result<Identifier, Unreadable> {
    let name = std::str::from_utf8(value).map_err(|_| Unreadable::Header)?;
    Identifier::new(name).map_err(|_| Unreadable::Header)
}

fn millis_of(value: &[u8]) -> Result<u64, Unreadable> {
    let text = std::str::from_utf8(value).map_err(|_| Unreadable::Header)?;
    text.trim().parse().map_err(|_| Unreadable::Header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bridge::queue::Partition,
        model::{Body, LanePolicy, lane::LaneConfig},
    };
    use proptest::prelude::*;

    fn record(
        key: Option<&'static [u8]>,
        value: Option<&'static [u8]>,
        headers: &[(&'static str, &str)],
    ) -> Record {
        let header = |&(name, value): &(&'static str, &str)| Header {
            name: Bytes::from_static(name.as_bytes()),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
        };
        Record {
            partition: Partition { topic: "push.high".into(), number: 0, term: 1 },
            offset: 0,
            timestamp_ms: Some(1_000),
            key: key.map(Bytes::from_static),
            value: value.map(Bytes::from_static),
            headers: headers.iter().map(header).collect(),
        }
    }

    fn intake(ttl_ms: Option<u64>) -> Intake {
        let lane = LaneConfig { name: "high".into(), policy: LanePolicy::Drop, ttl_ms };
        Intake { lanes: Lanes::new(vec![lane]), push_bytes: 8, collapse_seed: RandomState::default() }
    }

    fn read(intake: &Intake, record: &Record) -> Result<Parcel, Unreadable> {
        intake.read(Lane(0), record, Now { micros: 5, unix_ms: 9_000 })
    }

    #[test]
    fn a_record_names_its_user_and_says_the_rest_in_headers() {
        let all = [
            ("id", "i1"),
            ("device", "phone"),
            ("expires", "12345"),
            ("collapse", "score"),
            ("content-type", "application/json"),
            ("traceparent", "00-x"),
            ("id", "i2"),
        ];
        let parcel = read(&intake(None), &record(Some(b"ann"), Some(b"[1]"), &all)).unwrap();
        assert_eq!((&parcel.user[..], parcel.device.as_deref()), (&b"ann"[..], Some("phone")));
        let message = parcel.message;
        assert_eq!(message.body, Body::Json("[1]".into()));
        assert_eq!(message.id.unwrap().as_str(), "i2");
        assert_eq!(message.collapse.unwrap().key.as_str(), "score");
        assert_eq!((message.expires_unix_ms, message.entered_us), (Some(12_345), 5));
    }

    #[test]
    fn the_lanes_life_counts_from_when_the_record_was_made() {
        let plain = record(Some(b"ann"), Some(b"x"), &[]);
        assert_eq!(read(&intake(None), &plain).unwrap().message.expires_unix_ms, None);
        assert_eq!(read(&intake(Some(500)), &plain).unwrap().message.expires_unix_ms, Some(1_500));
        let timeless = Record { timestamp_ms: None, ..plain };
        assert_eq!(read(&intake(Some(500)), &timeless).unwrap().message.expires_unix_ms, Some(9_500));
        let own = record(Some(b"ann"), Some(b"x"), &[("expires", "7")]);
        assert_eq!(read(&intake(Some(500)), &own).unwrap().message.expires_unix_ms, Some(7));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let cases: [(Record, Unreadable); 10] = [
            (record(None, Some(b"x"), &[]), Unreadable::NoKey),
            (record(Some(b""), Some(b"x"), &[]), Unreadable::NoKey),
            (record(Some(b"\xff"), Some(b"x"), &[]), Unreadable::Key),
            (record(Some(b"a\n"), Some(b"x"), &[]), Unreadable::Key),
            (record(Some(b"ann"), None, &[]), Unreadable::Body),
            (record(Some(b"ann"), Some(b"\xff"), &[]), Unreadable::Body),
            (record(Some(b"ann"), Some(b"{"), &[("content-type", "application/json")]), Unreadable::Body),
            (record(Some(b"ann"), Some(b"123456789"), &[]), Unreadable::TooLarge),
            (record(Some(b"ann"), Some(b"x"), &[("expires", "soon")]), Unreadable::Header),
            (record(Some(b"ann"), Some(b"x"), &[("device", "")]), Unreadable::Header),
        ];
        for (record, why) in cases {
            assert_eq!(read(&intake(None), &record).unwrap_err(), why, "{record:?}");
        }
        for (why, label) in [
            (Unreadable::NoKey, "no_key"),
            (Unreadable::Key, "key"),
            (Unreadable::Header, "header"),
            (Unreadable::Body, "body"),
            (Unreadable::TooLarge, "too_large"),
        ] {
            assert_eq!(why.label(), label);
        }
        let binary = record(Some(b"ann"), Some(b"\xff"), &[("content-type", "image/png")]);
        assert!(read(&intake(None), &binary).unwrap().message.body.is_binary());
    }

    proptest! {
        #[test]
        fn no_record_panics(
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..12)),
            headers in proptest::collection::vec(
                ("id|device|expires|collapse|content-type|x", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..12))),
                0..6,
            ),
        ) {
            let headers = headers.into_iter().map(|(name, value): (String, _)| Header {
                name: name.into(),
                value: value.map(Bytes::from),
            });
            let record = Record {
                key: key.map(Bytes::from),
                value: value.map(Bytes::from),
                headers: headers.collect(),
                ..record(None, None, &[])
            };
            if let Ok(parcel) = read(&intake(None), &record) {
                prop_assert!(identifier::check(std::str::from_utf8(&parcel.user).unwrap()).is_ok());
            }
        }
    }
}
