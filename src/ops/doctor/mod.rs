//! What a host can hold, which limit binds first, and what lifts it.
//!
//! Owns the judgement: values in ([`Question`]), a [`Report`] out. Reads nothing and changes nothing; `host` reads, the
//! registry and the queue are asked by those who know them.

pub mod ask;
pub mod tuned;

mod advice;
mod limits;
mod services;
mod text;

pub use services::{Endpoint, Queue, Registry};

use super::host::Host;
use serde::Serialize;
use std::net::SocketAddr;
use tuned::Setting;

/// What is asked, with everything that is known.
#[derive(Debug)]
pub struct Question<'a> {
    /// How many connections the host shall hold; None: as many as it can.
    pub connections: Option<u64>,
    /// Addresses from which balancers connect to the node; None: not told, or there is no balancer.
    pub balancer_addresses: Option<u64>,
    /// The process that was looked at; None: this one.
    pub process: Option<u32>,
    /// The host.
    pub host: &'a Host,
    /// The settings that it should have.
    pub tuned: &'a [Setting],
    /// The node that shall run on it.
    pub node: &'a Node,
    /// Redis, where the node has one, or why it cannot be asked.
    pub registry: Option<&'a Registry>,
    /// Kafka, where the node has one.
    pub queue: Option<&'a Queue>,
    /// The endpoint that is asked who clients are, where the node asks one.
    pub endpoint: Option<&'a Endpoint>,
}

/// A node's configuration, as far as a host must fit it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// `limits.connections`; None: as many as the descriptors allow.
    pub connections: Option<u64>,
    /// `node.shards`.
    pub shards: u64,
    /// `clients.listen`.
    pub listen: Vec<SocketAddr>,
    /// `internal.listen`.
    pub internal: SocketAddr,
    /// Whether clients come through a balancer that says who they are.
    pub is_behind_balancer: bool,
    /// `limits.memory`, in percent; 0: off.
    pub memory_percent: u64,
    /// `limits.buffer_bytes`.
    pub buffer_bytes: u64,
}

/// How bad something is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It could be better.
    Advice,
    /// It will hurt one day.
    Warning,
    /// What was asked for is not possible.
    Blocks,
}

/// Whether what was asked for fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No number was asked for.
    NotAsked,
    /// It does.
    Fits,
    /// It does not.
    DoesNotFit,
    /// No known limit is in the way of what was asked for, if anything was, but one that matters could not be read.
    Unknown,
}

/// The answer. Its JSON is documented for scripts: fields are added, and none changes.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Connections that were asked for.
    pub asked: Option<u64>,
    /// Connections that the host can hold, by what could be read; None: nothing is known that limits it.
    pub holds: Option<u64>,
    /// Whether the one fits the other.
    pub verdict: Verdict,
    /// The limit that binds first, by its key.
    pub binding: Option<&'static str>,
    /// The limit that would bind then.
    pub next: Option<&'static str>,
    /// What [`Self::lift`] makes room for.
    pub target: Option<u64>,
    /// What to do for that, in this order.
    pub lift: Vec<String>,
    /// Each limit, in the order in which they would bind.
    pub limits: Vec<Limit>,
    /// Settings of a tuned host that this one does not have.
    pub settings: Vec<Untuned>,
    /// How many settings of a tuned host could be read of this one.
    pub settings_known: usize,
    /// Everything else that was looked at.
    pub findings: Vec<Finding>,
    /// What could not be read, and so is not judged.
    pub unread: Vec<String>,
}

/// Something that bounds the connections of a node on this host.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Limit {
    /// Its name for scripts.
    pub limit: &'static str,
    /// Its name for people.
    pub title: String,
    /// Connections that it allows; None: it does not limit.
    pub allows: Option<u64>,
    /// How that comes, in words.
    pub because: String,
    /// Blocks where what was asked for does not fit; a warning where it keeps a host from what its memory could hold.
    pub level: Level,
    /// What to do so that it allows [`Report::target`]; empty where it does.
    pub lift: Vec<String>,
}

/// A setting of the kernel that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Untuned {
    /// Its name in sysctl(8).
    pub name: String,
    /// Its value.
    pub is: String,
    /// `at least`, `at most` or `exactly`.
    pub rule: String,
    /// What it should be.
    pub wants: String,
    /// Why.
    pub why: String,
    /// What breaks without it.
    pub without: String,
    /// What sets it, until the next start of the host.
    pub command: String,
}

/// Something that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What, in a word or two.
    pub subject: String,
    /// How bad it is.
    pub level: Level,
    /// What is so, and what follows from it.
    pub says: String,
    /// What to do about it.
    #[serde(rename = "do")]
    pub remedy: Vec<String>,
}

impl Finding {
    fn new(subject: impl Into<String>, level: Level, says: impl Into<String>) -> Self {
        Self { subject: subject.into(), level, says: says.into(), remedy: Vec::new() }
    }

    fn ok(subject: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(subject, Level::Ok, says)
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy.push(remedy.into());
        self
    }
}

/// Judges.
pub fn examine(question: &Question<'_>) -> Report {
    let mut unread = Vec::new();
    let (mut known, is_all_known) = limits::all(question, &mut unread);
    // Stable, so that of two that bind together the one that has to be lifted first comes first.
    known.sort_by_key(|limit| limit.allows.unwrap_or(u64::MAX));
    let holds = known.first().and_then(|first| first.allows);
    let next = known.iter().find(|limit| limit.allows > holds && limit.allows.is_some());
    let (next, next_allows) = (next.map(|limit| limit.key), next.and_then(|limit| limit.allows));
    let target = question.connections.or(next_allows);
    let binding = known.first().filter(|first| first.allows.is_some()).map(|first| first.key);
    let memory = known.iter().find(|limit| limit.key == "memory").and_then(|limit| limit.allows);
    let lift = limits::commands(question, &known, target);
    let limits = known.iter().map(|limit| limit.judged(question, target, memory)).collect();
    let verdict = match (question.connections, holds) {
        (Some(asked), Some(holds)) if holds < asked => Verdict::DoesNotFit,
        _ if !is_all_known => Verdict::Unknown,
        (None, _) => Verdict::NotAsked,
        (Some(_), _) => Verdict::Fits,
    };
    let settings = advice::untuned(question, &mut unread);
    let mut findings = advice::of_host(question, holds, &mut unread);
    let connections = question.connections.or(holds);
    findings.extend(question.registry.into_iter().flat_map(|it| services::of_registry(it, connections)));
    findings.extend(question.queue.into_iter().flat_map(services::of_queue));
    findings.extend(question.endpoint.into_iter().map(services::of_endpoint));
    unread.sort_unstable();
    unread.dedup();
    Report {
        asked: question.connections,
        holds,
        verdict,
        binding,
        next,
        target: target.filter(|_| !lift.is_empty()),
        lift,
        limits,
        settings,
        settings_known: advice::read_settings(question),
        findings,
        unread,
    }
}

impl Report {
    /// Whether what was asked for fits, or nothing was, and what a node needs besides is there.
    pub fn is_good(&self) -> bool {
        let is_blocked = self.findings.iter().any(|finding| finding.level == Level::Blocks);
        matches!(self.verdict, Verdict::Fits | Verdict::NotAsked) && !is_blocked
    }

    /// For people, in lines of 80 letters; with the reasons of each setting, where that is asked for.
    pub fn text(&self, is_explained: bool) -> String {
        text::render(self, is_explained)
    }

    /// For scripts: one object.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("maps with names for keys") + "\n"
    }
}

#[cfg(test)]
mod tests;
