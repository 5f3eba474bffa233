//! Two regions, each with brokers, a registry and a node of its own, and a mirror between their brokers.

use crate::{
    brokers::Brokers,
    fleet::{Fleet, LONG, expect},
    lanes::LANES,
    load::{Load, Produced, Source},
    node::Plan,
    reader::{Reader, Report, consumer, read},
    registry::Registry,
    servers::Server,
    traffic::{ROUTES_LIVE, Session, Traffic},
};
use rdkafka::consumer::Consumer;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

const NAMES: [&str; 2] = ["us-east-1", "eu-west-1"];
const USERS: usize = 16;
/// Numbers of a region's messages begin with a multiple of it.
const NUMBERS: u64 = 1_000_000;

/// The topics that a region's own senders write to.
fn own_topics() -> [String; 3] {
    LANES.map(|lane| format!("push.{lane}"))
}

/// Copies a region's own topics to another one, under its name, until it is told to end; gives how many it has copied.
fn mirror(from: &str, name: &'static str, to: &str, end: &Arc<AtomicBool>) -> thread::JoinHandle<u64> {
    let (from, to, end) = (from.to_owned(), to.to_owned(), end.clone());
    thread::spawn(move || {
        let (consumer, source, mut copied) = (consumer(&from, &own_topics()), Source::new(&to), 0);
        while !end.load(Relaxed) {
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) else { continue };
            let it = read(&message);
            let headers: Vec<(&str, &[u8])> =
                it.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            let topic = format!("{name}.{}", it.place.topic);
            source.send(it.number(), &topic, it.key.as_deref(), it.value.as_deref(), &headers);
            copied += 1;
        }
        source.places();
        copied
    })
}

/// What was reported in a region of each message, in order.
fn by_number(reports: &Reader) -> BTreeMap<u64, Vec<Report>> {
    let mut all: BTreeMap<u64, Vec<Report>> = BTreeMap::new();
    for report in reports.records().iter().map(|it| it.report()) {
        all.entry(report.number).or_default().push(report);
    }
    all
}

#[test]
fn a_message_reaches_its_user_in_whatever_region() {
    let brokers: Vec<Brokers> = thread::scope(|scope| {
        let starting = [0, 1].map(|_| scope.spawn(|| Brokers::start(1)));
        starting.map(|it| it.join().unwrap()).into()
    });
    for (at, brokers) in brokers.iter().enumerate() {
        let mirrored = own_topics().map(|topic| format!("{}.{topic}", NAMES[1 - at]));
        let all = own_topics().into_iter().chain(mirrored).chain(["status".to_owned()]);
        all.for_each(|topic| brokers.create_topic(&topic, 4, 1));
    }
    let registries = [Server::start(&[]), Server::start(&[])];
    let node = |at: usize| {
        let sets = [format!("node.region={}", NAMES[at]), "kafka.status_topic=status".to_owned()];
        Plan::new(&sets.each_ref().map(String::as_str))
            .id(NAMES[at])
            .registry(&registries[at].url())
            .kafka(&brokers[at].addresses())
            .start()
    };
    // One fleet for its devices, which connect to whichever region; the nodes know nothing of each other.
    let fleet = Fleet { registry: Registry::Memory, nodes: vec![node(0), node(1)], silent: None };
    let traffic = Traffic::listen(&fleet, USERS);
    traffic.wait_connected();
    let reports = [0, 1].map(|at| Reader::start(&brokers[at].addresses(), "status"));
    let end = Arc::<AtomicBool>::default();
    let mirrors =
        [0, 1].map(|at| mirror(&brokers[at].addresses(), NAMES[at], &brokers[1 - at].addresses(), &end));
    // Connected in a region for longer than anything that was read before is believed.
    thread::sleep(ROUTES_LIVE);
    let mut loads = [0, 1]
        .map(|at| Load::numbered(&brokers[at].addresses(), own_topics(), USERS, NUMBERS * (at as u64 + 1)));
    for load in &mut loads {
        load.flow(150);
        load.burst(500);
    }
    thread::sleep(Duration::from_secs(2));
    let produced = loads.each_mut().map(|load| {
        load.rest();
        load.produced()
    });
    let all = produced[0].len() + produced[1].len();
    for (at, reports) in reports.iter().enumerate() {
        expect(&format!("messages reported in {}", NAMES[at]), LONG, &all, || by_number(reports).len());
    }
    thread::sleep(Duration::from_millis(500));
    end.store(true, Relaxed);
    let copied = mirrors.map(|mirror| mirror.join().unwrap() as usize);
    assert_eq!(copied, [produced[0].len(), produced[1].len()], "each once");
    let record = traffic.stop(0);
    assert_eq!(record.sessions.len(), record.devices.len(), "nobody was cut off");
    check_heard(&record.sessions, &record.devices, &produced);
    for (at, reports) in reports.iter().enumerate() {
        check_reports(at, &by_number(reports), &record.sessions, &record.devices, &produced);
        assert_eq!(topics_of(&brokers[at].addresses()), expected_topics(at), "no copies of copies");
    }
}

