use super::*;

fn seen(connections: f64, nodes: u32) -> Seen {
    Seen { load: Load { connections, nodes, draining: 0 }, capacity: Some(200_000.0), ..Seen::default() }
}

fn scaler(patience: Option<Patience>) -> Autoscaler {
    Autoscaler::new(Policy::default(), None, patience, None)
}

#[test]
fn one_look_stands_for_itself() {
    let decision = scaler(None).decide(0.0, Ok(seen(600_000.0, 10))).clone();
    assert_eq!(decision.wanted.unwrap().nodes, 5);
    let expected = "5 nodes, 5 fewer: 600,000 connections are 30 % of what 10 nodes may hold, below the target of 60 %: fewer will \
                    do.\n";
    assert_eq!(decision.text(), expected);
    let json = decision.json();
    assert_eq!(
        (json["value"].as_u64(), json["reason"].as_str(), json["complete"].as_bool()),
        (Some(5), Some("below"), Some(true))
    );
}

#[test]
fn with_patience_it_lets_go_slowly() {
    let mut scaler = scaler(Some(Patience::default()));
    assert_eq!(scaler.decide(0.0, Ok(seen(600_000.0, 10))).wanted.unwrap().nodes, 10);
    assert_eq!(scaler.decide(600.0, Ok(seen(600_000.0, 10))).wanted.unwrap().nodes, 9);
}

#[test]
fn what_is_not_seen_never_means_fewer_nodes() {
    let mut scaler = scaler(None);
    // Nothing is known: not even what a node may hold.
    let decision = scaler.decide(0.0, Err("the registry does not answer".into()));
    assert_eq!((decision.wanted, decision.is_whole), (None, false));
    assert!(decision.json()["value"].is_null());
    assert!(
        decision
            .text()
            .starts_with("how many nodes are wanted is not known.\n! the registry does not answer\n")
    );

    assert_eq!(scaler.decide(15.0, Ok(seen(1_200_000.0, 10))).wanted.unwrap().nodes, 10);
    let nobody = Seen { silent: vec!["a: refused".into(); 10], ..Seen::default() };
    let decision = scaler.decide(30.0, Ok(nobody));
    assert_eq!((decision.wanted.unwrap().nodes, decision.silent, decision.faults.len()), (10, 10, 6));
    let half = Seen { silent: vec!["a: refused".into(); 5], ..seen(100_000.0, 5) };
    let decision = scaler.decide(45.0, Ok(half));
    assert_eq!(decision.wanted.unwrap().nodes, 10);
    assert!(decision.text().starts_with(
        "10 nodes, as before: 5 nodes did not answer, so no fewer than before; of the others: "
    ));
    let decision = scaler.decide(60.0, Err("the registry does not answer".into()));
    assert_eq!(decision.wanted.unwrap().nodes, 10);
    // The figures stay those of the last look that saw something.
    assert_eq!((decision.load.nodes, decision.utilization()), (5, Some(0.1)));
    // What is seen alone may demand more.
    let full = Seen { silent: vec!["a: refused".into()], ..seen(2_400_000.0, 9) };
    assert_eq!(scaler.decide(75.0, Ok(full)).wanted.unwrap().nodes, 26);
}

#[test]
fn a_given_capacity_is_not_learnt_anew() {
    let mut scaler = Autoscaler::new(Policy::default(), Some(100_000.0), None, None);
    assert_eq!(scaler.decide(0.0, Ok(seen(600_000.0, 10))).wanted.unwrap().nodes, 10);
    let empty = Seen::default();
    assert_eq!(scaler.decide(0.0, Ok(empty)).wanted.unwrap().nodes, 2);
}

#[test]
fn processors_are_counted_where_the_lag_is_known() {
    let lag = LagPolicy { within_s: 30.0, per_processor: 10_000.0, least: 1, most: 10 };
    let mut scaler = Autoscaler::new(Policy::default(), None, None, Some(lag));
    assert_eq!(scaler.decide(0.0, Ok(seen(1.0, 2))).processors, None);
    let decision =
        scaler.decide(0.0, Ok(Seen { lag: Some(900_000.0), handled_per_s: Some(0.0), ..seen(1.0, 2) }));
    assert_eq!(decision.processors.unwrap().wanted, 3);
    assert_eq!(decision.json()["processors"]["value"], 3);
    assert!(decision.text().contains("\n3 processors: 900,000 messages in the queue"));
}

#[test]
fn the_metrics_are_in_prometheus_format() {
    let mut scaler = scaler(None);
    let looks = Looks { success_unix_s: 1_767_225_600.0, failed: 3, all: 10 };
    let page = prometheus_text(scaler.decide(0.0, Ok(seen(1_200_000.0, 10))), &looks);
    for line in [
        "# TYPE holdfast_autoscale_wanted_nodes gauge\nholdfast_autoscale_wanted_nodes 10\n",
        "\nholdfast_autoscale_utilization 0.6\n",
        "\nholdfast_autoscale_last_success_timestamp_seconds 1767225600\n",
        "# TYPE holdfast_autoscale_errors_total counter\nholdfast_autoscale_errors_total 3\n",
    ] {
        assert!(page.contains(line), "{page}");
    }
    // What is not known has no sample: an autoscaler then leaves things as they are.
    assert!(!page.contains("\nholdfast_autoscale_wanted_processors "));
    let unknown = prometheus_text(&Decision::default(), &Looks::default());
    assert!(!unknown.contains("\nholdfast_autoscale_wanted_nodes "), "{unknown}");
}

#[test]
fn every_metric_is_documented() {
    let page = include_str!("../../../../docs/autoscale.md");
    for (name, ..) in METRICS {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}
