//! Reconnects as the server's lifetimes ask for them: a rate that should be flat from the beginning, whatever the clients
//! did before.

use super::{Before, per_second, spread};
use crate::stage::Stage;

pub fn play(stage: &mut Stage<'_>) {
    let before = Before::of(stage);
    stage.pass(stage.task.hold);
    let end_s = stage.now_s();
    let tally = stage.tally().clone();
    let goaways = tally.goaways - before.tally.goaways;
    let open = before.tally.open.sum().max(1);
    stage.figure("goaways", goaways as f64, "connections");
    stage.figure("reconnected", (tally.reconnected - before.tally.reconnected) as f64, "connections");
    stage.figure("generations", goaways as f64 / open as f64, "");
    if goaways == 0 && !stage.is_stopped() {
        stage.mismatch(format!(
            "no connection was asked to go in {:.0} s: give the node short lives (--set lifetime.mean=20s), or hold for \
             longer (--hold)",
            end_s - before.at_s
        ));
        return;
    }
    let counts = per_second(&tally.goaways_at, before.at_s, end_s);
    let half = counts.len() / 2;
    for (when, counts) in
        [("whole time", &counts[..]), ("first half", &counts[..half]), ("second half", &counts[half..])]
    {
        let Some((mean, peak, deviation)) = spread(counts) else { continue };
        stage.figure(format!("{when}: goaways on average"), mean, "per s");
        stage.figure_with(format!("{when}: peak to mean"), peak / mean, "", "of whole seconds");
        stage.figure_with(
            format!("{when}: variation beside chance"),
            deviation / mean.sqrt(),
            "",
            "1 is what connections that end independently of each other have (Poisson)",
        );
    }
}
