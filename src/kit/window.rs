//! Values under numbers that rise as they come, and that leave in about the order in which they came: a ring instead of a table.
//!
//! Owns the values. It holds a place for every number from the oldest value to the newest, so whoever uses it sees to it that no
//! value stays for good.

use std::collections::VecDeque;

/// See the module.
#[derive(Debug)]
pub struct Window<T> {
    /// The number of the first place.
    first: u64,
    places: VecDeque<Option<T>>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { first: 0, places: VecDeque::new() }
    }
}

impl<T> Window<T> {
    /// Keeps a value under a number above all that were there before.
    ///
    /// # Panics
    /// When the number is not above that of the newest place: it would be another's.
    pub fn insert(&mut self, number: u64, value: T) {
        if self.places.is_empty() {
            self.first = number;
        }
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let at = at.filter(|at| *at >= self.places.len()).expect("numbers rise");
        self.places.resize_with(at, || None);
        self.places.push_back(Some(value));
    }

    /// Takes the value of a number; None: there is none, or none any more.
    pub fn remove(&mut self, number: u64) -> Option<T> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let value = self.places.get_mut(at)?.take();
        while self.places.front().is_some_and(Option::is_none) {
            self.places.pop_front();
            self.first += 1;
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_value_that_stays_keeps_places_and_no_more() {
        let mut window = Window::default();
        for number in 5..1_000 {
            window.insert(number, number);
        }
        for number in 6..1_000 {
            assert_eq!(window.remove(number), Some(number));
        }
        assert_eq!((window.remove(4), window.remove(1_000), window.places.len()), (None, None, 995));
        assert_eq!((window.remove(5), window.remove(5), window.places.len()), (Some(5), None, 0));
        window.insert(1 << 60, 1);
        assert_eq!((window.remove((1 << 60) - 1), window.remove(1 << 60)), (None, Some(1)));
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in proptest::collection::vec((1..4u64, 0..40u64), 1..200)) {
            let (mut window, mut twin, mut last) = (Window::default(), BTreeMap::new(), 0);
            for (ahead, back) in steps {
                last += ahead;
                window.insert(last, last);
                twin.insert(last, last);
                let number = last.saturating_sub(back);
                prop_assert_eq!(window.remove(number), twin.remove(&number));
            }
            for number in 0..=last {
                prop_assert_eq!(window.remove(number), twin.remove(&number));
            }
            prop_assert!(window.places.is_empty());
        }
    }
}
