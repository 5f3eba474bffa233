//! What a caller sends, and how it looks on each way: a record of Kafka, a line of `/v1/messages`, a request of its own.
//!
//! Owns the checks that need no server. Never sends.

use super::{SendError, http::escaped};
use crate::{
    bridge::queue::Header,
    config::duration::{format_ms, parse_query_ms},
    model::{Body, identifier},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{borrow::Cow, time::Duration};

/// A message for a user's devices, or for one of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Whom it is for; 1 to 256 bytes without control characters, as are the other names.
    pub user: String,
    /// What it says.
    pub body: Body,
    /// Only this device; None: all of the user's.
    pub device: Option<String>,
    /// The lane; None: the sender's default, over HTTP the node's.
    pub lane: Option<String>,
    /// Not written later than this after it was sent; None: the lane's own.
    pub ttl: Option<Duration>,
    /// A device gets an id once. Give one to a message that must not come twice: Kafka delivers at least once.
    pub id: Option<String>,
    /// Messages with one key replace each other while they wait, in lanes with that policy.
    pub collapse: Option<String>,
}

impl Message {
    /// Text, as it is.
    pub fn text(user: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(user, Body::Text(text.into().into()))
    }

    /// One JSON value, as text; checked when it is sent.
    pub fn json(user: impl Into<String>, json: impl Into<String>) -> Self {
        Self::new(user, Body::Json(json.into().into()))
    }

    /// Any bytes: a binary frame.
    pub fn binary(user: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self::new(user, Body::Binary(bytes.into()))
    }

    /// Without options.
    pub fn new(user: impl Into<String>, body: Body) -> Self {
        let user = user.into();
        Self { user, body, device: None, lane: None, ttl: None, id: None, collapse: None }
    }

    /// Only for this device.
    #[must_use]
    pub fn device(self, device: impl Into<String>) -> Self {
        Self { device: Some(device.into()), ..self }
    }

    /// In this lane.
    #[must_use]
    pub fn lane(self, lane: impl Into<String>) -> Self {
        Self { lane: Some(lane.into()), ..self }
    }

    /// Worth nothing after this time.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    /// Under this id, which a device gets once.
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// With this collapse key.
    #[must_use]
    pub fn collapse(self, key: impl Into<String>) -> Self {
        Self { collapse: Some(key.into()), ..self }
    }

    /// Whether a node could read it.
    pub(super) fn check(&self) -> Result<(), SendError> {
        let invalid = |what: &str, why: &dyn std::fmt::Display| SendError::Invalid(format!("{what} {why}"));
        let names = [
            ("the user", Some(&self.user)),
            ("the device", self.device.as_ref()),
            ("the id", self.id.as_ref()),
            ("the collapse key", self.collapse.as_ref()),
        ];
        for (what, name) in names {
            if let Some(name) = name {
                identifier::check(name).map_err(|why| invalid(what, &why))?;
            }
        }
        if let Some(lane) = &self.lane {
            check_label(lane).map_err(|why| invalid("the lane", &why))?;
        }
        match &self.body {
            Body::Text(text) => {
                std::str::from_utf8(text).map(drop).map_err(|why| invalid("the text is not UTF-8:", &why))
            }
            Body::Json(json) => serde_json::from_slice::<&RawValue>(json)
                .map(drop)
                .map_err(|why| invalid("the body is not JSON:", &why)),
            Body::Binary(_) => Ok(()),
        }
    }

