use super::*;
use proptest::prelude::*;

const SETTINGS: Settings = Settings { failures: 3, pause_ms: 1_000, pause_max_ms: 8_000, in_flight: 64 };

fn breaker() -> Breaker {
    Breaker::new(SETTINGS, Random::seeded(7))
}

/// Asks one, which must be let through, and answers it.
fn ask(breaker: &mut Breaker, now_ms: u64, is_failure: bool) -> Option<Change> {
    let Gate::Ask(round) = breaker.gate(now_ms, 0) else { panic!("not let through") };
    breaker.ended(now_ms, round, is_failure)
}

fn open(breaker: &mut Breaker, now_ms: u64) -> u64 {
    loop {
        if let Some(change) = ask(breaker, now_ms, true) {
            let Change::Opened(pause_ms) = change else { panic!("closed by a failure") };
            return pause_ms;
        }
    }
}

#[test]
fn failures_in_a_row_open_it_and_a_probe_closes_it() {
    let mut breaker = breaker();
    for is_failure in [true, true, false, true, true] {
        assert_eq!(ask(&mut breaker, 0, is_failure), None);
    }
    let Some(Change::Opened(pause_ms)) = ask(&mut breaker, 0, true) else { panic!("still closed") };
    assert!((500..=1_000).contains(&pause_ms));
    assert_eq!(breaker.gate(pause_ms - 1, 0), Gate::Away);
    assert_eq!(breaker.standing(pause_ms - 1), Standing::Open);
    assert_eq!(breaker.standing(pause_ms), Standing::Probing);
    assert_eq!((breaker.next_ms(0), breaker.next_ms(pause_ms)), (Some(pause_ms), None));
    let Gate::Ask(round) = breaker.gate(pause_ms, 0) else { panic!("no probe") };
    assert_eq!(breaker.gate(pause_ms, 1), Gate::Away, "one probe at a time");
    assert_eq!(breaker.ended(pause_ms, round, false), Some(Change::Closed));
    assert_eq!(breaker.standing(pause_ms), Standing::Closed);
}

#[test]
fn half_of_many_failures_open_it_though_never_in_a_row() {
    let mut breaker = breaker();
    let opened = (0..24).position(|at| ask(&mut breaker, 0, at % 2 == 1).is_some());
    assert_eq!(opened, Some(11), "as soon as four times three answers are known");
    let mut breaker = self::breaker();
    assert!((0..96).all(|at| ask(&mut breaker, 0, at % 3 == 1).is_none()), "a third is borne");
}

#[test]
fn pauses_double_up_to_the_longest_and_begin_anew_once_it_was_well() {
    let mut breaker = breaker();
    let mut now_ms = 0;
    for longest in [1_000, 2_000, 4_000, 8_000, 8_000, 8_000] {
        let pause_ms = open(&mut breaker, now_ms);
        assert!((longest / 2..=longest).contains(&pause_ms), "{pause_ms} of {longest}");
        now_ms += pause_ms;
    }
    assert_eq!(ask(&mut breaker, now_ms, false), Some(Change::Closed));
    let again = open(&mut breaker, now_ms);
    assert!(again >= 4_000, "it fell ill at once: {again}");
    now_ms += again;
    assert_eq!(ask(&mut breaker, now_ms, false), Some(Change::Closed));
    assert!((0..12).all(|_| ask(&mut breaker, now_ms, false).is_none()));
    assert!(open(&mut breaker, now_ms) <= 1_000);
}

#[test]
fn few_are_let_through_at_first_and_each_answer_lets_in_one_more() {
    let mut breaker = breaker();
    let room = |breaker: &mut Breaker| (0..).find(|&n| breaker.gate(0, n) == Gate::Wait).unwrap();
    assert_eq!(room(&mut breaker), 6);
    ask(&mut breaker, 0, false);
    assert_eq!(room(&mut breaker), 7);
    assert!((0..200).all(|_| ask(&mut breaker, 0, false).is_none()));
    assert_eq!(room(&mut breaker), 64);
    let pause_ms = open(&mut breaker, 0);
    assert_eq!(ask(&mut breaker, pause_ms, false), Some(Change::Closed));
    assert_eq!(room(&mut breaker), 6);
    let narrow = Settings { in_flight: 1, ..SETTINGS };
    assert_eq!(room(&mut Breaker::new(narrow, Random::seeded(1))), 1);
}

#[test]
fn what_was_asked_before_says_nothing_about_what_came_after() {
    let mut breaker = breaker();
    let Gate::Ask(old) = breaker.gate(0, 0) else { panic!("closed") };
    let pause_ms = open(&mut breaker, 0);
    assert_eq!(breaker.ended(0, old, false), None);
    assert_eq!(breaker.standing(0), Standing::Open);
    assert_eq!(breaker.gate(pause_ms, SETTINGS.in_flight), Gate::Away, "all places are taken");
    let Gate::Ask(probe) = breaker.gate(pause_ms, 1) else { panic!("no probe") };
    assert_eq!(breaker.ended(pause_ms, old, true), None);
    assert_eq!(breaker.ended(pause_ms, probe, false), Some(Change::Closed));
    assert_eq!(breaker.ended(pause_ms, old, true), None);
}

proptest! {
    /// The rule, computed from the whole list of answers since it was last closed.
    #[test]
    fn opens_when_a_naive_count_says_so(failures in 1..=FAILURES_MAX, answers in prop::collection::vec(any::<bool>(), 0..200)) {
        let mut breaker = Breaker::new(Settings { failures, ..SETTINGS }, Random::seeded(1));
        let (mut since, mut now_ms) = (Vec::new(), 0);
        let (row, window) = (failures as usize, 4 * failures as usize);
        for failed in answers {
            since.push(failed);
            let in_row = since.len() >= row && since[since.len() - row..].iter().all(|one| *one);
            let recent = since.len().checked_sub(window).map(|from| &since[from..]);
            let share = recent.is_some_and(|all| all.iter().filter(|one| **one).count() * 2 >= window);
            match ask(&mut breaker, now_ms, failed) {
                None => prop_assert!(!in_row && !share),
                Some(Change::Opened(pause_ms)) => {
                    prop_assert!(in_row || share);
                    now_ms += pause_ms;
                    prop_assert_eq!(ask(&mut breaker, now_ms, false), Some(Change::Closed));
                    since.clear();
                }
                Some(Change::Closed) => prop_assert!(false, "it was closed already"),
            }
        }
    }
}
