//! What an endpoint's answer means: who the client is, and for how long that may be used again.
//!
//! `200` with a JSON object lets the client in: `user`, and if there are any `device`, `exp` (when the connection ends) and
//! `iat` (when the credential was made), times in seconds since 1970; other members are passed over. `401` and `403` refuse it.
//! Everything else is a failure. Nothing of an answer is believed that is of the wrong type, there twice, or cut.

use super::desk::{Failure, Reply};
use crate::model::{Identity, Reason, identifier};
use hyper::{
    HeaderMap, StatusCode,
    header::{AGE, CACHE_CONTROL},
};
use serde::Deserialize;
use std::borrow::Cow;

/// The longest answer that is read, bytes.
pub const BODY_BYTES_MAX: usize = 16 * 1024;

/// What the endpoint says of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Who it is.
    Accept(Identity<'static>),
    /// Why it may not come in.
    Refuse(Reason),
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    /// Nobody is there, or whoever is there does not speak TLS, or not for this name.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// The connection ended before the answer had.
    #[error("the connection ended without an answer")]
    Died,
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// Another status than those that say something.
    #[error("it answered with status {0}")]
    Status(u16),
    /// It does not understand the question: what this client sent may be why.
    #[error("it answered with status {0}")]
    Question(u16),
    /// Longer than [`BODY_BYTES_MAX`].
    #[error("its answer is longer than 16 KiB")]
    TooLarge,
    /// It answered 200, but not with what it should.
    #[error("its answer is not a JSON object that names the user")]
    NoObject,
}

impl Problem {
    /// Its label among the results.
    pub fn label(&self) -> &'static str {
        match self {
            Problem::Unreachable(_) | Problem::Died => "unreachable",
            Problem::Timeout => "timeout",
            Problem::Status(_) | Problem::Question(_) => "failed",
            Problem::TooLarge | Problem::NoObject => "bad_answer",
        }
    }

    /// Whose fault it is.
    pub fn failure(&self) -> Failure {
        match self {
            Problem::Question(_) => Failure::Question,
            _ => Failure::Theirs,
        }
    }
}

/// Whether the body of an answer with this status says something.
///
/// # Errors
/// When the status says that there is no answer.
pub fn says_more(status: StatusCode) -> Result<bool, Problem> {
    match status.as_u16() {
        200 => Ok(true),
        401 | 403 => Ok(false),
        // Too long, or with something in it that is not allowed there: said of what this client sent.
        code @ (400 | 413 | 414 | 431) => Err(Problem::Question(code)),
        code => Err(Problem::Status(code)),
    }
}

#[derive(Deserialize)]
struct Members {
    user: String,
    device: Option<String>,
    exp: Option<f64>,
    iat: Option<f64>,
}

/// Reads a whole answer of status 200, 401 or 403. It may be kept no longer than `kept_max_ms`.
///
/// # Errors
/// When it says nothing of the client.
pub fn read(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    unix_ms: u64,
    kept_max_ms: u64,
) -> Result<Reply<Answer>, Problem> {
    let life_ms = life_ms(headers).min(kept_max_ms);
    if !says_more(status)? {
        return Ok(refusal(Reason::AuthFailed, life_ms));
    }
    let body = body.trim_ascii();
    // An array of the members' values would also be read.
    let object = Some(body).filter(|body| body.starts_with(b"{")).ok_or(Problem::NoObject)?;
    let members: Members = serde_json::from_slice(object).map_err(|_| Problem::NoObject)?;
    let is_name = |name: &str| identifier::check(name).is_ok();
    if !is_name(&members.user) || !members.device.as_deref().is_none_or(is_name) {
        // Only this client is concerned, and what it is called may be its own choice: no failure of the endpoint.
        return Ok(refusal(Reason::BadIdentity, life_ms));
    }
    let left_ms = members.exp.map_or(u64::MAX, |exp| ((exp * 1_000.0) as u64).saturating_sub(unix_ms));
    if left_ms == 0 {
        return Ok(refusal(Reason::AuthFailed, 0));
    }
    let identity = Identity {
        user: Cow::Owned(members.user),
        device: members.device.map(Cow::Owned),
        // A number below zero becomes zero.
        issued_unix_s: members.iat.map(|iat| iat as u64),
        expires_unix_s: members.exp.map(|exp| exp as u64),
    };
    Ok(Reply { answer: Answer::Accept(identity), accepted: true, life_ms: life_ms.min(left_ms) })
}

