//! The node's internal port: pushes with their outcomes, metrics, drains.

use crate::{
    clock::Run,
    ledger::{Fate, Sent},
    message::{self, Message, To},
    plan::{DEVICE, Settings},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    io::ErrorKind,
    net::SocketAddr,
    time::Duration,
};

/// How long an answer may take: a broadcast waits for slow clients.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest answer that is read, bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The internal port of one node.
#[derive(Clone)]
pub struct Internal {
    agent: ureq::Agent,
    address: SocketAddr,
    token: Option<String>,
}

/// Without its token.
impl std::fmt::Debug for Internal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Internal").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Internal {
    /// The port at this address; the token may be that of any role that suffices.
    pub fn new(address: SocketAddr, token: Option<String>) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .user_agent(concat!("holdfast-loadtest/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: agent.into(), address, token }
    }

    /// Asks; gives the status and the body.
    ///
    /// # Errors
    /// When there is no answer, or the token does not suffice: what to do.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<(u16, String), String> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("content-type", content_type);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let cannot = |error: ureq::http::Error| format!("cannot ask {}: {error}", self.address);
        let answered = match body {
            [] => self.agent.run(request.body(()).map_err(cannot)?),
            _ => self.agent.run(request.body(body).map_err(cannot)?),
        };
        let mut response = answered.map_err(|error| self.explain(&error))?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let text = text.map_err(|error| self.explain(&error))?;
        match status {
            401 => Err(format!(
                "the internal port {} wants another token: --token or --token-file",
                self.address
            )),
            403 => Err(format!("the internal port {} refuses {path} (403): {}", self.address, text.trim())),
            _ => Ok((status, text)),
        }
    }

    fn explain(&self, error: &ureq::Error) -> String {
        let address = self.address;
        let refused = match error {
            ureq::Error::ConnectionFailed => true,
            ureq::Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
            _ => false,
        };
        if refused {
            return format!(
                "nothing listens at {address}: is the node running, and is this its internal address?"
            );
        }
        format!("no answer from the internal port {address}: {error}")
    }

    /// The node's metrics at this moment.
    ///
    /// # Errors
    /// When there is no answer, or none with metrics.
    pub fn metrics(&self) -> Result<Metrics, String> {
        let (status, text) = self.ask("GET", "/metrics", "text/plain", b"")?;
        let metrics = Metrics::parse(&text);
        if status != 200 || metrics.0.is_empty() {
            return Err(format!(
                "{} answers {status} to /metrics: is it a node's internal port?",
                self.address
            ));
        }
        Ok(metrics)
    }
}

/// Series of the Prometheus text format, by name with labels.
#[derive(Clone, Default, Debug)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads a scrape.
    pub fn parse(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(series.collect())
    }

    /// All series of a name that have this in their labels, added up; `""` is in all.
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let of_name = self.0.range(name.to_owned()..).take_while(|(series, _)| series.starts_with(name));
        let labels = of_name.filter_map(|(series, value)| Some((series.strip_prefix(name)?, value)));
        let wanted = labels
            .filter(|(labels, _)| (labels.is_empty() || labels.starts_with('{')) && labels.contains(label));
        wanted.map(|(_, value)| value).sum()
    }

    /// How much a counter has grown since another scrape.
    pub fn growth(&self, since: &Metrics, name: &str, label: &str) -> f64 {
        self.sum(name, label) - since.sum(name, label)
    }
}

/// Pushes to the clients of one run.
pub struct Sender {
    internal: Internal,
    run: Run,
    prefix: String,
    /// Size of a body, bytes.
    size: usize,
    sequences: HashMap<u32, u32>,
    broadcasts: u32,
}

impl Sender {
    /// A sender to these settings' users.
    pub fn new(internal: Internal, run: Run, settings: &Settings, size: usize) -> Self {
        let prefix = settings.prefix.clone();
        Self { internal, run, prefix, size, sequences: HashMap::new(), broadcasts: 0 }
    }

    /// The port that it sends to.
    pub fn internal(&self) -> &Internal {
        &self.internal
    }

    /// Makes the following messages larger or smaller.
    pub fn resize(&mut self, size: usize) {
        self.size = size;
    }

    fn body(&self, to: To, sequence: u32, meant_us: u64) -> String {
        let mut body = Vec::with_capacity(self.size + 80);
        message::write(&mut body, self.run.id, &Message { to, sequence, meant_us }, self.size);
        String::from_utf8(body).expect("bodies are ASCII")
    }

    fn next_for(&mut self, client: u32) -> u32 {
        let sequence = self.sequences.entry(client).or_default();
        *sequence += 1;
        *sequence
    }

