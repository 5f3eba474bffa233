//! Durations as people write them: `250ms`, `30s`, `10m`, `1h`, `7d`.

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses a whole number with a unit into milliseconds. A bare number is refused: nobody can tell what it meant.
pub fn parse_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Parses a duration of a query string into milliseconds: there a bare number is seconds.
pub fn parse_query_ms(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<u64>().ok()?.checked_mul(1_000);
    }
    parse_ms(text)
}

/// Writes milliseconds in the largest unit that holds them whole; [`parse_ms`] reads it back.
pub fn format_ms(ms: u64) -> String {
    if ms == 0 {
        return "0s".into();
    }
    let (unit, factor) =
        UNITS.iter().find(|(_, factor)| ms.is_multiple_of(*factor)).copied().unwrap_or(("ms", 1));
    format!("{}{unit}", ms / factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_needs_a_unit_except_in_a_query() {
        for (text, ms) in [("250ms", 250), ("30s", 30_000), ("10m", 600_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(parse_ms(text), Some(ms), "{text}");
            assert_eq!(parse_query_ms(text), Some(ms), "{text}");
        }
        for text in ["", "30", "s", "1.5s", "-1s", "1 s", "30sec", "1h30m", "99999999999999999999s", "+1s"] {
            assert_eq!(parse_ms(text), None, "{text}");
        }
        assert_eq!(parse_ms("9999999999999999999d"), None);
        assert_eq!(parse_query_ms("30"), Some(30_000));
        assert_eq!(parse_query_ms(""), None);
        assert_eq!(parse_query_ms("18446744073709551615"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(ms in any::<u64>()) {
            prop_assert_eq!(parse_ms(&format_ms(ms)), Some(ms));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}") {
            let _ = (parse_ms(&text), parse_query_ms(&text));
        }
    }
}