fn refusal(reason: Reason, life_ms: u64) -> Reply<Answer> {
    Reply { answer: Answer::Refuse(reason), accepted: false, life_ms }
}

/// For how long an answer may be used again (RFC 9111, section 5.2.2): `max-age`, less the age that it has already. What forbids
/// it wins, and of several the shortest; what is not understood counts as zero.
fn life_ms(headers: &HeaderMap) -> u64 {
    let mut life_s: Option<u64> = None;
    for line in headers.get_all(CACHE_CONTROL) {
        for directive in line.as_bytes().split(|&byte| byte == b',') {
            let (name, value) = match directive.iter().position(|&byte| byte == b'=') {
                Some(at) => (&directive[..at], directive.get(at + 1..).unwrap_or_default()),
                None => (directive, &b""[..]),
            };
            let name = name.trim_ascii();
            if name.eq_ignore_ascii_case(b"no-store") || name.eq_ignore_ascii_case(b"no-cache") {
                return 0;
            }
            if name.eq_ignore_ascii_case(b"max-age") {
                let seconds = seconds(value);
                life_s = Some(life_s.map_or(seconds, |known| known.min(seconds)));
            }
        }
    }
    let age_s = headers.get(AGE).map_or(0, |age| seconds(age.as_bytes()));
    life_s.unwrap_or(0).saturating_sub(age_s).saturating_mul(1_000)
}

