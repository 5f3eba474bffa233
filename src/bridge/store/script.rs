//! The scripts: how a request is written as a command, and how a reply is believed.
//!
//! Owns the form of commands and of their replies. Every command carries a number of its own and every reply repeats it
//! and the key: only then is it looked at. No I/O.

use super::{
    lease,
    record::RECORD_BYTES_MAX,
    seam::{Connected, Device, Devices, Failure, LiveLease, Place, Record, Renewed, Reply, Request},
    slots::{LEASES_DUE_KEY, LEASES_KEY, USER_PREFIX, slot_of_leases, slot_of_user},
    user_hash,
};
use crate::{
    bridge::format::{FORMAT, FORMAT_OLDEST},
    directory::{TAKEOVER_WINDOW_S, TAKEOVERS_MAX},
    model::{Protocol, identifier},
};
use redis::Value;
use std::io::Write;

/// All scripts, in the order of [`Script`].
pub(super) const SOURCES: [&str; 7] = [
    include_str!("scripts/connect.lua"),
    include_str!("scripts/disconnect.lua"),
    include_str!("scripts/lookup.lua"),
    include_str!("scripts/renew.lua"),
    include_str!("scripts/remove.lua"),
    include_str!("scripts/leases.lua"),
    include_str!("scripts/mark.lua"),
];

/// The names by which a server knows the scripts, which it gave when they were loaded.
pub(super) type Digests = [String; SOURCES.len()];

/// Lives and ages are cut to this, ms (some 139 years): sums with the time stay exact in Lua's numbers.
const SPAN_MAX_MS: u64 = 1 << 42;

/// Before the name of a device: the record that its holder displaced. The scripts know it.
const DISPLACED_PREFIX: u8 = 1;

/// How long a mark lives that nobody looks at, ms: a day.
const MARK_LIFE_MS: u64 = 86_400_000;

#[derive(Clone, Copy)]
enum Script {
    Connect,
    Disconnect,
    Lookup,
    Renew,
    Remove,
    Leases,
    Mark,
}

/// What a command says of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The registry's time when it is sent, ms, and not before: see [`super::line`].
    pub sent_ms: u64,
    /// The last moment at which a connect may be carried out, ms by the registry's clock.
    pub until_ms: u64,
    /// How long the request has waited here, ms.
    pub waited_ms: u64,
}

/// What a reply says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// It belongs to the request.
    Reply(Reply),
    /// It belongs to the request, which came too late to be carried out.
    Late,
    /// It belongs to another request, or is no reply at all.
    Misattributed,
}

impl Request {
    /// The slot of its key.
    pub(super) fn slot(&self) -> u16 {
        match self {
            Self::Connect { user, .. } | Self::Disconnect { user, .. } | Self::Lookup { user } => {
                slot_of_user(user)
            }
            Self::RenewLease { .. } | Self::RemoveLease { .. } | Self::Leases => slot_of_leases(),
        }
    }

