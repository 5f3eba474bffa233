use super::*;
use crate::{
    bridge::{
        registry::{Answer, Elsewhere, Found, Health, Lease, Lookup, Registry},
        router::{Parts, Peering},
        store::Place,
    },
    directory::{Arrival, Directory},
    kit::{
        completion::Ticket,
        mailbox::{Receiver, Wake, mailbox},
        slab::Key,
    },
    model::{Body, Handle, Lane, Lanes, Protocol, mail},
    stats::{BuildInfo, NodeStats, PeersState},
};
use std::{collections::VecDeque, sync::Mutex};

/// A registry that says what a test has written down, question by question.
#[derive(Default)]
struct Script(Mutex<VecDeque<Said>>);

struct Said {
    fresh: bool,
    /// It was known a moment ago.
    known: bool,
    answer: Answer,
}

impl Registry for Script {
    fn elsewhere(&self, _: &str, fresh: bool) -> Elsewhere {
        let said = self.0.lock().unwrap().pop_front().expect("a question too many");
        assert_eq!(fresh, said.fresh);
        let answer = match said {
            Said { known: true, answer: Ok(found), .. } => return Elsewhere::Known(found),
            said => said.answer,
        };
        let (sender, lookup) = Lookup::new();
        sender.send(answer).unwrap();
        Elsewhere::Asked(lookup)
    }

    fn forget(&self, _: &str, _: &str, _: Place) {}

    fn incarnation(&self) -> u64 {
        1
    }

    fn nodes(&self) -> Vec<Lease> {
        Vec::new()
    }

    fn renew(&self, _: Lease) {}

    fn health(&self) -> Health {
        Health::Ready
    }
}

/// Other nodes, which answer with the outcome that a test has written down for a connection's number.
#[derive(Default)]
struct Others {
    outcomes: Mutex<Vec<(u32, Outcome)>>,
    asked: Mutex<Vec<(String, u32)>>,
}

impl Peering for Others {
    fn deliver(&self, route: &Route, user: &str, _: &Arc<Message>, ticket: Ticket<Outcome>) {
        let number = route.place.connection.key.index;
        self.asked.lock().unwrap().push((user.to_owned(), number));
        let outcomes = self.outcomes.lock().unwrap();
        let outcome = outcomes.iter().find(|(at, _)| *at == number);
        ticket.answer(outcome.map_or(Outcome::Written, |&(_, outcome)| outcome));
    }

    fn displaced(&self, _: &str, _: Place, _: &str, _: Box<dyn FnOnce(bool) + Send>) {}

    fn set_nodes(&self, _: &mut dyn Iterator<Item = (&str, u8)>) {}

    fn state(&self) -> PeersState {
        PeersState::default()
    }
}

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

struct Bench {
    router: Arc<Router>,
    directory: Arc<Directory>,
    script: Arc<Script>,
    others: Arc<Others>,
    stats: Arc<NodeStats>,
    mail: Receiver<mail::ToShard>,
    /// What the shard answers for a connection's number; else written.
    here: Vec<(u32, Outcome)>,
}

fn handle(index: u32) -> Handle {
    Handle { shard: 0, key: Key { index, generation: 1 } }
}

fn found(devices: &[(&str, u32)]) -> Found {
    let route = |&(device, index): &(&str, u32)| Route {
        device: device.into(),
        place: Place { node: 9, incarnation: 1, connection: handle(index) },
        protocol: Some(Protocol::Sse),
        connected_ms: 0,
        expires_ms: 0,
        node: "far".into(),
        region: "".into(),
        address: "far:1".into(),
    };
    Found { routes: devices.iter().map(route).collect(), ..Found::default() }
}

fn known(devices: &[(&str, u32)]) -> Answer {
    Ok(Arc::new(found(devices)))
}

impl Bench {
    /// The node's own devices of ann, and the registry's answers in order: to the first question, then to fresh ones.
    fn new(own: &[(&str, u32)], answers: Vec<Answer>) -> Self {
        let directory = Arc::new(Directory::new(0));
        let (sender, mail) = mailbox(&[16, 16, 16, 16], Arc::new(Nobody));
        let stats = Arc::new(NodeStats::new(1, &Lanes::default(), BuildInfo::current()));
        let script = Arc::new(Script::default());
        let others = Arc::new(Others::default());
        let numbered = answers.into_iter().enumerate();
        *script.0.lock().unwrap() =
            numbered.map(|(at, answer)| Said { fresh: at > 0, known: false, answer }).collect();
        let router = Arc::new(Router::new(Parts {
            directory: directory.clone(),
            registry: script.clone(),
            peering: Some(others.clone()),
            shards: vec![sender],
            stats: stats.clone(),
            node: 7,
            number: 7,
        }));
        let bench = Self { router, directory, script, others, stats, mail, here: Vec::new() };
        own.iter().for_each(|&(device, index)| bench.connect(device, index));
        bench
    }

