use super::{super::breaker, *};
use crate::kit::random::Random;
use proptest::prelude::*;
use std::collections::BTreeMap;

type TestDesk = Desk<&'static str, u32, u64>;
type TestOrder = Order<&'static str, u32, u64>;

const BREAKER: breaker::Settings =
    breaker::Settings { failures: 3, pause_ms: 1_000, pause_max_ms: 4_000, in_flight: 4 };

fn desk(waiting: usize, cache: usize) -> TestDesk {
    Desk::new(Settings { waiting, cache }, Breaker::new(BREAKER, Random::seeded(1)))
}

fn at_ms(ms: u64) -> Now {
    Now { micros: ms * 1_000, unix_ms: 0 }
}

fn name(number: u8) -> Credential {
    Credential::of_test(number)
}

fn yes(answer: u64, life_ms: u64) -> Result<Reply<u64>, Failure> {
    Ok(Reply { answer, accepted: true, life_ms })
}

/// What was asked of the endpoint.
fn asked(orders: &[TestOrder]) -> Vec<(Credential, u64)> {
    let one = |order: &TestOrder| match order {
        Order::Ask { credential, round, .. } => Some((*credential, *round)),
        _ => None,
    };
    orders.iter().filter_map(one).collect()
}

/// What clients were told.
fn told(orders: Vec<TestOrder>) -> Vec<(u32, Told<u64>)> {
    let one = |order| match order {
        Order::Tell(client, told) => Some((client, told)),
        _ => None,
    };
    orders.into_iter().filter_map(one).collect()
}

#[test]
fn equal_credentials_are_one_question() {
    let mut desk = desk(1_000, 10);
    (0..1_000).for_each(|client| desk.ask(at_ms(0), name(1), "who", client, 9_000_000));
    let orders = desk.take_orders();
    assert_eq!((orders.len(), asked(&orders).len()), (1, 1));
    desk.ask(at_ms(0), name(1), "who", 1_000, 9_000_000);
    assert_eq!(told(desk.take_orders()), [(1_000, Told::Unavailable)], "no room");
    desk.ended(at_ms(5), name(1), asked(&orders)[0].1, yes(42, 0));
    let told = told(desk.take_orders());
    assert!(told.len() == 1_000 && told.iter().all(|(_, told)| *told == Told::Answer(42)));
    assert_eq!(desk.counts(), Counts::default());
}

#[test]
fn an_answer_is_used_again_as_long_as_it_says() {
    for accepted in [true, false] {
        let mut desk = desk(10, 10);
        desk.ask(at_ms(0), name(1), "who", 1, 9_000_000);
        let reply = Reply { answer: 42, accepted, life_ms: 500 };
        desk.take_orders();
        desk.ended(at_ms(100), name(1), 0, Ok(reply));
        desk.take_orders();
        desk.ask(at_ms(599), name(1), "who", 2, 9_000_000);
        assert_eq!(told(desk.take_orders()), [(2, Told::Answer(42))]);
        assert_eq!(desk.counts(), Counts { kept: 1, hits: 1, ..Counts::default() });
        desk.ask(at_ms(600), name(1), "who", 3, 9_000_000);
        assert_eq!(asked(&desk.take_orders()).len(), 1);
    }
}

#[test]
fn made_up_credentials_do_not_push_out_good_ones() {
    let mut desk = desk(10, 8);
    desk.ask(at_ms(0), name(1), "who", 1, 9_000_000);
    desk.ended(at_ms(0), name(1), 0, yes(42, 1_000));
    for made_up in 100..200 {
        desk.ask(at_ms(1), name(made_up), "who", 2, 9_000_000);
        desk.ended(at_ms(1), name(made_up), 0, Ok(Reply { answer: 0, accepted: false, life_ms: 90_000 }));
    }
    desk.take_orders();
    assert_eq!(desk.counts().kept, 1 + 2);
    desk.ask(at_ms(2), name(1), "who", 3, 9_000_000);
    assert_eq!(told(desk.take_orders()), [(3, Told::Answer(42))]);
    // What was good and is not any more is not found among the good.
    desk.ask(at_ms(1_500), name(1), "who", 4, 9_000_000);
    desk.ended(at_ms(1_500), name(1), 0, Ok(Reply { answer: 7, accepted: false, life_ms: 90_000 }));
    desk.ask(at_ms(1_501), name(1), "who", 5, 9_000_000);
    assert_eq!(told(desk.take_orders()), [(4, Told::Answer(7)), (5, Told::Answer(7))]);
}

