//! Three masters with replicas: the suite, slots on their way, and a master that dies under load.

use crate::{
    client::{Client, TIMEOUT, connect, lookup, place},
    conformance::{self, losses},
    doctor,
    faults::check_own,
    servers::{Cluster, Server, command, text, wait_for},
};
use holdfast::bridge::store::{Event, Failure, Reply, slot_of_user};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

const LIFE: u64 = 600_000;

#[test]
fn a_cluster() {
    let mut cluster = Cluster::start();
    let client = Client::ready(&cluster.url(), 3);
    conformance::suite(&client);
    doctor::of_cluster(&cluster);
    a_slot_moves(&client, &cluster);
    a_master_is_flushed(&client, &cluster);
    a_master_dies_under_load(&client, &mut cluster);
}

fn user(n: u64) -> String {
    format!("load-{n}")
}

/// While a slot is on its way, and when it has arrived.
fn a_slot_moves(client: &Client, cluster: &Cluster) {
    let name = "mover";
    let slot = slot_of_user(name);
    let from = usize::from(slot / 5_462).min(2);
    let to = (from + 1) % 3;
    client.connect(name, "tv", place("a", 1, 1), 0, LIFE);
    let mut moving = Moving::begin(cluster, slot, from, to);
    let before = client.store.counters().redirected;
    let port = cluster.servers[to].port;
    moving.carry_keys();
    assert_eq!(client.places(name).len(), 1);
    assert_eq!(client.store.counters().redirected, before + 1);
    client.forget_events();
    moving.end();
    assert_eq!(client.places(name).len(), 1);
    let master = format!("127.0.0.1:{port}");
    wait_for("the new owner", || {
        let expected = Event::Lost { master: master.clone(), slots: vec![slot..=slot] };
        client.events().contains(&expected).then_some(())
    });
    let before = client.store.counters().redirected;
    assert_eq!(client.places(name).len(), 1);
    assert_eq!(client.store.counters().redirected, before);
}

/// A slot on its way from one master to another, by their numbers in the cluster.
struct Moving<'a> {
    cluster: &'a Cluster,
    slot: u16,
    from: usize,
    to: usize,
    connections: Vec<redis::Connection>,
    id: String,
}

impl<'a> Moving<'a> {
    fn begin(cluster: &'a Cluster, slot: u16, from: usize, to: usize) -> Self {
        let mut connections: Vec<_> = cluster.servers[..3].iter().map(Server::connect).collect();
        let ids: Vec<String> =
            connections.iter_mut().map(|connection| text(connection, "CLUSTER MYID")).collect();
        let steps = [(to, "IMPORTING", &ids[from]), (from, "MIGRATING", &ids[to])];
        for (at, word, id) in steps {
            command(&mut connections[at], &format!("CLUSTER SETSLOT {slot} {word} {id}")).unwrap();
        }
        Self { cluster, slot, from, to, connections, id: ids[to].clone() }
    }

    fn carry_keys(&mut self) -> usize {
        let source = &mut self.connections[self.from];
        let keys = command(source, &format!("CLUSTER GETKEYSINSLOT {} 100", self.slot)).unwrap();
        let keys: Vec<String> = redis::from_redis_value(keys).unwrap();
        let port = self.cluster.servers[self.to].port;
        for key in &keys {
            command(source, &format!("MIGRATE 127.0.0.1 {port} {key} 0 1000")).unwrap();
        }
        keys.len()
    }

    fn end(&mut self) {
        for at in [self.to, self.from] {
            let words = format!("CLUSTER SETSLOT {} NODE {}", self.slot, self.id);
            command(&mut self.connections[at], &words).unwrap();
        }
    }
}

