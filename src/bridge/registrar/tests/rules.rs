//! One rule each, with the registry's answers written by hand.

use super::node::{Conn, Table, arrived, handle_of};
use crate::{
    bridge::{
        registrar::{Action, Input, Registrar, Settings},
        registry::Lease,
        store::{
            Connected, Device, Devices, Event, Failure, LiveLease, Output, Place, Record, Renewed, Reply,
            Request, node_number, user_hash,
        },
    },
    model::{Protocol, Reason},
};
use std::collections::BTreeMap;

const ALL: std::ops::RangeInclusive<u16> = 0..=16_383;

fn lease(node: &str, incarnation: u64) -> Lease {
    Lease {
        node: node.into(),
        address: format!("{node}:7008"),
        region: String::new(),
        incarnation,
        capacity: 100,
        connections: 0,
        draining: false,
        version: "1".into(),
        lanes: Default::default(),
    }
}

fn place(node: &str, incarnation: u64, index: u32) -> Place {
    Place { node: node_number(node), incarnation, connection: handle_of((index, 1)) }
}

fn record(place: Place) -> Record {
    let protocol = Some(Protocol::Websocket);
    Record { place, protocol, connected_ms: 1, expires_ms: u64::MAX, user: user_hash("ann") }
}

/// Node "a" in its run 5, with what it asks and does.
struct Bench {
    registrar: Registrar,
    conns: BTreeMap<(u32, u32), Conn>,
    asked: Vec<(u64, Request)>,
    done: Vec<Action>,
}

impl Bench {
    /// With a lease that was made a moment ago.
    fn new(settings: Settings) -> Self {
        let mut bench = Self::without_lease(settings);
        bench.renewed(0, Renewed::Absent { since_ms: 1 });
        bench
    }

    fn without_lease(settings: Settings) -> Self {
        let registrar = Registrar::new(settings, node_number("a"), lease("a", 5), 1, 0);
        let mut bench = Self { registrar, conns: BTreeMap::new(), asked: Vec::new(), done: Vec::new() };
        bench.advance(0);
        bench
    }

    fn advance(&mut self, now_ms: u64) {
        self.registrar.advance(now_ms, &Table(&self.conns));
        for action in self.registrar.take_actions() {
            match action {
                Action::Submit(id, request) => self.asked.push((id, request)),
                other => self.done.push(other),
            }
        }
    }

    fn handle(&mut self, now_ms: u64, input: Input) {
        self.registrar.handle(now_ms, input, &Table(&self.conns));
        self.advance(now_ms);
    }

    fn event(&mut self, now_ms: u64, event: Event) {
        self.handle(now_ms, Input::Store(Output::Event(event)));
    }

    /// Answers the first question of a kind.
    fn answer(&mut self, now_ms: u64, kind: fn(&Request) -> bool, result: Result<Reply, Failure>) {
        let at = self.asked.iter().position(|(_, request)| kind(request)).expect("it was asked");
        let (id, _) = self.asked.remove(at);
        self.handle(now_ms, Input::Store(Output::Answer { id, result, took_us: 0 }));
    }

    fn nodes(&mut self, now_ms: u64, nodes: &[(&str, u64)]) {
        let live = |&(node, incarnation): &(&str, u64)| LiveLease {
            lease: lease(node, incarnation),
            format: 1,
            left_ms: 10_000,
        };
        let leases = nodes.iter().map(live).collect();
        self.answer(now_ms, |request| *request == Request::Leases, Ok(Reply::Leases(leases)));
    }

    fn renewed(&mut self, now_ms: u64, renewed: Renewed) {
        self.advance(now_ms);
        let is_renewal = |request: &Request| matches!(request, Request::RenewLease { .. });
        self.answer(now_ms, is_renewal, Ok(Reply::Renewed(renewed)));
    }

    fn connected(&mut self, now_ms: u64, displaced: Option<Record>) {
        self.answer(
            now_ms,
            is_connect,
            Ok(Reply::Connected(Connected::Stands { displaced: displaced.into_iter().collect() })),
        );
    }

