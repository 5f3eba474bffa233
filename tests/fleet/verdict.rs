//! What must be true of every load, whatever happened meanwhile.

use crate::{
    node::Node,
    traffic::{Fate, LANE, Record, Sent, Session},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

/// What a kernel has taken may get lost with a connection that ends so soon after.
const LOST_WITHIN: Duration = Duration::from_secs(5);

/// Connections of a device that a failure shows.
const SHOWN: usize = 20;

/// Numbers to look at, and to show with a failure.
#[derive(Debug, Default)]
pub struct Counts {
    pub outcomes: BTreeMap<String, usize>,
    pub offline: usize,
    pub refused: usize,
    pub unanswered: usize,
    /// Written to connections that were cut before it was heard.
    pub lost: usize,
    /// Heard on two connections of one device.
    pub twice: usize,
    pub sessions: usize,
    pub displaced: usize,
    pub slowest: Duration,
}

/// What a node says it has counted: messages by their outcomes.
pub struct Tally {
    /// The node's number.
    at: usize,
    id: String,
    counted: BTreeMap<&'static str, usize>,
}

const OUTCOMES: [&str; 9] =
    ["written", "offline", "stale", "slow", "rate_limited", "expired", "too_large", "duplicate", "failed"];

impl Tally {
    pub fn of(at: usize, node: &Node) -> Self {
        let count = |outcome: &'static str| {
            let labels = format!("{{lane=\"{LANE}\",outcome=\"{outcome}\"}}");
            (outcome, node.metric(&format!("holdfast_messages_total{labels}")) as usize)
        };
        Self { at, id: node.id.clone(), counted: OUTCOMES.map(count).into() }
    }
}

impl Record {
    /// Checks everything, also against what the nodes have counted that are still there, by their numbers.
    pub fn check(&self, nodes: &[(usize, &Node)]) -> Counts {
        let heard = self.heard();
        let mut counts = Counts { sessions: self.sessions.len(), ..Counts::default() };
        counts.displaced = self.sessions.iter().filter(|session| session.was_displaced).count();
        self.show_displaced();
        for sent in &self.sent {
            counts.slowest = counts.slowest.max(sent.took);
            match &sent.fate {
                Fate::Outcomes(_) => self.check_outcomes(sent, &heard, &mut counts),
                Fate::Offline => {
                    counts.offline += 1;
                    let anybody =
                        self.devices_of(&sent.user).find(|&it| heard.contains_key(&(it, sent.number)));
                    assert_eq!(
                        anybody, None,
                        "{} was said to be offline and has heard {}",
                        sent.user, sent.number
                    );
                }
                Fate::Refused => counts.refused += 1,
                Fate::Unanswered => counts.unanswered += 1,
            }
        }
        self.check_calm();
        counts.twice = heard.values().filter(|&&times| times > 1).count();
        for &(at, node) in nodes {
            self.check_tally(&Tally::of(at, node));
        }
        // Shown of tests that fail only.
        println!("{counts:?}");
        counts
    }

    /// Shows the life of each device that had a connection displaced: its nodes, and from when to when it was there.
    fn show_displaced(&self) {
        let Some(began) = self.sessions.iter().map(|session| session.opened).min() else { return };
        let of = |device: usize| self.sessions.iter().filter(move |session| session.device == device);
        for device in (0..self.devices.len()).filter(|&it| of(it).any(|session| session.was_displaced)) {
            println!("{:?}:", self.devices[device]);
            for session in of(device).take(SHOWN) {
                let Session { at, opened, ended, was_displaced, .. } = session;
                let mark = if *was_displaced { ", displaced" } else { "" };
                println!("  node-{}, {:?} to {:?}{mark}", at + 1, *opened - began, *ended - began);
            }
        }
    }

    /// When nothing is amiss, everything is written to every device.
    fn check_calm(&self) {
        for sent in self.sent.iter().filter(|sent| sent.number >= self.calm_from) {
            let names = self.devices_of(&sent.user).map(|it| self.devices[it].1.clone());
            let mut all: Vec<_> = names.map(|name| (name, "written".to_owned())).collect();
            all.sort();
            assert_eq!(
                sent.fate,
                Fate::Outcomes(all),
                "{} {} in the calm, through {}",
                sent.user,
                sent.number,
                sent.at
            );
        }
    }

