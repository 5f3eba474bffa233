use super::{
    Balancing, Drain, Law, Lost, Measured, Rules, Scenario, Settings,
    balancer::Balancer,
    bins::{Bins, Ring},
    page, text,
    world::{Row, World},
};
use crate::{
    config::{Distribution, Lifetime},
    conn::lifetime::LifetimeLaw,
    kit::{exponential::CutExponential, random::Random},
    ops::autoscale::policy::{Patience, Policy},
};
use proptest::prelude::*;

/// Steps of a mean lifetime, where the step is a second.
const MEAN: f64 = 200.0;
const MEAN_MS: f64 = MEAN * 1e3;

/// Clients without habits of their own on one node without limits: lives alone decide.
fn bare(life: Law) -> Rules {
    Rules {
        step_ms: 1_000,
        connections: 2_000_000,
        nodes: 1,
        life,
        leave_within_ms: 0,
        back_within_ms: 0,
        notice_within_ms: 0,
        backoff_ms: 1_000,
        backoff_max_ms: 30_000,
        retry_ms: (1_000, 10_000),
        patience_ms: 10_000,
        drain: Drain { delay_ms: 5_000, window_ms: 30_000, rate: 5_000.0 },
        balancing: Balancing::RoundRobin,
        detect_ms: 3_000,
        startup_ms: 10_000,
        capacity: u64::MAX,
        handshakes: 1e9,
        admission: None,
        backlog: 1_000_000,
    }
}

/// A small fleet with everything that a fleet has.
fn fleet() -> Rules {
    Rules {
        connections: 60_000,
        nodes: 6,
        leave_within_ms: 1_000,
        back_within_ms: 5_000,
        capacity: 20_000,
        handshakes: 500.0,
        backlog: 1_000,
        ..bare(Law::of(Distribution::Exponential, MEAN_MS, 3.0 * MEAN_MS))
    }
}

fn settings(scenario: Scenario) -> Settings {
    Settings {
        scenario,
        rules: fleet(),
        distribution: Distribution::Exponential,
        mean_ms: MEAN_MS as u64,
        max_ms: 3 * MEAN_MS as u64,
        length_ms: 900_000,
        seed: 7,
        batch: 2,
        lost: Lost::Nodes(2),
        zones: 3,
        share: 0.3,
        blip_ms: 20_000,
        added: 2,
        policy: Policy { capacity: 20_000.0, ..Policy::default() },
        patience: Patience::default(),
        trough: 0.4,
        price: 0.5,
        measured: None,
    }
}

fn uniform(least: f64, most: f64) -> Law {
    Law::Uniform { least_ms: least * MEAN_MS, most_ms: most * MEAN_MS }
}

/// Between two bounds, in means.
fn exponential(from: f64, to: f64) -> Law {
    Law::Exponential(CutExponential::with_mean(MEAN_MS, from * MEAN_MS, to * MEAN_MS))
}

/// Rates over their mean, a step each, when everybody connects at once, or has been there for ever.
fn renewals(life: Law, is_settled: bool) -> Vec<f64> {
    let rules = bare(life);
    let clients = rules.connections;
    let per_step = clients as f64 / (life.mean_ms() / 1e3);
    let mut world = World::new(rules, 1);
    if is_settled {
        world.settle(clients);
    } else {
        world.join(clients, 1);
        world.step();
    }
    (0..(29.5 * MEAN) as usize).map(|_| world.step().accepted as f64 / per_step).collect()
}

/// The least and the most rate between two times, in mean lifetimes. The first steps have what ends within a stretch.
fn window(rates: &[f64], from: f64, to: f64) -> (f64, f64) {
    let slice = &rates[((from * MEAN) as usize).max(6)..(to * MEAN) as usize];
    slice.iter().fold((f64::MAX, 0.0), |(least, most), rate| (least.min(*rate), rate.max(most)))
}

/// When, in mean lifetimes, the rate has left ten percent around the mean for the last time.
fn steady_after(rates: &[f64]) -> f64 {
    let off = rates.iter().skip(6).rposition(|rate| (rate - 1.0).abs() > 0.1);
    off.map_or(0.0, |at| (at + 7) as f64 / MEAN)
}

/// The least and the most rate over the mean, in windows of 0-1.5, 3-6, 10-20 and 20-29 mean lifetimes.
type Windows = [(f64, f64); 4];
const EVEN: (f64, f64) = (1.0, 1.0);