    fn arrive(&mut self, now_ms: u64, index: u32) {
        let conn = Conn { user: format!("u{index}"), device: "tv".into(), began_ms: now_ms };
        let arrived = arrived((index, 1), &conn);
        self.conns.insert((index, 1), conn);
        self.handle(now_ms, Input::Arrived(arrived));
    }

    fn look_up(&mut self, now_ms: u64, ticket: u64, user: &str, fresh: bool) {
        self.handle(now_ms, Input::Lookup { ticket, user: user.into(), fresh });
    }

    /// Looks up, and has the registry know these places.
    fn find(&mut self, now_ms: u64, places: &[Place]) -> Result<usize, Failure> {
        self.look_up(now_ms, 1, "ann", true);
        let device = |&place| Device { device: "tv".into(), record: record(place), left_ms: 1 };
        let devices = Devices { devices: places.iter().map(device).collect(), ..Devices::default() };
        self.answer(now_ms, is_lookup, Ok(Reply::Devices(devices)));
        match self.done.pop() {
            Some(Action::Found { ticket: 1, found }) => found.map(|found| found.routes.len()),
            other => panic!("{other:?}"),
        }
    }

    fn connects(&self) -> usize {
        self.asked.iter().filter(|(_, request)| is_connect(request)).count()
    }
}

fn is_connect(request: &Request) -> bool {
    matches!(request, Request::Connect { .. })
}

fn is_lookup(request: &Request) -> bool {
    matches!(request, Request::Lookup { .. })
}

#[test]
fn absence_proves_nothing_while_the_registry_is_away_and_ten_seconds_longer() {
    let mut bench = Bench::new(Settings::default());
    bench.nodes(0, &[("a", 5), ("b", 3)]);
    let (live, unheard) = (place("b", 3, 1), place("c", 1, 1));
    assert_eq!(bench.find(0, &[live]), Ok(1));
    assert_eq!(bench.find(0, &[]), Ok(0));
    assert_eq!(bench.find(0, &[unheard]), Ok(0), "the table was asked for after it");
    let (master, slots) = ("redis".to_owned(), vec![ALL]);
    bench.event(20_000, Event::Down { master: master.clone(), slots: slots.clone(), cause: String::new() });
    assert_eq!(bench.registrar.away().collect::<Vec<_>>(), ["redis"]);
    bench.event(25_000, Event::Up { master, slots });
    bench.nodes(25_000, &[("a", 5)]);
    bench.advance(34_999);
    bench.nodes(34_999, &[("a", 5)]);
    assert_eq!(bench.find(34_999, &[live]), Ok(1), "its lease has long ended");
    assert_eq!(bench.find(34_999, &[]), Err(Failure::Down));
    bench.advance(35_999);
    bench.nodes(35_999, &[("a", 5)]);
    bench.nodes(35_999, &[("a", 5)]);
    assert_eq!(bench.find(35_999, &[live]), Ok(0));
    assert_eq!(bench.find(35_999, &[]), Ok(0));
}

#[test]
fn a_table_without_the_nodes_own_lease_proves_nothing() {
    let mut bench = Bench::new(Settings::default());
    bench.nodes(0, &[("a", 5), ("b", 3)]);
    let live = place("b", 3, 1);
    for at_ms in [1_000, 12_000, 30_000] {
        // The registry has lost them, or takes no renewals: then they end one after the other.
        bench.advance(at_ms);
        bench.nodes(at_ms, &[]);
        assert_eq!(bench.find(at_ms, &[live]), Ok(1));
        assert_eq!(bench.find(at_ms, &[]), Err(Failure::Down));
    }
    let renewals = bench.asked.iter().filter(|(_, request)| matches!(request, Request::RenewLease { .. }));
    assert!(renewals.count() >= 3, "its own is made anew at once");
    bench.advance(41_000);
    bench.nodes(41_000, &[("a", 5)]);
    assert_eq!(bench.find(41_000, &[live]), Ok(0));
}

