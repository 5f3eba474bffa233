//! Replies that are lost, late, doubled or another's; servers that stop.

use crate::{
    client::{Answer, Client, TIMEOUT, connect, lookup, place},
    proxy::{Fault, Proxy},
    servers::{Server, wait_for},
};
use holdfast::bridge::store::{Cause, Connected, Event, Failure, Full, Reply, Settings};
use std::{
    thread,
    time::{Duration, Instant},
};

const LIFE: u64 = 600_000;

fn user(n: u32) -> String {
    format!("user-{n}")
}

/// Gives each user a device that has the user's name.
fn register(client: &Client, users: u32) {
    let ids: Vec<u64> = (0..users)
        .map(|n| client.submit(connect(&user(n), &user(n), place("a", 1, n), 1_000, LIFE)))
        .collect();
    for id in ids {
        client.answer(id).unwrap();
    }
}

/// An answer to a lookup of a user who is registered: the user's own, or none.
pub fn check_own(user: &str, answer: &Answer) -> bool {
    match answer {
        Ok(Reply::Devices(found)) => {
            assert!(found.devices.iter().all(|device| &*device.device == user), "{user}: {found:?}");
            assert!(found.foreign.is_empty());
            !found.devices.is_empty()
        }
        Ok(other) => panic!("{other:?}"),
        Err(_) => false,
    }
}

fn drops(client: &Client, wanted: &Cause) -> usize {
    let events = client.events();
    events.iter().filter(|event| matches!(event, Event::Dropped { cause, .. } if cause == wanted)).count()
}

#[test]
fn a_reply_of_another_is_never_believed() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let client = Client::ready(&proxy.url(), 1);
    register(&client, 400);
    for fault in [Fault::Swap, Fault::Duplicate, Fault::Drop] {
        let before = client.store.counters();
        // They leave together while another question is under way: a reply is spoilt that others follow.
        proxy.delay_requests(Duration::from_millis(50));
        proxy.spoil_next(&[Fault::Delay(Duration::ZERO), fault]);
        let decoy = client.submit(lookup(&user(60)));
        let ids: Vec<u64> = (0..50).map(|n| client.submit(lookup(&user(n)))).collect();
        assert!(check_own(&user(60), &client.answer(decoy)));
        for (n, id) in (0..).zip(ids) {
            assert!(check_own(&user(n), &client.answer(id)), "{fault:?}, {n}");
        }
        let after = client.store.counters();
        assert_eq!(after.misattributed, before.misattributed + 1, "{fault:?}");
        assert_eq!(after.connections, before.connections + 1, "{fault:?}");
    }
    assert_eq!(drops(&client, &Cause::Misattributed), 3);
    // A swap of two answers for one user shows nobody else, but they are answers to other questions all the same.
    proxy.spoil_next(&[Fault::Delay(Duration::ZERO), Fault::Swap]);
    let decoy = client.submit(lookup(&user(1)));
    let (own, other) = (place("a", 1, 0), place("a", 1, 1));
    let request = |place| holdfast::bridge::store::Request::Disconnect {
        user: user(0).into(),
        device: user(0).into(),
        place,
    };
    let (first, second) = (client.submit(request(own)), client.submit(request(other)));
    assert!(matches!(client.answer(second), Ok(Reply::Disconnected { gone: false, .. })));
    client.answer(first).unwrap();
    assert!(check_own(&user(1), &client.answer(decoy)));
    proxy.delay_requests(Duration::ZERO);
    // Asked again once, and then no more. Where the first was sent alone, its answer waits for another to be swapped with.
    proxy.spoil_all(Some(Fault::Swap));
    let gave_up = (0..10).any(|_| {
        let ids: Vec<u64> = (100..120).map(|n| client.submit(lookup(&user(n)))).collect();
        let answers: Vec<_> = ids.into_iter().map(|id| client.answer(id)).collect();
        for (n, answer) in (100..).zip(&answers) {
            check_own(&user(n), answer);
        }
        answers.contains(&Err(Failure::Misattributed))
    });
    assert!(gave_up);
}

