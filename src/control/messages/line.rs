//! One line of `/v1/messages`: a JSON object that becomes a posted message.

use super::super::{
    app::{App, Options},
    reply::Refusal,
    request::check_name,
};
use crate::{bridge::Push, config::duration, model::Body};
use base64::{
    Engine, alphabet, engine::DecodePaddingMode, engine::GeneralPurpose, engine::GeneralPurposeConfig,
};
use bytes::Bytes;
use hyper::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::{borrow::Cow, sync::Arc};

/// Room for everything of a line that is not its payload, bytes.
const ENVELOPE_BYTES_MAX: usize = 4 * 1024;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The longest line, for payloads of so many bytes: base64 makes four of three.
pub(super) fn bytes_max(push_bytes: usize) -> usize {
    push_bytes.div_ceil(3).saturating_mul(4).saturating_add(ENVELOPE_BYTES_MAX)
}

/// A message on its way.
pub(super) struct Pushed {
    /// Of its payload.
    pub bytes: usize,
    /// The sender's name for it.
    pub id: Option<Box<str>>,
    pub push: Push,
}

/// An unknown field is an error, as a misspelt `ttl` would silently lose its meaning.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    user: Text<'a>,
    #[serde(borrow)]
    device: Option<Text<'a>>,
    #[serde(borrow)]
    lane: Option<Text<'a>>,
    #[serde(borrow)]
    ttl: Option<Span<'a>>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    collapse: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "some")]
    json: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    base64: Option<Text<'a>>,
}

/// A string that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A duration: a number of seconds, or text such as `30s`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Span<'a> {
    Seconds(u64),
    #[serde(borrow)]
    Text(Cow<'a, str>),
}

/// A value that is there, also when it is `null`.
fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads a line and posts its message.
///
/// # Errors
/// What is wrong with the line.
pub(super) fn push(app: &App, line: &[u8]) -> Result<Pushed, Refusal> {
    let text = simdutf8::basic::from_utf8(line).map_err(|_| bad_line("the line is not UTF-8"))?;
    let mut line: Line<'_> = serde_json::from_str(text).map_err(|fault| bad_line(fault.to_string()))?;
    check_name(&line.user.0, "user")?;
    if let Some(device) = &line.device {
        check_name(&device.0, "device")?;
    }
    let body = body(app, &mut line)?;
    let bytes = body.bytes().len();
    let options = Options {
        lane: line.lane.as_ref().map(|lane| &*lane.0),
        ttl_ms: line.ttl.as_ref().map(span_ms).transpose()?,
        id: line.id.as_ref().map(|id| &*id.0),
        collapse: line.collapse.as_ref().map(|collapse| &*collapse.0),
        timeout_ms: None,
    };
    let message = app.message(body, &options)?;
    let device = line.device.as_ref().map(|device| &*device.0);
    let push = app.control.router.push(&line.user.0, device, Arc::new(message));
    Ok(Pushed { bytes, id: options.id.map(Into::into), push })
}

/// The answer to a line or a payload that is too long.
pub(super) fn too_large(app: &App) -> Refusal {
    let bytes_max = app.config().limits.push_bytes;
    let message = format!("the message is larger than limits.push_bytes ({bytes_max} bytes)");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
}

fn body(app: &App, line: &mut Line<'_>) -> Result<Body, Refusal> {
    let body = match (line.json.take(), line.text.take(), line.base64.take()) {
        (Some(json), None, None) => Body::Json(Bytes::copy_from_slice(json.get().as_bytes())),
        (None, Some(Text(Cow::Borrowed(text))), None) => Body::Text(Bytes::copy_from_slice(text.as_bytes())),
        (None, Some(Text(Cow::Owned(text))), None) => Body::Text(text.into()),
        (None, None, Some(Text(base64))) => {
            let decoded = BASE64.decode(&*base64);
            Body::Binary(decoded.map_err(|fault| bad_line(format!("base64: {fault}")))?.into())
        }
        _ => return Err(bad_line("give one of json, text and base64")),
    };
    if body.bytes().len() > app.config().limits.push_bytes { Err(too_large(app)) } else { Ok(body) }
}

fn span_ms(span: &Span<'_>) -> Result<u64, Refusal> {
    match span {
        Span::Seconds(seconds) => seconds.checked_mul(1_000),
        Span::Text(text) => duration::parse_query_ms(text),
    }
    .ok_or_else(|| bad_line("ttl must be a number of seconds, or text such as 500ms, 30s or 10m"))
}

fn bad_line(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::bad_request("bad_line", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_strings_are_borrowed_and_null_is_a_json_payload() {
        let line: Line<'_> =
            serde_json::from_str(r#"{"user":"ann","device":"a\"b","json":null,"ttl":5}"#).unwrap();
        assert!(matches!(line.user.0, Cow::Borrowed("ann")));
        assert!(matches!(&line.device, Some(Text(Cow::Owned(device))) if device == "a\"b"));
        assert_eq!(line.json.map(RawValue::get), Some("null"));
        assert_eq!(span_ms(&line.ttl.unwrap()).unwrap(), 5_000);
        assert!(serde_json::from_str::<Line<'_>>(r#"{"user":"ann","text":"x","tll":5}"#).is_err());
        assert_eq!(span_ms(&Span::Text("10m".into())).unwrap(), 600_000);
        assert!(span_ms(&Span::Seconds(u64::MAX)).is_err() && span_ms(&Span::Text("soon".into())).is_err());
    }

    #[test]
    fn a_line_has_room_for_the_largest_payload_in_base64() {
        assert!(bytes_max(262_144) >= BASE64.encode(vec![0; 262_144]).len() + 4_096);
    }
}
