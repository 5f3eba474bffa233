//! Every record of the queue: what it says, to which processors it was handed, what they told of it, and who heard it.
//!
//! Owns what must be so of each of them at every moment. What must be so of a processor's requests is [`super::judge`]'s.

use super::ledger::Ear;
use crate::{
    bridge::queue::Header,
    kit::random::Random,
    model::{Body, Lane, Outcome},
    sim::{
        kafka::Letter,
        ledger::{body, line_ends, number_of},
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// The largest payload, bytes.
pub const PUSH_BYTES: usize = 200;

/// One time that a partition was held: slot, run and term.
pub type Hold = (usize, u64, u32);

/// One record.
pub struct Made {
    pub number: usize,
    pub lane: Lane,
    /// Partition and offset.
    pub place: (usize, i64),
    pub user: Option<String>,
    pub device: Option<String>,
    pub has_id: bool,
    pub expires_ms: Option<u64>,
    /// Why it cannot be read.
    pub reason: Option<&'static str>,
    /// Nobody need be told: it cannot be read, and there is no topic for such, or reports were not waited for.
    pub is_silent: bool,
    pub letter: Letter,
    pub handed: Vec<Handed>,
    pub told: Vec<Told>,
    /// By which members, and how often.
    pub heard_by: BTreeMap<usize, usize>,
    body: Body,
}

/// A record was handed to a processor.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Handed {
    pub hold: Hold,
    pub at_us: u64,
    /// What the node's clock said.
    pub unix_ms: u64,
}

/// A processor told of a record.
#[derive(Clone, Debug)]
pub struct Told {
    pub hold: Hold,
    /// None: it is a dead letter.
    pub outcome: Option<Outcome>,
    pub device: Option<String>,
    /// Whether Kafka took it, as far as the processor knows.
    pub answered: Option<bool>,
    /// The record is not done before that is known.
    pub is_owed: bool,
}

/// What a sender wants.
pub struct Wish {
    pub lane: Lane,
    pub user: String,
    pub device: Option<String>,
    /// Its life, ms.
    pub life_ms: Option<u64>,
    pub reason: Option<&'static str>,
    pub has_id: bool,
}

/// See the module.
#[derive(Default)]
pub struct Records {
    pub all: Vec<Made>,
    places: BTreeMap<(usize, i64), usize>,
    /// By member, partition and holding: the last offset that was heard of it.
    heard: BTreeMap<(usize, usize, Hold), i64>,
    /// By member and partition: the highest offset that was heard.
    highest: BTreeMap<(usize, usize), i64>,
    /// Reports may be told of late, as there is little room for them.
    tells_late: bool,
    /// Messages that were heard again, after they had been handed over again.
    pub repeats: u64,
}

impl Records {
    /// None yet. `tells_late`: there is little room for reports.
    pub fn new(tells_late: bool) -> Self {
        Self { tells_late, ..Self::default() }
    }

    /// Makes a record; `place` says where it stands once it is written. `lane_ms` is the life that its lane gives, `unix_ms` the
    /// fleet's own clock.
    pub fn make(
        &mut self,
        wish: Wish,
        lane_ms: Option<u64>,
        unix_ms: u64,
        place: impl FnOnce(&Letter) -> (usize, i64),
    ) -> usize {
        let number = self.all.len();
        let mut random = Random::seeded(number as u64);
        let (size, binary) = (random.below(60) as usize, random.below(8) == 0);
        let size = if wish.reason == Some("too_large") { 2 * PUSH_BYTES } else { size };
        let body = body(&wish.user, number, size, binary);
        let Wish { lane, user, device, life_ms, reason, has_id } = wish;
        let expires_ms = life_ms.map(|life_ms| unix_ms + life_ms);
        let mut headers = Vec::new();
        if binary {
            headers.push(Header::new("content-type", "application/octet-stream"));
        }
        if has_id {
            headers.push(Header::new("id", format!("m{number}")));
        }
        headers.extend(device.iter().map(|device| Header::new("device", device.clone())));
        headers.extend(expires_ms.map(|at_ms| Header::new("expires", at_ms.to_string())));
        let mut letter =
            Letter { key: Some(user.clone().into()), value: Some(body.bytes().clone()), headers };
        spoil(&mut letter, reason, &mut random);
        let place = place(&letter);
        self.places.insert(place, number);
        self.all.push(Made {
            number,
            lane,
            place,
            user: (reason != Some("no_key") && reason != Some("key")).then_some(user),
            device,
            has_id,
            expires_ms: expires_ms.or(lane_ms.map(|ms| unix_ms + ms)),
            reason,
            is_silent: false,
            letter,
            handed: Vec::new(),
            told: Vec::new(),
            heard_by: BTreeMap::new(),
            body,
        });
        number
    }

    /// Which stands there.
    pub fn at(&mut self, place: (usize, i64)) -> &mut Made {
        let number = self.places.get(&place).unwrap_or_else(|| panic!("there is no record at {place:?}"));
        &mut self.all[*number]
    }

    /// A client has heard a message.
    ///
    /// # Panics
    /// When it is not for that client, or not what comes next. `is_doubtful`: a frame of it may have come although its sender
    /// had given it up.
    pub fn hear(&mut self, ear: &Ear<'_>, body: &[u8], binary: bool, is_doubtful: impl Fn(usize) -> bool) {
        let number = number_of(body).expect("a message that somebody sent");
        let made = self.all.get_mut(number).expect("a message that was sent");
        assert_eq!(made.user.as_deref(), Some(ear.user), "record {number} reached another user");
        assert_eq!(made.reason, None, "record {number} cannot be read, and was delivered");
        let is_for_it = made.device.as_deref().is_none_or(|device| device == ear.device);
        assert!(is_for_it, "record {number} for {:?} reached {}", made.device, ear.device);
        let plain = made.body.bytes();
        let is_same = match ear.stream && !binary {
            true => line_ends(plain) == line_ends(body),
            false => plain == body,
        };
        assert!(is_same && binary == made.body.is_binary(), "record {number} was changed on its way");
        let times = made.heard_by.entry(ear.member).or_default();
        *times += 1;
        self.repeats += u64::from(*times > 1);
        assert!(
            *times == 1 || !made.has_id,
            "record {number} has an id, and was heard twice by {}",
            ear.member
        );
        let is_first = *times == 1;
        if !is_doubtful(number) {
            self.advance(number, ear.member);
            self.look_back(number, ear.member, is_first);
        }
    }

    /// What is heard for the first time after what follows it was concluded before that.
    fn look_back(&mut self, number: usize, member: usize, is_first: bool) {
        let made = &self.all[number];
        let (log, offset) = made.place;
        let highest = self.highest.entry((member, log)).or_insert(offset);
        let is_late = is_first && offset < *highest;
        *highest = offset.max(*highest);
        assert!(
            !is_late || self.tells_late || !made.told.is_empty(),
            "member {member} heard {number} after what follows it, and never before: {:?}",
            made.handed
        );
    }

    /// Of each holding a client hears what is for it in its order. Several processors at once have held the partition only where
    /// one was killed, or given up by the group, or hurried.
    fn advance(&mut self, number: usize, member: usize) {
        let made = &self.all[number];
        let (log, offset) = made.place;
        assert!(!made.handed.is_empty(), "record {number} was heard, and handed to nobody");
        let last_of = |hold: Hold| self.heard.get(&(member, log, hold)).copied().unwrap_or(-1);
        let fitting = made.handed.iter().map(|handed| handed.hold).filter(|&hold| last_of(hold) < offset);
        let Some(hold) = fitting.max_by_key(|&hold| last_of(hold)) else {
            panic!("member {member} heard {number} at {log}/{offset} too late: {:?}", made.handed);
        };
        self.heard.insert((member, log, hold), offset);
    }

    /// At rest: every record has its outcomes, and who was written to has heard it. `device_of` is a member's name for itself.
    pub fn check_all(&self, device_of: impl Fn(usize) -> String) {
        for made in &self.all {
            // Where Kafka refuses reports they are not waited for, and may be lost with their node.
            let arrived = made.told.iter().any(|told| told.answered.is_some() || !told.is_owed);
            assert!(
                arrived || made.is_silent,
                "nothing was told of record {}: {:?} {:?}",
                made.number,
                made.handed,
                made.told
            );
            let heard: BTreeSet<String> = made.heard_by.keys().map(|&member| device_of(member)).collect();
            for told in &made.told {
                if let (Some(Outcome::Written), Some(device)) = (told.outcome, &told.device) {
                    assert!(
                        heard.contains(device),
                        "{} was written to {device}, who heard nothing",
                        made.number
                    );
                }
            }
        }
    }
}

/// Makes a letter unreadable.
fn spoil(letter: &mut Letter, reason: Option<&'static str>, random: &mut Random) {
    let which = random.below(3);
    match reason {
        Some("no_key") => letter.key = (which == 0).then(Default::default),
        Some("key") => letter.key = Some(if which == 0 { &b"\xff\xfe"[..] } else { b"a\x01b" }.into()),
        Some("header") => letter.headers.push(match which {
            0 => Header::new("expires", "soon"),
            1 => Header::new("device", ""),
            _ => Header::new("id", &b"\xff"[..]),
        }),
        Some("body") => {
            letter.headers.push(Header::new("content-type", "application/json"));
            letter.value = (which == 0).then(|| "{".into());
        }
        _ => {}
    }
}