#[test]
fn a_lease_made_anew_is_a_loss() {
    let cases = [
        (vec![Renewed::Absent { since_ms: 1 }, Renewed::Kept { since_ms: 1 }], false),
        (vec![Renewed::TookOver { incarnation: 4, since_ms: 1 }, Renewed::Kept { since_ms: 1 }], false),
        (vec![Renewed::Kept { since_ms: 1 }, Renewed::Absent { since_ms: 2 }], true),
        // The reply that said so was lost.
        (vec![Renewed::Kept { since_ms: 1 }, Renewed::Kept { since_ms: 2 }], true),
        (vec![Renewed::Kept { since_ms: 1 }, Renewed::TookOver { incarnation: 4, since_ms: 2 }], true),
    ];
    for (renewals, is_loss) in cases {
        let mut bench = Bench::without_lease(Settings { heal_rate: 1, ..Settings::default() });
        bench.renewed(0, renewals[0]);
        bench.arrive(0, 1);
        bench.connected(0, None);
        bench.renewed(3_000, renewals[1]);
        assert_eq!(bench.registrar.is_healing(), is_loss, "{renewals:?}");
        let found = bench.find(3_000, &[]);
        assert_eq!(found.is_err(), is_loss, "{renewals:?}: the freeze");
        bench.advance(4_100);
        bench.advance(4_200);
        assert_eq!((bench.connects(), bench.registrar.is_healing()), (usize::from(is_loss), false));
    }
}

#[test]
fn who_begins_with_a_clock_that_is_behind_takes_a_higher_number_before_it_registers_anything() {
    let mut bench = Bench::without_lease(Settings::default());
    bench.arrive(0, 1);
    bench.renewed(1, Renewed::Superseded { incarnation: 6 });
    assert_eq!((bench.connects(), bench.done.len()), (0, 0));
    let asked = bench.asked.iter().find_map(|(_, request)| match request {
        Request::RenewLease { lease, .. } => Some(lease.incarnation),
        _ => None,
    });
    assert_eq!(asked, Some(7));
    bench.renewed(2, Renewed::TookOver { incarnation: 6, since_ms: 1 });
    assert_eq!((bench.connects(), bench.registrar.incarnation()), (1, 7));
    assert!(matches!(&bench.asked[..], [.., (_, Request::Connect { place, .. })] if place.incarnation == 7));
}

#[test]
fn who_has_a_device_that_the_registry_says_is_elsewhere_says_so_once_more() {
    let mut bench = Bench::new(Settings::default());
    bench.nodes(0, &[("a", 5), ("b", 3)]);
    let conn = Conn { user: "ann".into(), device: "tv".into(), began_ms: 0 };
    let held = arrived((1, 1), &conn);
    bench.conns.insert((1, 1), conn);
    bench.handle(0, Input::Arrived(held));
    bench.connected(0, None);
    assert_eq!(bench.find(10, &[]), Ok(0));
    assert_eq!(bench.connects(), 0);
    // It was displaced by one whose node has died before it could say so.
    let newer = place("b", 3, 7);
    assert_eq!(bench.find(20, &[newer]), Ok(1));
    assert_eq!(bench.connects(), 1);
    let beaten = Connected::Beaten { by: record(newer) };
    bench.answer(20, is_connect, Ok(Reply::Connected(beaten)));
    assert_eq!(bench.done, [Action::Close(handle_of((1, 1)), Reason::Displaced)]);
}

#[test]
fn absence_proves_nothing_as_long_as_what_was_lost_is_registered_again() {
    // One connection a second, of which there are twenty.
    let mut bench = Bench::new(Settings { heal_rate: 1, ..Settings::default() });
    (0..20).for_each(|index| bench.arrive(0, index));
    (0..20).for_each(|_| bench.connected(0, None));
    bench.renewed(3_000, Renewed::Kept { since_ms: 2 });
    let mut now_ms = 3_000;
    while bench.registrar.is_healing() {
        assert!(bench.find(now_ms, &[]).is_err(), "{now_ms}");
        bench.nodes(now_ms, &[("a", 5)]);
        now_ms += 1_000;
        bench.advance(now_ms);
        assert!(now_ms < 60_000);
    }
    assert!(now_ms > 3_000 + 10_000, "longer than the freeze");
    bench.nodes(now_ms, &[("a", 5)]);
    assert_eq!(bench.find(now_ms, &[]), Ok(0));
}

