//! One suite for all kinds of servers.

use crate::{
    client::{Client, connect, lease, lookup, place, renew},
    servers::{Server, command, wait_for},
    twin,
};
use holdfast::bridge::format::FORMAT;
use holdfast::bridge::store::{
    Connected, Device, Devices, Event, Failure, LiveLease, Place, Record, Renewed, Reply, Request,
    slot_of_user, user_hash,
};
use holdfast::model::Protocol;
use std::time::Duration;

const STANDS: Connected = Connected::Stands { displaced: Vec::new() };
const LIFE: u64 = 60_000;

#[test]
fn a_single_server() {
    let server = Server::start(&[]);
    let client = Client::ready(&server.url(), 1);
    suite(&client);
    let mut raw = server.connect();
    what_is_in_redis(&client, &mut raw);
    a_server_forgets_the_scripts(&client, &mut raw);
    what_others_wrote(&client, &mut raw);
    a_flush_is_noticed(&client, &server, &mut raw);
}

/// Works on empty servers whose masters are up.
pub fn suite(client: &Client) {
    a_device_comes_and_goes(client);
    the_newer_wins(client);
    fighters_are_parted(client);
    whom_it_displaced_is_said_again(client);
    the_dead_are_pruned(client);
    leases_live_and_end(client);
    names_of_any_kind(client);
    many_at_once(client);
    twin::compare(client);
}

fn a_device_comes_and_goes(client: &Client) {
    assert_eq!(client.lookup("ann"), Devices::default());
    let (tv, phone) = (place("a", 5, 1), place("b", 6, 2));
    assert_eq!(client.connect("ann", "tv", tv, 1_000, LIFE), STANDS);
    assert_eq!(client.connect("ann", "phone", phone, 0, 2 * LIFE), STANDS);
    let found = client.lookup("ann");
    assert_eq!((found.devices.len(), found.foreign.len(), found.unreadable), (2, 0, 0));
    let Device { device, record, left_ms } = &found.devices[1];
    let expected = Record { place: tv, protocol: Some(Protocol::Sse), user: user_hash("ann"), ..*record };
    assert_eq!((&**device, *record), ("tv", expected));
    assert!((LIFE - 5_000..=LIFE).contains(left_ms), "{left_ms}");
    let span = record.expires_ms - record.connected_ms;
    assert!((LIFE + 1_000..LIFE + 1_200).contains(&span), "{span}");
    // Registered again, it keeps its beginning.
    assert_eq!(client.connect("ann", "tv", tv, 500, LIFE), STANDS);
    assert_eq!(client.lookup("ann").devices[1].record.connected_ms, record.connected_ms);
    assert!(!client.disconnect("ann", "tv", phone));
    assert!(!client.disconnect("ann", "tv", place("a", 4, 1)));
    assert!(!client.disconnect("ann", "tv", place("a", 5, 2)));
    assert!(client.disconnect("ann", "tv", tv));
    assert!(!client.disconnect("ann", "tv", tv));
    assert_eq!(client.places("ann"), [("phone".into(), phone)]);
    assert!(client.disconnect("ann", "phone", phone));
    assert_eq!(client.lookup("ann"), Devices::default());
}

fn the_newer_wins(client: &Client) {
    let (old, new) = (place("a", 5, 1), place("b", 4, 1));
    assert_eq!(client.connect("bob", "tv", old, 10_000, LIFE), STANDS);
    match client.connect("bob", "tv", new, 5_000, LIFE) {
        Connected::Stands { displaced } => assert_eq!(displaced[0].place, old),
        other => panic!("{other:?}"),
    }
    match client.connect("bob", "tv", old, 11_000, LIFE) {
        Connected::Beaten { by } => assert_eq!(by.place, new),
        other => panic!("{other:?}"),
    }
    assert!(!client.disconnect("bob", "tv", old));
    assert_eq!(client.places("bob"), [("tv".into(), new)]);
}

/// A device that two fight over stays with its holder after three takeovers within a minute; who has had it all along and is
/// registered again does not fight.
fn fighters_are_parted(client: &Client) {
    let connect = |index, age_ms| client.connect("gus", "tv", place("a", 5, index), age_ms, LIFE);
    for index in 1..5 {
        assert!(matches!(connect(index, 10_000 - u64::from(index)), Connected::Stands { .. }), "{index}");
    }
    match connect(5, 1_000) {
        Connected::Fought { by } => assert_eq!(by.place, place("a", 5, 4)),
        other => panic!("{other:?}"),
    }
    // The holder is not concerned, and still knows whom it displaced.
    assert_eq!(displaced(connect(4, 11_000)), [place("a", 5, 3)]);
    assert!(client.disconnect("gus", "tv", place("a", 5, 4)));
    assert!(matches!(connect(5, 1_000), Connected::Stands { .. }), "nobody is there to fight");
    for index in 1..6 {
        let connected =
            client.connect("hal", "tv", place("a", 5, index), 100_000 - u64::from(index) * 1_000, LIFE);
        assert!(matches!(connected, Connected::Stands { .. }), "{index}");
    }
}

