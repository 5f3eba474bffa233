//! What is told of a crowd that lost its connections: the same for a dead node and for a broken network.

use super::{BEFORE_S, Settings};
use crate::ops::simulate::{
    course::Course,
    outcome::{Curve, Outcome, Picture, Run},
    rules::Rules,
    words,
    world::World,
};

/// So many times as long as it takes to be absorbed is shown…
const SHOWN: f64 = 3.0;
/// …and so many seconds at least.
const SHOWN_S: f64 = 120.0;

/// The whole course of a crowd's return; the first half is of who came back.
pub struct Storm {
    /// Its name.
    name: &'static str,
    course: Course,
    run: Run,
}

/// Clients as they should be, and as they often are.
pub fn both(settings: &Settings, act: impl Fn(&mut World)) -> [Storm; 2] {
    [
        storm(settings, "careful clients", settings.rules.clone(), &act),
        storm(settings, "careless clients", settings.careless(), &act),
    ]
}

fn storm(settings: &Settings, name: &'static str, rules: Rules, act: &impl Fn(&mut World)) -> Storm {
    let steady = rules.steady_rate();
    let (handshakes, capacity) = (rules.handshakes, rules.capacity as f64);
    let mut world = World::new(rules, settings.seed);
    world.settle(settings.rules.connections);
    let (mut before, mut lost) = (0.0, 0.0);
    let happens = settings.happens();
    let course = Course::run(&mut world, settings.steps(), |world, step| {
        if step == happens {
            before = world.open() as f64;
            act(world);
            lost = before - world.open() as f64;
        }
    });
    let echo_from = BEFORE_S + settings.mean_s() * 0.5;
    let echo_to = BEFORE_S + settings.mean_s() * 1.5;
    let is_long = course.rows.last().is_some_and(|row| row.at_s >= echo_to);
    let run = Run::new(name)
        .figure("lost their connection", lost, "connections")
        .figure("half are back after", course.back_after(BEFORE_S, before, lost, 0.5), "s")
        .figure("absorbed (99 %) after", course.absorbed_after(BEFORE_S, before, lost), "s")
        .figure("handshakes before", steady, "per s")
        .figure("most handshakes", course.peak(BEFORE_S, f64::MAX, |row| row.accepted), "per s")
        .figure("most of a node", course.busiest_since(BEFORE_S), "per s")
        .figure("the same of what it can do", course.busiest_since(BEFORE_S) / handshakes, "share")
        .figure("longest accept queue of a node", course.most(BEFORE_S, |row| row.queued), "clients")
        .figure("sent away", course.sum(BEFORE_S, |row| row.refused), "handshakes")
        .figure("without an answer", course.sum(BEFORE_S, |row| row.failed), "handshakes")
        .figure("the fullest node is filled to", course.most(BEFORE_S, |row| row.fullest) / capacity, "share")
        .figure(
            "a lifetime later the rate is up to",
            is_long.then(|| course.spread(echo_from, echo_to, steady).map_or(f64::NAN, |(_, most)| most)),
            "x",
        );
    Storm { name, course, run }
}

/// The outcome of both.
pub fn outcome(settings: &Settings, about: String, storms: [Storm; 2], mut says: Vec<String>) -> Outcome {
    let total = settings.rules.handshakes;
    for storm in &storms {
        says.extend(verdict(storm, total));
    }
    let curves = |of: fn(&Course) -> Vec<(f64, f64)>, what: &'static str| -> Vec<Curve> {
        let curve = |storm: &Storm| Curve::new(storm.name, remark(storm, what), of(&storm.course));
        storms.iter().map(curve).collect()
    };
    let pictures = vec![
        Picture {
            title: "Handshakes a second",
            about: format!("of all nodes; it happens after {BEFORE_S:.0} s"),
            unit: "per s",
            level: None,
            curves: curves(|course| course.rate(|row| row.accepted), "most handshakes"),
        },
        Picture {
            title: "Open connections",
            about: "of all nodes".into(),
            unit: "",
            level: None,
            curves: curves(|course| course.level(|row| row.open), "absorbed (99 %) after"),
        },
        Picture {
            title: "Handshakes that came to nothing",
            about: "sent away or without an answer, a second".into(),
            unit: "per s",
            level: None,
            curves: curves(|course| course.rate(|row| row.refused + row.failed), ""),
        },
    ];
    let absorbed = storms.iter().map(|storm| storm.run.value("absorbed (99 %) after").unwrap_or(f64::MAX));
    let until_s = BEFORE_S + (absorbed.fold(0.0, f64::max) * SHOWN).max(SHOWN_S);
    let pictures = pictures.into_iter().map(|picture| picture.until(until_s)).collect();
    let runs = storms.into_iter().map(|storm| storm.run).collect();
    Outcome { scenario: settings.scenario.name(), about, given: settings.given(), runs, says, pictures }
}

fn remark(storm: &Storm, what: &'static str) -> String {
    let figure = storm.run.figures.iter().find(|figure| figure.name == what);
    figure.map_or(String::new(), |figure| format!("{what} {}", words::figure(figure)))
}

fn verdict(storm: &Storm, handshakes: f64) -> Option<String> {
    let run = &storm.run;
    let (most, failed) = (run.value("most of a node")?, run.value("without an answer")?);
    Some(match run.value("absorbed (99 %) after") {
        None => format!("{}: not absorbed in this time.", storm.name),
        Some(_) if failed > 0.0 && most >= handshakes * 0.99 => format!(
            "{}: nodes are at their limit, and handshakes fail: fewer connections for each node, or a longer --back-within.",
            storm.name
        ),
        Some(after) => format!(
            "{}: absorbed in {}, with {} % of what the busiest node can do.",
            storm.name,
            words::duration(after),
            holdfast_plots::words::number((most / handshakes * 100.0).round())
        ),
    })
}