#[track_caller]
fn check_renewals(life: Law, is_settled: bool, windows: Windows, (soonest, latest): (f64, f64)) {
    let rates = renewals(life, is_settled);
    for ((from, to), (least, most)) in
        [(0.0, 1.5), (3.0, 6.0), (10.0, 20.0), (20.0, 29.0)].into_iter().zip(windows)
    {
        let seen = window(&rates, from, to);
        let near = |seen: f64, want: f64| (seen - want).abs() <= 0.025 + 0.045 * want;
        assert!(
            near(seen.0, least) && near(seen.1, most),
            "{life:?}: {from} to {to}: {seen:.3?}, not {least}..{most}"
        );
    }
    let after = steady_after(&rates);
    assert!((soonest..=latest).contains(&after), "{life:?}: within ten percent after {after}");
}

/// What the renewal equation, solved numerically, says of narrow laws: waves that hardly disperse. Times of Zuul Push's law are
/// in longest lives.
#[test]
fn narrow_laws_make_waves() {
    check_renewals(uniform(0.9, 1.0), false, [(0.0, 9.5), (0.0, 6.2), (0.0, 3.9), (0.0, 2.8)], (29.0, 30.0));
    check_renewals(uniform(0.9, 1.1), false, [(0.0, 5.0), (0.0, 3.6), (0.1, 2.1), (0.5, 1.5)], (29.0, 30.0));
    let fixed = renewals(Law::Fixed { ms: MEAN_MS }, false);
    assert_eq!(window(&fixed, 20.0, 29.0), (0.0, MEAN), "all at once, for ever");
}

#[test]
fn wide_laws_are_even_after_two_lifetimes_or_four() {
    check_renewals(uniform(2.0 / 3.0, 4.0 / 3.0), false, [(0.0, 1.5), (0.89, 1.16), EVEN, EVEN], (3.4, 3.8));
    check_renewals(uniform(0.5, 1.5), false, [(0.0, 1.48), (0.94, 1.03), EVEN, EVEN], (1.9, 2.3));
    check_renewals(uniform(0.0, 2.0), false, [(0.51, 1.06), (0.98, 1.02), EVEN, EVEN], (2.0, 2.4));
}

#[test]
fn exponential_laws_are_even_from_the_start_and_so_is_every_law_that_has_settled() {
    check_renewals(exponential(0.0, 3.5596), false, [(0.89, 0.95), (0.99, 1.04), EVEN, EVEN], (0.2, 0.6));
    check_renewals(exponential(0.25, 9.25), false, [(0.0, 1.29), EVEN, EVEN, EVEN], (0.3, 0.5));
    check_renewals(exponential(0.0, 12.0), false, [EVEN; 4], (0.0, 0.0));
    check_renewals(uniform(0.9, 1.0), true, [EVEN; 4], (0.0, 0.0));
}

/// Simulated lives are those that a node draws.
#[test]
fn laws_are_those_of_a_node() {
    const DRAWS: usize = 50_000;
    let laws = [
        (Distribution::Exponential, 1_800_000, 5_400_000),
        (Distribution::Exponential, 1_800_000, 3_000_000),
        (Distribution::Exponential, 1_800_000, 3_600_000),
        (Distribution::Uniform, 1_800_000, 2_700_000),
        (Distribution::Uniform, 1_800_000, 5_400_000),
        (Distribution::Uniform, 1_800_000, 1_800_000),
        (Distribution::Zuul, 1_800_000, 5_400_000),
    ];
    for (distribution, mean_ms, max_ms) in laws {
        let node = LifetimeLaw::new(&Lifetime { mean_ms, max_ms, distribution, grace_ms: 4_000 });
        let law = Law::of(distribution, mean_ms as f64, max_ms as f64);
        let mut random = Random::seeded(5);
        let mut lives: Vec<u64> = (0..DRAWS).map(|_| node.draw_ms(&mut random)).collect();
        lives.sort_unstable();
        let mean = lives.iter().sum::<u64>() as f64 / DRAWS as f64;
        assert!((mean / law.mean_ms() - 1.0).abs() < 0.01, "{distribution:?} {max_ms}: {mean}");
        // The largest distance of the two distribution functions; by chance it is below 0.0087 in all but a thousandth of cases.
        for percent in 1..100 {
            let at = lives[DRAWS * percent / 100];
            // Draws are cut to whole ms: at an atom the function has its step there.
            let (below, above) = (law.ended_by(at as f64 - 1.0), law.ended_by(at as f64 + 1.0));
            let share = percent as f64 / 100.0;
            assert!(
                below - 0.01 < share && share < above + 0.01,
                "{distribution:?} {max_ms}: {percent} %: {below}..{above}"
            );
        }
    }
}

