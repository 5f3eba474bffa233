//! A law of times in steps, from which any number of clients are dealt their moments.
//!
//! A few are drawn one by one. Many at once are divided exactly by the law, and chance decides only where the fractions
//! go: what chance does to thousands is less than what any plot shows, and a hundred million cost no more than a hundred.

use crate::kit::random::Random;

/// Where within its step a client begins: the mean over so many moments stands for all of them.
const PHASES: u32 = 16;

/// A distribution over steps.
#[derive(Clone, Debug)]
pub struct Bins {
    /// The share at most at each step; the last is 1.
    shares: Vec<f64>,
    /// Where to look for a share: at so many of equal width, the first step that may hold it.
    guide: Vec<u32>,
}

impl Bins {
    /// Of a time whose distribution function is `ended_by` (of ms), begun at any moment of a step. The first bin is that of
    /// `first` steps, and of all fewer.
    pub fn new(step_ms: f64, max_ms: f64, first: usize, ended_by: impl Fn(f64) -> f64) -> Self {
        let count = ((max_ms / step_ms).ceil() as usize + 1).saturating_sub(first).max(1);
        let share = |at: usize| {
            let moments = (0..PHASES).map(|phase| (f64::from(phase) + 0.5) / f64::from(PHASES));
            let ended = moments.map(|moment| ended_by(((at + first + 1) as f64 - moment) * step_ms));
            ended.sum::<f64>() / f64::from(PHASES)
        };
        Self::from_shares((0..count).map(share).collect())
    }

    /// Likewise of a time that is even between two bounds, ms.
    pub fn uniform(step_ms: f64, from_ms: f64, to_ms: f64, first: usize) -> Self {
        Self::new(step_ms, to_ms, first, |ms| match to_ms > from_ms {
            true => ((ms - from_ms) / (to_ms - from_ms)).clamp(0.0, 1.0),
            false => f64::from(ms >= to_ms),
        })
    }

    /// Of what is left of times of these bins, the first of which is that of one step, when they have gone on for ever: how
    /// a fleet stands that nothing has disturbed.
    pub fn residual(&self) -> Self {
        // Of a life of k steps each step from the first to the k-th is as likely to be the one that is looked at.
        let lives_on = std::iter::once(1.0).chain(self.shares.iter().map(|ended| 1.0 - ended));
        let mut sum = 0.0;
        let sums = lives_on.take(self.shares.len()).map(|share| {
            sum += share;
            sum
        });
        let sums: Vec<f64> = sums.collect();
        Self::from_shares(sums.iter().map(|part| part / sum).collect())
    }

    fn from_shares(mut shares: Vec<f64>) -> Self {
        if let Some(last) = shares.last_mut() {
            *last = 1.0;
        }
        let width = shares.len() as f64;
        let mut at = 0;
        let guide = (0..shares.len())
            .map(|slot| {
                while shares[at] <= slot as f64 / width && at + 1 < shares.len() {
                    at += 1;
                }
                at as u32
            })
            .collect();
        Self { shares, guide }
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.shares.len()
    }

    /// Deals `count` clients over the steps; `sink` is told of each step and how many.
    pub fn deal(&self, count: u64, random: &mut Random, mut sink: impl FnMut(usize, u64)) {
        if count < self.shares.len() as u64 {
            for _ in 0..count {
                sink(self.draw(random), 1);
            }
            return;
        }
        let offset = random.unit();
        let mut before = 0;
        for (at, share) in self.shares.iter().enumerate() {
            let dealt = (count as f64 * share + offset) as u64;
            if dealt > before {
                sink(at, dealt - before);
                before = dealt;
            }
        }
    }

    fn draw(&self, random: &mut Random) -> usize {
        let unit = random.unit();
        let mut at = self.guide[(unit * self.guide.len() as f64) as usize] as usize;
        while self.shares[at] <= unit {
            at += 1;
        }
        at
    }
}

/// Who is due at which step from now on.
#[derive(Clone, Debug)]
pub struct Ring {
    counts: Vec<u32>,
    head: usize,
    total: u64,
}

impl Ring {
    /// An empty one for steps below `len`.
    pub fn new(len: usize) -> Self {
        Self { counts: vec![0; len.max(1)], head: 0, total: 0 }
    }

    /// So many are due in `steps`.
    pub fn add(&mut self, steps: usize, count: u64) {
        let at = self.head + steps;
        let at = if at >= self.counts.len() { at - self.counts.len() } else { at };
        self.counts[at] += count as u32;
        self.total += count;
    }

    /// Deals as [`Bins::deal`] does.
    pub fn deal(&mut self, count: u64, bins: &Bins, random: &mut Random) {
        bins.deal(count, random, |steps, count| self.add(steps, count));
    }

    /// Those that are due now, who leave the ring, and on to the next step.
    pub fn pop(&mut self) -> u64 {
        let due = u64::from(std::mem::take(&mut self.counts[self.head]));
        self.head = if self.head + 1 == self.counts.len() { 0 } else { self.head + 1 };
        self.total -= due;
        due
    }

    /// Takes out so many, whoever they are; all when there are fewer.
    pub fn take(&mut self, count: u64, random: &mut Random) -> u64 {
        let (total, count) = (self.total, count.min(self.total));
        if count == 0 {
            return 0;
        }
        let (offset, mut seen, mut taken) = (random.unit(), 0u64, 0u64);
        for held in &mut self.counts {
            seen += u64::from(*held);
            let by_now = ((count as f64 * (seen as f64 / total as f64) + offset) as u64).min(count);
            let here = (by_now - taken).min(u64::from(*held));
            *held -= here as u32;
            taken += here;
        }
        self.total -= taken;
        taken
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.total
    }
}
