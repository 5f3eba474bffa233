//! All books of a run in one place: what was sent, what came, and what the node counted meanwhile.

use crate::{
    compare::{self, Pair},
    fleet::Fleet,
    internal::Metrics,
    ledger::Ledger,
    nodes::Nodes,
    sender::Sender,
    worker::tally::Tally,
};
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// The books of one fleet, which has its nodes for itself.
pub struct Books {
    nodes: Nodes,
    before: Metrics,
    /// What was sent and what came.
    pub ledger: Ledger,
}

impl Books {
    /// Opens them: what the nodes have counted before is not ours.
    ///
    /// # Errors
    /// When one does not answer.
    pub fn open(nodes: impl Into<Nodes>) -> Result<Self, String> {
        let mut nodes = nodes.into();
        Ok(Self { before: nodes.metrics()?, nodes, ledger: Ledger::default() })
    }

    /// The nodes' metrics when they were opened.
    pub fn before(&self) -> &Metrics {
        &self.before
    }

    /// The nodes, to be asked.
    pub fn nodes(&mut self) -> &mut Nodes {
        &mut self.nodes
    }

    /// The numbers of both sides at this moment. While connections come and go they move as they are read: what the clients'
    /// own numbers moved by meanwhile is slack.
    ///
    /// # Errors
    /// When a node does not answer.
    pub fn look(&mut self, fleet: &mut Fleet) -> Result<(Tally, Vec<Pair>), String> {
        let before = fleet.tally();
        let metrics = self.nodes.metrics()?;
        let tally = fleet.tally();
        self.ledger.received(fleet.take_receipts());
        let pairs = |tally: &Tally| compare::pairs(tally, &self.ledger, &self.before, &metrics);
        let moved = pairs(&tally)
            .into_iter()
            .zip(pairs(&before))
            .map(|(now, then)| Pair { slack: now.slack + now.ours.abs_diff(then.ours), ..now });
        let pairs = moved.collect();
        Ok((tally, pairs))
    }

    /// Whether a look shows that all agree.
    pub fn are_even(&self, tally: &Tally, pairs: &[Pair], lossy: u64) -> bool {
        self.ledger.differences(tally, lossy).is_empty() && pairs.iter().all(Pair::agrees)
    }

    /// Pushes a message to each of these clients, and books it.
    ///
    /// # Errors
    /// When the node does not answer as it must.
    pub fn push(&mut self, sender: &mut Sender, clients: &[u32], meant_us: u64) -> Result<(), String> {
        self.ledger.sent(sender.push_to(clients, meant_us)?);
        Ok(())
    }

    /// Pushes a message to everybody, and books it.
    ///
    /// # Errors
    /// When the node does not answer as it must.
    pub fn push_to_all(&mut self, sender: &mut Sender, meant_us: u64) -> Result<(), String> {
        let (sequence, outcomes) = sender.broadcast(meant_us)?;
        self.ledger.sent_to_all(sequence, &outcomes);
        Ok(())
    }

    /// Waits until everything has come and all books agree, or the time is over: the last look. `lossy` is for
    /// [`Ledger::differences`].
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn settle(
        &mut self,
        fleet: &mut Fleet,
        within: Duration,
        lossy: u64,
    ) -> Result<(Tally, Vec<Pair>), String> {
        let deadline = Instant::now() + within;
        loop {
            let (tally, pairs) = self.look(fleet)?;
            if self.are_even(&tally, &pairs, lossy) || Instant::now() >= deadline {
                return Ok((tally, pairs));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Everything that a look showed and that is not as it must be, in sentences.
    pub fn differences(&self, tally: &Tally, pairs: &[Pair], lossy: u64) -> Vec<String> {
        let mut words = faults(tally);
        words.extend(self.ledger.differences(tally, lossy));
        words.extend(pairs.iter().filter(|pair| !pair.agrees()).map(Pair::words));
        words
    }
}

/// What the clients themselves have to complain of.
pub fn faults(tally: &Tally) -> Vec<String> {
    let mut words = Vec::new();
    if tally.faults > 0 {
        words.push(format!(
            "{} faults of the node in what it sent and how it ended connections; the first of them:",
            tally.faults
        ));
        words.extend(tally.fault_words.iter().cloned());
    }
    words
}