    /// # Errors
    /// [`Failure::Invalid`] when a name is empty or too long, or has a control character: those are for what else is in
    /// a user's hash.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let names: [&str; 2] = match self {
            Self::Connect { user, device, .. } | Self::Disconnect { user, device, .. } => [user, device],
            Self::Lookup { user } => [user, user],
            Self::RenewLease { lease, .. } => [&lease.node, &lease.node],
            Self::RemoveLease { node, .. } => [node, node],
            Self::Leases => return Ok(()),
        };
        let fits = names.iter().all(|name| identifier::check(name).is_ok());
        if fits { Ok(()) } else { Err(Failure::Invalid) }
    }

    fn user(&self) -> Option<&str> {
        match self {
            Self::Connect { user, .. } | Self::Disconnect { user, .. } | Self::Lookup { user } => Some(user),
            Self::RenewLease { .. } | Self::RemoveLease { .. } | Self::Leases => None,
        }
    }

    /// Appends the command.
    pub(super) fn write(&self, out: &mut Vec<u8>, digests: &Digests, nonce: u64, times: Times) {
        let mut call = |script: Script, keys: Keys<'_>, words: &[Word<'_>]| {
            write_call(out, digests[script as usize].as_bytes(), keys, nonce, words);
        };
        match self {
            Self::Connect { user, device, place, protocol, age_ms, life_ms, format } => {
                let (record, length) = record(user, *place, *protocol, *format);
                let words = [
                    Word::Bytes(device.as_bytes()),
                    Word::Bytes(&record[..length]),
                    Word::Number(age_ms.saturating_add(times.waited_ms).min(SPAN_MAX_MS)),
                    Word::Number((*life_ms).min(SPAN_MAX_MS)),
                    Word::Number(times.sent_ms),
                    Word::Number(times.until_ms),
                    Word::Number(u64::from(TAKEOVERS_MAX)),
                    Word::Number(u64::from(TAKEOVER_WINDOW_S) * 1_000),
                ];
                call(Script::Connect, Keys::User(user), &words);
            }
            Self::Disconnect { user, device, place } => {
                let words = [Word::Bytes(device.as_bytes()), Word::Bytes(&place.bytes())];
                call(Script::Disconnect, Keys::User(user), &words);
            }
            Self::Lookup { user } => call(Script::Lookup, Keys::User(user), &[]),
            Self::RenewLease { lease, format, ttl_ms } => {
                let bytes = lease::bytes(lease, *format);
                let life = Word::Number((*ttl_ms).min(SPAN_MAX_MS));
                call(
                    Script::Renew,
                    Keys::Leases,
                    &[Word::Bytes(lease.node.as_bytes()), Word::Bytes(&bytes), life],
                );
            }
            Self::RemoveLease { node, incarnation } => {
                let words = [Word::Bytes(node.as_bytes()), Word::Bytes(&incarnation.to_be_bytes())];
                call(Script::Remove, Keys::Leases, &words);
            }
            Self::Leases => call(Script::Leases, Keys::Leases, &[]),
        }
    }

    /// Reads the reply to this request as it was sent with this number.
    pub(super) fn read(&self, nonce: u64, answer: Value) -> Said {
        self.read_parts(nonce, answer).unwrap_or(Said::Misattributed)
    }

    fn read_parts(&self, nonce: u64, answer: Value) -> Option<Said> {
        let (echoed, key, mut parts) = read_echo(answer)?;
        let mut next = || parts.next();
        let is_mine = match self.user() {
            Some(user) => key.strip_prefix(USER_PREFIX.as_bytes()) == Some(user.as_bytes()),
            None => key == LEASES_KEY.as_bytes(),
        };
        if !is_mine || echoed != nonce {
            return None;
        }
        let said = next()?;
        Some(Said::Reply(match self {
            Self::Connect { .. } => {
                let Value::BulkString(word) = said else { return None };
                if word == b"late" {
                    return Some(Said::Late);
                }
                let Value::BulkString(record) = next()? else { return None };
                match &*word {
                    b"stands" => {
                        let displaced = [read_optional(&record)?, read_displaced(next()?)?];
                        let displaced = displaced.into_iter().flatten().collect();
                        Reply::Connected(Connected::Stands { displaced })
                    }
                    b"beaten" => Reply::Connected(Connected::Beaten { by: Record::read(&record).ok()? }),
                    b"fought" => Reply::Connected(Connected::Fought { by: Record::read(&record).ok()? }),
                    _ => return None,
                }
            }
            Self::Disconnect { .. } => {
                Reply::Disconnected { gone: said == Value::Int(1), displaced: read_displaced(next()?)? }
            }
            Self::RemoveLease { .. } => Reply::LeaseRemoved(said == Value::Int(1)),
            Self::Lookup { user } => {
                let (Value::Int(now), Value::Array(fields)) = (said, next()?) else { return None };
                Reply::Devices(read_devices(user, u64::try_from(now).ok()?, fields)?)
            }
            Self::RenewLease { .. } => {
                let (Value::BulkString(word), Value::BulkString(other), Value::Int(since)) =
                    (said, next()?, next()?)
                else {
                    return None;
                };
                Reply::Renewed(read_renewed(&word, &other, u64::try_from(since).ok()?)?)
            }
            Self::Leases => {
                let (Value::Int(now), Value::Array(leases)) = (said, next()?) else { return None };
                Reply::Leases(read_leases(u64::try_from(now).ok()?, &leases))
            }
        }))
    }
}

/// The number and the key that a reply repeats, and what is behind them.
fn read_echo(answer: Value) -> Option<(u64, Vec<u8>, std::vec::IntoIter<Value>)> {
    let Value::Array(parts) = answer else { return None };
    let mut parts = parts.into_iter();
    let (Value::BulkString(number), Value::BulkString(key)) = (parts.next()?, parts.next()?) else {
        return None;
    };
    Some((std::str::from_utf8(&number).ok()?.parse().ok()?, key, parts))
}

/// Appends the question for a master's mark.
pub(super) fn write_mark(out: &mut Vec<u8>, digests: &Digests, nonce: u64, key: &str) {
    let life = Word::Number(MARK_LIFE_MS);
    write_call(out, digests[Script::Mark as usize].as_bytes(), Keys::Mark(key), nonce, &[life]);
}

/// The mark, if it is the answer to this question.
pub(super) fn read_mark(nonce: u64, key: &str, answer: Value) -> Option<Vec<u8>> {
    let (echoed, echoed_key, mut parts) = read_echo(answer)?;
    match parts.next()? {
        Value::BulkString(mark) if echoed == nonce && echoed_key == key.as_bytes() => Some(mark),
        _ => None,
    }
}

