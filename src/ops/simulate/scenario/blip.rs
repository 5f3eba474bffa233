//! A part of the clients loses connection and network for a while, and comes back together.

use super::{Settings, storm};
use crate::ops::simulate::{outcome::Outcome, words, world::World};

pub fn play(settings: &Settings) -> Outcome {
    let clients = (settings.rules.connections as f64 * settings.share).round() as u64;
    let steps = settings.rules.steps(settings.blip_ms);
    let act = |world: &mut World| world.cut(clients, steps);
    let about = format!(
        "{} lose their connection at once and reach nobody for {}.",
        words::several(clients, "client"),
        words::ms(settings.blip_ms)
    );
    storm::outcome(settings, about, storm::both(settings, act), Vec::new())
}