#[test]
fn while_the_endpoint_is_left_alone_only_what_is_known_is_told() {
    let mut desk = desk(100, 10);
    desk.ask(at_ms(0), name(1), "who", 1, 9_000_000);
    desk.ended(at_ms(0), name(1), 0, yes(42, 60_000));
    // Four are under way, and two wait.
    (10..16).for_each(|number| desk.ask(at_ms(1), name(number), "who", number.into(), 9_000_000));
    assert_eq!(asked(&desk.take_orders()).len(), 1 + 4);
    (10..12).for_each(|number| desk.ended(at_ms(2), name(number), 0, Err(Failure::Theirs)));
    assert_eq!(asked(&desk.take_orders()).len(), 2, "the two that waited");
    desk.ask(at_ms(2), name(16), "who", 16, 9_000_000);
    desk.ended(at_ms(3), name(12), 0, Err(Failure::Theirs));
    let orders = desk.take_orders();
    let Some(Order::Say(Change::Opened(pause_ms))) =
        orders.iter().find(|order| matches!(order, Order::Say(_)))
    else {
        panic!("still closed")
    };
    let pause_ms = *pause_ms;
    let away = [(12, Told::Unavailable), (16, Told::Unavailable)];
    assert_eq!(told(orders), away, "who failed, and who waited in line");
    desk.ask(at_ms(4), name(17), "who", 17, 9_000_000);
    desk.ask(at_ms(4), name(1), "who", 18, 9_000_000);
    let now = told(desk.take_orders());
    assert_eq!(now, [(17, Told::Unavailable), (18, Told::Answer(42))]);
    // What still comes of before is told, and changes nothing.
    desk.ended(at_ms(5), name(13), 0, yes(13, 0));
    assert_eq!(told(desk.take_orders()), [(13, Told::Answer(13))]);
    assert_eq!(desk.standing(at_ms(5)), Standing::Open);
    // The first that comes after the pause finds out for all.
    let after = at_ms(3 + pause_ms);
    desk.ask(after, name(20), "who", 20, 9_000_000);
    desk.ask(after, name(21), "who", 21, 9_000_000);
    let orders = desk.take_orders();
    let probe = asked(&orders);
    assert_eq!(probe.len(), 1);
    assert_eq!(told(orders), [(21, Told::Unavailable)]);
    desk.ended(after, name(20), probe[0].1, yes(20, 0));
    assert_eq!(desk.standing(after), Standing::Closed);
    desk.ask(after, name(22), "who", 22, 9_000_000);
    assert_eq!(asked(&desk.take_orders()).len(), 1);
}

#[test]
fn who_has_given_up_is_not_asked_about() {
    let mut desk = desk(100, 10);
    (0..4).for_each(|number| desk.ask(at_ms(0), name(number), "who", number.into(), 9_000_000));
    // In line: one that gives up soon, one with a patient friend, and a patient one.
    desk.ask(at_ms(0), name(10), "who", 10, 500_000);
    desk.ask(at_ms(1), name(11), "who", 11, 600_000);
    desk.ask(at_ms(2), name(11), "who", 12, 5_000_000);
    desk.ask(at_ms(3), name(12), "who", 13, 5_000_000);
    assert_eq!(asked(&desk.take_orders()).len(), 4);
    assert_eq!(desk.next_us(at_ms(4)), Some(500_000));
    desk.advance(at_ms(700));
    assert_eq!(told(desk.take_orders()), [(10, Told::Unavailable), (11, Told::Unavailable)]);
    assert_eq!(desk.counts().waiting, 4 + 2);
    (0..2).for_each(|number| desk.ended(at_ms(701), name(number), 0, yes(1, 0)));
    let asked: Vec<Credential> = asked(&desk.take_orders()).into_iter().map(|(who, _)| who).collect();
    assert!(asked == [name(11), name(12)]);
    assert_eq!(desk.next_us(at_ms(701)), None);
}

#[test]
fn a_question_that_is_itself_at_fault_opens_nothing() {
    let mut desk = desk(100, 10);
    for number in 0..100 {
        desk.ask(at_ms(0), name(number), "who", number.into(), 9_000_000);
        desk.ended(at_ms(0), name(number), 0, Err(Failure::Question));
    }
    let told = told(desk.take_orders());
    assert!(told.len() == 100 && told.iter().all(|(_, told)| *told == Told::Unavailable));
    assert_eq!(desk.standing(at_ms(0)), Standing::Closed);
}

/// Everything that must hold, computed from all that ever happened.
#[derive(Default)]
struct Twin {
    /// Who waits: about whom, and until when.
    clients: BTreeMap<u32, (Credential, u64)>,
    under_way: Vec<(Credential, u64)>,
    /// The last answer about each, and until when it counts, ms.
    known: BTreeMap<Credential, (u64, u64)>,
    told: u32,
}