#[test]
fn a_later_run_takes_the_name() {
    let mut bench = Bench::new(Settings::default());
    bench.renewed(3_000, Renewed::Superseded { incarnation: 6 });
    assert_eq!(bench.done, [Action::StepDown { incarnation: 6 }]);
    assert!(!bench.registrar.is_healing());
}

#[test]
fn who_holds_a_device_that_is_fought_over_stays_if_its_node_lives() {
    for (nodes, holder, stays) in [
        (&[("a", 5), ("b", 3)][..], place("b", 3, 1), true),
        (&[("a", 5)], place("b", 3, 1), false),
        (&[("a", 5), ("b", 4)], place("b", 3, 1), false),
        (&[("a", 5)], place("a", 4, 1), false),
        // Of this very run: the directory has parted them already, and the record is about to go.
        (&[("a", 5)], place("a", 5, 9), false),
    ] {
        let mut bench = Bench::new(Settings::default());
        bench.nodes(0, &[("a", 5), ("b", 3)]);
        bench.advance(500);
        bench.arrive(500, 1);
        let fought = Ok(Reply::Connected(Connected::Fought { by: record(holder) }));
        bench.answer(500, is_connect, fought.clone());
        assert!(bench.done.is_empty(), "nothing is known yet: {:?}", bench.done);
        bench.advance(1_000);
        bench.nodes(1_000, nodes);
        bench.advance(1_001);
        bench.answer(1_001, is_connect, fought.clone());
        let is_purge = |request: &Request| matches!(request, Request::Disconnect { .. });
        let purges = bench.asked.iter().filter(|(_, request)| is_purge(request)).count();
        if stays {
            assert_eq!(
                (&bench.done[..], purges),
                (&[Action::Close(handle_of((1, 1)), Reason::TakeoverFight)][..], 0)
            );
        } else {
            assert!(bench.done.is_empty() && purges > 0, "{holder:?}: {:?}", bench.done);
            bench.advance(1_500);
            bench.connected(1_500, None);
            assert_eq!(bench.registrar.unsettled(), 0);
        }
    }
}

#[test]
fn what_found_no_room_is_registered_when_there_is_some() {
    let mut bench = Bench::new(Settings { unsettled_max: 2, heal_rate: 1_000, ..Settings::default() });
    (1..=3).for_each(|index| bench.arrive(0, index));
    assert_eq!((bench.registrar.unsettled(), bench.connects()), (2, 2));
    let departed = |index| {
        let (user, device) = (format!("u{index}").into(), "tv".into());
        Input::Departed { handle: handle_of((index, 1)), user, device, protocol: Protocol::Websocket }
    };
    bench.conns.remove(&(3, 1));
    bench.handle(0, departed(3));
    assert_eq!((bench.registrar.unsettled(), bench.registrar.left_behind()), (2, 1));
    bench.arrive(0, 4);
    bench.connected(10, None);
    bench.connected(10, None);
    for now_ms in 11..2_000 {
        bench.advance(now_ms);
        if bench.connects() > 0 {
            bench.connected(now_ms, None);
        }
    }
    assert_eq!((bench.registrar.unsettled(), bench.registrar.is_healing()), (0, false));
}

