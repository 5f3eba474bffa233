//! A master with a replica and Sentinels: the suite, then a failover.

use crate::{
    client::{Client, place},
    conformance, doctor,
    servers::{Sentinels, wait_for},
};
use holdfast::bridge::store::Event;

#[test]
fn with_sentinels() {
    let mut sentinels = Sentinels::start();
    let client = Client::ready(&sentinels.url(), 1);
    conformance::suite(&client);
    doctor::of_sentinels(&sentinels);
    client.forget_events();
    sentinels.servers[0].kill();
    let replica = format!("127.0.0.1:{}", sentinels.servers[1].port);
    wait_for("the failover", || {
        let is_it = |event: &Event| matches!(event, Event::Lost { master, slots } if *master == replica && *slots == [0..=16_383]);
        client.events().iter().any(is_it).then_some(())
    });
    client.connect("after", "tv", place("a", 1, 1), 0, 60_000);
    assert_eq!(client.places("after").len(), 1);
}
