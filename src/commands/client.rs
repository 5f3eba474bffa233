//! The HTTP client of the internal port, for commands that talk to a running node.
//!
//! Owns how an address and a token are found, and the words for what can go wrong on the way.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::{path::PathBuf, time::Duration};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read: a user's devices, or one message's outcomes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Everything but the unreserved characters of RFC 3986, section 2.3.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the node is, and who asks.
#[derive(clap::Args, Debug)]
pub struct NodeAddress {
    /// Internal address of the node [env: HOLDFAST_INTERNAL_LISTEN] [default: 127.0.0.1:7008]
    #[arg(long, value_name = "HOST:PORT")]
    internal: Option<String>,
    /// Token of the internal port; better in a file or the environment, as `ps` shows flags [env: HOLDFAST_INTERNAL_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// File that holds the token [env: HOLDFAST_INTERNAL_TOKEN_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
}

/// A client of one node.
pub struct Client {
    agent: ureq::Agent,
    address: String,
    token: Option<String>,
}

/// What a node answered: the status, and the body when it is JSON, else null.
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// Why there is no answer.
pub enum Failure {
    /// Nothing listens at the address.
    Unreachable(String),
    /// Anything else.
    Other(String),
}

impl Failure {
    pub fn text(&self) -> &str {
        match self {
            Failure::Unreachable(text) | Failure::Other(text) => text,
        }
    }
}

/// The body of a request and its type.
pub struct Payload<'a> {
    pub content_type: Option<&'a str>,
    pub body: &'a [u8],
}

impl NodeAddress {
    /// Makes the client; `wait` is added to the time that an answer may take.
    ///
    /// # Errors
    /// When the token's file cannot be read.
    pub fn client(&self, wait: Duration) -> Result<Client, String> {
        let token = self.token()?;
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            // One question a connection: a kept one that the node closed in between would look like a node that is gone.
            .max_idle_connections(0)
            .timeout_connect(Some(TIMEOUT))
            .timeout_global(Some(TIMEOUT + wait))
            .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Client { agent: agent.into(), address: self.address(), token })
    }

    /// `host:port`; the flag wins over the environment.
    pub fn address(&self) -> String {
        let address = self.internal.clone().or_else(|| variable("HOLDFAST_INTERNAL_LISTEN"));
        address.unwrap_or_else(|| "127.0.0.1:7008".into())
    }

    /// Flags win over the environment; the environment's token wins over its file.
    ///
    /// # Errors
    /// When the token's file cannot be read.
    pub fn token(&self) -> Result<Option<String>, String> {
        let from_file = |path: &PathBuf| {
            let read = crate::config::Secret::from_file(path);
            let text = read.map(|secret| Some(secret.reveal().to_owned()));
            text.map_err(|error| format!("cannot read the token file {}: {error}", path.display()))
        };
        if let Some(path) = &self.token_file {
            return from_file(path);
        }
        if let Some(token) = self.token.clone().or_else(|| variable("HOLDFAST_INTERNAL_TOKEN")) {
            return Ok(Some(token));
        }
        match variable("HOLDFAST_INTERNAL_TOKEN_FILE") {
            Some(path) => from_file(&path.into()),
            None => Ok(None),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Client {
    /// The node's address, for words.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks, and reads the whole answer. A refused token is a failure here, as no command can go on from it.
    ///
    /// # Errors
    /// When there is no answer, or none for this token.
    pub fn ask(&self, method: &str, path: &str, payload: Option<&Payload<'_>>) -> Result<Answer, Failure> {
        let uri = format!("http://{}{path}", self.address);
        let mut request = ureq::http::Request::builder().method(method).uri(uri);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(content_type) = payload.and_then(|payload| payload.content_type) {
            request = request.header("content-type", content_type);
        }
        let bad = |error: ureq::http::Error| Failure::Other(format!("cannot ask {}: {error}", self.address));
        let answered = match payload {
            Some(payload) => self.agent.run(request.body(payload.body).map_err(bad)?),
            None => self.agent.run(request.body(()).map_err(bad)?),
        };
        let mut response = answered.map_err(|error| self.explain(&error))?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let text = text.map_err(|error| self.explain(&error))?;
        let answer = Answer { status, body: serde_json::from_slice(&text).unwrap_or(Value::Null) };
        match (status, &self.token) {
            (401, None) => {
                Err(Failure::Other(format!("{} wants a token: --token-file or --token", self.address)))
            }
            (401, Some(_)) => Err(Failure::Other(format!("{} does not know this token", self.address))),
            (403, _) => Err(Failure::Other(answer.refusal("this token may not do that"))),
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
                Failure::Unreachable(format!("{address} closed the connection without an answer"))
            }
            ureq::Error::Timeout(_) => Failure::Other(format!("{address} did not answer in time")),
            ureq::Error::HostNotFound => Failure::Other(format!("the host of {address} is not known")),
            error => Failure::Other(format!("cannot ask {address}: {error}")),
        }
    }
}

impl Answer {
    /// What the node said of a refusal, else these words with the status.
    pub fn refusal(&self, otherwise: &str) -> String {
        match self.body.get("message").and_then(Value::as_str) {
            Some(message) => format!("{message} (status {})", self.status),
            None => format!("{otherwise} (status {})", self.status),
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

/// Lines up cells in columns, the first row being the head.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
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

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "b".into()], vec!["long".into(), String::new()]];
        assert_eq!(table(&rows), "a     b\nlong\n");
    }
}
