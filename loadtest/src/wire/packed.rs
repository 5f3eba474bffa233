//! Counts on their way: only what has changed since the last time, because fifty processes are asked several times a second.
//!
//! The sender remembers what it has sent, the receiver what has come; both in order, on one connection. Counts of lists and
//! histograms never shrink.

use crate::worker::tally::{ByProtocol, Ending, Failure, Tally};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The changes of a [`Tally`], without its receipts. Names are short where they come often; see there for what they mean.
#[derive(Default, Debug, Serialize, Deserialize)]
pub struct Packed {
    /// Those that are one number each, in the order of [`numbers`].
    numbers: Vec<u64>,
    processes: (u32, u32),
    opened: ByProtocol,
    open: ByProtocol,
    /// JSON's keys are words: a map is a list of pairs.
    refused: Vec<(u16, u64)>,
    failed: Vec<(Failure, u64)>,
    endings: Vec<(Ending, u64)>,
    /// Places that have changed, and by how much.
    goaways_at: Vec<(usize, u32)>,
    copies: Vec<(usize, u32)>,
    /// The length of that list, which may end with zeros.
    lengths: (usize, usize),
    fault_words: Vec<String>,
    /// Values and how often they have come since: handshakes, deliveries, lateness.
    times: [Vec<(u64, u64)>; 3],
}

/// Longest list that a far side may have us make: a slice for each 100 ms of eleven days.
const LIST_MAX: usize = 10_000_000;

/// Those that are one number each. A field of [`Tally`] that nobody sends does not compile here.
fn numbers(tally: &mut Tally) -> [&mut u64; 16] {
    let Tally {
        started,
        opened: _,
        open: _,
        in_flight,
        planned,
        away,
        refused: _,
        failed: _,
        endings: _,
        goaways,
        goaways_at: _,
        reconnected,
        retried,
        vanished,
        buried,
        stalled,
        cpu_us,
        rss_bytes,
        processes: _,
        gone_processes: _,
        direct,
        broadcast,
        others,
        copies: _,
        receipts: _,
        faults,
        fault_words: _,
        handshake_us: _,
        delivery_us: _,
        late_us: _,
    } = tally;
    [
        started,
        in_flight,
        planned,
        away,
        goaways,
        reconnected,
        retried,
        vanished,
        buried,
        stalled,
        cpu_us,
        rss_bytes,
        direct,
        broadcast,
        others,
        faults,
    ]
}

impl Packed {
    /// What has changed from `last` to `now`, which is `last` then. Receipts are not looked at.
    pub fn of(last: &mut Tally, mut now: Tally) -> Self {
        let numbers = numbers(&mut now).iter().map(|number| **number).collect();
        let packed = Self {
            numbers,
            processes: (now.processes, now.gone_processes),
            opened: now.opened,
            open: now.open,
            refused: now.refused.iter().map(|(key, count)| (*key, *count)).collect(),
            failed: now.failed.iter().map(|(key, count)| (*key, *count)).collect(),
            endings: now.endings.iter().map(|(key, count)| (*key, *count)).collect(),
            goaways_at: grown(&last.goaways_at, &now.goaways_at),
            copies: grown(&last.copies, &now.copies),
            lengths: (now.goaways_at.len(), now.copies.len()),
            fault_words: now.fault_words.clone(),
            times: [
                recorded(&last.handshake_us, &now.handshake_us),
                recorded(&last.delivery_us, &now.delivery_us),
                recorded(&last.late_us, &now.late_us),
            ],
        };
        *last = Tally { receipts: Vec::new(), ..now };
        packed
    }

    /// Brings `known` up to date. What the other side cannot mean is left out; it is a program like this one.
    pub fn unpack(self, known: &mut Tally) {
        for (number, given) in numbers(known).into_iter().zip(self.numbers) {
            *number = given;
        }
        (known.processes, known.gone_processes) = self.processes;
        known.opened = self.opened;
        known.open = self.open;
        known.refused = self.refused.into_iter().collect();
        known.failed = self.failed.into_iter().collect();
        known.endings = self.endings.into_iter().collect();
        grow(&mut known.goaways_at, self.lengths.0, &self.goaways_at);
        grow(&mut known.copies, self.lengths.1, &self.copies);
        known.fault_words = self.fault_words;
        let [handshakes, deliveries, lateness] = &self.times;
        record(&mut known.handshake_us, handshakes);
        record(&mut known.delivery_us, deliveries);
        record(&mut known.late_us, lateness);
    }
}

