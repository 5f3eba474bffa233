//! Which lane is read next: the highest that has something, but of a hundred records some are reserved for each lower one.
//!
//! Knows lanes by their index and records by their number; never sees either.

/// See the module.
pub struct Shares {
    /// Of 100 records to higher lanes, so many to each lower one.
    share: usize,
    batch_max: usize,
    /// What each lane may take before the higher ones, in hundredths of a record. Bounded by a batch, so that a lane
    /// that was idle for long gets no more than that.
    credit: Vec<usize>,
}

impl Shares {
    /// For so many lanes.
    pub fn new(lanes: usize, share: usize, batch_max: usize) -> Self {
        Self { share, batch_max, credit: vec![0; lanes] }
    }

    /// Lanes in the order in which to try them, with what each may take. A lane may appear twice.
    pub fn order(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        // Small turns cost more than they are worth: half of the share of a batch is gathered first.
        let least = (self.batch_max * self.share / 200).max(1);
        let owed: Vec<_> = self.credit.iter().map(|credit| credit / 100).enumerate().collect();
        let (lanes, batch_max) = (owed.len(), self.batch_max);
        let reserved = owed.into_iter().filter(move |&(_, owed)| owed >= least);
        reserved.chain((0..lanes).map(move |lane| (lane, batch_max)))
    }

    /// A lane got so many.
    pub fn took(&mut self, lane: usize, records: usize) {
        for (other, credit) in self.credit.iter_mut().enumerate() {
            if other == lane {
                *credit = credit.saturating_sub(records * 100);
            } else if other > lane {
                *credit = (*credit + records * self.share).min(self.batch_max * 100);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads so many records from lanes with these backlogs; tells how many each got.
    fn read(shares: &mut Shares, backlog: &mut [usize], mut records: usize) -> Vec<usize> {
        let mut got = vec![0; backlog.len()];
        while records > 0 {
            let turn = shares.order().find(|&(lane, _)| backlog[lane] > 0);
            let Some((lane, at_most)) = turn else { break };
            let taken = at_most.min(backlog[lane]).min(records);
            backlog[lane] -= taken;
            got[lane] += taken;
            records -= taken;
            shares.took(lane, taken);
        }
        got
    }

    #[test]
    fn a_high_lane_comes_first_but_for_the_reserved_share() {
        let mut shares = Shares::new(3, 10, 1000);
        let got = read(&mut shares, &mut [1_000_000; 3], 120_000);
        // Each of the lower two gets 10 of 100 higher ones; the lowest also for those of the middle one.
        assert!((97_000..=101_000).contains(&got[0]), "{got:?}");
        assert!((9_000..=11_000).contains(&got[1]), "{got:?}");
        assert!((9_500..=12_000).contains(&got[2]), "{got:?}");
    }

    #[test]
    fn without_a_share_preference_is_strict() {
        let mut shares = Shares::new(2, 0, 100);
        assert_eq!(read(&mut shares, &mut [500, 500], 500), [500, 0]);
    }

    #[test]
    fn a_flood_in_a_low_lane_holds_a_higher_one_up_by_one_turn() {
        let mut shares = Shares::new(3, 10, 1000);
        read(&mut shares, &mut [0, 0, 1_000_000], 500_000);
        let first: Vec<_> = shares.order().collect();
        assert_eq!(first, [(0, 1000), (1, 1000), (2, 1000)]);
    }

    proptest! {
        #[test]
        fn nothing_is_left_while_there_is_room(
            backlog in proptest::collection::vec(0usize..5000, 1..8),
            share in 0usize..50,
            batch in 1usize..2000,
        ) {
            let mut shares = Shares::new(backlog.len(), share, batch);
            let got = read(&mut shares, &mut backlog.clone(), usize::MAX);
            prop_assert_eq!(got, backlog);
        }
    }
}