/// Every device hears every message of its user once, and those of a region and lane in order.
fn check_heard(sessions: &[Session], devices: &[(String, String)], produced: &[Vec<Produced>; 2]) {
    for session in sessions {
        let (user, device) = &devices[session.device];
        let mut heard: BTreeMap<(u64, usize), Vec<u64>> = BTreeMap::new();
        for text in &session.heard {
            let words: Vec<&str> = text.split(' ').collect();
            assert_eq!(words[0], user, "{text} came to somebody else");
            let number: u64 = words[3].parse().unwrap();
            heard.entry((number / NUMBERS - 1, crate::lanes::lane_of(words[1]))).or_default().push(number);
        }
        for (region, produced) in produced.iter().enumerate() {
            for (lane, name) in LANES.iter().enumerate() {
                let due = produced.iter().filter(|it| it.user == *user && it.lane == lane);
                let due: Vec<u64> = due.map(|it| it.number).collect();
                let heard = heard.remove(&(region as u64, lane)).unwrap_or_default();
                assert_eq!(heard, due, "{user} {device}, {name} from {}", NAMES[region]);
            }
        }
    }
}

/// A region reports what it has written to each device that is there, and that nobody is there otherwise.
fn check_reports(
    at: usize,
    reports: &BTreeMap<u64, Vec<Report>>,
    sessions: &[Session],
    devices: &[(String, String)],
    produced: &[Vec<Produced>; 2],
) {
    for (origin, produced) in produced.iter().enumerate() {
        for message in produced {
            let here = sessions.iter().filter(|it| it.at == at && devices[it.device].0 == message.user);
            let mut due: BTreeSet<(Option<&str>, &str)> =
                here.map(|it| (Some(devices[it.device].1.as_str()), "written")).collect();
            if due.is_empty() {
                due.insert((None, "offline"));
            }
            let told = &reports[&message.number];
            let said: BTreeSet<_> =
                told.iter().map(|it| (it.device.as_deref(), it.outcome.as_str())).collect();
            assert_eq!((told.len(), said), (due.len(), due), "{message:?} in {}", NAMES[at]);
            let own = &own_topics()[message.lane];
            let topic = if origin == at { own.clone() } else { format!("{}.{own}", NAMES[origin]) };
            for report in told {
                assert_eq!(
                    (&report.place.topic, report.lane, &report.id),
                    (&topic, message.lane, &message.id)
                );
                assert_eq!((&report.user, report.region.as_deref()), (&message.user, Some(NAMES[at])));
                let node = report.device.as_ref().map(|_| NAMES[at]);
                assert!(report.node.as_deref() == node || node.is_none(), "{report:?}");
            }
        }
    }
}

fn expected_topics(at: usize) -> BTreeSet<String> {
    let mirrored = own_topics().map(|topic| format!("{}.{topic}", NAMES[1 - at]));
    own_topics().into_iter().chain(mirrored).chain(["status".to_owned()]).collect()
}

/// All but those of Kafka's own.
fn topics_of(brokers: &str) -> BTreeSet<String> {
    let consumer = consumer(brokers, &[]);
    let metadata = consumer.fetch_metadata(None, LONG).unwrap();
    let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
    names.filter(|name| !name.starts_with("__")).collect()
}
