//! Nodes die, or a zone: how soon have the others absorbed their clients, and at which rate?

use super::{Settings, storm};
use crate::ops::simulate::{outcome::Outcome, words, world::World};

pub fn play(settings: &Settings) -> Outcome {
    let rules = &settings.rules;
    let (lost, nodes) = (settings.lost(), rules.nodes);
    let act = |world: &mut World| {
        // Every so many-th: a zone has its share of the old and of the new.
        for at in 0..lost {
            world.kill((u64::from(at) * u64::from(nodes) / u64::from(lost)) as usize);
        }
    };
    let left = nodes - lost;
    let room = u64::from(left) * rules.capacity;
    let says = if room < rules.connections {
        vec![format!(
            "What is left, {}, has room for {}: {} clients have no place until there are more nodes.",
            words::nodes(left),
            words::count(room),
            words::count(rules.connections - room)
        )]
    } else {
        Vec::new()
    };
    let about = format!(
        "{lost} of {} lost; clients notice within {} and come back to the others.",
        words::nodes(nodes),
        words::ms(rules.notice_within_ms)
    );
    storm::outcome(settings, about, storm::both(settings, act), says)
}
