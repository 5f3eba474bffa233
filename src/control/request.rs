//! What a request says: its path parts, its query and its body.

use super::{connection::Watch, reply::Refusal};
use crate::{
    config::duration,
    model::{Body, Kind, identifier},
};
use bytes::Bytes;
use hyper::{
    StatusCode,
    body::{Body as _, Incoming},
    header::HeaderValue,
};
use percent_encoding::percent_decode_str;
use std::{
    borrow::Cow,
    pin::Pin,
    task::{Poll, ready},
};

/// How much of an oversize body is read and thrown away before it is refused, bytes: a sender that is still writing
/// when the connection ends would not see the answer.
pub const DISCARD_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The room made for a body on its sender's word alone, bytes.
const ROOM_BYTES_MAX: u64 = 64 * 1024;

/// Decodes and checks a path part that names a user, a device or an id.
///
/// # Errors
/// 400, naming `what`.
pub fn name_part<'a>(part: &'a str, what: &str) -> Result<Cow<'a, str>, Refusal> {
    let name = decode(part).ok_or_else(|| {
        Refusal::bad_request(
            "bad_identifier",
            format!("the {what} in the path must be percent-encoded UTF-8"),
        )
    })?;
    check_name(&name, what)?;
    Ok(name)
}

/// Checks a name.
///
/// # Errors
/// 400, naming `what`.
pub fn check_name(name: &str, what: &str) -> Result<(), Refusal> {
    identifier::check(name)
        .map_err(|fault| Refusal::bad_request("bad_identifier", format!("the {what} {fault}")))
}

fn decode(part: &str) -> Option<Cow<'_, str>> {
    if part.as_bytes().contains(&b'%') {
        percent_decode_str(part).decode_utf8().ok()
    } else {
        Some(part.into())
    }
}

/// A query string's parameters. A key that is not known is an error: a misspelt `ttl` would silently lose its meaning.
pub struct Query<'a>(Vec<(&'static str, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Splits a query (`application/x-www-form-urlencoded`) whose keys are among `known`.
    ///
    /// # Errors
    /// 400 for an unknown or repeated key and for what is not UTF-8.
    pub fn parse(query: Option<&'a str>, known: &[&'static str]) -> Result<Self, Refusal> {
        let mut pairs: Vec<(&'static str, Cow<'a, str>)> = Vec::new();
        for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(&key) = known.iter().find(|known| **known == key) else {
                let message = match known {
                    [] => format!("{key:?} is not a parameter here: there are none"),
                    _ => format!("{key:?} is not a parameter here; allowed are {}", known.join(", ")),
                };
                return Err(Refusal::bad_request("unknown_parameter", message));
            };
            if pairs.iter().any(|(had, _)| *had == key) {
                return Err(Refusal::bad_request("repeated_parameter", format!("{key} is given twice")));
            }
            let value =
                decode_form(value).ok_or_else(|| bad_parameter(key, "must be percent-encoded UTF-8"))?;
            pairs.push((key, value));
        }
        Ok(Self(pairs))
    }

    /// A parameter's value.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(had, _)| *had == key).map(|(_, value)| &**value)
    }

    /// A parameter that is a name.
    ///
    /// # Errors
    /// 400 when it is not.
    pub fn name(&self, key: &str) -> Result<Option<&str>, Refusal> {
        self.value(key).map(|name| check_name(name, key).map(|()| name)).transpose()
    }

    /// A parameter that is a duration, ms.
    ///
    /// # Errors
    /// 400 when it is not.
    pub fn duration_ms(&self, key: &'static str) -> Result<Option<u64>, Refusal> {
        let parse = |text| {
            duration::parse_query_ms(text).ok_or_else(|| {
                bad_parameter(key, "must be a duration such as 30 (seconds), 500ms, 30s or 10m")
            })
        };
        self.value(key).map(parse).transpose()
    }

    /// A parameter that is one of some words; the first is the default. Gives the word's place.
    ///
    /// # Errors
    /// 400 when it is none of them.
    pub fn word(&self, key: &'static str, words: &[&str]) -> Result<usize, Refusal> {
        let Some(value) = self.value(key) else { return Ok(0) };
        let place = words.iter().position(|word| *word == value);
        place.ok_or_else(|| bad_parameter(key, &format!("must be one of {}", words.join(", "))))
    }
}

fn decode_form(value: &str) -> Option<Cow<'_, str>> {
    if value.as_bytes().contains(&b'+') {
        let spaced = value.replace('+', " ");
        return decode(&spaced).map(|decoded| decoded.into_owned().into());
    }
    decode(value)
}

