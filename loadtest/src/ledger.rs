//! What was sent, with what the node said became of it, against what came.

use crate::worker::tally::{Receipt, Tally};
use std::collections::{BTreeMap, HashMap};

/// Differences of one kind that are told one by one; all are counted.
const TOLD: usize = 5;

/// What an outcome means for the client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fate {
    /// It comes, once.
    Comes,
    /// It comes once or not at all.
    MayCome,
    /// It does not come.
    Stays,
}

impl Fate {
    /// Of an outcome. A slow message was possibly begun, and is then ended.
    pub fn of(outcome: &str) -> Self {
        match outcome {
            "written" | "acked" => Fate::Comes,
            "slow" => Fate::MayCome,
            _ => Fate::Stays,
        }
    }
}

/// One message for one client, and what the node said became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The client's number.
    pub client: u32,
    /// The message's.
    pub sequence: u32,
    /// What the node said, `written` or another outcome; the error's word when it was refused.
    pub outcome: String,
    /// What that means for the client.
    pub fate: Fate,
}

/// Books of one run. Messages for one client and copies of broadcasts are kept apart.
#[derive(Default, Debug)]
pub struct Ledger {
    /// Sent, and not known to have come.
    awaited: HashMap<(u32, u32), Fate>,
    /// Came, and not known to have been sent: the answer is under way, or something is wrong.
    early: HashMap<(u32, u32), u32>,
    /// By number: copies that come, and that may come.
    broadcasts: Vec<(u64, u64)>,
    /// Outcomes that the node told of messages for single clients.
    pub direct: BTreeMap<String, u64>,
    /// Outcomes that it told of copies of broadcasts.
    pub copies: BTreeMap<String, u64>,
}

impl Ledger {
    /// Books what was sent to single clients.
    pub fn sent(&mut self, messages: Vec<Sent>) {
        for Sent { client, sequence, outcome, fate } in messages {
            *self.direct.entry(outcome).or_default() += 1;
            let key = (client, sequence);
            match (self.early.remove(&key), fate) {
                (Some(1), Fate::Comes | Fate::MayCome) => {}
                (Some(times), fate) => {
                    self.early.insert(key, times);
                    self.awaited.insert(key, fate);
                }
                (None, fate) => {
                    self.awaited.insert(key, fate);
                }
            }
        }
    }

    /// Books the counts of a broadcast.
    pub fn sent_to_all(&mut self, sequence: u32, outcomes: &BTreeMap<String, u64>) {
        let at = sequence as usize;
        if self.broadcasts.len() <= at {
            self.broadcasts.resize(at + 1, (0, 0));
        }
        for (outcome, &count) in outcomes {
            *self.copies.entry(outcome.clone()).or_default() += count;
            match Fate::of(outcome) {
                Fate::Comes => self.broadcasts[at].0 += count,
                Fate::MayCome => self.broadcasts[at].1 += count,
                Fate::Stays => {}
            }
        }
    }

    /// Books what came for single clients.
    pub fn received(&mut self, receipts: Vec<Receipt>) {
        for Receipt { client, sequence } in receipts {
            let key = (client, sequence);
            match self.awaited.get(&key) {
                Some(Fate::Comes | Fate::MayCome) => {
                    self.awaited.remove(&key);
                }
                Some(Fate::Stays) | None => *self.early.entry(key).or_default() += 1,
            }
        }
    }

    /// How many of an outcome the node told, of both kinds.
    pub fn outcomes(&self, outcome: &str) -> u64 {
        [&self.direct, &self.copies].iter().filter_map(|counts| counts.get(outcome)).sum()
    }

    /// Copies and messages that the node wrote and that have not come.
    pub fn missing(&self, tally: &Tally) -> u64 {
        let copies =
            (0..self.broadcasts.len()).map(|at| self.broadcasts[at].0.saturating_sub(copies(tally, at)));
        self.lost().count() as u64 + copies.sum::<u64>()
    }

    fn lost(&self) -> impl Iterator<Item = (u32, u32)> {
        self.awaited.iter().filter(|(_, fate)| **fate == Fate::Comes).map(|(key, _)| *key)
    }