#[test]
fn no_answer_is_anothers_whatever_happens_to_the_replies() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let client = Client::ready(&proxy.url(), 1);
    register(&client, 400);
    proxy.spoil_one_in(Some(100));
    let mut random = fastrand::Rng::new();
    let (mut own, mut asked) = (0, 0);
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        let users: Vec<u32> = (0..100).map(|_| random.u32(..400)).collect();
        let ids: Vec<u64> = users.iter().map(|&n| client.submit(lookup(&user(n)))).collect();
        for (&n, id) in users.iter().zip(ids) {
            own += u32::from(check_own(&user(n), &client.answer(id)));
            asked += 1;
        }
    }
    let counters = client.store.counters();
    println!("{own} of {asked} lookups were answered; {counters:?}");
    assert!(counters.misattributed >= 5, "{counters:?}");
    assert!(own * 10 > asked * 5, "{own} of {asked}");
}

#[test]
fn a_request_that_was_long_under_way_gets_no_younger() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let (slow, quick) = (Client::ready(&proxy.url(), 1), Client::ready(&server.url(), 1));
    let (old, new) = (place("a", 1, 1), place("b", 1, 1));
    proxy.delay_requests(Duration::from_millis(600));
    let id = slow.submit(connect("ann", "tv", old, 0, LIFE));
    thread::sleep(Duration::from_millis(200));
    quick.connect("ann", "tv", new, 0, LIFE);
    match slow.answer(id) {
        Ok(Reply::Connected(Connected::Beaten { by })) => assert_eq!(by.place, new),
        other => panic!("{other:?}"),
    }
    // And one that comes when its caller has given up is not carried out.
    proxy.delay_requests(TIMEOUT + Duration::from_millis(300));
    assert_eq!(slow.ask(connect("bob", "tv", old, 0, LIFE)), Err(Failure::Timeout));
    thread::sleep(Duration::from_millis(700));
    assert_eq!(quick.places("bob"), []);
}

#[test]
fn a_server_that_stops_costs_no_more_than_the_time_out() {
    let server = Server::start(&[]);
    let client = Client::ready(&server.url(), 1);
    register(&client, 200);
    let stop = thread::scope(|scope| {
        let submits = scope
            .spawn(|| (0..3_000u32).map(|n| (n, client.submit(lookup(&user(n % 200))))).collect::<Vec<_>>());
        thread::sleep(Duration::from_millis(3));
        server.signal("-STOP");
        submits.join().unwrap()
    });
    // Connecting to it fails after a while; until then a few wait and others are refused, but each has its answer.
    let more: Vec<(u32, u64)> = (0..100).map(|n| (n, client.submit(lookup(&user(n))))).collect();
    let mut failed = 0;
    for (n, id) in stop.into_iter().chain(more) {
        let answer = client.answer(id);
        check_own(&user(n % 200), &answer);
        match answer {
            Err(Failure::Timeout | Failure::Down) => failed += 1,
            Err(other) => panic!("{other:?}"),
            Ok(_) => {}
        }
    }
    assert!(failed >= 100, "{failed}");
    server.signal("-CONT");
    wait_for("the server to be used again", || {
        check_own(&user(1), &client.ask(lookup(&user(1)))).then_some(())
    });
}

#[test]
fn a_reply_that_comes_byte_by_byte_holds_nobody_up() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let client = Client::ready(&proxy.url(), 1);
    register(&client, 2);
    proxy.spoil_next(&[Fault::Dribble(Duration::from_millis(30))]);
    let (first, behind) = (client.submit(lookup(&user(0))), client.submit(lookup(&user(1))));
    thread::sleep(Duration::from_millis(500));
    let later = client.submit(lookup(&user(1)));
    assert_eq!(client.answer(first), Err(Failure::Timeout));
    assert_eq!(client.answer(behind), Err(Failure::Timeout));
    assert_eq!(client.answer(later), Err(Failure::Timeout));
    wait_for("a new connection", || check_own(&user(1), &client.ask(lookup(&user(1)))).then_some(()));
}

#[test]
fn a_full_queue_is_full_and_the_rest_is_answered() {
    let server = Server::start(&[]);
    let mut settings = Settings::new(server.url().parse().unwrap());
    settings.queue_max = 100;
    settings.timeout = Duration::from_millis(600);
    let client = Client::with(settings);
    client.wait_up(1);
    server.signal("-STOP");
    let mut taken = Vec::new();
    let mut full = 0;
    for id in 10_000..11_000 {
        match client.store.submit(id, lookup("ann")) {
            Ok(()) => taken.push(id),
            Err(Full) => full += 1,
        }
    }
    assert!(full > 500 && taken.len() >= 100, "{full}");
    for id in taken {
        assert!(matches!(client.answer(id), Err(Failure::Timeout | Failure::Down)));
    }
    server.signal("-CONT");
    wait_for("room", || client.ask(lookup("ann")).is_ok().then_some(()));
}