/// The record without its times, which the script fills in, and its length.
fn record(user: &str, place: Place, protocol: Protocol, format: u8) -> ([u8; RECORD_BYTES_MAX], usize) {
    let protocol = Some(protocol);
    let record = Record { place, protocol, connected_ms: 0, expires_ms: 0, user: user_hash(user) };
    record.bytes(format.clamp(FORMAT_OLDEST, FORMAT))
}

/// A record or nothing. The outer None: neither.
fn read_optional(bytes: &[u8]) -> Option<Option<Record>> {
    if bytes.is_empty() { Some(None) } else { Record::read(bytes).ok().map(Some) }
}

/// The same of a whole value.
fn read_displaced(value: Value) -> Option<Option<Record>> {
    let Value::BulkString(bytes) = value else { return None };
    read_optional(&bytes)
}

fn read_devices(user: &str, now_ms: u64, fields: Vec<Value>) -> Option<Devices> {
    let expected = user_hash(user);
    let mut found = Devices::default();
    let mut fields = fields.into_iter();
    while let Some(name) = fields.next() {
        let (Value::BulkString(name), Value::BulkString(bytes)) = (name, fields.next()?) else { return None };
        if name.first() == Some(&DISPLACED_PREFIX) {
            continue;
        }
        let (Ok(name), Ok(record)) = (String::from_utf8(name), Record::read(&bytes)) else {
            found.unreadable += 1;
            continue;
        };
        let left_ms = record.expires_ms.saturating_sub(now_ms);
        if record.user != expected {
            found.foreign.push(name.into());
        } else if left_ms > 0 {
            found.devices.push(Device { device: name.into(), record, left_ms });
        }
    }
    Some(found)
}

fn read_renewed(word: &[u8], other: &[u8], since_ms: u64) -> Option<Renewed> {
    let incarnation = other.try_into().map(u64::from_be_bytes);
    Some(match word {
        b"kept" => Renewed::Kept { since_ms },
        b"absent" => Renewed::Absent { since_ms },
        b"took over" => Renewed::TookOver { incarnation: incarnation.ok()?, since_ms },
        b"superseded" => Renewed::Superseded { incarnation: incarnation.ok()? },
        _ => return None,
    })
}

/// Leases that are none are left out: one bad writer does not hide the others.
fn read_leases(now_ms: u64, leases: &[Value]) -> Vec<LiveLease> {
    let read = |lease: &Value| {
        let Value::BulkString(bytes) = lease else { return None };
        let (lease, format, ends_ms) = lease::read(bytes).ok()?;
        let left_ms = ends_ms.saturating_sub(now_ms);
        (left_ms > 0).then_some(LiveLease { lease, format, left_ms })
    };
    leases.iter().filter_map(read).collect()
}

#[derive(Clone, Copy)]
enum Keys<'a> {
    User(&'a str),
    Leases,
    Mark(&'a str),
}

enum Word<'a> {
    Bytes(&'a [u8]),
    Number(u64),
}

/// Appends a command in the protocol's own form: an array of byte strings.
fn write_call(out: &mut Vec<u8>, digest: &[u8], keys: Keys<'_>, nonce: u64, words: &[Word<'_>]) {
    let keys_count = match keys {
        Keys::User(_) | Keys::Mark(_) => 1,
        Keys::Leases => 2,
    };
    // Writing into memory does not fail.
    let _ = write!(out, "*{}\r\n", 4 + keys_count + words.len());
    write_bytes(out, &[b"EVALSHA"]);
    write_bytes(out, &[digest]);
    write_number(out, keys_count as u64);
    match keys {
        Keys::User(user) => write_bytes(out, &[USER_PREFIX.as_bytes(), user.as_bytes()]),
        Keys::Mark(key) => write_bytes(out, &[key.as_bytes()]),
        Keys::Leases => {
            write_bytes(out, &[LEASES_KEY.as_bytes()]);
            write_bytes(out, &[LEASES_DUE_KEY.as_bytes()]);
        }
    }
    write_number(out, nonce);
    for word in words {
        match word {
            Word::Bytes(bytes) => write_bytes(out, &[bytes]),
            Word::Number(number) => write_number(out, *number),
        }
    }
}

fn write_bytes(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let _ = write!(out, "${}\r\n", parts.iter().map(|part| part.len()).sum::<usize>());
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut room = &mut digits[..];
    let _ = write!(room, "{number}");
    let left = room.len();
    write_bytes(out, &[&digits[..digits.len() - left]]);
}

#[cfg(test)]
mod tests;
