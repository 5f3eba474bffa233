//! The settings that a tuned host has: `sysctl.conf` of this release, read, and compared with what a host has.
//!
//! Owns the form of that file. It has groups of lines with empty lines between, a group for each setting:
//!
//! ```text
//! # Why: why it is set, over as many lines as it takes.
//! # Without: what breaks without it.
//! # Rule: at least            (or `at most`, or `exact`; this line may be missing)
//! net.core.somaxconn = 65535
//! ```

use std::fmt;

/// The one source of the values: what `tuning/apply` sets and this program compares with.
const FILE: &str = include_str!("../../../sysctl.conf");

/// One setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Its name in sysctl(8).
    pub name: String,
    /// Its value: a number, several, or a word.
    pub value: String,
    /// Why it is set.
    pub why: String,
    /// What breaks without it.
    pub without: String,
    /// How another value compares.
    pub rule: Rule,
}

/// Which other values will do, number by number. A value that is no number has to be the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Rule {
    /// More is as good.
    #[default]
    AtLeast,
    /// Less is as good.
    AtMost,
    /// None.
    Exact,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtLeast => "at least",
            Self::AtMost => "at most",
            Self::Exact => "exactly",
        })
    }
}

impl Setting {
    /// Whether a host that has this value needs no other.
    pub fn is_met_by(&self, value: &str) -> bool {
        let numbers = |text: &str| -> Option<Vec<i128>> {
            text.split_whitespace().map(|word| word.parse().ok()).collect()
        };
        match (numbers(value), numbers(&self.value)) {
            (Some(has), Some(wants)) if has.len() == wants.len() => {
                has.iter().zip(&wants).all(|(has, wants)| match self.rule {
                    Rule::AtLeast => has >= wants,
                    Rule::AtMost => has <= wants,
                    Rule::Exact => has == wants,
                })
            }
            _ => value.split_whitespace().eq(self.value.split_whitespace()),
        }
    }
}

/// Those of this release.
pub fn settings() -> Vec<Setting> {
    parse(FILE).expect("a test reads the file")
}

/// Reads a file of this form.
///
/// # Errors
/// The number of the line that has it wrong, and how.
pub fn parse(text: &str) -> Result<Vec<Setting>, String> {
    let mut found: Vec<Setting> = Vec::new();
    let mut group = Group::default();
    for (number, line) in (1..).zip(text.lines()) {
        let read = match line.trim() {
            "" => {
                group = Group::default();
                Ok(())
            }
            comment if comment.starts_with('#') => group.comment(comment.trim_start_matches('#').trim()),
            line => group.setting(line).map(|setting| found.push(setting)),
        };
        read.map_err(|fault| format!("line {number}: {fault}"))?;
    }
    let doubled =
        found.iter().enumerate().find(|(at, one)| found[..*at].iter().any(|it| it.name == one.name));
    match doubled {
        Some((_, one)) => Err(format!("{} is there twice", one.name)),
        None => Ok(found),
    }
}

/// What has been said of the next setting.
#[derive(Default)]
struct Group {
    why: String,
    without: String,
    rule: Rule,
    /// Which of the two goes on in a line that begins with neither.
    is_without: bool,
}

impl Group {
    fn comment(&mut self, text: &str) -> Result<(), String> {
        if let Some(why) = text.strip_prefix("Why:") {
            self.is_without = false;
            why.trim().clone_into(&mut self.why);
        } else if let Some(without) = text.strip_prefix("Without:") {
            self.is_without = true;
            without.trim().clone_into(&mut self.without);
        } else if let Some(rule) = text.strip_prefix("Rule:") {
            self.rule = match rule.trim() {
                "at least" => Rule::AtLeast,
                "at most" => Rule::AtMost,
                "exact" => Rule::Exact,
                other => return Err(format!("{other:?} is none of at least, at most, exact")),
            };
        } else {
            let going_on = if self.is_without { &mut self.without } else { &mut self.why };
            // A comment before any Why belongs to the head of the file.
            if !going_on.is_empty() {
                going_on.push(' ');
                going_on.push_str(text);
            }
        }
        Ok(())
    }

