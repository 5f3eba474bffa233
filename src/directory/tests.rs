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
        began_ms: u64::from(at_s) * 1_000,
        ends_ms: u64::from(at_s + 100) * 1_000,
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
fn every_arrival_and_departure_is_told_once_and_in_order() {
    struct Unheard;
    impl crate::kit::mailbox::Wake for Unheard {
        fn wake(&self) {}
    }
    let (events, mut told) = crate::kit::mailbox::mailbox(&[6], std::sync::Arc::new(Unheard));
    let log = PresenceLog::new(events);
    let directory = Directory::new(2).telling(Some(log.clone()));
    let old = directory.register(&arrival("ann", Some("tv"), 1, 1_000)).unwrap();
    directory.register(&arrival("ann", Some("tv"), 2, 1_001)).unwrap();
    assert!(!directory.unregister(old.record, handle(1)), "it was told as it was displaced");
    directory.register(&arrival("ann", None, 3, 1_002)).unwrap();
    // The third is one too many: the oldest leaves.
    let pad = directory.register(&arrival("ann", Some("pad"), 4, 1_003)).unwrap();
    assert_eq!(pad.evicted, Some(handle(2)));
    let mut events = Vec::new();
    told.take(100, &mut events);
    let seen: Vec<_> =
        events.iter().map(|event| (event.device.as_deref(), event.handle, event.is_online)).collect();
    let expected = [
        (Some("tv"), handle(1), true),
        (Some("tv"), handle(1), false),
        (Some("tv"), handle(2), true),
        (None, handle(3), true),
        (Some("tv"), handle(2), false),
        (Some("pad"), handle(4), true),
    ];
    assert_eq!(seen, expected);
    assert!(directory.unregister(pad.record, handle(4)));
    events.clear();
    told.take(100, &mut events);
    assert_eq!(
        (&*events[0].user, events[0].protocol, events[0].is_online),
        ("ann", Protocol::Websocket, false)
    );
    // What finds no room is lost, and counted.
    for number in 10..20 {
        directory.register(&arrival("bob", Some("tv"), number, 2_000 + 100 * number)).unwrap();
    }
    assert_eq!(log.lost(), 19 - 6);
}