    /// One more answer of the registry.
    fn expect(&self, fresh: bool, known: bool, answer: Answer) {
        self.script.0.lock().unwrap().push_back(Said { fresh, known, answer });
    }

    fn connect(&self, device: &str, index: u32) {
        let arrival = Arrival {
            user: "ann",
            device: Some(device),
            handle: handle(index),
            protocol: Protocol::Sse,
            began_ms: 1,
            ends_ms: 2,
        };
        self.directory.register(&arrival).unwrap();
    }

    /// Pushes, and has the shard answer. Gives the outcomes in words, and the counts.
    fn push(&mut self, device: Option<&str>) -> (Vec<String>, Option<Failure>) {
        self.push_and(device, |_| {})
    }

    /// The same; between the post and the shard's answers something happens.
    fn push_and(
        &mut self,
        device: Option<&str>,
        happens: impl FnOnce(&Bench),
    ) -> (Vec<String>, Option<Failure>) {
        let message = Arc::new(Message::new(Lane(0), Body::Text("hello".into()), 0));
        let mut push = self.router.push("ann", device, message);
        happens(self);
        let mut context = Context::from_waker(Waker::noop());
        let delivered = loop {
            if let Poll::Ready(delivered) = Pin::new(&mut push).poll(&mut context) {
                break delivered;
            }
            let mut letters = Vec::new();
            self.mail.take(16, &mut letters);
            assert!(!letters.is_empty(), "it waits for nothing");
            for letter in letters {
                let mail::ToShard::Deliver { key, ticket, .. } = letter else { panic!("{letter:?}") };
                let outcome = self.here.iter().find(|(at, _)| *at == key.index);
                ticket.answer(outcome.map_or(Outcome::Written, |&(_, outcome)| outcome));
            }
        };
        assert!(self.script.0.lock().unwrap().is_empty(), "it did not ask");
        let mut words = Vec::new();
        delivered.visit(|device, outcome, route| {
            words.push(format!(
                "{device} {}{}",
                outcome.label(),
                if route.is_some() { " there" } else { "" }
            ));
        });
        (words, delivered.unknown().cloned())
    }

    fn counted(&self, outcome: Outcome) -> u64 {
        self.stats.messages_of(Lane(0), outcome)
    }
}

#[test]
fn devices_here_and_elsewhere_get_it_once() {
    let mut bench = Bench::new(&[("tv", 1)], vec![known(&[("phone", 2), ("tv", 3)])]);
    assert_eq!(bench.push(None), (vec!["tv written".into(), "phone written there".into()], None));
    assert_eq!(*bench.others.asked.lock().unwrap(), [("ann".to_owned(), 2)]);
    assert_eq!(bench.counted(Outcome::Written), 2);
}

#[test]
fn a_device_that_is_here_needs_no_question() {
    let mut bench = Bench::new(&[("tv", 1), ("phone", 2)], vec![]);
    assert_eq!(bench.push(Some("phone")), (vec!["phone written".into()], None));
    let mut bench = Bench::new(&[("tv", 1)], vec![known(&[("phone", 2), ("pad", 3)])]);
    assert_eq!(bench.push(Some("phone")), (vec!["phone written there".into()], None));
}

#[test]
fn nobody_is_offline_once_and_what_nobody_knows_has_failed_once() {
    let mut bench = Bench::new(&[], vec![known(&[])]);
    assert_eq!(bench.push(None), (vec![], None));
    assert_eq!((bench.counted(Outcome::Offline), bench.counted(Outcome::Failed)), (1, 0));
    let mut bench = Bench::new(&[], vec![Err(Failure::Down)]);
    assert_eq!(bench.push(None), (vec![], Some(Failure::Down)));
    assert_eq!((bench.counted(Outcome::Offline), bench.counted(Outcome::Failed)), (0, 1));
}

#[test]
fn own_users_are_served_while_the_registry_is_away() {
    let mut bench = Bench::new(&[("tv", 1)], vec![Err(Failure::Timeout)]);
    assert_eq!(bench.push(None), (vec!["tv written".into()], Some(Failure::Timeout)));
    // What was known before is used, and may not be all.
    let old = Found { partial: true, ..found(&[("phone", 2)]) };
    let mut bench = Bench::new(&[], vec![Ok(Arc::new(old))]);
    assert_eq!(bench.push(None), (vec!["phone written there".into()], Some(Failure::Down)));
}

