//! Clients that vanish without a FIN, as phones do in tunnels: how long until the node has noticed all, and nobody else.

use super::Before;
use crate::{stage::Stage, worker::Cut};

pub fn play(stage: &mut Stage<'_>) {
    let before = Before::of(stage);
    stage.fleet.cut(stage.task.share, Cut::Vanish);
    let wanted = (before.tally.open.sum() as f64 * stage.task.share).floor();
    stage.until(crate::stage::SETTLE, |tally| tally.vanished as f64 >= wanted);
    let vanished = stage.tally().vanished as f64;
    stage.say(&format!("{vanished} clients have vanished"));
    let (run, begin_us) = (stage.run, stage.run.now_us());
    let mut seen: Vec<(u64, f64)> = Vec::new();
    let is_noticed = stage.until_nodes(stage.task.patience, |tally, metrics| {
        // Whom the node still has and we do not have any more.
        let unnoticed = metrics.sum("holdfast_connections", "{") - tally.open.sum() as f64;
        seen.push((run.now_us() - begin_us, vanished - unnoticed.max(0.0)));
        unnoticed <= 0.0
    });
    let noticed = seen.last().map_or(0.0, |(_, noticed)| *noticed);
    stage.figure("vanished", vanished, "connections");
    for share in [0.01, 0.5, 0.99, 1.0] {
        if let Some((us, _)) = seen.iter().find(|(_, noticed)| *noticed >= vanished * share) {
            stage.figure(format!("{} % were noticed after", share * 100.0), *us as f64 / 1e6, "s");
        }
    }
    if !is_noticed && !stage.is_stopped() {
        let patience = stage.task.patience.as_secs();
        stage.mismatch(format!(
            "the node noticed {noticed} of {vanished} vanished clients within {patience} s: is clients.ping short enough for \
             that (two intervals and what is left of one)? else raise --patience"
        ));
    }
    stage.fleet.bury();
    stage.until(crate::stage::SETTLE, |tally| tally.vanished == 0);
}