#[test]
fn whoever_is_drained_is_asked_evenly_and_nobody_waits_longer_than_the_rules_say() {
    let rules = Rules { life: Law::Fixed { ms: 1e7 }, ..fleet() };
    let mut world = World::new(rules.clone(), 1);
    world.settle(rules.connections);
    let rows: Vec<Row> = (0..60)
        .map(|step| {
            if step == 2 {
                world.drain(0, rules.parting());
            }
            world.step()
        })
        .collect();
    let asked: Vec<u64> = rows.iter().map(|row| row.goaways).filter(|goaways| *goaways > 20).collect();
    // 10,000 connections over 30 s, after a delay of 5 s.
    assert_eq!(asked.len(), 30);
    assert!(asked.iter().all(|goaways| (330..=345).contains(goaways)), "{asked:?}");
    assert_eq!(rows.iter().position(|row| row.goaways > 20), Some(7));
    let last = rows.last().unwrap();
    // A few lives end in any second, too.
    assert!(last.open > 59_900 && (last.serving, last.draining) == (5, 0), "{last:?}");
    assert_eq!(
        rows.iter().map(|row| row.refused + row.failed).sum::<u64>(),
        0,
        "the balancer noticed in time"
    );
}

#[test]
fn a_large_node_drains_at_the_drains_rate() {
    let rules = Rules { connections: 600_000, capacity: 200_000, life: Law::Fixed { ms: 1e7 }, ..fleet() };
    let mut world = World::new(rules.clone(), 1);
    world.settle(rules.connections);
    world.drain(0, Rules { drain: Drain { rate: 2_000.0, ..rules.drain }, ..rules.clone() }.parting());
    let steps = (0..200).map(|_| world.step().goaways).filter(|goaways| *goaways > 1_000).count();
    // What a fixed life ends meanwhile is little: 100,000 at 2,000 a second are 50 s.
    assert!((49..=51).contains(&steps), "{steps}");
}

#[test]
fn handshakes_are_bound_by_what_nodes_can_do_admit_and_hold() {
    let storm = |rules: Rules| {
        let mut world = World::new(rules.clone(), 1);
        world.join(rules.connections, 1);
        let rows: Vec<Row> = (0..400).map(|_| world.step()).collect();
        (rows.iter().map(|row| row.busiest).max().unwrap(), *rows.last().unwrap(), rows)
    };
    let (busiest, last, rows) = storm(fleet());
    assert!((500..=501).contains(&busiest), "{busiest}");
    assert!(
        last.open > 58_000
            && rows.iter().any(|row| row.failed > 0)
            && rows.iter().all(|row| row.refused == 0)
    );
    assert!(rows.iter().all(|row| row.queued <= 1_500));
    let (busiest, last, rows) = storm(Rules { admission: Some(200.0), ..fleet() });
    assert!((200..=201).contains(&busiest), "{busiest}");
    assert!(last.open > 50_000 && rows.iter().any(|row| row.refused > 0));
    let (_, last, rows) = storm(Rules { capacity: 9_000, ..fleet() });
    assert!(last.fullest == 9_000 && last.open <= 54_000 && rows.iter().any(|row| row.refused > 0));
}

#[test]
fn balancers_divide_as_they_say() {
    let mut random = Random::seeded(3);
    let open = [10, 0, 5, 5];
    let mut divide = |law, count| Balancer::new(law).divide(count, &open, &mut random);
    assert_eq!(divide(Balancing::RoundRobin, 9), [3, 2, 2, 2]);
    assert_eq!(divide(Balancing::Least, 12), [0, 8, 2, 2][..].iter().map(|n| *n as u64).collect::<Vec<_>>());
    assert_eq!(divide(Balancing::Least, 20), [0, 10, 5, 5]);
    assert_eq!(divide(Balancing::Least, 3), [0, 3, 0, 0]);
    let shares = divide(Balancing::Random, 1_000_000);
    assert!(shares.iter().all(|share| (248_000..252_000).contains(share)), "{shares:?}");
    let mut turns = Balancer::new(Balancing::RoundRobin);
    let sums = (0..4)
        .map(|_| turns.divide(5, &open, &mut random))
        .fold([0; 4], |sums, shares| std::array::from_fn(|at| sums[at] + shares[at]));
    assert_eq!(sums, [5; 4], "turns go on");
}