fn bad_parameter(key: &str, fault: &str) -> Refusal {
    Refusal::bad_request("bad_parameter", format!("{key} {fault}"))
}

/// Reads a whole body of at most `bytes_max` bytes.
///
/// # Errors
/// 413 for a larger one, of which up to [`DISCARD_BYTES_MAX`] were read and thrown away; 400 when the sender broke off.
pub async fn read_body(body: &mut Incoming, bytes_max: usize, watch: &Watch) -> Result<Vec<u8>, Refusal> {
    let announced = body.size_hint();
    let mut oversize = announced.lower() > bytes_max as u64;
    let room = if oversize { 0 } else { announced.lower().min(ROOM_BYTES_MAX) };
    let mut whole = Vec::with_capacity(room as usize);
    let mut discarded = 0u64;
    let mut close = false;
    while let Some(chunk) = next_chunk(body).await? {
        oversize |= whole.len() + chunk.len() > bytes_max;
        if !oversize {
            whole.extend_from_slice(&chunk);
            continue;
        }
        discarded = discarded.saturating_add((std::mem::take(&mut whole).len() + chunk.len()) as u64);
        close = discarded >= DISCARD_BYTES_MAX;
        if close {
            break;
        }
    }
    watch.on_body_read();
    if !oversize {
        return Ok(whole);
    }
    let message = format!("the body is larger than limits.push_bytes ({bytes_max} bytes)");
    Err(Refusal { close, ..Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message) })
}

async fn next_chunk(body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
    std::future::poll_fn(|cx| {
        loop {
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                None => return Poll::Ready(Ok(None)),
                Some(Err(_)) => {
                    let broken = Refusal::bad_request("broken_body", "the body ended too early");
                    return Poll::Ready(Err(broken));
                }
                // Trailers say nothing here.
                Some(Ok(frame)) => {
                    if let Ok(chunk) = frame.into_data() {
                        return Poll::Ready(Ok(Some(chunk)));
                    }
                }
            }
        }
    })
    .await
}

/// What a body is, by its Content-Type.
pub fn kind_of(content_type: Option<&HeaderValue>) -> Kind {
    Kind::of(content_type.map(HeaderValue::as_bytes))
}

/// Checks a payload.
///
/// # Errors
/// 400 when text is not UTF-8 or JSON is not one JSON value.
pub fn checked_body(kind: Kind, payload: Vec<u8>) -> Result<Body, Refusal> {
    kind.body(payload).map_err(|fault| Refusal::bad_request("bad_body", format!("the body is {fault}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn queries() {
        const KNOWN: &[&str] = &["id", "ttl", "wait"];
        let query = Query::parse(Some("id=a%20b+c&&ttl=90s"), KNOWN).unwrap();
        assert_eq!((query.value("id"), query.name("id").unwrap()), (Some("a b c"), Some("a b c")));
        assert_eq!(query.duration_ms("ttl").unwrap(), Some(90_000));
        assert_eq!(query.word("wait", &["written", "ack"]).unwrap(), 0);
        for (text, error) in
            [("tll=5", "unknown_parameter"), ("id=a&id=b", "repeated_parameter"), ("id=%FF", "bad_parameter")]
        {
            assert_eq!(
                Query::parse(Some(text), KNOWN).err().map(|refusal| refusal.error),
                Some(error),
                "{text}"
            );
        }
        let message = Query::parse(Some("tll=5"), KNOWN).err().unwrap().message;
        assert!(message.contains("id, ttl, wait"), "{message}");
        let query = Query::parse(Some("ttl=soon&id=%0A&wait=for+it"), KNOWN).unwrap();
        assert_eq!(query.duration_ms("ttl").unwrap_err().error, "bad_parameter");
        assert_eq!(query.name("id").unwrap_err().error, "bad_identifier");
        assert_eq!(query.word("wait", &["written", "ack"]).unwrap_err().error, "bad_parameter");
        assert!(Query::parse(None, &[]).is_ok() && Query::parse(Some("a=b"), &[]).is_err());
    }

    #[test]
    fn path_parts() {
        assert_eq!(name_part("a%2Fb%20c", "user").unwrap(), "a/b c");
        for bad in ["", "%FF", "a%00", "%C2%85"] {
            assert_eq!(name_part(bad, "user").unwrap_err().status, 400, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,30}") {
            let _ = (Query::parse(Some(&text), &["a"]).is_ok(), name_part(&text, "user").is_ok());
        }
    }
}