    /// Pushes one message to each of these clients in one request; a client may be named several times.
    ///
    /// # Errors
    /// When there is no answer, or not one for each.
    pub fn push_batch(&mut self, clients: &[u32], meant_us: u64) -> Result<Vec<Sent>, String> {
        let (mut request, mut sent) = (String::new(), Vec::with_capacity(clients.len()));
        for &client in clients {
            let sequence = self.next_for(client);
            let text = self.body(To::Client(client), sequence, meant_us);
            let user = format!("{}{client}", self.prefix);
            request.push_str(&json!({ "user": user, "text": text }).to_string());
            request.push('\n');
            sent.push((client, sequence));
        }
        let (status, text) =
            self.internal.ask("POST", "/v1/messages", "application/x-ndjson", request.as_bytes())?;
        let answers: Vec<&str> = text.lines().collect();
        if status != 200 || answers.len() != sent.len() {
            return Err(format!("{} answers to {} messages (status {status})", answers.len(), sent.len()));
        }
        let pairs = sent.into_iter().zip(answers);
        pairs.map(|((client, sequence), answer)| judge(client, sequence, answer)).collect()
    }

    /// Pushes one message to one client by a request of its own.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn push(&mut self, client: u32, meant_us: u64) -> Result<Sent, String> {
        let sequence = self.next_for(client);
        let body = self.body(To::Client(client), sequence, meant_us);
        let path = format!("/v1/users/{}{client}/push", self.prefix);
        let (_, text) = self.internal.ask("POST", &path, "text/plain", body.as_bytes())?;
        judge(client, sequence, &text)
    }

    /// Pushes one message to everybody; gives its number and how many had which outcome.
    ///
    /// # Errors
    /// When there is no answer, or none that counts.
    pub fn broadcast(&mut self, meant_us: u64) -> Result<(u32, BTreeMap<String, u64>), String> {
        self.broadcasts += 1;
        let body = self.body(To::All, self.broadcasts, meant_us);
        let (status, text) = self.internal.ask("POST", "/v1/broadcast", "text/plain", body.as_bytes())?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let outcomes = answer["outcomes"].as_object().filter(|_| status == 200);
        let outcomes =
            outcomes.ok_or_else(|| format!("a broadcast was answered {status}: {}", text.trim()))?;
        let counts = outcomes.iter().filter_map(|(outcome, count)| Some((outcome.clone(), count.as_u64()?)));
        Ok((self.broadcasts, counts.collect()))
    }

    /// Has a user's connections closed, as an operator does; says whether there was one.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn disconnect(&self, client: u32) -> Result<bool, String> {
        let path = format!("/v1/users/{}{client}", self.prefix);
        Ok(self.internal.ask("DELETE", &path, "text/plain", b"")?.0 == 202)
    }
}

/// What an answer says of one message.
fn judge(client: u32, sequence: u32, answer: &str) -> Result<Sent, String> {
    let value: Value =
        serde_json::from_str(answer).map_err(|_| format!("an answer that is no JSON: {}", answer.trim()))?;
    let outcome = match (&value["outcomes"], &value["error"]) {
        (Value::Array(outcomes), _) => match outcomes.as_slice() {
            [] => "offline".to_owned(),
            [one] if one["device"] == DEVICE || one["device"].is_null() => {
                one["outcome"].as_str().unwrap_or("").to_owned()
            }
            _ => return Err(format!("outcomes of devices that were not addressed: {}", answer.trim())),
        },
        (_, Value::String(error)) => error.clone(),
        _ => return Err(format!("an answer without an outcome: {}", answer.trim())),
    };
    let fate = Fate::of(&outcome);
    Ok(Sent { client, sequence, outcome, fate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_added_up_by_name_and_label() {
        let metrics = Metrics::parse(
            "# HELP a b\na{x=\"1\"} 2\na{x=\"2\",y=\"1\"} 3\na_total 5\nab{x=\"1\"} 7\nplain 1.5\nbroken\n",
        );
        assert_eq!(metrics.sum("a", ""), 5.0);
        assert_eq!(metrics.sum("a", "x=\"1\""), 2.0);
        assert_eq!(metrics.sum("plain", ""), 1.5);
        assert_eq!(metrics.sum("absent", ""), 0.0);
        assert_eq!(metrics.growth(&Metrics::default(), "a_total", ""), 5.0);
    }

    #[test]
    fn answers_are_judged() {
        let outcome = |answer: &str| judge(1, 2, answer).map(|sent| sent.outcome);
        let one = r#"{"id":"a","outcomes":[{"device":"load","outcome":"written","node":"n"}]}"#;
        assert_eq!(outcome(one), Ok("written".into()));
        assert_eq!(outcome(r#"{"id":"a","outcomes":[]}"#), Ok("offline".into()));
        assert_eq!(outcome(r#"{"error":"too_large","message":"no"}"#), Ok("too_large".into()));
        assert!(outcome(r#"{"outcomes":[{"device":"other","outcome":"written"}]}"#).is_err());
        assert!(outcome("{}").is_err() && outcome("no").is_err());
    }
}
