use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

impl Timers for Vec<Timer> {
    fn timer(&mut self, id: u32) -> &mut Timer {
        &mut self[id as usize]
    }
}

fn setup(count: usize, now: Tick) -> (Vec<Timer>, Wheel) {
    (vec![Timer::UNARMED; count], Wheel::new(now))
}

/// Pops one timer, in the smallest pieces of work there are.
fn pop(wheel: &mut Wheel, timers: &mut Vec<Timer>, now: Tick) -> Option<u32> {
    loop {
        let mut budget = 1;
        let popped = wheel.pop_expired(timers, now, &mut budget);
        if popped.is_some() || budget > 0 {
            return popped;
        }
    }
}

/// Pops everything due by `now`, with the due tick of each.
fn pop_all(wheel: &mut Wheel, timers: &mut Vec<Timer>, now: Tick) -> Vec<(u32, Tick)> {
    let mut popped = Vec::new();
    while let Some(id) = pop(wheel, timers, now) {
        assert!(!timers[id as usize].is_armed());
        popped.push((id, timers[id as usize].due()));
    }
    popped
}

#[test]
fn each_level_fires_on_its_tick() {
    for start in [0, 63, 4_095, 1_000_003, u32::MAX - 70, u32::MAX, (1 << 31) - 1, (3 << 30) + 12_345] {
        for span in [1, 2, 63, 64, 65, 4_096, 4_097, 262_144, 1 << 24, 1 << 29, 1 << 30, (1 << 31) - 1] {
            let now = Tick(start);
            let due = now.plus(span);
            let (mut timers, mut wheel) = setup(1, now);
            wheel.schedule(&mut timers, 0, due);
            assert!(timers[0].is_armed() && timers[0].due() == due);
            let before = due.plus(u32::MAX);
            assert_eq!(pop(&mut wheel, &mut timers, before), None, "{start} + {span}, a tick early");
            assert_eq!(wheel.next_deadline(), Some(due));
            assert_eq!(pop(&mut wheel, &mut timers, due), Some(0), "{start} + {span}");
            assert!(wheel.is_empty() && wheel.next_deadline().is_none());
            assert_eq!(wheel.occupied, [0; LEVELS]);
        }
    }
}

#[test]
fn a_due_tick_in_the_past_fires_at_the_next_pop() {
    for now in [Tick(5), Tick(1 << 31), Tick(u32::MAX)] {
        let (mut timers, mut wheel) = setup(2, now);
        wheel.schedule(&mut timers, 0, Tick(now.0.wrapping_sub(10)));
        wheel.schedule(&mut timers, 1, now);
        assert_eq!(wheel.next_deadline(), Some(now));
        assert_eq!(pop_all(&mut wheel, &mut timers, now).len(), 2);
    }
}

#[test]
fn the_longest_span_is_no_past_for_a_wheel_that_lags() {
    for start in [Tick(7), Tick((1 << 30) - 1), Tick((3 << 30) - 1), Tick(u32::MAX)] {
        let (mut timers, mut wheel) = setup(1, start);
        // The wheel has not been popped for a day when a timer is set for as late as can be.
        let now = start.plus_ms(86_400_000);
        wheel.schedule(&mut timers, 0, now.plus_ms(u64::MAX));
        assert!(!wheel.next_deadline().unwrap().reached(now));
        assert_eq!(pop(&mut wheel, &mut timers, now), None);
        assert!(!wheel.next_deadline().unwrap().reached(now));
        assert_eq!(pop(&mut wheel, &mut timers, now.plus(1 << 30)), None);
        assert_eq!(pop(&mut wheel, &mut timers, now.plus((1 << 31) - 2)), None);
        assert_eq!(pop(&mut wheel, &mut timers, now.plus_ms(u64::MAX)), Some(0));
    }
}

#[test]
fn an_empty_wheel_keeps_up_with_time() {
    let (mut timers, mut wheel) = setup(1, Tick(0));
    let mut now = Tick(0);
    for _ in 0..7 {
        now = now.plus(1 << 29);
        assert_eq!(pop(&mut wheel, &mut timers, now), None);
    }
    wheel.schedule(&mut timers, 0, now.plus(1));
    assert_eq!(pop(&mut wheel, &mut timers, now), None);
    assert_eq!(pop(&mut wheel, &mut timers, now.plus(1)), Some(0));
}

#[test]
fn rescheduling_moves_and_cancelling_twice_is_harmless() {
    let (mut timers, mut wheel) = setup(3, Tick(0));
    for id in 0..3 {
        wheel.schedule(&mut timers, id, Tick(100));
    }
    wheel.schedule(&mut timers, 0, Tick(5_000));
    wheel.schedule(&mut timers, 1, Tick(3));
    wheel.cancel(&mut timers, 2);
    wheel.cancel(&mut timers, 2);
    assert_eq!(wheel.len(), 2);
    assert_eq!(pop_all(&mut wheel, &mut timers, Tick(4_999)), [(1, Tick(3))]);
    assert_eq!(pop_all(&mut wheel, &mut timers, Tick(5_000)), [(0, Tick(5_000))]);
    // An expired timer that was not popped yet can be cancelled too.
    wheel.schedule(&mut timers, 0, Tick(1));
    wheel.cancel(&mut timers, 0);
    assert_eq!(pop_all(&mut wheel, &mut timers, Tick(5_000)), []);
}