    /// How often each device has heard each message: on one connection once at most, and only the user's own.
    fn heard(&self) -> HashMap<(usize, u64), usize> {
        let sent: HashMap<u64, &str> =
            self.sent.iter().map(|sent| (sent.number, sent.user.as_str())).collect();
        let mut all = HashMap::new();
        for session in &self.sessions {
            let mut once = HashSet::new();
            for text in &session.heard {
                let (user, number) = text.rsplit_once(' ').unwrap_or_default();
                let number: u64 = number.parse().unwrap_or_else(|_| panic!("{text:?} was sent by nobody"));
                assert_eq!(user, self.devices[session.device].0, "{text} came to somebody else");
                assert_eq!(sent.get(&number), Some(&user), "{text}");
                assert!(once.insert(number), "{text} came twice on one connection");
                *all.entry((session.device, number)).or_default() += 1;
            }
        }
        all
    }

    fn devices_of<'a>(&'a self, user: &'a str) -> impl Iterator<Item = usize> + 'a {
        (0..self.devices.len()).filter(move |&number| self.devices[number].0 == user)
    }

    fn check_outcomes(&self, sent: &Sent, heard: &HashMap<(usize, u64), usize>, counts: &mut Counts) {
        let Fate::Outcomes(outcomes) = &sent.fate else { return };
        let (user, number) = (&sent.user, sent.number);
        assert!(!outcomes.is_empty(), "{user} {number}");
        let mut once = HashSet::new();
        for (name, outcome) in outcomes {
            assert!(once.insert(name), "{user} {number}: two outcomes for {name}: {outcomes:?}");
            let device = self.devices_of(user).find(|&it| self.devices[it].1 == *name);
            let device = device.unwrap_or_else(|| panic!("{user} has no {name}: {outcomes:?}"));
            let was_heard = heard.contains_key(&(device, number));
            *counts.outcomes.entry(outcome.clone()).or_default() += 1;
            match outcome.as_str() {
                "written" if !was_heard => {
                    let was_cut =
                        self.sessions.iter().any(|session| session.device == device && lost(sent, session));
                    assert!(
                        was_cut,
                        "{user} {number} was written to {name}, whose connection lived, and never came"
                    );
                    counts.lost += 1;
                }
                // A node may end, or a link break, between its writing and its saying so.
                "written" | "failed" | "slow" | "stale" => {}
                other => assert!(!was_heard, "{user} {number} was {other} for {name}, and was heard"),
            }
        }
    }

    /// One outcome a device, and one for who is nowhere: what the node says it has counted is what its senders were told.
    pub fn check_tally(&self, tally: &Tally) {
        let Tally { at, id, counted } = tally;
        let mut told: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut at_least, mut at_most) = (0, 0);
        for sent in self.sent.iter().filter(|sent| sent.at == *at) {
            match &sent.fate {
                Fate::Outcomes(outcomes) => {
                    for (_, outcome) in outcomes {
                        *told.entry(outcome).or_default() += 1;
                    }
                }
                Fate::Offline => *told.entry("offline").or_default() += 1,
                // One for each device that was found, or one for nobody.
                Fate::Refused => {
                    at_least += 1;
                    at_most += self.devices_of(&sent.user).count();
                }
                Fate::Unanswered => panic!("{id} has not answered {}", sent.number),
            }
        }
        let failed = told.remove("failed").unwrap_or(0);
        for outcome in OUTCOMES.into_iter().filter(|&outcome| outcome != "failed") {
            assert_eq!(counted[outcome], told.get(outcome).copied().unwrap_or(0), "{outcome} at {id}");
        }
        let counted = counted["failed"];
        let range = failed + at_least..=failed + at_most;
        assert!(range.contains(&counted), "{counted} failed at {id}, and senders were told of {range:?}");
    }
}

/// Whether a message that was written may have got lost with this connection.
fn lost(sent: &Sent, session: &Session) -> bool {
    let answered = sent.began + sent.took;
    session.was_cut
        && session.opened <= answered
        && session.ended >= sent.began
        && session.ended <= answered + LOST_WITHIN
}
