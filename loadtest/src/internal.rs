//! The node's internal port: requests and their answers, and the metrics that it tells.

use std::{collections::BTreeMap, fmt, io::ErrorKind, net::SocketAddr, time::Duration};

/// How long an answer may take: a broadcast waits for slow clients.
pub const PATIENCE: Duration = Duration::from_secs(60);
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
impl fmt::Debug for Internal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
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
        self.ask_within(PATIENCE, method, path, content_type, body)
    }

    /// The same, and says how long the answer may take.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn ask_within(
        &self,
        within: Duration,
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
            [] => self.agent.run(self.patient(request.body(()).map_err(cannot)?, within)),
            _ => self.agent.run(self.patient(request.body(body).map_err(cannot)?, within)),
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

    fn patient<B: ureq::AsSendBody>(
        &self,
        request: ureq::http::Request<B>,
        within: Duration,
    ) -> ureq::http::Request<B> {
        self.agent.configure_request(request).timeout_global(Some(within)).build()
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

/// What a node that has ended has no more of.
const GAUGES: [&str; 4] = [
    "holdfast_connections",
    "holdfast_connections_capacity",
    "holdfast_resident_bytes",
    "holdfast_build_info",
];

fn is_of(series: &str, name: &str) -> bool {
    series.strip_prefix(name).is_some_and(|labels| labels.is_empty() || labels.starts_with('{'))
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

    /// Adds another node's.
    pub fn add(&mut self, other: &Metrics) {
        for (series, value) in &other.0 {
            *self.0.entry(series.clone()).or_default() += value;
        }
    }

    /// The same of a node that has ended since: what was open is closed.
    pub fn closed(&self) -> Metrics {
        let mut closed = self.clone();
        let open = self.sum("holdfast_connections", "{");
        closed.0.retain(|series, _| !GAUGES.iter().any(|gauge| is_of(series, gauge)));
        *closed.0.entry("holdfast_closes_total{reason=\"ended\"}".into()).or_default() += open;
        closed
    }

    /// How many series have this name.
    pub fn count(&self, name: &str) -> u32 {
        self.0.keys().filter(|series| is_of(series, name)).count() as u32
    }

    /// The value of a label in the first series of this name.
    pub fn label(&self, name: &str, label: &str) -> Option<&str> {
        let (series, _) = self.0.range(name.to_owned()..).next().filter(|(series, _)| is_of(series, name))?;
        series.split_once(&format!("{label}=\""))?.1.split('"').next()
    }

    /// How much a counter has grown since another scrape.
    pub fn growth(&self, since: &Metrics, name: &str, label: &str) -> f64 {
        self.sum(name, label) - since.sum(name, label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_added_up_by_name_and_label() {
        let text =
            "# HELP a b\na{x=\"1\"} 2\na{x=\"2\",y=\"1\"} 3\na_total 5\nab{x=\"1\"} 7\nplain 1.5\nbroken\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a", ""), 5.0);
        assert_eq!(metrics.sum("a", "x=\"1\""), 2.0);
        assert_eq!(metrics.sum("plain", ""), 1.5);
        assert_eq!(metrics.sum("absent", ""), 0.0);
        assert_eq!(metrics.growth(&Metrics::default(), "a_total", ""), 5.0);
        assert_eq!(metrics.label("a", "y"), None);
        assert_eq!(metrics.label("ab", "x"), Some("1"));
        let mut both = metrics.clone();
        both.add(&Metrics::parse("a_total 1\nother 2\n"));
        assert_eq!((both.sum("a_total", ""), both.sum("other", "")), (6.0, 2.0));
    }

    #[test]
    fn a_node_that_has_ended_has_closed_what_was_open() {
        let seen = Metrics::parse(
            "holdfast_connections{protocol=\"sse\"} 3\nholdfast_connections_capacity 9\n\
             holdfast_closes_total{reason=\"x\"} 2\nholdfast_handshakes_total{result=\"accepted\"} 5\n",
        );
        let closed = seen.closed();
        assert_eq!(closed.sum("holdfast_connections", ""), 0.0);
        assert_eq!(closed.sum("holdfast_connections_capacity", ""), 0.0);
        assert_eq!(closed.sum("holdfast_closes_total", ""), 5.0);
        assert_eq!(closed.sum("holdfast_handshakes_total", ""), 5.0);
    }
}