/// Whom a connect has displaced.
pub fn displaced(connected: Connected) -> Vec<Place> {
    match connected {
        Connected::Stands { displaced } => displaced.iter().map(|record| record.place).collect(),
        other => panic!("{other:?}"),
    }
}

/// The reply to a connect may be lost: the next one to the same says the same, or that to who comes after it.
fn whom_it_displaced_is_said_again(client: &Client) {
    let [first, second, third] = [1, 2, 3].map(|index| place("a", 5, index));
    let connect = |device, place, age_ms, life_ms| client.connect("fay", device, place, age_ms, life_ms);
    assert_eq!(displaced(connect("tv", first, 9_000, LIFE)), []);
    assert_eq!(displaced(connect("tv", second, 6_000, LIFE)), [first]);
    assert!(matches!(connect("tv", first, 9_100, LIFE), Connected::Beaten { .. }));
    assert_eq!(displaced(connect("tv", second, 6_100, LIFE)), [first]);
    // It is no device, and no other device's.
    assert_eq!(client.places("fay"), [("tv".into(), second)]);
    assert_eq!(displaced(connect("phone", third, 0, LIFE)), []);
    assert_eq!(displaced(connect("tv", second, 6_200, LIFE)), [first]);
    assert_eq!(displaced(connect("tv", third, 3_000, LIFE)), [second, first]);
    assert_eq!(displaced(connect("tv", third, 3_000, LIFE)), [second]);
    let request = Request::Disconnect { user: "fay".into(), device: "tv".into(), place: third };
    match client.ask(request.clone()) {
        Ok(Reply::Disconnected { gone: true, displaced: Some(record) }) => assert_eq!(record.place, second),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.ask(request), Ok(Reply::Disconnected { gone: false, displaced: None }));
    assert_eq!(displaced(connect("tv", third, 3_000, LIFE)), []);
    // It ends with the life that it would have had, and with the record beside it.
    assert_eq!(displaced(connect("brief", first, 9_000, 300)), []);
    assert_eq!(displaced(connect("brief", second, 6_000, LIFE)), [first]);
    assert_eq!(displaced(connect("brief", second, 6_000, LIFE)), [first]);
    wait_for("the end of a life", || {
        displaced(connect("brief", second, 6_000, LIFE)).is_empty().then_some(())
    });
    assert_eq!(displaced(connect("ends", first, 9_000, LIFE)), []);
    assert_eq!(displaced(connect("ends", second, 6_000, 30)), [first]);
    std::thread::sleep(Duration::from_millis(40));
    assert_eq!(displaced(connect("ends", second, 6_000, LIFE)), []);
    for (device, place) in [("phone", third), ("tv", third), ("brief", second), ("ends", second)] {
        assert!(client.disconnect("fay", device, place));
    }
    assert_eq!(client.lookup("fay"), Devices::default());
}

fn the_dead_are_pruned(client: &Client) {
    let (gone, here) = (place("a", 1, 1), place("a", 1, 2));
    client.connect("cem", "gone", gone, 0, 30);
    client.connect("cem", "here", here, 0, LIFE);
    wait_for("the end of a life", || (client.places("cem").len() == 1).then_some(()));
    // A dead record is nobody's rival, however young it was.
    client.connect("cem", "other", place("a", 1, 3), 0, 30);
    std::thread::sleep(Duration::from_millis(40));
    assert_eq!(client.connect("cem", "other", place("a", 1, 4), 1_000, LIFE), STANDS);
    assert_eq!(client.places("cem").len(), 2);
    // That connect has pruned it.
    assert!(!client.disconnect("cem", "gone", gone));
}

fn leases(client: &Client) -> Vec<LiveLease> {
    match client.ask(Request::Leases) {
        Ok(Reply::Leases(mut leases)) => {
            leases.sort_by(|a, b| a.lease.node.cmp(&b.lease.node));
            leases
        }
        other => panic!("{other:?}"),
    }
}

/// What a renewal has found, and since when the lease is there.
fn renewed(client: &Client, node: &str, incarnation: u64, ttl_ms: u64) -> (&'static str, u64) {
    let renewed = match client.ask(renew(node, incarnation, ttl_ms)) {
        Ok(Reply::Renewed(renewed)) => renewed,
        other => panic!("{other:?}"),
    };
    match renewed {
        Renewed::Kept { since_ms } => ("kept", since_ms),
        Renewed::Absent { since_ms } => ("absent", since_ms),
        Renewed::TookOver { incarnation, since_ms } => {
            assert!(incarnation < u64::MAX);
            ("took over", since_ms)
        }
        Renewed::Superseded { incarnation } => ("superseded", incarnation),
    }
}

