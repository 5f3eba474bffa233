//! The directory of one node with 100,000 users connected, one device each, from one thread.
//!
//! - `connect_and_leave`: a user who was not there registers and unregisters. The record and the names are those that the
//!   user before has just given back, so they are warm.
//! - `take_over`: a device connects again, and its older connection loses its place.
//! - `lookup`: a connected user's routes, users in an order that the cache cannot guess.
//! - `lookup_absent`: the same for users who are not there.
//!
//! `lookup` is dearer than it looks: table, record and names are each a cache miss.
//!
//! Not measured: shards that meet at one of the 32 locks. Each is held for about the times shown here.

use criterion::{Criterion, criterion_group, criterion_main};
use holdfast::{
    directory::{Arrival, Directory},
    kit::slab::Key,
    model::{Handle, Protocol},
};
use std::hint::black_box;

const USERS: u32 = 100_000;
/// Longer than the window in which takeovers of one device are counted.
const BETWEEN_TAKEOVERS_S: u64 = 61;

fn handle(index: u32, generation: u32) -> Handle {
    Handle { shard: 0, key: Key { index, generation } }
}

fn arrival<'a>(user: &'a str, handle: Handle, began_ms: u64) -> Arrival<'a> {
    Arrival {
        user,
        device: Some("phone"),
        handle,
        protocol: Protocol::Websocket,
        began_ms,
        ends_ms: began_ms + 1_800_000,
    }
}

fn names(prefix: &str) -> Vec<String> {
    (0..USERS).map(|user| format!("{prefix}-{user}")).collect()
}

fn filled(users: &[String]) -> Directory {
    let directory = Directory::new(0);
    for (index, user) in users.iter().enumerate() {
        let registered = directory.register(&arrival(user, handle(index as u32, 1), 1));
        assert!(registered.is_ok());
    }
    directory
}

fn directory(criterion: &mut Criterion) {
    let users = names("user");
    let absent = names("nobody");
    let directory = filled(&users);
    let mut at = 0;
    let mut next = || {
        at = (at + 77_777) % USERS;
        at
    };
    let mut group = criterion.benchmark_group("directory");
    group.bench_function("connect_and_leave", |bencher| {
        bencher.iter(|| {
            let index = next();
            let handle = handle(USERS + index, 1);
            if let Ok(registered) = directory.register(&arrival(&absent[index as usize], handle, 1)) {
                assert!(directory.unregister(registered.record, handle));
            }
        });
    });
    group.bench_function("lookup", |bencher| {
        bencher.iter(|| {
            let mut found = 0;
            directory.lookup(&users[next() as usize], |route| found += black_box(route).handle.key.index);
            found
        });
    });
    group.bench_function("lookup_absent", |bencher| {
        bencher.iter(|| {
            let mut found = 0;
            directory.lookup(&absent[next() as usize], |_| found += 1);
            found
        });
    });
    let (mut now_s, mut generation) = (1, 1);
    group.bench_function("take_over", |bencher| {
        bencher.iter(|| {
            let index = next();
            now_s += BETWEEN_TAKEOVERS_S;
            generation += 2;
            let registered = directory.register(&arrival(
                &users[index as usize],
                handle(index, generation),
                now_s * 1_000,
            ));
            assert!(registered.is_ok_and(|registered| registered.displaced.is_some()));
        });
    });
    group.finish();
}

criterion_group!(benches, directory);
criterion_main!(benches);
