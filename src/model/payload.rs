//! What a payload is, by its content type, whichever way it came.

use super::Body;
use bytes::Bytes;

/// What a payload is taken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// No content type, `text/*`, or a form.
    Text,
    /// JSON.
    Json,
    /// Anything else.
    Binary,
}

impl Kind {
    /// Reads a content type.
    pub fn of(content_type: Option<&[u8]>) -> Self {
        let Some(value) = content_type else { return Kind::Text };
        let essence = value.split(|&byte| byte == b';').next().unwrap_or(value).trim_ascii();
        let starts = |prefix: &[u8]| {
            essence.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let ends = |suffix: &[u8]| {
            let at = essence.len().checked_sub(suffix.len());
            at.is_some_and(|at| essence[at..].eq_ignore_ascii_case(suffix))
        };
        if essence.is_empty()
            || starts(b"text/")
            || essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
        {
            Kind::Text
        } else if essence.eq_ignore_ascii_case(b"application/json") || ends(b"+json") {
            Kind::Json
        } else {
            Kind::Binary
        }
    }

    /// A content type that reads as this.
    pub fn content_type(self) -> &'static str {
        match self {
            Kind::Text => "text/plain",
            Kind::Json => "application/json",
            Kind::Binary => "application/octet-stream",
        }
    }

    /// Checks a payload.
    ///
    /// # Errors
    /// When text is not UTF-8 or JSON is not one JSON value.
    pub fn body(self, payload: impl Into<Bytes>) -> Result<Body, BadPayload> {
        let payload = payload.into();
        if self == Kind::Binary {
            return Ok(Body::Binary(payload));
        }
        let text = simdutf8::basic::from_utf8(&payload).map_err(|_| BadPayload::NotText)?;
        if self == Kind::Text {
            return Ok(Body::Text(payload));
        }
        match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Ok(Body::Json(payload)),
            Err(fault) => Err(BadPayload::NotJson(fault.to_string())),
        }
    }
}

/// Why a payload was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadPayload {
    /// Text, or JSON, that is not UTF-8.
    #[error("not UTF-8: for other bytes give the content type application/octet-stream")]
    NotText,
    /// UTF-8, but not one JSON value.
    #[error("not JSON: {0}")]
    NotJson(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn content_types() {
        for (value, kind) in [
            ("text/plain", Kind::Text),
            ("Text/HTML; charset=utf-8", Kind::Text),
            ("application/x-www-form-urlencoded", Kind::Text),
            ("", Kind::Text),
            ("application/json", Kind::Json),
            ("Application/JSON ; charset=utf-8", Kind::Json),
            ("application/vnd.team+json", Kind::Json),
            ("application/octet-stream", Kind::Binary),
            ("image/png", Kind::Binary),
            ("application/jsonl", Kind::Binary),
        ] {
            assert_eq!(Kind::of(Some(value.as_bytes())), kind, "{value}");
        }
        assert_eq!(Kind::of(None), Kind::Text);
    }

    #[test]
    fn payloads_are_what_they_claim_to_be() {
        assert_eq!(Kind::Text.body(&b"\xff"[..]), Err(BadPayload::NotText));
        assert_eq!(Kind::Json.body(&b"\"\xff\""[..]), Err(BadPayload::NotText));
        assert!(Kind::Binary.body(&b"\xff"[..]).unwrap().is_binary());
        for bad in ["", "{", "1 2", "nul", "{\"a\":}"] {
            assert!(matches!(Kind::Json.body(bad), Err(BadPayload::NotJson(_))), "{bad}");
        }
        assert_eq!(Kind::Json.body(" [1] ").unwrap(), Body::Json(" [1] ".into()));
        assert_eq!(Kind::Text.body("{").unwrap(), Body::Text("{".into()));
    }

    proptest! {
        #[test]
        fn no_content_type_panics(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            Kind::of(Some(&bytes));
        }
    }
}
