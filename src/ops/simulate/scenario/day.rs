//! A day: users come and go, and the autoscaler's rule follows them.
//!
//! Compared with a fleet that has all day what the busiest hour needs.

use super::{Patience, Settings};
use crate::ops::{
    autoscale::policy::{Load, Scaler},
    simulate::{
        course::Course,
        outcome::{Curve, Outcome, Picture, Run},
        rules::Rules,
        words,
        world::World,
    },
};
use std::f64::consts::TAU;

/// The quietest hour of the day.
const QUIETEST_H: f64 = 4.0;
const DAY_S: f64 = 86_400.0;
/// Between two looks of the autoscaler, seconds.
const LOOK_S: f64 = 60.0;

/// What a fleet did over the day.
struct Watched {
    course: Course,
    /// Connections over the capacity of the nodes that serve, at each look.
    utilization: Vec<(f64, f64)>,
    nodes: Vec<(f64, f64)>,
    added: u64,
    removed: u64,
    /// Connections of nodes that were drained.
    moved: u64,
}

pub fn play(settings: &Settings) -> Outcome {
    let first = load(users(settings, 0.0));
    let policy = settings.policy;
    let scaled = watch(settings, policy.wanted(&first).nodes, Some(Scaler::new(policy, settings.patience)));
    let fixed = watch(settings, busiest(settings), None);
    let runs =
        vec![told(settings, "autoscaled", &scaled), told(settings, "as many as the peak needs", &fixed)];
    let mut given = settings.given_but(&["nodes", "connections"]);
    let users = format!(
        "{} at the busiest hour, {:.0} % of them at {QUIETEST_H:.0} o'clock",
        words::count(settings.rules.connections),
        settings.trough * 100.0
    );
    given.extend([("users", users), ("autoscaler", told_policy(settings))]);
    Outcome {
        scenario: settings.scenario.name(),
        about: "Users come and go over a day, and the autoscaler follows them.".into(),
        given,
        says: says(&runs),
        runs,
        pictures: pictures(settings, &scaled, &fixed),
    }
}

/// How many nodes the busiest hour needs.
pub fn busiest(settings: &Settings) -> u32 {
    settings.policy.wanted(&load(settings.rules.connections as f64)).nodes
}

/// A fleet of no nodes with so many connections: what is wanted is what they need.
fn load(connections: f64) -> Load {
    Load { connections, ..Load::default() }
}

/// How many users there are at a time of the day.
fn users(settings: &Settings, at_s: f64) -> f64 {
    let angle = TAU * (at_s - QUIETEST_H * 3_600.0) / DAY_S;
    let share = settings.trough + (1.0 - settings.trough) * (1.0 - angle.cos()) / 2.0;
    settings.rules.connections as f64 * share
}

fn watch(settings: &Settings, nodes: u32, mut scaler: Option<Scaler>) -> Watched {
    let rules = Rules { nodes, ..settings.rules.clone() };
    let capacity = rules.capacity as f64;
    let mut world = World::new(rules, settings.seed);
    world.settle(users(settings, 0.0) as u64);
    let each = settings.rules.steps((LOOK_S * 1e3) as u64).max(1);
    let parting = settings.rules.parting();
    let mut watched = Watched {
        course: Course::default(),
        utilization: Vec::new(),
        nodes: Vec::new(),
        added: 0,
        removed: 0,
        moved: 0,
    };
    watched.course = Course::run(&mut world, settings.steps(), |world, step| {
        if step % each != 0 {
            return;
        }
        let at_s = world.now_s();
        let (wanted, there) = (users(settings, at_s) as u64, world.clients());
        world.join(wanted.saturating_sub(there), each);
        world.quit(there.saturating_sub(wanted));
        let (serving, open) = (world.serving(), world.open() as f64);
        let nodes = serving.len() as f64;
        watched.utilization.push((at_s, open / (nodes * capacity)));
        watched.nodes.push((at_s, nodes));
        let Some(scaler) = &mut scaler else { return };
        // Those that start are as good as there: else more would be asked for at every look.
        let have = (world.alive() - world.draining()) as u32;
        let load = Load { connections: open, nodes: have, draining: world.draining() as u32 };
        let wanted = scaler.step(at_s, &load).nodes;
        for _ in have..wanted {
            world.add_node();
            watched.added += 1;
        }
        if wanted < have {
            for &node in serving.iter().take((have - wanted) as usize) {
                watched.moved += world.nodes()[node].open();
                world.drain(node, parting);
                watched.removed += 1;
            }
        }
    });
    watched
}