#[test]
fn bad_settings_are_told_in_a_sentence() {
    let cases: [(&str, Settings); 13] = [
        ("no connections", with(Scenario::Loss, |it| it.rules.connections = 0)),
        ("a fleet of no nodes", with(Scenario::Loss, |it| it.rules.nodes = 0)),
        ("cannot lose 6", with(Scenario::Loss, |it| it.lost = Lost::Nodes(6))),
        ("cannot lose 60", with(Scenario::Loss, |it| it.lost = Lost::Nodes(60))),
        ("--lost must be one", with(Scenario::Loss, |it| it.lost = Lost::Nodes(0))),
        ("must not be shorter than --mean (200s)", with(Scenario::Loss, |it| it.max_ms = 100_000)),
        (
            "hold 60,000, not 60,001",
            with(Scenario::Loss, |it| (it.rules.capacity, it.rules.connections) = (10_000, 60_001)),
        ),
        ("leaves none of 6 nodes", with(Scenario::Deploy, |it| it.batch = 6)),
        ("lives of no length", with(Scenario::Lifetimes, |it| it.mean_ms = 0)),
        ("too coarse", with(Scenario::Lifetimes, |it| it.rules.step_ms = 60_000)),
        ("lifetimes alone make", with(Scenario::Scale, |it| it.rules.handshakes = 1.0)),
        ("the target must not", with(Scenario::Day, |it| it.policy.target = 0.95)),
        ("--against", with(Scenario::Herd, |_| ())),
    ];
    for (words, settings) in cases {
        let why = settings.play().expect_err(words);
        assert!(why.contains(words), "{words}: {why}");
    }
}

fn with(scenario: Scenario, change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = settings(scenario);
    change(&mut settings);
    settings
}

#[test]
fn careful_clients_and_paced_drains_spare_the_nodes() {
    let loss = settings(Scenario::Loss).play().unwrap();
    let value = |run: usize, name: &str| loss.runs[run].value(name).unwrap();
    assert!(value(0, "most handshakes") <= 2_004.0 && value(0, "lost their connection") > 19_000.0);
    assert!(value(0, "absorbed (99 %) after") >= 9.0);
    let deploy = settings(Scenario::Deploy).play().unwrap();
    let most = |run: usize| deploy.runs[run].value("most handshakes").unwrap();
    assert!(most(0) < most(1) && most(0) < most(2), "{} {} {}", most(0), most(1), most(2));
    assert!(deploy.runs[0].value("the deploy takes").unwrap() > 3.0 * (5.0 + 30.0));
}

#[test]
fn a_new_node_fills_with_lifetimes_and_sooner_where_the_balancer_looks() {
    let scale = settings(Scenario::Scale).play().unwrap();
    let half = |run: usize| scale.runs[run].value("half of its share after").unwrap();
    // Of lives that are nearly memoryless half is over after 0.69 of a mean, of the cut ones a little sooner; the node starts in 13 s.
    assert!(
        (120.0..165.0).contains(&half(0)) && (half(1) / half(0) - 1.0).abs() < 0.1,
        "{} {}",
        half(0),
        half(1)
    );
    assert!(half(2) < half(0) / 2.0, "{}", half(2));
}

#[test]
fn the_autoscaler_takes_fewer_node_hours_and_fills_no_node() {
    let mut day = with(Scenario::Day, |it| (it.length_ms, it.rules.step_ms) = (86_400_000, 10_000));
    day.rules.connections = 600_000;
    let day = day.play().unwrap();
    let value = |run: usize, name: &str| day.runs[run].value(name).unwrap();
    assert!(value(0, "node hours") < 0.9 * value(1, "node hours"));
    assert!(value(0, "the fullest node is filled to") < 0.9 && value(0, "nodes drained") > 5.0);
    assert_eq!(value(0, "sent away") + value(0, "without an answer"), 0.0);
    assert_eq!(value(1, "price"), value(1, "node hours") * 0.5);
}

#[test]
fn every_scenario_is_told_in_words_and_plots_and_the_same_again_with_its_seed() {
    let measured = Measured::parse(REPORT).unwrap();
    for scenario in [
        Scenario::Lifetimes,
        Scenario::Deploy,
        Scenario::Loss,
        Scenario::Blip,
        Scenario::Scale,
        Scenario::Herd,
    ] {
        let settings = with(scenario, |it| it.measured = Some(measured.clone()));
        let outcome = settings.play().unwrap();
        let (text, page) = (text::text(&outcome), page::html(&outcome));
        for run in &outcome.runs {
            assert!(text.contains(&run.name) && page.contains(&run.name), "{text}");
            assert_eq!(run.figures.len(), outcome.runs[0].figures.len());
        }
        assert!(outcome.says.iter().all(|words| text.contains(words)) && page.contains("<svg"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 150), "{text}");
        assert_eq!(settings.play().unwrap(), outcome);
        let other = Settings { seed: 8, ..settings }.play().unwrap();
        let is_bound = scenario == Scenario::Herd;
        assert!(is_bound || other.pictures != outcome.pictures, "another seed is another run");
    }
}