    /// The headers of its record, for Kafka.
    pub(super) fn headers(&self, unix_ms: u64) -> Vec<Header> {
        let mut headers = Vec::new();
        let mut put = |name: &'static str, value: &str| {
            headers.push(Header::new(name, Bytes::copy_from_slice(value.as_bytes())));
        };
        for (name, value) in [("id", &self.id), ("device", &self.device), ("collapse", &self.collapse)] {
            if let Some(value) = value {
                put(name, value);
            }
        }
        if let Some(ttl) = self.ttl {
            put("expires", &unix_ms.saturating_add(millis(ttl)).to_string());
        }
        match self.body {
            Body::Text(_) => {}
            Body::Json(_) => put("content-type", "application/json"),
            Body::Binary(_) => put("content-type", "application/octet-stream"),
        }
        headers
    }

    /// Its line of `/v1/messages`, with this much life left. For a message that was checked.
    pub(super) fn line(&self, ttl: Option<Duration>, into: &mut Vec<u8>) {
        let mut line = Line {
            user: Cow::Borrowed(&self.user),
            device: self.device.as_deref().map(Cow::Borrowed),
            lane: self.lane.as_deref().map(Cow::Borrowed),
            ttl: ttl.map(|ttl| Span::Text(format_ms(millis(ttl)).into())),
            id: self.id.as_deref().map(Cow::Borrowed),
            collapse: self.collapse.as_deref().map(Cow::Borrowed),
            json: None,
            text: None,
            base64: None,
        };
        let on_one_line;
        match &self.body {
            Body::Text(text) => line.text = Some(String::from_utf8_lossy(text)),
            Body::Binary(bytes) => line.base64 = Some(STANDARD.encode(bytes).into()),
            Body::Json(json) => {
                // A line end in JSON is white space: in a string it is escaped.
                on_one_line = String::from_utf8_lossy(json).replace(['\n', '\r'], " ");
                line.json = serde_json::from_str(&on_one_line).ok();
            }
        }
        // Writing strings and numbers to memory cannot fail.
        let _ = serde_json::to_writer(&mut *into, &line);
        into.push(b'\n');
    }

    /// Path and query of a request of its own.
    pub(super) fn path(&self, wait: &Wait) -> String {
        let ms = |span: Duration| Cow::Owned(format_ms(millis(span)));
        let query = [
            ("device", self.device.as_deref().map(Cow::Borrowed)),
            ("lane", self.lane.as_deref().map(Cow::Borrowed)),
            ("ttl", self.ttl.map(ms)),
            ("id", self.id.as_deref().map(Cow::Borrowed)),
            ("collapse", self.collapse.as_deref().map(Cow::Borrowed)),
            ("wait", wait.for_ack.then_some(Cow::Borrowed("ack"))),
            ("timeout", wait.timeout.map(ms)),
        ];
        let mut path = format!("/v1/users/{}/push", escaped(&self.user));
        let given = query.iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        for (at, (name, value)) in given.enumerate() {
            let sign = if at == 0 { '?' } else { '&' };
            path.push_str(&format!("{sign}{name}={}", escaped(value)));
        }
        path
    }

    /// Its content type in a request of its own; text needs none.
    pub(super) fn content_type(&self) -> Option<&'static str> {
        match self.body {
            Body::Text(_) => None,
            Body::Json(_) => Some("application/json"),
            Body::Binary(_) => Some("application/octet-stream"),
        }
    }
}

/// What [`Sender::deliver_and_wait`](super::Sender::deliver_and_wait) waits for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wait {
    /// For the clients' acknowledgement, where they can give one; else for the kernel to have taken the last byte.
    pub for_ack: bool,
    /// No longer than this; None: the node's `delivery.timeout`.
    pub timeout: Option<Duration>,
}

/// Reads a message as a line of `POST /v1/messages`, or as the user, a blank and the text.
///
/// # Errors
/// What is wrong with the line.
pub fn parse_line(line: &str) -> Result<Message, String> {
    let line = line.trim_end_matches(['\r', '\n']);
    if !line.starts_with('{') {
        let (user, text) = line.split_once([' ', '\t']).ok_or("expected USER BODY, or a JSON object")?;
        return Ok(Message::text(user, text));
    }
    let line: Line<'_> = serde_json::from_str(line).map_err(|fault| fault.to_string())?;
    let body = match (line.json, line.text, line.base64) {
        (Some(json), None, None) => Body::Json(Bytes::copy_from_slice(json.get().as_bytes())),
        (None, Some(text), None) => Body::Text(text.into_owned().into()),
        (None, None, Some(base64)) => {
            Body::Binary(STANDARD.decode(&*base64).map_err(|fault| format!("base64: {fault}"))?.into())
        }
        _ => return Err("give one of json, text and base64".into()),
    };
    let ttl_ms = match line.ttl {
        None => None,
        Some(Span::Seconds(seconds)) => Some(seconds.checked_mul(1_000).ok_or(BAD_TTL)?),
        Some(Span::Text(text)) => Some(parse_query_ms(&text).ok_or(BAD_TTL)?),
    };
    Ok(Message {
        user: line.user.into_owned(),
        body,
        device: line.device.map(Cow::into_owned),
        lane: line.lane.map(Cow::into_owned),
        ttl: ttl_ms.map(Duration::from_millis),
        id: line.id.map(Cow::into_owned),
        collapse: line.collapse.map(Cow::into_owned),
    })
}

const BAD_TTL: &str = "ttl must be a number of seconds, or text such as 500ms, 30s or 10m";

/// A line of `/v1/messages`. An unknown field is an error, as a misspelt `ttl` would silently lose its meaning.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    user: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<Span<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    json: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Span<'a> {
    Seconds(u64),
    Text(Cow<'a, str>),
}

/// A value that is there, also when it is `null`.
fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The rule for lanes and regions, which become parts of a topic's name.
pub(super) fn check_label(label: &str) -> Result<(), &'static str> {
    let fits = (1..=32).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fits { Ok(()) } else { Err("must be 1 to 32 of a-z, 0-9 and -") }
}