#[test]
fn when_a_connection_began_is_seen_also_from_a_moment_before() {
    const WRAP_MS: u64 = 1 << 32;
    for began_ms in [0, 5, 70_000, WRAP_MS - 1, WRAP_MS, 3 * WRAP_MS + 7] {
        let directory = Directory::new(0);
        let arrival = Arrival { began_ms, ..arrival("ann", Some("tv"), 1, 0) };
        directory.register(&arrival).unwrap();
        let mut began = None;
        directory.lookup("ann", |route| began = Some(route.began));
        for now_ms in [
            began_ms,
            began_ms + 1,
            began_ms + 86_400_000,
            began_ms.saturating_sub(1),
            began_ms.saturating_sub(60_000),
        ] {
            assert_eq!(began.unwrap().millis(now_ms), began_ms, "from {now_ms}");
        }
    }
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
fn of_two_that_came_in_one_moment_the_newcomer_is_not_the_oldest() {
    let directory = Directory::new(1);
    directory.register(&arrival("ann", Some("a"), 1, 1_000)).unwrap();
    let newer = directory.register(&arrival("ann", Some("b"), 2, 1_000)).unwrap();
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
    let route = directory.lookup_device(&user, &device, None, |route| (route.protocol, route.ends_ms));
    assert_eq!(route, Some((Protocol::Sse, 101_000)));
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

mod journal {
    use super::*;
    use crate::kit::mailbox::{self, Receiver, Wake};
    use std::sync::Arc;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(&self) {}
    }

    fn journaled(room: usize) -> (Directory, Receiver<Changed>) {
        let (sender, receiver) = mailbox::mailbox(&[room], Arc::new(Nobody));
        (Directory::with_journal(0, Journal::new(sender)), receiver)
    }

    /// What the registry is told, in order: `+3 ann tv` and `-3 ann tv` for connection 3.
    fn told(directory: &Directory, entries: impl IntoIterator<Item = Changed>) -> Vec<String> {
        let say = |sign: char, user: &str, route: &Route<'_>| {
            format!("{sign}{} {user} {}", route.handle.key.index, route.device.unwrap_or("-"))
        };
        let entries = entries.into_iter();
        let heard = entries.filter_map(|entry| {
            directory.take_change(entry, |change| match change {
                Change::Arrived { user, route } => say('+', user, &route),
                Change::Departed { user, route } => say('-', user, &route),
            })
        });
        heard.collect()
    }

    fn posted(directory: &Directory, entries: &mut Receiver<Changed>) -> Vec<String> {
        let mut taken = Vec::new();
        while entries.take(7, &mut taken) {}
        told(directory, taken)
    }

    fn walked(directory: &Directory) -> Vec<String> {
        let (mut entries, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            from = directory.walk_changes(at, 3, |entry| entries.push(entry));
        }
        told(directory, entries)
    }

    #[test]
    fn every_change_is_told_once_and_in_order() {
        let (directory, mut entries) = journaled(100);
        let one = directory.register(&arrival("ann", Some("tv"), 1, 1_000)).unwrap();
        assert_eq!(posted(&directory, &mut entries), ["+1 ann tv"]);
        assert!(directory.unregister(one.record, handle(1)));
        assert_eq!((directory.connections(), directory.users()), (0, 0), "it is found no more");
        assert!(!directory.unregister(one.record, handle(1)) && !directory.holds("ann", handle(1)));
        assert_eq!(directory.identity(one.record, handle(1), |_, _| ()), None);
        assert_eq!(posted(&directory, &mut entries), ["-1 ann tv"]);
        assert_eq!(walked(&directory), [""; 0], "and nothing is left");
    }

    #[test]
    fn who_was_never_told_of_goes_without_a_word() {
        let (directory, mut entries) = journaled(100);
        let one = directory.register(&arrival("ann", None, 1, 1_000)).unwrap();
        directory.unregister(one.record, handle(1));
        assert_eq!(posted(&directory, &mut entries), [""; 0]);
    }

    #[test]
    fn who_takes_over_is_told_of_before_who_goes() {
        let (directory, mut entries) = journaled(100);
        directory.register(&arrival("ann", Some("tv"), 1, 1_000)).unwrap();
        assert_eq!(posted(&directory, &mut entries), ["+1 ann tv"]);
        directory.register(&arrival("ann", Some("tv"), 2, 1_001)).unwrap();
        // The second is displaced before anybody has heard of it.
        directory.register(&arrival("ann", Some("tv"), 3, 1_002)).unwrap();
        assert_eq!(posted(&directory, &mut entries), ["-1 ann tv", "+3 ann tv"]);
        assert_eq!(directory.connections(), 1);
    }

    #[test]
    fn what_finds_no_room_is_found_by_a_walk() {
        let (directory, mut entries) = journaled(2);
        let records: Vec<_> = (0..4)
            .map(|n| directory.register(&arrival(&format!("user-{n}"), None, n, 1_000)).unwrap().record)
            .collect();
        let journal = directory.journal().unwrap();
        assert_eq!(journal.deferred(), 2);
        assert!(journal.take_missed() && !journal.take_missed());
        assert_eq!(posted(&directory, &mut entries).len(), 2);
        assert_eq!(walked(&directory).len(), 2);
        for (n, record) in records.into_iter().enumerate() {
            directory.unregister(record, handle(n as u32));
        }
        assert_eq!(journal.deferred(), 4);
        let mut gone = walked(&directory);
        gone.extend(posted(&directory, &mut entries));
        gone.sort();
        assert_eq!(gone, ["-0 user-0 -", "-1 user-1 -", "-2 user-2 -", "-3 user-3 -"]);
    }

    proptest! {
        /// Whatever finds room, what was told adds up to what is there, and no connection is told of twice.
        #[test]
        fn what_was_told_adds_up(steps in steps(), room in 1usize..6, lazy in 1usize..9) {
            let (directory, mut entries) = journaled(room);
            let mut ever: Vec<(RecordRef, Handle)> = Vec::new();
            let mut registry: Vec<String> = Vec::new();
            let mut tell = |heard: Vec<String>| {
                for word in heard {
                    let (sign, name) = word.split_at(1);
                    if sign == "+" {
                        assert!(!registry.iter().any(|held| held == name), "{word} twice");
                        registry.push(name.to_owned());
                    } else {
                        let before = registry.len();
                        registry.retain(|held| held != name);
                        assert_eq!(registry.len() + 1, before, "{word} was never there");
                    }
                }
                registry.clone()
            };
            for (at, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Register { user, device } => {
                        let (user, device) = (format!("user-{user}"), device.map(|d| format!("device-{d}")));
                        let n = at as u32;
                        let got = directory.register(&arrival(&user, device.as_deref(), n, 100 * n)).unwrap();
                        ever.push((got.record, handle(n)));
                    }
                    Step::Unregister { nth } if nth < ever.len() => {
                        directory.unregister(ever[nth].0, ever[nth].1);
                    }
                    Step::Unregister { .. } => {}
                }
                if at.is_multiple_of(lazy) {
                    tell(posted(&directory, &mut entries));
                }
            }
            tell(posted(&directory, &mut entries));
            let mut told = tell(walked(&directory));
            let mut there = Vec::new();
            let mut from = Some(0);
            while let Some(at) = from {
                from = directory.walk(at, 5, |user, route| {
                    there.push(format!("{} {user} {}", route.handle.key.index, route.device.unwrap_or("-")));
                });
            }
            let (mut times, mut from) = (0, Some(0));
            while let Some(at) = from {
                from = directory.walk_times(at, 5, |_, _| times += 1);
            }
            prop_assert_eq!(times, there.len());
            told.sort();
            there.sort();
            prop_assert_eq!(told, there);
        }
    }
}