    fn setting(&mut self, line: &str) -> Result<Setting, String> {
        let (name, value) = line.split_once('=').ok_or_else(|| format!("{line:?} has no ="))?;
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        let Self { why, without, rule, .. } = std::mem::take(self);
        let name = name.trim().trim_start_matches('-').to_owned();
        match () {
            () if name.is_empty() || value.is_empty() => Err("a name or a value is missing".to_owned()),
            () if why.is_empty() => Err(format!("{name} has no Why")),
            () if without.is_empty() => Err(format!("{name} has no Without")),
            () => Ok(Setting { name, value, why, without, rule }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
# Settings of a host.
# Read them with care.

# Why: bursts of clients wait
# for a moment.
# Without: some are refused,
# and come again together.
net.core.somaxconn = 65535

# Why: a.
# Without: b.
# Rule: at most
net.ipv4.tcp_rmem = 4096\t16384 262144

# Why: a.
# Without: b.
# Rule: exact
net.ipv4.tcp_congestion_control = bbr
";

    #[test]
    fn the_file_of_this_release_is_in_order() {
        let settings = parse(FILE).unwrap();
        assert!(settings.len() > 10);
        let of = |name: &str| settings.iter().find(|setting| setting.name == name);
        for name in ["fs.nr_open", "fs.file-max", "net.core.somaxconn", "net.ipv4.tcp_mem"] {
            assert!(of(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_setting_has_its_reasons_over_several_lines() {
        let settings = parse(SAMPLE).unwrap();
        assert_eq!(settings.len(), 3);
        let first = &settings[0];
        assert_eq!((first.name.as_str(), first.value.as_str()), ("net.core.somaxconn", "65535"));
        assert_eq!(first.why, "bursts of clients wait for a moment.");
        assert_eq!(first.without, "some are refused, and come again together.");
        assert_eq!(first.rule, Rule::AtLeast);
        assert_eq!(settings[1].value, "4096 16384 262144");
        assert_eq!((settings[1].rule, settings[2].rule), (Rule::AtMost, Rule::Exact));
    }

    #[test]
    fn values_are_compared_number_by_number() {
        let settings = parse(SAMPLE).unwrap();
        let cases = [
            (0, "65535", true),
            (0, "65534", false),
            (0, "99999999999999999999", true),
            (0, "many", false),
            (0, "", false),
            (1, "4096 16384 262144", true),
            (1, "4096  8192\t262144", true),
            (1, "4096 16384 262145", false),
            (1, "4096", false),
            (2, "bbr", true),
            (2, "cubic", false),
        ];
        for (at, value, is_met) in cases {
            assert_eq!(settings[at].is_met_by(value), is_met, "{} = {value}", settings[at].name);
        }
        let exact = Setting { rule: Rule::Exact, ..settings[0].clone() };
        assert!(exact.is_met_by("65535") && !exact.is_met_by("65536"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let cases = [
            ("# Why: a.\n# Without: b.\nnonsense", "line 3: \"nonsense\" has no ="),
            ("# Without: b.\nx = 1", "line 2: x has no Why"),
            ("# Why: b.\nx = 1", "line 2: x has no Without"),
            ("# Why: a.\n\n# Without: b.\nx = 1", "line 4: x has no Why"),
            ("# Rule: roughly\nx = 1", "line 1: \"roughly\" is none of at least, at most, exact"),
            ("# Why: a.\n# Without: b.\nx =", "line 3: a name or a value is missing"),
            ("# Why: a.\n# Without: b.\nx = 1\n\n# Why: a.\n# Without: b.\nx = 2", "x is there twice"),
        ];
        for (text, fault) in cases {
            assert_eq!(parse(text), Err(fault.to_owned()), "{text}");
        }
    }
}