#[test]
fn a_budget_interrupts_anywhere() {
    let (mut timers, mut wheel) = setup(100, Tick(0));
    for id in 0..100 {
        wheel.schedule(&mut timers, id, Tick(id / 10 * 64));
    }
    let now = Tick(10_000);
    let first: Vec<u32> = (0..37).filter_map(|_| pop(&mut wheel, &mut timers, now)).collect();
    assert_eq!(first, (0..37).collect::<Vec<u32>>());
    assert!(wheel.next_deadline().unwrap().reached(now));
    // What is re-armed at once waits behind what was due before.
    wheel.schedule(&mut timers, 0, now);
    let rest: Vec<u32> = pop_all(&mut wheel, &mut timers, now).into_iter().map(|(id, _)| id).collect();
    assert_eq!(rest, (37..100).chain([0]).collect::<Vec<u32>>());
}

#[test]
fn idle_time_is_passed_in_few_wakes() {
    let (mut timers, mut wheel) = setup(1, Tick(17));
    wheel.schedule(&mut timers, 0, Tick(17).plus(1 << 30));
    let mut wakes = 0;
    let due = loop {
        let next = wheel.next_deadline().unwrap();
        wakes += 1;
        if pop(&mut wheel, &mut timers, next).is_some() {
            break next;
        }
    };
    assert_eq!(due, Tick(17).plus(1 << 30));
    assert!(wakes <= LEVELS, "{wakes} wakes");
}

/// The naive twin: the due tick of each armed timer, counted on a line that does not wrap.
type Twin = BTreeMap<u32, u64>;

#[derive(Clone, Debug)]
enum Step {
    Schedule {
        id: u32,
        span: i64,
    },
    Cancel {
        id: u32,
    },
    /// Moves on by so many ticks, then pops up to a budget.
    Advance {
        ticks: u64,
        budget: usize,
    },
    /// Does so much work at the present tick: a coarse slot may be left half spread out.
    Nibble {
        budget: usize,
    },
    /// Goes to just when the wheel asks for.
    Follow,
}

const IDS: u32 = 40;

fn step() -> impl Strategy<Value = Step> {
    let span = prop_oneof![-100i64..100, 0i64..5_000, 0i64..300_000, 0i64..(1 << 31)];
    let ticks = prop_oneof![4 => 0u64..3, 4 => 0u64..200, 2 => 0u64..10_000, 1 => 0u64..(1 << 30)];
    prop_oneof![
        6 => (0..IDS, span).prop_map(|(id, span)| Step::Schedule { id, span }),
        2 => (0..IDS).prop_map(|id| Step::Cancel { id }),
        3 => (0usize..4).prop_map(|budget| Step::Nibble { budget }),
        3 => (ticks, prop_oneof![Just(usize::MAX), 0usize..4])
            .prop_map(|(ticks, budget)| Step::Advance { ticks, budget }),
        2 => Just(Step::Follow),
    ]
}

/// Pops up to `budget` timers and checks each against the twin.
fn pop_like_twin(
    wheel: &mut Wheel,
    timers: &mut Vec<Timer>,
    twin: &mut Twin,
    now: u64,
    budget: usize,
) -> Result<(), TestCaseError> {
    for _ in 0..budget {
        let Some(id) = pop(wheel, timers, Tick(now as u32)) else {
            prop_assert!(twin.values().all(|&due| due > now), "a due timer was not popped at {}", now);
            break;
        };
        let due = twin.remove(&id);
        prop_assert!(due.is_some_and(|due| due <= now), "{} popped at {}, due {:?}", id, now, due);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn behaves_like_a_map(
        start in prop_oneof![0u64..100, Just((1u64 << 32) - 50), (1u64 << 31) - 500..(1u64 << 31), 0u64..(1 << 32)],
        steps in prop::collection::vec(step(), 0..120),
    ) {
        // A line that has room for the past below it.
        let mut now = start + (1 << 32);
        let (mut timers, mut wheel) = setup(IDS as usize, Tick(now as u32));
        let mut twin = Twin::new();
        for step in steps {
            match step {
                Step::Schedule { id, span } => {
                    let due = now.saturating_add_signed(span);
                    wheel.schedule(&mut timers, id, Tick(due as u32));
                    twin.insert(id, due);
                }
                Step::Cancel { id } => {
                    wheel.cancel(&mut timers, id);
                    twin.remove(&id);
                }
                Step::Advance { ticks, budget } => {
                    // A wheel that is left behind for longer than its margin is outside of the contract.
                    let budget = if ticks > 1 << 20 { usize::MAX } else { budget };
                    now += ticks;
                    pop_like_twin(&mut wheel, &mut timers, &mut twin, now, budget)?;
                }
                Step::Nibble { budget } => {
                    if let Some(id) = wheel.pop_expired(&mut timers, Tick(now as u32), &mut budget.clone()) {
                        let due = twin.remove(&id);
                        prop_assert!(due.is_some_and(|due| due <= now), "{} popped at {}, due {:?}", id, now, due);
                    }
                }
                Step::Follow => if let Some(next) = wheel.next_deadline() {
                    let ahead = next.ticks_since(Tick(now as u32));
                    now += u64::from(ahead);
                    pop_like_twin(&mut wheel, &mut timers, &mut twin, now, usize::MAX)?;
                }
            }
            prop_assert_eq!(wheel.len(), twin.len());
            prop_assert_eq!(wheel.is_empty(), twin.is_empty());
            let next = wheel.next_deadline();
            prop_assert_eq!(next.is_some(), !twin.is_empty());
            if let (Some(next), Some(&first)) = (next, twin.values().min()) {
                let ahead = u64::from(next.ticks_since(Tick(now as u32)));
                prop_assert!(now + ahead <= first.max(now), "next deadline {:?} is after {}", next, first);
            }
            for id in 0..IDS {
                prop_assert_eq!(timers[id as usize].is_armed(), twin.contains_key(&id));
            }
        }
    }
}
