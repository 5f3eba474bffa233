//! Devices that connect again and again, everywhere at once: in the end each is in one place, and everybody knows where.

use crate::{
    client::{Sse, TEXT, Ws},
    fleet::{Fleet, LONG, expect, written},
    http::Silence,
    node::{Node, until},
    registry::Registry,
};
use std::{
    any::Any,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
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
        // What is still open takes part until the end.
        let links: Vec<Link> = links.into_iter().flat_map(Result::unwrap).collect();
        let mut last: Vec<(usize, Ws)> = (0..USERS).map(|number| come_last(&fleet, number)).collect();
        for (number, (at, client)) in last.iter_mut().enumerate() {
            fleet.wait_devices(&user(number), &[("tv", *at)]);
            for node in &fleet.nodes {
                let text = format!("the last, through {}", node.id);
                assert_eq!(node.push(&format!("{}/push", user(number)), &text), (200, written(&["tv"])));
                until("the last message", || Some(client.text()).filter(|heard| *heard == text));
            }
        }
        fleet.wait_rows((0..USERS).map(|number| fleet.row(&user(number), "tv", last[number].0)).collect());
        expect("one connection each", LONG, &(USERS as f64), || {
            let open = |node: &Node, protocol: &str| {
                node.metric(&format!("holdfast_connections{{protocol=\"{protocol}\"}}"))
            };
            fleet.nodes.iter().map(|node| open(node, "websocket") + open(node, "sse")).sum()
        });
        drop(links);
        fleet.wait_rows((0..USERS).map(|number| fleet.row(&user(number), "tv", last[number].0)).collect());
    });
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

/// Connects once more, until it is let in: where one has taken over too often, the holder stays.
fn come_last(fleet: &Fleet, number: usize) -> (usize, Ws) {
    until("a connection that stays", || {
        let at = fastrand::usize(..3);
        let target = format!("/ws?user={}&device=tv", user(number));
        let mut client = Ws::attempt(fleet.node(at).clients, &target)?;
        // Who is not let in hears so at once.
        let heard = client.next(Duration::from_millis(300));
        let is_closed = heard == Err(Silence::Closed) || heard.is_ok_and(|frame| frame.op != TEXT);
        (!is_closed).then_some((at, client))
    })
}
