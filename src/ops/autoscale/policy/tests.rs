use super::*;
use proptest::prelude::*;

fn load(connections: f64, nodes: u32) -> Load {
    Load { connections, nodes, draining: 0 }
}

#[test]
fn the_rule_as_a_table() {
    // A node holds 200,000, aimed at are 120,000; one may be lost, filling the others to 180,000.
    let cases = [
        // At the target and near it nothing is done.
        (1_200_000.0, 10, 10, "near"),
        (1_310_000.0, 10, 10, "near"),
        (910_000.0, 10, 10, "near"),
        // Above: 12 would be in proportion, 10 * 1.2^1.5 = 13.1.
        (1_440_000.0, 10, 14, "above"),
        // Twice: 20 in proportion, 28.3 by the power, and 26 are the most for which the slack has room.
        (2_400_000.0, 10, 26, "above"),
        (600_000.0, 10, 5, "below"),
        // Three quarters below the least for a loss: 100,000 fit a node, and one more must be there.
        (100_000.0, 5, 2, "loss"),
        (0.0, 5, 2, "least"),
        (0.0, 0, 2, "least"),
        (1_200_000.0, 0, 10, "above"),
        (1e12, 10, 1_000, "most"),
    ];
    for (connections, nodes, wanted, why) in cases {
        let found = Policy::default().wanted(&load(connections, nodes));
        assert_eq!(
            (found.nodes, found.why.label()),
            (wanted, why),
            "{connections} on {nodes}: {}",
            found.why
        );
    }
}

#[test]
fn what_drains_counts_for_its_connections_only() {
    let wanted = Policy::default().wanted(&Load { connections: 1_440_000.0, nodes: 10, draining: 2 });
    assert_eq!(wanted.nodes, 14);
    let words = "1,440,000 connections are 72 % of what 10 nodes may hold (2 more draining), above the target of 60 %: \
                 the further above, the more are added";
    assert_eq!(wanted.why.to_string(), words);
}

#[test]
fn the_further_above_the_more_are_added() {
    let policy = Policy { slack: 0.5, exponent: 2.0, ..Policy::default() };
    let added = |share: f64| policy.wanted(&load(share * 20_000_000.0, 100)).nodes - 100;
    // In proportion that would be 33, 50 and 66.
    assert_eq!([added(0.8), added(0.9), added(1.0)], [78, 125, 178]);
}

#[test]
fn bad_policies_are_told() {
    let good = Policy::default();
    assert_eq!(good.check(), Ok(()));
    let bad = [
        Policy { capacity: 0.0, ..good },
        Policy { capacity: f64::NAN, ..good },
        Policy { target: 0.0, ..good },
        Policy { target: 0.95, ..good },
        Policy { ceiling: 1.5, ..good },
        Policy { band: 1.0, ..good },
        Policy { slack: -0.1, ..good },
        Policy { exponent: 0.5, ..good },
        Policy { least: 5, most: 4, ..good },
        Policy { least: 0, most: 0, ..good },
    ];
    for policy in bad {
        assert!(policy.check().is_err(), "{policy:?}");
    }
}

#[test]
fn out_at_once_in_with_patience_one_by_one() {
    let mut scaler = Scaler::new(Policy::default(), Patience::default());
    assert_eq!(scaler.step(0.0, &load(2_400_000.0, 10)).nodes, 26);
    let low = |nodes| load(600_000.0, nodes);
    // Ten minutes of the same, then one node, and the next two minutes later.
    let expected =
        [(10.0, 10, 10), (600.0, 10, 10), (610.0, 10, 9), (640.0, 9, 9), (730.0, 9, 8), (850.0, 8, 7)];
    for (now_s, nodes, wanted) in expected {
        assert_eq!(scaler.step(now_s, &low(nodes)).nodes, wanted, "at {now_s}");
    }
    // A node that drains is waited for.
    let draining = Load { draining: 1, ..low(7) };
    let waits = scaler.step(2_000.0, &draining);
    assert_eq!((waits.nodes, waits.why.label()), (7, "patience"));
    assert!(waits.why.to_string().ends_with("5 would do, once the draining have left"), "{}", waits.why);
    // A load that comes back begins the wait anew.
    assert_eq!(scaler.step(2_010.0, &load(840_000.0, 7)).nodes, 7);
    let waits = scaler.step(2_020.0, &low(7));
    assert!(
        waits.why.to_string().ends_with("5 would do, if that is still so in 10 min 00 s"),
        "{}",
        waits.why
    );
}

