//! A node is drained: are goaways spread evenly, is everybody elsewhere in time, and does nobody get lost on the way.

use super::{Before, per_second, spread};
use crate::{internal::Internal, plan::Habits, report::model::columns, stage::Stage};
use std::time::Duration;

/// `holdfast_drain_phase` once a drain is over.
const OVER: f64 = 3.0;

pub fn play(stage: &mut Stage<'_>) -> Result<(), String> {
    let usual = stage.task.settings.habits();
    stage.fleet.adjust(Habits { hints: true, retry_refused: true, ..usual });
    let done = drain(stage);
    stage.fleet.adjust(usual);
    done
}

fn drain(stage: &mut Stage<'_>) -> Result<(), String> {
    let nodes = stage
        .books
        .as_mut()
        .ok_or("there is no internal port to drain by: name one with --internal")?
        .nodes();
    let (node, others) = (nodes.last().clone(), nodes.each().len() - 1);
    let before = Before::of(stage);
    let held = node.metrics()?.sum("holdfast_connections", "{");
    ask(&node, "POST")?;
    stage.say(&format!("{} drains, with {held} connections", node.address()));
    let is_over = stage.until_drained(&node);
    let tally = stage.tally().clone();
    let end_s = stage.now_s();
    stage.figure("connections of the node", held, "connections");
    stage.figure("the drain took", end_s - before.at_s, "s");
    spread_of(stage, &per_second(&tally.goaways_at, before.at_s, end_s));
    if let Some(peak) = stage.sampler.peak_since(before.at_s, columns::OPENED) {
        stage.figure("most handshakes of those who returned", peak, "per s");
    }
    stage.figure(
        "refused or failed on the way",
        (tally.not_opened() - before.tally.not_opened()) as f64,
        "handshakes",
    );
    let left = node.metrics()?.sum("holdfast_connections", "{");
    if !is_over || left > 0.0 {
        stage.mismatch(format!(
            "{} had {left} connection(s) left after {:.0} s (--patience)",
            node.address(),
            end_s - before.at_s
        ));
    }
    if others > 0 {
        are_back(stage, &before, "elsewhere");
    }
    ask(&node, "DELETE")?;
    if others == 0 {
        are_back(stage, &before, "after the drain was called back");
    }
    Ok(())
}

impl Stage<'_> {
    fn until_drained(&mut self, node: &Internal) -> bool {
        self.until_nodes(self.task.patience, |_, _| {
            node.metrics().is_ok_and(|metrics| metrics.sum("holdfast_drain_phase", "") >= OVER)
        })
    }
}

fn ask(node: &Internal, method: &str) -> Result<(), String> {
    match node.ask(method, "/v1/drain", "text/plain", b"")? {
        (200..300, _) => Ok(()),
        (status, text) => Err(format!("{method} /v1/drain was answered {status}: {}", text.trim())),
    }
}

/// The seconds between the first goaway and the last, the broken ones at both ends left out.
fn spread_of(stage: &mut Stage<'_>, counts: &[u64]) {
    let begin = counts.iter().position(|&count| count > 0).unwrap_or(0);
    let end = counts.iter().rposition(|&count| count > 0).map_or(0, |at| at + 1);
    stage.figure("goaways were spread over", end.saturating_sub(begin) as f64, "s");
    if end.saturating_sub(begin) > 2
        && let Some((mean, peak, _)) = spread(&counts[begin + 1..end - 1])
    {
        stage.figure("goaways on average", mean, "per s");
        stage.figure_with("peak to mean", peak / mean, "", "of whole seconds");
    }
}

fn are_back(stage: &mut Stage<'_>, before: &Before, place: &str) {
    let within = stage.task.patience.min(Duration::from_secs(60));
    if !stage.until(within, |tally| before.are_all_back(tally)) && !stage.is_stopped() {
        let missing = before.tally.open.sum().saturating_sub(stage.tally().open.sum());
        stage.mismatch(format!(
            "{missing} client(s) were not back {place} within {} s: have the other nodes room?",
            within.as_secs()
        ));
    }
}
