//! What must be so of everything that a processor asks of the queue: nothing is committed without an outcome, every revoke is
//! released, and what is told of a record is true.
//!
//! Owns the account of each processor, as the seam between it and the queue shows it.

use super::records::{Handed, Hold, Made, Records, Told};
use crate::{
    bridge::queue::{Header, Output, Partition, Produce, Request},
    model::{Lane, Outcome},
    sim::kafka::{Kafka, TOPICS},
};
use std::collections::{BTreeMap, BTreeSet};

/// Where statuses and dead letters go.
pub const STATUS_TOPIC: &str = "status";
pub const DEAD_TOPIC: &str = "dead";
/// How long a message whose node cannot be reached is tried again.
pub const RETRY_MS: u64 = 8_000;

/// A partition, for one time that it is held.
#[derive(Default)]
struct Holding {
    log: usize,
    /// Offsets.
    handed: Vec<i64>,
    done: Option<i64>,
    finished: usize,
    /// All of its revoke is over.
    released: bool,
    /// It is another's.
    lost: bool,
}

/// One run of one node, as the queue knows it.
#[derive(Default)]
pub struct Account {
    holdings: BTreeMap<(Hold, usize), Holding>,
    /// Revokes that are to be released.
    revocations: BTreeMap<u64, Vec<Partition>>,
    /// The record and the place of what was told, by the report's id.
    reports: BTreeMap<u64, (usize, usize)>,
    /// What it should have counted.
    pub told: BTreeMap<(Lane, &'static str), u64>,
    /// Kafka's last answer was a refusal: now, and at any time since the last turn.
    is_refused: bool,
    was_refused: bool,
}

/// A processor's turn.
pub struct Turn<'a> {
    pub slot: usize,
    pub run: u64,
    pub now_us: u64,
    /// By the node's clock.
    pub unix_ms: u64,
    pub kafka: &'a Kafka,
}

impl Turn<'_> {
    fn hold(&self, partition: &Partition) -> Hold {
        (self.slot, self.run, partition.term)
    }

    fn key(&self, partition: &Partition) -> (Hold, usize) {
        (self.hold(partition), self.log(&partition.topic, partition.number))
    }

    fn log(&self, topic: &str, number: i32) -> usize {
        self.kafka.find(topic, number).unwrap_or_else(|| panic!("there is no partition {topic}/{number}"))
    }
}

impl Account {
    /// Whether it owes nothing.
    pub fn check_idle(&self) {
        assert!(self.revocations.is_empty(), "never released: {:?}", self.revocations);
        for ((hold, log), holding) in self.holdings.iter().filter(|(_, it)| !it.lost && !it.released) {
            assert_eq!(
                holding.finished,
                holding.handed.len(),
                "{hold:?} has not given back the room of {log}"
            );
            assert_eq!(holding.done, holding.handed.last().copied(), "{hold:?} is not done with {log}");
        }
    }

    /// Whether a revoke waits for it.
    pub fn is_revoked(&self) -> bool {
        !self.revocations.is_empty()
    }

    /// The queue delivers this.
    pub fn hear(&mut self, turn: &Turn<'_>, output: &Output, records: &mut Records) {
        match output {
            Output::Batch { records: batch, .. } => {
                for record in batch {
                    let key = turn.key(&record.partition);
                    let holding = self.holdings.get_mut(&key).expect("what is not held is not delivered");
                    holding.handed.push(record.offset);
                    let made = records.at((key.1, record.offset));
                    let (hold, at_us, unix_ms) = (key.0, turn.now_us, turn.unix_ms);
                    made.handed.push(Handed { hold, at_us, unix_ms });
                }
            }
            Output::Assigned { partitions } => {
                for (_, partition) in partitions {
                    let key = turn.key(partition);
                    self.holdings.insert(key, Holding { log: key.1, ..Holding::default() });
                }
            }
            Output::Revoked { revocation, partitions, lost } => {
                if !lost {
                    self.revocations.insert(*revocation, partitions.clone());
                }
                for partition in partitions {
                    let holding = self.holdings.get_mut(&turn.key(partition));
                    holding.into_iter().for_each(|holding| holding.lost |= *lost);
                }
            }
            Output::Produced { id, result } => {
                self.is_refused = result.is_err();
                self.was_refused |= self.is_refused;
                let (number, place) = self.reports.remove(id).expect("an answer to what was asked");
                records.all[number].told[place].answered = Some(result.is_ok());
            }
            Output::Lag { .. } | Output::Event(_) => {}
        }
    }