    /// What differs, in sentences. So many that the node wrote may be missing: a client that resets its connection takes
    /// what is on its way with it.
    pub fn differences(&self, tally: &Tally, lossy: u64) -> Vec<String> {
        let mut words = Vec::new();
        let is_missing = self.missing(tally) > lossy;
        let mut lost: Vec<_> = self.lost().collect();
        lost.sort_unstable();
        if is_missing && !lost.is_empty() {
            words.push(format!("{} message(s) that the node wrote did not come", lost.len()));
            tell(&mut words, &lost, |(client, sequence)| {
                format!("client {client}: message {sequence} did not come")
            });
        }
        let mut strange: Vec<_> = self.early.keys().copied().collect();
        strange.sort_unstable();
        if !strange.is_empty() {
            words.push(format!("{} message(s) came that should not have", strange.len()));
            tell(&mut words, &strange, |key| {
                let (client, sequence) = key;
                let why = match self.awaited.get(&key) {
                    Some(Fate::Stays) => "though the node said that it was not written",
                    _ => "twice, or it was never sent",
                };
                format!("client {client}: message {sequence} came {why}")
            });
        }
        for at in 0..self.broadcasts.len().max(tally.copies.len()) {
            let (come, may) = self.broadcasts.get(at).copied().unwrap_or_default();
            let came = copies(tally, at);
            if is_missing && came < come || came > come + may {
                words.push(format!("broadcast {at}: {came} copies came, the node wrote {come}"));
            }
        }
        words
    }
}

fn copies(tally: &Tally, at: usize) -> u64 {
    tally.copies.get(at).copied().unwrap_or(0).into()
}

fn tell(words: &mut Vec<String>, keys: &[(u32, u32)], say: impl Fn((u32, u32)) -> String) {
    words.extend(keys.iter().take(TOLD).map(|&key| say(key)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(client: u32, sequence: u32, outcome: &str) -> Sent {
        Sent { client, sequence, outcome: outcome.into(), fate: Fate::of(outcome) }
    }

    fn receipts(keys: &[(u32, u32)]) -> Vec<Receipt> {
        keys.iter().map(|&(client, sequence)| Receipt { client, sequence }).collect()
    }

    #[test]
    fn books_are_even_whatever_comes_first() {
        let mut ledger = Ledger::default();
        ledger.received(receipts(&[(1, 1)]));
        ledger.sent(vec![
            sent(1, 1, "written"),
            sent(2, 1, "written"),
            sent(3, 1, "offline"),
            sent(4, 1, "slow"),
        ]);
        assert_eq!(ledger.differences(&Tally::default(), 0).len(), 2);
        ledger.received(receipts(&[(2, 1)]));
        assert!(ledger.differences(&Tally::default(), 0).is_empty());
        assert_eq!(ledger.outcomes("written"), 2);
    }

    #[test]
    fn what_is_lost_doubled_or_unsaid_is_told() {
        let mut ledger = Ledger::default();
        ledger.sent(vec![sent(1, 1, "written"), sent(2, 1, "written"), sent(3, 1, "stale")]);
        ledger.received(receipts(&[(2, 1), (2, 1), (3, 1), (9, 9)]));
        let words = ledger.differences(&Tally::default(), 0).join("\n");
        assert!(words.contains("client 1: message 1 did not come"), "{words}");
        assert!(words.contains("client 2: message 1 came twice"), "{words}");
        assert!(words.contains("client 3: message 1 came though"), "{words}");
        assert!(words.contains("client 9: message 9 came twice, or it was never sent"), "{words}");
        let lenient = ledger.differences(&Tally::default(), 1).join("\n");
        assert!(!lenient.contains("did not come"), "{lenient}");
    }

    #[test]
    fn copies_are_counted_by_broadcast() {
        let mut ledger = Ledger::default();
        let written = BTreeMap::from([("written".to_owned(), 3), ("slow".to_owned(), 1)]);
        ledger.sent_to_all(1, &written);
        let of = |count| Tally { copies: vec![0, count], ..Tally::default() };
        assert!(ledger.differences(&of(3), 0).is_empty());
        assert_eq!(ledger.differences(&of(2), 0), ["broadcast 1: 2 copies came, the node wrote 3"]);
        assert!(ledger.differences(&of(2), 1).is_empty() && ledger.differences(&of(4), 0).is_empty());
        assert_eq!(ledger.differences(&of(5), 0).len(), 1);
        let stray = Tally { copies: vec![0, 3, 1], ..Tally::default() };
        assert_eq!(ledger.differences(&stray, 0).len(), 1);
    }
}