fn told(settings: &Settings, name: &str, watched: &Watched) -> Run {
    let course = &watched.course;
    let rules = &settings.rules;
    let hours = watched.nodes.iter().map(|(_, nodes)| nodes).sum::<f64>() * LOOK_S / 3_600.0;
    let values = |points: &[(f64, f64)], pick: fn(f64, f64) -> f64, from: f64| {
        points.iter().map(|(_, value)| *value).fold(from, pick)
    };
    let mean = |points: &[(f64, f64)]| {
        points.iter().map(|(_, value)| value).sum::<f64>() / points.len().max(1) as f64
    };
    let run = Run::new(name)
        .figure("node hours", hours, "")
        .figure("nodes on average", mean(&watched.nodes), "")
        .figure("most nodes", values(&watched.nodes, f64::max, 0.0), "")
        .figure("fewest nodes", values(&watched.nodes, f64::min, f64::MAX), "")
        .figure("utilization on average", mean(&watched.utilization), "share")
        .figure("highest utilization", values(&watched.utilization, f64::max, 0.0), "share")
        .figure(
            "the fullest node is filled to",
            course.most(0.0, |row| row.fullest) / rules.capacity as f64,
            "share",
        )
        .figure("nodes added", watched.added as f64, "")
        .figure("nodes drained", watched.removed as f64, "")
        .figure("moved by those drains", watched.moved as f64, "clients")
        .figure("most handshakes", course.peak(0.0, f64::MAX, |row| row.accepted), "per s")
        .figure("most of a node", course.busiest_since(0.0), "per s")
        .figure("sent away", course.sum(0.0, |row| row.refused), "handshakes")
        .figure("without an answer", course.sum(0.0, |row| row.failed), "handshakes");
    if settings.price > 0.0 { run.figure("price", hours * settings.price, "") } else { run }
}

fn told_policy(settings: &Settings) -> String {
    let (policy, Patience { before_s, between_s }) = (settings.policy, settings.patience);
    format!(
        "aims at {:.0} % of {} connections a node, exponent {}, {} spare; lets a node go after {} of less, the next {} later",
        policy.target * 100.0,
        words::count(policy.capacity as u64),
        policy.exponent,
        policy.spare,
        words::duration(before_s),
        words::duration(between_s)
    )
}

fn pictures(settings: &Settings, scaled: &Watched, fixed: &Watched) -> Vec<Picture> {
    let both = |of: fn(&Watched) -> Vec<(f64, f64)>| {
        vec![
            Curve::new("autoscaled", String::new(), of(scaled)),
            Curve::new("as many as the peak needs", String::new(), of(fixed)),
        ]
    };
    let picture =
        |title, about: &str, unit, level, curves| Picture { title, about: about.into(), unit, level, curves };
    let open = Curve::new("open connections", String::new(), scaled.course.level(|row| row.open));
    let target = (settings.policy.target, "target".to_owned());
    vec![
        picture("Connections", "open at each moment", "", None, vec![open]),
        picture("Nodes", "that take connections", "", None, both(|watched| watched.nodes.clone())),
        picture(
            "Utilization",
            "connections over what the nodes may hold",
            "",
            Some(target),
            both(|watched| watched.utilization.clone()),
        ),
        picture(
            "Handshakes a second",
            "of all nodes; drains show as peaks",
            "per s",
            None,
            both(|watched| watched.course.rate(|row| row.accepted)),
        ),
    ]
}

fn says(runs: &[Run]) -> Vec<String> {
    let value = |run: usize, name: &str| runs[run].value(name).unwrap_or(0.0);
    let saved = 1.0 - value(0, "node hours") / value(1, "node hours").max(1.0);
    vec![
        format!("Autoscaling takes {:.0} % fewer node hours than a fleet for the peak.", saved * 100.0),
        format!(
            "Its nodes are filled to {:.0} % at most.",
            value(0, "the fullest node is filled to") * 100.0
        ),
    ]
}