/// A whole number of seconds, perhaps in quotes; 0 for anything else.
fn seconds(value: &[u8]) -> u64 {
    let value = value.trim_ascii();
    let plain = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    let is_number = !plain.is_empty() && plain.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(plain).ok().filter(|_| is_number);
    // Too many digits are for ever.
    text.map_or(0, |digits| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_MS: u64 = 2_000_000_000_000;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn read_with(status: u16, lines: &[(&'static str, &str)], body: &str) -> Result<Reply<Answer>, Problem> {
        let status = StatusCode::from_u16(status).unwrap();
        read(status, &headers(lines), body.as_bytes(), NOW_MS, 3_600_000)
    }

    fn identity(user: &str, device: Option<&str>, iat: Option<u64>, exp: Option<u64>) -> Answer {
        Answer::Accept(Identity {
            user: user.to_owned().into(),
            device: device.map(|device| device.to_owned().into()),
            issued_unix_s: iat,
            expires_unix_s: exp,
        })
    }

    #[test]
    fn an_object_says_who_it_is() {
        for (body, answer) in [
            (r#"{"user":"ada"}"#, identity("ada", None, None, None)),
            (r#" {"user":"ada","device":null,"other":[{}]}"#, identity("ada", None, None, None)),
            (
                r#"{"device":"phone","user":"jürgen","iat":1999999990.5,"exp":2000000060.9}"#,
                identity("jürgen", Some("phone"), Some(1_999_999_990), Some(2_000_000_060)),
            ),
            (r#"{"user":"ada","iat":-5}"#, identity("ada", None, Some(0), None)),
        ] {
            let reply = read_with(200, &[], body).unwrap();
            assert_eq!(reply, Reply { answer, accepted: true, life_ms: 0 }, "{body}");
        }
    }

    #[test]
    fn what_is_no_such_object_is_a_failure() {
        for body in [
            "",
            "null",
            "<html>hello</html>",
            "[\"ada\",null,null,null]",
            "{}",
            r#"{"user":7}"#,
            r#"{"user":null}"#,
            r#"{"user":"ada","user":"eve"}"#,
            r#"{"user":"ada","exp":"soon"}"#,
            r#"{"user":"ada","device":7}"#,
            r#"{"user":"ada"} {"user":"eve"}"#,
            r#"{"user":"ada""#,
            "\u{feff}{\"user\":\"ada\"}",
            "\"ada\"",
            r#"{"user":"ada","exp":1e999}"#,
            r#"{"sub":"ada"}"#,
        ] {
            assert_eq!(
                read_with(200, &[("cache-control", "max-age=60")], body),
                Err(Problem::NoObject),
                "{body}"
            );
        }
    }

    #[test]
    fn a_name_that_nobody_can_have_refuses_this_client_alone() {
        let long = "a".repeat(257);
        for name in ["", "a\\nb", "\\u0000", "\\u0085", &long] {
            for body in [format!(r#"{{"user":"{name}"}}"#), format!(r#"{{"user":"ada","device":"{name}"}}"#)]
            {
                let reply = read_with(200, &[], &body).unwrap();
                assert_eq!(reply, refusal(Reason::BadIdentity, 0), "{body}");
            }
        }
    }

    #[test]
    fn a_status_says_whose_fault_it_is() {
        for status in [401, 403] {
            let reply = read_with(status, &[("cache-control", "max-age=5")], "<html>").unwrap();
            assert_eq!(reply, refusal(Reason::AuthFailed, 5_000));
        }
        for status in [400, 413, 414, 431] {
            assert_eq!(read_with(status, &[], "").unwrap_err().failure(), Failure::Question, "{status}");
        }
        for status in [204, 206, 301, 302, 304, 307, 404, 407, 429, 500, 502, 503, 504] {
            assert_eq!(read_with(status, &[], r#"{"user":"ada"}"#), Err(Problem::Status(status)), "{status}");
            assert_eq!(Problem::Status(status).failure(), Failure::Theirs);
        }
    }

    #[test]
    fn it_may_be_kept_as_long_as_it_says_and_lives() {
        type Row<'r> = (&'r [(&'static str, &'r str)], &'r str, u64);
        let rows: &[Row<'_>] = &[
            (&[], r#"{"user":"a"}"#, 0),
            (&[("cache-control", "max-age=60")], r#"{"user":"a"}"#, 60_000),
            (&[("cache-control", "private, Max-Age=\"60\"")], r#"{"user":"a"}"#, 60_000),
            (&[("cache-control", "max-age=0")], r#"{"user":"a"}"#, 0),
            (&[("cache-control", "max-age=60, no-store")], r#"{"user":"a"}"#, 0),
            (&[("cache-control", "NO-CACHE"), ("cache-control", "max-age=60")], r#"{"user":"a"}"#, 0),
            (&[("cache-control", "max-age=60"), ("cache-control", "max-age=5")], r#"{"user":"a"}"#, 5_000),
            (&[("cache-control", "max-age=60"), ("age", "50")], r#"{"user":"a"}"#, 10_000),
            (&[("cache-control", "max-age=60"), ("age", "70")], r#"{"user":"a"}"#, 0),
            (&[("cache-control", "max-age=-1")], r#"{"user":"a"}"#, 0),
            (&[("cache-control", "max-age=1.5")], r#"{"user":"a"}"#, 0),
            (&[("cache-control", "max-age")], r#"{"user":"a"}"#, 0),
            (&[("cache-control", "s-maxage=60")], r#"{"user":"a"}"#, 0),
            (&[("cache-control", "max-age=99999999999999999999999")], r#"{"user":"a"}"#, 3_600_000),
            (&[("cache-control", "max-age=60")], r#"{"user":"a","exp":2000000007.5}"#, 7_500),
        ];
        for (lines, body, life_ms) in rows {
            assert_eq!(read_with(200, lines, body).unwrap().life_ms, *life_ms, "{lines:?} {body}");
        }
        // What has ended already lets nobody in.
        for exp in ["2000000000", "1999999999", "0", "-1"] {
            let body = format!(r#"{{"user":"a","exp":{exp}}}"#);
            let reply = read_with(200, &[("cache-control", "max-age=60")], &body).unwrap();
            assert_eq!(reply, refusal(Reason::AuthFailed, 0));
        }
    }

    proptest! {
        #[test]
        fn no_answer_is_a_surprise(status in 100..600u16, cache in "[ -~]{0,40}", body in prop::collection::vec(any::<u8>(), 0..60)) {
            let headers = headers(&[("cache-control", &cache)]);
            let reply = read(StatusCode::from_u16(status).unwrap(), &headers, &body, NOW_MS, 1_000);
            prop_assert!(reply.is_err() || [200, 401, 403].contains(&status));
            prop_assert!(!reply.is_ok_and(|reply| reply.life_ms > 1_000));
        }
    }
}
