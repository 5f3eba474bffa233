//! The HTTP client of the internal port: one question, one whole answer, and the words for what can go wrong on the way.
//!
//! Serves the sender and the commands that talk to a running node. Knows paths and tokens only as they are given.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::time::Duration;

/// What is to be asked, for whoever asked something else.
const INTERNAL_PORT: &str = "the internal port of a node (7008 unless set)";
/// How long a connection may take to open, and an answer beyond what the question itself waits for.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read: a user's devices, or a batch's outcomes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Everything but the unreserved characters of RFC 3986, section 2.3.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A client of one node.
pub struct Client {
    agent: ureq::Agent,
    address: String,
    token: Option<String>,
    patience: Duration,
    wait: Duration,
}

/// What a node answered: the status, and the body when it is JSON, else null.
pub struct Answer {
    pub status: u16,
    pub body: Value,
    text: Vec<u8>,
}

/// Why there is no answer.
pub enum Failure {
    /// Nobody was asked: nothing listens at the address.
    Unreachable(String),
    /// The connection ended without an answer; the question may have been heard.
    Closed(String),
    /// The node wants a token, or another one; or it is none.
    Refused(String),
    /// Anything else; the question may have been heard.
    Other(String),
}

impl Failure {
    pub fn text(&self) -> &str {
        match self {
            Failure::Unreachable(text)
            | Failure::Closed(text)
            | Failure::Refused(text)
            | Failure::Other(text) => text,
        }
    }
}

/// The body of a request and its type.
pub struct Payload<'a> {
    pub content_type: Option<&'a str>,
    pub body: &'a [u8],
}

impl Client {
    /// For the node at `host:port`, with its token if it wants one. `wait` is added to the time that an answer may take;
    /// so many idle connections are `kept` for the next questions.
    pub fn new(address: String, token: Option<String>, wait: Duration, kept: usize) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_idle_connections(kept)
            .max_idle_connections_per_host(kept)
            .timeout_connect(Some(TIMEOUT))
            .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: agent.into(), address, token, patience: TIMEOUT, wait }
    }

    /// Waits for an answer no longer than this, where the question itself waits for nothing.
    pub fn patient_for(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The node's address, for words.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks, and reads the whole answer. A refused token is a failure here, as no command can go on from it.
    ///
    /// # Errors
    /// When there is no answer, or none for this token.
    pub fn ask(&self, method: &str, path: &str, payload: Option<&Payload<'_>>) -> Result<Answer, Failure> {
        self.ask_within(self.wait, method, path, payload)
    }

    /// The same, for a question that waits that long.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn ask_within(
        &self,
        wait: Duration,
        method: &str,
        path: &str,
        payload: Option<&Payload<'_>>,
    ) -> Result<Answer, Failure> {
        let uri = format!("http://{}{path}", self.address);
        let mut request = ureq::http::Request::builder().method(method).uri(uri);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(content_type) = payload.and_then(|payload| payload.content_type) {
            request = request.header("content-type", content_type);
        }
        let bad = |error: ureq::http::Error| Failure::Other(format!("cannot ask {}: {error}", self.address));
        let limit = Some(self.patience.saturating_add(wait));
        let answered = match payload {
            Some(payload) => {
                let request = self.agent.configure_request(request.body(payload.body).map_err(bad)?);
                self.agent.run(request.timeout_global(limit).build())
            }
            None => {
                let request = self.agent.configure_request(request.body(()).map_err(bad)?);
                self.agent.run(request.timeout_global(limit).build())
            }
        };
        let mut response = answered.map_err(|error| self.explain(&error))?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let text = text.map_err(|error| self.explain(&error))?;
        let body = serde_json::from_slice(&text).unwrap_or(Value::Null);
        let answer = Answer { status, body, text };
        match (status, &self.token) {
            (401, None) => {
                Err(Failure::Refused(format!("{} wants a token: --token-file or --token", self.address)))
            }
            (401, Some(_)) => Err(Failure::Refused(format!("{} does not know this token", self.address))),
            (403, _) => Err(Failure::Refused(answer.refusal("this token may not do that"))),
            _ => Ok(answer),
        }
    }

    fn explain(&self, error: &ureq::Error) -> Failure {
        use std::io::ErrorKind;
        let address = &self.address;
        let nothing =
            || Failure::Unreachable(format!("nothing listens at {address}: is the node running there?"));
        match error {
            ureq::Error::ConnectionFailed => nothing(),
            ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => nothing(),
            ureq::Error::Io(error)
                if [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof]
                    .contains(&error.kind()) =>
            {
                Failure::Closed(format!("{address} closed the connection without an answer"))
            }
            ureq::Error::Timeout(ureq::Timeout::Connect) => {
                Failure::Unreachable(format!("{address} did not take the connection in time"))
            }
            ureq::Error::Timeout(_) => Failure::Other(format!("{address} did not answer in time")),
            ureq::Error::HostNotFound => Failure::Unreachable(format!("the host of {address} is not known")),
            // Whatever the resolver says has no kind of its own.
            ureq::Error::Io(error) if error.to_string().starts_with("failed to lookup address") => {
                Failure::Unreachable(format!("the host of {address} is not known"))
            }
            ureq::Error::Protocol(_) => Failure::Refused(format!(
                "what answers at {address} does not speak HTTP: is that {INTERNAL_PORT}?"
            )),
            error => Failure::Other(format!("cannot ask {address}: {error}")),
        }
    }
}

impl Answer {
    /// The body's lines, each as JSON, or as null where it is none.
    pub fn lines(&self) -> impl Iterator<Item = Value> {
        let lines = self.text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap_or(Value::Null))
    }

    /// What the node said of a refusal, else these words with the status.
    pub fn refusal(&self, otherwise: &str) -> String {
        let status = self.status;
        match self.body.get("message").and_then(Value::as_str) {
            Some(message) => format!("{message} (status {status})"),
            // A node's refusals are objects; its port for clients, and other servers, know no such path.
            None if !self.body.is_object() => {
                format!("{otherwise} (status {status}): is that {INTERNAL_PORT}?")
            }
            None => format!("{otherwise} (status {status})"),
        }
    }
}

/// A part of a path or of a query, percent-encoded (RFC 3986, section 2.1).
pub fn escaped(part: &str) -> String {
    // A lone dot segment would be taken out of the path on the way (RFC 3986, section 5.2.4).
    match part {
        "." | ".." => part.replace('.', "%2E"),
        _ => utf8_percent_encode(part, ESCAPED).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_path_are_escaped() {
        assert_eq!(escaped("ann-1.x_y~"), "ann-1.x_y~");
        assert_eq!(escaped("a/b ?&=%ü"), "a%2Fb%20%3F%26%3D%25%C3%BC");
        assert_eq!((escaped("."), escaped("..")), ("%2E".into(), "%2E%2E".into()));
    }
}