    /// The processor asks for this; `has_room` says what it is answered.
    pub fn ask(&mut self, turn: &Turn<'_>, request: &Request, has_room: bool, records: &mut Records) {
        match request {
            Request::Done { partition, offset } => self.check_done(turn, partition, *offset, records),
            Request::Finished { partition, records: count } => {
                if let Some(holding) = self.holdings.get_mut(&turn.key(partition)) {
                    holding.finished += count;
                    assert!(holding.finished <= holding.handed.len(), "more is finished than was begun");
                }
            }
            Request::Released { revocation } => {
                let partitions = self.revocations.remove(revocation);
                for partition in partitions.expect("a revoke that is not released yet") {
                    self.check_released(turn, &partition, records);
                }
            }
            // It is asked again, unless reports are not waited for: then it is lost, and counted.
            Request::Produce(produce) if has_room || self.is_refused => {
                self.check_report(turn, produce, has_room, records);
            }
            Request::Produce(_) => {}
            other => panic!("a processor does not ask for {other:?}"),
        }
    }

    /// The turn is over.
    pub fn end_turn(&mut self) {
        self.was_refused = self.is_refused;
    }

    /// Nothing is committed of which nothing was told, or whose reports may yet be lost.
    fn check_done(&mut self, turn: &Turn<'_>, partition: &Partition, offset: i64, records: &mut Records) {
        let key = turn.key(partition);
        let Some(holding) = self.holdings.get_mut(&key).filter(|it| !it.lost && !it.released) else { return };
        let last = holding.done.replace(offset);
        assert!(holding.handed.contains(&offset) && last < Some(offset), "{offset} is done after {last:?}");
        // Of several times that this run held it none can be told from another.
        let is_of_run = |told: &&Told| (told.hold.0, told.hold.1) == (turn.slot, turn.run);
        for &offset in holding.handed.iter().filter(|&&at| Some(at) > last && at <= offset) {
            let made = records.at((holding.log, offset));
            let all = &made.told;
            let told: Vec<&Told> = all.iter().filter(is_of_run).collect();
            assert!(
                !told.is_empty() || made.is_silent,
                "{} has no outcome, and is done: {:?}, told {all:?}",
                made.number,
                made.handed
            );
            let owed = told.iter().find(|it| it.hold == key.0 && it.is_owed && it.answered.is_none());
            assert!(owed.is_none(), "{} is done before Kafka has its report: {owed:?}", made.number);
        }
    }

    /// Nothing of it is under way any more.
    fn check_released(&mut self, turn: &Turn<'_>, partition: &Partition, records: &mut Records) {
        let key = turn.key(partition);
        let Some(holding) = self.holdings.get_mut(&key) else { return };
        holding.released = true;
        assert!(
            holding.lost || holding.finished == holding.handed.len(),
            "{key:?} is released with {} of {} finished",
            holding.finished,
            holding.handed.len()
        );
        for &offset in &holding.handed {
            let made = records.at((holding.log, offset));
            let told = made.told.iter().filter(|told| told.hold == key.0);
            let owed = told.filter(|told| told.is_owed && told.answered.is_none()).count();
            assert_eq!(owed, 0, "{} is released before Kafka has its report", made.number);
        }
    }

    fn check_report(&mut self, turn: &Turn<'_>, produce: &Produce, has_room: bool, records: &mut Records) {
        let place = match &*produce.topic {
            STATUS_TOPIC => place_of_status(turn, produce),
            DEAD_TOPIC => place_of_dead(turn, produce),
            other => panic!("a report to {other}"),
        };
        let made = records.at(place);
        let of_run = |handed: &&Handed| (handed.hold.0, handed.hold.1) == (turn.slot, turn.run);
        // Where it was lost and came back, the report may be of any of the times.
        let candidates: Vec<Handed> = made.handed.iter().filter(of_run).copied().collect();
        let said = Said::of(produce);
        let is_free = |handed: &&Handed| {
            let told = made.told.iter().filter(|told| told.hold == handed.hold);
            let mut same = told.filter(|told| {
                told.device == said.device && told.outcome.is_some() == said.outcome.is_some()
            });
            let is_released = self.holdings.get(&(handed.hold, place.0)).is_none_or(|it| it.released);
            same.next().is_none() && !is_released
        };
        let handed = *candidates.iter().find(is_free).unwrap_or_else(|| {
            let who = (turn.slot, turn.run);
            panic!("{} was not handed to {who:?}, is told of twice, or after its release", made.number)
        });
        said.check(turn, made, &candidates);
        // Of several times none can be told from another.
        let is_owed = !self.is_refused && !self.was_refused && candidates.len() == 1;
        let answered = (!has_room).then_some(false);
        let told = Told { hold: handed.hold, outcome: said.outcome, device: said.device, answered, is_owed };
        made.told.push(told);
        if let Some(outcome) = said.outcome {
            *self.told.entry((made.lane, outcome.label())).or_default() += 1;
        }
        if has_room {
            let id = produce.id.expect("reports are answered");
            let before = self.reports.insert(id, (made.number, made.told.len() - 1));
            assert_eq!(before, None, "two reports of one id");
        }
    }
}

