//! Devices that connect again and again, everywhere at once: in the end each is in one place, and everybody knows where.

use crate::{
    client::{Sse, Ws},
    fleet::{Fleet, LONG, expect, written},
    registry::{Registry, Row},
};
use std::{
    any::Any,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

const USERS: usize = 6;
const RUNNERS: u64 = 3;
const CONNECTS: usize = 120;
/// Connections that a runner keeps open, whether or not they were displaced.
const KEPT: usize = 8;

/// An open connection of either kind, of which nothing is read.
type Link = Box<dyn Any + Send>;

fn user(number: usize) -> String {
    format!("herd-{number}")
}

#[test]
fn a_herd_of_takeovers_leaves_one_connection_and_one_record() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let fleet = Fleet::start(Registry::single(), 3, &[]);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(seed);
            while !is_over.load(Relaxed) {
                push_one(&fleet, &mut random);
            }
        });
        let runners: Vec<_> = (1..=RUNNERS)
            .map(|runner| fastrand::Rng::with_seed(seed ^ (runner << 32)))
            .map(|random| scope.spawn(|| run(&fleet, random)))
            .collect();
        let links: Vec<_> = runners.into_iter().map(|runner| runner.join()).collect();
        // Also when a runner has failed.
        is_over.store(true, Relaxed);
        let links: Vec<Link> = links.into_iter().flat_map(Result::unwrap).collect();
        one_each(&fleet);
        drop(links);
        fleet.wait_rows(Vec::new());
        expect("nobody", LONG, &[0.0; 3], || open(&fleet));
    });
    let mut last: Vec<Ws> =
        (0..USERS).map(|number| Ws::user(fleet.node(number), &user(number), "tv")).collect();
    for (number, client) in last.iter_mut().enumerate() {
        fleet.wait_devices(&user(number), &[("tv", number)]);
        for node in &fleet.nodes {
            assert_eq!(node.push(&format!("{}/push", user(number)), &node.id), (200, written(&["tv"])));
            assert_eq!(client.text(), node.id);
        }
    }
    fleet.wait_rows((0..USERS).map(|number| fleet.row(&user(number), "tv", number)).collect());
}

/// When they have settled, each user is in one place at most, which all nodes know, and every connection has its record.
fn one_each(fleet: &Fleet) {
    let by_node = |rows: &[Row]| -> [f64; 3] {
        std::array::from_fn(|at| rows.iter().filter(|(.., node)| *node == fleet.node(at).id).count() as f64)
    };
    expect("a record for each connection", LONG, &true, || by_node(&fleet.registry.rows()) == open(fleet));
    for (user, device, node) in fleet.registry.rows() {
        let at = fleet.nodes.iter().position(|it| it.id == node).unwrap();
        fleet.wait_devices(&user, &[(&device, at)]);
        for node in &fleet.nodes {
            assert_eq!(
                node.push(&format!("{user}/push"), "to the one"),
                (200, written(&["tv"])),
                "by {}",
                node.id
            );
        }
    }
}

/// Open connections of each node.
fn open(fleet: &Fleet) -> [f64; 3] {
    let open = |at: usize, protocol: &str| {
        fleet.node(at).metric(&format!("holdfast_connections{{protocol=\"{protocol}\"}}"))
    };
    std::array::from_fn(|at| open(at, "websocket") + open(at, "sse"))
}

/// Each message has one outcome at most: the device is in one place, or nowhere.
fn push_one(fleet: &Fleet, random: &mut fastrand::Rng) {
    let (node, number) = (fleet.node(random.usize(..3)), random.usize(..USERS));
    let (status, outcomes) = node.push(&format!("{}/push", user(number)), "somewhere");
    assert!([200, 404, 503].contains(&status) && outcomes.len() <= 1, "{status} {outcomes:?}");
}

/// Connects as users by chance at nodes by chance, and forgets or leaves some.
fn run(fleet: &Fleet, mut random: fastrand::Rng) -> Vec<Link> {
    let mut links = Vec::new();
    for _ in 0..CONNECTS {
        let (door, number) = (fleet.node(random.usize(..3)).clients, random.usize(..USERS));
        let target = format!("user={}&device=tv", user(number));
        let link = match random.bool() {
            true => Ws::attempt(door, &format!("/ws?{target}")).map(|link| Box::new(link) as Link),
            false => Sse::attempt(door, &format!("/sse?{target}")).map(|link| Box::new(link) as Link),
        };
        links.extend(link);
        if links.len() > KEPT {
            links.swap_remove(random.usize(..links.len()));
        }
    }
    links
}
