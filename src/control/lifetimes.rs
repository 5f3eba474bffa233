//! When the node's connections will be asked to leave and how long they have been here: where an operator sees a herd.
//!
//! Owns two histograms, made by walking over the directory's records, and only when somebody asks: connections pay nothing
//! for them. A walk goes in slices of at most [`SLICE`] between which the thread does other things, holds a lock of the
//! directory for [`RECORDS_PER_LOCK`] records at a time, and takes no more than one part in [`REST`] of the thread's time
//! however often it is asked for. Who connects or leaves meanwhile may be counted or not.

use crate::{
    bridge::Router,
    clock::Clock,
    config::{Distribution, Lifetime},
    directory::{Began, RECORD_GRACE_MS},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};

/// Buckets of each histogram.
pub const BUCKETS: usize = 60;
/// A lock of the directory is held for so many records of 32 bytes: a few microseconds.
const RECORDS_PER_LOCK: usize = 256;
/// A record tells its end in whole seconds, rounded down: buckets are of whole seconds, too, and the end is taken to be in the
/// middle of its second. Else some buckets would have more seconds than others, and look like a herd.
const RECORD_MS: u64 = 1_000;
/// Walked in one go.
const SLICE: Duration = Duration::from_micros(500);
/// What was found is given out again for so long …
const FRESH: Duration = Duration::from_millis(900);
/// … and for so many times as long as it took to find.
const REST: u32 = 100;

/// The two histograms of one moment. Both have buckets of one width, the first from zero on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Survey {
    bucket_ms: u64,
    grace_ms: u64,
    /// Connections by the time until their goaway is due.
    due: [u64; BUCKETS],
    /// Those above the last bucket.
    due_later: u64,
    /// Those whose goaway's time has come: they have been asked, and are in the grace.
    leaving: u64,
    /// Connections by their age.
    ages: [u64; BUCKETS],
    /// Those above the last bucket.
    ages_above: u64,
}

impl Survey {
    /// Of nobody. The buckets reach as far as two mean lives, or somewhat farther.
    pub fn new(lifetime: &Lifetime) -> Self {
        let bucket_ms = (2 * lifetime.mean_ms).div_ceil(BUCKETS as u64).next_multiple_of(RECORD_MS);
        Self {
            bucket_ms,
            grace_ms: lifetime.grace_ms,
            due: [0; BUCKETS],
            due_later: 0,
            leaving: 0,
            ages: [0; BUCKETS],
            ages_above: 0,
        }
    }

    /// Counts a connection, by what its record says: when it began, and when the record's life ends.
    pub fn count(&mut self, began: Began, ends_ms: u64, now_ms: u64) {
        let age_ms = now_ms.saturating_sub(began.millis(now_ms));
        match self.ages.get_mut((age_ms / self.bucket_ms) as usize) {
            Some(bucket) => *bucket += 1,
            None => self.ages_above += 1,
        }
        let due_ms = ends_ms.saturating_sub(RECORD_GRACE_MS + self.grace_ms) + RECORD_MS / 2;
        let Some(left_ms) = due_ms.checked_sub(now_ms) else {
            self.leaving += 1;
            return;
        };
        match self.due.get_mut((left_ms / self.bucket_ms) as usize) {
            Some(bucket) => *bucket += 1,
            None => self.due_later += 1,
        }
    }

    /// As `GET /v1/stats` shows it: widths in seconds.
    pub fn json(&self, lifetime: &Lifetime) -> Value {
        let seconds = |ms: u64| ms as f64 / 1e3;
        json!({
            "mean_s": seconds(lifetime.mean_ms),
            "max_s": seconds(lifetime.max_ms),
            "distribution": match lifetime.distribution {
                Distribution::Exponential => "exponential",
                Distribution::Uniform => "uniform",
                Distribution::Zuul => "zuul",
            },
            "bucket_s": seconds(self.bucket_ms),
            "goaways_due": self.due.as_slice(),
            "goaways_due_later": self.due_later,
            "leaving": self.leaving,
            "ages": self.ages.as_slice(),
            "ages_above": self.ages_above,
        })
    }
}

/// Takes surveys, and gives each to all who ask within a second or so.
#[derive(Default)]
pub struct Surveyor(Mutex<Option<Taken>>);

struct Taken {
    survey: Arc<Survey>,
    /// Until when it is given out.
    until: Instant,
}

impl Surveyor {
    /// The survey of now, or of a moment ago. Who asks while one is being taken waits for that one.
    pub async fn survey(&self, router: &Router, lifetime: &Lifetime, clock: Clock) -> Arc<Survey> {
        let mut taken = self.0.lock().await;
        if let Some(taken) = taken.as_ref().filter(|taken| Instant::now() < taken.until) {
            return taken.survey.clone();
        }
        let (survey, worked) = walk(router, Survey::new(lifetime), clock).await;
        let survey = Arc::new(survey);
        let until = Instant::now() + FRESH.max(worked * REST);
        *taken = Some(Taken { survey: survey.clone(), until });
        survey
    }
}