const REPORT: &str = r#"{"series":{"at_s":[0.5,1.5,2.5,3.5,4.5],"columns":{
    "opened per s":[null,30000,15000,100,null],"open":[15000,45000,60000,60000,null]}},
    "steps":[{"name":"connect","begin_s":0.1,"end_s":2.6},{"name":"leave","begin_s":4.5,"end_s":5}]}"#;

#[test]
fn a_report_that_is_none_is_told() {
    for (from, to) in [
        ("{\"series\"", "\"series\""),
        ("\"at_s\"", "\"at\""),
        ("\"open\"", "\"shut\""),
        ("connect", "idle"),
        ("[0.5,1.5", "[1.5"),
        ("\"begin_s\":4.5", "\"begin_s\":1"),
    ] {
        assert!(Measured::parse(&REPORT.replace(from, to)).is_err(), "{from}");
    }
}

fn any_bins() -> impl Strategy<Value = Bins> {
    (0.0..50.0f64, 0.0..50.0f64, 0usize..2)
        .prop_map(|(from, span, first)| Bins::uniform(1.0, from, from + span, first))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// All are dealt, and to where the law has something.
    #[test]
    fn what_is_dealt_is_all_there(bins in any_bins(), count in 0u64..10_000, seed: u64) {
        let mut ring = Ring::new(bins.len());
        ring.deal(count, &bins, &mut Random::seeded(seed));
        prop_assert_eq!(ring.total(), count);
        let popped: u64 = (0..bins.len()).map(|_| ring.pop()).sum();
        prop_assert_eq!((popped, ring.total()), (count, 0));
    }

    /// What is taken out is as much as was asked for, and from all alike.
    #[test]
    fn what_is_taken_is_as_much_as_asked(counts in prop::collection::vec(0u64..200, 1..20), share in 0.0..1.2f64, seed: u64) {
        let mut ring = Ring::new(counts.len());
        counts.iter().enumerate().for_each(|(at, count)| ring.add(at, *count));
        let total = ring.total();
        let asked = (total as f64 * share) as u64;
        let taken = ring.take(asked, &mut Random::seeded(seed));
        prop_assert_eq!((taken, ring.total()), (asked.min(total), total - taken));
        for count in counts {
            let left = ring.pop() as f64;
            let fair = count as f64 * (1.0 - taken as f64 / total.max(1) as f64);
            prop_assert!((left - fair).abs() <= 1.0, "{} of {}", left, count);
        }
    }

    /// A balancer gives away all, and to the emptiest where it looks.
    #[test]
    fn nothing_is_lost_by_a_balancer(open in prop::collection::vec(0u64..1_000, 1..20), count in 0u64..5_000, seed: u64) {
        for law in [Balancing::RoundRobin, Balancing::Random, Balancing::Least] {
            let shares = Balancer::new(law).divide(count, &open, &mut Random::seeded(seed));
            prop_assert_eq!(shares.iter().sum::<u64>(), count);
            if law == Balancing::Least {
                // As one by one to the emptiest: nobody who got some is above a level that others have not reached.
                let filled: Vec<u64> = open.iter().zip(&shares).map(|(open, share)| open + share).collect();
                let lowest = *filled.iter().min().unwrap();
                prop_assert!(filled.iter().zip(&shares).all(|(filled, share)| *share == 0 || *filled <= lowest + 1));
            }
        }
    }

    /// Whatever happens, every client is somewhere (each step asserts it), and afterwards they come back.
    #[test]
    fn whatever_happens_nobody_is_lost(deeds in prop::collection::vec((0u64..8, 0usize..8, 0.0..1.0f64), 1..12), seed: u64) {
        let rules = fleet();
        let mut world = World::new(rules.clone(), seed);
        world.settle(rules.connections / 2);
        for (deed, node, share) in deeds {
            let node = node % world.nodes().len();
            match deed {
                0 => world.kill(node),
                1 => world.drain(node, rules.parting()),
                2 => world.cut((share * 60_000.0) as u64, 10),
                3 => world.quit((share * 60_000.0) as u64),
                4 => world.join((share * 60_000.0) as u64, 10),
                _ => _ = world.add_node(),
            }
            (0..10).for_each(|_| _ = world.step());
        }
        (0..6).for_each(|_| _ = world.add_node());
        let clients = world.clients();
        (0..400).for_each(|_| _ = world.step());
        prop_assert!(world.open() as f64 >= clients as f64 * 0.94 - 100.0, "{} of {}", world.open(), clients);
    }
}
