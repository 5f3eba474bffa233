//! The report as people read it, in lines of 80 letters.

use super::{Finding, Level, Limit, Report, Untuned, Verdict};
use holdfast_plots::words::{count, plain, several};
use std::fmt::Write;

const WIDTH: usize = 80;
/// Letters before a limit's or a finding's own words.
const INDENT: usize = 10;

pub(super) fn render(report: &Report, is_explained: bool) -> String {
    let mut out = String::new();
    headline(&mut out, report);
    heading(&mut out, "Limits, in the order in which they bind", "connections");
    for limit in &report.limits {
        of_limit(&mut out, limit);
    }
    if !report.lift.is_empty() {
        let target = report.target.map_or_else(String::new, count);
        heading(&mut out, &format!("To hold {target}"), "");
        for (number, command) in (1..).zip(&report.lift) {
            paragraph(&mut out, &format!("{number:>4}. "), 6, command);
        }
    }
    of_settings(&mut out, report, is_explained);
    if !report.findings.is_empty() {
        heading(&mut out, "Besides", "");
    }
    for finding in &report.findings {
        of_finding(&mut out, finding);
    }
    if !report.unread.is_empty() {
        heading(&mut out, "Not known, so not judged", "");
        for unread in &report.unread {
            paragraph(&mut out, "  - ", 4, unread);
        }
    }
    out
}

fn headline(out: &mut String, report: &Report) {
    let holds = match report.holds {
        Some(holds) => format!("This host can hold {}.", several(holds, "connection")),
        None => "Nothing is known that limits the connections of this host.".to_owned(),
    };
    let answer = match (report.verdict, report.asked) {
        (Verdict::Fits, Some(asked)) => format!("{} fit. {holds}", count(asked)),
        (Verdict::DoesNotFit, Some(asked)) => format!("{} do not fit. {holds}", count(asked)),
        (Verdict::Unknown, Some(asked)) => format!(
            "Whether {} fit cannot be told: a limit that matters cannot be read, see below.",
            count(asked)
        ),
        _ => holds,
    };
    paragraph(out, "", 0, &answer);
    let title = |key: Option<&str>| {
        let limit = report.limits.iter().find(|limit| Some(limit.limit) == key)?;
        Some((limit.title.as_str(), limit.allows?))
    };
    if let Some((binding, _)) = title(report.binding) {
        paragraph(out, "", 0, &format!("What binds first: {binding}."));
    }
    if let Some((next, allows)) = title(report.next) {
        paragraph(out, "", 0, &format!("What would bind then: {next}, at {}.", count(allows)));
    }
    let blocked: Vec<&str> =
        report.findings.iter().filter(|it| it.level == Level::Blocks).map(|it| it.subject.as_str()).collect();
    if !blocked.is_empty() {
        paragraph(out, "", 0, &format!("A node cannot work here yet: {} (see below).", blocked.join(", ")));
    }
}

fn heading(out: &mut String, left: &str, right: &str) {
    let gap = WIDTH.saturating_sub(left.chars().count() + right.chars().count()).max(1);
    let line = if right.is_empty() { left.to_owned() } else { format!("{left}{}{right}", " ".repeat(gap)) };
    let _ = write!(out, "\n{line}\n{}\n", "-".repeat(WIDTH));
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Advice => "advice",
        Level::Warning => "warning",
        Level::Blocks => "BLOCKS",
    }
}

fn of_limit(out: &mut String, limit: &Limit) {
    let left = format!("{:<INDENT$}{}", word(limit.level), limit.title);
    let right = limit.allows.map_or_else(|| "no limit".to_owned(), count);
    let gap = WIDTH.saturating_sub(left.chars().count() + right.chars().count()).max(1);
    let _ = writeln!(out, "{left}{}{right}", " ".repeat(gap));
    paragraph(out, &" ".repeat(INDENT), INDENT, &limit.because);
}

fn of_settings(out: &mut String, report: &Report, is_explained: bool) {
    let (differ, known) = (report.settings.len() as u64, report.settings_known as u64);
    if known == 0 {
        return;
    }
    if differ == 0 {
        heading(out, "Settings of the kernel", "");
        return paragraph(out, "", 0, "All that can be read are as in sysctl.conf.");
    }
    heading(
        out,
        &format!("Settings of the kernel: {} of {} differ from sysctl.conf", count(differ), count(known)),
        "",
    );
    for setting in &report.settings {
        of_setting(out, setting, is_explained);
    }
    let more = "tuning/apply sets them all, and keeps them set.";
    let reasons = " holdfast doctor --explain says why each is set, and what breaks without it.";
    paragraph(out, "", 0, &format!("{more}{}", if is_explained { "" } else { reasons }));
}

fn of_setting(out: &mut String, setting: &Untuned, is_explained: bool) {
    let Untuned { name, is, rule, wants, why, without, .. } = setting;
    paragraph(out, "advice    ", INDENT, &format!("{name} is {is}, should be {rule} {wants}"));
    if is_explained {
        paragraph(out, &" ".repeat(INDENT), INDENT, &format!("Why: {why}"));
        paragraph(out, &" ".repeat(INDENT), INDENT, &format!("Without: {without}"));
        out.push('\n');
    }
}

fn of_finding(out: &mut String, finding: &Finding) {
    let first = format!("{:<INDENT$}", word(finding.level));
    paragraph(out, &first, INDENT, &format!("{}: {}", finding.subject, finding.says));
    for remedy in &finding.remedy {
        paragraph(out, &format!("{}> ", " ".repeat(INDENT)), INDENT + 2, remedy);
    }
}

/// Words in lines that are not longer than the width, unless a word is: a command that is copied stays whole.
fn paragraph(out: &mut String, first: &str, indent: usize, text: &str) {
    let text = plain(text);
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let length = line.chars().count() + usize::from(!is_empty) + word.chars().count();
        if !is_empty && length > WIDTH {
            let _ = writeln!(out, "{line}");
            line = " ".repeat(indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    let _ = writeln!(out, "{line}");
}
