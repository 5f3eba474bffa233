//! What must be true of every load through Kafka, whatever happened meanwhile: nothing is lost that was not reported.

use crate::{load::Produced, reader::Report, traffic::Session};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

/// What a kernel has taken may get lost with a connection that ends so soon after.
const LOST_WITHIN: Duration = Duration::from_secs(5);
/// How much later than the write its report may be made.
const REPORTED_WITHIN: Duration = Duration::from_secs(2);
/// Outcomes that are of a device.
const OF_A_DEVICE: [&str; 6] = ["written", "acked", "stale", "slow", "rate_limited", "duplicate"];

/// All that was seen of a load.
pub struct Evidence {
    pub produced: Vec<Produced>,
    /// What clients heard, device by device and in order.
    pub sessions: Vec<Session>,
    /// Users and names.
    pub devices: Vec<(String, String)>,
    pub reports: Vec<Report>,
    /// The numbers of dead letters.
    pub dead: Vec<u64>,
    /// One moment by both clocks.
    pub moment: (Instant, i64),
}

/// What may have happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Amiss {
    /// How often partitions went from one processor to another, or brokers to an earlier state: for each, the tail of a
    /// sequence may come again.
    pub repeats: usize,
    /// From this message on nothing was amiss.
    pub calm_from: u64,
}

/// Numbers to look at, and to show with a failure.
#[derive(Debug, Default)]
pub struct Counts {
    pub outcomes: BTreeMap<String, usize>,
    pub dead: usize,
    /// Messages that brokers may have or not, of which nothing was seen.
    pub unknown: usize,
    /// Reported as written, to connections that were cut before it was heard.
    pub lost: usize,
    /// Heard more than once by one device.
    pub twice: usize,
    /// How often a sequence went back, at most, of a device and lane.
    pub went_back: usize,
    pub sessions: usize,
}

/// A message that a device heard: its sequence and number, and the number of the connection.
struct Heard {
    sequence: u64,
    number: u64,
    session: usize,
}

impl Evidence {
    pub fn check(&self, amiss: Amiss) -> Counts {
        let by_number: HashMap<u64, &Produced> = self.produced.iter().map(|it| (it.number, it)).collect();
        let mut reports: HashMap<u64, Vec<&Report>> = HashMap::new();
        for report in &self.reports {
            self.check_report(report, &by_number);
            reports.entry(report.number).or_default().push(report);
        }
        let heard = self.heard(&by_number);
        let mut counts = Counts { sessions: self.sessions.len(), dead: self.dead.len(), ..Counts::default() };
        self.check_accounted(&reports, &mut counts);
        self.check_written(&heard, &mut counts);
        self.check_heard(&heard, &reports, amiss, &mut counts);
        self.check_calm(&heard, &reports, amiss);
        // Shown of tests that fail only.
        println!("{counts:?}");
        counts
    }

    /// A report says of its message what is so.
    fn check_report(&self, report: &Report, by_number: &HashMap<u64, &Produced>) {
        let message = by_number.get(&report.number).unwrap_or_else(|| panic!("nobody produced {report:?}"));
        assert_eq!(
            (&report.user, report.lane, &report.id),
            (&message.user, message.lane, &message.id),
            "{report:?} of {message:?}"
        );
        if let Some(place) = &message.place {
            assert_eq!(report.place, *place, "{report:?} of {message:?}");
        }
        match &report.device {
            Some(device) => {
                let known = self.devices.contains(&(report.user.clone(), device.clone()));
                assert!(known && report.outcome != "offline", "{report:?}");
            }
            None => assert!(!OF_A_DEVICE.contains(&report.outcome.as_str()), "{report:?}"),
        }
    }

    /// What each device has heard, in order: only what is its user's, and once on a connection if it has an id.
    fn heard(&self, by_number: &HashMap<u64, &Produced>) -> Vec<[Vec<Heard>; 3]> {
        let mut all: Vec<[Vec<Heard>; 3]> = self.devices.iter().map(|_| Default::default()).collect();
        for (at, session) in self.sessions.iter().enumerate() {
            let mut once = HashSet::new();
            for text in &session.heard {
                let number = text.rsplit_once(' ').and_then(|(_, number)| number.parse().ok());
                let message = number.and_then(|number: u64| by_number.get(&number));
                let message = message.unwrap_or_else(|| panic!("{text:?} was produced by nobody"));
                let Produced { number, user, lane, sequence, id, .. } = message;
                assert_eq!(*user, self.devices[session.device].0, "{text} came to somebody else");
                let whole = format!("{user} {} {sequence} {number}", crate::lanes::LANES[*lane]);
                assert_eq!(*text, whole, "it came as it was produced");
                assert!(once.insert(number) || id.is_none(), "{text} has an id, and came twice");
                let heard = Heard { sequence: *sequence, number: *number, session: at };
                all[session.device][*lane].push(heard);
            }
        }
        all
    }

    /// Everything that a broker has is reported, or is a dead letter.
    fn check_accounted(&self, reports: &HashMap<u64, Vec<&Report>>, counts: &mut Counts) {
        let dead: HashSet<u64> = self.dead.iter().copied().collect();
        let is_seen = |it: &&Produced| reports.contains_key(&it.number) || dead.contains(&it.number);
        let unseen: Vec<&Produced> = self.produced.iter().filter(|it| !is_seen(it)).collect();
        counts.unknown = unseen.iter().filter(|it| it.place.is_none()).count();
        let missing: Vec<_> = unseen.iter().filter(|it| it.place.is_some()).collect();
        assert!(
            missing.is_empty(),
            "{} messages have no outcome, such as {:?}",
            missing.len(),
            &missing[..missing.len().min(5)]
        );
        for report in &self.reports {
            *counts.outcomes.entry(report.outcome.clone()).or_default() += 1;
        }
    }