fn grown(last: &[u32], now: &[u32]) -> Vec<(usize, u32)> {
    let before = last.iter().copied().chain(std::iter::repeat(0));
    let changes = now.iter().zip(before).map(|(now, before)| now.saturating_sub(before));
    changes.enumerate().filter(|(_, more)| *more > 0).collect()
}

fn grow(list: &mut Vec<u32>, length: usize, changes: &[(usize, u32)]) {
    if length > list.len() && length <= LIST_MAX {
        list.resize(length, 0);
    }
    for (at, more) in changes {
        if let Some(place) = list.get_mut(*at) {
            *place = place.saturating_add(*more);
        }
    }
}

fn recorded(last: &Histogram<u64>, now: &Histogram<u64>) -> Vec<(u64, u64)> {
    // At rest, and that is most of the time, nothing is looked at.
    if last.len() == now.len() {
        return Vec::new();
    }
    let values = now.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()));
    let more = values.map(|(value, count)| (value, count.saturating_sub(last.count_at(value))));
    more.filter(|(_, count)| *count > 0).collect()
}

fn record(histogram: &mut Histogram<u64>, values: &[(u64, u64)]) {
    for (value, count) in values {
        // Values come from a histogram of the same bounds.
        let _ = histogram.record_n(*value, *count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ending(kind: u16) -> Ending {
        match kind % 7 {
            0 => Ending::Left,
            1 => Ending::Aborted,
            2 => Ending::Lost,
            3 => Ending::Reset,
            4 => Ending::Stuck,
            _ => Ending::Server(kind),
        }
    }

    const FAILURES: [Failure; 4] =
        [Failure::NobodyThere, Failure::Silence, Failure::NoDescriptor, Failure::Stranger];

    /// Something happens.
    fn grow_by(tally: &mut Tally, (what, at, by): (u8, u16, u32)) {
        let by_u64 = u64::from(by);
        match what % 10 {
            0 => *numbers(tally)[at as usize % 15] = by_u64,
            1 => *tally.refused.entry(at).or_default() += by_u64,
            2 => *tally.failed.entry(FAILURES[at as usize % 4]).or_default() += by_u64,
            3 => *tally.endings.entry(ending(at)).or_default() += by_u64,
            4 => (tally.opened.sse, tally.open.websocket) = (by_u64, u64::from(at)),
            5 => tally.fault_words.push(format!("{at} \"\u{1F980}\n")),
            6 | 7 => {
                let list = if what % 10 == 6 { &mut tally.copies } else { &mut tally.goaways_at };
                let at = at as usize % 1_000;
                list.resize(list.len().max(at + 1), 0);
                list[at] += by % 1_000;
            }
            8 => tally.handshake_us.saturating_record(by_u64),
            _ => {
                tally.delivery_us.saturating_record(by_u64 % 1_000);
                tally.late_us.record_n(u64::from(at).max(1), 3).unwrap();
                (tally.cpu_us, tally.rss_bytes) = (by_u64, u64::from(at));
                (tally.processes, tally.gone_processes) = (by, by / 2);
            }
        }
    }

    /// Everything that a tally says.
    fn said(tally: &Tally) -> String {
        let whole = Packed::of(&mut Tally::default(), tally.clone());
        serde_json::to_string(&whole).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_counted_arrives(steps in prop::collection::vec(prop::collection::vec(any::<(u8, u16, u32)>(), 0..20), 1..12)) {
            let (mut counted, mut sent, mut known) = (Tally::default(), Tally::default(), Tally::default());
            for changes in steps {
                changes.into_iter().for_each(|change| grow_by(&mut counted, change));
                let text = serde_json::to_string(&Packed::of(&mut sent, counted.clone())).unwrap();
                serde_json::from_str::<Packed>(&text).unwrap().unpack(&mut known);
                prop_assert_eq!(said(&known), said(&counted));
                prop_assert_eq!(known.handshake_us.max(), counted.handshake_us.max());
                prop_assert_eq!(known.handshake_us.min(), counted.handshake_us.min());
                prop_assert_eq!(known.delivery_us.mean(), counted.delivery_us.mean());
            }
        }
    }

    #[test]
    fn a_report_is_small_when_nothing_happens() {
        let (mut counted, mut sent) = (Tally::default(), Tally::default());
        for value in 1..100_000u64 {
            counted.handshake_us.record(value * 31 % 10_000_000).unwrap();
        }
        counted.copies = vec![20_000; 1_000];
        let first = serde_json::to_string(&Packed::of(&mut sent, counted.clone())).unwrap();
        assert!(first.len() < 40_000, "{}", first.len());
        counted.started += 1;
        let next = serde_json::to_string(&Packed::of(&mut sent, counted)).unwrap();
        assert!(next.len() < 400, "{next}");
    }
}