#[test]
fn no_more_than_a_window_is_under_way() {
    let mut bench = Bench::new(Settings { window: 2, ..Settings::default() });
    (1..=5).for_each(|index| bench.arrive(0, index));
    assert_eq!((bench.connects(), bench.registrar.unsettled()), (2, 5));
    bench.connected(1, None);
    assert_eq!((bench.connects(), bench.registrar.unsettled()), (2, 4));
    // A failure makes room too, and is asked again after a pause.
    bench.answer(1, is_connect, Err(Failure::Down));
    bench.connected(1, None);
    bench.connected(1, None);
    assert_eq!((bench.connects(), bench.registrar.unsettled()), (1, 2));
    bench.connected(1, None);
    assert_eq!((bench.connects(), bench.registrar.next_ms(1)), (0, 101));
    bench.advance(101);
    assert_eq!(bench.connects(), 1);
}

#[test]
fn records_are_written_in_the_highest_format_that_every_live_node_reads() {
    // This node's highest, those of the nodes that live, what is written.
    let cases: [(u8, &[u8], u8); 7] = [
        (1, &[], 1),
        (1, &[1, 2], 1),
        (2, &[], 1),
        (2, &[2, 1], 1),
        (2, &[2, 2], 2),
        (2, &[2, 3], 2),
        (3, &[3, 1], 2),
    ];
    for (own, formats, expected) in cases {
        let mut bench = Bench::new(Settings::default());
        bench.registrar.format = own;
        let live = |(at, &format): (usize, &u8)| LiveLease {
            lease: lease(&format!("n{at}"), 1),
            format,
            left_ms: 10_000,
        };
        let leases = formats.iter().enumerate().map(live).collect();
        bench.answer(0, |request| *request == Request::Leases, Ok(Reply::Leases(leases)));
        bench.arrive(0, 1);
        let written = bench.asked.iter().find_map(|(_, request)| match request {
            Request::Connect { format, .. } => Some(*format),
            _ => None,
        });
        assert_eq!(written, Some(expected), "{own} {formats:?}");
    }
}

#[test]
fn the_displaced_are_told_of_until_their_node_answers_or_is_dead() {
    let mut bench = Bench::new(Settings::default());
    bench.nodes(0, &[("a", 5), ("b", 3)]);
    let displaced = place("b", 3, 7);
    let tell =
        |user: &str| vec![Action::Tell { address: "b:7008".into(), place: displaced, user: user.into() }];
    let told = |answered| Input::Told { place: displaced, answered };
    bench.arrive(0, 1);
    bench.connected(0, Some(record(displaced)));
    assert_eq!(std::mem::take(&mut bench.done), tell("u1"));
    bench.handle(5, told(false));
    bench.advance(1_004);
    assert_eq!(bench.done, []);
    bench.advance(1_005);
    assert_eq!(std::mem::take(&mut bench.done), tell("u1"));
    bench.handle(1_010, told(true));
    bench.nodes(1_010, &[("a", 5), ("b", 3)]);
    bench.advance(3_000);
    assert_eq!(bench.done, []);
    // Another one, whose node ends before it has answered.
    bench.arrive(3_000, 2);
    bench.connected(3_000, Some(record(displaced)));
    assert_eq!(std::mem::take(&mut bench.done), tell("u2"));
    bench.handle(3_100, told(false));
    bench.nodes(3_200, &[("a", 5)]);
    bench.advance(4_200);
    bench.nodes(4_200, &[("a", 5)]);
    (5..15).for_each(|second| bench.advance(second * 1_000));
    assert_eq!(bench.done, []);
}

#[test]
fn lookups_are_bounded_and_a_fresh_one_is_answered_by_its_own_question() {
    let mut bench = Bench::new(Settings { lookups_max: 2, ..Settings::default() });
    bench.nodes(0, &[]);
    let take = |bench: &mut Bench| -> Vec<_> {
        let done = std::mem::take(&mut bench.done);
        let read = |action| match action {
            Action::Found { ticket, found } => (ticket, found.map(|found| found.routes.len())),
            other => panic!("{other:?}"),
        };
        done.into_iter().map(read).collect()
    };
    bench.look_up(0, 1, "ann", false);
    bench.look_up(0, 2, "ann", false);
    bench.look_up(0, 3, "bob", false);
    bench.look_up(0, 4, "cem", false);
    assert_eq!(take(&mut bench), [(4, Err(Failure::Down))]);
    bench.look_up(1, 5, "ann", true);
    bench.look_up(1, 6, "ann", false);
    let is_of_ann = |request: &Request| matches!(request, Request::Lookup { user } if &**user == "ann");
    assert_eq!(bench.asked.iter().filter(|(_, request)| is_of_ann(request)).count(), 2);
    bench.answer(2, is_of_ann, Ok(Reply::Devices(Devices::default())));
    assert_eq!(take(&mut bench), [6, 2, 1].map(|ticket| (ticket, Ok(0))));
    bench.answer(3, is_of_ann, Err(Failure::Timeout));
    assert_eq!(take(&mut bench), [(5, Err(Failure::Timeout))]);
    bench.look_up(4, 7, "cem", false);
    assert_eq!(take(&mut bench), []);
}