impl Twin {
    fn carry_out(&mut self, desk: &mut TestDesk, now: Now) {
        let is_open = desk.standing(now) == Standing::Open;
        for order in desk.take_orders() {
            match order {
                Order::Ask { credential, round, .. } => {
                    assert!(self.under_way.iter().all(|(known, _)| *known != credential), "asked twice");
                    let waits =
                        |(about, until): &(Credential, u64)| *about == credential && *until > now.micros;
                    assert!(self.clients.values().any(waits), "nobody wants to know");
                    assert!(!is_open, "it is to be left alone");
                    self.under_way.push((credential, round));
                    assert!(self.under_way.len() <= BREAKER.in_flight);
                }
                Order::Tell(client, told) => {
                    let (about, _) = self.clients.remove(&client).expect("told once, and only who asked");
                    self.told += 1;
                    if let Told::Answer(answer) = told {
                        assert_eq!(self.known[&about].0, answer, "the last answer about this one");
                    }
                }
                Order::Say(_) => {}
            }
        }
        assert_eq!(desk.counts().waiting, self.clients.len());
        assert_eq!(desk.counts().in_flight, self.under_way.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn each_client_is_told_once_and_the_bounds_hold(
        waiting in 1..12usize,
        cache in 0..6usize,
        steps in prop::collection::vec((0..6u8, 0..10u8, 0..400u64, 0..8u32), 1..200),
    ) {
        let mut desk = desk(waiting, cache);
        let (mut twin, mut now, mut asked) = (Twin::default(), at_ms(1_000), 0);
        for (step, number, wait, luck) in steps {
            now = at_ms(now.millis() + wait);
            match step {
                0..=2 => {
                    let until_us = now.micros + u64::from(luck) * 300_000;
                    let kept = twin.known.get(&name(number)).is_some_and(|(_, until)| *until > now.millis());
                    twin.clients.insert(asked, (name(number), until_us));
                    desk.ask(now, name(number), "who", asked, until_us);
                    asked += 1;
                    let asks = desk.orders.iter().any(|order| matches!(order, Order::Ask { .. }));
                    // With room for all ten.
                    prop_assert!(!(asks && kept && cache >= 10), "it was known");
                }
                3 | 4 if !twin.under_way.is_empty() => {
                    let (credential, round) = twin.under_way.remove(usize::from(number) % twin.under_way.len());
                    let end = match luck {
                        0..=3 => Err(Failure::Theirs),
                        4 => Err(Failure::Question),
                        _ => Ok(Reply { answer: now.micros, accepted: luck > 5, life_ms: wait * 4 }),
                    };
                    if let Ok(reply) = &end {
                        twin.known.insert(credential, (reply.answer, now.millis() + reply.life_ms));
                    }
                    desk.ended(now, credential, round, end);
                }
                _ => desk.advance(now),
            }
            twin.carry_out(&mut desk, now);
            prop_assert!(desk.counts().waiting <= waiting);
            prop_assert!(desk.counts().kept <= cache + cache.div_ceil(REFUSALS_SHARE));
        }
        // Whatever is under way ends one day, and then nothing is left.
        while let Some((credential, round)) = twin.under_way.pop() {
            desk.ended(now, credential, round, Err(Failure::Theirs));
            twin.carry_out(&mut desk, now);
        }
        desk.advance(at_ms(now.millis() + 10_000));
        twin.carry_out(&mut desk, at_ms(now.millis() + 10_000));
        prop_assert_eq!((twin.told, desk.open.len(), desk.line.len()), (asked, 0, 0));
        prop_assert_eq!(desk.next_us(at_ms(now.millis() + 10_000)), None);
    }
}

/// A fleet's clients come back to an endpoint that answers, then fails, then hangs, and then answers again.
#[test]
fn it_finds_its_way_back_to_an_endpoint_that_was_away() {
    for seed in 0..20 {
        let mut random = Random::seeded(seed);
        let mut desk = desk(50, 0);
        let (mut twin, mut client) = (Twin::default(), 0u32);
        let mut ends: Vec<(u64, Credential, u64, bool)> = Vec::new();
        let mut known = [0u32; 4];
        for ms in 0..24_000u64 {
            let (now, phase) = (at_ms(ms), (ms / 6_000) as usize);
            ends.retain(|&(at, credential, round, is_well)| {
                if at == ms {
                    twin.under_way.retain(|(known, _)| *known != credential);
                    let reply = Reply { answer: ms, accepted: true, life_ms: 0 };
                    twin.known.insert(credential, (ms, 0));
                    desk.ended(
                        now,
                        credential,
                        round,
                        if is_well { Ok(reply) } else { Err(Failure::Theirs) },
                    );
                    known[phase] += u32::from(is_well);
                }
                at != ms
            });
            if random.below(20) == 0 {
                let who = name(random.below(200) as u8);
                twin.clients.insert(client, (who, now.micros + 8_000_000));
                desk.ask(now, who, "who", client, now.micros + 8_000_000);
                client += 1;
            }
            desk.advance(now);
            for (credential, round) in asked(&desk.orders) {
                let (takes, is_well) = match phase {
                    0 | 3 => (1 + random.below(30), true),
                    1 => (1, false),
                    _ => (2_000, false),
                };
                ends.push((ms + takes, credential, round, is_well));
            }
            twin.carry_out(&mut desk, now);
        }
        assert!(known[0] > 200 && known[3] > 50, "seed {seed}: {known:?}");
        assert_eq!(desk.standing(at_ms(24_000)), Standing::Closed, "seed {seed}");
    }
}