    /// What is said to be written was heard, or has got lost with its connection.
    fn check_written(&self, heard: &[[Vec<Heard>; 3]], counts: &mut Counts) {
        let numbers: Vec<HashSet<u64>> =
            heard.iter().map(|lanes| lanes.iter().flatten().map(|it| it.number).collect()).collect();
        for report in self.reports.iter().filter(|it| it.outcome == "written") {
            let device = self.device_of(report);
            if numbers[device].contains(&report.number) {
                continue;
            }
            let sessions = || self.sessions.iter().filter(|it| it.device == device);
            let was_cut = sessions().any(|session| self.may_have_lost(report, session));
            assert!(was_cut, "{report:?} was written to a connection that lived, and never came");
            counts.lost += 1;
        }
    }

    fn device_of(&self, report: &Report) -> usize {
        let is_it = |it: &(String, String)| it.0 == report.user && Some(&it.1) == report.device.as_ref();
        self.devices.iter().position(is_it).expect("a device that was checked")
    }

    fn may_have_lost(&self, report: &Report, session: &Session) -> bool {
        let at = |time: Instant| {
            let since = time.saturating_duration_since(self.moment.0).as_millis() as i64;
            let before = self.moment.0.saturating_duration_since(time).as_millis() as i64;
            self.moment.1 + since - before
        };
        session.was_cut
            && at(session.opened) <= report.at_ms
            && at(session.ended) >= report.at_ms - REPORTED_WITHIN.as_millis() as i64
            && at(session.ended) <= report.at_ms + LOST_WITHIN.as_millis() as i64
    }

    /// What was heard is reported, in the order of the sequence but for tails that come again.
    fn check_heard(
        &self,
        heard: &[[Vec<Heard>; 3]],
        reports: &HashMap<u64, Vec<&Report>>,
        amiss: Amiss,
        counts: &mut Counts,
    ) {
        for (device, lanes) in heard.iter().enumerate() {
            let (user, name) = &self.devices[device];
            for heard in lanes {
                for it in heard {
                    let told = reports.get(&it.number).into_iter().flatten();
                    let told = told.filter(|report| report.device.as_ref() == Some(name)).count();
                    assert!(told > 0, "{user} {name} has heard {}, and nobody was told", it.number);
                }
                self.check_order(device, heard, reports, amiss, counts);
            }
        }
    }

    fn check_order(
        &self,
        device: usize,
        heard: &[Heard],
        reports: &HashMap<u64, Vec<&Report>>,
        amiss: Amiss,
        counts: &mut Counts,
    ) {
        let (mut highest, mut seen) = (0, HashSet::new());
        let back = heard.windows(2).filter(|pair| pair[1].sequence <= pair[0].sequence).count();
        counts.went_back = counts.went_back.max(back);
        let order = || heard.iter().map(|it| (it.session, it.sequence)).collect::<Vec<_>>();
        assert!(
            back <= amiss.repeats,
            "{:?} heard a sequence that goes back {back} times: {:?}",
            self.devices[device],
            order()
        );
        for it in heard {
            if !seen.insert(it.number) {
                counts.twice += 1;
            } else if it.sequence < highest {
                // The first time it may have got lost with the connection before, or this device was not known.
                let was_cut = self.sessions[..it.session].iter().any(|it| it.device == device && it.was_cut);
                let told = &reports[&it.number];
                assert!(
                    was_cut || came_twice(told),
                    "{:?} heard {} behind its successor: {:?}; {told:?}",
                    self.devices[device],
                    it.number,
                    order()
                );
            }
            highest = highest.max(it.sequence);
        }
    }

    /// When nothing is amiss, everything is written to every device, once.
    fn check_calm(&self, heard: &[[Vec<Heard>; 3]], reports: &HashMap<u64, Vec<&Report>>, amiss: Amiss) {
        let mut times: HashMap<(usize, u64), usize> = HashMap::new();
        for (device, lanes) in heard.iter().enumerate() {
            lanes.iter().flatten().for_each(|it| *times.entry((device, it.number)).or_default() += 1);
        }
        for message in self.produced.iter().filter(|it| it.number >= amiss.calm_from) {
            let mut told: Vec<(&str, &str)> = reports[&message.number]
                .iter()
                .map(|it| (it.device.as_deref().unwrap_or("nobody"), it.outcome.as_str()))
                .collect();
            told.sort_unstable();
            let of_user = || (0..self.devices.len()).filter(|&it| self.devices[it].0 == message.user);
            let mut all: Vec<(&str, &str)> =
                of_user().map(|it| (self.devices[it].1.as_str(), "written")).collect();
            all.sort_unstable();
            assert_eq!(told, all, "{message:?} in the calm");
            for device in of_user() {
                let heard = times.get(&(device, message.number)).copied().unwrap_or(0);
                assert_eq!(heard, 1, "{:?} has heard {message:?} in the calm", self.devices[device]);
            }
        }
    }
}

/// Whether these reports of one message are of more than one time that it was delivered.
fn came_twice(reports: &[&Report]) -> bool {
    let devices: HashSet<Option<&str>> = reports.iter().map(|it| it.device.as_deref()).collect();
    devices.len() < reports.len() || devices.len() > 1 && devices.contains(&None)
}
