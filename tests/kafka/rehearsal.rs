//! Those who count, without a fleet: what a load produces a reader reads, and the verdict sees what it is there to see.

use crate::{
    lanes::topics,
    load::{Load, Place, Produced, now_ms},
    reader::{Reader, Report},
    site::{make_topics, shared},
    traffic::Session,
    verdict::{Amiss, Counts, Evidence},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

#[test]
fn a_reader_reads_what_a_load_produces() {
    let brokers = shared();
    make_topics(&brokers, "rehearsal");
    let mut load = Load::new(&brokers.addresses(), topics("rehearsal"), 8);
    load.flow(500);
    load.burst(1_000);
    load.burst_in(2, 100);
    std::thread::sleep(Duration::from_millis(200));
    load.rest();
    let produced = load.produced();
    assert!(produced.len() > 1_100);
    for (lane, topic) in topics("rehearsal").iter().enumerate() {
        let reader = Reader::start(&brokers.addresses(), topic);
        let mut of_lane: Vec<&Produced> = produced.iter().filter(|it| it.lane == lane).collect();
        crate::fleet::expect("records", Duration::from_secs(10), &of_lane.len(), || reader.count());
        let place = |it: &&Produced| it.place.clone().expect("a place");
        of_lane.sort_by_key(place);
        let mut records = reader.records();
        records.sort_by(|a, b| a.place.cmp(&b.place));
        for (produced, record) in of_lane.iter().zip(records) {
            assert_eq!((place(produced), produced.number), (record.place.clone(), record.number()));
            assert_eq!(record.header("id"), produced.id.as_deref());
        }
    }
}

/// Two users of one device and two; all is well.
fn good() -> (Evidence, Amiss) {
    let (began, now) = (Instant::now(), now_ms());
    let devices = [("load-0", "a"), ("load-1", "a"), ("load-0", "b")];
    let devices = devices.map(|(user, name)| (user.to_owned(), name.to_owned()));
    let message = |at: u64| {
        let (user, number) = (at % 2, at + 1);
        Produced {
            number,
            user: format!("load-{user}"),
            lane: 0,
            sequence: at / 2 + 1,
            id: (user == 0).then(|| format!("m-{number}")),
            place: Some(Place { topic: "t".to_owned(), partition: 0, offset: at as i64 }),
        }
    };
    let produced: Vec<Produced> = (0..10).map(message).collect();
    let (mut sessions, mut reports) = (Vec::new(), Vec::new());
    for (device, (user, name)) in devices.iter().enumerate() {
        let mine = || produced.iter().filter(|it| it.user == *user);
        let text = |it: &Produced| format!("{user} high {} {}", it.sequence, it.number);
        sessions.push(Session {
            device,
            at: 0,
            opened: began,
            ended: began + Duration::from_secs(60),
            was_cut: false,
            was_displaced: false,
            heard: mine().map(text).collect(),
        });
        reports.extend(mine().map(|it| Report {
            number: it.number,
            id: it.id.clone(),
            user: user.clone(),
            device: Some(name.clone()),
            outcome: "written".to_owned(),
            node: Some("node-1".to_owned()),
            region: None,
            lane: 0,
            place: it.place.clone().unwrap(),
            at_ms: now + 10,
        }));
    }
    let evidence =
        Evidence { produced, sessions, devices: devices.into(), reports, dead: vec![], moment: (began, now) };
    (evidence, Amiss { repeats: 0, calm_from: 9 })
}

/// The counts, or what the verdict says.
fn judged(spoil: impl FnOnce(&mut Evidence, &mut Amiss)) -> Result<Counts, String> {
    let (mut evidence, mut amiss) = good();
    spoil(&mut evidence, &mut amiss);
    catch_unwind(AssertUnwindSafe(|| evidence.check(amiss))).map_err(|said| *said.downcast().unwrap())
}

fn is_cut_soon(session: &mut Session) {
    session.was_cut = true;
    session.ended = session.opened + Duration::from_secs(1);
}

#[test]
fn the_verdict_sees_what_is_wrong() {
    type Spoil = fn(&mut Evidence, &mut Amiss);
    let wrong: &[(&str, &str, Spoil)] = &[
        ("no outcome", "have no outcome", |it, _| it.reports.retain(|report| report.number != 4)),
        ("written and never heard", "and never came", |it, _| drop(it.sessions[1].heard.remove(1))),
        ("cut long after", "and never came", |it, _| {
            it.sessions[1].heard.remove(1);
            it.sessions[1].was_cut = true;
        }),
        ("heard and not reported to a device", "nobody was told", |it, _| {
            let of_b = |report: &Report| report.number == 3 && report.device.as_deref() == Some("b");
            it.reports.retain(|report| !of_b(report));
        }),
        ("somebody else's", "came to somebody else", |it, _| {
            let text = it.sessions[1].heard[0].clone();
            it.sessions[0].heard.push(text);
        }),
        ("out of order", "behind its successor", |it, amiss| {
            amiss.repeats = 5;
            it.sessions[0].heard.swap(1, 2);
        }),
        ("twice where nothing happened", "goes back 1 times", |it, _| {
            let text = it.sessions[1].heard[4].clone();
            it.sessions[1].heard.push(text);
        }),
        ("twice with an id", "has an id, and came twice", |it, amiss| {
            amiss.repeats = 5;
            let text = it.sessions[0].heard[2].clone();
            it.sessions[0].heard.insert(3, text);
        }),
        ("reported twice in the calm", "in the calm", |it, _| {
            let last = it.reports.last().unwrap().clone();
            it.reports.push(last);
        }),
        ("not written in the calm", "in the calm", |it, _| {
            it.reports.last_mut().unwrap().outcome = "slow".to_owned()
        }),
        ("changed", "as it was produced", |it, _| it.sessions[0].heard[0].insert(0, ' ')),
        ("another's place", "of Produced", |it, _| it.reports[0].place.offset += 1),
        ("another lane", "of Produced", |it, _| it.reports[0].lane = 1),
        ("another's id", "of Produced", |it, _| it.reports[0].id = None),
        ("no device", "device: None", |it, _| it.reports[0].device = None),
        ("produced by nobody", "nobody produced", |it, _| it.reports[0].number = 77),
    ];
    assert!(judged(|_, _| {}).is_ok());
    for (what, words, spoil) in wrong {
        let said = judged(spoil).err().unwrap_or_else(|| panic!("{what} was not seen"));
        assert!(said.contains(words), "{what}: {said}");
    }
}

#[test]
fn the_verdict_lets_pass_what_may_be() {
    let counts = judged(|it, _| {
        it.sessions[1].heard.remove(1);
        is_cut_soon(&mut it.sessions[1]);
    });
    assert_eq!(counts.unwrap().lost, 1);
    let counts = judged(|it, amiss| {
        amiss.repeats = 1;
        let tail = it.sessions[1].heard[1..3].to_vec();
        it.sessions[1].heard.splice(3..3, tail);
    });
    let counts = counts.unwrap();
    assert_eq!((counts.twice, counts.went_back), (2, 1));
    let counts = judged(|it, _| {
        it.produced[3].place = None;
        it.reports.retain(|report| report.number != 4);
        it.sessions[1].heard.remove(1);
    });
    assert_eq!(counts.unwrap().unknown, 1);
    let counts = judged(|it, _| {
        it.reports.retain(|report| report.number != 4);
        it.sessions[1].heard.remove(1);
        it.dead.push(4);
    });
    assert_eq!(counts.unwrap().dead, 1);
}
