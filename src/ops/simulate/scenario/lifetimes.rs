//! Everybody connects at once, as after an outage, and reconnects as the law of lifetimes has it: does the herd disperse?
//!
//! Lives alone decide here: nodes have no limits, and clients are back at once.

use super::Settings;
use crate::{
    config::Distribution,
    ops::simulate::{
        course::Course,
        law::Law,
        outcome::{Curve, Outcome, Picture, Run},
        rules::Rules,
        words,
        world::World,
    },
};

/// The stretches that are told, in mean lifetimes; research on renewals tells the same ones.
const STRETCHES: [(f64, f64, &str, &str); 4] = [
    (0.0, 1.5, "least rate, first 1.5 lifetimes", "most rate, first 1.5 lifetimes"),
    (3.0, 6.0, "least rate, lifetimes 3 to 6", "most rate, lifetimes 3 to 6"),
    (10.0, 20.0, "least rate, lifetimes 10 to 20", "most rate, lifetimes 10 to 20"),
    (20.0, 29.0, "least rate, lifetimes 20 to 29", "most rate, lifetimes 20 to 29"),
];
/// Of the laws that soon are even, so many lifetimes are shown.
const BEGINNING: f64 = 4.0;
/// What stands on the first steps is everything that is shorter than a step.
const FIRST_STEPS: f64 = 2.0;

pub fn play(settings: &Settings) -> Outcome {
    let laws = [Distribution::Zuul, Distribution::Uniform, Distribution::Exponential];
    let mut runs = Vec::new();
    let mut curves = Vec::new();
    for distribution in laws {
        let (run, curve) = one(settings, distribution);
        runs.push(run);
        curves.push(curve);
    }
    let begin_s = settings.mean_s() * BEGINNING;
    let picture = |title, about: &str, curves| Picture {
        title,
        about: about.into(),
        unit: "per s",
        level: None,
        curves,
    };
    let calm: Vec<Curve> = curves.iter().skip(1).cloned().collect();
    let pictures = vec![
        picture("Reconnects a second", "after all have connected at once", curves),
        picture("The beginning, without zuul", "nearer", calm).until(begin_s),
    ];
    Outcome {
        scenario: settings.scenario.name(),
        about: format!(
            "{} connect within one second, and reconnect at the end of each life, by each law.",
            words::several(settings.rules.connections, "client")
        ),
        given: settings.given_but(&["nodes", "lifetimes", "handshakes", "balancer", "clients"]),
        says: says(&runs),
        runs,
        pictures,
    }
}

fn one(settings: &Settings, distribution: Distribution) -> (Run, Curve) {
    let (mean_ms, max_ms) = (settings.mean_ms, longest(settings, distribution));
    let life = Law::of(distribution, mean_ms as f64, max_ms as f64);
    let name = match distribution {
        Distribution::Zuul => {
            format!("zuul ({} to {})", words::ms(mean_ms - mean_ms / 10), words::ms(mean_ms))
        }
        Distribution::Uniform => {
            format!("uniform ({} to {})", words::ms((2 * mean_ms).saturating_sub(max_ms)), words::ms(max_ms))
        }
        Distribution::Exponential => format!("exponential (to {})", words::ms(max_ms)),
    };
    let rules = Rules {
        life,
        nodes: 1,
        leave_within_ms: 0,
        back_within_ms: 0,
        capacity: u64::MAX,
        handshakes: 1e12,
        admission: None,
        ..settings.rules.clone()
    };
    let (step_s, mean_s) = (rules.step_ms as f64 / 1e3, life.mean_ms() / 1e3);
    let steady = rules.steady_rate();
    let mut world = World::new(rules, settings.seed);
    world.join(settings.rules.connections, 1);
    world.step();
    let course = Course::run(&mut world, settings.steps(), |_, _| {});
    let mut run = Run::new(&name).figure("reconnects on average", steady, "per s").figure(
        "most reconnects",
        course.peak(FIRST_STEPS * step_s, f64::MAX, |row| row.accepted),
        "per s",
    );
    for (from, to, least, most) in STRETCHES {
        let from_s = (from * mean_s).max(FIRST_STEPS * step_s);
        let spread = course.spread(from_s, to * mean_s, steady);
        run = run.figure(least, spread.map(|(least, _)| least), "x").figure(
            most,
            spread.map(|(_, most)| most),
            "x",
        );
    }
    let after = course.steady_after(FIRST_STEPS * step_s, steady);
    let run = run.figure("within ten percent of the average after", after, "s");
    let remark = match run.value(STRETCHES[0].3) {
        Some(most) => format!("up to {} times the average", holdfast_plots::words::number(most)),
        None => String::new(),
    };
    let points = course.rate(|row| row.accepted).split_off(FIRST_STEPS as usize);
    (run, Curve::new(name, remark, points))
}

/// The longest life of a law. A uniform one beyond one and a half means would have another mean at its floor.
fn longest(settings: &Settings, distribution: Distribution) -> u64 {
    match distribution {
        Distribution::Uniform => settings.max_ms.min(settings.mean_ms + settings.mean_ms / 2),
        Distribution::Exponential | Distribution::Zuul => settings.max_ms,
    }
}

fn says(runs: &[Run]) -> Vec<String> {
    let after = |run: &Run| match run.value("within ten percent of the average after") {
        Some(after) if after <= 0.0 => format!("{}: flat from the first moment.", run.name),
        Some(after) => {
            format!("{}: within ten percent of the average after {}.", run.name, words::duration(after))
        }
        None => format!("{}: still in waves at the end.", run.name),
    };
    runs.iter().map(after).collect()
}