/// Counts every connection, and says how long that kept the thread.
async fn walk(router: &Router, mut survey: Survey, clock: Clock) -> (Survey, Duration) {
    let mut worked = Duration::ZERO;
    let mut from = Some(0);
    while from.is_some() {
        let began = Instant::now();
        let now_ms = clock.now().millis();
        while let Some(place) = from {
            from = router.walk_times(place, RECORDS_PER_LOCK, |began, ends_ms| {
                survey.count(began, ends_ms, now_ms);
            });
            if began.elapsed() >= SLICE {
                break;
            }
        }
        worked += began.elapsed();
        tokio::task::yield_now().await;
    }
    (survey, worked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{Arrival, Directory};
    use crate::kit::slab::Key;
    use crate::model::{Handle, Protocol};
    use proptest::prelude::*;

    const LIFETIME: Lifetime = Lifetime {
        mean_ms: 60_000,
        max_ms: 180_000,
        distribution: Distribution::Exponential,
        grace_ms: 4_000,
    };

    fn register(directory: &Directory, index: u32, began_ms: u64, life_ms: u64) {
        let arrival = Arrival {
            user: &format!("user-{index}"),
            device: None,
            handle: Handle { shard: 0, key: Key { index, generation: 1 } },
            protocol: Protocol::Sse,
            began_ms,
            ends_ms: began_ms + life_ms + LIFETIME.grace_ms + RECORD_GRACE_MS,
        };
        directory.register(&arrival).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_connection_is_counted_once_in_each_histogram(
            lives in prop::collection::vec((0..400_000u64, 1..180_000u64), 0..40),
        ) {
            let directory = Directory::new(0);
            let now_ms = 400_000;
            for (index, (began_ms, life_ms)) in lives.iter().enumerate() {
                register(&directory, index as u32, *began_ms, *life_ms);
            }
            let mut survey = Survey::new(&LIFETIME);
            let mut from = Some(0);
            while let Some(place) = from {
                from = directory.walk_times(place, 7, |began, ends_ms| survey.count(began, ends_ms, now_ms));
            }
            // Two means are sixty buckets of two seconds.
            let within = |times: &dyn Fn(&(u64, u64)) -> Option<u64>, bucket: u64| {
                lives.iter().filter(|life| times(life).is_some_and(|ms| ms / 2_000 == bucket)).count() as u64
            };
            // A record tells the end in whole seconds: the middle of one is as good a guess as any.
            let due = |&(began_ms, life_ms): &(u64, u64)| {
                ((began_ms + life_ms) / 1_000 * 1_000 + 500).checked_sub(now_ms)
            };
            let age = |&(began_ms, _): &(u64, u64)| Some(now_ms - began_ms);
            for bucket in 0..BUCKETS as u64 {
                prop_assert_eq!(survey.due[bucket as usize], within(&due, bucket));
                prop_assert_eq!(survey.ages[bucket as usize], within(&age, bucket));
            }
            let all = lives.len() as u64;
            prop_assert_eq!(survey.due.iter().sum::<u64>() + survey.due_later + survey.leaving, all);
            prop_assert_eq!(survey.ages.iter().sum::<u64>() + survey.ages_above, all);
        }
    }

    /// Whatever the mean, and whatever part of a second it is now.
    #[test]
    fn connections_that_leave_evenly_fill_their_buckets_evenly() {
        let directory = Directory::new(0);
        register(&directory, 0, 2_000_000, 1);
        let (mut one, mut from) = (None, Some(0));
        while let Some(place) = from {
            from = directory.walk_times(place, 1_000, |began, _| one = Some(began));
        }
        let began = one.unwrap();
        for mean_ms in [100, 20_000, 40_000, 45_000, 1_800_000] {
            for now_ms in [3_000_000, 3_000_250, 3_000_500, 3_000_999] {
                let mut survey = Survey::new(&Lifetime { mean_ms, ..LIFETIME });
                let second_ms = |at: u64| 3_000_000 + at * 1_000 + RECORD_GRACE_MS + LIFETIME.grace_ms;
                for at in 0..10_000 {
                    survey.count(began, second_ms(at), now_ms);
                }
                let first = survey.due[1];
                assert!(first > 0 && survey.due[1..].iter().all(|count| *count == first), "{:?}", survey.due);
                assert!(survey.due[0].abs_diff(first) <= 1, "{:?}", survey.due);
            }
        }
    }
}