/// One that does not have the leases, and whose mark had to go elsewhere with its slot before.
fn a_master_is_flushed(client: &Client, cluster: &Cluster) {
    let other = Client::ready(&cluster.url(), 3);
    let mut raw = cluster.servers[0].connect();
    let leases = command(&mut raw, "CLUSTER KEYSLOT holdfast:{nodes}").unwrap();
    let leases: u16 = redis::from_redis_value(leases).unwrap();
    let masters = [(0, 0..=5_460), (1, 5_461..=10_922), (2, 10_923..=16_383)];
    let (at, slots) = masters.into_iter().find(|(_, slots)| !slots.contains(&leases)).unwrap();
    let marked = *slots.start();
    let mut moving = Moving::begin(cluster, marked, at, (at + 1) % 3);
    assert_eq!(moving.carry_keys(), 1, "the mark, which is all that is there");
    client.forget_events();
    other.forget_events();
    moving.end();
    for client in [client, &other] {
        wait_for("the new owner", || (!losses(client).is_empty()).then_some(()));
    }
    // Both look at a mark in another slot by now.
    thread::sleep(Duration::from_millis(1_500));
    let address = |at: usize| format!("127.0.0.1:{}", cluster.servers[at].port);
    let moved = Event::Lost { master: address((at + 1) % 3), slots: vec![marked..=marked] };
    command(&mut cluster.servers[at].connect(), "FLUSHALL").unwrap();
    for client in [client, &other] {
        let losses = wait_for("the loss", || Some(losses(client)).filter(|losses| losses.len() > 1));
        assert_eq!(losses[0], moved);
        let [_, Event::Lost { master, slots }] = losses.as_slice() else { panic!("{losses:?}") };
        // A slot that moved before may be missing, or be the other's.
        let lost: Vec<u16> = slots.iter().cloned().flatten().collect();
        assert!(*master == address(at) && lost.len() > 5_400 && !lost.contains(&marked), "{losses:?}");
        assert!(lost.contains(&(marked + 1)) || lost.contains(&(marked + 2)));
        assert_eq!(client.store.counters().unmarked, 0);
    }
}

fn a_master_dies_under_load(client: &Client, cluster: &mut Cluster) {
    let users = 600;
    let ids: Vec<u64> = (0..users)
        .map(|n| client.submit(connect(&user(n), &user(n), place("a", 1, n as u32), 1_000, LIFE)))
        .collect();
    for id in ids {
        client.answer(id).unwrap();
    }
    let (ended, own, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let dead = &mut cluster.servers[0];
    let address = format!("127.0.0.1:{}", dead.port);
    client.forget_events();
    let own_after = thread::scope(|scope| {
        let _end = EndOnDrop(&ended);
        for thread in 0..2 {
            let (ended, own, failed) = (&ended, &own, &failed);
            scope.spawn(move || load(client, thread, users, ended, own, failed));
        }
        thread::sleep(Duration::from_millis(500));
        dead.kill();
        let has_failed_over = || {
            let is_it = |event: &Event| match event {
                Event::Lost { master, slots } => {
                    *master != address && slots.iter().any(|range| range.contains(&2_000))
                }
                _ => false,
            };
            client.events().iter().any(is_it).then_some(())
        };
        wait_for("the failover", has_failed_over);
        let at_failover = own.load(Relaxed);
        thread::sleep(Duration::from_millis(500));
        own.load(Relaxed) - at_failover
    });
    let counters = client.store.counters();
    println!("own {own:?}, failed {failed:?}, {counters:?}");
    assert!(own_after > 500 && failed.load(Relaxed) > 0, "{own_after}, {failed:?}");
    assert_eq!(counters.misattributed, 0);
    // All users are found again, or are known to be lost; asked of their new master.
    for n in 0..users {
        check_own(&user(n), &Ok(Reply::Devices(client.lookup(&user(n)))));
    }
}

/// Ends the load also when the test has failed.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Lookups and connects in pipelines, each answer checked.
fn load(client: &Client, thread: u64, users: u64, ended: &AtomicBool, own: &AtomicU64, failed: &AtomicU64) {
    let mut random = fastrand::Rng::with_seed(thread);
    while !ended.load(Relaxed) {
        let began = Instant::now();
        let asked: Vec<(u64, bool, u64)> = (0..100)
            .map(|_| {
                let (n, writes) = (random.u64(..users), random.u8(..4) == 0);
                let name = user(n);
                let request = if writes {
                    connect(&name, &name, place("a", 1, n as u32), 1_000, LIFE)
                } else {
                    lookup(&name)
                };
                (n, writes, client.submit(request))
            })
            .collect();
        for (n, writes, id) in asked {
            let answer = client.answer(id);
            let good = match &answer {
                Ok(Reply::Connected(_)) if writes => true,
                Err(Failure::Down | Failure::Timeout) => false,
                answer if !writes => check_own(&user(n), answer),
                other => panic!("{other:?}"),
            };
            if good { own } else { failed }.fetch_add(1, Relaxed);
        }
        assert!(began.elapsed() < TIMEOUT * 2);
    }
}
