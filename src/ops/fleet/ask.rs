//! The questions: to many nodes side by side, each bounded in time.
//!
//! Owns threads and limits. What answers mean is in `answers`.

use super::{
    NodeView, State,
    answers::{self, Counts, Lease},
};
use crate::{clock::Clock, sender::http::Client};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

/// What a node may take for an answer.
pub const LIMIT: Duration = Duration::from_secs(2);
/// Nodes that are asked at the same time: a thread each.
pub const ASKED_AT_ONCE: usize = 32;
/// When nobody else is asked any more, since one view must not wait for hundreds that hang.
pub const VIEW_LIMIT: Duration = Duration::from_secs(8);

/// A node to ask.
pub(super) struct Task {
    pub(super) address: String,
    /// Whether it is asked for the other nodes, too.
    pub(super) nodes: bool,
}

/// What a node has answered.
#[derive(Clone)]
pub(super) struct Said {
    pub(super) address: String,
    /// When its counts came.
    pub(super) at: Duration,
    counts: Result<Counts, String>,
    pub(super) leases: Vec<Lease>,
}

/// How questions are put.
pub(super) struct Asker<'a> {
    pub(super) token: Option<&'a str>,
    /// For one answer.
    pub(super) limit: Duration,
    pub(super) clock: &'a Clock,
}

impl Asker<'_> {
    /// Asks all, side by side, and answers in their order.
    pub(super) fn all(&self, tasks: Vec<Task>) -> Vec<Said> {
        let threads = tasks.len().min(ASKED_AT_ONCE);
        let until = self.clock.micros() + VIEW_LIMIT.as_micros() as u64;
        let (waiting, done) = (Mutex::new(tasks.into_iter().enumerate()), Mutex::new(BTreeMap::new()));
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some((place, task)) = next() {
                let said = if self.clock.micros() < until { self.one(task) } else { late(task) };
                done.lock().unwrap_or_else(PoisonError::into_inner).insert(place, said);
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
    }

    fn one(&self, task: Task) -> Said {
        let token = self.token.map(str::to_owned);
        let client = Client::new(task.address, token, Duration::ZERO, 0).patient_for(self.limit);
        let odd = |what| format!("{} answers, but not as a node does: {what}", client.address());
        let counts = get(&client, "/v1/stats").and_then(|body| Counts::of(&body).map_err(odd));
        let at = Duration::from_micros(self.clock.micros());
        // One that has just shown that it does not answer is not waited for again.
        let is_asked = task.nodes && counts.is_ok();
        let leases = is_asked.then(|| get(&client, "/v1/nodes").ok()).flatten();
        let leases = leases.map(|body| answers::leases(&body)).unwrap_or_default();
        Said { address: client.address().to_owned(), at, counts, leases }
    }
}

fn get(client: &Client, path: &str) -> Result<serde_json::Value, String> {
    match client.ask("GET", path, None) {
        Ok(answer) if answer.status == 200 => Ok(answer.body),
        Ok(answer) => {
            Err(format!("{}: {}", client.address(), answer.refusal("it answers, but not as a node does")))
        }
        Err(failure) => Err(failure.text().to_owned()),
    }
}

fn late(task: Task) -> Said {
    let why = format!("{} was not asked: too many others did not answer in time", task.address);
    Said { address: task.address, at: Duration::ZERO, counts: Err(why), leases: Vec::new() }
}

impl Said {
    /// Its name: as it says, else that of the lease with its address, else the only one there is.
    pub(super) fn name<'a>(&'a self, leases: &'a BTreeMap<String, Lease>) -> Option<&'a str> {
        let own =
            self.counts.as_ref().ok().map(|counts| counts.node.as_str()).filter(|name| !name.is_empty());
        let here = || leases.values().find(|lease| lease.address == self.address);
        let only = || leases.values().next().filter(|_| leases.len() == 1 && self.counts.is_ok());
        own.or_else(|| here().or_else(only).map(|lease| lease.node.as_str()))
    }

    /// Its row.
    pub(super) fn node(&self) -> NodeView {
        let address = answers::words(&self.address);
        match &self.counts {
            Err(why) => NodeView::silent(address, answers::words(why)),
            Ok(counts) => NodeView {
                address,
                id: counts.node.clone(),
                region: counts.region.clone(),
                version: counts.version.clone(),
                state: if counts.drain_phase == "serving" { State::Serving } else { State::Draining },
                connections: counts.connections,
                capacity: counts.capacity,
                counts: Some(counts.clone()),
                rates: None,
            },
        }
    }
}