/// Whole milliseconds; what is less than one is one, as nothing is a different thing.
fn millis(span: Duration) -> u64 {
    match u64::try_from(span.as_millis()) {
        Ok(0) if !span.is_zero() => 1,
        Ok(ms) => ms,
        Err(_) => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full() -> Message {
        let message = Message::json("a/ü", "{\n \"n\": 1\n}").device("phone").lane("high").id("m-1");
        message.ttl(Duration::from_secs(90)).collapse("state")
    }

    #[test]
    fn a_record_has_what_was_given_as_headers() {
        let expected = [
            ("id", "m-1"),
            ("device", "phone"),
            ("collapse", "state"),
            ("expires", "91000"),
            ("content-type", "application/json"),
        ];
        assert_eq!(full().headers(1_000), expected.map(|(name, value)| Header::new(name, value)));
        assert_eq!(Message::text("ann", "hello").headers(0), []);
        let binary = Message::binary("ann", "x").headers(0);
        assert_eq!(binary, [Header::new("content-type", "application/octet-stream")]);
        let for_ever = Message::text("ann", "x").ttl(Duration::MAX);
        assert_eq!(for_ever.headers(1), [Header::new("expires", u64::MAX.to_string())]);
    }

    #[test]
    fn a_line_is_one_line_and_a_path_is_escaped() {
        let mut line = Vec::new();
        full().line(Some(Duration::from_millis(1_500)), &mut line);
        let expected = "{\"user\":\"a/ü\",\"device\":\"phone\",\"lane\":\"high\",\"ttl\":\"1500ms\",\"id\":\"m-1\",\
                        \"collapse\":\"state\",\"json\":{  \"n\": 1 }}\n";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
        let wait = Wait { for_ack: true, timeout: Some(Duration::from_secs(5)) };
        let path = "/v1/users/a%2F%C3%BC/push?device=phone&lane=high&ttl=90s&id=m-1&collapse=state&wait=ack&timeout=5s";
        assert_eq!(full().path(&wait), path);
        assert_eq!(Message::text("ann", "").path(&Wait::default()), "/v1/users/ann/push");
    }

    #[test]
    fn what_no_node_could_read_is_refused() {
        let refused = |message: Message| match message.check() {
            Err(SendError::Invalid(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(full().check(), Ok(()));
        assert_eq!(refused(Message::text("", "x")), "the user must not be empty");
        let long = refused(Message::text("ann", "x").device("d".repeat(257)));
        assert_eq!(long, "the device must be at most 256 bytes long");
        assert!(refused(Message::text("ann", "x").lane("High")).starts_with("the lane must be"));
        assert!(refused(Message::json("ann", "{")).starts_with("the body is not JSON"));
        let binary = Message::new("ann", Body::Text(Bytes::from_static(b"\xff")));
        assert!(refused(binary).starts_with("the text is not UTF-8"));
    }

    #[test]
    fn lines_are_words_or_json() {
        assert_eq!(parse_line("ann hello there\n"), Ok(Message::text("ann", "hello there")));
        let json = r#"{"user":"bob","json":null,"ttl":5,"lane":"low"}"#;
        let read = Message::json("bob", "null").ttl(Duration::from_secs(5)).lane("low");
        assert_eq!(parse_line(json), Ok(read));
        for bad in ["ann", "", r#"{"user":"a"}"#, r#"{"user":"a","text":"b","tll":1}"#, "{", "{}"] {
            assert!(parse_line(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_line(r#"{"user":"a","text":"b","ttl":"soon"}"#), Err(BAD_TTL.into()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            names in proptest::collection::vec(proptest::option::of("\\PC{1,12}"), 3),
            user in "\\PC{1,12}",
            body in proptest::collection::vec(any::<u8>(), 0..40),
            ttl_ms in proptest::option::of(1u64..100_000_000),
        ) {
            let body = match std::str::from_utf8(&body) {
                Ok(text) => Body::Text(text.to_owned().into()),
                Err(_) => Body::Binary(body.into()),
            };
            let [device, id, collapse] = <[_; 3]>::try_from(names).unwrap();
            let ttl = ttl_ms.map(Duration::from_millis);
            let message = Message { device, id, collapse, ttl, ..Message::new(user, body) };
            let mut line = Vec::new();
            message.line(message.ttl, &mut line);
            prop_assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            prop_assert_eq!(parse_line(std::str::from_utf8(&line).unwrap()), Ok(message));
        }

        #[test]
        fn no_line_panics(line in "\\PC{0,40}|\\{\"user\":\\PC{0,20}\\}") {
            let _ = parse_line(&line);
        }
    }
}