#[test]
fn a_record_of_another_user_is_no_route() {
    let foreign = Found { foreign: vec!["tv".into()], ..Found::default() };
    let mut bench = Bench::new(&[], vec![Ok(Arc::new(foreign))]);
    assert_eq!(bench.push(None), (vec!["tv failed".into()], None));
    assert!(bench.others.asked.lock().unwrap().is_empty());
}

#[test]
fn what_is_gone_is_looked_up_once_more() {
    for (first, again, expected) in [
        (Outcome::Stale, &[("tv", 3)][..], "tv written there"),
        (Outcome::Failed, &[("tv", 3)], "tv written there"),
        // Nothing newer: it stays with what became of it.
        (Outcome::Stale, &[("tv", 2)], "tv stale there"),
        (Outcome::Failed, &[("tv", 2)], "tv failed there"),
        (Outcome::Stale, &[], "tv stale there"),
        (Outcome::Failed, &[], "tv stale there"),
    ] {
        let mut bench = Bench::new(&[], vec![known(&[("tv", 2)]), known(again)]);
        bench.others.outcomes.lock().unwrap().push((2, first));
        assert_eq!(bench.push(None), (vec![expected.to_owned()], None), "{first:?} {again:?}");
    }
    // Any other outcome is final.
    let mut bench = Bench::new(&[], vec![known(&[("tv", 2)])]);
    bench.others.outcomes.lock().unwrap().push((2, Outcome::Slow));
    assert_eq!(bench.push(None).0, ["tv slow there"]);
    // A fresh look that fails changes nothing.
    let mut bench = Bench::new(&[], vec![known(&[("tv", 2)]), Err(Failure::Down)]);
    bench.others.outcomes.lock().unwrap().push((2, Outcome::Stale));
    assert_eq!(bench.push(None), (vec!["tv stale there".into()], None));
}

#[test]
fn a_device_moves_between_nodes_while_its_message_is_under_way() {
    // From here to another node.
    let mut bench = Bench::new(&[("tv", 1)], vec![known(&[]), known(&[("tv", 2)])]);
    bench.here.push((1, Outcome::Stale));
    assert_eq!(bench.push(None).0, ["tv written there"]);
    // From another node to here.
    let mut bench = Bench::new(&[], vec![known(&[("tv", 2)])]);
    bench.others.outcomes.lock().unwrap().push((2, Outcome::Stale));
    assert_eq!(bench.push_and(None, |bench| bench.connect("tv", 1)).0, ["tv written"]);
    // What was known before lacked another device.
    let mut bench = Bench::new(&[], vec![known(&[("tv", 2)]), known(&[("tv", 3), ("phone", 4)])]);
    bench.others.outcomes.lock().unwrap().push((2, Outcome::Stale));
    assert_eq!(bench.push(None).0, ["tv written there", "phone written there"]);
}

#[test]
fn what_is_meant_for_a_device_that_has_just_gone_is_for_no_other() {
    for (again, expected, asked) in [
        (&[("phone", 2)][..], "tv stale", vec![]),
        (&[("phone", 2), ("tv", 3)], "tv written there", vec![("ann".to_owned(), 3)]),
    ] {
        let mut bench = Bench::new(&[("tv", 1)], vec![]);
        bench.here.push((1, Outcome::Stale));
        bench.expect(true, false, known(again));
        assert_eq!(bench.push(Some("tv")).0, [expected]);
        assert_eq!(*bench.others.asked.lock().unwrap(), asked);
    }
}

#[test]
fn a_device_that_was_not_there_a_moment_ago_is_asked_for() {
    let mut bench = Bench::new(&[], vec![]);
    bench.expect(false, true, known(&[("phone", 2)]));
    assert_eq!(bench.push(Some("phone")).0, ["phone written there"], "what is known is enough");
    bench.expect(false, true, known(&[("phone", 2)]));
    bench.expect(true, false, known(&[("phone", 2), ("watch", 3)]));
    assert_eq!(bench.push(Some("watch")).0, ["watch written there"]);
    bench.expect(false, true, known(&[("phone", 2)]));
    bench.expect(true, false, known(&[("phone", 2)]));
    assert_eq!(bench.push(Some("tv")).0, [""; 0]);
}
