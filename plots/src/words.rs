//! Numbers as people read them. Plain ASCII, so that it looks alike on every terminal.

/// Stands for what is not known.
pub const NONE: &str = "-";
/// From here on digits say nothing.
const HUGE: f64 = 1e15;

/// A count, with commas between thousands.
pub fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// A number: whole ones and those above 1,000 without decimals, others with three digits that matter.
pub fn number(value: f64) -> String {
    let size = value.abs();
    match () {
        () if !value.is_finite() => NONE.into(),
        () if size >= HUGE => format!("{value:.2e}"),
        () if size >= 999.5 || value.fract() == 0.0 => grouped(&format!("{value:.0}")),
        () if size < 1e-3 => format!("{value:.1e}"),
        () => digits(value),
    }
}

/// Three digits that matter of what is below 1,000.
fn digits(value: f64) -> String {
    match value.abs() {
        0.0..0.01 => format!("{value:.4}"),
        0.01..0.9995 => format!("{value:.3}"),
        0.9995..9.995 => format!("{value:.2}"),
        9.995..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let mut out = String::from(if digits == "0" { "" } else { sign });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A time that was measured in microseconds.
pub fn time(us: f64) -> String {
    match us.abs() {
        size if !size.is_finite() => NONE.into(),
        0.0..1_000.0 => format!("{us:.0} us"),
        1_000.0..1e6 => format!("{} ms", digits(us / 1e3)),
        1e6..1e8 => format!("{} s", digits(us / 1e6)),
        _ => duration(us / 1e6),
    }
}

/// How long something went on, in seconds.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round();
    match seconds.abs() {
        size if !size.is_finite() => NONE.into(),
        0.0 => "0 s".into(),
        0.0..0.0995 => time(seconds * 1e6),
        0.0..119.5 => format!("{seconds:.1} s"),
        0.0..7_199.5 => format!("{:.0} min {:02.0} s", (whole / 60.0).trunc(), whole % 60.0),
        0.0..HUGE => {
            let hours = grouped(&format!("{:.0}", (whole / 3_600.0).trunc()));
            format!("{hours} h {:02.0} min", (whole % 3_600.0 / 60.0).trunc())
        }
        _ => format!("{} s", number(seconds)),
    }
}

/// An amount of memory, with decimal prefixes.
pub fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if !value.is_finite() {
            return NONE.into();
        }
        if value.abs() < 999.5 || unit == "TB" {
            let amount = if unit == "B" && value.abs() >= 9.995 {
                grouped(&format!("{value:.0}"))
            } else {
                number(value)
            };
            return format!("{amount} {unit}");
        }
        value /= 1_000.0;
    }
    NONE.into()
}

/// A figure with its unit: `us`, `ms`, `s`, `bytes`, `bytes …`, `per s`, `cores`, or any word.
pub fn figure(value: f64, unit: &str) -> String {
    let rest = unit.strip_prefix("bytes ").map(|rest| format!(" {rest}"));
    match unit {
        _ if !value.is_finite() => NONE.into(),
        "us" => time(value),
        "ms" => time(value * 1e3),
        "s" => duration(value),
        "bytes" => bytes(value),
        "per s" => format!("{}/s", number(value)),
        "" => number(value),
        "cores" => format!("{} core{}", trimmed(&number(value)), if value == 1.0 { "" } else { "s" }),
        _ => match rest {
            Some(rest) => bytes(value) + &rest,
            None => format!("{} {unit}", number(value)),
        },
    }
}

/// Without the zeros that end a fraction.
pub fn trimmed(number: &str) -> &str {
    let is_plain = number.contains('.') && !number.contains('e');
    if is_plain { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// How many of what: `1 client`, `2 clients`.
pub fn several(count: u64, what: &str) -> String {
    let ending = match (count, what.ends_with(['s', 'h'])) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{} {what}{ending}", self::count(count))
}

/// What others wrote, in one line that cannot move a terminal's cursor.
pub fn plain(text: &str) -> String {
    let harmless = |c: char| if c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) { ' ' } else { c };
    text.chars().map(harmless).collect()
}

/// The same words with the sign of micro, which a page can show.
pub fn micro(words: &str) -> String {
    match words.strip_suffix(" us") {
        Some(number) => format!("{number} µs"),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (7.0, "7"),
            (-1234567.0, "-1,234,567"),
            (999.7, "1,000"),
            (1000.4, "1,000"),
            (12.345, "12.3"),
            (0.5, "0.500"),
            (0.0123, "0.012"),
            (0.00012, "1.2e-4"),
            (1e15, "1.00e15"),
            (f64::NAN, "-"),
            (f64::INFINITY, "-"),
        ];
        for (value, words) in cases {
            assert_eq!(number(value), words, "{value:?}");
        }
    }

    #[test]
    fn figures_are_told_in_their_unit() {
        let cases = [
            (812.0, "us", "812 us"),
            (1_234.0, "us", "1.23 ms"),
            (61_000_000.0, "us", "61.0 s"),
            (2.5, "ms", "2.50 ms"),
            (0.0, "s", "0 s"),
            (0.05, "s", "50.0 ms"),
            (83.21, "s", "83.2 s"),
            (119.7, "s", "2 min 00 s"),
            (86_400.0, "s", "24 h 00 min"),
            (121.4, "bytes", "121 B"),
            (8_074.0, "bytes", "8.07 kB"),
            (999_700.0, "bytes", "1.00 MB"),
            (3.9e9, "bytes", "3.90 GB"),
            (121.4, "bytes per connection", "121 B per connection"),
            (4_987.3, "per s", "4,987/s"),
            (1.5, "cores", "1.5 cores"),
            (1.0, "cores", "1 core"),
            (0.93, "cores", "0.93 cores"),
            (15_000.0, "messages", "15,000 messages"),
            (f64::NAN, "us", "-"),
            (f64::NEG_INFINITY, "bytes", "-"),
            (1e300, "s", "1.00e300 s"),
        ];
        for (value, unit, words) in cases {
            assert_eq!(figure(value, unit), words, "{value:?} {unit}");
        }
    }

    #[test]
    fn one_is_not_several() {
        let words = [
            several(1, "client"),
            several(2_000, "client"),
            several(0, "process"),
            several(1, "process"),
            several(3, "mismatch"),
        ];
        assert_eq!(words, ["1 client", "2,000 clients", "0 processes", "1 process", "3 mismatches"]);
    }

    #[test]
    fn what_others_wrote_stays_in_its_line() {
        assert_eq!(plain("a\x1b[2Jb\nc\u{202e}d"), "a [2Jb c d");
    }
}
