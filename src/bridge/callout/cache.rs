//! Answers that may be used again, each for as long as it says.
//!
//! Bounded: of more answers than there is room for, the one whose life would have ended first makes room. An answer whose life
//! has ended is gone at the next step, so that nothing of a client is kept for longer than it counts.

use super::credential::Credential;
use std::collections::{BTreeSet, HashMap};

/// See the module.
pub struct Cache<A> {
    capacity: usize,
    answers: HashMap<Credential, Kept<A>>,
    /// The same by the ends of their lives.
    ends: BTreeSet<(u64, Credential)>,
}

struct Kept<A> {
    answer: A,
    until_ms: u64,
}

impl<A: Clone> Cache<A> {
    /// Room for so many answers; 0: none is kept.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, answers: HashMap::new(), ends: BTreeSet::new() }
    }

    /// The answer that counts for a credential now.
    pub fn find(&mut self, now_ms: u64, credential: &Credential) -> Option<A> {
        self.expire(now_ms);
        self.answers.get(credential).map(|kept| kept.answer.clone())
    }

    /// Keeps an answer in place of what was kept for its credential.
    pub fn keep(&mut self, now_ms: u64, credential: Credential, answer: A, life_ms: u64) {
        self.expire(now_ms);
        self.forget(&credential);
        if life_ms == 0 || self.capacity == 0 {
            return;
        }
        while self.answers.len() >= self.capacity {
            let Some((_, first)) = self.ends.pop_first() else { break };
            self.answers.remove(&first);
        }
        let until_ms = now_ms.saturating_add(life_ms);
        self.answers.insert(credential, Kept { answer, until_ms });
        self.ends.insert((until_ms, credential));
    }

    /// Forgets what was kept for a credential.
    pub fn forget(&mut self, credential: &Credential) {
        if let Some(kept) = self.answers.remove(credential) {
            self.ends.remove(&(kept.until_ms, *credential));
        }
    }

    /// Answers that are kept.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    fn expire(&mut self, now_ms: u64) {
        while let Some(&(until_ms, credential)) = self.ends.first()
            && until_ms <= now_ms
        {
            self.ends.pop_first();
            self.answers.remove(&credential);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All that was kept, in no order.
    #[derive(Default)]
    struct Twin(Vec<(Credential, u32, u64)>);

    impl Twin {
        fn expire(&mut self, now_ms: u64) {
            self.0.retain(|(_, _, until)| *until > now_ms);
        }

        fn keep(&mut self, now_ms: u64, credential: Credential, answer: u32, life_ms: u64, capacity: usize) {
            self.expire(now_ms);
            self.0.retain(|(known, ..)| *known != credential);
            if life_ms == 0 || capacity == 0 {
                return;
            }
            if self.0.len() == capacity {
                let first = self.0.iter().map(|(known, _, until)| (*until, *known)).min().unwrap();
                self.0.retain(|(known, ..)| *known != first.1);
            }
            self.0.push((credential, answer, now_ms + life_ms));
        }
    }

    proptest! {
        #[test]
        fn keeps_what_a_naive_list_keeps(
            capacity in 0..6usize,
            steps in prop::collection::vec((0..12u8, 0..40u64, 0..60u64, 0..3u8), 0..120),
        ) {
            let (mut cache, mut twin, mut now_ms) = (Cache::new(capacity), Twin::default(), 0);
            for (at, (name, wait, life, step)) in steps.into_iter().enumerate() {
                now_ms += wait;
                let credential = Credential::of_test(name);
                match step {
                    0 => {
                        cache.keep(now_ms, credential, at as u32, life);
                        twin.keep(now_ms, credential, at as u32, life, capacity);
                    }
                    1 => {
                        cache.forget(&credential);
                        twin.0.retain(|(known, ..)| *known != credential);
                    }
                    _ => {
                        twin.expire(now_ms);
                        let naive = twin.0.iter().find(|(known, ..)| *known == credential);
                        prop_assert_eq!(cache.find(now_ms, &credential), naive.map(|(_, answer, _)| *answer));
                        prop_assert_eq!(cache.len(), twin.0.len());
                    }
                }
                prop_assert_eq!(cache.ends.len(), cache.answers.len());
                prop_assert!(cache.len() <= capacity);
            }
        }
    }

    #[test]
    fn an_answer_ends_to_the_millisecond() {
        let (mut cache, one) = (Cache::new(2), Credential::of_test(1));
        cache.keep(1_000, one, 'a', 60_000);
        assert_eq!(cache.find(60_999, &one), Some('a'));
        assert_eq!(cache.find(61_000, &one), None);
        assert_eq!(cache.len(), 0);
        // One for ever does not overflow, and one that is told to be forgotten is.
        cache.keep(1_000, one, 'b', u64::MAX);
        assert_eq!(cache.find(u64::MAX - 1, &one), Some('b'));
        cache.keep(u64::MAX - 1, one, 'c', 0);
        assert_eq!(cache.len(), 0);
    }
}
