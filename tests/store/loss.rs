//! Servers that come back without what they held, and servers that are not there.

use crate::{
    client::{Client, lookup, place, renew},
    servers::{Server, free_port, wait_for},
};
use holdfast::bridge::store::{Devices, Event, Failure, Renewed, Reply};
use std::time::{Duration, Instant};

#[test]
fn a_restart_without_data_is_a_loss_of_all_slots() {
    let mut server = Server::start(&[]);
    let client = Client::ready(&server.url(), 1);
    client.connect("ann", "tv", place("a", 1, 1), 0, 60_000);
    assert!(matches!(client.ask(renew("a", 1, 10_000)), Ok(Reply::Renewed(Renewed::Absent { .. }))));
    client.forget_events();
    // The connection is idle: the loss is noticed without a request.
    server.restart();
    let events = wait_for("the loss", || {
        let events = client.events();
        events.iter().any(|event| matches!(event, Event::Lost { .. })).then_some(events)
    });
    let (master, slots) = (format!("127.0.0.1:{}", server.port), vec![0..=16_383]);
    let tail = [Event::Up { master: master.clone(), slots: slots.clone() }, Event::Lost { master, slots }];
    assert!(matches!(events[0], Event::Dropped { .. }), "{events:?}");
    assert_eq!(events[events.len() - 2..], tail);
    assert_eq!(client.lookup("ann"), Devices::default());
    assert!(matches!(client.ask(renew("a", 1, 10_000)), Ok(Reply::Renewed(Renewed::Absent { .. }))));
}

#[test]
fn without_a_server_the_answer_is_quick() {
    let port = free_port();
    for url in ["redis", "redis+cluster", "redis+sentinel"] {
        let path = if url == "redis+sentinel" { "/main" } else { "" };
        let client = Client::start(&format!("{url}://127.0.0.1:{port}{path}"));
        wait_for("the news", || {
            client.events().iter().any(|event| matches!(event, Event::Down { .. })).then_some(())
        });
        let began = Instant::now();
        assert_eq!(client.ask(lookup("ann")), Err(Failure::Down));
        assert!(began.elapsed() < Duration::from_secs(1));
        let downs = client.events().iter().filter(|event| matches!(event, Event::Down { .. })).count();
        assert_eq!(downs, 1);
    }
}

#[test]
fn a_replica_is_no_master() {
    let master = Server::start(&[]);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let client = Client::start(&replica.url());
    wait_for("the news", || {
        let is_it = |event: &Event| matches!(event, Event::Down { cause, .. } if cause == "it is a replica");
        client.events().iter().any(is_it).then_some(())
    });
    assert_eq!(client.ask(lookup("ann")), Err(Failure::Down));
}