#[test]
fn missing_data_never_scale_in() {
    let mut scaler = Scaler::new(Policy::default(), Patience { before_s: 0.0, between_s: 0.0 });
    assert_eq!(scaler.blind(&load(0.0, 0), 3), None);
    assert_eq!(scaler.blind(&load(100_000.0, 1), 3).unwrap().nodes, 4);
    assert_eq!(scaler.step(0.0, &load(1_200_000.0, 10)).nodes, 10);
    let held = scaler.blind(&load(120_000.0, 1), 9).unwrap();
    assert_eq!((held.nodes, held.why.label()), (10, "blind"));
    assert_eq!(scaler.blind(&load(0.0, 0), 10).unwrap().nodes, 10);
    // What is seen alone may demand more.
    assert_eq!(scaler.blind(&load(2_400_000.0, 9), 1).unwrap().nodes, 26);
}

#[test]
fn a_day_of_breathing_does_not_flap() {
    let policy = Policy::default();
    let mut scaler = Scaler::new(policy, Patience::default());
    let (mut nodes, mut turns, mut direction) = (10_u32, 0, 0_i32);
    for step in 0..(86_400 / 15) {
        let now_s = f64::from(step) * 15.0;
        let phase = now_s / 86_400.0 * std::f64::consts::TAU;
        let connections = 1_200_000.0 * (1.0 + 0.6 * phase.sin()) + f64::from(step % 7) * 3_000.0;
        let wanted = scaler.step(now_s, &load(connections, nodes)).nodes;
        assert!(connections <= f64::from(nodes) * policy.capacity * policy.ceiling, "too full at {now_s}");
        assert!(wanted + 1 >= nodes, "more than one at once at {now_s}");
        let change = (i64::from(wanted) - i64::from(nodes)).signum() as i32;
        if change != 0 && change != direction {
            (turns, direction) = (turns + 1, change);
        }
        nodes = wanted;
    }
    assert_eq!(turns, 3, "out in the morning, in at night, out again");
}

fn policies() -> impl Strategy<Value = Policy> {
    (1.0..1e7, 0.05..1.0, (0.0..0.5, 0.0..0.9), 1.0..3.0, 0_u32..4, 0_u32..20, 20_u32..5_000).prop_map(
        |(capacity, target, (band, slack), exponent, spare, least, most)| Policy {
            capacity,
            target,
            band,
            slack,
            exponent,
            spare,
            ceiling: f64::max(target, 0.9),
            least,
            most,
        },
    )
}

proptest! {
    #[test]
    fn more_connections_never_mean_fewer_nodes(
        policy in policies(), connections in 0.0..1e9, more in 1.0..3.0, nodes in 0_u32..2_000
    ) {
        let wanted = |connections| policy.wanted(&load(connections, nodes)).nodes;
        prop_assert!(wanted(connections * more) >= wanted(connections));
    }

    #[test]
    fn what_is_wanted_bears_a_loss_and_keeps_its_bounds(
        policy in policies(), connections in 0.0..1e9, nodes in 0_u32..2_000
    ) {
        prop_assert_eq!(policy.check(), Ok(()));
        let wanted = policy.wanted(&load(connections, nodes)).nodes;
        prop_assert!(wanted >= policy.least.max(1) && wanted <= policy.most);
        let left = f64::from(wanted.saturating_sub(policy.spare)) * policy.capacity * policy.ceiling;
        prop_assert!(wanted == policy.most || connections <= left * (1.0 + 1e-9), "{wanted}");
    }

    #[test]
    fn with_what_is_wanted_nothing_else_is_wanted(
        policy in policies(), connections in 0.0..1e9, nodes in 0_u32..2_000
    ) {
        let wanted = policy.wanted(&load(connections, nodes)).nodes;
        prop_assert_eq!(policy.wanted(&load(connections, wanted)).nodes, wanted);
    }

    #[test]
    fn a_scaler_lets_one_go_at_a_time_and_is_never_late_to_add(
        policy in policies(), loads in proptest::collection::vec((0.0..1e8, 0_u32..3, any::<bool>()), 1..60)
    ) {
        let mut scaler = Scaler::new(policy, Patience { before_s: 30.0, between_s: 20.0 });
        let mut nodes = policy.least.max(1);
        for (at, (connections, draining, sees)) in loads.into_iter().enumerate() {
            let load = Load { connections, nodes, draining };
            let wanted = match sees {
                true => scaler.step(at as f64 * 10.0, &load).nodes,
                false => scaler.blind(&load, 1).unwrap().nodes,
            };
            prop_assert!(wanted + 1 >= nodes.min(policy.most));
            prop_assert!(wanted >= policy.wanted(&load).nodes.min(nodes));
            prop_assert!(sees || wanted >= nodes.min(policy.most));
            nodes = wanted;
        }
    }
}
