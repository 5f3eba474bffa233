//! The page.

use crate::sample;
use holdfast_loadtest::report::{
    html,
    model::{Check, Figure, Report, Step},
    text,
};
use std::{fs, path::Path};

#[test]
fn samples_are_written_to_be_looked_at() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (name, report) in sample::all() {
        let page = html(&report);
        assert!(page.len() < 500_000, "{name}: {} bytes", page.len());
        fs::write(folder.join(format!("report-{name}.html")), page).unwrap();
        fs::write(folder.join(format!("report-{name}.txt")), text(&report)).unwrap();
        fs::write(folder.join(format!("report-{name}.json")), report.json().unwrap()).unwrap();
    }
}

#[test]
fn a_page_needs_nothing_but_itself() {
    for (name, report) in sample::all() {
        let page = html(&report);
        for outside in ["src=", "href=", "url(", "@import", "http:", "https:", "<link", "<iframe", "fetch("] {
            // What others wrote is text, and may say what it likes.
            let page = page.replace("src=x onerror", "");
            assert!(!page.contains(outside), "{name} has {outside}");
        }
    }
}

#[test]
fn what_others_wrote_is_text() {
    let evil =
        "</style></script><script>alert(1)</script>\"' onload=alert(2) x='<img src=x onerror=alert(3)>&amp;";
    let figure = Figure::new(evil, 1.0, evil).note(evil);
    let check = Check { what: evil.into(), clients: 1.0, ..Check::default() };
    let step = Step {
        name: evil.into(),
        end_s: 60.0,
        figures: vec![figure],
        checks: vec![check],
        mismatches: vec![evil.into()],
        ..Step::default()
    };
    let mut report = sample::ordinary();
    let calm = html(&report).matches('<').count();
    let (scripts, styles) =
        (html(&report).matches("<script").count(), html(&report).matches("<style").count());
    let Report { command, host, target, generator, clients, .. } = &mut report;
    command.push(evil.into());
    (host.kernel, host.cpu) = (evil.into(), evil.into());
    host.distribution = Some(evil.into());
    host.sysctls.insert(evil.into(), evil.into());
    target.addresses.push(evil.into());
    (target.nodes[0].internal, target.nodes[0].version) = (evil.into(), evil.into());
    generator.agents.push(evil.into());
    generator.bottleneck = Some(evil.into());
    for map in [&mut clients.refused, &mut clients.failed, &mut clients.ended] {
        map.insert(evil.into(), 1);
    }
    report.steps.push(step);
    let handshake = report.latencies["handshake"].clone();
    report.latencies.insert(evil.into(), handshake);
    (report.tool, report.began, report.target.dialect) = (evil.into(), evil.into(), evil.into());
    report.scenarios.push(evil.into());
    report.warnings.push(evil.into());
    report.mismatches.push(evil.into());
    let page = html(&report);
    assert!(page.matches('<').count() > calm);
    assert_eq!((page.matches("<script").count(), page.matches("<style").count()), (scripts, styles));
    assert!(!page.contains("<img") && !page.contains("\" onload"));
    assert!(page.matches("&lt;script&gt;alert(1)").count() >= 20);
}

#[test]
fn the_verdict_is_on_top_and_not_by_colour_alone() {
    let words = |report: &Report| {
        let page = html(report);
        let (_, rest) = page.split_once("<div class=\"verdict").unwrap();
        rest.split("</div>").next().unwrap().to_owned()
    };
    let good = words(&sample::ordinary());
    assert!(good.starts_with(" good\"><strong>✓ All as it must be.</strong>"), "{good}");
    assert!(
        good.contains("15,000 of 15,000 clients opened, and 12,800 came back; 82,500 messages came"),
        "{good}"
    );
    assert!(good.ends_with("11 counts by the clients agree with the nodes'."), "{good}");
    let bad = words(&sample::troubled());
    assert!(bad.starts_with(" bad\"><strong>✗ Interrupted, and not as it must be.</strong>"), "{bad}");
    assert!(bad.contains("1 of 6 counts by the clients differs from the nodes'; 3 mismatches"), "{bad}");
    let page = html(&sample::troubled());
    assert!(page.contains("✗ differ</span>") && page.contains("✓ agree</span>"));
    assert!(page.contains("The generator was the bottleneck") && page.contains("Read with care"));
}

#[test]
fn each_plot_is_there_if_there_is_something_to_show() {
    let titles = |report: &Report| {
        let page = html(report);
        let titles = page.split("<figcaption><strong>").skip(1);
        titles.map(|rest| rest.split('<').next().unwrap().to_owned()).collect::<Vec<_>>().join(", ")
    };
    let all = "Connections, Handshakes and closes, Latency by percentile, Latency over time, Memory per connection, \
               Memory over time, Processors, Messages";
    assert_eq!(titles(&sample::ordinary()), all);
    assert_eq!(titles(&sample::troubled()), all);
    assert_eq!(titles(&sample::day()), all);
    assert_eq!(
        titles(&sample::nothing()),
        "Connections, Handshakes and closes, Memory over time, Processors"
    );
    assert_eq!(titles(&Report::default()), "");
    assert!(html(&Report::default()).contains("Nothing was measured over time."));
}

#[test]
fn gaps_are_gaps_and_days_are_short() {
    let lines = |page: &str, name: &str| {
        let (before, _) = page.split_once(&format!("data-name=\"{name}\"")).unwrap();
        before.rsplit_once(" d=\"").unwrap().1.to_owned()
    };
    assert_eq!(lines(&html(&sample::ordinary()), "open").matches('M').count(), 1);
    assert!(lines(&html(&sample::troubled()), "open").matches('M').count() > 1);
    let day = html(&sample::day());
    assert!(lines(&day, "open").matches('L').count() < 2_000);
    // Nine thousand left within a second: it is seen, and told.
    assert!(day.contains("at most 9,000/s") && day.contains("Long lines are averages"));
    assert!(!html(&sample::ordinary()).contains("Long lines are averages"));
}
