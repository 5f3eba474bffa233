//! Nodes are added: how long until they have their share? Lifetimes and the balancer's law decide.

use super::{BALANCINGS, BEFORE_S, Settings};
use crate::ops::simulate::{
    course::Course,
    outcome::{Curve, Outcome, Picture, Run},
    rules::Rules,
    words,
    world::World,
};

pub fn play(settings: &Settings) -> Outcome {
    let mut runs = Vec::new();
    let (mut shares, mut rates) = (Vec::new(), Vec::new());
    let after = settings.rules.nodes + settings.added;
    let fair = settings.rules.connections as f64 / f64::from(after);
    for balancing in BALANCINGS {
        let rules = Rules { balancing, ..settings.rules.clone() };
        let name = words::balancing(balancing);
        let mut world = World::new(rules.clone(), settings.seed);
        world.settle(rules.connections);
        let mut points = Vec::new();
        let course = Course::run(&mut world, settings.steps(), |world, step| {
            if step == settings.happens() {
                (0..settings.added).for_each(|_| _ = world.add_node());
            }
            let new = &world.nodes()[settings.rules.nodes as usize..];
            let open: u64 = new.iter().map(|node| node.open()).sum();
            points.push((world.now_s(), open as f64 / f64::from(settings.added) / fair));
        });
        let since = |share: f64| {
            let reached = points.iter().find(|(_, filled)| *filled >= share);
            reached.map(|(at, _)| at - BEFORE_S)
        };
        let busiest = course.busiest_since(BEFORE_S);
        runs.push(
            Run::new(name)
                .figure("half of its share after", since(0.5), "s")
                .figure("90 % of its share after", since(0.9), "s")
                .figure("95 % of its share after", since(0.95), "s")
                .figure("most handshakes of a node", busiest, "per s")
                .figure("the same of what it can do", busiest / rules.handshakes, "share")
                .figure("sent away", course.sum(BEFORE_S, |row| row.refused), "handshakes")
                .figure("without an answer", course.sum(BEFORE_S, |row| row.failed), "handshakes"),
        );
        let half = since(0.5).map_or(String::new(), |half| format!("half after {}", words::duration(half)));
        shares.push(Curve::new(name, half, points));
        rates.push(Curve::new(name, String::new(), course.busiest()));
    }
    Outcome {
        scenario: settings.scenario.name(),
        about: format!(
            "{} are added to {}; a new one takes {} to start.",
            words::nodes(settings.added),
            settings.rules.nodes,
            words::ms(settings.rules.startup_ms)
        ),
        given: settings.given_but(&["balancer"]),
        says: says(&runs),
        runs,
        pictures: vec![
            Picture {
                title: "Connections of a new node",
                about: "over its fair share".into(),
                unit: "",
                level: Some((1.0, "its share".into())),
                curves: shares,
            },
            Picture {
                title: "Handshakes of the busiest node",
                about: "a second".into(),
                unit: "per s",
                level: None,
                curves: rates,
            },
        ],
    }
}

fn says(runs: &[Run]) -> Vec<String> {
    let say = |run: &Run| match run.value("90 % of its share after") {
        Some(after) => {
            format!("{}: a new node has 90 % of its share after {}.", run.name, words::duration(after))
        }
        None => format!("{}: a new node has not got 90 % of its share in this time.", run.name),
    };
    runs.iter().map(say).collect()
}
