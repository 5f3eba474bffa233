use super::*;
use crate::kit::slab::Key;
use proptest::prelude::*;
use std::collections::HashMap;

fn handle(n: u32) -> Handle {
    Handle { shard: (n % 3) as u16, key: Key { index: n, generation: n | 1 } }
}

fn arrival<'a>(user: &'a str, device: Option<&'a str>, n: u32, at_s: u32) -> Arrival<'a> {
    Arrival {
        user,
        device,
        handle: handle(n),
        protocol: if n.is_multiple_of(2) { Protocol::Websocket } else { Protocol::Sse },
        connected_unix_s: at_s,
        expires_unix_s: at_s + 100,
    }
}

fn handles(directory: &Directory, user: &str) -> Vec<Handle> {
    let mut found = Vec::new();
    directory.lookup(user, |route| found.push(route.handle));
    found
}

#[test]
fn the_newer_connection_of_a_device_wins_and_the_older_cannot_remove_it() {
    let directory = Directory::new(0);
    let old = directory.register(&arrival("ann", Some("tv"), 1, 1_000)).unwrap();
    assert_eq!((old.displaced, old.evicted), (None, None));
    let new = directory.register(&arrival("ann", Some("tv"), 2, 1_001)).unwrap();
    assert_eq!(new.displaced, Some(handle(1)));
    assert_eq!(handles(&directory, "ann"), [handle(2)]);
    assert!(!directory.unregister(old.record, handle(1)), "compare and delete");
    assert_eq!(handles(&directory, "ann"), [handle(2)]);
    assert!(directory.unregister(new.record, handle(2)));
    assert_eq!((directory.connections(), directory.users()), (0, 0));
}

#[test]
fn two_that_fight_over_a_device_are_parted_after_three_takeovers_in_a_minute() {
    let directory = Directory::new(0);
    for n in 0..4 {
        directory.register(&arrival("ann", Some("tv"), n, 1_000 + n)).unwrap();
    }
    let refused = directory.register(&arrival("ann", Some("tv"), 4, 1_010));
    assert_eq!(refused.map(|_| ()), Err(Refused::Fight));
    assert_eq!(handles(&directory, "ann"), [handle(3)], "the holder stays");
    assert_eq!(directory.register(&arrival("ann", Some("tv"), 5, 1_060)).map(|_| ()), Err(Refused::Fight));
    // The window began with the first takeover, at 1,001.
    assert!(directory.register(&arrival("ann", Some("tv"), 6, 1_061)).is_ok());
}

#[test]
fn unnamed_devices_never_displace_each_other_and_answer_to_their_handle() {
    let directory = Directory::new(0);
    for n in 0..3 {
        assert_eq!(directory.register(&arrival("ann", None, n, 1)).unwrap().displaced, None);
    }
    assert_eq!(handles(&directory, "ann").len(), 3);
    let found = directory.lookup_device("ann", "whatever", Some(handle(1)), |route| route.handle);
    assert_eq!(found, Some(handle(1)));
    assert_eq!(directory.lookup_device("ann", "whatever", None, |route| route.handle), None);
}

#[test]
fn a_user_with_too_many_loses_the_oldest() {
    let directory = Directory::new(2);
    let devices = ["a", "b", "c"];
    let evicted: Vec<_> = (0..3)
        .map(|n| directory.register(&arrival("ann", Some(devices[n as usize]), n, 10 + n)).unwrap().evicted)
        .collect();
    assert_eq!(evicted, [None, None, Some(handle(0))]);
    assert_eq!(handles(&directory, "ann"), [handle(2), handle(1)]);
}

#[test]
fn a_clock_that_steps_back_does_not_make_the_newcomer_the_oldest() {
    let directory = Directory::new(1);
    directory.register(&arrival("ann", Some("a"), 1, 1_000)).unwrap();
    let newer = directory.register(&arrival("ann", Some("b"), 2, 500)).unwrap();
    assert_eq!(newer.evicted, Some(handle(1)));
    assert_eq!(handles(&directory, "ann"), [handle(2)]);
}

#[test]
fn the_longest_names_fit() {
    let directory = Directory::new(0);
    let (user, device) = ("u".repeat(256), "d".repeat(256));
    let registered = directory.register(&arrival(&user, Some(&device), 1, 1)).unwrap();
    let same =
        directory.identity(registered.record, handle(1), |u, d| u == user && d == Some(device.as_str()));
    assert_eq!(same, Some(true));
    assert_eq!(directory.identity(registered.record, handle(2), |_, _| ()), None);
    let route = directory.lookup_device(&user, &device, None, |route| (route.protocol, route.expires_unix_s));
    assert_eq!(route, Some((Protocol::Sse, 101)));
}

/// What the directory must agree with: a map, and lists in order of arrival.
#[derive(Default)]
struct Twin {
    users: HashMap<String, Vec<(Option<String>, Handle)>>,
}

#[derive(Clone, Debug)]
enum Step {
    Register { user: u8, device: Option<u8> },
    Unregister { nth: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let register =
        (0u8..12, prop::option::of(0u8..3)).prop_map(|(user, device)| Step::Register { user, device });
    let unregister = (0usize..400).prop_map(|nth| Step::Unregister { nth });
    prop::collection::vec(prop_oneof![3 => register, 2 => unregister], 1..200)
}

proptest! {
    #[test]
    fn agrees_with_a_naive_twin(steps in steps()) {
        let directory = Directory::new(0);
        let mut twin = Twin::default();
        let mut ever: Vec<(RecordRef, Handle)> = Vec::new();
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Register { user, device } => {
                    let (user, device) = (format!("user-{user}"), device.map(|d| format!("device-{d}")));
                    // Far apart in time, so that the brake on fights stays out of this.
                    let n = at as u32;
                    let got = directory.register(&arrival(&user, device.as_deref(), n, 100 * n)).unwrap();
                    let list = twin.users.entry(user).or_default();
                    let held = list.iter_mut().find(|(name, _)| device.is_some() && *name == device);
                    let displaced = match held {
                        Some((_, held)) => Some(std::mem::replace(held, handle(n))),
                        None => { list.insert(0, (device, handle(n))); None }
                    };
                    prop_assert_eq!(got.displaced, displaced);
                    ever.push((got.record, handle(n)));
                }
                Step::Unregister { nth } if nth < ever.len() => {
                    let (record, handle) = ever[nth];
                    let mut there = false;
                    for list in twin.users.values_mut() {
                        let before = list.len();
                        list.retain(|(_, held)| *held != handle);
                        there |= list.len() < before;
                    }
                    prop_assert_eq!(directory.unregister(record, handle), there);
                }
                Step::Unregister { .. } => {}
            }
            for (user, list) in &twin.users {
                let want: Vec<Handle> = list.iter().map(|(_, handle)| *handle).collect();
                prop_assert_eq!(&handles(&directory, user), &want);
            }
            let connections: usize = twin.users.values().map(Vec::len).sum();
            prop_assert_eq!(directory.connections(), connections);
            prop_assert_eq!(directory.users(), twin.users.values().filter(|list| !list.is_empty()).count());
        }
    }
}