fn leases_live_and_end(client: &Client) {
    // Higher than Lua's numbers are exact.
    let (early, late) = (u64::MAX - 1, u64::MAX);
    assert_eq!(leases(client), []);
    let (found, since_ms) = renewed(client, "a", early, 10_000);
    assert_eq!(found, "absent");
    std::thread::sleep(Duration::from_millis(3));
    assert_eq!(renewed(client, "a", early, 10_000), ("kept", since_ms));
    assert_eq!(renewed(client, "b", 1, 60).0, "absent");
    let held = leases(client);
    assert_eq!(held[0].lease, lease("a", early));
    assert!(held[0].format == FORMAT && (5_000..=10_000).contains(&held[0].left_ms));
    wait_for("the end of a lease", || (leases(client).len() == 1).then_some(()));
    assert_eq!(renewed(client, "b", 1, 10_000).0, "absent");
    let (found, taken_ms) = renewed(client, "a", late, 10_000);
    assert!(found == "took over" && taken_ms > since_ms);
    assert_eq!(renewed(client, "a", early, 10_000), ("superseded", late));
    assert_eq!(renewed(client, "a", late, 10_000), ("kept", taken_ms));
    assert_eq!(leases(client)[0].lease, lease("a", late));
    let remove =
        |node: &str, incarnation| client.ask(Request::RemoveLease { node: node.into(), incarnation });
    assert_eq!(remove("a", early), Ok(Reply::LeaseRemoved(false)));
    assert_eq!(remove("a", late), Ok(Reply::LeaseRemoved(true)));
    assert_eq!(remove("b", 1), Ok(Reply::LeaseRemoved(true)));
    assert_eq!(leases(client), []);
}

fn names_of_any_kind(client: &Client) {
    let long = "é".repeat(128);
    for name in ["{a}b", "a{}", "}{", "a b", "{nodes}", "é\u{1f600}", &long] {
        let mine = place("a", 1, 9);
        assert_eq!(client.connect(name, name, mine, 0, LIFE), STANDS, "{name}");
        assert_eq!(client.places(name), [(name.to_owned(), mine)]);
        assert!(client.disconnect(name, name, mine));
    }
    for bad in [String::new(), "x".repeat(257), "\u{1}tv".to_owned()] {
        assert_eq!(client.ask(lookup(&bad)), Err(Failure::Invalid));
        assert_eq!(client.ask(connect("u", &bad, place("a", 1, 1), 0, 1)), Err(Failure::Invalid));
    }
}

/// More than a pipeline holds, over all masters.
fn many_at_once(client: &Client) {
    let user = |n: u32| format!("many-{n}");
    let connects: Vec<u64> =
        (0..2_000).map(|n| client.submit(connect(&user(n), &user(n), place("a", 1, n), 0, LIFE))).collect();
    for id in connects {
        assert_eq!(client.answer(id), Ok(Reply::Connected(STANDS)));
    }
    let lookups: Vec<u64> = (0..2_000).map(|n| client.submit(lookup(&user(n)))).collect();
    for (n, id) in (0..).zip(lookups) {
        let Ok(Reply::Devices(found)) = client.answer(id) else { panic!() };
        assert_eq!((&*found.devices[0].device, found.devices[0].record.place), (&*user(n), place("a", 1, n)));
    }
    let slots: std::collections::BTreeSet<u16> = (0..2_000).map(|n| slot_of_user(&user(n)) / 5_462).collect();
    assert_eq!(slots.len(), 3);
    let counters = client.store.counters();
    assert!(counters.pipelines * 2 < counters.sent, "{counters:?}");
    assert_eq!((counters.misattributed, counters.timeouts), (0, 0));
}

fn number(raw: &mut redis::Connection, words: &str) -> i64 {
    redis::from_redis_value(command(raw, words).unwrap()).unwrap()
}

