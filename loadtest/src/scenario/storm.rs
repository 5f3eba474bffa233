//! Everybody is cut off at once and returns: first as careless clients do, then as good ones.

use super::{Before, percentiles};
use crate::{plan::Habits, stage::Stage, worker::Cut};
use std::time::Duration;

/// How soon a careless client is back, and how soon it tries again when it is refused.
const AT_ONCE: Duration = Duration::from_millis(100);
/// Within which time a good client is back, where the server said nothing of it (RFC 6455 section 7.2.3).
const RETURN_WITHIN: Duration = Duration::from_secs(5);

pub fn play(stage: &mut Stage<'_>) {
    let usual = stage.task.settings.habits();
    let careless = Habits { back_within: AT_ONCE, hints: false, retry_refused: true, ..usual };
    let good = Habits { back_within: RETURN_WITHIN, hints: true, retry_refused: true, ..usual };
    for (name, habits) in [("at once", careless), ("heeding hints", good)] {
        stage.fleet.adjust(habits);
        storm(stage, name);
        if stage.is_stopped() {
            break;
        }
        // Until what was reset has gone from the books of both.
        stage.pass(Duration::from_secs(1));
    }
    stage.fleet.adjust(usual);
}

fn storm(stage: &mut Stage<'_>, name: &str) {
    let before = Before::of(stage);
    let open = before.tally.open.sum();
    let cut = (open as f64 * stage.task.share).round() as u64;
    stage.say(&format!("{cut} clients lose their connection, and return {name}"));
    let (run, had, begin_us) = (stage.run, before.tally.reconnected, stage.run.now_us());
    stage.fleet.cut(stage.task.share, Cut::Reset);
    // How many of them were back at which moment, us since they were cut off.
    let mut returns: Vec<(u64, u64)> = Vec::new();
    let all_are_back = stage.until(stage.task.patience, |tally| {
        let back = tally.reconnected - had;
        returns.push((run.now_us() - begin_us, back));
        back >= cut && before.are_all_back(tally)
    });
    for share in [0.5, 0.9, 0.99, 1.0] {
        let wanted = (cut as f64 * share).ceil() as u64;
        if let Some((us, _)) = returns.iter().find(|(_, back)| *back >= wanted) {
            stage.figure(format!("{name}: {} % were back after", share * 100.0), *us as f64 / 1e6, "s");
        }
    }
    stage.figure(format!("{name}: most handshakes"), most_in_a_second(&returns) as f64, "per s");
    let tally = stage.tally().clone();
    let tries = tally.not_opened() - before.tally.not_opened();
    stage.figure(format!("{name}: refused or failed on the way"), tries as f64, "handshakes");
    percentiles(stage, &format!("{name}: handshake"), &tally.handshake_us, &before.tally.handshake_us);
    if !all_are_back && !stage.is_stopped() {
        let missing = open.saturating_sub(tally.open.sum());
        let patience = stage.task.patience.as_secs();
        stage.mismatch(format!("{name}: {missing} client(s) were not back after {patience} s (--patience)"));
    }
}

/// The most that were back within any second.
fn most_in_a_second(returns: &[(u64, u64)]) -> u64 {
    let before = |us: u64| returns.iter().rev().find(|(at, _)| *at <= us).map_or(0, |(_, back)| *back);
    let in_the_second_to = |(at, back): &(u64, u64)| back - at.checked_sub(1_000_000).map_or(0, before);
    returns.iter().map(in_the_second_to).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_second_is_found() {
        assert_eq!(most_in_a_second(&[]), 0);
        assert_eq!(most_in_a_second(&[(100_000, 30), (400_000, 50)]), 50);
        let returns = [(500_000, 10), (1_000_000, 20), (1_500_000, 90), (2_000_000, 100), (3_500_000, 101)];
        assert_eq!(most_in_a_second(&returns), 80);
    }
}
