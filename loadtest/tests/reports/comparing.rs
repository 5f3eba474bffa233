//! Two reports side by side.

use crate::sample;
use holdfast_loadtest::report::{
    Word, compare,
    model::{Better, Figure, Report},
};

fn word(first: &Report, second: &Report, what: &str) -> Word {
    let comparison = compare(first, second);
    comparison.changes.iter().find(|change| change.what == what).unwrap_or_else(|| panic!("no {what}")).word
}

#[test]
fn a_report_is_the_same_as_itself() {
    for (name, report) in sample::all() {
        let report = Report::parse(&report.json().unwrap()).unwrap();
        let comparison = compare(&report, &report);
        assert!(comparison.differences.is_empty() && comparison.only.concat().is_empty(), "{name}");
        let is_odd = |word| word != Word::Same && word != Word::Other;
        assert_eq!(comparison.changes.iter().find(|change| is_odd(change.word)), None, "{name}");
        assert!(comparison.text().contains("the same host, versions, settings and command"), "{name}");
    }
}

#[test]
fn what_was_not_alike_comes_first() {
    let (first, mut second) = (sample::ordinary(), sample::ordinary());
    second.tool = "holdfast 0.2.0".into();
    second.host.kernel = "6.18.1".into();
    second.host.cpu_limit = Some(1.5);
    second.host.sysctls.insert("net.core.somaxconn".into(), "128".into());
    second.host.sysctls.remove("fs.file-max");
    second.target.nodes[0].version = "0.2.0".into();
    second.command.push("--tls".into());
    second.target.tls = true;
    let comparison = compare(&first, &second);
    let what: Vec<&str> = comparison.differences.iter().map(|difference| difference.what.as_str()).collect();
    let wanted =
        ["host", "version", "version of the nodes", "TLS", "command", "fs.file-max", "net.core.somaxconn"];
    assert_eq!(what, wanted);
    let text = comparison.text();
    assert!(text.contains("not the same host:\n  A  Linux 6.12.44, Debian"), "{text}");
    assert!(text.contains("25.2 GB, limited to 1.5 cores, virtual"), "{text}");
    assert!(text.contains("not the same fs.file-max:\n  A  2466170\n  B  -\n"), "{text}");
    assert!(text.find("not the same").unwrap() < text.find("handshake p99").unwrap(), "{text}");
}

#[test]
fn changes_are_better_or_worse_by_what_they_are_of() {
    let (first, mut second) = (sample::ordinary(), sample::ordinary());
    let handshake = second.latencies.get_mut("handshake").unwrap();
    handshake.p99 *= 2;
    handshake.p50 /= 2;
    handshake.p90 += handshake.p90 / 100;
    second.clients.rate_reached = Some(4_000.0);
    second.clients.goaways = 3;
    second.clients.failed.insert("reset".into(), 7);
    second.memory.node_per_connection = Some(97.0);
    second.memory.kernel_per_connection = None;
    second.steps[0].figures[0].value = f64::NAN;
    second.steps[1].figures[1].value = 7_000.0;
    second.steps[1].figures[2].value = 0.0;
    second.steps[2].name = "broadcast".into();
    let cases = [
        ("handshake p99", Word::Worse),
        ("handshake p50", Word::Better),
        ("handshake p90", Word::Same),
        ("rate reached", Word::Better),
        ("goaways", Word::Other),
        ("failed", Word::Worse),
        ("memory of the nodes", Word::Better),
        ("idle: ramp", Word::Other),
        ("push: messages delivered", Word::Worse),
        ("push: delivery p99", Word::Better),
    ];
    for (what, wanted) in cases {
        assert_eq!(word(&first, &second, what), wanted, "{what}");
    }
    let comparison = compare(&first, &second);
    let failed = comparison.changes.iter().find(|change| change.what == "failed").unwrap();
    assert_eq!((failed.values, failed.percent), ([0.0, 7.0], None));
    assert!(comparison.only[0].iter().any(|name| name == "memory of the kernel"));
    assert!(comparison.only[1].iter().any(|name| name == "broadcast: copies delivered"));
    assert_eq!(comparison.worse().count(), 3);
    let text = comparison.text();
    let line = text.lines().find(|line| line.starts_with("handshake p99 ")).unwrap();
    let columns: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(columns, ["handshake", "p99", "1.62", "ms", "3.25", "ms", "+100", "%", "worse"]);
}

#[test]
fn steps_of_one_name_are_compared_one_by_one() {
    let mut first = Report::default();
    let step = sample::ordinary().steps[1].clone();
    first.steps = vec![step.clone(), step];
    let mut second = first.clone();
    second.steps[1].figures[2].value *= 3.0;
    assert_eq!(word(&first, &second, "push: delivery p99"), Word::Same);
    assert_eq!(word(&first, &second, "push: delivery p99 (2)"), Word::Worse);
}

#[test]
fn a_figure_may_say_itself_which_way_is_better() {
    let with = |value: f64| {
        let mut report = Report::default();
        let figure = Figure::new("held for", value, "s").better(Better::More);
        report.steps =
            vec![holdfast_loadtest::report::model::Step { figures: vec![figure], ..Default::default() }];
        report
    };
    assert_eq!(word(&with(1.0), &with(2.0), ": held for"), Word::Better);
}