fn what_is_in_redis(client: &Client, raw: &mut redis::Connection) {
    let (user, device) = ("u-34567890123456", "d-34567890123456");
    client.connect(user, device, place("a", 1, 1), 0, LIFE);
    let key = format!("holdfast:u:{user}");
    let record: Vec<u8> = redis::cmd("HGET").arg(&key).arg(device).query(raw).unwrap();
    assert!(record.len() <= 64, "{}", record.len());
    let bytes = number(raw, &format!("MEMORY USAGE {key}"));
    println!("{bytes} bytes for a user with one device, names of 16 bytes");
    assert!(bytes <= 256, "{bytes}");
    // While it is remembered whom the device was taken from.
    client.connect(user, device, place("a", 1, 2), 0, LIFE);
    let bytes = number(raw, &format!("MEMORY USAGE {key}"));
    println!("{bytes} bytes with whom it displaced");
    assert!(number(raw, &format!("HLEN {key}")) == 2 && bytes <= 352, "{bytes}");
    client.disconnect(user, device, place("a", 1, 2));
    assert_eq!(number(raw, &format!("EXISTS {key}")), 0);
    client.connect(user, device, place("a", 1, 1), 0, LIFE);
    // The key ends with its last record, which is not the one written last.
    let life = number(raw, &format!("PTTL {key}"));
    assert!((LIFE as i64 - 5_000..=LIFE as i64).contains(&life), "{life}");
    client.connect(user, "other", place("a", 1, 2), 0, 50);
    let life = number(raw, &format!("PTTL {key}"));
    assert!((LIFE as i64 - 5_000..=LIFE as i64).contains(&life), "{life}");
    client.ask(renew("a", 1, 10_000)).unwrap();
    let life = number(raw, "PTTL holdfast:{nodes}");
    assert!((5_000..=10_000).contains(&life), "{life}");
}

fn a_server_forgets_the_scripts(client: &Client, raw: &mut redis::Connection) {
    command(raw, "SCRIPT FLUSH").unwrap();
    let ids: Vec<u64> = (0..50).map(|n| client.submit(lookup(&format!("many-{n}")))).collect();
    assert!(ids.into_iter().all(|id| client.answer(id).is_ok()));
}

fn what_others_wrote(client: &Client, raw: &mut redis::Connection) {
    let mine = place("a", 1, 1);
    client.connect("dan", "tv", mine, 0, LIFE);
    let record: Vec<u8> = redis::cmd("HGET").arg("holdfast:u:dan").arg("tv").query(raw).unwrap();
    let mut put = |key: &str, device: &str, bytes: &[u8]| {
        redis::cmd("HSET").arg(key).arg(device).arg(bytes).exec(raw).unwrap();
    };
    // A later release's record, and those that are none.
    let mut later = record.clone();
    later[0] = FORMAT + 1;
    later.extend(b"more");
    put("holdfast:u:dan", "later", &later);
    put("holdfast:u:dan", "short", &record[..51]);
    put("holdfast:u:eve", "tv", &record);
    let found = client.lookup("dan");
    assert_eq!((found.devices.len(), found.unreadable), (2, 1));
    assert_eq!(found.devices[0].record.place, mine);
    // It counts in a comparison as well.
    match client.connect("dan", "later", place("b", 1, 1), 5_000, LIFE) {
        Connected::Beaten { by } => assert_eq!(by.place, mine),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.lookup("dan").unreadable, 0);
    // Another user's record is no route and no rival.
    let found = client.lookup("eve");
    assert_eq!((found.devices.len(), found.foreign), (0, vec!["tv".into()]));
    assert_eq!(client.connect("eve", "tv", place("b", 1, 1), 5_000, LIFE), STANDS);
    assert_eq!(client.places("eve"), [("tv".into(), place("b", 1, 1))]);
}

/// By the lease and by the mark: by each node, also by those that come later to the one that another has put back.
fn a_flush_is_noticed(client: &Client, server: &Server, raw: &mut redis::Connection) {
    let other = Client::ready(&server.url(), 1);
    client.forget_events();
    // It has looked at the mark before it carries this.
    other.lookup("dan");
    let (found, since_ms) = renewed(client, "a", 1, 10_000);
    assert_eq!(found, "kept");
    command(raw, "FLUSHALL").unwrap();
    assert_eq!(client.lookup("dan"), Devices::default());
    // The reply that says so may be lost; the next one says since when.
    let (found, again_ms) = renewed(client, "a", 1, 10_000);
    assert!(found == "absent" && again_ms > since_ms);
    assert_eq!(renewed(client, "a", 1, 10_000), ("kept", again_ms));
    for client in [client, &other] {
        wait_for("the loss", || (!losses(client).is_empty()).then_some(()));
    }
    std::thread::sleep(Duration::from_millis(1_200));
    let all = Event::Lost { master: format!("127.0.0.1:{}", server.port), slots: vec![0..=16_383] };
    assert_eq!((losses(client), losses(&other)), (vec![all.clone()], vec![all]));
    assert_eq!(client.store.counters().unmarked, 0);
}

/// What a client has been told to be lost.
pub fn losses(client: &Client) -> Vec<Event> {
    let events = client.events();
    events.into_iter().filter(|event| matches!(event, Event::Lost { .. })).collect()
}