fn place_of_status(turn: &Turn<'_>, produce: &Produce) -> (usize, i64) {
    let value = value_of(produce);
    let number = value["partition"].as_i64().expect("a partition") as i32;
    let log = turn.log(value["topic"].as_str().expect("a topic"), number);
    (log, value["offset"].as_i64().expect("an offset"))
}

fn place_of_dead(turn: &Turn<'_>, produce: &Produce) -> (usize, i64) {
    let number = |name: &str| text_of(&produce.headers, name).parse().expect("a number");
    let log = turn.log(&text_of(&produce.headers, "holdfast-topic"), number("holdfast-partition") as i32);
    (log, number("holdfast-offset"))
}

fn value_of(produce: &Produce) -> serde_json::Value {
    serde_json::from_slice(produce.value.as_deref().unwrap_or_default()).expect("a status")
}

fn text_of(headers: &[Header], name: &str) -> String {
    let header = headers.iter().rfind(|header| header.name == name.as_bytes());
    let value = header.and_then(|header| header.value.clone()).unwrap_or_default();
    String::from_utf8_lossy(&value).into_owned()
}

/// What a report says.
struct Said<'a> {
    produce: &'a Produce,
    outcome: Option<Outcome>,
    device: Option<String>,
}

impl<'a> Said<'a> {
    fn of(produce: &'a Produce) -> Self {
        if produce.topic == DEAD_TOPIC {
            return Said { produce, outcome: None, device: None };
        }
        let value = value_of(produce);
        let label = value["outcome"].as_str().expect("an outcome");
        let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.label() == label);
        Said {
            produce,
            outcome: Some(outcome.expect(label)),
            device: value["device"].as_str().map(str::to_owned),
        }
    }

    /// It is true, and says what it should.
    fn check(&self, turn: &Turn<'_>, made: &Made, handed: &[Handed]) {
        let (number, letter, produce) = (made.number, &made.letter, self.produce);
        assert_eq!(produce.key, letter.key, "the key of a report of {number}");
        assert!(produce.headers.starts_with(&letter.headers), "the headers of a report of {number}");
        let Some(outcome) = self.outcome else {
            let reason = text_of(&produce.headers, "holdfast-reason");
            assert_eq!(Some(&*reason), made.reason, "{number} is a dead letter");
            return assert_eq!(produce.value, letter.value, "the value of a dead letter");
        };
        let value = value_of(produce);
        assert_eq!(value["user"].as_str(), made.user.as_deref(), "the user of {number}");
        let id = made.has_id.then(|| format!("m{number}")).filter(|_| made.reason.is_none());
        assert_eq!(value["id"].as_str(), id.as_deref(), "the id of {number}");
        assert_eq!(
            value["lane"].as_str().map(|lane| format!("push.{lane}")).as_deref(),
            Some(TOPICS[usize::from(made.lane.0)])
        );
        let is_other = |wanted: &String| self.device.as_ref().is_some_and(|device| device != wanted);
        assert!(!made.device.as_ref().is_some_and(is_other), "{number} is not for {:?}", self.device);
        let is_expired = |unix_ms: u64| made.expires_ms.is_some_and(|at_ms| at_ms <= unix_ms);
        let began_expired = handed.iter().all(|handed| is_expired(handed.unix_ms));
        let alone = [Outcome::Offline, Outcome::Expired, Outcome::TooLarge];
        match (outcome, &self.device) {
            (Outcome::TooLarge, None) => assert_eq!(made.reason, Some("too_large")),
            _ if made.reason.is_some() => panic!("{number} cannot be read, and is {}", outcome.label()),
            (Outcome::Expired, None) => assert!(is_expired(turn.unix_ms), "{number} is not expired yet"),
            _ if began_expired => panic!("{number} was expired when it came, and is {}", outcome.label()),
            (_, None) => assert!(alone.contains(&outcome), "{number} is {} to nobody", outcome.label()),
            (Outcome::Failed, Some(device)) => {
                let tried = handed.iter().any(|it| it.at_us + RETRY_MS * 1_000 <= turn.now_us + 1_000);
                assert!(
                    tried || is_expired(turn.unix_ms),
                    "{number} failed to {device}, and was not tried again"
                );
            }
            _ => {}
        }
    }
}

/// What a processor has counted, and what it has told.
pub fn check_counts(told: &BTreeMap<(Lane, &'static str), u64>, counted: impl Fn(Lane, Outcome) -> u64) {
    let lanes: BTreeSet<Lane> = (0..TOPICS.len() as u8).map(Lane).collect();
    for lane in lanes {
        for outcome in Outcome::ALL {
            let told = told.get(&(lane, outcome.label())).copied().unwrap_or_default();
            assert_eq!(counted(lane, outcome), told, "{lane:?} {} counted and told", outcome.label());
        }
    }
}
