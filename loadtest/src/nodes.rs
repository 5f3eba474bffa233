//! The internal ports of all nodes of a run, read as if they were one.

use crate::internal::{Internal, Metrics};

/// The nodes that a run may ask. Never empty.
#[derive(Clone, Debug)]
pub struct Nodes {
    ports: Vec<Port>,
}

#[derive(Clone, Debug)]
struct Port {
    internal: Internal,
    /// What it said at first.
    first: Option<Metrics>,
    /// What it said last.
    seen: Option<Metrics>,
    /// It does not answer any more.
    is_gone: bool,
}

impl Port {
    fn new(internal: Internal) -> Self {
        Self { internal, first: None, seen: None, is_gone: false }
    }
}

impl From<Internal> for Nodes {
    fn from(internal: Internal) -> Self {
        Self { ports: vec![Port::new(internal)] }
    }
}

impl Nodes {
    /// None where there are no ports.
    pub fn new(ports: Vec<Internal>) -> Option<Self> {
        let ports: Vec<Port> = ports.into_iter().map(Port::new).collect();
        (!ports.is_empty()).then_some(Self { ports })
    }

    /// Their metrics at this moment, added up. A node that has answered before and does so no more is counted as it was
    /// then, with its connections closed.
    ///
    /// # Errors
    /// When one does not answer that never did, or none does any more.
    pub fn metrics(&mut self) -> Result<Metrics, String> {
        let mut sum = Metrics::default();
        let mut last_words = None;
        for port in &mut self.ports {
            match (port.internal.metrics(), &port.seen) {
                (Ok(metrics), _) => {
                    sum.add(&metrics);
                    port.is_gone = false;
                    port.first.get_or_insert_with(|| metrics.clone());
                    port.seen = Some(metrics);
                }
                (Err(words), None) => return Err(words),
                (Err(words), Some(seen)) => {
                    sum.add(&seen.closed());
                    port.is_gone = true;
                    last_words = Some(words);
                }
            }
        }
        match last_words.filter(|_| self.ports.iter().all(|port| port.is_gone)) {
            Some(words) => Err(words),
            None => Ok(sum),
        }
    }

    /// Each with what it said at first.
    pub fn each(&self) -> impl ExactSizeIterator<Item = (&Internal, Option<&Metrics>)> {
        self.ports.iter().map(|port| (&port.internal, port.first.as_ref()))
    }

    /// Those that answered the last time, for requests in turn.
    pub fn alive(&self) -> Vec<Internal> {
        self.ports.iter().filter(|port| !port.is_gone).map(|port| port.internal.clone()).collect()
    }

    /// The one that joined last.
    pub fn last(&self) -> &Internal {
        &self.ports.last().expect("there is a node").internal
    }
}