#[test]
fn of_two_that_began_in_one_moment_the_one_that_is_there_is_registered() {
    let forgets = |bench: &Bench, place: Place| {
        let is_of =
            |request: &Request| matches!(request, Request::Disconnect { place: gone, .. } if *gone == place);
        bench.asked.iter().filter(|(_, request)| is_of(request)).count()
    };
    // The older has the record, since its id is higher.
    let mut bench = Bench::new(Settings::default());
    bench.arrive(0, 1);
    let by = record(place("a", 5, 2));
    bench.answer(0, is_connect, Ok(Reply::Connected(Connected::Beaten { by })));
    assert_eq!(
        (bench.done.len(), forgets(&bench, by.place)),
        (0, 1),
        "what is gone is removed, nobody is closed"
    );
    bench.advance(200);
    assert_eq!(bench.connects(), 1, "and it is registered once more");
    // The same, while the other is there: it is the newer one.
    let mut bench = Bench::new(Settings::default());
    bench.arrive(0, 1);
    bench.conns.insert((2, 1), Conn { user: "u1".into(), device: "tv".into(), began_ms: 0 });
    bench.answer(0, is_connect, Ok(Reply::Connected(Connected::Beaten { by })));
    assert_eq!((bench.done.len(), forgets(&bench, by.place), bench.connects()), (1, 0, 0));
    // The older was registered late, and has replaced the newer.
    let mut bench = Bench::new(Settings::default());
    bench.arrive(0, 1);
    bench.connected(0, None);
    bench.arrive(0, 2);
    bench.conns.get_mut(&(1, 1)).unwrap().user = "u2".into();
    bench.connected(0, Some(record(place("a", 5, 1))));
    assert_eq!((bench.connects(), bench.registrar.unsettled()), (1, 1), "the newer is registered again");
}

#[test]
fn it_sleeps_while_the_registry_is_silent() {
    let mut bench = Bench::without_lease(Settings { window: 1, ..Settings::default() });
    let waits_for = |bench: &Bench, now_ms: u64| bench.registrar.next_ms(now_ms) - now_ms;
    assert!(waits_for(&bench, 2_000) >= 1_000, "for the table of nodes, and for the lease");
    bench.renewed(2_000, Renewed::Absent { since_ms: 1 });
    bench.arrive(2_000, 1);
    bench.answer(2_000, is_connect, Err(Failure::Timeout));
    bench.arrive(2_001, 2);
    assert!(waits_for(&bench, 2_500) >= 500, "a retry waits for room");
    bench.connected(2_600, None);
    assert_eq!(bench.connects(), 1, "there is some");
}

#[test]
fn a_renewal_that_failed_is_asked_for_again_before_the_next_is_due() {
    let mut bench = Bench::new(Settings::default());
    bench.advance(3_000);
    let is_renewal = |request: &Request| matches!(request, Request::RenewLease { .. });
    bench.answer(3_100, is_renewal, Err(Failure::Timeout));
    bench.advance(3_599);
    let renewals = |bench: &Bench| bench.asked.iter().filter(|(_, request)| is_renewal(request)).count();
    assert_eq!(renewals(&bench), 0);
    bench.advance(3_600);
    assert_eq!(renewals(&bench), 1);
}
