//! A rolling deploy: nodes leave, some at a time, and others start in their place.

use super::{BEFORE_S, Settings};
use crate::ops::simulate::{
    course::Course,
    node::State,
    outcome::{Curve, Outcome, Picture, Run},
    rules::Parting,
    words,
    world::World,
};

/// So many times as long as it takes is shown.
const SHOWN: f64 = 1.5;

/// How nodes leave.
#[derive(Clone, Copy)]
enum Way {
    /// Goaways are spread.
    Paced(Parting),
    /// They are killed.
    Killed,
}

/// A rolling deploy under way.
struct Rollout<'a> {
    settings: &'a Settings,
    way: Way,
    /// The next that is to be replaced.
    next: u32,
    /// Those that are leaving, and those that start for them.
    leaving: Vec<usize>,
    starting: Vec<usize>,
    /// When the last new node took its first connection, seconds.
    done_s: Option<f64>,
}

pub fn play(settings: &Settings) -> Outcome {
    let ways = [
        ("paced drain", Way::Paced(settings.rules.parting())),
        ("all goaways at once", Way::Paced(settings.at_once())),
        ("killed", Way::Killed),
    ];
    let mut runs = Vec::new();
    let (mut rates, mut opens) = (Vec::new(), Vec::new());
    for (name, way) in ways {
        let (run, course) = one(settings, name, way);
        let most = run.value("most handshakes").unwrap_or(0.0);
        rates.push(Curve::new(
            name,
            format!("up to {}/s", holdfast_plots::words::number(most)),
            course.rate(|row| row.accepted),
        ));
        opens.push(Curve::new(name, String::new(), course.level(|row| row.open)));
        runs.push(run);
    }
    let took = runs.iter().map(|run| run.value("the deploy takes").unwrap_or(f64::MAX));
    let until_s = BEFORE_S + took.fold(0.0, f64::max) * SHOWN;
    let picture = |title, about: &str, unit, curves| {
        Picture { title, about: about.into(), unit, level: None, curves }.until(until_s)
    };
    Outcome {
        scenario: settings.scenario.name(),
        about: format!(
            "{} are replaced, {} at a time; a new one takes {} to start.",
            words::nodes(settings.rules.nodes),
            settings.batch,
            words::ms(settings.rules.startup_ms)
        ),
        given: settings.given(),
        says: says(&runs),
        runs,
        pictures: vec![
            picture("Handshakes a second", "of all nodes", "per s", rates),
            picture("Open connections", "of all nodes", "", opens),
        ],
    }
}

fn one(settings: &Settings, name: &str, way: Way) -> (Run, Course) {
    let rules = &settings.rules;
    let mut world = World::new(rules.clone(), settings.seed);
    world.settle(rules.connections);
    let mut rollout =
        Rollout { settings, way, next: 0, leaving: Vec::new(), starting: Vec::new(), done_s: None };
    let happens = settings.happens();
    let course = Course::run(&mut world, settings.steps(), |world, step| {
        if step >= happens {
            rollout.advance(world);
        }
    });
    let steady = rules.steady_rate();
    let took = rollout.done_s.map(|at| at - BEFORE_S);
    let end_s = rollout.done_s.unwrap_or(f64::MAX);
    let during = course.between(BEFORE_S, end_s);
    let accepted: u64 = during.iter().map(|row| row.accepted).sum();
    let moved = (accepted as f64 - steady * during.len() as f64 * course.step_s()).max(0.0);
    let usual = course.between(0.0, BEFORE_S).last().map_or(0, |row| row.open);
    let fewest = during.iter().map(|row| row.open).min().unwrap_or(0);
    let busiest = course.busiest_since(BEFORE_S);
    let echo = rollout.done_s.and_then(|done_s| {
        let echo_s = |lives: f64| done_s + settings.mean_s() * lives;
        Some(course.spread(echo_s(0.5), echo_s(1.5), steady)?.1)
    });
    let last = course.between(0.0, end_s).last().copied().unwrap_or_default();
    let run = Run::new(name)
        .figure("the deploy takes", took, "s")
        .figure("handshakes before", steady, "per s")
        .figure("most handshakes", course.peak(BEFORE_S, f64::MAX, |row| row.accepted), "per s")
        .figure("most of a node", busiest, "per s")
        .figure("the same of what it can do", busiest / rules.handshakes, "share")
        .figure("moves of a client by the deploy", moved / rules.connections as f64, "")
        .figure("most without a connection at once", usual.saturating_sub(fewest) as f64, "clients")
        .figure("sent away", course.sum(BEFORE_S, |row| row.refused), "handshakes")
        .figure("without an answer", course.sum(BEFORE_S, |row| row.failed), "handshakes")
        .figure(
            "the fullest node is filled to",
            course.most(BEFORE_S, |row| row.fullest) / rules.capacity as f64,
            "share",
        )
        .figure("at its end: the fullest node", last.fullest as f64, "connections")
        .figure("at its end: the emptiest node", last.emptiest as f64, "connections")
        .figure("a lifetime later the rate is up to", echo, "x");
    (run, course)
}

impl Rollout<'_> {
    fn advance(&mut self, world: &mut World) {
        if self.done_s.is_some() {
            return;
        }
        let is_gone = |world: &World, at: usize| world.nodes()[at].state() == State::Gone;
        let (gone, leaving) = self.leaving.iter().partition(|&&at| is_gone(world, at));
        self.leaving = leaving;
        let gone: Vec<usize> = gone;
        self.starting.extend(gone.iter().map(|_| world.add_node()));
        if !self.leaving.is_empty() {
            return;
        }
        let serving = world.serving();
        self.starting.retain(|at| serving.binary_search(at).is_err());
        if !self.starting.is_empty() {
            return;
        }
        let nodes = self.settings.rules.nodes;
        if self.next >= nodes {
            self.done_s = Some(world.now_s());
            return;
        }
        let batch = self.next..(self.next + self.settings.batch).min(nodes);
        self.next = batch.end;
        for at in batch {
            match self.way {
                Way::Paced(parting) => world.drain(at as usize, parting),
                Way::Killed => world.kill(at as usize),
            }
            self.leaving.push(at as usize);
        }
    }
}

fn says(runs: &[Run]) -> Vec<String> {
    let say = |run: &Run| {
        let of_capacity = run.value("the same of what it can do")? * 100.0;
        let took = match run.value("the deploy takes") {
            Some(took) => format!("done in {}", words::duration(took)),
            None => "not done in this time: a larger --batch, or a longer --length".into(),
        };
        let of_capacity = holdfast_plots::words::number(of_capacity.round());
        Some(format!(
            "{}: {took}; the busiest node does {of_capacity} % of the handshakes that it can.",
            run.name
        ))
    };
    runs.iter().filter_map(say).collect()
}
